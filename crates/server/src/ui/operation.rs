//! The page of one operation: its properties, its history, and the actions on it.

use ::attestation::summary;
use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use operations::{Operation, OperationId, RETRY_OF, Status, Timestamp};
use store::{OperationCommand, OperationDetail};

use super::assets::Assets;
use super::error::Problem;
use super::form::{Name, Sent};
use super::format::{Badge, When, duration, pretty};
use super::life::{self, Line, Phase};
use super::operations::{Row, row_of};
use super::outcome::{self, Bulk, Verdict};
use super::visitor::{Frame, Visitor};
use super::{commands, filter, respond};
use crate::app::App;
use crate::calls::list;
use crate::calls::search::{self, SearchOperations};
use crate::calls::{attestation, command, detail, events};
use crate::error::ApiError;
use crate::strict::Read;

/// Longer texts are not shown completely, but offered as a file.
const SHOWN_BYTES: usize = 64 * 1024;
/// The most events of the history that are shown: the newest.
const SHOWN_EVENTS: usize = 100;
/// The most operations about the same resource, and retries with another input, that are shown.
const SHOWN_RELATED: u32 = 6;

#[derive(Template)]
#[template(path = "ui/operation.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    id: String,
    badge: Badge,
    kind: String,
    kind_url: String,
    resource_type: String,
    resource_id: String,
    resource_url: String,
    /// The address of the page of its evidence; empty if it is not about evidence.
    evidence_url: String,
    created: When,
    started: Option<When>,
    finished: Option<When>,
    phases: Vec<Phase>,
    waited: String,
    ran: String,
    facts: Vec<Fact>,
    labels: Vec<(String, String)>,
    progress: String,
    error: String,
    input: Json,
    output: Json,
    verdict: Option<Verdict>,
    /// Whether the result is signed.
    is_signed: bool,
    bulk: Option<Bulk>,
    history: Vec<Line>,
    is_history_cut: bool,
    related: Vec<Row>,
    /// The operation that it repeats with another input; empty if there is none.
    original: String,
    /// The operations that repeat it.
    repetitions: Vec<Row>,
    is_live: bool,
    may_cancel: bool,
    may_retry: bool,
    may_repeat: bool,
    may_delete: bool,
    watch: String,
    commands: Vec<(&'static str, String)>,
}

/// Another property of it.
struct Fact {
    name: &'static str,
    value: String,
    /// An address with more about it; empty if there is none.
    url: String,
}

/// A JSON text, as far as it is shown.
#[derive(Default)]
struct Json {
    text: String,
    is_cut: bool,
}

