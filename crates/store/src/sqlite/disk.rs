//! Which thread waits for the disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;

use crate::StoreError;

/// Which thread waits for the disk while the store reads and writes.
#[derive(Clone)]
pub(super) enum Disk {
    /// Threads: reads are made on the runtime's threads for blocking work, writes on a thread of their own.
    Threads,
    /// The calling task, on whatever thread it is. A simulation has one thread, and the effects of other threads
    /// could not be reproduced.
    Inline(Latency),
}

/// How long the next access takes before it is made, and how long its answer takes afterwards: called twice for each
/// read and each batch of writes. A process may be killed in between.
pub type Latency = Arc<dyn Fn() -> Duration + Send + Sync>;

impl Disk {
    /// Waits as long as an access takes, if a latency is given.
    pub(super) async fn pause(&self) {
        if let Disk::Inline(latency) = self {
            tokio::time::sleep(latency()).await;
        }
    }

    /// Reads. Once begun it is carried out, even if this is dropped.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Disk::Threads => tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(broke_off(&error))),
            Disk::Inline(_) => read(),
        }
    }
}

/// Why work on a thread has no result.
fn broke_off(error: &JoinError) -> StoreError {
    if error.is_cancelled() {
        StoreError::Unavailable("the process is stopping".to_owned())
    } else {
        StoreError::Unusable(format!("work on the database failed unexpectedly: {error}"))
    }
}
