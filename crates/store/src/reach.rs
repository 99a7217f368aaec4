//! What managers of the service, and workers for several organizations, may touch.

use std::collections::BTreeSet;

use operations::Projects;

use crate::{Scope, Token};

/// Organizations for which something holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Organizations {
    /// Every one, including those that are created later.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Organizations {
    /// Whether this one is among them.
    pub fn include(&self, organization: &str) -> bool {
        match self {
            Organizations::All => true,
            Organizations::Only(names) => names.contains(organization),
        }
    }

    /// Whether all of the others are among them.
    pub fn include_all(&self, others: &Organizations) -> bool {
        match (self, others) {
            (Organizations::All, _) => true,
            (Organizations::Only(_), Organizations::All) => false,
            (Organizations::Only(names), Organizations::Only(others)) => others.is_subset(names),
        }
    }

    /// Their names, if they are not all.
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        match self {
            Organizations::All => None,
            Organizations::Only(names) => Some(names),
        }
    }
}

/// Which tokens a caller may see and change. Goes into the queries: tokens outside of it do not exist for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenReach {
    /// Tokens of these organizations.
    pub organizations: Organizations,
    /// Only tokens that are limited to some of these projects.
    pub projects: Projects,
    /// Also tokens of the instance that reach no other organizations.
    pub instance: bool,
}

impl TokenReach {
    /// Every token: for callers that have the store itself.
    pub fn everything() -> TokenReach {
        TokenReach { organizations: Organizations::All, projects: Projects::All, instance: true }
    }

    /// What the holder of a token may manage; `None` when it lacks the scope `admin`.
    pub fn of(token: &Token) -> Option<TokenReach> {
        if let Some(organizations) = token.allows_in(Scope::Admin) {
            return Some(TokenReach { organizations: organizations.clone(), projects: Projects::All, instance: true });
        }
        token.allows(Scope::Admin).then(|| TokenReach {
            organizations: Organizations::Only(BTreeSet::from([token.access.organization.clone()])),
            projects: token.access.projects.clone(),
            instance: false,
        })
    }

    /// The same within one organization, or of the instance alone where the name is empty.
    pub fn within(self, organization: &str) -> TokenReach {
        if organization.is_empty() {
            return TokenReach { organizations: self.organizations, ..self };
        }
        let there = self.organizations.include(organization);
        let only = there.then(|| organization.to_owned()).into_iter().collect();
        TokenReach { organizations: Organizations::Only(only), instance: false, ..self }
    }
}
