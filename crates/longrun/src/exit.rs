//! How a command ends: its exit code, and the message when it failed.
//!
//! The codes are grouped by how a script reacts to them: [`Exit`]. `docs/cli.md` and `longrun help` show the same
//! table.

use std::fmt;
use std::io;
use std::process::ExitCode;

use longrun_client::Error as ClientError;
use store::StoreError;

use crate::node::complain;
use crate::render::{Style, printable};

/// The exit codes, for `longrun --help` and the manual page.
pub const TABLE: &str = "Exit codes:
  0  done, or the answer is yes
  1  the answer is no: policy violations, or an operation that was waited for has failed
  2  wrong usage, refused, or failed
  3  nothing was decided: an evaluation was skipped
  4  not found
  5  the --timeout expired
  6  the server or the database cannot be reached

With several operations or files, all of them are tried. The exit code is then 2 if some failed for different reasons,
else the code of the failure, else 1 if any answer is no, else 3 if any is undecided.";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or the answer is yes.
    Done = 0,
    /// The answer is no: violations, or an operation that was waited for failed.
    No = 1,
    /// Wrong usage, refused, or failed; clap uses this code too.
    Failed = 2,
    /// Nothing was decided: no policy evaluated the evidence.
    Skipped = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// The given timeout expired.
    TimedOut = 5,
    /// The server or the database cannot be reached or is not ready: the same command may succeed later.
    Unreachable = 6,
}

impl Exit {
    /// [`Exit::Done`] if it holds, else [`Exit::No`].
    pub fn yes_if(holds: bool) -> Exit {
        if holds { Exit::Done } else { Exit::No }
    }

    /// The exit code of a command that failed for this reason.
    pub fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
    }

    /// The combination of two results: a failure outranks any answer, and "no" outranks "not decided".
    fn and(self, other: Exit) -> Exit {
        let could_not = |exit: Exit| !matches!(exit, Exit::Done | Exit::No | Exit::Skipped);
        match (self, other) {
            (one, other) if one == other => one,
            (one, other) if could_not(one) && could_not(other) => Exit::Failed,
            (one, _) if could_not(one) => one,
            (_, other) if could_not(other) => other,
            (Exit::No, _) | (_, Exit::No) => Exit::No,
            _ => Exit::Skipped,
        }
    }
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(Hinted { error, .. }) = cause.downcast_ref() {
        // Its causes follow in the chain; the error itself does not.
        return error.chain().find_map(of_cause);
    }
    if let Some(Missing(_)) = cause.downcast_ref() {
        return Some(Exit::NotFound);
    }
    match cause.downcast_ref() {
        Some(StoreError::Missing(_)) => return Some(Exit::NotFound),
        Some(StoreError::Unavailable(_)) => return Some(Exit::Unreachable),
        _ => {}
    }
    Some(match cause.downcast_ref::<ClientError>()? {
        ClientError::Refused(refusal) if refusal.http_status == 404 => Exit::NotFound,
        ClientError::StillRunning { .. } => Exit::TimedOut,
        ClientError::Connect { .. } | ClientError::Transport { .. } => Exit::Unreachable,
        // The client returns 503 to the caller after repeating the call in vain; a proxy answers 502 and 504 when the
        // server behind it is away.
        ClientError::Refused(refusal) if is_away(refusal.http_status) => Exit::Unreachable,
        ClientError::Unexpected { http_status, .. } if is_away(*http_status) => Exit::Unreachable,
        _ => Exit::Failed,
    })
}

fn is_away(http_status: u16) -> bool {
    matches!(http_status, 502..=504)
}

/// The combined result of a command's operations or files. Each of them is tried, whatever the result of the others.
#[derive(Debug)]
pub struct Tally {
    exit: Exit,
    /// The last hint; a repeated hint is not printed again.
    hint: Option<String>,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Tally {
        Tally { exit: Exit::Done, hint: None }
    }

    /// One more succeeded, with this answer.
    pub fn add(&mut self, exit: Exit) {
        self.exit = self.exit.and(exit);
    }

