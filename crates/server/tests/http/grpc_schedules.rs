//! Schedules over both faces: the same calls get the same answers.

use operations::Access;
use proto::longrun::v1 as wire;
use proto::longrun::v1::schedules_service_client::SchedulesServiceClient;
use serde_json::{Value, json};
use store::Scope;

use crate::grpc::{all_pages, assert_same, connect, time};
use crate::harness::Server;

/// A duration as HTTP shows it; empty where it is not set.
fn seconds(duration: Option<prost_types::Duration>) -> String {
    duration.map(|given| format!("{}s", given.seconds)).unwrap_or_default()
}

/// A schedule as HTTP shows it.
fn shown(schedule: wire::Schedule) -> Value {
    let operation = schedule.operation.unwrap();
    let mut template = json!({
        "kind": operation.kind, "resource_type": operation.resource_type, "resource_id": operation.resource_id,
        "project_id": operation.project_id, "project_version_id": operation.project_version_id, "labels": operation.labels,
        "priority": operation.priority, "max_attempts": operation.max_attempts,
        "concurrency_key": operation.concurrency_key,
    });
    if operation.concurrency_limit != 0 {
        template["concurrency_limit"] = operation.concurrency_limit.into();
    }
    if !operation.input.is_empty() {
        template["input"] = serde_json::from_str(&operation.input).unwrap();
    }
    if operation.timeout.is_some() {
        template["timeout"] = seconds(operation.timeout).into();
    }
    let times: Vec<String> = schedule.next_times.into_iter().map(|at| time(Some(at)).unwrap()).collect();
    json!({
        "name": schedule.name, "cron": schedule.cron, "every": seconds(schedule.every),
        "time_zone": schedule.time_zone, "operation": template, "overlap": schedule.overlap,
        "catch_up": schedule.catch_up, "jitter": seconds(schedule.jitter), "paused": schedule.paused,
        "created_at": time(schedule.created_at), "updated_at": time(schedule.updated_at), "next_times": times,
        "last_operation": schedule.last_operation, "last_error": schedule.last_error,
    })
}

fn answered(schedule: Option<wire::Schedule>) -> Value {
    json!({"schedule": shown(schedule.unwrap())})
}

#[tokio::test]
async fn both_faces_answer_the_same_calls_about_schedules_alike() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let nightly = json!({"name": "nightly", "cron": "0 3 * * *", "time_zone": "Asia/Tokyo",
        "operation": {"kind": "scan", "project_id": "p", "input": {"n": 1}, "timeout": "7s", "labels": {"team": "a"},
            "concurrency_key": "shop", "concurrency_limit": 2}});
    acme.post("/v1/schedules", nightly.to_string()).await;
    let hourly = json!({"name": "hourly", "every": "3600s", "jitter": "60s", "operation": {"kind": "scan"}});
    acme.post("/v1/schedules", hourly.to_string()).await;
    let callers = [
        ("everything", acme),
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("only to read", server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await),
    ];
    for (who, caller) in &callers {
        let mut client = SchedulesServiceClient::new(connect(caller).await);
        for (query, page_size, page_token) in
            [("", 0, ""), ("?page_size=1", 1, ""), ("?page_token=hourly", 0, "hourly"), ("?page_token=%20", 0, " ")]
        {
            let request = wire::ListSchedulesRequest { page_size, page_token: page_token.to_owned() };
            let grpc = client.list_schedules(request).await.map(|answer| {
                let answer = answer.into_inner();
                let schedules: Vec<Value> = answer.schedules.into_iter().map(shown).collect();
                json!({"schedules": schedules, "next_page_token": answer.next_page_token})
            });
            assert_same(&format!("{who}: list {query}"), &caller.get(&format!("/v1/schedules{query}")).await, grpc);
        }
        for name in ["nightly", "hourly", "none", "no spaces"] {
            let path = format!("/v1/schedules/{}", name.replace(' ', "%20"));
            let of = |name: &str| name.to_owned();
            let grpc = client.get_schedule(wire::GetScheduleRequest { name: of(name) }).await;
            let grpc = grpc.map(|answer| answered(answer.into_inner().schedule));
            assert_same(&format!("{who}: get {name}"), &caller.get(&path).await, grpc);
            // A schedule that is not paused is unchanged when it is resumed.
            let http = caller.post(&format!("{path}:resume"), "").await;
            let grpc = client.resume_schedule(wire::ResumeScheduleRequest { name: of(name) }).await;
            let grpc = grpc.map(|answer| answered(answer.into_inner().schedule));
            assert_same(&format!("{who}: resume {name}"), &http, grpc);
            let (content, change) = ([("content-type", "application/json")], json!({"cron": "0 25 * * *"}));
            let http = caller.send(http::Method::PATCH, &path, &content, change.to_string()).await;
            let request = wire::UpdateScheduleRequest { name: of(name), cron: of("0 25 * * *"), ..Default::default() };
            let grpc = client.update_schedule(request).await;
            let grpc = grpc.map(|answer| answered(answer.into_inner().schedule));
            assert_same(&format!("{who}: update {name}"), &http, grpc);
        }
        let refused = json!({"name": "a b", "every": "0s", "overlap": "never", "catch_up": "some",
            "operation": {"kind": "dance", "priority": 101}});
        let request = wire::CreateScheduleRequest {
            name: "a b".to_owned(),
            every: Some(prost_types::Duration::default()),
            overlap: "never".to_owned(),
            catch_up: "some".to_owned(),
            operation: Some(wire::CreateOperationRequest {
                kind: "dance".to_owned(),
                priority: 101,
                ..Default::default()
            }),
            ..Default::default()
        };
        let http = caller.post("/v1/schedules", refused.to_string()).await;
        let grpc = client.create_schedule(request).await.map(|answer| answered(answer.into_inner().schedule));
        assert_same(&format!("{who}: create"), &http, grpc);
    }
}

