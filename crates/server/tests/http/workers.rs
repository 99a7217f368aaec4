//! `GET /v1/workers`: who runs what now, over both faces.

use std::time::Duration;

use http::StatusCode;
use operations::{Access, NewOperation};
use proto::longrun::v1 as wire;
use proto::longrun::v1::workers_service_client::WorkersServiceClient;
use serde_json::{Value, json};
use store::{ClaimRequest, Scope};

use crate::grpc::{assert_same, connect, time};
use crate::harness::Server;

/// A server on which `one` runs two operations, of which one is of the project `p`, and `two` runs one.
pub async fn at_work() -> Server {
    let server = Server::start().await;
    server.create(NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") }).await;
    server.create(NewOperation::of_kind("scan")).await;
    server.create(NewOperation::of_kind("build")).await;
    for (kind, worker, limit) in [("scan", "one", 2), ("build", "two", 1)] {
        let request = ClaimRequest {
            kinds: vec![kind.to_owned()],
            access: Some(Access::organization("acme")),
            among: None,
            limit,
            worker: worker.to_owned(),
            lease: Duration::from_secs(30),
        };
        assert_eq!(server.store.claim(request).await.unwrap().len(), limit as usize);
    }
    server
}

#[tokio::test]
async fn it_is_told_who_runs_how_much_of_what() {
    let server = at_work().await;
    let told = server.acme().await.get("/v1/workers").await;
    assert_eq!(told.status, StatusCode::OK, "{told:?}");
    let told = told.json();
    assert_eq!(told["is_complete"], true);
    let workers = told["workers"].as_array().unwrap();
    let counts: Vec<(&Value, &Value, &Value)> =
        workers.iter().map(|worker| (&worker["name"], &worker["running"], &worker["kinds"])).collect();
    assert_eq!(counts, [(&json!("one"), &json!(2), &json!(["scan"])), (&json!("two"), &json!(1), &json!(["build"]))]);
    let attempt = &workers[0]["attempts"][0];
    assert_eq!(
        (&attempt["kind"], &attempt["project_id"], &attempt["attempt"]),
        (&json!("scan"), &json!("p"), &json!(1))
    );
    assert!(attempt["lease_expires_at"].as_str() > attempt["started_at"].as_str(), "{attempt}");
    assert_eq!(workers[0]["last_heartbeat_at"], attempt["started_at"], "they claimed, and were not heard of since");
    assert!(workers[1]["attempts"][0].get("project_id").is_none());
}

/// A list as HTTP shows it.
fn shown(list: wire::ListWorkersResponse) -> Value {
    let attempt = |attempt: wire::RunningAttempt| {
        let mut shown = json!({
            "operation_id": attempt.operation_id, "kind": attempt.kind, "attempt": attempt.attempt,
            "started_at": time(attempt.started_at), "lease_expires_at": time(attempt.lease_expires_at),
        });
        if !attempt.project_id.is_empty() {
            shown["project_id"] = attempt.project_id.into();
        }
        shown
    };
    let workers = list.workers.into_iter().map(|worker| {
        json!({
            "name": worker.name, "running": worker.running, "kinds": worker.kinds,
            "oldest_started_at": time(worker.oldest_started_at), "last_heartbeat_at": time(worker.last_heartbeat_at),
            "attempts": worker.attempts.into_iter().map(attempt).collect::<Vec<_>>(),
        })
    });
    json!({"workers": workers.collect::<Vec<_>>(), "is_complete": list.is_complete})
}

#[tokio::test]
async fn each_caller_is_told_of_its_own_and_the_same_over_both_faces() {
    let server = at_work().await;
    let acme = || Access::organization("acme");
    let callers = [
        ("everything", server.acme().await, 2),
        ("nobody", server.nobody(), 0),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await, 0),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsRead]).await, 1),
        ("no scope to read", server.caller(acme(), &[Scope::OperationsWork]).await, 0),
    ];
    for (who, caller, workers) in &callers {
        let http = caller.get("/v1/workers").await;
        let grpc = WorkersServiceClient::new(connect(caller).await).list_workers(wire::ListWorkersRequest {}).await;
        assert_same(who, &http, grpc.map(|answer| shown(answer.into_inner())));
        let told = http.json()["workers"].as_array().map_or(0, Vec::len);
        assert_eq!(told, *workers, "{who}");
    }
}
