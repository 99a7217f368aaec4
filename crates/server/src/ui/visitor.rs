//! The visitor of a page.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, Method};
use operations::Projects;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use store::Scope;

use super::error::Problem;
use crate::app::App;
use crate::auth::{is_from_own_page, mask, unmask};
use crate::calls::{audit, evidence, tokens};
use crate::error::ApiError;
use crate::http::Caller;
use crate::link::Link;

/// The visitor of a request, once it is known who it is.
#[derive(Clone, Default)]
pub(super) struct SignedIn(Arc<OnceLock<Visitor>>);

impl SignedIn {
    /// The visitor, if somebody is signed in.
    pub(super) fn visitor(&self) -> Option<&Visitor> {
        self.0.get()
    }
}

/// The session of a browser: the caller, and the token that its forms send back.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(super) caller: Caller,
    csrf_token: String,
    headers: HeaderMap,
}

impl Visitor {
    /// The frame at the top of each page.
    pub(super) fn frame(&self, here: &'static str) -> Frame {
        let token = self.caller.token();
        let projects = match &token.access.projects {
            Projects::All => String::new(),
            Projects::Only(only) => only.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        Frame {
            organization: self.caller.organization().to_owned(),
            name: token.name.clone(),
            projects,
            csrf_token: mask(&self.csrf_token),
            pages: self.pages(here),
            may_write: self.may_write(),
        }
    }

    /// The pages that the caller may see; the others are not shown.
    fn pages(&self, here: &str) -> Vec<Entry> {
        let reads = self.caller.require(Scope::OperationsRead).is_ok();
        let entries = [
            ("overview", "/ui", "Overview", reads),
            ("operations", "/ui/operations", "Operations", reads),
            ("schedules", "/ui/schedules", "Schedules", reads),
            ("views", "/ui/views", "Views", reads),
            ("workers", "/ui/workers", "Workers", reads),
            ("evidence", "/ui/evidence", "Evidence", evidence::may_list(&self.caller).is_ok()),
            ("audit", "/ui/audit", "Audit", audit::may_list(&self.caller)),
            ("tokens", "/ui/tokens", "Tokens", tokens::may_list(&self.caller)),
        ];
        let allowed = entries.into_iter().filter(|(.., allowed)| *allowed);
        allowed.map(|(name, url, shown, _)| Entry { url, name: shown, is_here: name == here }).collect()
    }

    /// Whether buttons that change operations are shown; the calls decide what is allowed.
    pub(super) fn may_write(&self) -> bool {
        self.caller.token().allows(Scope::OperationsWrite)
    }

    /// Refuses a form that was not sent from a page of this session.
    pub(super) fn check(&self, form_token: &str) -> Result<(), ApiError> {
        let given = unmask(form_token).unwrap_or_default();
        if is_from_own_page(&self.headers, &given, &self.csrf_token) { Ok(()) } else { Err(ApiError::StaleForm) }
    }
}

/// The parts that every page has for somebody who is signed in.
pub(super) struct Frame {
    pub(super) organization: String,
    pub(super) name: String,
    /// The projects that the session is limited to; empty when it is not limited.
    pub(super) projects: String,
    pub(super) csrf_token: String,
    /// The navigation.
    pub(super) pages: Vec<Entry>,
    pub(super) may_write: bool,
}

/// An entry of the navigation.
pub(super) struct Entry {
    pub(super) url: &'static str,
    pub(super) name: &'static str,
    pub(super) is_here: bool,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Visitor, Response> {
        let refused = |error: ApiError, parts: &Parts| match error {
            ApiError::Unauthenticated => Redirect::to(&sign_in_url(parts)).into_response(),
            error => Problem::from(error).into_response(),
        };
        let found = app.auth.visitor(&parts.headers, parts.extensions.get::<Link>()).await;
        let (found, csrf_token) = found.map_err(|error| refused(error, parts))?;
        let caller = Caller::admitted(parts, app, found).await.map_err(|error| refused(error, parts))?;
        let visitor = Visitor { caller, csrf_token, headers: parts.headers.clone() };
        if let Some(signed_in) = parts.extensions.get::<SignedIn>() {
            let _ = signed_in.0.set(visitor.clone());
        }
        Ok(visitor)
    }
}

/// The address of the sign-in, which leads back to the requested page, or to the overview after a form, which is not
/// sent again.
fn sign_in_url(parts: &Parts) -> String {
    let asked = parts.uri.path_and_query().map_or(super::HOME, |asked| asked.as_str());
    let back = if parts.method == Method::GET { asked } else { super::HOME };
    format!("/ui/sign-in?return_to={}", utf8_percent_encode(back, NON_ALPHANUMERIC))
}
