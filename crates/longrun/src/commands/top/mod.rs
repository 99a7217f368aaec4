//! `longrun top`: queues, running operations and failures, live, on the whole terminal.
//!
//! Guarantees: the terminal is restored when the command ends, however it ends (a key, an error, a panic, SIGTERM,
//! SIGINT, SIGHUP); a server that goes away is asked again, and the last known state stays on the screen meanwhile.

mod data;
mod screen;
mod view;

use std::time::Duration;

use longrun_client::{Client, Error, Settings};
use operations::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Span;
use crate::connection::{ClientArgs, reason};
use crate::exit::{Exit, failure};
use crate::render::{self, age, description};
use crate::terminal::{self, Event, Screen};
use data::{Seen, Source};
use view::{Mode, View, Wish};

/// The shortest time between two refreshes, so that nobody floods a server by mistake.
const SHORTEST: Duration = Duration::from_millis(500);
/// A longer interval is as good as none, and might not fit into the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How long a call may take before the screen says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);
/// The size of a screen that is printed without a terminal.
const FRAME: (u16, u16) = (100, 40);

/// What `longrun top` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interval between refreshes; at least 500ms
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    every: Span,
    /// Only show kinds whose names contain this text; can be changed with /
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Print the screen once as text and exit; needs no terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    server: ClientArgs,
}

/// Shows the screen until the user quits.
///
/// # Errors
/// When there is no terminal, `--every` is too short, or the first call to the server fails.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let Span(every) = args.every;
    if every < SHORTEST {
        return Err(failure("--every is too short", "give 500ms or more"));
    }
    // The client does not repeat calls: the next refresh is soon enough, and errors are shown on the screen.
    let settings = Settings { retries: 0, read_timeout: PATIENCE, ..Settings::default() };
    let client = args.server.client_with(settings)?;
    let mut view = View::new(client.url());
    view.filter = args.filter;
    let mut source = Source::default();
    if args.once {
        view.seen = source.refresh(&client).await?;
        let (width, height) = columns_and_lines();
        render::write(text(&mut view, width, height, age::now()))?;
        return Ok(Exit::Done);
    }
    if !terminal::is_there() {
        let hint =
            "`longrun top --once` prints the screen as text; `longrun operations count --group-by kind,status` counts";
        return Err(failure("top needs a terminal", hint));
    }
    // An error at the beginning is reported as in every other command.
    view.seen = source.refresh(&client).await?;
    let mut screen = Screen::open()?;
    live(&client, &mut view, source, &mut screen, every).await?;
    Ok(Exit::Done)
}

/// Draws the screen, refreshes it and handles keys until the user quits.
async fn live(
    client: &Client,
    view: &mut View,
    source: Source,
    screen: &mut Screen,
    every: Duration,
) -> anyhow::Result<()> {
    let mut ticks = interval(every.min(LONGEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    // Keys are handled during a call to the server; there is only one refresh at a time.
    let mut source = Some(source);
    let (seen_sender, mut seen) = tokio::sync::mpsc::channel::<(Source, Result<Seen, Error>)>(1);
    let (shown_sender, mut shown) = tokio::sync::mpsc::channel::<String>(1);
    loop {
        screen.draw(|frame| screen::draw(frame, view, age::now()))?;
        tokio::select! {
            _ = ticks.tick() => {
                if view.paused {
                    continue;
                }
                if let Some(mut source) = source.take() {
                    let (client, sender) = (client.clone(), seen_sender.clone());
                    tokio::spawn(async move {
                        let seen = source.refresh(&client).await;
                        let _ = sender.send((source, seen)).await;
                    });
                }
            }
            Some((back, seen)) = seen.recv() => {
                source = Some(back);
                match seen {
                    // The result of a refresh that started before the pause does not change the screen during the
                    // pause.
                    Ok(_) if view.paused => {}
                    Ok(seen) => (view.seen, view.problem) = (seen, None),
                    Err(error) => view.problem = Some(reason(&error)),
                }
            }
            Some(text) = shown.recv() => view.mode = Mode::One { text, scrolled: 0 },
            event = screen.event() => match event {
                Event::Resized => {}
                Event::End => return Ok(()),
                Event::Key(key) => match view.press(key) {
                    Wish::Nothing => {}
                    Wish::Quit => return Ok(()),
                    Wish::Show(id) => {
                        let (client, sender) = (client.clone(), shown_sender.clone());
                        tokio::spawn(async move { sender.send(described(&client, &id).await).await });
                    }
                },
            },
        }
    }
}

/// An operation in the format of `longrun operations get`.
async fn described(client: &Client, id: &str) -> String {
    match client.get_detail(id).await {
        Ok(answer) => description::describe(render::Style::PLAIN, &answer.value.operation, age::now()),
        Err(error) => render::printable(&format!("operation {id}: {error}")),
    }
}

/// The screen as text, without colors and trailing spaces.
fn text(view: &mut View, width: u16, height: u16, now: Timestamp) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| screen::draw(frame, view, now));
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

/// The size of a printed screen: from `COLUMNS` and `LINES`, or that of the terminal.
fn columns_and_lines() -> (u16, u16) {
    let number =
        |name| std::env::var(name).ok().and_then(|text| text.parse::<u16>().ok()).filter(|n| (1..=1_000).contains(n));
    let (width, height) = if terminal::is_there() { crossterm::terminal::size().unwrap_or(FRAME) } else { FRAME };
    (number("COLUMNS").unwrap_or(width), number("LINES").unwrap_or(height))
}
