//! Whether an envelope that was submitted as evidence is signed by a trusted key or identity.

use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::keys::{KeyError, PublicKey};
use crate::sigstore::{Bundle, Identities};

/// A key whose signatures are trusted, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedKey {
    /// Its name, in the configuration and for policies.
    pub name: String,
    /// PEM with one public key.
    pub pem: String,
}

impl TrustedKey {
    /// The key.
    ///
    /// # Errors
    /// [`KeyError`] when the text cannot be used, or is not exactly one key.
    pub fn read(&self) -> Result<PublicKey, KeyError> {
        // With several keys, the name would be ambiguous.
        <[PublicKey; 1]>::try_from(PublicKey::read_all(self.pem.as_bytes())?)
            .map(|[key]| key)
            .map_err(|keys| KeyError::Several(keys.len()))
    }
}

/// The result of checking the signatures of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureReport {
    /// Whether a trusted key or a trusted identity made one of them.
    pub verified: bool,
    /// The signer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<VerifiedBy>,
    /// Why none of them counts, for programs: `unsigned`, `no_trusted_keys`, `certificate`, `untrusted`, or the reason
    /// of a [`Refusal`](crate::sigstore::Refusal).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// The number of signatures.
    pub signatures: usize,
}

/// The signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedBy {
    /// The name of the trusted key or identity.
    pub key: String,
    /// The key's id: the SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal digits.
    pub key_id: String,
    /// `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `RSA`.
    pub algorithm: &'static str,
    /// The identity in the certificate, where there is one: a URI, an e-mail address or another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The issuer that authenticated the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// Checks whether one of the signatures was made by a trusted key or, in a bundle with a certificate, by a trusted
/// identity. The key of a certificate counts like any other if that key itself is trusted.
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
        ("no_trusted_keys", "no keys are trusted: the server's configuration names none".to_owned())
    } else if has_certificate {
        let why = "it is signed with the key of a certificate; certificates are not verified, since no identities are trusted, and the key is not a trusted key";
        ("certificate", why.to_owned())
    } else {
        let count = trusted.len();
        let keys = if count == 1 { "the trusted key".to_owned() } else { format!("any of the {count} trusted keys") };
        ("untrusted", format!("no signature over this content was made with {keys}"))
    };
    SignatureReport { verified: false, by: None, reason: Some(reason), why_not: Some(why_not), signatures }
}
