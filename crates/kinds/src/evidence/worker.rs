//! Evaluation in a process of its own, which can be ended whatever it does and whose memory the system bounds.
//!
//! A thread cannot be killed, and memory cannot be taken back from one. So a service gives evaluations to a [`Worker`]:
//! the evaluator starts it, writes the request and the evidence to its standard input and reads the outcome from its
//! standard output; [`serve`] is the other side. When the time is over or the evaluation is cancelled, the worker is
//! killed. It gets no environment, so no secrets.
//!
//! On the wire: one line of JSON with the configuration, the request and the number of bytes, then the bytes; the
//! answer is one JSON document.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::evaluator::{EvaluateError, Evaluator, EvaluatorConfig};
use super::output::Output;
use super::request::EvaluateRequest;

/// How often the parent looks at the child and at whether the answer is still wanted.
const POLL: Duration = Duration::from_millis(10);
/// What starting up and reading may take beyond the time limit, which the worker keeps itself as long as it can.
const GRACE: Duration = Duration::from_secs(2);
/// Address space beyond the memory limit: code, the reserved part of stacks, the allocator's reserve.
#[cfg(unix)]
const BASE_MEMORY: u64 = 512 * 1024 * 1024;
/// The largest answer that is read.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
/// How much of the worker's standard error is kept.
const MAX_COMPLAINT: u64 = 16 * 1024;

/// How to start a worker: a program that calls [`serve`] with its standard input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The program, usually the service's own.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

#[derive(Serialize, Deserialize)]
struct Job {
    config: EvaluatorConfig,
    request: EvaluateRequest,
    size: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Output(Box<Output>),
    Error { message: String, retryable: bool },
}

/// The worker's side: reads one job, evaluates, writes the answer.
///
/// # Errors
/// When the input is no job or the output is closed.
pub fn serve(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    let mut bytes = vec![0; job.size];
    input.read_exact(&mut bytes)?;
    let never = AtomicBool::new(false);
    let outcome = Evaluator::new(job.config).and_then(|evaluator| evaluator.evaluate(&job.request, &bytes, &never));
    let answer = match outcome {
        Ok(output) => Answer::Output(Box::new(output)),
        Err(error) => Answer::Error { message: error.to_string(), retryable: error.is_retryable() },
    };
    serde_json::to_writer(&mut output, &answer)?;
    output.flush()
}

/// The service's side.
pub(super) fn evaluate(
    worker: &Worker,
    config: &EvaluatorConfig,
    request: &EvaluateRequest,
    bytes: &[u8],
    cancelled: &AtomicBool,
) -> Result<Output, EvaluateError> {
    let broken = |what: String| EvaluateError::Worker { message: what, retryable: true };
    let config = EvaluatorConfig { worker: None, ..config.clone() };
    let (time_limit, memory_limit) = (config.time_limit, config.memory_limit);
    let job = Job { config, request: request.clone(), size: bytes.len() };
    let mut head = serde_json::to_vec(&job).map_err(|error| broken(error.to_string()))?;
    head.push(b'\n');
    let mut child = start(worker, memory_limit).map_err(|error| broken(format!("no worker: {error}")))?;
    let deadline = Instant::now() + time_limit + GRACE;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || {
            // A worker that ends early closes the pipe; its answer tells why.
            let mut stdin = stdin?;
            stdin.write_all(&head).and_then(|()| stdin.write_all(bytes)).ok()
        });
        let answer = scope.spawn(move || read_some(stdout, MAX_ANSWER));
        let complaint = scope.spawn(move || read_some(stderr, MAX_COMPLAINT));
        let ended = wait(&mut child, deadline, cancelled);
        if ended.is_err() {
            // It may have ended just now, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        let answer = answer.join().expect("reading a pipe does not panic");
        let complaint = complaint.join().expect("reading a pipe does not panic");
        match ended {
            Err(Ended::Cancelled) => return Err(EvaluateError::Cancelled),
            Err(Ended::TimeLimit) => {
                let message = format!("the evaluation took longer than {} s and was ended", time_limit.as_secs_f64());
                return Err(EvaluateError::Worker { message, retryable: false });
            }
            Ok(()) => {}
        }
        match serde_json::from_slice(&answer) {
            Ok(Answer::Output(output)) => Ok(*output),
            Ok(Answer::Error { message, retryable }) => Err(EvaluateError::Worker { message, retryable }),
            Err(_) if String::from_utf8_lossy(&complaint).contains("memory allocation of") => {
                let message = format!("the evaluation needed more memory than the limit of {memory_limit} bytes");
                Err(EvaluateError::Worker { message, retryable: false })
            }
            Err(_) => Err(broken("the worker ended without an answer".to_owned())),
        }
    })
}

#[cfg(unix)]
fn start(worker: &Worker, memory_limit: u64) -> io::Result<Child> {
    // The shell lowers its own limit and becomes the worker.
    let kibibytes = memory_limit.saturating_add(BASE_MEMORY) / 1024;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh"]).arg(kibibytes.to_string());
    command.arg(&worker.program).args(&worker.args);
    spawn(command)
}

#[cfg(not(unix))]
fn start(worker: &Worker, _memory_limit: u64) -> io::Result<Child> {
    let mut command = Command::new(&worker.program);
    command.args(&worker.args);
    spawn(command)
}

fn spawn(mut command: Command) -> io::Result<Child> {
    // A group of its own: Ctrl-C in a terminal goes to a whole group, and a server that drains still wants its verdicts.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // One arena: each further one reserves address space, which counts against the limit.
    command.env_clear().env("MALLOC_ARENA_MAX", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

enum Ended {
    Cancelled,
    TimeLimit,
}

fn wait(child: &mut Child, deadline: Instant, cancelled: &AtomicBool) -> Result<(), Ended> {
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Ended::Cancelled);
        }
        match child.try_wait() {
            Ok(Some(_)) | Err(_) => return Ok(()),
            Ok(None) if Instant::now() > deadline => return Err(Ended::TimeLimit),
            Ok(None) => thread::sleep(POLL),
        }
    }
}

fn read_some(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read until an error is all there is. The pipe closes after it, so a worker that writes on ends.
        let _ = pipe.take(most).read_to_end(&mut bytes);
    }
    bytes
}
