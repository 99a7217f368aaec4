//! The terminal while `longrun top` or `longrun operations watch` uses it: in raw mode, on the alternate screen, with
//! keys and signals as events.

use std::io::{self, IsTerminal, Stdout, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossterm::cursor::Show;
use crossterm::event::{Event as Input, KeyEvent, KeyEventKind, poll, read};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};

/// How long a thread that waits for keys keeps running after the end.
const POLL: Duration = Duration::from_millis(100);

/// What happens at the terminal.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Key(KeyEvent),
    Resized,
    /// A signal to end, or the terminal is gone.
    End,
}

/// Whether there is a terminal to draw on and to read keys from.
pub fn is_there() -> bool {
    stdout().is_terminal() && io::stdin().is_terminal()
}

/// The terminal; it is released when this is dropped, or when the program panics.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    input: Receiver<Input>,
    is_over: Arc<AtomicBool>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Screen {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open() -> anyhow::Result<Screen> {
        // Signals first: none may end the process between here and the end without releasing the terminal.
        let listen = |kind| signal(kind).context("cannot receive signals");
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let hangup = listen(SignalKind::hangup())?;
        // The message of a panic would be written on the alternate screen and vanish with it.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode().context("cannot use the terminal")?;
        let entered = execute!(stdout(), EnterAlternateScreen);
        let terminal = entered.and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        let terminal = terminal.inspect_err(|_| give_back()).context("cannot use the terminal")?;
        let is_over = Arc::new(AtomicBool::new(false));
        let input = keys(Arc::clone(&is_over));
        Ok(Screen { terminal, input, is_over, terminate, interrupt, hangup })
    }

    /// Draws.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        self.terminal.draw(draw).context("cannot write to the terminal")?;
        Ok(())
    }

    /// Waits for the next event.
    pub async fn event(&mut self) -> Event {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Event::End,
                _ = self.interrupt.recv() => return Event::End,
                _ = self.hangup.recv() => return Event::End,
                input = self.input.recv() => match input {
                    None => return Event::End,
                    Some(Input::Key(key)) if key.kind != KeyEventKind::Release => return Event::Key(key),
                    Some(Input::Resize(..)) => return Event::Resized,
                    Some(_) => {}
                },
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        give_back();
    }
}

/// Restores the terminal; errors here cannot be handled.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Keys and changes of size, read by a separate thread, because reading a terminal blocks.
fn keys(is_over: Arc<AtomicBool>) -> Receiver<Input> {
    let (sender, input) = channel(16);
    std::thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            let read = match poll(POLL) {
                Ok(false) => continue,
                Ok(true) => read(),
                Err(error) => Err(error),
            };
            // Without a terminal, or when the receiver is gone, there is nothing to read.
            if !read.is_ok_and(|event| sender.blocking_send(event).is_ok()) {
                return;
            }
        }
    });
    input
}
