//! The calls for managing tokens, organizations and sessions, and for reading the audit log. They need the scope
//! `admin`; those about organizations need a token of the instance with this scope.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::OrganizationAnswer;

/// A token to be created; for fields left empty, the defaults of the server apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewApiToken {
    /// Tells people what the token is for.
    pub name: String,
    /// The scopes of the token, e.g. `operations:read`.
    pub scopes: Vec<String>,
    /// The projects to which it is limited; empty: all of the organization.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// How long it is valid, in seconds with an `s`; `None`: forever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// The organization that it belongs to; `None`: that of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Whether it is a token of the instance.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub instance: bool,
    /// For a token of the instance, the organizations to which it is limited; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
}

/// How a token is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenRotation {
    /// How long the old secret stays valid, in seconds with an `s`; `None`: a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// How long the new one is valid; `None`: as long as the old one was, if that expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// An API token, without its secret. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiToken {
    /// Its id, which is public.
    pub id: String,
    /// Tells people what the token is for.
    pub name: String,
    /// The organization that it belongs to; empty for a token of the instance.
    pub organization: String,
    /// Whether it belongs to the instance.
    pub instance: bool,
    /// The organizations to which a token of the instance is limited; `None`: it can reach all.
    pub organizations: Option<Vec<String>>,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// The projects to which it is limited; `None`: not limited.
    pub projects: Option<Vec<String>>,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
    /// When it was created.
    pub created_at: String,
    /// When it expires; `None`: never.
    pub expires_at: Option<String>,
    /// When it was last used, to within a minute; `None`: never.
    pub last_used_at: Option<String>,
    /// When it was revoked; `None`: never.
    pub revoked_at: Option<String>,
}

/// A token with its secret, which is shown only this once.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct IssuedToken {
    /// The token.
    pub token: ApiToken,
    /// The value for the header `Authorization`, after `Bearer`.
    pub secret: String,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// The answer with one token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiTokenAnswer {
    /// The token.
    pub token: ApiToken,
}

/// One page of tokens, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiTokenPage {
    /// The tokens.
    pub tokens: Vec<ApiToken>,
    /// The token for the next page; empty on the last one.
    pub next_page_token: String,
}

/// Which page of a list. The default is the first, of the server's default size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Maximum number of entries; `None`: the server's default.
    pub size: Option<u32>,
    /// The `next_page_token` of the previous page; empty: the first page.
    pub token: String,
}

/// The limits to set for an organization; for those that are `None`, the server's configuration applies.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WantedLimits {
    /// Maximum number of operations that have not ended; 0: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<u64>,
    /// Operations that may be created per second, on each server; 0: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Operations that may be created at once after a pause; only together with a rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Maximum size of an input in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input: Option<u64>,
    /// Maximum size of an output in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// How many of its operations start for each one of an organization of weight 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// By kind, how many of its operations may run at the same time; 0: unlimited.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_running: BTreeMap<String, u32>,
}

/// An organization in a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrganizationSummary {
    /// Its name.
    pub name: String,
    /// When it was created; RFC 3339.
    pub created_at: String,
    /// The number of its pending operations.
    pub pending: u64,
    /// The number of its running operations.
    pub running: u64,
    /// Since when it has been paused; RFC 3339.
    pub paused_since: Option<String>,
    /// Whether its deletion has started and not ended.
    pub being_deleted: bool,
}

/// One page of organizations, by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrganizationPage {
    /// The organizations.
    pub organizations: Vec<OrganizationSummary>,
    /// The token for the next page; empty on the last one.
    pub next_page_token: String,
}

/// The progress of an organization's deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct OrganizationDeletion {
    /// Whether it is complete; otherwise, the same call continues it.
    pub done: bool,
    /// How many rows this call has removed.
    pub removed_rows: u64,
}

/// Which entries of an audit log to return. An empty field matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRequest {
    /// Only calls by this actor: the id of a token.
    pub actor: String,
    /// Only this action; with a dot at its end, all actions that begin with it.
    pub action: String,
    /// Only calls on this target, e.g. `operations/ID`.
    pub target: String,
    /// Only entries of this time or later; RFC 3339.
    pub since: String,
    /// Only entries before this time; RFC 3339.
    pub until: String,
    /// For tokens of the instance: the organization of the log; empty: the log of the instance.
    pub organization: String,
    /// The page to return.
    pub page: Page,
}

/// A call that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AuditEntry {
    /// Its number in the log: 1, 2, 3 …
    pub number: u64,
    /// When it was written; RFC 3339.
    pub time: String,
    /// The organization of the log; empty: the log of the instance.
    pub organization: String,
    /// Who called.
    pub actor: AuditActor,
    /// The action, e.g. `operations.create`.
    pub action: String,
    /// The targets of the action.
    pub targets: Vec<String>,
    /// The address from which the call came; empty on the command line.
    pub address: String,
    /// The id of its request; empty on the command line.
    pub request_id: String,
    /// The result, a `google.rpc.Code`: 0 if it succeeded.
    pub code: i32,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AuditActor {
    /// `token`, `instance_token`, `identity` or `command_line`.
    pub kind: String,
    /// The id of the token; on the command line the user.
    pub id: String,
    /// The name of the token.
    pub name: String,
}

/// One page of an audit log, newest first. It may have fewer entries than requested even if there are more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The token for the next page; empty on the last one.
    pub next_page_token: String,
}

/// A session of a user who signed in at the identity provider. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Its id, which is public.
    pub id: String,
    /// The organization.
    pub organization: String,
    /// The provider's identifier of the user.
    pub subject: String,
    /// The user's name.
    pub name: String,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
    /// When the user signed in.
    pub begun_at: String,
    /// When it expires.
    pub expires_at: String,
    /// When it was revoked, if it was.
    pub revoked_at: Option<String>,
}

