//! One server at a time on a SQLite file.
//!
//! SQLite itself lets several processes write, but two servers would run the same operations, and each would consider
//! the other's attempts lost. The locks are those of the operating system: when a process dies, for whatever reason,
//! they are released.
//!
//! There are two. One is on the database file itself (`flock`), so that it applies whatever the name by which the file
//! was opened: a symbolic link, a hard link, another mount. Linux keeps it separate from the locks that SQLite takes
//! (`fcntl`); on other systems they would conflict. The other one is on a file next to the database's own name, which
//! earlier versions lock too.
//!
//! Closing any descriptor of a file releases the `fcntl` locks of the whole process on it. So the lock is taken before
//! SQLite opens the file, and released after SQLite has closed it.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use store::StoreUrl;

use crate::exit::failure;

/// The right to serve a store; released when it is dropped, which must happen after the store was closed.
#[derive(Debug)]
pub struct StoreLock {
    _files: Vec<File>,
}

impl StoreLock {
    /// Takes the lock of a store, if it is one that a single process has to itself.
    ///
    /// # Errors
    /// Those of [`StoreLock::acquire`].
    pub fn acquire_for(store: &StoreUrl) -> anyhow::Result<Option<StoreLock>> {
        match store {
            StoreUrl::Sqlite(path) => StoreLock::acquire(path).map(Some),
            StoreUrl::Postgres(_) => Ok(None),
        }
    }

    /// Takes the lock of the store in a file. If the file does not exist, it is created empty.
    ///
    /// # Errors
    /// When another process holds it, or a file cannot be created.
    pub fn acquire(store: &Path) -> anyhow::Result<StoreLock> {
        make_folder(store)?;
        let database = open(store)?;
        if cfg!(target_os = "linux") {
            lock(&database, store)?;
        }
        let name = store.canonicalize().with_context(|| format!("cannot find {}", store.display()))?;
        let beside = open(&beside(&name))?;
        lock(&beside, store)?;
        Ok(StoreLock { _files: vec![beside, database] })
    }

    /// Takes the lock for the path of a future store, without creating a store there.
    ///
    /// # Errors
    /// When another process holds it, or a file cannot be created.
    pub fn acquire_place(store: &Path) -> anyhow::Result<StoreLock> {
        make_folder(store)?;
        let beside = open(&beside(store))?;
        lock(&beside, store)?;
        Ok(StoreLock { _files: vec![beside] })
    }
}

fn make_folder(store: &Path) -> anyhow::Result<()> {
    let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot create the folder {}", folder.display()))
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn lock(file: &File, store: &Path) -> anyhow::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(failure(
            format_args!("another longrun is using {}", store.display()),
            "a SQLite store serves one process at a time; stop the other one, or give this one a store of its own",
        )),
        Err(TryLockError::Error(error)) => {
            Err(anyhow::Error::new(error).context(format!("cannot lock {}", store.display())))
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
        let (symbolic, hard) = (folder.path().join("symbolic.db"), folder.path().join("hard.db"));
        std::os::unix::fs::symlink("sub/longrun.db", &symbolic).unwrap();
        std::fs::hard_link(&store, &hard).unwrap();
        for name in [&store, &symbolic, &hard] {
            let refused = StoreLock::acquire(name).unwrap_err();
            assert!(refused.to_string().starts_with("another longrun is using"), "{refused}");
        }
        assert!(StoreLock::acquire_place(&store).is_err());
        drop(first);
        let first = StoreLock::acquire(&symbolic).unwrap();
        assert!(StoreLock::acquire(&store).is_err());
        drop(first);
        StoreLock::acquire(&store).unwrap();
    }

    #[test]
    fn the_lock_of_a_place_makes_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("longrun.db");
        let _first = StoreLock::acquire_place(&store).unwrap();
        assert!(!store.exists());
        assert!(StoreLock::acquire(&store).is_err());
    }
}
