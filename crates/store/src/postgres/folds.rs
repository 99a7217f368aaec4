//! Folding: the deltas of the counts are added up in the background.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tasks::{Health, Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::counters;
use super::replica::Written;
use crate::StoreError;

/// Between two folds of what this process has written.
const FOLD_EVERY: Duration = Duration::from_millis(500);
/// Every so many folds, what servers that died left unfolded is looked for.
const SWEEP_EVERY: u32 = 60;

/// Notes which organizations have deltas, for the task that folds them, and were written to, for reads from a standby.
#[derive(Clone)]
pub(super) struct Folds {
    dirty: Arc<Mutex<BTreeSet<String>>>,
    /// `None` without a standby.
    written: Option<Written>,
}

impl Folds {
    /// Starts the folding task; it ends when the last handle is dropped, or the store closes.
    pub(super) fn start(
        pool: Connections,
        written: Option<Written>,
        health: &Health,
        closing: &CancellationToken,
    ) -> Folds {
        let folds = Folds { dirty: Arc::default(), written };
        let weak = Arc::downgrade(&folds.dirty);
        let (health, closing) = (health.clone(), closing.clone());
        tokio::spawn(async move {
            let rounds = AtomicU32::new(0);
            run_periodic(&health, Schedule::every("counter_folds", FOLD_EVERY), &closing, || async {
                let Some(dirty) = weak.upgrade() else { return Ok(Next::Never) };
                if rounds.load(Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
                    let found = counters::unfolded(&pool).await?;
                    lock(&dirty).extend(found);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
                let organizations = lock(&dirty).clone();
                for organization in organizations {
                    // Taken out before: what is written meanwhile is noted anew.
                    lock(&dirty).remove(&organization);
                    if let Err(error) = counters::fold(&pool, &organization).await {
                        lock(&dirty).insert(organization);
                        return Err(error);
                    }
                }
                Ok::<_, StoreError>(Next::AfterPeriod)
            })
            .await;
        });
        folds
    }

    /// Notes that something of an organization was seen, so that a standby that lacks it is not read.
    pub(super) fn seen(&self, organization: &str) {
        if let Some(written) = &self.written {
            written.note(organization);
        }
    }

    /// Notes that the organization has deltas. To be called after the commit and before the answer.
    pub(super) fn note(&self, organization: &str) {
        self.seen(organization);
        let mut dirty = lock(&self.dirty);
        if !dirty.contains(organization) {
            dirty.insert(organization.to_owned());
        }
    }
}

/// Nothing that holds the lock can panic between two changes.
fn lock(dirty: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    dirty.lock().unwrap_or_else(PoisonError::into_inner)
}
