//! `longrun config`: whether the configuration is valid, and where each value comes from.

use std::io;

use serde::Serialize;

use crate::config::{ConfigArgs, Loaded, masked};
use crate::connection::OutputArgs;
use crate::exit::{self, Exit, Hint};
use crate::render::{self, Answer, Style, table};

/// What `longrun config check` takes.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What `longrun config show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Validates the configuration.
///
/// # Errors
/// Every problem in the configuration.
pub fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let loaded = load(&args.config)?;
    warn(&loaded);
    let told = match args.config.file() {
        Some(file) => format!("the configuration of {} is valid\n", file.display()),
        None => {
            "the configuration is valid; no file was read: there is no longrun.toml in this folder, and no --config\n"
                .to_owned()
        }
    };
    render::write(told)?;
    Ok(Exit::Done)
}

/// Shows the effective configuration.
///
/// # Errors
/// Every problem in the configuration.
pub fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let loaded = load(&args.config)?;
    warn(&loaded);
    let entries = loaded.entries.iter().map(|(key, (value, origin))| Entry {
        key: key.clone(),
        value: masked(key, value),
        origin: origin.to_string(),
    });
    render::print(args.output.format, &Entries(entries.collect()))?;
    Ok(Exit::Done)
}

fn load(args: &ConfigArgs) -> anyhow::Result<Loaded> {
    args.load().hint("`longrun config show` lists every key with its value once these problems are fixed")
}

fn warn(loaded: &Loaded) {
    loaded.warnings.iter().for_each(exit::warn);
}

#[derive(Serialize)]
struct Entry {
    key: String,
    value: String,
    origin: String,
}

struct Entries(Vec<Entry>);

impl Answer for Entries {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.0)?)
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.iter().map(|entry| [entry.key.clone(), entry.value.clone(), entry.origin.clone()]);
        table(style, ["KEY", "VALUE", "FROM"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|entry| entry.key.clone()).collect()
    }
}
