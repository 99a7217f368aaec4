//! Finds the policies in a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cases::OWN_CASES;

/// The maximum depth of folders that are searched, so that a cycle of links ends.
const MAX_DEPTH: usize = 32;

/// The policy files in a folder and the folders below it, in alphabetical order: each `policy.yaml` (`.yml`, `.json`),
/// and each `NAME.yaml` with a `NAME.cases.yaml` next to it. Hidden folders are skipped. For a file, the result is the
/// file itself.
///
/// # Errors
/// When a file or folder cannot be read, with its name.
pub fn find(path: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| named(path, error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut open = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| named(&folder, error))? {
            let entry = entry.map_err(|error| named(&folder, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.path().is_dir() {
                files.push(name);
            } else if !name.starts_with('.') && depth < MAX_DEPTH {
                open.push((entry.path(), depth + 1));
            }
        }
        let is_policy = |name: &str| {
            let Some((stem, "yaml" | "yml" | "json")) = name.rsplit_once('.') else { return false };
            stem == "policy" || files.contains(&format!("{stem}{OWN_CASES}"))
        };
        found.extend(files.iter().filter(|name| is_policy(name)).map(|name| folder.join(name)));
    }
    found.sort();
    Ok(found)
}
