//! Whom Sigstore's signatures rest on: the `trusted_root.json` that a TUF repository serves.
//!
//! Its form is the message `TrustedRoot` of Sigstore's protobuf specifications.

use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::bundle::{Base64, LogId, MAX_CERTIFICATE_BYTES, Raw};
use super::certificate::Certificate;
use crate::der;
use crate::keys::PublicKey;

/// The most logs, and the most authorities, of each sort; the public instance of Sigstore has two.
const MAX_PARTS: usize = 32;
/// The most certificates of an authority.
const MAX_CHAIN: usize = 8;

/// What a certificate that signs code has among its extended usages: 1.3.6.1.5.5.7.3.3.
pub const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// What a certificate that signs time stamps has: 1.3.6.1.5.5.7.3.8.
pub const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// Why a trusted root cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// It is not of the form.
    #[error("it is no trusted_root.json of Sigstore: {0}")]
    Form(String),
    /// It says that it is something else.
    #[error(
        "its media type is {0:?}: expected application/vnd.dev.sigstore.trustedroot+json;version=0.1 or a later one"
    )]
    MediaType(String),
    /// It has more than is looked at.
    #[error("there are {count} {what} in it; at most {most} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are taken.
        most: usize,
    },
    /// A certificate in it is damaged.
    #[error("a certificate of {0} cannot be read")]
    Certificate(&'static str),
    /// A time in it is invalid.
    #[error("{0:?} is no time of RFC 3339")]
    Time(String),
    /// Nothing could be verified with it.
    #[error("there are no {0} in it that can be used")]
    Missing(&'static str),
}

/// Whom signatures rest on.
#[derive(Clone, Debug)]
pub struct TrustedRoot {
    /// Who issues certificates to signers.
    pub authorities: Vec<Authority>,
    /// Where certificates are published (Certificate Transparency).
    pub certificate_logs: Vec<Log>,
    /// Where signatures are published (Rekor).
    pub logs: Vec<Log>,
    /// Who says when something was signed.
    pub timestamp_authorities: Vec<Authority>,
}

/// A period; without an end it lasts.
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
    /// What entries call it.
    pub id: Vec<u8>,
    /// What it signs with.
    pub key: PublicKey,
    /// When it was to be trusted.
    pub valid: Period,
}

/// An authority: the certificate that it signs with comes first, its root last.
#[derive(Clone, Debug)]
pub struct Authority {
    /// DER.
    pub certificates: Vec<Vec<u8>>,
    /// When it was to be trusted.
    pub valid: Period,
}

impl Authority {
    /// Whether the authority's root stands behind a certificate at a time, by way of nobody but the authority's own
    /// certificates, for a usage; answers the `SubjectPublicKeyInfo` of the certificate's issuer.
    pub fn issued(&self, certificate: &[u8], time: u64, usage: &'static [u8]) -> Option<Vec<u8>> {
        let (root, others) = self.certificates.split_last()?;
        // The path is checked up to the root, whose own validity is for us to look at.
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
    /// A trusted root from its JSON. Logs with keys of a sort that is not known are left out: nothing is verified by them.
    ///
    /// # Errors
    /// [`RootError`] for the first thing that is not in order, or when nothing could be verified with it.
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