/// The answer with one session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SessionAnswer {
    /// The session.
    pub session: Session,
}

/// One page of sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// The token for the next page; empty on the last one.
    pub next_page_token: String,
}

/// Adds the given parameters to the query of an address.
pub(crate) fn with_query(mut address: Url, page: &Page, given: &[(&str, &str)]) -> Url {
    let size = page.size.map(|size| size.to_string()).unwrap_or_default();
    let pairs = [("page_size", size.as_str()), ("page_token", page.token.as_str())];
    let pairs: Vec<_> = pairs.iter().chain(given).filter(|(_, value)| !value.is_empty()).collect();
    if !pairs.is_empty() {
        address.query_pairs_mut().extend_pairs(pairs);
    }
    address
}

impl Client {
    /// `POST /v1/tokens`: creates a token. Sent only once: a repetition could create two.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn create_token(&self, token: &NewApiToken) -> Result<Answer<IssuedToken>, Error> {
        self.call_once(self.http().post(self.address("v1/tokens")).json(token)).await
    }

    /// `GET /v1/tokens`: one page of the tokens that the caller manages, of one organization or of all that it can
    /// reach.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn tokens(&self, organization: Option<&str>, page: &Page) -> Result<Answer<ApiTokenPage>, Error> {
        let of = [("organization", organization.unwrap_or_default())];
        let address = with_query(self.address("v1/tokens"), page, &of);
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/tokens/{id}`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when the caller can reach no such token.
    pub async fn token(&self, id: &str) -> Result<Answer<ApiTokenAnswer>, Error> {
        let address = self.address(&format!("v1/tokens/{}", segment(id)));
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/tokens/{id}:revoke`: revokes a token permanently.
    ///
    /// # Errors
    /// As [`Client::token`].
    pub async fn revoke_token(&self, id: &str) -> Result<Answer<ApiTokenAnswer>, Error> {
        let address = self.address(&format!("v1/tokens/{}:revoke", segment(id)));
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/tokens/{id}:rotate`: replaces a token. Sent only once: a repetition could create two.
    ///
    /// # Errors
    /// As [`Client::token`]; a refusal with code 9 when it is no longer valid.
    pub async fn rotate_token(&self, id: &str, rotation: &TokenRotation) -> Result<Answer<IssuedToken>, Error> {
        let address = self.address(&format!("v1/tokens/{}:rotate", segment(id)));
        self.call_once(self.http().post(address).json(rotation)).await
    }

    /// `POST /v1/organizations`: creates an organization.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 6 when the name is already in use.
    pub async fn create_organization(
        &self,
        name: &str,
        limits: WantedLimits,
    ) -> Result<Answer<OrganizationAnswer>, Error> {
        #[derive(Serialize)]
        struct Wish<'w> {
            name: &'w str,
            limits: &'w WantedLimits,
        }
        let address = self.address("v1/organizations");
        self.call(|| self.http().post(address.clone()).json(&Wish { name, limits: &limits })).await
    }

    /// `GET /v1/organizations`: one page of the organizations that the caller can reach, by name.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn organizations(&self, page: &Page) -> Result<Answer<OrganizationPage>, Error> {
        let address = with_query(self.address("v1/organizations"), page, &[]);
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/organizations/{name}:setLimits`: replaces all limits.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when the caller can reach no such organization.
    pub async fn set_organization_limits(
        &self,
        name: &str,
        limits: WantedLimits,
    ) -> Result<Answer<OrganizationAnswer>, Error> {
        let address = self.address(&format!("v1/organizations/{}:setLimits", segment(name)));
        self.call(|| self.http().post(address.clone()).json(&limits)).await
    }

    /// `DELETE /v1/organizations/{name}`: deletes it, or resumes its deletion; with `force`, with everything in it.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 9 when it is not empty and `force` is not given.
    pub async fn delete_organization(&self, name: &str, force: bool) -> Result<Answer<OrganizationDeletion>, Error> {
        let force = [("force", if force { "true" } else { "" })];
        let address = self.address(&format!("v1/organizations/{}", segment(name)));
        let address = with_query(address, &Page::default(), &force);
        self.call(|| self.http().delete(address.clone())).await
    }

    /// `GET /v1/audit`: one page of an audit log, newest first.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn audit(&self, request: &AuditRequest) -> Result<Answer<AuditPage>, Error> {
        let AuditRequest { actor, action, target, since, until, organization, page } = request;
        let given = [
            ("actor", actor.as_str()),
            ("action", action),
            ("target", target),
            ("since", since),
            ("until", until),
            ("organization", organization),
        ];
        let address = with_query(self.address("v1/audit"), page, &given);
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/sessions`: one page of the sessions of an organization, oldest first; `None`: the caller's own.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn sessions(&self, organization: Option<&str>, page: &Page) -> Result<Answer<SessionPage>, Error> {
        let of = [("organization", organization.unwrap_or_default())];
        let address = with_query(self.address("v1/sessions"), page, &of);
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/sessions/{id}:revoke`: ends a session on all servers, permanently.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when the caller can reach no such session.
    pub async fn revoke_session(&self, organization: Option<&str>, id: &str) -> Result<Answer<SessionAnswer>, Error> {
        let of = [("organization", organization.unwrap_or_default())];
        let address = self.address(&format!("v1/sessions/{}:revoke", segment(id)));
        let address = with_query(address, &Page::default(), &of);
        self.call(|| self.http().post(address.clone())).await
    }
}
