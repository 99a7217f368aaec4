//! Evidence and its evaluation: `POST /v1/evidence`, `GET /v1/evidence/{digest}`, `POST /v1/agents/evaluate-evidence`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::{ClaimRequest, Digest, Scope};

use crate::harness::{Answer, CONTENT_LIMIT, Caller, Server};

const SBOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[]}"#;
const EVALUATE: &str = "/v1/agents/evaluate-evidence";

async fn put(caller: &Caller, content: impl Into<bytes::Bytes>) -> Answer {
    caller.send(Method::POST, "/v1/evidence", &[("content-type", "application/octet-stream")], content).await
}

/// Asks for an evaluation by the shortest possible policy.
fn request(members: Value) -> String {
    let policy = json!({
        "apiVersion": "chainloop.dev/v1",
        "kind": "Policy",
        "metadata": {"name": "always"},
        "spec": {"policies": [{"kind": "SBOM_CYCLONEDX_JSON", "embedded": "package main\nimport rego.v1\nviolations := []\n"}]},
    });
    let mut request = json!({"policies": [{"embedded": policy}]});
    request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    request.to_string()
}

async fn operation(caller: &Caller, answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let id = answer.json()["operation_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.json(), json!({"operation_id": id}));
    caller.get(&format!("/v1/operations/{id}")).await.json()["operation"].clone()
}

/// A server that has the evidence [`SBOM`], somebody of its organization, and the digest.
async fn with_sbom() -> (Server, Caller, String) {
    let server = Server::start().await;
    let caller = server.acme().await;
    put(&caller, SBOM).await;
    (server, caller, Digest::of(SBOM.as_bytes()).to_string())
}

#[tokio::test]
async fn evidence_comes_back_by_its_digest_with_its_kind() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let answer = put(&caller, SBOM).await;
    let digest = Digest::of(SBOM.as_bytes()).to_string();
    let wanted = format!(r#"{{"digest":"{digest}","size":{},"kind":"SBOM_CYCLONEDX_JSON"}}"#, SBOM.len());
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, wanted.as_str()));
    assert_eq!(put(&caller, SBOM).await.body, answer.body, "storing again changes nothing");

    let path = format!("/v1/evidence/{digest}");
    let got = caller.get(&path).await;
    assert_eq!((got.status, got.text()), (StatusCode::OK, SBOM));
    assert_eq!(got.header("content-type"), "application/octet-stream");
    assert_eq!(got.header("content-length"), SBOM.len().to_string());
    assert_eq!(got.header("etag"), format!("\"{digest}\""));
    assert_eq!(got.header("content-disposition"), "attachment");
    let head = caller.send(Method::HEAD, &path, &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), SBOM.len().to_string());
    let known = caller.send(Method::GET, &path, &[("if-none-match", got.header("etag"))], "").await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn evidence_of_no_known_kind_is_stored_without_one() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for content in ["", "plain text", "\u{0}"] {
        let answer = put(&caller, content).await;
        assert_eq!((answer.status, &answer.json()["kind"]), (StatusCode::OK, &json!("")), "{content:?}");
        let path = format!("/v1/evidence/{}", answer.json()["digest"].as_str().unwrap());
        assert_eq!(caller.get(&path).await.text(), content);
    }
}

