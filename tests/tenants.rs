//! Organizations come and go by the command line: none by a slip, and one that goes takes only its own data along.

use std::path::Path;
use std::time::Instant;

use crate::common::{PATIENCE, Server, get, run_in};
use tempfile::tempdir;
use testkit::{Cluster, Durability};

fn token(folder: &Path, store: &str, organization: &str, flags: &[&str]) -> crate::common::Ran {
    let create = ["token", "create", "--name", "n", "--scopes", "admin", "-o", "id", "--store", store];
    run_in(folder, &[&create[..], &["--organization", organization], flags].concat())
}

fn pieces(folder: &Path, organization: &str) -> usize {
    fn below(folder: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { below(&path) } else { 1 }).sum()
    }
    below(&folder.join("evidence/organizations").join(organization))
}

/// The whole life of two organizations beside a server on `store`.
fn one_goes_and_the_other_stays(store: &str) {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let config = "[kinds.echo]\ntype = \"command\"\ncommand = [\"cat\"]\n[kinds.slow]\ntype = \"command\"\ncommand = [\"sleep\", \"600\"]\n";
    std::fs::write(folder.join("longrun.toml"), config).unwrap();
    let operator = |args: &[&str]| run_in(folder, &[args, &["--store", store]].concat());
    let acme = token(folder, store, "acme", &[]).expect(0).says("the organization acme is new").line();
    token(folder, store, "acem", &[]).expect(2).says("did you mean acme?").says("--create-organization");
    assert_eq!(token(folder, store, "acme", &[]).expect(0).stderr, "");
    let globex = token(folder, store, "globex", &["--create-organization"]).expect(0).line();
    assert_eq!(operator(&["organizations", "list", "-o", "id"]).expect(0).stdout, "acme\nglobex\n");

    let server = Server::start(folder, &[("store", store)]);
    std::fs::write(folder.join("acme.token"), &acme).unwrap();
    std::fs::write(folder.join("globex.token"), &globex).unwrap();
    let call = |organization: &str, args: &[&str]| {
        let token = format!("{organization}.token");
        run_in(folder, &[args, &["--url", &server.url, "--token-file", &token]].concat())
    };
    std::fs::write(folder.join("evidence.json"), "{}").unwrap();
    for organization in ["acme", "globex"] {
        call(organization, &["evidence", "put", "evidence.json"]).expect(0);
        let id = call(organization, &["ops", "create", "--kind", "echo", "--input", "1", "-o", "id"]).expect(0).line();
        call(organization, &["ops", "wait", &id, "--quiet", "--timeout", "60s"]).expect(0);
    }
    let slow = call("acme", &["ops", "create", "--kind", "slow", "-o", "id"]).expect(0).line();
    let is_running = || call("acme", &["ops", "get", &slow]).expect(0).stdout.contains("RUNNING");
    let deadline = Instant::now() + PATIENCE;
    while !is_running() {
        assert!(Instant::now() < deadline);
    }

    operator(&["organizations", "delete", "nobody", "--yes"]).expect(2).says("there is no organization nobody");
    let told = operator(&["organizations", "delete", "acme"]).expect(0).stdout;
    let what = "1 operation that has not ended, 1 ended, 2 tokens, 1 piece of evidence (2 bytes)";
    assert!(told.starts_with(&format!("acme has {what}\nnothing was changed")), "{told}");
    assert!(told.contains("--yes --force"), "{told}");
    operator(&["organizations", "delete", "acme", "--yes"]).expect(2).says("1 operation that has not ended");
    assert_eq!(pieces(folder, "acme"), 1);
    call("acme", &["ops", "get", &slow]).expect(0);

    let deleted = operator(&["organizations", "delete", "acme", "--yes", "--force"]).expect(0);
    assert_eq!(deleted.line(), format!("deleted acme: {what}"));
    assert_eq!((pieces(folder, "acme"), pieces(folder, "globex")), (0, 1));
    while get(&server.url, "/v1/operations", Some(&acme)).0 != 401 {
        assert!(Instant::now() < deadline, "a token of a deleted organization still works");
    }
    assert_eq!(operator(&["organizations", "list", "-o", "id"]).expect(0).stdout, "globex\n");
    assert!(!operator(&["token", "list"]).expect(0).stdout.contains("acme"));
    operator(&["doctor"]).expect(0);
    operator(&["organizations", "delete", "acme", "--yes"]).expect(2).says("there is no organization acme");
    token(folder, store, "acme", &[]).expect(2).says("there is no organization acme");

    let left = call("globex", &["ops", "list", "-o", "json"]).expect(0).json();
    assert_eq!(left["pagination"]["total_count"], 1);
    let again = token(folder, store, "acme", &["--create-organization"]).expect(0).line();
    let (status, list) = get(&server.url, "/v1/operations", Some(&again));
    assert!(status == 200 && list.contains("\"total_count\":0"), "{list}");
    // Running attempts were given up, and the server stops in good order.
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn an_organization_is_deleted_from_sqlite() {
    one_goes_and_the_other_stays("sqlite:longrun.db");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_deleted_from_postgres() {
    let cluster = Cluster::start(Durability::None).unwrap();
    one_goes_and_the_other_stays(&cluster.database().await.unwrap());
}

#[test]
fn pausing_says_what_is_unknown_and_what_it_did_not_change() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("longrun.toml"), "[kinds.echo]\ntype = \"command\"\ncommand = [\"cat\"]\n").unwrap();
    token(folder, "sqlite:longrun.db", "acme", &[]).expect(0);
    let pause = |args: &[&str]| run_in(folder, &[&["kinds", "pause"], args].concat());
    assert_eq!(pause(&["echo"]).expect(0).stderr, "");
    let again = pause(&["echo"]).expect(0).line();
    assert!(again.starts_with("nothing was changed: kind echo has been paused since 20"), "{again}");
    pause(&["ecko"]).expect(0).says("there has been no operation of the kind ecko").says("did you mean echo?");
    assert_eq!(pause(&["evidence_evaluation", "--organization", "acme"]).expect(0).stderr, "");
    run_in(folder, &["organizations", "pause", "acme"]).expect(0);
    let again = run_in(folder, &["organizations", "pause", "acme"]).expect(0).line();
    assert!(again.starts_with("nothing was changed: organization acme has been paused since 20"), "{again}");
}
