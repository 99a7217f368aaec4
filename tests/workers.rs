//! Remote workers end to end: `longrun worker` around commands, and the example in Python, against the real server.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{Dev, PATIENCE, Process, command, example, free_address, run, run_in};
use tempfile::tempdir;

/// A `longrun worker` of the kind `task` that runs a shell script in `folder`.
fn worker(dev: &Dev, folder: &Path, script: &str) -> Process {
    let mut worker = command();
    worker.current_dir(folder).env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
    worker.args(["worker", "--kind", "task", "--concurrency", "2", "--", "sh", "-c", script]);
    let mut process = Process::start(&mut worker);
    process.line_with("working");
    process
}

fn create(dev: &Dev, more: &[&str]) -> String {
    let create = ["operations", "create", "--kind", "task", "--max-attempts", "1", "-o", "id"];
    dev.run(&[&create[..], more].concat()).expect(0).line()
}

/// A field of the operation, once it has ended with this status.
fn ended(dev: &Dev, id: &str, status: &str, field: &str) -> String {
    dev.until_status(id, status);
    let operation = dev.run(&["operations", "get", id, "-o", "json"]).expect(0).json();
    operation["operation"][field].as_str().unwrap().to_owned()
}

/// Asks until it holds.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is running: one that has ended may wait for the process that inherits it.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[test]
fn a_command_gets_the_input_and_its_output_is_the_operations() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let _worker = worker(&dev, folder.path(), "tr a-z A-Z");
    let id = create(&dev, &["--input", r#"{"image":"alpine","n":1.0}"#]);
    assert_eq!(ended(&dev, &id, "COMPLETED", "output"), r#"{"IMAGE":"ALPINE","N":1.0}"#);
    let id = create(&dev, &[]);
    assert_eq!(ended(&dev, &id, "COMPLETED", "output"), "NULL");
}

#[test]
fn a_command_knows_its_operation_and_not_the_workers_token() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let script =
        r#"printf '%s' "$LONGRUN_OPERATION_ID $LONGRUN_KIND $LONGRUN_ATTEMPT $LONGRUN_RESOURCE_ID [$LONGRUN_TOKEN]""#;
    let _worker = worker(&dev, folder.path(), script);
    let id = create(&dev, &["--resource-type", "image", "--resource-id", "alpine"]);
    assert_eq!(ended(&dev, &id, "COMPLETED", "output"), format!("{id} task 1 alpine []"));
}

#[test]
fn failures_are_told_and_some_are_final() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    // The text of the input; a JSON text in quotes.
    let script = r#"
        read -r input
        case $input in
            '"data"') echo first >&2; echo 'bad line 7' >&2; exit 65;;
            '"once"') if [ "$LONGRUN_ATTEMPT" = 1 ]; then exit 3; fi; echo "attempt $LONGRUN_ATTEMPT";;
            '"large"') head -c 1048577 /dev/zero;;
            '"bytes"') printf '\377';;
            '"signal"') kill -9 $$;;
            *) exit 3;;
        esac"#;
    let _worker = worker(&dev, folder.path(), script);
    for (input, message) in [
        ("\"data\"", "bad line 7 (exit status: 65)"),
        ("\"other\"", "the command ended with exit status: 3"),
        ("\"large\"", "the command wrote more than 1048576 bytes to standard output"),
        ("\"bytes\"", "the command's standard output is not valid UTF-8"),
        ("\"signal\"", "the command ended with signal: 9 (SIGKILL)"),
    ] {
        let id = create(&dev, &["--input", input]);
        assert_eq!(ended(&dev, &id, "FAILED", "error_message"), message);
    }
    for (input, status) in [("\"once\"", "COMPLETED"), ("\"data\"", "FAILED")] {
        let create = ["operations", "create", "--kind", "task", "--max-attempts", "5", "--input", input, "-o", "id"];
        let id = dev.run(&create).expect(0).line();
        let output = ended(&dev, &id, status, "output");
        assert_eq!(output, if status == "COMPLETED" { "attempt 2\n" } else { "" });
    }
}

