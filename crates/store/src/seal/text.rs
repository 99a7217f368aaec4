//! Texts of operations, sealed: `lrn:sealed:v1:<key id>:<base64url>`.
//!
//! AES-256-GCM with a key that belongs to one text alone: it is derived from the organization, the operation and the
//! kind of text. A text that was put in another's place does not open. The version and the key's id are authenticated
//! with it.
//!
//! **Nonces** are made of the text, by HMAC-SHA-256 under another derived key (a synthetic initialisation vector, as in
//! RFC 5297): sealing the same text of the same operation again gives the same result, and one nonce is never used for
//! two texts, however good the system's random numbers are. The stores rely on it: a worker whose answer was lost
//! settles again, and its outcome is compared with the recorded one.
//!
//! **What a caller writes** may look like a sealed text. Where texts are not sealed, such a text is written behind
//! `lrn:plain:v1:`, so that it is read as it was written, even after encryption was switched on or off.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use operations::OperationId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use secrecy::ExposeSecret as _;

use super::keys::{Key, Keyring};
use crate::StoreError;

/// The prefix of sealed texts of every version.
const SEALED: &str = "lrn:sealed:";
/// The prefix of those of this version.
const SEALED_V1: &str = "lrn:sealed:v1:";
/// The prefix before a text that is not sealed and looks as if it came from this module.
const PLAIN_V1: &str = "lrn:plain:v1:";
/// The prefixes of texts of this module.
const OURS: [&str; 2] = [SEALED, "lrn:plain:"];

/// Bytes of a sealed text that are enough to recognize its key.
pub(crate) const HEAD_BYTES: u32 = 64;

/// Which text of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What the work needs to know.
    Input,
    /// What it produced.
    Output,
    /// Why it failed, or how far it is: messages move from the operation into its history.
    Message,
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Field::Input => "input",
            Field::Output => "output",
            Field::Message => "message",
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a text belongs. It opens only there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'o> {
    pub(crate) organization: &'o str,
    pub(crate) id: OperationId,
    pub(crate) field: Field,
}

/// Why a text or a piece of evidence was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// This process does not have the key.
    #[error("it is sealed with the encryption key {0:?}, which this server does not have")]
    KeyMissing(String),
    /// It is not what was sealed, or not where it was.
    #[error("it does not open with the encryption key {0:?}: it was changed, or belongs elsewhere")]
    Damaged(String),
    /// A newer longrun has sealed it.
    #[error("it is sealed in a way that this longrun does not know")]
    Unknown,
}

impl From<Unopened> for StoreError {
    fn from(error: Unopened) -> StoreError {
        match error {
            // An operator can help, and then the text can be read.
            Unopened::KeyMissing(_) => StoreError::Unavailable(format!("a text cannot be opened: {error}")),
            Unopened::Damaged(_) | Unopened::Unknown => {
                StoreError::Unusable(format!("a text cannot be opened: {error}"))
            }
        }
    }
}

/// How a stored text is sealed, by its beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seal {
    /// It is not sealed.
    Plain,
    /// With the key of this id.
    Key(String),
    /// By a newer longrun.
    Unknown,
}

impl Seal {
    /// The seal of a stored text that begins with this ([`HEAD_BYTES`]).
    pub(crate) fn of(head: &str) -> Seal {
        match head.strip_prefix(SEALED_V1).and_then(|rest| rest.split_once(':')) {
            Some((id, _)) => Seal::Key(id.to_owned()),
            None if head.starts_with(SEALED) => Seal::Unknown,
            None => Seal::Plain,
        }
    }
}

/// Whether a stored text is a sealed one, which is useless unless it is whole.
pub(crate) fn is_sealed(stored: &str) -> bool {
    stored.starts_with(SEALED)
}

/// How many bytes a text may have so that its sealed form has at most `most`, whatever the id of its key.
pub(crate) const fn plain_bytes(most: usize) -> usize {
    let header = SEALED_V1.len() + super::keys::MAX_ID_BYTES + 1;
    (most - header) / 4 * 3 - NONCE_LEN - 16
}

/// The two keys of a text: what it is encrypted with, and what its nonce is made with.
fn keys(key: &Key, owner: &Owner<'_>) -> (LessSafeKey, hmac::Key) {
    let parts = [owner.organization.as_bytes(), owner.id.as_bytes(), owner.field.name().as_bytes()];
    let secret = key.derive::<64>("text", &parts);
    let (encryption, nonce) = secret.expose_secret().split_at(32);
    let encryption = UnboundKey::new(&AES_256_GCM, encryption).expect("AES-256 takes 32 bytes");
    (LessSafeKey::new(encryption), hmac::Key::new(hmac::HMAC_SHA256, nonce))
}

