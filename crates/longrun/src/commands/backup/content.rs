//! Copies evidence into a backup and out of it. Files are named by the SHA-256 of their content, so each copy is
//! verified. Encrypted content is copied as it is: a backup needs no key.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use store::Digest;

use crate::private;

/// The part of the evidence folder that is copied. The rest are uploads in progress.
const KEPT: &str = "organizations";

/// How much evidence there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Number of pieces.
    pub files: u64,
    /// Their total size in bytes.
    pub bytes: u64,
}

impl Content {
    /// Copies the evidence of one folder into another and verifies every piece. Existing files are left as they are:
    /// the same name means the same content.
    ///
    /// # Errors
    /// When a piece is damaged or a file cannot be read or written.
    pub async fn copy(from: &Path, to: &Path) -> anyhow::Result<Content> {
        Content::copy_some(from, to, false).await
    }

    /// The same again, after a copy by this process: only of what has been stored since, which is counted.
    ///
    /// # Errors
    /// Those of [`Content::copy`].
    pub async fn copy_new(from: &Path, to: &Path) -> anyhow::Result<Content> {
        Content::copy_some(from, to, true).await
    }

    async fn copy_some(from: &Path, to: &Path, only_new: bool) -> anyhow::Result<Content> {
        let (from, to) = (from.join(KEPT), to.join(KEPT));
        let copied = tokio::task::spawn_blocking(move || {
            let mut content = Content::default();
            if from.exists() {
                copy_folder(&from, &from, &to, only_new, &mut content)?;
            }
            Ok(content)
        });
        copied.await.context("the copy was aborted")?
    }

    /// With what another copy has brought.
    #[must_use]
    pub const fn and(self, more: Content) -> Content {
        Content { files: self.files + more.files, bytes: self.bytes + more.bytes }
    }
}

/// What is removed meanwhile, files and then their folders, is left out.
fn copy_folder(all: &Path, from: &Path, to: &Path, only_new: bool, content: &mut Content) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let Some(entries) = unless_gone(fs::read_dir(from), from)? else { return sync_folder(to) };
    for entry in entries {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(all, &source, &target, only_new, content)?;
            continue;
        }
        if only_new && target.exists() {
            continue;
        }
        let Some(bytes) = unless_gone(fs::read(&source), &source)? else { continue };
        let name = format!("sha256:{}", entry.file_name().to_string_lossy());
        match name.parse::<Digest>() {
            // A file that longrun did not put there is not evidence.
            Err(_) => continue,
            Ok(digest) if !is_sound(all, &source, &bytes, digest) => bail!("{} is damaged", source.display()),
            Ok(_) => {}
        }
        content.files += 1;
        content.bytes += bytes.len() as u64;
        if !target.exists() {
            private::write(&target, &bytes).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    sync_folder(to)
}

/// What was read, or `None` if there is nothing any more.
fn unless_gone<T>(read: io::Result<T>, place: &Path) -> anyhow::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).with_context(|| format!("cannot read {}", place.display())),
    }
}

/// Without the key, an encrypted piece can only be checked for plausibility.
fn is_sound(all: &Path, file: &Path, bytes: &[u8], digest: Digest) -> bool {
    if store::is_sealed_content(file.strip_prefix(all).unwrap_or(file)) {
        store::seal::check_structure(bytes, bytes.len() as u64)
    } else {
        Digest::of(bytes) == digest
    }
}

/// Makes sure that the directory entries of a folder are on disk.
///
/// # Errors
/// When that fails.
pub fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