#[tokio::test]
async fn evidence_above_the_limit_is_413_and_not_kept() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let content = vec![b'x'; usize::try_from(CONTENT_LIMIT).unwrap()];
    assert_eq!(put(&caller, content.clone()).await.status, StatusCode::OK);
    let too_long = [content, vec![b'x']].concat();
    let digest = Digest::of(&too_long);
    let answer = put(&caller, too_long.clone()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"));
    // Without a declared length the limit is noticed while receiving.
    let head = format!(
        "POST /v1/evidence HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{}\r\n",
        caller.authorization_line()
    );
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", too_long.len(), String::from_utf8(too_long).unwrap());
    assert!(caller.raw(format!("{head}{chunk}").as_bytes(), false).await.starts_with("HTTP/1.1 413"));
    assert_eq!(caller.get(&format!("/v1/evidence/{digest}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_digest_that_is_unknown_is_404_and_what_is_no_digest_is_400() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let unknown = Digest::of(b"unknown");
    assert_eq!(caller.get(&format!("/v1/evidence/{unknown}")).await.status, StatusCode::NOT_FOUND);
    let upper = unknown.to_string().to_uppercase().replace("SHA256", "sha256");
    for none in [upper.as_str(), "nope", "sha256:00", "%ff"] {
        let answer = caller.get(&format!("/v1/evidence/{none}")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_FIELDS"), "{none}");
        let (field, told) = answer.violations().remove(0);
        assert_eq!(field, "digest", "{none}");
        assert!(told.contains("sha256: followed by 64 lower-case hexadecimal digits"), "{none}: {told}");
    }
}

#[tokio::test]
async fn evaluating_stored_evidence_makes_an_operation_about_it() {
    let (server, caller, digest) = with_sbom().await;
    let members =
        json!({"digest": digest, "name": "sbom", "projectName": "web", "project_id": "p", "project_version_id": "v"});
    let operation = operation(&caller, &caller.post(EVALUATE, request(members)).await).await;
    assert_eq!(operation["kind"], "evidence_evaluation");
    assert_eq!((&operation["resource_type"], &operation["resource_id"]), (&json!("evidence"), &json!(digest)));
    assert_eq!((&operation["project_id"], &operation["project_version_id"]), (&json!("p"), &json!("v")));
    let history = caller.get(&format!("/v1/operations?resource_type=evidence&resource_id={digest}")).await;
    assert_eq!(history.ids(), [operation["id"].as_str().unwrap()]);

    let claim = ClaimRequest {
        kinds: vec!["evidence_evaluation".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
    };
    let input = server.store.claim(claim).await.unwrap().remove(0).input;
    let input: ::evidence::EvaluateRequest = serde_json::from_str(&input).unwrap();
    assert_eq!(
        (input.digest, input.name, input.project_name),
        (digest, Some("sbom".to_owned()), Some("web".to_owned()))
    );
}

#[tokio::test]
async fn empty_content_is_evidence_and_not_a_missing_field() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for kind in ["STRING", "ARTIFACT", "TRUFFLEHOG_JSON"] {
        let answer = caller.post(EVALUATE, request(json!({"content": "", "kind": kind}))).await;
        assert_eq!(operation(&caller, &answer).await["resource_id"], Digest::of(b"").to_string(), "{kind}");
    }
    assert_eq!(caller.get(&format!("/v1/evidence/{}", Digest::of(b""))).await.text(), "");
    for missing in [json!({}), json!({"content": null})] {
        let answer = caller.post(EVALUATE, request(missing)).await;
        assert_eq!(answer.violations(), [("digest".into(), "exactly one of digest and content must be given".into())]);
    }
    // Clients write the empty text for a field that they leave out.
    put(&caller, SBOM).await;
    let digest = Digest::of(SBOM.as_bytes()).to_string();
    let answer = caller.post(EVALUATE, request(json!({"digest": digest, "content": ""}))).await;
    assert_eq!(operation(&caller, &answer).await["resource_id"], digest);
}

#[tokio::test]
async fn content_is_stored_first_whatever_its_base64() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let content = b"{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"x\":\"\xc3\xbf\xc3\xbe~~??>>\"}";
    for text in
        [STANDARD.encode(content), URL_SAFE_NO_PAD.encode(content), STANDARD.encode(content).replace('/', "\\/")]
    {
        // The text goes in as it is, escapes and all.
        let body = request(json!({"content": "@"})).replace("\"@\"", &format!("\"{text}\""));
        let operation = operation(&caller, &caller.post(EVALUATE, body).await).await;
        assert_eq!(operation["resource_id"], Digest::of(content).to_string());
    }
    let got = caller.get(&format!("/v1/evidence/{}", Digest::of(content))).await;
    assert_eq!(got.body, content.as_slice());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_400_with_the_path_of_the_field() {
    let (_server, caller, digest) = with_sbom().await;
    let unknown = Digest::of(b"unknown").to_string();
    for (members, field) in [
        (json!({}), "digest"),
        (json!({"digest": digest, "content": "eA=="}), "digest"),
        (json!({"digest": "sha256:0"}), "digest"),
        (json!({"digest": unknown}), "digest"),
        (json!({"content": "not base64!"}), "content"),
        (json!({"content": 7}), "content"),
        (json!({"digest": digest, "kind": "NOPE"}), "kind"),
        (json!({"digest": digest, "nope": 1}), "nope"),
        (json!({"digest": digest, "policies": [{"ref": "a", "embedded": "b"}]}), "policies[0]"),
        (json!({"digest": digest, "policies": [{"ref": "a", "wth": {}}]}), "policies[0].wth"),
        (json!({"digest": digest, "policies": []}), "policies"),
        (json!({"digest": digest, "project_id": "\u{1}"}), "project_id"),
    ] {
        let answer = caller.post(EVALUATE, request(members.clone())).await;
        assert!(answer.violated().contains(&field.to_owned()), "{members} {answer:?}");
    }
    assert!(caller.get("/v1/operations").await.ids().is_empty());
}

#[tokio::test]
async fn what_should_be_an_object_is_described_and_not_by_the_name_of_a_type() {
    let (_server, caller, digest) = with_sbom().await;
    for (members, told) in [
        (json!({"digest": digest, "policies": ["a"]}), "policies[0]: must be an object with ref or embedded"),
        (json!({"digest": digest, "policy_groups": ["a"]}), "policy_groups[0]: must be an object with ref"),
        (
            json!({"digest": digest, "policies": [{"ref": "a", "selector": "b"}]}),
            "policies[0].selector: must be an object with the name of the material",
        ),
    ] {
        let answer = caller.post(EVALUATE, members.to_string()).await;
        assert_eq!((answer.status, &answer.json()["message"]), (StatusCode::BAD_REQUEST, &json!(told)));
    }
}

#[tokio::test]
async fn a_prompt_without_an_ai_provider_is_400() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let answer = caller.post(EVALUATE, request(json!({"content": "eA==", "prompt": "is it safe?"}))).await;
    assert_eq!(
        answer.violations(),
        [(
            "prompt".to_owned(),
            "cannot be checked: this server has no AI provider; leave it out, or configure [ai]".to_owned()
        )]
    );
}

#[tokio::test]
async fn policies_may_be_left_out_only_when_there_are_default_ones() {
    let body = json!({"content": STANDARD.encode(SBOM)}).to_string();
    let server = Server::start().await;
    assert_eq!(server.acme().await.post(EVALUATE, body.clone()).await.violated(), ["policies"]);
    let server = Server::with(|services| services.has_default_policies = true).await;
    assert_eq!(server.acme().await.post(EVALUATE, body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_evaluation_created_as_an_operation_follows_the_same_rules() {
    let (_server, caller, digest) = with_sbom().await;
    let create = |input: Value| json!({"kind": "evidence_evaluation", "input": input}).to_string();
    let input: Value = serde_json::from_str(&request(json!({"digest": digest}))).unwrap();
    let created = caller.post("/v1/operations", create(input.clone())).await;
    assert_eq!(created.json()["operation"]["resource_id"], digest, "{created:?}");
    for (body, field) in [
        (json!({"kind": "evidence_evaluation"}).to_string(), "input.digest"),
        (create(json!({"digest": digest, "nope": 1})), "input.nope"),
        (create(json!(7)), "input"),
        (create(json!({"digest": digest, "policies": input["policies"], "name": 7})), "input.name"),
        (create(json!({"digest": digest, "policyGroups": []})), "input"),
        (create(json!({"digest": "sha256:0", "policies": input["policies"]})), "input.digest"),
        (create(json!({"digest": digest, "policies": [{"ref": "x", "wth": {}}]})), "input.policies[0].wth"),
        (create(json!({"digest": Digest::of(b"unknown").to_string(), "policies": input["policies"]})), "input.digest"),
        (create(json!({"digest": digest})), "input.policies"),
        (
            json!({"kind": "evidence_evaluation", "input": input, "resource_type": "evidence", "resource_id": "x"})
                .to_string(),
            "resource_id",
        ),
    ] {
        assert_eq!(caller.post("/v1/operations", body.clone()).await.violated(), [field], "{body}");
    }
    let wrong = json!({"digest": 5, "foo": 1, "policies": [{"ref": 7}, {"reff": "a"}], "name": "\u{1}", "prompt": ""});
    let told = caller.post("/v1/operations", create(wrong)).await.violations();
    let told: Vec<String> = told.into_iter().map(|(field, what)| format!("{field}: {what}")).collect();
    assert_eq!(told[..2], ["input.digest: must be a string", "input.policies[0].ref: must be a string"], "{told:?}");
    assert!(told[2].starts_with("input.foo: unknown field; the fields are digest, kind, "), "{told:?}");
    let wrong = json!({"digest": "", "policies": [{"ref": "https://x/y"}], "name": "\u{1}", "prompt": ""});
    let mut violated = caller.post("/v1/operations", create(wrong)).await.violated();
    violated.sort();
    assert_eq!(violated, ["input.digest", "input.name", "input.policies[0].ref", "input.prompt"]);
}

#[tokio::test]
async fn a_repeated_evaluation_with_the_same_key_is_one_operation() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let body = request(json!({"content": STANDARD.encode(SBOM)}));
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let first = caller.send(Method::POST, EVALUATE, &headers, body.clone()).await;
    let again = caller.send(Method::POST, EVALUATE, &headers, body).await;
    assert_eq!((first.status, &again.body), (StatusCode::OK, &first.body));
}

#[tokio::test]
async fn each_form_of_evidence_needs_its_scope() {
    let server = Server::start().await;
    put(&server.acme().await, SBOM).await;
    let acme = || Access::organization("acme");
    let by_content = request(json!({"content": STANDARD.encode(SBOM)}));
    let by_digest = request(json!({"digest": Digest::of(SBOM.as_bytes()).to_string()}));
    let writer = server.caller(acme(), &[Scope::OperationsWrite, Scope::EvidenceWrite]).await;
    let reader = server.caller(acme(), &[Scope::OperationsWrite, Scope::EvidenceRead]).await;
    assert_eq!(writer.post(EVALUATE, by_content.clone()).await.status, StatusCode::OK);
    assert_eq!(reader.post(EVALUATE, by_digest.clone()).await.status, StatusCode::OK);
    for (caller, body) in [(writer, by_digest), (reader, by_content)] {
        assert_eq!(caller.post(EVALUATE, body).await.reason(), "SCOPE_MISSING");
    }
}

#[tokio::test]
async fn large_bodies_at_a_time_are_bounded() {
    let server = Server::with_settings(|settings| {
        settings.max_large_bodies = 0;
        settings.body_limit = 1024;
    })
    .await;
    let caller = server.acme().await;
    let small = request(json!({"content": STANDARD.encode(SBOM)}));
    assert_eq!(caller.post(EVALUATE, small).await.status, StatusCode::OK);
    let answer = caller.post(EVALUATE, request(json!({"content": "A".repeat(2048)}))).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((answer.reason().as_str(), answer.header("retry-after")), ("TOO_MANY_LARGE_BODIES", "1"));
    // A body that is streamed takes no place; one that is read back as a whole does.
    let stored = put(&caller, vec![b'x'; 2048]).await;
    let path = format!("/v1/evidence/{}", stored.json()["digest"].as_str().unwrap());
    assert_eq!(caller.get(&path).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn places_for_large_bodies_are_given_back() {
    let server = Server::with_settings(|settings| {
        settings.max_large_bodies = 1;
        settings.body_limit = 1024;
    })
    .await;
    let caller = server.acme().await;
    for filler in ["A", "B", "C"] {
        let answer = caller.post(EVALUATE, request(json!({"content": filler.repeat(2048)}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let digest = STANDARD.decode(filler.repeat(2048)).unwrap();
        let got = caller.get(&format!("/v1/evidence/{}", Digest::of(&digest))).await;
        assert_eq!((got.status, got.body.len()), (StatusCode::OK, 1536));
    }
}

#[tokio::test]
async fn sending_content_again_repairs_a_lost_file() {
    let (server, caller, digest) = with_sbom().await;
    let (path, file) = (format!("/v1/evidence/{digest}"), server.evidence_file(&digest));
    let evaluate = request(json!({"content": STANDARD.encode(SBOM)}));
    for is_sent_alone in [true, false] {
        for is_damaged in [true, false] {
            if is_damaged {
                std::fs::write(&file, "damaged").unwrap();
            } else {
                std::fs::remove_file(&file).unwrap();
            }
            assert_eq!(caller.get(&path).await.status, StatusCode::INTERNAL_SERVER_ERROR);
            let answer =
                if is_sent_alone { put(&caller, SBOM).await } else { caller.post(EVALUATE, evaluate.clone()).await };
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(caller.get(&path).await.text(), SBOM);
        }
    }
}
