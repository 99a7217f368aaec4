//! Managing API tokens: what the command line does too ([`store::create_token`] and its like).
//!
//! A token of an organization with the scope `admin` manages the tokens of its organization, one of the instance those
//! of the organizations that it may act in. No token can grant what it does not have, and tokens that it may not manage
//! do not exist for it.

use std::collections::BTreeSet;
use std::time::Duration;

use operations::{Timestamp, Violation, check_name};
use serde::Deserialize;
use store::{AuditCall, DEFAULT_OVERLAP, Scope, Token, TokenReach, TokenRotation, TokenWish};
use utoipa::{IntoParams, ToSchema};

use super::page::Paged;
use super::{duration, may_be_there};
use crate::app::App;
use crate::audit::administrative;
use crate::auth::Secret;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, List, Read};

/// The most entries of a page of tokens.
const PAGE_SIZE: u32 = 100;
/// The most names in one list.
const MAX_NAMES: usize = 1_000;

/// A token to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// A name for people that says what the token is for: 1 to 128 bytes.
    #[schema(required = true, min_length = 1, max_length = 128, example = "ci")]
    #[serde(default)]
    pub(crate) name: String,
    /// The scopes of the new token; only scopes that the calling token has. A token of the instance may have admin and
    /// operations:work.
    #[schema(value_type = Vec<String>, required = true, min_items = 1, max_items = 6, example = json!(["operations:read"]))]
    #[serde(default)]
    pub(crate) scopes: List<String, 6>,
    /// The projects that the token is limited to; by default it is not limited.
    #[schema(value_type = Option<Vec<String>>, max_items = 1000)]
    #[serde(default)]
    pub(crate) projects: List<String, MAX_NAMES>,
    /// How long it is valid, in seconds with the suffix s; by default without an end. It cannot outlive the calling
    /// token.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "7776000s")]
    pub(crate) expires_in: Option<Duration>,
    /// The organization that it belongs to; by default that of the calling token.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub(crate) organization: String,
    /// Whether to create a token of the instance, which belongs to no organization; only such a token can do so.
    #[schema(default = false)]
    #[serde(default)]
    pub(crate) instance: Option<bool>,
    /// For a token of the instance: the organizations that it may act in; by default all.
    #[schema(value_type = Option<Vec<String>>, max_items = 1000)]
    #[serde(default)]
    pub(crate) organizations: List<String, MAX_NAMES>,
}

/// Which tokens to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTokens {
    /// Only tokens of this organization.
    #[param(required = false, max_length = 128)]
    #[serde(default)]
    pub(crate) organization: String,
}

/// How a token is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateToken {
    /// How long the old secret stays valid, in seconds with the suffix s; 30 days (2592000s) at most.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", default = "86400s")]
    pub(crate) overlap: Option<Duration>,
    /// How long the new token is valid, in seconds with the suffix s; by default as long as the old one from
    /// its creation, or without an end if the old one has none.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "7776000s")]
    pub(crate) expires_in: Option<Duration>,
}

/// A token with its secret, which is shown only this once.
pub(crate) struct Issued {
    pub(crate) token: Token,
    pub(crate) secret: Secret,
}

/// Creates a token.
pub(crate) async fn create(app: &App, caller: &Caller, asked: Read<CreateToken>) -> Result<Issued, ApiError> {
    let (asked, found) = asked.into_parts();
    let of = if asked.organization.is_empty() { caller.organization() } else { &asked.organization };
    let call = call(caller, of, "tokens.create");
    administrative(app, call, |store| async move {
        reach(caller)?;
        let wish = wish(caller, asked, found)?;
        let secret = secret()?;
        let token = store::create_token(&*store, Some(caller.token()), &wish, secret.hash()).await?;
        Ok(Issued { token, secret })
    })
    .await
}

/// Whether the caller may manage tokens.
pub(crate) fn may_list(caller: &Caller) -> bool {
    reach(caller).is_ok()
}

/// One page of the tokens that the caller may manage, oldest first, and where the next one begins.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    asked: Paged<ListTokens>,
) -> Result<(Vec<Token>, Option<String>), ApiError> {
    let mut reach = reach(caller)?;
    let (page, asked, mut found) = asked.into_parts();
    let after = page.place(&mut found, place);
    if !asked.organization.is_empty()
        && let Err(violation) = check_name("organization", &asked.organization)
    {
        found.add(violation);
    }
    found.none()?;
    if !asked.organization.is_empty() {
        reach = reach.within(&asked.organization);
    }
    let size = page.size(PAGE_SIZE);
    let mut tokens = app.store.list_tokens(&reach, after, size + 1).await?;
    let has_more = tokens.len() > size as usize;
    tokens.truncate(size as usize);
    let next = tokens.last().filter(|_| has_more).map(after_token);
    Ok((tokens, next))
}

/// The page token of the page after this token.
pub(crate) fn after_token(last: &Token) -> String {
    format!("{}.{}", last.created_at.as_millis(), last.id)
}

