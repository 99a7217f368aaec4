//! Commands as processes: this program is both the server and, with the argument `run`, the runner.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::{Attempt, Failure, Handler, Progress};
use kinds::command::{CommandHandler, CommandSettings, ResourceLimits, Runner, runner};
use operations::{NewOperation, Resource, Timestamp};
use tokio_util::sync::CancellationToken;

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let [_, run, job, dashes, command @ ..] = &args[..]
        && run == "run"
        && dashes == "--"
    {
        eprintln!("{}", runner::become_command(job.to_str().unwrap(), command));
        std::process::exit(127);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    macro_rules! run {
        ($($test:ident),* $(,)?) => {
            $(
                runtime.block_on($test());
                println!("test {} ... ok", stringify!($test));
            )*
        };
    }
    run![
        the_input_comes_on_standard_input_and_the_output_goes_to_standard_output,
        a_command_may_ignore_its_input,
        a_line_on_standard_error_tells_how_far_it_is,
        arguments_are_no_shell_line,
        the_environment_is_clean,
        it_starts_in_its_folder,
        a_failure_tells_the_exit_code_and_the_last_line,
        a_program_that_is_not_there_is_told,
        output_that_is_too_long_or_no_text_is_refused_for_good,
        limits_are_in_force_before_the_command_runs,
        what_a_limit_ended_is_told,
        a_limit_on_memory_below_that_of_the_runner_works,
        a_cancelled_command_dies_with_all_its_children,
        a_dropped_command_dies_with_all_its_children,
        what_a_command_leaves_running_is_killed,
        a_process_that_left_the_group_does_not_hold_the_attempt,
    ];
}

fn sh(script: &str) -> CommandSettings {
    settings(&["sh", "-c", script])
}

fn settings(command: &[&str]) -> CommandSettings {
    CommandSettings {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        environment: vec![("PATH".to_owned(), std::env::var("PATH").unwrap())],
        output_limit: 1024 * 1024,
        ..CommandSettings::default()
    }
}

fn handler(settings: CommandSettings) -> CommandHandler {
    let runner = Runner { program: std::env::current_exe().unwrap(), args: vec!["run".into()] };
    CommandHandler::new(settings, runner)
}

fn attempt(input: &str) -> Attempt {
    let resource = Resource { resource_type: "repo".to_owned(), resource_id: "a/b".to_owned() };
    let new = NewOperation { resource: Some(resource), project_id: "p1".to_owned(), ..NewOperation::of_kind("scan") };
    Attempt {
        organization: "acme".to_owned(),
        operation: new.to_operation(Timestamp::from_millis(0)),
        input: input.to_owned(),
        number: 2,
        trace: None,
        cancelled: CancellationToken::new(),
        progress: Progress::default(),
    }
}

async fn run(settings: CommandSettings, input: &str) -> Result<String, Failure> {
    tokio::time::timeout(DEADLINE, handler(settings).run(attempt(input))).await.expect("in time")
}

/// The process ids that a script wrote into a file, one per line.
async fn pids(file: &Path, count: usize) -> Vec<i32> {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let pids: Vec<i32> =
            text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect();
        if pids.len() == count {
            return pids;
        }
        assert!(start.elapsed() < DEADLINE, "only {pids:?}");
        tokio::task::yield_now().await;
    }
}

/// Waits until a process has ended, even if the system has not reaped it yet.
async fn is_dead(pid: i32) {
    let start = Instant::now();
    while let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{stat}");
        tokio::task::yield_now().await;
    }
}

/// A script that starts a child and a grandchild, writes the ids of all three and runs forever.
fn family(file: &Path) -> String {
    let file = file.display();
    format!("echo $$ >> {file}; sh -c 'echo $$ >> {file}; sleep 1000 & echo $! >> {file}; wait' & wait")
}

async fn the_input_comes_on_standard_input_and_the_output_goes_to_standard_output() {
    let input = format!("{{\"text\":\"{}\"}}", "x".repeat(500_000));
    assert_eq!(run(settings(&["cat"]), &input).await, Ok(input), "more than a pipe holds, both ways at once");
    assert_eq!(run(settings(&["cat"]), "").await, Ok(String::new()));
}

