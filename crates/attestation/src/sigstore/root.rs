//! The trusted root of Sigstore signatures: the `trusted_root.json` that a TUF repository serves.
//!
//! Its format is the message `TrustedRoot` of Sigstore's protobuf specifications.

use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::bundle::{Base64, LogId, MAX_CERTIFICATE_BYTES, Raw};
use super::certificate::Certificate;
use crate::der;
use crate::keys::PublicKey;

/// The maximum number of logs, and of authorities, of each type; the public instance of Sigstore has two.
const MAX_PARTS: usize = 32;
/// The maximum number of certificates of an authority.
const MAX_CHAIN: usize = 8;

/// The extended key usage of a certificate that signs code: 1.3.6.1.5.5.7.3.3.
pub const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// The extended key usage of a certificate that signs time stamps: 1.3.6.1.5.5.7.3.8.
pub const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// Why a trusted root cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// It does not have the required form.
    #[error("it is not a trusted_root.json of Sigstore: {0}")]
    Form(String),
    /// Its media type is another one.
    #[error(
        "its media type is {0:?}: expected application/vnd.dev.sigstore.trustedroot+json;version=0.1 or a later one"
    )]
    MediaType(String),
    /// It exceeds a limit.
    #[error("it contains {count} {what}; at most {most} are allowed")]
    TooMany {
        /// The type of the parts.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A certificate in it cannot be parsed.
    #[error("a certificate of {0} cannot be read")]
    Certificate(&'static str),
    /// A time in it is invalid.
    #[error("{0:?} is not an RFC 3339 time")]
    Time(String),
    /// Nothing could be verified with it.
    #[error("it contains no usable {0}")]
    Missing(&'static str),
}

/// The authorities and logs that signatures depend on.
#[derive(Clone, Debug)]
pub struct TrustedRoot {
    /// The authorities that issue certificates to signers.
    pub authorities: Vec<Authority>,
    /// The logs in which certificates are published (Certificate Transparency).
    pub certificate_logs: Vec<Log>,
    /// The logs in which signatures are published (Rekor).
    pub logs: Vec<Log>,
    /// The authorities that certify when something was signed.
    pub timestamp_authorities: Vec<Authority>,
}

/// A period; without an end it does not end.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    start: u64,
    end: Option<u64>,
}

impl Period {
    /// Whether a time, in seconds since 1970, lies in it.
    pub fn contains(self, time: u64) -> bool {
        time >= self.start && self.end.is_none_or(|end| time <= end)
    }
}

/// A public log.
#[derive(Clone, Debug)]
pub struct Log {
    /// The id by which entries name it.
    pub id: Vec<u8>,
    /// The key with which it signs.
    pub key: PublicKey,
    /// When it is trusted.
    pub valid: Period,
}

/// An authority: the certificate with which it signs comes first, its root last.
#[derive(Clone, Debug)]
pub struct Authority {
    /// In DER.
    pub certificates: Vec<Vec<u8>>,
    /// When it is trusted.
    pub valid: Period,
}

impl Authority {
    /// Whether a certificate chains to the authority's root at a time, through nothing but the authority's own
    /// certificates, for a usage; returns the `SubjectPublicKeyInfo` of the certificate's issuer.
    pub fn issued(&self, certificate: &[u8], time: u64, usage: &'static [u8]) -> Option<Vec<u8>> {
        let (root, others) = self.certificates.split_last()?;
        // The path is verified up to the root; the validity of the root itself is checked here.
        if !self.valid.contains(time) || !Certificate::read(root)?.is_valid_at(time) {
            return None;
        }
        let root = CertificateDer::from(&root[..]);
        let anchors = [anchor_from_trusted_cert(&root).ok()?];
        let others: Vec<CertificateDer<'_>> = others.iter().map(|der| CertificateDer::from(&der[..])).collect();
        let certificate = CertificateDer::from(certificate);
        let certificate = EndEntityCert::try_from(&certificate).ok()?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        let usage = KeyUsage::required(usage);
        let path = certificate
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &others, time, usage, None, None)
            .ok()?;
        Some(path.issuer_spki().as_ref().to_vec())
    }
}

