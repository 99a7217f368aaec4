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

/// What calls may not find, by its name in the error: its entry in the navigation, its list, and the name of the list.
const LISTS: [(&str, &str, &str, &str); 7] = [
    ("operation", "operations", super::LIST, "list of operations"),
    ("evidence", "evidence", "/ui/evidence", "list of evidence"),
    ("waiver", "evidence", "/ui/waivers", "list of waivers"),
    ("schedule", "schedules", "/ui/schedules", "list of schedules"),
    ("view", "views", "/ui/views", "list of views"),
    ("token", "tokens", "/ui/tokens", "list of tokens"),
    ("session", "tokens", "/ui/tokens", "list of sessions"),
];

/// An error that a person sees.
pub(crate) struct Problem {
    error: ApiError,
    /// A page with the navigation, where the visitor is known.
    page: Option<Box<Framed>>,
}

/// An error on a page without the navigation, which gets one if somebody is signed in (see [`framed`]).
#[derive(Clone)]
struct Shown {
    title: &'static str,
    message: String,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Problem {
        Problem { error, page: None }
    }
}

impl From<store::StoreError> for Problem {
    fn from(error: store::StoreError) -> Problem {
        ApiError::from(error).into()
    }
}

impl Problem {
    /// The error of a call by somebody who is signed in. That something was not found is shown on a page with the
    /// navigation, in the same words whether it does not exist or the caller may not see it.
    pub(super) fn of(error: ApiError, visitor: &Visitor, name: &str) -> Problem {
        let what = match error {
            ApiError::NotFound(what) => what,
            ApiError::NoAttestation(_) => "operation",
            error => return error.into(),
        };
        let list = LISTS.iter().find(|(of, ..)| *of == what);
        let message = match &error {
            ApiError::NotFound(_) if list.is_none() => "There is no page at this address.".to_owned(),
            ApiError::NotFound(_) => gone(what, name),
            error => error.to_string(),
        };
        let frame = visitor.frame(list.map_or("", |(_, here, ..)| here));
        // There is no link to a list that the caller may not see.
        let list = list.filter(|_| frame.pages.iter().any(|page| page.is_here));
        let (back, back_name) = list.map_or((super::HOME, "overview"), |(_, _, url, name)| (*url, *name));
        let page = Framed { assets: Assets, frame, title: MISSING, message, back, back_name };
        Problem { error, page: Some(Box::new(page)) }
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
        let Problem { error, page } = self;
        if let Some(page) = page {
            let html = page.render().unwrap_or(page.message);
            return answer(error, html);
        }
        let title = match &error {
            ApiError::NotFound(_) => MISSING,
            ApiError::ScopeMissing(_) | ApiError::ProjectDenied { .. } => "You may not do this",
            ApiError::Invalid(_) | ApiError::Malformed(_) => "The request is not valid",
            ApiError::Unauthenticated => "You are not signed in",
            ApiError::StaleForm => "The page is out of date",
            _ => "Something went wrong",
        };
        let page = Page { assets: Assets, title, message: error.to_string() };
        let html = page.render().unwrap_or_else(|_| page.message.clone());
        let mut response = answer(error, html);
        response.extensions_mut().insert(Shown { title, message: page.message });
        response
    }
}

/// Adds the navigation to the errors of somebody who is signed in, wherever in the handling of a request they arose.
pub(super) async fn framed(mut request: Request, next: Next) -> Response {
    let signed_in = SignedIn::default();
    request.extensions_mut().insert(signed_in.clone());
    let response = next.run(request).await;
    let (Some(Shown { title, message }), Some(visitor)) = (response.extensions().get().cloned(), signed_in.visitor())
    else {
        return response;
    };
    let (back, back_name) = (super::HOME, "overview");
    let page = Framed { assets: Assets, frame: visitor.frame(""), title, message, back, back_name };
    match page.render() {
        Ok(html) => with_page(response, html),
        Err(_) => response,
    }
}

/// Every address below `/ui` without a page.
pub(super) async fn unknown(visitor: Result<Visitor, Response>) -> Problem {
    let error = ApiError::NotFound("page");
    match visitor {
        Ok(visitor) => Problem::of(error, &visitor, ""),
        Err(_) => error.into(),
    }
}

/// An error with a page as its body. Its status, headers and log entry are those of the API.
fn answer(error: ApiError, html: String) -> Response {
    with_page(error.into_response(), html)
}

fn with_page(response: Response, html: String) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Response::from_parts(parts, html.into())
}
