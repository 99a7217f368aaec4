//! What every consumer of the change log does: it holds a lease that only one server has at a time, and goes round the
//! organizations that have something new.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Coverage, Position, SAFETY_POLL, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::elsewhere::on_each;
use crate::context::Context;

/// Organizations of one look. Each gets one batch before any gets the next.
const ORGANIZATIONS: u32 = 100;
/// How long the look at the end may take.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How long a lease lasts without being renewed: for that long nothing is done when a server dies while it holds one.
const TURN: Duration = Duration::from_secs(10);
/// When a lease is renewed: long before it ends.
const RENEWAL: Duration = Duration::from_secs(3);

/// A consumer of the change log.
pub(crate) trait Consumer {
    /// The name of its task.
    const TASK: &'static str;
    /// The name under which the store keeps how far it is.
    const NAME: &'static str;
    /// Between two looks when something was committed, and where it is not notified of what other processes commit.
    const EVERY: Duration;

    /// Has the store keep what is to be looked at, from now on.
    fn begin(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deals with a batch of an organization's changes; answers whether it made progress. A batch on which it made none
    /// is looked at again after [`Consumer::EVERY`].
    fn take(&self, organization: &str, position: Position) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Reads until it is stopped.
pub(crate) async fn consume<C: Consumer + Sync>(context: &Arc<Context>, consumer: C, stop: &CancellationToken) {
    let round = Mutex::new(Round { context, consumer: &consumer, has_begun: false, turn: None });
    let (committed, commits) = (Notify::new(), context.store.commits().feed());
    let schedule = Schedule::every(C::TASK, SAFETY_POLL).woken_by(&committed);
    let looks = run_periodic(&context.health, schedule, stop, || async {
        let found = round.lock().await.look().await?;
        let is_told = context.store.commits().coverage() != Coverage::Own;
        Ok::<_, StoreError>(match found {
            Found::More => Next::After(Duration::ZERO),
            Found::Nothing if is_told => Next::AfterPeriod,
            Found::Nothing | Found::HeldUp => Next::After(C::EVERY),
        })
    });
    tokio::select! {
        () = looks => {}
        () = async {
            on_each(commits, C::EVERY, || committed.notify_one()).await;
            std::future::pending().await
        } => {}
    }
    // The outcomes of the last attempts of this process. The next process or server finds what is not finished in time.
    let _ = tokio::time::timeout(LAST_LOOK, round.lock().await.look()).await;
}

/// What a look found.
enum Found {
    Nothing,
    /// Something on which it made no progress.
    HeldUp,
    /// Something, and there may be more.
    More,
}

struct Round<'r, C> {
    context: &'r Context,
    consumer: &'r C,
    has_begun: bool,
    /// When the lease of this process was last renewed.
    turn: Option<Instant>,
}

impl<C: Consumer> Round<'_, C> {
    /// Looks at a batch of each organization that has something new.
    async fn look(&mut self) -> Result<Found, StoreError> {
        let store = &*self.context.store;
        if !self.has_begun {
            self.consumer.begin().await?;
            self.has_begun = true;
        }
        let (mut after, mut found) = (String::new(), Found::Nothing);
        loop {
            let uncommitted = store.uncommitted(C::NAME, &after, ORGANIZATIONS).await?;
            let is_last = uncommitted.len() < ORGANIZATIONS as usize;
            for (organization, position) in uncommitted {
                if !self.has_turn().await? {
                    return Ok(Found::Nothing);
                }
                match self.consumer.take(&organization, position).await? {
                    true => found = Found::More,
                    false if matches!(found, Found::Nothing) => found = Found::HeldUp,
                    false => {}
                }
                after = organization;
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    async fn has_turn(&mut self) -> Result<bool, StoreError> {
        if self.turn.is_none_or(|at| at.elapsed() >= RENEWAL) {
            let asked = Instant::now();
            let has_turn = self.context.store.acquire_consumer_lease(C::NAME, &self.context.worker, TURN).await?;
            self.turn = has_turn.then_some(asked);
        }
        Ok(self.turn.is_some())
    }
}
