//! Saved servers by name, with their tokens: `$XDG_CONFIG_HOME/longrun/contexts.toml`, or
//! `~/.config/longrun/contexts.toml`.
//!
//! Guarantees: only the user can access the file (mode 0600), and it is replaced as a whole, so that no reader sees a
//! partial file; a token is neither shown nor repeated in an error.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::nearest;
use crate::exit::{failure, missing, warn};
use crate::private;

/// The maximum length of a context name.
const LONGEST_NAME: usize = 64;

/// A server with a token for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Its address.
    pub url: String,
    /// The token for it.
    #[serde(serialize_with = "exposed", deserialize_with = "hidden")]
    pub token: SecretString,
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn hidden<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// All of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contexts {
    /// The name of the context that commands use when no other is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All contexts by name.
    pub contexts: BTreeMap<String, Context>,
}

/// The path of the file; `None` if the user has no home directory.
pub fn file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(config.join("longrun").join("contexts.toml"))
}

impl Contexts {
    /// The saved contexts; none if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn load() -> anyhow::Result<Contexts> {
        let Some(file) = file() else { return Ok(Contexts::default()) };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Contexts::default());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        if std::fs::metadata(&file).is_ok_and(|found| found.mode() & 0o077 != 0) {
            warn(format!("other users can read the tokens in {0}; run `chmod 600 {0}`", file.display()));
        }
        // The parser's message quotes the line, which may contain a token.
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            let hint = "fix the file, or remove it and run `longrun login` again";
            failure(format!("{} is invalid at line {line}", file.display()), hint)
        })
    }

    /// Saves them, replacing what was saved before.
    ///
    /// # Errors
    /// When the file cannot be written; it then stays as it was.
    pub fn save(&self) -> anyhow::Result<()> {
        let no_home = "set XDG_CONFIG_HOME or HOME to an absolute path";
        let file = file().ok_or_else(|| failure("there is no folder to save contexts in", no_home))?;
        let text = toml::to_string(self).context("cannot write contexts")?;
        replace(&file, &text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The context of this name.
    ///
    /// # Errors
    /// When there is none; a similar name is suggested.
    pub fn get(&self, name: &str) -> anyhow::Result<&Context> {
        self.contexts.get(name).ok_or_else(|| self.missing(name))
    }

    /// The error for a context that does not exist.
    pub fn missing(&self, name: &str) -> anyhow::Error {
        let hint = match nearest(name, self.contexts.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant}?"),
            None if self.contexts.is_empty() => "`longrun login URL` creates one".to_owned(),
            None => "`longrun context list` shows the existing ones".to_owned(),
        };
        missing(format!("there is no context {name:?}"), hint)
    }

    /// The current context with its name.
    ///
    /// # Errors
    /// When the current context is set but does not exist.
    pub fn current(&self) -> anyhow::Result<Option<(&str, &Context)>> {
        self.current.as_deref().map(|name| Ok((name, self.get(name)?))).transpose()
    }

    /// Removes a context.
    ///
    /// # Errors
    /// When there is none with this name.
    pub fn remove(&mut self, name: &str) -> anyhow::Result<Context> {
        let removed = self.contexts.remove(name).ok_or_else(|| self.missing(name))?;
        self.current = self.current.take().filter(|current| current != name);
        Ok(removed)
    }
}

/// Checks that a text is a valid name for a context.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn check_name(name: &str) -> Result<String, String> {
    let is_right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_right) {
        return Err(format!("a name consists of up to {LONGEST_NAME} letters, digits and the characters - _ . :"));
    }
    Ok(name.to_owned())
}

/// Replaces a file as a whole; only the user can access the new one from the moment it exists.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().context("it is in no folder")?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    private::write(file, text.as_bytes())?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn contexts() -> Contexts {
        let context = || Context { url: "https://longrun.example.com".to_owned(), token: "secret".into() };
        let contexts = [("prod".to_owned(), context()), ("stage".to_owned(), context())].into();
        Contexts { current: Some("prod".to_owned()), contexts }
    }

    #[test]
    fn the_file_is_its_users_alone_and_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a/b/contexts.toml");
        for _ in 0..2 {
            replace(&file, &toml::to_string(&contexts()).expect("a text")).expect("is written");
        }
        assert_eq!(std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
        let back: Contexts = toml::from_str(&std::fs::read_to_string(&file).expect("a text")).expect("contexts");
        assert_eq!(back.get("prod").expect("is there").token.expose_secret(), "secret");
        assert_eq!(std::fs::read_dir(folder.path().join("a/b")).expect("a folder").count(), 1, "nothing is left over");
    }

    #[test]
    fn tokens_are_not_shown() {
        assert!(!format!("{:?}", contexts()).contains("secret"));
    }

    #[test]
    fn a_context_that_is_removed_is_no_longer_the_current_one() {
        let mut contexts = contexts();
        contexts.remove("stage").expect("is there");
        assert_eq!(contexts.current.as_deref(), Some("prod"));
        contexts.remove("prod").expect("is there");
        assert_eq!(contexts.current, None);
        assert!(contexts.remove("prod").is_err());
    }

    #[test]
    fn names_are_of_one_word() {
        assert!(check_name("127.0.0.1:8080").is_ok());
        for wrong in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
