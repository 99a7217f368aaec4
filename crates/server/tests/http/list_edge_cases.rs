//! `GET /v1/operations`: every row of the contract's table of edge cases, and the rules around it.

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Outcome, Resource};
use server::FirstPage;
use store::Scope;

use crate::harness::Server;

fn about(resource_type: &str, resource_id: &str) -> NewOperation {
    let resource = Resource { resource_type: resource_type.to_owned(), resource_id: resource_id.to_owned() };
    NewOperation { resource: Some(resource), ..NewOperation::of_kind("scan") }
}

#[tokio::test]
async fn pagination_page_negative_not_an_integer_or_beyond_int32_is_400() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for bad in ["-1", "x", "1.5", "", "2147483648", "99999999999999999999", "%2B1", "+1"] {
        let answer = caller.get(&format!("/v1/operations?pagination.page={bad}")).await;
        assert_eq!(answer.violated(), ["pagination.page"], "{bad}");
    }
    assert_eq!(caller.get("/v1/operations?pagination.page=2147483647").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pagination_page_size_0_or_absent_is_the_default() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for query in ["", "?pagination.page_size=0"] {
        let answer = caller.get(&format!("/v1/operations{query}")).await;
        assert_eq!(answer.json()["pagination"]["page_size"], 50, "{query}");
    }
    let server = Server::with_settings(|settings| settings.default_page_size = 7).await;
    assert_eq!(server.acme().await.get("/v1/operations").await.json()["pagination"]["page_size"], 7);
}

#[tokio::test]
async fn pagination_page_size_negative_or_not_an_integer_is_400() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for bad in ["-1", "x", "1.0", "", "2147483648"] {
        let answer = caller.get(&format!("/v1/operations?pagination.page_size={bad}")).await;
        assert_eq!(answer.violated(), ["pagination.page_size"], "{bad}");
    }
}

#[tokio::test]
async fn pagination_page_size_above_the_maximum_is_the_maximum() {
    let server = Server::start().await;
    let answer = server.acme().await.get("/v1/operations?pagination.page_size=101").await;
    assert_eq!(answer.json()["pagination"]["page_size"], 100);
}

#[tokio::test]
async fn resource_id_without_resource_type_or_the_reverse_or_one_empty_is_400_naming_both() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for (query, missing) in [
        ("resource_id=a", "resource_type"),
        ("resource_type=a", "resource_id"),
        ("resource_id=a&resource_type=", "resource_type"),
        ("resource_id=&resource_type=a", "resource_id"),
    ] {
        let answer = caller.get(&format!("/v1/operations?{query}")).await;
        let violations = answer.violations();
        assert_eq!(violations[0].0, missing, "{query}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("resource_id") && message.contains("resource_type"), "{message}");
    }
}

#[tokio::test]
async fn status_as_a_number_is_accepted() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let completed = server.completed("scan", "{}").await;
    let pending = server.pending("scan").await;
    assert_eq!(caller.get("/v1/operations?status=3").await.ids(), [completed.id.to_string()]);
    assert_eq!(caller.get("/v1/operations?status=1").await.ids(), [pending.id.to_string()]);
    assert_eq!(caller.get("/v1/operations?status=0").await.ids().len(), 2);
    let by_name = caller.get("/v1/operations?status=ASYNC_OPERATION_STATUS_COMPLETED").await;
    assert_eq!(by_name.ids(), [completed.id.to_string()]);
    let any = caller.get("/v1/operations?status=ASYNC_OPERATION_STATUS_UNSPECIFIED").await;
    assert_eq!(any.ids().len(), 2);
}

#[tokio::test]
async fn status_unknown_name_or_number_or_wrong_case_is_400_listing_the_names() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for bad in ["5", "-1", "COMPLETED", "async_operation_status_completed", "nope", "3.0"] {
        let answer = caller.get(&format!("/v1/operations?status={bad}")).await;
        let violations = answer.violations();
        assert_eq!(violations[0].0, "status", "{bad}");
        for name in ["UNSPECIFIED", "PENDING", "RUNNING", "COMPLETED", "FAILED"] {
            assert!(violations[0].1.contains(&format!("ASYNC_OPERATION_STATUS_{name}")), "{violations:?}");
        }
    }
}

#[tokio::test]
async fn the_proto3_json_spelling_is_accepted_and_both_spellings_at_once_are_400() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let wanted = server.create(about("repo", "a")).await;
    server.create(about("repo", "b")).await;
    let answer = caller.get("/v1/operations?resourceId=a&resourceType=repo&pagination.pageSize=3").await;
    assert_eq!(answer.ids(), [wanted.id.to_string()]);
    assert_eq!(answer.json()["pagination"]["page_size"], 3);
    for both in ["resource_id=a&resourceId=a&resource_type=repo", "pagination.pageSize=1&pagination.page_size=1"] {
        assert_eq!(caller.get(&format!("/v1/operations?{both}")).await.violated().len(), 1, "{both}");
    }
}

#[tokio::test]
async fn a_parameter_twice_is_400() {
    let server = Server::start().await;
    let answer = server.acme().await.get("/v1/operations?kind=a&kind=a").await;
    assert_eq!(answer.violated(), ["kind"]);
}

#[tokio::test]
async fn an_unknown_parameter_is_400_naming_it() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for unknown in ["statuss", "page", "Kind", "filter.kind"] {
        let answer = caller.get(&format!("/v1/operations?{unknown}=1")).await;
        assert_eq!(answer.violated(), [unknown]);
        assert!(answer.violations()[0].1.contains("pagination.page_size"), "the known ones are named");
    }
}

#[tokio::test]
async fn kind_and_status_empty_are_as_if_absent() {
    let server = Server::start().await;
    server.pending("scan").await;
    assert_eq!(server.acme().await.get("/v1/operations?kind=&status=").await.ids().len(), 1);
}

