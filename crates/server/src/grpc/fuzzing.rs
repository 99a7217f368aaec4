//! Entry points for fuzzers into how messages are read: see [`crate::fuzzing`].

use std::fmt::Debug;

use operations::Violation;
use prost::Message;
use proto::google::longrunning as google;
use proto::longrun::v1 as wire;
use store::HistoryPlace;

use super::bounds::{self, MOST_LABELS, MOST_MESSAGES, MOST_TEXTS};
use super::{agents, convert, gate, longrunning};
use crate::calls::events;

/// The bytes of a request's message: read as each request that exists, and then as its call reads it.
pub(crate) fn message(bytes: &[u8]) {
    // Also bytes that are not a message and have no frame.
    let _ = bounds::check("/longrun.v1.SchedulesService/CreateSchedule", bytes);
    if let Some(asked) = read::<wire::CreateOperationRequest>(bytes) {
        bounded("AsyncOperationsService/CreateOperation", bytes, asked.labels.len(), MOST_LABELS);
        creation(&asked);
    }
    if let Some(asked) = read::<wire::BatchCreateOperationsRequest>(bytes) {
        let path = "AsyncOperationsService/BatchCreateOperations";
        bounded(path, bytes, asked.operations.len(), MOST_MESSAGES);
        let labels = asked.operations.iter().map(|operation| operation.labels.len()).max();
        bounded(path, bytes, labels.unwrap_or(0), MOST_LABELS);
        asked.operations.iter().for_each(creation);
    }
    if let Some(asked) = read::<wire::ListOperationsRequest>(bytes) {
        let page = asked.pagination.unwrap_or_default();
        named(|found| {
            convert::count("pagination.page", page.page, found);
            convert::count("pagination.page_size", page.page_size, found);
        });
    }
    if let Some(asked) = read::<wire::GetOperationRequest>(bytes) {
        let _ = convert::id(&asked.operation_id);
    }
    if let Some(asked) = read::<wire::WaitOperationRequest>(bytes) {
        duration(asked.timeout);
    }
    if let Some(asked) = read::<wire::ListOperationEventsRequest>(bytes)
        && let Ok(Some(place)) = events::place_of(&asked.page_token)
    {
        assert_eq!(place.to_string().parse::<HistoryPlace>().ok(), Some(place), "a position can be read from its text");
    }
    if let Some(asked) = read::<wire::ClaimOperationsRequest>(bytes) {
        let most = asked.kinds.len().max(asked.organizations.len());
        bounded("WorkerService/ClaimOperations", bytes, most, MOST_TEXTS);
        duration(asked.wait);
    }
    if let Some(asked) = read::<wire::EvaluateEvidenceRequest>(bytes) {
        named(|found| {
            convert::json("policies", &asked.policies, found);
            convert::json("policy_groups", &asked.policy_groups, found);
        });
        if let Some(kind) = agents::quoted(&asked.kind) {
            assert_eq!(serde_json::from_str::<String>(kind.get()).ok(), Some(asked.kind), "a text stays what it is");
        }
    }
    if let Some(asked) = read::<google::ListOperationsRequest>(bytes) {
        let _ = longrunning::place(&asked.page_token);
        let _ = gate::timeout_of(&asked.page_token);
    }
    if let Some(asked) = read::<google::GetOperationRequest>(bytes) {
        let _ = longrunning::id(&asked.name);
    }
    if let Some(asked) = read::<google::WaitOperationRequest>(bytes) {
        duration(asked.timeout);
    }
    // Their calls handle these in the same way as over HTTP.
    if let Some(asked) = read::<wire::HeartbeatOperationsRequest>(bytes) {
        bounded("WorkerService/HeartbeatOperations", bytes, asked.operations.len(), MOST_MESSAGES);
    }
    if let Some(asked) = read::<wire::SettleOperationsRequest>(bytes) {
        bounded("WorkerService/SettleOperations", bytes, asked.results.len(), MOST_MESSAGES);
    }
    read::<wire::WatchOperationsRequest>(bytes);
    read::<wire::CancelOperationRequest>(bytes);
    read::<wire::PutEvidenceRequest>(bytes);
    read::<wire::GetEvidenceRequest>(bytes);
    read::<wire::ListAuditRequest>(bytes);
    read::<wire::CreateOrganizationRequest>(bytes);
    read::<wire::SetOrganizationLimitsRequest>(bytes);
    read::<wire::CreateTokenRequest>(bytes);
    read::<wire::RotateTokenRequest>(bytes);
}

/// A message that can be read, and is the same when it is written and read again.
fn read<T: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let message = T::decode(bytes).ok()?;
    assert_eq!(T::decode(&*message.encode_to_vec()).as_ref(), Ok(&message), "a message stays what it is");
    Some(message)
}

/// A message with too many elements is refused before it is read.
fn bounded(method: &str, message: &[u8], elements: usize, most: usize) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let body = [&[0][..], &length.to_be_bytes(), message].concat();
    let is_let_through = bounds::check(&format!("/longrun.v1.{method}"), &body).is_ok();
    assert!(elements <= most || !is_let_through, "{method} reads {elements} elements, and allows {most}");
}

fn creation(asked: &wire::CreateOperationRequest) {
    let read = convert::creation(asked);
    if let Some(input) = read.value.input {
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(input.get()).is_ok(), "an input is JSON");
    }
    assert!(read.violations.iter().all(|violation| !violation.field.is_empty()));
}

fn duration(given: Option<prost_types::Duration>) {
    named(|found| {
        if let Some(read) = convert::given_duration("timeout", given, found) {
            assert_eq!(given, Some(convert::duration(read)), "a duration stays what it is");
        }
    });
}

/// Checks that every violation names its field.
fn named(read: impl FnOnce(&mut Vec<Violation>)) {
    let mut found = Vec::new();
    read(&mut found);
    assert!(found.iter().all(|violation| !violation.field.is_empty()));
}
