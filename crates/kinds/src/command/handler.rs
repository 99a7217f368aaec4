//! One attempt of a command, from its input to its output.

use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler, Progress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::process::{Process, Streams};
use super::{CommandSettings, Runner};
use crate::text::one_line;

/// How many bytes of the last line on standard error a failure message repeats.
const MAX_LINE: usize = 1024;
/// How long the streams may stay open after the process group has ended: a process that left the group may hold them
/// open.
const STREAM_GRACE: Duration = Duration::from_secs(1);
/// The number of bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// Runs the operations of a kind as a local command.
#[derive(Clone, Debug)]
pub struct CommandHandler {
    settings: CommandSettings,
    runner: Runner,
}

impl CommandHandler {
    /// A handler that starts the command through `runner`.
    pub fn new(settings: CommandSettings, runner: Runner) -> CommandHandler {
        CommandHandler { settings, runner }
    }

    fn outcome(&self, status: ExitStatus, output: Vec<u8>, last_line: &LastLine) -> Result<String, Failure> {
        if status.success() {
            return String::from_utf8(output).map_err(|error| {
                let position = error.utf8_error().valid_up_to();
                Failure::permanent(format!(
                    "the command's output is not UTF-8 at byte {position}; an output must be text, so encode it, e.g. as base64"
                ))
            });
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("the command ended with exit code {code}"),
            (None, Some(signal)) => format!("the command was ended by {}", signal_name(signal)),
            (None, None) => "the command ended in an unknown way".to_owned(),
        };
        let message = match last_line.text() {
            line if line.is_empty() => how,
            line => format!("{how}: {line}"),
        };
        let permanent = status.code().is_some_and(|code| self.settings.permanent_exit_codes.contains(&code));
        Err(if permanent { Failure::permanent(message) } else { Failure::transient(message) })
    }
}

enum Ended {
    ByItself,
    Cancelled,
    TooLong,
}

#[async_trait]
impl Handler for CommandHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let (mut process, Streams { stdin, stdout, stderr }) =
            Process::start(&self.runner, &self.settings, &variables(&attempt)).map_err(|error| {
                tracing::error!(kind = attempt.operation.kind, %error, "could not start a command");
                Failure::transient(format!("the command could not be started: {}", error.kind()))
            })?;
        let limit = self.settings.output_limit;
        let (mut output, mut last_line) = (Vec::new(), LastLine::default());
        let ended = {
            let mut ended = pin!(process.ended());
            let mut streams = pin!(async {
                tokio::try_join!(
                    write_all(stdin, attempt.input.as_bytes()),
                    read_up_to(stdout, limit, &mut output),
                    last_line.follow(stderr, &attempt.progress)
                )
            });
            let mut are_open = true;
            let ended = loop {
                tokio::select! {
                    () = attempt.cancelled.cancelled() => break Ended::Cancelled,
                    () = &mut ended => break Ended::ByItself,
                    read = &mut streams, if are_open => {
                        are_open = false;
                        if read.is_err() {
                            break Ended::TooLong;
                        }
                    }
                }
            };
            process.kill();
            match ended {
                // The last output of the command may still be in the pipes.
                Ended::ByItself if are_open => match tokio::time::timeout(STREAM_GRACE, &mut streams).await {
                    Ok(Err(TooLong)) => Ended::TooLong,
                    Ok(Ok(_)) | Err(_) => Ended::ByItself,
                },
                ended => ended,
            }
        };
        let status = process.reap().await;
        match ended {
            Ended::Cancelled => Err(Failure::transient("the command was stopped")),
            Ended::TooLong => Err(Failure::permanent(format!(
                "the command wrote more than the {limit} bytes of output that are allowed; store large output as evidence and write its digest"
            ))),
            Ended::ByItself => match status {
                Ok(status) => self.outcome(status, output, &last_line),
                Err(error) => {
                    tracing::error!(%error, "could not determine how a command ended");
                    Err(Failure::transient("it is not known how the command ended"))
                }
            },
        }
    }
}

