//! Creates operations from what applications put into the store's inbox in transactions of their own.
//!
//! It only polls: a notification would take a lock at every commit of every application, cannot be sent from a prepared
//! transaction, and is lost in connection poolers. Reading an empty inbox reads one page of an index.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The number of rows of an organization that one transaction takes.
const BATCH: u32 = 500;
/// The longest wait between two reads.
const LONGEST: Duration = Duration::from_secs(2);

/// The wait before the next read, by how long ago the inbox was last used: an inbox in use is read so often that a row
/// waits for milliseconds, and one that is never used costs next to nothing.
fn pause(unused_for: Option<Duration>) -> Duration {
    match unused_for {
        Some(unused) if unused < Duration::from_secs(10) => Duration::from_millis(5),
        Some(unused) if unused < Duration::from_secs(3_600) => Duration::from_millis(25),
        _ => LONGEST,
    }
}

/// Empties the inbox until it is stopped; returns at once when the store has none.
pub(crate) async fn empty(context: Arc<Context>, stop: CancellationToken) {
    let used: Mutex<Option<Instant>> = Mutex::default();
    run_periodic(&context.health, Schedule::every("inbox", LONGEST), &stop, || async {
        Ok::<_, StoreError>(match context.store.drain_inbox(BATCH).await? {
            None => Next::Never,
            Some(0) => Next::After(pause(lock(&used).map(|at| at.elapsed()))),
            Some(rows) => {
                tracing::debug!(rows, "operations were created from rows of the inbox");
                *lock(&used) = Some(Instant::now());
                context.waker.wake();
                // There may be more rows than one batch.
                Next::After(Duration::ZERO)
            }
        })
    })
    .await;
}

fn lock(used: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_in_use_is_looked_at_more_often() {
        let pauses = [Some(0), Some(11), Some(4_000)].map(|seconds| pause(seconds.map(Duration::from_secs)));
        assert!(pauses.is_sorted() && pauses[0] < pauses[1] && pauses[1] < pauses[2], "{pauses:?}");
        assert_eq!(pause(None), pauses[2]);
    }
}
