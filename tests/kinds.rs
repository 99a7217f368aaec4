//! Kinds that the configuration declares, as the binary runs them: real programs, created and awaited over HTTP.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::Instant;

use common::{PATIENCE, Ran, Server, admin_token, command, example, run, run_in};
use tempfile::{TempDir, tempdir};

/// A server with a configuration, and a caller of it.
struct Setup {
    server: Server,
    folder: TempDir,
}

impl Setup {
    fn start(config: &str) -> Setup {
        let folder = tempdir().unwrap();
        std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
        let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
        std::fs::write(folder.path().join("token"), admin_token(&store)).unwrap();
        let server = Server::start(folder.path(), &[]);
        Setup { server, folder }
    }

    fn run(&self, args: &[&str]) -> Ran {
        run_in(self.folder.path(), &[args, &["--url", &self.server.url, "--token-file", "token"]].concat())
    }

    fn create(&self, kind: &str, input: &str) -> String {
        self.run(&["ops", "create", "--kind", kind, "--input", input, "-o", "id"]).expect(0).line()
    }

    /// The operation once it has ended.
    fn ended(&self, id: &str) -> serde_json::Value {
        self.run(&["ops", "wait", id, "--quiet", "--timeout", "60s"]);
        self.run(&["ops", "get", id, "-o", "json"]).expect(0).json()["operation"].clone()
    }
}

/// The process id that a command wrote into a file, once it is there.
fn pid(file: &Path) -> u32 {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n') {
            return pid.parse().unwrap();
        }
        assert!(start.elapsed() < PATIENCE, "nothing in {}", file.display());
        std::thread::yield_now();
    }
}

fn is_dead(pid: u32) {
    let start = Instant::now();
    while let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{stat}");
        std::thread::yield_now();
    }
}

