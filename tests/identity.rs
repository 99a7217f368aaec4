//! Identity providers end to end: what the configuration says of them, and a job of a build service that has no API
//! token.

use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use tempfile::tempdir;
use testkit::{Cluster, Durability};

use crate::common::{Server, example, get, run, run_in};

const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn new_key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
}

/// The token of a job in this repository.
fn token(key: &Ed25519KeyPair, repository: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (owner, _) = repository.split_once('/').unwrap();
    let claims = json!({
        "iss": ISSUER, "aud": "longrun", "sub": format!("repo:{repository}:ref:refs/heads/main"),
        "repository_owner": owner, "repository": repository, "iat": now, "nbf": now, "exp": now + 300,
    });
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "1"});
    let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    format!("{message}.{}", encoded(key.sign(message.as_bytes())))
}

/// Writes the configuration of a server that takes tokens of jobs, and the keys.
fn configure(folder: &Path, key: &Ed25519KeyPair) {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "1", "x": encoded(key.public_key())});
    std::fs::write(folder.join("keys.json"), json!({"keys": [jwk]}).to_string()).unwrap();
    let config = format!(
        "[kinds.echo]\ntype = \"command\"\ncommand = [\"cat\"]\n\
         [auth.jwt.github]\nissuer = \"{ISSUER}\"\naudiences = [\"longrun\"]\njwks_file = \"keys.json\"\n\
         organization_claim = \"repository_owner\"\norganizations = {{ acme-corp = \"acme\" }}\n\
         projects_claim = \"repository\"\nscopes = [\"operations:read\", \"operations:write\"]\n"
    );
    std::fs::write(folder.join("longrun.toml"), config).unwrap();
}

