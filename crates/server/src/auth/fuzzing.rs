//! Entry points for fuzzers into how tokens of identity providers and their keys are read: see [`crate::fuzzing`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use operations::Timestamp;
use serde_json::{Map, Value};
use store::Scope;

use super::claims::{ClaimMapping, Role};
use super::jwks::{KeySet, KeySettings, KeySource};
use super::jwt::{JwtSettings, JwtVerifier, Outcome};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "longrun";
/// The pair of keys of RFC 8410, section 10, which is public.
const PRIVATE_KEY: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
const KEY_SET: &[u8] =
    br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"}]}"#;

/// A token. Bytes with a zero byte are a header and claims, which are signed here with the provider's key, so that what
/// comes after the check of a signature is reached; others are a whole token, which the provider has not signed.
pub(crate) fn jwt(bytes: &[u8]) {
    static VERIFIER: LazyLock<JwtVerifier> = LazyLock::new(|| {
        let keys = KeySet::fixed(settings().keys, KEY_SET).expect("it is a key set");
        JwtVerifier::fixed(settings(), keys)
    });
    let now = Timestamp::from_millis(1_800_000_000_000);
    let parts = bytes.iter().position(|byte| *byte == 0).map(|at| (&bytes[..at], &bytes[at + 1..]));
    let text = match parts {
        Some((header, claims)) => token(&VERIFIER, header, claims),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let Outcome::Valid(verified) = ready(VERIFIER.verify(&text, now)) else { return };
    let (header, claims) = parts.expect("nobody else can sign");
    let header: Map<String, Value> = serde_json::from_slice(header).expect("a valid token has a header");
    assert_eq!(header["alg"], "EdDSA", "the algorithm is the key's");
    for name in ["crit", "jku", "jwk", "x5u", "x5c"] {
        assert!(!header.contains_key(name), "{name} is accepted");
    }
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("a valid token has claims");
    assert_eq!(claims["iss"], ISSUER);
    let audiences = &claims["aud"];
    assert!(audiences == AUDIENCE || audiences.as_array().is_some_and(|all| all.iter().any(|one| one == AUDIENCE)));
    assert!(claims["exp"].as_f64().is_some_and(|end| end * 1_000.0 + 60_000.0 >= now.as_millis() as f64));
    assert!(verified.token.is_valid(now));
    assert!(!verified.token.scopes.contains(&Scope::Admin), "no claim grants what the mapping does not name");
}

/// A provider's key set, and whether a key of it can be asked for a signature.
pub(crate) fn key_set(bytes: &[u8]) {
    let Ok(keys) = KeySet::fixed(settings().keys, bytes) else { return };
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        for id in [None, Some("a")] {
            if let Some(key) = ready(keys.find(id, algorithm)) {
                assert!(keys.holds(&key));
                let signature = BASE64_URL_SAFE_NO_PAD.encode([7; 64]);
                let verified = crypto::verify(&signature, b"header.claims", &key.decoding, algorithm);
                assert!(!verified.is_ok_and(|is_valid| is_valid), "a key for which anything is a signature");
            }
        }
    }
}

fn settings() -> JwtSettings {
    let role =
        Role { organization: "globex".into(), scopes: [Scope::OperationsWrite].into(), projects: vec!["*".into()] };
    JwtSettings {
        name: "idp".into(),
        issuer: ISSUER.into(),
        audiences: vec![AUDIENCE.into()],
        keys: KeySettings {
            source: KeySource::Url(String::new()),
            allow_http: false,
            refresh: Duration::MAX,
            refetch_after: Duration::MAX,
        },
        leeway: Duration::from_secs(60),
        claims: ClaimMapping {
            required: BTreeMap::from([("env".into(), vec!["prod".into(), "test".into()])]),
            organization_claim: "tenant.name".into(),
            organizations: BTreeMap::from([("Acme".into(), "acme".into()), ("Globex".into(), "globex".into())]),
            organization: String::new(),
            scopes_claim: String::new(),
            scopes: BTreeSet::from([Scope::OperationsRead]),
            projects_claim: "projects".into(),
            projects: Vec::new(),
            roles_claim: "groups".into(),
            roles: BTreeMap::from([("dev".into(), role)]),
        },
    }
}

/// A token with this header and these claims. It is signed if the verifier would look at its signature: signing takes
/// longer than everything else, and most tokens of a fuzzer are refused before.
fn token(verifier: &JwtVerifier, header: &[u8], claims: &[u8]) -> String {
    static KEY: LazyLock<EncodingKey> =
        LazyLock::new(|| EncodingKey::from_ed_der(&BASE64_STANDARD.decode(PRIVATE_KEY).expect("it is base64")));
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
    let unsigned = format!("{message}.AA");
    if verifier.named(&unsigned).is_none() {
        return unsigned;
    }
    let signature = crypto::sign(message.as_bytes(), &KEY, Algorithm::EdDSA).expect("the key can sign");
    format!("{message}.{signature}")
}

/// The result of a call that has nothing to wait for: the keys are there, and are not fetched again.
fn ready<T>(call: impl Future<Output = T>) -> T {
    match std::pin::pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the call waits for something"),
    }
}
