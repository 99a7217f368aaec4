//! Makes operations of what applications put into the store's inbox in transactions of their own.
//!
//! By polling alone: a notification would take a lock at every commit of every application, cannot be sent from a
//! prepared transaction, and is lost in connection poolers. A look at an empty inbox reads one page of an index.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::dispatch::Shared;

/// Rows of an organisation that one transaction takes.
const BATCH: u32 = 500;
/// After a failed look; the store may be away.
const RETRY: Duration = Duration::from_secs(1);

/// The wait before the next look, by how long ago the inbox was used: what is in use is looked at so often that a row
/// waits for milliseconds, what is never used costs next to nothing.
fn pause(unused_for: Option<Duration>) -> Duration {
    match unused_for {
        Some(unused) if unused < Duration::from_secs(10) => Duration::from_millis(5),
        Some(unused) if unused < Duration::from_secs(3_600) => Duration::from_millis(25),
        _ => Duration::from_millis(250),
    }
}

/// Empties the inbox until told to stop; returns at once when the store has none.
pub(crate) async fn empty(shared: Arc<Shared>, stop: CancellationToken) {
    let mut used: Option<Instant> = None;
    let mut is_failing = false;
    loop {
        let pause = match shared.store.drain_inbox(BATCH).await {
            Ok(None) => return,
            Ok(Some(0)) => pause(used.map(|at| at.elapsed())),
            Ok(Some(rows)) => {
                tracing::debug!(rows, "operations were made of rows of the inbox");
                used = Some(Instant::now());
                shared.waker.wake();
                // There may be more than a batch.
                Duration::ZERO
            }
            Err(error) => {
                // Once an outage: the dispatcher tells the rest.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(error = &error as &dyn std::error::Error, "could not look into the inbox");
                }
                RETRY
            }
        };
        is_failing &= pause == RETRY;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
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
