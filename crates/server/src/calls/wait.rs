//! One operation, when it has ended or the time is over.
//!
//! The [hub](crate::hub) notifies the clients that wait when their operation has ended; then they share the reads that
//! the [`Coalescer`](crate::coalesce::Coalescer) of single operations collects: a thousand clients cost no more than a
//! few.

use std::sync::Arc;
use std::time::Duration;

use operations::{Access, OperationId};
use serde::Deserialize;
use store::Scope;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::duration;
use super::list::NOT_FOUND;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::reads::Found;
use crate::strict::Read;

/// How long a call waits by default.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// The longest wait; longer ones are cut to this. Below the time-outs of usual proxies and clients.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long to wait.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitOperation {
    /// How long to wait at most, in seconds with up to nine decimals and the suffix s; longer times count as 60s.
    #[param(value_type = String, required = false, default = "30s", example = "30s")]
    #[serde(default, deserialize_with = "duration::parameter")]
    pub(crate) timeout: Option<Duration>,
}

/// Waits until the operation has ended.
pub(crate) async fn wait(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
    asked: Read<WaitOperation>,
) -> Result<Arc<Found>, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let (asked, found) = asked.into_parts();
    found.none()?;
    let until = Instant::now() + asked.timeout.unwrap_or(DEFAULT_WAIT).min(MAX_WAIT);
    caller.while_valid(app, ended(app, caller.access(), id?, until)).await
}

/// The operation when it has ended, or as it is when the time is over.
async fn ended(app: &App, access: &Access, id: OperationId, until: Instant) -> Result<Arc<Found>, ApiError> {
    // Before the operation is read.
    let mut ending = app.hub.ending(&access.organization, id).await?;
    let mut is_over = false;
    loop {
        let found = app.reads.operation(access, id).await?.ok_or(NOT_FOUND)?;
        if found.operation.status.is_terminal() || is_over {
            return Ok(found);
        }
        tokio::select! {
            () = ending.ended() => {}
            () = tokio::time::sleep_until(until) => is_over = true,
            // A server that stops answers the calls that wait.
            () = app.shutdown.cancelled() => is_over = true,
        }
    }
}
