//! The log is written to standard error, so that standard output stays free for answers.
//!
//! Writing to the log never fails or blocks, whatever standard error is connected to: lines go through a bounded queue
//! to a separate thread. Lines for which the queue has no space, and those that cannot be written, are counted
//! ([`lost_lines`]). Panics are logged in the same way: the standard hook would write to standard error directly, and
//! block there.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::render::Style;

/// Maximum number of lines in the queue.
const QUEUE: usize = 16 * 1024;
/// Maximum number of bytes in the queue.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// How long the end of the process may wait for the log.
const FLUSH: Duration = Duration::from_secs(1);

static QUEUED: OnceLock<SyncSender<Entry>> = OnceLock::new();
static WAITING_BYTES: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(Vec<u8>),
    /// Answered once everything before it has been written.
    Flush(Sender<()>),
}

/// Starts logging, once per process.
///
/// # Errors
/// When the filter is invalid, or the process has already started logging.
pub fn start_logging(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let (sender, queue) = sync_channel(QUEUE);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&queue)).context("cannot start")?;
    // A second call fails below.
    let _ = QUEUED.set(sender);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).finish().try_init()?,
        LogFormat::Human => {
            log.with_ansi(Style::of_stderr().is_coloured()).with_target(false).finish().try_init()?;
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(panic = text, at, "a panic");
    }));
    Ok(())
}

/// The number of log lines that were lost because standard error could not be written or nobody read it.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Waits until what was logged is written, for at most one second. Does nothing in a process that does not log.
pub fn flush_log() {
    let (sender, written) = channel();
    if let Some(queue) = QUEUED.get()
        && queue.try_send(Entry::Flush(sender)).is_ok()
    {
        let _ = written.recv_timeout(FLUSH);
    }
}

/// Writes a line to standard error, if it is open: `eprintln!` panics if it is not.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn write_all(queue: &Receiver<Entry>) {
    for entry in queue {
        match entry {
            Entry::Line(line) => {
                if io::stderr().write_all(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
                WAITING_BYTES.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Entry::Flush(written) => {
                // The caller that waited for it may be gone.
                let _ = written.send(());
            }
        }
    }
}

/// Accepts lines, each in one piece.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let has_room = WAITING_BYTES.fetch_add(line.len(), Ordering::Relaxed) < QUEUE_BYTES;
        let is_queued =
            has_room && QUEUED.get().is_some_and(|queue| queue.try_send(Entry::Line(line.to_vec())).is_ok());
        if !is_queued {
            WAITING_BYTES.fetch_sub(line.len(), Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
