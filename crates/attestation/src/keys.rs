//! Public keys, which verify signatures; [`signer`](crate::signer) has the private keys.
//!
//! The id of a key is the SHA-256 of its `SubjectPublicKeyInfo` in hexadecimal digits, as in cosign.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::Pem;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

use crate::der::{self, EC, ED25519, P256, P384, RSA, Reader};
use crate::sha256;

/// The bytes that precede the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo`.
pub(crate) const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is neither of the accepted formats.
    #[error("it is neither PEM with public keys nor a JSON Web Key Set")]
    NotKeys,
    /// The PEM is damaged.
    #[error("the PEM cannot be read: {0}")]
    Pem(String),
    /// The PEM contains something other than a key.
    #[error("it contains a {0:?} block; accepted are {1}")]
    OtherBlock(String, &'static str),
    /// A private key of another type.
    #[error("a private key in it is not an Ed25519 key in PKCS#8: `openssl genpkey -algorithm ed25519` creates one")]
    NotEd25519,
    /// A public key of an unsupported type.
    #[error(
        "a public key in it is not of a supported type: Ed25519, ECDSA over P-256 or P-384, or RSA of at least 2048 bits"
    )]
    UnknownPublicKey,
    /// There is no key.
    #[error("it contains no key")]
    None,
    /// There are several keys, where only one is possible.
    #[error("it contains {0} keys, but must contain exactly one")]
    Several(usize),
    /// There is no key to sign with.
    #[error("the first key in it is a public key, but the first key signs, so it must be a private key")]
    FirstIsPublic,
    /// The system returned no random numbers.
    #[error("the system returned no random numbers")]
    NoRandom,
}

/// The algorithm of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    Rsa,
}

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// The whole `SubjectPublicKeyInfo`.
    spki: Vec<u8>,
    /// The key itself, in the form that its algorithm requires.
    key: Vec<u8>,
    id: String,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("algorithm", &self.algorithm).field("id", &self.id).finish()
    }
}

impl PublicKey {
    /// A key from its `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`KeyError::UnknownPublicKey`].
    pub fn from_spki(spki: &[u8]) -> Result<PublicKey, KeyError> {
        let (algorithm, key) = read_spki(spki).ok_or(KeyError::UnknownPublicKey)?;
        Ok(PublicKey { algorithm, spki: spki.to_vec(), key: key.to_vec(), id: sha256(spki) })
    }

    /// All keys of a text: PEM with `PUBLIC KEY` blocks, or a JSON Web Key Set or a single JSON Web Key. At least one.
    ///
    /// # Errors
    /// [`KeyError`] for the first that cannot be used.
    pub fn read_all(text: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
        let keys = if text.trim_ascii_start().starts_with(b"{") {
            let set: Value = serde_json::from_slice(text).map_err(|_| KeyError::NotKeys)?;
            match set.get("keys") {
                Some(Value::Array(keys)) => keys.iter().map(PublicKey::from_jwk).collect::<Result<Vec<_>, _>>()?,
                Some(_) => return Err(KeyError::NotKeys),
                None => vec![PublicKey::from_jwk(&set)?],
            }
        } else {
            let blocks = pem::parse_many(text).map_err(|error| KeyError::Pem(error.to_string()))?;
            let read = |block: &Pem| match block.tag() {
                "PUBLIC KEY" => PublicKey::from_spki(block.contents()),
                other => Err(KeyError::OtherBlock(other.to_owned(), "PUBLIC KEY")),
            };
            blocks.iter().map(read).collect::<Result<Vec<_>, _>>()?
        };
        if keys.is_empty() { Err(KeyError::None) } else { Ok(keys) }
    }

