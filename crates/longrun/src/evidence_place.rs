//! Where the evidence of a store is kept.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use store::ContentStore;

use crate::config::Evidence;
use crate::store_args::DEV_EVIDENCE;

/// The folder of evidence beside the file of a store.
pub fn folder_beside(store: &Path) -> PathBuf {
    store.with_file_name(DEV_EVIDENCE)
}

/// A folder, or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidencePlace {
    /// A folder. It need not exist.
    Folder(PathBuf),
    /// The address of a bucket.
    Bucket(String),
}

impl EvidencePlace {
    /// The place that a configuration names.
    pub fn of(configured: &Evidence) -> EvidencePlace {
        match configured.url.as_str() {
            "" => EvidencePlace::Folder(PathBuf::from(&configured.folder)),
            url => EvidencePlace::Bucket(url.to_owned()),
        }
    }

    /// Whether it can be looked at: looking makes no folder.
    pub fn exists(&self) -> bool {
        match self {
            EvidencePlace::Folder(folder) => folder.is_dir(),
            EvidencePlace::Bucket(_) => true,
        }
    }

    /// The content that is kept there, and takes pieces of up to `limit` bytes.
    ///
    /// # Errors
    /// When the folder cannot be made or used, or the environment says something invalid about a bucket.
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
