//! Whether an envelope that came as evidence is signed by somebody who is trusted.

use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::keys::{KeyError, PublicKey};
use crate::sigstore::{Bundle, Identities};

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
    /// Whether one of them is that of a trusted key or a trusted identity.
    pub verified: bool,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<VerifiedBy>,
    /// Why none is, for programs: `unsigned`, `no_trusted_keys`, `certificate`, `untrusted`, or the reason of a
    /// [`Refusal`](crate::sigstore::Refusal).
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
    /// The name of the trusted key or identity.
    pub key: String,
    /// The key's id: the SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal digits.
    pub key_id: String,
    /// `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `RSA`.
    pub algorithm: &'static str,
    /// Whose the certificate is, where there is one: a URI, an e-mail address or another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Who vouched for the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// Looks whether one of the signatures is that of a trusted key or, in a bundle with a certificate, of a trusted identity.
/// The key of a certificate counts like any other where it is trusted itself.
pub fn inspect(
    envelope: &Envelope,
    bundle: &Bundle,
    trusted: &[(String, PublicKey)],
    identities: Option<&Identities>,
) -> SignatureReport {
    let signatures = envelope.signatures.len();
    let verified = |by| SignatureReport { verified: true, by: Some(by), reason: None, why_not: None, signatures };
    if let Some(found) = envelope.verified_by(trusted.iter().map(|(_, key)| key)) {
        let name = trusted.iter().find(|(_, key)| key == found).map(|(name, _)| name.clone());
        return verified(VerifiedBy {
            key: name.unwrap_or_default(),
            key_id: found.id().to_owned(),
            algorithm: found.algorithm(),
            identity: None,
            issuer: None,
        });
    }
    let has_certificate = bundle.has_certificate();
    let (reason, why_not) = if envelope.signatures.iter().all(|one| one.sig.is_empty()) {
        ("unsigned", "there is no signature".to_owned())
    } else if let Some(identities) = identities.filter(|_| has_certificate) {
        match identities.verify(envelope, bundle) {
            Ok(by) => {
                return verified(VerifiedBy {
                    key: by.name,
                    key_id: by.key.id().to_owned(),
                    algorithm: by.key.algorithm(),
                    identity: Some(by.identity),
                    issuer: Some(by.issuer),
                });
            }
            Err(refusal) => (refusal.reason(), refusal.to_string()),
        }
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
