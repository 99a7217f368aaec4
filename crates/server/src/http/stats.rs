//! `GET /v1/stats`: statistics.

use axum::extract::State;
use axum::response::Response;
use operations::{Durations, Timestamp};
use serde::Serialize;
use store::StatisticsPoint;
use utoipa::ToSchema;

use super::caller::Querying;
use super::openapi::ListErrors;
use crate::app::App;
use crate::calls::stats::{self, GetStats};
use crate::error::ApiError;
use crate::render::{self, shown, to_json};
use crate::strict;

/// Get statistics
///
/// Returns how many operations were created, started and ended in each minute, hour or day, and how long they waited
/// and ran. A token that is limited to projects sees the statistics of these projects. An answer has at most 2,000
/// steps and 2,000 points.
#[utoipa::path(get, path = "/v1/stats", operation_id = "StatsService_GetStats", tag = "StatsService", params(GetStats),
    responses((status = 200, description = "The statistics.", body = WireStats), ListErrors))]
pub(super) async fn get(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = strict::query::<GetStats>(&query)?;
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
    /// The length of a step: minute, hour or day.
    step: &'static str,
    /// When the first requested step begins.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// The end of the requested time, exclusive.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    /// The time since which everything is counted; left out until a server has begun to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    available_since: Option<String>,
    /// The time up to which everything is counted; left out until a server has begun to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    complete_until: Option<String>,
    /// How long ago complete_until is, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
    /// One point for each step, and for each kind with group_by, ordered by start and kind. Steps in which nothing
    /// happened are left out.
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
    /// The kind, with group_by=kind; empty for operations that were removed before they were counted.
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
    /// How long the operations that were started for the first time had waited since their creation.
    waiting: WireDurations,
    /// How long the last attempts of the operations that ended took.
    running: WireDurations,
}

/// The distribution of durations.
#[derive(Serialize, ToSchema)]
#[schema(as = StatsDurations)]
pub(super) struct WireDurations {
    /// The number of durations.
    count: u64,
    /// Their sum in milliseconds.
    sum_ms: u64,
    /// The median in milliseconds, accurate to 1 %; left out when there are no durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<u64>,
    /// The 90th percentile in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_ms: Option<u64>,
    /// The 99th percentile in milliseconds.
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
