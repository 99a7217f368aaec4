//! Creates what follows from the ends of operations.
//!
//! It reads the store's change log, of every organization, and stores its position once everything is created that
//! follows from what it has read. After a crash in between, the next process or the next server reads a part again;
//! each creation has an idempotency key that is derived from the position of the end in the change log, so that it
//! happens once. Only one server of a store does this at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use operations::{Access, OperationId};
use store::{Change, IdempotencyKey, Position, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::consumer::{self, consume};
use crate::FollowUp;
use crate::context::Context;

/// The name under which the store keeps the position of this consumer.
const CONSUMER: &str = "follow-ups";
/// The number of changes that are read together; their operations are in memory, outputs included.
const STRETCH: u32 = 64;

/// Makes the store keep the changes that this consumer has to read, from now on.
pub(crate) async fn begin(store: &dyn Store) -> Result<(), StoreError> {
    store.register_consumer(CONSUMER).await
}

/// Creates until it is stopped; returns at once when there is no [`FollowUp`](crate::FollowUp).
pub(crate) async fn create(context: Arc<Context>, stop: CancellationToken) {
    let Some(follow_up) = context.registry.follow_up() else { return };
    consume(&context, Following { context: &context, follow_up: &*follow_up }, &stop).await;
}

struct Following<'r> {
    context: &'r Context,
    follow_up: &'r dyn FollowUp,
}

impl consumer::Consumer for Following<'_> {
    const TASK: &'static str = "follow_ups";
    const NAME: &'static str = CONSUMER;
    const EVERY: Duration = Duration::from_millis(250);

    async fn begin(&self) -> Result<(), StoreError> {
        begin(&*self.context.store).await
    }

    async fn take(&self, organization: &str, position: Position) -> Result<bool, StoreError> {
        self.follow(organization, position).await.map(|()| true)
    }
}

impl Following<'_> {
    /// Creates what follows from a batch of an organization's changes.
    async fn follow(&self, organization: &str, position: Position) -> Result<(), StoreError> {
        let store = &*self.context.store;
        let part = match store.changes(organization, position, STRETCH).await {
            Err(StoreError::PositionUnknown) => {
                tracing::warn!(
                    organization,
                    "some changes expired before they were read, so operations that follow from them may be missing"
                );
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
        let traces = self.context.registry.traces();
        let contexts = match traces.is_on() && !ids.is_empty() {
            true => store.trace_contexts(organization, &ids).await?,
            false => HashMap::new(),
        };
        // All at once: the store combines them into few transactions.
        let contexts = &contexts;
        let created = try_join_all(ends.into_iter().zip(found).map(|(change, now)| async move {
            let Some(ended) = now.and_then(|now| change.then(now)) else { return Ok(false) };
            let mut due = self.follow_up.due(organization, &ended);
            if due.is_empty() {
                return Ok(false);
            }
            // Operations that follow from an end belong to the trace of the ended operation.
            let trace = contexts.get(&ended.id).map(|created| traces.after(*created, &ended));
            due.iter_mut().for_each(|new| new.trace = trace);
            match store.create(organization, due, Some(key(change))).await {
                Ok(_) => Ok(true),
                // They were created and have been deleted since, or the whole organization has.
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

/// The key is the same for one end, whichever server creates what follows; no client can send it: clients' keys are
/// printable ASCII.
fn key(change: &Change) -> IdempotencyKey {
    IdempotencyKey { key: format!("\u{1}{CONSUMER} {} {}", change.id, change.position), fingerprint: [0; 32] }
}
