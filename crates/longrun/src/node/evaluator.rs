//! Evaluations of evidence, from the configuration.

use std::path::PathBuf;

use evidence::EvaluatorConfig;
use evidence::policy::PolicyAttachment;
use kinds::evaluation::Evaluations;

use crate::commands::evaluation_worker;
use crate::config::Config;
use crate::exit::Hint;

/// Makes the evaluations; every default policy is read and compiled, so that a broken one is found now.
///
/// # Errors
/// When the policy folder or a default policy is not in order.
pub fn evaluations(config: &Config) -> anyhow::Result<Evaluations> {
    let policies = &config.policies;
    let trusted_keys = config.signatures.trusted_keys();
    let trusted_keys = trusted_keys.map_err(|message| anyhow::anyhow!("signatures.trusted_keys: {message}"))?;
    let attach =
        |reference: &String| PolicyAttachment { reference: Some(reference.clone()), ..PolicyAttachment::default() };
    let config = EvaluatorConfig {
        policy_dir: (!policies.folder.is_empty()).then(|| PathBuf::from(&policies.folder)),
        default_policies: policies.default.iter().map(attach).collect(),
        time_limit: policies.time_limit.0,
        memory_limit: policies.memory_limit.0,
        trusted_keys,
    };
    Evaluations::new(evaluation_worker::this_program()?, config).hint(
        "check policies.folder and policies.default; `longrun policy check FILE` tells what is wrong with a policy",
    )
}
