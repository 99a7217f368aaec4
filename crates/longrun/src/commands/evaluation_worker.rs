//! `longrun evaluation-worker`: the process in which a server reads what callers send, so that it can be ended whatever
//! that does. Not for people, hence hidden: it speaks with its parent by standard input and output.

use std::ffi::OsString;
use std::io;

use anyhow::Context;
use kinds::evaluation::{Worker, serve};

use crate::exit::Exit;

/// How the command is called.
pub const NAME: &str = "evaluation-worker";

/// Does what the server asks. Runs without an async runtime, whose threads would count against the memory limit.
///
/// # Errors
/// When the input is no job or the output is closed.
pub fn run() -> anyhow::Result<Exit> {
    serve(io::stdin().lock(), io::stdout().lock()).context("this command is for servers only")?;
    Ok(Exit::Done)
}

/// How a server starts this command: this very program.
///
/// # Errors
/// When the program's file is not known.
pub fn this_program() -> anyhow::Result<Worker> {
    let program = std::env::current_exe().context("cannot find the file of this program")?;
    Ok(Worker { program, args: vec![OsString::from(NAME)] })
}
