//! A policy file as it is sent to a server: one text that needs no other file.
//!
//! Scripts in files of their own (`path: cyclonedx.rego`) are put into the document, so that the server reads nothing
//! from its disk for a caller. Only files within the policy's folder are read: a policy from elsewhere must not make
//! this program send files of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use evidence::yaml::{self, YamlError};
use yaml_serde::{Mapping, Value};

/// Why a policy file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The document is neither YAML nor JSON.
    #[error("{path} is neither YAML nor JSON: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        source: YamlError,
    },
    /// The document with its scripts cannot be serialized.
    #[error("{path} cannot be written as one document: {source}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: yaml_serde::Error,
    },
    /// A script lies outside of the policy's folder.
    #[error("{policy} names the script {script}, which is not in the policy's folder")]
    Outside {
        /// The policy file.
        policy: PathBuf,
        /// What it names.
        script: String,
    },
    /// A script does not match its pinned digest.
    #[error("{script}: its digest is {found}, not the pinned one")]
    Changed {
        /// What the policy names.
        script: String,
        /// The digest of the file.
        found: String,
    },
    /// The document is a group: it names policies that only the server can find.
    #[error("{0} is a PolicyGroup, which only a server can resolve")]
    Group(PathBuf),
}

/// The document of a policy file with its scripts included.
///
/// # Errors
/// [`PolicyFileError`].
pub fn self_contained(path: &Path) -> Result<String, PolicyFileError> {
    let text = read(path)?;
    let mut document: Value =
        yaml::read(&text).map_err(|source| PolicyFileError::Syntax { path: path.to_owned(), source })?;
    if document.get("kind").and_then(Value::as_str) == Some("PolicyGroup") {
        return Err(PolicyFileError::Group(path.to_owned()));
    }
    let mut inlined = 0;
    if let Some(Value::Mapping(spec)) = document.get_mut("spec") {
        // The older format has one script directly in `spec`, the newer one a list.
        inlined += inline(spec, path)?;
        if let Some(Value::Sequence(scripts)) = spec.get_mut("policies") {
            for script in scripts.iter_mut().filter_map(Value::as_mapping_mut) {
                inlined += inline(script, path)?;
            }
        }
    }
    if inlined == 0 {
        // As it was written, so that line numbers in error messages are those of the file.
        return Ok(text);
    }
    yaml_serde::to_string(&document).map_err(|source| PolicyFileError::Unwritable { path: path.to_owned(), source })
}

/// Replaces the `path` or the `ref` of a script by its text; returns how many were replaced.
fn inline(script: &mut Mapping, policy: &Path) -> Result<usize, PolicyFileError> {
    let text_of = |key: &str| script.get(key).and_then(Value::as_str).map(str::to_owned);
    let (key, text) = if let Some(named) = text_of("path") {
        // Scripts on another machine are fetched by the server.
        if named.starts_with("https://") || named.starts_with("http://") {
            return Ok(0);
        }
        ("path", read_within(policy, named.strip_prefix("file://").unwrap_or(&named))?)
    } else if let Some(named) = text_of("ref").filter(|named| named.starts_with("file://") || !named.contains("://")) {
        // A file of this machine, as `longrun policy check` reads it; the server has others under such names.
        let bare = named.strip_prefix("file://").unwrap_or(&named);
        let (file, pin) = match bare.split_once("@sha256:") {
            Some((file, hex)) => (file, Some(format!("sha256:{hex}"))),
            None => (bare, None),
        };
        let text = read_within(policy, file)?;
        let found = evidence::digest(text.as_bytes());
        if pin.is_some_and(|pin| pin != found) {
            return Err(PolicyFileError::Changed { script: named, found });
        }
        ("ref", text)
    } else {
        return Ok(0);
    };
    // In the same position, so that the document stays readable.
    *script = std::mem::take(script)
        .into_iter()
        .map(|(member, value)| {
            if member.as_str() == Some(key) {
                (Value::from("embedded"), Value::from(text.clone()))
            } else {
                (member, value)
            }
        })
        .collect();
    Ok(1)
}

fn read_within(policy: &Path, script: &str) -> Result<String, PolicyFileError> {
    let folder = match policy.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let path = folder.join(script);
    let resolved = |path: &Path| {
        path.canonicalize().map_err(|source| PolicyFileError::Unreadable { path: path.to_owned(), source })
    };
    if !resolved(&path)?.starts_with(resolved(folder)?) {
        return Err(PolicyFileError::Outside { policy: policy.to_owned(), script: script.to_owned() });
    }
    read(&path)
}

