//! Tokens that are refused, each for a reason of its own, all with the same answer.

use std::fmt::Write;

use http::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};

use super::provider::{caller, server_of};
use super::signer::{ISSUER, Signer, claims, claims_with, encoded, now};
use crate::harness::{Answer, Server};

/// How many forgeries there are, so that none is lost silently.
const FORGERIES: usize = 139;

/// A token without a signature.
pub fn unsigned(header: Value, signature: &str) -> String {
    format!("{}.{}.{signature}", encoded(header.to_string()), encoded(claims().to_string()))
}

/// A token that is signed by HMAC with a text that everybody knows.
pub fn hmac_with(header: Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", encoded(header.to_string()), encoded(claims().to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encoded(signature))
}

/// The public key of an RSA signer, as PEM would have it.
pub fn public_text(signer: &Signer) -> Vec<u8> {
    signer.jwk()["n"].as_str().unwrap().as_bytes().to_vec()
}

async fn list(server: &Server, token: &str) -> Answer {
    caller(server, token).get("/v1/operations").await
}

fn header_with(changes: Value) -> Value {
    let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": "e"});
    for (name, value) in changes.as_object().unwrap() {
        header[name] = value.clone();
    }
    header
}

/// Every forgery: what it is, and its token.
fn forgeries(rsa: &Signer, ec: &Signer, ed: &Signer) -> Vec<(String, String)> {
    let (stranger, strange_rsa) = (Signer::ec("e"), Signer::another_rsa("r"));
    let mut table: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, token: String| table.push((name.to_owned(), token));

    for none in ["none", "None", "NONE", "nOnE", ""] {
        add(&format!("alg {none:?}"), unsigned(json!({"alg": none, "kid": "e"}), ""));
        add(&format!("alg {none:?} with a signature"), unsigned(json!({"alg": none, "kid": "e"}), "AAAA"));
    }
    add("no alg", unsigned(json!({"kid": "e"}), ""));
    for alg in ["HS256", "HS384", "HS512"] {
        add(&format!("{alg} with the public key"), hmac_with(json!({"alg": alg, "kid": "r"}), &public_text(rsa)));
        let jwk = rsa.jwk().to_string();
        add(&format!("{alg} with the JWK"), hmac_with(json!({"alg": alg, "kid": "r"}), jwk.as_bytes()));
        add(&format!("{alg} with nothing"), hmac_with(json!({"alg": alg, "kid": "r"}), b""));
    }
    for alg in ["RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "ES256K", "EdDSA ", "rs256", "RSA-OAEP"]
    {
        add(&format!("alg {alg}"), rsa.sign_with(&json!({"alg": alg, "kid": "r"}), &claims()));
    }
    add("RS256 with the key of ES256", rsa.sign_with(&json!({"alg": "RS256", "kid": "e"}), &claims()));
    add("ES256 with the key of RS256", ec.sign_with(&json!({"alg": "ES256", "kid": "r"}), &claims()));
    add("EdDSA with the key of ES256", ed.sign_with(&json!({"alg": "EdDSA", "kid": "e"}), &claims()));
    add("ES256 by a signature of EdDSA", ed.sign_with(&json!({"alg": "ES256", "kid": "e"}), &claims()));
    add("a stranger's key under a known id", stranger.sign(&claims()));
    add("a stranger's RSA key under a known id", strange_rsa.sign(&claims()));
    add("no key id, and several keys of strangers", stranger.sign_with(&json!({"alg": "ES256"}), &claims()));

    for (name, header) in [
        ("crit", json!({"crit": ["exp"]})),
        ("crit, empty", json!({"crit": []})),
        ("crit with b64", json!({"crit": ["b64"], "b64": false})),
        ("crit that is unknown", json!({"crit": ["http://example.com/UNDEFINED"]})),
        ("crit that is no list", json!({"crit": true})),
        ("jku", json!({"jku": "http://127.0.0.1:1/keys"})),
        ("x5u", json!({"x5u": "http://127.0.0.1:1/cert"})),
        ("x5c", json!({"x5c": ["MIIB"]})),
        ("jwk", json!({"jwk": stranger.jwk()})),
        ("crit without a value", json!({"crit": null})),
        ("jku without a value", json!({"jku": null})),
        ("x5u without a value", json!({"x5u": null})),
        ("x5c without a value", json!({"x5c": null})),
        ("jwk without a value", json!({"jwk": null})),
        ("typ of a logout token", json!({"typ": "logout+jwt"})),
        ("typ of an event", json!({"typ": "secevent+jwt"})),
        ("typ of a proof", json!({"typ": "dpop+jwt"})),
        ("typ that is no text", json!({"typ": 7})),
        ("alg that is no text", json!({"alg": ["ES256"]})),
    ] {
        add(&format!("{name}, signed as it should be"), ec.sign_with(&header_with(header.clone()), &claims()));
        add(&format!("{name}, by a stranger"), stranger.sign_with(&header_with(header), &claims()));
    }
    for kid in [
        json!("../../../../dev/null"),
        json!("/dev/null"),
        json!("e' OR '1'='1"),
        json!("http://127.0.0.1:1/keys"),
        json!("e\u{0}"),
        json!(" e"),
        json!("E"),
        json!(""),
        json!("k".repeat(10_000)),
        json!(7),
        json!(["e"]),
        json!({"kid": "e"}),
    ] {
        add(&format!("kid {:.40}", kid.to_string()), ec.sign_with(&header_with(json!({ "kid": kid })), &claims()));
    }
    for (name, changes) in [
        ("no exp", json!({"exp": null})),
        ("expired", json!({"exp": now() - 31})),
        ("exp that is text", json!({"exp": "2999-01-01"})),
        ("exp that is text with a number", json!({"exp": (now() + 60).to_string()})),
        ("exp beyond all times", json!({"exp": 1e30})),
        ("exp before all times", json!({"exp": -1})),
        ("nbf in the future", json!({"nbf": now() + 60})),
        ("nbf that is no time", json!({"nbf": "now"})),
        ("iat in the future", json!({"iat": now() + 60})),
        ("iat that is no time", json!({"iat": {}})),
        ("no aud", json!({"aud": null})),
        ("aud of another", json!({"aud": "elsewhere"})),
        ("aud of another case", json!({"aud": "Longrun"})),
        ("aud of others", json!({"aud": ["elsewhere", "longrun2"]})),
        ("aud that is no text", json!({"aud": {"longrun": true}})),
        ("aud that is empty", json!({"aud": []})),
        ("no iss", json!({"iss": null})),
        ("iss of another", json!({"iss": "https://evil.example.com"})),
        ("iss with a slash", json!({"iss": format!("{ISSUER}/")})),
        ("iss in a list", json!({"iss": [ISSUER]})),
        ("no sub", json!({"sub": null})),
        ("sub that is empty", json!({"sub": ""})),
        ("sub that is a number", json!({"sub": 7})),
        ("sub with a line end", json!({"sub": "ci\nadmin"})),
        ("sub that is long", json!({"sub": "s".repeat(1_000)})),
        ("no organization", json!({"tenant": null})),
        ("organization that is empty", json!({"tenant": ""})),
        ("organization that is an object", json!({"tenant": {"name": "acme"}})),
        ("two organizations", json!({"tenant": ["acme", "globex"]})),
        ("organization that is no name", json!({"tenant": "acme\u{0}"})),
        ("bound to a key", json!({"cnf": {"jkt": "x"}})),
    ] {
        add(name, ec.sign(&claims_with(changes)));
    }

    let good = ec.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other = encoded(claims_with(json!({"tenant": "globex"})).to_string());
    add("other claims under the signature", format!("{}.{other}.{}", parts[0], parts[2]));
    let other = encoded(header_with(json!({"typ": "at+jwt"})).to_string());
    add("another header over the signature", format!("{other}.{}.{}", parts[1], parts[2]));
    add("no signature", format!("{}.{}.", parts[0], parts[1]));
    add("a short signature", good[..good.len() - 4].to_owned());
    add("a signature with more behind it", format!("{good}AAAA"));
    add("a signature of zeros", format!("{}.{}.{}", parts[0], parts[1], encoded([0; 64])));
    add("a signature in base64 of the other alphabet", format!("{}.{}.++//", parts[0], parts[1]));
    add("padding", format!("{good}="));
    add("two parts", format!("{}.{}", parts[0], parts[1]));
    add("four parts", format!("{good}.{}", parts[2]));
    add("five parts, as encrypted ones have", format!("{good}.AAAA.AAAA"));
    add("three parts of nothing", "..".to_owned());
    add("no base64", "!.!.!".to_owned());
    add("no text", format!("{}.{}.{}", encoded([0xff, 0xfe]), parts[1], parts[2]));
    add("no JSON", ec.sign_text("alg", "claims"));
    add("claims that are no object", ec.sign_text(&header_with(json!({})).to_string(), "[]"));
    add("header that is no object", ec.sign_text("[\"ES256\"]", &claims().to_string()));
    let doubled = r#"{"alg":"none","alg":"ES256","kid":"e"}"#;
    add("alg twice", ec.sign_text(doubled, &claims().to_string()));
    let mut deep = String::new();
    (0..3_000).for_each(|_| deep.write_str("[").unwrap());
    add("claims that nest without end", ec.sign_text(&header_with(json!({})).to_string(), &format!("{{\"a\":{deep}")));
    add("larger than a token may be", ec.sign(&claims_with(json!({"groups": "g".repeat(17_000)}))));
    table
}

#[tokio::test]
async fn every_forgery_gets_the_answer_that_an_unknown_api_token_gets() {
    let (rsa, ec, ed) = (Signer::rsa("r"), Signer::ec("e"), Signer::ed("d"));
    let second = Signer::ec("e2");
    let trusting = server_of(&[&rsa, &ec, &ed, &second], |_| {}).await;
    let identity = trusting.services.identity.clone();
    // A server that does not count by address: there are more forgeries than an address may try.
    let server = Server::with(|services| services.identity = identity).await;

    for good in [&rsa, &ec, &ed] {
        assert_eq!(
            list(&server, &good.sign(&claims())).await.status,
            StatusCode::OK,
            "the forgeries differ from these"
        );
    }
    let secret = server::auth::Secret::generate().unwrap();
    let unknown = list(&server, secret.expose()).await;
    assert_eq!((unknown.status, unknown.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"));
    let forgeries = forgeries(&rsa, &ec, &ed);
    assert_eq!(forgeries.len(), FORGERIES);
    for (name, token) in forgeries {
        let answer = list(&server, &token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}: {answer:?}");
        assert_eq!(answer.body, unknown.body, "{name}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{name}");
    }
}

#[tokio::test]
async fn a_token_of_which_one_character_is_another_one_is_refused() {
    for signer in [Signer::ec("e"), Signer::ed("d")] {
        let trusting = server_of(&[&signer], |_| {}).await;
        let identity = trusting.services.identity.clone();
        let server = Server::with(|services| services.identity = identity).await;
        let token = signer.sign(&claims());
        assert_eq!(list(&server, &token).await.status, StatusCode::OK);
        for place in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
            let answer = list(&server, std::str::from_utf8(&altered).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} at {place}", signer.algorithm());
        }
    }
}

#[tokio::test]
async fn a_token_counts_in_the_one_authorization_header_only() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |_| {}).await;
    let token = signer.sign(&claims());
    let bearer = format!("Bearer {token}");
    let api = server.acme().await.authorization.unwrap();
    for headers in [
        vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
        vec![("authorization", api.as_str()), ("authorization", bearer.as_str())],
        vec![("authorization", token.as_str())],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Basic bG9uZ3J1bjpsb25ncnVu")],
        vec![("x-authorization", bearer.as_str())],
        vec![("cookie", bearer.as_str())],
    ] {
        let answer = server.nobody().send(Method::GET, "/v1/operations", &headers, "").await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
            "{headers:?}"
        );
    }
    let answer = server.nobody().get(&format!("/v1/operations?access_token={token}")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_server_without_providers_takes_no_token_of_any() {
    let server = Server::start().await;
    let answer = list(&server, &Signer::ec("e").sign(&claims())).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"));
    for path in ["/auth/login", "/auth/callback", "/auth/session"] {
        assert_eq!(server.nobody().get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}
