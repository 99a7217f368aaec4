//! Who runs what now.

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;

/// Who runs what now, those with most attempts first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WorkerList {
    /// Workers by the id of their token, servers by their name.
    pub workers: Vec<RunningWorker>,
    /// Whether these are all; not when more than 5,000 attempts are under way.
    pub is_complete: bool,
}

/// Who runs something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunningWorker {
    /// The id of its token, or the name of a server.
    pub name: String,
    /// Attempts under way.
    pub running: u64,
    /// Of which kinds, in order.
    pub kinds: Vec<String>,
    /// When the oldest of its attempts began; RFC 3339.
    pub oldest_started_at: String,
    /// When it claimed, or kept a lease, last; RFC 3339.
    pub last_heartbeat_at: String,
    /// What it runs: the 20 oldest attempts.
    pub attempts: Vec<RunningAttempt>,
}

/// An attempt under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunningAttempt {
    /// The operation's id.
    pub operation_id: String,
    /// Its kind.
    pub kind: String,
    /// Its project, or empty.
    pub project_id: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it began; RFC 3339.
    pub started_at: String,
    /// When its lease runs out unless there is a heartbeat; RFC 3339.
    pub lease_expires_at: String,
}

impl Client {
    /// `GET /v1/workers`: who runs what now.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn workers(&self) -> Result<Answer<WorkerList>, Error> {
        let address = self.address("v1/workers");
        self.call(|| self.http().get(address.clone())).await
    }
}
