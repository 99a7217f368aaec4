//! The step between the server and the program: a process that runs the server's own program, limits itself and then
//! becomes the command.
//!
//! A limit can be set safely only by the process to which it applies, or from outside when the process already runs,
//! which is too late. So the server starts its own program with a [`Job`], which [`become_command`] carries out.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use crate::confine::{die_with, limit};

/// How to start the server's own program so that it calls [`become_command`] with the arguments that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before those of [`become_command`].
    pub args: Vec<OsString>,
}

/// The resources that a command may use; `None` leaves the limit of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Seconds of processor time, per process.
    pub cpu_seconds: Option<u64>,
    /// Bytes of address space, per process.
    pub memory: Option<u64>,
    /// Bytes of each file that it writes.
    pub file_size: Option<u64>,
    /// Files open at a time, per process.
    pub open_files: Option<u64>,
    /// Processes and threads of the server's user, whoever started them; root is exempt.
    pub processes: Option<u64>,
}

/// What the server passes to the runner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The server's process id.
    pub parent: u32,
    pub limits: ResourceLimits,
}

/// Sets the limits of `job` on this process and turns it into `command`. Returns only when that fails.
///
/// To be called first in a process that [`Runner`] describes, when it has no other threads.
///
/// # Errors
/// Always: the reason why the command did not start.
pub fn become_command(job: &str, command: &[OsString]) -> io::Error {
    match try_become(job, command) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_become(job: &str, command: &[OsString]) -> io::Result<std::convert::Infallible> {
    let job: Job = serde_json::from_str(job)?;
    let [program, args @ ..] = command else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no command to run"));
    };
    die_with(job.parent)?;
    let mut command = Command::new(program);
    command.args(args);
    // From here on little is allocated: the memory limit may be below what this program itself uses.
    limit(Resource::Core, Some(0))?;
    let ResourceLimits { cpu_seconds, memory, file_size, open_files, processes } = job.limits;
    limit(Resource::Fsize, file_size)?;
    limit(Resource::Nofile, open_files)?;
    limit(Resource::Nproc, processes)?;
    limit(Resource::Cpu, cpu_seconds)?;
    limit(Resource::As, memory)?;
    let error = command.exec();
    Err(io::Error::new(error.kind(), format!("cannot start {}: {error}", program.to_string_lossy())))
}
