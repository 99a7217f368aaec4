//! Sessions of people who signed in at an identity provider.
//!
//! What a person may do is in the cookie, which is sealed; that the session has not been ended is recorded here, so
//! that a sign-out, an administrator or the deletion of its organization ends it on all servers. The cookie holds a
//! secret, and the id is a hash of it: a reader of the list, or of the database, does not have the cookie.

use async_trait::async_trait;
use operations::Timestamp;

use crate::StoreError;

/// A session, without the secret that opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, which is public.
    pub id: String,
    /// The organization that the person signed in to.
    pub organization: String,
    /// The provider's name for the person.
    pub subject: String,
    /// A name for display.
    pub name: String,
    /// When the person signed in.
    pub begun_at: Timestamp,
    /// When it ends automatically.
    pub expires_at: Timestamp,
    /// When it was ended before that, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// A change of a session; the answer is how many it concerned.
pub(crate) enum SessionChange {
    /// Keep a session that began.
    Begin(Session),
    /// End the session of an organization with this id.
    Revoke(String, String),
    /// Forget up to this many that are over.
    Forget(u32),
}

impl SessionChange {
    /// The organization; empty for all.
    pub(crate) fn organization(&self) -> &str {
        match self {
            SessionChange::Begin(session) => &session.organization,
            SessionChange::Revoke(organization, _) => organization,
            SessionChange::Forget(_) => "",
        }
    }
}

/// What a store knows of sessions.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps a session that begins. Fails with [`StoreError::OrganizationGone`] while its organization is being
    /// deleted.
    async fn begin_session(&self, session: Session) -> Result<(), StoreError>;

    /// The session of an organization with this id, ended or not; those that are over may be forgotten.
    async fn session(&self, organization: &str, id: &str) -> Result<Option<Session>, StoreError>;

    /// Up to `limit` sessions of an organization, oldest first, after one that began then and has this id.
    async fn sessions(
        &self,
        organization: &str,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError>;

    /// Ends a session permanently, on all servers; one that was ended before stays as it is. `false`: there is none.
    async fn revoke_session(&self, organization: &str, id: &str) -> Result<bool, StoreError>;

    /// Forgets up to `limit` sessions that are over, of all organizations; answers how many.
    async fn forget_sessions(&self, limit: u32) -> Result<u64, StoreError>;
}
