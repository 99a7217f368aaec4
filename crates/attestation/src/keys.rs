//! Keys: the Ed25519 keys that sign, and the public keys that verify.
//!
//! A key's id is the SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal digits, as cosign has it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::Pem;
use ring::rand::SystemRandom;
use ring::signature::{self, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Value, json};

use crate::der::{self, Reader};
use crate::dsse::{Envelope, EnvelopeSignature};
use crate::sha256;

/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo`.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not what keys are written in.
    #[error("it is neither PEM with public keys nor a JSON Web Key Set")]
    NotKeys,
    /// The PEM is damaged.
    #[error("the PEM cannot be read: {0}")]
    Pem(String),
    /// Something else than a key stands in the PEM.
    #[error("there is a {0:?} in it; what is taken here is {1}")]
    OtherBlock(String, &'static str),
    /// A private key of another sort.
    #[error("a private key in it is no Ed25519 key in PKCS#8: `openssl genpkey -algorithm ed25519` makes one")]
    NotEd25519,
    /// A public key of a sort that is not known.
    #[error("a public key in it is none of Ed25519, ECDSA over P-256 or P-384, and RSA of 2048 bits and more")]
    UnknownPublicKey,
    /// None is there.
    #[error("there is no key in it")]
    None,
    /// Nothing could sign.
    #[error("the first key in it is a public one: the first one signs, so it must be a private key")]
    FirstIsPublic,
    /// The system gives no random numbers.
    #[error("the system gave no random numbers")]
    NoRandom,
}

/// What a public key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    Rsa,
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// The whole `SubjectPublicKeyInfo`.
    spki: Vec<u8>,
    /// The key itself, as the algorithm has it.
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

    /// Every key of a text: PEM with `PUBLIC KEY` blocks, or a JSON Web Key Set or a single JSON Web Key. At least one.
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

    /// What it is called: `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `RSA`.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::EcdsaP256 => "ECDSA P-256",
            Algorithm::EcdsaP384 => "ECDSA P-384",
            Algorithm::Rsa => "RSA",
        }
    }

    /// Whether the signature is this key's, of this message. The hash is the one that goes with the key; of RSA also the
    /// longer ones, and of P-384 also SHA-256, which cosign uses with every key.
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

    /// The key as a block of PEM.
    pub fn pem(&self) -> String {
        pem::encode_config(&Pem::new("PUBLIC KEY", self.spki.clone()), line_feeds())
    }
}

fn line_feeds() -> pem::EncodeConfig {
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)
}

