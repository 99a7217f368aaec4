//! What went wrong, as a page.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::assets::Assets;
use crate::error::ApiError;

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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = match &self.0 {
            ApiError::NotFound(_) => "There is no such thing",
            ApiError::ScopeMissing(_) | ApiError::ProjectDenied { .. } => "This is not yours to do",
            ApiError::Invalid(_) | ApiError::Malformed(_) => "This cannot be understood",
            ApiError::Unauthenticated => "You are not signed in",
            ApiError::StaleForm => "The page was too old",
            _ => "This did not work",
        };
        let message = self.0.to_string();
        // Status, headers and what goes into the log are those of the API.
        let (mut parts, _) = self.0.into_response().into_parts();
        let page = Page { assets: Assets, title, message };
        let html = page.render().unwrap_or_else(|_| page.message.clone());
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        Response::from_parts(parts, html.into())
    }
}
