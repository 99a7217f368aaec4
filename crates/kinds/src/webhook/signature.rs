//! The signature of a call: `v1,` and the HMAC-SHA-256 of id, time and body, in base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// The prefix of a secret.
const PREFIX: &str = "whsec_";
/// The number of bytes of a secret; the specification's bounds.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets that a call is signed with: one, or several during a rotation. `Debug` does not show them.
#[derive(Clone)]
pub struct Secrets(Vec<SecretSlice<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} hidden)", self.0.len())
    }
}

/// Why a text is not a secret. The message does not show the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// There is no secret.
    #[error("there is no secret; it is \"whsec_\" and 24 to 64 random bytes in base64")]
    Missing,
    /// The prefix is missing.
    #[error("a secret must begin with \"whsec_\", followed by 24 to 64 random bytes in base64")]
    Prefix,
    /// The rest is not base64.
    #[error("what follows \"whsec_\" must be base64 with its padding")]
    Base64,
    /// It is too short or too long.
    #[error("a secret must have 24 to 64 bytes; this one has {0}")]
    Length(usize),
}

impl Secrets {
    /// Reads a secret, `whsec_` and base64; or several, separated by white space, all of which sign.
    ///
    /// # Errors
    /// [`InvalidSecret`], when one of them is not a secret or there is none.
    pub fn parse(text: &str) -> Result<Secrets, InvalidSecret> {
        let secrets: Result<Vec<SecretSlice<u8>>, InvalidSecret> = text
            .split_whitespace()
            .map(|secret| {
                let encoded = secret.strip_prefix(PREFIX).ok_or(InvalidSecret::Prefix)?;
                let bytes = STANDARD.decode(encoded).map_err(|_| InvalidSecret::Base64)?;
                let length = bytes.len();
                let bytes = SecretSlice::from(bytes);
                if LENGTHS.contains(&length) { Ok(bytes) } else { Err(InvalidSecret::Length(length)) }
            })
            .collect();
        match secrets? {
            secrets if secrets.is_empty() => Err(InvalidSecret::Missing),
            secrets => Ok(Secrets(secrets)),
        }
    }

    /// The value of the header `webhook-signature`. `time` is in seconds since 1970.
    pub(super) fn sign(&self, id: &str, time: u64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|secret| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(secret.expose_secret()).expect("HMAC takes keys of any length");
            mac.update(format!("{id}.{time}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The example of the specification's reference implementations.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secrets = Secrets::parse(SECRET).unwrap();
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_secrets_sign_each() {
        let both = Secrets::parse(&format!(" {SECRET}\nwhsec_{} \n", STANDARD.encode([7; 32]))).unwrap();
        let signature = both.sign("id", 1, b"body");
        let (first, second) = signature.split_once(' ').unwrap();
        assert_eq!(first, Secrets::parse(SECRET).unwrap().sign("id", 1, b"body"));
        assert!(second.starts_with("v1,") && first != second);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        let parse = |text: &str| Secrets::parse(text).unwrap_err();
        assert_eq!(parse(" \n"), InvalidSecret::Missing);
        assert_eq!(parse("s3cret"), InvalidSecret::Prefix);
        assert_eq!(parse("whsec_%%%"), InvalidSecret::Base64);
        assert_eq!(parse("whsec_c2hvcnQ="), InvalidSecret::Length(5));
        assert_eq!(format!("{:?}", Secrets::parse(SECRET).unwrap()), "Secrets(1 hidden)");
    }
}
