//! Evaluations of evidence, from the configuration.

use std::path::PathBuf;

use evidence::EvaluatorConfig;
use evidence::policy::PolicyAttachment;
use kinds::evaluation::{CallSettings, Calls, Evaluations, ReferenceSettings, References};

use crate::commands::evaluation_worker;
use crate::config::Config;
use crate::exit::Hint;

/// Sets up evaluations; every default policy is read and compiled, so that a broken one is found now.
///
/// # Errors
/// When the policy folder or a default policy is invalid.
pub fn evaluations(config: &Config) -> anyhow::Result<Evaluations> {
    let policies = &config.policies;
    let trusted_keys = config.signatures.trusted_keys();
    let trusted_keys = trusted_keys.map_err(|message| anyhow::anyhow!("signatures.trusted_keys: {message}"))?;
    let trusted_identities = config.signatures.trusted_identities();
    let trusted_identities = trusted_identities.map_err(|(key, message)| anyhow::anyhow!("{key}: {message}"))?;
    let attach =
        |reference: &String| PolicyAttachment { reference: Some(reference.clone()), ..PolicyAttachment::default() };
    let references = ReferenceSettings {
        allowed_hosts: policies.allowed_hosts.clone(),
        allow_private_addresses: policies.allow_private_addresses,
        cache: PathBuf::from(&policies.cache),
    };
    let evaluator = EvaluatorConfig {
        policy_cache: (!policies.allowed_hosts.is_empty()).then(|| references.policy_cache()),
        policy_dir: (!policies.folder.is_empty()).then(|| PathBuf::from(&policies.folder)),
        default_policies: policies.default.iter().map(attach).collect(),
        time_limit: policies.time_limit.0,
        memory_limit: policies.memory_limit.0,
        trusted_keys,
        trusted_identities,
        makes_calls: !policies.http_send_hosts.is_empty(),
    };
    let mut evaluations = Evaluations::new(evaluation_worker::this_program()?, evaluator).hint(
        "check policies.folder and policies.default; `longrun policy check FILE` reports what is wrong with a policy",
    )?;
    if !policies.http_send_hosts.is_empty() {
        let calls = Calls::new(CallSettings {
            allowed_hosts: policies.http_send_hosts.clone(),
            allow_private_addresses: policies.allow_private_addresses,
        });
        let calls = calls.map_err(|error| anyhow::anyhow!("policies cannot call hosts: {error}"));
        evaluations =
            evaluations.with_calls(calls.hint("leave policies.http_send_hosts empty if policies need not call any")?);
    }
    if policies.allowed_hosts.is_empty() {
        return Ok(evaluations);
    }
    let references =
        References::new(references).map_err(|error| anyhow::anyhow!("policies cannot be fetched: {error}"));
    Ok(evaluations.with_references(references.hint("leave policies.allowed_hosts empty if none need to be fetched")?))
}
