//! The secret of an API token: `lrn_`, 43 base62 digits of 256 random bits, 6 base62 digits of their CRC-32.
//!
//! The prefix and the checksum let secret scanners find leaked tokens, and let the server refuse a mistyped one without
//! a query to the store. Only [`Secret::hash`] is ever stored.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What every secret begins with.
pub(crate) const PREFIX: &str = "lrn_";
/// 62^43 is just above 2^256.
const RANDOM_DIGITS: usize = 43;
/// 62^6 is above 2^32.
const CHECKSUM_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed secret. Its `Debug` form hides it, and it is gone from memory when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        // Hashes are compared, so that the time it takes says nothing about the text.
        self.hash() == other.hash()
    }
}

impl Eq for Secret {}

impl Secret {
    /// A new secret from the operating system's random source.
    ///
    /// # Errors
    /// The system has no random source.
    pub fn generate() -> Result<Secret, getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(Secret::of_bits(random))
    }

    fn of_bits(bits: [u8; 32]) -> Secret {
        let random = base62(bits);
        Secret(format!("{PREFIX}{random}{}", checksum(&random)).into())
    }

    /// The secret in this text, if it is one and its checksum holds.
    pub fn parse(text: &str) -> Option<Secret> {
        let digits = text.strip_prefix(PREFIX)?;
        let well_formed =
            digits.len() == RANDOM_DIGITS + CHECKSUM_DIGITS && digits.bytes().all(|b| b.is_ascii_alphanumeric());
        if !well_formed {
            return None;
        }
        let (random, sum) = digits.split_at(RANDOM_DIGITS);
        (checksum(random) == sum).then(|| Secret(text.into()))
    }

    /// The SHA-256 of the text, which is stored. 256 random bits need no slow hash.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose().as_bytes()).into()
    }

    /// The text, for the one time that it is shown.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(lrn_…)")
    }
}

fn checksum(random: &str) -> String {
    let mut sum = crc32fast::hash(random.as_bytes());
    let mut text = [0; CHECKSUM_DIGITS];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(sum % 62) as usize];
        sum /= 62;
    }
    text.into_iter().map(char::from).collect()
}

/// A big-endian number in [`RANDOM_DIGITS`] digits, by schoolbook division.
fn base62(mut number: [u8; 32]) -> String {
    let mut text = [b'0'; RANDOM_DIGITS];
    for digit in text.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("the remainder is below 62, so the quotient is below 256");
            remainder = value % 62;
        }
        *digit = DIGITS[remainder as usize];
    }
    debug_assert_eq!(number, [0; 32], "the digits suffice for the number");
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_comes_back_from_its_text() {
        let secret = Secret::generate().unwrap();
        assert_eq!(secret.expose().len(), 4 + 43 + 6);
        assert_eq!(Secret::parse(secret.expose()), Some(secret.clone()));
        assert_ne!(Secret::generate().unwrap(), secret);
        assert!(!format!("{secret:?}").contains(&secret.expose()[4..]));
    }

    #[test]
    fn extreme_bits_fit() {
        assert!(Secret::of_bits([0; 32]).expose().starts_with("lrn_0000000000000000000000000000000000000000000"));
        let largest = Secret::of_bits([255; 32]);
        assert_eq!(Secret::parse(largest.expose()), Some(largest));
    }

    #[test]
    fn a_mistyped_secret_is_refused() {
        let secret = Secret::of_bits([7; 32]);
        let text = secret.expose();
        for position in 4..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[position] = if other[position] == b'x' { b'y' } else { b'x' };
            assert_eq!(Secret::parse(std::str::from_utf8(&other).unwrap()), None, "digit {position}");
        }
        for other in ["", "lrn_", &text[..text.len() - 1], &format!("{text}0"), &text.replace("lrn_", "lrm_"), "lrn_é"]
        {
            assert_eq!(Secret::parse(other), None, "{other}");
        }
    }
}