#[tokio::test]
async fn a_kind_or_resource_nobody_has_used_is_200_and_empty() {
    let server = Server::start().await;
    let caller = server.acme().await;
    server.pending("scan").await;
    for query in ["kind=nobody", "kind=no%20name", "resource_type=a&resource_id=b"] {
        let answer = caller.get(&format!("/v1/operations?{query}")).await;
        assert!(answer.ids().is_empty(), "{query}");
        let pagination = &answer.json()["pagination"];
        assert_eq!((&pagination["total_count"], &pagination["total_pages"]), (&0.into(), &0.into()));
    }
}

#[tokio::test]
async fn a_string_longer_than_256_bytes_invalid_utf8_or_control_characters_are_400() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let (fits, too_long) = ("a".repeat(256), "a".repeat(257));
    assert_eq!(caller.get(&format!("/v1/operations?kind={fits}")).await.status, StatusCode::OK);
    for bad in [&too_long, &"%C3%A9".repeat(129), "%ff", "%c3", "%zz", "%4", "%", "a%00b", "%0a", "%7f", "%C2%85"] {
        assert_eq!(caller.get(&format!("/v1/operations?kind={bad}")).await.violated(), ["kind"], "{bad}");
        let resource = caller.get(&format!("/v1/operations?resource_type=t&resource_id={bad}")).await;
        assert_eq!(resource.violated()[0], "resource_id", "{bad}");
    }
}

#[tokio::test]
async fn another_tenants_resource_is_200_and_empty() {
    let server = Server::start().await;
    server.create(about("repo", "a")).await;
    let other = server.caller(Access::organization("other"), &[Scope::OperationsRead]).await;
    assert!(other.get("/v1/operations?resource_type=repo&resource_id=a").await.ids().is_empty());
}

#[tokio::test]
async fn head_is_get_without_body_and_other_methods_are_405_with_allow() {
    let server = Server::start().await;
    let caller = server.acme().await;
    server.pending("scan").await;
    let got = caller.get("/v1/operations").await;
    let head = caller.send(Method::HEAD, "/v1/operations", &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), got.body.len().to_string());
    let head = caller.send(Method::HEAD, "/v1/operations?nope=1", &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::BAD_REQUEST, 0));
    for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let answer = caller.send(method.clone(), "/v1/operations", &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), "GET,HEAD,POST", "{method}");
        assert_eq!(answer.reason(), "METHOD_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn a_page_past_the_end_is_200_and_empty_with_the_count() {
    let server = Server::start().await;
    server.pending("scan").await;
    let answer = server.acme().await.get("/v1/operations?pagination.page=1000&pagination.page_size=10").await;
    insta::assert_snapshot!(
        answer.text(),
        @r#"{"operations":[],"pagination":{"total_count":1,"page":1000,"total_pages":1,"page_size":10}}"#
    );
}

#[tokio::test]
async fn pages_are_newest_first_and_follow_one_another() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut created = Vec::new();
    for _ in 0..5 {
        created.insert(0, server.pending("scan").await.id.to_string());
    }
    let mut listed = Vec::new();
    for page in 0..3 {
        let answer = caller.get(&format!("/v1/operations?pagination.page={page}&pagination.page_size=2")).await;
        let pagination = answer.json()["pagination"].clone();
        assert_eq!(pagination, serde_json::json!({"total_count":5,"page":page,"total_pages":3,"page_size":2}));
        listed.extend(answer.ids());
    }
    assert_eq!(listed, created);
}

#[tokio::test]
async fn counting_from_one_makes_page_0_and_1_the_first() {
    let server = Server::with_settings(|settings| settings.first_page = FirstPage::One).await;
    let caller = server.acme().await;
    let older = server.pending("scan").await;
    let newer = server.pending("scan").await;
    for (page, shown, id) in [(0, 1, newer.id), (1, 1, newer.id), (2, 2, older.id)] {
        let answer = caller.get(&format!("/v1/operations?pagination.page={page}&pagination.page_size=1")).await;
        assert_eq!(answer.ids(), [id.to_string()], "page {page}");
        assert_eq!(answer.json()["pagination"]["page"], shown);
    }
    assert_eq!(caller.get("/v1/operations").await.json()["pagination"]["page"], 1);
}

#[tokio::test]
async fn every_field_stands_in_the_documented_order() {
    let server = Server::start().await;
    let operation = NewOperation {
        project_id: "p".to_owned(),
        project_version_id: "v".to_owned(),
        ..about("evidence", "sha256:0")
    };
    server.ended(operation, Outcome::Completed { output: "{\"a\":\"é\\\"\"}".to_owned() }).await;
    let failed = Outcome::Failed { message: "broken".to_owned(), retryable: false };
    server.ended(NewOperation::of_kind("scan"), failed).await;
    server.pending("scan").await;
    insta::assert_snapshot!("list", server.acme().await.get("/v1/operations").await.redacted());
}

#[tokio::test]
async fn long_outputs_are_whole_and_a_page_of_them_is_valid_json() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let long = format!("{{\"text\":\"{}\"}}", "é\\n".repeat(100_000));
    server.completed("scan", &long).await;
    server.completed("scan", "short").await;
    server.completed("scan", &long).await;
    let answer = caller.get("/v1/operations").await;
    let json = answer.json();
    let outputs: Vec<&str> =
        json["operations"].as_array().unwrap().iter().map(|o| o["output"].as_str().unwrap()).collect();
    assert_eq!(outputs, [long.as_str(), "short", &long]);
    assert_eq!(json["pagination"]["total_count"], 3);
    let head = caller.send(Method::HEAD, "/v1/operations", &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
}
