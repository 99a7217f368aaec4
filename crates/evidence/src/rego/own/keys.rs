//! Public keys, as `io.jwt.*` takes them: PEM of a key or a certificate, or a JSON Web Key or a set of them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

use super::Refused;

/// A public key and what is said of it.
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
    /// A key of another kind: nothing is verified with it.
    Other,
}

/// How a token is signed, besides by a shared secret.
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
    /// By its name in a token's header.
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
    /// Whether a signature is one of the message by the holder of the key. A key of another kind has signed nothing.
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
            (Public::Ed25519(point), None, Algorithm::EdDsa) => by(&ED25519, point),
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
        let wrong = || Refused::new(format!("the {} is no key that can be read", label.to_lowercase()));
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

/// The first block of a text in PEM: what it says that it is, and its bytes.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|character| !character.is_whitespace()).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// A value of DER: its tag, what is in it, and what follows.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((tag, inside, rest))
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]` of a certificate: its version.
const VERSION: u8 = 0xa0;

fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    der(bytes).filter(|(found, _, _)| *found == tag).map(|(_, inside, rest)| (inside, rest))
}

/// The `SubjectPublicKeyInfo` of a certificate, which is not verified (RFC 5280, 4.1).
fn key_of_certificate(bytes: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = inside(bytes, SEQUENCE)?;
    let (mut rest, _) = inside(certificate, SEQUENCE)?;
    if let Some((_, after)) = inside(rest, VERSION) {
        rest = after;
    }
    // Serial number, signature, issuer, validity, subject.
    for _ in 0..5 {
        rest = der(rest)?.2;
    }
    let (_, _, after) = der(rest)?;
    Some(&rest[..rest.len() - after.len()])
}

/// The key of a `SubjectPublicKeyInfo`.
fn public(bytes: &[u8]) -> Option<Public> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let (info, _) = inside(bytes, SEQUENCE)?;
    let (algorithm, rest) = inside(info, SEQUENCE)?;
    let (bits, _) = inside(rest, BIT_STRING)?;
    let (&0, key) = bits.split_first()? else { return None };
    let (name, parameters) = inside(algorithm, OBJECT_IDENTIFIER)?;
    Some(match name {
        RSA => {
            let (numbers, _) = inside(key, SEQUENCE)?;
            let (modulus, rest) = inside(numbers, INTEGER)?;
            let (exponent, _) = inside(rest, INTEGER)?;
            Public::Rsa(trimmed(modulus), trimmed(exponent))
        }
        EC => match inside(parameters, OBJECT_IDENTIFIER)?.0 {
            P256 => Public::P256(key.to_vec()),
            P384 => Public::P384(key.to_vec()),
            _ => Public::Other,
        },
        ED25519 => Public::Ed25519(key.to_vec()),
        _ => Public::Other,
    })
}

/// A number without the zeros before it.
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
