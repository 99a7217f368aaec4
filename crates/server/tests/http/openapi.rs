//! The OpenAPI document.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::Scope;

use crate::harness::Server;

/// The document as it was last agreed on.
const AGREED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_document_is_the_one_that_was_agreed_on() {
    let document = server::http::openapi().to_pretty_json().unwrap() + "\n";
    // After an intended change: UPDATE_OPENAPI=1 cargo test -p server openapi
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(AGREED, &document).unwrap();
    }
    let agreed = std::fs::read_to_string(AGREED).unwrap();
    assert!(agreed == document, "the document has changed: look at it with UPDATE_OPENAPI=1 and git diff");
}

#[tokio::test]
async fn it_is_served_to_everybody_and_can_be_browsed_without_another_server() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let answer = nobody.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let served: Value = answer.json();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served, serde_json::to_value(server::http::openapi()).unwrap());
    let page = nobody.get("/docs/").await;
    assert_eq!(page.status, StatusCode::OK);
    for line in page.text().lines() {
        assert!(!line.contains("src=\"http") && !line.contains("href=\"http"), "{line}");
    }
}

#[tokio::test]
async fn everything_in_the_document_is_there_and_wants_a_token() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path
                .replace("{operation_id}", "01a20e1a-1194-75ec-b562-a042f01e7eac")
                .replace("{name}", "acme")
                .replace("{schedule}", "nightly")
                .replace("{token_id}", "tok_1");
            let answer = nobody.send(method.clone(), &path, &[], "").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            for (status, response) in call["responses"].as_object().unwrap() {
                let response = resolved(&document, response);
                assert!(!response["description"].as_str().unwrap().is_empty(), "{method} {path} {status}");
            }
            calls += 1;
        }
    }
    assert!(calls >= 20, "{calls} calls");
}

/// A part of the document, or what it refers to.
fn resolved<'d>(document: &'d Value, part: &'d Value) -> &'d Value {
    part["$ref"].as_str().map_or(part, |reference| document.pointer(reference.trim_start_matches('#')).unwrap())
}

#[test]
fn refusals_and_bodies_have_examples() {
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let (mut refusals, mut bodies) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            for (status, response) in call["responses"].as_object().unwrap() {
                let Ok(status @ 400..) = status.parse::<u16>() else { continue };
                let example = &resolved(&document, response)["content"]["application/json"]["example"];
                let code = StatusCode::from_u16(status).unwrap();
                assert!(example["code"].is_number() && example["details"].is_array(), "{method} {path} {code}");
                refusals += 1;
            }
            if let Some(body) = call["requestBody"]["content"].get("application/json") {
                assert!(body["example"].is_object(), "{method} {path}");
                bodies += 1;
            }
        }
    }
    assert!(refusals > 100 && bodies > 10, "{refusals} {bodies}");
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let example = &response["content"]["application/json"]["example"];
        let info = &example["details"][0];
        assert!(info["reason"].is_string() && info["domain"] == "longrun", "{name}: {example}");
    }
}

#[test]
fn the_list_is_described_as_the_public_api_describes_it() {
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let list = &document["paths"]["/v1/operations"]["get"];
    assert_eq!(list["summary"], "List async operations");
    let begins = |text: &Value, sentence: &str| assert!(text.as_str().unwrap().starts_with(sentence), "{text}");
    let sentence = "Lists asynchronous operations with optional filters for resource association and status.";
    begins(&list["description"].as_str().unwrap().replace('\n', " ").into(), sentence);
    for (name, sentence) in [
        ("pagination.page", "The (zero-based) offset of the first item returned in the collection."),
        (
            "pagination.page_size",
            "The maximum number of entries to return. If the value exceeds the maximum, then the maximum value will be used",
        ),
        ("resource_id", "Filter by associated resource ID (must be provided with resource_type)"),
        ("resource_type", "Filter by associated resource type (must be provided with resource_id)"),
        ("status", "Filter by operation status"),
        ("kind", "Filter by operation kind"),
    ] {
        let parameters = list["parameters"].as_array().unwrap();
        let parameter = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
        begins(&parameter["description"].as_str().unwrap().replace('\n', " ").into(), sentence);
    }
}

/// A call with the names of what is in its path left out.
fn shape(call: &str) -> String {
    let mut parts = call.split('{');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |shape, part| shape + "{" + &part[part.find('}').unwrap()..])
}

#[test]
fn the_table_of_calls_in_the_documentation_has_every_call() {
    let documented = include_str!("../../../../docs/api.md");
    let rows = documented.lines().skip_while(|line| *line != "| call | scopes |").take_while(|line| !line.is_empty());
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let of_table: BTreeSet<String> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(shape).collect();
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let calls = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| shape(&format!("{} {path}", method.to_uppercase())))
    });
    assert_eq!(of_table, calls.collect());
}

