//! The provider of models, from the configuration.

use kinds::evaluation::{Provider, ProviderSettings};
use secrecy::{ExposeSecret as _, SecretString};

use super::endpoint::{file, variable};
use crate::config::Config;

/// The provider, when there is one.
///
/// # Errors
/// When its key is missing, or HTTP calls are not possible on this machine.
pub fn provider(config: &Config) -> anyhow::Result<Option<Provider>> {
    let ai = &config.ai;
    if !ai.is_configured() {
        return Ok(None);
    }
    let key = if !ai.key_file.is_empty() {
        Some(SecretString::from(file("ai.key_file", &ai.key_file)?))
    } else if !ai.key_environment.is_empty() {
        Some(SecretString::from(variable("ai.key_environment", &ai.key_environment)?))
    } else {
        None
    };
    let key = key.map(|text| SecretString::from(text.expose_secret().trim()));
    if key.as_ref().is_some_and(|key| key.expose_secret().is_empty()) {
        anyhow::bail!("ai: the key is empty; leave key_file and key_environment out if the provider needs no key");
    }
    let settings = ProviderSettings {
        endpoint: ai.endpoint(),
        model: ai.model.clone(),
        key,
        response_format: ai.response_format,
        evidence_limit: usize::try_from(ai.max_evidence.0).unwrap_or(usize::MAX),
        timeout: ai.timeout.0,
    };
    Provider::new(settings).map(Some).map_err(|error| anyhow::anyhow!("ai.{error}"))
}
