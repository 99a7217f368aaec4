//! Whether sessions were ended, as known to the store within the last second: an ended session is refused within a
//! second, by any server, and a busy page costs one query per second (see [`super::lookup`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use store::{Store, StoreError};

use crate::coalesce::{Coalescer, Read};

/// How long a session that was looked up is not looked up again.
const FRESH: Duration = Duration::from_secs(1);
/// The most sessions remembered; beyond it, all are looked up again.
const REMEMBERED: usize = 10_000;

/// An organization and the id of a session in it.
pub(crate) type SessionKey = (String, String);

/// Which sessions are valid, and when that was looked up.
type Memory = Mutex<HashMap<SessionKey, (bool, Instant)>>;

/// Looks up sessions.
pub(crate) struct StandingSessions {
    looks: Coalescer<Looks>,
    memory: Arc<Memory>,
}

impl StandingSessions {
    pub(crate) fn new(store: Arc<dyn Store>) -> StandingSessions {
        let memory = Arc::<Memory>::default();
        let looks = Coalescer::new(Looks { store, memory: Arc::clone(&memory) });
        StandingSessions { looks, memory }
    }

    /// Whether the session is there and has not been ended.
    ///
    /// # Errors
    /// When the store cannot be queried.
    pub(crate) async fn stands(&self, key: &SessionKey) -> Result<bool, StoreError> {
        match known(&self.memory, key) {
            Some(stands) => Ok(stands),
            None => self.looks.get(key.clone(), ()).await,
        }
    }

    /// Makes the next use of a session look it up again: this server has ended it.
    pub(crate) fn forget(&self, key: &SessionKey) {
        lock(&self.memory).remove(key);
    }
}

fn lock(memory: &Memory) -> MutexGuard<'_, HashMap<SessionKey, (bool, Instant)>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn known(memory: &Memory, key: &SessionKey) -> Option<bool> {
    lock(memory).get(key).filter(|(_, at)| at.elapsed() < FRESH).map(|(stands, _)| *stands)
}

struct Looks {
    store: Arc<dyn Store>,
    memory: Arc<Memory>,
}

#[async_trait]
impl Read for Looks {
    type Key = SessionKey;
    type Item = ();
    type Found = bool;

    async fn read(&self, key: &SessionKey, items: Vec<()>) -> Result<Vec<bool>, StoreError> {
        let stands = match known(&self.memory, key) {
            Some(stands) => stands,
            None => {
                let asked = Instant::now();
                let found = self.store.session(&key.0, &key.1).await?;
                let stands = found.is_some_and(|session| session.revoked_at.is_none());
                let mut memory = lock(&self.memory);
                if memory.len() >= REMEMBERED {
                    memory.clear();
                }
                memory.insert(key.clone(), (stands, asked));
                stands
            }
        };
        Ok(vec![stands; items.len()])
    }
}
