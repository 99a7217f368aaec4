//! Ending attempts, or releasing them, many at once.

use operations::{MAX_INLINE_BYTES, OperationId, Outcome, Refusal, Status, Violation};
use serde::Deserialize;
use store::{LeaseRef, Settlement};
use utoipa::ToSchema;

use super::lease::{MAX_ROWS, lease, scope};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{List, Read};

/// The outcomes of attempts.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettleOperations {
    /// One row for each operation.
    #[schema(value_type = Vec<SettleRow>, required = true, min_items = 1, max_items = 1000)]
    #[serde(default)]
    pub(crate) results: List<Read<SettleRow>, MAX_ROWS>,
}

/// How an attempt ended: with exactly one of output, error_message and release.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettleRow {
    /// The id of the operation.
    #[schema(required = true, format = Uuid)]
    #[serde(default)]
    pub(crate) id: String,
    /// The lease_token of the claim.
    #[schema(required = true)]
    #[serde(default)]
    pub(crate) lease_token: String,
    /// The organization of the operation, from the claim; workers for several organizations must give it.
    #[schema(value_type = Option<String>, max_length = 128)]
    #[serde(default)]
    pub(crate) organization: String,
    /// The result; structured output is JSON in this string.
    #[serde(default)]
    pub(crate) output: Option<String>,
    /// Why the attempt failed.
    #[serde(default)]
    pub(crate) error_message: Option<String>,
    /// Whether another attempt may succeed; only together with error_message.
    #[schema(default = false)]
    #[serde(default)]
    pub(crate) retryable: Option<bool>,
    /// Whether to release the operation, without charging an attempt.
    #[schema(default = false)]
    #[serde(default)]
    pub(crate) release: Option<bool>,
}

/// The result of a row: the status of the operation, none when it was released, or why the row was refused.
pub(crate) type Settled = (OperationId, Result<Option<Status>, Refusal>);

/// How an attempt ends.
enum End {
    Settle(Settlement),
    Release(LeaseRef),
}

/// Ends attempts; returns the result of each row, in order.
pub(crate) async fn settle(
    app: &App,
    caller: &Caller,
    asked: Read<SettleOperations>,
) -> Result<Vec<Settled>, ApiError> {
    caller.require_work()?;
    let ends = check(app, caller, asked)?;
    let (mut settlements, mut settled) = (Vec::new(), Vec::new());
    let (mut leases, mut released) = (Vec::new(), Vec::new());
    let mut rows: Vec<Settled> = Vec::with_capacity(ends.len());
    for (index, end) in ends.into_iter().enumerate() {
        let id = match end {
            End::Settle(settlement) => {
                let id = settlement.lease.id;
                settlements.push(settlement);
                settled.push(index);
                id
            }
            End::Release(lease) => {
                let id = lease.id;
                leases.push(lease);
                released.push(index);
                id
            }
        };
        // Until the store has answered about it.
        rows.push((id, Err(Refusal::Unavailable)));
    }
    let mut failed = None;
    if !settlements.is_empty() {
        match app.store.settle(settlements).await {
            Ok(results) => settled.iter().zip(results).for_each(|(row, result)| rows[*row].1 = result.map(Some)),
            Err(error) => failed = Some(error),
        }
    }
    if !leases.is_empty() {
        match app.store.release(leases).await {
            Ok(results) => released.iter().zip(results).for_each(|(row, result)| rows[*row].1 = result.map(|()| None)),
            Err(error) => failed = failed.or(Some(error)),
        }
        app.waker.wake();
    }
    if let Some(error) = failed {
        if rows.iter().all(|(_, result)| *result == Err(Refusal::Unavailable)) {
            return Err(error.into());
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "some of the rows could not be recorded");
    }
    Ok(rows)
}

fn check(app: &App, caller: &Caller, asked: Read<SettleOperations>) -> Result<Vec<End>, ApiError> {
    let (asked, mut found) = asked.into_parts();
    let rows = asked.results.required("results", &mut found);
    let scope = scope(app, caller);
    let backoff = app.settings.work.backoff;
    let mut ends = Vec::with_capacity(rows.len());
    for (index, row) in rows.into_iter().enumerate() {
        let (row, mut wrong) = row.into_parts();
        let lease = lease(&row.id, &row.lease_token, row.organization, caller, &scope, &mut wrong);
        if let Some(output) = row.output.as_ref().filter(|output| output.len() > MAX_INLINE_BYTES) {
            let description = format!(
                "is {} bytes long; at most {MAX_INLINE_BYTES} are stored: store larger content with POST /v1/evidence and settle with its digest",
                output.len()
            );
            wrong.add(Violation::new("output", description));
        }
        if row.retryable.is_some() && row.error_message.is_none() {
            wrong.add(Violation::new("retryable", "is only allowed together with error_message"));
        }
        let outcome = match (row.output, row.error_message, row.release.unwrap_or(false)) {
            (Some(output), None, false) => Some(Outcome::Completed { output }),
            (None, Some(message), false) => {
                Some(Outcome::Failed { message, retryable: row.retryable.unwrap_or(false) })
            }
            (None, None, true) => None,
            _ => {
                if wrong.is_empty() {
                    let description = "exactly one of output, error_message and release: true must be given";
                    wrong.add(Violation::new("output", description));
                }
                None
            }
        };
        found.add_at(&format!("results[{index}]"), wrong);
        ends.extend(lease.map(|(lease, token)| match outcome {
            Some(outcome) => {
                let retry_after = backoff.delay(token.attempt, rand::random());
                End::Settle(Settlement { lease, outcome, retry_after })
            }
            None => End::Release(lease),
        }));
    }
    found.none().map(|()| ends)
}
