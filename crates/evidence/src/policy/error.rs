//! Why a policy is not available.

use crate::rego::RegoError;
use crate::yaml::YamlError;

/// Why a policy, a group or one of their parts is not available or not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The document cannot be parsed.
    #[error("{file}: {message}")]
    Syntax {
        /// The document: a path or a reference.
        file: String,
        /// Counted from 1; 0 when it is not known.
        line: usize,
        /// Counted from 1; 0 when it is not known.
        column: usize,
        /// The message; it names the field, the line and the column if they are known.
        message: String,
    },
    /// The document can be parsed, but a field is not valid.
    #[error("{file}: {field}: {message}")]
    Field {
        /// The document: a path or a reference.
        file: String,
        /// The path of the field, such as `spec.inputs[0].default`.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A reference leads to nothing, or to something that is not allowed.
    #[error("{reference}: {message}")]
    Reference {
        /// As it was written.
        reference: String,
        /// Why it does not resolve.
        message: String,
    },
    /// A script is not valid.
    #[error("policy {policy}: {place}: {source}")]
    Script {
        /// The policy's name.
        policy: String,
        /// The file of the script, or the field that contains it.
        place: String,
        /// What is wrong with it.
        source: RegoError,
    },
    /// A required argument of the policy is missing.
    #[error("policy {policy}: the input {input} is required")]
    MissingInput {
        /// The policy's or group's name.
        policy: String,
        /// The input's name.
        input: String,
    },
}

impl PolicyError {
    pub(crate) fn syntax(file: &str, error: YamlError) -> PolicyError {
        let YamlError { line, column, message } = error;
        PolicyError::Syntax { file: file.to_owned(), line, column, message }
    }

    pub(super) fn field(file: &str, field: &str, message: &str) -> PolicyError {
        PolicyError::Field { file: file.to_owned(), field: field.to_owned(), message: message.to_owned() }
    }
}
