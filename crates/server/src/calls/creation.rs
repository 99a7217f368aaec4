//! Creating operations, one or many: how a creation is read, checked and distinguished from others.

use std::time::Duration;

use operations::{
    Concurrency, Labels, MAX_PRIORITY, NewOperation, Operation, OperationId, Resource, Timestamp, Violation,
    repeated_unique_keys,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;
use store::{IdempotencyKey, Scope};
use utoipa::ToSchema;

use super::{duration, evaluation, idempotency, labels};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, List, Read, canonical};

/// The most creations of a batch, so that its transaction stays short.
const MAX_OPERATIONS: usize = 1_000;
/// A batch may be this many times as large as a single creation. With the default limit of a body, 2 MiB, that is the 8
/// MiB that one transaction of a store takes.
pub(crate) const BODIES: u64 = 4;

/// An operation to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateOperation<'a> {
    /// The kind of work: 1 to 128 letters, digits, '_', '-', '.' or '/'.
    #[schema(required = true, min_length = 1, max_length = 128, example = "scan")]
    #[serde(default)]
    pub(crate) kind: String,
    /// The type of the resource that it is about; must come together with resource_id.
    #[schema(value_type = Option<String>, max_length = 256, example = "repository")]
    #[serde(default)]
    pub(crate) resource_type: String,
    /// The id of the resource that it is about; must come together with resource_type.
    #[schema(value_type = Option<String>, max_length = 256, example = "acme/shop")]
    #[serde(default)]
    pub(crate) resource_id: String,
    /// The project that it belongs to. A token that is limited to projects must name one of them.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(default)]
    pub(crate) project_id: String,
    /// The version of the project.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(default)]
    pub(crate) project_version_id: String,
    /// The input for the handler or worker: any JSON, stored exactly as it is written.
    #[serde(default, borrow)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub(crate) input: Option<&'a RawValue>,
    /// Among pending operations, those with a higher priority start first.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    #[serde(default)]
    pub(crate) priority: Option<i64>,
    /// The earliest time at which it may start.
    #[serde(default, deserialize_with = "time")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2030-01-23T04:56:07Z")]
    pub(crate) run_after: Option<Timestamp>,
    /// How long one attempt may take, in seconds with the suffix s.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "60s")]
    pub(crate) timeout: Option<Duration>,
    /// The largest number of attempts; by default the setting of the kind or the server.
    #[schema(minimum = 1, maximum = 100)]
    #[serde(default)]
    pub(crate) max_attempts: Option<i64>,
    /// How long it is kept after its end, in seconds with the suffix s; by default as the server is configured.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "86400s")]
    pub(crate) retain_for: Option<Duration>,
    /// At most concurrency_limit operations of the organization with this key run at a time, whatever their kinds.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255, example = "deploy:production")]
    #[serde(default)]
    pub(crate) concurrency_key: String,
    /// How many operations with the concurrency_key may run at a time, with a key only; 1 if it is left out. If
    /// operations with the same key give different limits, that of the newest one applies.
    // Not a default: generated clients would send it, and without a key it is refused.
    #[schema(minimum = 1, maximum = 10000)]
    #[serde(default)]
    pub(crate) concurrency_limit: Option<i64>,
    /// Labels, by which it can be found: at most 16 values of at most 255 bytes. A key has 1 to 63 lower-case letters,
    /// digits, '.', '_', '-' or '/', and begins and ends with a letter or a digit.
    #[serde(default, deserialize_with = "labels::given")]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({"team": "search"}))]
    pub(crate) labels: Labels,
    /// While an operation of the organization with this key has not ended, no other one is created: the answer is that
    /// operation, with the header X-Longrun-Existing: true. At most 255 bytes.
    #[schema(value_type = Option<String>, max_length = 255)]
    #[serde(default)]
    pub(crate) unique_key: String,
}

/// Operations to create together.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchCreateOperations<'a> {
    /// All of them are created, or none.
    #[serde(default, borrow)]
    #[schema(value_type = Vec<CreateOperation>, required = true, min_items = 1, max_items = 1000)]
    pub(crate) operations: List<Read<CreateOperation<'a>>, MAX_OPERATIONS>,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    const WANTED: &str = "must be an RFC 3339 date-time such as \"2026-01-23T04:56:07Z\"";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(WANTED))?;
    text.parse().map(Some).map_err(|_| D::Error::custom(WANTED))
}

/// The answer to a creation.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) operation: Operation,
    /// Whether the operation existed before this call: it has the requested unique key, or this call repeats another
    /// one.
    pub(crate) existing: bool,
}

