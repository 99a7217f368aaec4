//! Notes when tokens were last used: at most once a minute each, in batches, off the request path.
//!
//! Best effort: a note may be lost when the process ends or the store is busy. No request ever waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::Store;
use tokio::sync::mpsc;

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
        let (queue, mut waiting) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            loop {
                let mut ids = Vec::new();
                // What arrives during one write makes up the next.
                if waiting.recv_many(&mut ids, BATCH).await == 0 {
                    return;
                }
                if let Err(error) = store.touch_tokens(ids).await {
                    tracing::debug!(%error, "uses of tokens were not noted");
                }
            }
        });
        Usage { noted: Mutex::new(HashMap::new()), queue }
    }

    /// Notes a use of a valid token. The map holds one entry a valid token, so the store bounds it.
    pub(crate) fn note(&self, id: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let due = noted.get(id).is_none_or(|at| at.elapsed() >= INTERVAL);
        if due && self.queue.try_send(id.to_owned()).is_ok() {
            noted.insert(id.to_owned(), Instant::now());
        }
    }
}
