//! Encryption at rest: `[encryption]`, the keys and which of them encrypts new content.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use secrecy::{ExposeSecretMut as _, SecretBox};
use serde::{Deserialize, Serialize};
use store::seal::{Key, Keyring};

/// More than any key file needs.
const MAX_FILE_BYTES: u64 = 1024;

/// The keys of encrypted content in the store and in the evidence folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Encryption {
    /// Every key with which something is, or was, encrypted.
    pub keys: Vec<KeyFile>,
    /// The id of the key that encrypts new content; empty: new content is not encrypted.
    pub active: String,
}

/// A key and its file. In the environment it is written as `ID=FILE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", deny_unknown_fields)]
pub struct KeyFile {
    /// Its id, which is stored in everything that is encrypted with it.
    pub id: String,
    /// Its file.
    pub file: String,
}

/// How a key is written in the file, and in the environment.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Table(Table),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    id: String,
    file: String,
}

impl TryFrom<Written> for KeyFile {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<KeyFile, &'static str> {
        match written {
            Written::Table(Table { id, file }) => Ok(KeyFile { id, file }),
            Written::Text(text) => {
                let (id, file) = text.split_once('=').ok_or("a key is { id = \"…\", file = \"…\" }, or ID=FILE")?;
                Ok(KeyFile { id: id.to_owned(), file: file.to_owned() })
            }
        }
    }
}

impl Encryption {
    /// The keys, read from their files.
    ///
    /// # Errors
    /// The configuration key that cannot be used, and why.
    pub fn keyring(&self) -> Result<Keyring, (&'static str, String)> {
        let mut keys = Vec::new();
        for KeyFile { id, file } in &self.keys {
            let read = read_private(file, MAX_FILE_BYTES)
                .and_then(|content| Key::read(id, &content).map_err(|error| error.to_string()));
            keys.push(read.map_err(|error| ("encryption.keys", format!("the key {id:?} in {file}: {error}")))?);
        }
        let active = Some(self.active.as_str()).filter(|active| !active.is_empty());
        let known: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        if let Some(active) = active.filter(|active| !known.contains(active)) {
            let known =
                if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(("encryption.active", format!("{active:?} is not one of encryption.keys: {known}")));
        }
        Keyring::new(keys, active).map_err(|error| ("encryption.keys", error.to_string()))
    }
}

/// The content of a file that is a secret, of at most `limit` bytes: other users must not be able to read it.
pub(super) fn read_private(path: &str, limit: u64) -> Result<SecretBox<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
    let file = File::open(path).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    // A group may read it: this is how secrets are mounted into containers of another user.
    if found.is_file() && found.mode() & 0o027 != 0 {
        return Err("other users of this machine have permissions on the file; run `chmod go= FILE`".to_owned());
    }
    if !found.is_file() || found.len() > limit {
        return Err("it is not a key file".to_owned());
    }
    // Allocated in its full size, so that no copy of it is left behind in memory.
    let mut content = SecretBox::new(Box::new(Vec::with_capacity(usize::try_from(limit).unwrap_or_default())));
    file.take(limit).read_to_end(content.expose_secret_mut()).map_err(cannot)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key_file(folder: &std::path::Path, name: &str, mode: u32) -> String {
        let file = folder.join(name);
        std::fs::write(&file, (1..=32).map(|byte| byte * 7).collect::<Vec<u8>>()).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its own");
        file.to_str().expect("Unicode").to_owned()
    }

    fn encryption(text: &str) -> Encryption {
        toml::from_str(text).expect("well-formed")
    }

    #[test]
    fn keys_are_read_from_files_that_others_cannot_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (good, open) = (key_file(folder.path(), "good", 0o600), key_file(folder.path(), "open", 0o644));
        let of = |file: &str, active: &str| {
            encryption(&format!("keys = [{{ id = \"2026-11\", file = {file:?} }}]\nactive = {active:?}"))
        };
        let keyring = of(&good, "2026-11").keyring().expect("a keyring");
        assert_eq!(keyring.active().map(Key::id), Some("2026-11"));
        assert!(of(&good, "").keyring().expect("a keyring").active().is_none());
        let why = |encryption: Encryption| encryption.keyring().expect_err("it is not right");
        assert!(why(of(&open, "2026-11")).1.contains("chmod go="));
        assert_eq!(why(of(&good, "2026-12")).0, "encryption.active");
        assert!(why(of("/nonexistent", "2026-11")).1.contains("cannot be read"));
        let folder = folder.path().to_str().expect("Unicode");
        assert!(why(of(folder, "2026-11")).1.contains("not a key file"));
    }

    #[test]
    fn a_key_is_a_table_or_a_text_for_the_environment() {
        let table = encryption("keys = [{ id = \"a\", file = \"/k=1\" }]");
        assert_eq!(table, encryption("keys = [\"a=/k=1\"]"));
        for bad in ["keys = [\"a\"]", "keys = [{ id = \"a\" }]", "keys = [{ id = \"a\", file = \"b\", key = \"c\" }]"] {
            assert!(toml::from_str::<Encryption>(bad).is_err(), "{bad}");
        }
    }
}
