//! `GET /v1/operations/{id}:wait`: one operation, once it has ended or the time is over.
//!
//! Those who wait are told by the [hub](crate::hub) that their operation has ended, and then read together what the
//! [`Coalescer`](crate::coalesce::Coalescer) of single operations collects: a thousand of them cost no more than a few.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use operations::{Access, OperationId};
use store::Scope;
use tokio::time::Instant;

use super::caller::Caller;
use super::duration;
use super::if_none_match::IfNoneMatch;
use super::query::WaitQuery;
use super::target::Target;
use crate::app::App;
use crate::error::ApiError;
use crate::reads::Found;

/// How long it waits when the client does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// The longest wait; longer wishes get this one. Below the time-outs of usual proxies and clients.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
/// The verb behind the id.
pub(super) const VERB: &str = "wait";
/// The same as it ends a path, and the route in logs and metrics.
pub(super) const SUFFIX: &str = ":wait";

pub(super) async fn wait(
    State(app): State<App>,
    caller: Caller,
    target: Target,
    RawQuery(query): RawQuery,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let id = target.id_before_verb()?;
    let asked = WaitQuery::parse(query.as_deref().unwrap_or("")).map_err(ApiError::Invalid)?;
    let timeout = match asked.timeout {
        None => DEFAULT_WAIT,
        Some(text) => duration::parse(&text)
            .ok_or_else(|| ApiError::field("timeout", "must be a duration in seconds such as 30s or 1.5s"))?
            .min(MAX_WAIT),
    };
    let until = Instant::now() + timeout;
    let found = caller.while_valid(&app, ended(&app, caller.access(), id, until)).await?;
    Ok(super::get::answer(&found, &given))
}

/// The operation once it has ended, or as it is when the time is over.
async fn ended(app: &App, access: &Access, id: OperationId, until: Instant) -> Result<Arc<Found>, ApiError> {
    // Before the look.
    let mut ending = app.hub.ending(&access.organization, id).await?;
    let mut is_over = false;
    loop {
        let found = app.reads.operation(access, id).await?.ok_or(super::get::NOT_FOUND)?;
        if found.operation.status.is_terminal() || is_over {
            return Ok(found);
        }
        tokio::select! {
            () = ending.ended() => {}
            () = tokio::time::sleep_until(until) => is_over = true,
            // A server that stops answers who waits.
            () = app.shutdown.cancelled() => is_over = true,
        }
    }
}
