//! Evidence, sealed in chunks, so that neither writing nor reading holds more than one in memory.
//!
//! A header and then chunks of 64 KiB, each with AES-256-GCM under a key that belongs to one piece of evidence alone:
//! it is derived from the organization and a random salt in the header. The nonce of a chunk is its number, and says
//! whether it is the last (the STREAM construction): chunks that are left out, repeated or put in another order do not
//! open, nor does a truncated piece. The header is authenticated with each of them.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::ExposeSecret as _;

use super::keys::{Key, Keyring, MAX_ID_BYTES};
use super::text::{Seal, Unopened};

/// What a sealed piece begins with.
const MAGIC: &[u8; 8] = b"lrnseal1";
const SALT_BYTES: usize = 32;
/// The magic, the key's id (filled up with zeros) and the salt.
const HEADER_BYTES: usize = MAGIC.len() + MAX_ID_BYTES + SALT_BYTES;
/// The same, in the type of file sizes.
pub(crate) const SEALED_HEADER_BYTES: u64 = HEADER_BYTES as u64;
/// Bytes of content in a chunk; the last one may have fewer.
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// Bytes of a sealed chunk.
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

type Header = [u8; HEADER_BYTES];

/// Bytes of the content of a sealed piece of this size; `None` when no piece has this size.
pub(crate) fn plain_size(sealed: u64) -> Option<u64> {
    let chunks = sealed.checked_sub(SEALED_HEADER_BYTES)?;
    let tags = chunks.div_ceil(SEALED_CHUNK_BYTES as u64) * TAG_BYTES as u64;
    // Each chunk has a tag, and there is at least one chunk.
    (chunks > 0 && (chunks - 1) % SEALED_CHUNK_BYTES as u64 >= TAG_BYTES as u64 - 1).then(|| chunks - tags)
}

/// The id of the key that a piece is sealed with, by its header.
fn key_id(header: &Header) -> Option<&str> {
    let id = header.strip_prefix(MAGIC)?.get(..MAX_ID_BYTES)?;
    let end = id.iter().position(|byte| *byte == 0).unwrap_or(id.len());
    std::str::from_utf8(&id[..end]).ok().filter(|id| !id.is_empty())
}

/// How a sealed piece with this beginning is sealed.
pub(crate) fn content_seal(start: &[u8]) -> Seal {
    let header = start.first_chunk::<HEADER_BYTES>();
    header.and_then(key_id).map_or(Seal::Unknown, |id| Seal::Key(id.to_owned()))
}

/// Whether a whole file may be a sealed piece of evidence, as far as can be seen without its key.
pub fn check_structure(start: &[u8], size: u64) -> bool {
    matches!(content_seal(start), Seal::Key(_)) && plain_size(size).is_some()
}

/// The chunks of one piece.
struct Chunks {
    key: LessSafeKey,
    header: Header,
    number: u64,
}

impl Chunks {
    fn new(key: &Key, organization: &str, header: Header) -> Chunks {
        let salt = &header[HEADER_BYTES - SALT_BYTES..];
        let secret = key.derive::<32>("content", &[organization.as_bytes(), salt]);
        let key = UnboundKey::new(&AES_256_GCM, secret.expose_secret()).expect("AES-256 takes 32 bytes");
        Chunks { key: LessSafeKey::new(key), header, number: 0 }
    }

    fn nonce(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.number.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(is_last);
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, mut chunk: Vec<u8>, is_last: bool, out: &mut Vec<u8>) {
        let nonce = self.nonce(is_last);
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::from(&self.header), &mut chunk);
        sealed.expect("a chunk is shorter than the 64 GiB that AES-GCM takes");
        out.extend_from_slice(&chunk);
    }

    fn open(&mut self, chunk: &mut [u8], is_last: bool, out: &mut Vec<u8>) -> Option<()> {
        let nonce = self.nonce(is_last);
        let opened = self.key.open_in_place(nonce, Aad::from(&self.header), chunk).ok()?;
        out.extend_from_slice(opened);
        Some(())
    }
}

/// Seals a piece while it is received.
pub(crate) struct ContentSealer {
    chunks: Chunks,
    /// Whether the header was written.
    has_begun: bool,
    /// Less than a chunk, or a whole one that may be the last.
    waiting: Vec<u8>,
}

impl ContentSealer {
    /// With the active key, if there is one.
    pub(crate) fn start(
        keyring: &Keyring,
        organization: &str,
    ) -> Result<Option<ContentSealer>, ring::error::Unspecified> {
        let Some(key) = keyring.active() else { return Ok(None) };
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..][..key.id().len()].copy_from_slice(key.id().as_bytes());
        SystemRandom::new().fill(&mut header[HEADER_BYTES - SALT_BYTES..])?;
        let chunks = Chunks::new(key, organization, header);
        Ok(Some(ContentSealer { chunks, has_begun: false, waiting: Vec::new() }))
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            out.extend_from_slice(&self.chunks.header);
        }
    }

    /// Takes content, and appends its sealed form.
    pub(crate) fn push(&mut self, mut content: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        while !content.is_empty() {
            if self.waiting.len() == CHUNK_BYTES {
                self.chunks.seal(std::mem::take(&mut self.waiting), false, out);
            }
            let (now, later) = content.split_at(content.len().min(CHUNK_BYTES - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            content = later;
        }
    }

    /// To be called at the end of the content.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.chunks.seal(self.waiting, true, out);
    }
}

