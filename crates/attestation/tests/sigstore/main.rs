//! Bundles that were signed with a certificate: real ones, the same after modifications, and some by a certificate
//! authority of the tests.
#![allow(clippy::unwrap_used)]

mod pki;

use attestation::{Envelope, RootError, SignatureReport, TrustedIdentities, TrustedIdentity, TrustedRoot, inspect};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::{DURING, FULCIO, SERVER, Wanted, World, around, der};
use serde_json::{Value, json};

const PUBLIC: &str = include_str!("data/public.trusted_root.json");
const STAGING: &str = include_str!("data/staging.trusted_root.json");
const WORKFLOW: &str = include_str!("data/workflow.sigstore.json");
const GITLAB: &str = include_str!("data/gitlab.sigstore.json");
const PROMISE: &str = include_str!("data/promise.sigstore.json");
const REKOR2: &str = include_str!("data/rekor2.sigstore.json");

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const RELEASE: &str =
    "https://github.com/trailofbits/pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2";

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The report about a bundle when this identity, named `x`, is trusted.
fn inspected(bundle: &Value, root: &str, issuer: &str, identity: &str) -> SignatureReport {
    let identity = TrustedIdentity { name: "x".to_owned(), issuer: issuer.to_owned(), identity: identity.to_owned() };
    let identities = TrustedIdentities { root: root.to_owned(), identities: vec![identity] }.read().unwrap();
    let envelope: Envelope = serde_json::from_value(bundle["dsseEnvelope"].clone()).unwrap();
    inspect(&envelope, &around(bundle), &[], Some(&identities))
}

/// The reason why the bundle of the workflow does not count after a change.
fn changed(change: impl FnOnce(&mut Value)) -> &'static str {
    let mut bundle = read(WORKFLOW);
    change(&mut bundle);
    let report = inspected(&bundle, PUBLIC, GITHUB, RELEASE);
    assert_eq!((report.verified, report.by), (false, None));
    assert!(report.why_not.is_some_and(|why| !why.is_empty()));
    report.reason.unwrap()
}

/// Changes one of the bytes that a base64 text encodes.
fn flip(value: &mut Value, at: usize) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    *value = json!(STANDARD.encode(bytes));
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

#[test]
fn real_bundles_are_verified_by_the_identity_that_signed_them() {
    let gitlab = "https://gitlab.com/facutuesca/gitlab-oidc-project//.gitlab-ci.yml@refs/heads/main";
    for (bundle, root, issuer, identity) in [
        (WORKFLOW, PUBLIC, GITHUB, RELEASE),
        (GITLAB, PUBLIC, "https://gitlab.com", gitlab),
        (PROMISE, PUBLIC, "https://github.com/login/oauth", "brian@dehamer.com"),
        (REKOR2, STAGING, "https://github.com/login/oauth", "jku@goto.fi"),
    ] {
        let report = inspected(&read(bundle), root, issuer, identity);
        assert!(report.verified, "{report:?}");
        let by = report.by.unwrap();
        assert_eq!((by.key.as_str(), by.algorithm), ("x", "ECDSA P-256"));
        assert_eq!((by.identity.as_deref(), by.issuer.as_deref()), (Some(identity), Some(issuer)));
        assert_eq!((report.reason, report.why_not, report.signatures), (None, None, 1));
    }
}

#[test]
fn a_star_in_an_identity_stands_for_text_without_a_slash() {
    let head = "https://github.com/trailofbits/";
    for (tail, verified) in [
        ("pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2", true),
        ("pypi-attestation-models/.github/workflows/release.yml@refs/tags/*", true),
        ("*-models/.github/*/*.yml@refs/tags/v*.*a*", true),
        ("pypi-attestation-models/.github/workflows/release.yml@*", false),
        ("*", false),
        ("pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a", false),
        ("pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a22", false),
        ("pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2*a2", false),
        ("Pypi-attestation-models/.github/workflows/release.yml@refs/tags/*", false),
    ] {
        let report = inspected(&read(WORKFLOW), PUBLIC, GITHUB, &format!("{head}{tail}"));
        assert_eq!(report.verified, verified, "{tail}");
        assert_eq!(report.reason, (!verified).then_some("untrusted_identity"));
    }
}