/// Where a page begins.
fn place(token: &str) -> Option<(Timestamp, String)> {
    let (millis, id) = token.split_once('.').filter(|(_, id)| may_be_there(id))?;
    Some((Timestamp::from_millis(millis.parse().ok()?), id.to_owned()))
}

/// A token that the caller may manage.
pub(crate) async fn get(app: &App, caller: &Caller, id: &str) -> Result<Token, ApiError> {
    let reach = reach(caller)?;
    known(id)?;
    app.store.token(&reach, id).await?.ok_or(ApiError::NotFound("token"))
}

/// No token has an id that is not valid.
fn known(id: &str) -> Result<(), ApiError> {
    if may_be_there(id) { Ok(()) } else { Err(ApiError::NotFound("token")) }
}

/// Revokes a token permanently; one that was revoked before does not change.
pub(crate) async fn revoke(app: &App, caller: &Caller, id: &str) -> Result<Token, ApiError> {
    let call = of_token(app, caller, id, "tokens.revoke").await?;
    administrative(app, call, |store| async move {
        reach(caller)?;
        known(id)?;
        Ok(store::revoke_token(&*store, Some(caller.token()), id).await?)
    })
    .await
}

/// Replaces a token by another one of the same name and rights.
pub(crate) async fn rotate(app: &App, caller: &Caller, id: &str, asked: Read<RotateToken>) -> Result<Issued, ApiError> {
    let call = of_token(app, caller, id, "tokens.rotate").await?;
    administrative(app, call, |store| async move {
        reach(caller)?;
        let (asked, found) = asked.into_parts();
        found.none()?;
        known(id)?;
        let overlap = asked.overlap.unwrap_or(DEFAULT_OVERLAP);
        let (rotation, secret) = (TokenRotation { expires_in: asked.expires_in, overlap }, secret()?);
        let token = store::rotate_token(&*store, Some(caller.token()), id, rotation, secret.hash()).await?;
        Ok(Issued { token, secret })
    })
    .await
}

/// The tokens that the caller may manage.
fn reach(caller: &Caller) -> Result<TokenReach, ApiError> {
    TokenReach::of(caller.token()).ok_or(ApiError::ScopeMissing(Scope::Admin))
}

/// The audit record of a call: in the log of this organization if the caller may act in it, otherwise in that of its
/// own.
fn call(caller: &Caller, organization: &str, action: &'static str) -> AuditCall {
    let reaches = TokenReach::of(caller.token()).is_some_and(|reach| reach.organizations.include(organization));
    let log = if reaches && may_be_there(organization) { organization } else { caller.organization() };
    caller.recorded(log, action, Vec::new())
}

/// The audit record of a call: in the log of the token's organization, if the caller may manage the token.
async fn of_token(app: &App, caller: &Caller, id: &str, action: &'static str) -> Result<AuditCall, ApiError> {
    let token = match TokenReach::of(caller.token()) {
        Some(reach) if may_be_there(id) => app.store.token(&reach, id).await?,
        _ => None,
    };
    let log = token.as_ref().map_or(caller.organization(), |token| &token.access.organization);
    Ok(caller.recorded(log, action, vec![format!("tokens/{}", shortened(id))]))
}

/// A text that was sent in place of an id is cut to the length of an id.
fn shortened(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(32).collect()
}

fn secret() -> Result<Secret, ApiError> {
    Secret::generate().map_err(|error| ApiError::Internal(format!("could not get random numbers: {error}").into()))
}

/// The requested token, as far as it can be read.
fn wish(caller: &Caller, asked: CreateToken, mut found: Found) -> Result<TokenWish, ApiError> {
    let mut set = |field: &str, names: List<String, MAX_NAMES>| -> BTreeSet<String> {
        names.optional(field, &mut found).into_iter().collect()
    };
    let (projects, organizations) = (set("projects", asked.projects), set("organizations", asked.organizations));
    let names = asked.scopes.optional("scopes", &mut found);
    let mut scopes = BTreeSet::new();
    for name in &names {
        match name.parse::<Scope>() {
            Ok(scope) => {
                scopes.insert(scope);
            }
            Err(unknown) => found.add_another(Violation::new("scopes", unknown.to_string())),
        }
    }
    let is_of_instance = asked.instance.unwrap_or(false);
    let organization = match (asked.organization, is_of_instance) {
        (name, false) if name.is_empty() => caller.organization().to_owned(),
        (name, _) => name,
    };
    if is_of_instance && !organization.is_empty() {
        found.add(Violation::new(
            "organization",
            "must not be given together with instance: a token of the instance belongs to no organization",
        ));
    }
    if !is_of_instance && organization.is_empty() {
        found.add(Violation::new("organization", "must be given, or instance: true for a token of the instance"));
    }
    let wish = TokenWish {
        name: asked.name,
        organization: (!is_of_instance).then_some(organization),
        projects,
        organizations,
        scopes,
        expires_in: asked.expires_in,
    };
    found.add_all(wish.check().err().into_iter().flatten());
    found.none()?;
    Ok(wish)
}
