//! External servers and their secrets, from the configuration.

use std::env::VarError;

use kinds::webhook::{Endpoint, Secrets};
use secrecy::{ExposeSecret, SecretString};

use crate::config::Endpoint as Configured;
use crate::exit::{Hint, failure};

/// The endpoint that the table `table` describes.
///
/// # Errors
/// When its secret is missing or invalid, or HTTP calls are not possible on this machine.
pub fn endpoint(table: &str, configured: &Configured) -> anyhow::Result<Endpoint> {
    // Erased from memory after it has been read.
    let (key, text) = if configured.secret_file.is_empty() {
        let key = format!("{table}.secret_environment");
        let text = variable(&key, &configured.secret_environment)?;
        (key, SecretString::from(text))
    } else {
        let key = format!("{table}.secret_file");
        let text = file(&key, &configured.secret_file)?;
        (key, SecretString::from(text))
    };
    let secrets = Secrets::parse(text.expose_secret())
        .map_err(|error| anyhow::anyhow!("{key}: {error}"))
        .hint("`openssl rand -base64 32` creates the part after \"whsec_\"")?;
    Endpoint::new(&configured.settings(), secrets).map_err(|error| anyhow::anyhow!("{table}.{error}"))
}

/// The text of a file that the configuration names in `key`.
///
/// # Errors
/// When it cannot be read, or is not text.
pub fn file(key: &str, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(name).map_err(|error| anyhow::anyhow!("{key}: cannot read {name}: {error}"))
}

/// A variable of the server's environment that the configuration names in `key`.
///
/// # Errors
/// When it is not set, or is not text. The value is not shown.
pub fn variable(key: &str, name: &str) -> anyhow::Result<String> {
    std::env::var(name).map_err(|error| {
        let problem = match error {
            VarError::NotPresent => "is not set",
            VarError::NotUnicode(_) => "is not Unicode text",
        };
        failure(
            format!("{key}: the variable {name} {problem}"),
            "set it where the server is started, or remove its name from the configuration",
        )
    })
}
