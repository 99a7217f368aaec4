//! Statistics: how many operations were created, started and ended, and how long they waited and ran.

use std::time::Duration;

use operations::{Step, Timestamp, Violation, check_text};
use serde::Deserialize;
use store::{Scope, StatisticsAnswer, StatisticsRequest};
use utoipa::IntoParams;

use super::time;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, Read};

/// The most points of an answer, steps times kinds.
const MAX_POINTS: u32 = 2_000;

/// Which statistics to get.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetStats {
    /// The first step is the one that contains this time; by default an hour before the end for minutes, two days for
    /// hours, 30 days for days.
    #[param(value_type = Option<String>, format = DateTime, required = false)]
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// The end, exclusive; by default now.
    #[param(value_type = Option<String>, format = DateTime, required = false)]
    #[serde(default)]
    pub(crate) to: Option<String>,
    /// The length of a step: minute (kept for 7 days), hour (kept for a year) or day (kept permanently), in UTC.
    #[param(required = false, default = "hour", example = "hour")]
    #[serde(default)]
    pub(crate) step: String,
    /// kind for separate statistics of each kind; by default all kinds are added up.
    #[param(required = false, example = "kind")]
    #[serde(default)]
    pub(crate) group_by: String,
    /// Only operations of this kind; by default all except notices, as in lists.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) kind: String,
}

/// The request and its answer.
pub(crate) struct Stats {
    pub(crate) request: StatisticsRequest,
    pub(crate) answer: StatisticsAnswer,
    /// How far the counts lag behind now.
    pub(crate) lag: Option<Duration>,
}

/// What happened to the operations that the caller may see.
pub(crate) async fn stats(app: &App, caller: &Caller, asked: Read<GetStats>) -> Result<Stats, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let request = request(asked, app.store.now())?;
    let answer = app.store.statistics(caller.access(), &request, MAX_POINTS).await?;
    if answer.is_cut {
        let description = format!(
            "the answer would have more than {MAX_POINTS} points: request a shorter time, longer steps, or a single kind"
        );
        return Err(ApiError::field("from", description));
    }
    let now = app.store.now();
    let lag = answer.complete_until.map(|until| millis_between(until, now));
    Ok(Stats { request, answer, lag })
}

fn millis_between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.as_millis() - from.as_millis()).unwrap_or_default())
}

fn request(asked: Read<GetStats>, now: Timestamp) -> Result<StatisticsRequest, ApiError> {
    let (asked, mut found) = asked.into_parts();
    let step = match asked.step.as_str() {
        "" => Some(Step::Hour),
        text => text.parse().map_err(|error: operations::UnknownStep| violation(&mut found, "step", error)).ok(),
    };
    let by_kind = asked.group_by == "kind";
    if !by_kind && !asked.group_by.is_empty() {
        violation(&mut found, "group_by", "must be kind, or left out");
    }
    if let Err(violation) = check_text("kind", &asked.kind) {
        found.add(violation);
    }
    let to = time("to", asked.to, &mut found).unwrap_or(now);
    let from = time("from", asked.from, &mut found);
    found.none()?;
    let step = step.unwrap_or(Step::Hour);
    let from = from.unwrap_or_else(|| to.before(shown_by_default(step)));
    if from >= to {
        return Err(ApiError::field("from", "must be before `to`, which is now when it is left out"));
    }
    let length = to.as_millis().saturating_sub(step.start(from).as_millis());
    let steps = length.saturating_add(step.millis() - 1) / step.millis();
    if steps > i64::from(MAX_POINTS) {
        let description = format!("the answer would have {steps} steps: request at most {MAX_POINTS}, or longer ones");
        return Err(ApiError::field("from", description));
    }
    Ok(StatisticsRequest { from, to, step, kind: Some(asked.kind).filter(|kind| !kind.is_empty()), by_kind })
}

const fn shown_by_default(step: Step) -> Duration {
    const HOUR: u64 = 3600;
    Duration::from_secs(match step {
        Step::Minute => HOUR,
        Step::Hour => 48 * HOUR,
        Step::Day => 30 * 24 * HOUR,
    })
}

fn violation(found: &mut Found, field: &str, description: impl ToString) {
    found.add(Violation::new(field, description.to_string()));
}