/// The environment variables from which the command learns about the operation, in addition to its input.
fn variables(attempt: &Attempt) -> Vec<(&'static str, String)> {
    let operation = &attempt.operation;
    let mut variables = vec![
        ("LONGRUN_OPERATION_ID", operation.id.to_string()),
        ("LONGRUN_KIND", operation.kind.clone()),
        ("LONGRUN_ATTEMPT", attempt.number.to_string()),
        ("LONGRUN_ORGANIZATION", attempt.organization.clone()),
        ("LONGRUN_PROJECT_ID", operation.project_id.clone()),
        ("LONGRUN_PROJECT_VERSION_ID", operation.project_version_id.clone()),
    ];
    if let Some(trace) = attempt.trace {
        variables.push(("TRACEPARENT", trace.to_string()));
    }
    if let Some(resource) = &operation.resource {
        variables.push(("LONGRUN_RESOURCE_TYPE", resource.resource_type.clone()));
        variables.push(("LONGRUN_RESOURCE_ID", resource.resource_id.clone()));
    }
    variables
}

/// The output was longer than allowed.
struct TooLong;

async fn write_all(mut stdin: impl AsyncWrite + Unpin, input: &[u8]) -> Result<(), TooLong> {
    // A command need not read its input, and one that ends closes the pipe. Dropping `stdin` signals the end of the
    // input to the command.
    let _ = stdin.write_all(input).await;
    Ok(())
}

async fn read_up_to(mut stdout: impl AsyncRead + Unpin, limit: usize, output: &mut Vec<u8>) -> Result<(), TooLong> {
    let mut chunk = [0; CHUNK];
    while let Ok(read @ 1..) = stdout.read(&mut chunk).await {
        if output.len() + read > limit {
            return Err(TooLong);
        }
        output.extend_from_slice(&chunk[..read]);
    }
    Ok(())
}

/// The last non-blank line of a stream of any length.
#[derive(Debug, Default)]
struct LastLine {
    whole: Vec<u8>,
    under_way: Vec<u8>,
}

impl LastLine {
    /// Reads to the end; each line is reported as the progress of the command.
    async fn follow(&mut self, mut stderr: impl AsyncRead + Unpin, progress: &Progress) -> Result<(), TooLong> {
        let mut chunk = [0; CHUNK];
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            if self.add(&chunk[..read]) {
                progress.tell(one_line(&self.whole));
            }
        }
        Ok(())
    }

    /// Adds bytes; returns whether a non-blank line ended.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let mut has_line = false;
        for (index, piece) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                has_line |= self.end_line();
            }
            let space = MAX_LINE - self.under_way.len();
            self.under_way.extend_from_slice(&piece[..piece.len().min(space)]);
        }
        has_line
    }

    fn end_line(&mut self) -> bool {
        let says_something = !self.under_way.trim_ascii().is_empty();
        if says_something {
            std::mem::swap(&mut self.whole, &mut self.under_way);
        }
        self.under_way.clear();
        says_something
    }

    /// The line as one printable text.
    fn text(&self) -> String {
        let line = if self.under_way.trim_ascii().is_empty() { &self.whole } else { &self.under_way };
        one_line(line)
    }
}

/// The name of a signal, with an explanation where it signals that a limit was reached.
fn signal_name(signal: i32) -> String {
    use rustix::process::Signal;
    match Signal::from_named_raw(signal) {
        Some(Signal::XCPU) => "SIGXCPU: it used up its processor time".to_owned(),
        Some(Signal::XFSZ) => "SIGXFSZ: it wrote a file that is larger than allowed".to_owned(),
        Some(Signal::KILL) => "SIGKILL".to_owned(),
        _ => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_line(pieces: &[&str]) -> String {
        let mut line = LastLine::default();
        for piece in pieces {
            line.add(piece.as_bytes());
        }
        line.text()
    }

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        assert_eq!(last_line(&[]), "");
        assert_eq!(last_line(&["one\ntw", "o\n"]), "two");
        assert_eq!(last_line(&["one\ntwo\n \n\n"]), "two");
        assert_eq!(last_line(&["one\nunder way"]), "under way");
        assert_eq!(last_line(&["one\r\n\u{1b}[31mred\u{1b}[0m\r\n"]), "[31mred [0m");
    }

    #[test]
    fn a_line_without_end_is_cut_and_not_kept_in_memory() {
        let mut line = LastLine::default();
        for _ in 0..1_000 {
            line.add(&[b'x'; 4_096]);
        }
        assert_eq!(line.text().len(), MAX_LINE);
        assert!(line.under_way.capacity() <= 2 * MAX_LINE);
    }
}