/// Creates one operation. `key` is the client's idempotency key.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    asked: Read<CreateOperation<'_>>,
    key: Option<&str>,
) -> Result<Made, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let (operation, found) = check(app, asked);
    found.none()?;
    one(app, caller, operation, "POST /v1/operations", key).await
}

/// Creates what has been checked.
pub(super) async fn one(
    app: &App,
    caller: &Caller,
    mut operation: NewOperation,
    call: &str,
    key: Option<&str>,
) -> Result<Made, ApiError> {
    let key = completed(app, caller, &mut operation, call, key).await?;
    operation.trace = caller.trace();
    let store = caller.store(app, "operations.create", Vec::new());
    // If the answer has another id, that operation existed before.
    let id = operation.unique_key.is_some().then(|| OperationId::new(app.store.now()));
    let operation = app.waker.create(&*store, caller.access(), operation, id, key).await?;
    Ok(Made { existing: id.is_some_and(|id| id != operation.id), operation })
}

/// Whether [`one`] would repeat a call that was made before.
pub(super) async fn is_repeated(
    app: &App,
    caller: &Caller,
    mut operation: NewOperation,
    call: &str,
    key: Option<&str>,
) -> Result<bool, ApiError> {
    let Some(key) = completed(app, caller, &mut operation, call, key).await? else { return Ok(false) };
    Ok(app.store.created_with(&caller.access().organization, &key).await?.is_some())
}

/// Completes an operation; answers the key of its creation by this call, if the client gave one.
async fn completed(
    app: &App,
    caller: &Caller,
    operation: &mut NewOperation,
    call: &str,
    key: Option<&str>,
) -> Result<Option<IdempotencyKey>, ApiError> {
    complete(app, caller, operation).await?;
    idempotency::key(key, caller, call, || fingerprinted(operation))
}

/// Creates many operations in one transaction, all or none.
pub(crate) async fn batch(
    app: &App,
    caller: &Caller,
    asked: Read<BatchCreateOperations<'_>>,
    key: Option<&str>,
) -> Result<Vec<Made>, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let (asked, mut found) = asked.into_parts();
    let asked = asked.operations.required("operations", &mut found);
    let mut operations = Vec::with_capacity(asked.len());
    for (index, asked) in asked.into_iter().enumerate() {
        let (operation, wrong) = check(app, asked);
        found.add_at(&format!("operations[{index}]"), wrong);
        operations.push(operation);
    }
    // A list in which much is wrong already is not searched once more.
    let repeated = if found.is_full() { Vec::new() } else { repeated_unique_keys(&operations) };
    for index in repeated {
        let description = "is also the key of another operation in this request; give each operation its own key";
        found.add(Violation::new(format!("operations[{index}].unique_key"), description));
    }
    found.none()?;
    for (index, operation) in operations.iter_mut().enumerate() {
        complete(app, caller, operation).await.map_err(|error| at(format!("operations[{index}]."), error))?;
        operation.trace = caller.trace();
    }
    let canonical = || operations.iter().map(fingerprinted).collect::<Vec<_>>().join("\n");
    let key = idempotency::key(key, caller, "POST /v1/operations:batchCreate", canonical)?;
    let store = caller.store(app, "operations.batch_create", Vec::new());
    let is_keyed: Vec<bool> = operations.iter().map(|new| new.unique_key.is_some()).collect();
    let now = app.store.now();
    let ids: Vec<OperationId> = match is_keyed.contains(&true) {
        true => is_keyed.iter().map(|_| OperationId::new(now)).collect(),
        false => Vec::new(),
    };
    let created = store.create_as(caller.access(), operations, ids.clone(), key, None).await?;
    created.iter().for_each(|operation| app.waker.created(&operation.kind));
    let made = created.into_iter().zip(is_keyed).enumerate().map(|(index, (operation, is_keyed))| {
        let existing = is_keyed && ids.get(index).is_some_and(|id| *id != operation.id);
        Made { operation, existing }
    });
    Ok(made.collect())
}

/// The error of a part of a request, with the path of that part, which ends with a dot.
pub(super) fn at(place: String, error: ApiError) -> ApiError {
    match error {
        ApiError::Invalid(violations) => ApiError::Invalid(
            violations.into_iter().map(|v| Violation::new(format!("{place}{}", v.field), v.description)).collect(),
        ),
        ApiError::ProjectDenied { given, allowed, .. } => ApiError::ProjectDenied { place, given, allowed },
        other => other,
    }
}

