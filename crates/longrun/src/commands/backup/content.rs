//! Copies evidence into a backup and out of it. Files are named by the SHA-256 of their content, so each copy is
//! verified. Encrypted content is copied as it is: a backup needs no key.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use store::Digest;

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
        let (from, to) = (from.join(KEPT), to.join(KEPT));
        let copied = tokio::task::spawn_blocking(move || {
            let mut content = Content::default();
            if from.exists() {
                copy_folder(&from, &from, &to, &mut content)?;
            }
            Ok(content)
        });
        copied.await.context("the copy was aborted")?
    }
}

fn copy_folder(all: &Path, from: &Path, to: &Path, content: &mut Content) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(all, &source, &target, content)?;
            continue;
        }
        let bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
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
            write_whole(&target, &bytes).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    sync_folder(to)
}

/// Without the key, an encrypted piece can only be checked for plausibility.
fn is_sound(all: &Path, file: &Path, bytes: &[u8], digest: Digest) -> bool {
    if store::is_sealed_content(file.strip_prefix(all).unwrap_or(file)) {
        store::seal::check_structure(bytes, bytes.len() as u64)
    } else {
        Digest::of(bytes) == digest
    }
}

/// A file appears under its name only once its whole content is on disk.
fn write_whole(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = target.parent().context("no folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// Makes sure that the directory entries of a folder are on disk.
///
/// # Errors
/// When that fails.
pub fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
