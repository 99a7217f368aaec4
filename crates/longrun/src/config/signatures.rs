//! Whose signatures on attestations are trusted: `[signatures]`.

use attestation::{PublicKey, TrustedIdentities, TrustedIdentity, TrustedKey};
use serde::{Deserialize, Serialize};

use super::encryption::KeyFile;

/// Maximum number of keys, and of identities: all of them are sent to the evaluation processes in one line.
const MAX_SIGNERS: usize = 24;
/// Maximum size of a key file in bytes; one with an RSA key of 8192 bits has about 1,400.
const MAX_FILE_BYTES: u64 = 1_800;
/// Maximum size of the file of a trusted root in bytes; that of the public instance of Sigstore has about 7,000.
const MAX_ROOT_BYTES: u64 = 64 * 1024;
/// Maximum length of an id in bytes.
const MAX_ID_BYTES: usize = 64;
/// Maximum length of an issuer, and of an identity, in bytes.
const MAX_IDENTITY_BYTES: usize = 512;

/// Whose signatures on attestations are trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signatures {
    /// Public keys, each with its file and the id by which policies refer to it.
    pub trusted_keys: Vec<KeyFile>,
    /// The file with a trusted root of Sigstore, against which the certificates of identities are verified; empty: no
    /// certificate is verified.
    pub trusted_root: String,
    /// Identities in certificates, each with the id by which policies refer to it.
    pub identities: Vec<Identity>,
}

/// An identity. In the environment it is written as `ID=ISSUER=IDENTITY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", deny_unknown_fields)]
pub struct Identity {
    /// The id by which policies refer to it.
    pub id: String,
    /// The exact issuer in the certificate.
    pub issuer: String,
    /// The URI, e-mail address or other name in the certificate; a star stands for any text without a slash.
    pub identity: String,
}

/// How an identity is written in the file, and in the environment.
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
    issuer: String,
    identity: String,
}

impl TryFrom<Written> for Identity {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Identity, &'static str> {
        match written {
            Written::Table(Table { id, issuer, identity }) => Ok(Identity { id, issuer, identity }),
            Written::Text(text) => {
                let parts = text.split_once('=').and_then(|(id, rest)| Some((id, rest.split_once('=')?)));
                let form = "an identity is { id = \"…\", issuer = \"…\", identity = \"…\" }, or ID=ISSUER=IDENTITY";
                let (id, (issuer, identity)) = parts.ok_or(form)?;
                Ok(Identity { id: id.to_owned(), issuer: issuer.to_owned(), identity: identity.to_owned() })
            }
        }
    }
}

impl Signatures {
    /// The keys, read from their files.
    ///
    /// # Errors
    /// What is wrong with the first key that cannot be used.
    pub fn trusted_keys(&self) -> Result<Vec<TrustedKey>, String> {
        if self.trusted_keys.len() > MAX_SIGNERS {
            return Err(format!("there are {} keys; at most {MAX_SIGNERS} are allowed", self.trusted_keys.len()));
        }
        let mut keys: Vec<TrustedKey> = Vec::new();
        for KeyFile { id: name, file } in &self.trusted_keys {
            check_id(name)?;
            if keys.iter().any(|key| key.name == *name) {
                return Err(format!("there are two keys with the id {name:?}"));
            }
            keys.push(read(name, file).map_err(|why| format!("the key {name:?} in {file}: {why}"))?);
        }
        Ok(keys)
    }

    /// The identities with the trusted root, read from its file; `None` when there are none.
    ///
    /// # Errors
    /// The configuration key that cannot be used, and why.
    pub fn trusted_identities(&self) -> Result<Option<TrustedIdentities>, (&'static str, String)> {
        match (self.trusted_root.is_empty(), self.identities.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => {
                let why =
                    "must name a file (trusted_root.json of Sigstore): signatures.identities are verified against it";
                return Err(("signatures.trusted_root", why.to_owned()));
            }
            (false, true) => {
                let why = "must name trusted identities: signatures.trusted_root alone does not make anybody trusted";
                return Err(("signatures.identities", why.to_owned()));
            }
            (false, false) => {}
        }
        let identities = self.check_identities().map_err(|why| ("signatures.identities", why))?;
        let root = read_root(&self.trusted_root);
        let trusted = root.and_then(|root| {
            let trusted = TrustedIdentities { root, identities };
            trusted.read().map(|_| trusted).map_err(|error| error.to_string())
        });
        trusted.map(Some).map_err(|why| ("signatures.trusted_root", format!("{}: {why}", self.trusted_root)))
    }

    fn check_identities(&self) -> Result<Vec<TrustedIdentity>, String> {
        if self.identities.len() > MAX_SIGNERS {
            return Err(format!("there are {} identities; at most {MAX_SIGNERS} are allowed", self.identities.len()));
        }
        let mut trusted: Vec<TrustedIdentity> = Vec::new();
        for Identity { id, issuer, identity } in &self.identities {
            check_id(id)?;
            // A policy distinguishes signers by their ids alone.
            let is_taken = trusted.iter().any(|other| other.name == *id);
            if is_taken || self.trusted_keys.iter().any(|key| key.id == *id) {
                return Err(format!("there are two identities, or an identity and a key, with the id {id:?}"));
            }
            for (what, text) in [("issuer", issuer), ("identity", identity)] {
                if text.is_empty() || text.len() > MAX_IDENTITY_BYTES || text.chars().any(char::is_control) {
                    return Err(format!(
                        "the {what} of {id:?} is {text:?}: it must have 1 to {MAX_IDENTITY_BYTES} bytes of printable text"
                    ));
                }
            }
            if identity.chars().all(|character| matches!(character, '*' | '/')) {
                return Err(format!("the identity of {id:?} is {identity:?}: that would match anybody"));
            }
            let (name, issuer, identity) = (id.clone(), issuer.clone(), identity.clone());
            trusted.push(TrustedIdentity { name, issuer, identity });
        }
        Ok(trusted)
    }
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        return Err(format!("{id:?} is not a valid id: it must have 1 to {MAX_ID_BYTES} bytes of printable text"));
    }
    Ok(())
}

