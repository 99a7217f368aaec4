//! Labels, unique keys, `view=FULL`, and trying again with another input.

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Outcome};
use serde_json::{Value, json};
use store::{Heartbeat, Scope};

use crate::harness::{Answer, Caller, Server};

async fn create(caller: &Caller, body: Value) -> Answer {
    caller.post("/v1/operations", body.to_string()).await
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["operation"]["id"].as_str().unwrap().to_owned()
}

async fn full(caller: &Caller, id: &str) -> Value {
    let answer = caller.get(&format!("/v1/operations/{id}?view=FULL")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["operation"].clone()
}

async fn retry(caller: &Caller, id: &str, body: &str, key: &str) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    if !key.is_empty() {
        headers.push(("idempotency-key", key));
    }
    caller.send(Method::POST, &format!("/v1/operations/{id}:retry"), &headers, body.to_owned()).await
}

fn failed() -> Outcome {
    Outcome::Failed { message: "no luck".to_owned(), retryable: false }
}

#[tokio::test]
async fn the_full_view_has_the_twelve_fields_and_all_the_rest() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let body = json!({"kind": "scan", "input": {"n": 1.5}, "labels": {"team": "search"}, "unique_key": "k", "concurrency_key": "account 7", "concurrency_limit": 2, "priority": 3,
        "max_attempts": 2, "timeout": "60s"});
    let id = id(&create(&caller, body).await);
    let claimed = server.claim("scan").await;
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some("half".to_owned()) };
    server.store.heartbeat(vec![beat], std::time::Duration::from_secs(60)).await.unwrap();
    let answer = caller.get(&format!("/v1/operations/{id}?view=FULL")).await;
    assert_eq!((answer.header("retry-after"), answer.header("etag")), ("1", ""));
    insta::assert_snapshot!(answer.redacted(), @r#"{"operation":{"output":"","error_message":"","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","started_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_RUNNING","input":{"n":1.5},"labels":{"team":"search"},"unique_key":"k","concurrency_key":"account 7","concurrency_limit":2,"priority":3,"attempts":1,"max_attempts":2,"timeout":"60s","worker":"test","cancel_requested":false,"progress":"half","schedule":""}}"#);
    server.settle(claimed, Outcome::Completed { output: "{}".to_owned() }).await;
    let ended = full(&caller, &id).await;
    assert_eq!(
        (&ended["input"], &ended["output"], &ended["progress"]),
        (&json!({"n": 1.5}), &json!("{}"), &json!("half"))
    );
    // The other view is what it always was.
    let basic = caller.get(&format!("/v1/operations/{id}")).await;
    assert_eq!(basic.json()["operation"].as_object().unwrap().len(), 12);
    assert_eq!(caller.get(&format!("/v1/operations/{id}?view=BASIC")).await.body, basic.body);
    for wrong in ["", "full"] {
        let refused = caller.get(&format!("/v1/operations/{id}?view={wrong}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text().contains("neither BASIC nor FULL"), "{}", refused.text());
    }
}

#[tokio::test]
async fn what_is_not_set_is_empty_or_left_out() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let id = id(&create(&caller, json!({"kind": "scan"})).await);
    let answer = caller.get(&format!("/v1/operations/{id}?view=FULL")).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"operation":{"output":"","error_message":"","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_PENDING","input":null,"labels":{},"unique_key":"","concurrency_key":"","priority":0,"attempts":0,"max_attempts":5,"worker":"","cancel_requested":false,"progress":"","schedule":""}}"#);
}

#[tokio::test]
async fn a_view_that_is_none_is_refused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let id = server.pending("scan").await.id;
    for (query, field) in [("view=full", "view"), ("view=FULL&view=FULL", "view"), ("veiw=FULL", "veiw")] {
        assert_eq!(caller.get(&format!("/v1/operations/{id}?{query}")).await.violated(), [field], "{query}");
    }
}

