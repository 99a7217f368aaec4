//! Folding: the deltas of the counts are added up in the background.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tasks::{Health, Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::counters;
use super::replica::Written;
use crate::StoreError;

/// The time between two folds of the deltas that this process has written.
const FOLD_EVERY: Duration = Duration::from_millis(500);
/// The least time between two searches for deltas that servers that died left unfolded.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Such a search is made after this many times the duration of the last one: while a snapshot is held open, it walks
/// past all deltas that were folded since.
const SWEEP_SHARE: u32 = 100;

/// Notes which organizations have deltas, for the task that folds them, and which were written to, for reads from a
/// standby.
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
            let sweep = Mutex::new(Instant::now());
            run_periodic(&health, Schedule::every("counter_folds", FOLD_EVERY), &closing, || async {
                let Some(dirty) = weak.upgrade() else { return Ok(Next::Never) };
                let begin = Instant::now();
                if *lock(&sweep) <= begin {
                    let found = counters::unfolded(&pool).await?;
                    lock(&dirty).extend(found);
                    *lock(&sweep) = begin + SWEEP_EVERY.max(begin.elapsed() * SWEEP_SHARE);
                }
                let organizations = lock(&dirty).clone();
                for organization in organizations {
                    // Taken out first: organizations that are written to meanwhile are noted anew.
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

    /// Notes that data of an organization was seen, so that a standby that lacks it is not read.
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
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