#[test]
fn a_command_runs_what_is_created_over_http() {
    let setup = Setup::start(
        r#"
[kinds.shout]
type = "command"
command = ["tr", "a-z", "A-Z"]
[kinds.broken]
type = "command"
command = ["sh", "-c", "echo looked everywhere >&2; exit 4"]
permanent_exit_codes = [4]
"#,
    );
    let operation = setup.ended(&setup.create("shout", r#"{"say":"hello"}"#));
    assert_eq!(operation["status"], "ASYNC_OPERATION_STATUS_COMPLETED");
    assert_eq!(operation["output"], r#"{"SAY":"HELLO"}"#);
    let operation = setup.ended(&setup.create("broken", "null"));
    assert_eq!(operation["status"], "ASYNC_OPERATION_STATUS_FAILED");
    assert_eq!(operation["error_message"], "the command ended with exit code 4: looked everywhere");
    let refused = setup.run(&["ops", "create", "--kind", "other"]).expect(2);
    refused.says("evidence_evaluation, broken, shout");
}

const WAITS: &str = r#"
[kinds.wait]
type = "command"
command = ["sh", "-c", "echo $$ > pid; exec sleep 1000"]
[engine]
drain = "0s"
"#;

#[test]
fn a_command_does_not_outlive_a_server_that_is_killed() {
    let setup = Setup::start(WAITS);
    setup.create("wait", "null");
    let pid = pid(&setup.folder.path().join("pid"));
    setup.server.process.kill_9();
    is_dead(pid);
}

#[test]
fn a_command_is_killed_at_the_end_of_the_drain_time_and_handed_back() {
    let setup = Setup::start(WAITS);
    setup.create("wait", "null");
    let pid = pid(&setup.folder.path().join("pid"));
    setup.server.process.signal("TERM");
    assert_eq!(setup.server.process.exit_code(), 0);
    is_dead(pid);
}

#[test]
fn a_timeout_kills_the_command() {
    let setup = Setup::start(
        r#"
[kinds.wait]
type = "command"
command = ["sh", "-c", "echo $$ > pid; exec sleep 1000"]
max_attempts = 1
timeout = "200ms"
"#,
    );
    let operation = setup.ended(&setup.create("wait", "null"));
    assert_eq!(operation["error_message"], "timed out after 0.2 s");
    is_dead(pid(&setup.folder.path().join("pid")));
}

#[test]
fn a_command_sees_only_the_variables_that_are_named() {
    let folder = tempdir().unwrap();
    let config = r#"
[kinds.look]
type = "command"
command = ["sh", "-c", "test -z \"$OTHER$HOME\" && printf %s \"$API_KEY\""]
environment = ["API_KEY"]
"#;
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    let checked = run_in(folder.path(), &["config", "check"]).expect(0);
    checked.says("kinds.look.environment: the variable API_KEY is not set here");
    run_in(folder.path(), &["serve"]).expect(2).says("kinds.look.environment: the variable API_KEY is not set");

    let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
    std::fs::write(folder.path().join("token"), admin_token(&store)).unwrap();
    let mut serve = command();
    serve.current_dir(folder.path()).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    serve.env("API_KEY", "s3cret").env("OTHER", "x").env("HOME", "/root");
    let setup = Setup { server: Server::of(&mut serve), folder };
    assert_eq!(setup.ended(&setup.create("look", "null"))["output"], "s3cret");
}

#[test]
fn each_mistake_in_a_kind_is_told_with_what_would_be_right() {
    let folder = tempdir().unwrap();
    let config = r#"
[kinds]
remote = ["scan"]
[kinds.a]
comand = ["x"]
[kinds.b]
type = "shell"
[kinds.c]
type = "command"
comand = ["x"]
timeout = 5
max_attempts = 0
memory_limit = "1 MB"
[kinds.d]
type = "remote"
rate = 5
[kinds."no spaces"]
type = "remote"
[kinds.evidence_evaluation]
type = "remote"
"#;
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    let told = run_in(folder.path(), &["config", "check"]).expect(2);
    for problem in [
        "kinds.a.type: is missing; it must be \"command\"",
        "kinds.b.type: is \"shell\"; it must be \"command\"",
        "kinds.c.comand: there is no such key here; did you mean command? (longrun.toml:10)",
        "kinds.c.command: is missing; it is the program and its arguments",
        "kinds.c.timeout: invalid type: integer `5`, expected a string",
        "kinds.c.max_attempts: must be between 1 and 100 (longrun.toml:12)",
        "kinds.c.memory_limit: \"1 MB\" is not a size",
        "kinds.d.rate: is not for a remote kind",
        "kinds.no spaces.type: \"no spaces\" is no name of a kind: it must be",
        "kinds.evidence_evaluation.type: must be left out",
        "kinds.remote: there is no such key; a kind is declared by a table [kinds.remote]",
    ] {
        assert!(told.stderr.contains(problem), "{problem:?} is not in\n{}", told.stderr);
    }
}

#[test]
fn the_example_is_valid() {
    run(&["config", "check", "--config", &example("kinds.toml")]).expect(0);
}

#[test]
fn the_effective_configuration_shows_the_kinds_with_their_defaults() {
    let folder = tempdir().unwrap();
    let config = "[kinds.scan]\ntype = \"command\"\ncommand = [\"scan\"]\nmax_attempts = 2\n";
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    let shown = run_in(folder.path(), &["config", "show", "-o", "json"]).expect(0).json();
    let entry = |key: &str| {
        let entry = shown.as_array().unwrap().iter().find(|entry| entry["key"] == key).unwrap();
        format!("{} ({})", entry["value"].as_str().unwrap(), entry["origin"].as_str().unwrap())
    };
    assert_eq!(entry("kinds.scan.type"), "command (longrun.toml:2)");
    assert_eq!(entry("kinds.scan.command"), "[\"scan\"] (longrun.toml:3)");
    assert_eq!(entry("kinds.scan.max_attempts"), "2 (longrun.toml:4)");
    assert_eq!(entry("kinds.scan.output_limit"), "1MiB (default)");
    assert_eq!(entry("kinds.scan.backoff_max"), "5m (default)");
}
