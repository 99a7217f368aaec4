//! Saved views: a name for a filter and the columns that are shown.
//!
//! A view is shared in its organization, or private to the token that made it. A token that replaces another one takes
//! its private views over; when a token is revoked, they are removed with it.

use async_trait::async_trait;
use operations::{Access, OperationId, Timestamp};

use crate::StoreError;

/// The most views that an organization shares.
pub const MAX_SHARED_VIEWS: u32 = 100;
/// The most private views of a token.
pub const MAX_PRIVATE_VIEWS: u32 = 50;
/// The most private views of all tokens of an organization together.
pub const MAX_ALL_PRIVATE_VIEWS: u32 = 2_000;

/// A saved view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its id, a UUID.
    pub id: String,
    /// Unique among the shared views, and among those of a token.
    pub name: String,
    /// The filter, as it was written.
    pub filter: String,
    /// The names of the columns, in their order; empty: the default ones.
    pub columns: Vec<String>,
    /// The id of the token that it is private to; `None`: it is shared.
    pub owner: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Which views: the shared ones, if they may be seen, and those of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewReach {
    /// The organization.
    pub organization: String,
    /// Shared views, too.
    pub shared: bool,
    /// The id of the token.
    pub owner: String,
}

impl ViewReach {
    /// What a token reaches. A token that is limited to projects does not see shared views: their filters reveal other
    /// projects.
    pub fn of(access: &Access, token: &str) -> ViewReach {
        let shared = access.projects == operations::Projects::All;
        ViewReach { organization: access.organization.clone(), shared, owner: token.to_owned() }
    }
}

/// The result of storing a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewOutcome {
    /// It is kept.
    Kept(View),
    /// Another one has its name.
    NameTaken,
    /// There are already as many as allowed.
    TooMany(u32),
    /// There is none with this id within reach, or no such organization.
    Missing,
}

/// Saved views.
#[async_trait]
pub trait Views: Send + Sync {
    /// Every view within reach: by name, those that are shared first.
    async fn views(&self, reach: &ViewReach) -> Result<Vec<View>, StoreError>;

    /// Keeps a new view, whose times are now.
    async fn create_view(&self, organization: &str, view: View) -> Result<ViewOutcome, StoreError>;

    /// Gives a view within reach another name, filter and columns. Its owner does not change.
    async fn update_view(&self, reach: &ViewReach, view: View) -> Result<ViewOutcome, StoreError>;

    /// Removes a view within reach; `false` when there is none with this id.
    async fn delete_view(&self, reach: &ViewReach, id: &str) -> Result<bool, StoreError>;
}

/// A change of a view. Recorded as the call that made it.
#[derive(Clone, Debug)]
pub(crate) enum ViewChange {
    Create(String, View),
    Update(ViewReach, View),
    Delete(ViewReach, String),
}

impl View {
    /// A new one; its times are set by the store.
    pub fn new(name: String, filter: String, columns: Vec<String>, owner: Option<String>, now: Timestamp) -> View {
        let id = OperationId::new(now).to_string();
        View { id, name, filter, columns, owner, created_at: now, updated_at: now }
    }

    /// The owner as it is stored: a shared view has the empty one.
    pub(crate) fn stored_owner(&self) -> &str {
        self.owner.as_deref().unwrap_or_default()
    }
}

/// The bounds for one more view: how many its owner may have, and how many all owners together may have.
pub(crate) fn bounds(owner: &str) -> (u32, u32) {
    if owner.is_empty() { (MAX_SHARED_VIEWS, u32::MAX) } else { (MAX_PRIVATE_VIEWS, MAX_ALL_PRIVATE_VIEWS) }
}

/// Which of the bounds is reached, if one is.
pub(crate) fn exceeded(owner: &str, own: i64, all: i64) -> Option<u32> {
    let (most_own, most_all) = bounds(owner);
    if own >= i64::from(most_own) {
        Some(most_own)
    } else if all >= i64::from(most_all) {
        Some(most_all)
    } else {
        None
    }
}
