//! Cursors of the change log, as clients see them: text that reveals nothing and cannot be forged.
//!
//! The numbers of a position count the changes of all organizations, so a client that could read them would learn how
//! much the others do. Servers of a store share a secret that they seal positions with. The text is a synthetic
//! initialisation vector (RFC 5297 in its idea, HMAC-SHA-256 in its parts): a tag over the organization and the
//! position, with which the position is also encrypted. So the text of one organization is not valid for another, and
//! an altered one is not valid at all.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::{InvalidPosition, Position};

/// Bytes of a tag.
const TAG: usize = 12;
/// Bytes that are sealed: a position, and a number that makes two texts of it differ.
const PLAIN: usize = 20;

/// The secret of a store that seals positions in its change log.
#[derive(Clone)]
pub struct PositionKey(SecretSlice<u8>);

impl fmt::Debug for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PositionKey(…)")
    }
}

impl PositionKey {
    /// `None` when it is not of 32 bytes.
    pub(crate) fn new(secret: &[u8]) -> Option<PositionKey> {
        (secret.len() == 32).then(|| PositionKey(secret.to_vec().into()))
    }

    /// A key for another purpose, the same in every process of the store; it reveals nothing of this one.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.mac(2).chain_update(purpose).finalize().into_bytes().into()
    }

    /// A position as text; the same each time, so that an event has one id.
    pub fn seal(&self, organization: &str, position: Position) -> String {
        self.sealed(organization, position, 0)
    }

    /// A position as text that differs each time: a client that sees it twice does not learn whether the position is
    /// the same.
    pub fn seal_anew(&self, organization: &str, position: Position) -> String {
        let random = uuid::Uuid::new_v4().into_bytes();
        self.sealed(organization, position, u32::from_be_bytes([random[0], random[1], random[2], random[3]]))
    }

    fn sealed(&self, organization: &str, position: Position, salt: u32) -> String {
        let mut plain = [0; PLAIN];
        plain[..8].copy_from_slice(&position.row.to_be_bytes());
        plain[8..12].copy_from_slice(&position.part.to_be_bytes());
        plain[12..16].copy_from_slice(&position.seen.to_be_bytes());
        plain[16..].copy_from_slice(&salt.to_be_bytes());
        let tag: [u8; 32] = self.tag(organization, &plain).finalize().into_bytes().into();
        let tag = &tag[..TAG];
        let sealed = self.crypted(tag, plain);
        tag.iter().chain(&sealed).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The position that a text of this organization means.
    ///
    /// # Errors
    /// [`InvalidPosition`] when it was not sealed by this key for this organization.
    pub fn open(&self, organization: &str, text: &str) -> Result<Position, InvalidPosition> {
        let bytes = bytes(text).ok_or(InvalidPosition)?;
        let (tag, sealed) = bytes.split_at(TAG);
        let plain = self.crypted(tag, sealed.try_into().map_err(|_| InvalidPosition)?);
        self.tag(organization, &plain).verify_truncated_left(tag).map_err(|_| InvalidPosition)?;
        let number = |from: usize| u32::from_be_bytes([plain[from], plain[from + 1], plain[from + 2], plain[from + 3]]);
        let row = u64::from(number(0)) << 32 | u64::from(number(4));
        Ok(Position { row, part: number(8), seen: number(12) })
    }

    fn tag(&self, organization: &str, plain: &[u8; PLAIN]) -> Hmac<Sha256> {
        // The part of fixed length comes first, so that no two inputs are alike.
        self.mac(0).chain_update(plain).chain_update(organization)
    }

    fn crypted(&self, tag: &[u8], mut text: [u8; PLAIN]) -> [u8; PLAIN] {
        let stream = self.mac(1).chain_update(tag).finalize().into_bytes();
        text.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
        text
    }

    /// For one of the uses of the key.
    fn mac(&self, usage: u8) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("any length will do").chain_update([usage])
    }
}

/// Lower-case hexadecimal digits as bytes; `None` when they are not, or not as many as a sealed position has.
fn bytes(text: &str) -> Option<[u8; TAG + PLAIN]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * (TAG + PLAIN) || !digits.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; TAG + PLAIN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLACE: Position = Position { row: u64::MAX - 7, part: Position::SQLITE, seen: 3 };

    #[test]
    fn derived_keys_differ_by_purpose_and_by_store() {
        let (key, other) = (PositionKey::new(&[7; 32]).unwrap(), PositionKey::new(&[8; 32]).unwrap());
        assert_eq!(key.derive("a"), key.derive("a"));
        assert!(
            key.derive("a") != key.derive("b") && key.derive("a") != other.derive("a") && key.derive("a") != [7; 32]
        );
    }

    #[test]
    fn a_place_comes_back_to_its_organization_and_no_other() {
        let key = PositionKey::new(&[7; 32]).unwrap();
        let text = key.seal("acme", PLACE);
        assert_eq!((key.open("acme", &text), key.seal("acme", PLACE)), (Ok(PLACE), text.clone()));
        let (one, other) = (key.seal_anew("acme", PLACE), key.seal_anew("acme", PLACE));
        assert_ne!(one, other);
        assert_eq!((key.open("acme", &one), key.open("acme", &other)), (Ok(PLACE), Ok(PLACE)));
        assert_eq!(key.open("acm", &text), Err(InvalidPosition));
        assert_eq!(PositionKey::new(&[8; 32]).unwrap().open("acme", &text), Err(InvalidPosition));
        assert!(PositionKey::new(&[7; 31]).is_none());
    }

    #[test]
    fn what_was_altered_or_made_up_is_none() {
        let key = PositionKey::new(&[7; 32]).unwrap();
        let text = key.seal("acme", PLACE);
        for index in 0..text.len() {
            let digit = if text.as_bytes()[index] == b'0' { "1" } else { "0" };
            let mut altered = text.clone();
            altered.replace_range(index..=index, digit);
            assert_eq!(key.open("acme", &altered), Err(InvalidPosition), "{altered}");
        }
        for bad in ["", "1-2-3", &text[1..], &text.to_uppercase(), &format!("{text}0"), &"é".repeat(32)] {
            assert_eq!(key.open("acme", bad), Err(InvalidPosition), "{bad}");
        }
    }

    #[test]
    fn neighbours_have_nothing_in_common() {
        let key = PositionKey::new(&[7; 32]).unwrap();
        let texts: Vec<String> = (0..64).map(|row| key.seal("acme", Position { row, ..PLACE })).collect();
        for pair in texts.windows(2) {
            let same = pair[0].bytes().zip(pair[1].bytes()).filter(|(one, other)| one == other).count();
            assert!(same < 24, "{pair:?}");
        }
    }
}
