//! Kinds that run a local program.
//!
//! The program gets the operation's input on its standard input and what the operation is in environment variables
//! (`LONGRUN_…`); its standard output is the operation's output, the lines of its standard error say how far it is,
//! and the last one explains a failure. It is an argument list, never a shell line: nothing that a caller sends is ever
//! parsed as a command.
//!
//! What it promises: the resource limits are in force before the program's first instruction ([`runner`]); the program
//! and what it started are one process group, which is killed when the program has ended, when the result is no longer
//! wanted, and when the handler is dropped; of the server's environment it sees only what the configuration names.

mod handler;
mod process;
pub mod runner;

use std::path::PathBuf;

pub use handler::CommandHandler;
pub use runner::{ResourceLimits, Runner};

/// What a kind runs, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program and its arguments. A program without a `/` is looked for in `PATH`.
    pub command: Vec<String>,
    /// The folder that it starts in; `None` is the server's.
    pub working_directory: Option<PathBuf>,
    /// Variables of its environment beside `LONGRUN_…`, by name and value.
    pub environment: Vec<(String, String)>,
    /// The most bytes of its standard output.
    pub output_limit: usize,
    /// Exit codes after which another attempt would be in vain.
    pub permanent_exit_codes: Vec<i32>,
    /// What it may use.
    pub limits: ResourceLimits,
}
