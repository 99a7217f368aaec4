//! Where the evidence of a store is located.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use store::ContentStore;

use crate::config::Evidence;
use crate::store_args::DEV_EVIDENCE;

/// The evidence folder next to the file of a store.
pub fn folder_beside(store: &Path) -> PathBuf {
    store.with_file_name(DEV_EVIDENCE)
}

/// A folder, or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidencePlace {
    /// A folder. It need not exist.
    Folder(PathBuf),
    /// The URL of a bucket.
    Bucket(String),
}

impl EvidencePlace {
    /// The location that a configuration names.
    pub fn of(configured: &Evidence) -> EvidencePlace {
        match configured.url.as_str() {
            "" => EvidencePlace::Folder(PathBuf::from(&configured.folder)),
            url => EvidencePlace::Bucket(url.to_owned()),
        }
    }

    /// Whether it exists; the check creates no folder.
    pub fn exists(&self) -> bool {
        match self {
            EvidencePlace::Folder(folder) => folder.is_dir(),
            EvidencePlace::Bucket(_) => true,
        }
    }

    /// The content stored there; it accepts pieces of up to `limit` bytes.
    ///
    /// # Errors
    /// When the folder cannot be created or used, or a setting in the environment about the bucket is invalid.
    pub fn open(&self, limit: u64) -> anyhow::Result<ContentStore> {
        let opened = match self {
            EvidencePlace::Folder(folder) => ContentStore::local(folder, limit),
            EvidencePlace::Bucket(url) => ContentStore::bucket(url, limit),
        };
        opened.with_context(|| format!("cannot use {self}"))
    }
}

impl fmt::Display for EvidencePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvidencePlace::Folder(folder) => write!(f, "the evidence folder {}", folder.display()),
            EvidencePlace::Bucket(url) => write!(f, "the bucket {url} for evidence"),
        }
    }
}
