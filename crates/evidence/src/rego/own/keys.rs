//! Public keys, as `io.jwt.*` accepts them: PEM of a key or a certificate, or a JSON Web Key or a set of them.

use attestation::der::{BIT_STRING, EC, ED25519, INTEGER, OBJECT, P256, P384, RSA, Reader, SEQUENCE};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

use super::Refused;

/// A public key and its metadata.
pub struct Key {
    /// `kid` of a JSON Web Key.
    pub id: Option<String>,
    /// `alg` of a JSON Web Key.
    pub algorithm: Option<String>,
    public: Public,
}

enum Public {
    /// Modulus and exponent, big-endian.
    Rsa(Vec<u8>, Vec<u8>),
    /// The uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    /// A key of another kind: it verifies nothing.
    Other,
}

/// The algorithm of a token's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// The algorithm with this name in a token's header.
    pub fn named(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Algorithm::Rs256,
            "RS384" => Algorithm::Rs384,
            "RS512" => Algorithm::Rs512,
            "PS256" => Algorithm::Ps256,
            "PS384" => Algorithm::Ps384,
            "PS512" => Algorithm::Ps512,
            "ES256" => Algorithm::Es256,
            "ES384" => Algorithm::Es384,
            "EdDSA" => Algorithm::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return None,
        })
    }
}

impl Key {
    /// Whether the holder of the key made a signature of the message. For a key of another kind this is never the case.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let by = |known: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(known, key).verify(message, signature).is_ok()
        };
        match (&self.public, algorithm.rsa(), algorithm) {
            (Public::Rsa(n, e), Some(parameters), _) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            (Public::P256(point), None, Algorithm::Es256) => by(&ECDSA_P256_SHA256_FIXED, point),
            (Public::P384(point), None, Algorithm::Es384) => by(&ECDSA_P384_SHA384_FIXED, point),
            (Public::Ed25519(point), None, Algorithm::EdDsa) => by(&signature::ED25519, point),
            _ => false,
        }
    }

    fn of(public: Public) -> Key {
        Key { id: None, algorithm: None, public }
    }
}

/// Reads keys.
pub fn read(text: &str) -> Result<Vec<Key>, Refused> {
    if let Some((label, der)) = pem(text) {
        let wrong = || Refused::new(format!("the {} is not a readable key", label.to_lowercase()));
        let info = match label {
            "CERTIFICATE" => key_of_certificate(&der).ok_or_else(wrong)?,
            "PUBLIC KEY" => der.as_slice(),
            _ => return Err(Refused::new(format!("expected a PUBLIC KEY or a CERTIFICATE in PEM, found {label:?}"))),
        };
        return Ok(vec![Key::of(public(info).ok_or_else(wrong)?)]);
    }
    let wrong = || Refused::new("expected a key or a certificate in PEM, or a JSON Web Key or a set of them");
    let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let keys = match value.get("keys") {
        Some(Value::Array(keys)) => keys.iter().map(jwk).collect::<Option<Vec<Key>>>(),
        Some(_) => None,
        None => jwk(&value).map(|key| vec![key]),
    };
    keys.ok_or_else(wrong)
}

/// The first block of a PEM text: its label and its bytes.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|character| !character.is_whitespace()).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// `[0]` of a certificate: its version.
const VERSION: u8 = 0xa0;

/// The `SubjectPublicKeyInfo` of a certificate, which is not verified (RFC 5280, 4.1).
fn key_of_certificate(bytes: &[u8]) -> Option<&[u8]> {
    let mut certificate = Reader(Reader(bytes).expect(SEQUENCE)?);
    let mut fields = Reader(certificate.expect(SEQUENCE)?);
    let mut after = fields;
    if after.expect(VERSION).is_some() {
        fields = after;
    }
    // Serial number, signature, issuer, validity, subject.
    for _ in 0..5 {
        fields.read()?;
    }
    let from_key = fields.0;
    fields.read()?;
    Some(&from_key[..from_key.len() - fields.0.len()])
}

/// The key in a `SubjectPublicKeyInfo`.
fn public(bytes: &[u8]) -> Option<Public> {
    let mut info = Reader(Reader(bytes).expect(SEQUENCE)?);
    let mut algorithm = Reader(info.expect(SEQUENCE)?);
    let (&0, key) = info.expect(BIT_STRING)?.split_first()? else { return None };
    Some(match algorithm.expect(OBJECT)? {
        RSA => {
            let mut numbers = Reader(Reader(key).expect(SEQUENCE)?);
            Public::Rsa(trimmed(numbers.expect(INTEGER)?), trimmed(numbers.expect(INTEGER)?))
        }
        EC => match algorithm.expect(OBJECT)? {
            P256 => Public::P256(key.to_vec()),
            P384 => Public::P384(key.to_vec()),
            _ => Public::Other,
        },
        ED25519 => Public::Ed25519(key.to_vec()),
        _ => Public::Other,
    })
}

/// A number without leading zeros.
fn trimmed(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn jwk(value: &Value) -> Option<Key> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    let point = || Some([vec![4], number("x")?, number("y")?].concat());
    let public = match (text("kty")?, text("crv")) {
        ("RSA", _) => Public::Rsa(trimmed(&number("n")?), trimmed(&number("e")?)),
        ("EC", Some("P-256")) => Public::P256(point()?),
        ("EC", Some("P-384")) => Public::P384(point()?),
        ("OKP", Some("Ed25519")) => Public::Ed25519(number("x")?),
        ("EC" | "OKP", Some(_)) | ("oct", _) => Public::Other,
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), public })
}
