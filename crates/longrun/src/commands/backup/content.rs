//! Evidence on its way into a backup and out of it: files that are named by the SHA-256 of what is in them, so each copy
//! is checked. What is encrypted is copied as it is: a backup needs no key.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use store::Digest;

/// The part of the evidence folder that is kept. The rest are uploads under way.
const KEPT: &str = "organizations";

/// How much evidence there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Pieces.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Content {
    /// Copies the evidence of one folder into another and checks every piece. What is there already is left as it is:
    /// the same name is the same content.
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
        copied.await.context("the copy was stopped")?
    }
}

fn copy_folder(all: &Path, from: &Path, to: &Path, content: &mut Content) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
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

/// Without the key it can only be said of an encrypted piece whether it may be whole.
fn is_sound(all: &Path, file: &Path, bytes: &[u8], digest: Digest) -> bool {
    if store::is_sealed_content(file.strip_prefix(all).unwrap_or(file)) {
        store::seal::check_structure(bytes, bytes.len() as u64)
    } else {
        Digest::of(bytes) == digest
    }
}

/// A file appears under its name only once all of it is on disk.
fn write_whole(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = target.parent().context("no folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// Makes sure that the names of a folder are on disk.
///
/// # Errors
/// When it cannot be.
pub fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
