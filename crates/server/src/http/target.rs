//! The last part of `/v1/operations/{id}` and `/v1/operations/{id}:verb`, which is only parsed here.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use operations::OperationId;
use percent_encoding::percent_decode;

use crate::error::ApiError;

/// The part of a path after `/v1/operations/`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    id: Option<OperationId>,
    verb: Option<String>,
}

impl Target {
    fn parse(text: &str) -> Target {
        // No id has a colon.
        let (id, verb) = match text.split_once(':') {
            Some((id, verb)) => (id, Some(verb.to_owned())),
            None => (text, None),
        };
        Target { id: id.parse().ok(), verb }
    }

    /// The id, where no verb is allowed. A text that is not an id is answered like an unknown id.
    pub fn id(&self) -> Result<OperationId, ApiError> {
        if self.verb.is_some() { Err(ApiError::NotFound("operation")) } else { self.id_before_verb() }
    }

    /// The id before a verb that is allowed.
    pub fn id_before_verb(&self) -> Result<OperationId, ApiError> {
        self.id.ok_or(ApiError::NotFound("operation"))
    }

    /// The verb, if there is one.
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }
}

impl Target {
    /// The target at the end of a path.
    pub fn of(path: &str) -> Target {
        let end = path.rsplit('/').next().unwrap_or_default();
        // A text that is not UTF-8 is not an id; it may still be followed by a verb.
        percent_decode(end.as_bytes()).decode_utf8().map_or_else(|_| Target::parse(end), |text| Target::parse(&text))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Target, Infallible> {
        Ok(Target::of(parts.uri.path()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_stands_before_its_verb() {
        let text = "01a20e1a-1194-75ec-b562-a042f01e7eac";
        let id: OperationId = text.parse().unwrap();
        let target = Target::parse(text);
        assert_eq!((target.id().unwrap(), target.verb()), (id, None));
        let target = Target::parse(&format!("{text}:cancel"));
        assert_eq!((target.id_before_verb().unwrap(), target.verb()), (id, Some("cancel")));
        assert!(target.id().is_err());
        for (bad, verb) in [("", None), ("nope", None), ("nope:cancel", Some("cancel")), (":", Some(""))] {
            let target = Target::parse(bad);
            assert!(target.id_before_verb().is_err(), "{bad}");
            assert_eq!(target.verb(), verb);
        }
    }
}
