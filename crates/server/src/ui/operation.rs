//! One operation: what it is, what happened to it, what can be done with it.

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use operations::{Operation, OperationId, Status, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use store::{HistoryEvent, HistoryKind, OperationCommand};

use super::assets::Assets;
use super::error::Problem;
use super::format::{Badge, When, duration, pretty, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::list::{self, ListOperations};
use crate::calls::{command, events};
use crate::error::ApiError;
use crate::strict::Read;

/// Longer texts are not shown whole, but offered as a file.
const SHOWN_BYTES: usize = 64 * 1024;
/// Events of the history that are shown: the newest.
const SHOWN_EVENTS: usize = 100;
/// Operations about the same resource that are shown.
const SHOWN_RELATED: u32 = 6;
/// Violations of a policy that are shown.
const SHOWN_VIOLATIONS: usize = 50;

#[derive(Template)]
#[template(path = "ui/operation.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    id: String,
    badge: Badge,
    kind: String,
    resource_type: String,
    resource_id: String,
    project: String,
    project_version: String,
    created: When,
    started: Option<When>,
    finished: Option<When>,
    phases: Vec<Phase>,
    waited: String,
    ran: String,
    error: String,
    output: String,
    is_output_cut: bool,
    verdict: Option<Verdict>,
    history: Vec<Line>,
    is_history_cut: bool,
    related: Vec<Related>,
    related_url: String,
    is_live: bool,
    may_cancel: bool,
    may_retry: bool,
    may_delete: bool,
    watch: String,
    curl: String,
    command_line: String,
}

/// A part of its life, as a part of a bar.
struct Phase {
    class: &'static str,
    name: &'static str,
    took: String,
    millis: i64,
    /// Where it begins and how wide it is, in thousandths of the bar.
    x: u64,
    width: u64,
}

struct Line {
    at: When,
    class: &'static str,
    name: &'static str,
    attempt: u32,
    worker: String,
    message: String,
}

struct Related {
    id: String,
    short_id: String,
    badge: Badge,
    kind: String,
    created: When,
}

/// What an evaluation of evidence came to.
struct Verdict {
    status: String,
    evidence: String,
    policies: Vec<Policy>,
    left_out: Vec<(String, String)>,
}

struct Policy {
    name: String,
    status: String,
    violations: Vec<String>,
    more: usize,
    reasons: Vec<String>,
}

/// `GET /ui/operations/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let id = parse(id)?;
    let found = list::get(&app, &visitor.caller, Ok(id)).await?;
    let operation = &found.operation;
    let history = events::all(&app, &visitor.caller, Ok(id)).await?;
    let now = app.store.now();
    let (related, related_url) = related(&app, &visitor, operation, now).await?;
    let frame = visitor.frame("operations");
    let resource = operation.resource.as_ref();
    let (status, is_over) = (operation.status, operation.status.is_terminal());
    let pretty = pretty(&operation.output);
    let phases = phases(operation, &history, now);
    let sum =
        |class: &str| duration(phases.iter().filter(|phase| phase.class == class).map(|phase| phase.millis).sum());
    let (id, may_write) = (id.to_string(), frame.may_write);
    let template = Page {
        assets: Assets,
        badge: Badge::of(operation),
        kind: operation.kind.clone(),
        resource_type: resource.map_or(String::new(), |resource| resource.resource_type.clone()),
        resource_id: resource.map_or(String::new(), |resource| resource.resource_id.clone()),
        project: operation.project_id.clone(),
        project_version: operation.project_version_id.clone(),
        created: When::new(operation.created_at, now),
        started: operation.started_at.map(|at| When::new(at, now)),
        finished: operation.finished_at.map(|at| When::new(at, now)),
        waited: sum("waited"),
        ran: sum("ran"),
        phases: phases.into_iter().filter(|phase| phase.width > 0).collect(),
        error: operation.error_message.clone(),
        is_output_cut: pretty.len() > SHOWN_BYTES,
        output: cut(pretty),
        verdict: verdict(operation),
        is_history_cut: history.len() > SHOWN_EVENTS,
        history: history.iter().rev().take(SHOWN_EVENTS).map(|event| line(event, now)).collect(),
        related,
        related_url,
        is_live: !is_over,
        may_cancel: may_write && !is_over,
        may_retry: may_write && status == Status::Failed,
        may_delete: may_write && is_over,
        watch: format!("/v1/operations:watch?kind={}", super::operations::encoded(&operation.kind)),
        curl: format!("curl -H \"Authorization: Bearer $LONGRUN_TOKEN\" \"$LONGRUN_URL/v1/operations/{id}\""),
        command_line: format!("longrun operations get {id}"),
        id,
        frame,
    };
    respond::page(&headers, &template)
}

/// `GET /ui/operations/{id}/output`: the output as a file.
pub(super) async fn output(
    State(app): State<App>,
    visitor: Visitor,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let id = parse(id)?;
    let found = list::get(&app, &visitor.caller, Ok(id)).await?;
    let name = format!("attachment; filename=\"{id}.json\"");
    // As a file, and never as a page: it is text of whoever ran the operation.
    let head = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((head, found.operation.output.clone()).into_response())
}

#[derive(Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    csrf_token: String,
}

