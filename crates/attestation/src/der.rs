//! The subset of DER that public keys and certificates need: one element after the other, with definite lengths.

use std::time::UNIX_EPOCH;

/// An integer's tag.
pub const INTEGER: u8 = 0x02;
/// A bit string's tag.
pub const BIT_STRING: u8 = 0x03;
/// The tag of a string of bytes.
pub const OCTET_STRING: u8 = 0x04;
/// An object identifier's tag.
pub const OBJECT: u8 = 0x06;
/// The tag of a text in UTF-8.
pub const UTF8_STRING: u8 = 0x0c;
/// The tag of a time whose year has two digits.
const UTC_TIME: u8 = 0x17;
/// The tag of a time whose year has four digits.
const GENERALIZED_TIME: u8 = 0x18;
/// A sequence's tag.
pub const SEQUENCE: u8 = 0x30;
/// A set's tag.
pub const SET: u8 = 0x31;

/// The identifier of RSA keys.
pub const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The identifier of keys on elliptic curves; the identifier of the curve follows it.
pub const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// The identifier of the curve P-256.
pub const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The identifier of the curve P-384.
pub const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// The identifier of Ed25519 keys.
pub const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The bytes that are left to read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and its content; `None` at the end, or if the bytes are not DER.
    pub fn read(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                // A long form for a length that has a shorter form is not valid DER.
                if *first > 0x82 && bytes[0] == 0 {
                    return None;
                }
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element as it is written, with its tag and its length, if it has this tag.
    pub fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.expect(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// The content of the next element, if it has this tag; if it has another one or there is none, nothing is read.
    pub fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.expect(tag) } else { None }
    }

    /// The next element as a time, in seconds since 1970: in the form of certificates (RFC 5280, 4.1.2.5) or of time
    /// stamps (RFC 3161, 2.4.2), whose fraction of a second is ignored.
    pub fn time(&mut self) -> Option<u64> {
        let (tag, content) = self.read()?;
        let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii())?.strip_suffix('Z')?;
        let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = match tag {
            UTC_TIME if text.len() == 12 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
            GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
            _ => return None,
        };
        if !digits.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let [date, hour, minute, second] = [&digits[..8], &digits[8..10], &digits[10..12], &digits[12..]];
        let text = format!("{}-{}-{}T{hour}:{minute}:{second}Z", &date[..4], &date[4..6], &date[6..]);
        seconds(&text)
    }

    /// The content of the next element, if it has this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.read().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// A time of RFC 3339 in seconds since 1970.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// An element of less than 64 KiB.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..=0x7f => bytes.push(length as u8),
        0x80..=0xff => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_not() {
        for length in [0, 1, 127, 128, 255, 256, 4_000] {
            let written = element(SEQUENCE, &vec![7; length]);
            let mut reader = Reader(&written);
            assert_eq!(reader.expect(SEQUENCE).map(<[u8]>::len), Some(length));
            assert!(reader.read().is_none());
            assert!(Reader(&written[..written.len() - 1]).read().is_none());
        }
        let long = [&[SEQUENCE, 0x83, 1, 0, 0][..], &[7; 0x1_0000]].concat();
        assert_eq!(Reader(&long).expect(SEQUENCE).map(<[u8]>::len), Some(0x1_0000));
        let two = [element(SEQUENCE, b"first"), element(SET, b"second")].concat();
        let mut reader = Reader(&two);
        assert_eq!((reader.optional(SET), reader.whole(SEQUENCE)), (None, Some(&two[..7])));
        assert_eq!((reader.optional(SET), reader.optional(SET)), (Some(&b"second"[..]), None));
        for bad in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x84, 0, 0, 0, 1, 0], &[0x30, 0x82, 1]] {
            assert!(Reader(bad).read().is_none(), "{bad:?}");
        }
    }
    #[test]
    fn times_are_read_as_the_standards_write_them() {
        let read = |tag: u8, text: &str| Reader(&element(tag, text.as_bytes())).time();
        assert_eq!(read(UTC_TIME, "700101000001Z"), Some(1));
        assert_eq!(read(UTC_TIME, "240610194725Z"), Some(1_718_048_845));
        assert_eq!(read(GENERALIZED_TIME, "20240610194725Z"), Some(1_718_048_845));
        assert_eq!(read(GENERALIZED_TIME, "20240610194725.125Z"), Some(1_718_048_845));
        for (tag, text) in [
            (UTC_TIME, "20240610194725Z"),
            (UTC_TIME, "490101000000+0100"),
            (GENERALIZED_TIME, "20240610194725"),
            (GENERALIZED_TIME, "20241310194725Z"),
            (GENERALIZED_TIME, "2024061019472xZ"),
            (GENERALIZED_TIME, "20240610194725.xZ"),
            (GENERALIZED_TIME, "19600101000000Z"),
            (OCTET_STRING, "20240610194725Z"),
        ] {
            assert_eq!(read(tag, text), None, "{text}");
        }
    }
}
