//! `longrun attestation` and `longrun verify`: signed results of evaluations, checked without a server and by openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::tempdir;

use crate::common::{Dev, Ran, Server, admin_token, command, example, get, run, run_in};

const KEYS: &str = "/.well-known/longrun-keys.pem";

/// Evaluates a file with a policy of the examples, and writes the signed result and the public keys into the folder.
fn evaluate(dev: &Dev, folder: &Path, evidence: &str, policy: &str, exit: i32) -> String {
    let policy = example(&format!("policies/{policy}/policy.yaml"));
    let id = dev.run(&["evidence", "evaluate", evidence, "--policy", &policy, "-o", "id"]).expect(exit).line();
    dev.run(&["attestation", &id, "--to", "result.json"]).expect(0);
    let (status, keys) = get(&dev.url, KEYS, None);
    assert_eq!(status, 200);
    fs::write(folder.join("keys.pem"), keys).unwrap();
    id
}

#[test]
fn a_result_is_verified_without_a_server_and_its_verdict_is_the_exit_code() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let verify =
        |more: &[&str]| run_in(folder.path(), &[&["verify", "result.json", "--key", "keys.pem"], more].concat());
    let good = example("policies/sbom-licenses-present/evidence/licensed.cdx.json");
    let bad = example("policies/sbom-licenses-present/evidence/unlicensed.cdx.json");

    evaluate(&dev, folder.path(), &bad, "sbom-licenses-present", 1);
    let shown = verify(&["--evidence", &bad]).expect(1).stdout;
    assert!(shown.contains("genuine") && shown.contains("✗ sbom-licenses-present: 2 violations"), "{shown}");
    verify(&["--any-verdict"]).expect(0);
    evaluate(&dev, folder.path(), &example("evidence/longrun.sarif.json"), "junit-no-failures", 3);
    verify(&[]).expect(3);

    let id = evaluate(&dev, folder.path(), &good, "sbom-licenses-present", 0);
    // Everything is verified without the server that signed.
    drop(dev);
    verify(&["--evidence", &good]).expect(0).shows("sbom-licenses-present");
    let json = verify(&["-o", "json"]).expect(0).json();
    // The policy came with the request, so that its name alone says nothing about it.
    let content = json["policies"][0]["content_digest"]["sha256"].as_str().unwrap();
    let shown = verify(&["--policy", "sbom-licenses-present"]).expect(1).stdout;
    assert!(shown.contains("✗ the policy sbom-licenses-present came with the request"), "{shown}");
    assert!(shown.contains(&format!("embedded: it came with the request\n        sha256:{content}\n")), "{shown}");
    verify(&["--policy", &format!("sbom-licenses-present@sha256:{content}")]).expect(0);
    verify(&["--any-verdict", "--policy", "sbom-freshness"]).expect(1).shows("sbom-freshness was not evaluated");
    assert_eq!((&json["verified"], &json["result"]), (&Value::Bool(true), &Value::from("PASSED")));
    assert_eq!(json["statement"]["predicate"]["longrun_evaluation"]["operation"], id);
    let other = verify(&["--evidence", &bad]).expect(1).stdout;
    assert!(other.contains("it is about \"licensed.cdx.json\""), "{other}");

    let mut envelope: Value = serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let forged = String::from_utf8(payload).unwrap().replacen("sbom-licenses-present", "sbom-licences-present", 1);
    envelope["payload"] = STANDARD.encode(forged).into();
    fs::write(folder.path().join("result.json"), envelope.to_string()).unwrap();
    let shown = verify(&[]).expect(1).stdout;
    assert!(shown.contains("no signature was made with the key"), "{shown}");

    fs::write(folder.path().join("result.json"), "{}").unwrap();
    verify(&[]).expect(2).says("not a DSSE envelope");
    run_in(folder.path(), &["verify", "none.json", "--key", "keys.pem"]).expect(2).says("cannot read none.json");
    run_in(folder.path(), &["verify", "result.json", "--key", "result.json"]).expect(2).says("--key takes public keys");
}

