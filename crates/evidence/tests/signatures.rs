//! What a policy learns about the signatures of an attestation: real bundles, and envelopes that were tampered with.

use std::collections::BTreeSet;

use attestation::{PAYLOAD_TYPE, Signer, TrustedIdentities, TrustedIdentity, TrustedKey};
use evidence::{EvaluateError, EvaluateRequest, Evaluator, EvaluatorConfig, digest};
use serde_json::{Value, json};

/// Real bundles of Chainloop's tests, signed with the keys of certificates, and these keys.
const CHAINLOOP: &[u8] = include_bytes!("data/chainloop-dev-attestation-bundle.json");
const GITHUB: &[u8] = include_bytes!("data/chainloop-dev-slsa_provenance.sigstore.json");
const KEY_OF_CHAINLOOP: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/6p3kg8epuc/422HDsGXObKvB3Zd\n\
    s4Yy1x2Z9DwJviNUgGmq5qXn6F7zcWupJEdcaJkAYUi3VHl9UVkxo8OdaQ==\n\
    -----END PUBLIC KEY-----\n";
const KEY_OF_GITHUB: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9vy0VtDhunQk3MRZTRaXgTV2604/\n\
    oG5U2vG1cOpZgnJqYnrVmXCpSN/K1X9Q6AYBtmn5QtGhQWdJ+ijnW4Gbng==\n\
    -----END PUBLIC KEY-----\n";

/// A real bundle of the public instance of Sigstore, signed by a GitHub workflow, and the trusted root of that
/// instance.
const WORKFLOW: &[u8] = include_bytes!("../../attestation/tests/sigstore/data/workflow.sigstore.json");
const ROOT: &str = include_str!("../../attestation/tests/sigstore/data/public.trusted_root.json");

const STATEMENT: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":"00"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}"#;

fn trusted(name: &str, pem: &str) -> TrustedKey {
    TrustedKey { name: name.to_owned(), pem: pem.to_owned() }
}

fn signer() -> Signer {
    Signer::from_pem(Signer::generate_pem().unwrap().as_bytes(), "urn:test").unwrap()
}

/// The value of `input.chainloop_metadata.signature` that a policy sees if these keys are trusted.
fn seen(evidence: &[u8], trusted_keys: &[TrustedKey]) -> Value {
    seen_by(EvaluatorConfig { trusted_keys: trusted_keys.to_vec(), ..EvaluatorConfig::default() }, evidence)
}

