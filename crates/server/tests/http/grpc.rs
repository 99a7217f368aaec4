//! The gRPC face: the same calls, answers and refusals as over HTTP, and its own particulars.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Outcome};
use proto::google::longrunning as google;
use proto::google::longrunning::operations_client::OperationsClient;
use proto::longrun::v1 as wire;
use proto::longrun::v1::agents_service_client::AgentsServiceClient;
use proto::longrun::v1::async_operations_service_client::AsyncOperationsServiceClient;
use proto::longrun::v1::evidence_service_client::EvidenceServiceClient;
use proto::longrun::v1::schedules_service_client::SchedulesServiceClient;
use proto::longrun::v1::stats_service_client::StatsServiceClient;
use proto::longrun::v1::worker_service_client::WorkerServiceClient;
use serde_json::{Value, json};
use store::Scope;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::faults::{Fault, faulty};
use crate::harness::{Answer, Caller, Server};
use crate::page::Browser;

pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

/// Adds the caller's token to each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<tonic::metadata::Ascii>>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// What is on all pages of a list; `page` gets the page with this token, and the token of the next one.
pub(crate) async fn all_pages<T>(mut page: impl AsyncFnMut(String) -> (Vec<T>, String)) -> Vec<T> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (found, next) = page(token).await;
        all.extend(found);
        if next.is_empty() {
            return all;
        }
        token = next;
    }
}

/// A caller's connection.
pub(crate) async fn connect(caller: &Caller) -> Authorized {
    let endpoint = Endpoint::from_shared(format!("http://{}", caller.address)).unwrap();
    let bearer = caller.authorization.as_ref().map(|text| text.parse().unwrap());
    InterceptedService::new(endpoint.connect().await.unwrap(), Bearer(bearer))
}

async fn operations(caller: &Caller) -> AsyncOperationsServiceClient<Authorized> {
    AsyncOperationsServiceClient::new(connect(caller).await)
}

async fn worker(caller: &Caller) -> WorkerServiceClient<Authorized> {
    WorkerServiceClient::new(connect(caller).await)
}

pub(crate) fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    Some(operations::Timestamp::from_millis(time.seconds * 1_000 + i64::from(time.nanos / 1_000_000)).to_string())
}

/// A message as HTTP shows it.
fn shown(operation: wire::AsyncOperation) -> Value {
    let status = operation.status().as_str_name();
    let mut shown = json!({
        "output": operation.output, "error_message": operation.error_message, "project_id": operation.project_id,
        "kind": operation.kind, "resource_type": operation.resource_type, "resource_id": operation.resource_id,
        "id": operation.id, "project_version_id": operation.project_version_id, "status": status,
    });
    let times = [
        ("created_at", operation.created_at),
        ("started_at", operation.started_at),
        ("finished_at", operation.finished_at),
    ];
    for (name, at) in times {
        if let Some(at) = time(at) {
            shown[name] = at.into();
        }
    }
    shown
}

/// A refusal as HTTP shows it.
fn refusal(status: &Status) -> Value {
    let details = status.get_error_details();
    let mut shown = json!({"code": status.code() as i32, "message": status.message()});
    let info = details.error_info().unwrap();
    let mut list = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
    })];
    if let Some(bad) = details.bad_request() {
        let violations = bad.field_violations.iter();
        let violations: Vec<Value> =
            violations.map(|v| json!({"field": v.field, "description": v.description})).collect();
        list.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}));
    }
    if let Some(retry) = details.retry_info() {
        let delay = format!("{}s", retry.retry_delay.unwrap().as_secs());
        list.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    shown["details"] = list.into();
    shown
}

/// Statistics as HTTP shows them.
fn shown_stats(stats: wire::GetStatsResponse) -> Value {
    let durations = |durations: Option<wire::StatsDurations>| {
        let durations = durations.unwrap();
        let mut shown = json!({"count": durations.count, "sum_ms": durations.sum_ms});
        for (name, quantile) in
            [("p50_ms", durations.p50_ms), ("p90_ms", durations.p90_ms), ("p99_ms", durations.p99_ms)]
        {
            if let Some(quantile) = quantile {
                shown[name] = quantile.into();
            }
        }
        shown
    };
    let points = stats.points.into_iter().map(|point| {
        let mut shown = json!({
            "start": time(point.start), "created": point.created, "started": point.started,
            "completed": point.completed, "failed": point.failed,
            "waiting": durations(point.waiting), "running": durations(point.running),
        });
        if let Some(kind) = point.kind {
            shown["kind"] = kind.into();
        }
        shown
    });
    let mut shown = json!({
        "step": stats.step, "start": time(stats.start), "end": time(stats.end), "points": points.collect::<Vec<_>>(),
    });
    if let Some(since) = time(stats.available_since) {
        shown["available_since"] = since.into();
    }
    shown
}

#[tokio::test]
async fn statistics_are_the_same_over_both_faces() {
    let server = Server::start().await;
    server.store.begin_statistics().await.unwrap();
    server.ended(NewOperation::of_kind("scan"), Outcome::Completed { output: String::new() }).await;
    server.create(NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("build") }).await;
    for (organization, from) in server.store.uncommitted(store::STATISTICS_CONSUMER, "", 10).await.unwrap() {
        assert!(server.store.count_changes(&organization, from, 100).await.unwrap());
    }
    let (from, to) = ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let at = |text: &str| {
        let millis = text.parse::<operations::Timestamp>().unwrap().as_millis();
        Some(prost_types::Timestamp { seconds: millis / 1_000, nanos: 0 })
    };
    let callers = [
        ("everything", server.acme().await),
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("no scope to read", server.caller(Access::organization("acme"), &[Scope::OperationsWork]).await),
    ];
    for (who, caller) in &callers {
        let mut client = StatsServiceClient::new(connect(caller).await);
        for (step, group_by, kind, to) in [
            ("", "", "", "2020-01-03T00:00:00Z"),
            ("week", "", "", to),
            ("minute", "colour", "", to),
            ("minute", "", "", to),
            ("hour", "", "", from),
        ] {
            let http = format!("/v1/stats?from={from}&to={to}&step={step}&group_by={group_by}&kind={kind}");
            let asked = wire::GetStatsRequest {
                from: at(from),
                to: at(to),
                step: step.to_owned(),
                group_by: group_by.to_owned(),
                kind: kind.to_owned(),
            };
            let mut http = caller.get(&http).await;
            let answer = client.get_stats(asked).await.map(|answer| shown_stats(answer.into_inner()));
            without_lag(&mut http);
            assert_same(&format!("{who} {step} {group_by}"), &http, answer);
        }
        for kind in ["", "scan"] {
            let asked = wire::GetStatsRequest {
                step: "day".to_owned(),
                group_by: "kind".to_owned(),
                kind: kind.to_owned(),
                ..Default::default()
            };
            let http = caller.get(&format!("/v1/stats?step=day&group_by=kind&kind={kind}")).await;
            let points = |shown: &Value| shown.get("points").cloned();
            let answer = client.get_stats(asked).await;
            let answer = answer.map_or(None, |answer| points(&shown_stats(answer.into_inner())));
            assert_eq!(points(&http.json()), answer, "{who} {kind}");
        }
    }
}

