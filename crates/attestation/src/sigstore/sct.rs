//! The proofs in a certificate that it was published: signed certificate timestamps of RFC 6962, section 3.2.

use ring::digest::{SHA256, digest};

use super::Refusal;
use super::certificate::Certificate;
use super::root::Log;
use crate::hex;

/// The maximum number of them that are checked; Fulcio adds one.
const MAX_SCTS: usize = 16;

/// Checks whether a trusted certificate log signed one of them. `issuer` is the `SubjectPublicKeyInfo` of the
/// certificate's issuer.
pub fn verify(certificate: &Certificate<'_>, issuer: &[u8], logs: &[Log]) -> Result<(), Refusal> {
    let list = certificate.scts().ok_or(Refusal::Unpublished("it has no signed certificate timestamp"))?;
    let damaged = Refusal::Unpublished("its signed certificate timestamps cannot be read");
    let mut outer = Tls(list);
    let mut list = outer.vector(2).filter(|_| outer.0.is_empty()).map(Tls).ok_or_else(|| damaged.clone())?;
    let shown = certificate.before_scts();
    for _ in 0..MAX_SCTS {
        if list.0.is_empty() {
            break;
        }
        let sct = list.vector(2).and_then(Sct::read).ok_or_else(|| damaged.clone())?;
        let signed = sct.signed(issuer, &shown);
        let id = hex(sct.log);
        let is_of = |log: &Log| {
            log.key.id() == id
                && log.valid.contains(sct.milliseconds / 1000)
                && log.key.verifies(&signed, sct.signature)
        };
        if logs.iter().any(is_of) {
            return Ok(());
        }
    }
    Err(Refusal::Unpublished("none of its signed certificate timestamps was made by a trusted certificate log"))
}

struct Sct<'a> {
    /// The SHA-256 of the log's key.
    log: &'a [u8],
    milliseconds: u64,
    extensions: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Sct<'a> {
    fn read(bytes: &'a [u8]) -> Option<Sct<'a>> {
        let mut reader = Tls(bytes);
        // Version 1.
        if reader.number(1)? != 0 {
            return None;
        }
        let log = reader.take(32)?;
        let milliseconds = reader.number(8)?;
        let extensions = reader.vector(2)?;
        // The algorithm is determined by the log's key.
        let _algorithm = reader.take(2)?;
        let signature = reader.vector(2)?;
        reader.0.is_empty().then_some(Sct { log, milliseconds, extensions, signature })
    }

    /// The data that the log signed: it was submitted before the certificate was issued.
    fn signed(&self, issuer: &[u8], shown: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8], size: usize| (bytes.len() as u64).to_be_bytes()[8 - size..].to_vec();
        [
            // Version 1, the timestamp of a certificate.
            &[0, 0][..],
            &self.milliseconds.to_be_bytes(),
            // A certificate before it is issued (a precertificate).
            &[0, 1],
            digest(&SHA256, issuer).as_ref(),
            &length(shown, 3),
            shown,
            &length(self.extensions, 2),
            self.extensions,
        ]
        .concat()
    }
}

/// The part of a TLS encoding that is left to read.
struct Tls<'a>(&'a [u8]);

impl<'a> Tls<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, size: usize) -> Option<u64> {
        Some(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Bytes that are preceded by their length.
    fn vector(&mut self, size: usize) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number(size)?).ok()?;
        self.take(count)
    }
}
