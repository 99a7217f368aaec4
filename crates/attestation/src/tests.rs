//! Keys in the forms of the standards and of openssl.
#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::keys::{KeyError, PublicKey};
use crate::signature::TrustedKey;
use crate::signer::Signer;

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
    for (file, published) in [(format!("{second}{PRIVATE}"), 2), (format!("{second}{PUBLIC}"), 2), (second.clone(), 1)]
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
fn a_trusted_key_is_exactly_one() {
    let read = |pem: &str| TrustedKey { name: "release".to_owned(), pem: pem.to_owned() }.read();
    assert_eq!(read(PUBLIC).as_ref(), Ok(&self::read(PUBLIC).unwrap()));
    let error = read(&PUBLIC.repeat(2)).unwrap_err();
    assert_eq!(error, KeyError::Several(2));
    assert_eq!(error.to_string(), "it contains 2 keys, but must contain exactly one");
    assert_eq!(read(""), Err(KeyError::None));
}

#[test]
fn a_secret_is_not_shown() {
    let signer = Signer::from_pem(PRIVATE.as_bytes(), "urn:test").unwrap();
    assert!(!format!("{signer:?}").contains("pair"));
}

/// Keys of other types, and their signatures over the message, made with openssl.
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
    let spki = pem::parse(EC_P384).unwrap().into_contents();
    let (x, y) = spki[spki.len() - 96..].split_at(48);
    let jwk = json!({"kty": "EC", "crv": "P-384", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    assert_eq!(read(&jwk.to_string()), Ok(p384));
    assert!(read(&json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}).to_string()).is_err());
}
