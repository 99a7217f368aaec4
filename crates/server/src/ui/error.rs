//! What went wrong, as a page.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::assets::Assets;
use super::visitor::{Frame, Visitor};
use crate::error::ApiError;

/// The title of what is not there.
const MISSING: &str = "There is no such thing";

/// An error that a person sees.
pub(crate) struct Problem(pub(super) ApiError);

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Problem {
        Problem(error)
    }
}

impl From<store::StoreError> for Problem {
    fn from(error: store::StoreError) -> Problem {
        Problem(error.into())
    }
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
#[template(path = "ui/missing.html")]
struct Missing {
    assets: Assets,
    frame: Frame,
    title: &'static str,
    message: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = match &self.0 {
            ApiError::NotFound(_) => MISSING,
            ApiError::ScopeMissing(_) | ApiError::ProjectDenied { .. } => "This is not yours to do",
            ApiError::Invalid(_) | ApiError::Malformed(_) => "This cannot be understood",
            ApiError::Unauthenticated => "You are not signed in",
            ApiError::StaleForm => "The page was too old",
            _ => "This did not work",
        };
        let page = Page { assets: Assets, title, message: self.0.to_string() };
        let html = page.render().unwrap_or_else(|_| page.message.clone());
        answer(self.0, html)
    }
}

/// What is not there, told to somebody who is signed in, on a page of this entry of the navigation.
pub(super) fn missing(visitor: &Visitor, here: &'static str, message: String) -> Response {
    let page = Missing { assets: Assets, frame: visitor.frame(here), title: MISSING, message };
    let html = page.render().unwrap_or_else(|_| page.message.clone());
    answer(ApiError::NotFound("page"), html)
}

/// What is below `/ui` and no page.
pub(super) async fn unknown(visitor: Result<Visitor, Response>) -> Response {
    match visitor {
        Ok(visitor) => missing(&visitor, "", "There is no page at this address.".to_owned()),
        Err(_) => Problem(ApiError::NotFound("page")).into_response(),
    }
}

/// An error with a page in place of its body. Status, headers and what goes into the log are those of the API.
fn answer(error: ApiError, html: String) -> Response {
    let (mut parts, _) = error.into_response().into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Response::from_parts(parts, html.into())
}
