//! The parts of a Sigstore bundle other than its envelope, as JSON: the message `VerificationMaterial` of Sigstore's
//! protobuf specifications, as far as it concerns certificates.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Refusal, short};
use crate::dsse;

/// The largest certificate, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// The maximum number of log entries, and of time stamps.
const MAX_PROOFS: usize = 8;
/// The maximum number of hashes in a proof: a tree of 2^64 leaves has no more levels.
const MAX_HASHES: usize = 64;
/// The maximum length of a log's name, in bytes: they are hashes.
const MAX_LOG_ID_BYTES: usize = 64;
/// The maximum size of the body of an entry, of a checkpoint or of a time stamp, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A bundle without its envelope.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The type that the bundle claims to have.
    pub media_type: String,
    /// The member `verificationMaterial`.
    pub material: Value,
}

/// The parts of a bundle that show who signed.
#[derive(Debug)]
pub struct Parts {
    /// The signer's certificate, in DER.
    pub certificate: Vec<u8>,
    /// Entries in logs of signatures.
    pub entries: Vec<Entry>,
    /// RFC 3161 time stamps, in DER.
    pub timestamps: Vec<Vec<u8>>,
    /// Whether each entry needs an inclusion proof; before version 0.2 a promise was enough.
    pub proof_is_due: bool,
}

impl Bundle {
    /// Whether the bundle contains a certificate.
    pub fn has_certificate(&self) -> bool {
        ["certificate", "x509CertificateChain"].iter().any(|name| self.material[*name].is_object())
    }

    /// The parts, no more of each than a bundle may have.
    pub(super) fn parts(&self) -> Result<Parts, Refusal> {
        let proof_is_due = match self.media_type.as_str() {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => false,
            "application/vnd.dev.sigstore.bundle+json;version=0.2"
            | "application/vnd.dev.sigstore.bundle+json;version=0.3"
            | "application/vnd.dev.sigstore.bundle.v0.3+json" => true,
            other => {
                let why = format!("its media type {:?} is not one of versions 0.1 to 0.3", short(other));
                return Err(Refusal::Bundle(why));
            }
        };
        let material = Material::deserialize(&self.material);
        let material = material.map_err(|error| Refusal::Bundle(short(&error.to_string())))?;
        let chain = material.x509_certificate_chain.map(|chain| chain.certificates).unwrap_or_default();
        // The issuer is looked up in the trusted root, and not taken from the bundle.
        let certificate = material.certificate.into_iter().chain(chain).next();
        let certificate = certificate.ok_or_else(|| Refusal::Bundle("it has no certificate".to_owned()))?.raw_bytes.0;
        let entries = material.tlog_entries.unwrap_or_default();
        let stamps = material.timestamp_verification_data.and_then(|data| data.rfc3161_timestamps).unwrap_or_default();
        let timestamps: Vec<Vec<u8>> = stamps.into_iter().map(|stamp| stamp.signed_timestamp.0).collect();
        let too_large = certificate.len() > MAX_CERTIFICATE_BYTES
            || entries.len() > MAX_PROOFS
            || timestamps.len() > MAX_PROOFS
            || entries.iter().any(Entry::is_too_large)
            || timestamps.iter().any(|stamp| stamp.len() > MAX_BYTES);
        if too_large {
            return Err(Refusal::Bundle("it is too large, or has too many entries".to_owned()));
        }
        Ok(Parts { certificate, entries, timestamps, proof_is_due })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Raw>,
    #[serde(rename = "x509CertificateChain")]
    x509_certificate_chain: Option<Chain>,
    tlog_entries: Option<Vec<Entry>>,
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Raw>,
}

#[derive(Deserialize)]
struct Timestamps {
    #[serde(rename = "rfc3161Timestamps")]
    rfc3161_timestamps: Option<Vec<Timestamp>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timestamp {
    signed_timestamp: Base64,
}

/// A certificate.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Raw {
    /// In DER.
    pub raw_bytes: Base64,
}

/// An entry in a log of signatures. Numbers that are zero may be omitted, as in protobuf's JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The position of the entry in the whole log.
    #[serde(default)]
    pub log_index: Number,
    /// The log of the entry.
    pub log_id: LogId,
    /// When the log accepted the entry, in seconds since 1970; it can be trusted only if the promise covers it.
    #[serde(default)]
    pub integrated_time: Number,
    /// The log's promise to include the entry (signed entry timestamp).
    pub inclusion_promise: Option<Promise>,
    /// The proof that the log includes the entry.
    pub inclusion_proof: Option<Proof>,
    /// The content of the entry.
    pub canonicalized_body: Base64,
}

impl Entry {
    fn is_too_large(&self) -> bool {
        self.canonicalized_body.0.len() > MAX_BYTES
            || self.log_id.key_id.0.len() > MAX_LOG_ID_BYTES
            || self.inclusion_proof.as_ref().is_some_and(|proof| {
                proof.hashes.len() > MAX_HASHES
                    || proof.checkpoint.as_ref().is_some_and(|one| one.envelope.len() > MAX_BYTES)
            })
    }
}

/// The identification of a log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogId {
    /// The key id by which the log identifies itself.
    pub key_id: Base64,
}

/// A log's promise.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// The signature.
    pub signed_entry_timestamp: Base64,
}

/// A proof of RFC 6962.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The position of the entry in the tree.
    #[serde(default)]
    pub log_index: Number,
    /// The hash of the tree.
    pub root_hash: Base64,
    /// The number of leaves of the tree.
    #[serde(default)]
    pub tree_size: Number,
    /// The hashes from the leaf to the root.
    #[serde(default)]
    pub hashes: Vec<Base64>,
    /// The signed statement of the log about the tree.
    pub checkpoint: Option<Checkpoint>,
}

/// A signed note about a tree.
#[derive(Debug, Deserialize)]
pub struct Checkpoint {
    /// The note with its signatures.
    pub envelope: String,
}

/// Bytes, written as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = String::deserialize(deserializer)?;
        dsse::decode(&text).map(Base64).ok_or_else(|| serde::de::Error::custom("not base64"))
    }
}

/// A number of 64 bits, which protobuf's JSON writes as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number(pub u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        number.map(Number).ok_or_else(|| serde::de::Error::custom("not a number of at least 0"))
    }
}
