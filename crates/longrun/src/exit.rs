//! How a command ends: its exit code, and what is said when it could not be done.

use std::fmt;
use std::io;
use std::process::ExitCode;

use longrun_client::Error as ClientError;

use crate::node::complain;
use crate::render::{Style, printable};

/// What a command that was carried out answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes. Exit code 0.
    Done,
    /// The answer is no: violations, a failed operation waited for. Exit code 1.
    No,
}

impl Exit {
    /// [`Exit::Done`] when it holds.
    pub fn yes_if(holds: bool) -> Exit {
        if holds { Exit::Done } else { Exit::No }
    }
}

/// Exit code of what was used wrongly or could not be done; clap uses it too.
pub const FAILED: u8 = 2;

/// An error with advice. Shows as the error itself; [`report`] finds the advice.
#[derive(Debug)]
struct Hinted {
    hint: String,
    error: anyhow::Error,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Adds advice to an error.
pub trait Hint<T> {
    /// Says what to do about it.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { hint: hint.into(), error: error.into() }))
    }
}

/// An error with advice, to be returned.
pub fn failure(message: impl fmt::Display, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted { hint: hint.into(), error: anyhow::anyhow!("{message}") })
}

/// The exit code of a command; errors are told on standard error.
pub fn report(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::No) => ExitCode::from(1),
        // Whoever reads the output has enough of it (`| head`); that is no failure.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let style = Style::of_stderr();
            complain(format_args!("{} {}", style.bad("error:"), message(&error)));
            if let Some(hint) = hint(&error) {
                complain(format_args!("{} {hint}", style.notable("hint:")));
            }
            ExitCode::from(FAILED)
        }
    }
}

/// The error and its causes, each said once.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<Hinted>() {
        // The advice of the innermost place that gave one may stand inside.
        Some(hinted) => Some(hinted.hint.clone()),
        None => cause.downcast_ref::<ClientError>().and_then(client_hint),
    })
}

fn client_hint(error: &ClientError) -> Option<String> {
    Some(match error {
        ClientError::Connect { reason, .. } if reason.contains("certificate") => {
            "to trust a certificate authority of your own, name its PEM file in SSL_CERT_FILE".to_owned()
        }
        ClientError::Connect { .. } => {
            "is the server running? `longrun dev` starts one; --url or LONGRUN_URL names another".to_owned()
        }
        ClientError::Unexpected { .. } => "check --url or LONGRUN_URL: another program answers there".to_owned(),
        ClientError::InvalidUrl { .. } => "give --url or LONGRUN_URL like http://127.0.0.1:8080".to_owned(),
        ClientError::InvalidToken => "check LONGRUN_TOKEN or the file of --token-file".to_owned(),
        ClientError::Refused(refusal) => match refusal.http_status {
            401 => "check LONGRUN_TOKEN or --token-file; `longrun token create` makes a token, `longrun token list` shows which are valid".to_owned(),
            403 => "use a token that may do this: `longrun token create --scopes …`".to_owned(),
            429 => "the server is busy; try again later".to_owned(),
            500.. => "look for the request in the server's log".to_owned(),
            _ => return None,
        },
        ClientError::StillRunning { .. } => "wait again, or longer with --timeout".to_owned(),
        ClientError::Transport { .. } | ClientError::File { .. } => return None,
    })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_error_says_each_cause_once_and_keeps_its_hint() {
        let inner = io::Error::other("disk on fire");
        let error = Err::<(), _>(inner).hint("call the fire brigade").unwrap_err().context("cannot write");
        assert_eq!(message(&error), "cannot write: disk on fire");
        assert_eq!(hint(&error).as_deref(), Some("call the fire brigade"));
    }

    #[test]
    fn client_errors_have_hints_of_their_own() {
        let error = anyhow::Error::new(ClientError::InvalidToken);
        assert!(hint(&error).is_some_and(|hint| hint.contains("LONGRUN_TOKEN")));
    }
}
