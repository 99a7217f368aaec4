//! How a process that works for a server restricts itself before it reads anything that comes from others.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lowers a limit of this process; `None` leaves it as it is.
pub(crate) fn limit(resource: Resource, wanted: Option<u64>) -> io::Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    // An existing limit stays in force; only root could raise it.
    let most = getrlimit(resource).maximum.map_or(wanted, |most| wanted.min(most));
    // The hard limit is a second of processor time higher: at the soft limit the system sends SIGXCPU, which shows what
    // happened.
    let hard = if matches!(resource, Resource::Cpu) { most.saturating_add(1) } else { most };
    let maximum = getrlimit(resource).maximum.map_or(hard, |most| hard.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(maximum) })?)
}

/// Makes the system end this process when the server, whose process id is `parent`, ends.
#[cfg(target_os = "linux")]
pub(crate) fn die_with(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The server may have ended just before.
    match getppid() {
        Some(pid) if pid.as_raw_pid().unsigned_abs() == parent => Ok(()),
        _ => Err(io::Error::other("the server has ended")),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with(_parent: u32) -> io::Result<()> {
    Ok(())
}