/// The text as it is stored, sealed with this key or, without one, as it is. An empty one stays empty: it means that
/// there is none.
pub(crate) fn seal_with(key: Option<&Key>, owner: &Owner<'_>, text: &str) -> String {
    let Some(key) = key.filter(|_| !text.is_empty()) else {
        let looks_ours = OURS.iter().any(|ours| text.starts_with(ours));
        return if looks_ours { format!("{PLAIN_V1}{text}") } else { text.to_owned() };
    };
    let mut sealed = format!("{SEALED_V1}{}:", key.id());
    let (encryption, nonces) = keys(key, owner);
    let tag = hmac::sign(&nonces, text.as_bytes());
    let nonce: [u8; NONCE_LEN] = tag.as_ref()[..NONCE_LEN].try_into().expect("a nonce is a part of a tag");
    let mut bytes = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(text.as_bytes());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = encryption
        .seal_in_place_separate_tag(nonce, Aad::from(sealed.as_bytes()), &mut bytes[NONCE_LEN..])
        .expect("a text is shorter than the 64 GiB that AES-GCM takes");
    bytes.extend_from_slice(tag.as_ref());
    URL_SAFE_NO_PAD.encode_string(&bytes, &mut sealed);
    sealed
}

/// The text that was stored, and what the domain has added to it since (to a message only, behind a space).
pub(super) fn open_parts(keyring: &Keyring, owner: &Owner<'_>, stored: String) -> Result<(String, String), Unopened> {
    if let Some(plain) = stored.strip_prefix(PLAIN_V1) {
        return Ok((plain.to_owned(), String::new()));
    }
    let Some(rest) = stored.strip_prefix(SEALED) else { return Ok((stored, String::new())) };
    let Some((id, sealed)) = rest.strip_prefix("v1:").and_then(|rest| rest.split_once(':')) else {
        return Err(Unopened::Unknown);
    };
    let Some(key) = keyring.key(id) else {
        keyring.miss(id);
        return Err(Unopened::KeyMissing(id.to_owned()));
    };
    let (sealed, added) = match sealed.find(' ').filter(|_| owner.field == Field::Message) {
        Some(end) => sealed.split_at(end),
        None => (sealed, ""),
    };
    let damaged = || Unopened::Damaged(id.to_owned());
    let mut bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| damaged())?;
    let (nonce, encrypted) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).expect("it was cut so long");
    let header = format!("{SEALED_V1}{id}:");
    let opened = keys(key, owner).0.open_in_place(nonce, Aad::from(header.as_bytes()), encrypted);
    let length = opened.map_err(|_| damaged())?.len();
    bytes.drain(..NONCE_LEN);
    bytes.truncate(length);
    Ok((String::from_utf8(bytes).map_err(|_| damaged())?, added.to_owned()))
}

impl Keyring {
    /// The text as it is to be stored.
    pub(crate) fn seal(&self, owner: &Owner<'_>, text: &str) -> String {
        seal_with(self.active(), owner, text)
    }

    /// The text that was stored.
    pub(crate) fn open(&self, owner: &Owner<'_>, stored: String) -> Result<String, Unopened> {
        let opened =
            open_parts(self, owner, stored).map(|(text, added)| if added.is_empty() { text } else { text + &added });
        opened.inspect_err(|error| {
            if !matches!(error, Unopened::KeyMissing(_)) {
                let Owner { organization, id, field } = owner;
                tracing::error!(organization, operation = %id, %field, %error, "a stored text cannot be opened");
            }
        })
    }

    /// A stored text as it is to be stored now.
    pub(super) fn reseal(&self, owner: &Owner<'_>, stored: String) -> Result<String, Unopened> {
        let (text, added) = open_parts(self, owner, stored)?;
        Ok(self.seal(owner, &text) + &added)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use operations::Timestamp;

    use super::super::keys::tests::keyring;
    use super::*;

    fn owner(organization: &str, field: Field) -> Owner<'_> {
        Owner { organization, id: OperationId::from_bytes([7; 16]), field }
    }

