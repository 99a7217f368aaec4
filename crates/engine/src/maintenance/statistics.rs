//! Counts events, and deletes counts that have expired.
//!
//! It reads the store's change log; the store writes the counts of a part of the log together with the new position, so
//! that a crash repeats nothing and omits nothing. Only one server of a store does this at a time.

use std::sync::Arc;
use std::time::Duration;

use store::{Position, STATISTICS_CONSUMER, Store, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::consumer::{Consumer, consume};
use crate::context::Context;

/// The number of changes that are counted together, in one transaction.
const BATCH: u32 = 1_000;
/// The time between two passes over expired counts, when nothing is left to delete.
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// The number of counts that one transaction deletes, so that no other write waits for long.
const FORGET_BATCH: u32 = 500;

/// Makes the store keep the changes that are to be counted, from now on.
pub(crate) async fn begin(store: &dyn Store) -> Result<(), StoreError> {
    store.begin_statistics().await
}

/// Counts until it is stopped.
pub(crate) async fn count(context: Arc<Context>, stop: CancellationToken) {
    consume(&context, Counting(&*context.store), &stop).await;
}

struct Counting<'c>(&'c dyn Store);

impl Consumer for Counting<'_> {
    const TASK: &'static str = "statistics";
    const NAME: &'static str = STATISTICS_CONSUMER;
    // A part costs as much as a few writes, however small it is, and a delay of a second does not matter.
    const EVERY: Duration = Duration::from_secs(1);

    async fn begin(&self) -> Result<(), StoreError> {
        begin(self.0).await
    }

    async fn take(&self, organization: &str, position: Position) -> Result<bool, StoreError> {
        self.0.count_changes(organization, position, BATCH).await
    }
}

/// Deletes expired counts until it is stopped.
pub(crate) async fn forget(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("old_statistics", FORGET_EVERY), &stop, || async {
        match context.store.forget_statistics(FORGET_BATCH).await? {
            0 => Ok::<_, StoreError>(Next::AfterPeriod),
            _ => Ok(Next::After(Duration::ZERO)),
        }
    })
    .await;
}
