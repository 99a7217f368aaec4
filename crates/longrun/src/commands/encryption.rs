//! `longrun encryption`: creates keys, reports what is encrypted with which key, and re-encrypts everything with
//! another.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use store::ContentStore;
use store::seal::{self, Counts, Key, Keyring, Seal};

use crate::connection::OutputArgs;
use crate::evidence_place::EvidencePlace;
use crate::exit::{Exit, failure};
use crate::progress::Spinner;
use crate::render::{self, Answer, Style, printable, table};
use crate::store_args::StoreArgs;

/// What `longrun encryption generate-key` takes.
#[derive(Debug, clap::Args)]
pub struct GenerateKeyArgs {
    /// File to create; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What `longrun encryption status` takes.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Folder of the evidence; default: the one in the configuration
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// What `longrun encryption rotate` takes.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// Decrypt everything; the configuration must have no active key
    #[arg(long)]
    decrypt: bool,
    /// Folder of the evidence; default: the one in the configuration
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes a new key to a file that only this user can read.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn generate_key(args: &GenerateKeyArgs) -> anyhow::Result<Exit> {
    let key = seal::generate_key().map_err(|_| anyhow::anyhow!("the system provides no random numbers"))?;
    let shown = args.file.display();
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&args.file);
    if matches!(&made, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
        let hint = "a key that is in use must not be lost: name another file";
        return Err(failure(format!("{shown} already exists"), hint));
    }
    let mut file = made.with_context(|| format!("cannot create {shown}"))?;
    let written = writeln!(file, "{}", key.expose_secret()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {shown}"))?;
    render::write(format!(
        "wrote a key to {shown}: keep a copy of it apart from your backups, because without it nobody can read what is \
         encrypted with it. Add the file to encryption.keys, and put its id into encryption.active.\n"
    ))?;
    Ok(Exit::Done)
}

fn content(place: &EvidencePlace, keyring: &Keyring) -> anyhow::Result<ContentStore> {
    if !place.exists() {
        return Err(failure(format!("{place} does not exist"), "name it with --evidence or --config"));
    }
    Ok(place.open(u64::MAX)?.with_keyring(keyring.clone()))
}

/// Reports how many texts and pieces of evidence are encrypted with which key.
///
/// # Errors
/// When the store, the evidence or a key cannot be used.
pub async fn status(args: StatusArgs) -> anyhow::Result<Exit> {
    let settings = args.store.settings()?;
    let keyring = settings.keyring()?;
    let content = content(&settings.evidence(args.evidence), &keyring)?;
    let store = settings.open_existing().await?;
    let spinner = Spinner::start("counting");
    let (texts, evidence) = (seal::survey(&*store).await?, content.survey().await?);
    drop(spinner);
    store.close().await;
    render::print(args.output.format, &Status::of(&keyring, &texts, &evidence))?;
    Ok(Exit::Done)
}

/// Re-encrypts everything that is not encrypted with the active key.
///
/// # Errors
/// When the store, the evidence or a key cannot be used, or there is no active key and decryption was not requested.
pub async fn rotate(args: RotateArgs) -> anyhow::Result<Exit> {
    let settings = args.store.settings()?;
    let keyring = settings.keyring()?;
    match (keyring.active(), args.decrypt) {
        (None, false) => {
            let hint = "name the key in encryption.active of the configuration; or decrypt everything with --decrypt";
            return Err(failure("the configuration has no active encryption key", hint));
        }
        (Some(key), true) => {
            let message = format!("--decrypt was given, but encryption.active names the key {:?}", key.id());
            return Err(failure(message, "first clear encryption.active, also for the servers, and then decrypt"));
        }
        _ => {}
    }
    let content = content(&settings.evidence(args.evidence), &keyring)?;
    let store = settings.open_existing().await?;
    let spinner = Spinner::start("checking texts");
    let texts = seal::rotate(&*store, &keyring, |texts| spinner.say(format!("{texts} texts rewritten"))).await?;
    store.close().await;
    spinner.say("checking evidence");
    let progress = |pieces| spinner.say(format!("{} rewritten", render::pieces(pieces)));
    let pieces = content.rotate(progress).await?;
    drop(spinner);
    let key = keyring.active().map_or("without a key".to_owned(), |key| format!("with the key {}", key.id()));
    let mut told =
        format!("rewrote {} and {}, {key}\n", render::count(texts.renewed, "text"), render::pieces(pieces.renewed));
    if !texts.is_complete {
        told += "other servers still write with a different key: give all servers the same encryption.active, restart them, ";
        told += "and rotate again\n";
    }
    let unopened = texts.unopened + pieces.unopened;
    if unopened > 0 {
        told += &format!("{unopened} could not be decrypted and were left unchanged:\n");
        let first = texts.first_unopened.iter().chain(&pieces.first_unopened);
        first.for_each(|one| told += &format!("  {}\n", printable(one)));
    }
    render::write(told)?;
    Ok(Exit::yes_if(texts.is_complete && unopened == 0))
}

/// What is encrypted with which key.
struct Status(Vec<Row>);

#[derive(Serialize)]
struct Row {
    /// `None`: not encrypted.
    key: Option<String>,
    texts: u64,
    evidence: u64,
    /// `active`, `known`, `missing`, `plain` or `unknown`.
    state: &'static str,
}

impl Status {
    fn of(keyring: &Keyring, texts: &Counts, evidence: &Counts) -> Status {
        let known = keyring.ids().into_iter().map(|id| Seal::Key(id.to_owned()));
        let seals: BTreeSet<Seal> = texts.keys().chain(evidence.keys()).cloned().chain(known).collect();
        let count = |counts: &Counts, seal| counts.get(seal).copied().unwrap_or(0);
        let rows = seals.iter().map(|seal| {
            let (key, state) = match seal {
                Seal::Plain => (None, "plain"),
                Seal::Unknown => (None, "unknown"),
                Seal::Key(id) if keyring.active().map(Key::id) == Some(id) => (Some(id.clone()), "active"),
                Seal::Key(id) if keyring.ids().contains(&id.as_str()) => (Some(id.clone()), "known"),
                Seal::Key(id) => (Some(id.clone()), "missing"),
            };
            Row { key, texts: count(texts, seal), evidence: count(evidence, seal), state }
        });
        Status(rows.collect())
    }
}

impl Answer for Status {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.0)?)
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.iter().map(|row| {
            let key = row.key.as_deref().map_or_else(|| "-".to_owned(), printable);
            [key, row.texts.to_string(), row.evidence.to_string(), row.state.to_owned()]
        });
        table(style, ["KEY", "TEXTS", "EVIDENCE", "STATE"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().filter_map(|row| row.key.clone()).collect()
    }
}
