//! Why evidence cannot be read as what it claims to be.

use super::kind::MaterialKind;

/// Why evidence cannot be read as what it claims to be. Reading the same bytes again gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaterialError {
    /// No kind was given and the content fits none.
    #[error("the material type cannot be told from the content; name it in `kind`: {names}", names = MaterialKind::names())]
    NotRecognised,
    /// The bytes are not JSON, or more than the limits allow.
    #[error("not JSON: line {line}, column {column}: {reason}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted in bytes from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The bytes are not XML, or more than the limits allow.
    #[error("not XML: line {line}: {reason}")]
    Xml {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The bytes are not an archive, or it holds more than the limits allow.
    #[error("not an archive to be read: {0}")]
    Archive(String),
    /// The bytes are not YAML, or more than the limits allow.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// Well-formed, but not what the standard's own JSON Schema allows.
    #[error("not {kind}: at {at}: {reason} (JSON Schema of version {version})")]
    Schema {
        /// The kind that it claims to be.
        kind: MaterialKind,
        /// The version of the standard that it claims to follow.
        version: &'static str,
        /// A JSON path.
        at: String,
        /// What the schema has against it.
        reason: String,
    },
    /// Well-formed, but not a document of the kind.
    #[error("not {kind}: at {at}: expected {expected}, found {found}")]
    Mismatch {
        /// The kind that it claims to be.
        kind: MaterialKind,
        /// A JSON path, or a line and an element of XML.
        at: String,
        /// What the format demands there.
        expected: String,
        /// What stands there.
        found: String,
    },
}
