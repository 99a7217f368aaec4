//! Whether a Sigstore bundle was signed by somebody with an identity that is trusted: offline, from a trusted root.
//!
//! What a signer shows is a certificate that lives for minutes, of a key that nobody keeps. So it is checked, in this
//! order, that the [signature](crate::dsse) is that of the certificate's key, that public [logs](log) have it, when it
//! was made (by the log or by a [time stamp](timestamp)), that an authority of the trusted [root](root) issued the
//! [certificate](certificate) and that it was valid then, that the certificate is [published](sct), and whose it is.
//! All of that must hold; logs and time stamps that a bundle has beyond what is needed must be in order too.

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

/// An identity whose signatures are trusted, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIdentity {
    /// What it is called, in the configuration and for policies.
    pub name: String,
    /// Who vouches for it: exactly the issuer in the certificate.
    pub issuer: String,
    /// The URI, e-mail address or other name in the certificate; a star stands for any text without a slash.
    pub identity: String,
}

/// Identities that are trusted, with what their signatures rest on, as they are passed from process to process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIdentities {
    /// The JSON of a trusted root.
    pub root: String,
    /// Whose signatures count; the first that fits is named.
    pub identities: Vec<TrustedIdentity>,
}

impl TrustedIdentities {
    /// The identities, ready to verify with.
    ///
    /// # Errors
    /// [`RootError`] when the trusted root cannot be used.
    pub fn read(&self) -> Result<Identities, RootError> {
        Ok(Identities { root: TrustedRoot::read(self.root.as_bytes())?, trusted: self.identities.clone() })
    }
}

/// Identities that are trusted, and the root that was read for them.
#[derive(Clone, Debug)]
pub struct Identities {
    root: TrustedRoot,
    trusted: Vec<TrustedIdentity>,
}

/// Who signed, by a certificate in which everything was in order.
#[derive(Clone, Debug)]
pub struct Signatory {
    /// The name of the trusted identity.
    pub name: String,
    /// The identity in the certificate.
    pub identity: String,
    /// Who vouched for it.
    pub issuer: String,
    /// The key in the certificate.
    pub key: PublicKey,
}

/// Why a bundle does not count. Texts are whole sentences but for the capital and the full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bundle is not of the form.
    #[error("the bundle cannot be verified: {0}")]
    Bundle(String),
    /// The certificate is not of the form.
    #[error("the certificate cannot be verified: {0}")]
    Certificate(&'static str),
    /// The signature is not that of the certificate's key.
    #[error("the signature is not that of the certificate's key over this content")]
    Signature,
    /// No log has it.
    #[error("the bundle has no entry of a transparency log")]
    NoEntry,
    /// A log that is not in the trusted root, or was not to be trusted then.
    #[error(
        "the transparency log {0} is none of those in the trusted root, or was not to be trusted at the time of signing"
    )]
    UnknownLog(String),
    /// The entry is about something else.
    #[error("the entry of the transparency log is not about this signature: {0}")]
    OtherEntry(String),
    /// The log did not promise it.
    #[error("the promise of the transparency log (its signed entry timestamp) is not signed by the log")]
    Promise,
    /// The log does not have it.
    #[error("the transparency log's proof of inclusion does not hold: {0}")]
    Proof(&'static str),
    /// The tree of the log is not signed.
    #[error("the transparency log's checkpoint does not hold: {0}")]
    Checkpoint(&'static str),
    /// A time stamp does not hold.
    #[error("a time stamp does not hold: {0}")]
    Timestamp(&'static str),
    /// Nobody says when it was signed.
    #[error(
        "nobody says when it was signed: there is neither a signed entry timestamp of a log nor a time stamp of an authority in the trusted root"
    )]
    NoTime,
    /// The certificate was not valid.
    #[error(
        "the certificate was not valid when it was signed: that was at {time}, and it is valid from {from} to {to}"
    )]
    NotValid {
        /// When it was signed, RFC 3339.
        time: String,
        /// From when.
        from: String,
        /// To when.
        to: String,
    },
    /// Nobody who is trusted issued the certificate.
    #[error(
        "the certificate was not issued for signing by an authority that the trusted root has for the time of signing"
    )]
    Untrusted,
    /// The certificate is not published.
    #[error("the certificate is not shown to be public: {0}")]
    Unpublished(&'static str),
    /// Nobody is trusted for whom this issuer vouches.
    #[error("the certificate is that of {identity} by the issuer {issuer}, and no identity of this issuer is trusted")]
    UntrustedIssuer {
        /// Whose it is.
        identity: String,
        /// Who vouched for it.
        issuer: String,
    },
    /// The identity is not trusted.
    #[error("the certificate is that of {identity} by the issuer {issuer}, which is none of the trusted identities")]
    UntrustedIdentity {
        /// Whose it is.
        identity: String,
        /// Who vouched for it.
        issuer: String,
    },
}

impl Refusal {
    /// The same for programs.
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
    /// Who signed an envelope that came in a bundle with a certificate.
    ///
    /// # Errors
    /// [`Refusal`] for the first thing that is not in order.
    pub fn verify(&self, envelope: &Envelope, bundle: &Bundle) -> Result<Signatory, Refusal> {
        let parts = bundle.parts()?;
        let [signature] = &envelope.signatures[..] else {
            let why =
                format!("it has {} signatures: with a certificate there is exactly one", envelope.signatures.len());
            return Err(Refusal::Bundle(why));
        };
        let certificate =
            Certificate::read(&parts.certificate).ok_or(Refusal::Certificate("it is no certificate of X.509"))?;
        let key = certificate.key();
        let key = key.ok_or(Refusal::Certificate("its key is none of Ed25519, ECDSA over P-256 or P-384, and RSA"))?;
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

    /// Which of the trusted identities a certificate is of.
    fn signatory(&self, certificate: &Certificate<'_>, key: PublicKey) -> Result<Signatory, Refusal> {
        let identity = certificate.identity();
        let why = "it has not exactly one name that is a URI, an e-mail address or Fulcio's other name";
        let identity = identity.ok_or(Refusal::Certificate(why))?.to_owned();
        let issuer = certificate.issuer();
        let issuer = issuer.ok_or(Refusal::Certificate("it does not name who vouched for the identity"))?.to_owned();
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

/// Whether a text is what a pattern says, in which a star stands for any text without a slash.
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

/// The same of what stands between two slashes. Between stars the first place that fits is as good as any.
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

/// As much of a foreign text as a message may have.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A time in seconds since 1970 as RFC 3339.
fn shown(time: u64) -> String {
    // The years after 9999 have no form; certificates have none of them.
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}