#[test]
fn a_command_that_is_no_longer_wanted_is_ended_with_its_children() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    // The child outlives the shell, if nobody ends it, and would hold the output open.
    let script = r#"sleep 600 & echo $! > "child-$LONGRUN_RESOURCE_ID"; [ "$LONGRUN_RESOURCE_ID" = left ] || wait"#;
    let _worker = worker(&dev, folder.path(), script);
    let child =
        |id: &str| std::fs::read_to_string(folder.path().join(format!("child-{id}"))).unwrap().trim().to_owned();
    let id = create(&dev, &["--resource-type", "t", "--resource-id", "late", "--timeout", "1s"]);
    assert_eq!(ended(&dev, &id, "FAILED", "error_message"), "timed out after 1 s");
    until("the child of the command that took too long has ended", || !runs(&child("late")));
    let id = create(&dev, &["--resource-type", "t", "--resource-id", "left"]);
    dev.until_status(&id, "COMPLETED");
    until("the child that the command left has ended", || !runs(&child("left")));
}

/// A script that says that it has started and runs until it is released.
const GATE: &str = r#"cat >/dev/null; touch started; while ! [ -e go ]; do sleep 0.05; done; printf done"#;

#[test]
fn sigterm_lets_what_runs_finish() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let mut worker = worker(&dev, folder.path(), GATE);
    let id = create(&dev, &[]);
    until("the command has started", || folder.path().join("started").exists());
    worker.signal("TERM");
    worker.line_with("stopping");
    let second = create(&dev, &[]);
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(worker.exit_code(), 0);
    assert_eq!(ended(&dev, &id, "COMPLETED", "output"), "done");
    dev.until_status(&second, "PENDING");
}

#[test]
fn a_second_signal_hands_back_what_runs() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let mut first = worker(&dev, folder.path(), GATE);
    let id = create(&dev, &[]);
    until("the command has started", || folder.path().join("started").exists());
    first.signal("TERM");
    first.line_with("stopping");
    first.signal("INT");
    first.line_with("stopping at once");
    assert_eq!(first.exit_code(), 0);
    dev.until_status(&id, "PENDING");
    // It was the only attempt that it may take, and was not charged.
    let _second = worker(&dev, folder.path(), "printf 'attempt %s' $LONGRUN_ATTEMPT");
    assert_eq!(ended(&dev, &id, "COMPLETED", "output"), "attempt 1");
}

#[test]
fn a_server_that_restarts_is_worked_for_again() {
    let folder = tempdir().unwrap();
    let address = free_address();
    let serve = || {
        let mut serve = command();
        serve.current_dir(folder.path()).args(["dev", "--listen", &address, "--data-dir", "data"]);
        let mut process = Process::start(&mut serve);
        process.line_with("listening");
        process
    };
    let first = serve();
    let token = std::fs::read_to_string(folder.path().join("data/token")).unwrap();
    let mut worker = command();
    worker.env("LONGRUN_URL", format!("http://{address}")).env("LONGRUN_TOKEN", token.trim());
    worker.args(["worker", "--kind", "task", "--", "cat"]);
    let mut worker = Process::start(&mut worker);
    worker.line_with("working");
    first.kill_9();
    worker.line_with("could not claim; trying again");
    let _second = serve();
    let client = |args: &[&str]| {
        let mut client = command();
        client.env("LONGRUN_URL", format!("http://{address}")).env("LONGRUN_TOKEN", token.trim());
        client.args(args).output().unwrap()
    };
    let id = client(&["operations", "create", "--kind", "task", "--input", "1", "-o", "id"]).stdout;
    let waited = client(&["operations", "wait", String::from_utf8(id).unwrap().trim()]);
    assert!(waited.status.success(), "{waited:?}");
}

