//! Signed statements: those that longrun signs about its evaluations, and the verification of those of others.
//!
//! [`keys`] verify, [`signer`] signs, [`dsse`] is the envelope, [`summary`] is the statement about an evaluation (an
//! in-toto statement of the verification-summary type), [`signature`] reports about an envelope or a Sigstore bundle
//! that was submitted as evidence, [`sigstore`] verifies bundles that were signed with a certificate. All of it works
//! on bytes in memory: no network, no file, no clock.
//!
//! What it promises: a statement is rebuilt byte for byte from the output of its evaluation, so that only its signature
//! is stored; a statement that cannot be verified is never reported as verified, and the reason is given.

pub mod der;
pub mod dsse;
pub mod keys;
pub mod signature;
pub mod signer;
pub mod sigstore;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod verify;

pub use dsse::{Envelope, EnvelopeSignature};
pub use keys::{KeyError, PublicKey};
pub use signature::{SignatureReport, TrustedKey, inspect};
pub use signer::Signer;
pub use sigstore::{Bundle, Identities, RootError, TrustedIdentities, TrustedIdentity, TrustedRoot};
pub use summary::{Evaluated, SummaryError};
pub use verify::{Required, Unverified, Verified, verify};

/// The payload type of an envelope with an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the predicate that longrun signs about an evaluation.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The SHA-256 of bytes, as lower-case hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}
