//! Tokens, organizations and the audit log, as operators manage them on the command line, beside a server.

use serde_json::Value;
use tempfile::tempdir;

use crate::common::{Server, get, run_in};

#[test]
fn what_operators_do_is_in_the_audit_log_and_holds_for_servers() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("longrun.toml"), "").unwrap();
    let operator = |args: &[&str]| run_in(folder, args);
    let json = |args: &[&str]| operator(&[args, &["-o", "json"]].concat()).expect(0).json();

    assert_eq!(operator(&["organizations", "create", "acme", "--max-pending", "5"]).expect(0).line(), "created acme");
    operator(&["organizations", "create", "acme"]).expect(2).says("already");
    operator(&["organizations", "set-limits", "acme", "--weight", "0"]).expect(2).says("--weight");
    operator(&["organizations", "set-limits", "globex"]).expect(2).says("there is no organization globex");
    let create = ["token", "create", "--organization", "acme", "--name", "ci", "--scopes", "operations:read"];
    let old = json(&[&create[..], &["--expires-in", "90d"]].concat());
    let (id, secret) = (old["id"].as_str().unwrap(), old["secret"].as_str().unwrap());
    let new = json(&["token", "rotate", id, "--overlap", "1h"]);
    assert_eq!((&new["name"], &new["scopes"]), (&old["name"], &old["scopes"]));
    operator(&["token", "rotate", id, "--overlap", "31d"]).expect(2).says("--overlap");
    operator(&["token", "rotate", "tok_none"]).expect(2).says("token list");

    let server = Server::start(folder, &[]);
    for secret in [secret, new["secret"].as_str().unwrap()] {
        assert_eq!(get(&server.url, "/v1/operations", Some(secret)).0, 200, "both are valid for an hour");
    }
    let instance = ["token", "create", "--instance", "--name", "operators", "--scopes"];
    operator(&[&instance[..], &["operations:read"]].concat()).expect(2).says("admin, operations:work or both");
    let manager = operator(&[&instance[..], &["admin", "-o", "id"]].concat()).expect(0).line();
    let (status, organizations) = get(&server.url, "/v1/organizations", Some(&manager));
    assert_eq!(status, 200);
    assert!(organizations.contains("\"acme\""), "{organizations}");
    let (_, acme) = get(&server.url, "/v1/organizations/acme", Some(&manager));
    let acme: Value = serde_json::from_str(&acme).unwrap();
    assert_eq!(acme["organization"]["limits"]["max_pending"], 5);
    let listed = operator(&["token", "list"]).expect(0).stdout;
    assert!(listed.contains("(the instance)"), "{listed}");

    operator(&["token", "revoke", secret]).expect(0);
    operator(&["kinds", "pause", "scan", "--organization", "acme"]).expect(0);
    let entries = json(&["audit", "list", "--organization", "acme"]);
    let actions: Vec<&str> =
        entries.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["kinds.pause", "tokens.revoke", "tokens.rotate", "tokens.create"]);
    assert!(entries.as_array().unwrap().iter().all(|entry| entry["actor"]["kind"] == "command_line"), "{entries}");
    let exported = operator(&["audit", "export", "--action", "tokens.", "--since", "1h"]).expect(0).stdout;
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{exported}");
    assert_eq!((&lines[0]["organization"], &lines[0]["action"]), (&Value::from(""), &Value::from("tokens.create")));
    assert!(!exported.contains("lrn_") && !entries.to_string().contains("lrn_"), "no secret is recorded");
    operator(&["audit", "list", "--since", "yesterday"]).expect(2).says("2026-01-31T12:00:00Z");
    operator(&["doctor"]).expect(0);
}
