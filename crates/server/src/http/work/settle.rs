//! `POST /v1/operations:settle`: a worker ends attempts, or hands them back.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;
use operations::{MAX_INLINE_BYTES, OperationId, Outcome, Refusal, Violation};
use serde::Serialize;
use store::{LeaseRef, Scope, Settlement};

use super::lease::{MAX_ROWS, lease, scope};
use crate::app::App;
use crate::error::{ApiError, RowStatus};
use crate::http::body;
use crate::http::caller::Caller;
use crate::http::json::Fields;
use crate::render::{self, shown, to_json};

pub(in crate::http) async fn settle(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWork)?;
    let body = body::read_work(&app, &caller, &headers, body).await?;
    let ends = parse(&app, &caller, &body)?;
    let (mut settlements, mut releases) = (Vec::new(), Vec::new());
    let mut rows: Vec<Row> = Vec::with_capacity(ends.len());
    for (index, end) in ends.into_iter().enumerate() {
        match end {
            End::Settle(settlement) => {
                rows.push(Row { id: settlement.lease.id, status: None, error: None });
                settlements.push((index, settlement));
            }
            End::Release(lease) => {
                rows.push(Row { id: lease.id, status: None, error: None });
                releases.push((index, lease));
            }
        }
    }
    if !settlements.is_empty() {
        let (indexes, settlements): (Vec<usize>, Vec<Settlement>) = settlements.into_iter().unzip();
        for (index, result) in indexes.into_iter().zip(app.store.settle(settlements).await?) {
            rows[index].tell(result.map(|status| Some(status.wire_name())));
        }
    }
    if !releases.is_empty() {
        let (indexes, leases): (Vec<usize>, Vec<LeaseRef>) = releases.into_iter().unzip();
        for (index, result) in indexes.into_iter().zip(app.store.release(leases).await?) {
            rows[index].tell(result.map(|()| None));
        }
        app.waker.wake();
    }
    Ok(render::response(to_json(&Answer { results: rows })))
}

/// How an attempt ends.
enum End {
    Settle(Settlement),
    Release(LeaseRef),
}

fn parse(app: &App, caller: &Caller, body: &Bytes) -> Result<Vec<End>, ApiError> {
    let mut fields = Fields::parse(body)?;
    let scope = scope(app, caller);
    let backoff = app.settings.work.backoff;
    let ends = fields.rows::<_, MAX_ROWS>("results", |row| {
        let lease = lease(row, caller, &scope);
        let output = row.given_text("output", "must be a string; write structured output as JSON in a string");
        let error = row.given_text("error_message", "must be a string");
        let retryable = row.boolean("retryable");
        let release = row.boolean("release").unwrap_or(false);
        if let Some(output) = output.as_ref().filter(|output| output.len() > MAX_INLINE_BYTES) {
            let told = format!(
                "is {} bytes long; at most {MAX_INLINE_BYTES} are kept: store larger content by POST /v1/evidence and settle with its digest",
                output.len()
            );
            row.violations.push(Violation::new("output", told));
        }
        if retryable.is_some() && error.is_none() {
            row.violations.push(Violation::new("retryable", "goes with error_message only"));
        }
        let outcome = match (output, error, release) {
            (Some(output), None, false) => Some(Outcome::Completed { output: output.into_owned() }),
            (None, Some(message), false) => {
                Some(Outcome::Failed { message: message.into_owned(), retryable: retryable.unwrap_or(false) })
            }
            (None, None, true) => None,
            _ => {
                if row.violations.is_empty() {
                    let told = "exactly one of output, error_message and release: true must be given";
                    row.violations.push(Violation::new("output", told));
                }
                None
            }
        };
        let (lease, token) = lease?;
        Some(match outcome {
            Some(outcome) => {
                let retry_after = backoff.delay(token.attempt, rand::random());
                End::Settle(Settlement { lease, outcome, retry_after })
            }
            None => End::Release(lease),
        })
    });
    let violations = fields.finish();
    if violations.is_empty() { Ok(ends) } else { Err(ApiError::Invalid(violations)) }
}

#[derive(Serialize)]
struct Answer {
    results: Vec<Row>,
}

/// What became of one row: `error` when it was refused, else `status`, the operation's; of a row that was released
/// neither.
#[derive(Serialize)]
struct Row {
    #[serde(serialize_with = "shown")]
    id: OperationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RowStatus>,
}

impl Row {
    fn tell(&mut self, result: Result<Option<&'static str>, Refusal>) {
        match result {
            Ok(status) => self.status = status,
            Err(refusal) => self.error = Some(refusal.into()),
        }
    }
}
