//! `longrun man`: the manual pages, one for each command.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::render;

/// What `longrun man` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the manual pages.
///
/// # Errors
/// When the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let shown = args.folder.display();
    std::fs::create_dir_all(&args.folder).with_context(|| format!("cannot create the folder {shown}"))?;
    clap_mangen::generate_to(Cli::command(), &args.folder).with_context(|| format!("cannot write to {shown}"))?;
    render::write(format!("wrote the manual pages to {shown}; read them with `man {shown}/longrun.1`\n"))?;
    Ok(Exit::Done)
}