/// `GET /ui/operations/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Name(name): Name,
) -> Result<Response, Problem> {
    let detail = Problem::found(&name, detail::detail(&app, &visitor.caller, parse(&name)).await)?;
    let operation = &detail.operation;
    let id = operation.id;
    let history = Problem::found(&name, events::all(&app, &visitor.caller, Ok(id)).await)?;
    let now = app.store.now();
    let related = related(&app, &visitor, operation, now).await?;
    let repetitions = repetitions(&app, &visitor, id, now).await?;
    let frame = visitor.frame("operations");
    let resource = operation.resource.as_ref();
    let phases = life::phases(operation, &history, now);
    let sum =
        |class: &str| duration(phases.iter().filter(|phase| phase.class == class).map(|phase| phase.millis).sum());
    let (may_write, is_over) = (frame.may_write, operation.status.is_terminal());
    let verdict = outcome::verdict(operation);
    let is_evidence = |resource: &&operations::Resource| resource.resource_type == "evidence";
    let template = Page {
        assets: Assets,
        id: id.to_string(),
        badge: Badge::of(operation),
        kind: operation.kind.clone(),
        kind_url: filter::url_of("kind", &operation.kind),
        resource_type: resource.map_or(String::new(), |resource| resource.resource_type.clone()),
        resource_id: resource.map_or(String::new(), |resource| resource.resource_id.clone()),
        resource_url: resource.map_or(String::new(), filter::resource_url),
        evidence_url: resource.filter(is_evidence).map_or(String::new(), |of| evidence_url(&of.resource_id)),
        created: When::new(operation.created_at, now),
        started: operation.started_at.map(|at| When::new(at, now)),
        finished: operation.finished_at.map(|at| When::new(at, now)),
        waited: sum("waited"),
        ran: sum("ran"),
        phases: phases.into_iter().filter(|phase| phase.width > 0).collect(),
        facts: facts(&detail, now),
        labels: labels(&detail),
        progress: if is_over { String::new() } else { detail.progress.clone() },
        error: operation.error_message.clone(),
        input: json(&detail.input),
        output: json(&operation.output),
        verdict,
        is_signed: operation.kind == kinds::evaluation::KIND && summary::is_signed(&operation.output),
        bulk: outcome::bulk(&detail),
        is_history_cut: history.len() > SHOWN_EVENTS,
        history: history.iter().rev().take(SHOWN_EVENTS).map(|event| life::line(event, now)).collect(),
        related,
        original: detail
            .labels
            .get(RETRY_OF)
            .filter(|id| id.parse::<OperationId>().is_ok())
            .cloned()
            .unwrap_or_default(),
        repetitions,
        is_live: !is_over,
        may_cancel: may_write && !is_over,
        may_retry: may_write && operation.status == Status::Failed,
        may_repeat: may_write && is_over && !kinds::RESERVED.contains(&&*operation.kind),
        may_delete: may_write && is_over,
        watch: filter::watch_url(&[("kind", &operation.kind)]),
        commands: commands::of(&detail),
        frame,
    };
    respond::page(&headers, &template)
}

/// `GET /ui/operations/{id}/output`: the output as a file.
pub(super) async fn output(State(app): State<App>, visitor: Visitor, Name(name): Name) -> Result<Response, Problem> {
    let found = Problem::found(&name, list::get(&app, &visitor.caller, parse(&name)).await)?;
    Ok(file(&format!("{}.json", found.operation.id), found.operation.output.clone()))
}

/// `GET /ui/operations/{id}/attestation`: the signed result as a file.
pub(super) async fn attestation(
    State(app): State<App>,
    visitor: Visitor,
    Name(name): Name,
) -> Result<Response, Problem> {
    let id = Problem::found(&name, parse(&name))?;
    let envelope = Problem::found(&name, attestation::get(&app, &visitor.caller, Ok(id)).await)?;
    Ok(file(&format!("{id}.intoto.json"), envelope.json()))
}

/// `GET /ui/operations/{id}/input`: the input as a file.
pub(super) async fn input(State(app): State<App>, visitor: Visitor, Name(name): Name) -> Result<Response, Problem> {
    let detail = Problem::found(&name, detail::detail(&app, &visitor.caller, parse(&name)).await)?;
    Ok(file(&format!("{}-input.json", detail.operation.id), detail.input))
}

/// As a file, and never as a page: the text comes from the client or worker that created or ran the operation.
fn file(name: &str, content: String) -> Response {
    let name = format!("attachment; filename=\"{name}\"");
    let head = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, name)];
    (head, content).into_response()
}

/// `POST /ui/operations/{id}/{action}`.
pub(super) async fn act(
    State(app): State<App>,
    target: Result<Path<(String, String)>, PathRejection>,
    Sent { visitor, .. }: Sent,
) -> Result<Response, Problem> {
    let Path((id, action)) = Problem::found("", target.map_err(|_| ApiError::NotFound("path")))?;
    let what = match action.as_str() {
        "cancel" => OperationCommand::Cancel,
        "retry" => OperationCommand::Retry,
        "delete" => OperationCommand::Delete,
        _ => return Problem::found("", Err(ApiError::NotFound("path"))),
    };
    let operation = Problem::found(&id, command::command(&app, &visitor.caller, parse(&id), what).await)?;
    Ok(match what {
        OperationCommand::Delete => Redirect::to(super::LIST).into_response(),
        _ => Redirect::to(&url(&operation.id.to_string())).into_response(),
    })
}

