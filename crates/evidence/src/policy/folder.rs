//! The contents of a policy folder, by digests, so that changes are noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::document::{Body, Policy, PolicyGroup, ScriptSource};
use super::error::PolicyError;
use super::resolver::{Loaded, Resolver, is_address};
use crate::digest;

/// The maximum number of entries of a folder, including those of its subfolders, that are read.
const MAX_ENTRIES: usize = 10_000;
/// The extensions of documents.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads a policy folder repeatedly; a document is parsed when its content is new.
#[derive(Debug)]
pub struct PolicyFolder {
    root: PathBuf,
    /// The scripts of each document by its digest; `None`: it is neither a policy nor a group.
    parsed: BTreeMap<String, Option<Vec<ScriptSource>>>,
}

impl PolicyFolder {
    /// A reader of this folder; nothing is read yet.
    pub fn new(root: PathBuf) -> PolicyFolder {
        PolicyFolder { root, parsed: BTreeMap::new() }
    }

    /// The digest of every policy and every group in the folder, by each reference that leads to it: `file://` with its
    /// path in the folder, and its name if it has one. The digest of a policy is its [`content_digest`]. Documents that
    /// are not valid are skipped, as are names that begin with a dot and the contents of folders that are symbolic
    /// links. This blocks.
    ///
    /// # Errors
    /// [`PolicyError::Reference`] when the folder cannot be read or has more than 10,000 entries.
    pub fn look(&mut self) -> Result<BTreeMap<String, String>, PolicyError> {
        let resolver = Resolver::new(Some(&self.root))?;
        let mut parsed = BTreeMap::new();
        let mut found = BTreeMap::new();
        for path in documents(&self.root)? {
            for reference in references(&path) {
                // A file that is larger than a policy may be, is not UTF-8 or leads out of the folder is not a
                // document.
                let Ok(document) = resolver.load(&reference) else { continue };
                let known = self.parsed.remove(&document.digest);
                let entry = parsed.entry(document.digest.clone());
                let scripts = entry.or_insert_with(|| known.unwrap_or_else(|| scripts(&document)));
                if let Some(scripts) = scripts {
                    let digests = scripts.iter().map(|script| file_digest(script, &document, &resolver));
                    let digest = content_digest(&document, digests).unwrap_or(document.digest);
                    found.insert(reference, digest);
                }
            }
        }
        self.parsed = parsed;
        Ok(found)
    }
}

/// The digest of a policy with the scripts that it names in files of the policy folder, which have these digests;
/// `None` if it names none, so that the digest of the document covers all of its content. Scripts from the network are
/// pinned in the document.
pub(crate) fn content_digest(document: &Loaded, scripts: impl Iterator<Item = Option<String>>) -> Option<String> {
    let parts: Vec<String> = std::iter::once(document.digest.clone()).chain(scripts.flatten()).collect();
    (parts.len() > 1).then(|| digest(parts.join("\n").as_bytes()))
}

/// The digest of a script that a document names in a file of the policy folder; `None`: the document contains the
/// script, or pins it.
pub(crate) fn file_digest(script: &ScriptSource, document: &Loaded, resolver: &Resolver) -> Option<String> {
    let loaded = match &script.body {
        Body::Embedded(_) => return None,
        Body::Path(name) | Body::Ref(name) if is_address(name) => return None,
        // A script next to a document from the network is also on the network.
        Body::Path(name) | Body::Ref(name) if document.is_remote && !name.contains("://") => return None,
        Body::Path(path) => resolver.load_beside(document, path),
        Body::Ref(reference) => resolver.load_script(document, reference),
    };
    // A missing script counts as a different content: it may appear later.
    Some(loaded.map_or(String::new(), |script| script.digest))
}

/// The scripts of a document; a group has none of its own.
fn scripts(document: &Loaded) -> Option<Vec<ScriptSource>> {
    let Loaded { reference, text, .. } = document;
    match Policy::parse(reference, text) {
        Ok(policy) => Some(policy.scripts),
        Err(_) => PolicyGroup::parse(reference, text).ok().map(|_| Vec::new()),
    }
}