/// How far the counts lag behind depends on the moment.
fn without_lag(answer: &mut Answer) {
    if answer.status == StatusCode::OK {
        let mut shown = answer.json();
        let members = shown.as_object_mut().unwrap();
        members.retain(|name, _| name != "lag_ms" && name != "complete_until");
        answer.body = shown.to_string().into();
    }
}

/// Asserts that both faces gave the same.
pub(crate) fn assert_same(what: &str, http: &Answer, grpc: Result<Value, Status>) {
    match grpc {
        Ok(answer) => assert_eq!((http.status, http.json()), (StatusCode::OK, answer), "{what}"),
        Err(status) => {
            assert_ne!(http.status, StatusCode::OK, "{what}: {status:?}");
            assert_eq!(http.json(), refusal(&status), "{what}");
        }
    }
}

#[tokio::test]
async fn both_faces_answer_the_same_calls_alike() {
    let server = Server::start().await;
    let about = operations::Resource { resource_type: "repo".to_owned(), resource_id: "shop".to_owned() };
    let pending = server.create(NewOperation { resource: Some(about), ..NewOperation::of_kind("scan") }).await;
    let done =
        server.ended(NewOperation::of_kind("other"), Outcome::Completed { output: "{\"n\":1}".to_owned() }).await;
    let callers = [
        ("everything", server.acme().await),
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("no scope to read", server.caller(Access::organization("acme"), &[Scope::OperationsWork]).await),
    ];
    for (who, caller) in &callers {
        let mut client = operations(caller).await;
        let lists = [
            ("", wire::ListOperationsRequest::default()),
            ("?status=3", wire::ListOperationsRequest { status: 3, ..Default::default() }),
            ("?status=9", wire::ListOperationsRequest { status: 9, ..Default::default() }),
            ("?kind=scan", wire::ListOperationsRequest { kind: "scan".to_owned(), ..Default::default() }),
            ("?resource_id=a", wire::ListOperationsRequest { resource_id: "a".to_owned(), ..Default::default() }),
            (
                "?resource_id=shop&resource_type=repo",
                wire::ListOperationsRequest {
                    resource_id: "shop".to_owned(),
                    resource_type: "repo".to_owned(),
                    ..Default::default()
                },
            ),
            (
                "?pagination.page=1&pagination.page_size=1",
                wire::ListOperationsRequest {
                    pagination: Some(wire::PaginationRequest { page: 1, page_size: 1 }),
                    ..Default::default()
                },
            ),
            (
                "?pagination.page=-1&kind=%00",
                wire::ListOperationsRequest {
                    pagination: Some(wire::PaginationRequest { page: -1, page_size: 0 }),
                    kind: "\0".to_owned(),
                    ..Default::default()
                },
            ),
        ];
        for (query, request) in lists {
            let grpc = client.list_operations(request).await.map(|answer| {
                let answer = answer.into_inner();
                let page = answer.pagination.unwrap();
                let operations: Vec<Value> = answer.operations.into_iter().map(shown).collect();
                json!({"operations": operations, "pagination": {"total_count": page.total_count, "page": page.page,
                    "total_pages": page.total_pages, "page_size": page.page_size}})
            });
            let http = caller.get(&format!("/v1/operations{query}")).await;
            assert_same(&format!("{who}: list {query}"), &http, grpc);
        }
        let searches = [
            ("", wire::SearchOperationsRequest::default()),
            (
                "?filter=status%3DCOMPLETED&page_size=1&order_by=created_at",
                wire::SearchOperationsRequest {
                    filter: "status=COMPLETED".to_owned(),
                    page_size: 1,
                    order_by: "created_at".to_owned(),
                    ..Default::default()
                },
            ),
            (
                "?filter=nope%3D1&page=-1&page_token=x",
                wire::SearchOperationsRequest {
                    filter: "nope=1".to_owned(),
                    page: -1,
                    page_token: "x".to_owned(),
                    ..Default::default()
                },
            ),
        ];
        for (query, request) in searches {
            let grpc = client.search_operations(request).await.map(|answer| {
                let answer = answer.into_inner();
                let full = |wire::FoundOperation { operation, detail }| {
                    shown_in_full(wire::GetOperationResponse { operation, detail })["operation"].take()
                };
                let operations: Vec<Value> = answer.operations.into_iter().map(full).collect();
                json!({"operations": operations, "total_count": answer.total_count,
                    "total_is_exact": answer.total_is_exact, "next_page_token": answer.next_page_token})
            });
            let http = caller.get(&format!("/v1/operations:search{query}")).await;
            assert_same(&format!("{who}: search {query}"), &http, grpc);
        }
        for (query, filter, group_by) in [
            ("", "", ""),
            ("?filter=kind%21%3Dx&group_by=status,kind,project_id", "kind!=x", "status,kind,project_id"),
            ("?filter=kind%3D&group_by=worker", "kind=", "worker"),
        ] {
            let request = wire::CountOperationsRequest { filter: filter.to_owned(), group_by: group_by.to_owned() };
            let grpc = client.count_operations(request).await.map(|answer| {
                let answer = answer.into_inner();
                let group = |group: wire::OperationCount| {
                    let mut shown = json!({"count": group.count});
                    if group.status != 0 {
                        shown["status"] = group.status().as_str_name().into();
                    }
                    if !group.kind.is_empty() {
                        shown["kind"] = group.kind.clone().into();
                    }
                    if let Some(project) = group.project_id {
                        shown["project_id"] = project.into();
                    }
                    shown
                };
                let groups: Vec<Value> = answer.groups.into_iter().map(group).collect();
                json!({"groups": groups, "groups_left_out": answer.groups_left_out,
                    "total_count": answer.total_count, "total_is_exact": answer.total_is_exact})
            });
            let http = caller.get(&format!("/v1/operations:count{query}")).await;
            assert_same(&format!("{who}: count {query}"), &http, grpc);
        }
        let nobodys = "01a20e1a-1194-75ec-b562-a042f01e7eac".to_owned();
        for id in [pending.id.to_string(), done.id.to_string(), nobodys, "nope".to_owned()] {
            let http = caller.get(&format!("/v1/operations/{id}")).await;
            let grpc = client
                .get_operation(wire::GetOperationRequest { operation_id: id.clone(), ..Default::default() })
                .await;
            let grpc = grpc.map(|answer| json!({"operation": shown(answer.into_inner().operation.unwrap())}));
            assert_same(&format!("{who}: get {id}"), &http, grpc);
            let http = caller.get(&format!("/v1/operations/{id}/events?page_size=1")).await;
            let request =
                wire::ListOperationEventsRequest { operation_id: id.clone(), page_size: 1, ..Default::default() };
            let grpc = client.list_operation_events(request).await.map(|answer| {
                let answer = answer.into_inner();
                let events = answer.events.into_iter().map(|event| {
                    json!({"time": time(event.time), "type": event.r#type, "attempt": event.attempt,
                        "worker": event.worker, "message": event.message})
                });
                let mut shown = json!({"events": events.collect::<Vec<_>>()});
                if !answer.next_page_token.is_empty() {
                    shown["next_page_token"] = answer.next_page_token.into();
                }
                shown
            });
            assert_same(&format!("{who}: events {id}"), &http, grpc);
            for (view, number) in [("FULL", 2), ("9", 9)] {
                let http = caller.get(&format!("/v1/operations/{id}?view={view}")).await;
                let request = wire::GetOperationRequest { operation_id: id.clone(), view: number };
                let grpc = client.get_operation(request).await.map(|answer| shown_in_full(answer.into_inner()));
                assert_same(&format!("{who}: get {id} with view {view}"), &http, grpc);
            }
            // An operation that has ended is not cancelled, and one that waits is not retried: both change nothing.
            let http = caller.post(&format!("/v1/operations/{id}:retry"), "").await;
            let grpc = client
                .retry_operation(wire::RetryOperationRequest { operation_id: id.clone(), ..Default::default() })
                .await;
            let grpc = grpc.map(|answer| json!({"operation": shown(answer.into_inner().operation.unwrap())}));
            assert_same(&format!("{who}: retry {id}"), &http, grpc);
        }
        let creations = [
            (json!({"kind": "no spaces", "priority": 101, "input": {}}), ("no spaces", 101, "{}")),
            (json!({"kind": "dance", "priority": 0}), ("dance", 0, "")),
            (json!({"kind": "scan", "priority": -101, "input": {"a": 1}}), ("scan", -101, "{\"a\": 1}")),
            (json!({"kind": "notice", "priority": 0}), ("notice", 0, "")),
        ];
        for (labels, key) in [(json!({"Team": "x"}), "k"), (json!({"team": "x\ny"}), ""), (json!({}), "k\n")] {
            let body = json!({"kind": "scan", "labels": labels, "unique_key": key});
            let http = caller.post("/v1/operations", body.to_string()).await;
            let request = wire::CreateOperationRequest {
                kind: "scan".to_owned(),
                labels: serde_json::from_value(labels).unwrap(),
                unique_key: key.to_owned(),
                ..Default::default()
            };
            let grpc = client.create_operation(request).await;
            let grpc = grpc.map(|answer| json!({"operation": shown(answer.into_inner().operation.unwrap())}));
            assert_same(&format!("{who}: create {body}"), &http, grpc);
        }
        for (body, (kind, priority, input)) in creations {
            let http = caller.post("/v1/operations", body.to_string()).await;
            let (kind, input) = (kind.to_owned(), input.to_owned());
            let request = wire::CreateOperationRequest { kind, priority, input, ..Default::default() };
            let grpc = client.create_operation(request).await;
            let grpc = grpc.map(|answer| json!({"operation": shown(answer.into_inner().operation.unwrap())}));
            assert_same(&format!("{who}: create {body}"), &http, grpc);
        }
    }
}

