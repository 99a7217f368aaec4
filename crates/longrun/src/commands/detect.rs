//! `longrun evidence detect`: what kind of evidence a file is, told from its content, without a server.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use kinds::evidence::detect;
use serde_json::{Value, json};

use crate::connection::OutputArgs;
use crate::exit::Exit;
use crate::render::{self, Answer, Style, table};

/// What `longrun evidence detect` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Detects; the answer is no when a file is of no kind that is known.
///
/// # Errors
/// When a file cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut found = Vec::new();
    for file in &args.files {
        let shown = file.display().to_string();
        let content = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        found.push((shown, detect(&content).map_or("", |kind| kind.as_str())));
    }
    let all_known = found.iter().all(|(_, kind)| !kind.is_empty());
    render::print(args.output.format, &Detected(found))?;
    Ok(Exit::yes_if(all_known))
}

/// Files with their kinds; empty for none that is known.
struct Detected(Vec<(String, &'static str)>);

impl Answer for Detected {
    fn json(&self) -> io::Result<Vec<u8>> {
        let files: Vec<Value> = self.0.iter().map(|(file, kind)| json!({"file": file, "kind": kind})).collect();
        Ok(Value::from(files).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let shown = |kind: &str| if kind.is_empty() { "(none that is known)".to_owned() } else { kind.to_owned() };
        table(style, ["FILE", "KIND"], self.0.iter().map(|(file, kind)| [file.clone(), shown(kind)]))
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|(_, kind)| (*kind).to_owned()).collect()
    }
}