fn read(path: &Path) -> Result<String, PolicyFileError> {
    fs::read_to_string(path).map_err(|source| PolicyFileError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn scripts_are_put_into_the_document() {
        let rego = "package p\n\nviolations contains \"x\" if true\n";
        let policy =
            "kind: Policy\nspec:\n  policies:\n  - kind: SARIF\n    path: p/a.rego\n  - embedded: |\n      package q\n";
        let folder = folder(&[("policy.yaml", policy), ("p/a.rego", rego)]);
        let text = self_contained(&folder.path().join("policy.yaml")).unwrap();
        let document: Value = yaml_serde::from_str(&text).unwrap();
        let scripts = document["spec"]["policies"].as_sequence().unwrap();
        assert_eq!(scripts[0]["embedded"].as_str(), Some(rego));
        assert_eq!(scripts[0]["kind"].as_str(), Some("SARIF"));
        assert!(scripts[0].get("path").is_none());
        assert_eq!(scripts[1]["embedded"].as_str(), Some("package q\n"));
    }

    #[test]
    fn the_older_form_and_file_addresses_are_understood() {
        let policy = "kind: Policy\nspec:\n  type: SARIF\n  path: file://a.rego\n";
        let folder = folder(&[("policy.yaml", policy), ("a.rego", "package p\n")]);
        let text = self_contained(&folder.path().join("policy.yaml")).unwrap();
        let document: Value = yaml_serde::from_str(&text).unwrap();
        assert_eq!(document["spec"]["embedded"].as_str(), Some("package p\n"));
    }

    #[test]
    fn a_script_that_is_referred_to_is_put_in_too_when_it_is_what_its_pin_says() {
        let pin = evidence::digest(b"package p\n");
        let policy =
            |reference: &str| format!("kind: Policy\nspec: {{policies: [{{kind: SARIF, ref: \"{reference}\"}}]}}\n");
        let other = evidence::digest(b"other");
        let folder = folder(&[
            ("a.rego", "package p\n"),
            ("right.yaml", &policy(&format!("a.rego@{pin}"))),
            ("wrong.yaml", &policy(&format!("a.rego@{other}"))),
            ("right-file.yaml", &policy(&format!("file://a.rego@{pin}"))),
            ("wrong-file.yaml", &policy(&format!("file://a.rego@{other}"))),
            ("remote.yaml", &policy(&format!("https://example.com/a.rego@{pin}"))),
        ]);
        for right in ["right.yaml", "right-file.yaml"] {
            let text = self_contained(&folder.path().join(right)).unwrap();
            let document: Value = yaml_serde::from_str(&text).unwrap();
            assert_eq!(document["spec"]["policies"][0]["embedded"].as_str(), Some("package p\n"), "{right}");
            assert!(document["spec"]["policies"][0].get("ref").is_none());
        }
        for wrong in ["wrong.yaml", "wrong-file.yaml"] {
            let error = self_contained(&folder.path().join(wrong)).unwrap_err();
            assert!(matches!(error, PolicyFileError::Changed { .. }), "{wrong}: {error}");
        }
        let remote = self_contained(&folder.path().join("remote.yaml")).unwrap();
        assert!(remote.contains("https://example.com/a.rego"), "what is on the network the server fetches");
    }

    #[test]
    fn a_document_without_files_is_sent_as_it_was_written() {
        let policy = "# why\nkind: Policy\nspec: {policies: [{kind: SARIF, embedded: package p}]}\n";
        let folder = folder(&[("policy.yaml", policy)]);
        assert_eq!(self_contained(&folder.path().join("policy.yaml")).unwrap(), policy);
    }

    #[test]
    fn nothing_outside_of_the_policys_folder_is_sent() {
        let policy = |script: &str| format!("kind: Policy\nspec: {{policies: [{{path: \"{script}\"}}]}}\n");
        let folder = folder(&[("secret", "s"), ("in/a.yaml", &policy("../secret")), ("in/b.yaml", &policy("link"))]);
        std::os::unix::fs::symlink("../secret", folder.path().join("in/link")).unwrap();
        let absolute = policy(folder.path().join("secret").to_str().unwrap());
        fs::write(folder.path().join("in/c.yaml"), absolute).unwrap();
        for name in ["in/a.yaml", "in/b.yaml", "in/c.yaml"] {
            let error = self_contained(&folder.path().join(name)).unwrap_err();
            assert!(matches!(error, PolicyFileError::Outside { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn groups_are_told_apart() {
        let folder = folder(&[("group.yaml", "kind: PolicyGroup\nspec: {}\n")]);
        let error = self_contained(&folder.path().join("group.yaml")).unwrap_err();
        assert!(matches!(error, PolicyFileError::Group(_)));
    }
}
