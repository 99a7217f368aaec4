//! Notifies everything that takes operations from the queue in this process when the queue should be read.

use std::sync::{Arc, Weak};

use operations::{Access, NewOperation, Operation, OperationId, Status};
use store::{IdempotencyKey, Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::context::Context;
use crate::eager;

/// Notifies the engine of this process, and everything else that takes operations from the queue here, of new work.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Woken>);

#[derive(Debug, Default)]
struct Woken {
    engine: Notify,
    /// The kinds that the engine runs.
    kinds: Vec<String>,
    /// Notified when somebody cancels an operation.
    heartbeats: Notify,
    /// The number of times that there was new work.
    others: watch::Sender<u64>,
    /// The context of the engine; empty where there is no engine.
    context: Weak<Context>,
}

impl Waker {
    /// The waker of an engine that runs these kinds.
    pub(crate) fn new(kinds: Vec<String>, context: Weak<Context>) -> Waker {
        Waker(Arc::new(Woken { kinds, context, ..Woken::default() }))
    }

    /// Makes the engine and the subscribers read the queue now. Calls while they read it are remembered (as one).
    pub fn wake(&self) {
        self.wake_engine();
        self.0.others.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// The same for new work of one kind: the engine reads the queue only if it runs that kind.
    pub fn created(&self, kind: &str) {
        if self.0.kinds.iter().any(|known| known == kind) {
            self.wake_engine();
        }
        self.0.others.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Creates one operation, with this id or one of its own, and has it run: it starts at once, in the transaction
    /// that creates it, if the engine of this process has capacity for its kind and nothing older waits; otherwise
    /// everything that takes operations from the queue is woken.
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
            Some(context) => eager::reserve(&context, &access.organization, &operation),
            None => None,
        };
        let ids = id.into_iter().collect();
        let mut created = store.create_as(access, vec![operation], ids, key, start).await?;
        let created =
            created.pop().ok_or_else(|| StoreError::Unusable("a creation returned no operation".to_owned()))?;
        if created.status == Status::Pending {
            self.created(&created.kind);
        }
        Ok(created)
    }

    /// Makes the engine of this process check now, and not at its next heartbeat, which attempts were cancelled.
    pub fn cancelled(&self) {
        self.0.heartbeats.notify_one();
    }

    /// Wake-ups from now on, for everything other than the engine that takes operations from the queue.
    pub fn subscribe(&self) -> Wakes {
        Wakes(self.0.others.subscribe())
    }

    /// Makes only the engine read the queue.
    pub(crate) fn wake_engine(&self) {
        self.0.engine.notify_one();
    }

    /// The signal that makes the engine read the queue.
    pub(crate) fn engine_signal(&self) -> &Notify {
        &self.0.engine
    }

    /// The signal that [`Waker::cancelled`] was called.
    pub(crate) fn cancelled_signal(&self) -> &Notify {
        &self.0.heartbeats
    }
}

/// The wake-ups of a [`Waker`].
#[derive(Clone, Debug)]
pub struct Wakes(watch::Receiver<u64>);

impl Wakes {
    /// Waits for a wake-up since the last call; several count as one. Never returns once the last [`Waker`] has been
    /// dropped.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
