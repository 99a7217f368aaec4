//! PostgreSQL's programs: where they are, and which user runs them.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ClusterError;

/// The folder of `initdb` and `postgres`, of the newest installed version.
pub(crate) fn programs() -> Option<PathBuf> {
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let installed = versions.into_iter().rev().map(|(_, path)| path);
    installed.chain(on_path).find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// User and group that run the cluster, if this process must not run it itself.
pub(crate) type Owner = Option<(u32, u32)>;

/// If root runs the tests, gives the folder to an unprivileged user.
pub(crate) fn unprivileged(folder: &Path) -> Result<Owner, ClusterError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse::<u32>().ok());
    if uid != Some(0) {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let user = |name: &str| {
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match fields[..] {
            [found, _, uid, gid, ..] if found == name => Some((uid.parse().ok()?, gid.parse().ok()?)),
            _ => None,
        })
    };
    let (uid, gid) = user("postgres").or_else(|| user("nobody")).ok_or_else(|| ClusterError::Failed {
        program: "initdb",
        said: "PostgreSQL does not run as root, and there is no user postgres or nobody".to_owned(),
    })?;
    chown(folder, Some(uid), Some(gid))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    Ok(Some((uid, gid)))
}

pub(crate) fn owned(command: &mut Command, owner: Owner) -> &mut Command {
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/")
}

/// Runs a program until it ends; the inner error is its standard error if it failed.
pub(crate) fn run(command: &mut Command, owner: Owner) -> std::io::Result<Result<(), String>> {
    let output = owned(command, owner).stdin(Stdio::null()).output()?;
    Ok(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) })
}
