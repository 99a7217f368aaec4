//! A handler that runs until it is let go.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler};
use operations::OperationId;
use tokio::sync::{Semaphore, mpsc};

/// A test that waits longer than this for something has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Reports when it starts, and ends with a permit.
#[derive(Clone)]
pub struct Gate {
    started: mpsc::UnboundedSender<OperationId>,
    go: Arc<Semaphore>,
}

#[async_trait]
impl Handler for Gate {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        self.started.send(attempt.operation.id).unwrap();
        tokio::select! {
            permit = self.go.acquire() => {
                permit.unwrap().forget();
                Ok(String::new())
            }
            () = attempt.cancelled.cancelled() => Err(Failure::transient("stopped")),
        }
    }
}

/// A gate, what it reports, and the permits.
pub fn gate() -> (Gate, mpsc::UnboundedReceiver<OperationId>, Arc<Semaphore>) {
    let (sender, started) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    (Gate { started: sender, go: Arc::clone(&go) }, started, go)
}

/// The next operation that starts.
pub async fn next(started: &mut mpsc::UnboundedReceiver<OperationId>) -> OperationId {
    tokio::time::timeout(DEADLINE, started.recv()).await.expect("in time").unwrap()
}
