//! Creates what follows from the ends of operations.
//!
//! It reads the store's feed of changes, of every organization, and notes how far it is once everything is created that
//! follows from what it has read. A crash in between makes the next process, or the next server, read a part again;
//! each creation has an idempotency key that is made of the place of the end in the feed, so that it happens once.
//! Servers of one store take turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use operations::{Access, OperationId};
use store::{Change, IdempotencyKey, Position, Store, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::FollowUp;
use crate::context::Context;

/// The name under which the store keeps how far this is.
const CONSUMER: &str = "follow-ups";
/// Between two looks when there was nothing.
const EVERY: Duration = Duration::from_millis(250);
/// Changes that are looked at together; their operations are in memory, outputs included.
const STRETCH: u32 = 64;
/// Organizations of one look. Each gets one batch before any gets the next.
const ORGANIZATIONS: u32 = 100;
/// How long the look at the end may take.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How long a turn lasts without being renewed: so long nothing is created when a server dies in its turn.
const TURN: Duration = Duration::from_secs(10);
/// When a turn is renewed: long before it ends.
const RENEWAL: Duration = Duration::from_secs(3);

/// Has the store keep what is to be looked at, from now on.
pub(crate) async fn begin(store: &dyn Store) -> Result<(), StoreError> {
    store.register_consumer(CONSUMER).await
}

/// Creates until told to stop; returns at once when nothing follows from anything.
pub(crate) async fn create(context: Arc<Context>, stop: CancellationToken) {
    let Some(follow_up) = context.registry.follow_up() else { return };
    let round = Mutex::new(Round { context: &context, follow_up: &*follow_up, has_begun: false, turn: None });
    run_periodic(&context.health, Schedule::every("follow_ups", EVERY), &stop, || async {
        let has_found = round.lock().await.look().await?;
        Ok::<_, StoreError>(if has_found { Next::After(Duration::ZERO) } else { Next::AfterPeriod })
    })
    .await;
    // What the last attempts of this process came to. What is not finished in time, the next process or server finds.
    let _ = tokio::time::timeout(LAST_LOOK, round.lock().await.look()).await;
}

struct Round<'r> {
    context: &'r Context,
    follow_up: &'r dyn FollowUp,
    has_begun: bool,
    /// When the turn of this process was renewed last.
    turn: Option<Instant>,
}

impl Round<'_> {
    /// Looks at a batch of each organization that has something new; answers whether there was any.
    async fn look(&mut self) -> Result<bool, StoreError> {
        let store = &*self.context.store;
        if !self.has_begun {
            begin(store).await?;
            self.has_begun = true;
        }
        let (mut after, mut has_found) = (String::new(), false);
        loop {
            let uncommitted = store.uncommitted(CONSUMER, &after, ORGANIZATIONS).await?;
            let is_last = uncommitted.len() < ORGANIZATIONS as usize;
            for (organization, position) in uncommitted {
                if !self.has_turn().await? {
                    return Ok(false);
                }
                self.follow(&organization, position).await?;
                has_found = true;
                after = organization;
            }
            if is_last {
                return Ok(has_found);
            }
        }
    }

    async fn has_turn(&mut self) -> Result<bool, StoreError> {
        if self.turn.is_none_or(|at| at.elapsed() >= RENEWAL) {
            let asked = Instant::now();
            let has_turn = self.context.store.acquire_consumer_lease(CONSUMER, &self.context.worker, TURN).await?;
            self.turn = has_turn.then_some(asked);
        }
        Ok(self.turn.is_some())
    }

    /// Creates what follows from a batch of an organization's feed.
    async fn follow(&self, organization: &str, position: Position) -> Result<(), StoreError> {
        let store = &*self.context.store;
        let part = match store.changes(organization, position, STRETCH).await {
            Err(StoreError::PositionUnknown) => {
                tracing::warn!(organization, "some ends were forgotten before it was seen what follows from them");
                let end = store.end_of_changes(organization).await?;
                return store.commit_offset(CONSUMER, organization, end).await;
            }
            part => part?,
        };
        let ends = part.changes.iter().filter(|change| change.status.is_some_and(|status| status.is_terminal()));
        let ends: Vec<&Change> = ends.collect();
        let ids: Vec<OperationId> = ends.iter().map(|change| change.id).collect();
        let found =
            if ids.is_empty() { Vec::new() } else { store.get_many(&Access::organization(organization), &ids).await? };
        // All at once: the store makes few transactions of them.
        let created = try_join_all(ends.into_iter().zip(found).map(|(change, now)| async move {
            let Some(ended) = now.and_then(|now| change.then(now)) else { return Ok(false) };
            let due = self.follow_up.due(organization, &ended);
            if due.is_empty() {
                return Ok(false);
            }
            match store.create(organization, due, Some(key(change))).await {
                Ok(_) => Ok(true),
                // They were created, and somebody removed them since; or the whole organization.
                Err(StoreError::IdempotencyGone | StoreError::OrganizationGone) => Ok(false),
                Err(error) => Err(error),
            }
        }));
        if created.await?.contains(&true) {
            self.context.waker.wake();
        }
        store.commit_offset(CONSUMER, organization, part.next).await
    }
}

/// The same for one end, whoever creates what follows; and none that a client could send, which are of printable ASCII.
fn key(change: &Change) -> IdempotencyKey {
    IdempotencyKey { key: format!("\u{1}{CONSUMER} {} {}", change.id, change.position), fingerprint: [0; 32] }
}