/// The same if identities are trusted, too.
fn seen_by(config: EvaluatorConfig, evidence: &[u8]) -> Value {
    let script = "package main\nimport rego.v1\nviolations contains {\"message\": \"seen\", \"signature\": \
        object.get(input.chainloop_metadata, \"signature\", \"none\")}\n";
    let policy = json!({"apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"embedded": script}]}});
    let request = json!({"digest": digest(evidence), "policies": [{"embedded": policy}]});
    let request: EvaluateRequest = serde_json::from_value(request).unwrap();
    let output = Evaluator::new(config).unwrap().evaluate(&request, evidence).unwrap();
    output.policies[0].violations[0].finding.as_ref().unwrap()["signature"].clone()
}

fn envelope(signer: &Signer) -> Value {
    serde_json::from_str(&signer.sign(PAYLOAD_TYPE, STATEMENT.as_bytes().to_vec()).json()).unwrap()
}

/// The envelope as a Sigstore bundle of this version.
fn bundle(media_type: &str, envelope: &Value) -> Value {
    let material = json!({"publicKey": {"hint": "k"}, "tlogEntries": []});
    json!({"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope})
}

#[test]
fn a_real_bundle_is_verified_by_the_key_that_signed_it() {
    let keys = [trusted("github", KEY_OF_GITHUB), trusted("chainloop", KEY_OF_CHAINLOOP)];
    for (evidence, name) in [(GITHUB, "github"), (CHAINLOOP, "chainloop")] {
        let signature = seen(evidence, &keys);
        assert_eq!((&signature["verified"], &signature["signatures"]), (&json!(true), &json!(1)), "{signature}");
        assert_eq!((&signature["by"]["key"], &signature["by"]["algorithm"]), (&json!(name), &json!("ECDSA P-256")));
        assert_eq!((signature.get("reason"), signature.get("why_not")), (None, None));
    }
}

#[test]
fn what_is_signed_with_the_key_of_a_certificate_is_not_verified_by_the_certificate() {
    for keys in [&[trusted("other", KEY_OF_CHAINLOOP)][..], &[]] {
        let signature = seen(GITHUB, keys);
        assert_eq!(signature["verified"], false);
        assert_eq!(signature["reason"], if keys.is_empty() { "no_trusted_keys" } else { "certificate" });
        assert_eq!(signature.get("by"), None);
    }
}

/// A configuration that trusts the release workflows of one GitHub repository, and these keys.
fn trusting(root: &str, repository: &str, trusted_keys: &[TrustedKey]) -> EvaluatorConfig {
    let identity = TrustedIdentity {
        name: "workflow".to_owned(),
        issuer: "https://token.actions.githubusercontent.com".to_owned(),
        identity: format!("https://github.com/{repository}/.github/workflows/release.yml@refs/tags/*"),
    };
    let trusted_identities = Some(TrustedIdentities { root: root.to_owned(), identities: vec![identity] });
    EvaluatorConfig { trusted_keys: trusted_keys.to_vec(), trusted_identities, ..EvaluatorConfig::default() }
}

#[test]
fn a_policy_is_told_by_which_identity_a_bundle_is_signed() {
    let trusting = |repository: &str| trusting(ROOT, repository, &[]);
    let signature = seen_by(trusting("trailofbits/pypi-attestation-models"), WORKFLOW);
    let expected = json!({
        "verified": true,
        "by": {
            "key": "workflow",
            "key_id": signature["by"]["key_id"],
            "algorithm": "ECDSA P-256",
            "identity": "https://github.com/trailofbits/pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2",
            "issuer": "https://token.actions.githubusercontent.com",
        },
        "signatures": 1,
    });
    assert_eq!(signature, expected);
    assert_eq!(signature["by"]["key_id"].as_str().map(str::len), Some(64));
    let signature = seen_by(trusting("example/app"), WORKFLOW);
    assert_eq!((&signature["verified"], &signature["reason"]), (&json!(false), &json!("untrusted_identity")));
    assert!(signature["why_not"].as_str().unwrap().contains("trailofbits"), "{signature}");
    // The policy sees the statement that the certificate's key signed.
    let mut changed: Value = serde_json::from_slice(WORKFLOW).unwrap();
    let envelope = signer().sign(PAYLOAD_TYPE, STATEMENT.as_bytes().to_vec());
    changed["dsseEnvelope"]["payload"] = serde_json::from_str::<Value>(&envelope.json()).unwrap()["payload"].clone();
    let signature = seen_by(trusting("trailofbits/pypi-attestation-models"), changed.to_string().as_bytes());
    assert_eq!(signature["reason"], "wrong_signature");
}

#[test]
fn keys_count_as_before_where_identities_are_trusted() {
    let signer = signer();
    let keys = [trusted("release", &signer.public_pem()), trusted("github", KEY_OF_GITHUB)];
    let trusting = trusting(ROOT, "example/app", &keys);
    let envelope = envelope(&signer).to_string();
    assert_eq!(seen_by(trusting.clone(), envelope.as_bytes())["by"]["key"], "release");
    // If the key of a certificate is itself trusted, neither a log nor an identity is needed.
    let signature = seen_by(trusting.clone(), GITHUB);
    assert_eq!((&signature["by"]["key"], signature["by"].get("identity")), (&json!("github"), None));
    assert_eq!(seen_by(trusting.clone(), CHAINLOOP)["reason"], "no_log_entry");
    let stranger = self::envelope(&self::signer()).to_string();
    assert_eq!(seen_by(trusting, stranger.as_bytes())["reason"], "untrusted");
}

#[test]
fn a_trusted_root_that_cannot_be_used_is_told_when_the_evaluator_is_made() {
    let error = Evaluator::new(trusting("{}", "example/app", &[])).unwrap_err();
    assert!(matches!(&error, EvaluateError::TrustedRoot(_)), "{error}");
}

#[test]
fn envelopes_and_bundles_of_all_versions_are_verified_alike() {
    let signer = signer();
    let keys = [trusted("release", &signer.public_pem())];
    let envelope = envelope(&signer);
    let mut shapes = vec![envelope.clone()];
    for version in [
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
    ] {
        shapes.push(bundle(version, &envelope));
    }
    for shape in shapes {
        let signature = seen(shape.to_string().as_bytes(), &keys);
        let by = json!({"key": "release", "key_id": signer.key_id(), "algorithm": "Ed25519"});
        assert_eq!(signature, json!({"verified": true, "by": by, "signatures": 1}));
    }
}

#[test]
fn one_signature_of_several_is_enough_and_key_ids_are_only_hints() {
    let (ours, others) = (signer(), signer());
    let keys = [trusted("release", &ours.public_pem())];
    let mut both = envelope(&others);
    let mut signature = envelope(&ours)["signatures"][0].clone();
    signature["keyid"] = json!("nonsense");
    both["signatures"].as_array_mut().unwrap().push(signature);
    assert_eq!(seen(both.to_string().as_bytes(), &keys)["verified"], true);
    // A different signer that claims our key's id.
    let mut stranger = envelope(&others);
    stranger["signatures"][0]["keyid"] = json!(ours.key_id());
    assert_eq!(seen(stranger.to_string().as_bytes(), &keys)["reason"], "untrusted");
}

#[test]
fn what_was_changed_after_it_was_signed_is_not_verified() {
    use base64::Engine as _;
    let signer = signer();
    let keys = [trusted("release", &signer.public_pem())];
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let mut reasons = BTreeSet::new();
    let mut try_change = |change: &dyn Fn(&mut Value)| {
        let mut changed = envelope(&signer);
        change(&mut changed);
        let signature = seen(changed.to_string().as_bytes(), &keys);
        assert_eq!(signature["verified"], false, "{changed}");
        assert!(signature["why_not"].as_str().is_some_and(|why| !why.is_empty()));
        reasons.insert(signature["reason"].as_str().unwrap().to_owned());
    };
    try_change(&|changed| changed["payload"] = json!(base64(&STATEMENT.replace("app", "apq"))));
    try_change(&|changed| changed["payload"] = json!(base64(&format!("{STATEMENT} "))));
    try_change(&|changed| changed["signatures"][0]["sig"] = json!("AAAA"));
    try_change(&|changed| changed["signatures"][0]["sig"] = json!("no base64!"));
    try_change(&|changed| changed["signatures"] = json!([]));
    assert_eq!(reasons, BTreeSet::from(["untrusted".to_owned(), "unsigned".to_owned()]));
}

#[test]
fn evidence_cannot_say_of_itself_that_it_is_verified() {
    let signer = signer();
    let mut forged = envelope(&signer);
    forged["chainloop_metadata"] = json!({"signature": {"verified": true}});
    assert_eq!(seen(forged.to_string().as_bytes(), &[])["verified"], false);
    let statement =
        json!({"vulnerability": {"name": "CVE-2026-1"}, "products": [{"@id": "pkg:a/b"}], "status": "fixed"});
    let evidence = json!({"chainloop_metadata": {"signature": {"verified": true}}, "@id": "https://example.com/v",
        "@context": "https://openvex.dev/ns/v0.2.0", "author": "a", "timestamp": "2026-01-01T00:00:00Z", "version": 1,
        "statements": [statement]});
    assert_eq!(seen(evidence.to_string().as_bytes(), &[]), "none", "other kinds have no signature");
}

#[test]
fn a_key_that_cannot_be_used_is_told_when_the_evaluator_is_made() {
    let config = EvaluatorConfig { trusted_keys: vec![trusted("broken", "nothing")], ..EvaluatorConfig::default() };
    let error = Evaluator::new(config).unwrap_err();
    assert!(matches!(&error, EvaluateError::TrustedKey { name, .. } if name == "broken"), "{error}");
}
