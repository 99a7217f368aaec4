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

    /// Notes a use of a valid token.
    pub(crate) fn note(&self, id: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let due = noted.get(id).is_none_or(|at| at.elapsed() >= INTERVAL);
        if due && self.queue.try_send(id.to_owned()).is_ok() {
            insert(&mut noted, id);
        }
    }
}

/// Notes a use. Before the map would grow, what says nothing any more leaves it, so that it is as large as the number of
/// tokens in use, not of all that there ever were. The room for as many again keeps this rare.
fn insert(noted: &mut HashMap<String, Instant>, id: &str) {
    if noted.len() == noted.capacity() {
        noted.retain(|_, at| at.elapsed() < INTERVAL);
        noted.reserve(noted.len() + 1);
    }
    noted.insert(id.to_owned(), Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_not_used_any_more_are_forgotten() {
        let long_ago = Instant::now().checked_sub(INTERVAL).expect("the machine runs longer than that");
        let mut noted = HashMap::new();
        insert(&mut noted, "in use");
        for round in 0..100 {
            for number in 0..10 {
                insert(&mut noted, &format!("{round}.{number}"));
            }
            noted.iter_mut().filter(|(id, _)| *id != "in use").for_each(|(_, at)| *at = long_ago);
        }
        assert!(noted.contains_key("in use"));
        assert!(noted.len() < 100, "{} of 1,001 tokens are still there", noted.len());
    }
}