    /// A key from a JSON Web Key: Ed25519 or ECDSA.
    fn from_jwk(jwk: &Value) -> Result<PublicKey, KeyError> {
        let bytes = |name: &str| jwk[name].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let text = |name: &str| jwk[name].as_str().unwrap_or_default();
        let spki = match (text("kty"), text("crv")) {
            ("OKP", "Ed25519") => bytes("x").map(|x| [&ED25519_PREFIX[..], &x].concat()),
            ("EC", curve @ ("P-256" | "P-384")) => {
                let curve = if curve == "P-256" { P256 } else { P384 };
                bytes("x").zip(bytes("y")).map(|(x, y)| ec_spki(curve, &[&[0, 4][..], &x, &y].concat()))
            }
            _ => None,
        };
        PublicKey::from_spki(&spki.ok_or(KeyError::UnknownPublicKey)?)
    }

    /// The SHA-256 of the `SubjectPublicKeyInfo`, in hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the algorithm: `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `RSA`.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::EcdsaP256 => "ECDSA P-256",
            Algorithm::EcdsaP384 => "ECDSA P-384",
            Algorithm::Rsa => "RSA",
        }
    }

    /// Whether this key made the signature of this message. The hash is the one that belongs to the key; for RSA also
    /// SHA-512, and for P-384 also SHA-256, which cosign uses with every key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.algorithm {
            Algorithm::Ed25519 => &[&signature::ED25519],
            Algorithm::EcdsaP256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            Algorithm::EcdsaP384 => &[&signature::ECDSA_P384_SHA384_ASN1, &signature::ECDSA_P384_SHA256_ASN1],
            Algorithm::Rsa => &[
                &signature::RSA_PKCS1_2048_8192_SHA256,
                &signature::RSA_PSS_2048_8192_SHA256,
                &signature::RSA_PKCS1_2048_8192_SHA512,
                &signature::RSA_PSS_2048_8192_SHA512,
            ],
        };
        let verifies = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.key).verify(message, signature).is_ok()
        };
        algorithms.iter().any(verifies)
    }

    /// The 32 bytes of an Ed25519 key; `None` for another key.
    pub(crate) fn ed25519(&self) -> Option<&[u8]> {
        (self.algorithm == Algorithm::Ed25519).then_some(&self.key[..])
    }

    /// The key as a block of PEM.
    pub fn pem(&self) -> String {
        pem::encode_config(&Pem::new("PUBLIC KEY", self.spki.clone()), line_feeds())
    }
}

pub(crate) fn line_feeds() -> pem::EncodeConfig {
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)
}

/// The algorithm and the key of a `SubjectPublicKeyInfo`.
fn read_spki(spki: &[u8]) -> Option<(Algorithm, &[u8])> {
    let mut outer = Reader(spki);
    // A structure of more than 64 KiB is not a key.
    let mut whole = Reader(outer.expect(der::SEQUENCE).filter(|whole| whole.len() <= 0xffff)?);
    let mut about = Reader(whole.expect(der::SEQUENCE)?);
    let (unused, key) = whole.expect(der::BIT_STRING)?.split_first()?;
    if *unused != 0 || !outer.0.is_empty() || !whole.0.is_empty() {
        return None;
    }
    let algorithm = match about.expect(der::OBJECT)? {
        ED25519 if key.len() == 32 => Algorithm::Ed25519,
        EC => match about.expect(der::OBJECT)? {
            P256 if key.len() == 65 => Algorithm::EcdsaP256,
            P384 if key.len() == 97 => Algorithm::EcdsaP384,
            _ => return None,
        },
        RSA => {
            // The modulus comes first, with a byte that marks it as positive.
            let modulus = Reader(Reader(key).expect(der::SEQUENCE)?).expect(der::INTEGER)?;
            if modulus.len() < 256 {
                return None;
            }
            Algorithm::Rsa
        }
        _ => return None,
    };
    Some((algorithm, key))
}

fn ec_spki(curve: &[u8], point: &[u8]) -> Vec<u8> {
    let about = [der::element(der::OBJECT, EC), der::element(der::OBJECT, curve)].concat();
    let whole = [der::element(der::SEQUENCE, &about), der::element(der::BIT_STRING, point)].concat();
    der::element(der::SEQUENCE, &whole)
}
