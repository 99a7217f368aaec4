//! The keys that texts and evidence are sealed with.
//!
//! A key has 32 random bytes, which come from a file, and an id, which is part of everything that was sealed with it.
//! Nothing is encrypted with these bytes themselves: they are the root from which separate keys are derived
//! (HKDF-SHA-256), one for each text and each piece of evidence. So no text opens in another's place, and no nonce is
//! ever used twice, however much an organization has.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// The most bytes of a key's id.
pub(crate) const MAX_ID_BYTES: usize = 32;
/// The salt for the roots; it must never change, or nothing would open any more.
const SALT: &[u8] = b"longrun encryption at rest v1";

/// Why something is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Its id cannot be a part of what is sealed.
    #[error("the id of a key has 1 to {MAX_ID_BYTES} letters, digits, dots, dashes and underscores")]
    Id,
    /// It is neither 32 bytes nor their base64.
    #[error("must hold 32 random bytes, or their base64; `longrun encryption generate-key FILE` makes such a file")]
    Form,
    /// It has the right length, but was not drawn at random.
    #[error("holds no random bytes; `longrun encryption generate-key FILE` makes a key")]
    NotRandom,
}

/// Why keys do not make a keyring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyring {
    /// Two keys have the same id.
    #[error("two keys have the id {0:?}")]
    Twice(String),
    /// Nothing can be sealed with it.
    #[error("there is no key with the id {0:?}")]
    NoSuchKey(String),
}

/// A key.
pub struct Key {
    id: Arc<str>,
    root: Prk,
}

impl Key {
    /// The key in the content of a file: 32 bytes as they are, or their base64.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn read(id: &str, content: &SecretBox<Vec<u8>>) -> Result<Key, InvalidKey> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || !id.bytes().all(allowed) {
            return Err(InvalidKey::Id);
        }
        let bytes = secret_bytes(content.expose_secret())?;
        let root = Salt::new(HKDF_SHA256, SALT).extract(bytes.expose_secret());
        Ok(Key { id: id.into(), root })
    }

    /// The id, which is part of everything that is sealed with it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `N` bytes that only this key yields for this purpose and these parts.
    pub(super) fn derive<const N: usize>(&self, purpose: &str, parts: &[&[u8]]) -> SecretBox<[u8; N]> {
        // Each part behind its length, so that no two lists of parts are the same bytes.
        let mut info = Vec::new();
        for part in [purpose.as_bytes()].iter().chain(parts) {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part);
        }
        let mut bytes = Box::new([0; N]);
        let info = [info.as_slice()];
        let expanded = self.root.expand(&info, Length(N)).and_then(|okm| okm.fill(bytes.as_mut_slice()));
        expanded.expect("HKDF gives up to 8,160 bytes");
        SecretBox::new(bytes)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The secret in the content of a key's file.
fn secret_bytes(content: &[u8]) -> Result<SecretBox<[u8; KEY_BYTES]>, InvalidKey> {
    let mut decoded = SecretBox::new(Box::new(Vec::new()));
    let bytes = match <&[u8; KEY_BYTES]>::try_from(content) {
        // 32 characters that one can type are a passphrase, or half of something: random bytes look like this once in
        // 10^13 keys.
        Ok(raw) if raw.iter().all(|byte| matches!(byte, b' '..=b'~')) => return Err(InvalidKey::NotRandom),
        Ok(raw) => raw,
        Err(_) => {
            let text = content.trim_ascii();
            let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
            let found = engines.into_iter().find_map(|engine| engine.decode(text).ok()).ok_or(InvalidKey::Form)?;
            decoded = SecretBox::new(Box::new(found));
            decoded.expose_secret().as_slice().try_into().map_err(|_| InvalidKey::Form)?
        }
    };
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err(InvalidKey::NotRandom);
    }
    let key = SecretBox::init_with_mut(|key: &mut [u8; KEY_BYTES]| key.copy_from_slice(bytes));
    drop(decoded);
    Ok(key)
}

/// 32 new random bytes, as the base64 that a key's file holds.
///
/// # Errors
/// When the system provides no random bytes.
pub fn generate_key() -> Result<SecretString, ring::error::Unspecified> {
    let bytes: [u8; KEY_BYTES] = ring::rand::generate(&ring::rand::SystemRandom::new())?.expose();
    Ok(STANDARD.encode(bytes).into())
}

/// The keys of a store: texts that were sealed with any of them can be opened, and new ones are sealed with the active
/// one. Without an active key they are written as they are. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keyring(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The active one is the first.
    keys: Vec<Key>,
    seals: bool,
    /// Missing ids that were logged already.
    missed: Mutex<HashSet<String>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.ids()).field("active", &self.active().map(Key::id)).finish()
    }
}

