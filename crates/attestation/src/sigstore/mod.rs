//! Whether a trusted identity signed a Sigstore bundle: verified offline, with a trusted root.
//!
//! The signer's certificate is valid for minutes, and its key is not kept. So the following is checked, in this order:
//! that the [signature](crate::dsse) was made with the certificate's key, that public [logs](log) include it, when it
//! was made (by the log or by a [time stamp](timestamp)), that an authority of the trusted [root](root) issued the
//! [certificate](certificate) and that it was valid then, that the certificate was [published](sct), and whose identity
//! it contains. All of these checks must succeed; log entries and time stamps that a bundle has in addition must be
//! valid, too.

mod bundle;
mod certificate;
mod log;
mod root;
mod sct;
mod timestamp;

use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, pae};
use crate::keys::PublicKey;

pub use bundle::Bundle;
pub use root::{RootError, TrustedRoot};

use certificate::Certificate;

/// An identity whose signatures are trusted, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIdentity {
    /// Its name, in the configuration and for policies.
    pub name: String,
    /// The issuer that authenticates it: exactly the issuer in the certificate.
    pub issuer: String,
    /// The URI, e-mail address or other name in the certificate; a star matches any text without a slash.
    pub identity: String,
}

/// Trusted identities and the root with which they are verified, in the form in which they are passed between
/// processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIdentities {
    /// The JSON of a trusted root.
    pub root: String,
    /// The trusted identities; the first one that matches is reported.
    pub identities: Vec<TrustedIdentity>,
}

impl TrustedIdentities {
    /// The identities, parsed for verification.
    ///
    /// # Errors
    /// [`RootError`] when the trusted root cannot be used.
    pub fn read(&self) -> Result<Identities, RootError> {
        Ok(Identities { root: TrustedRoot::read(self.root.as_bytes())?, trusted: self.identities.clone() })
    }
}

/// Trusted identities, and the parsed root.
#[derive(Clone, Debug)]
pub struct Identities {
    root: TrustedRoot,
    trusted: Vec<TrustedIdentity>,
}

/// The signer, according to a certificate for which all checks succeeded.
#[derive(Clone, Debug)]
pub struct Signatory {
    /// The name of the trusted identity.
    pub name: String,
    /// The identity in the certificate.
    pub identity: String,
    /// The issuer that authenticated it.
    pub issuer: String,
    /// The key in the certificate.
    pub key: PublicKey,
}

/// Why the signature of a bundle does not count. The texts are whole sentences except for the capital letter and the
/// full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bundle does not have the required form.
    #[error("the bundle cannot be verified: {0}")]
    Bundle(String),
    /// The certificate does not have the required form.
    #[error("the certificate cannot be verified: {0}")]
    Certificate(&'static str),
    /// The certificate's key did not make the signature.
    #[error("the signature over this content was not made with the certificate's key")]
    Signature,
    /// There is no log entry.
    #[error("the bundle has no entry of a transparency log")]
    NoEntry,
    /// The log is not in the trusted root, or was not trusted at that time.
    #[error("the transparency log {0} is not in the trusted root, or was not trusted at the time of signing")]
    UnknownLog(String),
    /// The entry is about something else.
    #[error("the entry of the transparency log is not about this signature: {0}")]
    OtherEntry(String),
    /// The log did not sign the promise.
    #[error("the promise of the transparency log (its signed entry timestamp) is not signed by the log")]
    Promise,
    /// The inclusion proof is not valid.
    #[error("the transparency log's inclusion proof is not valid: {0}")]
    Proof(&'static str),
    /// The log did not sign the tree.
    #[error("the transparency log's checkpoint is not valid: {0}")]
    Checkpoint(&'static str),
    /// A time stamp is not valid.
    #[error("a time stamp is not valid: {0}")]
    Timestamp(&'static str),
    /// There is no trusted evidence of the time of signing.
    #[error(
        "the time of signing is not known: there is neither a signed entry timestamp of a log nor a time stamp of an authority in the trusted root"
    )]
    NoTime,
    /// The certificate was not valid.
    #[error("the certificate was not valid at the time of signing, {time}: it is valid from {from} to {to}")]
    NotValid {
        /// The time of signing, RFC 3339.
        time: String,
        /// The beginning of its validity.
        from: String,
        /// The end of its validity.
        to: String,
    },
    /// No trusted authority issued the certificate.
    #[error(
        "the certificate was not issued for code signing by an authority that the trusted root lists for the time of signing"
    )]
    Untrusted,
    /// It is not proven that the certificate was published.
    #[error("it is not proven that the certificate was published: {0}")]
    Unpublished(&'static str),
    /// No identity of this issuer is trusted.
    #[error("the certificate belongs to {identity} of the issuer {issuer}, and no identity of this issuer is trusted")]
    UntrustedIssuer {
        /// The identity in the certificate.
        identity: String,
        /// The issuer that authenticated it.
        issuer: String,
    },
    /// The identity is not trusted.
    #[error("the certificate belongs to {identity} of the issuer {issuer}, which is not a trusted identity")]
    UntrustedIdentity {
        /// The identity in the certificate.
        identity: String,
        /// The issuer that authenticated it.
        issuer: String,
    },
}

