//! Looks tokens up in the store, concurrent requests together.
//!
//! No answer is kept: a revoked token is refused from the next request on, whoever revoked it. What keeps a busy client
//! from costing one query a request is that requests which arrive while a look is under way share the next one.

use std::collections::HashMap;
use std::sync::Arc;

use store::{Store, StoreError, Token};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for one look at most; further ones wait for room.
const BATCH: usize = 1_024;

/// The token of this hash, if there is one.
type Found = Result<Option<Arc<Token>>, StoreError>;

struct Question {
    hash: [u8; 32],
    reply: oneshot::Sender<Found>,
}

/// A handle to the task that looks tokens up; the task ends with the last handle.
#[derive(Debug)]
pub(crate) struct TokenLookup {
    questions: mpsc::Sender<Question>,
}

impl TokenLookup {
    /// Starts the task.
    pub(crate) fn start(store: Arc<dyn Store>) -> TokenLookup {
        let (questions, incoming) = mpsc::channel(BATCH);
        tokio::spawn(answer(store, incoming));
        TokenLookup { questions }
    }

    /// The token, as the store has it after this call began.
    pub(crate) async fn find(&self, hash: [u8; 32]) -> Found {
        let ended = || StoreError::Unavailable("tokens are not looked up any more".to_owned());
        let (reply, found) = oneshot::channel();
        self.questions.send(Question { hash, reply }).await.map_err(|_| ended())?;
        found.await.map_err(|_| ended())?
    }
}

async fn answer(store: Arc<dyn Store>, mut incoming: mpsc::Receiver<Question>) {
    let mut questions = Vec::new();
    while incoming.recv_many(&mut questions, BATCH).await > 0 {
        let mut by_hash: HashMap<[u8; 32], Vec<oneshot::Sender<Found>>> = HashMap::new();
        for Question { hash, reply } in questions.drain(..) {
            by_hash.entry(hash).or_default().push(reply);
        }
        let store = Arc::clone(&store);
        // On a task of its own: a look that panics takes its own callers' answers with it and nothing else.
        let looks = tokio::spawn(async move {
            let looks = by_hash.into_iter().map(async |(hash, replies)| {
                let found = store.find_token(&hash).await.map(|token| token.map(Arc::new));
                for reply in replies {
                    // A caller that is gone does not want the answer.
                    let _ = reply.send(copy(&found));
                }
            });
            futures_util::future::join_all(looks).await;
        });
        if let Err(error) = looks.await {
            tracing::error!(error = &error as &dyn std::error::Error, "looking tokens up failed");
        }
    }
}

/// Errors cannot be cloned: every caller but the log gets what it can act on.
fn copy(found: &Found) -> Found {
    match found {
        Ok(token) => Ok(token.clone()),
        Err(StoreError::Unavailable(reason)) => Err(StoreError::Unavailable(reason.clone())),
        Err(error) => Err(StoreError::Unusable(error.to_string())),
    }
}