/// The requested operation, and everything that is wrong with it.
pub(super) fn check(app: &App, asked: Read<CreateOperation>) -> (NewOperation, Found) {
    let (asked, mut found) = asked.into_parts();
    let CreateOperation { kind, resource_type, resource_id, project_id, project_version_id, input, .. } = asked;
    let defaults = app.defaults(&kind);
    // The domain reports the size; an input that is too long is not parsed.
    if let Some(raw) = input.filter(|raw| raw.get().len() <= operations::MAX_INLINE_BYTES)
        && let Err(problem) = canonical(raw)
    {
        found.add(Violation::new("input", problem));
    }
    let operation = NewOperation {
        kind,
        resource: (!resource_type.is_empty() || !resource_id.is_empty())
            .then_some(Resource { resource_type, resource_id }),
        project_id,
        project_version_id,
        // As the client wrote it, digit for digit; empty when there is none.
        input: input.map_or_else(String::new, |raw| raw.get().to_owned()),
        // A value far out of range is reported below like one just out of range.
        priority: asked.priority.map_or(0, |n| {
            let bound = i64::from(MAX_PRIORITY) + 1;
            i16::try_from(n.clamp(-bound, bound)).expect("the bound fits")
        }),
        run_after: asked.run_after,
        timeout: asked.timeout.or(defaults.timeout),
        max_attempts: asked.max_attempts.map_or(defaults.max_attempts, |n| u32::try_from(n).unwrap_or(0)),
        retain_for: asked.retain_for,
        concurrency: (!asked.concurrency_key.is_empty()).then(|| Concurrency {
            key: asked.concurrency_key,
            limit: asked.concurrency_limit.map_or(1, |n| u32::try_from(n).unwrap_or(0)),
        }),
        labels: asked.labels,
        unique_key: Some(asked.unique_key).filter(|key| !key.is_empty()),
        schedule: None,
        trace: None,
    };
    if operation.concurrency.is_none() && asked.concurrency_limit.is_some() {
        found.add(Violation::new(
            "concurrency_limit",
            "needs a concurrency_key: it limits how many operations with that key run at a time",
        ));
    }
    check_new(app, &operation, &mut found);
    (operation, found)
}

/// Adds what is wrong with an operation as the domain sees it, and with its kind.
pub(super) fn check_new(app: &App, operation: &NewOperation, found: &mut Found) {
    operation.violations().into_iter().for_each(|violation| found.add(violation));
    if let Some(violation) = undeclared(app, &operation.kind) {
        found.add(violation);
    }
}

fn undeclared(app: &App, kind: &str) -> Option<Violation> {
    if kinds::RESERVED.contains(&kind) {
        let description = "is reserved: longrun itself makes the operations of this kind";
        return Some(Violation::new("kind", description));
    }
    if app.allow_undeclared_kinds || app.kinds.iter().any(|known| known == kind) {
        return None;
    }
    let known = if app.kinds.is_empty() { "(none)".to_owned() } else { app.kinds.join(", ") };
    Some(Violation::new("kind", format!("is not declared on this server; the declared kinds are {known}")))
}

/// Checks the conditions of a creation that do not concern single fields, and adds what follows from its kind.
pub(super) async fn complete(app: &App, caller: &Caller, operation: &mut NewOperation) -> Result<(), ApiError> {
    caller.require_project(&operation.project_id)?;
    check_input(app, caller, operation)?;
    if operation.kind == evaluation::KIND {
        evaluation::complete(app, caller, operation).await?;
    }
    Ok(())
}

/// Refuses an input that is longer than the caller's organization may have.
pub(super) fn check_input(app: &App, caller: &Caller, operation: &NewOperation) -> Result<(), ApiError> {
    let violation = app.store.quotas().of(caller.organization()).input_violation(&operation.input);
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
        concurrency,
        labels,
        unique_key,
        schedule: _,
        trace: _,
    } = operation;
    let input = serde_json::from_str::<&RawValue>(input).ok().and_then(|raw| canonical(raw).ok());
    // `Debug` quotes strings, so no two requests run into one another.
    let mut whole = format!(
        "{kind:?} {resource:?} {project_id:?} {project_version_id:?} {input:?} {priority} {run_after:?} {timeout:?} \
         {max_attempts} {retain_for:?}"
    );
    // Only those that are set: requests from before these fields existed keep their fingerprints.
    if !labels.is_empty() || unique_key.is_some() {
        whole.push_str(&format!(" {labels:?} {unique_key:?}"));
    }
    if let Some(concurrency) = concurrency {
        whole.push_str(&format!(" {concurrency:?}"));
    }
    whole
}
