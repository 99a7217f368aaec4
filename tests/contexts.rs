//! `longrun login`, `logout` and `context` against the real server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Dev, Ran, command};
use tempfile::tempdir;

/// A command of somebody whose contexts are in `home`.
fn of(home: &Path) -> Command {
    let mut command = command();
    command.env("XDG_CONFIG_HOME", home).current_dir(home);
    command
}

fn run(home: &Path, args: &[&str]) -> Ran {
    Ran::of(of(home).args(args).output().unwrap(), args)
}

#[test]
fn a_server_that_was_logged_in_to_is_called_until_the_logout() {
    let (folder, home) = (tempdir().unwrap(), tempdir().unwrap());
    let (dev, home) = (Dev::start(folder.path()), home.path());
    let token = folder.path().join("data/token");
    let token = token.to_str().unwrap();
    run(home, &["operations", "count"]).expect(2).says("no token").says("longrun login");
    run(home, &["login", &dev.url, "--name", "prod", "--token-file", token]).expect(0).says("with the context prod");
    let file = home.join("longrun/contexts.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    run(home, &["operations", "create", "--kind", "scan", "-o", "id"]).expect(0);
    run(home, &["operations", "count", "-o", "id"]).expect(0).shows("1");
    run(home, &["top", "--once"]).expect(0).shows("scan");
    run(home, &["token", "list", "--context", "prod"]).expect(0);
    let shown = run(home, &["context", "list"]).expect(0).shows("*").shows("prod").shows(&dev.url);
    assert!(!shown.stdout.contains(dev.token.trim()), "{}", shown.stdout);
    let shown = run(home, &["context", "show", "-o", "json"]).expect(0).json();
    assert_eq!(shown["contexts"][0]["name"], "prod");
    run(home, &["logout"]).expect(0).says("stays valid");
    assert!(!std::fs::read_to_string(&file).unwrap().contains(dev.token.trim()));
    run(home, &["operations", "count"]).expect(2).says("no token");
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_current_context() {
    let (folder, home) = (tempdir().unwrap(), tempdir().unwrap());
    let (dev, home) = (Dev::start(folder.path()), home.path());
    let token = folder.path().join("data/token");
    let token = token.to_str().unwrap();
    // By port: the address by which this machine is called distinguishes the contexts.
    let other = dev.url.replace("127.0.0.1", "localhost");
    run(home, &["login", &dev.url, "--name", "first", "--token-file", token]).expect(0);
    run(home, &["login", &other, "--name", "second", "--token-file", token]).expect(0);
    // An address at which nothing listens says which address was called.
    let nobody = "http://127.0.0.1:1";
    let mut with_environment = of(home);
    with_environment.env("LONGRUN_URL", nobody).env("LONGRUN_TOKEN", "secret");
    let ran = |command: &mut Command, args: &[&str]| Ran::of(command.args(args).output().unwrap(), args);
    ran(&mut with_environment, &["operations", "count"]).expect(6).says(nobody);
    let mut with_environment = of(home);
    with_environment.env("LONGRUN_URL", nobody).env("LONGRUN_TOKEN", "secret");
    ran(&mut with_environment, &["operations", "count", "--context", "first"]).expect(0);
    run(home, &["operations", "count", "--url", nobody]).expect(2).says("no token");
    run(home, &["operations", "count", "--url", &dev.url]).expect(0);
    run(home, &["operations", "count", "--url", &dev.url, "--context", "first"]).expect(2).says("either --context");
    run(home, &["token", "list", "--token-file", token, "--context", "first"]).expect(2).says("either --context");
    run(home, &["context", "use", "frist"]).expect(4).says("did you mean first?");
    run(home, &["context", "use", "first"]).expect(0).says(&dev.url);
    run(home, &["context", "delete", "second"]).expect(0);
    assert_eq!(run(home, &["context", "list", "-o", "id"]).expect(0).line(), "first");
}

#[test]
fn a_variable_that_is_empty_counts_as_not_set() {
    let (folder, home) = (tempdir().unwrap(), tempdir().unwrap());
    let (dev, home) = (Dev::start(folder.path()), home.path());
    let token = folder.path().join("data/token");
    run(home, &["login", &dev.url, "--name", "first", "--token-file", token.to_str().unwrap()]).expect(0);
    let with_empty = |args: &[&str]| {
        let mut command = of(home);
        for name in ["LONGRUN_URL", "LONGRUN_TOKEN_FILE", "LONGRUN_TOKEN", "LONGRUN_CONFIG"] {
            command.env(name, "");
        }
        Ran::of(command.args(args).output().unwrap(), args)
    };
    with_empty(&["operations", "count"]).expect(0);
    with_empty(&["token", "list", "--context", "first"]).expect(0);
    let data = folder.path().join("data");
    with_empty(&["token", "list", "--data-dir", data.to_str().unwrap()]).expect(0);
    with_empty(&["config", "check"]).expect(0).shows("no file was read");
}

#[test]
fn a_login_that_fails_changes_nothing() {
    let (folder, home) = (tempdir().unwrap(), tempdir().unwrap());
    let (dev, home) = (Dev::start(folder.path()), home.path());
    let wrong = home.join("wrong");
    std::fs::write(&wrong, "lr_wrong\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    run(home, &["login", &dev.url, "--token-file", wrong]).expect(2).says("does not know this token");
    run(home, &["login", "localhost", "--token-file", wrong]).expect(2).says("http://");
    run(home, &["login", "http://127.0.0.1:1", "--token-file", wrong]).expect(6);
    run(home, &["login", &dev.url]).expect(2).says("token");
    run(home, &["login", &dev.url, "--name", "a b"]).expect(2).says("letters, digits");
    assert!(!home.join("longrun").exists());
    std::fs::create_dir(home.join("longrun")).unwrap();
    std::fs::write(home.join("longrun/contexts.toml"), "[contexts.a]\ntoken = \"secret\ncurrent").unwrap();
    let told = run(home, &["operations", "count"]).expect(2).says("is invalid at line");
    assert!(!told.stderr.contains("secret"), "{}", told.stderr);
}
