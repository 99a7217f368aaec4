//! Checks whether a program can be started, before anything is claimed for it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::exit::{Hint, failure};

/// Where programs are searched for if `PATH` is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Searches for the program as `execvp` does: a name with a slash is a path, any other name is searched for in the
/// folders of `PATH`, where an empty entry is the current folder.
///
/// # Errors
/// When it does not exist, or this user is not allowed to execute it.
pub fn check(program: &OsStr, path: Option<&OsStr>) -> anyhow::Result<()> {
    let shown = program.display();
    if program.as_encoded_bytes().contains(&b'/') {
        return executable(Path::new(program)).map_err(|error| anyhow::anyhow!("cannot run {shown}: {error}")).hint(
            "the command is a program and its arguments: a script needs `chmod +x` and an interpreter in its first line (#!/bin/sh)",
        );
    }
    let mut denied = None;
    for folder in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        let candidate = if folder.as_os_str().is_empty() { Path::new(".").join(program) } else { folder.join(program) };
        match executable(&candidate) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(candidate),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(candidate) => {
            failure(format!("cannot run {}: it is not executable", candidate.display()), "check its permissions")
        }
        None => failure(
            format!("there is no program {shown} in the folders of PATH"),
            format!(
                "a program of the current folder is ./{shown}; each word is one argument: use -- sh -c 'a | b' for a shell"
            ),
        ),
    })
}

/// Whether it is a file that this user may execute.
fn executable(file: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    access(file, Access::EXEC_OK).map_err(|_| io::Error::new(io::ErrorKind::PermissionDenied, "it is not executable"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (good, bad) = (file("good", 0o755), file("bad", 0o644));
        let path = std::env::join_paths([Path::new("/nonexistent"), folder.path()]).unwrap();
        let told = |program: &OsStr| check(program, Some(&path)).map_err(|error| error.to_string());
        assert_eq!(told(good.as_os_str()), Ok(()));
        assert_eq!(told(OsStr::new("good")), Ok(()));
        assert!(told(bad.as_os_str()).unwrap_err().ends_with("it is not executable"));
        assert!(told(OsStr::new("bad")).unwrap_err().ends_with("bad: it is not executable"));
        assert!(told(folder.path().as_os_str()).unwrap_err().ends_with("it is not a file"));
        assert_eq!(told(OsStr::new("none")).unwrap_err(), "there is no program none in the folders of PATH");
        assert_eq!(check(OsStr::new("sh"), None).map_err(|error| error.to_string()), Ok(()));
    }
}