impl Refusal {
    /// The reason as programs receive it.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Bundle(_) => "unreadable_bundle",
            Refusal::Certificate(_) => "unreadable_certificate",
            Refusal::Signature => "wrong_signature",
            Refusal::NoEntry => "no_log_entry",
            Refusal::UnknownLog(_) => "unknown_log",
            Refusal::OtherEntry(_) => "other_log_entry",
            Refusal::Promise => "wrong_log_promise",
            Refusal::Proof(_) => "wrong_log_proof",
            Refusal::Checkpoint(_) => "wrong_log_checkpoint",
            Refusal::Timestamp(_) => "wrong_timestamp",
            Refusal::NoTime => "no_signing_time",
            Refusal::NotValid { .. } => "certificate_not_valid",
            Refusal::Untrusted => "untrusted_certificate",
            Refusal::Unpublished(_) => "unpublished_certificate",
            Refusal::UntrustedIssuer { .. } => "untrusted_issuer",
            Refusal::UntrustedIdentity { .. } => "untrusted_identity",
        }
    }
}

impl Identities {
    /// The signer of an envelope that was submitted in a bundle with a certificate.
    ///
    /// # Errors
    /// [`Refusal`] for the first check that fails.
    pub fn verify(&self, envelope: &Envelope, bundle: &Bundle) -> Result<Signatory, Refusal> {
        let parts = bundle.parts()?;
        let [signature] = &envelope.signatures[..] else {
            let why = format!(
                "it has {} signatures, and with a certificate there must be exactly one",
                envelope.signatures.len()
            );
            return Err(Refusal::Bundle(why));
        };
        let certificate =
            Certificate::read(&parts.certificate).ok_or(Refusal::Certificate("it is not an X.509 certificate"))?;
        let key = certificate.key();
        let key = key.ok_or(Refusal::Certificate(
            "its key is not of a supported type: Ed25519, ECDSA over P-256 or P-384, or RSA",
        ))?;
        let message = pae(&envelope.payload_type, &envelope.payload);
        if !key.verifies(&message, &signature.sig) {
            return Err(Refusal::Signature);
        }

        let signed = log::Signed {
            payload: &envelope.payload,
            payload_type: &envelope.payload_type,
            message: &message,
            signature: &signature.sig,
            certificate: &parts.certificate,
        };
        let (mut logs, mut times) = (Vec::new(), Vec::new());
        for entry in &parts.entries {
            let (log, time) = log::verify(entry, parts.proof_is_due, &signed, &self.root.logs)?;
            logs.push(log);
            times.extend(time);
        }
        if logs.is_empty() {
            return Err(Refusal::NoEntry);
        }
        for stamp in &parts.timestamps {
            times.push(timestamp::verify(stamp, &signature.sig, &self.root.timestamp_authorities)?);
        }
        if times.is_empty() {
            return Err(Refusal::NoTime);
        }

        for time in times {
            if let Some(log) = logs.iter().find(|log| !log.valid.contains(time)) {
                return Err(Refusal::UnknownLog(crate::hex(&log.id)));
            }
            if !certificate.is_valid_at(time) {
                let (from, to) = certificate.validity();
                return Err(Refusal::NotValid { time: shown(time), from: shown(from), to: shown(to) });
            }
            let issued = |authority: &root::Authority| authority.issued(&parts.certificate, time, root::CODE_SIGNING);
            let issuer = self.root.authorities.iter().find_map(issued).ok_or(Refusal::Untrusted)?;
            sct::verify(&certificate, &issuer, &self.root.certificate_logs)?;
        }
        self.signatory(&certificate, key)
    }

    /// The trusted identity that a certificate contains.
    fn signatory(&self, certificate: &Certificate<'_>, key: PublicKey) -> Result<Signatory, Refusal> {
        let identity = certificate.identity();
        let why = "it does not have exactly one name that is a URI, an e-mail address or Fulcio's other name";
        let identity = identity.ok_or(Refusal::Certificate(why))?.to_owned();
        let issuer = certificate.issuer();
        let issuer = issuer.ok_or(Refusal::Certificate("it does not name the issuer of the identity"))?.to_owned();
        let mut of_issuer = self.trusted.iter().filter(|trusted| trusted.issuer == issuer).peekable();
        if of_issuer.peek().is_none() {
            return Err(Refusal::UntrustedIssuer { identity, issuer });
        }
        match of_issuer.find(|trusted| fits(&trusted.identity, &identity)) {
            Some(trusted) => Ok(Signatory { name: trusted.name.clone(), identity, issuer, key }),
            None => Err(Refusal::UntrustedIdentity { identity, issuer }),
        }
    }
}

/// Whether a text matches a pattern, in which a star matches any text without a slash.
fn fits(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), text.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (Some(pattern), Some(part)) if part_fits(pattern, part) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// The same for the text between two slashes. Between stars the first match is as good as any other.
fn part_fits(pattern: &str, part: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut left) = part.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for text in between.split('*') {
        let Some(at) = left.find(text) else { return false };
        left = &left[at + text.len()..];
    }
    left.ends_with(last)
}

/// The beginning of an external text, short enough for a message.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A time in seconds since 1970 as RFC 3339.
fn shown(time: u64) -> String {
    // Years after 9999 have no RFC 3339 form; no certificates contain them.
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}
