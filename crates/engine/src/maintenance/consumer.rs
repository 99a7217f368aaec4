//! What every consumer of the change log does: it holds a lease that only one server has at a time, and reads the
//! changes of each organization that has new ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Coverage, Position, SAFETY_POLL, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::elsewhere::on_each;
use crate::context::Context;

/// The number of organizations that are read from the store at once. Each gets one batch before any gets the next.
const ORGANIZATIONS: u32 = 100;
/// How long the last pass, when the process ends, may take.
const LAST_PASS: Duration = Duration::from_secs(2);
/// How long a lease lasts without being renewed: when a server dies while it holds one, nothing is done for this long.
const LEASE: Duration = Duration::from_secs(10);
/// The age at which a lease is renewed: long before it ends.
const RENEWAL: Duration = Duration::from_secs(3);

/// A consumer of the change log.
pub(crate) trait Consumer {
    /// The name of its task.
    const TASK: &'static str;
    /// The name under which the store keeps its position.
    const NAME: &'static str;
    /// The time between two passes when something was committed, and where it is not notified of what other processes
    /// commit.
    const EVERY: Duration;

    /// Makes the store keep the changes that it has to read, from now on.
    fn begin(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Processes a batch of an organization's changes; returns whether it made progress. A batch on which it made none
    /// is read again after [`Consumer::EVERY`].
    fn take(&self, organization: &str, position: Position) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Reads changes until it is stopped.
pub(crate) async fn consume<C: Consumer + Sync>(context: &Arc<Context>, consumer: C, stop: &CancellationToken) {
    let round = Mutex::new(Round { context, consumer: &consumer, has_begun: false, renewed_at: None });
    let (committed, commits) = (Notify::new(), context.store.commits().feed());
    let schedule = Schedule::every(C::TASK, SAFETY_POLL).woken_by(&committed);
    let looks = run_periodic(&context.health, schedule, stop, || async {
        let found = round.lock().await.pass().await?;
        let is_notified = context.store.commits().coverage() != Coverage::Own;
        Ok::<_, StoreError>(match found {
            Found::More => Next::After(Duration::ZERO),
            Found::Nothing if is_notified => Next::AfterPeriod,
            Found::Nothing | Found::NoProgress => Next::After(C::EVERY),
        })
    });
    tokio::select! {
        () = looks => {}
        () = async {
            on_each(commits, C::EVERY, || committed.notify_one()).await;
            std::future::pending().await
        } => {}
    }
    // For the outcomes of the last attempts of this process. What is not finished in time is left to the next process
    // or server.
    let _ = tokio::time::timeout(LAST_PASS, round.lock().await.pass()).await;
}

/// The result of a pass.
enum Found {
    Nothing,
    /// There were changes, but it made no progress on them.
    NoProgress,
    /// There were changes, and there may be more.
    More,
}

struct Round<'r, C> {
    context: &'r Context,
    consumer: &'r C,
    has_begun: bool,
    /// When this process last renewed the lease.
    renewed_at: Option<Instant>,
}

impl<C: Consumer> Round<'_, C> {
    /// Processes one batch of each organization that has something new.
    async fn pass(&mut self) -> Result<Found, StoreError> {
        let store = &*self.context.store;
        if !self.has_begun {
            self.consumer.begin().await?;
            self.has_begun = true;
        }
        let (mut after, mut found, mut failed) = (String::new(), Found::Nothing, None);
        loop {
            let uncommitted = store.uncommitted(C::NAME, &after, ORGANIZATIONS).await?;
            let is_last = uncommitted.len() < ORGANIZATIONS as usize;
            for (organization, position) in uncommitted {
                if !self.holds_lease().await? {
                    return Ok(Found::Nothing);
                }
                match self.consumer.take(&organization, position).await {
                    Ok(true) => found = Found::More,
                    Ok(false) if matches!(found, Found::Nothing) => found = Found::NoProgress,
                    Ok(false) => {}
                    // An error of one organization, whose row may be locked, must not delay the others.
                    Err(error) => {
                        let cause = &error as &dyn std::error::Error;
                        tracing::warn!(organization, task = C::TASK, error = cause, "changes could not be processed");
                        failed = Some(error);
                    }
                }
                after = organization;
            }
            if is_last {
                return match failed {
                    Some(error) if !matches!(found, Found::More) => Err(error),
                    _ => Ok(found),
                };
            }
        }
    }

    async fn holds_lease(&mut self) -> Result<bool, StoreError> {
        if self.renewed_at.is_none_or(|at| at.elapsed() >= RENEWAL) {
            let asked = Instant::now();
            let holds_lease = self.context.store.acquire_consumer_lease(C::NAME, &self.context.worker, LEASE).await?;
            self.renewed_at = holds_lease.then_some(asked);
        }
        Ok(self.renewed_at.is_some())
    }
}
