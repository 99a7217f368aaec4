//! API tokens as they are kept: everything but the secret.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use operations::{Access, Projects, Timestamp};

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
    /// For people.
    pub name: String,
    /// What it may see.
    pub access: Access,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it ceases to be valid; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// A token that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Short and public; what `longrun token revoke` takes.
    pub id: String,
    /// For people.
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
}

impl Token {
    /// Whether it is neither revoked nor expired.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether it may do what `scope` names.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
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