impl Keyring {
    /// A keyring of these keys; the one with the id `active` seals.
    ///
    /// # Errors
    /// [`InvalidKeyring`].
    pub fn new(mut keys: Vec<Key>, active: Option<&str>) -> Result<Keyring, InvalidKeyring> {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.id == key.id) {
                return Err(InvalidKeyring::Twice(key.id().to_owned()));
            }
        }
        if let Some(active) = active {
            let place = keys.iter().position(|key| key.id() == active);
            keys.swap(0, place.ok_or_else(|| InvalidKeyring::NoSuchKey(active.to_owned()))?);
        }
        Ok(Keyring(Arc::new(Inner { keys, seals: active.is_some(), missed: Mutex::default() })))
    }

    /// The ids of all keys.
    pub fn ids(&self) -> Vec<&str> {
        self.0.keys.iter().map(Key::id).collect()
    }

    /// The key that seals new texts.
    pub fn active(&self) -> Option<&Key> {
        self.0.keys.first().filter(|_| self.0.seals)
    }

    /// The key with this id.
    pub(super) fn key(&self, id: &str) -> Option<&Key> {
        self.0.keys.iter().find(|key| key.id() == id)
    }

    /// How something may have been sealed: with the active key, with another one, or not at all. The first is how it is
    /// sealed now.
    pub(super) fn ways(&self) -> impl Iterator<Item = Option<&Key>> {
        let keys = self.0.keys.iter().map(Some);
        let (first, last) = if self.0.seals { (None, Some(None)) } else { (Some(None), None) };
        first.into_iter().chain(keys).chain(last)
    }

    /// The stored form of a request's fingerprint, so that a reader of the store cannot guess the request by trial;
    /// after it the forms that may have been stored of the same request while another key, or none, was active.
    pub(crate) fn fingerprints(&self, organization: &str, fingerprint: [u8; 32]) -> Vec<[u8; 32]> {
        let kept = |key: Option<&Key>| {
            let Some(key) = key else { return fingerprint };
            let secret = key.derive::<32>("fingerprint", &[organization.as_bytes()]);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret()), &fingerprint);
            tag.as_ref().try_into().expect("a SHA-256 has 32 bytes")
        };
        self.ways().map(kept).collect()
    }

    /// Logs that a key is missing, once.
    pub(super) fn miss(&self, id: &str) {
        let mut missed = self.0.missed.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids come from what is stored: a damaged store has any number of them.
        if missed.len() < 100 && missed.insert(id.to_owned()) {
            tracing::error!(
                key = id,
                "the store has texts or evidence that are sealed with an encryption key which this process does not \
                 have; add it to encryption.keys"
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn content(bytes: &[u8]) -> SecretBox<Vec<u8>> {
        SecretBox::new(Box::new(bytes.to_vec()))
    }

    pub(crate) fn keyring(ids: &[&str], active: Option<&str>) -> Keyring {
        let key =
            |id: &&str| Key::read(id, &content(ring::digest::digest(&ring::digest::SHA256, id.as_bytes()).as_ref()));
        Keyring::new(ids.iter().map(|id| key(id).unwrap()).collect(), active).unwrap()
    }

    #[test]
    fn a_key_is_32_random_bytes_or_their_base64_and_nothing_else() {
        let raw: Vec<u8> = (100..132).collect();
        let derived =
            |bytes: &[u8]| *Key::read("k", &content(bytes)).unwrap().derive::<32>("test", &[]).expose_secret();
        let base64 = STANDARD.encode(&raw);
        assert_eq!(derived(&raw), derived(base64.as_bytes()));
        assert_eq!(derived(&raw), derived(format!("{}\n", base64.trim_end_matches('=')).as_bytes()));
        let made = generate_key().unwrap();
        assert!(Key::read("k", &content(made.expose_secret().as_bytes())).is_ok());
        for (bad, why) in [
            (&b""[..], InvalidKey::Form),
            (b"c2hvcnQ=", InvalidKey::Form),
            (&raw[1..], InvalidKey::Form),
            (b"0123456789abcdef0123456789abcdef", InvalidKey::NotRandom),
            (&[0; 32], InvalidKey::NotRandom),
        ] {
            assert_eq!(Key::read("k", &content(bad)).err(), Some(why), "{bad:?}");
        }
        for bad in ["", "a b", "a:b", "é", &"x".repeat(33)] {
            assert_eq!(Key::read(bad, &content(&raw)).err(), Some(InvalidKey::Id), "{bad}");
        }
    }

    #[test]
    fn no_two_lists_of_parts_give_the_same_key() {
        let ring = keyring(&["a"], Some("a"));
        let key = ring.active().unwrap();
        let of = |purpose, parts: &[&[u8]]| *key.derive::<32>(purpose, parts).expose_secret();
        assert_ne!(of("text", &[b"ab", b"c"]), of("text", &[b"a", b"bc"]));
        assert_ne!(of("text", &[b"ab"]), of("content", &[b"ab"]));
    }

    #[test]
    fn a_keyring_has_each_id_once_and_its_active_key() {
        let key = |id| Key::read(id, &content(&(100..132).collect::<Vec<u8>>())).unwrap();
        assert_eq!(Keyring::new(vec![key("a"), key("a")], None).err(), Some(InvalidKeyring::Twice("a".to_owned())));
        assert_eq!(Keyring::new(vec![key("a")], Some("b")).err(), Some(InvalidKeyring::NoSuchKey("b".to_owned())));
        let ids = |ring: &Keyring| ring.ways().map(|key| key.map(|key| key.id().to_owned())).collect::<Vec<_>>();
        let some = |id: &str| Some(id.to_owned());
        assert_eq!(ids(&keyring(&["a", "b"], Some("b"))), [some("b"), some("a"), None]);
        assert_eq!(ids(&keyring(&["a", "b"], None)), [None, some("a"), some("b")]);
        assert_eq!(ids(&Keyring::default()), [None]);
        assert!(!format!("{:?}", keyring(&["a"], Some("a"))).contains("Prk"));
    }
}
