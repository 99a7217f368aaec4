//! Errors as pages.

use askama::Template;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::assets::Assets;
use super::format::short;
use super::visitor::{Frame, SignedIn, Visitor};
use crate::error::ApiError;

/// The title where something does not exist.
const MISSING: &str = "Not found";
/// The most characters that are shown of a name that was not found; a digest has 71.
const SHOWN_NAME: usize = 80;

/// The list of what a call may not find.
struct List {
    /// What it lists, by its name in the error.
    of: &'static str,
    /// Its entry in the navigation.
    here: &'static str,
    url: &'static str,
    name: &'static str,
}

const fn list(of: &'static str, here: &'static str, url: &'static str, name: &'static str) -> List {
    List { of, here, url, name }
}

static LISTS: [List; 7] = [
    list("operation", "operations", super::LIST, "list of operations"),
    list("evidence", "evidence", "/ui/evidence", "list of evidence"),
    list("waiver", "evidence", "/ui/waivers", "list of waivers"),
    list("schedule", "schedules", "/ui/schedules", "list of schedules"),
    list("view", "views", "/ui/views", "list of views"),
    list("token", "tokens", "/ui/tokens", "list of tokens"),
    list("session", "tokens", "/ui/tokens", "list of sessions"),
];

/// An error that a person sees. If somebody is signed in, [`framed`] adds the navigation.
pub(crate) struct Problem {
    error: ApiError,
    shown: Shown,
}

/// What the page of an error says.
#[derive(Clone)]
struct Shown {
    title: &'static str,
    message: String,
    /// Where somebody who is signed in continues; `None`: at the overview.
    list: Option<&'static List>,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Problem {
        let title = match &error {
            ApiError::NotFound(_) => MISSING,
            ApiError::ScopeMissing(_) | ApiError::ProjectDenied { .. } => "You may not do this",
            ApiError::Invalid(_) | ApiError::Malformed(_) => "The request is not valid",
            ApiError::Unauthenticated => "You are not signed in",
            ApiError::StaleForm => "The page is out of date",
            _ => "Something went wrong",
        };
        let shown = Shown { title, message: error.to_string(), list: None };
        Problem { error, shown }
    }
}

impl From<store::StoreError> for Problem {
    fn from(error: store::StoreError) -> Problem {
        ApiError::from(error).into()
    }
}

impl Problem {
    /// The result of a call by name. That something was not found is reported in the same words whether it does not
    /// exist or the caller may not see it.
    pub(super) fn found<T>(name: &str, found: Result<T, ApiError>) -> Result<T, Problem> {
        found.map_err(|error| Problem::of(error, name))
    }

    fn of(error: ApiError, name: &str) -> Problem {
        let what = match error {
            ApiError::NotFound(what) => what,
            ApiError::NoAttestation(_) => "operation",
            error => return error.into(),
        };
        let list = LISTS.iter().find(|list| list.of == what);
        let message = match &error {
            ApiError::NotFound(_) if list.is_none() => "There is no page at this address.".to_owned(),
            ApiError::NotFound(_) => gone(what, name),
            error => error.to_string(),
        };
        Problem { error, shown: Shown { title: MISSING, message, list } }
    }
}

fn gone(what: &str, name: &str) -> String {
    let name = short(name, SHOWN_NAME);
    let named = if name.is_empty() { String::new() } else { format!(" {name}") };
    // Views can belong to one person.
    let others = if what == "view" { "somebody else" } else { "another organization or project" };
    format!("There is no {what}{named} here: it may have been removed, or belong to {others}.")
}

#[derive(Template)]
#[template(path = "ui/error.html")]
struct Page {
    assets: Assets,
    title: &'static str,
    message: String,
}

/// The same for somebody who is signed in: the navigation stays.
#[derive(Template)]
#[template(path = "ui/problem.html")]
struct Framed {
    assets: Assets,
    frame: Frame,
    title: &'static str,
    message: String,
    /// The address and the name of a link to continue.
    back: &'static str,
    back_name: &'static str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { error, shown } = self;
        let page = Page { assets: Assets, title: shown.title, message: shown.message.clone() };
        let html = page.render().unwrap_or(page.message);
        // Status, headers and log entry are those of the API.
        let mut response = with_page(error.into_response(), html);
        response.extensions_mut().insert(shown);
        response
    }
}

/// Adds the navigation to the errors of somebody who is signed in, wherever in the handling of a request they arose.
pub(super) async fn framed(mut request: Request, next: Next) -> Response {
    let signed_in = SignedIn::default();
    request.extensions_mut().insert(signed_in.clone());
    let mut response = next.run(request).await;
    let (Some(Shown { title, message, list }), Some(visitor)) =
        (response.extensions_mut().remove(), signed_in.visitor())
    else {
        return response;
    };
    let frame = visitor.frame(list.map_or("", |list| list.here));
    // There is no link to a list that the caller may not see.
    let list = list.filter(|_| frame.pages.iter().any(|page| page.is_here));
    let (back, back_name) = list.map_or((super::HOME, "overview"), |list| (list.url, list.name));
    let page = Framed { assets: Assets, frame, title, message, back, back_name };
    match page.render() {
        Ok(html) => with_page(response, html),
        Err(_) => response,
    }
}

/// Every address below `/ui` without a page.
pub(super) async fn unknown(visitor: Result<Visitor, Response>) -> Problem {
    let error = ApiError::NotFound("page");
    match visitor {
        Ok(_) => Problem::of(error, ""),
        Err(_) => error.into(),
    }
}

/// The response with a page as its body.
fn with_page(response: Response, html: String) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Response::from_parts(parts, html.into())
}
