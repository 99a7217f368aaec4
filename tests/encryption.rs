//! Encryption at rest as an operator uses it: keys, a server that encrypts, a change of keys beside it, backups.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::{Ran, Server, command, get, run_in};
use serde_json::{Value, json};
use tempfile::tempdir;
use testkit::{Cluster, Durability};

/// A text that must not be in any file of the server.
const SECRET: &str = "topsecret";

fn write_config(folder: &Path, store: &str, keys: &[&str], active: &str) {
    let keys: Vec<String> = keys.iter().map(|key| format!("{{ id = \"{key}\", file = \"keys/{key}\" }}")).collect();
    let text = format!(
        "store = \"{store}\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         [evidence]\nfolder = \"data/evidence\"\n\
         [encryption]\nkeys = [{}]\nactive = \"{active}\"\n\
         [kinds.tell]\ntype = \"command\"\ncommand = [\"echo\", \"{SECRET} output\"]\n\
         [kinds.fail]\ntype = \"command\"\nmax_attempts = 1\n\
         command = [\"sh\", \"-c\", \"echo {SECRET} error >&2; exit 1\"]\n\
         [kinds.wait]\ntype = \"remote\"\n",
        keys.join(", ")
    );
    std::fs::write(folder.join("longrun.toml"), text).unwrap();
}

fn serve(folder: &Path) -> Server {
    Server::of(command().current_dir(folder).arg("serve"))
}

fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// How many texts and pieces of evidence each key has, by `longrun encryption status`.
fn status(folder: &Path) -> Vec<(Value, u64, u64, String)> {
    let rows = run_in(folder, &["encryption", "status", "-o", "json"]).expect(0).json();
    let row = |row: &Value| {
        let state = row["state"].as_str().unwrap().to_owned();
        (row["key"].clone(), row["texts"].as_u64().unwrap(), row["evidence"].as_u64().unwrap(), state)
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

/// The whole life of a store: encrypted from the start, its keys changed, backed up and restored.
fn live(folder: &Path, store: &str, restored: &str) {
    for key in ["old", "new"] {
        let file = format!("keys/{key}");
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        run_in(folder, &["encryption", "generate-key", &file]).expect(0);
        assert_eq!(std::fs::metadata(folder.join(&file)).unwrap().mode() & 0o777, 0o600);
        run_in(folder, &["encryption", "generate-key", &file]).expect(2).says("already exists");
    }
    write_config(folder, store, &["old"], "old");
    let create = ["token", "create", "--organization", "acme", "--name", "n", "--scopes", "admin", "-o", "id"];
    let token = run_in(folder, &create).expect(0).line();
    std::fs::write(folder.join("token"), &token).unwrap();
    std::fs::write(folder.join("evidence.json"), format!("{{\"text\":\"{SECRET} evidence\"}}")).unwrap();
    let call = |server: &Server, args: &[&str]| -> Ran {
        run_in(folder, &[args, &["--url", &server.url, "--token-file", "token"]].concat())
    };

    let server = serve(folder);
    let mut ids = Vec::new();
    for kind in ["tell", "fail", "wait"] {
        let input = format!("{{\"text\":\"{SECRET} input\"}}");
        ids.push(call(&server, &["ops", "create", "--kind", kind, "--input", &input, "-o", "id"]).expect(0).line());
    }
    for id in &ids[..2] {
        call(&server, &["ops", "wait", id, "--quiet", "--timeout", "60s"]);
    }
    let digest = call(&server, &["evidence", "put", "evidence.json", "-o", "id"]).expect(0).line();
    let reads = |server: &Server| {
        let told = call(server, &["ops", "get", &ids[0], "-o", "json"]).expect(0).json();
        assert_eq!(told["operation"]["output"], format!("{SECRET} output\n"));
        let failed = call(server, &["ops", "get", &ids[1], "-o", "json"]).expect(0).json();
        assert!(
            failed["operation"]["error_message"].as_str().unwrap().contains(&format!("{SECRET} error")),
            "{failed}"
        );
        call(server, &["evidence", "get", &digest]).expect(0).shows(&format!("{SECRET} evidence"));
    };
    reads(&server);
    assert_eq!(files_with(&folder.join("data"), SECRET), Vec::<String>::new());
    // Three inputs, an output, an error.
    let (key, texts, pieces, state) = status(folder).remove(0);
    assert_eq!((key, pieces, state.as_str()), (json!("old"), 1, "active"));
    assert_eq!(texts, 5);
    run_in(folder, &["backup", "copy"]).expect(0);
    assert_eq!(files_with(&folder.join("copy"), SECRET), Vec::<String>::new());
    drop(server);

    // The servers get the new key, and existing data is encrypted with it while they run.
    write_config(folder, store, &["old", "new"], "new");
    let server = serve(folder);
    reads(&server);
    run_in(folder, &["encryption", "rotate"])
        .expect(0)
        .shows("rewrote 5 texts and 1 piece of evidence, with the key new");
    let key = |id: &str, texts, pieces, state: &str| (json!(id), texts, pieces, state.to_owned());
    assert_eq!(status(folder), [key("new", 5, 1, "active"), key("old", 0, 0, "known")]);
    reads(&server);
    run_in(folder, &["doctor"]).expect(0);
    drop(server);
    write_config(folder, store, &["new"], "new");
    let server = serve(folder);
    reads(&server);
    drop(server);

    // The backup is older: it needs the old key.
    write_config(folder, restored, &["new"], "new");
    std::fs::rename(folder.join("data"), folder.join("data-before")).unwrap();
    run_in(folder, &["restore", "copy"]).expect(0);
    run_in(folder, &["doctor"]).expect(1).shows("5 texts are sealed with the key \"old\", which is missing");
    run_in(folder, &["encryption", "rotate"]).expect(1).shows("6 could not be decrypted and were left unchanged");
    let server = serve(folder);
    let path = |id: &str| format!("/v1/operations/{id}");
    assert_eq!(get(&server.url, &path(&ids[0]), Some(&token)).0, 503, "its output cannot be opened");
    assert_eq!(get(&server.url, &path(&ids[2]), Some(&token)).0, 200);
    assert_eq!(get(&server.url, "/v1/operations", Some(&token)).0, 200);
    assert_eq!(get(&server.url, &format!("/v1/evidence/{digest}"), Some(&token)).0, 503);
    drop(server);
    write_config(folder, restored, &["old"], "");
    let server = serve(folder);
    reads(&server);
    run_in(folder, &["encryption", "rotate"]).expect(2).says("--decrypt");
    run_in(folder, &["encryption", "rotate", "--decrypt"]).expect(0).shows("without a key");
    reads(&server);
    drop(server);
    write_config(folder, restored, &[], "");
    reads(&serve(folder));
    run_in(folder, &["doctor"]).expect(0);
}

#[test]
fn a_store_in_sqlite_is_encrypted_and_its_keys_are_changed() {
    let folder = tempdir().unwrap();
    live(folder.path(), "sqlite:data/longrun.db", "sqlite:data/again.db");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_postgresql_is_encrypted_and_its_keys_are_changed() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let (store, restored) = (cluster.database().await.unwrap(), cluster.database().await.unwrap());
    let folder = tempdir().unwrap();
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || live(&path, &store, &restored)).await.unwrap();
}

#[test]
fn evidence_that_is_not_there_has_to_be_named() {
    let folder = tempdir().unwrap();
    let create = ["token", "create", "--organization", "acme", "--name", "n", "--scopes", "admin"];
    let store = ["--store", "sqlite:longrun.db"];
    run_in(folder.path(), &[&create[..], &store].concat()).expect(0);
    let status = |more: &[&str]| run_in(folder.path(), &[&["encryption", "status"], &store[..], more].concat());
    status(&[]).expect(2).says("evidence does not exist").says("name it with --evidence");
    std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
    status(&["--evidence", "elsewhere"]).expect(0);
}

#[test]
fn keys_that_cannot_be_used_are_told_before_anything_starts() {
    let folder = tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join("longrun.toml"), text).unwrap();
        run_in(folder.path(), &["config", "check"]).expect(2)
    };
    check("[encryption]\nactive = \"a\"\n")
        .says("encryption.active: \"a\" is not one of encryption.keys: there are none");
    check("[encryption]\nkeys = [{ id = \"a\", file = \"none\" }]\n").says("encryption.keys: the key \"a\" in none");
    std::fs::write(folder.path().join("short"), "c2hvcnQ=").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("short"), private).unwrap();
    check("[encryption]\nkeys = [{ id = \"a\", file = \"short\" }]\n").says("must hold 32 random bytes");
}
