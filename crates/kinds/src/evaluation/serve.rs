//! One evaluation process, from its own side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread;

use rustix::process::Resource;
use serde::de::DeserializeOwned;

use super::wire::{Answer, Answered, Job, MAX_LINE, MAX_REFERENCES, Reply, Setup, Task, bounded};
use crate::confine;
use evidence::rego::{HttpAnswer, HttpCalls, HttpRequest};
use evidence::{EvaluateError, EvaluateRequest, Evaluator, Output, detect};

/// The stack size: reading policies recurses as deeply as they nest, and their nesting is limited so that it fits.
const STACK: usize = 64 * 1024 * 1024;
/// Address space in addition to the memory limit: code, the reserved part of stacks, the allocator's reserve.
const BASE_MEMORY: u64 = 512 * 1024 * 1024;
/// A process that uses more memory than this after a job accepts no further one. A new process uses about 10 MiB, and
/// about 40 in a build for tests; compiled policies are bounded and need some more.
const MAX_RESIDENT: u64 = 128 * 1024 * 1024;
/// The maximum number of jobs of a process.
const MAX_JOBS: u32 = 10_000;

/// Does the incoming jobs one after the other, until the input ends, a job fails, or the process has grown too large or
/// done enough jobs.
///
/// To be called first in a process that a [`Worker`](super::Worker) describes: it lowers the limits of the process.
///
/// # Errors
/// When the input is not a job or the output is closed.
pub fn serve(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let Some(Setup { config, parent }) = line(&mut input)? else { return Ok(()) };
    confine::die_with(parent)?;
    confine::limit(Resource::Core, Some(0))?;
    confine::limit(Resource::As, Some(config.memory_limit.saturating_add(BASE_MEMORY)))?;
    let makes_calls = config.makes_calls;
    // The evaluator keeps what it has compiled for later jobs.
    let evaluator = Evaluator::unchecked(config);
    for number in 1..=MAX_JOBS {
        let Some(job) = line::<Job>(&mut input)? else { return Ok(()) };
        let request = bytes(&mut input, job.request)?;
        let content = bytes(&mut input, job.content)?;
        let calls = makes_calls.then(HttpCalls::default);
        let (answer, json) = loop {
            let worked = thread::scope(|scope| {
                let work = || work(&evaluator, job.task, &request, &content, calls.as_ref());
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).map(|thread| thread.join())
            });
            let worked = worked?.map_err(|_| io::Error::other("the job crashed"))?;
            // If calls were requested, the outcome is meaningless without their answers, whatever it was.
            let asked = calls.as_ref().map(HttpCalls::take_asked).unwrap_or_default();
            let Some(calls) = calls.as_ref().filter(|_| !asked.is_empty()) else { break worked };
            calls.tell(ask(&mut input, &mut output, &asked)?);
        };
        let failed = matches!(answer, Answer::Failed { .. } | Answer::Refused { .. });
        let ends = failed || number == MAX_JOBS || resident() > MAX_RESIDENT;
        serde_json::to_writer(&mut output, &Reply { answer, ends })?;
        output.write_all(b"\n")?;
        output.write_all(&json)?;
        output.flush()?;
        if ends {
            break;
        }
    }
    Ok(())
}

/// Makes the server make these calls.
fn ask(
    input: &mut impl BufRead,
    output: &mut impl Write,
    requests: &[HttpRequest],
) -> io::Result<Vec<(HttpRequest, HttpAnswer)>> {
    let json = serde_json::to_vec(requests)?;
    serde_json::to_writer(&mut *output, &Reply { answer: Answer::Asks { size: json.len() }, ends: false })?;
    output.write_all(b"\n")?;
    output.write_all(&json)?;
    output.flush()?;
    let Some(Answered { size }) = line(input)? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    Ok(serde_json::from_slice(&bytes(input, size)?)?)
}

/// The memory that the process uses, in bytes; 0 where that is not known.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or(0))
}

fn line<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

fn bytes(input: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Carries out a job; returns the answer and the bytes that follow it.
fn work(
    evaluator: &Result<Evaluator, EvaluateError>,
    task: Task,
    request: &[u8],
    content: &[u8],
    calls: Option<&HttpCalls>,
) -> (Answer, Vec<u8>) {
    let evaluator = || evaluator.as_ref().map_err(EvaluateError::clone);
    let outcome = match task {
        Task::Detect => Ok((Answer::Detected(detect(content)), Vec::new())),
        Task::Check => evaluator().and_then(|evaluator| match evaluator.check(&read(request)?) {
            Ok(()) => Ok((Answer::Checked, Vec::new())),
            Err(error) => {
                let (field, message) = (bounded(error.field), bounded(error.message));
                Ok((Answer::Refused { field, message }, Vec::new()))
            }
        }),
        Task::Evaluate { output_limit } => evaluator().and_then(|evaluator| {
            let output = evaluator.evaluate_calling(&read(request)?, content, calls)?;
            let json = written(&output, output_limit)?;
            Ok((Answer::Output { size: json.len() }, json))
        }),
    };
    // If references were missing, the outcome is meaningless without them, whatever it was.
    let missing = evaluator().map(Evaluator::take_missing).unwrap_or_default();
    if !missing.is_empty() {
        let references = missing.into_iter().take(MAX_REFERENCES).collect();
        return (Answer::Missing { references }, Vec::new());
    }
    outcome.unwrap_or_else(|error| {
        let retryable = error.is_retryable() || calls.is_some_and(HttpCalls::failed_for_now);
        let answer = Answer::Failed { message: bounded(error.to_string()), retryable };
        (answer, Vec::new())
    })
}

fn read(request: &[u8]) -> Result<EvaluateRequest, EvaluateError> {
    serde_json::from_slice(request).map_err(|error| EvaluateError::Unreadable(error.to_string()))
}

/// The output as JSON, unless it is longer than `limit`.
fn written(output: &Output, limit: usize) -> Result<Vec<u8>, EvaluateError> {
    struct Bounded {
        json: Vec<u8>,
        limit: usize,
    }
    impl Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.json.len() + bytes.len() > self.limit {
                return Err(io::Error::other("too long"));
            }
            self.json.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut bounded = Bounded { json: Vec::new(), limit };
    // Writing fails only for the length: every value of an output has a form in JSON.
    serde_json::to_writer(&mut bounded, output).map_err(|_| EvaluateError::OutputTooLarge { limit })?;
    Ok(bounded.json)
}