/// The text of a trusted root, without whitespace.
fn read_root(file: &str) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
    let found = std::fs::metadata(file).map_err(cannot)?;
    if !found.is_file() || found.len() > MAX_ROOT_BYTES {
        return Err(format!("it is not a file of at most {MAX_ROOT_BYTES} bytes"));
    }
    let text = std::fs::read(file).map_err(cannot)?;
    let root: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| format!("it is not a single JSON document: {error}"))?;
    Ok(root.to_string())
}

fn read(name: &str, file: &str) -> Result<TrustedKey, String> {
    let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
    let found = std::fs::metadata(file).map_err(cannot)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err("it is not a file with one public key".to_owned());
    }
    let text = std::fs::read(file).map_err(cannot)?;
    let keys = PublicKey::read_all(&text).map_err(|error| error.to_string())?;
    let [key] = &keys[..] else { return Err(format!("it contains {} keys; each key needs its own file", keys.len())) };
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
            Signatures { trusted_keys: keys.iter().map(key).collect(), ..Signatures::default() }.trusted_keys()
        };
        assert_eq!(of(&[]), Ok(Vec::new()));
        let keys = of(&[("release", &one), ("nightly", &one)]).expect("two ids");
        assert_eq!(keys[0], TrustedKey { name: "release".to_owned(), pem: KEY.to_owned() });
        for (keys, why) in [
            (&[("release", one.as_str()), ("release", &one)][..], "two keys with the id"),
            (&[("", one.as_str())], "is not a valid id"),
            (&[("release", two.as_str())], "it contains 2 keys"),
            (&[("release", none.as_str())], "it contains no key"),
            (&[("release", "/nonexistent")], "cannot be read"),
        ] {
            let error = of(keys).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        assert!(of(&[("a", one.as_str()); 25]).expect_err("too many").contains("at most 24"));
    }
    const ROOT: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../attestation/tests/sigstore/data/public.trusted_root.json");

    fn identity(id: &str, issuer: &str, identity: &str) -> Identity {
        Identity { id: id.to_owned(), issuer: issuer.to_owned(), identity: identity.to_owned() }
    }

    #[test]
    fn identities_and_the_trusted_root_come_together() {
        let of = |root: &str, identities: &[Identity]| {
            let trusted_keys = vec![KeyFile { id: "key".to_owned(), file: "unread".to_owned() }];
            let (trusted_root, identities) = (root.to_owned(), identities.to_vec());
            Signatures { trusted_keys, trusted_root, identities }.trusted_identities()
        };
        let release = identity("release", "https://issuer.example.com", "https://example.com/*");
        assert_eq!(of("", &[]), Ok(None));
        let trusted = of(ROOT, std::slice::from_ref(&release)).expect("in order").expect("some");
        assert_eq!((trusted.identities.len(), trusted.identities[0].name.as_str()), (1, "release"));
        assert!(trusted.read().is_ok());
        let other = |id: &str, issuer: &str, name: &str| vec![identity(id, issuer, name)];
        for (root, identities, key, why) in [
            ("", vec![release.clone()], "signatures.trusted_root", "must name a file"),
            (ROOT, Vec::new(), "signatures.identities", "does not make anybody trusted"),
            ("/nonexistent", vec![release.clone()], "signatures.trusted_root", "cannot be read"),
            (
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                vec![release.clone()],
                "signatures.trusted_root",
                "JSON",
            ),
            (ROOT, vec![release.clone(); 2], "signatures.identities", "two identities"),
            (ROOT, other("key", "i", "a@example.com"), "signatures.identities", "an identity and a key"),
            (ROOT, other("", "i", "a@example.com"), "signatures.identities", "is not a valid id"),
            (ROOT, other("a", "", "a@example.com"), "signatures.identities", "the issuer of"),
            (ROOT, other("a", "i", ""), "signatures.identities", "the identity of"),
            (ROOT, other("a", "i", "*/*"), "signatures.identities", "anybody"),
            (ROOT, vec![release.clone(); 25], "signatures.identities", "at most 24"),
        ] {
            let (found, message) = of(root, &identities).expect_err(why);
            assert!(found == key && message.contains(why), "{found}: {message}");
        }
    }

    #[test]
    fn an_identity_is_a_table_or_a_text() {
        let read = |written: &str| toml::from_str::<Signatures>(&format!("identities = [{written}]"));
        let both = r#"{ id = "a", issuer = "https://i.example.com", identity = "x=y" }, "a=https://i.example.com=x=y""#;
        let identities = read(both).expect("both").identities;
        assert_eq!(identities, vec![identity("a", "https://i.example.com", "x=y"); 2]);
        assert!(
            read(r#""a=https://i.example.com""#).expect_err("no identity").to_string().contains("ID=ISSUER=IDENTITY")
        );
        assert!(read(r#"{ id = "a", issuer = "i", identity = "x", more = 1 }"#).is_err());
    }
}