/// An operation with all its details, as HTTP shows it.
fn shown_in_full(answer: wire::GetOperationResponse) -> Value {
    let (mut operation, detail) = (shown(answer.operation.unwrap()), answer.detail.unwrap());
    operation["input"] = serde_json::from_str(&detail.input).unwrap_or(Value::Null);
    operation["labels"] = json!(detail.labels);
    for (name, text) in [
        ("concurrency_key", detail.concurrency_key),
        ("unique_key", detail.unique_key),
        ("worker", detail.worker),
        ("progress", detail.progress),
        ("schedule", detail.schedule),
    ] {
        operation[name] = text.into();
    }
    operation["priority"] = detail.priority.into();
    operation["attempts"] = detail.attempts.into();
    operation["max_attempts"] = detail.max_attempts.into();
    operation["cancel_requested"] = detail.cancel_requested.into();
    if let Some(run_after) = detail.run_after {
        operation["run_after"] = time(Some(run_after)).into();
    }
    if detail.concurrency_limit > 0 {
        operation["concurrency_limit"] = detail.concurrency_limit.into();
    }
    if let Some(timeout) = detail.timeout {
        operation["timeout"] = format!("{}s", timeout.seconds).into();
    }
    json!({"operation": operation})
}

#[tokio::test]
async fn unique_keys_and_other_inputs_over_grpc_are_those_of_http() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut client = operations(&caller).await;
    let request = wire::CreateOperationRequest {
        kind: "scan".to_owned(),
        unique_key: "k".to_owned(),
        labels: [("team".to_owned(), "search".to_owned())].into(),
        ..Default::default()
    };
    let first = client.create_operation(request.clone()).await.unwrap();
    assert!(first.metadata().get("x-longrun-existing").is_none());
    let first = first.into_inner().operation.unwrap();
    let again = client.create_operation(request.clone()).await.unwrap();
    assert_eq!(again.metadata().get("x-longrun-existing").unwrap(), "true");
    assert_eq!(again.into_inner().operation.unwrap().id, first.id);
    let batch = wire::BatchCreateOperationsRequest {
        operations: vec![wire::CreateOperationRequest { kind: "scan".to_owned(), ..Default::default() }, request],
        ..Default::default()
    };
    let made = client.batch_create_operations(batch).await.unwrap().into_inner();
    assert_eq!((made.operations[1].id.as_str(), made.existing), (first.id.as_str(), vec![1]));
    client.cancel_operation(wire::CancelOperationRequest { operation_id: first.id.clone() }).await.unwrap();
    let other = wire::RetryOperationRequest {
        operation_id: first.id.clone(),
        input: "{\"n\": 2}".to_owned(),
        idempotency_key: "a".to_owned(),
    };
    let second = client.retry_operation(other.clone()).await.unwrap().into_inner().operation.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(client.retry_operation(other).await.unwrap().into_inner().operation.unwrap().id, second.id);
    let answer = caller.get(&format!("/v1/operations/{}?view=FULL", second.id)).await.json();
    assert_eq!(answer["operation"]["labels"], json!({"team": "search", "retry_of": first.id}));
    assert_eq!(answer["operation"]["input"], json!({"n": 2}));
    let refused = wire::RetryOperationRequest { operation_id: first.id, input: "{".to_owned(), ..Default::default() };
    assert_eq!(client.retry_operation(refused).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_operation_lives_its_life_over_grpc() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let (mut client, mut worker) = (operations(&caller).await, worker(&caller).await);
    let mut watch = client.watch_operations(wire::WatchOperationsRequest::default()).await.unwrap().into_inner();
    let request = wire::CreateOperationRequest {
        kind: "scan".to_owned(),
        input: "{ \"n\": 1.0 }".to_owned(),
        idempotency_key: "k".to_owned(),
        timeout: Some(prost_types::Duration { seconds: 7, nanos: 500_000_000 }),
        ..Default::default()
    };
    let created = client.create_operation(request.clone()).await.unwrap().into_inner().operation.unwrap();
    let again = client.create_operation(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(created.id, again.id, "the key names the request");
    let request = wire::ClaimOperationsRequest {
        kinds: vec!["scan".to_owned()],
        max_operations: 5,
        wait: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    let claimed = worker.claim_operations(request).await.unwrap().into_inner().operations.remove(0);
    assert_eq!((&*claimed.input, claimed.attempt), ("{ \"n\": 1.0 }", 1), "digit for digit");
    assert_eq!(claimed.timeout, Some(prost_types::Duration { seconds: 7, nanos: 500_000_000 }));
    let row = |token: &str| wire::heartbeat_operations_request::Row {
        id: created.id.clone(),
        lease_token: token.to_owned(),
        progress: "half".to_owned(),
        ..Default::default()
    };
    let operations = vec![row(&claimed.lease_token), row("v1.999.1")];
    let beats = worker.heartbeat_operations(wire::HeartbeatOperationsRequest { operations }).await.unwrap();
    let beats = beats.into_inner().operations;
    assert!(beats[0].error.is_none() && beats[0].lease_expires_at.is_some());
    assert_eq!(beats[1].error.as_ref().unwrap().code, Code::Aborted as i32);
    let row = wire::settle_operations_request::Row {
        id: created.id.clone(),
        lease_token: claimed.lease_token,
        end: Some(wire::settle_operations_request::row::End::Output("done".to_owned())),
        retryable: None,
        ..Default::default()
    };
    let settled = worker.settle_operations(wire::SettleOperationsRequest { results: vec![row] }).await.unwrap();
    assert_eq!(settled.into_inner().results[0].status(), wire::AsyncOperationStatus::Completed);
    let request = wire::WaitOperationRequest { operation_id: created.id.clone(), timeout: None };
    let ended = client.wait_operation(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!((&*ended.output, ended.status()), ("done", wire::AsyncOperationStatus::Completed));
    let mut seen = Vec::new();
    let mut last = String::new();
    while seen.len() < 3 {
        let told = watch.message().await.unwrap().unwrap();
        if let Some(wire::watch_operations_response::Event::Operation(operation)) = told.event {
            seen.push(operation.status().as_str_name());
            if seen.len() == 2 {
                last = told.event_id;
            }
        }
    }
    assert_eq!(
        seen,
        ["ASYNC_OPERATION_STATUS_PENDING", "ASYNC_OPERATION_STATUS_RUNNING", "ASYNC_OPERATION_STATUS_COMPLETED"]
    );
    // After the second event comes the third.
    let request = wire::WatchOperationsRequest { last_event_id: last, ..Default::default() };
    let mut resumed = client.watch_operations(request).await.unwrap().into_inner();
    let operation = loop {
        if let Some(wire::watch_operations_response::Event::Operation(operation)) =
            resumed.message().await.unwrap().unwrap().event
        {
            break operation;
        }
    };
    assert_eq!(operation.status(), wire::AsyncOperationStatus::Completed);
    client.delete_operation(wire::DeleteOperationRequest { operation_id: created.id.clone() }).await.unwrap();
    let gone = client
        .get_operation(wire::GetOperationRequest { operation_id: created.id, ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn a_batch_is_created_whole_or_not_at_all() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut client = operations(&caller).await;
    let creation = |kind: &str| wire::CreateOperationRequest { kind: kind.to_owned(), ..Default::default() };
    let batch = |kinds: &[&str]| wire::BatchCreateOperationsRequest {
        operations: kinds.iter().map(|kind| creation(kind)).collect(),
        idempotency_key: String::new(),
    };
    let refused = client.batch_create_operations(batch(&["scan", "dance"])).await.unwrap_err();
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "operations[1].kind");
    let refused = client.batch_create_operations(batch(&[])).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "operations");
    let too_many = client.batch_create_operations(batch(&["scan"; 1_001])).await.unwrap_err();
    let told = too_many.get_details_bad_request().unwrap().field_violations.remove(0);
    assert_eq!((&*told.field, &*told.description), ("operations", "must be a list of 1 to 1000 elements"));
    let created = client.batch_create_operations(batch(&["scan", "scan"])).await.unwrap().into_inner();
    assert_eq!(created.operations.len(), 2);
    assert_eq!(caller.get("/v1/operations").await.ids().len(), 2);
}

#[tokio::test]
async fn lists_of_workers_are_bounded_as_over_http() {
    let server = Server::start().await;
    let mut client = worker(&server.acme().await).await;
    let kinds = (0..101).map(|number| format!("kind-{number}")).collect();
    let claim = wire::ClaimOperationsRequest { kinds, ..Default::default() };
    let row = wire::heartbeat_operations_request::Row::default();
    let beats = wire::HeartbeatOperationsRequest { operations: vec![row; 1_001] };
    let row = wire::settle_operations_request::Row::default();
    let ends = wire::SettleOperationsRequest { results: vec![row; 1_001] };
    let refused = [
        client.claim_operations(claim).await.unwrap_err(),
        client.heartbeat_operations(beats).await.unwrap_err(),
        client.settle_operations(ends).await.unwrap_err(),
    ];
    let fields = refused.map(|status| {
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].field.clone()
    });
    assert_eq!(fields, ["kinds", "operations", "results"]);
}

#[tokio::test]
async fn a_deadline_ends_a_wait_in_time_and_a_call_that_takes_longer() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let mut client = operations(&caller).await;
    let mut request =
        Request::new(wire::WaitOperationRequest { operation_id: operation.id.to_string(), timeout: None });
    request.set_timeout(Duration::from_millis(500));
    let waited = client.wait_operation(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(waited.status(), wire::AsyncOperationStatus::Pending, "the answer comes before the deadline");
    // The client's own clock gives up as well, so the server is asked by hand.
    let mut request = Request::new(wire::WatchOperationsRequest::default());
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let mut watch = client.watch_operations(request).await.unwrap().into_inner();
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it says why it ends"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    let mut request =
        Request::new(wire::GetOperationRequest { operation_id: operation.id.to_string(), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let refused = client.get_operation(request).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "grpc-timeout");
}

#[tokio::test]
async fn what_was_claimed_and_not_delivered_is_released() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut client = worker(&caller).await;
    let request = wire::ClaimOperationsRequest {
        kinds: vec!["scan".to_owned()],
        max_operations: 1,
        wait: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..Default::default()
    };
    // A worker that goes away while it waits.
    let gone = tokio::spawn(async move { client.claim_operations(request).await });
    let waiting = async {
        while !server.services.metrics.render().contains("longrun_http_requests_in_flight 1\n") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let operation = server.pending("scan").await;
    let mut client = worker(&caller).await;
    let request = wire::ClaimOperationsRequest {
        kinds: vec!["scan".to_owned()],
        max_operations: 1,
        wait: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..Default::default()
    };
    let claimed = client.claim_operations(request).await.unwrap().into_inner().operations.remove(0);
    assert_eq!(claimed.operation.unwrap().id, operation.id.to_string());
    assert_eq!(claimed.attempt, 1, "nobody was charged an attempt");
}

#[tokio::test]
async fn evidence_is_stored_in_parts_evaluated_and_sent_back() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut client = EvidenceServiceClient::new(connect(&caller).await);
    let content = br#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[]}"#;
    let parts: Vec<wire::PutEvidenceRequest> = content
        .chunks(20)
        .map(|part| wire::PutEvidenceRequest { content: part.to_vec().into(), name: "sbom".to_owned() })
        .collect();
    let stored = client.put_evidence(futures_util::stream::iter(parts)).await.unwrap().into_inner();
    assert_eq!((stored.size, &*stored.kind), (content.len() as u64, "SBOM_CYCLONEDX_JSON"));
    let request = wire::GetEvidenceRequest { digest: stored.digest.clone() };
    let mut parts = client.get_evidence(request).await.unwrap().into_inner();
    let mut got = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        got.extend_from_slice(&part.content);
    }
    assert_eq!(got, content);
    let too_much = vec![wire::PutEvidenceRequest {
        content: vec![0; crate::harness::CONTENT_LIMIT as usize + 1].into(),
        name: String::new(),
    }];
    let refused = client.put_evidence(futures_util::stream::iter(too_much)).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "BODY_TOO_LARGE");
    // Longer than a part may be, and shorter than a body.
    let long = wire::ReevaluateEvidenceRequest { policy: "p".repeat(1_200_000), ..Default::default() };
    let refused = client.reevaluate_evidence(long).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "BODY_TOO_LARGE");
    let mut agents = AgentsServiceClient::new(connect(&caller).await);
    let policy = json!([{"embedded": {"apiVersion": "workflowcontract.chainloop.dev/v1", "kind": "Policy",
        "metadata": {"name": "p"}, "spec": {"policies": [{"kind": "SBOM_CYCLONEDX_JSON", "embedded":
        "package main\nimport rego.v1\nresult := {\"skipped\": false, \"violations\": [], \"skip_reason\": \"\", \"ignore\": false}"}]}}}]);
    for evidence in [
        wire::evaluate_evidence_request::Evidence::Digest(stored.digest.clone()),
        wire::evaluate_evidence_request::Evidence::Content(content.to_vec().into()),
    ] {
        let request = wire::EvaluateEvidenceRequest {
            evidence: Some(evidence),
            policies: policy.to_string(),
            ..Default::default()
        };
        let started = agents.evaluate_evidence(request).await.unwrap().into_inner().operation_id;
        let operation = caller.get(&format!("/v1/operations/{started}")).await.json()["operation"].clone();
        assert_eq!(
            (&operation["kind"], &operation["resource_id"]),
            (&json!("evidence_evaluation"), &json!(stored.digest))
        );
    }
    let request = wire::EvaluateEvidenceRequest {
        evidence: Some(wire::evaluate_evidence_request::Evidence::Content(Vec::new().into())),
        kind: "STRING".to_owned(),
        policies: policy.to_string(),
        ..Default::default()
    };
    let started = agents.evaluate_evidence(request).await.unwrap().into_inner().operation_id;
    let operation = caller.get(&format!("/v1/operations/{started}")).await.json()["operation"].clone();
    assert_eq!(operation["resource_id"], store::Digest::of(b"").to_string(), "nothing is evidence too");
    let refused = agents.evaluate_evidence(wire::EvaluateEvidenceRequest::default()).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "digest");
}

