//! `longrun evidence detect`: detects the type of evidence files from their content, without a server.

use std::io;
use std::path::PathBuf;

use ::evidence::detect;
use anyhow::Context;
use serde_json::{Value, json};

use crate::connection::OutputArgs;
use crate::exit::{Exit, Tally};
use crate::render::{self, Answer, Style, table};

/// What `longrun evidence detect` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Detects the types; the answer is no if the type of a file is unknown.
///
/// # Errors
/// When the answer cannot be written; files that cannot be read are reported.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut found = Vec::new();
    let mut tally = Tally::new();
    for file in &args.files {
        let shown = file.display().to_string();
        match std::fs::read(file).with_context(|| format!("cannot read {shown}")) {
            Ok(content) => {
                let kind = detect(&content).map_or("", |kind| kind.as_str());
                tally.add(Exit::yes_if(!kind.is_empty()));
                found.push((shown, kind));
            }
            Err(error) => tally.failed(&error),
        }
    }
    if !found.is_empty() {
        render::print(args.output.format, &Detected(found))?;
    }
    Ok(tally.exit())
}

/// Files with their types; empty if unknown.
struct Detected(Vec<(String, &'static str)>);

impl Answer for Detected {
    fn json(&self) -> io::Result<Vec<u8>> {
        let files: Vec<Value> = self.0.iter().map(|(file, kind)| json!({"file": file, "kind": kind})).collect();
        Ok(Value::from(files).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let shown = |kind: &str| if kind.is_empty() { "(unknown)".to_owned() } else { kind.to_owned() };
        table(style, ["FILE", "KIND"], self.0.iter().map(|(file, kind)| [file.clone(), shown(kind)]))
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|(_, kind)| (*kind).to_owned()).collect()
    }
}