#[tokio::test]
async fn the_full_view_is_hidden_like_the_other() {
    let server = Server::start().await;
    let operation = NewOperation { project_id: "q".to_owned(), ..NewOperation::of_kind("scan") };
    let id = server.create(operation).await.id;
    let nobodys = "01a20e1a-1194-75ec-b562-a042f01e7eac";
    for access in [Access::organization("other"), Access::projects("acme", ["p"])] {
        let caller = server.caller(access, &[Scope::Admin]).await;
        let hidden = caller.get(&format!("/v1/operations/{id}?view=FULL")).await;
        let unknown = caller.get(&format!("/v1/operations/{nobodys}?view=FULL")).await;
        assert_eq!((hidden.status, &hidden.body), (StatusCode::NOT_FOUND, &unknown.body));
        assert_eq!(retry(&caller, &id.to_string(), r#"{"input":{}}"#, "").await.status, StatusCode::NOT_FOUND);
    }
    let blind = server.caller(Access::organization("acme"), &[Scope::OperationsWrite]).await;
    assert_eq!(blind.get(&format!("/v1/operations/{id}?view=FULL")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn labels_and_unique_keys_that_cannot_be_are_refused_by_name() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for (labels, field) in [
        (json!({"Team": "x"}), "labels"),
        (json!({"team": "x\ny"}), "labels.team"),
        (json!({"team": 1}), "labels"),
        (json!(["team"]), "labels"),
        (
            json!((0..17).map(|n| (format!("l{n}"), "x".to_owned())).collect::<std::collections::BTreeMap<_, _>>()),
            "labels",
        ),
    ] {
        let answer = create(&caller, json!({"kind": "scan", "labels": labels})).await;
        assert_eq!(answer.violated(), [field], "{labels}");
    }
    assert_eq!(
        create(&caller, json!({"kind": "scan", "unique_key": "x".repeat(256)})).await.violated(),
        ["unique_key"]
    );
    let twice = json!({"operations": [{"kind": "scan", "unique_key": "k"}, {"kind": "scan", "unique_key": "k"}]});
    let answer = caller.post("/v1/operations:batchCreate", twice.to_string()).await;
    assert_eq!(answer.violated(), ["operations[1].unique_key"]);
    assert!(caller.get("/v1/operations").await.ids().is_empty());
}

#[tokio::test]
async fn while_an_operation_with_the_key_has_not_ended_it_is_answered_and_the_header_says_so() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let keyed = json!({"kind": "scan", "unique_key": "k"});
    let first = create(&caller, keyed.clone()).await;
    let first_id = id(&first);
    assert_eq!(first.header("x-longrun-existing"), "");
    let again = create(&caller, json!({"kind": "scan", "unique_key": "k", "priority": 9})).await;
    assert_eq!((again.status, again.header("x-longrun-existing"), &again.body), (StatusCode::OK, "true", &first.body));
    assert_eq!(again.header("location"), format!("/v1/operations/{first_id}"));
    let batch = json!({"operations": [{"kind": "scan"}, keyed, {"kind": "scan", "unique_key": "l"}]}).to_string();
    let made = caller.post("/v1/operations:batchCreate", batch).await.json();
    assert_eq!((&made["operations"][1]["id"], &made["existing"]), (&json!(first_id), &json!([1])));
    let plain = caller.post("/v1/operations:batchCreate", r#"{"operations":[{"kind":"scan"}]}"#).await.json();
    assert_eq!(plain.as_object().unwrap().keys().collect::<Vec<_>>(), ["operations"]);
    caller.post(&format!("/v1/operations/{first_id}:cancel"), "").await;
    assert_ne!(id(&create(&caller, keyed).await), first_id);
    // An operation that has lost the key does not get it back.
    let answer = caller.send(Method::POST, &format!("/v1/operations/{first_id}:retry"), &[], "").await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::CONFLICT, "UNIQUE_KEY_IN_USE"));
}

#[tokio::test]
async fn who_may_not_see_the_one_with_the_key_learns_no_more_than_that_it_is_in_use() {
    let server = Server::start().await;
    let everything = server.acme().await;
    let hidden = id(&create(&everything, json!({"kind": "scan", "unique_key": "k", "project_id": "q"})).await);
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let answer = create(&limited, json!({"kind": "scan", "unique_key": "k", "project_id": "p"})).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::CONFLICT, "UNIQUE_KEY_IN_USE"));
    assert!(!answer.text().contains(&hidden), "{answer:?}");
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    assert_eq!(create(&other, json!({"kind": "scan", "unique_key": "k"})).await.header("x-longrun-existing"), "");
}

