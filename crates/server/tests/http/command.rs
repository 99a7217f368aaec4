//! `POST /v1/operations/{id}:cancel` and `:retry`, `DELETE /v1/operations/{id}`.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::{Access, NewOperation, OperationId, Outcome};
use serde_json::json;
use store::{ClaimRequest, Scope};

use crate::harness::{Answer, Caller, Server};

fn failed() -> Outcome {
    Outcome::Failed { message: "no luck".to_owned(), retryable: false }
}

async fn verb(caller: &Caller, id: &impl ToString, verb: &str) -> Answer {
    caller.send(Method::POST, &format!("/v1/operations/{}:{verb}", id.to_string()), &[], "").await
}

async fn delete(caller: &Caller, id: &impl ToString) -> Answer {
    caller.send(Method::DELETE, &format!("/v1/operations/{}", id.to_string()), &[], "").await
}

async fn status(caller: &Caller, id: &impl ToString) -> String {
    let answer = caller.get(&format!("/v1/operations/{}", id.to_string())).await;
    answer.json()["operation"]["status"].as_str().unwrap().to_owned()
}

async fn claim(server: &Server) {
    let request = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 100,
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
    };
    assert!(!server.store.claim(request).await.unwrap().is_empty());
}

async fn assert_sound(server: &Server) {
    assert_eq!(server.store.doctor().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_pending_operation_is_cancelled_at_once_and_can_be_tried_again() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let id = server.pending("scan").await.id;
    let cancelled = verb(&caller, &id, "cancel").await;
    insta::assert_snapshot!(cancelled.redacted(), @r#"{"operation":{"output":"","error_message":"cancelled","finished_at":"<time>","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_FAILED"}}"#);
    assert_eq!(caller.get(&format!("/v1/operations/{id}")).await.body, cancelled.body);
    let again = verb(&caller, &id, "retry").await;
    insta::assert_snapshot!(again.redacted(), @r#"{"operation":{"output":"","error_message":"","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_PENDING"}}"#);
    claim(&server).await;
    assert_sound(&server).await;
}

#[tokio::test]
async fn a_running_operation_is_asked_to_stop_however_often() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let id = server.pending("scan").await.id;
    claim(&server).await;
    for _ in 0..2 {
        let answer = verb(&caller, &id, "cancel").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json()["operation"]["status"], "ASYNC_OPERATION_STATUS_RUNNING");
    }
    assert_sound(&server).await;
}

#[tokio::test]
async fn a_deleted_operation_is_answered_with_an_empty_object_and_is_gone() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let id = server.completed("scan", "done").await.id;
    let deleted = delete(&caller, &id).await;
    assert_eq!((deleted.status, deleted.body.as_ref()), (StatusCode::OK, b"{}".as_slice()));
    for answer in [
        caller.get(&format!("/v1/operations/{id}")).await,
        delete(&caller, &id).await,
        verb(&caller, &id, "cancel").await,
        verb(&caller, &id, "retry").await,
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    }
    assert_eq!(caller.get("/v1/operations").await.json()["pagination"]["total_count"], 0);
    assert_sound(&server).await;
}

#[tokio::test]
async fn what_the_state_does_not_allow_is_a_failed_precondition_naming_it() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let completed = server.completed("scan", "done").await.id;
    let failed = server.ended(NewOperation::of_kind("scan"), failed()).await.id;
    let running = server.pending("scan").await.id;
    claim(&server).await;
    let pending = server.pending("scan").await.id;
    for (answer, status) in [
        (verb(&caller, &completed, "cancel").await, "COMPLETED"),
        (verb(&caller, &completed, "retry").await, "COMPLETED"),
        (verb(&caller, &failed, "cancel").await, "FAILED"),
        (verb(&caller, &running, "retry").await, "RUNNING"),
        (delete(&caller, &running).await, "RUNNING"),
        (verb(&caller, &pending, "retry").await, "PENDING"),
        (delete(&caller, &pending).await, "PENDING"),
    ] {
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "WRONG_STATUS"));
        let json = answer.json();
        assert_eq!(json["code"], 9);
        assert_eq!(json["details"][0]["metadata"], json!({ "status": status }));
        assert!(json["message"].as_str().unwrap().starts_with(&format!("the operation is {status}; only a")), "{json}");
    }
    assert_sound(&server).await;
}

#[tokio::test]
async fn what_may_not_be_seen_is_as_unknown_as_what_is_not_there() {
    let server = Server::start().await;
    let project = NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") };
    let id = server.ended(project, failed()).await.id.to_string();
    let unknown = OperationId::new(server.store.now()).to_string();
    let acme = server.acme().await;
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    let limited = server.caller(Access::projects("acme", ["q"]), &[Scope::Admin]).await;
    let mut answers = Vec::new();
    for (caller, id) in [(&acme, "nope"), (&acme, "%FF"), (&acme, &unknown), (&other, &id), (&limited, &id)] {
        answers.push(delete(caller, &id).await);
        answers.push(verb(caller, &id, "cancel").await);
        answers.push(verb(caller, &id, "retry").await);
    }
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (StatusCode::NOT_FOUND, &answers[0].body), "{answer:?}");
    }
    assert_eq!(status(&acme, &id).await, "ASYNC_OPERATION_STATUS_FAILED");
}

