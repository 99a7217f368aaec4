//! Managing tokens: what the command line and every API do, with the rule that a token can only give what it has
//! itself.
//!
//! A token of an organization with the scope `admin` manages the tokens of its organization; one that is limited to
//! projects, those that are limited to some of these. A token of the instance with `admin` manages those of the
//! organizations that it reaches, and those of the instance that reach no further.

use std::collections::BTreeSet;
use std::time::Duration;

use operations::{Access, Projects, Timestamp, Violation, check_name, check_text};

use crate::{NewToken, Organizations, Scope, Store, StoreError, Token, TokenReach};

/// How long a token that was replaced stays valid by default.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The longest time that it may stay valid.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);
/// Projects, or organizations, that one token may name.
const MAX_NAMES: usize = 1_000;
/// What a token of the instance may have.
const INSTANCE_SCOPES: [Scope; 2] = [Scope::Admin, Scope::OperationsWork];

/// Why tokens were not changed as requested.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The request is not valid, or asks for more than the giver has; field by field.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// There is no such token, or it is out of reach.
    #[error("there is no such token")]
    NotFound,
    /// A token that is revoked or has expired is not replaced: nobody uses it any more.
    #[error("the token is revoked or has expired, so there is nothing to replace: create a new one")]
    NoLongerValid,
    /// There is no such organization, or it is out of reach.
    #[error("there is no such organization")]
    NoOrganization,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The properties of a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWish {
    /// A name for people.
    pub name: String,
    /// The organization; `None` for a token of the instance.
    pub organization: Option<String>,
    /// Only these projects of it; empty for all.
    pub projects: BTreeSet<String>,
    /// Of a token of the instance, only these organizations; empty for all.
    pub organizations: BTreeSet<String>,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// How long it is valid; `None`: forever.
    pub expires_in: Option<Duration>,
}

impl TokenWish {
    /// Whether the request is valid, regardless of who makes it.
    ///
    /// # Errors
    /// What is wrong with it, field by field.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        let mut violations = Vec::new();
        violations.extend(check_name("name", &self.name).err());
        if self.scopes.is_empty() {
            violations.push(Violation::new("scopes", "must name at least one scope"));
        }
        for (field, names) in [("projects", &self.projects), ("organizations", &self.organizations)] {
            if names.len() > MAX_NAMES {
                violations.push(Violation::new(field, format!("must name at most {MAX_NAMES}")));
            }
        }
        for project in &self.projects {
            violations.extend(check_text("projects", project).err());
            if project.is_empty() {
                violations.push(Violation::new("projects", "names an empty project"));
            }
        }
        for organization in self.organizations.iter().chain(&self.organization) {
            let field = if self.organization.is_some() { "organization" } else { "organizations" };
            violations.extend(check_name(field, organization).err());
        }
        if self.expires_in.is_some_and(|time| time.is_zero()) {
            violations.push(Violation::new(
                "expires_in",
                "must be above zero; leave it out for a token that does not expire",
            ));
        }
        match &self.organization {
            Some(_) if !self.organizations.is_empty() => {
                let message =
                    "is only for tokens of the instance: a token of an organization reaches no other organization";
                violations.push(Violation::new("organizations", message));
            }
            Some(_) => {}
            None => {
                if !self.projects.is_empty() {
                    let message = "is only for tokens of an organization; name organizations instead";
                    violations.push(Violation::new("projects", message));
                }
                for scope in self.scopes.iter().filter(|scope| !INSTANCE_SCOPES.contains(scope)) {
                    let message = format!(
                        "{scope} is a scope within organizations; a token of the instance can have admin, operations:work or both"
                    );
                    violations.push(Violation::new("scopes", message));
                }
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// The requested token.
    fn token(&self, hash: [u8; 32], now: Timestamp) -> NewToken {
        let organization = self.organization.clone().unwrap_or_default();
        let access = if self.projects.is_empty() {
            Access::organization(organization)
        } else {
            Access::projects(organization, self.projects.clone())
        };
        let reach = if self.organizations.is_empty() {
            Organizations::All
        } else {
            Organizations::Only(self.organizations.clone())
        };
        NewToken {
            hash,
            name: self.name.clone(),
            access,
            scopes: self.scopes.clone(),
            expires_at: self.expires_in.map(|time| now.after(time)),
            instance: self.organization.is_none().then_some(reach),
        }
    }
}

/// What the giver would give that it does not have, field by field.
fn beyond(giver: &Token, new: &NewToken) -> Vec<Violation> {
    let mut violations = Vec::new();
    let manages = giver.allows_in(Scope::Admin);
    for scope in &new.scopes {
        let has = match (&new.instance, manages) {
            // A token that manages organizations gives them tokens, with any of their scopes.
            (None, Some(_)) => true,
            (None, None) => giver.allows(*scope),
            (Some(_), _) => giver.allows_in(*scope).is_some(),
        };
        if !has {
            let message = format!(
                "{scope} is not a scope of the token that makes this request, which has: {}",
                names(giver.scopes.iter())
            );
            violations.push(Violation::new("scopes", message));
        }
    }
    if let Projects::Only(own) = &giver.access.projects {
        let message = format!("must be among those of the token that makes this request: {}", names(own));
        match &new.access.projects {
            Projects::All => violations.push(Violation::new("projects", message)),
            Projects::Only(wanted) if !wanted.is_subset(own) => violations.push(Violation::new("projects", message)),
            Projects::Only(_) => {}
        }
    }
    if let (Some(wanted), Some(own)) = (&new.instance, manages)
        && !own.include_all(wanted)
    {
        let message = format!(
            "must be among those of the token that makes this request: {}",
            names(own.names().into_iter().flatten())
        );
        violations.push(Violation::new("organizations", message));
    }
    if let Some(end) = giver.expires_at
        && new.expires_at.is_none_or(|wanted| wanted > end)
    {
        let message = format!("must end no later than the token that makes this request, which is valid until {end}");
        violations.push(Violation::new("expires_in", message));
    }
    violations
}

fn names<T: ToString>(of: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = of.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
}

/// Makes a token. A caller that has the store itself needs no `giver` and gives what it wants; the organization is
/// created too if it is new. For a giver the organization must exist.
///
/// # Errors
/// [`TokenError::Invalid`], [`TokenError::NoOrganization`], [`TokenError::Store`].
pub async fn create_token(
    store: &dyn Store,
    giver: Option<&Token>,
    wish: &TokenWish,
    hash: [u8; 32],
) -> Result<Token, TokenError> {
    wish.check().map_err(TokenError::Invalid)?;
    let new = wish.token(hash, store.now());
    if let Some(giver) = giver {
        let reach = TokenReach::of(giver).ok_or(TokenError::NotFound)?;
        match &wish.organization {
            Some(organization) => {
                let is_there = reach.organizations.include(organization)
                    && store.contents(organization).await?.is_some_and(|found| !found.is_being_deleted);
                if !is_there {
                    return Err(TokenError::NoOrganization);
                }
            }
            None if !reach.instance => {
                let message = "tokens of the instance can only be created with such a token, or on the command line";
                return Err(TokenError::Invalid(vec![Violation::new("instance", message)]));
            }
            None => {}
        }
        let violations = beyond(giver, &new);
        if !violations.is_empty() {
            return Err(TokenError::Invalid(violations));
        }
    }
    Ok(store.create_token(new).await?)
}

/// How a token is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How long the new one is valid; `None`: as long as the old one was from its start, if the old one ends.
    pub expires_in: Option<Duration>,
    /// How long the old one stays valid, unless it ends before.
    pub overlap: Duration,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { expires_in: None, overlap: DEFAULT_OVERLAP }
    }
}