/// `POST /ui/operations/{id}/{action}`.
pub(super) async fn act(
    State(app): State<App>,
    visitor: Visitor,
    target: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    sent: Result<Form<Sent>, FormRejection>,
) -> Result<Response, Problem> {
    let Path((id, action)) = target.map_err(|_| ApiError::NotFound("path"))?;
    visitor.check(&sent.map_or(String::new(), |Form(sent)| sent.csrf_token))?;
    let what = match action.as_str() {
        "cancel" => OperationCommand::Cancel,
        "retry" => OperationCommand::Retry,
        "delete" => OperationCommand::Delete,
        _ => return Err(ApiError::NotFound("path").into()),
    };
    let id = id.parse::<OperationId>().map_err(|_| list::NOT_FOUND);
    let operation = command::command(&app, &visitor.caller, id, what).await?;
    Ok(match what {
        OperationCommand::Delete => Redirect::to("/ui/operations").into_response(),
        _ => Redirect::to(&format!("/ui/operations/{}", operation.id)).into_response(),
    })
}

fn parse(id: Result<Path<String>, axum::extract::rejection::PathRejection>) -> Result<OperationId, ApiError> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(list::NOT_FOUND)
}

fn cut(text: String) -> String {
    let mut end = SHOWN_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

async fn related(
    app: &App,
    visitor: &Visitor,
    operation: &Operation,
    now: Timestamp,
) -> Result<(Vec<Related>, String), ApiError> {
    let Some(resource) = &operation.resource else { return Ok((Vec::new(), String::new())) };
    let value = ListOperations {
        page_size: Some(SHOWN_RELATED),
        resource_type: resource.resource_type.clone(),
        resource_id: resource.resource_id.clone(),
        ..ListOperations::default()
    };
    let listing = list::listing(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    let url = super::operations::resource_url(resource);
    let others = listing.entries.iter().map(|entry| &entry.operation).filter(|other| other.id != operation.id);
    let others = others.map(|other| {
        let id = other.id.to_string();
        Related {
            short_id: id[id.len() - 12..].to_owned(),
            id,
            badge: Badge::of(other),
            kind: other.kind.clone(),
            created: When::new(other.created_at, now),
        }
    });
    Ok((others.collect(), url))
}

/// How its life is divided: waiting, then attempts and what is between them.
fn phases(operation: &Operation, history: &[HistoryEvent], now: Timestamp) -> Vec<Phase> {
    let begin = operation.created_at.as_millis();
    let end = operation.finished_at.unwrap_or(now).as_millis().max(begin + 1);
    // Each event that changes what the operation does; the times between them are the phases.
    let mut marks: Vec<(i64, (&'static str, &'static str))> = vec![(begin, ("waited", "Waited"))];
    for event in history {
        let what = match event.kind {
            HistoryKind::AttemptStarted => ("ran", "Ran"),
            HistoryKind::AttemptFailed | HistoryKind::AttemptLost | HistoryKind::AttemptReleased => {
                ("waited", "Waited again")
            }
            HistoryKind::Retried => ("waited", "Waited again"),
            // Ended, until somebody wanted it tried again.
            HistoryKind::Completed | HistoryKind::Failed => ("ended", "Had ended"),
            _ => continue,
        };
        marks.push((event.at.as_millis().clamp(begin, end), what));
    }
    let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([end]).collect::<Vec<_>>();
    let scale = |at: i64| ((at - begin).unsigned_abs() * 1_000) / (end - begin).unsigned_abs();
    let phases = marks.iter().zip(ends).map(|((from, (class, name)), to)| Phase {
        class,
        name,
        took: duration(to - from),
        millis: to - from,
        x: scale(*from),
        width: scale(to) - scale(*from),
    });
    phases.collect()
}

fn line(event: &HistoryEvent, now: Timestamp) -> Line {
    let (class, name) = match event.kind {
        HistoryKind::Created => ("pending", "Created"),
        HistoryKind::AttemptStarted => ("running", "Attempt started"),
        HistoryKind::Progress => ("running", "Progress"),
        HistoryKind::CancelRequested => ("cancelled", "Cancellation requested"),
        HistoryKind::AttemptFailed => ("failed", "Attempt failed"),
        HistoryKind::AttemptLost => ("failed", "Attempt lost"),
        HistoryKind::AttemptReleased => ("pending", "Attempt released"),
        HistoryKind::Completed => ("completed", "Completed"),
        HistoryKind::Failed => ("failed", "Failed"),
        HistoryKind::Retried => ("pending", "Retried"),
    };
    let HistoryEvent { at, attempt, worker, message, .. } = event;
    Line {
        at: When::new(*at, now),
        class,
        name,
        attempt: *attempt,
        worker: worker.clone(),
        message: short(message, 2_000),
    }
}

/// The verdict in the output of an evaluation, as far as it can be read.
fn verdict(operation: &Operation) -> Option<Verdict> {
    if operation.kind != kinds::evaluation::KIND || operation.status != Status::Completed {
        return None;
    }
    let output: Value = serde_json::from_str(&operation.output).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let policies = list(&output["policies"]).into_iter().map(|policy| {
        let violations = list(&policy["violations"]);
        let reasons = list(&policy["skip_reasons"]).into_iter().chain(list(&policy["warnings"]));
        Policy {
            name: text(&policy["name"]),
            status: text(&policy["status"]),
            more: violations.len().saturating_sub(SHOWN_VIOLATIONS),
            violations: violations.iter().take(SHOWN_VIOLATIONS).map(|found| text(&found["message"])).collect(),
            reasons: reasons.map(|reason| text(&reason)).collect(),
        }
    });
    let evidence = &output["evidence"];
    let name = text(&evidence["name"]);
    let name = if name.is_empty() { text(&evidence["digest"]) } else { name };
    Some(Verdict {
        status: text(&output["status"]),
        evidence: format!("{name} ({})", text(&evidence["kind"])),
        policies: policies.collect(),
        left_out: list(&output["left_out"]).iter().map(|one| (text(&one["name"]), text(&one["reason"]))).collect(),
    })
}
