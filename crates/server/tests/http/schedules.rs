//! Schedules over HTTP: what is taken and refused, who sees what, what is recorded; and that an engine does what is due.

use std::time::Duration;

use engine::{Engine, Registry, Settings};
use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Answer, Caller, Server};

const NIGHTLY: &str = r#"{"name":"nightly","cron":"30 2 * * *","time_zone":"Europe/Berlin","operation":{"kind":"scan",
    "resource_type":"repository","resource_id":"acme/shop","input":{"depth":1.50},"priority":5,"timeout":"60s"}}"#;

async fn patch(caller: &Caller, path: &str, body: Value) -> Answer {
    caller.send(Method::PATCH, path, &[("content-type", "application/json")], body.to_string()).await
}

#[tokio::test]
async fn a_schedule_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let made = acme.post("/v1/schedules", NIGHTLY).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    assert!(made.text().contains(r#""input":{"depth":1.50}"#), "digit for digit: {}", made.text());
    let mut schedule = made.json()["schedule"].clone();
    let times = schedule["next_times"].as_array().unwrap().clone();
    assert_eq!(times.len(), 5);
    assert!(times.iter().all(|time| time.as_str().unwrap().ends_with(":30:00.000Z")), "{times:?}");
    for field in ["next_times", "created_at", "updated_at"] {
        schedule.as_object_mut().unwrap().remove(field);
    }
    let operation = json!({"kind": "scan", "resource_type": "repository", "resource_id": "acme/shop",
        "project_id": "", "project_version_id": "", "labels": {}, "input": {"depth": 1.5}, "priority": 5,
        "timeout": "60s", "max_attempts": 5, "concurrency_key": ""});
    let wanted = json!({"name": "nightly", "cron": "30 2 * * *", "every": "", "time_zone": "Europe/Berlin",
        "operation": operation, "overlap": "allow", "catch_up": "latest", "jitter": "0s", "paused": false,
        "last_operation": "", "last_error": ""});
    assert_eq!(schedule, wanted);
    assert_eq!(acme.get("/v1/schedules/nightly").await.body, made.body);

    let answer = patch(&acme, "/v1/schedules/nightly", json!({"every": "3600s", "overlap": "skip"})).await;
    let changed = answer.json()["schedule"].clone();
    assert_eq!((&changed["cron"], &changed["time_zone"], &changed["every"]), (&json!(""), &json!(""), &json!("3600s")));
    assert_eq!((&changed["overlap"], &changed["operation"]["priority"]), (&json!("skip"), &json!(5)));
    // What was read can be sent back, and nothing of it is lost: that changes nothing.
    let limited = json!({"kind": "scan", "concurrency_key": "shop", "concurrency_limit": 3});
    let answer = patch(&acme, "/v1/schedules/nightly", json!({"operation": limited})).await;
    let read = answer.json()["schedule"]["operation"].clone();
    assert_eq!((&read["concurrency_key"], &read["concurrency_limit"]), (&json!("shop"), &json!(3)));
    let answer = patch(&acme, "/v1/schedules/nightly", json!({"operation": read})).await;
    assert_eq!(answer.json()["schedule"]["operation"], read);
    let answer = patch(&acme, "/v1/schedules/nightly", json!({"operation": {"kind": "scan"}})).await;
    assert_eq!(answer.json()["schedule"]["operation"]["priority"], 0, "as a whole");

    for (method, path, allowed) in [
        (Method::POST, "/v1/schedules/nightly", "GET,HEAD,PATCH,DELETE"),
        (Method::PUT, "/v1/schedules/nightly", "GET,HEAD,PATCH,DELETE"),
        (Method::OPTIONS, "/v1/schedules/nightly:pause", "POST"),
    ] {
        let refused = acme.send(method, path, &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allowed), "{path}");
    }

    let paused = acme.post("/v1/schedules/nightly:pause", "").await.json();
    assert_eq!((&paused["schedule"]["paused"], &paused["schedule"]["next_times"]), (&json!(true), &json!([])));
    let operation = acme.post("/v1/schedules/nightly:trigger", "").await.json()["operation"].clone();
    assert_eq!(operation["status"], "ASYNC_OPERATION_STATUS_PENDING");
    let again = acme.post("/v1/schedules/nightly:trigger", "").await;
    assert_eq!((again.status, again.reason()), (StatusCode::BAD_REQUEST, "SCHEDULE_STILL_RUNNING".to_owned()));
    let resumed = acme.post("/v1/schedules/nightly:resume", "").await.json()["schedule"].clone();
    assert_eq!(resumed["last_operation"], operation["id"]);
    assert_eq!(resumed["next_times"].as_array().unwrap().len(), 5);

    assert_eq!(acme.delete("/v1/schedules/nightly").await.status, StatusCode::OK);
    assert_eq!(acme.delete("/v1/schedules/nightly").await.status, StatusCode::NOT_FOUND);
    assert_eq!(acme.get("/v1/schedules/nightly").await.status, StatusCode::NOT_FOUND);
    assert_eq!(acme.get("/v1/operations").await.ids().len(), 1, "what it has created stays");
    let log = acme.get("/v1/audit?action=schedules.").await.json();
    let told: Vec<&str> =
        log["entries"].as_array().unwrap().iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    let wanted = ["create", "update", "update", "update", "pause", "trigger", "resume", "delete"];
    assert_eq!(told, wanted.map(|action| format!("schedules.{action}")));
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let body = json!({"name": "a b", "cron": "0 25 * * *", "time_zone": "Mars/Olympus", "overlap": "never",
        "catch_up": "some", "jitter": "1m", "operation": {"kind": "unknown", "run_after": "2030-01-01T00:00:00Z"},
        "colour": "red"});
    let answer = acme.post("/v1/schedules", body.to_string()).await;
    let mut violated = answer.violated();
    violated.sort_unstable();
    let wanted = [
        "catch_up",
        "colour",
        "cron",
        "jitter",
        "name",
        "operation.kind",
        "operation.run_after",
        "overlap",
        "time_zone",
    ];
    assert_eq!(violated, wanted, "{}", answer.text());
    for (body, fields) in [
        (json!({}), vec!["name", "cron", "operation"]),
        (json!({"name": "n", "cron": "* * * * *", "every": "5s", "operation": {"kind": "scan"}}), vec!["every"]),
        (json!({"name": "n", "cron": "0 0 31 2 *", "operation": {"kind": "scan"}}), vec!["cron"]),
        (json!({"name": "n", "every": "0.5s", "operation": {"kind": "scan"}}), vec!["every"]),
        (json!({"name": "n", "every": "60s", "operation": {"kind": "notice"}}), vec!["operation.kind"]),
        (json!({"name": "n", "every": "60s", "operation": 1}), vec!["operation"]),
        (json!({"name": "n", "every": "60s", "jitter": "61s", "operation": {"kind": "scan"}}), vec!["jitter"]),
    ] {
        let mut violated = acme.post("/v1/schedules", body.to_string()).await.violated();
        let mut fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        violated.sort_unstable();
        fields.sort_unstable();
        assert_eq!(violated, fields, "{body}");
    }
    assert_eq!(acme.get("/v1/schedules").await.json(), json!({"schedules": [], "next_page_token": ""}));
    assert_eq!(acme.post("/v1/schedules", NIGHTLY).await.status, StatusCode::OK);
    let taken = acme.post("/v1/schedules", NIGHTLY).await;
    assert_eq!((taken.status, taken.reason()), (StatusCode::CONFLICT, "SCHEDULE_EXISTS".to_owned()));
    let answer = patch(&acme, "/v1/schedules/nightly", json!({"cron": "nonsense", "jitter": "-1s"})).await;
    assert_eq!(answer.violated(), ["jitter"], "what cannot be read is told before what is meant is looked at");
    assert_eq!(patch(&acme, "/v1/schedules/nightly", json!({"cron": "nonsense"})).await.violated(), ["cron"]);
    assert_eq!(patch(&acme, "/v1/schedules/nightly", json!({"name": "other"})).await.violated(), ["name"]);
    let read = acme.get("/v1/schedules/nightly").await.json();
    assert_eq!(read["schedule"]["cron"], "30 2 * * *", "what was refused has changed nothing");
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_shows_what_is_the_callers() {
    let server = Server::start().await;
    let acme = server.acme().await;
    for (name, project) in [("a", "p"), ("b", "q"), ("c", "")] {
        let body = json!({"name": name, "every": "60s", "operation": {"kind": "scan", "project_id": project}});
        assert_eq!(acme.post("/v1/schedules", body.to_string()).await.status, StatusCode::OK);
    }
    let names = async |caller: &Caller, query: &str| {
        let page = caller.get(&format!("/v1/schedules{query}")).await.json();
        let schedules = page["schedules"].as_array().unwrap().iter();
        let names: Vec<String> = schedules.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        (names.join(""), page["next_page_token"].as_str().unwrap().to_owned())
    };
    assert_eq!(names(&acme, "").await, ("abc".to_owned(), String::new()));
    assert_eq!(names(&acme, "?page_size=2").await, ("ab".to_owned(), "b".to_owned()));
    assert_eq!(names(&acme, "?page_size=2&page_token=b").await, ("c".to_owned(), String::new()));
    assert_eq!(acme.get("/v1/schedules?page_token=%20").await.violated(), ["page_token"]);
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    assert_eq!(names(&limited, "").await.0, "a");
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    for caller in [&limited, &other] {
        for path in ["/v1/schedules/b:pause", "/v1/schedules/b:resume", "/v1/schedules/b:trigger"] {
            assert_eq!(caller.post(path, "").await.status, StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(caller.get("/v1/schedules/b").await.status, StatusCode::NOT_FOUND);
        assert_eq!(caller.delete("/v1/schedules/b").await.status, StatusCode::NOT_FOUND);
        assert_eq!(patch(caller, "/v1/schedules/b", json!({"overlap": "skip"})).await.status, StatusCode::NOT_FOUND);
    }
    // A limited caller neither makes nor moves one out of its projects.
    let body = json!({"name": "d", "every": "60s", "operation": {"kind": "scan"}});
    assert_eq!(limited.post("/v1/schedules", body.to_string()).await.status, StatusCode::FORBIDDEN);
    let moved = json!({"operation": {"kind": "scan", "project_id": "q"}});
    assert_eq!(patch(&limited, "/v1/schedules/a", moved).await.status, StatusCode::FORBIDDEN);
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    assert_eq!(names(&reader, "").await.0, "abc");
    assert_eq!(reader.post("/v1/schedules/a:trigger", "").await.status, StatusCode::FORBIDDEN);
}

/// By the clock of the machine: a schedule is made, and an engine that waits for something far away fires what is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_creates_what_is_due() {
    let server = Server::start().await;
    let engine = Engine::start(server.store.clone(), Registry::default(), Settings::default(), "test");
    let acme = server.acme().await;
    let every = json!({"name": "tick", "every": "1s", "operation": {"kind": "scan"}});
    assert_eq!(acme.post("/v1/schedules", every.to_string()).await.status, StatusCode::OK);
    let claim = r#"{"kinds":["scan"],"max_operations":1,"wait":"30s"}"#;
    for _ in 0..2 {
        let answer = tokio::time::timeout(Duration::from_secs(30), acme.post("/v1/operations:claim", claim)).await;
        assert_eq!(answer.unwrap().json()["operations"].as_array().unwrap().len(), 1);
    }
    let schedule = acme.get("/v1/schedules/tick").await.json()["schedule"].clone();
    assert!(schedule["last_time"].is_string() && schedule["last_operation"] != "", "{schedule}");
    engine.drain().await;
}
