//! Tokens, organizations, sessions and the audit log, managed from the command line at a running server.

use crate::common::{Ran, Server, command, run_in};
use tempfile::tempdir;

#[test]
fn a_server_is_managed_as_its_store_is() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let in_store = |args: &[&str]| run_in(folder, &[args, &["--store", "sqlite:longrun.db"]].concat());
    let made = in_store(&["token", "create", "--instance", "--name", "operators", "--scopes", "admin", "-o", "id"]);
    std::fs::write(folder.join("manager"), made.expect(0).line()).unwrap();
    let server = Server::start(folder, &[]);
    let at =
        |token: &str, args: &[&str]| run_in(folder, &[args, &["--url", &server.url, "--token-file", token]].concat());

    let made = at("manager", &["organizations", "create", "acme", "--max-pending", "7"]);
    assert_eq!(made.expect(0).line(), "created acme");
    at("manager", &["organizations", "create", "acme"]).expect(2).says("already");
    at("manager", &["organizations", "set-limits", "acme", "--rate", "0.5"]).expect(0);
    at("manager", &["organizations", "set-limits", "acme", "--weight", "2"]).expect(0);
    let create = ["token", "create", "--name", "ci", "--scopes", "admin", "--organization", "acme", "-o", "id"];
    std::fs::write(folder.join("acme"), at("manager", &create).expect(0).line()).unwrap();
    at("manager", &[&create[..], &["--create-organization"]].concat()).expect(2).says("only works with a store");
    at("acme", &["token", "create", "--name", "x", "--scopes", "admin", "--organization", "other"]).expect(4);

    // A token of the organization, without naming it; listed, replaced and revoked.
    let made = at("acme", &["token", "create", "--name", "p", "--scopes", "operations:read", "-o", "json"]).expect(0);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["organization"], "acme");
    let rotated = at("acme", &["token", "rotate", &id, "--overlap", "0s", "-o", "json"]).expect(0).json();
    let listed = at("acme", &["token", "list", "-o", "json"]).expect(0).json();
    assert_eq!(listed, in_store(&["token", "list", "--organization", "acme", "-o", "json"]).expect(0).json());
    let state = |id: &str| {
        let row = listed.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
        row["state"].as_str().unwrap().to_owned()
    };
    assert_eq!((state(&id), state(rotated["id"].as_str().unwrap())), ("expired".to_owned(), "valid".to_owned()));
    at("acme", &["token", "revoke", rotated["secret"].as_str().unwrap()]).expect(2).says("named by its id");
    let revoked = at("acme", &["token", "revoke", rotated["id"].as_str().unwrap()]).expect(0).line();
    assert_eq!(revoked, format!("revoked {}", rotated["id"].as_str().unwrap()));
    at("acme", &["token", "revoke", "tok_0"]).expect(4);

    assert_eq!(at("acme", &["organizations", "pause", "acme"]).expect(0).line(), "paused: organization acme");
    let organizations = at("manager", &["organizations", "list", "-o", "json"]).expect(0).json();
    assert_eq!(organizations, in_store(&["organizations", "list", "-o", "json"]).expect(0).json());
    assert!(organizations[0]["paused_since"].is_string(), "{organizations}");
    at("acme", &["organizations", "resume", "acme"]).expect(0);
    assert_eq!(at("acme", &["sessions", "list", "-o", "id"]).expect(0).stdout, "");
    at("acme", &["sessions", "revoke", "ses_0"]).expect(4);
    in_store(&["sessions", "list"]).expect(2).says("--organization is required");
    in_store(&["sessions", "revoke", "ses_0", "--organization", "acme"]).expect(2).says("there is no session");

    // The server says who it was, and says the same as the store.
    let entries = at("acme", &["audit", "list", "--action", "tokens.", "-o", "json"]).expect(0).json();
    let in_its_store = in_store(&["audit", "list", "--organization", "acme", "--action", "tokens.", "-o", "json"]);
    assert_eq!(entries, in_its_store.expect(0).json());
    assert!(entries.as_array().unwrap().iter().any(|entry| entry["actor"]["name"] == "ci"), "{entries}");
    let exported = at("manager", &["audit", "export", "--organization", "acme", "--since", "1h"]).expect(0).stdout;
    assert!(exported.lines().count() > entries.as_array().unwrap().len(), "{exported}");

    // LONGRUN_URL is used, unless a store is named.
    let run = |args: &[&str], store: Option<&str>| {
        let mut command = command();
        command.current_dir(folder).args(args).env("LONGRUN_URL", &server.url).env("LONGRUN_TOKEN_FILE", "acme");
        if let Some(store) = store {
            command.env("LONGRUN_STORE", store);
        }
        Ran::of(command.output().unwrap(), args)
    };
    run(&["organizations", "list"], None).expect(2).says("tokens of the instance");
    run(&["organizations", "list"], Some("sqlite:longrun.db")).expect(0).shows("acme");
    run(&["organizations", "list", "--store", "sqlite:longrun.db"], None).expect(0).shows("acme");
    run(&["token", "list", "--url", &server.url, "--store", "sqlite:x.db"], None).expect(2).says("cannot be used with");

    at("manager", &["organizations", "delete", "acme"]).expect(0).shows("nothing was changed");
    assert!(
        at("manager", &["organizations", "delete", "acme", "--yes"]).expect(0).stdout.starts_with("deleted acme: ")
    );
}
