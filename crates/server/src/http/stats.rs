//! `GET /v1/stats`: statistics.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use operations::{Durations, Timestamp};
use serde::Serialize;
use store::StatisticsPoint;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::ListErrors;
use crate::app::App;
use crate::calls::stats::{self, GetStats};
use crate::error::ApiError;
use crate::render::{self, shown, to_json};
use crate::strict;

/// Get statistics
///
/// How many operations were created, started and ended in each minute, hour or day, and how long they waited and ran. A
/// token that is limited to projects sees what happened in these. Asks for at most 2,000 steps, and 2,000 points.
#[utoipa::path(get, path = "/v1/stats", operation_id = "StatsService_GetStats", tag = "StatsService", params(GetStats),
    responses((status = 200, description = "What happened.", body = WireStats), ListErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let asked = strict::query::<GetStats>(query.as_deref().unwrap_or(""))?;
    let stats = stats::stats(&app, &caller, asked).await?;
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let answer = WireStats {
        step: stats.request.step.name(),
        start: stats.request.step.start(stats.request.from),
        end: stats.request.to,
        available_since: time(stats.answer.available_since),
        complete_until: time(stats.answer.complete_until),
        lag_ms: stats.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        points: stats.answer.points.iter().map(WirePoint::from).collect(),
    };
    Ok(render::response(to_json(&answer)))
}

/// Statistics.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
pub(super) struct WireStats<'a> {
    /// How finely: minute, hour or day.
    step: &'static str,
    /// When the first step begins that was asked for.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Before when.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    /// Since when everything is counted; left out before a server has begun to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    available_since: Option<String>,
    /// Up to when everything is counted; left out before a server has begun to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    complete_until: Option<String>,
    /// How long ago that is, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
    /// In the order of their starts and kinds. Steps in which nothing happened are left out.
    points: Vec<WirePoint<'a>>,
}

/// What happened in one step.
#[derive(Serialize, ToSchema)]
#[schema(as = StatsPoint)]
pub(super) struct WirePoint<'a> {
    /// When the step began.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// The kind, if each was asked for by itself; empty: operations that were removed before they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    /// Operations that were created.
    created: u64,
    /// Attempts that began.
    started: u64,
    /// Operations that were completed.
    completed: u64,
    /// Operations that failed, cancelled ones included.
    failed: u64,
    /// How long operations had waited that were started for the first time, since their creation.
    waiting: WireDurations,
    /// How long the attempts took that ended their operations.
    running: WireDurations,
}

/// How long many things took.
#[derive(Serialize, ToSchema)]
#[schema(as = StatsDurations)]
pub(super) struct WireDurations {
    /// How many.
    count: u64,
    /// Their sum in milliseconds.
    sum_ms: u64,
    /// What half of them did not exceed, in milliseconds, within 1 %; left out when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<u64>,
    /// What 90 % of them did not exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_ms: Option<u64>,
    /// What 99 % of them did not exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<u64>,
}

impl<'a> From<&'a StatisticsPoint> for WirePoint<'a> {
    fn from(point: &'a StatisticsPoint) -> WirePoint<'a> {
        let counts = &point.counts;
        WirePoint {
            start: point.start,
            kind: point.kind.as_deref(),
            created: counts.created,
            started: counts.started,
            completed: counts.completed,
            failed: counts.failed,
            waiting: WireDurations::from(&counts.waiting),
            running: WireDurations::from(&counts.running),
        }
    }
}

impl From<&Durations> for WireDurations {
    fn from(durations: &Durations) -> WireDurations {
        let [p50_ms, p90_ms, p99_ms] = [50, 90, 99].map(|percent| durations.quantile_ms(percent));
        WireDurations { count: durations.count(), sum_ms: durations.sum_ms(), p50_ms, p90_ms, p99_ms }
    }
}
