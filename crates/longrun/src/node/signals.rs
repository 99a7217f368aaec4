//! When to stop: SIGTERM or SIGINT once for a graceful stop, twice for an immediate one.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Node, flush_log};
use crate::exit::Exit;

/// The signals that ask a server to stop. Created before the server announces itself, so that none is missed.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on, the signals no longer kill the process.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn listen() -> anyhow::Result<StopSignals> {
        let terminate = signal(SignalKind::terminate()).context("cannot receive SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot receive SIGINT")?;
        Ok(StopSignals { terminate, interrupt })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Lets the server work until it is asked to stop, and then stops it gracefully. A second signal ends the process
    /// at once: running attempts are then resumed when the next server starts.
    pub async fn stop_when_asked(mut self, node: Node) {
        let received = self.next().await;
        tracing::info!(signal = received, "stopping: accepting no new calls, letting running operations end");
        tokio::select! {
            () = node.stop() => tracing::info!("stopped"),
            received = self.next() => {
                tracing::warn!(signal = received, "stopping at once");
                flush_log();
                // No destructors: they would wait for what is to be aborted.
                std::process::exit(Exit::Failed as i32);
            }
        }
    }
}
