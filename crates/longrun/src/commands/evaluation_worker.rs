//! `longrun evaluation-worker`: the process in which a server reads what callers send, so that it can be killed
//! whatever the content does. Not meant for users, hence hidden: it communicates with its parent over standard input
//! and output.

use std::ffi::OsString;
use std::io;

use anyhow::Context;
use kinds::evaluation::{Worker, serve};

use crate::exit::Exit;

/// The name of the command.
pub const NAME: &str = "evaluation-worker";

/// Does the server's jobs. Runs without an async runtime, whose threads would count against the memory limit.
///
/// # Errors
/// When the input is not a job or the output is closed.
pub fn run() -> anyhow::Result<Exit> {
    serve(io::stdin().lock(), io::stdout().lock()).context("this command is for servers only")?;
    Ok(Exit::Done)
}

/// How a server starts this command: with its own program file.
///
/// # Errors
/// When the path of the program file is unknown.
pub fn this_program() -> anyhow::Result<Worker> {
    let program = std::env::current_exe().context("cannot determine the path of this program")?;
    Ok(Worker { program, args: vec![OsString::from(NAME)] })
}
