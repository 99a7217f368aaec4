//! Files that others on the machine cannot read: the store, its log and lock, evidence, backups.
//!
//! The process that makes them takes every right of others from whatever it makes, by its umask, before its first
//! thread. So a file is private from its first moment, whoever writes it: SQLite, `pg_dump`, a library. Commands that a
//! server runs get back the umask that the server was started with.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::umask;

/// The umask that this process was started with, once it was changed.
static BEFORE: OnceLock<Mode> = OnceLock::new();

/// Makes whatever this process makes from now on its user's alone.
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