    /// One more failed; the error is reported at once.
    pub fn failed(&mut self, error: &anyhow::Error) {
        let hint = hint(error);
        tell(error, hint.as_deref().filter(|_| hint != self.hint));
        self.hint = hint.or(self.hint.take());
        self.add(Exit::of(error));
    }

    /// The exit code of the command.
    pub fn exit(self) -> Exit {
        self.exit
    }
}

/// Something that was named does not exist. Displays as the message; the exit code is [`Exit::NotFound`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// An error with a hint. Displays as the error itself; [`report`] finds the hint.
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

/// Adds a hint to an error.
pub trait Hint<T> {
    /// Adds what the user can do about it.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { hint: hint.into(), error: error.into() }))
    }
}

/// An error with a hint, to be returned.
pub fn failure(message: impl fmt::Display, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted { hint: hint.into(), error: anyhow::anyhow!("{message}") })
}

/// The error for something that was named and does not exist, with a hint, to be returned.
pub fn missing(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted { hint: hint.into(), error: Missing(message.into()).into() })
}

/// The exit code of a command; errors are reported on standard error.
pub fn report(result: anyhow::Result<Exit>) -> ExitCode {
    let exit = match result {
        Ok(exit) => exit,
        // The reader of the output has seen enough (`| head`); that is no failure.
        Err(error) if is_closed_pipe(&error) => Exit::Done,
        Err(error) => {
            tell(&error, hint(&error).as_deref());
            Exit::of(&error)
        }
    };
    ExitCode::from(exit as u8)
}

/// Prints an error and its hint on standard error.
fn tell(error: &anyhow::Error, hint: Option<&str>) {
    let style = Style::of_stderr();
    complain(format_args!("{} {}", style.bad("error:"), message(error)));
    if let Some(hint) = hint {
        complain(format_args!("{} {hint}", style.notable("hint:")));
    }
}

/// Prints a note on standard error for the reader of the output.
pub fn note(text: impl fmt::Display) {
    complain(format_args!("{} {}", Style::of_stderr().notable("note:"), printable(&text.to_string())));
}

/// Prints on standard error that something went wrong but the command continues.
pub fn warn(text: impl fmt::Display) {
    complain(format_args!("{} {}", Style::of_stderr().notable("warning:"), printable(&text.to_string())));
}

/// The error and its causes, each printed once.
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

/// The hint of the outermost place that added one: it knows best what the user asked for.
fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<Hinted>() {
        Some(hinted) => Some(hinted.hint.clone()),
        None => cause.downcast_ref::<ClientError>().and_then(client_hint),
    })
}

fn client_hint(error: &ClientError) -> Option<String> {
    Some(match error {
        ClientError::Connect { reason, .. } if reason.contains("certificate") => {
            "to trust a certificate authority of your own, name its PEM file in SSL_CERT_FILE".to_owned()
        }
        // What rustls and hyper report about a peer that speaks the other protocol.
        ClientError::Connect { url, reason } if url.starts_with("https:") && reason.contains("InvalidContentType") => {
            format!("the server does not speak TLS: try {} in --url or LONGRUN_URL", url.replacen("https:", "http:", 1))
        }
        ClientError::Unexpected { url, http_status: 400, excerpt }
            if url.starts_with("http:") && excerpt.to_lowercase().contains("https") =>
        {
            speaks_tls(url)
        }
        ClientError::Transport { url, reason } if url.starts_with("http:") && reason.contains("invalid HTTP version") => {
            speaks_tls(url)
        }
        ClientError::Connect { .. } => {
            "is the server running? `longrun dev` starts one; use --url or LONGRUN_URL to call another one".to_owned()
        }
        ClientError::Unexpected { .. } => "check --url or LONGRUN_URL: another program answers there".to_owned(),
        ClientError::InvalidUrl { .. } => "give --url or LONGRUN_URL like http://127.0.0.1:8080".to_owned(),
        ClientError::InvalidToken => "check LONGRUN_TOKEN or the file of --token-file".to_owned(),
        ClientError::Refused(refusal) => match refusal.http_status {
            401 => "check LONGRUN_TOKEN or --token-file; `longrun token create` creates a token, `longrun token list` shows which are valid".to_owned(),
            // Other messages say which token is needed.
            403 if refusal.reason() == Some("SCOPE_MISSING") => {
                "use a token with the required scope: `longrun token create --scopes …`".to_owned()
            }
            // Otherwise waiting does not help, and the message says what does.
            429 => format!("try again in {} s", refusal.retry_after?.as_secs().max(1)),
            500.. => "look for the request in the server's log".to_owned(),
            _ => return None,
        },
        ClientError::StillRunning { .. } => "wait again, or set a longer --timeout".to_owned(),
        ClientError::Transport { .. } | ClientError::File { .. } | ClientError::NotStarted { .. } => return None,
    })
}