/// The files in a folder and its subfolders that may be documents, by their paths in it, in order.
fn documents(root: &Path) -> Result<Vec<String>, PolicyError> {
    let refuse = |message: String| PolicyError::Reference { reference: root.display().to_string(), message };
    let (mut folders, mut found, mut entries) = (vec![String::new()], Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).map_err(|error| refuse(error.to_string()))? {
            let entry = entry.map_err(|error| refuse(error.to_string()))?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(refuse(format!("has more than {MAX_ENTRIES} entries")));
            }
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            // An entry that was deleted meanwhile is ignored.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if name.rsplit_once('.').is_some_and(|(_, end)| EXTENSIONS.contains(&end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The references that lead to a file, unless they lead to another one that takes precedence.
fn references(path: &str) -> impl Iterator<Item = String> {
    let name = match path.split_once('/') {
        None => path.rsplit_once('.').map(|(name, _)| name),
        Some((name, "policy.yaml")) => Some(name),
        Some(_) => None,
    };
    let name = name.filter(|name| Resolver::check_form(name).is_ok());
    [Some(format!("file://{path}")), name.map(str::to_owned)].into_iter().flatten()
}

/// A reference without its pin, in the form that [`PolicyFolder::look`] returns.
pub fn plain_reference(reference: &str) -> String {
    let bare = reference.split_once("@sha256:").map_or(reference, |(bare, _)| bare);
    let Some(path) = bare.strip_prefix("file://") else { return bare.to_owned() };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("file://{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy(script: &str) -> String {
        format!("apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: p}}\nspec: {{policies: [{script}]}}\n")
    }

    const GROUP: &str = "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: g}\n\
        spec: {policies: {materials: [{policies: [{ref: one}]}]}}\n";

    #[test]
    fn policies_and_groups_are_found_by_every_reference_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let embedded = policy("{embedded: package p}");
        write("one.yaml", &embedded);
        write("two/policy.yaml", &policy("{kind: SARIF, path: sarif.rego}, {path: missing.rego}"));
        write("two/sarif.rego", "package p\n");
        write("group.yml", GROUP);
        write("sub/deep/three.json", &embedded);
        write("broken.yaml", "kind: [");
        write("notes.json", "{}");
        write(".hidden/four.yaml", &embedded);
        // The form of the files in a Kubernetes volume.
        std::os::unix::fs::symlink("one.yaml", folder.path().join("linked.yaml")).unwrap();
        let mut seen = PolicyFolder::new(folder.path().to_owned());
        let first = seen.look().unwrap();
        let references: Vec<&str> = first.keys().map(String::as_str).collect();
        let files = ["file://group.yml", "file://linked.yaml", "file://one.yaml", "file://sub/deep/three.json"];
        let names = ["group", "linked", "one", "two"];
        assert_eq!(references, [&files[..], &["file://two/policy.yaml"], &names[..]].concat());
        assert_eq!(first["one"], digest(embedded.as_bytes()), "the document contains all of it");
        assert_eq!(first["group"], digest(GROUP.as_bytes()));
        assert_eq!(seen.look().unwrap(), first);

        let changed = |before: &BTreeMap<String, String>, now: &BTreeMap<String, String>| {
            let changed = now.iter().filter(|(reference, digest)| before.get(*reference) != Some(*digest));
            changed.map(|(reference, _)| reference.clone()).collect::<Vec<_>>()
        };
        write("two/sarif.rego", "package q\n");
        let second = seen.look().unwrap();
        assert_eq!(changed(&first, &second), ["file://two/policy.yaml", "two"], "a script is a part of its policy");
        write("two/missing.rego", "package r\n");
        let third = seen.look().unwrap();
        assert_eq!(changed(&second, &third), ["file://two/policy.yaml", "two"]);
        // A file takes precedence over a folder of the same name.
        write("two.yaml", &embedded);
        let fourth = seen.look().unwrap();
        assert_eq!(changed(&third, &fourth), ["file://two.yaml", "two"]);
        assert_eq!(fourth["two"], fourth["one"]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(PolicyFolder::new(folder.path().join("none")).look().is_err());
    }

    #[test]
    fn references_to_one_file_have_one_plain_form() {
        for reference in ["file://a/b.yaml", "file://./a//b.yaml", "file://a/c/../b.yaml", "file://a/b.yaml@sha256:00"]
        {
            assert_eq!(plain_reference(reference), "file://a/b.yaml");
        }
        assert_eq!(plain_reference("name@sha256:00"), "name");
        assert_eq!(plain_reference("embedded"), "embedded");
    }
}
