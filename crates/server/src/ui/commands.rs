//! The content of a page as commands of `curl` and of `longrun`.

use std::fmt::Write as _;

use operations::{Operation, RETRY_OF};
use serde_json::json;
use store::OperationDetail;

use super::format::quoted_for_shell;
use crate::calls::duration;

/// Longer inputs are not written into a command.
const SHOWN_INPUT: usize = 4 * 1024;

/// Commands to show an operation, and to create a similar one.
pub(super) fn of(detail: &OperationDetail) -> Vec<(&'static str, String)> {
    let id = detail.operation.id;
    let curl = "curl -H \"Authorization: Bearer $LONGRUN_TOKEN\"";
    let mut commands = vec![
        ("curl", format!("{curl} \"$LONGRUN_URL/v1/operations/{id}?view=FULL\"")),
        ("Command line", format!("longrun operations get {id}")),
    ];
    let is_reserved = kinds::RESERVED.contains(&&*detail.operation.kind);
    if !is_reserved && detail.input.len() <= SHOWN_INPUT {
        let body = quoted_for_shell(&body(detail));
        commands.push((
            "Create a similar operation, curl",
            format!("{curl} -H \"Content-Type: application/json\" -d {body} \"$LONGRUN_URL/v1/operations\""),
        ));
        commands.push(("Create a similar operation, command line", creation(detail)));
    }
    commands
}

/// The body of a creation.
fn body(detail: &OperationDetail) -> String {
    let Operation { kind, resource, project_id, project_version_id, .. } = &detail.operation;
    let mut body = json!({"kind": kind});
    let mut add = |name: &str, value: serde_json::Value| body[name] = value;
    if let Some(resource) = resource.as_ref().filter(|_| has_own_resource(detail)) {
        add("resource_type", json!(resource.resource_type));
        add("resource_id", json!(resource.resource_id));
    }
    for (name, text) in [("project_id", project_id), ("project_version_id", project_version_id)] {
        if !text.is_empty() {
            add(name, json!(text));
        }
    }
    if detail.priority != 0 {
        add("priority", json!(detail.priority));
    }
    for (name, time) in [("timeout", detail.timeout), ("retain_for", detail.retain_for)] {
        if let Some(time) = time {
            add(name, json!(duration::write(time)));
        }
    }
    if let Some(concurrency) = &detail.concurrency {
        add("concurrency_key", json!(concurrency.key));
        add("concurrency_limit", json!(concurrency.limit));
    }
    let mut labels = detail.labels.clone();
    labels.remove(RETRY_OF);
    if !labels.is_empty() {
        add("labels", json!(labels));
    }
    let mut text = body.to_string();
    if !detail.input.is_empty() {
        // As it was written, digit for digit.
        text.pop();
        let _ = write!(text, ",\"input\":{}}}", detail.input);
    }
    text
}

fn creation(detail: &OperationDetail) -> String {
    let Operation { kind, resource, project_id, project_version_id, .. } = &detail.operation;
    let mut command = format!("longrun operations create --kind {kind}");
    let mut add = |flag: &str, text: &str| {
        let _ = write!(command, " --{flag} {}", quoted_for_shell(text));
    };
    if let Some(resource) = resource.as_ref().filter(|_| has_own_resource(detail)) {
        add("resource-type", &resource.resource_type);
        add("resource-id", &resource.resource_id);
    }
    for (flag, text) in [("project-id", project_id), ("project-version-id", project_version_id)] {
        if !text.is_empty() {
            add(flag, text);
        }
    }
    if detail.priority != 0 {
        add("priority", &detail.priority.to_string());
    }
    for (flag, time) in [("timeout", detail.timeout), ("retain-for", detail.retain_for)] {
        if let Some(time) = time {
            add(flag, &duration::write(time));
        }
    }
    if let Some(concurrency) = &detail.concurrency {
        add("concurrency-key", &concurrency.key);
        add("concurrency-limit", &concurrency.limit.to_string());
    }
    for (key, value) in detail.labels.iter().filter(|(key, _)| *key != RETRY_OF) {
        add("label", &format!("{key}={value}"));
    }
    if !detail.input.is_empty() {
        add("input", &detail.input);
    }
    command
}

/// Whether its resource was given, and does not follow from its input.
fn has_own_resource(detail: &OperationDetail) -> bool {
    detail.operation.kind != kinds::evaluation::KIND
}
