//! Whether an envelope that came as evidence is signed by somebody who is trusted.

use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::keys::{KeyError, PublicKey};

/// A key whose signatures are trusted, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedKey {
    /// What it is called, in the configuration and for policies.
    pub name: String,
    /// PEM with one public key.
    pub pem: String,
}

impl TrustedKey {
    /// The key.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be used, or is not one.
    pub fn read(&self) -> Result<PublicKey, KeyError> {
        let keys = PublicKey::read_all(self.pem.as_bytes())?;
        // Which of several would its name be?
        keys.into_iter().next().ok_or(KeyError::None)
    }
}

/// What is found of an envelope's signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureReport {
    /// Whether one of them is that of a trusted key.
    pub verified: bool,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<VerifiedBy>,
    /// Why none is, for programs: `unsigned`, `no_trusted_keys`, `certificate` or `untrusted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// How many signatures there are.
    pub signatures: usize,
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedBy {
    /// The name of the trusted key.
    pub key: String,
    /// Its id: the SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal digits.
    pub key_id: String,
    /// `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `RSA`.
    pub algorithm: &'static str,
}

/// Looks whether one of the signatures is that of a trusted key. `has_certificate` says whether the signer shows a
/// certificate beside the envelope; certificates are not verified, their key counts like any other.
pub fn inspect(envelope: &Envelope, has_certificate: bool, trusted: &[(String, PublicKey)]) -> SignatureReport {
    let signatures = envelope.signatures.len();
    if let Some(found) = envelope.verified_by(trusted.iter().map(|(_, key)| key)) {
        let name = trusted.iter().find(|(_, key)| key == found).map(|(name, _)| name.clone());
        let by =
            VerifiedBy { key: name.unwrap_or_default(), key_id: found.id().to_owned(), algorithm: found.algorithm() };
        return SignatureReport { verified: true, by: Some(by), reason: None, why_not: None, signatures };
    }
    let (reason, why_not) = if envelope.signatures.iter().all(|one| one.sig.is_empty()) {
        ("unsigned", "there is no signature".to_owned())
    } else if trusted.is_empty() {
        ("no_trusted_keys", "no keys are trusted here: the server's configuration names none".to_owned())
    } else if has_certificate {
        let why = "it is signed with the key of a certificate, which is not verified here, and none of the trusted keys is that key";
        ("certificate", why.to_owned())
    } else {
        let count = trusted.len();
        let keys = if count == 1 { "the trusted key".to_owned() } else { format!("any of the {count} trusted keys") };
        ("untrusted", format!("no signature is that of {keys} over this content"))
    };
    SignatureReport { verified: false, by: None, reason: Some(reason), why_not: Some(why_not), signatures }
}
