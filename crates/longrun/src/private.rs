//! Files that other users of the machine cannot read: the store, its log and lock, evidence, backups.
//!
//! The process that creates them sets its umask before it starts its first thread, so that other users have no rights
//! to any file it creates. A file is thus private from the moment it exists, whoever writes it: SQLite, `pg_dump`, a
//! library. Commands that a server runs get back the umask that the server was started with.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::umask;

/// The umask that this process was started with, set once it has been changed.
static BEFORE: OnceLock<Mode> = OnceLock::new();

/// Makes every file that this process creates from now on private to its user.
pub fn keep_private() {
    let others = Mode::RWXG | Mode::RWXO;
    let before = umask(others);
    umask(before | others);
    let _ = BEFORE.set(before);
}

/// The umask that this process was started with, in octal; `None` when it was not changed.
pub fn umask_before() -> Option<String> {
    BEFORE.get().map(|mode| format!("{:o}", mode.as_raw_mode()))
}

/// Sets the umask, given in octal.
///
/// # Errors
/// When it is invalid.
pub fn set_umask(octal: &str) -> Result<(), std::num::ParseIntError> {
    umask(Mode::from_bits_truncate(u32::from_str_radix(octal, 8)?));
    Ok(())
}
