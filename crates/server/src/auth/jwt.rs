//! Tokens of identity providers: JSON Web Tokens (RFC 7519), signed with a key of the provider.
//!
//! Few tokens are accepted (RFC 8725): three algorithms, and the issuers that the operator configured with their
//! audiences and keys. The header of a token chooses among the provider's keys and does nothing else. Everything else
//! is refused, always with the same answer. A verified token is remembered until it expires, as long as its key is
//! still one of the provider's keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation};
use operations::{Timestamp, check_text};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::Token;

use super::claims::ClaimMapping;
use super::fetch::FetchError;
use super::jwks::{Key, KeySet, KeySettings, MAX_KEY_ID};

/// The most bytes of a token; even tokens with hundreds of groups are smaller.
const MAX_BYTES: usize = 16 * 1024;
/// The most tokens remembered; beyond it, expired ones are forgotten, and if there are none, all.
const REMEMBERED: usize = 10_000;

/// A provider whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// The operator's name for it; a part of the ids of its callers.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// A token must have one of these as `aud`; not empty.
    pub audiences: Vec<String>,
    /// Where its keys come from.
    pub keys: KeySettings,
    /// How far the provider's clock may be from the store's.
    pub leeway: Duration,
    /// How its claims are mapped.
    pub claims: ClaimMapping,
}

/// A token that was verified.
pub(crate) struct Verified {
    /// The caller, as if by an API token.
    pub(crate) token: Arc<Token>,
    key: Arc<Key>,
    /// The index of the provider.
    issuer: usize,
}

/// The outcome of verifying a token.
pub(crate) enum Outcome {
    /// It is valid.
    Valid(Arc<Verified>),
    /// Its signature is valid, but the token is not valid now or not here.
    Refused,
    /// It was not signed by a provider whose tokens are accepted here.
    Unknown,
    /// It names a provider whose keys could not be fetched yet, so that its signature cannot be verified.
    KeysUnavailable,
}

/// Verifies tokens. By default, no provider is accepted.
#[derive(Default)]
pub(crate) struct JwtVerifier {
    issuers: Vec<Issuer>,
    verified: Mutex<HashMap<[u8; 32], Arc<Verified>>>,
}

struct Issuer {
    settings: JwtSettings,
    keys: KeySet,
}

/// What a token names.
pub(super) struct Named {
    /// The index of the provider.
    issuer: usize,
    key_id: Option<String>,
    algorithm: Algorithm,
}

/// The header, as far as it matters. A duplicate member is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    /// No extension is understood here, so a token that requires one is refused.
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
    /// A token that carries its own keys vouches only for itself.
    #[serde(default, deserialize_with = "is_present")]
    jku: bool,
    #[serde(default, deserialize_with = "is_present")]
    jwk: bool,
    #[serde(default, deserialize_with = "is_present")]
    x5u: bool,
    #[serde(default, deserialize_with = "is_present")]
    x5c: bool,
}

/// A member that is there, whatever its value: `null`, too.
fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("token", &self.token).finish_non_exhaustive()
    }
}

impl JwtVerifier {
    /// Reads the keys in files; addresses are not called yet.
    pub(crate) fn new(issuers: Vec<JwtSettings>) -> Result<JwtVerifier, FetchError> {
        let issuers = issuers.into_iter().map(|settings| {
            let keys = KeySet::new(settings.keys.clone())?;
            Ok(Issuer { settings, keys })
        });
        Ok(JwtVerifier { issuers: issuers.collect::<Result<_, FetchError>>()?, verified: Mutex::default() })
    }

    /// One provider with these keys.
    pub(super) fn fixed(settings: JwtSettings, keys: KeySet) -> JwtVerifier {
        JwtVerifier { issuers: vec![Issuer { settings, keys }], verified: Mutex::default() }
    }

    /// How many providers there are.
    pub(crate) fn issuers(&self) -> usize {
        self.issuers.len()
    }

    /// How often the keys of a provider should be fetched.
    pub(crate) fn period(&self, issuer: usize) -> Duration {
        self.issuers[issuer].keys.period()
    }

    /// Fetches the keys of a provider. When that fails, the known keys remain in use.
    pub(crate) async fn refresh(&self, issuer: usize) {
        let Issuer { settings, keys } = &self.issuers[issuer];
        if let Err(error) = keys.refresh().await {
            let name = &settings.name;
            tracing::warn!(issuer = name, %error, "could not fetch the keys of an identity provider; the known keys remain in use");
        }
    }

    /// A token that was verified before and is still valid.
    pub(crate) fn known(&self, text: &str, now: Timestamp) -> Option<Arc<Verified>> {
        let verified = self.lock().get(&hash(text)).cloned()?;
        self.still_holds(&verified, now).then_some(verified)
    }

    /// Whether a token that was verified has not expired, and its key is still its provider's.
    pub(crate) fn still_holds(&self, verified: &Verified, now: Timestamp) -> bool {
        verified.token.is_valid(now) && self.issuers[verified.issuer].keys.holds(&verified.key)
    }

