//! The configuration of a server: what can be set, where values come from, and what is wrong with them.
//!
//! Four layers in rising order: defaults ([`Config::default`]), the configuration file (TOML), environment variables
//! (`LONGRUN_` and the key in capitals, dots as underscores: `api.max_page_size` is `LONGRUN_API_MAX_PAGE_SIZE`), and
//! flags. Every value remembers the layer it came from ([`Origin`]).
//!
//! Guarantees: an unknown key is refused, with a suggestion of the nearest one; all problems are reported at once, each
//! with its position; secrets are never shown.

mod ai;
mod attestation;
mod auth;
mod cells;
mod claims;
mod declared;
mod encryption;
mod endpoint;
mod flags;
mod hidden;
mod http;
mod kinds;
mod load;
mod model;
mod nearest;
mod notices;
mod organizations;
mod signatures;
mod tables;
mod tracing;
mod units;
mod unseen;
mod validate;

pub use auth::{Auth, Oidc};
pub use endpoint::Endpoint;
pub use flags::ConfigArgs;
pub use hidden::Hidden;
pub use kinds::{Command, Limits, Work};
pub use load::{Flag, Loaded, Origin, load};
pub use model::{Config, Evidence, LogFormat};
pub use nearest::nearest;
pub use tracing::collector_url;
pub use units::{ByteSize, Span};
pub use unseen::Unseen;
pub use validate::validate;

use std::fmt;

use store::{InvalidStoreUrl, StoreUrl};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's message, with line and column.
        message: String,
    },
    /// Keys or values that cannot be used; at least one.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value came from.
    pub origin: Origin,
    /// The key, as in the file: `api.max_page_size`.
    pub key: String,
    /// What is wrong and what would be valid.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.key, self.message, self.origin)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n  ")
}

/// A value in a form that can be shown: the password in a store's address and the query of a URL are masked.
pub fn masked(key: &str, value: &toml::Value) -> String {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A query may contain a token.
    if key.ends_with(".url")
        && let Some((address, _)) = text.split_once('?')
    {
        return format!("{address}?****");
    }
    let is_address = |key: &str| matches!(key, "store" | "read_store");
    if is_address(key) || (key.starts_with("cells.") && key.rsplit('.').next().is_some_and(is_address)) {
        Hidden::from(text).to_string()
    } else {
        text
    }
}

/// The store that a text names; errors do not contain the text, which may include a password.
///
/// # Errors
/// What would be valid.
pub fn store_url(text: &str) -> Result<StoreUrl, String> {
    text.parse().map_err(|error: InvalidStoreUrl| {
        let meant = match &error {
            InvalidStoreUrl::UnknownParameter(name) => nearest(&name.to_lowercase(), store::PARAMETERS),
            _ => None,
        };
        meant.map_or_else(|| error.to_string(), |meant| format!("{error}; did you mean {meant}?"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_and_nothing_else_is() {
        let show = |text: &str| masked("store", &toml::Value::String(text.to_owned()));
        assert_eq!(show("postgres://me:p@ss:w@db/longrun"), "postgres://me:****@db/longrun");
        assert_eq!(show("postgres://me@db/longrun?password=s3cret"), "postgres://me@db/longrun?password=****");
        assert_eq!(show("sqlite:longrun.db"), "sqlite:longrun.db");
        let address = toml::Value::String("postgres://me:s3cret@db/eu".to_owned());
        assert_eq!(masked("cells.eu.store", &address), "postgres://me:****@db/eu");
        let url = toml::Value::String("https://hooks.example.com/scan?token=s3cret".to_owned());
        assert_eq!(masked("kinds.scan.url", &url), "https://hooks.example.com/scan?****");
    }
}
