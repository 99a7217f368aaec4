//! The keys of a provider, from a file or an address.
//!
//! They are kept, and fetched again from time to time and when a token names an unknown key, but never more often than
//! once per [`KeySettings::refetch_after`], whatever tokens name. When a provider is unavailable, the known keys remain
//! in use. Nothing in a token is used as an address or a path here: its key id is only compared.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use openidconnect::url::Url;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fetch::{FetchError, Fetcher, Fetches, check_url, host};

/// Longer key ids are not accepted.
pub(super) const MAX_KEY_ID: usize = 256;
/// Further keys are ignored; a provider that rotates has a few.
const MAX_KEYS: usize = 100;
/// The most bytes of a file.
const MAX_FILE: u64 = 512 * 1024;
/// The bits that the modulus of an RSA key may have: fewer can be broken, more take long.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Where the keys of a provider are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file with a JWK set.
    File(PathBuf),
    /// An address that answers with a JWK set.
    Url(String),
}

/// Where keys come from and how often they are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// The source.
    pub source: KeySource,
    /// Whether an address may be `http://`.
    pub allow_http: bool,
    /// How often they are fetched again.
    pub refresh: Duration,
    /// The shortest time between two fetches because of unknown key ids.
    pub refetch_after: Duration,
}

/// A key that signatures are verified with.
pub(super) struct Key {
    id: Option<String>,
    /// The one algorithm that it is for.
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    /// Identifies the key across fetches.
    print: [u8; 32],
}

/// The keys of a provider.
pub(super) struct KeySet {
    settings: KeySettings,
    fetcher: Option<(Fetcher, Url)>,
    /// Not known until the first fetch succeeds.
    keys: RwLock<Option<Arc<[Arc<Key>]>>>,
    fetches: Fetches,
}

impl KeySet {
    /// The keys of a file; for an address, none yet.
    ///
    /// # Errors
    /// When the file holds no keys, or the address is not valid.
    pub(super) fn new(settings: KeySettings) -> Result<KeySet, FetchError> {
        let (fetcher, keys) = match &settings.source {
            KeySource::File(path) => {
                let keys = parse(&read(path)?).map_err(|why| unusable(&shown(path), why))?;
                (None, Some(keys.into()))
            }
            KeySource::Url(text) => {
                let url = check_url(text, settings.allow_http).map_err(|_| FetchError::Address(text.clone()))?;
                (Some((Fetcher::new(settings.allow_http, url.scheme() == "https")?, url)), None)
            }
        };
        Ok(KeySet { settings, fetcher, keys: RwLock::new(keys), fetches: Fetches::default() })
    }

    /// The keys in these bytes, which are never fetched again.
    ///
    /// # Errors
    /// When the bytes are not a key set.
    pub(super) fn fixed(settings: KeySettings, bytes: &[u8]) -> Result<KeySet, String> {
        let fetches = Fetches::just_made();
        Ok(KeySet { settings, fetcher: None, keys: RwLock::new(Some(parse(bytes)?.into())), fetches })
    }

    /// How often [`KeySet::refresh`] should be called.
    pub(super) fn period(&self) -> Duration {
        self.settings.refresh
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// [`FetchError`]; the keys stay as they were.
    pub(super) async fn refresh(&self) -> Result<(), FetchError> {
        self.fetches.make(Duration::ZERO, self.fetch()).await
    }

    /// The key with this id for this algorithm. For a token that names no key, the only key that there is.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        if let Some(key) = self.known(id, algorithm) {
            return Some(key);
        }
        self.refetch().await;
        self.known(id, algorithm)
    }

    /// Whether a key that was found is still one of them.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.snapshot().iter().flat_map(|keys| keys.iter()).any(|known| known.print == key.print && known.id == key.id)
    }

    /// Whether the keys have been fetched at least once. Until then nothing can be said about a signature.
    pub(super) fn are_known(&self) -> bool {
        self.snapshot().is_some()
    }

    fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let keys = self.snapshot()?;
        let mut fitting =
            keys.iter().filter(|key| key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id)));
        // When several have the same id, any of them could be meant; then none is used.
        let (key, None) = (fitting.next()?, fitting.next()) else { return None };
        Some(Arc::clone(key))
    }

    fn snapshot(&self) -> Option<Arc<[Arc<Key>]>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the keys, unless that was tried a short time ago: a caller that waits for the fetch of another one uses
    /// its result.
    async fn refetch(&self) {
        if let Err(error) = self.fetches.make(self.settings.refetch_after, self.fetch()).await {
            tracing::warn!(%error, "could not fetch the keys of an identity provider; the known keys remain in use");
        }
    }

    async fn fetch(&self) -> Result<(), FetchError> {
        let (bytes, of) = match (&self.settings.source, &self.fetcher) {
            (KeySource::File(path), _) => {
                let path = path.clone();
                let of = shown(&path);
                let reading = tokio::task::spawn_blocking(move || read(&path));
                (reading.await.map_err(|error| unusable(&of, error.to_string()))??, of)
            }
            (KeySource::Url(_), Some((fetcher, url))) => (fetcher.get(url).await?, host(url)),
            (KeySource::Url(text), None) => return Err(FetchError::Address(text.clone())),
        };
        let keys = parse(&bytes).map_err(|why| unusable(&of, why))?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.into());
        Ok(())
    }
}

