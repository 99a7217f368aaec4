//! One server at a time on a SQLite file.
//!
//! SQLite itself lets several processes write, but two servers would run the same operations and each take the other's
//! attempts for lost. The lock is the operating system's: a process that dies, however, gives it back.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context;
use store::StoreUrl;

use crate::exit::failure;

/// The right to serve a store; given back when it is dropped.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock of a store, if it is one that a process has for itself.
    ///
    /// # Errors
    /// Those of [`StoreLock::acquire`].
    pub fn acquire_for(store: &StoreUrl) -> anyhow::Result<Option<StoreLock>> {
        match store {
            StoreUrl::Sqlite(path) => StoreLock::acquire(path).map(Some),
            StoreUrl::Postgres(_) => Ok(None),
        }
    }

    /// Takes the lock beside a store's file, `<file>.lock`, which stays there.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be made.
    pub fn acquire(store: &Path) -> anyhow::Result<StoreLock> {
        let path = beside(store);
        if let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open the lock file {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(StoreLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(failure(
                format_args!("another longrun is using {}", store.display()),
                "a SQLite store serves one process at a time; stop the other one, or give this one a store of its own",
            )),
            Err(TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(format!("cannot lock {}", path.display())))
            }
        }
    }
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("sub/longrun.db");
        let first = StoreLock::acquire(&store).unwrap();
        let refused = StoreLock::acquire(&store).unwrap_err();
        assert!(refused.to_string().starts_with("another longrun is using"), "{refused}");
        drop(first);
        StoreLock::acquire(&store).unwrap();
    }
}
