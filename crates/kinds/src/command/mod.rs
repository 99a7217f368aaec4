//! Kinds that run a local program.
//!
//! The program gets the operation's input on its standard input and the properties of the operation in environment
//! variables (`LONGRUN_…`); its standard output is the operation's output, the lines of its standard error report its
//! progress, and the last of them explains a failure. The command is a list of arguments, never a shell line: nothing
//! that a caller sends is ever parsed as a command.
//!
//! What it promises: the resource limits are in force before the program's first instruction ([`runner`]); the program
//! and everything that it starts form one process group, which is killed when the program has ended, when the result is
//! no longer wanted, and when the handler is dropped; of the server's environment it sees only what the configuration
//! names.

mod handler;
mod process;
pub mod runner;

use std::path::PathBuf;

pub use handler::CommandHandler;
pub use runner::{ResourceLimits, Runner};

/// The command of a kind, and how it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program and its arguments. A program without a `/` is searched for in `PATH`.
    pub command: Vec<String>,
    /// The folder that it starts in; `None` is the server's.
    pub working_directory: Option<PathBuf>,
    /// Variables of its environment in addition to `LONGRUN_…`, by name and value.
    pub environment: Vec<(String, String)>,
    /// The maximum length of its standard output, in bytes.
    pub output_limit: usize,
    /// Exit codes after which another attempt would fail as well.
    pub permanent_exit_codes: Vec<i32>,
    /// The resources that it may use.
    pub limits: ResourceLimits,
}
