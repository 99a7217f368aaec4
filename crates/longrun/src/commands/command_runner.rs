//! `longrun command-runner`: the process that a server starts for each command of a kind; it limits itself and becomes
//! the command. Not for people, hence hidden.

use std::ffi::OsString;

use anyhow::Context;
use kinds::command::{Runner, runner};

use crate::node::complain;
use crate::private;

/// How the command is called.
pub const NAME: &str = "command-runner";

/// What `longrun command-runner` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The umask of the command, in octal
    #[arg(long)]
    umask: Option<String>,
    /// The limits, as the server writes them
    job: String,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The exit code that shells give for a command that cannot be started.
const CANNOT_START: i32 = 127;

/// Becomes the command. Runs without an async runtime: threads of it would be lost on the way.
pub fn run(args: &Args) -> ! {
    match args.umask.as_deref().map_or(Ok(()), private::set_umask) {
        Ok(()) => complain(runner::become_command(&args.job, &args.command)),
        Err(error) => complain(&error),
    }
    std::process::exit(CANNOT_START)
}

/// How a server starts this command: this very program.
///
/// # Errors
/// When the program's file is not known.
pub fn this_program() -> anyhow::Result<Runner> {
    let program = std::env::current_exe().context("cannot find the file of this program")?;
    let mut args = vec![OsString::from(NAME)];
    if let Some(umask) = private::umask_before() {
        args.extend([OsString::from("--umask"), OsString::from(umask)]);
    }
    Ok(Runner { program, args })
}
