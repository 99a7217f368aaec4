//! Which operations may be created.

use std::collections::HashSet;
use std::time::Duration;

use crate::{
    Concurrency, Labels, Operation, OperationId, Resource, Status, Timestamp, TraceContext, Violation, check_kind,
    check_text, check_unique_key, labels,
};

/// The maximum length of an `input` or an `output`, in bytes. Larger values belong in content storage (`POST
/// /v1/evidence`).
pub const MAX_INLINE_BYTES: usize = 1024 * 1024;
/// The number of attempts of an operation that names no `max_attempts`.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;
/// Priorities range from the negative of this number to this number.
pub const MAX_PRIORITY: i16 = 100;
/// A larger number of attempts is a mistake: with backoff they would take weeks.
const MAX_MAX_ATTEMPTS: u32 = 100;
/// The upper bound of the duration of an attempt and of a retention: 10 years.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A request to create an operation, before the operation has an id and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOperation {
    /// The kind of the work.
    pub kind: String,
    /// The resource that the work is about.
    pub resource: Option<Resource>,
    /// The project it belongs to, or empty.
    pub project_id: String,
    /// The version of the project, or empty.
    pub project_version_id: String,
    /// The input of the work: a JSON text, or empty for none.
    pub input: String,
    /// Within an organization, operations of higher priority are claimed first; −100…100.
    pub priority: i16,
    /// The operation must not be claimed before this time.
    pub run_after: Option<Timestamp>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// The number of attempts that may be charged.
    pub max_attempts: u32,
    /// How long to keep the operation after its end; `None` keeps it forever.
    pub retain_for: Option<Duration>,
    /// How many operations with its concurrency key may run at a time; `None`: it has no key.
    pub concurrency: Option<Concurrency>,
    /// The labels by which callers find it.
    pub labels: Labels,
    /// While an operation of the organization with this key has not ended, that operation is returned and none is
    /// created.
    pub unique_key: Option<String>,
    /// The name of the schedule that creates it. Set by the server, never by a caller.
    pub schedule: Option<String>,
    /// The span of a distributed trace in which it was requested; its attempts and its notices belong to that trace.
    pub trace: Option<TraceContext>,
}

impl NewOperation {
    /// An operation of `kind` with every other part at its default.
    pub fn of_kind(kind: impl Into<String>) -> NewOperation {
        NewOperation {
            kind: kind.into(),
            resource: None,
            project_id: String::new(),
            project_version_id: String::new(),
            input: String::new(),
            priority: 0,
            run_after: None,
            timeout: None,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            retain_for: None,
            concurrency: None,
            labels: Labels::new(),
            unique_key: None,
            schedule: None,
            trace: None,
        }
    }

    /// Whether it has any of the properties that few operations have and that stores keep in a place of their own.
    pub fn has_details(&self) -> bool {
        !self.labels.is_empty() || self.unique_key.is_some() || self.schedule.is_some() || self.trace.is_some()
    }

    /// The operation that is created from this request at `now`: pending, with a new id.
    pub fn to_operation(&self, now: Timestamp) -> Operation {
        Operation {
            id: OperationId::new(now),
            kind: self.kind.clone(),
            status: Status::Pending,
            resource: self.resource.clone(),
            project_id: self.project_id.clone(),
            project_version_id: self.project_version_id.clone(),
            created_at: now,
            started_at: None,
            finished_at: None,
            output: String::new(),
            error_message: String::new(),
        }
    }

    /// Everything that is wrong with the request; empty when the operation may be created.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |result: Result<(), Violation>| found.extend(result.err());
        check(check_kind("kind", &self.kind));
        check(check_text("project_id", &self.project_id));
        check(check_text("project_version_id", &self.project_version_id));
        if let Some(resource) = &self.resource {
            check(check_text("resource_type", &resource.resource_type));
            check(check_text("resource_id", &resource.resource_id));
            if resource.resource_type.is_empty() || resource.resource_id.is_empty() {
                check(Err(Violation::new(
                    "resource_id",
                    "resource_type and resource_id must both be given, or neither",
                )));
            }
        }
        if self.input.len() > MAX_INLINE_BYTES {
            let description = format!(
                "is {} bytes long; at most {MAX_INLINE_BYTES} are allowed: store larger content with POST /v1/evidence and pass its digest",
                self.input.len()
            );
            check(Err(Violation::new("input", description)));
        }
        if self.priority.unsigned_abs() > MAX_PRIORITY.unsigned_abs() {
            check(Err(Violation::new("priority", format!("must be between -{MAX_PRIORITY} and {MAX_PRIORITY}"))));
        }
        if !(1..=MAX_MAX_ATTEMPTS).contains(&self.max_attempts) {
            check(Err(Violation::new("max_attempts", format!("must be between 1 and {MAX_MAX_ATTEMPTS}"))));
        }
        for (field, duration) in [("timeout", self.timeout), ("retain_for", self.retain_for)] {
            if duration.is_some_and(|d| d.is_zero() || d > MAX_DURATION) {
                check(Err(Violation::new(field, "must be above 0s and at most ten years, e.g. \"60s\"")));
            }
        }
        if let Some(key) = &self.unique_key {
            check(check_unique_key("unique_key", key));
        }
        found.extend(labels::violations(&self.labels));
        found.extend(self.concurrency.iter().flat_map(Concurrency::violations));
        found
    }
}

/// What is wrong with operations that are to be created together, apart from what is wrong with each of them: the
/// indexes of those that have the same unique key as an earlier one.
pub fn repeated_unique_keys(operations: &[NewOperation]) -> Vec<usize> {
    let mut seen = HashSet::new();
    let keys = operations.iter().enumerate().filter_map(|(index, new)| Some((index, new.unique_key.as_deref()?)));
    keys.filter(|(_, key)| !seen.insert(*key)).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_every_violation_is_told() {
        assert_eq!(NewOperation::of_kind("scan").violations(), []);
        let bad = NewOperation {
            resource: Some(Resource { resource_type: "t".to_owned(), resource_id: String::new() }),
            project_id: "\u{1}".to_owned(),
            input: "x".repeat(MAX_INLINE_BYTES + 1),
            priority: i16::MIN,
            timeout: Some(Duration::ZERO),
            max_attempts: 0,
            labels: [("Team".to_owned(), String::new())].into(),
            unique_key: Some(String::new()),
            ..NewOperation::of_kind("no spaces")
        };
        let fields: Vec<String> = bad.violations().into_iter().map(|v| v.field).collect();
        assert_eq!(
            fields,
            [
                "kind",
                "project_id",
                "resource_id",
                "input",
                "priority",
                "max_attempts",
                "timeout",
                "unique_key",
                "labels"
            ]
        );
    }

    #[test]
    fn a_unique_key_stands_once_in_a_request() {
        let keyed =
            |key: Option<&str>| NewOperation { unique_key: key.map(str::to_owned), ..NewOperation::of_kind("scan") };
        assert_eq!(repeated_unique_keys(&[keyed(None), keyed(Some("a")), keyed(None), keyed(Some("b"))]), []);
        assert_eq!(
            repeated_unique_keys(&[keyed(Some("a")), keyed(Some("b")), keyed(Some("a")), keyed(Some("a"))]),
            [2, 3]
        );
    }
}
