//! What a server and its evaluation process say to each other.

use serde::{Deserialize, Serialize};

use evidence::{EvaluatorConfig, MaterialKind};

/// The longest line, in bytes: the settings, with the keys and the root that the configuration trusts, fit in.
pub const MAX_LINE: u64 = 256 * 1024;
/// The most references that are asked for at once.
pub const MAX_REFERENCES: usize = 8;
/// The longest message of an error, in bytes.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The first line: the settings of the whole process.
#[derive(Serialize, Deserialize)]
pub struct Setup {
    pub config: EvaluatorConfig,
    /// The server's process id.
    pub parent: u32,
}

/// A job: `request` bytes of JSON and `content` bytes of evidence follow.
#[derive(Serialize, Deserialize)]
pub struct Job {
    pub task: Task,
    pub request: usize,
    pub content: usize,
}

/// What is to be done.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Is the request in order, as far as that can be determined without the evidence?
    Check,
    /// Of what kind is the content?
    Detect,
    /// Evaluates the content.
    Evaluate {
        /// The most bytes of the output.
        output_limit: usize,
    },
}

/// The server's answer to a process that asks: `size` bytes of JSON follow, each call with its outcome.
#[derive(Serialize, Deserialize)]
pub struct Answered {
    pub size: usize,
}

/// The process's answer when a job is done.
#[derive(Serialize, Deserialize)]
pub struct Reply {
    pub answer: Answer,
    /// Whether the process takes no further job.
    pub ends: bool,
}

/// The outcome of a job.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The request is in order.
    Checked,
    /// A field of the request is not.
    Refused { field: String, message: String },
    /// The kind, if it is a known one.
    Detected(Option<MaterialKind>),
    /// This many bytes of JSON follow.
    Output { size: usize },
    /// Some of the references over the network that have to be fetched before the job can be done.
    Missing { references: Vec<String> },
    /// This many bytes of JSON follow: calls that have to be made ([`HttpRequest`](evidence::rego::HttpRequest)). The
    /// process waits for their outcomes ([`Answered`]), and goes on with the job.
    Asks { size: usize },
    /// There is no answer.
    Failed { message: String, retryable: bool },
}

/// The message, cut so that it fits on a line.
pub fn bounded(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = message.floor_char_boundary(MAX_MESSAGE);
        message.truncate(end);
        message.push('…');
    }
    message
}
