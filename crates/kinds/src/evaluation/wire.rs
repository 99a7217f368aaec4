//! The messages between a server and its evaluation process.

use serde::{Deserialize, Serialize};

use evidence::{EvaluatorConfig, MaterialKind};

/// The maximum length of a line, in bytes: enough for the settings, with the keys and the root that the configuration
/// trusts.
pub const MAX_LINE: u64 = 256 * 1024;
/// The maximum number of references that are requested at once.
pub const MAX_REFERENCES: usize = 8;
/// The maximum length of an error message, in bytes.
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

/// The task of a job.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Checks the request as far as that is possible without the evidence.
    Check,
    /// Detects the kind of the content.
    Detect,
    /// Evaluates the content.
    Evaluate {
        /// The maximum length of the output, in bytes.
        output_limit: usize,
    },
}

/// The server's answer to a process that requested calls: `size` bytes of JSON follow, with each call and its outcome.
#[derive(Serialize, Deserialize)]
pub struct Answered {
    pub size: usize,
}

/// The process's answer when a job is done.
#[derive(Serialize, Deserialize)]
pub struct Reply {
    pub answer: Answer,
    /// Whether the process accepts no further job.
    pub ends: bool,
}

/// The outcome of a job.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The request is valid.
    Checked,
    /// A field of the request is not valid.
    Refused { field: String, message: String },
    /// The kind, if one was detected.
    Detected(Option<MaterialKind>),
    /// This many bytes of JSON follow.
    Output { size: usize },
    /// Some of the network references that have to be fetched before the job can be done.
    Missing { references: Vec<String> },
    /// This many bytes of JSON follow: calls that have to be made ([`HttpRequest`](evidence::rego::HttpRequest)). The
    /// process waits for their outcomes ([`Answered`]), and resumes the job.
    Asks { size: usize },
    /// There is no result.
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