/// Replaces a token by another one of the same name, scopes and reach; the old one stays valid for the overlap. Unless
/// that is requested, the new one does not outlive the giver.
///
/// # Errors
/// [`TokenError`].
pub async fn rotate_token(
    store: &dyn Store,
    giver: Option<&Token>,
    id: &str,
    rotation: Rotation,
    hash: [u8; 32],
) -> Result<Token, TokenError> {
    let mut violations = Vec::new();
    if rotation.overlap > MAX_OVERLAP {
        violations.push(Violation::new("overlap", "must be at most 30 days (2592000s)"));
    }
    if rotation.expires_in.is_some_and(|time| time.is_zero()) {
        violations.push(Violation::new("expires_in", "must be above zero"));
    }
    if !violations.is_empty() {
        return Err(TokenError::Invalid(violations));
    }
    let reach = reach(giver)?;
    let old = store.token(&reach, id).await?.ok_or(TokenError::NotFound)?;
    let now = store.now();
    let lifetime = |end: Timestamp| {
        let millis = end.as_millis().saturating_sub(old.created_at.as_millis());
        now.after(Duration::from_millis(millis.unsigned_abs()))
    };
    let mut expires_at = rotation.expires_in.map(|time| now.after(time));
    if expires_at.is_none() {
        let ends = [old.expires_at.map(lifetime), giver.and_then(|giver| giver.expires_at)];
        expires_at = ends.into_iter().flatten().min();
    }
    let new = NewToken {
        hash,
        name: old.name.clone(),
        access: old.access.clone(),
        scopes: old.scopes.clone(),
        expires_at,
        instance: old.instance.clone(),
    };
    let violations = giver.map(|giver| beyond(giver, &new)).unwrap_or_default();
    if !violations.is_empty() {
        return Err(TokenError::Invalid(violations));
    }
    store.replace_token(&old.id, new, rotation.overlap).await?.ok_or(TokenError::NoLongerValid)
}

/// Revokes a token permanently, and returns it; one that is revoked already stays as it is.
///
/// # Errors
/// [`TokenError::NotFound`], [`TokenError::Store`].
pub async fn revoke_token(store: &dyn Store, giver: Option<&Token>, id: &str) -> Result<Token, TokenError> {
    store.revoke(&reach(giver)?, id).await?.ok_or(TokenError::NotFound)
}

/// Which tokens a giver may manage; without a giver all.
fn reach(giver: Option<&Token>) -> Result<TokenReach, TokenError> {
    giver.map_or_else(|| Some(TokenReach::everything()), TokenReach::of).ok_or(TokenError::NotFound)
}
