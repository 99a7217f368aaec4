//! A disk that a test can fill up, and of which it can see what was synced, for a process that is started on it, whichever
//! user runs the tests.

use std::fs::{File, Permissions, remove_file, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The library that is loaded between the process and the C library.
const SOURCE: &str = include_str!("disk.c");

/// The disk of the processes that are [started](Disk::under) on it.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A disk with free space. It needs a C compiler, as the build does.
    ///
    /// # Errors
    /// When the compiler is missing or fails.
    pub fn new() -> io::Result<Disk> {
        let folder = tempfile::Builder::new().prefix("longrun-disk-").tempdir()?;
        // The process may run as another user.
        set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let disk = Disk { folder };
        let source = disk.folder.path().join("disk.c");
        std::fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .arg(disk.library())
            .arg(source)
            .arg("-ldl");
        let compiled = compiler.output()?;
        if compiled.status.success() {
            return Ok(disk);
        }
        Err(io::Error::other(String::from_utf8_lossy(&compiled.stderr).into_owned()))
    }

    /// Makes a process, and those that it starts, write to this disk.
    pub fn under<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("LD_PRELOAD", self.library()).env("LONGRUN_TEST_DISK", self.full())
    }

    /// Makes a process do the same, and copies each file to `folder` whenever the process syncs it: the files there are
    /// those that a power failure leaves, if the disk has kept nothing that was not synced.
    pub fn under_copying<'c>(&self, command: &'c mut Command, folder: &Path) -> &'c mut Command {
        self.under(command).env("LONGRUN_TEST_SYNCED", folder)
    }

    /// Fills the disk: no file can grow from now on.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn fill(&self) -> io::Result<()> {
        File::create(self.full()).map(drop)
    }

    /// Frees space again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn free(&self) -> io::Result<()> {
        remove_file(self.full())
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("disk.so")
    }

    /// The disk is full while this file exists.
    fn full(&self) -> PathBuf {
        self.folder.path().join("full")
    }
}
