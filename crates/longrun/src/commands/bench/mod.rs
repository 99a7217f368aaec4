//! `longrun bench`: measurements, each beside a baseline in the same run.
//!
//! Machines are noisy: what counts are the ratios of one run, not the milliseconds of two. The report is a table for
//! people and JSON with the machine, the versions and the settings.

mod pages;
mod plain;
mod report;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::exit::{Exit, failure};
use crate::render;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// One page with its exact total, for every kind of filter, at the first, the middle and the last page
    Pages(PagesArgs),
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// With the machine, the versions and the settings.
    Json,
}

/// `longrun bench pages`.
#[derive(Debug, clap::Args)]
pub struct PagesArgs {
    /// The store to fill and to read, as sqlite:PATH; kept, and read without filling when it has the rows already.
    /// Without it a temporary one, which is removed
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Operations in the store
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// Reads of each page
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    pub samples: u32,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Form,
}

/// Runs a benchmark and prints its report.
///
/// # Errors
/// When the store cannot be used, or holds something other than this benchmark's rows.
pub async fn run(bench: Bench) -> anyhow::Result<Exit> {
    match bench {
        Bench::Pages(args) => {
            let (folder, _removed_at_the_end) = match &args.store {
                None => {
                    let folder = tempfile::tempdir()?;
                    (folder.path().join("bench.db"), Some(folder))
                }
                Some(url) => (sqlite_path(url)?, None),
            };
            let report = pages::measure(&folder, args.rows, args.samples).await?;
            render::write(match args.output {
                Form::Table => report.table(),
                Form::Json => report.json()?,
            })?;
        }
    }
    Ok(Exit::Done)
}

fn sqlite_path(url: &str) -> anyhow::Result<PathBuf> {
    match url.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(failure(format!("{url:?} is not a store that can be measured"), "give --store sqlite:PATH")),
    }
}