impl TrustedRoot {
    /// A trusted root from its JSON. Logs whose keys are of an unsupported type are ignored: nothing is verified with
    /// them.
    ///
    /// # Errors
    /// [`RootError`] for the first thing that is not valid, or when nothing could be verified with it.
    pub fn read(text: &[u8]) -> Result<TrustedRoot, RootError> {
        let written: Written = serde_json::from_slice(text).map_err(|error| RootError::Form(error.to_string()))?;
        let rest = written.media_type.strip_prefix("application/vnd.dev.sigstore.trustedroot");
        if !rest.is_some_and(|rest| rest.starts_with("+json") || rest.starts_with(".v0.")) {
            return Err(RootError::MediaType(written.media_type));
        }
        let root = TrustedRoot {
            authorities: authorities("certificateAuthorities", &written.certificate_authorities)?,
            certificate_logs: logs("ctlogs", &written.ctlogs)?,
            logs: logs("tlogs", &written.tlogs)?,
            timestamp_authorities: authorities("timestampAuthorities", &written.timestamp_authorities)?,
        };
        for (what, missing) in [
            ("certificateAuthorities", root.authorities.is_empty()),
            ("ctlogs", root.certificate_logs.is_empty()),
            ("tlogs", root.logs.is_empty()),
        ] {
            if missing {
                return Err(RootError::Missing(what));
            }
        }
        Ok(root)
    }
}

fn authorities(what: &'static str, written: &[WrittenAuthority]) -> Result<Vec<Authority>, RootError> {
    at_most(what, written.len(), MAX_PARTS)?;
    let read = |written: &WrittenAuthority| {
        let chain = &written.cert_chain.certificates;
        at_most("certificates of one authority", chain.len(), MAX_CHAIN)?;
        let certificates: Vec<Vec<u8>> = chain.iter().map(|raw| raw.raw_bytes.0.clone()).collect();
        let readable = |der: &Vec<u8>| {
            let anchor = CertificateDer::from(&der[..]);
            der.len() <= MAX_CERTIFICATE_BYTES
                && Certificate::read(der).is_some()
                && anchor_from_trusted_cert(&anchor).is_ok()
        };
        if certificates.is_empty() || !certificates.iter().all(readable) {
            return Err(RootError::Certificate(what));
        }
        Ok(Authority { certificates, valid: written.valid_for.read()? })
    };
    written.iter().map(read).collect()
}

fn logs(what: &'static str, written: &[WrittenLog]) -> Result<Vec<Log>, RootError> {
    at_most(what, written.len(), MAX_PARTS)?;
    let mut logs = Vec::new();
    for WrittenLog { public_key, log_id } in written {
        let valid = public_key.valid_for.read()?;
        if let Ok(key) = PublicKey::from_spki(&public_key.raw_bytes.0) {
            logs.push(Log { id: log_id.key_id.0.clone(), key, valid });
        }
    }
    Ok(logs)
}

fn at_most(what: &'static str, count: usize, most: usize) -> Result<(), RootError> {
    if count > most { Err(RootError::TooMany { what, count, most }) } else { Ok(()) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<WrittenLog>,
    #[serde(default)]
    certificate_authorities: Vec<WrittenAuthority>,
    #[serde(default)]
    ctlogs: Vec<WrittenLog>,
    #[serde(default)]
    timestamp_authorities: Vec<WrittenAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLog {
    public_key: WrittenKey,
    log_id: LogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenKey {
    raw_bytes: Base64,
    valid_for: WrittenPeriod,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAuthority {
    cert_chain: WrittenChain,
    valid_for: WrittenPeriod,
}

#[derive(Deserialize)]
struct WrittenChain {
    certificates: Vec<Raw>,
}

#[derive(Deserialize)]
struct WrittenPeriod {
    start: String,
    end: Option<String>,
}

impl WrittenPeriod {
    fn read(&self) -> Result<Period, RootError> {
        let seconds = |text: &String| der::seconds(text).ok_or_else(|| RootError::Time(text.clone()));
        Ok(Period { start: seconds(&self.start)?, end: self.end.as_ref().map(seconds).transpose()? })
    }
}
