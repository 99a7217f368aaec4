//! Records outcomes: all that are ready go into one call.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::error::Error;
use crate::retry::pause;
use crate::work::{Outcome, Settlement};

/// Maximum number of settlements per call.
const MAX_ROWS: usize = 100;
/// Maximum total size of outputs per call, so that the call stays below the server's limit for a body. A single output
/// may have this size too.
const MAX_BYTES: usize = 1024 * 1024;

/// An attempt that has ended.
pub(super) struct Ended {
    pub settlement: Settlement,
    /// Cancelled when the lease is lost: the outcome can no longer be recorded.
    pub lost: CancellationToken,
    /// Notified when nothing more has to be done for it.
    pub done: oneshot::Sender<()>,
}

impl Ended {
    fn bytes(&self) -> usize {
        match &self.settlement.outcome {
            Outcome::Completed { output } => output.len(),
            Outcome::Failed { error_message, .. } => error_message.len(),
            Outcome::Released => 0,
        }
    }
}

/// Records incoming outcomes until the other side is closed. While the server is away, it keeps trying, until
/// `give_up`.
pub(super) async fn record(client: Client, mut incoming: mpsc::UnboundedReceiver<Ended>, give_up: CancellationToken) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match incoming.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < MAX_ROWS {
            let Ok(ended) = incoming.try_recv() else { break };
            bytes += ended.bytes();
            if bytes > MAX_BYTES {
                next = Some(ended);
                break;
            }
            batch.push(ended);
        }
        tokio::select! {
            () = settle(&client, &mut batch) => {}
            () = give_up.cancelled() => {
                tracing::warn!(attempts = batch.len(), "outcomes could not be recorded; the leases will expire");
            }
        }
        for ended in batch {
            // The receiver is gone if its attempt no longer waits.
            let _ = ended.done.send(());
        }
    }
}

/// Settles a batch; one by one if the server refuses it as a whole, so that one bad outcome does not affect the others.
async fn settle(client: &Client, batch: &mut [Ended]) {
    match send(client, batch).await {
        Ok(()) => {}
        Err(error) if batch.len() > 1 => {
            tracing::warn!(%error, attempts = batch.len(), "outcomes were refused together; sending them one by one");
            for index in 0..batch.len() {
                settle_one(client, &mut batch[index..=index]).await;
            }
        }
        Err(error) => refused(client, batch, &error).await,
    }
}

async fn settle_one(client: &Client, one: &mut [Ended]) {
    if let Err(error) = send(client, one).await {
        refused(client, one, &error).await;
    }
}

/// The server refused an outcome. A refused output or error message is recorded as a failure that says so; if that is
/// refused too, the lease expires.
async fn refused(client: &Client, one: &mut [Ended], error: &Error) {
    for ended in one.iter_mut() {
        tracing::error!(%error, operation = ended.settlement.id, "the outcome was refused");
        let what = match ended.settlement.outcome {
            Outcome::Completed { .. } => "output",
            Outcome::Failed { .. } => "error message",
            Outcome::Released => return,
        };
        let error_message = format!("the {what} was refused: {error}");
        ended.settlement.outcome = Outcome::Failed { error_message, retryable: false };
    }
    if let Err(error) = send(client, one).await {
        tracing::error!(%error, "the refusal could not be recorded; the lease will expire");
    }
}

/// Sends the outcomes that can still be recorded, until the server is reached.
async fn send(client: &Client, batch: &[Ended]) -> Result<(), Error> {
    let mut failures = 0;
    loop {
        let rows: Vec<Settlement> =
            batch.iter().filter(|ended| !ended.lost.is_cancelled()).map(|ended| ended.settlement.clone()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        match client.settle(&rows).await {
            Ok(answer) => {
                for row in answer.value.results {
                    match (row.error, row.status) {
                        // After a broken connection, the first request may have been the one that counted.
                        (Some(refusal), _) => {
                            tracing::warn!(operation = row.id, refusal = refusal.message, "the outcome was refused");
                        }
                        (None, status) => tracing::debug!(operation = row.id, status, "the attempt ended"),
                    }
                }
                return Ok(());
            }
            Err(error) if error.is_transient() => {
                let pause: Duration = pause(error.refusal().and_then(|refusal| refusal.retry_after), failures);
                tracing::warn!(%error, attempts = rows.len(), ?pause, "could not record outcomes; trying again");
                tokio::time::sleep(pause).await;
                failures = failures.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
}
