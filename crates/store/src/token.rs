//! API tokens as they are kept: everything but the secret.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use operations::{Access, Projects, Timestamp};

use crate::{Organizations, StoreError};

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// List and read operations.
    OperationsRead,
    /// Create and command operations.
    OperationsWrite,
    /// Claim and settle operations.
    OperationsWork,
    /// Read evidence.
    EvidenceRead,
    /// Store evidence.
    EvidenceWrite,
    /// Everything within the organization.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 6] = [
        Scope::OperationsRead,
        Scope::OperationsWrite,
        Scope::OperationsWork,
        Scope::EvidenceRead,
        Scope::EvidenceWrite,
        Scope::Admin,
    ];

    /// The name on the wire and in stores.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::OperationsRead => "operations:read",
            Scope::OperationsWrite => "operations:write",
            Scope::OperationsWork => "operations:work",
            Scope::EvidenceRead => "evidence:read",
            Scope::EvidenceWrite => "evidence:write",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No scope has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown scope {0:?}; the scopes are operations:read, operations:write, operations:work, evidence:read, evidence:write, admin"
)]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Scope, UnknownScope> {
        Scope::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| UnknownScope(name.to_owned()))
    }
}

/// A token to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// A name for people.
    pub name: String,
    /// What it may see.
    pub access: Access,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it ceases to be valid; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Of a token of the instance, the organizations that it reaches; its `access` then covers nothing.
    pub instance: Option<Organizations>,
}

/// A token that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Short and public; what `longrun token revoke` takes.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// What it may see.
    pub access: Access,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to be valid; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Of a token of the instance, the organizations that it reaches; its `access` then covers nothing.
    pub instance: Option<Organizations>,
}

/// A use is noted when the last one is older than this, so that a busy token costs one write per minute.
pub(crate) const TOUCH_MILLIS: i64 = 60_000;

/// The columns of a token, in both engines.
pub(crate) const TOKEN_COLUMNS: &str =
    "id, organization_id, name, scopes, projects, organizations, created_at, expires_at, last_used_at, revoked_at";

/// The error for a row that holds no token.
pub(crate) fn damaged() -> StoreError {
    StoreError::Unusable("a row of the table of tokens is damaged".to_owned())
}

/// The scopes with these names. One that this version does not know grants nothing.
pub(crate) fn scopes(names: &[String]) -> BTreeSet<Scope> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The projects of a token, if it is limited to some.
pub(crate) fn projects(only: Option<BTreeSet<String>>) -> Projects {
    only.map_or(Projects::All, Projects::Only)
}

/// The organizations that a token of this organization reaches as a token of the instance; the empty name is that of
/// the instance.
pub(crate) fn instance(organization: &str, only: Option<BTreeSet<String>>) -> Option<Organizations> {
    organization.is_empty().then(|| only.map_or(Organizations::All, Organizations::Only))
}

impl NewToken {
    /// The token as it is kept from `now` on, under an id of its own.
    pub(crate) fn to_token(&self, now: Timestamp) -> Token {
        Token {
            id: format!("tok_{}", &uuid::Uuid::new_v4().as_simple().to_string()[..12]),
            name: self.name.clone(),
            access: self.access.clone(),
            scopes: self.scopes.clone(),
            created_at: now,
            expires_at: self.expires_at,
            last_used_at: None,
            revoked_at: None,
            instance: self.instance.clone(),
        }
    }

    /// The names of its scopes.
    pub(crate) fn scope_names(&self) -> Vec<&'static str> {
        self.scopes.iter().map(|scope| scope.name()).collect()
    }
}

impl Token {
    /// Whether it is neither revoked nor expired.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether it can be used, in a word: `valid`, `expired` or `revoked`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match self {
            token if token.revoked_at.is_some() => "revoked",
            token if token.is_valid(now) => "valid",
            _ => "expired",
        }
    }

    /// Whether it may do what `scope` names within its organization. A token of the instance has none.
    pub fn allows(&self, scope: Scope) -> bool {
        self.instance.is_none() && (self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin))
    }

    /// Of a token of the instance that may do what `scope` names, the organizations in which it may. One scope does not
    /// include another: a token that manages organizations does not run their operations.
    pub fn allows_in(&self, scope: Scope) -> Option<&Organizations> {
        self.instance.as_ref().filter(|_| self.scopes.contains(&scope))
    }

    /// The projects it is limited to, if it is.
    pub fn projects(&self) -> Option<&BTreeSet<String>> {
        match &self.access.projects {
            Projects::All => None,
            Projects::Only(projects) => Some(projects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_names_come_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert!("operations".parse::<Scope>().is_err());
    }
}
