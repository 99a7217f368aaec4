//! Kinds that the configuration declares, as the binary runs them: real programs, created and awaited over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Instant;

use crate::common::{PATIENCE, Process, Ran, Server, admin_token, command, example, run, run_in};
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

/// Answers each call with its own body in capitals; sends the head of each to the receiver.
fn shouting() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap().to_uppercase();
            write!(reader.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .unwrap();
            let _ = sender.send(head);
        }
    });
    (address, heads)
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
    checked.says("kinds.look.environment: the variable API_KEY is not set in this environment");
    run_in(folder.path(), &["serve"]).expect(2).says("kinds.look.environment: the variable API_KEY is not set");

    let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
    std::fs::write(folder.path().join("token"), admin_token(&store)).unwrap();
    let mut serve = command();
    serve.current_dir(folder.path()).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    serve.env("API_KEY", "s3cret").env("OTHER", "x").env("HOME", "/nowhere");
    let setup = Setup { server: Server::of(&mut serve), folder };
    assert_eq!(setup.ended(&setup.create("look", "null"))["output"], "s3cret");
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn an_http_kind_calls_its_server_and_no_proxy() {
    let (address, heads) = shouting();
    let folder = tempdir().unwrap();
    let config = format!(
        "[kinds.shout]\ntype = \"http\"\nurl = \"http://{address}/shout\"\nsecret_environment = \"SHOUT_SECRET\"\n\
         allow_private_addresses = true\n"
    );
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    let mut serve = command();
    serve.current_dir(folder.path()).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let refused = serve.env("SHOUT_SECRET", "s3cret").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("kinds.shout.secret_environment: a secret must begin with \"whsec_\""), "{said}");
    assert!(!said.contains("s3cret"), "{said}");

    let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
    std::fs::write(folder.path().join("token"), admin_token(&store)).unwrap();
    // Nothing listens there: a call by way of it would fail.
    serve.env("SHOUT_SECRET", SECRET).env("HTTP_PROXY", "http://127.0.0.1:1").env("ALL_PROXY", "http://127.0.0.1:1");
    let setup = Setup { server: Server::of(&mut serve), folder };
    let id = setup.create("shout", r#"{"say":"hello"}"#);
    let operation = setup.ended(&id);
    assert_eq!(operation["status"], "ASYNC_OPERATION_STATUS_COMPLETED", "{operation}");
    assert!(operation["output"].as_str().unwrap().contains(r#""INPUT":{"SAY":"HELLO"}"#), "{operation}");
    let head = heads.recv_timeout(PATIENCE).unwrap();
    assert!(head.contains(&format!("webhook-id: {id}")) && head.contains("webhook-signature: v1,"), "{head}");
}

#[test]
fn a_private_address_is_not_called_unless_that_is_allowed() {
    let (address, heads) = shouting();
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let kind = |host: &str| {
        let port = address.port();
        format!("[kinds.shout]\ntype = \"http\"\nurl = \"http://{host}:{port}/\"\nsecret_file = \"secret\"\n")
    };
    std::fs::write(folder.path().join("longrun.toml"), kind("127.0.0.1")).unwrap();
    run_in(folder.path(), &["config", "check"])
        .expect(2)
        .says("kinds.shout.url: leads to the private address 127.0.0.1");

    std::fs::write(folder.path().join("longrun.toml"), kind("localhost")).unwrap();
    let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
    std::fs::write(folder.path().join("token"), admin_token(&store)).unwrap();
    let setup = Setup { server: Server::start(folder.path(), &[]), folder };
    let operation = setup.ended(&setup.create("shout", "null"));
    let message = operation["error_message"].as_str().unwrap();
    assert!(message.starts_with("localhost is a private address"), "{operation}");
    assert!(heads.try_recv().is_err());
}

#[test]
fn a_worker_runs_remote_kinds_and_no_others() {
    let setup = Setup::start(
        r#"
[kinds]
allow_undeclared = true
[kinds.render]
type = "remote"
timeout = "30s"
max_attempts = 1
[kinds.shout]
type = "command"
command = ["tr", "a-z", "A-Z"]
"#,
    );
    for kind in ["evidence_evaluation", "shout", "notice"] {
        let server = ["worker", "--url", &setup.server.url, "--token-file", "token"];
        let refused =
            run_in(setup.folder.path(), &[&server[..], &["--kind", "render", "--kind", kind, "--", "true"]].concat());
        refused.expect(2).says(&format!("{kind} is run by the server itself"));
    }
    let mut worker = command();
    worker.current_dir(setup.folder.path()).args(["worker", "--url", &setup.server.url, "--token-file", "token"]);
    worker.args(["--kind", "render", "--kind", "other", "--", "cat"]);
    let mut worker = Process::start(&mut worker);
    worker.line_with("working");
    for kind in ["render", "other"] {
        assert_eq!(setup.ended(&setup.create(kind, "7"))["output"], "7");
    }
    assert_eq!(setup.ended(&setup.create("shout", r#""a""#))["output"], r#""A""#);
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
[kinds.e]
type = "http"
url = "https://example.com/"
allowed_hosts = ["hooks.example.com"]
[kinds.f]
type = "http"
url = "https://example.com/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
secret_environment = "A"
secret_file = "b"
[kinds.notice]
type = "remote"
[notices.ci]
url = "https://example.com/"
secret_environment = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
statuses = ["RUNNING"]
verdicts = ["bad"]
organizations = [""]
[notices.never]
url = "https://example.com/"
secret_file = "b"
statuses = ["FAILED"]
verdicts = ["failed"]
[notices.neither]
url = "https://example.com/"
secret_file = "b"
kinds = ["scan"]
verdicts = ["failed"]
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
        "kinds.d.rate: is not allowed for a remote kind",
        "kinds.no spaces: \"no spaces\" is not a valid name for a kind: it must be",
        "kinds.evidence_evaluation.type: must be left out",
        "kinds.e.url: leads to example.com, which is not among allowed_hosts",
        "kinds.e.secret_environment: is missing",
        "kinds.f.secret: there is no such key here; the keys are type",
        "kinds.f.secret_file: must be left out when secret_environment is set",
        "kinds.notice: cannot be declared",
        "notices.ci.secret_environment: is the name of a variable, not the secret itself",
        "notices.ci.statuses: unknown variant `RUNNING`, expected `COMPLETED` or `FAILED`",
        "notices.ci.verdicts: unknown variant `bad`, expected one of `passed`, `failed`, `skipped`",
        "notices.never.verdicts: never match here: an evaluation that found something is COMPLETED",
        "notices.neither.verdicts: never match here: only an evidence_evaluation has a verdict",
        "notices.ci.organizations: \"\" is not a valid name for an organization",
        "kinds.remote: there is no such key; a kind is declared with a table [kinds.remote]",
    ] {
        assert!(told.stderr.contains(problem), "{problem:?} is not in\n{}", told.stderr);
    }
    let list = "[[notices]]\nurl = \"https://example.com/\"\n";
    std::fs::write(folder.path().join("longrun.toml"), list).unwrap();
    run_in(folder.path(), &["config", "check"]).expect(2).says("notices: must be a table with a name for each");
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

/// Otherwise it would end each operation of the kind as failed.
#[test]
fn a_kind_whose_program_is_not_there_keeps_a_server_from_starting() {
    let folder = tempdir().unwrap();
    let config = "listen = \"127.0.0.1:0\"\nstore = \"sqlite:t.db\"\n[kinds.scan]\ntype = \"command\"\ncommand = [\"./nosuch\"]\n";
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    run_in(folder.path(), &["serve"]).expect(2).says("kinds.scan.command").says("cannot run ./nosuch");
}
