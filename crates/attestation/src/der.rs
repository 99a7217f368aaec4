//! As much of DER as public keys and certificates need: one element after the other, definite lengths.

/// An integer's tag.
pub const INTEGER: u8 = 0x02;
/// A bit string's tag.
pub const BIT_STRING: u8 = 0x03;
/// An object identifier's tag.
pub const OBJECT: u8 = 0x06;
/// A sequence's tag.
pub const SEQUENCE: u8 = 0x30;

/// The identifier of RSA keys.
pub const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The identifier of keys on elliptic curves; that of the curve follows it.
pub const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// The identifier of the curve P-256.
pub const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The identifier of the curve P-384.
pub const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// The identifier of Ed25519 keys.
pub const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and its content; nothing at the end, or where it is not DER.
    pub fn read(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                // A long form that a shorter one could stand for is not DER.
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

    /// The content of the next element, when it has this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.read().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
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
        for bad in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x84, 0, 0, 0, 1, 0], &[0x30, 0x82, 1]] {
            assert!(Reader(bad).read().is_none(), "{bad:?}");
        }
    }
}
