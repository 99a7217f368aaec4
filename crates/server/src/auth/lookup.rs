//! Looks tokens up in the store.
//!
//! No answer is kept: a revoked token is refused from the next request on, whoever revoked it. Concurrent requests of one
//! token share a look (see [`crate::gather`]).

use std::sync::Arc;

use async_trait::async_trait;
use store::{Store, StoreError, Token};

use crate::gather::Read;

/// Tokens by the SHA-256 of their secrets.
pub(crate) struct TokenLookup(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Read for TokenLookup {
    type Key = [u8; 32];
    type Item = ();
    type Found = Option<Arc<Token>>;

    async fn read(&self, hash: &[u8; 32], items: Vec<()>) -> Result<Vec<Option<Arc<Token>>>, StoreError> {
        let token = self.0.find_token(hash).await?.map(Arc::new);
        Ok(vec![token; items.len()])
    }
}
