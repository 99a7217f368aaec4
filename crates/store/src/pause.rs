//! What is not started for the time being: an organization, a kind, or a kind within an organization.
//!
//! A pause is a row in the store, and every claim checks it in its own statement: it holds for all servers from its
//! commit on, and over their restarts. Only claims are paused: running operations continue, and operations are created,
//! listed, cancelled and settled as usual.

use operations::Timestamp;

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pausable {
    /// Everything of an organization.
    Organization(String),
    /// A kind, in every organization.
    Kind(String),
    /// A kind, in one organization.
    KindOf {
        /// The organization.
        organization: String,
        /// The kind.
        kind: String,
    },
}

impl Pausable {
    /// The organization and the kind, empty for all.
    pub(crate) fn key(&self) -> (&str, &str) {
        match self {
            Pausable::Organization(organization) => (organization, ""),
            Pausable::Kind(kind) => ("", kind),
            Pausable::KindOf { organization, kind } => (organization, kind),
        }
    }

    pub(crate) fn of_key(organization: String, kind: String) -> Pausable {
        match (organization.is_empty(), kind.is_empty()) {
            (true, _) => Pausable::Kind(kind),
            (false, true) => Pausable::Organization(organization),
            (false, false) => Pausable::KindOf { organization, kind },
        }
    }
}

/// What is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// What is paused.
    pub what: Pausable,
    /// Since when.
    pub since: Timestamp,
}

/// An organization, for those who run the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Pending operations.
    pub pending: u64,
    /// Running operations.
    pub running: u64,
    /// Its deletion has begun, and has not ended.
    pub is_being_deleted: bool,
}
