//! Headers that tell browsers what not to do with an answer.

use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};

/// An answer that is no page loads nothing and is shown in no frame, whatever a browser makes of it.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'";
/// A page has scripts, styles and pictures of this server, calls nobody else and is shown in no frame.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A year. Of this host only: what its siblings do is not ours to say.
const TLS_ONLY: &str = "max-age=31536000";

/// Adds what is missing; what a handler has set stays.
pub(super) fn protect(headers: &mut HeaderMap, is_tls: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if is_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TLS_ONLY));
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        let is_page = headers.get(CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"text/html"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(if is_page { PAGE } else { DATA }));
    }
    // A cache that keeps what it must not keep must at least not give one caller what another one got.
    headers.append(VARY, HeaderValue::from_static("Authorization, Cookie"));
    // Answers are for the holder of one token. An `ETag` serves programs that keep what they have read themselves.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