/// The address of an operation's page.
pub(super) fn url(id: &str) -> String {
    format!("{}/{id}", super::LIST)
}

/// The address of a piece of evidence.
pub(super) fn evidence_url(digest: &str) -> String {
    digest.parse::<store::Digest>().map_or(String::new(), |digest| format!("/ui/evidence/{digest}"))
}

pub(super) fn parse(id: &str) -> Result<OperationId, ApiError> {
    id.parse().map_err(|_| list::NOT_FOUND)
}

fn json(text: &str) -> Json {
    let pretty = pretty(text);
    Json { text: pretty[..pretty.floor_char_boundary(SHOWN_BYTES)].to_owned(), is_cut: pretty.len() > SHOWN_BYTES }
}

fn facts(detail: &OperationDetail, now: Timestamp) -> Vec<Fact> {
    let OperationDetail { operation, schedule, worker, concurrency, .. } = detail;
    let mut facts = Vec::new();
    let mut add = |name, value: String, url: String| facts.push(Fact { name, value, url });
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if !operation.project_id.is_empty() {
        let version = &operation.project_version_id;
        let version = if version.is_empty() { String::new() } else { format!(" · {version}") };
        let url = filter::url_of("project_id", &operation.project_id);
        add("Project", format!("{}{version}", operation.project_id), url);
    }
    add("Attempts", format!("{} of {}", detail.attempts, detail.max_attempts), String::new());
    if !worker.is_empty() {
        let text = format!("created_at >= \"-24h\" AND worker = {}", operations::search::value(worker));
        add("Worker", worker.clone(), filter::url(&text, &[]));
    }
    if let Some(schedule) = schedule {
        add("Schedule", schedule.clone(), super::schedules::url(schedule));
    }
    if let Some(key) = &detail.unique_key {
        add("Unique key", key.clone(), filter::url_of("unique_key", key));
    }
    if let Some(concurrency) = concurrency {
        add("Concurrency key", format!("{} (at most {} at a time)", concurrency.key, concurrency.limit), String::new());
    }
    if detail.priority != 0 {
        add("Priority", detail.priority.to_string(), String::new());
    }
    if let Some(at) = detail.run_after.filter(|at| *at > now) {
        let When { shown, ago, .. } = When::new(at, now);
        add("Not before", format!("{shown} ({ago})"), String::new());
    }
    if let Some(timeout) = detail.timeout {
        add("Time limit of an attempt", duration(millis(timeout)), String::new());
    }
    if let Some(kept) = detail.retain_for {
        add("Kept after its end", duration(millis(kept)), String::new());
    }
    if detail.cancel_requested && !operation.status.is_terminal() {
        add("Cancellation", "requested; the attempt has not stopped yet".to_owned(), String::new());
    }
    facts
}

/// Each label, and the list of operations that have it.
fn labels(detail: &OperationDetail) -> Vec<(String, String)> {
    let labels = detail.labels.iter();
    labels.map(|(key, value)| (format!("{key}={value}"), filter::url_of(&format!("labels.{key}"), value))).collect()
}

async fn related(app: &App, visitor: &Visitor, operation: &Operation, now: Timestamp) -> Result<Vec<Row>, ApiError> {
    let Some(resource) = &operation.resource else { return Ok(Vec::new()) };
    let filter = filter::of_resource(resource);
    let value = SearchOperations { filter, page_size: Some(SHOWN_RELATED), ..SearchOperations::default() };
    let found = search::search(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    let others = found.page.found.iter().filter(|other| other.operation.id != operation.id);
    Ok(others.map(|other| row_of(other, now)).collect())
}

/// Operations that do the same with another input.
async fn repetitions(app: &App, visitor: &Visitor, id: OperationId, now: Timestamp) -> Result<Vec<Row>, ApiError> {
    let filter = format!("labels.{RETRY_OF} = {id}");
    let value = SearchOperations { filter, page_size: Some(SHOWN_RELATED), ..SearchOperations::default() };
    let found = search::search(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    Ok(found.page.found.iter().map(|found| row_of(found, now)).collect())
}
