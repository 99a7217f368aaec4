//! Why evidence is not valid for its kind.

use super::kind::MaterialKind;

/// Why evidence is not valid for its kind. Reading the same bytes again gives the same result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaterialError {
    /// No kind was given and none was detected.
    #[error("the material type cannot be determined from the content; name it in `kind`: {names}", names = MaterialKind::names())]
    NotRecognised,
    /// The bytes are not JSON, or exceed a limit.
    #[error("not JSON: line {line}, column {column}: {reason}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted in bytes from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The bytes are not XML, or exceed a limit.
    #[error("not XML: line {line}: {reason}")]
    Xml {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The bytes are not an archive, or its contents exceed a limit.
    #[error("not a readable archive: {0}")]
    Archive(String),
    /// The bytes are not YAML, or exceed a limit.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// Well-formed, but not valid by the standard's own JSON Schema.
    #[error("not {kind}: at {at}: {reason} (JSON Schema of version {version})")]
    Schema {
        /// The kind that it claims to be.
        kind: MaterialKind,
        /// The version of the standard that it claims to follow.
        version: &'static str,
        /// A JSON path.
        at: String,
        /// How the value violates the schema.
        reason: String,
    },
    /// Well-formed, but not a document of the kind.
    #[error("not {kind}: at {at}: expected {expected}, found {found}")]
    Mismatch {
        /// The kind that it claims to be.
        kind: MaterialKind,
        /// A JSON path, or a line and an element of XML.
        at: String,
        /// What the format requires there.
        expected: String,
        /// What was found there.
        found: String,
    },
}

impl MaterialError {
    /// A place in a document that is not as its kind requires.
    pub(super) fn mismatch(
        kind: MaterialKind,
        at: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> MaterialError {
        MaterialError::Mismatch { kind, at: at.into(), expected: expected.into(), found: found.into() }
    }
}