#[tokio::test]
async fn steering_needs_the_scope_to_write() {
    let server = Server::start().await;
    let id = server.pending("scan").await.id;
    let acme = || Access::organization("acme");
    let reader = server.caller(acme(), &[Scope::OperationsRead, Scope::OperationsWork]).await;
    for answer in [delete(&reader, &id).await, verb(&reader, &id, "cancel").await, verb(&reader, &id, "retry").await] {
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::FORBIDDEN, "SCOPE_MISSING"));
    }
    assert_eq!(verb(&server.nobody(), &id, "cancel").await.status, StatusCode::UNAUTHORIZED);
    let writer = server.caller(acme(), &[Scope::OperationsWrite]).await;
    assert_eq!(verb(&writer, &id, "cancel").await.status, StatusCode::OK);
}

#[tokio::test]
async fn verbs_are_read_in_one_way() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let id = server.pending("scan").await.id;
    for unknown in ["", "stop", "Cancel", "cancel:cancel", "cancel/"] {
        let answer = verb(&caller, &id, unknown).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{unknown}: {answer:?}");
        assert_eq!(answer.json()["message"], "path not found", "{unknown}");
    }
    let bare = caller.post(&format!("/v1/operations/{id}"), "{}").await;
    assert_eq!(bare.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!((bare.header("allow"), bare.reason().as_str()), ("GET,HEAD,DELETE", "METHOD_NOT_ALLOWED"));
    for method in [Method::GET, Method::DELETE] {
        let answer = caller.send(method, &format!("/v1/operations/{id}:cancel"), &[], "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(status(&caller, &id).await, "ASYNC_OPERATION_STATUS_PENDING");
    assert_eq!(verb(&caller, &format!("{id}%3Acancel?").replace('?', ""), "").await.status, StatusCode::NOT_FOUND);
    let escaped = caller.send(Method::POST, &format!("/v1/operations/{id}%3Acancel"), &[], "").await;
    assert_eq!(escaped.status, StatusCode::OK, "{escaped:?}");
}

#[tokio::test]
async fn a_cancel_needs_no_room_for_its_body() {
    let server = Server::with_settings(|settings| {
        settings.body_limit = 1;
        settings.max_large_bodies = 0;
    })
    .await;
    let caller = server.acme().await;
    let create = caller.post("/v1/operations:batchCreate", r#"{"operations":[{"kind":"scan"}]}"#).await;
    assert!(create.status.is_client_error(), "nothing can be created: {create:?}");
    let id = server.pending("scan").await.id;
    let answer = caller.post(&format!("/v1/operations/{id}:cancel"), "{}").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(delete(&caller, &id).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_operation_of_the_engine_stops_long_before_its_next_heartbeat() {
    struct Stubborn;
    #[async_trait::async_trait]
    impl engine::Handler for Stubborn {
        async fn run(&self, attempt: engine::Attempt) -> Result<String, engine::Failure> {
            attempt.cancelled.cancelled().await;
            Err(engine::Failure::transient("stopped"))
        }
    }
    let mut running = None;
    let server = Server::with(|services| {
        // One place, which the operation takes: every limit of the engine is reached.
        let lease = Duration::from_secs(3600);
        let settings = engine::Settings { concurrency: 1, lease, ..engine::Settings::default() };
        let registry = engine::Registry::new().with("scan", Stubborn);
        let engine = engine::Engine::start(services.store.clone(), registry, settings, "test");
        services.waker = engine.waker();
        running = Some(engine);
    })
    .await;
    let caller = server.acme().await;
    let created = caller.post("/v1/operations", r#"{"kind":"scan"}"#).await.json();
    let id = created["operation"]["id"].as_str().unwrap().to_owned();
    let until = async |wanted: &str| {
        let wait = async {
            while status(&caller, &id).await != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    };
    until("ASYNC_OPERATION_STATUS_RUNNING").await;
    verb(&caller, &id, "cancel").await;
    until("ASYNC_OPERATION_STATUS_FAILED").await;
    let ended = caller.get(&format!("/v1/operations/{id}")).await.json();
    assert_eq!(ended["operation"]["error_message"], "cancelled");
    running.unwrap().drain().await;
}

#[tokio::test]
async fn a_key_whose_operation_was_deleted_is_409_and_creates_nothing() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let create = async || {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
        caller.send(Method::POST, "/v1/operations", &headers, r#"{"kind":"scan"}"#).await
    };
    let first = create().await.json();
    let id = first["operation"]["id"].as_str().unwrap().to_owned();
    verb(&caller, &id, "cancel").await;
    delete(&caller, &id).await;
    let repeated = create().await;
    assert_eq!((repeated.status, repeated.reason().as_str()), (StatusCode::CONFLICT, "IDEMPOTENT_OPERATION_DELETED"));
    assert_eq!(repeated.json()["code"], 6);
    assert!(caller.get("/v1/operations").await.ids().is_empty());
}