/// Opens a piece while it is read.
pub(crate) struct ContentOpener {
    keyring: Keyring,
    organization: String,
    /// Once the header is read.
    chunks: Option<Chunks>,
    /// The header, or a chunk, as far as it was read.
    waiting: Vec<u8>,
}

impl ContentOpener {
    pub(crate) fn new(keyring: &Keyring, organization: &str) -> ContentOpener {
        let (keyring, organization) = (keyring.clone(), organization.to_owned());
        ContentOpener { keyring, organization, chunks: None, waiting: Vec::new() }
    }

    /// Takes the bytes that were read, and answers the content that could be opened; all of it when this was the end.
    pub(crate) fn push(&mut self, sealed: &[u8], is_end: bool) -> Result<Vec<u8>, Unopened> {
        self.waiting.extend_from_slice(sealed);
        if self.chunks.is_none() {
            let Some((header, rest)) = self.waiting.split_first_chunk::<HEADER_BYTES>() else {
                return if is_end { Err(Unopened::Unknown) } else { Ok(Vec::new()) };
            };
            let id = key_id(header).ok_or(Unopened::Unknown)?;
            let Some(key) = self.keyring.key(id) else {
                self.keyring.miss(id);
                return Err(Unopened::KeyMissing(id.to_owned()));
            };
            self.chunks = Some(Chunks::new(key, &self.organization, *header));
            self.waiting = rest.to_vec();
        }
        let chunks = self.chunks.as_mut().expect("it was made above");
        let (mut out, mut waiting) = (Vec::new(), self.waiting.as_mut_slice());
        let damaged = |chunks: &Chunks| Unopened::Damaged(key_id(&chunks.header).unwrap_or_default().to_owned());
        while waiting.len() > SEALED_CHUNK_BYTES {
            let (chunk, rest) = waiting.split_at_mut(SEALED_CHUNK_BYTES);
            chunks.open(chunk, false, &mut out).ok_or_else(|| damaged(chunks))?;
            waiting = rest;
        }
        if is_end {
            chunks.open(waiting, true, &mut out).ok_or_else(|| damaged(chunks))?;
            waiting = &mut [];
        }
        let left = waiting.len();
        self.waiting.drain(..self.waiting.len() - left);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::keys::tests::keyring;
    use super::*;

    fn sealed(keyring: &Keyring, content: &[u8], step: usize) -> Vec<u8> {
        let (mut sealer, mut out) = (ContentSealer::start(keyring, "acme").unwrap().unwrap(), Vec::new());
        content.chunks(step).for_each(|part| sealer.push(part, &mut out));
        sealer.finish(&mut out);
        out
    }

    fn opened(keyring: &Keyring, organization: &str, sealed: &[u8], step: usize) -> Result<Vec<u8>, Unopened> {
        let (mut opener, mut content) = (ContentOpener::new(keyring, organization), Vec::new());
        let mut parts = sealed.chunks(step).peekable();
        while let Some(part) = parts.next() {
            content.extend(opener.push(part, parts.peek().is_none())?);
            assert!(opener.waiting.len() <= SEALED_CHUNK_BYTES.max(step), "no more is held than a chunk");
        }
        Ok(content)
    }

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|byte| (byte % 251) as u8).collect()
    }

    #[test]
    fn what_was_sealed_comes_back_whatever_its_size_and_pieces() {
        let ring = keyring(&["a"], Some("a"));
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_000] {
            let plain = content(size);
            let sealed = sealed(&ring, &plain, 10_007);
            assert_eq!(plain_size(sealed.len() as u64), Some(size as u64));
            assert_eq!(content_seal(&sealed), Seal::Key("a".to_owned()));
            for step in [100, 65_552, 128 * 1024] {
                assert_eq!(opened(&ring, "acme", &sealed, step).unwrap(), plain, "{size} by {step}");
            }
            assert!(opened(&ring, "globex", &sealed, 10_007).is_err(), "another organization's");
        }
        for none in [0, 71, 72, 87, SEALED_HEADER_BYTES + SEALED_CHUNK_BYTES as u64 + 15] {
            assert_eq!(plain_size(none), None, "{none}");
        }
    }

    #[test]
    fn what_was_cut_off_put_in_another_order_or_changed_does_not_open() {
        let ring = keyring(&["a"], Some("a"));
        let whole = sealed(&ring, &content(3 * CHUNK_BYTES), 10_007);
        let (header, chunks) = whole.split_at(HEADER_BYTES);
        let chunk = |index: usize| &chunks[index * SEALED_CHUNK_BYTES..][..SEALED_CHUNK_BYTES];
        let made = |indexes: &[usize]| {
            [header].into_iter().chain(indexes.iter().map(|index| chunk(*index))).collect::<Vec<_>>().concat()
        };
        assert!(opened(&ring, "acme", &made(&[0, 1, 2]), 10_007).is_ok());
        for indexes in [&[][..], &[0], &[0, 1], &[1, 0, 2], &[0, 2], &[0, 1, 1], &[0, 1, 2, 2], &[2]] {
            assert!(opened(&ring, "acme", &made(indexes), 10_007).is_err(), "{indexes:?}");
        }
        for place in [0, 9, 50, HEADER_BYTES, HEADER_BYTES + CHUNK_BYTES, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(opened(&ring, "acme", &changed, 10_007).is_err(), "at {place}");
        }
        let other = keyring(&["b"], Some("b"));
        assert_eq!(opened(&other, "acme", &whole, 10_007), Err(Unopened::KeyMissing("a".to_owned())));
    }
}
