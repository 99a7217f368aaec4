//! Sessions of people who signed in: sealed cookies that every server of the store can open.
//!
//! The cookie holds what a person may do, and servers store nothing of it; the store only knows whether the session was
//! ended ([`super::standing`]). A cookie is encrypted and authenticated (AES-256-GCM) with a key that is the store's or
//! the operator's, and bound to its purpose and to the configuration of the sign-in: one that was made under another
//! configuration is not valid.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use operations::{Access, Projects, Timestamp};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac;
use secrecy::{ExposeSecret, SecretSlice};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::Token;

use super::standing::SessionKey;

/// The most bytes of a cookie's value; browsers take 4096 with the name and the attributes.
const MAX_COOKIE: usize = 3_800;

/// The purpose of a sealed text; a text that was sealed for one purpose is not valid for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A sign-in in progress.
    Login,
    /// A session.
    Session,
    /// A session that began with an API token.
    Page,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Purpose::Login => "longrun-login",
            Purpose::Session => "longrun-session",
            Purpose::Page => "longrun-page",
        }
    }
}

/// Seals and opens cookies.
pub(super) struct Sealer {
    key: LessSafeKey,
    /// The context that all texts are bound to.
    context: Vec<u8>,
}

/// The text could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session does not fit into a cookie: it has too many projects or scopes")]
pub(super) struct TooLong;

impl Sealer {
    /// With a key that is derived from this secret.
    pub(super) fn new(secret: &SecretSlice<u8>, context: Vec<u8>) -> Sealer {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret()), b"longrun sessions, 1");
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).expect("SHA-256 has as many bytes as the key");
        Sealer { key: LessSafeKey::new(key), context }
    }

    /// Seals a value, for a cookie.
    pub(super) fn seal(&self, purpose: Purpose, value: &impl Serialize) -> Result<String, TooLong> {
        let mut text = serde_json::to_vec(value).expect("texts and numbers can be written as JSON");
        let nonce = random::<NONCE_LEN>();
        let sealed = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(self.bound(purpose)),
            &mut text,
        );
        sealed.map_err(|_| TooLong)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat());
        if sealed.len() > MAX_COOKIE { Err(TooLong) } else { Ok(sealed) }
    }

    /// The value that was sealed for this purpose, under this configuration.
    pub(super) fn open<T: DeserializeOwned>(&self, purpose: Purpose, text: &str) -> Option<T> {
        if text.len() > MAX_COOKIE {
            return None;
        }
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(self.bound(purpose)), sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn bound(&self, purpose: Purpose) -> Vec<u8> {
        [purpose.name().as_bytes(), b"\0", &self.context].concat()
    }
}

/// A session, as its cookie holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The session's id is a hash of it: knowing the id does not give anybody the cookie.
    pub(super) secret: String,
    /// The identity provider's id for the person.
    pub(super) subject: String,
    /// A name to be shown.
    pub(super) name: String,
    pub(super) organization: String,
    pub(super) scopes: Vec<String>,
    /// `None` for all.
    pub(super) projects: Option<Vec<String>>,
    /// In milliseconds since 1970, like the next field.
    pub(super) begun_at: i64,
    pub(super) expires_at: i64,
    /// The token that a request that changes something must have in a header: another site can make a browser send the
    /// cookie, but cannot read this token.
    pub(super) csrf_token: String,
}

impl Session {
    /// The key by which the store knows it.
    pub(super) fn key(&self) -> SessionKey {
        let hash = digest(&SHA256, self.secret.as_bytes());
        let hash: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        (self.organization.clone(), format!("ses_{hash}"))
    }

    /// As the store keeps it.
    pub(super) fn stored(&self) -> store::Session {
        let (organization, id) = self.key();
        store::Session {
            id,
            organization,
            subject: self.subject.clone(),
            name: self.name.clone(),
            begun_at: Timestamp::from_millis(self.begun_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            revoked_at: None,
        }
    }

    /// The caller that it represents.
    pub(super) fn token(&self) -> Token {
        let projects = self.projects.as_ref();
        let projects = projects.map_or(Projects::All, |only| Projects::Only(only.iter().cloned().collect()));
        Token {
            id: format!("oidc:{}", self.subject),
            name: self.name.clone(),
            access: Access { organization: self.organization.clone(), projects },
            scopes: self.scopes.iter().filter_map(|name| name.parse().ok()).collect(),
            created_at: Timestamp::from_millis(self.begun_at),
            expires_at: Some(Timestamp::from_millis(self.expires_at)),
            last_used_at: None,
            revoked_at: None,
            instance: None,
        }
    }
}

/// The names and attributes of cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookies {
    /// Whether browsers reach the server over TLS only. Then the prefix makes them refuse the cookie from anywhere
    /// else.
    pub(super) secure: bool,
}

