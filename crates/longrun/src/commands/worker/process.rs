//! Runs an operation as one run of a command, in a process group of its own, so that its children end with it.

use std::ffi::OsString;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use longrun_client::{Attempt, Failure, Handler, Progress};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;

use super::program;

/// How long a command that is no longer wanted may take to end voluntarily, between SIGTERM and SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_secs(5);
/// Maximum size of an output; the server does not store more.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
/// Maximum size of a progress line; the rest of a longer one is ignored.
const MAX_LINE_BYTES: usize = 1024;
/// EX_DATAERR of sysexits.h: the input is invalid, so another attempt would fail too.
const PERMANENT: i32 = 65;
/// The exit codes of shells, `env`, `timeout` and similar programs if the program to run cannot be executed or does not
/// exist: the operation was not started.
const NOT_STARTED: [i32; 2] = [126, 127];

/// A command that runs operations.
#[derive(Debug)]
pub struct Command {
    /// The program and its arguments; no shell is involved.
    words: Vec<OsString>,
}

impl Command {
    /// Creates the command; the first word is the program.
    ///
    /// # Errors
    /// When there is no such program, or it is not executable.
    pub fn new(words: Vec<OsString>) -> anyhow::Result<Command> {
        let program = words.first().context("there is no command to run")?;
        program::check(program, std::env::var_os("PATH").as_deref())?;
        Ok(Command { words })
    }

    fn start(&self, attempt: &Attempt) -> Result<Child, Failure> {
        let (program, arguments) =
            self.words.split_first().ok_or_else(|| Failure::not_started("there is no command to run"))?;
        let operation = &attempt.operation;
        let mut command = tokio::process::Command::new(program);
        match &attempt.traceparent {
            Some(traceparent) => command.env("TRACEPARENT", traceparent),
            None => command.env_remove("TRACEPARENT"),
        };
        command
            .args(arguments)
            // The command must not see the worker's token.
            .env_remove("LONGRUN_TOKEN")
            .env_remove("LONGRUN_TOKEN_FILE")
            .env("LONGRUN_OPERATION_ID", &operation.id)
            .env("LONGRUN_ORGANIZATION", &attempt.organization)
            .env("LONGRUN_KIND", &operation.kind)
            .env("LONGRUN_ATTEMPT", attempt.number.to_string())
            .env("LONGRUN_RESOURCE_TYPE", &operation.resource_type)
            .env("LONGRUN_RESOURCE_ID", &operation.resource_id)
            .env("LONGRUN_PROJECT_ID", &operation.project_id)
            .env("LONGRUN_PROJECT_VERSION_ID", &operation.project_version_id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::not_started(format!("cannot start {}: {error}", program.display())))
    }
}

impl Handler for Command {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let mut child = self.start(&attempt)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::transient("the command has no pipes for its output"));
        };
        let group = Group::of(&child);
        let input = if attempt.input.is_empty() { "null" } else { &attempt.input };
        let mut ended = pin!(async {
            let exit = async {
                let status = child.wait().await;
                // Processes left running would keep the pipes open, and continue unnoticed.
                group.signal(Signal::KILL);
                status
            };
            tokio::join!(exit, feed(stdin, input), collect(stdout, &group), tell(stderr, &attempt.progress))
        });
        let (status, (), output, last_line) = tokio::select! {
            ended = &mut ended => ended,
            () = attempt.cancelled.cancelled() => {
                group.signal(Signal::TERM);
                match tokio::time::timeout(TERM_GRACE, &mut ended).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        group.signal(Signal::KILL);
                        ended.await
                    }
                }
            }
        };
        let status = status.map_err(|error| Failure::transient(format!("the command was lost: {error}")))?;
        tracing::info!(operation = attempt.operation.id, attempt = attempt.number, %status, "the command ended");
        judge(status, output, &last_line)
    }
}

/// Interprets the end of the command.
fn judge(status: ExitStatus, output: Result<Vec<u8>, TooLong>, last_line: &str) -> Result<String, Failure> {
    let output = output.map_err(|TooLong| {
        Failure::permanent(format!("the command wrote more than {MAX_OUTPUT_BYTES} bytes to standard output"))
    })?;
    if status.success() {
        return String::from_utf8(output)
            .map_err(|_| Failure::permanent("the command's standard output is not valid UTF-8"));
    }
    // The status is "exit status: 3", or "signal: 9 (SIGKILL)". The command's own message comes first: a list shows
    // only the beginning of an error.
    let message = match last_line {
        "" => format!("the command ended with {status}"),
        line => format!("{line} ({status})"),
    };
    Err(match status.code() {
        Some(PERMANENT) => Failure::permanent(message),
        Some(code) if NOT_STARTED.contains(&code) => Failure::not_started(message),
        _ => Failure::transient(message),
    })
}

/// A process group; its remaining processes are killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    /// The group that the child leads.
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An error means that no process of the group is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Writes the input. A command need not read it.
async fn feed(mut stdin: impl AsyncWrite + Unpin, input: &str) {
    if stdin.write_all(input.as_bytes()).await.is_ok() {
        let _ = stdin.shutdown().await;
    }
}

/// The command wrote more than is allowed.
#[derive(Debug)]
struct TooLong;

/// Reads the whole output; stops the command if it writes too much.
async fn collect(stdout: impl AsyncRead + Unpin, group: &Group) -> Result<Vec<u8>, TooLong> {
    let mut output = Vec::new();
    // An error of a pipe is treated as its end.
    let _ = stdout.take(MAX_OUTPUT_BYTES as u64 + 1).read_to_end(&mut output).await;
    if output.len() > MAX_OUTPUT_BYTES {
        group.signal(Signal::KILL);
        return Err(TooLong);
    }
    Ok(output)
}

/// Reports each line as progress; returns the last one.
async fn tell(mut stderr: impl AsyncRead + Unpin, progress: &Progress) -> String {
    let (mut buffer, mut line, mut last) = ([0; 8 * 1024], Vec::new(), String::new());
    loop {
        let read = stderr.read(&mut buffer).await.unwrap_or(0);
        for byte in &buffer[..read] {
            // Progress bars end their lines with a carriage return.
            if matches!(byte, b'\n' | b'\r') {
                told(&mut line, &mut last, progress);
            } else if line.len() < MAX_LINE_BYTES {
                line.push(*byte);
            }
        }
        if read == 0 {
            told(&mut line, &mut last, progress);
            return last;
        }
    }
}

fn told(line: &mut Vec<u8>, last: &mut String, progress: &Progress) {
    let text = String::from_utf8_lossy(line).trim().to_owned();
    line.clear();
    if !text.is_empty() {
        tracing::debug!(line = text, "progress");
        progress.report(text.clone());
        *last = text;
    }
}
