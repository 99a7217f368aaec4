//! Looks tokens up in the store.
//!
//! A valid token is taken at its word for [`FRESH`]; a busy client costs a query a second and not one a request. So a
//! token that is revoked is refused a second later at most, by whatever server. What is unknown is looked up every time.
//! Concurrent requests of one token share a look (see [`crate::gather`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use store::{Store, StoreError, Token};

use crate::gather::{Gather, Read};

/// How long a token that was found is not looked up again.
const FRESH: Duration = Duration::from_secs(1);
/// Tokens remembered at most; past it all are looked up anew.
const REMEMBERED: usize = 10_000;

/// A token, and when it was asked for.
type Remembered = (Arc<Token>, Instant);

/// Tokens by the SHA-256 of their secrets.
pub(crate) struct TokenLookup {
    looks: Gather<Looks>,
    found: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl TokenLookup {
    pub(crate) fn new(store: Arc<dyn Store>) -> TokenLookup {
        TokenLookup { looks: Gather::new(Looks(store)), found: Mutex::default() }
    }

    /// The token, as the store had it within the last second.
    pub(crate) async fn find(&self, hash: [u8; 32]) -> Result<Option<Arc<Token>>, StoreError> {
        let remembered = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some((token, at)) = remembered
            && at.elapsed() < FRESH
        {
            return Ok(Some(token));
        }
        let asked = Instant::now();
        let token = self.looks.get(hash, ()).await?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match &token {
            Some(token) => {
                if found.len() >= REMEMBERED {
                    found.clear();
                }
                found.insert(hash, (Arc::clone(token), asked));
            }
            None => drop(found.remove(&hash)),
        }
        Ok(token)
    }
}

struct Looks(Arc<dyn Store>);

#[async_trait]
impl Read for Looks {
    type Key = [u8; 32];
    type Item = ();
    type Found = Option<Arc<Token>>;

    async fn read(&self, hash: &[u8; 32], items: Vec<()>) -> Result<Vec<Option<Arc<Token>>>, StoreError> {
        let token = self.0.find_token(hash).await?.map(Arc::new);
        Ok(vec![token; items.len()])
    }
}
