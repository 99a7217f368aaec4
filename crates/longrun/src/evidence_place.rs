//! Where the evidence of a store is kept, for the commands that work on a store directly.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use store::ContentStore;

/// A folder, or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidencePlace {
    /// A folder. It need not exist.
    Folder(PathBuf),
    /// The address of a bucket.
    Bucket(String),
}

impl EvidencePlace {
    /// Whether it can be looked at: looking makes no folder.
    pub fn exists(&self) -> bool {
        match self {
            EvidencePlace::Folder(folder) => folder.is_dir(),
            EvidencePlace::Bucket(_) => true,
        }
    }

    /// The content that is kept there, of any size.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(&self) -> anyhow::Result<ContentStore> {
        let opened = match self {
            EvidencePlace::Folder(folder) => ContentStore::local(folder, u64::MAX),
            EvidencePlace::Bucket(url) => ContentStore::bucket(url, u64::MAX),
        };
        opened.with_context(|| format!("cannot use {self}"))
    }
}

impl fmt::Display for EvidencePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvidencePlace::Folder(folder) => write!(f, "the evidence folder {}", folder.display()),
            EvidencePlace::Bucket(url) => write!(f, "the bucket {url}"),
        }
    }
}
