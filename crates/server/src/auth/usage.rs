//! Records when tokens were last used: at most once per minute for each token, in batches, off the request path.
//!
//! Best effort: a record may be lost when the process ends or the store is busy. No request ever waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::Store;
use tasks::{ROUND_LIMIT, supervise};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often a token's use is noted at most: what "to about a minute" of [`store::Token::last_used_at`] means.
const INTERVAL: Duration = Duration::from_secs(60);
/// Notes that wait for the store; further ones are dropped and tried again with the token's next use.
const BACKLOG: usize = 1024;
/// Notes in one write.
const BATCH: usize = 256;

/// Takes notes of uses.
#[derive(Debug)]
pub(crate) struct Usage {
    noted: Mutex<HashMap<String, Instant>>,
    queue: mpsc::Sender<String>,
}

impl Usage {
    /// Starts the task that writes the notes; it ends when this is dropped.
    pub(crate) fn start(store: Arc<dyn Store>) -> Usage {
        let (queue, waiting) = mpsc::channel(BACKLOG);
        let task = store.health().register("token_uses", None);
        tokio::spawn(async move {
            let (stop, waiting) = (CancellationToken::new(), AsyncMutex::new(waiting));
            supervise(&task, &stop, || async {
                write(&*store, &mut *waiting.lock().await).await;
                stop.cancel();
            })
            .await;
        });
        Usage { noted: Mutex::new(HashMap::new()), queue }
    }

    /// Notes a use of a valid token. The map holds one entry for each valid token, so the store bounds it.
    pub(crate) fn note(&self, id: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let due = noted.get(id).is_none_or(|at| at.elapsed() >= INTERVAL);
        if due && self.queue.try_send(id.to_owned()).is_ok() {
            noted.insert(id.to_owned(), Instant::now());
        }
    }
}

/// Writes notes as they arrive; returns when no more can arrive.
async fn write(store: &dyn Store, waiting: &mut mpsc::Receiver<String>) {
    loop {
        let mut ids = Vec::new();
        // What arrives during one write makes up the next.
        if waiting.recv_many(&mut ids, BATCH).await == 0 {
            return;
        }
        match timeout(ROUND_LIMIT, store.touch_tokens(ids)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "could not record uses of tokens"),
            Err(_) => tracing::debug!("could not record uses of tokens in time"),
        }
    }
}
