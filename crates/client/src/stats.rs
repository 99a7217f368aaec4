//! Statistics.

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;

/// Which statistics; a field that is `None` is left to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsRequest {
    /// From the step on that this time lies in; RFC 3339.
    pub from: Option<String>,
    /// Before this time; RFC 3339.
    pub to: Option<String>,
    /// `minute`, `hour` or `day`.
    pub step: Option<String>,
    /// Each kind for itself.
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
    /// When the first step begins that was asked for; RFC 3339.
    pub start: String,
    /// Before when; RFC 3339.
    pub end: String,
    /// Since when everything is counted; RFC 3339.
    pub available_since: Option<String>,
    /// Up to when everything is counted; RFC 3339.
    pub complete_until: Option<String>,
    /// How long ago that is, in milliseconds.
    pub lag_ms: Option<u64>,
    /// In the order of their starts and kinds. Steps in which nothing happened are left out.
    pub points: Vec<StatsPoint>,
}

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatsPoint {
    /// When the step began; RFC 3339.
    pub start: String,
    /// The kind, if each was asked for by itself; empty: operations that were removed before they were counted.
    pub kind: Option<String>,
    /// Operations that were created.
    pub created: u64,
    /// Attempts that began.
    pub started: u64,
    /// Operations that were completed.
    pub completed: u64,
    /// Operations that failed, cancelled ones included.
    pub failed: u64,
    /// How long operations had waited that were started for the first time.
    pub waiting: StatsDurations,
    /// How long the attempts took that ended their operations.
    pub running: StatsDurations,
}

/// How long many things took, in milliseconds; quantiles are within 1 %, and `None` when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatsDurations {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_ms: u64,
    /// What half of them did not exceed.
    pub p50_ms: Option<u64>,
    /// What 90 % of them did not exceed.
    pub p90_ms: Option<u64>,
    /// What 99 % of them did not exceed.
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