#[tokio::test]
async fn googles_operations_are_the_same_operations() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut client = OperationsClient::new(connect(&caller).await);
    let failed = server
        .ended(NewOperation::of_kind("a"), Outcome::Failed { message: "broken".to_owned(), retryable: false })
        .await;
    let done = server.completed("b", "out").await;
    let pending = server.pending("scan").await;
    let name = |id: operations::OperationId| format!("operations/{id}");
    let get = |name: String| google::GetOperationRequest { name };
    let shown = client.get_operation(get(name(failed.id))).await.unwrap().into_inner();
    let Some(google::operation::Result::Error(error)) = shown.result else { panic!("{shown:?}") };
    assert_eq!((shown.done, error.code, &*error.message), (true, Code::Unknown as i32, "broken"));
    let shown = client.get_operation(get(name(done.id))).await.unwrap().into_inner();
    let Some(google::operation::Result::Response(response)) = shown.result else { panic!("{shown:?}") };
    assert_eq!(response.type_url, "type.googleapis.com/longrun.v1.OperationOutput");
    let output: wire::OperationOutput = prost::Message::decode(&*response.value).unwrap();
    assert_eq!(output.output, "out");
    let metadata: wire::OperationMetadata = prost::Message::decode(&*shown.metadata.unwrap().value).unwrap();
    assert_eq!((&*metadata.kind, metadata.end_time.is_some()), ("b", true));
    // Page by page, newest first.
    let names = all_pages(async |page_token| {
        let name = "operations".to_owned();
        let request = google::ListOperationsRequest { name, page_size: 2, page_token, ..Default::default() };
        let page = client.list_operations(request).await.unwrap().into_inner();
        (page.operations.into_iter().map(|operation| operation.name).collect(), page.next_page_token)
    })
    .await;
    assert_eq!(names, [name(pending.id), name(done.id), name(failed.id)]);
    for bad in [
        google::ListOperationsRequest { filter: "done".to_owned(), ..Default::default() },
        google::ListOperationsRequest { page_token: "v1.1.0".to_owned(), ..Default::default() },
        google::ListOperationsRequest { page_token: "x".to_owned(), ..Default::default() },
        google::ListOperationsRequest { page_size: -1, ..Default::default() },
        google::ListOperationsRequest { name: "projects/p".to_owned(), ..Default::default() },
    ] {
        assert_eq!(client.list_operations(bad.clone()).await.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
    client.cancel_operation(google::CancelOperationRequest { name: name(pending.id) }).await.unwrap();
    client.cancel_operation(google::CancelOperationRequest { name: name(done.id) }).await.unwrap();
    let request = google::WaitOperationRequest { name: name(pending.id), timeout: None };
    let shown = client.wait_operation(request).await.unwrap().into_inner();
    let Some(google::operation::Result::Error(error)) = shown.result else { panic!("{shown:?}") };
    assert_eq!(error.code, Code::Cancelled as i32);
    client.delete_operation(google::DeleteOperationRequest { name: name(done.id) }).await.unwrap();
    for unknown in [name(done.id), done.id.to_string(), "operations/".to_owned(), "operations/x".to_owned()] {
        assert_eq!(client.get_operation(get(unknown.clone())).await.unwrap_err().code(), Code::NotFound, "{unknown}");
    }
}

#[tokio::test]
async fn progress_is_in_the_metadata_of_what_runs() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let claimed = crate::work::claim(&caller, 1).await.remove(0);
    let row = json!({"id": operation.id.to_string(), "lease_token": claimed["lease_token"], "progress": "half"});
    let beat = json!({"operations": [row]}).to_string();
    assert_eq!(caller.post("/v1/operations:heartbeat", beat).await.status, StatusCode::OK);
    let mut client = OperationsClient::new(connect(&caller).await);
    let request = google::GetOperationRequest { name: format!("operations/{}", operation.id) };
    let shown = client.get_operation(request).await.unwrap().into_inner();
    let metadata: wire::OperationMetadata = prost::Message::decode(&*shown.metadata.unwrap().value).unwrap();
    assert_eq!((shown.done, &*metadata.progress), (false, "half"));
}

