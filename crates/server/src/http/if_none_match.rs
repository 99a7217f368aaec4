//! The header `If-None-Match`: the tags that the client has already.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header::IF_NONE_MATCH;
use http::request::Parts;

/// The tags in a request; mostly none.
pub(super) struct IfNoneMatch(Vec<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IfNoneMatch, Infallible> {
        Ok(IfNoneMatch(parts.headers.get_all(IF_NONE_MATCH).iter().cloned().collect()))
    }
}

impl IfNoneMatch {
    /// Whether this tag is among them: each header is a list of tags or `*`, compared weakly (RFC 9110, section
    /// 13.1.2).
    pub fn names(&self, etag: &[u8]) -> bool {
        self.0.iter().filter_map(|value| value.to_str().ok()).any(|list| {
            list.split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_is_a_list_compared_weakly() {
        let names = |value: &'static str| IfNoneMatch(vec![HeaderValue::from_static(value)]).names(b"\"a\"");
        for yes in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", "\"b\",W/\"a\" "] {
            assert!(names(yes), "{yes}");
        }
        for no in ["", "a", "\"b\"", "\"A\""] {
            assert!(!names(no), "{no}");
        }
    }
}
