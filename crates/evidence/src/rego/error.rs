//! Why a script returns no verdict.

use std::time::Duration;

use regorus::unstable::Span;

/// Why a script returns no verdict. Such an error never counts as a pass: the caller must fail or skip the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegoError {
    /// The script is not Rego, or breaks a rule of the language.
    #[error("line {line}, column {column}: {message}")]
    Script {
        /// Counted from 1, in the script.
        line: u32,
        /// Counted from 1.
        column: u32,
        /// The engine's message.
        message: String,
    },
    /// The script calls a function that is forbidden in policies.
    #[error("line {line}, column {column}: {name} is forbidden in policies")]
    Forbidden {
        /// The function.
        name: String,
        /// Counted from 1, in the script.
        line: u32,
        /// Counted from 1.
        column: u32,
    },
    /// The script calls a function that is neither its own nor a builtin.
    #[error("line {line}, column {column}: there is no function {name}")]
    UnknownFunction {
        /// The function.
        name: String,
        /// Counted from 1, in the script.
        line: u32,
        /// Counted from 1.
        column: u32,
    },
    /// The script has rules that report violations, but its result uses none of them.
    #[error(
        "the policy could never report a violation: its result uses neither violations nor findings, and nothing uses {0}"
    )]
    NeverObjects(String),
    /// The entry point has no value.
    #[error("'result' rule not found: it is undefined for this input")]
    NoResult,
    /// The value of the entry point is not a verdict.
    #[error("'result' is not a verdict: {0}")]
    BadResult(String),
    /// The evaluation took too long and was stopped.
    #[error("the evaluation took longer than {} s and was ended", .0.as_secs_f64())]
    TimeLimit(Duration),
    /// Evaluations that were stopped earlier still occupy their threads.
    #[error("too many evaluations that were stopped still occupy threads; try again later")]
    Exhausted,
    /// The engine failed with an error that names no line.
    #[error("{0}")]
    Engine(String),
}

impl RegoError {
    /// What is wrong at a place in the script.
    pub(super) fn at(span: &Span, message: String) -> RegoError {
        RegoError::Script { line: span.line, column: span.col, message }
    }

    /// Parses the engine's own format: `--> name:line:column`, the line itself, `error: message`.
    fn from_engine(text: &str) -> RegoError {
        let message = text.rsplit("error: ").next().unwrap_or(text).trim().to_owned();
        let place = text.split("--> ").nth(1).and_then(|rest| rest.lines().next());
        let mut parts = place.unwrap_or_default().rsplit(':').map(|part| part.trim().parse::<u32>());
        match (parts.next(), parts.next()) {
            (Some(Ok(column)), Some(Ok(line))) => RegoError::Script { line, column, message: hinted(message) },
            _ => RegoError::Engine(message),
        }
    }
}

/// OPA does not accept `[a * b | …]` either, but authors need to be told why.
fn hinted(message: String) -> String {
    if !message.contains("unexpected keyword `some`") {
        return message;
    }
    format!(
        "{message}; the head of a comprehension that has an operator needs parentheses, as in [(a * b) | some a, b in c]"
    )
}

/// An error message of the engine as a [`RegoError`].
pub(super) fn engine_error(error: impl std::fmt::Display) -> RegoError {
    RegoError::from_engine(&error.to_string())
}