#[tokio::test]
async fn a_schedule_lives_its_life_over_grpc() {
    let server = Server::start().await;
    let mut client = SchedulesServiceClient::new(connect(&server.acme().await).await);
    let operation = wire::CreateOperationRequest {
        kind: "scan".to_owned(),
        input: "{\"n\": 1.0}".to_owned(),
        ..Default::default()
    };
    let request = wire::CreateScheduleRequest {
        name: "hourly".to_owned(),
        every: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        operation: Some(operation),
        paused: true,
        ..Default::default()
    };
    let made = client.create_schedule(request).await.unwrap().into_inner().schedule.unwrap();
    assert!(made.paused && made.next_times.is_empty());
    assert_eq!(made.operation.unwrap().input, "{\"n\": 1.0}", "digit for digit");
    let name = || "hourly".to_owned();
    let change = wire::UpdateScheduleRequest { name: name(), paused: Some(false), ..Default::default() };
    let changed = client.update_schedule(change).await.unwrap().into_inner().schedule.unwrap();
    assert_eq!((changed.paused, changed.next_times.len()), (false, 5));
    let triggered = client.trigger_schedule(wire::TriggerScheduleRequest { name: name() }).await.unwrap();
    let operation = triggered.into_inner().operation.unwrap();
    let paused = client.pause_schedule(wire::PauseScheduleRequest { name: name() }).await.unwrap();
    assert_eq!(paused.into_inner().schedule.unwrap().last_operation, operation.id);
    client.delete_schedule(wire::DeleteScheduleRequest { name: name() }).await.unwrap();
    let gone = client.get_schedule(wire::GetScheduleRequest { name: name() }).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_page_of_schedules_is_no_longer_than_clients_take() {
    const COUNT: usize = 5;
    let server = Server::start().await;
    let mut client = SchedulesServiceClient::new(connect(&server.acme().await).await);
    let input = format!("\"{}\"", "x".repeat(operations::MAX_INLINE_BYTES - 2));
    for number in 0..COUNT {
        let operation =
            wire::CreateOperationRequest { kind: "scan".to_owned(), input: input.clone(), ..Default::default() };
        let request = wire::CreateScheduleRequest {
            name: format!("s{number}"),
            every: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
            operation: Some(operation),
            paused: true,
            ..Default::default()
        };
        client.create_schedule(request).await.unwrap();
    }
    let names = all_pages(async |page_token| {
        let request = wire::ListSchedulesRequest { page_token, ..Default::default() };
        let page = client.list_schedules(request).await.expect("the client takes it").into_inner();
        (page.schedules.into_iter().map(|schedule| schedule.name).collect(), page.next_page_token)
    })
    .await;
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
}