async fn a_command_may_ignore_its_input() {
    assert_eq!(run(sh("echo done"), &"x".repeat(1_000_000)).await, Ok("done\n".to_owned()));
    let closes = "exec <&-; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; echo done";
    assert_eq!(run(sh(closes), &"x".repeat(1_000_000)).await, Ok("done\n".to_owned()));
}

async fn a_line_on_standard_error_tells_how_far_it_is() {
    let attempt = attempt("");
    let (progress, cancelled) = (attempt.progress.clone(), attempt.cancelled.clone());
    let script = "echo 'one of two' >&2; echo 'two of two' >&2; echo >&2; printf 'under way' >&2; sleep 1000";
    let running = tokio::spawn(async move { handler(sh(script)).run(attempt).await });
    let start = Instant::now();
    let mut reported = None;
    while reported.as_deref() != Some("two of two") {
        reported = progress.take().or(reported);
        assert!(start.elapsed() < DEADLINE, "{reported:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(progress.take(), None, "each line is reported once, and blank lines and parts of lines are not");
    cancelled.cancel();
    assert!(running.await.unwrap().is_err());
}

async fn arguments_are_no_shell_line() {
    let output = run(settings(&["printf", "%s|", "$HOME", "a b", ";", "`id`", "--"]), "").await;
    assert_eq!(output, Ok("$HOME|a b|;|`id`|--|".to_owned()));
}

async fn the_environment_is_clean() {
    let mut settings = settings(&["env"]);
    settings.environment.push(("API_KEY".to_owned(), "s3cret".to_owned()));
    let output = run(settings, "").await.unwrap();
    let names: Vec<&str> = output.lines().map(|line| line.split_once('=').unwrap().0).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "API_KEY",
            "LONGRUN_ATTEMPT",
            "LONGRUN_KIND",
            "LONGRUN_OPERATION_ID",
            "LONGRUN_ORGANIZATION",
            "LONGRUN_PROJECT_ID",
            "LONGRUN_PROJECT_VERSION_ID",
            "LONGRUN_RESOURCE_ID",
            "LONGRUN_RESOURCE_TYPE",
            "PATH"
        ]
    );
    for line in ["API_KEY=s3cret", "LONGRUN_ATTEMPT=2", "LONGRUN_KIND=scan", "LONGRUN_RESOURCE_ID=a/b"] {
        assert!(output.lines().any(|found| found == line), "{output}");
    }
}

async fn it_starts_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder: PathBuf = folder.path().canonicalize().unwrap();
    let settings = CommandSettings { working_directory: Some(folder.clone()), ..settings(&["pwd"]) };
    assert_eq!(run(settings, "").await, Ok(format!("{}\n", folder.display())));
}

async fn a_failure_tells_the_exit_code_and_the_last_line() {
    let script = "echo first >&2; echo 'no such repository' >&2; echo >&2; exit 3";
    let message = "the command ended with exit code 3: no such repository";
    assert_eq!(run(sh(script), "").await, Err(Failure::transient(message)));
    let settings = CommandSettings { permanent_exit_codes: vec![2, 3], ..sh(script) };
    assert_eq!(run(settings, "").await, Err(Failure::permanent(message)));
    assert_eq!(run(sh("exit 1"), "").await, Err(Failure::transient("the command ended with exit code 1")));
    assert_eq!(run(sh("kill -9 $$"), "").await, Err(Failure::transient("the command was ended by SIGKILL")));
}

async fn a_program_that_is_not_there_is_told() {
    let failure = run(settings(&["no-such-program"]), "").await.unwrap_err();
    assert!(failure.message.contains("cannot start no-such-program"), "{failure:?}");
}

