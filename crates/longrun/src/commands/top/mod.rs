//! `longrun top`: what waits, runs and fails, live, on the whole terminal.
//!
//! Promises: the terminal is as it was before when the command ends, however it ends (a key, an error, a panic, SIGTERM,
//! SIGINT, SIGHUP); a server that goes away is asked again, and what was seen last stays on the screen meanwhile.

mod data;
mod screen;
mod view;

use std::time::Duration;

use clap::ArgAction;
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

/// The shortest time between two refreshes, so that no one floods a server by mistake.
const SHORTEST: Duration = Duration::from_millis(500);
/// How long a call may take before the screen says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);
/// The size of a frame that is printed where there is no terminal.
const FRAME: (u16, u16) = (100, 40);

/// What `longrun top` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often to ask the server; at least 500ms
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    every: Span,
    /// Only kinds whose names contain this; / changes it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Print the screen once, as text, and end; needs no terminal
    #[arg(long, action = ArgAction::SetTrue)]
    once: bool,
    #[command(flatten)]
    server: ClientArgs,
}

/// Shows it until it is told to quit.
///
/// # Errors
/// When there is no terminal, `--every` is too short, or the server cannot be asked at all.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let Span(every) = args.every;
    if every < SHORTEST {
        return Err(failure("--every is too short", "give 500ms or more"));
    }
    // Calls are not repeated by the client: the next refresh is soon enough, and what went wrong is on the screen.
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
    // An error at the beginning is reported as every command reports it.
    view.seen = source.refresh(&client).await?;
    let mut screen = Screen::open()?;
    live(&client, &mut view, source, &mut screen, every).await?;
    Ok(Exit::Done)
}

/// Draws, asks and obeys keys until it is told to quit.
async fn live(
    client: &Client,
    view: &mut View,
    source: Source,
    screen: &mut Screen,
    every: Duration,
) -> anyhow::Result<()> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    // While the server is asked, keys are obeyed; it is never asked twice at a time.
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
                    // The answer to a question from before the pause does not change the screen during it.
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

/// An operation as `longrun operations get` shows it.
async fn described(client: &Client, id: &str) -> String {
    match client.get_detail(id).await {
        Ok(answer) => description::describe(render::Style::PLAIN, &answer.value.operation, age::now()),
        Err(error) => render::printable(&format!("operation {id}: {error}")),
    }
}

/// The screen as text, without colours; lines end where their text does.
fn text(view: &mut View, width: u16, height: u16, now: Timestamp) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| screen::draw(frame, view, now));
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

/// The size of a printed screen: that of `COLUMNS` and `LINES`, or of the terminal.
fn columns_and_lines() -> (u16, u16) {
    let number =
        |name| std::env::var(name).ok().and_then(|text| text.parse::<u16>().ok()).filter(|n| (1..=1_000).contains(n));
    let (width, height) = if terminal::is_there() { crossterm::terminal::size().unwrap_or(FRAME) } else { FRAME };
    (number("COLUMNS").unwrap_or(width), number("LINES").unwrap_or(height))
}
