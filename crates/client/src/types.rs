//! The wire format: requests and answers of the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The prefix of every status name in the wire format.
const STATUS_PREFIX: &str = "ASYNC_OPERATION_STATUS_";

/// The short name of a status: `PENDING` for `ASYNC_OPERATION_STATUS_PENDING`.
pub fn short_status(wire_name: &str) -> &str {
    wire_name.strip_prefix(STATUS_PREFIX).unwrap_or(wire_name)
}

/// An operation. Strings that are not set are empty; times that are not set are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// Unique, time-ordered.
    pub id: String,
    /// The kind of the operation.
    pub kind: String,
    /// Its status, by its wire name, e.g. `ASYNC_OPERATION_STATUS_PENDING`.
    pub status: String,
    /// The type of the resource that it is about, or empty.
    pub resource_type: String,
    /// The id of the resource that it is about, or empty.
    pub resource_id: String,
    /// The project it belongs to, or empty.
    pub project_id: String,
    /// The version of the project, or empty.
    pub project_version_id: String,
    /// When it was created; RFC 3339.
    pub created_at: Option<String>,
    /// When its latest attempt started; RFC 3339.
    pub started_at: Option<String>,
    /// When it ended; RFC 3339.
    pub finished_at: Option<String>,
    /// The output; structured output is JSON in this string.
    pub output: String,
    /// Why it failed, or empty.
    pub error_message: String,
}

impl Operation {
    /// The short name of its status: `PENDING`.
    pub fn short_status(&self) -> &str {
        short_status(&self.status)
    }

    /// Whether it has ended.
    pub fn is_terminal(&self) -> bool {
        self.is_failed() || self.short_status() == "COMPLETED"
    }

    /// Whether it ended with an error.
    pub fn is_failed(&self) -> bool {
        self.short_status() == "FAILED"
    }
}

/// An operation with all its details. Strings that are not set are empty; times that are not set are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OperationDetail {
    /// The operation.
    #[serde(flatten)]
    pub operation: Operation,
    /// The input; null if there is none.
    pub input: Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The unique key: while the operation has not ended, creations with this key return it.
    pub unique_key: String,
    /// The concurrency key: the number of running operations with this key is limited.
    pub concurrency_key: String,
    /// The maximum number of running operations with the concurrency key.
    pub concurrency_limit: Option<u32>,
    /// Within an organization, higher runs first.
    pub priority: i16,
    /// The number of attempts that count, including the running one.
    pub attempts: u32,
    /// The maximum number of attempts.
    pub max_attempts: u32,
    /// For a pending operation, the time before which it is not started; RFC 3339.
    pub run_after: Option<String>,
    /// The time limit of each attempt, e.g. `60s`, if the operation specifies it.
    pub timeout: Option<String>,
    /// The worker that runs it, or ran its last attempt.
    pub worker: String,
    /// Whether the running attempt was asked to stop.
    pub cancel_requested: bool,
    /// The last progress reported by the worker of the latest attempt.
    pub progress: String,
    /// The name of the schedule that created it.
    pub schedule: String,
}

/// The answer with one operation and all its details.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OperationDetailAnswer {
    /// The operation.
    pub operation: OperationDetail,
}

/// The answer with one operation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OperationAnswer {
    /// The operation.
    pub operation: Operation,
}

/// The answer with the operations of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CreatedOperations {
    /// In the order of the request.
    pub operations: Vec<Operation>,
    /// The zero-based indexes of existing operations that were returned because of their unique keys.
    #[serde(default)]
    pub existing: Vec<usize>,
}

/// A bulk action on all operations that match a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BulkRequest {
    /// `cancel`, `retry` or `delete`.
    pub action: String,
    /// The filter that selects the operations.
    pub filter: String,
    /// Only report how many match.
    pub dry_run: bool,
    /// How many operations are expected to match; if the number differs by more than a tenth, the call is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_count: Option<u64>,
}

/// The answer to a bulk action.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BulkAnswer {
    /// How many operations match.
    pub matching_count: u64,
    /// Whether that number is exact; if not, at least this many match.
    pub count_is_exact: bool,
    /// The operation of the kind `bulk` that carries it out; none for a dry run.
    #[serde(default)]
    pub operation: Option<Operation>,
}

/// The answer to a deletion: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Deleted {}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OperationPage {
    /// Newest first.
    pub operations: Vec<Operation>,
    /// The position of the page.
    pub pagination: Pagination,
}

/// The position of a page in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Pagination {
    /// How many operations match.
    pub total_count: i32,
    /// The number of the page.
    pub page: i32,
    /// How many pages there are.
    pub total_pages: i32,
    /// The maximum number of entries per page.
    pub page_size: i32,
}

/// The history of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct History {
    /// Oldest first.
    pub events: Vec<HistoryEvent>,
    /// The token for the next page; empty if there is none.
    #[serde(default)]
    pub next_page_token: String,
}

/// An event in the history of an operation. Strings that are not set are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistoryEvent {
    /// When it happened; RFC 3339.
    pub time: String,
    /// The type of the event, e.g. `ATTEMPT_STARTED`.
    pub r#type: String,
    /// The attempt to which it belongs, 1 for the first; 0 for none.
    pub attempt: u32,
    /// The worker of the attempt.
    pub worker: String,
    /// A progress message, or the reason of a failure.
    pub message: String,
}

/// The parameters of a list. A field that is left out matches everything, or has the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// The number of the page.
    pub page: Option<i32>,
    /// Entries per page.
    pub page_size: Option<i32>,
    /// Only operations with this status, by its wire name.
    pub status: Option<String>,
    /// Only operations of this kind.
    pub kind: Option<String>,
    /// Only operations about a resource of this type; goes together with `resource_id`.
    pub resource_type: Option<String>,
    /// Only operations about this resource; goes together with `resource_type`.
    pub resource_id: Option<String>,
}