#[tokio::test]
async fn what_is_not_found_is_in_the_document() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let instance = server.instance(&[], &[Scope::Admin]).await;
    let view = r#"{"name":"n","filter":"status = FAILED"}"#;
    let token = r#"{"name":"ci","organization":"nobody","scopes":["operations:read"]}"#;
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    for (caller, at, path, body) in [
        (&acme, "/v1/views/{view_id}:update", "/v1/views/nobodys:update", view),
        (&instance, "/v1/tokens", "/v1/tokens", token),
    ] {
        let answer = caller.post(path, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
        assert!(document["paths"][at]["post"]["responses"]["404"].is_object(), "{at}");
    }
}

#[tokio::test]
async fn every_call_refuses_parameters_and_bodies_that_it_does_not_take() {
    let server = Server::start().await;
    let (acme, instance) = (server.acme().await, server.instance(&[], &[Scope::Admin]).await);
    let operation = server.pending("scan").await;
    let stored = acme.send(Method::POST, "/v1/evidence", &[], "evidence").await.json();
    let view = acme.post("/v1/views", r#"{"name":"all","visibility":"shared"}"#).await.json();
    let waiver = acme.post("/v1/waivers", r#"{"policy":"p","reason":"known"}"#).await.json();
    let nightly = r#"{"name":"nightly","cron":"0 3 * * *","operation":{"kind":"scan"}}"#;
    assert_eq!(acme.post("/v1/schedules", nightly).await.status, StatusCode::OK);
    let token = r#"{"name":"ci","scopes":["operations:read"]}"#;
    let token = acme.post("/v1/tokens", token).await.json();
    let lists = ["operations", "evidence", "views", "waivers", "schedules", "tokens", "organizations/acme"];
    let mut before = Vec::new();
    for list in lists {
        before.push(acme.get(&format!("/v1/{list}")).await.body);
    }
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let mut bodies = 0;
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let path = template
                .replace("{operation_id}", &operation.id.to_string())
                .replace("{digest}", stored["digest"].as_str().unwrap())
                .replace("{view_id}", view["view"]["id"].as_str().unwrap())
                .replace("{waiver_id}", waiver["waiver"]["id"].as_str().unwrap())
                .replace("/kinds/{name}", "/kinds/scan")
                .replace("{name}", "acme")
                .replace("{schedule}", "nightly")
                .replace("{session_id}", "ses_0")
                .replace("{token_id}", token["token"]["id"].as_str().unwrap());
            let method: Method = method.to_uppercase().parse().unwrap();
            let json = [("content-type", "application/json")];
            let mut requests = vec![(format!("{path}?zz=1"), "")];
            if method != Method::GET && call["requestBody"].is_null() {
                requests.push((path, r#"{"zz":1}"#));
                bodies += 1;
            }
            for (path, body) in requests {
                let mut answer = acme.send(method.clone(), &path, &json, body).await;
                if answer.status == StatusCode::FORBIDDEN {
                    answer = instance.send(method.clone(), &path, &json, body).await;
                }
                assert_eq!(answer.violated(), ["zz"], "{method} {path} {body}: {answer:?}");
            }
        }
    }
    assert!(bodies > 10, "{bodies} calls without a body");
    for (list, before) in lists.iter().zip(before) {
        assert_eq!(acme.get(&format!("/v1/{list}")).await.body, before, "{list}");
    }
    // Some clients send an object without members, or announce a body and send none.
    let path = format!("/v1/operations/{}:cancel", operation.id);
    let answer = acme.post(&path, "x".repeat(2_000)).await;
    assert_eq!((answer.status, &*answer.reason()), (StatusCode::BAD_REQUEST, "MALFORMED_REQUEST"));
    assert_eq!(acme.post(&path, "{}").await.status, StatusCode::OK);
    let path = format!("/v1/operations/{}:cancel", server.pending("scan").await.id);
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\n{}connection: close\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        acme.authorization_line()
    );
    let answer = acme.raw(chunked.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_operation_can_be_created_with_all_defaults_of_the_document() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    // Generated clients send the defaults with every call.
    let mut body = json!({"kind": "scan"});
    for (name, property) in document["components"]["schemas"]["CreateOperation"]["properties"].as_object().unwrap() {
        if !property["default"].is_null() {
            body[name] = property["default"].clone();
        }
    }
    assert!(body.as_object().unwrap().len() > 1, "{body}");
    let answer = acme.post("/v1/operations", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{body}: {answer:?}");
}

#[test]
fn everything_in_the_document_says_what_it_is() {
    fn look(at: &str, schema: &Value, found: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                let at = format!("{at}.{name}");
                // What may be null is described where it is not.
                let described = |schema: &Value| !schema["description"].is_null() || !schema["$ref"].is_null();
                let is_described =
                    described(property) || property["oneOf"].as_array().is_some_and(|one| one.iter().any(described));
                // The discriminator of an error's detail itself says what it is.
                if !is_described && name != "@type" {
                    found.push(at.clone());
                }
                look(&at, property, found);
            }
        }
        for (index, one) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
            look(&format!("{at}[{index}]"), one, found);
        }
    }
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let mut found = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        look(name, schema, &mut found);
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            for parameter in call["parameters"].as_array().into_iter().flatten() {
                if parameter["description"].is_null() {
                    found.push(format!("{method} {path} {}", parameter["name"]));
                }
            }
        }
    }
    assert!(found.is_empty(), "without a description: {found:#?}");
}
