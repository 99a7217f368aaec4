//! Reads that many calls request at the same time, carried out together.
//!
//! Nothing is cached: every answer was read after it was requested. A thousand clients that poll do not cost a thousand
//! queries, because requests with the same key that arrive during a read share the next one. A single request is read
//! at once, and different keys do not wait for each other.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use store::StoreError;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::chain;

/// The most requests that one read serves.
const BATCH: usize = 1_000;

/// How often, at most, all other ready tasks run before the next read; this takes microseconds when there are few.
const GATHER: usize = 32;

/// What can be read for several requests at once.
#[async_trait]
pub(crate) trait Read: Send + Sync + 'static {
    /// What requests must have in common.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What each request asks for in addition.
    type Item: Send;
    /// What each request gets.
    type Found: Send;

    /// Reads for several requests; returns the results in their order.
    async fn read(&self, key: &Self::Key, items: Vec<Self::Item>) -> Result<Vec<Self::Found>, StoreError>;
}

type Waiting<R> = Vec<(<R as Read>::Item, oneshot::Sender<Result<<R as Read>::Found, StoreError>>)>;

/// Carries out reads of one type.
pub(crate) struct Coalescer<R: Read>(Arc<Inner<R>>);

struct Inner<R: Read> {
    reader: R,
    /// A key is here while it is being read, with the requests that wait for the next read.
    waiting: Mutex<HashMap<R::Key, Waiting<R>>>,
}

impl<R: Read> Coalescer<R> {
    pub(crate) fn new(reader: R) -> Coalescer<R> {
        Coalescer(Arc::new(Inner { reader, waiting: Mutex::default() }))
    }

    /// The requested item, as it is after the start of this call.
    pub(crate) async fn get(&self, key: R::Key, item: R::Item) -> Result<R::Found, StoreError> {
        let answer = {
            let mut waiting = self.0.lock();
            match waiting.get_mut(&key) {
                Some(queue) => {
                    let (reply, answer) = oneshot::channel();
                    queue.push((item, reply));
                    Ok(answer)
                }
                None => {
                    waiting.insert(key.clone(), Vec::new());
                    Err(item)
                }
            }
        };
        match answer {
            Ok(answer) => {
                answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the read broke off".to_owned())))
            }
            Err(item) => {
                // The caller reads itself: a single one needs no task. Whether it stays to the end, leaves or panics,
                // requests that have arrived in the meantime are served by a task of their own.
                let turn = Turn { inner: &self.0, key: Some(key) };
                let found = self.0.read(turn.key(), vec![item]).await;
                let mut found = found.map_err(|error| copy(&error))?;
                found.pop().ok_or_else(|| StoreError::Unusable("a read returned nothing".to_owned()))
            }
        }
    }
}

/// The read of a key that its first caller carries out. When dropped, it passes the key on to the calls that wait.
struct Turn<'a, R: Read> {
    inner: &'a Arc<Inner<R>>,
    key: Option<R::Key>,
}

impl<R: Read> Turn<'_, R> {
    fn key(&self) -> &R::Key {
        self.key.as_ref().expect("taken when this is dropped only")
    }
}

impl<R: Read> Drop for Turn<'_, R> {
    fn drop(&mut self) {
        let key = self.key.take().expect("taken here only");
        if let Some(batch) = self.inner.next(&key) {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(Arc::clone(self.inner).serve(key, batch))),
                // The process is ending. The calls that wait get an error.
                Err(_) => drop(self.inner.lock().remove(&key)),
            }
        }
    }
}

impl<R: Read> Inner<R> {
    /// Reads until no call waits for the key.
    async fn serve(self: Arc<Self>, key: R::Key, mut batch: Waiting<R>) {
        loop {
            let (items, replies): (Vec<R::Item>, Vec<_>) = batch.into_iter().unzip();
            let served = replies.len();
            match self.read(&key, items).await {
                Ok(found) => {
                    for (reply, found) in replies.into_iter().zip(found) {
                        // A caller that is gone does not need the answer.
                        let _ = reply.send(Ok(found));
                    }
                }
                Err(error) => {
                    for reply in replies {
                        let _ = reply.send(Err(copy(&error)));
                    }
                }
            }
            self.gather(&key, served).await;
            match self.next(&key) {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    /// Waits for the callers that were just served, in case they call again at once: without this they would be split
    /// into two groups that are served alternately, with twice as many reads. After a caller that was served alone
    /// there is nobody to wait for.
    async fn gather(&self, key: &R::Key, served: usize) {
        for _ in 0..GATHER {
            let waiting = self.lock().get(key).map_or(0, Vec::len);
            if served < 2 || waiting >= served {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads. A read that panics fails its own callers and nothing else.
    async fn read(&self, key: &R::Key, items: Vec<R::Item>) -> Result<Vec<R::Found>, StoreError> {
        AssertUnwindSafe(self.reader.read(key, items)).catch_unwind().await.unwrap_or_else(|panic| {
            let cause = panic.downcast_ref::<String>().map(String::as_str);
            let cause = cause.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(StoreError::Unusable(format!("panic: {cause}")))
        })
    }

    /// The requests that wait for the next read of a key; when there are none, the key is no longer being read.
    fn next(&self, key: &R::Key) -> Option<Waiting<R>> {
        let mut waiting = self.lock();
        let queue = waiting.get_mut(key)?;
        if queue.is_empty() {
            waiting.remove(key);
            return None;
        }
        let rest = queue.split_off(queue.len().min(BATCH));
        Some(std::mem::replace(queue, rest))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<R::Key, Waiting<R>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors cannot be cloned: every caller gets the part that it can act on.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::PositionUnknown => StoreError::PositionUnknown,
        StoreError::Unavailable(reason) => StoreError::Unavailable(reason.clone()),
        error => StoreError::Unusable(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the column seq is not a number")]
    struct Cause;

    #[test]
    fn the_log_learns_what_failed() {
        let failed = StoreError::Database(sqlx::Error::Decode(Box::new(Cause)));
        let copied = copy(&failed).to_string();
        assert!(copied.ends_with("the column seq is not a number"), "{copied}");
    }
}