fn shown(path: &std::path::Path) -> String {
    path.display().to_string()
}

fn unusable(of: &str, why: String) -> FetchError {
    FetchError::Unusable { host: of.to_owned(), why }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, FetchError> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    read().map_err(|error| unusable(&shown(path), error.to_string()))
}

/// A JWK set (RFC 7517, section 5), of which only the list matters.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// A JWK as far as it matters here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a JWK set that can be used here. Others serve other purposes and are not an error: a provider also has
/// keys to encrypt with, and new types that an old program does not know.
fn parse(bytes: &[u8]) -> Result<Vec<Arc<Key>>, String> {
    let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("it is not a JWK set: {error}"))?;
    let keys: Vec<Arc<Key>> = set.keys.into_iter().take(MAX_KEYS).filter_map(usable).map(Arc::new).collect();
    if keys.is_empty() {
        tracing::warn!(
            "the key set of an identity provider has no key for RS256, ES256 or EdDSA, so that none of its tokens is valid"
        );
    }
    Ok(keys)
}

/// A key that is for signatures, of a supported type and consistent with itself.
fn usable(jwk: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    if !for_signatures || jwk.kid.as_ref().is_some_and(|id| id.len() > MAX_KEY_ID) {
        return None;
    }
    let bytes = |member: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
    let (algorithm, name, decoding, parts) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
            // With an exponent of one, every text would be its own signature.
            let is_sound = n.first() != Some(&0) && RSA_BYTES.contains(&n.len()) && e.last()? % 2 == 1 && e != [1];
            let key = is_sound.then(|| DecodingKey::from_rsa_raw_components(&n, &e))?;
            (Algorithm::RS256, "RS256", key, [n, e].concat())
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            let is_sound = x.len() == 32 && y.len() == 32;
            let key = is_sound.then(|| DecodingKey::from_ec_components(jwk.x.as_ref()?, jwk.y.as_ref()?).ok())??;
            (Algorithm::ES256, "ES256", key, [x, y].concat())
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&jwk.x)?;
            let key = (x.len() == 32).then(|| DecodingKey::from_ed_components(jwk.x.as_ref()?).ok())??;
            (Algorithm::EdDSA, "EdDSA", key, x)
        }
        _ => return None,
    };
    // RFC 9864 names the curve.
    let agrees = |alg: &str| alg == name || (alg == "Ed25519" && name == "EdDSA");
    if !jwk.alg.as_deref().is_none_or(agrees) {
        return None;
    }
    let print = Sha256::new_with_prefix(name).chain_update(parts).finalize().into();
    Some(Key { id: jwk.kid, algorithm, decoding, print })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn rsa() -> Value {
        let n = BASE64_URL_SAFE_NO_PAD.encode([0xff; 256]);
        json!({"kty": "RSA", "n": n, "e": "AQAB", "kid": "r"})
    }

    fn with(mut key: Value, change: Value) -> Value {
        for (name, value) in change.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn only_keys_for_signatures_that_are_not_at_odds_with_themselves_are_used() {
        assert_eq!(usable(rsa()).unwrap().algorithm, Algorithm::RS256);
        for fine in
            [json!({"alg": "RS256"}), json!({"use": "sig"}), json!({"key_ops": ["verify"]}), json!({"x5c": [1]})]
        {
            assert!(usable(with(rsa(), fine.clone())).is_some(), "{fine}");
        }
        let short = BASE64_URL_SAFE_NO_PAD.encode([0xff; 128]);
        for wrong in [
            json!({"alg": "HS256"}),
            json!({"alg": "PS256"}),
            json!({"alg": "ES256"}),
            json!({"use": "enc"}),
            json!({"key_ops": ["sign"]}),
            json!({"kty": "oct", "k": "AQAB"}),
            json!({"kty": "EC"}),
            json!({"kty": "OKP", "crv": "Ed25519"}),
            json!({"kid": "k".repeat(257)}),
            json!({"kid": 7}),
            json!({"n": short}),
            json!({"n": "not base64!"}),
            json!({"e": "AQ"}),
            json!({"e": ""}),
        ] {
            assert!(usable(with(rsa(), wrong.clone())).is_none(), "{wrong}");
        }
        assert!(usable(json!("a text")).is_none());
    }

    #[test]
    fn a_set_is_bounded_and_what_is_no_set_is_an_error() {
        let set = json!({"keys": vec![rsa(); 3 * MAX_KEYS]});
        assert_eq!(parse(set.to_string().as_bytes()).unwrap().len(), MAX_KEYS);
        assert_eq!(parse(br#"{"keys":[{"kty":"new"},7]}"#).unwrap().len(), 0);
        for none in ["", "[]", "{}", "<html>", r#"{"keys":{}}"#] {
            assert!(parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
