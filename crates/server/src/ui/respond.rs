//! A page as an answer.

use std::io::Write as _;

use askama::Template;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};

use super::error::Problem;
use crate::error::ApiError;

/// Shorter pages are not compressed.
const WORTH_COMPRESSING: usize = 1_024;

/// Renders a page.
pub(super) fn page(headers: &HeaderMap, template: &impl Template) -> Result<Response, Problem> {
    page_with(StatusCode::OK, headers, template)
}

/// Renders a page with this status.
pub(super) fn page_with(
    status: StatusCode,
    headers: &HeaderMap,
    template: &impl Template,
) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| ApiError::Internal(error.into()))?;
    let head = [(CONTENT_TYPE, "text/html; charset=utf-8"), (VARY, "accept-encoding, cookie")];
    if html.len() < WORTH_COMPRESSING || !takes_gzip(headers) {
        return Ok((status, head, html).into_response());
    }
    let bytes = gzip(html.as_bytes(), Compression::fast());
    Ok((status, head, [(CONTENT_ENCODING, "gzip")], bytes).into_response())
}

/// Compresses.
pub(super) fn gzip(bytes: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), level);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory can be written").into()
}

/// Whether the browser accepts gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_none_or(|weight| weight > 0.0)
    })
}