#[test]
fn a_result_tells_which_script_a_policy_had_when_only_the_script_changed() {
    let folder = tempdir().unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir_all(&policies).unwrap();
    let write = |name: &str, text: &str| fs::write(policies.join(name), text).unwrap();
    let spec = |script: &str| {
        format!(
            "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: p}}\n\
             spec: {{policies: [{{kind: EVIDENCE, {script}}}]}}\n"
        )
    };
    write("banned.yaml", &spec("path: banned.rego"));
    write("whole.yaml", &spec("embedded: \"package main\\nimport rego.v1\\nviolations := []\""));
    write("banned.rego", "package main\nimport rego.v1\nviolations := [\"banned\"]\n");
    fs::write(folder.path().join("e.json"), r#"{"a": 1}"#).unwrap();
    let dev = Dev::start_with(folder.path(), "127.0.0.1:0", &["--policies", "policies"]);
    fs::write(folder.path().join("keys.pem"), get(&dev.url, KEYS, None).1).unwrap();
    // The digests of the policy's document and of its content, and the one for those that know only the specification.
    let digests = |policy: &str, exit: i32| {
        let evaluate = ["evidence", "evaluate", "e.json", "--kind", "EVIDENCE", "--policy-ref", policy, "-o", "id"];
        let id = dev.run(&evaluate).expect(exit).line();
        dev.run(&["attestation", &id, "--to", "result.json"]).expect(0);
        let verify = ["verify", "result.json", "--key", "keys.pem", "--any-verdict", "-o", "json"];
        let statement = run_in(folder.path(), &verify).expect(0).json()["statement"].take();
        let predicate = &statement["predicate"];
        let ran = &predicate["longrun_evaluation"]["policies"][0];
        let digests = [&ran["digest"], &ran["content_digest"], &predicate["policy"]["digest"]];
        digests.map(|digest| digest["sha256"].as_str().unwrap().to_owned())
    };
    let [document, content, policy] = digests("banned", 1);
    assert_eq!(policy, content);
    write("banned.rego", "package main\nimport rego.v1\nviolations := []\n");
    let [same_document, other_content, other_policy] = digests("banned", 0);
    assert_eq!(same_document, document);
    assert_ne!(other_content, content);
    assert_eq!(other_policy, other_content);
    let [document, content, policy] = digests("whole", 0);
    assert_eq!((&content, &policy), (&document, &document), "all of it stands in the document");
    let verify =
        |required: &str| run_in(folder.path(), &["verify", "result.json", "--key", "keys.pem", "--policy", required]);
    verify("p").expect(0).shows(&format!("✓ p\n        whole\n        sha256:{content}\n"));
    verify(&format!("p@sha256:{other_content}")).expect(1).shows("the policy p has another content");
}

/// Another implementation of Ed25519, and of how keys and signatures are written.
#[test]
fn openssl_verifies_the_signature_over_the_encoded_payload() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    evaluate(&dev, folder.path(), &example("evidence/longrun.junit.xml"), "junit-no-failures", 0);
    let envelope: Value = serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    let bytes = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    let (kind, payload) = (envelope["payloadType"].as_str().unwrap(), bytes(&envelope["payload"]));
    let encoded = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), &payload].concat();
    fs::write(folder.path().join("encoded"), encoded).unwrap();
    fs::write(folder.path().join("signature"), bytes(&envelope["signatures"][0]["sig"])).unwrap();
    let openssl = |args: &[&str]| Command::new("openssl").current_dir(folder.path()).args(args).output().unwrap();
    let verify =
        ["pkeyutl", "-verify", "-pubin", "-inkey", "keys.pem", "-rawin", "-in", "encoded", "-sigfile", "signature"];
    let verified = openssl(&verify);
    assert!(verified.status.success(), "{verified:?}");
    // The id of the key is what cosign calls it: the SHA-256 of its SubjectPublicKeyInfo.
    let spki = openssl(&["pkey", "-pubin", "-in", "keys.pem", "-outform", "DER"]).stdout;
    assert_eq!(envelope["signatures"][0]["keyid"], ::evidence::digest(&spki).strip_prefix("sha256:").unwrap());
    fs::write(folder.path().join("encoded"), "something else").unwrap();
    assert!(!openssl(&verify).status.success());
}

#[test]
fn a_single_machine_makes_a_key_of_its_own_and_keeps_it() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let before = get(&dev.url, KEYS, None);
    assert!(before.1.starts_with("-----BEGIN PUBLIC KEY-----"), "{before:?}");
    let key = folder.path().join("data/longrun.db.attestation-key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    dev.process.signal("TERM");
    assert_eq!(dev.process.exit_code(), 0);
    let dev = Dev::start(folder.path());
    assert_eq!(get(&dev.url, KEYS, None), before);
}

