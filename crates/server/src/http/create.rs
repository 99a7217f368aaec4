//! `POST /v1/operations`: creates one operation.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use operations::{MAX_PRIORITY, NewOperation, Resource, Timestamp, Violation};
use serde_json::value::RawValue;
use store::Scope;

use super::json::{Fields, canonical};
use super::render::{OperationAnswer, to_json};
use super::{App, body, duration, evaluate, idempotency};
use crate::auth::Caller;
use crate::error::ApiError;

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let mut operation = parse(&app, &body)?;
    caller.require_project(&operation.project_id)?;
    check_input(&app, &caller, &operation)?;
    if operation.kind == kinds::evaluation::KIND {
        evaluate::complete(&app, &caller, &mut operation).await?;
    }
    let key = idempotency::key(&headers, &caller, "POST /v1/operations", || fingerprinted(&operation))?;
    let operation = app.waker.create(&*app.store, caller.organization(), operation, key).await?;
    let location = format!("/v1/operations/{}", operation.id);
    let json = to_json(&OperationAnswer::from(&operation));
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (LOCATION, location)], json).into_response())
}

/// Reads the body, or everything that is wrong with it.
fn parse(app: &App, body: &Bytes) -> Result<NewOperation, ApiError> {
    let mut fields = Fields::parse(body)?;
    let operation = read(app, &mut fields);
    let violations = fields.finish();
    if violations.is_empty() { Ok(operation) } else { Err(ApiError::Invalid(violations)) }
}

/// Reads one creation, which is all that its fields may hold; what is wrong with it is added to the violations of its
/// fields.
pub(super) fn read(app: &App, fields: &mut Fields) -> NewOperation {
    const DURATION: &str = "must be a duration in seconds such as \"60s\" or \"1.5s\"";
    let kind = fields.text("kind").into_owned();
    let defaults = app.defaults(&kind);
    let resource_type = fields.text("resource_type").into_owned();
    let resource_id = fields.text("resource_id").into_owned();
    let resource =
        (!resource_type.is_empty() || !resource_id.is_empty()).then_some(Resource { resource_type, resource_id });
    let operation = NewOperation {
        kind,
        resource,
        project_id: fields.text("project_id").into_owned(),
        project_version_id: fields.text("project_version_id").into_owned(),
        input: input(fields),
        // What is far out of range is told below like what is just out of range.
        priority: fields.integer("priority").map_or(0, |n| {
            let bound = i64::from(MAX_PRIORITY) + 1;
            i16::try_from(n.clamp(-bound, bound)).expect("the bound fits")
        }),
        run_after: fields.parsed(
            "run_after",
            "must be an RFC 3339 date-time such as \"2026-01-23T04:56:07Z\"",
            |text| text.parse::<Timestamp>().ok(),
        ),
        timeout: fields.parsed("timeout", DURATION, duration::parse).or(defaults.timeout),
        max_attempts: fields.integer("max_attempts").map_or(defaults.max_attempts, |n| u32::try_from(n).unwrap_or(0)),
        retain_for: fields.parsed("retain_for", DURATION, duration::parse),
    };
    fields.refuse_rest();
    let violations = &mut fields.violations;
    for violation in operation.violations() {
        // One violation a field is enough: a kind that is not a string is not a bad name too.
        if violations.iter().all(|v| v.field != violation.field) {
            violations.push(violation);
        }
    }
    if violations.iter().all(|v| v.field != "kind") {
        violations.extend(undeclared(app, &operation.kind));
    }
    operation
}

/// The input as the client wrote it, digit for digit; empty when there is none.
fn input(fields: &mut Fields) -> String {
    let Some(raw) = fields.raw("input") else { return String::new() };
    // The domain tells about the size; what is too long is not looked into.
    if raw.get().len() <= operations::MAX_INLINE_BYTES
        && let Err(problem) = canonical(raw)
    {
        fields.violations.push(Violation::new("input", problem));
    }
    raw.get().to_owned()
}

fn undeclared(app: &App, kind: &str) -> Option<Violation> {
    if kind == kinds::notices::KIND {
        let description = "is reserved: longrun itself makes the operations of this kind";
        return Some(Violation::new("kind", description));
    }
    if app.allow_undeclared_kinds || app.kinds.iter().any(|known| known == kind) {
        return None;
    }
    let known = if app.kinds.is_empty() { "(none)".to_owned() } else { app.kinds.join(", ") };
    Some(Violation::new("kind", format!("is not declared here; the declared kinds are {known}")))
}

/// Refuses an input that is longer than the caller's organization may have.
pub(super) fn check_input(app: &App, caller: &Caller, operation: &NewOperation) -> Result<(), ApiError> {
    let violation = app.quotas.of(caller.organization()).input_violation(&operation.input);
    violation.map_or(Ok(()), |violation| Err(ApiError::Invalid(vec![violation])))
}

/// The operation in a form that all spellings of the same request share.
pub(super) fn fingerprinted(operation: &NewOperation) -> String {
    let NewOperation {
        kind,
        resource,
        project_id,
        project_version_id,
        input,
        priority,
        run_after,
        timeout,
        max_attempts,
        retain_for,
    } = operation;
    let input = serde_json::from_str::<&RawValue>(input).ok().and_then(|raw| canonical(raw).ok());
    // `Debug` quotes strings, so no two requests run into one another.
    format!(
        "{kind:?} {resource:?} {project_id:?} {project_version_id:?} {input:?} {priority} {run_after:?} {timeout:?} \
         {max_attempts} {retain_for:?}"
    )
}
