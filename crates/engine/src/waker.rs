//! Notifies everything that takes from the queue in this process that there is something to look for.

use std::sync::{Arc, Weak};

use operations::{Access, NewOperation, Operation, OperationId, Status};
use store::{IdempotencyKey, Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::context::Context;
use crate::eager;

/// Notifies the engine of this process, and everything else that takes from the queue here, of new work. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Woken>);

#[derive(Debug, Default)]
struct Woken {
    engine: Notify,
    /// What the engine runs.
    kinds: Vec<String>,
    /// Somebody wants an operation stopped.
    heartbeats: Notify,
    /// How often there was new work.
    others: watch::Sender<u64>,
    /// The engine; nothing where there is none.
    context: Weak<Context>,
}

impl Waker {
    /// The waker of an engine that runs these kinds.
    pub(crate) fn new(kinds: Vec<String>, context: Weak<Context>) -> Waker {
        Waker(Arc::new(Woken { kinds, context, ..Woken::default() }))
    }

    /// Makes the engine and the subscribers look into the queue now. Calls while they look are remembered (as one).
    pub fn wake(&self) {
        self.wake_engine();
        self.0.others.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// The same for new work of one kind: the engine looks only if it runs that kind.
    pub fn created(&self, kind: &str) {
        if self.0.kinds.iter().any(|known| known == kind) {
            self.wake_engine();
        }
        self.0.others.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Creates one operation, with this id or one of its own, and has it run: it starts at once, in the transaction
    /// that creates it, if the engine of this process has capacity for its kind and nothing older waits; otherwise
    /// everything that takes from the queue is woken.
    ///
    /// # Errors
    /// Those of [`Store::create_as`].
    pub async fn create(
        &self,
        store: &dyn Store,
        access: &Access,
        operation: NewOperation,
        id: Option<OperationId>,
        key: Option<IdempotencyKey>,
    ) -> Result<Operation, StoreError> {
        let start = match self.0.context.upgrade() {
            Some(context) => eager::reserve(&context, &access.organization, &operation).await,
            None => None,
        };
        let ids = id.into_iter().collect();
        let mut created = store.create_as(access, vec![operation], ids, key, start).await?;
        let created = created.pop().ok_or_else(|| StoreError::Unusable("a creation made nothing".to_owned()))?;
        if created.status == Status::Pending {
            self.created(&created.kind);
        }
        Ok(created)
    }

    /// Lets the engine of this process learn now, and not at its next heartbeat, what it is asked to stop.
    pub fn cancelled(&self) {
        self.0.heartbeats.notify_one();
    }

    /// Wake-ups from now on, for everything that takes from the queue beside the engine.
    pub fn subscribe(&self) -> Wakes {
        Wakes(self.0.others.subscribe())
    }

    /// Makes the engine alone look into the queue.
    pub(crate) fn wake_engine(&self) {
        self.0.engine.notify_one();
    }

    /// What makes the engine look.
    pub(crate) fn engine_signal(&self) -> &Notify {
        &self.0.engine
    }

    /// Says that there was a [`Waker::cancelled`].
    pub(crate) fn cancelled_signal(&self) -> &Notify {
        &self.0.heartbeats
    }
}

/// The wake-ups of a [`Waker`].
#[derive(Clone, Debug)]
pub struct Wakes(watch::Receiver<u64>);

impl Wakes {
    /// Waits until there was a wake-up since the last call; several count as one. Never returns when the last [`Waker`]
    /// is gone.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
