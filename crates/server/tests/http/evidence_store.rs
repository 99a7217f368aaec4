//! Which evidence an organization has: `GET /v1/evidence`, `DELETE /v1/evidence/{digest}`, and how much it may have.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Resource};
use proto::longrun::v1 as wire;
use proto::longrun::v1::evidence_service_client::EvidenceServiceClient;
use serde_json::{Value, json};
use store::{Digest, EvidenceRemoval, Quota, Quotas, Scope};
use tonic::{Response, Status};

use crate::grpc::{assert_same, connect, time};
use crate::harness::{Answer, Caller, Server};

const LIST: &str = "/v1/evidence";

async fn put(caller: &Caller, content: &'static str, name: &str) -> Answer {
    caller.send(Method::POST, &format!("{LIST}?name={name}"), &[], content).await
}

fn digest(content: &str) -> String {
    Digest::of(content.as_bytes()).to_string()
}

fn about(digest: &str) -> NewOperation {
    let resource = Resource { resource_type: "evidence".to_owned(), resource_id: digest.to_owned() };
    NewOperation { resource: Some(resource), ..NewOperation::of_kind("scan") }
}

fn digests(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let pieces = answer.json()["evidence"].as_array().unwrap().clone();
    pieces.iter().map(|piece| piece["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_list_tells_what_there_is_and_goes_on_by_its_token() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let sbom = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[]}"#;
    assert_eq!(put(&caller, "first", "").await.json()["name"], Value::Null);
    assert_eq!(put(&caller, sbom, "app").await.json()["name"], "app");
    assert_eq!(put(&caller, sbom, "another").await.json()["name"], "app", "the first name is kept");
    assert_eq!(put(&caller, "first", "notes").await.json()["name"], "notes", "what has no name gets one");
    let evaluated = server.ended(
        about(&digest(sbom)),
        operations::Outcome::Completed { output: r#"{"status":"failed","policies":[]}"#.to_owned() },
    );
    let id = evaluated.await.id.to_string();

    let all = caller.get(LIST).await.json();
    let bytes = sbom.len() + 5;
    assert_eq!((&all["total_count"], &all["total_bytes"], &all["max_bytes"]), (&json!(2), &json!(bytes), &json!(0)));
    let of_sbom = caller.get(&format!("{LIST}?kind=SBOM_CYCLONEDX_JSON")).await.json()["evidence"][0].clone();
    let shown = json!({"digest": digest(sbom), "size": sbom.len(), "kind": "SBOM_CYCLONEDX_JSON", "name": "app",
        "created_at": of_sbom["created_at"], "last_used_at": of_sbom["last_used_at"],
        "last_operation": {"id": id, "status": "ASYNC_OPERATION_STATUS_COMPLETED", "verdict": "failed",
            "finished_at": of_sbom["last_operation"]["finished_at"]}});
    assert_eq!(of_sbom, shown);
    assert_eq!(digests(&caller.get(&format!("{LIST}?name=notes")).await), [digest("first")]);
    let prefix = &digest("first")["sha256:".len()..20];
    assert_eq!(digests(&caller.get(&format!("{LIST}?digest={prefix}")).await), [digest("first")]);

    let page = caller.get(&format!("{LIST}?page_size=1")).await;
    let token = page.json()["next_page_token"].as_str().unwrap().to_owned();
    let rest = caller.get(&format!("{LIST}?page_size=1&page_token={token}")).await;
    let mut both = [digests(&page), digests(&rest)].concat();
    assert_eq!(rest.json()["next_page_token"], "");
    both.sort();
    let mut wanted = [digest("first"), digest(sbom)];
    wanted.sort();
    assert_eq!(both, wanted);
    for (query, field) in [("page_token=x", "page_token"), ("digest=sha256:xyz", "digest"), ("colour=red", "colour")] {
        let refused = caller.get(&format!("{LIST}?{query}")).await;
        assert_eq!((refused.status, refused.violated()), (StatusCode::BAD_REQUEST, vec![field.to_owned()]), "{query}");
    }
    let long = "x".repeat(257);
    let refused = put(&caller, "third", &long).await;
    assert_eq!((refused.status, refused.violated()), (StatusCode::BAD_REQUEST, vec!["name".to_owned()]));
    assert_eq!(digests(&caller.get(LIST).await).len(), 2, "what was refused is not kept");
}

#[tokio::test]
async fn evidence_is_listed_and_deleted_by_its_organization_as_a_whole() {
    let server = Server::start().await;
    let acme = server.acme().await;
    put(&acme, "hello", "").await;
    let path = format!("{LIST}/{}", digest("hello"));
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    for answer in [limited.get(LIST).await, limited.delete(&path).await] {
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
    }
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    assert_eq!(digests(&other.get(LIST).await), [""; 0]);
    assert_eq!(other.delete(&path).await.status, StatusCode::NOT_FOUND);
    let reader = server.caller(Access::organization("acme"), &[Scope::EvidenceRead]).await;
    assert_eq!(digests(&reader.get(LIST).await), [digest("hello")]);
    assert_eq!(reader.delete(&path).await.reason(), "SCOPE_MISSING");

    let waiting = server.create(about(&digest("hello"))).await;
    let refused = acme.delete(&path).await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::BAD_REQUEST, "EVIDENCE_IN_USE"));
    assert_eq!(acme.get(&path).await.text(), "hello");
    acme.post(&format!("/v1/operations/{}:cancel", waiting.id), "").await;
    let deleted = acme.delete(&path).await;
    assert_eq!((deleted.status, deleted.text()), (StatusCode::OK, "{}"));
    assert_eq!(acme.get(&path).await.status, StatusCode::NOT_FOUND);
    assert!(!server.evidence_file(&digest("hello")).exists());
    assert_eq!(acme.delete(&path).await.status, StatusCode::NOT_FOUND);
    let audit = acme.get("/v1/audit?action=evidence.").await.json();
    let entry = &audit["entries"][0];
    assert_eq!((&entry["action"], &entry["targets"][0]), (&json!("evidence.delete"), &json!(path.replace("/v1/", ""))));
    assert_eq!(audit["entries"].as_array().unwrap().len(), 2, "one was stored, and one deleted");
    assert_eq!(put(&acme, "hello", "").await.status, StatusCode::OK, "it can be stored again");
}

#[tokio::test]
async fn evidence_that_cannot_come_to_its_place_counts_for_nothing() {
    let server = Server::start().await;
    let caller = server.acme().await;
    // A file where the folder of the organization should be.
    let organization = server.evidence_file(&digest("hello")).ancestors().nth(3).unwrap().to_owned();
    std::fs::create_dir_all(organization.parent().unwrap()).unwrap();
    std::fs::write(&organization, "").unwrap();
    let refused = put(&caller, "hello", "").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
    assert_eq!(server.store.evidence_totals("acme").await.unwrap(), store::EvidenceTotals::default());
    let incoming = organization.ancestors().nth(2).unwrap().join("incoming");
    assert!(!incoming.exists(), "nothing is left behind");
    std::fs::remove_file(&organization).unwrap();
    assert_eq!(put(&caller, "hello", "").await.status, StatusCode::OK);
    assert_eq!(server.store.evidence_totals("acme").await.unwrap().pieces, 1);
}

#[tokio::test]
async fn more_evidence_than_may_be_is_429_with_the_limit_and_the_use() {
    let server = Server::with(|services| {
        let everybody = Quota { max_evidence: Some(10), ..Quota::default() };
        services.store.set_quotas(Quotas { everybody, ..Quotas::default() });
    })
    .await;
    let caller = server.acme().await;
    assert_eq!(put(&caller, "12345678", "").await.status, StatusCode::OK);
    let refused = put(&caller, "more", "").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    insta::assert_snapshot!(refused.text(), @r#"{"code":8,"message":"the organization may store 10 bytes of evidence, stores 8, and this evidence has 4: delete some that is not needed","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOO_MUCH_EVIDENCE","domain":"longrun","metadata":{"limit":"10","size":"4","used":"8"}}]}"#);
    assert_eq!(put(&caller, "12345678", "").await.status, StatusCode::OK, "what is there already needs no room");
    assert_eq!(digests(&caller.get(LIST).await).len(), 1);
    let file = server.evidence_file(&digest("more"));
    let incoming = file.ancestors().nth(5).unwrap().join("incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0, "what was refused is not left behind");
    caller.delete(&format!("{LIST}/{}", digest("12345678"))).await;
    assert_eq!(put(&caller, "more", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_upload_waits_for_a_removal_of_the_same_content() {
    let server = Server::start().await;
    let caller = server.acme().await;
    put(&caller, "hello", "").await;
    let one = EvidenceRemoval::One(Digest::of(b"hello"));
    let removing = server.store.begin_removal("acme", one).await.unwrap().unwrap();
    let mut upload = tokio::spawn({
        let caller = caller.clone();
        async move { put(&caller, "hello", "").await }
    });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut upload).await;
    assert!(early.is_err(), "it must not come to its place before the object is removed");
    std::fs::remove_file(server.evidence_file(&digest("hello"))).unwrap();
    server.store.end_removal("acme", removing).await.unwrap();
    assert_eq!(upload.await.unwrap().status, StatusCode::OK);
    assert_eq!(caller.get(&format!("{LIST}/{}", digest("hello"))).await.text(), "hello");
}

#[tokio::test]
async fn a_deletion_waits_for_another_removal_of_the_same_piece() {
    let server = Server::start().await;
    let caller = server.acme().await;
    put(&caller, "hello", "").await;
    let one = EvidenceRemoval::One(Digest::of(b"hello"));
    let removing = server.store.begin_removal("acme", one).await.unwrap().unwrap();
    let mut deletion = tokio::spawn({
        let caller = caller.clone();
        async move { caller.delete(&format!("{LIST}/{}", digest("hello"))).await }
    });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut deletion).await;
    assert!(early.is_err(), "it must not end the removal before the object is removed");
    assert!(server.evidence_file(&digest("hello")).exists(), "it is left to the one who began");
    server.store.end_removal("acme", removing).await.unwrap();
    assert_eq!(deletion.await.unwrap().status, StatusCode::NOT_FOUND);
}

/// A piece as HTTP shows it.
fn piece(piece: wire::ListedEvidence) -> Value {
    let mut shown = json!({
        "digest": piece.digest, "size": piece.size, "kind": piece.kind, "name": piece.name,
        "created_at": time(piece.created_at), "last_used_at": time(piece.last_used_at),
    });
    if let Some(last) = piece.last_operation {
        let status = wire::AsyncOperationStatus::try_from(last.status).unwrap();
        shown["last_operation"] = json!({"id": last.id, "status": status.as_str_name()});
        if last.finished_at.is_some() {
            shown["last_operation"]["finished_at"] = json!(time(last.finished_at));
        }
        if !last.verdict.is_empty() {
            shown["last_operation"]["verdict"] = json!(last.verdict);
        }
    }
    shown
}

fn list(answer: Result<Response<wire::ListEvidenceResponse>, Status>) -> Result<Value, Status> {
    answer.map(|answer| {
        let list = answer.into_inner();
        json!({
            "evidence": list.evidence.into_iter().map(piece).collect::<Vec<_>>(),
            "next_page_token": list.next_page_token, "total_count": list.total_count,
            "total_bytes": list.total_bytes, "max_bytes": list.max_bytes,
        })
    })
}

#[tokio::test]
async fn both_faces_list_and_delete_evidence_alike() {
    let server = Server::start().await;
    let acme = server.acme().await;
    put(&acme, "hello", "greeting").await;
    put(&acme, "world", "").await;
    server.create(about(&digest("hello"))).await;
    let callers = [
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("reads only", server.caller(Access::organization("acme"), &[Scope::EvidenceRead]).await),
        ("no scope", server.caller(Access::organization("acme"), &[]).await),
        ("everything", acme),
    ];
    for (who, caller) in &callers {
        let mut client = EvidenceServiceClient::new(connect(caller).await);
        for (query, request) in [
            ("", wire::ListEvidenceRequest::default()),
            ("?page_size=1", wire::ListEvidenceRequest { page_size: 1, ..Default::default() }),
            ("?name=greeting", wire::ListEvidenceRequest { name: "greeting".to_owned(), ..Default::default() }),
            ("?page_token=x", wire::ListEvidenceRequest { page_token: "x".to_owned(), ..Default::default() }),
            ("?digest=sha256:xx", wire::ListEvidenceRequest { digest: "sha256:xx".to_owned(), ..Default::default() }),
        ] {
            let http = caller.get(&format!("{LIST}{query}")).await;
            assert_same(&format!("{who}: {query}"), &http, list(client.list_evidence(request).await));
        }
        // The last one is in use, and a piece that is removed over HTTP is no longer there over gRPC.
        for digest in ["nothing".to_owned(), digest("unknown"), digest("hello")] {
            let http = caller.delete(&format!("{LIST}/{digest}")).await;
            let request = wire::DeleteEvidenceRequest { digest: digest.clone() };
            let grpc = client.delete_evidence(request).await.map(|_| json!({}));
            assert_same(&format!("{who}: delete {digest}"), &http, grpc);
        }
    }
}
