//! The content of forms and addresses: names with values; a name may occur several times.

use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use operations::Violation;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::error::Problem;
use super::visitor::Visitor;
use crate::app::App;
use crate::error::ApiError;
use crate::http::body;

/// A form may be this many times as large as the body of a call: its values are encoded, and one letter becomes three.
const BODIES: u64 = 2;
/// The most fields that are read: a page has a hundred rows with a check box each.
const MAX_FIELDS: usize = 1_000;

/// The fields of a form, or the parameters of an address.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `name=value&name=value`; fields after the thousandth are ignored.
    pub(super) fn parse(text: &str) -> Fields {
        let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(MAX_FIELDS);
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Fields(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// The value of a name, without spaces around it; empty when there is none.
    pub(super) fn one(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The value of a name as it was typed, with plain line breaks.
    pub(super) fn text(&self, name: &str) -> String {
        self.raw(name).replace("\r\n", "\n")
    }

    fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
    }

    /// Every value of a name that is not empty.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        let values = self.0.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.trim());
        values.filter(|value| !value.is_empty())
    }

    /// Whether a name occurs, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(of, _)| of == name)
    }

    /// Whether there is any other name than these with a value.
    pub(super) fn has_other_than(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(name, value)| value.is_empty() || !names.contains(&name.as_str()))
    }
}

/// The parameters of an address.
impl FromRequestParts<App> for Fields {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Fields, Infallible> {
        Ok(Fields::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// The parameters of an address as a struct; values that do not fit are refused.
pub(super) struct Address<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Address<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Address<T>, Problem> {
        let asked = Query::try_from_uri(&parts.uri);
        let Query(asked) = asked.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
        Ok(Address(asked))
    }
}

/// The content of a list, or an empty one and what is wrong with the request for it.
///
/// # Errors
/// The error itself, where changing the request would not help.
pub(super) fn or_problems<T: Default>(found: Result<T, ApiError>) -> Result<(T, Vec<String>), ApiError> {
    match found {
        Ok(found) => Ok((found, Vec::new())),
        Err(ApiError::Invalid(violations)) => {
            let problems =
                violations.into_iter().map(|violation| format!("{} {}", violation.field, violation.description));
            Ok((T::default(), problems.collect()))
        }
        Err(error) => Err(error),
    }
}

/// The name within an address; empty, which is not a valid name, where it cannot be read.
pub(super) struct Name(pub(super) String);

impl FromRequestParts<App> for Name {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Name, Infallible> {
        let name = Path::<String>::from_request_parts(parts, app).await;
        Ok(Name(name.map_or_else(|_| String::new(), |Path(name)| name)))
    }
}

/// A form that was sent from a page of the visitor's own session. Every handler that changes something takes one.
pub(super) struct Sent {
    pub(super) visitor: Visitor,
    pub(super) fields: Fields,
}

impl FromRequest<App> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Sent, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        let limit = app.settings.body_limit.saturating_mul(BODIES);
        let read = body::read(app, &app.memory.small, &visitor.caller, &parts.headers, body, limit).await;
        let refused = |error: ApiError| Problem::from(error).into_response();
        let bytes = read.map_err(refused)?;
        let fields = Fields::parse(&String::from_utf8_lossy(&bytes));
        visitor.check(fields.one("csrf_token")).map_err(refused)?;
        Ok(Sent { visitor, fields })
    }
}

/// What is wrong with the input of a form.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    fields: Vec<Violation>,
    /// An error that concerns no field; empty if there is none.
    pub(super) message: String,
}

impl Wrong {
    /// The errors of a refused call, and the status to answer with.
    ///
    /// # Errors
    /// The error itself, where changing the input would not help: it becomes a page of its own.
    pub(super) fn of(error: ApiError) -> Result<(Wrong, StatusCode), ApiError> {
        match error {
            ApiError::Invalid(fields) => Ok((Wrong { fields, message: String::new() }, StatusCode::BAD_REQUEST)),
            ApiError::NotFound(_)
            | ApiError::ScopeMissing(_)
            | ApiError::WholeOrganization
            | ApiError::Unauthenticated
            | ApiError::Internal(_) => Err(error),
            other => {
                let message = other.to_string();
                Ok((Wrong { fields: Vec::new(), message }, other.into_response().status()))
            }
        }
    }

    pub(super) fn add(&mut self, field: &str, description: impl Into<String>) {
        self.fields.push(Violation::new(field, description));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.message.is_empty()
    }

    /// What is wrong with a field, or with parts of it, which are named; empty if nothing is wrong.
    pub(super) fn at(&self, field: &str) -> String {
        let description = |one: &Violation| match one.field.strip_prefix(field)? {
            "" => Some(one.description.clone()),
            part if part.starts_with(['.', '[']) => {
                Some(format!("{}: {}", part.trim_start_matches('.'), one.description))
            }
            _ => None,
        };
        self.fields.iter().filter_map(description).collect::<Vec<_>>().join("; ")
    }

    /// The errors of fields other than these, which the form does not have.
    pub(super) fn beside(&self, fields: &[&str]) -> Vec<String> {
        let is_shown = |of: &Violation| fields.iter().any(|field| of.field.starts_with(field));
        let beside = self.fields.iter().filter(|one| !is_shown(one)).map(ToString::to_string);
        Some(self.message.clone()).filter(|message| !message.is_empty()).into_iter().chain(beside).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_value_or_several() {
        let fields = Fields::parse("a=1&a=+2+&b=%C3%A9%26&c&=x&a=");
        assert_eq!(fields.one("a"), "1");
        assert_eq!(fields.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((fields.one("b"), fields.one("c"), fields.one("d")), ("é&", "", ""));
        assert!(fields.has("c") && !fields.has("d"));
        assert!(fields.has_other_than(&["a", "b"]));
        assert!(!Fields::parse("a=1&b=2").has_other_than(&["a", "b"]));
        assert!(Fields::parse("a=1&b=").has_other_than(&["a", "b"]), "an empty field counts as missing");
    }

    #[test]
    fn what_is_wrong_is_found_by_its_field() {
        let violations = ["operation.kind", "operation.labels", "every"].map(|field| Violation::new(field, field));
        let (wrong, status) = Wrong::of(ApiError::Invalid(violations.into())).expect("it concerns fields");
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(wrong.at("operation.kind"), "operation.kind");
        assert_eq!(wrong.at("operation"), "kind: operation.kind; labels: operation.labels");
        assert_eq!(wrong.at("oper"), "");
        assert_eq!(wrong.beside(&["operation."]), ["every: every"]);
        assert!(Wrong::of(ApiError::NotFound("view")).is_err());
    }
}
