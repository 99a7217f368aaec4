//! `manifest.json`: what a backup is and what it contains, for those who restore it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use operations::Status;
use serde::{Deserialize, Serialize};
use store::{Census, Report};

use super::content::Content;
use crate::exit::{Hint, failure};
use crate::render::{count, pieces};

const FILE: &str = "manifest.json";
/// The format version of backups that this program writes and reads.
const FORM: u32 = 1;

/// What kind of store was backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The embedded store: a copy of its file.
    Sqlite,
    /// A PostgreSQL database: a dump of its schema `longrun`.
    Postgres,
}

impl Engine {
    /// The name of the store's copy within the backup.
    pub const fn file(self) -> &'static str {
        match self {
            Engine::Sqlite => "longrun.db",
            Engine::Postgres => "longrun.dump",
        }
    }
}

/// What a backup is and what it contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    form: u32,
    /// The version of longrun that created it.
    longrun: String,
    /// What was backed up.
    pub engine: Engine,
    engine_version: String,
    /// Number of pieces of evidence and their size in bytes.
    pub content: Content,
    organizations: Vec<Organization>,
    operations: Vec<Operations>,
    tokens: u64,
    evidence: u64,
    idempotency_keys: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Organization {
    organization: String,
    next_number: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Operations {
    organization: String,
    kind: String,
    status: String,
    count: u64,
}

impl Manifest {
    /// The manifest of a backup with these counts.
    pub fn new(engine: Engine, engine_version: String, census: &Census, content: Content) -> Manifest {
        let organizations = census.organizations.iter();
        let operations = census.operations.iter();
        Manifest {
            form: FORM,
            longrun: env!("CARGO_PKG_VERSION").to_owned(),
            engine,
            engine_version,
            content,
            organizations: organizations
                .map(|(organization, next_number)| Organization {
                    organization: organization.clone(),
                    next_number: *next_number,
                })
                .collect(),
            operations: operations
                .map(|((organization, kind, status), count)| Operations {
                    organization: organization.clone(),
                    kind: kind.clone(),
                    status: status.wire_name().to_owned(),
                    count: *count,
                })
                .collect(),
            tokens: census.tokens,
            evidence: census.evidence,
            idempotency_keys: census.idempotency_keys,
        }
    }

    /// Writes the manifest into a backup, which is complete from then on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("the manifest cannot be written as JSON")?;
        let write = || {
            let mut file = File::create(folder.join(FILE))?;
            writeln!(file, "{text}")?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {FILE}"))
    }

    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// When there is none, or its format is unknown to this program.
    pub fn read(folder: &Path) -> anyhow::Result<Manifest> {
        let text = std::fs::read_to_string(folder.join(FILE))
            .with_context(|| format!("{} is not a backup: {FILE} cannot be read", folder.display()))
            .hint("name a folder that `longrun backup` created")?;
        let form: Form = serde_json::from_str(&text).with_context(|| format!("{FILE} is damaged"))?;
        if form.form != FORM {
            let message =
                format!("{} is a backup in format {}; this longrun reads format {FORM}", folder.display(), form.form);
            return Err(failure(message, "use the version of longrun that created it, or a newer one"));
        }
        serde_json::from_str(&text).with_context(|| format!("{FILE} is damaged"))
    }

    /// The counts in the manifest.
    ///
    /// # Errors
    /// When a status is invalid.
    pub fn census(&self) -> anyhow::Result<Census> {
        let mut operations = BTreeMap::new();
        for Operations { organization, kind, status, count } in &self.operations {
            let Some(status) = Status::from_wire_name(status) else {
                bail!("{FILE} is damaged: {status:?} is not a status")
            };
            operations.insert((organization.clone(), kind.clone(), status), *count);
        }
        let organizations = self.organizations.iter().map(|o| (o.organization.clone(), o.next_number)).collect();
        let Manifest { tokens, evidence, idempotency_keys, .. } = *self;
        Ok(Census { organizations, operations, tokens, evidence, idempotency_keys })
    }
}

#[derive(Deserialize)]
struct Form {
    form: u32,
}

/// The counts for people.
pub fn summary(census: &Census, content: Content) -> String {
    format!(
        "{} of {}, {}, {} ({})",
        count(census.total(), "operation"),
        count(census.organizations.len() as u64, "organization"),
        count(census.tokens, "token"),
        pieces(content.files),
        count(content.bytes, "byte")
    )
}

/// Accepts only a report without findings.
///
/// # Errors
/// When an invariant does not hold.
pub fn sound(report: &Report) -> anyhow::Result<()> {
    let Some(first) = report.findings.first() else { return Ok(()) };
    let message = format!("the store is not sound: {}: {}", first.invariant, first.detail);
    Err(failure(message, "`longrun doctor` reports everything that is wrong"))
}

/// Accepts only a store that contains what the backup's manifest says.
///
/// # Errors
/// When a number differs.
pub fn agree(manifest: &Census, restored: &Census) -> anyhow::Result<()> {
    let differences = manifest.differences(restored);
    if differences.is_empty() {
        return Ok(());
    }
    let message =
        format!("the restored data differs from what was backed up (manifest and store): {}", differences.join("; "));
    Err(failure(message, "the backup is damaged or was changed; use another one"))
}
