//! What servers see in their policy folders, and which state was followed last: from this a server learns that a policy
//! has changed, even while no server ran, and that all servers see the same.

use std::collections::BTreeMap;

use async_trait::async_trait;
use operations::Timestamp;

use crate::StoreError;
use crate::rows::damaged;

/// Used instead of a server's name for the state that was followed last. No server has an empty name.
pub const FOLLOWED: &str = "";

/// The policies of a folder: for each reference that leads to one, the digest of everything that it is made of.
pub type PolicyDigests = BTreeMap<String, String>;

/// What a server saw in a policy folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPolicies {
    /// The server, or [`FOLLOWED`].
    pub server: String,
    /// When it was noted, by the store's clock.
    pub seen_at: Timestamp,
    /// What was seen.
    pub policies: PolicyDigests,
}

/// Notes about policy folders. They belong to no organization: the folder is the operator's.
#[async_trait]
pub trait PolicyNotes: Send + Sync {
    /// What every server sees, and which state was followed last.
    async fn seen_policies(&self) -> Result<Vec<SeenPolicies>, StoreError>;

    /// Notes what a server sees now, instead of what it saw before.
    async fn note_policies(&self, server: &str, policies: &PolicyDigests) -> Result<(), StoreError>;

    /// Forgets what a server saw.
    async fn forget_policies(&self, server: &str) -> Result<(), StoreError>;
}

/// Something to be written about policies; only in the embedded store.
#[derive(Clone, Debug)]
pub(crate) enum PolicyWrite {
    Note(String, PolicyDigests),
    Forget(String),
}

/// As it is stored.
pub(crate) fn text(policies: &PolicyDigests) -> String {
    serde_json::to_string(policies).expect("texts are JSON")
}

/// What a row has.
pub(crate) fn seen(server: String, seen_at: Timestamp, policies: &str) -> Result<SeenPolicies, StoreError> {
    let policies = serde_json::from_str(policies).map_err(|_| damaged("policies"))?;
    Ok(SeenPolicies { server, seen_at, policies })
}
