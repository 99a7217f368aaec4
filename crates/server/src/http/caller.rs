//! Who is calling, and what the caller may do.
//!
//! A handler that takes a `Caller` runs only for a valid token. Whatever is wrong with a token (missing, malformed,
//! unknown, expired, revoked), the answer is the same, so that nothing can be learnt from it. A handler of a call that
//! has query parameters takes a `Querying` instead, so that no other call can ignore them.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{Extensions, HeaderValue};
use operations::{Access, Projects, TraceContext};
use store::{Organizations, Scope, Token};
use tokio::time::Instant;

use super::admission::Admission;
use super::shedding;
use super::trace::TraceSlot;
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::ApiError;
use crate::link::Link;
use crate::rates::Standing;
use crate::strict::{self, Nothing};

/// How often the token of a call that waits is checked when nothing happens.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// When the tokens of the calls that wait now are checked again: all at the same time, so that the calls of one token
/// share a look-up.
pub(crate) fn next_look() -> Instant {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(Instant::now);
    let over = first.elapsed().as_secs() / LOOK_AGAIN.as_secs();
    first + LOOK_AGAIN.mul_f64(over as f64 + 1.0)
}

/// The caller, however it was found (see [`Authenticated`]).
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    found: Authenticated,
    admission: Admission,
    origin: Arc<Origin>,
    trace: Option<TraceSlot>,
}

/// Where a call comes from, for the audit log.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The client, as far as it is known.
    pub(crate) address: Option<IpAddr>,
    /// The id of the request.
    pub(crate) request_id: String,
}

/// The id of a request, which is added to it before it is handled.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl Origin {
    /// The origin of a request.
    pub(crate) fn of(extensions: &Extensions) -> Origin {
        let id = extensions.get::<RequestId>().and_then(|RequestId(id)| id.to_str().ok());
        let address = extensions.get::<Link>().map(|link| link.client().address);
        Origin { address, request_id: id.unwrap_or_default().to_owned() }
    }
}

/// What becomes known about a call while it is handled: added to the request, and filled by the extraction of `Caller`.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// Who called.
    pub token: OnceLock<Arc<Token>>,
    /// The share of the server's capacity that it holds.
    pub admission: OnceLock<Admission>,
    /// What is left of the limits on calls, when there are any.
    pub standing: OnceLock<Standing>,
}

/// Clones are the same.
pub(crate) type CallerSlot = Arc<Learnt>;

impl Caller {
    /// What the caller may see; goes into every call to the store.
    pub(crate) fn access(&self) -> &Access {
        &self.found.token.access
    }

    pub(crate) fn organization(&self) -> &str {
        &self.found.token.access.organization
    }

    /// The token, or its substitute.
    pub(crate) fn token(&self) -> &Token {
        &self.found.token
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The trace, and the span in it, to which operations belong that this call creates.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace.as_ref()?.context()
    }

    /// The organizations in which a token of the instance that has the scope may do what the scope allows.
    pub(crate) fn allowed_in(&self, scope: Scope) -> Option<&Organizations> {
        self.token().allows_in(scope)
    }

    /// The caller in logs and histories: the id of an API token; `jwt:PROVIDER:SUBJECT` or `oidc:SUBJECT` for a caller
    /// that has none.
    pub(crate) fn token_id(&self) -> &str {
        &self.found.token.id
    }

    /// The result of a wait, if the token of the caller is still valid at the end: it is checked before anything is
    /// delivered. A caller whose token is no longer valid is refused soon, even when nothing happens.
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

    /// Whether the caller is still valid during a long call.
    pub(crate) async fn is_still_valid(&self, app: &App) -> bool {
        app.auth.is_still_valid(&self.found).await
    }

    /// Takes a place again among the calls that are processed, if it was released.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`].
    pub(crate) async fn step_in(&self, app: &App) -> Result<(), ApiError> {
        self.admission.enter_again(app, self.organization()).await
    }

    /// Releases the place: the call waits for its client.
    pub(crate) fn step_aside(&self) {
        self.admission.leave();
    }

    /// Refuses a caller whose token lacks the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.found.token.allows(scope) { Ok(()) } else { Err(ApiError::ScopeMissing(scope)) }
    }

    /// Refuses a caller whose token is limited to projects.
    pub(crate) fn require_whole_organization(&self) -> Result<(), ApiError> {
        match self.access().projects {
            Projects::All => Ok(()),
            Projects::Only(_) => Err(ApiError::WholeOrganization),
        }
    }

    /// Refuses a caller that may not act as a worker, for its organization or for several.
    pub(crate) fn require_work(&self) -> Result<(), ApiError> {
        let works_for_many = self.allowed_in(Scope::OperationsWork).is_some();
        if works_for_many { Ok(()) } else { self.require(Scope::OperationsWork) }
    }

    /// Refuses to create an operation in a project that the token is not limited to, or in none if it is limited.
    pub(crate) fn require_project(&self, project_id: &str) -> Result<(), ApiError> {
        let Projects::Only(projects) = &self.found.token.access.projects else { return Ok(()) };
        if projects.contains(project_id) {
            return Ok(());
        }
        let projects = projects.iter().cloned().collect::<Vec<_>>().join(", ");
        let (place, given) = (String::new(), !project_id.is_empty());
        Err(ApiError::ProjectDenied { place, given, allowed: projects })
    }
}

/// The caller of a call without query parameters: each one that is given is refused.
impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, ApiError> {
        let Querying(caller, query) = Querying::from_request_parts(parts, app).await?;
        strict::query::<Nothing>(&query)?.into_parts().1.none()?;
        Ok(caller)
    }
}

/// The caller of a call with query parameters, and the part of the URL after `?`.
pub(super) struct Querying(pub(super) Caller, pub(super) String);

impl FromRequestParts<App> for Querying {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Querying, ApiError> {
        let found = app.auth.authenticate(&parts.method, &parts.headers, parts.extensions.get::<Link>()).await?;
        let caller = Caller::admitted(parts, app, found).await?;
        Ok(Querying(caller, parts.uri.query().unwrap_or_default().to_owned()))
    }
}

impl Caller {
    /// The caller that was found for this request, once there is a place for it.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] and the like.
    pub(crate) async fn admitted(parts: &Parts, app: &App, found: Authenticated) -> Result<Caller, ApiError> {
        let origin = Arc::new(Origin::of(&parts.extensions));
        let learnt = parts.extensions.get::<CallerSlot>();
        if let Some(learnt) = learnt {
            // Set only once: a second extraction in the same request finds the same token.
            let _ = learnt.token.set(Arc::clone(&found.token));
        }
        if let Some(link) = parts.extensions.get::<Link>() {
            let crowd = || app.places.crowd(&found.token.access.organization);
            shedding::remember(link, &parts.headers, &found.token, crowd);
        }
        let admission = Admission::new(app, &found.token, parts.uri.path(), learnt.map(|learnt| &**learnt)).await?;
        Ok(Caller { found, admission, origin, trace: parts.extensions.get::<TraceSlot>().cloned() })
    }
}