    #[test]
    fn a_sealed_text_shows_its_key_and_nothing_of_itself_and_comes_back() {
        let ring = keyring(&["2026-11", "2026-12"], Some("2026-12"));
        let input = owner("acme", Field::Input);
        for text in ["{\"a\":1}", "lrn:sealed:v1:x:y", "é\0", &"x".repeat(100_000)] {
            let sealed = ring.seal(&input, text);
            assert!(sealed.starts_with("lrn:sealed:v1:2026-12:") && !sealed.contains(text), "{sealed}");
            assert_eq!(Seal::of(&sealed[..64]), Seal::Key("2026-12".to_owned()));
            assert_eq!(ring.seal(&input, text), sealed, "the same each time");
            assert_eq!(ring.open(&input, sealed).unwrap(), text);
        }
        assert_eq!(ring.seal(&input, ""), "");
        assert_eq!(plain_bytes(8_192), 6_080);
        let long_id = keyring(&[&"k".repeat(32)], Some(&"k".repeat(32)));
        assert!(long_id.seal(&input, &"x".repeat(plain_bytes(8_192))).len() <= 8_192);
    }

    #[test]
    fn a_text_opens_in_its_own_place_only() {
        let ring = keyring(&["a"], Some("a"));
        let sealed = ring.seal(&owner("acme", Field::Output), "secret");
        let other_operation = Owner { id: OperationId::new(Timestamp::from_millis(1)), ..owner("acme", Field::Output) };
        for elsewhere in [owner("globex", Field::Output), owner("acme", Field::Input), other_operation] {
            let opened = ring.open(&elsewhere, sealed.clone());
            assert_eq!(opened, Err(Unopened::Damaged("a".to_owned())), "{elsewhere:?}");
        }
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let ring = keyring(&["a", "b"], Some("a"));
        let output = owner("acme", Field::Output);
        let sealed = ring.seal(&output, "secret");
        let start = "lrn:sealed:v1:a:".len();
        for place in start..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of a base64 text may have unused bits; then it is refused as invalid base64.
            assert!(ring.open(&output, changed).is_err(), "at {place}");
        }
        for length in start..sealed.len() {
            assert!(ring.open(&output, sealed[..length].to_owned()).is_err(), "cut to {length}");
        }
        assert!(ring.open(&output, sealed.replace(":a:", ":b:")).is_err(), "another key's name");
        assert!(ring.open(&output, format!("{sealed} (added)")).is_err(), "only messages are added to");
    }

    #[test]
    fn a_missing_key_and_a_newer_version_are_told_apart() {
        let output = owner("acme", Field::Output);
        let sealed = keyring(&["a"], Some("a")).seal(&output, "secret");
        let other = keyring(&["b"], Some("b"));
        assert_eq!(other.open(&output, sealed), Err(Unopened::KeyMissing("a".to_owned())));
        assert_eq!(other.open(&output, "lrn:sealed:v2:a:b".to_owned()), Err(Unopened::Unknown));
        assert_eq!(Seal::of("lrn:sealed:v2:a:b"), Seal::Unknown);
    }

    #[test]
    fn what_the_domain_adds_to_a_message_stays_behind_it() {
        let (old, new) = (keyring(&["a"], Some("a")), keyring(&["a", "b"], Some("b")));
        let message = owner("acme", Field::Message);
        let stored = old.seal(&message, "no luck") + " (gave up after 3 attempts)";
        assert_eq!(old.open(&message, stored.clone()).unwrap(), "no luck (gave up after 3 attempts)");
        let resealed = new.reseal(&message, stored).unwrap();
        assert!(resealed.starts_with("lrn:sealed:v1:b:") && resealed.ends_with(" (gave up after 3 attempts)"));
        assert_eq!(new.open(&message, resealed).unwrap(), "no luck (gave up after 3 attempts)");
    }

    #[test]
    fn a_text_that_looks_sealed_is_what_it_was_however_keys_come_and_go() {
        let rings =
            [Keyring::default(), keyring(&["a"], Some("a")), keyring(&["a"], None), keyring(&["a", "b"], Some("b"))];
        let output = owner("acme", Field::Output);
        let sealed = rings[1].seal(&output, "secret");
        for text in [sealed.as_str(), "lrn:sealed:", "lrn:plain:v1:lrn:plain:v1:x", "lrn:other", "plain"] {
            for ring in &rings {
                let stored = ring.seal(&output, text);
                for reader in &rings[1..] {
                    if reader.key("b").is_some() || ring.key("b").is_none() {
                        assert_eq!(reader.open(&output, stored.clone()).unwrap(), text);
                    }
                }
            }
        }
    }
}
