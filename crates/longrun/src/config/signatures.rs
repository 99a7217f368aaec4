//! Whose signatures on attestations are trusted: `[signatures]`.

use attestation::{PublicKey, TrustedKey};
use serde::{Deserialize, Serialize};

use super::encryption::KeyFile;

/// The most keys: the evaluation processes are told all of them, in one line.
const MAX_KEYS: usize = 24;
/// The longest file of a key, in bytes; an RSA key of 8192 bits has some 1,400.
const MAX_FILE_BYTES: u64 = 1_800;
/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 64;

/// Whose signatures on attestations are trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signatures {
    /// Public keys, each with the id that policies know it by, and its file.
    pub trusted_keys: Vec<KeyFile>,
}

impl Signatures {
    /// The keys, read from their files.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be used.
    pub fn trusted_keys(&self) -> Result<Vec<TrustedKey>, String> {
        if self.trusted_keys.len() > MAX_KEYS {
            return Err(format!("there are {} keys; at most {MAX_KEYS} are taken", self.trusted_keys.len()));
        }
        let mut keys: Vec<TrustedKey> = Vec::new();
        for KeyFile { id: name, file } in &self.trusted_keys {
            if name.is_empty() || name.len() > MAX_ID_BYTES || name.chars().any(char::is_control) {
                return Err(format!("{name:?} is no id: it has 1 to {MAX_ID_BYTES} bytes of printable text"));
            }
            if keys.iter().any(|key| key.name == *name) {
                return Err(format!("there are two keys with the id {name:?}"));
            }
            keys.push(read(name, file).map_err(|why| format!("the key {name:?} in {file}: {why}"))?);
        }
        Ok(keys)
    }
}

fn read(name: &str, file: &str) -> Result<TrustedKey, String> {
    let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
    let found = std::fs::metadata(file).map_err(cannot)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err("is no file of one public key".to_owned());
    }
    let text = std::fs::read(file).map_err(cannot)?;
    let keys = PublicKey::read_all(&text).map_err(|error| error.to_string())?;
    let [key] = &keys[..] else { return Err(format!("there are {} keys in it; each has its own file", keys.len())) };
    Ok(TrustedKey { name: name.to_owned(), pem: key.pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn each_key_has_an_id_and_a_file_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            file.to_str().expect("Unicode").to_owned()
        };
        let (one, two, none) = (write("one", KEY), write("two", &KEY.repeat(2)), write("none", "nothing"));
        let of = |keys: &[(&str, &str)]| {
            let key = |(id, file): &(&str, &str)| KeyFile { id: (*id).to_owned(), file: (*file).to_owned() };
            Signatures { trusted_keys: keys.iter().map(key).collect() }.trusted_keys()
        };
        assert_eq!(of(&[]), Ok(Vec::new()));
        let keys = of(&[("release", &one), ("nightly", &one)]).expect("two ids");
        assert_eq!(keys[0], TrustedKey { name: "release".to_owned(), pem: KEY.to_owned() });
        for (keys, why) in [
            (&[("release", one.as_str()), ("release", &one)][..], "two keys with the id"),
            (&[("", one.as_str())], "is no id"),
            (&[("release", two.as_str())], "there are 2 keys in it"),
            (&[("release", none.as_str())], "there is no key in it"),
            (&[("release", "/nonexistent")], "cannot be read"),
        ] {
            let error = of(keys).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        assert!(of(&[("a", one.as_str()); 25]).expect_err("too many").contains("at most 24"));
    }
}