#[test]
fn whoever_is_not_trusted_is_named() {
    let report = inspected(&read(WORKFLOW), PUBLIC, GITHUB, "https://github.com/example/app");
    assert_eq!(report.reason, Some("untrusted_identity"));
    assert!(report.why_not.unwrap().contains(RELEASE));
    let report = inspected(&read(WORKFLOW), PUBLIC, &format!("{GITHUB}/"), RELEASE);
    assert_eq!(report.reason, Some("untrusted_issuer"));
    assert!(report.why_not.unwrap().contains(GITHUB));
}

#[test]
fn each_change_is_refused_for_what_it_changed() {
    let other = read(GITLAB);
    let proof = |bundle: &mut Value, change: &dyn Fn(&mut Value)| change(&mut entry(bundle)["inclusionProof"]);
    assert_eq!(changed(|bundle| flip(&mut bundle["dsseEnvelope"]["payload"], 9)), "wrong_signature");
    assert_eq!(changed(|bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"], 30)), "wrong_signature");
    assert_eq!(
        changed(|bundle| bundle["dsseEnvelope"]["signatures"][0] = other["dsseEnvelope"]["signatures"][0].clone()),
        "wrong_signature"
    );
    let certificate = &other["verificationMaterial"]["certificate"];
    assert_eq!(
        changed(|bundle| bundle["verificationMaterial"]["certificate"] = certificate.clone()),
        "wrong_signature"
    );
    assert_eq!(changed(|bundle| flip(&mut entry(bundle)["logId"]["keyId"], 0)), "unknown_log");
    let body = &other["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"];
    assert_eq!(changed(|bundle| entry(bundle)["canonicalizedBody"] = body.clone()), "other_log_entry");
    assert_eq!(
        changed(|bundle| *entry(bundle) = other["verificationMaterial"]["tlogEntries"][0].clone()),
        "other_log_entry"
    );
    let promise = "inclusionPromise";
    assert_eq!(changed(|bundle| flip(&mut entry(bundle)[promise]["signedEntryTimestamp"], 30)), "wrong_log_promise");
    assert_eq!(changed(|bundle| entry(bundle)["integratedTime"] = json!("1718048846")), "wrong_log_promise");
    assert_eq!(changed(|bundle| entry(bundle)["logIndex"] = json!("1")), "wrong_log_promise");
    assert_eq!(changed(|bundle| proof(bundle, &|proof| flip(&mut proof["hashes"][3], 0))), "wrong_log_proof");
    assert_eq!(
        changed(|bundle| proof(bundle, &|proof| drop(proof["hashes"].as_array_mut().unwrap().pop()))),
        "wrong_log_proof"
    );
    assert_eq!(
        changed(|bundle| proof(bundle, &|proof| proof["hashes"].as_array_mut().unwrap().push(json!("AAAA")))),
        "wrong_log_proof"
    );
    assert_eq!(changed(|bundle| proof(bundle, &|proof| proof["logIndex"] = json!("97323995"))), "wrong_log_proof");
    assert_eq!(changed(|bundle| proof(bundle, &|proof| proof["logIndex"] = json!("97323998"))), "wrong_log_proof");
    assert_eq!(changed(|bundle| proof(bundle, &|proof| proof["treeSize"] = json!("0"))), "wrong_log_proof");
    assert_eq!(changed(|bundle| proof(bundle, &|proof| flip(&mut proof["rootHash"], 0))), "wrong_log_proof");
    let note = |from: &str, to: &str| {
        changed(|bundle| {
            proof(bundle, &|proof| {
                let text = proof["checkpoint"]["envelope"].as_str().unwrap().replace(from, to);
                proof["checkpoint"]["envelope"] = json!(text);
            });
        })
    };
    assert_eq!(note("97323998", "97323999"), "wrong_log_checkpoint");
    assert_eq!(note("\n\n", "\n"), "wrong_log_checkpoint");
    assert_eq!(note("wNI9aj", "xNI9ak"), "wrong_log_checkpoint");
    let note = &other["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"];
    assert_eq!(
        changed(|bundle| proof(bundle, &|proof| proof["checkpoint"] = note.clone())),
        "wrong_log_checkpoint",
        "genuine, of another tree"
    );
}

#[test]
fn whatever_is_missing_is_refused_as_missing() {
    let material =
        |bundle: &mut Value, name: &str| drop(bundle["verificationMaterial"].as_object_mut().unwrap().remove(name));
    let of_entry = |bundle: &mut Value, name: &str| drop(entry(bundle).as_object_mut().unwrap().remove(name));
    assert_eq!(changed(|bundle| material(bundle, "tlogEntries")), "no_log_entry");
    assert_eq!(changed(|bundle| material(bundle, "certificate")), "no_trusted_keys");
    assert_eq!(changed(|bundle| of_entry(bundle, "inclusionProof")), "wrong_log_proof");
    assert_eq!(changed(|bundle| of_entry(bundle, "inclusionPromise")), "no_signing_time");
    assert_eq!(changed(|bundle| of_entry(bundle, "canonicalizedBody")), "unreadable_bundle");
    assert_eq!(
        changed(|bundle| drop(entry(bundle)["inclusionProof"].as_object_mut().unwrap().remove("checkpoint"))),
        "wrong_log_checkpoint"
    );
    assert_eq!(
        changed(|bundle| bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json")),
        "unreadable_bundle"
    );
    assert_eq!(changed(|bundle| bundle["dsseEnvelope"]["signatures"] = json!([])), "unsigned");
    assert_eq!(
        changed(|bundle| {
            let one = bundle["dsseEnvelope"]["signatures"][0].clone();
            bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(one);
        }),
        "unreadable_bundle"
    );
    assert_eq!(
        changed(|bundle| bundle["verificationMaterial"]["certificate"]["rawBytes"] = json!("MAA=")),
        "unreadable_certificate"
    );
    // The entry has both a promise and a proof, and version 0.1 requires only one of them.
    let mut bundle = read(WORKFLOW);
    bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
    of_entry(&mut bundle, "inclusionProof");
    assert!(inspected(&bundle, PUBLIC, GITHUB, RELEASE).verified);
    bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    assert_eq!(inspected(&bundle, PUBLIC, GITHUB, RELEASE).reason, Some("wrong_log_proof"));
}

#[test]
fn more_than_a_bundle_has_is_refused_before_it_is_looked_at() {
    assert_eq!(
        changed(|bundle| {
            let one = entry(bundle).clone();
            bundle["verificationMaterial"]["tlogEntries"] = json!(vec![one; 9]);
        }),
        "unreadable_bundle"
    );
    assert_eq!(
        changed(|bundle| entry(bundle)["inclusionProof"]["hashes"] = json!(vec!["AAAA"; 65])),
        "unreadable_bundle"
    );
    let long = STANDARD.encode([0; 65]);
    assert_eq!(changed(|bundle| entry(bundle)["logId"]["keyId"] = json!(long)), "unreadable_bundle");
    let mut bundle = read(WORKFLOW);
    bundle["mediaType"] = json!("x".repeat(100_000));
    let why_not = inspected(&bundle, PUBLIC, GITHUB, RELEASE).why_not.unwrap();
    assert!(why_not.len() < 400, "{why_not}");
    let large = STANDARD.encode(vec![b' '; 70_000]);
    assert_eq!(changed(|bundle| entry(bundle)["canonicalizedBody"] = json!(large)), "unreadable_bundle");
    assert_eq!(
        changed(|bundle| bundle["verificationMaterial"]["certificate"]["rawBytes"] = json!(large)),
        "unreadable_bundle"
    );
}

#[test]
fn time_stamps_hold_for_the_signature_that_they_are_over() {
    let issuer = "https://github.com/login/oauth";
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut bundle = read(REKOR2);
        change(&mut bundle["verificationMaterial"]);
        inspected(&bundle, STAGING, issuer, "jku@goto.fi").reason
    };
    fn stamp(material: &mut Value) -> &mut Value {
        &mut material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"]
    }
    assert_eq!(changed(&|_| {}), None);
    let length = STANDARD.decode(stamp(&mut read(REKOR2)["verificationMaterial"]).as_str().unwrap()).unwrap().len();
    for at in (0..length).step_by(3) {
        let reason = changed(&|material| flip(stamp(material), at));
        // The authority's own certificate in the stamp, the name of the signer and version numbers are ignored.
        assert!(matches!(reason, Some("wrong_timestamp") | None), "{at}: {reason:?}");
    }
    assert_eq!(changed(&|material| flip(stamp(material), length - 1)), Some("wrong_timestamp"));
    assert_eq!(changed(&|material| material["timestampVerificationData"] = json!({})), Some("no_signing_time"));
    // A time that nobody signed is ignored.
    assert_eq!(
        changed(&|material| {
            material["timestampVerificationData"] = json!(null);
            material["tlogEntries"][0]["integratedTime"] = json!("1756728839");
        }),
        Some("no_signing_time")
    );
    // A genuine stamp of another signature.
    let mut other = read(WORKFLOW);
    other["verificationMaterial"]["timestampVerificationData"] =
        read(REKOR2)["verificationMaterial"]["timestampVerificationData"].clone();
    assert_eq!(inspected(&other, PUBLIC, GITHUB, RELEASE).reason, Some("wrong_timestamp"));
    // An authority that is trusted only from a later time on.
    let mut root = read(STAGING);
    root["timestampAuthorities"][0]["validFor"]["start"] = json!("2030-01-01T00:00:00Z");
    let reason = inspected(&read(REKOR2), &root.to_string(), issuer, "jku@goto.fi").reason;
    assert_eq!(reason, Some("wrong_timestamp"));
}

#[test]
fn each_part_of_the_trusted_root_counts() {
    let reason = |change: &dyn Fn(&mut Value)| {
        let mut root = read(PUBLIC);
        change(&mut root);
        inspected(&read(WORKFLOW), &root.to_string(), GITHUB, RELEASE).reason
    };
    let staging = read(STAGING);
    assert_eq!(inspected(&read(WORKFLOW), STAGING, GITHUB, RELEASE).reason, Some("unknown_log"));
    let part = |name: &'static str| reason(&|root| root[name] = staging[name].clone());
    assert_eq!(part("tlogs"), Some("unknown_log"));
    assert_eq!(part("certificateAuthorities"), Some("untrusted_certificate"));
    assert_eq!(part("ctlogs"), Some("unpublished_certificate"));
    assert_eq!(part("timestampAuthorities"), None, "the log certifies the time");
    // The same keys, trusted until before the time of signing.
    let until = json!({"start": "2021-01-01T00:00:00Z", "end": "2024-06-10T19:47:24.999Z"});
    let ended = |pointer: &'static str| reason(&|root| *root.pointer_mut(pointer).unwrap() = until.clone());
    assert_eq!(ended("/tlogs/0/publicKey/validFor"), Some("unknown_log"));
    assert_eq!(ended("/certificateAuthorities/1/validFor"), Some("untrusted_certificate"));
    assert_eq!(ended("/ctlogs/1/publicKey/validFor"), Some("unpublished_certificate"));
    assert_eq!(ended("/ctlogs/0/publicKey/validFor"), None, "another log");
}

#[test]
fn a_certificate_has_to_be_one_for_signing_with_one_name_and_an_issuer() {
    let world = World::new();
    let root = world.root(["20", "30"]).to_string();
    let report =
        |wanted: Wanted| inspected(&world.bundle(&wanted), &root, "https://issuer.example.com", "*@example.com");
    let with = |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = Wanted::default();
        change(&mut wanted);
        report(wanted).reason
    };
    assert_eq!(report(Wanted::default()).by.unwrap().identity.as_deref(), Some("ann@example.com"));
    assert_eq!(with(&|wanted| wanted.published = false), Some("unpublished_certificate"));
    assert_eq!(with(&|wanted| wanted.usage = None), Some("untrusted_certificate"));
    assert_eq!(with(&|wanted| wanted.usage = Some(SERVER)), Some("untrusted_certificate"));
    for (time, reason) in [
        (DURING - 301, Some("certificate_not_valid")),
        (DURING - 300, None),
        (DURING + 300, None),
        (DURING + 301, Some("certificate_not_valid")),
        (u64::MAX, Some("certificate_not_valid")),
    ] {
        assert_eq!(with(&|wanted| wanted.logged = time), reason, "{time}");
    }
    // Names.
    let two = vec![der(0x81, b"ann@example.com"), der(0x81, b"bob@example.com")];
    assert_eq!(with(&|wanted| wanted.names = two.clone()), Some("unreadable_certificate"));
    assert_eq!(with(&|wanted| wanted.names = vec![der(0x82, b"example.com")]), Some("unreadable_certificate"));
    assert_eq!(with(&|wanted| wanted.names = vec![der(0x81, b"\xff@example.com")]), Some("unreadable_certificate"));
    let other = |id: u8| {
        let id = der(0x06, &[FULCIO, &[id]].concat());
        der(0xa0, &[id, der(0xa0, &der(0x0c, b"robot@example.com"))].concat())
    };
    assert_eq!(with(&|wanted| wanted.names = vec![other(7)]), None);
    assert_eq!(with(&|wanted| wanted.names = vec![other(6)]), Some("unreadable_certificate"));
    assert_eq!(with(&|wanted| wanted.names = vec![der(0x86, b"https://example.com")]), Some("untrusted_identity"));
    // Issuers: the older extension counts if the newer one is missing.
    let (newer, older) = (der(0x0c, b"https://issuer.example.com"), b"https://issuer.example.com".to_vec());
    let elsewhere = b"https://elsewhere.example.com".to_vec();
    assert_eq!(with(&|wanted| wanted.fulcio = vec![(1, older.clone())]), None);
    assert_eq!(with(&|wanted| wanted.fulcio = vec![(1, elsewhere.clone())]), Some("untrusted_issuer"));
    assert_eq!(with(&|wanted| wanted.fulcio = vec![(1, elsewhere.clone()), (8, newer.clone())]), None);
    assert_eq!(
        with(&|wanted| wanted.fulcio = vec![(1, older.clone()), (8, der(0x0c, &elsewhere))]),
        Some("untrusted_issuer")
    );
    assert_eq!(with(&|wanted| wanted.fulcio = Vec::new()), Some("unreadable_certificate"));
    assert_eq!(
        with(&|wanted| wanted.fulcio = vec![(8, newer.clone()), (8, newer.clone())]),
        Some("unreadable_certificate")
    );
    // An authority of the same name, and the right one after its certificate has expired.
    let bundle = world.bundle(&Wanted::default());
    let refused =
        |root: Value| inspected(&bundle, &root.to_string(), "https://issuer.example.com", "ann@example.com").reason;
    let mut impostor = world.root(["20", "30"]);
    impostor["certificateAuthorities"] = World::new().root(["20", "30"])["certificateAuthorities"].clone();
    assert_eq!(refused(impostor), Some("untrusted_certificate"));
    assert_eq!(refused(world.root(["20", "24"])), Some("untrusted_certificate"));
}

#[test]
fn what_is_no_trusted_root_is_refused_with_what_is_wrong() {
    let why = |change: &dyn Fn(&mut Value)| {
        let mut root = read(PUBLIC);
        change(&mut root);
        TrustedRoot::read(root.to_string().as_bytes()).unwrap_err()
    };
    assert!(matches!(TrustedRoot::read(b"nothing"), Err(RootError::Form(_))));
    assert!(matches!(TrustedRoot::read(b"{}"), Err(RootError::Form(_))));
    assert!(matches!(TrustedRoot::read(WORKFLOW.as_bytes()), Err(RootError::MediaType(_))));
    assert_eq!(why(&|root| root["ctlogs"] = json!([])), RootError::Missing("ctlogs"));
    let damaged = why(&|root| root["tlogs"][0]["publicKey"]["rawBytes"] = json!("*"));
    assert!(matches!(damaged, RootError::Form(why) if why.starts_with("not base64")));
    assert!(matches!(
        why(&|root| root["tlogs"] = json!(vec![root["tlogs"][0].clone(); 33])),
        RootError::TooMany { .. }
    ));
    let bad = why(&|root| flip(&mut root["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"], 0));
    assert_eq!(bad, RootError::Certificate("certificateAuthorities"));
    let time = why(&|root| root["tlogs"][0]["publicKey"]["validFor"]["start"] = json!("yesterday"));
    assert_eq!(time, RootError::Time("yesterday".to_owned()));
}

/// Changes anywhere, none of which may panic or make something else appear to be signed.
#[test]
fn bundles_that_were_cut_or_changed_anywhere_do_no_harm() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % most as u64).unwrap()
    };
    let bundles =
        [(WORKFLOW, PUBLIC, GITHUB, RELEASE), (REKOR2, STAGING, "https://github.com/login/oauth", "jku@goto.fi")];
    for (text, root, issuer, identity) in bundles {
        let original = read(text);
        let mut texts = Vec::new();
        pointers(&original["verificationMaterial"], "/verificationMaterial", &mut texts);
        let mut refused = 0;
        for _ in 0..400 {
            let mut bundle = original.clone();
            let place = bundle.pointer_mut(&texts[below(texts.len())]).unwrap();
            let mut bytes = place.as_str().unwrap().as_bytes().to_vec();
            let decoded = STANDARD.decode(&bytes).ok().filter(|decoded| !decoded.is_empty() && below(4) > 0);
            let is_binary = decoded.is_some();
            bytes = decoded.unwrap_or(bytes);
            let at = below(bytes.len());
            match below(4) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << below(8),
                2 => bytes[at] = [0, 0x30, 0x80, 0x84, 0xff][below(5)],
                _ => drop(bytes.splice(at..at, [0x30, 0x84, 0xff, 0xff, 0xff, 0xff])),
            }
            *place =
                json!(if is_binary { STANDARD.encode(bytes) } else { String::from_utf8_lossy(&bytes).into_owned() });
            let report = inspected(&bundle, root, issuer, identity);
            assert_eq!(report.verified, report.reason.is_none());
            refused += usize::from(!report.verified);
        }
        // Some changes affect parts that are not read, such as the certificates in a time stamp.
        assert!(refused > 200, "{refused}");
    }
    // JSON values that do not have the form of a bundle.
    for shape in
        [json!(null), json!([]), json!("text"), json!({"certificate": {}}), json!({"certificate": {"rawBytes": 1}})]
    {
        let mut bundle = read(WORKFLOW);
        bundle["verificationMaterial"] = shape;
        assert!(!inspected(&bundle, PUBLIC, GITHUB, RELEASE).verified);
    }
}

/// The positions of texts that are not empty.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => found.push(at.to_owned()),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, one)| pointers(one, &format!("{at}/{index}"), found));
        }
        Value::Object(object) => object.iter().for_each(|(name, one)| pointers(one, &format!("{at}/{name}"), found)),
        _ => {}
    }
}
