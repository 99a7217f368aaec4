//! Detects that attempts cannot be started on this machine at all.
//!
//! A handler that cannot start any work (its program is gone, its machine is out of processes) would claim the whole
//! queue and do none of it. Operations that it cannot start are released; the next claim comes after a growing pause;
//! and after [`MAX_IN_A_ROW`] failed starts the worker ends, so that somebody looks into it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::handler::Failure;
use crate::error::Error;
use crate::retry::pause;

/// The worker ends after this many consecutive attempts that could not be started: high enough that a temporary
/// shortage of memory or processes does not end it, low enough that a lasting problem is noticed within seconds.
const MAX_IN_A_ROW: u32 = 5;

/// Counts consecutive attempts that could not be started.
#[derive(Debug, Default)]
pub(super) struct Starts {
    failed: Mutex<Failed>,
    hopeless: CancellationToken,
}

#[derive(Debug, Default)]
struct Failed {
    in_a_row: u32,
    reason: String,
}

impl Starts {
    /// Records the result of an attempt.
    pub fn note(&self, done: &Result<Result<String, Failure>, JoinError>) {
        let mut failed = self.lock();
        let Ok(Err(Failure { message, not_started: true, .. })) = done else {
            failed.in_a_row = 0;
            return;
        };
        tracing::warn!(reason = message, "an attempt could not be started; it is released");
        failed.in_a_row += 1;
        failed.reason.clone_from(message);
        if failed.in_a_row >= MAX_IN_A_ROW {
            self.hopeless.cancel();
        }
    }

    /// How long to pause before the next claim.
    pub fn pause(&self) -> Option<Duration> {
        Some(self.lock().in_a_row).filter(|count| *count > 0).map(|count| pause(None, count - 1))
    }

    /// Ready when there were too many; returns the error.
    pub async fn hopeless(&self) -> Error {
        self.hopeless.cancelled().await;
        let failed = self.lock();
        Error::NotStarted { attempts: failed.in_a_row.max(MAX_IN_A_ROW), reason: failed.reason.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Failed> {
        // Nothing that holds the lock can panic between two changes: a poisoned count is still consistent.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
