//! The calls of workers: claim, heartbeat, settle. [`crate::Worker`] makes them for you.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::client::{Answer, Client};
use crate::error::{Error, RpcStatus};
use crate::types::Operation;

/// The parameters of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimRequest {
    /// The kinds that it can run, 1 to 100.
    pub kinds: Vec<String>,
    /// At most this many operations, 1 to 1,000.
    pub max_operations: u32,
    /// How long the server may wait for work; at most 60 s.
    #[serde(serialize_with = "write_duration")]
    pub wait: Duration,
    /// With a token of the instance, only operations of these organizations; empty: all that it can reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
}

/// The answer to a claim.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// The operations, in the order in which to start them; empty if none became available in time.
    pub operations: Vec<ClaimedOperation>,
    /// How long a claim is valid without a heartbeat. Heartbeats are sent every third of it.
    #[serde(deserialize_with = "read_duration")]
    pub lease_duration: Duration,
}

/// A claimed operation, with everything that its worker needs.
#[derive(Clone, Debug, Deserialize)]
pub struct ClaimedOperation {
    /// The operation, now running.
    pub operation: Operation,
    /// Its organization.
    #[serde(default)]
    pub organization: String,
    /// The input as it was written; `None` if there is none.
    pub input: Option<Box<RawValue>>,
    /// The number of the attempt; 1 for the first.
    pub attempt: u32,
    /// Proves that the worker holds this attempt; goes into every heartbeat and into the settlement.
    pub lease_token: String,
    /// When the lease expires without a heartbeat, by the server's clock; RFC 3339.
    pub lease_expires_at: String,
    /// The time limit of the attempt; the worker enforces it.
    #[serde(deserialize_with = "read_duration")]
    pub timeout: Duration,
    /// Whether a cancellation has already been requested.
    pub cancel_requested: bool,
    /// The attempt as a span of the trace to which the operation belongs, a `traceparent` of W3C Trace Context; `None`
    /// if it belongs to none.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// A heartbeat for one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// The operation.
    pub id: String,
    /// The lease token from the claim.
    pub lease_token: String,
    /// The organization from the claim; empty: that of the token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub organization: String,
    /// The progress, for people; at most 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// The states of leases, in the order of the heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Heartbeats {
    /// One per heartbeat.
    pub operations: Vec<LeaseState>,
}

/// The state of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LeaseState {
    /// The operation.
    pub id: String,
    /// When the lease expires without another heartbeat, by the server's clock; `None` if it is lost.
    pub lease_expires_at: Option<String>,
    /// Whether a cancellation has been requested: end the attempt.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Why the lease is lost, if it is: stop working on the operation.
    pub error: Option<RpcStatus>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done.
    Completed {
        /// The output, at most 1 MiB; structured output is JSON in this string.
        output: String,
    },
    /// The attempt failed.
    Failed {
        /// The reason, for people.
        error_message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
    /// The operation is released without charging the attempt: the worker is being stopped.
    Released,
}

/// The settlement of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The operation.
    pub id: String,
    /// The lease token from the claim.
    pub lease_token: String,
    /// The organization from the claim; empty: that of the token.
    pub organization: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl Serialize for Settlement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("Settlement", 5)?;
        row.serialize_field("id", &self.id)?;
        row.serialize_field("lease_token", &self.lease_token)?;
        if !self.organization.is_empty() {
            row.serialize_field("organization", &self.organization)?;
        }
        match &self.outcome {
            Outcome::Completed { output } => row.serialize_field("output", output)?,
            Outcome::Failed { error_message, retryable } => {
                row.serialize_field("error_message", error_message)?;
                row.serialize_field("retryable", retryable)?;
            }
            Outcome::Released => row.serialize_field("release", &true)?,
        }
        row.end()
    }
}

/// The results of settlements, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settled {
    /// One per settlement.
    pub results: Vec<SettledOperation>,
}

