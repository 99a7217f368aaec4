//! `longrun attestation`: fetches the signed result of an evaluation. `longrun verify`: verifies one, without a server.

use std::io;
use std::path::PathBuf;

use ::attestation::{PublicKey, Required, Unverified, Verified};
use anyhow::Context as _;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::ids;
use super::operations::read_bytes;
use crate::completing;
use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, Hint as _};
use crate::render::{self, Answer, Style, count, printable};

/// What `longrun attestation` takes.
#[derive(Debug, clap::Args)]
pub struct AttestationArgs {
    /// The evaluation's id; its first 8 or more digits are enough if they are unique
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completing::ids))]
    id: String,
    /// File to write it to; default: standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun verify` takes.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The signed result, as written by `longrun attestation`; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Public keys whose signatures are accepted: a file in PEM format or a JSON Web Key Set such as
    /// /.well-known/longrun-keys.json
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// The evidence that the result must be about
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Policy that must have passed; one that came with the evaluation's request counts only with the digest of its
    /// content. May be given several times
    #[arg(long = "policy", value_name = "NAME[@sha256:DIGEST]")]
    policies: Vec<Required>,
    /// Check only whether it is genuine, not whether the evidence has passed; policies given with --policy must have
    /// passed nevertheless
    #[arg(long)]
    any_verdict: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Fetches a signed result.
///
/// # Errors
/// When the call fails, or the result cannot be written.
pub async fn fetch(args: AttestationArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let id = ids::whole(&client, &args.id).await?;
    let answer = client.attestation(&id).await?;
    // As the server sent it.
    let mut text = answer.body.to_vec();
    text.push(b'\n');
    match &args.to {
        Some(file) => std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?,
        None => render::write(text)?,
    }
    Ok(Exit::Done)
}

/// Verifies a signed result. The answer is no if it is not genuine, or the evidence or a required policy has not
/// passed.
///
/// # Errors
/// When a file cannot be read or has the wrong format.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let envelope = read_bytes(&args.file)?;
    let mut keys = Vec::new();
    for file in &args.keys {
        let found = PublicKey::read_all(&read_bytes(file)?).with_context(|| format!("cannot use {}", file.display()));
        keys.extend(found.hint("--key takes public keys: PEM, or a JSON Web Key Set")?);
    }
    let evidence = args.evidence.as_deref().map(read_bytes).transpose()?;
    let checked = ::attestation::verify(&envelope, &keys, evidence.as_deref());
    if let Err(error @ Unverified::NoEnvelope(_)) = checked {
        let error = anyhow::Error::new(error).context(format!("cannot use {}", args.file.display()));
        return Err(error).hint("FILE must be a signed result, as written by `longrun attestation ID`");
    }
    let missing = |verified: &Verified| {
        let why_not = |policy: &Required| Some((policy.name().to_owned(), policy.why_not(&verified.policies)?));
        args.policies.iter().filter_map(why_not).collect::<Vec<_>>()
    };
    let missing = checked.as_ref().map(missing).unwrap_or_default();
    let exit = match &checked {
        Ok(verified) if verified.status == "skipped" && !args.any_verdict => Exit::Skipped,
        Ok(verified) if missing.is_empty() && (args.any_verdict || verified.result == "PASSED") => Exit::Done,
        _ => Exit::No,
    };
    render::print(args.output.format, &Checked { file: args.file.display().to_string(), result: checked, missing })?;
    Ok(exit)
}

/// The result of verifying a signed result.
struct Checked {
    file: String,
    result: Result<Verified, Unverified>,
    /// The required policies that do not count as passed, each with the reason.
    missing: Vec<(String, String)>,
}

impl Answer for Checked {
    fn json(&self) -> io::Result<Vec<u8>> {
        let value = match &self.result {
            Ok(verified) => {
                let mut value = serde_json::to_value(verified)?;
                value["verified"] = true.into();
                let missing = self.missing.iter().map(|(policy, why)| json!({"policy": policy, "why_not": why}));
                value["missing_policies"] = missing.collect();
                value
            }
            Err(error) => json!({"verified": false, "why_not": error.to_string()}),
        };
        Ok(value.to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let file = printable(&self.file);
        let verified = match &self.result {
            Ok(verified) => verified,
            Err(error) => return format!("{} {file}: {}\n", style.bad("✗"), printable(&error.to_string())),
        };
        let Verified { name, digest, verifier, time, key_id, result, status, policies, .. } = verified;
        let (mark, said) = match result.as_str() {
            "PASSED" => (style.good("✓"), "passed"),
            _ if status == "skipped" => (style.notable("?"), "skipped"),
            _ => (style.bad("✗"), "failed"),
        };
        let mut text = format!("{} {file}: genuine, signed with the key {key_id}\n", style.good("✓"));
        text += &format!("{mark} {}: {said}\n", printable(name));
        for policy in policies {
            let mark = match policy.status.as_str() {
                "passed" => style.good("✓"),
                "failed" => style.bad("✗"),
                _ => style.notable("?"),
            };
            let found = match policy.violations {
                0 => String::new(),
                violations => format!(": {}", count(violations, "violation")),
            };
            text += &format!("    {mark} {}{found}\n", printable(&policy.name));
            let mut facts = vec![if policy.is_embedded() {
                "embedded: it came with the request".to_owned()
            } else {
                printable(&policy.reference)
            }];
            facts.extend(policy.content().map(|digest| format!("sha256:{}", printable(digest))));
            facts.extend(policy.arguments.iter().map(|(name, value)| printable(&format!("with {name}={value}"))));
            text.extend(facts.iter().map(|fact| style.faint(&format!("        {fact}\n"))));
        }
        for (policy, why) in &self.missing {
            text += &format!("{} the policy {} {why}\n", style.bad("✗"), printable(policy));
        }
        text += &format!("  evidence  {}\n  verifier  {}\n", printable(digest), printable(verifier));
        text + &format!("  at        {}\n", printable(time))
    }

    /// The digest of the evidence, if the result is genuine.
    fn ids(&self) -> Vec<String> {
        self.result.iter().map(|verified| verified.digest.clone()).collect()
    }
}