fn speaks_tls(url: &str) -> String {
    format!("the server speaks TLS: try {} in --url or LONGRUN_URL", url.replacen("http:", "https:", 1))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use longrun_client::Refusal;

    use super::*;

    #[test]
    fn an_error_says_each_cause_once_and_keeps_its_hint() {
        let inner = io::Error::other("disk on fire");
        let error = Err::<(), _>(inner).hint("call the fire brigade").unwrap_err().context("cannot write");
        assert_eq!(message(&error), "cannot write: disk on fire");
        assert_eq!(hint(&error).as_deref(), Some("call the fire brigade"));
    }

    #[test]
    fn what_could_not_be_done_comes_before_any_answer() {
        let of = |exits: &[Exit]| exits.iter().fold(Exit::Done, |all, one| all.and(*one));
        assert_eq!(of(&[]), Exit::Done);
        assert_eq!(of(&[Exit::Skipped, Exit::Done]), Exit::Skipped);
        assert_eq!(of(&[Exit::Skipped, Exit::No, Exit::Done]), Exit::No);
        assert_eq!(of(&[Exit::NotFound, Exit::No, Exit::NotFound]), Exit::NotFound);
        assert_eq!(of(&[Exit::NotFound, Exit::Done, Exit::TimedOut]), Exit::Failed);
    }

    #[test]
    fn the_table_has_every_code() {
        let codes = TABLE.lines().filter_map(|line| line.trim().split_once("  ")?.0.parse::<u8>().ok());
        assert_eq!(codes.collect::<Vec<u8>>(), (0..=Exit::Unreachable as u8).collect::<Vec<u8>>());
    }

    #[test]
    fn client_errors_have_hints_of_their_own() {
        let error = anyhow::Error::new(ClientError::InvalidToken);
        assert!(hint(&error).is_some_and(|hint| hint.contains("LONGRUN_TOKEN")));
    }

    #[test]
    fn waiting_is_advised_only_where_it_helps() {
        let refused = |retry_after: Option<u64>| {
            let status = serde_json::from_value(serde_json::json!({"code": 8, "message": "m", "details": []}));
            let retry_after = retry_after.map(std::time::Duration::from_secs);
            let refusal = Refusal { http_status: 429, status: status.unwrap(), request_id: None, retry_after };
            hint(&anyhow::Error::new(ClientError::Refused(Box::new(refusal))))
        };
        assert_eq!(refused(Some(7)).as_deref(), Some("try again in 7 s"));
        assert_eq!(refused(None), None, "an organization that may store no more evidence can wait for ever");
    }

    #[test]
    fn a_scope_is_advised_only_where_it_helps() {
        let refused = |reason: &str| {
            let status = serde_json::from_value(serde_json::json!({
                "code": 7, "message": "m", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": reason, "domain": "longrun", "metadata": {}}]
            }));
            let refusal = Refusal { http_status: 403, status: status.unwrap(), request_id: None, retry_after: None };
            hint(&anyhow::Error::new(ClientError::Refused(Box::new(refusal))))
        };
        assert!(refused("SCOPE_MISSING").is_some_and(|hint| hint.contains("--scopes")));
        assert_eq!(refused("PERMISSION_DENIED"), None, "a scope does not make it a token of the instance");
    }
}