/// The result of one settlement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SettledOperation {
    /// The operation.
    pub id: String,
    /// Its status now, by its wire name; `None` if the settlement was refused, or released the operation.
    pub status: Option<String>,
    /// Why it was refused, if it was: the lease had been lost, and nothing was changed; or, with code 14, the data of the
    /// organization cannot be reached now, and the settlement can be sent again.
    pub error: Option<RpcStatus>,
}

impl Client {
    /// `POST /v1/operations:claim`: claims operations, or waits for some.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn claim(&self, request: &ClaimRequest) -> Result<Answer<Claims>, Error> {
        let address = self.address("v1/operations:claim");
        self.call(|| self.http().post(address.clone()).json(request)).await
    }

    /// `POST /v1/operations:heartbeat`: prolongs the leases of up to 1,000 operations.
    ///
    /// # Errors
    /// Any [`Error`]. A lost lease is not an error, but is reported in its row.
    pub async fn heartbeat(&self, operations: &[Heartbeat]) -> Result<Answer<Heartbeats>, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            operations: &'a [Heartbeat],
        }
        let address = self.address("v1/operations:heartbeat");
        self.call(|| self.http().post(address.clone()).json(&Body { operations })).await
    }

    /// `POST /v1/operations:settle`: ends up to 1,000 attempts. Sending it twice does no harm: what was recorded the
    /// first time is answered as it was then.
    ///
    /// # Errors
    /// Any [`Error`]. A lost lease is not an error, but is reported in its row; nor is an organization whose data cannot
    /// be reached, if that of another one can.
    pub async fn settle(&self, results: &[Settlement]) -> Result<Answer<Settled>, Error> {
        self.call(|| self.settlement(results)).await
    }

    /// The same, sent once: a worker pauses by itself, so that other outcomes do not wait meanwhile.
    pub(crate) async fn settle_once(&self, results: &[Settlement]) -> Result<Answer<Settled>, Error> {
        self.call_once(self.settlement(results)).await
    }

    fn settlement(&self, results: &[Settlement]) -> RequestBuilder {
        #[derive(Serialize)]
        struct Body<'a> {
            results: &'a [Settlement],
        }
        self.http().post(self.address("v1/operations:settle")).json(&Body { results })
    }
}

fn write_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}s", duration.as_secs_f64()))
}

/// Parses a duration in the proto3 JSON format: seconds with a fraction and an `s`.
fn read_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| serde::de::Error::custom(format_args!("{text:?} is not a duration such as \"30s\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_says_how_the_attempt_ended_and_nothing_else() {
        let row = |outcome| {
            let settlement =
                Settlement { id: "1".to_owned(), lease_token: "t".to_owned(), organization: String::new(), outcome };
            serde_json::to_string(&settlement).expect("serialises")
        };
        let failed = Outcome::Failed { error_message: "no".to_owned(), retryable: true };
        assert_eq!(row(Outcome::Completed { output: "x".to_owned() }), r#"{"id":"1","lease_token":"t","output":"x"}"#);
        assert_eq!(row(failed), r#"{"id":"1","lease_token":"t","error_message":"no","retryable":true}"#);
        assert_eq!(row(Outcome::Released), r#"{"id":"1","lease_token":"t","release":true}"#);
    }

    #[test]
    fn durations_are_seconds() {
        let request = ClaimRequest {
            kinds: vec!["scan".to_owned()],
            max_operations: 1,
            wait: Duration::from_millis(1_500),
            organizations: Vec::new(),
        };
        let text = serde_json::to_string(&request).expect("serialises");
        assert_eq!(text, r#"{"kinds":["scan"],"max_operations":1,"wait":"1.5s"}"#);
        let claims: Claims = serde_json::from_str(r#"{"operations":[],"lease_duration":"0.25s"}"#).expect("claims");
        assert_eq!(claims.lease_duration, Duration::from_millis(250));
        assert!(serde_json::from_str::<Claims>(r#"{"operations":[],"lease_duration":"-1s"}"#).is_err());
    }
}
