//! The Ed25519 keys with which a server signs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::Pem;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::dsse::{Envelope, EnvelopeSignature, pae};
use crate::keys::{ED25519_PREFIX, KeyError, PublicKey, line_feeds};

/// The keys of a server: the first one signs, and all are published.
pub struct Signer {
    pair: Ed25519KeyPair,
    published: Vec<PublicKey>,
    verifier: String,
}

/// The private key is not shown.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("published", &self.published).field("verifier", &self.verifier).finish()
    }
}

impl Signer {
    /// The keys in a PEM file: Ed25519 keys in PKCS#8, the first of which signs, and public keys that are only
    /// published. `verifier` is the URI of the party that makes the signed statements.
    ///
    /// # Errors
    /// [`KeyError`] for the first key that cannot be used.
    pub fn from_pem(text: &[u8], verifier: impl Into<String>) -> Result<Signer, KeyError> {
        let blocks = pem::parse_many(text).map_err(|error| KeyError::Pem(error.to_string()))?;
        let (mut signing, mut published) = (None, Vec::new());
        for block in &blocks {
            match block.tag() {
                "PRIVATE KEY" => {
                    // Keys that openssl creates do not include the public key.
                    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(block.contents())
                        .map_err(|_| KeyError::NotEd25519)?;
                    published.push(public_of(&pair));
                    signing.get_or_insert(pair);
                }
                "PUBLIC KEY" if signing.is_none() => return Err(KeyError::FirstIsPublic),
                "PUBLIC KEY" => published.push(PublicKey::from_spki(block.contents())?),
                other => return Err(KeyError::OtherBlock(other.to_owned(), "PRIVATE KEY and PUBLIC KEY")),
            }
        }
        let pair = signing.ok_or(KeyError::None)?;
        Ok(Signer { pair, published, verifier: verifier.into() })
    }

    /// A new key as PEM, which is a secret.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn generate_pem() -> Result<String, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandom)?;
        Ok(pem::encode_config(&Pem::new("PRIVATE KEY", pkcs8.as_ref()), line_feeds()))
    }

    /// The URI of the party that makes the signed statements.
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    /// All public keys, that of the signing key first.
    pub fn published(&self) -> &[PublicKey] {
        &self.published
    }

    /// The id of the key that signs.
    pub fn key_id(&self) -> &str {
        self.published[0].id()
    }

    /// Signs a payload.
    pub fn sign(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        let signature = self.pair.sign(&pae(payload_type, &payload)).as_ref().to_vec();
        let signatures = vec![EnvelopeSignature { keyid: self.key_id().to_owned(), sig: signature }];
        Envelope { payload_type: payload_type.to_owned(), payload, signatures }
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> String {
        let jwk = |key: &PublicKey| {
            let x = URL_SAFE_NO_PAD.encode(key.ed25519()?);
            Some(json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.id(), "x": x}))
        };
        let keys: Vec<Value> = self.published.iter().filter_map(jwk).collect();
        json!({"keys": keys}).to_string()
    }

    /// The public keys as PEM.
    pub fn public_pem(&self) -> String {
        self.published.iter().map(PublicKey::pem).collect()
    }
}

fn public_of(pair: &Ed25519KeyPair) -> PublicKey {
    let spki = [&ED25519_PREFIX[..], pair.public_key().as_ref()].concat();
    PublicKey::from_spki(&spki).expect("an Ed25519 key of 32 bytes")
}
