//! Signed results: `[attestation]`.

use attestation::summary::MAX_VERIFIER_BYTES;
use attestation::{KeyError, Signer};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::encryption::read_private;

/// More than any key file needs.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The keys that sign the results of evaluations, and in whose name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attestation {
    /// PEM file with Ed25519 keys; the first one signs, all are published. Empty: with a SQLite store, a key is created
    /// next to it; with PostgreSQL, nothing is signed.
    pub key_file: String,
    /// The URI of the party that vouches for the results.
    pub verifier: String,
}

impl Default for Attestation {
    fn default() -> Attestation {
        Attestation { key_file: String::new(), verifier: env!("CARGO_PKG_REPOSITORY").to_owned() }
    }
}

impl Attestation {
    /// The keys, if the configuration names some.
    ///
    /// # Errors
    /// The configuration key that cannot be used, and why.
    pub fn signer(&self) -> Result<Option<Signer>, (&'static str, String)> {
        let is_uri = self.verifier.split_once(':').is_some_and(|(scheme, rest)| {
            let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_scheme) && !rest.is_empty()
        });
        let is_plain = self.verifier.chars().all(|c| c.is_ascii_graphic() && !"\"\\<>".contains(c));
        if !is_uri || !is_plain || self.verifier.len() > MAX_VERIFIER_BYTES {
            let message =
                format!("must be a URI of at most {MAX_VERIFIER_BYTES} bytes, e.g. https://longrun.example.com");
            return Err(("attestation.verifier", message));
        }
        if self.key_file.is_empty() {
            return Ok(None);
        }
        self.read(&self.key_file).map(Some).map_err(|why| ("attestation.key_file", format!("{}: {why}", self.key_file)))
    }

    /// The keys in a file that other users cannot read.
    ///
    /// # Errors
    /// Why there are no usable keys.
    pub fn read(&self, file: &str) -> Result<Signer, String> {
        let content = read_private(file, MAX_FILE_BYTES)?;
        Signer::from_pem(content.expose_secret(), &self.verifier).map_err(|error: KeyError| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn of(key_file: &str) -> Attestation {
        Attestation { key_file: key_file.to_owned(), ..Attestation::default() }
    }

    #[test]
    fn the_keys_stand_in_a_file_that_others_cannot_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.pem");
        let two = Signer::generate_pem().expect("a key") + &Signer::generate_pem().expect("a key");
        std::fs::write(&file, &two).expect("written");
        let file = file.to_str().expect("Unicode");
        let rights = |mode| std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("its own");
        rights(0o644);
        assert!(of(file).signer().expect_err("others can read it").1.contains("chmod go="));
        rights(0o600);
        let signer = of(file).signer().expect("keys").expect("there are some");
        assert_eq!(signer.published().len(), 2);
        assert!(of("").signer().expect("nothing is asked for").is_none());
        std::fs::write(file, "nonsense").expect("written");
        let (key, message) = of(file).signer().expect_err("no key");
        assert_eq!((key, message.contains("there is no key in it")), ("attestation.key_file", true), "{message}");
        assert_eq!(of("/nonexistent").signer().expect_err("no file").0, "attestation.key_file");
    }

    #[test]
    fn a_verifier_is_a_uri() {
        let of = |verifier: &str| Attestation { verifier: verifier.to_owned(), ..Attestation::default() };
        for good in ["https://longrun.example.com", "urn:example:longrun"] {
            assert!(of(good).signer().is_ok(), "{good}");
        }
        for bad in
            ["", "longrun", "https:", "https://a b", "1:2", "https://\u{1f600}", &format!("a:{}", "x".repeat(600))]
        {
            assert_eq!(of(bad).signer().expect_err("no URI").0, "attestation.verifier", "{bad}");
        }
    }
}
