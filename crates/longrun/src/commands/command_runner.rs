//! `longrun command-runner`: the process that a server starts for each command of a kind; it applies limits to itself
//! and becomes the command. Not meant for users, hence hidden.

use std::ffi::OsString;

use anyhow::Context;
use kinds::command::{Runner, runner};

use crate::node::complain;
use crate::private;

/// The name of the command.
pub const NAME: &str = "command-runner";

/// What `longrun command-runner` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The umask of the command, in octal
    #[arg(long)]
    umask: Option<String>,
    /// The limits, as the server passes them
    job: String,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The exit code that shells use for a command that cannot be started.
const CANNOT_START: i32 = 127;

/// Becomes the command. Runs without an async runtime, whose threads would be lost when the process becomes the
/// command.
pub fn run(args: &Args) -> ! {
    match args.umask.as_deref().map_or(Ok(()), private::set_umask) {
        Ok(()) => complain(runner::become_command(&args.job, &args.command)),
        Err(error) => complain(&error),
    }
    std::process::exit(CANNOT_START)
}

/// How a server starts this command: with its own program file.
///
/// # Errors
/// When the path of the program file is unknown.
pub fn this_program() -> anyhow::Result<Runner> {
    let program = std::env::current_exe().context("cannot determine the path of this program")?;
    let mut args = vec![OsString::from(NAME)];
    if let Some(umask) = private::umask_before() {
        args.extend([OsString::from("--umask"), OsString::from(umask)]);
    }
    Ok(Runner { program, args })
}
