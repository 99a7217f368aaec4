//! The workers and what they are running.

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;

/// The workers and what they are running, those with most attempts first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WorkerList {
    /// Workers by the id of their token, servers by their name.
    pub workers: Vec<RunningWorker>,
    /// Whether the list is complete; it is not when more than 5,000 attempts are running.
    pub is_complete: bool,
}

/// A worker, or a server, with running attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunningWorker {
    /// The id of its token, or the name of a server.
    pub name: String,
    /// The number of its running attempts.
    pub running: u64,
    /// The kinds of these attempts, in order.
    pub kinds: Vec<String>,
    /// When the oldest of its attempts started; RFC 3339.
    pub oldest_started_at: String,
    /// When it last claimed an operation or prolonged a lease; RFC 3339.
    pub last_heartbeat_at: String,
    /// Its running attempts: the 20 oldest.
    pub attempts: Vec<RunningAttempt>,
}

/// A running attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunningAttempt {
    /// The operation's id.
    pub operation_id: String,
    /// Its kind.
    pub kind: String,
    /// Its project, or empty.
    pub project_id: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When it started; RFC 3339.
    pub started_at: String,
    /// When its lease expires unless there is a heartbeat; RFC 3339.
    pub lease_expires_at: String,
}

impl Client {
    /// `GET /v1/workers`: the workers and what they are running.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn workers(&self) -> Result<Answer<WorkerList>, Error> {
        let address = self.address("v1/workers");
        self.call(|| self.http().get(address.clone())).await
    }
}
