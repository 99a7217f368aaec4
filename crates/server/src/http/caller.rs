//! Who is calling, and what it may do.
//!
//! A handler that takes a `Caller` runs only for a valid token. Whatever is wrong with a token (missing, malformed,
//! unknown, expired, revoked), the answer is the same, so that nothing can be learnt from it.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderValue};
use operations::{Access, Projects};
use store::{Organizations, Scope, Token};
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Secret;
use crate::error::ApiError;
use crate::link::Link;

/// How often the token of a call that waits is looked at, when nothing happens.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// When the tokens of the calls that wait now are looked at again: for all at the same time, so that those of one token
/// share a look.
pub(crate) fn next_look() -> Instant {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(Instant::now);
    let over = first.elapsed().as_secs() / LOOK_AGAIN.as_secs();
    first + LOOK_AGAIN.mul_f64(over as f64 + 1.0)
}

/// The holder of a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    token: Arc<Token>,
    /// By what the token is found.
    hash: [u8; 32],
    origin: Arc<Origin>,
}

/// Where a call comes from, for the audit log.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The other end of the connection, if there is one.
    pub(crate) address: Option<IpAddr>,
    /// The id of the request.
    pub(crate) request_id: String,
}

/// The id of a request, put into it before it is answered.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl Origin {
    /// Of a request.
    fn of(extensions: &Extensions) -> Origin {
        let id = extensions.get::<RequestId>().and_then(|RequestId(id)| id.to_str().ok());
        let address = extensions.get::<Link>().map(|link| link.address().ip());
        Origin { address, request_id: id.unwrap_or_default().to_owned() }
    }
}

/// Where the access log learns who called: put into the request before, filled by the extraction of `Caller`.
pub(crate) type CallerSlot = Arc<OnceLock<Caller>>;

impl Caller {
    /// What the caller may see; goes into every call to the store.
    pub(crate) fn access(&self) -> &Access {
        &self.token.access
    }

    pub(crate) fn organization(&self) -> &str {
        &self.token.access.organization
    }

    /// The token, or what stands for it.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Of a token of the instance that has the scope, the organizations in which it may do what that names.
    pub(crate) fn allowed_in(&self, scope: Scope) -> Option<&Organizations> {
        self.token().allows_in(scope)
    }

    pub(crate) fn token_id(&self) -> &str {
        &self.token.id
    }

    /// What comes of a wait, for a caller whose token is still valid then: before that nothing of it is delivered. One
    /// that is no more is sent away soon, also when nothing comes.
    pub(crate) async fn while_valid<T>(
        &self,
        app: &App,
        waiting: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let mut waiting = pin!(waiting);
        loop {
            let result = tokio::time::timeout_at(next_look(), &mut waiting).await;
            if !self.is_still_valid(app).await {
                return Err(ApiError::Unauthenticated);
            }
            if let Ok(result) = result {
                return result;
            }
        }
    }

    /// Whether the token is still what it was at the start of a call that takes long: neither revoked nor expired. One
    /// that cannot be looked at now is. Costs a query a second at most, however many ask (see [`crate::auth::TokenLookup`]).
    pub(crate) async fn is_still_valid(&self, app: &App) -> bool {
        match app.tokens.find(self.hash, None).await {
            Ok(Some(token)) => token.is_valid(app.store.now()),
            Ok(None) => false,
            Err(_) => self.token.is_valid(app.store.now()),
        }
    }

    /// Refuses a caller whose token lacks the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.token.allows(scope) { Ok(()) } else { Err(ApiError::ScopeMissing(scope)) }
    }

    /// Refuses a caller that may not work as a worker, be it for its organization or for several.
    pub(crate) fn require_work(&self) -> Result<(), ApiError> {
        let works_for_many = self.allowed_in(Scope::OperationsWork).is_some();
        if works_for_many { Ok(()) } else { self.require(Scope::OperationsWork) }
    }

    /// Refuses to create in a project outside of the token's list, or in none when there is a list.
    pub(crate) fn require_project(&self, project_id: &str) -> Result<(), ApiError> {
        let Projects::Only(projects) = &self.token.access.projects else { return Ok(()) };
        if projects.contains(project_id) {
            return Ok(());
        }
        let projects = projects.iter().cloned().collect::<Vec<_>>().join(", ");
        let (place, given) = (String::new(), !project_id.is_empty());
        Err(ApiError::ProjectDenied { place, given, allowed: projects })
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, ApiError> {
        let secret = bearer(parts).ok_or(ApiError::Unauthenticated)?;
        let link = parts.extensions.get::<Link>();
        let found = app.tokens.find(secret.hash(), link.and_then(Link::counted)).await?;
        let token = found.ok_or(ApiError::Unauthenticated)?;
        if !token.is_valid(app.store.now()) {
            return Err(ApiError::Unauthenticated);
        }
        if let Some(link) = link {
            link.authenticated();
        }
        app.usage.note(&token.id);
        let origin = Arc::new(Origin::of(&parts.extensions));
        let caller = Caller { token, hash: secret.hash(), origin };
        if let Some(slot) = parts.extensions.get::<CallerSlot>() {
            // Set once: a second extraction in the same request finds the same token.
            let _ = slot.set(caller.clone());
        }
        Ok(caller)
    }
}

/// The secret of the one `Authorization: Bearer` header. The scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(parts: &Parts) -> Option<Secret> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (header, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    Secret::parse(credentials.trim_matches(' '))
}