#[test]
fn a_worker_that_may_not_work_says_so() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = ["token", "create", "--data-dir", "data", "--organization", "dev", "--name", "r"];
    let create = [&create[..], &["--scopes", "operations:read", "-o", "id"]].concat();
    let token = run_in(folder.path(), &create).expect(0).line();
    std::fs::write(folder.path().join("reader"), token).unwrap();
    let args = ["worker", "--url", &dev.url, "--token-file", "reader", "--kind", "task", "--", "true"];
    run_in(folder.path(), &args).expect(2).says("operations:work").says("hint:");
    dev.run(&["worker", "--kind", "evidence_evaluation", "--", "true"]).expect(2).says("run by the server itself");
    run(&["worker", "--kind", "task"]).expect(2).says("COMMAND");
    run(&["worker", "--", "true"]).expect(2).says("--kind");
}

/// A file that may be executed, or not.
fn script(folder: &Path, name: &str, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What happened to an operation.
fn events(dev: &Dev, id: &str) -> Vec<String> {
    dev.run(&["operations", "events", id, "-o", "id"]).expect(0).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_command_that_cannot_be_run_is_told_before_anything_is_claimed() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, &[]);
    script(folder.path(), "data.txt", "#!/bin/sh\n", 0o644);
    for (program, says) in [
        ("./nosuch.sh", "cannot run ./nosuch.sh: No such file or directory"),
        ("./data.txt", "cannot run ./data.txt: it is not executable"),
        ("./data", "cannot run ./data: it is not a file"),
        ("nosuch-program", "there is no program nosuch-program in the folders of PATH"),
    ] {
        dev.run(&["worker", "--kind", "task", "--", program]).expect(2).says(says).says("hint:");
    }
    dev.until_status(&id, "PENDING");
    assert_eq!(events(&dev, &id), ["CREATED"]);
}

#[test]
fn what_cannot_be_started_is_handed_back_uncharged_and_ends_the_worker() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let good = "#!/bin/sh\nprintf \"attempt $LONGRUN_ATTEMPT\"\n";
    script(folder.path(), "run.sh", good, 0o755);
    // Directly, and by a program that is replaced by it.
    for command in [&["./run.sh"][..], &["env", "./run.sh"]] {
        let mut worker = dev.start_client(&[&["worker", "--kind", "task", "--"], command].concat());
        worker.line_with("working");
        let id = create(&dev, &[]);
        assert_eq!(ended(&dev, &id, "COMPLETED", "output"), "attempt 1");
        std::fs::remove_file(folder.path().join("run.sh")).unwrap();
        let (one, two) = (create(&dev, &[]), create(&dev, &[]));
        worker.line_with("error: 5 attempts in a row could not be started");
        assert_eq!(worker.exit_code(), 2);
        for id in [&one, &two] {
            dev.until_status(id, "PENDING");
        }
        script(folder.path(), "run.sh", good, 0o755);
        let mended = dev.start_client(&[&["worker", "--kind", "task", "--"], command].concat());
        // Each may take one attempt only.
        for id in [&one, &two] {
            assert_eq!(ended(&dev, id, "COMPLETED", "output"), "attempt 1");
        }
        drop(mended);
    }
}

#[test]
fn the_python_worker_and_its_caller_work() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let python = |script: &str| {
        let mut python = Command::new("python3");
        python.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token).env("PYTHONDONTWRITEBYTECODE", "1");
        python.arg(example(&format!("python-worker/{script}")));
        python
    };
    let mut worker = Process::start(&mut python("worker.py"));
    worker.line_with("working");
    let called = python("caller.py").args(["to be or not to be", "that is the question"]).output().unwrap();
    assert_eq!(String::from_utf8(called.stdout).unwrap(), "10\n");
    worker.line_with("ASYNC_OPERATION_STATUS_COMPLETED");
    let id = dev.run(&["ops", "create", "--kind", "word_count", "--input", "7", "-o", "id"]).expect(0).line();
    assert_eq!(ended(&dev, &id, "FAILED", "error_message"), "the input must be a text");
    worker.signal("TERM");
    worker.line_with("stopped");
    assert_eq!(worker.exit_code(), 0);
}