fn a_job_creates_an_operation_and_waits_for_it(store: &str) {
    let folder = tempdir().unwrap();
    let (folder, key) = (folder.path(), new_key());
    configure(folder, &key);
    let create = ["token", "create", "--organization", "acme", "--name", "n", "--scopes", "admin", "-o", "id"];
    let api = run_in(folder, &[&create[..], &["--store", store]].concat()).expect(0).line();
    let server = Server::start(folder, &[("store", store)]);
    for (name, text) in [
        ("api", api.as_str()),
        ("job", &token(&key, "acme-corp/app")),
        ("other-repository", &token(&key, "acme-corp/other")),
        ("other-owner", &token(&key, "globex/app")),
        ("forged", &token(&new_key(), "acme-corp/app")),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let call =
        |who: &str, args: &[&str]| run_in(folder, &[args, &["--url", &server.url, "--token-file", who]].concat());
    let create = ["ops", "create", "--kind", "echo", "--input", "1", "-o", "id", "--project-id", "acme-corp/app"];
    let id = call("job", &create).expect(0).line();
    call("job", &["ops", "wait", &id, "--quiet", "--timeout", "60s"]).expect(0);
    let seen = |who: &str| call(who, &["ops", "list", "-o", "id"]).expect(0).stdout;
    assert_eq!(
        (seen("job"), seen("api"), seen("other-repository")),
        (format!("{id}\n"), format!("{id}\n"), String::new())
    );
    assert_ne!(call("other-repository", &create).code, 0, "each creates in its own project only");
    let unknown = get(&server.url, "/v1/operations", Some("lrn_unknown"));
    for refused in ["other-owner", "forged"] {
        let token = std::fs::read_to_string(folder.join(refused)).unwrap();
        assert_eq!(get(&server.url, "/v1/operations", Some(&token)), unknown, "{refused}");
    }
    assert_eq!(unknown.0, 401);
}

#[test]
fn a_job_of_a_build_service_needs_no_api_token_on_sqlite() {
    a_job_creates_an_operation_and_waits_for_it("sqlite:longrun.db");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_build_service_needs_no_api_token_on_postgresql() {
    let cluster = Cluster::start(Durability::None).unwrap();
    a_job_creates_an_operation_and_waits_for_it(&cluster.database().await.unwrap());
}

#[test]
fn the_example_is_valid() {
    let checked = run(&["config", "check", "--config", &example("identity.toml")]).expect(0);
    checked.says("auth.oidc.client_secret_environment: the variable OIDC_CLIENT_SECRET is not set in this environment");
}

#[test]
fn every_mistake_about_providers_is_told_with_its_place() {
    let folder = tempdir().unwrap();
    let config = r#"
[auth.jwt.github]
issuer = "https://token.actions.githubusercontent.com"
audience = ["longrun"]
jwks_url = "http://id.example.com/keys"
organization_claim = "repository_owner"
scopes = ["operations:reed"]
leeway = "1h"
refresh = "1000years"
refetch_after = "0s"
[auth.jwt.two]
issuer = "https://token.actions.githubusercontent.com"
audiences = ["longrun"]
jwks_file = "no-such-file.json"
organization = " "
roles = { admin = { scope = ["admin"] } }
[auth.oidc]
issuer = "id.example.com"
public_url = "https://longrun.example.com/app"
session_lifetime = "365d"
request_scopes = ["profile"]
"#;
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    let told = run_in(folder.path(), &["config", "check"]).expect(2);
    for problem in [
        "auth.jwt.github.audience: there is no such key here; did you mean audiences?",
        "auth.jwt.github.audiences: must name at least one audience",
        "auth.jwt.github.jwks_url: must begin with https://",
        "auth.jwt.github.required: is required for this issuer, at which anybody can have an account",
        "auth.jwt.github.scopes: unknown scope \"operations:reed\"",
        "auth.jwt.github.leeway: must be at most 5m",
        "auth.jwt.github.refresh: must be between 1s and 1d",
        "auth.jwt.github.refetch_after: must be between 1s and 1d",
        "auth.jwt.two.jwks_file: the file no-such-file.json cannot be read",
        "auth.jwt.two.organization: \" \" is not a valid name for an organization",
        "auth.jwt.two.roles: ",
        "auth.jwt.two.issuer: is also that of [auth.jwt.github]",
        "auth.oidc.issuer: must be an address",
        "auth.oidc.client_id: is missing",
        "auth.oidc.public_url: must be the address at which browsers reach this server, without a path",
        "auth.oidc.session_lifetime: must be between 1m and 30d",
        "auth.oidc.request_scopes: must contain \"openid\"",
        "auth.oidc.organization_claim: is missing",
        "(longrun.toml:5)",
    ] {
        assert!(told.stderr.contains(problem), "{problem:?} is not in\n{}", told.stderr);
    }
    for wrong in ["[auth.jwt]\nissuer = \"https://id.example.com\"\n", "[auth]\noidc = true\n"] {
        std::fs::write(folder.path().join("longrun.toml"), wrong).unwrap();
        run_in(folder.path(), &["config", "check"]).expect(2).says("[auth.jwt.keycloak]");
    }
}

#[test]
fn a_role_does_not_choose_among_those_who_name_their_organization_themselves() {
    let folder = tempdir().unwrap();
    let with = |issuer: &str, further: &str| {
        let config = format!(
            "[auth.jwt.public]\nissuer = \"{issuer}\"\naudiences = [\"longrun\"]\n\
             jwks_url = \"https://id.example.com/keys\"\nscopes = [\"operations:read\"]\nroles_claim = \"groups\"\n\
             roles = {{ ours = {{ organization = \"acme\" }} }}\n{further}"
        );
        std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
        run_in(folder.path(), &["config", "check"])
    };
    with(ISSUER, "").expect(0);
    for issuer in [ISSUER, "accounts.google.com"] {
        let refused = with(issuer, "organization_claim = \"repository_owner\"\n").expect(2);
        refused.says("auth.jwt.public.required: is required for this issuer");
    }
    with(ISSUER, "organization_claim = \"repository_owner\"\norganizations = { acme-corp = \"acme\" }\n").expect(0);
}