async fn output_that_is_too_long_or_no_text_is_refused_for_good() {
    let limited = |script| CommandSettings { output_limit: 10, ..sh(script) };
    assert_eq!(run(limited("printf 0123456789"), "").await, Ok("0123456789".to_owned()));
    for script in ["printf 0123456789a", "yes"] {
        let failure = run(limited(script), "").await.unwrap_err();
        assert!(!failure.retryable && failure.message.contains("more than the 10 bytes"), "{failure:?}");
    }
    let failure = run(sh("printf 'ab\\377'"), "").await.unwrap_err();
    assert!(!failure.retryable && failure.message.contains("not UTF-8 at byte 2"), "{failure:?}");
}

async fn limits_are_in_force_before_the_command_runs() {
    let limits = ResourceLimits {
        cpu_seconds: Some(7),
        memory: Some(512 * 1024 * 1024),
        file_size: Some(1024 * 1024),
        open_files: Some(33),
        processes: Some(1_000),
    };
    let script = "cat /proc/self/limits";
    let output = run(CommandSettings { limits, ..sh(script) }, "").await.unwrap();
    for (name, soft) in [
        ("Max cpu time", "7"),
        ("Max address space", "536870912"),
        ("Max file size", "1048576"),
        ("Max open files", "33"),
        ("Max processes", "1000"),
        ("Max core file size", "0"),
    ] {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[name.len()..].split_whitespace().next(), Some(soft), "{line}");
    }
}

async fn what_a_limit_ended_is_told() {
    let limits = ResourceLimits { cpu_seconds: Some(1), ..ResourceLimits::default() };
    let failure = run(CommandSettings { limits, ..sh("while :; do :; done") }, "").await.unwrap_err();
    assert!(failure.message.contains("SIGXCPU"), "{failure:?}");
    let folder = tempfile::tempdir().unwrap();
    let limits = ResourceLimits { file_size: Some(1_000), ..ResourceLimits::default() };
    let write = format!("exec head -c 2000 /dev/zero > {}/file", folder.path().display());
    let failure = run(CommandSettings { limits, ..sh(&write) }, "").await.unwrap_err();
    assert!(failure.message.contains("SIGXFSZ"), "{failure:?}");
}

async fn a_limit_on_memory_below_that_of_the_runner_works() {
    let limits = ResourceLimits { memory: Some(32 * 1024 * 1024), ..ResourceLimits::default() };
    assert_eq!(run(CommandSettings { limits, ..sh("echo small") }, "").await, Ok("small\n".to_owned()));
    // Without a line break in its input, tail keeps all of it.
    let failure = run(CommandSettings { limits, ..sh("head -c 100000000 /dev/zero | tail -n 1") }, "").await;
    assert!(failure.unwrap_err().message.contains("memory"));
}

async fn a_cancelled_command_dies_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let attempt = attempt("");
    let cancelled = attempt.cancelled.clone();
    let handler = handler(sh(&family(&file)));
    let running = tokio::spawn(async move { handler.run(attempt).await });
    let pids = pids(&file, 3).await;
    cancelled.cancel();
    let result = tokio::time::timeout(DEADLINE, running).await.expect("in time").unwrap();
    assert_eq!(result, Err(Failure::transient("the command was stopped")));
    for pid in pids {
        is_dead(pid).await;
    }
}

async fn a_dropped_command_dies_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let handler = handler(sh(&family(&file)));
    let running = tokio::spawn(async move { handler.run(attempt("")).await });
    let pids = pids(&file, 3).await;
    running.abort();
    for pid in pids {
        is_dead(pid).await;
    }
}

async fn what_a_command_leaves_running_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let script = format!("sleep 1000 & echo $! >> {}; echo done", file.display());
    assert_eq!(run(sh(&script), "").await, Ok("done\n".to_owned()));
    is_dead(pids(&file, 1).await[0]).await;
}

async fn a_process_that_left_the_group_does_not_hold_the_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    // It keeps standard output open and is in no group that can be killed.
    let script = format!("setsid sh -c 'echo $$ >> {}; exec sleep 1000' & echo done", file.display());
    assert_eq!(run(sh(&script), "").await, Ok("done\n".to_owned()));
    if let Ok(text) = std::fs::read_to_string(&file) {
        for pid in text.lines() {
            std::process::Command::new("kill").args(["-9", pid]).status().unwrap();
        }
    }
}
