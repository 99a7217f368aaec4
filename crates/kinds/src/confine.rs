//! What a process that works for a server does to itself before it touches anything that comes from others.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lowers a limit of this process; `None` leaves it as it is.
pub(crate) fn limit(resource: Resource, wanted: Option<u64>) -> io::Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    // An existing limit stays; only root could raise it.
    let most = getrlimit(resource).maximum.map_or(wanted, |most| wanted.min(most));
    // A second of processor time between the two: the soft limit sends SIGXCPU, which says what happened.
    let hard = if matches!(resource, Resource::Cpu) { most.saturating_add(1) } else { most };
    let maximum = getrlimit(resource).maximum.map_or(hard, |most| hard.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(maximum) })?)
}

/// Makes the system end this process when the server is killed, whose process id is `parent`.
#[cfg(target_os = "linux")]
pub(crate) fn die_with(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have been killed just before.
    match getppid() {
        Some(pid) if pid.as_raw_pid().unsigned_abs() == parent => Ok(()),
        _ => Err(io::Error::other("the server is gone")),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with(_parent: u32) -> io::Result<()> {
    Ok(())
}