/// Asks one version of reflection for the names of all services, and for the file of one of ours.
macro_rules! reflected {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new($channel);
        let asked = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("longrun.v1.AsyncOperationsService".to_owned()),
        ];
        let asked = asked.map(|one| ServerReflectionRequest { host: String::new(), message_request: Some(one) });
        let mut answers = client.server_reflection_info(futures_util::stream::iter(asked)).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
        let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
        (names, files.file_descriptor_proto)
    }};
}

#[tokio::test]
async fn health_and_both_versions_of_reflection_need_no_token() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let mut health = HealthClient::new(connect(&nobody).await);
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let (names, files) = reflected!(v1, connect(&nobody).await);
    let (names_of_alpha, files_of_alpha) = reflected!(v1alpha, connect(&nobody).await);
    for service in [
        "longrun.v1.AsyncOperationsService",
        "longrun.v1.WorkerService",
        "longrun.v1.AgentsService",
        "longrun.v1.EvidenceService",
        "longrun.v1.TokensService",
        "longrun.v1.OrganizationsService",
        "longrun.v1.KindsService",
        "longrun.v1.SessionsService",
        "longrun.v1.AuditService",
        "google.longrunning.Operations",
        "grpc.health.v1.Health",
    ] {
        for names in [&names, &names_of_alpha] {
            assert!(names.iter().any(|name| name == service), "{service} is not among {names:?}");
        }
    }
    assert_eq!(files, files_of_alpha);
    for service in names.iter().filter(|name| name.starts_with("longrun.") || name.starts_with("google.longrunning.")) {
        let answer = health.check(HealthCheckRequest { service: service.clone() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "longrun.v1.Nope".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let file: prost_types::FileDescriptorProto = prost::Message::decode(&*files[0]).unwrap();
    assert_eq!(file.name(), "longrun/v1/operations.proto");
}

#[tokio::test]
async fn health_is_what_readiness_is_and_ends_with_the_server() {
    let (server, switch) = faulty().await;
    let mut health = HealthClient::new(connect(&server.nobody()).await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let unknown = HealthCheckRequest { service: "longrun.v1.Nope".to_owned() };
    let mut unknown = health.watch(unknown).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    switch(Fault::Unavailable);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let one = HealthCheckRequest { service: "longrun.v1.WorkerService".to_owned() };
    assert_eq!(health.check(one).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    switch(Fault::None);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.shutdown.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none(), "so that the connection can end");
    assert!(unknown.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_above_the_limit_and_an_unknown_method_are_refused() {
    let server = Server::with_settings(|settings| settings.body_limit = 1_000).await;
    let caller = server.acme().await;
    let mut client = operations(&caller).await;
    let input = format!("\"{}\"", "x".repeat(2_000));
    let request = wire::CreateOperationRequest { kind: "scan".to_owned(), input, ..Default::default() };
    let refused = client.create_operation(request).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "BODY_TOO_LARGE");
    // Bytes that are no message at all are refused as over HTTP, and nothing falls over.
    let get = "/longrun.v1.AsyncOperationsService/GetOperation";
    let unknown = "/longrun.v1.AsyncOperationsService/NoSuchMethod";
    let malformed = (Code::InvalidArgument, "MALFORMED_REQUEST");
    for (path, encoding, body, wanted) in [
        (get, "identity", b"\0\0\0\0\x05\xff\xff\xff\xff\xff".as_slice(), malformed),
        (get, "identity", b"\0\xff\xff\xff\xff", malformed),
        (get, "identity", b"", malformed),
        // The id is not UTF-8, is cut off, and is a number.
        (get, "identity", b"\0\0\0\0\x03\x0a\x01\xff", malformed),
        (get, "identity", b"\0\0\0\0\x02\x0a\x05", malformed),
        (get, "identity", b"\0\0\0\0\x02\x08\x05", malformed),
        (get, "identity", b"\x01\0\0\0\0", malformed),
        (get, "gzip", b"\x01\0\0\0\0", (Code::Unimplemented, "UNSUPPORTED_MEDIA_TYPE")),
        (unknown, "identity", b"\0\0\0\0\0", (Code::Unimplemented, "METHOD_NOT_ALLOWED")),
    ] {
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", encoding)];
        let answer = caller.send(Method::POST, path, &headers, body.to_vec()).await;
        let status = Status::from_header_map(&answer.headers).unwrap_or_else(|| panic!("{path} {body:?}: {answer:?}"));
        let reason = status.get_error_details().error_info().unwrap().reason.clone();
        assert_eq!((answer.status, status.code(), &*reason), (StatusCode::OK, wanted.0, wanted.1), "{body:?}");
        assert!(!status.message().is_empty(), "{path} {body:?}");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_refused_where_there_is_none_as_over_http() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let keyed =
        wire::CreateOperationRequest { kind: "scan".to_owned(), idempotency_key: "k".to_owned(), ..Default::default() };
    let fields = |status: Status| -> Vec<String> {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        status.get_details_bad_request().unwrap().field_violations.into_iter().map(|one| one.field).collect()
    };
    let plain = wire::CreateOperationRequest { idempotency_key: String::new(), ..keyed.clone() };
    let batch = wire::BatchCreateOperationsRequest { operations: vec![plain, keyed.clone()], ..Default::default() };
    let refused = operations(&caller).await.batch_create_operations(batch).await.unwrap_err();
    let http = json!({"operations": [{"kind": "scan"}, {"kind": "scan", "idempotency_key": "k"}]});
    let http = caller.post("/v1/operations:batchCreate", http.to_string()).await;
    assert_eq!(fields(refused), ["operations[1].idempotency_key"]);
    assert_eq!(http.violated(), ["operations[1].idempotency_key"]);
    let mut schedules = SchedulesServiceClient::new(connect(&caller).await);
    let every = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let request = wire::CreateScheduleRequest {
        name: "hourly".to_owned(),
        every,
        operation: Some(keyed.clone()),
        ..Default::default()
    };
    let refused = schedules.create_schedule(request.clone()).await.unwrap_err();
    let http =
        json!({"name": "hourly", "every": "3600s", "operation": {"kind": "scan", "idempotency_key": "k"}}).to_string();
    assert_eq!(fields(refused), ["operation.idempotency_key"]);
    assert_eq!(caller.post("/v1/schedules", http).await.violated(), ["operation.idempotency_key"]);
    let request = wire::CreateOperationRequest { idempotency_key: "\n".to_owned(), ..keyed };
    let refused = operations(&caller).await.create_operation(request).await.unwrap_err();
    assert_eq!(fields(refused), ["idempotency_key"], "the name that the field has here");
    assert_eq!(caller.get("/v1/operations").await.ids(), [""; 0]);
}

#[tokio::test]
async fn what_fails_over_grpc_is_counted_by_its_method_and_its_code() {
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    let mut client = operations(&caller).await;
    client.list_operations(wire::ListOperationsRequest::default()).await.unwrap();
    let get = wire::GetOperationRequest { operation_id: "nope".to_owned(), ..Default::default() };
    client.get_operation(get).await.unwrap_err();
    let mut watch = Request::new(wire::WatchOperationsRequest::default());
    watch.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    // The deadline ends it, on a slow machine before it has begun.
    if let Ok(watch) = client.watch_operations(watch).await {
        let mut watch = watch.into_inner();
        while let Ok(Some(_)) = watch.message().await {}
    }
    let headers = [("content-type", "application/grpc")];
    for method in ["NoSuchMethod", "NorThisOne"] {
        let path = format!("/longrun.v1.AsyncOperationsService/{method}");
        caller.send(Method::POST, &path, &headers, b"\0\0\0\0\0".to_vec()).await;
    }
    switch(Fault::Unavailable);
    client.list_operations(wire::ListOperationsRequest::default()).await.unwrap_err();
    // A request is counted when its answer has been passed on, which its client may see a moment earlier.
    let counted = |line: &str| server.services.metrics.render().lines().any(|one| one == line);
    for (method, status, count) in [
        ("ListOperations", "2xx", 1),
        ("GetOperation", "4xx", 1),
        ("WatchOperations", "5xx", 1),
        ("{*rest}", "4xx", 2),
        ("ListOperations", "5xx", 1),
    ] {
        let route = format!("/longrun.v1.AsyncOperationsService/{method}");
        let line = format!(r#"longrun_http_requests_total{{route="{route}",method="POST",status="{status}"}} {count}"#);
        let counted = async {
            while !counted(&line) {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(30), counted).await;
        assert!(counted.is_ok(), "{line} is missing from\n{}", server.services.metrics.render());
    }
}

/// A message of gRPC: not compressed, with its length.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn a_message_with_elements_without_number_is_refused_before_it_is_read() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let service = "/longrun.v1.AsyncOperationsService/BatchCreateOperations";
    let headers = [("content-type", "application/grpc")];
    // Eight MiB on the wire would be gigabytes in memory.
    let many = framed(&b"\x0a\x00".repeat(4_190_000));
    let answer = caller.send(Method::POST, service, &headers, many).await;
    assert_eq!(answer.header("grpc-status"), "3", "{answer:?}");
    assert!(answer.header("grpc-message").contains("1%20to%201000%20elements"), "{answer:?}");
    let mut client = operations(&caller).await;
    let labels = (0..65).map(|number| (format!("k{number}"), String::new())).collect();
    let creation = wire::CreateOperationRequest { kind: "scan".to_owned(), labels, ..Default::default() };
    let refused = client.create_operation(creation.clone()).await.unwrap_err();
    let told = refused.get_details_bad_request().unwrap().field_violations.remove(0);
    let http: serde_json::Map<String, Value> =
        creation.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let http = caller.post("/v1/operations", json!({"kind": "scan", "labels": http}).to_string()).await;
    assert_eq!(http.violations(), [(told.field, told.description)], "as over HTTP");
    // It claims a greater length than it has.
    let short = [0_u8, 0xff, 0xff, 0xff, 0xff, 0x0a, 0].to_vec();
    let answer = caller.send(Method::POST, service, &headers, short).await;
    assert_eq!(answer.header("grpc-status"), "3", "{answer:?}");
}

#[tokio::test]
async fn who_lacks_the_scope_is_refused_before_the_message_is_there() {
    use tokio::io::AsyncReadExt;
    let server = Server::start().await;
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    for method in [
        "/longrun.v1.AsyncOperationsService/BatchCreateOperations",
        "/longrun.v1.WorkerService/SettleOperations",
        "/longrun.v1.AgentsService/EvaluateEvidence",
        "/google.longrunning.Operations/CancelOperation",
    ] {
        // One byte of the message is there, and no more comes.
        let mut stream = reader.begin(method, 1_000_000, b"\0").await;
        let mut answer = Vec::new();
        let answered = async {
            while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{method}");
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.expect("it is not waited for");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("grpc-status: 7\r\n"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn a_page_holds_as_many_long_outputs_as_clients_take() {
    const COUNT: usize = 6;
    let server = Server::start().await;
    let caller = server.acme().await;
    let output = "x".repeat(operations::MAX_INLINE_BYTES);
    for _ in 0..COUNT {
        server.completed("scan", &output).await;
    }
    let mut client = operations(&caller).await;
    let page = client.list_operations(wire::ListOperationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.operations.len(), COUNT);
    let left_out: Vec<bool> = page.operations.iter().map(|operation| operation.output_left_out).collect();
    assert_eq!(left_out, [false, false, false, true, true, true]);
    for operation in page.operations {
        assert_eq!(operation.output.is_empty(), operation.output_left_out);
        let request = wire::GetOperationRequest { operation_id: operation.id, ..Default::default() };
        let whole = client.get_operation(request).await.unwrap().into_inner().operation.unwrap();
        assert!(whole.output == output && !whole.output_left_out);
    }
    let page = client.search_operations(wire::SearchOperationsRequest::default()).await.unwrap().into_inner();
    let left_out: Vec<bool> =
        page.operations.iter().map(|found| found.operation.as_ref().unwrap().output_left_out).collect();
    assert_eq!(left_out, [false, false, false, true, true, true]);
    // A short output is there whatever is left out.
    let short = server.completed("scan", "short").await;
    let page = client.list_operations(wire::ListOperationsRequest::default()).await.unwrap().into_inner();
    assert_eq!((&*page.operations[0].id, &*page.operations[0].output), (&*short.id.to_string(), "short"));
}

#[tokio::test]
async fn long_inputs_of_a_search_are_left_out_with_a_sign() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let input = format!("\"{}\"", "x".repeat(operations::MAX_INLINE_BYTES - 2));
    for _ in 0..5 {
        server.create(NewOperation { input: input.clone(), ..NewOperation::of_kind("scan") }).await;
    }
    let mut client = operations(&caller).await;
    let page = client.search_operations(wire::SearchOperationsRequest::default()).await.unwrap().into_inner();
    let details: Vec<wire::OperationDetail> = page.operations.into_iter().map(|found| found.detail.unwrap()).collect();
    let left_out: Vec<bool> = details.iter().map(|detail| detail.input_left_out).collect();
    assert_eq!(left_out, [false, false, false, true, true]);
    assert!(details.iter().all(|detail| (detail.input == input) != detail.input_left_out));
}

#[tokio::test]
async fn googles_lists_have_whole_outputs_and_go_on_where_a_page_was_full() {
    const COUNT: usize = 7;
    let server = Server::start().await;
    let caller = server.acme().await;
    let output = "x".repeat(operations::MAX_INLINE_BYTES);
    let mut wanted = Vec::new();
    for _ in 0..COUNT {
        wanted.push(format!("operations/{}", server.completed("scan", &output).await.id));
    }
    wanted.reverse();
    let mut client = OperationsClient::new(connect(&caller).await);
    let mut tokens = Vec::new();
    let names = all_pages(async |page_token| {
        let request = google::ListOperationsRequest { page_size: 5, page_token, ..Default::default() };
        let page = client.list_operations(request).await.unwrap().into_inner();
        let names = page.operations.into_iter().map(|operation| {
            let Some(google::operation::Result::Response(response)) = operation.result else { panic!("no output") };
            let whole: wire::OperationOutput = prost::Message::decode(&*response.value).unwrap();
            assert_eq!(whole.output.len(), output.len(), "{}", operation.name);
            operation.name
        });
        tokens.extend(Some(page.next_page_token.clone()).filter(|token| !token.is_empty()));
        (names.collect(), page.next_page_token)
    })
    .await;
    assert_eq!(names, wanted);
    assert_eq!(tokens, ["v1.0.5.3", "v1.1.5"]);
}

#[tokio::test]
async fn a_stream_of_evidence_that_nobody_reads_loses_its_place() {
    /// More than the buffers of a connection take.
    const LARGE: usize = 32 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(|services| {
        services.content = store::ContentStore::local(folder.path(), 2 * LARGE as u64).unwrap();
        services.settings.max_large_bodies = 1;
        services.settings.body_idle_timeout = Duration::from_millis(500);
    })
    .await;
    let caller = server.acme().await;
    let large = bytes::Bytes::from(vec![b'x'; LARGE]);
    let (digest, small) = (store::Digest::of(&large).to_string(), store::Digest::of(b"small").to_string());
    for content in [large, bytes::Bytes::from_static(b"small")] {
        assert_eq!(caller.send(Method::POST, "/v1/evidence", &[], content).await.status, StatusCode::OK);
    }
    let mut client = EvidenceServiceClient::new(connect(&caller).await);
    let get = |digest: &str| wire::GetEvidenceRequest { digest: digest.to_owned() };
    let mut unread = client.get_evidence(get(&digest)).await.unwrap().into_inner();
    let taken = client.get_evidence(get(&digest)).await.unwrap_err();
    assert_eq!(taken.code(), Code::ResourceExhausted, "the stream has the place");
    let mut read = client.get_evidence(get(&small)).await.expect("what is small takes no place").into_inner();
    assert_eq!(&*read.message().await.unwrap().unwrap().content, b"small");
    assert!(read.message().await.unwrap().is_none());
    let free = async {
        while client.get_evidence(get(&digest)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), free).await.expect("the unread stream keeps the place");
    let broken = loop {
        match unread.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("half of it is not all of it"),
            Err(status) => break status,
        }
    };
    assert_eq!(broken.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn no_other_method_than_post_is_answered_so_that_no_cookie_alone_suffices() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let browser = Browser::sign_in(&server, &acme).await;
    let creation = wire::CreateOperationRequest { kind: "scan".to_owned(), ..Default::default() };
    // No message at all is evidence without content.
    for (path, body) in [
        ("/longrun.v1.AsyncOperationsService/CreateOperation", framed(&prost::Message::encode_to_vec(&creation))),
        ("/longrun.v1.EvidenceService/PutEvidence", Vec::new()),
    ] {
        let headers = [("cookie", &*browser.cookie), ("sec-fetch-site", "cross-site")];
        for method in [Method::GET, Method::OPTIONS, Method::PUT] {
            let answer = browser.caller.send(method, path, &headers, body.clone()).await;
            assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"), "{path}");
            assert_eq!(answer.reason(), "METHOD_NOT_ALLOWED");
        }
        let answer = browser.caller.send(Method::POST, path, &headers, body).await;
        let status = Status::from_header_map(&answer.headers).unwrap();
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "CSRF_TOKEN_INVALID", "{path}");
    }
    assert_eq!(acme.get("/v1/operations").await.ids(), [""; 0]);
    assert_eq!(acme.get("/v1/evidence").await.json()["total_count"], 0);
}

#[tokio::test]
async fn streams_without_a_token_do_not_keep_their_connection_and_take_short_messages() {
    let server = Server::with_settings(|settings| {
        settings.unauthenticated_timeout = Duration::from_secs(3);
        settings.header_read_timeout = Duration::from_secs(3);
    })
    .await;
    let known = connect(&server.acme().await).await;
    AsyncOperationsServiceClient::new(known.clone())
        .list_operations(wire::ListOperationsRequest::default())
        .await
        .unwrap();
    let mut kept = HealthClient::new(known).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(kept.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut stranger = HealthClient::new(connect(&server.nobody()).await);
    let mut watch = stranger.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let long = HealthCheckRequest { service: "x".repeat(5_000) };
    assert_eq!(stranger.check(long).await.unwrap_err().code(), Code::OutOfRange);
    let ended = async { while let Ok(Some(_)) = watch.message().await {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the connection of the stranger is closed");
    let more = tokio::time::timeout(Duration::from_millis(100), kept.message()).await;
    assert!(more.is_err(), "who was authenticated is left alone: {more:?}");
}

#[tokio::test]
async fn evidence_that_arrives_too_slowly_is_refused_as_over_http() {
    use futures_util::{StreamExt, stream};
    let server = Server::with_settings(|settings| settings.body_idle_timeout = Duration::from_millis(500)).await;
    let mut client = EvidenceServiceClient::new(connect(&server.acme().await).await);
    let part = wire::PutEvidenceRequest { content: "half".into(), ..Default::default() };
    let refused = client.put_evidence(stream::iter([part]).chain(stream::pending())).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::DeadlineExceeded, "waiting for the request's body took too long")
    );
}

#[tokio::test]
async fn a_claim_has_as_much_input_as_clients_take_and_releases_the_rest() {
    const COUNT: usize = 5;
    let server = Server::start().await;
    let input = format!("\"{}\"", "x".repeat(operations::MAX_INLINE_BYTES - 2));
    for _ in 0..COUNT {
        server.create(NewOperation { input: input.clone(), ..NewOperation::of_kind("scan") }).await;
    }
    let mut client = worker(&server.acme().await).await;
    let request = wire::ClaimOperationsRequest {
        kinds: vec!["scan".to_owned()],
        max_operations: 10,
        wait: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..Default::default()
    };
    let (mut claims, mut attempts) = (0, Vec::new());
    while attempts.len() < COUNT {
        let claimed = client.claim_operations(request.clone()).await.expect("the client takes it").into_inner();
        assert!(claimed.operations.iter().all(|one| one.input == input));
        attempts.extend(claimed.operations.iter().map(|one| one.attempt));
        claims += 1;
    }
    assert!(claims > 1);
    assert_eq!(attempts, [1; COUNT], "nothing is charged for what did not fit");
}

#[tokio::test]
async fn a_batch_that_is_repeated_has_as_many_long_outputs_as_clients_take() {
    let server = Server::start().await;
    let mut client = operations(&server.acme().await).await;
    let creation = wire::CreateOperationRequest { kind: "scan".to_owned(), ..Default::default() };
    let batch = wire::BatchCreateOperationsRequest { operations: vec![creation; 5], idempotency_key: "k".to_owned() };
    let made = client.batch_create_operations(batch.clone()).await.unwrap().into_inner().operations;
    for _ in &made {
        let claimed = server.claim("scan").await;
        let output = "x".repeat(operations::MAX_INLINE_BYTES);
        server.settle(claimed, Outcome::Completed { output }).await;
    }
    let again = client.batch_create_operations(batch).await.expect("the client takes it").into_inner().operations;
    let ids = |operations: &[wire::AsyncOperation]| -> Vec<String> {
        operations.iter().map(|operation| operation.id.clone()).collect()
    };
    assert_eq!(ids(&again), ids(&made));
    let left_out: Vec<bool> = again.iter().map(|operation| operation.output_left_out).collect();
    assert_eq!(left_out, [false, false, false, true, true]);
    assert!(again.iter().all(|operation| operation.output.is_empty() == operation.output_left_out));
}

#[tokio::test]
async fn a_stream_of_reflection_ends_with_the_server() {
    use futures_util::{StreamExt, stream};
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let server = Server::start().await;
    let channel = connect(&server.acme().await).await;
    let list = wire::ListOperationsRequest::default();
    AsyncOperationsServiceClient::new(channel.clone()).list_operations(list).await.unwrap();
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let asked = ServerReflectionRequest { host: String::new(), message_request };
    let asked = stream::iter([asked]).chain(stream::pending());
    let mut answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    server.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(15), answers.message()).await;
    assert!(ended.expect("the server does not wait for it").unwrap().is_none());
}

#[tokio::test]
async fn a_deadline_ends_a_stream_of_evidence() {
    /// More than the buffers of a connection take.
    const LARGE: usize = 32 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let content = store::ContentStore::local(folder.path(), LARGE as u64).unwrap();
    let server = Server::with(|services| services.content = content).await;
    let caller = server.acme().await;
    let stored = caller.send(Method::POST, "/v1/evidence", &[], vec![b'x'; LARGE]).await.json();
    let digest = stored["digest"].as_str().unwrap().to_owned();
    let mut client = EvidenceServiceClient::new(connect(&caller).await);
    // The client's own clock gives up as well, so the server is asked by hand.
    let mut request = Request::new(wire::GetEvidenceRequest { digest });
    request.metadata_mut().insert("grpc-timeout", "3S".parse().unwrap());
    let mut parts = client.get_evidence(request).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let ended = loop {
        match parts.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("half of it is not all of it"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), ended.message()), (Code::DeadlineExceeded, "reading the evidence took too long"));
}
