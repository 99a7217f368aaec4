//! Pausing and resuming, over HTTP.

use http::{Method, StatusCode};
use operations::Access;
use store::{Pausable, Scope};
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, Caller, Server};
use crate::operators::admin;

async fn claimed(caller: &Caller) -> usize {
    let answer = caller.post("/v1/operations:claim", r#"{"kinds":["scan"],"max_operations":10}"#).await;
    answer.json()["operations"].as_array().unwrap().len()
}

fn refused(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.reason())
}

#[tokio::test]
async fn a_paused_organization_takes_operations_and_starts_none() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let answer = caller.post("/v1/organizations/acme:pause", "").await;
    insta::assert_snapshot!(answer.text(), @r#"{"organization":{"name":"acme","paused":true,"paused_kinds":[],"limits":{"max_input":1048576,"max_output":1048576,"weight":1}}}"#);
    assert_eq!(caller.post("/v1/operations", r#"{"kind":"scan"}"#).await.status, StatusCode::OK);
    assert_eq!(claimed(&caller).await, 0);
    assert_eq!(caller.post("/v1/organizations/acme:pause", "").await.status, StatusCode::OK, "again");
    assert_eq!(caller.get("/v1/organizations/acme").await.json()["organization"]["paused"], true);
    let answer = caller.post("/v1/organizations/acme:resume", "").await;
    assert_eq!(answer.json()["organization"]["paused"], false);
    assert_eq!(claimed(&caller).await, 1);
}

#[tokio::test]
async fn a_resume_reaches_workers_that_wait() {
    let server = Server::start().await;
    let caller = server.acme().await;
    server.pending("scan").await;
    caller.post("/v1/organizations/acme:pause", "").await;
    let waiting = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.post("/v1/operations:claim", r#"{"kinds":["scan"],"wait":"60s"}"#).await })
    };
    caller.post("/v1/organizations/acme:resume", "").await;
    assert_eq!(waiting.await.unwrap().json()["operations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_kind_is_paused_in_the_callers_organization_only() {
    let server = Server::start().await;
    let (caller, other) = (server.acme().await, server.caller(Access::organization("other"), &[Scope::Admin]).await);
    for caller in [&caller, &other] {
        caller.post("/v1/operations", r#"{"kind":"scan"}"#).await;
    }
    let answer = caller.post("/v1/kinds/scan:pause", "").await;
    assert_eq!(answer.text(), r#"{"kind":{"name":"scan","paused":true}}"#);
    assert_eq!(caller.get("/v1/organizations/acme").await.json()["organization"]["paused_kinds"][0], "scan");
    let others = other.get("/v1/organizations/other").await.json();
    assert_eq!(others["organization"]["paused_kinds"].as_array().unwrap().len(), 0);
    assert_eq!((claimed(&caller).await, claimed(&other).await), (0, 1));
    assert_eq!(caller.post("/v1/kinds/scan:resume", "").await.json()["kind"]["paused"], false);
    assert_eq!(claimed(&caller).await, 1);
}

#[tokio::test]
async fn what_is_paused_for_everybody_is_shown_and_not_the_callers_to_resume() {
    let server = Server::start().await;
    let caller = server.acme().await;
    server.store.pause(Pausable::Kind("scan".to_owned())).await.unwrap();
    assert_eq!(caller.post("/v1/kinds/scan:resume", "").await.json()["kind"]["paused"], true);
    assert_eq!(caller.get("/v1/organizations/acme").await.json()["organization"]["paused_kinds"][0], "scan");
}

#[tokio::test]
async fn only_who_administers_the_whole_organization_may() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite, Scope::OperationsWork]).await;
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    for path in ["/v1/organizations/acme:pause", "/v1/kinds/scan:pause", "/v1/kinds/scan:resume"] {
        assert_eq!(refused(&writer.post(path, "").await), (StatusCode::FORBIDDEN, "SCOPE_MISSING".to_owned()));
        assert_eq!(refused(&limited.post(path, "").await), (StatusCode::FORBIDDEN, "PERMISSION_DENIED".to_owned()));
        assert_eq!(server.nobody().post(path, "").await.status, StatusCode::UNAUTHORIZED);
    }
    server.caller(Access::organization("other"), &[Scope::Admin]).await;
    let (there, nowhere) =
        (acme.post("/v1/organizations/other:pause", "").await, acme.post("/v1/organizations/nobody:pause", "").await);
    assert_eq!(there.status, StatusCode::NOT_FOUND);
    assert_eq!(there.text(), nowhere.text(), "whether it exists is not told");
    assert_eq!(acme.get("/v1/organizations/other").await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.store.paused().await.unwrap(), []);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_paused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for path in [
        "/v1/kinds/unknown:pause",
        "/v1/kinds/scan:stop",
        "/v1/kinds/scan",
        "/v1/organizations/acme:stop",
        "/v1/kinds/%FF:pause",
    ] {
        assert_eq!(caller.post(path, "").await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let answer = caller.send(Method::POST, "/v1/organizations/acme", &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD,DELETE"));
}

#[tokio::test]
async fn a_pause_that_was_not_written_is_not_acknowledged() {
    let server = Server::start().await;
    let manager = server.instance(&[], &[Scope::Admin]).await;
    server.acme().await;
    server.store.begin_deletion("acme", true).await.unwrap();
    let answer = manager.post("/v1/organizations/acme:pause", "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
}

#[tokio::test]
async fn an_organization_pauses_a_bounded_number_of_kinds() {
    let server = Server::with(|services| services.allow_undeclared_kinds = true).await;
    let caller = server.acme().await;
    for number in 0..100 {
        let answer = caller.post(&format!("/v1/kinds/team%2Fk{number}:pause"), "").await;
        assert_eq!(answer.json()["kind"]["name"], format!("team/k{number}"));
    }
    assert_eq!(caller.post("/v1/kinds/more:pause", "").await.violated(), ["kind"]);
    assert_eq!(caller.post("/v1/kinds/team%2Fk7:resume", "").await.status, StatusCode::OK);
    assert_eq!(caller.post("/v1/kinds/more:pause", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_tell_how_much_is_paused_and_name_no_organization() {
    let server = Server::start().await;
    let caller = server.acme().await;
    caller.post("/v1/organizations/acme:pause", "").await;
    server.store.pause(Pausable::Kind("scan".to_owned())).await.unwrap();
    let text = admin(&server, CancellationToken::new()).await.get("/metrics").await;
    for line in [
        r#"longrun_paused{what="organization"} 1"#,
        r#"longrun_paused{what="kind"} 1"#,
        r#"longrun_paused{what="kind_of_organization"} 0"#,
    ] {
        assert!(text.text().lines().any(|l| l == line), "{line} is missing from\n{}", text.text());
    }
    assert!(!text.text().contains("acme"), "{}", text.text());
}
