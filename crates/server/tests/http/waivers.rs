//! Waivers, and evaluating evidence again, over both faces.

use http::{Method, StatusCode};
use operations::Access;
use proto::longrun::v1 as wire;
use proto::longrun::v1::evidence_service_client::EvidenceServiceClient;
use proto::longrun::v1::waivers_service_client::WaiversServiceClient;
use serde_json::{Value, json};
use store::{Digest, Scope};

use crate::grpc::{assert_same, connect, time};
use crate::harness::Server;

const PATH: &str = "/v1/waivers";
const AGAIN: &str = "/v1/evidence:reevaluate";

#[tokio::test]
async fn a_waiver_is_added_listed_removed_and_recorded() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let asked =
        r#"{"policy":"vulnerabilities","finding":"CVE-1","subject":"app","reason":"not reachable","expires_in":"60s"}"#;
    let made = acme.post(PATH, asked).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let waiver = made.json()["waiver"].clone();
    let wanted = json!({"id": waiver["id"], "policy": "vulnerabilities", "finding": "CVE-1", "subject": "app",
        "reason": "not reachable", "created_by": waiver["created_by"], "created_at": waiver["created_at"],
        "expires_at": waiver["expires_at"], "active": true});
    assert_eq!(waiver, wanted);
    assert_eq!(acme.get(PATH).await.json(), json!({"waivers": [waiver]}));
    let path = format!("{PATH}/{}", waiver["id"].as_str().unwrap());
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    assert_eq!(other.get(PATH).await.json(), json!({"waivers": []}));
    assert_eq!(other.delete(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(acme.delete(&path).await.text(), "{}");
    assert_eq!(acme.delete(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(acme.get(PATH).await.json(), json!({"waivers": []}));
    let audit = acme.get("/v1/audit?action=waivers.").await.json();
    let told: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(told, ["waivers.delete", "waivers.create"]);
    assert_eq!(audit["entries"][0]["targets"], json!([path.replace("/v1/", "")]));
}

#[tokio::test]
async fn who_stores_evidence_may_not_wave_it_through() {
    let server = Server::start().await;
    let ci = server.caller(Access::organization("acme"), &[Scope::EvidenceWrite, Scope::EvidenceRead]).await;
    let asked = r#"{"policy":"p","reason":"r"}"#;
    assert_eq!(ci.post(PATH, asked).await.reason(), "SCOPE_MISSING");
    assert_eq!(ci.get(PATH).await.status, StatusCode::OK, "it may see why");
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    for answer in [limited.post(PATH, asked).await, limited.get(PATH).await, limited.post(AGAIN, asked).await] {
        assert_eq!(answer.reason(), "PERMISSION_DENIED");
    }
}

#[tokio::test]
async fn a_waiver_names_a_vex_document_that_is_stored() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let put = async |document: Value| {
        let stored = acme
            .send(Method::POST, "/v1/evidence", &[("content-type", "application/octet-stream")], document.to_string())
            .await;
        assert_eq!(stored.status, StatusCode::OK, "{stored:?}");
        stored.json()["digest"].as_str().unwrap().to_owned()
    };
    let vex = |status: &str| {
        json!({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "security",
            "timestamp": "2026-11-01T00:00:00Z", "version": 1, "statements": [{"vulnerability": {"name": "CVE-2026-1"},
            "products": [{"@id": "pkg:oci/app"}], "status": status, "justification": "component_not_present",
            "action_statement": "update"}]})
    };
    let (answered, open) = (put(vex("not_affected")).await, put(vex("affected")).await);
    let other = put(json!({"some": "thing"})).await;
    let missing = Digest::of(b"nothing");
    for (finding, subject, told) in [
        (format!("vex:{answered}"), "", "subject"),
        (format!("vex:{missing}"), "app", "is not stored as evidence"),
        (format!("vex:{open}"), "app", "contains no statement"),
        (format!("vex:{other}"), "app", "is not a VEX document"),
        ("vex:sha256:12".to_owned(), "app", "must be sha256:"),
    ] {
        let asked = json!({"policy": "p", "finding": finding, "subject": subject, "reason": "r"});
        let refused = acme.post(PATH, asked.to_string()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{asked}");
        assert!(refused.text().contains(told), "{asked}: {}", refused.text());
    }
    // Nor may it be another organization's.
    let stranger = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    let asked =
        json!({"policy": "p", "finding": format!("vex:{answered}"), "subject": "app", "reason": "r"}).to_string();
    assert!(stranger.post(PATH, asked.clone()).await.text().contains("is not stored as evidence"));
    let made = acme.post(PATH, asked.clone()).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let evidence = format!("/v1/evidence/{answered}");
    assert_eq!(acme.delete(&evidence).await.reason(), "EVIDENCE_IN_USE");
    for _ in 1..store::MAX_VEX_WAIVERS {
        assert_eq!(acme.post(PATH, asked.clone()).await.status, StatusCode::OK);
    }
    assert!(acme.post(PATH, asked).await.text().contains("waivers of the organization name a VEX document"));
    for waiver in acme.get(PATH).await.json()["waivers"].as_array().unwrap() {
        let waiver = format!("{PATH}/{}", waiver["id"].as_str().unwrap());
        assert_eq!(acme.delete(&waiver).await.status, StatusCode::OK);
    }
    assert_eq!(acme.delete(&evidence).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_with_a_waiver_is_told_at_once() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let long = "x".repeat(2_049);
    for (asked, fields) in [
        (json!({}), vec!["policy", "reason"]),
        (
            json!({"policy": "p", "reason": " ", "finding": long, "expires_in": "0s"}),
            vec!["finding", "reason", "expires_in"],
        ),
        (json!({"policy": "p", "reason": "r", "until": "x"}), vec!["until"]),
        (json!({"policy": "p", "reason": "r", "subject": "sha256:zzz"}), vec!["subject"]),
    ] {
        let refused = acme.post(PATH, asked.to_string()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{asked}");
        let mut violated = refused.violated();
        violated.sort();
        let mut fields: Vec<_> = fields.into_iter().map(str::to_owned).collect();
        fields.sort();
        assert_eq!(violated, fields, "{asked}");
    }
    assert_eq!(acme.get(PATH).await.json(), json!({"waivers": []}));
    for (asked, field) in
        [(json!({}), "policy"), (json!({"digest": "sha256:00"}), "digest"), (json!({"newest_days": 0}), "newest_days")]
    {
        let refused = acme.post(AGAIN, asked.to_string()).await;
        assert_eq!((refused.status, refused.violated()), (StatusCode::BAD_REQUEST, vec![field.to_owned()]), "{asked}");
    }
}

#[tokio::test]
async fn a_reevaluation_is_an_operation_that_nobody_else_may_make() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let digest = Digest::of(b"x").to_string();
    let begun = acme.post(AGAIN, json!({"policy": "p", "digest": digest, "newest_days": 3}).to_string()).await;
    let id = begun.json()["operation_id"].as_str().unwrap().to_owned();
    let detail = acme.get(&format!("/v1/operations/{id}")).await.json();
    assert_eq!(detail["operation"]["kind"], "evidence_reevaluation");
    let forged = acme.post("/v1/operations", r#"{"kind":"evidence_reevaluation"}"#).await;
    assert_eq!((forged.status, forged.violated()), (StatusCode::BAD_REQUEST, vec!["kind".to_owned()]));
}

/// A waiver as HTTP shows it.
fn waiver(waiver: wire::Waiver) -> Value {
    let mut shown = json!({
        "id": waiver.id, "policy": waiver.policy, "finding": waiver.finding, "subject": waiver.subject,
        "reason": waiver.reason, "created_by": waiver.created_by, "created_at": time(waiver.created_at),
    });
    if waiver.expires_at.is_some() {
        shown["expires_at"] = json!(time(waiver.expires_at));
    }
    shown["active"] = json!(waiver.active);
    shown
}

#[tokio::test]
async fn both_faces_keep_waivers_alike() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let made = acme.post(PATH, r#"{"policy":"p","reason":"r","expires_in":"60s"}"#).await.json();
    let id = made["waiver"]["id"].as_str().unwrap().to_owned();
    let callers = [
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("reads only", server.caller(Access::organization("acme"), &[Scope::EvidenceRead]).await),
        ("no scope", server.caller(Access::organization("acme"), &[]).await),
        ("everything", acme),
    ];
    for (who, caller) in &callers {
        let channel = connect(caller).await;
        let mut client = WaiversServiceClient::new(channel.clone());
        let grpc = client.list_waivers(wire::ListWaiversRequest {}).await;
        let grpc =
            grpc.map(|list| json!({"waivers": list.into_inner().waivers.into_iter().map(waiver).collect::<Vec<_>>()}));
        assert_same(&format!("{who}: list"), &caller.get(PATH).await, grpc);
        // Refusals are the same; of the waivers that are made each has an id of its own.
        let http = caller.post(PATH, r#"{"policy":"","reason":"r"}"#).await;
        let request = wire::CreateWaiverRequest { reason: "r".to_owned(), ..Default::default() };
        let grpc = client
            .create_waiver(request)
            .await
            .map(|made| json!({"waiver": waiver(made.into_inner().waiver.unwrap())}));
        assert_same(&format!("{who}: create"), &http, grpc);
        let http = caller.delete(&format!("{PATH}/nothing")).await;
        let request = wire::DeleteWaiverRequest { waiver_id: "nothing".to_owned() };
        assert_same(&format!("{who}: delete"), &http, client.delete_waiver(request).await.map(|_| json!({})));
        let mut evidence = EvidenceServiceClient::new(channel);
        let http = caller.post(AGAIN, r#"{"newest_days":0}"#).await;
        let request = wire::ReevaluateEvidenceRequest { newest_days: Some(0), ..Default::default() };
        let grpc = evidence.reevaluate_evidence(request).await.map(|_| json!({}));
        assert_same(&format!("{who}: again"), &http, grpc);
    }
    let mut client = WaiversServiceClient::new(connect(&callers[5].1).await);
    client.delete_waiver(wire::DeleteWaiverRequest { waiver_id: id }).await.unwrap();
    assert_eq!(callers[5].1.get(PATH).await.json(), json!({"waivers": []}));
}