/// The algorithm and the key in a `SubjectPublicKeyInfo`.
fn read_spki(spki: &[u8]) -> Option<(Algorithm, &[u8])> {
    let mut outer = Reader(spki);
    let mut whole = Reader(outer.expect(der::SEQUENCE)?);
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
            // The modulus comes first, with a byte that says that it is positive.
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

/// The keys of a server: the first one signs, all are published.
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
    /// The keys in a PEM file: Ed25519 keys in PKCS#8, of which the first one signs, and public keys that are only
    /// published. `verifier` is the URI of who says what is signed.
    ///
    /// # Errors
    /// [`KeyError`] for what is wrong with the first that cannot be used.
    pub fn from_pem(text: &[u8], verifier: impl Into<String>) -> Result<Signer, KeyError> {
        let blocks = pem::parse_many(text).map_err(|error| KeyError::Pem(error.to_string()))?;
        let (mut signing, mut published) = (None, Vec::new());
        for block in &blocks {
            match block.tag() {
                "PRIVATE KEY" => {
                    // What openssl makes has no public part in it.
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

    /// A new key as PEM: a secret.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn generate_pem() -> Result<String, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandom)?;
        Ok(pem::encode_config(&Pem::new("PRIVATE KEY", pkcs8.as_ref()), line_feeds()))
    }

    /// The URI of who says what is signed.
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    /// Every public key, that of the signing key first.
    pub fn published(&self) -> &[PublicKey] {
        &self.published
    }

    /// The id of the key that signs.
    pub fn key_id(&self) -> &str {
        self.published[0].id()
    }

    /// Signs a payload.
    pub fn sign(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        let signature = self.pair.sign(&crate::dsse::pae(payload_type, &payload)).as_ref().to_vec();
        let signatures = vec![EnvelopeSignature { keyid: self.key_id().to_owned(), sig: signature }];
        Envelope { payload_type: payload_type.to_owned(), payload, signatures }
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> String {
        let ed25519 = |key: &&PublicKey| key.algorithm == Algorithm::Ed25519;
        let jwk = |key: &PublicKey| {
            let x = URL_SAFE_NO_PAD.encode(&key.key);
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.id, "x": x})
        };
        let keys: Vec<Value> = self.published.iter().filter(ed25519).map(jwk).collect();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// From RFC 8410, section 10.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    const MESSAGE: &[u8] = b"DSSEv1 4 test 5 hello";

    fn read(text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::read_all(text.as_bytes()).map(|mut keys| keys.remove(0))
    }

    #[test]
    fn the_key_of_the_standard_has_the_public_key_of_the_standard() {
        let signer = Signer::from_pem(PRIVATE.as_bytes(), "urn:test").unwrap();
        assert_eq!(signer.published(), [read(PUBLIC).unwrap()]);
        assert_eq!(signer.public_pem(), PUBLIC);
        assert_eq!(PublicKey::read_all(signer.jwks().as_bytes()).unwrap(), signer.published());
        let envelope = signer.sign("test", b"hello".to_vec());
        assert!(signer.published()[0].verifies(MESSAGE, &envelope.signatures[0].sig));
        assert!(!signer.published()[0].verifies(b"DSSEv1 4 test 5 hallo", &envelope.signatures[0].sig));
    }

    #[test]
    fn the_first_key_signs_and_all_are_published() {
        let second = Signer::generate_pem().unwrap();
        let old = Signer::from_pem(PRIVATE.as_bytes(), "urn:test").unwrap();
        for (file, published) in
            [(format!("{second}{PRIVATE}"), 2), (format!("{second}{PUBLIC}"), 2), (second.clone(), 1)]
        {
            let signer = Signer::from_pem(file.as_bytes(), "urn:test").unwrap();
            assert_eq!(signer.published().len(), published);
            assert_eq!(signer.key_id(), Signer::from_pem(second.as_bytes(), "").unwrap().key_id());
            let before = old.sign("test", b"hello".to_vec());
            assert_eq!(before.verified_by(signer.published()).is_some(), published == 2, "as long as it is published");
        }
    }

    #[test]
    fn what_is_no_key_to_sign_with_is_refused_with_what_would_be_one() {
        let why = |text: &str| Signer::from_pem(text.as_bytes(), "urn:test").unwrap_err();
        assert_eq!(why(""), KeyError::None);
        assert_eq!(why(&format!("{PUBLIC}{PRIVATE}")), KeyError::FirstIsPublic);
        assert!(matches!(why("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), KeyError::NotEd25519));
        let other = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        assert!(matches!(why(other), KeyError::OtherBlock(tag, _) if tag == "EC PRIVATE KEY"));
        assert!(matches!(why("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n"), KeyError::Pem(_)));
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        assert!(matches!(read(PRIVATE), Err(KeyError::OtherBlock(..))));
        assert_eq!(read("{}"), Err(KeyError::UnknownPublicKey));
        assert_eq!(read("{"), Err(KeyError::NotKeys));
        assert_eq!(read(r#"{"keys":[]}"#), Err(KeyError::None));
        assert_eq!(read("nothing"), Err(KeyError::None));
        let spki = pem::parse(PUBLIC).unwrap().into_contents();
        for cut in 0..spki.len() {
            assert!(PublicKey::from_spki(&spki[..cut]).is_err());
        }
        assert!(PublicKey::from_spki(&[&spki[..], &[0]].concat()).is_err(), "nothing may follow");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let signer = Signer::from_pem(PRIVATE.as_bytes(), "urn:test").unwrap();
        assert!(!format!("{signer:?}").contains("pair"));
    }

    /// Keys of other sorts, and their signatures over the message, made by openssl.
    const RSA_2048: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqmxPVtJZpVbaMdUdRVqN\n\
        bgy/HtozIqe6AEagwWVBGuA4p15ba/qB3SwFbI1VODOPm2kfNuGlzs4YFsGuSkO6\n\
        lxX0Cl3aQSjHw0F8oLQSCvJJ0hUMR38vZAN9tjiWSqXAhjQ8Szs1LJwvbuHsl2Sm\n\
        wELMClBsBvHGoa3ze0j0hdueMa8BcC80XL3dZRt2TNf1THE2I7LoakfjtXvmHXAd\n\
        aUvMwiiYiMuEUpOlnKdtu0nbM7NjoB6nlgZYoWxnftKCYdZ/1GBt+DFKNRv2ekjG\n\
        sTPntRrACOieFVR9jQZ3CoQrd5ZlEobTJqhXsSZ6e1Pyu3sJnRHn7BJ49R/gqzW2\n\
        FQIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    const BY_RSA: &str = "F1JidMxNnv9+4WIpin6sA+eBaL3UxeFWEtd2LGv0hm15Ect+27YOIRt6biUrqnKgsBtagGQRxD3bQMOcOOMEj9/4XBBKJw9oU4nI\
        h7Yly9Mw4nfWV3L1T8CO7grGndP6FOe0Cys76PmmFuaPppWDolcr5S33Fx8kI2F9YoT3i9Ab2/FCOsdfQ2DwIlquJBBZpHNawTu+\
        5mc+Mtgcxa1zsNpYKU/9L3xHuMuEEsOgLDGFmPtvnekJgd3igfcwESiHgHKgEyn5LtbFyjdvNxsgNIBDban57V6qUiVfnMFUpnDj\
        d5L7CWVLRV0jixZQflljmZ/uCZ1P8HzhH+Cuo9pGvg==";
    const BY_RSA_SHA512: &str = "LzjFnhhJwoUNa1Vhh1BeOmqWGA5hKUAGZeF0bmp3SapEIv+OJhIgXCqO6qUDOvH+tLNJ8hAiQ+kzgQA+z271ofhOVoxmdbA+j0sK\
        SAUYbfQyjj10Le0owhYI9OT69ah5eicGYO4f+aDAfMw2IRY1p1upjnEf///e2Iz174HDXiUau2xqK9WynT2Tk9solmU9SAiXqNDV\
        5J1etWJ1sOA5xvcP0UtO34qbYxElaApdPdkpIbiz6CUXJ0rTV/S3CWVwmKLis3P5yKgJMKowNo3KvXngnVlmXExMUTcCSxMV6a6I\
        +rJyu8/71tjQgd0L5EvWJSMhVdEBk2n91GfvgD4TKA==";
    const EC_P384: &str = "-----BEGIN PUBLIC KEY-----\n\
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE+zqTAdGxXxbKHIpaBOPNDORqUgSALMZf\n\
        4en9+vQ/h2X4DnHGQatEPl6bz6FbufnTLO9ui2SNl9rZOBtVElICMKN3VH8N4J03\n\
        MG39dQyQYl21Ypk35rwa01/5wflD9dKe\n\
        -----END PUBLIC KEY-----\n";
    const BY_P384: &str = "MGUCMQC74lxUHcWhLRvKx1ij7x76RaLUYMd+j+SYiG9uVEunK/VZCYLlGyAIQe8Q6+2iE1QCMBZ9+IuQMmHpP4lRWn9EtW49FYEl\
        J9sp2r99MDb1YTkZkxOyAj9b2L+hBL0sAwDLtg==";
    const BY_P384_SHA256: &str = "MGQCMG7IkQHMg/680qxQs32WjZ+zUdamXvKcNj3vt9/sHB51FyKoLToQht/t8HUElaN/ogIwKf0OdO4CyO5HB7/LKltbjmDP0/7f\
        NMY4Dtv9mHiKjBP4d4hQEDJTrfyk0kTjku6K";
    const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCk3oMnKtm9Lvnn7ElMflanukul\n\
        IyV3+QuEqdM/J1Cm9IiD0f6JgghqxGageg2/S1BtDELyyJkQ3z0VSSbjq74t0JCS\n\
        HcqRAUOsfhQ6P8M7nNJfVzN9TTA0tJaRPTbPLJZzlk3/BS/DNd5u5hnS6GxTyqSy\n\
        H//7hJTgzmpxHw8EoQIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    const EC_P521: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBQFIPOWhqcXilJQDASheCoaAI/6iv\n\
        Y9cClD9VfYJpPiiYeGBql6oPWjDgtkUIhN9d9kkDvahmwCWCirx6LbmCVX0BtvLL\n\
        31BwNJhPMp8vuWkv6mmsLFUgGDmDzbdYXLiLiioW+Bi/+cKeJxaRsa8nR6KsGACS\n\
        58s3nlff7rkNNyjOt8Y=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn signatures_of_openssl_verify() {
        let (rsa, p384) = (read(RSA_2048).unwrap(), read(EC_P384).unwrap());
        assert_eq!((rsa.algorithm(), p384.algorithm()), ("RSA", "ECDSA P-384"));
        assert_eq!(p384.id(), "c5c45fe657888df6b7abe0dc505915a6c88f346a2b8a7f592581be6cb847283b");
        for (key, signature) in [(&rsa, BY_RSA), (&rsa, BY_RSA_SHA512), (&p384, BY_P384), (&p384, BY_P384_SHA256)] {
            let signature = crate::dsse::decode(signature).unwrap();
            assert!(key.verifies(MESSAGE, &signature));
            assert!(!key.verifies(b"another message", &signature));
            assert!(!key.verifies(MESSAGE, &signature[..signature.len() - 1]));
            let other = if key == &rsa { &p384 } else { &rsa };
            assert!(!other.verifies(MESSAGE, &signature));
        }
    }

    #[test]
    fn keys_that_are_too_short_or_of_another_sort_are_refused() {
        assert_eq!(read(RSA_1024), Err(KeyError::UnknownPublicKey));
        assert_eq!(read(EC_P521), Err(KeyError::UnknownPublicKey));
    }

    #[test]
    fn an_elliptic_curve_key_is_read_from_its_json_form() {
        let p384 = read(EC_P384).unwrap();
        let (x, y) = p384.key[1..].split_at(48);
        let jwk = json!({"kty": "EC", "crv": "P-384", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        assert_eq!(read(&jwk.to_string()), Ok(p384));
        assert!(read(&json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}).to_string()).is_err());
    }
}
