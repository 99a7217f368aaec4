//! `GET /v1/operations/{id}/attestation` and the public keys: the signed statement of an evaluation, as callers see it.

use std::sync::Arc;
use std::time::SystemTime;

use ::attestation::{Evaluated, PublicKey, Signer, summary, verify};
use http::StatusCode;
use operations::{Access, NewOperation, Operation, Outcome};
use proto::longrun::v1 as wire;
use proto::longrun::v1::agents_service_client::AgentsServiceClient;
use store::Scope;
use tonic_types::StatusExt as _;

use crate::grpc::connect;
use crate::harness::Server;
use crate::page::Browser;

const OUTPUT: &str = r#"{"evidence":{"digest":"sha256:00","kind":"SARIF","name":"lint","size":7},"status":"passed","policies":[],"left_out":[],"totals":{"policies":0}}"#;

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_pem(Signer::generate_pem().unwrap().as_bytes(), "https://longrun.example.com").unwrap())
}

async fn server(signer: &Arc<Signer>) -> Server {
    let signer = Arc::clone(signer);
    Server::with(|services| services.signer = Some(signer)).await
}

/// An evaluation that has ended with this output.
async fn evaluated(server: &Server, output: impl FnOnce(&Operation) -> String) -> Operation {
    let new = NewOperation { project_id: "web".to_owned(), ..NewOperation::of_kind("evidence_evaluation") };
    let operation = server.create(new).await;
    let claimed = server.claim("evidence_evaluation").await;
    server.settle(claimed, Outcome::Completed { output: output(&operation) }).await;
    operation
}

/// The answer that its handler would have given.
fn signed(signer: &Signer, operation: &Operation) -> String {
    let id = operation.id.to_string();
    let of = Evaluated { organization: "acme", project: "web", operation: &id };
    summary::attest(signer, "1.2.3", of, OUTPUT, SystemTime::now()).unwrap()
}

#[tokio::test]
async fn a_signed_result_comes_as_an_envelope_that_verifies_with_the_published_keys() {
    let signer = signer();
    let server = server(&signer).await;
    let operation = evaluated(&server, |operation| signed(&signer, operation)).await;
    let caller = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let path = format!("/v1/operations/{}/attestation", operation.id);
    let answer = caller.get(&path).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));

    for path in ["/.well-known/longrun-keys.json", "/.well-known/longrun-keys.pem"] {
        let published = server.nobody().get(path).await;
        assert_eq!(published.status, StatusCode::OK, "{path}: no token is needed");
        let keys = PublicKey::read_all(&published.body).unwrap();
        let verified = verify(&answer.body, &keys, None).unwrap();
        assert_eq!((verified.result.as_str(), verified.digest.as_str()), ("PASSED", "sha256:00"));
        assert_eq!(verified.statement["predicate"]["longrun_evaluation"]["operation"], operation.id.to_string());
        assert_eq!(verified.statement["predicate"]["longrun_evaluation"]["organization"], "acme");
    }

    let mut agents = AgentsServiceClient::new(connect(&caller).await);
    let request = wire::GetAttestationRequest { operation_id: operation.id.to_string() };
    let envelope = agents.get_attestation(request).await.unwrap().into_inner();
    let envelope = ::attestation::Envelope {
        payload_type: envelope.payload_type,
        payload: envelope.payload.to_vec(),
        signatures: envelope
            .signatures
            .into_iter()
            .map(|one| ::attestation::EnvelopeSignature { keyid: one.keyid, sig: one.sig.to_vec() })
            .collect(),
    };
    assert_eq!(envelope.json(), answer.text(), "both faces answer the same");

    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let link = format!("/ui/operations/{}/attestation", operation.id);
    let page = browser.get(&format!("/ui/operations/{}", operation.id)).await;
    assert!(page.text().contains(&format!("href=\"{link}\"")), "{}", page.text());
    assert_eq!(browser.get(&link).await.text(), answer.text());
}

#[tokio::test]
async fn a_result_is_for_those_who_may_see_the_operation() {
    let signer = signer();
    let server = server(&signer).await;
    let operation = evaluated(&server, |operation| signed(&signer, operation)).await;
    let path = format!("/v1/operations/{}/attestation", operation.id);
    for access in [Access::organization("globex"), Access::projects("acme", ["shop"])] {
        let stranger = server.caller(access, &[Scope::Admin]).await;
        let answer = stranger.get(&path).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::NOT_FOUND, "NOT_FOUND"));
    }
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite]).await;
    assert_eq!(writer.get(&path).await.status, StatusCode::FORBIDDEN);
    let caller = server.acme().await;
    for none in ["nope", "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"] {
        let answer = caller.get(&format!("/v1/operations/{none}/attestation")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::NOT_FOUND, "NOT_FOUND"));
    }
}

#[tokio::test]
async fn where_nothing_was_signed_the_answer_says_why() {
    let signer = signer();
    let server = server(&signer).await;
    let caller = server.acme().await;
    let scan = server.completed("scan", "{}").await;
    let unsigned = evaluated(&server, |_| OUTPUT.to_owned()).await;
    let waits = server.pending("evidence_evaluation").await;
    let browser = Browser::sign_in(&server, &caller).await;
    for (operation, why) in [(scan, "the kind scan"), (unsigned, "no key to sign with"), (waits, "it is PENDING")] {
        let answer = caller.get(&format!("/v1/operations/{}/attestation", operation.id)).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::NOT_FOUND, "ATTESTATION_MISSING"));
        assert!(answer.json()["message"].as_str().unwrap().contains(why), "{}", answer.text());
        let page = browser.get(&format!("/ui/operations/{}", operation.id)).await;
        assert!(!page.text().contains("/attestation"), "no link leads nowhere");
    }
}

#[tokio::test]
async fn a_row_that_was_changed_since_is_noticed() {
    let signer = signer();
    let server = server(&signer).await;
    let caller = server.acme().await;
    let mut agents = AgentsServiceClient::new(connect(&caller).await);
    let other = evaluated(&server, |operation| signed(&signer, operation)).await;
    for forged in [
        signed(&signer, &other).replacen("\"status\":\"passed\"", "\"status\":\"failed\"", 1),
        // A good verdict of another operation.
        signed(&signer, &other),
    ] {
        let operation = evaluated(&server, |_| forged).await;
        let answer = caller.get(&format!("/v1/operations/{}/attestation", operation.id)).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::INTERNAL_SERVER_ERROR, "ATTESTATION_BROKEN")
        );
        let request = wire::GetAttestationRequest { operation_id: operation.id.to_string() };
        let refused = agents.get_attestation(request).await.unwrap_err();
        assert_eq!(refused.get_error_details().error_info().unwrap().reason, "ATTESTATION_BROKEN");
    }
}

#[tokio::test]
async fn results_of_a_key_that_is_gone_are_still_given_to_who_has_its_public_key() {
    let (old, new) = (signer(), signer());
    let server = server(&new).await;
    let operation = evaluated(&server, |operation| signed(&old, operation)).await;
    let answer = server.acme().await.get(&format!("/v1/operations/{}/attestation", operation.id)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(verify(&answer.body, old.published(), None).is_ok());
    assert!(verify(&answer.body, new.published(), None).is_err());
}

#[tokio::test]
async fn a_server_without_keys_publishes_none() {
    let server = Server::start().await;
    let answer = server.nobody().get("/.well-known/longrun-keys.json").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, r#"{"keys":[]}"#));
    assert_eq!(server.nobody().get("/.well-known/longrun-keys.pem").await.text(), "");
}
