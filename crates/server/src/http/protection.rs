//! Headers that restrict what browsers may do with an answer.

use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};

/// For answers that are not pages: they load nothing and are shown in no frame, however a browser interprets them.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'";
/// For pages: they use scripts, styles and pictures of this server only, call no other server and are shown in no
/// frame.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// One year, for this host only: it must not decide for its subdomains.
const TLS_ONLY: &str = "max-age=31536000";

/// Adds missing headers; those that a handler has set do not change.
pub(super) fn protect(headers: &mut HeaderMap, is_tls: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Without any referrer, browsers would not name the origin of a form either, which a sign-in checks.
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    if is_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TLS_ONLY));
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        let is_page = headers.get(CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"text/html"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(if is_page { PAGE } else { DATA }));
    }
    // A cache that stores what it must not store must at least not give one caller what another one got.
    headers.append(VARY, HeaderValue::from_static("Authorization, Cookie"));
    // Answers are for the holder of one token. An `ETag` is for programs that store what they have read themselves.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
