//! Sessions bypass the seal: they have no text that a caller or a worker wrote.

use async_trait::async_trait;
use operations::Timestamp;

use super::Sealed;
use crate::StoreError;
use crate::sessions::{Session, Sessions};

#[async_trait]
impl Sessions for Sealed {
    async fn begin_session(&self, session: Session) -> Result<(), StoreError> {
        self.inner.begin_session(session).await
    }

    async fn session(&self, organization: &str, id: &str) -> Result<Option<Session>, StoreError> {
        self.inner.session(organization, id).await
    }

    async fn sessions(
        &self,
        organization: &str,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        self.inner.sessions(organization, after, limit).await
    }

    async fn revoke_session(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        self.inner.revoke_session(organization, id).await
    }

    async fn forget_sessions(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_sessions(limit).await
    }
}