impl Cookies {
    fn name(self, purpose: Purpose) -> String {
        format!("{}{}", if self.secure { "__Host-" } else { "" }, purpose.name())
    }

    /// The cookie of a request; none when there are several, since one of them may have been planted. Other cookies of
    /// the host may have values in any encoding.
    pub(super) fn find(self, headers: &HeaderMap, purpose: Purpose) -> Option<&str> {
        let begin = format!("{}=", self.name(purpose));
        let pairs = headers.get_all(COOKIE).iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
        let mut found = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(begin.as_bytes()));
        let (value, None) = (found.next()?, found.next()) else { return None };
        str::from_utf8(value).ok()
    }

    /// The header that sets a cookie for this many seconds.
    pub(super) fn set(self, purpose: Purpose, value: &str, seconds: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", self.name(purpose))
    }

    /// The header that removes a cookie.
    pub(super) fn remove(self, purpose: Purpose) -> String {
        self.set(purpose, "", 0)
    }

    /// The headers that remove a cookie whichever of its names it has.
    pub(super) fn remove_both(purpose: Purpose) -> [String; 2] {
        [true, false].map(|secure| Cookies { secure }.remove(purpose))
    }
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a server has a random source: it makes tokens' secrets and ids with it");
    bytes
}

/// Random text that cannot be guessed.
pub(super) fn random_text() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random::<32>())
}

/// A secret as a text that differs in each page: otherwise the length of compressed pages that contain a text chosen by
/// somebody else would reveal it.
pub(crate) fn mask(secret: &str) -> String {
    let mut pad = random::<64>()[..].repeat(secret.len().div_ceil(64));
    pad.truncate(secret.len());
    let masked: Vec<u8> = secret.bytes().zip(&pad).map(|(byte, pad)| byte ^ pad).collect();
    BASE64_URL_SAFE_NO_PAD.encode([pad, masked].concat())
}

/// The secret that was masked.
pub(crate) fn unmask(text: &str) -> Option<String> {
    if text.len() > MAX_COOKIE {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len().is_multiple_of(2))?;
    let (pad, masked) = bytes.split_at(bytes.len() / 2);
    String::from_utf8(pad.iter().zip(masked).map(|(pad, byte)| byte ^ pad).collect()).ok()
}

/// Whether two secrets are the same; takes the same time wherever they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"is_same");
    hmac::verify(&key, other.as_bytes(), hmac::sign(&key, one.as_bytes()).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn sealer(secret: u8, context: &str) -> Sealer {
        Sealer::new(&SecretSlice::from(vec![secret; 32]), context.as_bytes().to_vec())
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_for_the_same_purpose() {
        let text = sealer(1, "a").seal(Purpose::Session, &"secret").unwrap();
        assert_eq!(sealer(1, "a").open::<String>(Purpose::Session, &text).unwrap(), "secret");
        assert_ne!(sealer(1, "a").seal(Purpose::Session, &"secret").unwrap(), text, "a different text each time");
        assert_eq!(sealer(1, "a").open::<String>(Purpose::Login, &text), None);
        assert_eq!(sealer(2, "a").open::<String>(Purpose::Session, &text), None);
        assert_eq!(sealer(1, "b").open::<String>(Purpose::Session, &text), None);
        for place in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            // The last digit has bits that mean nothing.
            let opened = sealer(1, "a").open::<String>(Purpose::Session, &altered);
            assert!(opened.is_none(), "{place}");
        }
        for none in ["", "AAAA", "no base64!", &"A".repeat(10_000)] {
            assert_eq!(sealer(1, "a").open::<String>(Purpose::Session, none), None);
        }
        assert_eq!(sealer(1, "a").seal(Purpose::Session, &"a".repeat(4_000)), Err(TooLong));
    }

    #[test]
    fn of_two_cookies_of_a_name_none_is_taken() {
        let cookies = Cookies { secure: true };
        let headers = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap()));
            lines.collect::<Vec<_>>().into_iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
        };
        let find = |lines: &[&'static str]| cookies.find(&headers(lines), Purpose::Session).map(str::to_owned);
        assert_eq!(find(&["a=b; __Host-longrun-session=x"]).as_deref(), Some("x"));
        assert_eq!(find(&["a=b", "__Host-longrun-session=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(find(&["a=\u{fc}; __Host-longrun-session=x"]).as_deref(), Some("x"), "a neighbour's encoding");
        for none in [&["longrun-session=x"][..], &[], &["__Host-longrun-session=x; __Host-longrun-session=y"]] {
            assert_eq!(find(none), None, "{none:?}");
        }
    }

    #[test]
    fn secrets_are_compared_whole() {
        assert!(is_same("abc", "abc"));
        assert!(!is_same("abc", "abd") && !is_same("abc", "ab") && !is_same("", "a"));
    }
}