#[tokio::test]
async fn a_retry_with_an_input_is_repeated_by_its_key_although_the_old_operation_waits_again() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let first = server.ended(NewOperation::of_kind("scan"), failed()).await.id.to_string();
    let second = id(&retry(&caller, &first, r#"{"input":{"n":2}}"#, "key").await);
    assert_eq!(id(&retry(&caller, &first, "{}", "").await), first, "it is pending again");
    assert_eq!(id(&retry(&caller, &first, r#"{"input":{"n":2}}"#, "key").await), second);
    assert_eq!(retry(&caller, &first, r#"{"input":{"n":2}}"#, "other").await.reason(), "WRONG_STATUS");
}

#[tokio::test]
async fn another_input_makes_another_operation_that_is_linked_to_the_first() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let body = json!({"kind": "scan", "input": {"n": 1}, "labels": {"team": "search"}, "project_id": "p", "priority": 3,
        "resource_type": "repo", "resource_id": "r", "timeout": "60s", "max_attempts": 2});
    let first = id(&create(&caller, body).await);
    let refused = retry(&caller, &first, r#"{"input":{"n":2}}"#, "").await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::BAD_REQUEST, "WRONG_STATUS"));
    server.settle(server.claim("scan").await, Outcome::Completed { output: "{}".to_owned() }).await;
    let before = full(&caller, &first).await;

    let again = retry(&caller, &first, r#"{"input": { "n": 2.0 }}"#, "key").await;
    let second = id(&again);
    assert_eq!(again.header("location"), format!("/v1/operations/{second}"));
    let made = full(&caller, &second).await;
    assert_eq!(made["labels"], json!({"team": "search", "retry_of": first}));
    assert_eq!(made["input"], json!({"n": 2.0}));
    for same in ["kind", "project_id", "resource_type", "resource_id", "priority", "timeout", "max_attempts"] {
        assert_eq!(made[same], before[same], "{same}");
    }
    assert_eq!(full(&caller, &first).await, before, "the old one stays as it is");
    assert_eq!(
        id(&retry(&caller, &first, r#"{"input": {"n": 2.0}}"#, "key").await),
        second,
        "the key names the request"
    );
    assert_eq!(retry(&caller, &first, r#"{"input": {"n": 3}}"#, "key").await.reason(), "IDEMPOTENCY_KEY_REUSED");
    assert_ne!(id(&retry(&caller, &first, r#"{"input": {"n": 2.0}}"#, "").await), second);

    // Without an input it is the retry that it always was.
    assert_eq!(retry(&caller, &first, "{}", "").await.reason(), "WRONG_STATUS");
    assert_eq!(retry(&caller, &first, r#"{"inputs":1}"#, "").await.violated(), ["inputs"]);
    assert_eq!(retry(&caller, &first, r#"{"input":{"a":1,"a":2}}"#, "").await.violated(), ["input"]);
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    assert_eq!(retry(&reader, &first, r#"{"input":1}"#, "").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn another_input_needs_the_unique_key_as_much_as_a_creation() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let keyed = json!({"kind": "scan", "unique_key": "k"});
    let first = id(&create(&caller, keyed.clone()).await);
    server.settle(server.claim("scan").await, failed()).await;
    let second = id(&retry(&caller, &first, r#"{"input":2}"#, "a").await);
    assert_eq!(id(&create(&caller, keyed).await), second, "it has the key now");
    assert_eq!(id(&retry(&caller, &first, r#"{"input":2}"#, "a").await), second);
    server.settle(server.claim("scan").await, failed()).await;
    let third = id(&create(&caller, json!({"kind": "scan", "unique_key": "k"})).await);
    let refused = retry(&caller, &first, r#"{"input":2}"#, "").await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::CONFLICT, "UNIQUE_KEY_IN_USE"));
    assert!(!refused.text().contains(&third), "{refused:?}");
}
