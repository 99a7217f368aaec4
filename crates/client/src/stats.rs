//! Statistics.

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;

/// Which statistics to return; for a field that is `None`, the server's default applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsRequest {
    /// The period starts with the step that contains this time; RFC 3339.
    pub from: Option<String>,
    /// The period ends before this time; RFC 3339.
    pub to: Option<String>,
    /// `minute`, `hour` or `day`.
    pub step: Option<String>,
    /// Whether to count each kind separately.
    pub by_kind: bool,
    /// Only this kind.
    pub kind: Option<String>,
}

/// How many operations were created, started and ended, and how long they waited and ran, by step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// `minute`, `hour` or `day`.
    pub step: String,
    /// The start of the first step; RFC 3339.
    pub start: String,
    /// The end of the period; RFC 3339.
    pub end: String,
    /// The time from which on counts are complete; RFC 3339.
    pub available_since: Option<String>,
    /// The time up to which counts are complete; RFC 3339.
    pub complete_until: Option<String>,
    /// How long ago `complete_until` is, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Sorted by start and kind. Steps in which nothing happened are left out.
    pub points: Vec<StatsPoint>,
}

/// The statistics of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatsPoint {
    /// When the step starts; RFC 3339.
    pub start: String,
    /// The kind, if kinds are counted separately; empty: operations that were removed before they were counted.
    pub kind: Option<String>,
    /// Operations that were created.
    pub created: u64,
    /// Attempts that started.
    pub started: u64,
    /// Operations that were completed.
    pub completed: u64,
    /// Operations that failed, cancelled ones included.
    pub failed: u64,
    /// How long operations waited until their first start.
    pub waiting: StatsDurations,
    /// How long the attempts took that ended their operations.
    pub running: StatsDurations,
}

/// A distribution of durations, in milliseconds; quantiles are within 1 %, and `None` if there are no durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatsDurations {
    /// The number of durations.
    pub count: u64,
    /// Their sum.
    pub sum_ms: u64,
    /// The median.
    pub p50_ms: Option<u64>,
    /// The 90 % quantile.
    pub p90_ms: Option<u64>,
    /// The 99 % quantile.
    pub p99_ms: Option<u64>,
}

impl Client {
    /// `GET /v1/stats`.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn stats(&self, request: &StatsRequest) -> Result<Answer<Stats>, Error> {
        let mut address = self.address("v1/stats");
        let by_kind = request.by_kind.then(|| "kind".to_owned());
        let given = [
            ("from", &request.from),
            ("to", &request.to),
            ("step", &request.step),
            ("group_by", &by_kind),
            ("kind", &request.kind),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                address.query_pairs_mut().append_pair(name, value);
            }
        }
        self.call(|| self.http().get(address.clone())).await
    }
}