impl ListRequest {
    /// The query parameters for these fields.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("status", &self.status),
            ("kind", &self.kind),
            ("resource_type", &self.resource_type),
            ("resource_id", &self.resource_id),
        ];
        let numbers = [("pagination.page", self.page), ("pagination.page_size", self.page_size)];
        let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name, value?.to_string())));
        numbers.chain(texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)))).collect()
    }
}

/// An operation to be created. Fields that are `None` or empty are left out. When it is read from JSON, unknown fields
/// are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewOperation {
    /// The kind of the operation.
    pub kind: String,
    /// The type of the resource that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// The id of the resource that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The project it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The version of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_version_id: Option<String>,
    /// The input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Within an organization, higher runs first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// The time before which it is not started; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_after: Option<String>,
    /// The time limit of each attempt, e.g. `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// The maximum number of attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long to keep it after its end, e.g. `86400s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_for: Option<String>,
    /// At most `concurrency_limit` operations of the organization with this key run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// How many operations with the key may run at the same time; default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_limit: Option<u32>,
    /// The labels by which it can be found.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// While an operation with this key has not ended, that one is returned and none is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
}

/// A policy to be evaluated: either `reference` or `embedded`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PolicyAttachment {
    /// The reference with which the server finds the policy.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The policy itself: its document as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
    /// Its inputs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

/// A group of policies to be evaluated.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PolicyGroupAttachment {
    /// The reference with which the server finds the group.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its inputs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
    /// Policies of the group to leave out, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

/// An evaluation of stored evidence. Fields that are `None` or empty are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EvaluateRequest {
    /// The digest of the evidence: `sha256:…`.
    pub digest: String,
    /// Its material type; by default, it is detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The material's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The policies; without policies and groups, the server's default policies are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyAttachment>,
    /// The groups of policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_groups: Vec<PolicyGroupAttachment>,
    /// The project that the operation belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The version of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_version_id: Option<String>,
    /// The project's name, as policies see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The name of the project's version, as policies see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_version_name: Option<String>,
    /// The question about the evidence for an AI provider; refused by a server that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// `{"organization":{…}}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OrganizationAnswer {
    /// The organization.
    pub organization: Organization,
}

/// The token's organization.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Organization {
    /// Its name.
    pub name: String,
    /// Whether it is paused: none of its operations are started.
    pub paused: bool,
    /// Paused kinds: none of their operations are started in the organization.
    #[serde(default)]
    pub paused_kinds: Vec<String>,
    /// Its limits.
    pub limits: OrganizationLimits,
}

/// The limits of an organization.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OrganizationLimits {
    /// Maximum number of operations that have not ended; `None`: unlimited.
    pub max_pending: Option<u64>,
    /// Operations that it may create per second, on each server; `None`: unlimited.
    pub rate: Option<f64>,
    /// Operations that it may create at once after a pause.
    pub burst: Option<f64>,
    /// Maximum size of an input in bytes.
    pub max_input: u64,
    /// Maximum size of an output in bytes.
    pub max_output: u64,
}

/// `{"kind":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KindAnswer {
    /// The kind.
    pub kind: Kind,
}

/// A kind, in the token's organization.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// Whether it is paused in the organization.
    pub paused: bool,
}

/// The answer to the start of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StartedEvaluation {
    /// The operation that carries it out.
    pub operation_id: String,
}

/// The signed result of an evaluation: a DSSE envelope. The statement in it can be verified with `longrun verify`, or
/// with any program that supports DSSE and in-toto.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationEnvelope {
    /// The type of the payload: `application/vnd.in-toto+json`.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The statement, in base64.
    pub payload: String,
    /// A single signature.
    pub signatures: Vec<AttestationSignature>,
}

/// A signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationSignature {
    /// The id of the key.
    pub keyid: String,
    /// The signature, in base64.
    pub sig: String,
}

/// The answer to storing evidence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredEvidence {
    /// `sha256:…`.
    pub digest: String,
    /// In bytes. A number, or a string as proto3 JSON writes 64-bit integers.
    #[serde(deserialize_with = "number_or_text")]
    pub size: u64,
    /// The detected material type, or empty.
    #[serde(default)]
    pub kind: String,
    /// The name under which it was first stored, or empty.
    #[serde(default)]
    pub name: String,
}

fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_request_names_only_what_was_asked() {
        assert_eq!(ListRequest::default().query(), []);
        let request = ListRequest { page: Some(2), kind: Some("scan".to_owned()), ..ListRequest::default() };
        assert_eq!(request.query(), [("pagination.page", "2".to_owned()), ("kind", "scan".to_owned())]);
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let new = NewOperation { kind: "scan".to_owned(), ..NewOperation::default() };
        assert_eq!(serde_json::to_string(&new).expect("serialises"), r#"{"kind":"scan"}"#);
        let request = EvaluateRequest {
            digest: "sha256:00".to_owned(),
            policies: vec![PolicyAttachment { reference: Some("p".to_owned()), ..PolicyAttachment::default() }],
            ..EvaluateRequest::default()
        };
        let text = serde_json::to_string(&request).expect("serialises");
        assert_eq!(text, r#"{"digest":"sha256:00","policies":[{"ref":"p"}]}"#);
    }

    #[test]
    fn an_operation_needs_no_times() {
        let text = r#"{"id":"1","status":"ASYNC_OPERATION_STATUS_FAILED","error_message":"no"}"#;
        let operation: Operation = serde_json::from_str(text).expect("an operation");
        assert!(operation.is_terminal() && operation.is_failed());
        assert_eq!(operation.short_status(), "FAILED");
        assert_eq!(operation.created_at, None);
    }
}
