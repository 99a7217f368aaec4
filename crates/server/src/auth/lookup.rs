//! Looks tokens up in the store.
//!
//! A valid token is trusted for [`FRESH`] without another look-up; a busy client costs one query per second and not one
//! per request. So a revoked token is refused within a second, by any server. It is remembered for the same time that a
//! token is unknown: one that was tried before it was created is accepted within a second after its creation, and any
//! other at once. Concurrent requests with one token share a look-up (see [`crate::coalesce`]). How many unknown tokens
//! an address may try is bounded ([`Refusals`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use store::{Store, StoreError, Token};

use super::refusals::Refusals;
use crate::coalesce::{Coalescer, Read};
use crate::error::ApiError;

/// How long a token that was looked up is not looked up again.
const FRESH: Duration = Duration::from_secs(1);
/// The most tokens remembered, and separately the most unknown ones; beyond it, all are looked up again.
const REMEMBERED: usize = 10_000;

/// By the SHA-256 of the secrets: what is known, and when it was looked up.
#[derive(Default)]
struct Memory {
    found: HashMap<[u8; 32], (Arc<Token>, Instant)>,
    unknown: HashMap<[u8; 32], Instant>,
}

/// Tokens by the SHA-256 of their secrets.
pub(crate) struct TokenLookup {
    looks: Coalescer<Looks>,
    memory: Arc<Mutex<Memory>>,
    refusals: Arc<Refusals>,
}

impl TokenLookup {
    pub(crate) fn new(store: Arc<dyn Store>, refusals: Arc<Refusals>) -> TokenLookup {
        let memory = Arc::<Mutex<Memory>>::default();
        let looks = Coalescer::new(Looks { store, memory: Arc::clone(&memory) });
        TokenLookup { looks, memory, refusals }
    }

    /// The token, as the store had it within the last second. `address` is the one that unknown tokens are counted by,
    /// if they are.
    ///
    /// # Errors
    /// [`ApiError::TooManyUnknownTokens`] when the token was not used here before, and its address has tried too many
    /// unknown ones; and when the store cannot be queried.
    pub(crate) async fn find(&self, hash: [u8; 32], address: Option<IpAddr>) -> Result<Option<Arc<Token>>, ApiError> {
        let is_known = {
            let memory = lock(&self.memory);
            match memory.found.get(&hash) {
                Some((token, at)) if at.elapsed() < FRESH => return Ok(Some(Arc::clone(token))),
                Some(_) => true,
                None if memory.unknown.get(&hash).is_some_and(|at| at.elapsed() < FRESH) => return Ok(None),
                None => false,
            }
        };
        let look = match address.filter(|_| !is_known) {
            Some(address) => {
                let look = self.refusals.begin(address, Instant::now());
                Some(look.map_err(|retry_after| ApiError::TooManyUnknownTokens { retry_after })?)
            }
            None => None,
        };
        let token = self.looks.get(hash, ()).await?;
        if let Some(look) = look.filter(|_| token.is_none()) {
            look.found_nothing();
        }
        Ok(token)
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    fn remember(&mut self, hash: [u8; 32], token: Option<&Arc<Token>>, asked: Instant) {
        match token {
            Some(token) => {
                if self.found.len() >= REMEMBERED {
                    self.found.clear();
                }
                self.found.insert(hash, (Arc::clone(token), asked));
            }
            None => {
                self.found.remove(&hash);
                if self.unknown.len() >= REMEMBERED {
                    self.unknown.clear();
                }
                self.unknown.insert(hash, asked);
            }
        }
    }
}

struct Looks {
    store: Arc<dyn Store>,
    memory: Arc<Mutex<Memory>>,
}

#[async_trait]
impl Read for Looks {
    type Key = [u8; 32];
    type Item = ();
    type Found = Option<Arc<Token>>;

    async fn read(&self, hash: &[u8; 32], items: Vec<()>) -> Result<Vec<Option<Arc<Token>>>, StoreError> {
        // Requests that arrived during the last look-up are served by its result, like those that arrive now.
        let known = lock(&self.memory).found.get(hash).filter(|(_, at)| at.elapsed() < FRESH).cloned();
        let token = match known {
            Some((token, _)) => Some(token),
            None => {
                let asked = Instant::now();
                let token = self.store.find_token(hash).await?.map(Arc::new);
                lock(&self.memory).remember(*hash, token.as_ref(), asked);
                token
            }
        };
        Ok(vec![token; items.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_unknown_tokens_are_remembered_than_fit() {
        let mut memory = Memory::default();
        for number in 0..2 * REMEMBERED {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            memory.remember(hash, None, Instant::now());
            assert!(memory.unknown.len() <= REMEMBERED);
        }
    }
}