#[test]
fn a_new_key_in_front_signs_from_then_on_and_older_results_still_verify() {
    let folder = tempdir().unwrap();
    let openssl = |file: &str| {
        let args = ["genpkey", "-algorithm", "ed25519", "-out", file];
        assert!(Command::new("openssl").current_dir(folder.path()).args(args).status().unwrap().success());
        fs::read_to_string(folder.path().join(file)).unwrap()
    };
    let (old, new) = (openssl("old.pem"), openssl("new.pem"));
    let (store, file) = (format!("sqlite:{}/s.db", folder.path().display()), folder.path().join("keys"));
    let write = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let settings = [
        ("store", store.as_str()),
        ("attestation.key_file", file.to_str().unwrap()),
        ("attestation.verifier", "https://longrun.example.com"),
    ];
    let policy = example("policies/junit-no-failures/policy.yaml");
    let evidence = example("evidence/longrun.junit.xml");
    let mut token = None;
    for (name, keys, published) in [("first", old.clone(), 1), ("second", format!("{new}{old}"), 2)] {
        write(&keys);
        let server = Server::start(folder.path(), &settings);
        let token = token.get_or_insert_with(|| admin_token(&store));
        let client = |args: &[&str]| {
            let mut client = command();
            client.current_dir(folder.path()).args(args).env("LONGRUN_URL", &server.url).env("LONGRUN_TOKEN", &*token);
            Ran::of(client.output().unwrap(), args)
        };
        let id = client(&["evidence", "evaluate", &evidence, "--policy", &policy, "-o", "id"]).expect(0).line();
        client(&["attestation", &id, "--to", name]).expect(0);
        let keys = get(&server.url, "/.well-known/longrun-keys.json", None).1;
        let jwks: Value = serde_json::from_str(&keys).unwrap();
        assert_eq!(jwks["keys"].as_array().unwrap().len(), published);
        fs::write(folder.path().join("keys.json"), keys).unwrap();
        server.process.signal("TERM");
        assert_eq!(server.process.exit_code(), 0);
    }
    for name in ["first", "second"] {
        run_in(folder.path(), &["verify", name, "--key", "keys.json"]).expect(0).shows("https://longrun.example.com");
    }
    // Keys that others can read are not used.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut check = command();
    check.args(["config", "check"]).env("LONGRUN_ATTESTATION_KEY_FILE", &file);
    Ran::of(check.output().unwrap(), &["config", "check"]).expect(2).says("attestation.key_file");
    run(&["verify", "--help"]).expect(0).shows("--evidence");
}

#[test]
fn a_server_tells_policies_whose_signature_it_trusts() {
    let folder = tempdir().unwrap();
    let evidence = |name: &str| example(&format!("policies/slsa-signed-provenance/evidence/{name}"));
    let store = format!("sqlite:{}/s.db", folder.path().display());
    let trusted = format!("release={}", evidence("signer.pub"));
    let workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/*";
    let identities = format!("sigstore-js=https://token.actions.githubusercontent.com={workflow}");
    let root = evidence("trusted_root.json");
    let settings = [
        ("store", store.as_str()),
        ("signatures.trusted_keys", &trusted),
        ("signatures.trusted_root", &root),
        ("signatures.identities", &identities),
    ];
    let server = Server::start(folder.path(), &settings);
    let token = admin_token(&store);
    let policy = example("policies/slsa-signed-provenance/policy.yaml");
    let evaluate = |file: &str| {
        let (file, builders) = (evidence(file), "builders=https://github.com/actions/runner/github-hosted");
        let args = ["evidence", "evaluate", &file, "--policy", &policy, "--with", builders];
        let mut client = command();
        client.current_dir(folder.path()).args(args).env("LONGRUN_URL", &server.url).env("LONGRUN_TOKEN", &token);
        Ran::of(client.output().unwrap(), &args)
    };
    evaluate("release.sigstore.json").expect(0);
    evaluate("workflow.sigstore.json").expect(0);
    evaluate("changed.sigstore.json").expect(1).shows("no signature over this content was made with the trusted key");
    evaluate("unsigned.sigstore.json").expect(1).shows("there is no signature");
    let mut check = command();
    check.args(["config", "check"]).env("LONGRUN_SIGNATURES_TRUSTED_KEYS", "release=/nonexistent");
    Ran::of(check.output().unwrap(), &["config", "check"]).expect(2).says("signatures.trusted_keys");
    let mut check = command();
    check.args(["config", "check"]).env("LONGRUN_SIGNATURES_IDENTITIES", &identities);
    check.env("LONGRUN_SIGNATURES_TRUSTED_ROOT", "/nonexistent");
    Ran::of(check.output().unwrap(), &["config", "check"]).expect(2).says("signatures.trusted_root");
}
