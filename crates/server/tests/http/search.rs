//! `GET /v1/operations:search` and `:count`.

use http::StatusCode;
use operations::{Access, NewOperation, Outcome, Resource};
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Answer, Caller, Server};

/// A path with a filter and more parameters.
fn path(call: &str, filter: &str, more: &str) -> String {
    let filter: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/v1/operations:{call}?filter={filter}{more}")
}

async fn search(caller: &Caller, filter: &str, more: &str) -> Value {
    let answer = caller.get(&path("search", filter, more)).await;
    assert_eq!(answer.status, StatusCode::OK, "{filter}: {}", answer.text());
    answer.json()
}

async fn count(caller: &Caller, filter: &str, group_by: &str) -> Value {
    let answer = caller.get(&path("count", filter, &format!("&group_by={group_by}"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{filter}: {}", answer.text());
    answer.json()
}

fn ids(page: &Value) -> Vec<String> {
    let operations = page["operations"].as_array().unwrap();
    operations.iter().map(|operation| operation["id"].as_str().unwrap().to_owned()).collect()
}

fn violation(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    let violation = &answer.json()["details"][1]["fieldViolations"][0];
    format!("{}: {}", violation["field"].as_str().unwrap(), violation["description"].as_str().unwrap())
}

#[tokio::test]
async fn what_is_found_is_told_in_full() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let wanted = NewOperation {
        input: r#"{"a": 1}"#.to_owned(),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        priority: 3,
        resource: Some(Resource { resource_type: "thing".to_owned(), resource_id: "x".to_owned() }),
        ..NewOperation::of_kind("scan")
    };
    let wanted = server.create(wanted).await.id.to_string();
    server.pending("scan").await;
    for filter in [
        "labels.team = (blue OR red)",
        "priority = 3 AND status = PENDING",
        "resource_type = thing AND resource_id = x AND kind != other",
        &format!("id = {wanted}"),
        "input : \"\\\"a\\\"\" AND created_at >= -1h",
    ] {
        let page = search(&acme, filter, "").await;
        assert_eq!(ids(&page), std::slice::from_ref(&wanted), "{filter}");
        assert_eq!((&page["total_count"], &page["total_is_exact"]), (&json!(1), &json!(true)), "{filter}");
        assert_eq!(page["next_page_token"], "");
        let full = acme.get(&format!("/v1/operations/{wanted}?view=FULL")).await.json();
        assert_eq!(page["operations"][0], full["operation"], "{filter}");
    }
}

#[tokio::test]
async fn long_texts_are_sent_whole() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let long = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..3 {
        server.create(NewOperation { input: long.clone(), ..NewOperation::of_kind("scan") }).await;
        server.settle(server.claim("scan").await, Outcome::Completed { output: long.clone() }).await;
    }
    let page = search(&acme, "status = COMPLETED", "&page_size=2").await;
    let operations = page["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 2);
    assert!(operations.iter().all(|operation| operation["output"] == long.as_str()));
    assert_eq!((&page["total_count"], page["next_page_token"] != ""), (&json!(3), true));
}

#[tokio::test]
async fn pages_follow_each_other_by_number_and_by_token_in_either_order() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let mut created = Vec::new();
    for _ in 0..7 {
        created.push(server.pending("scan").await.id.to_string());
    }
    for (order, is_reversed) in [("", true), ("&order_by=created_at%20desc", true), ("&order_by=created_at", false)] {
        let mut expected = created.clone();
        if is_reversed {
            expected.reverse();
        }
        let second = search(&acme, "kind = scan", &format!("&page=1&page_size=3{order}")).await;
        assert_eq!(ids(&second), expected[3..6], "{order}");
        let (mut walked, mut token) = (Vec::new(), String::new());
        loop {
            let page = search(&acme, "kind = scan", &format!("&page_size=3{order}&page_token={token}")).await;
            walked.extend(ids(&page));
            token = page["next_page_token"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(walked, expected, "{order}");
    }
    let token = search(&acme, "kind = scan", "&page_size=3").await["next_page_token"].as_str().unwrap().to_owned();
    for (filter, more) in [
        ("kind = other", String::new()),
        ("kind = scan", "&order_by=created_at".to_owned()),
        ("kind = scan", "x".to_owned()),
    ] {
        let answer = acme.get(&path("search", filter, &format!("&page_token={token}{more}"))).await;
        assert!(violation(&answer).starts_with("page_token: must be the next_page_token"), "{filter}{more}");
    }
    let answer = acme.get(&path("search", "kind = scan", &format!("&page_token={token}&page=1"))).await;
    assert!(violation(&answer).starts_with("page: cannot be given together"));
}

#[tokio::test]
async fn counts_are_told_by_group() {
    let server = Server::start().await;
    let acme = server.acme().await;
    for (kind, project, n) in [("scan", "p", 3), ("scan", "", 2), ("export", "p", 1)] {
        for _ in 0..n {
            server.create(NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind(kind) }).await;
        }
    }
    server.settle(server.claim("export").await, Outcome::Completed { output: String::new() }).await;
    assert_eq!(
        count(&acme, "", "status,kind").await,
        json!({"groups": [
            {"status": "ASYNC_OPERATION_STATUS_PENDING", "kind": "scan", "count": 5},
            {"status": "ASYNC_OPERATION_STATUS_COMPLETED", "kind": "export", "count": 1},
        ], "groups_left_out": 0, "total_count": 6, "total_is_exact": true})
    );
    assert_eq!(
        count(&acme, "kind = scan AND created_at >= -1h", "project_id").await["groups"],
        json!([{"project_id": "p", "count": 3}, {"project_id": "", "count": 2}])
    );
    assert_eq!(count(&acme, "kind = nobody", "").await["groups"], json!([]));
    // Others learn nothing of it.
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsRead]).await;
    assert_eq!(count(&limited, "", "project_id").await["groups"], json!([{"project_id": "p", "count": 4}]));
    assert_eq!(count(&limited, "project_id = \"\"", "").await["total_count"], 0);
    assert_eq!(search(&limited, "", "").await["total_count"], 4);
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    assert_eq!(count(&other, "", "kind").await["total_count"], 0);
    assert_eq!(search(&other, "", "").await["operations"], json!([]));
    let token = search(&acme, "", "&page_size=1").await["next_page_token"].as_str().unwrap().to_owned();
    let answer = other.get(&path("search", "", &format!("&page_token={token}"))).await;
    assert!(violation(&answer).starts_with("page_token"), "a token of one organization is none of another");
}

#[tokio::test]
async fn refusals_say_what_was_wrong() {
    let server = Server::start().await;
    let acme = server.acme().await;
    for (call, filter, more, says) in [
        ("search", "status = DONE", "", "filter: at character 10: \"DONE\" is not a status"),
        ("count", "colour = red", "", "filter: at character 1: \"colour\" is not a field"),
        ("search", "output : x", "", "filter: output is checked operation by operation"),
        ("count", "worker = w", "", "filter: worker is checked operation by operation"),
        ("search", "", "&order_by=kind", "order_by: kind is neither created_at nor created_at desc"),
        ("count", "", "&group_by=worker", "group_by: worker is not one of status, kind and project_id"),
        ("search", "", "&page=-1", "page: "),
    ] {
        let told = violation(&acme.get(&path(call, filter, more)).await);
        assert!(told.starts_with(says), "{told}");
    }
}
