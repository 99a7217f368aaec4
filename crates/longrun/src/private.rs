//! Files that other users of the machine cannot read: the store, its log and lock, evidence, backups.
//!
//! The process that creates them sets its umask before it starts its first thread, so that other users have no rights
//! to any file it creates. A file is thus private from the moment it exists, whoever writes it: SQLite, `pg_dump`, a
//! library. Commands that a server runs get back the umask that the server was started with.

use std::io::{self, Write as _};
use std::path::Path;
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

/// Writes a file that only this user can access from the moment it exists. It appears under its name, in place of an
/// earlier one, once its whole content is on disk.
///
/// # Errors
/// When it cannot be written; an earlier one then stays as it was.
pub fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_users_alone_and_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "old").expect("is written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("its own");
        write(&file, b"new").expect("is written");
        assert_eq!(std::fs::read(&file).expect("is there"), b"new");
        assert_eq!(std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left over");
    }
}