    /// Verifies a token; calls the provider if the token's key is unknown and a call is allowed.
    pub(crate) async fn verify(&self, text: &str, now: Timestamp) -> Outcome {
        let Some(Named { issuer, key_id, algorithm }) = self.named(text) else { return Outcome::Unknown };
        let Issuer { settings, keys } = &self.issuers[issuer];
        let Some(key) = keys.find(key_id.as_deref(), algorithm).await else {
            return if keys.are_known() { Outcome::Unknown } else { Outcome::KeysUnavailable };
        };
        let Some(claims) = settings.signed(text, &key) else { return Outcome::Unknown };
        match settings.caller(&claims, now) {
            Ok(token) => {
                let verified = Arc::new(Verified { token: Arc::new(token), key, issuer });
                self.remember(hash(text), &verified, now);
                Outcome::Valid(verified)
            }
            Err(why) => {
                // For the operator, who may have mapped claims wrongly; the caller does not get the reason.
                tracing::debug!(issuer = settings.name, why, "refused a token of an identity provider");
                Outcome::Refused
            }
        }
    }

    /// The provider and the key that a token names, if it can be one of the tokens that are accepted here. Nothing of
    /// it is trusted before the signature is verified: it only selects the keys to use.
    pub(super) fn named(&self, text: &str) -> Option<Named> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let mut parts = text.split('.');
        let (header, payload, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let header: Header = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let algorithm = header.algorithm()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
        let named = claims.get("iss")?.as_str()?;
        let issuer = self.issuers.iter().position(|issuer| issuer.settings.issuer == named)?;
        Some(Named { issuer, key_id: header.kid, algorithm })
    }

    fn remember(&self, hash: [u8; 32], verified: &Arc<Verified>, now: Timestamp) {
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, verified| verified.token.is_valid(now));
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
        }
        remembered.insert(hash, Arc::clone(verified));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Verified>>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Header {
    /// The algorithm, if the header requires nothing that is not supported here.
    fn algorithm(&self) -> Option<Algorithm> {
        let brings_keys = self.jku || self.jwk || self.x5u || self.x5c;
        // In tokens of other types (for a logout, for an event) the same claims have another meaning.
        let typ = self.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        let is_access = matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt");
        let names_key = self.kid.as_ref().is_none_or(|id| (1..=MAX_KEY_ID).contains(&id.len()));
        if self.crit || brings_keys || !is_access || !names_key {
            return None;
        }
        match self.alg.as_str() {
            "RS256" => Some(Algorithm::RS256),
            "ES256" => Some(Algorithm::ES256),
            "EdDSA" => Some(Algorithm::EdDSA),
            _ => None,
        }
    }
}

impl JwtSettings {
    /// The claims of a token, if this key has signed it, for this service.
    fn signed(&self, text: &str, key: &Key) -> Option<Map<String, Value>> {
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&self.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // By the store's clock, in `caller`.
        validation.validate_exp = false;
        Some(jsonwebtoken::decode::<Map<String, Value>>(text, &key.decoding, &validation).ok()?.claims)
    }

    /// The caller that these claims describe; or the reason why they describe none, for the log.
    fn caller(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Token, String> {
        let time = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(value) => millis(value).map(Some).ok_or_else(|| format!("its claim {name} is not a time")),
        };
        let expires_at = time("exp")?.ok_or("it has no claim exp")?.after(self.leeway);
        let latest = now.after(self.leeway);
        if expires_at <= now {
            return Err("it has expired".to_owned());
        }
        for begin in ["nbf", "iat"] {
            if time(begin)?.is_some_and(|at| at > latest) {
                return Err(format!("its claim {begin} is in the future"));
            }
        }
        // It is bound to a key whose possession its holder would have to prove, which a bearer does not (RFC 7800).
        if claims.contains_key("cnf") {
            return Err("it is bound to a key of its holder".to_owned());
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() || check_text("sub", subject).is_err() {
            return Err("its claim sub is missing or not a short printable text".to_owned());
        }
        let granted = self.claims.apply(claims).map_err(|why| why.to_string())?;
        Ok(Token {
            id: format!("jwt:{}:{subject}", self.name),
            name: subject.to_owned(),
            access: granted.access,
            scopes: granted.scopes,
            created_at: time("iat")?.unwrap_or(now),
            expires_at: Some(expires_at),
            last_used_at: None,
            revoked_at: None,
            instance: None,
        })
    }
}

/// A time in seconds since 1970, which may have a fraction (RFC 7519, section 2).
pub(super) fn millis(value: &Value) -> Option<Timestamp> {
    let millis = value.as_f64()? * 1_000.0;
    // Within the range of a Timestamp; NaN is not in it either.
    (0.0..=253_402_300_799_999.0).contains(&millis).then(|| Timestamp::from_millis(millis as i64))
}
