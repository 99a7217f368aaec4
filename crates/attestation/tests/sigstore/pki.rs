//! A certificate authority, a certificate log and a log of signatures for tests, for bundles that no real ones would
//! create.

use attestation::dsse::pae;
use attestation::{PAYLOAD_TYPE, sigstore::Bundle};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;

/// ECDSA with SHA-256, as certificates name it.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
pub const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
pub const SERVER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// The prefix of Fulcio's own identifiers; one more byte follows.
pub const FULCIO: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01];
const SCTS: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];

/// 2024-06-10T12:05:00Z, within the ten minutes of the signer's certificate.
pub const DURING: u64 = 1_718_021_100;

/// An element of DER.
pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, short @ 0..=0x7f] => vec![tag, short],
        [0, byte] => vec![tag, 0x81, byte],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(SEQUENCE, &parts.concat())
}

pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn new() -> Key {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Key(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap())
    }

    pub fn spki(&self) -> Vec<u8> {
        let algorithm =
            [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01][..], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]];
        let algorithm = sequence(&[&der(OBJECT, algorithm[0]), &der(OBJECT, algorithm[1])]);
        sequence(&[&algorithm, &der(0x03, &[&[0], self.0.public_key().as_ref()].concat())])
    }

    pub fn id(&self) -> Vec<u8> {
        digest(&SHA256, &self.spki()).as_ref().to_vec()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// The properties of a signer's certificate.
pub struct Wanted {
    /// The names, each as an element.
    pub names: Vec<Vec<u8>>,
    /// Extensions of Fulcio: the last byte of the identifier, and the content.
    pub fulcio: Vec<(u8, Vec<u8>)>,
    pub usage: Option<&'static [u8]>,
    pub published: bool,
    /// The time at which the log claims to have accepted the entry, in seconds since 1970.
    pub logged: u64,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            names: vec![der(0x81, b"ann@example.com")],
            fulcio: vec![(8, der(0x0c, b"https://issuer.example.com"))],
            usage: Some(CODE_SIGNING),
            published: true,
            logged: DURING,
        }
    }
}

pub struct World {
    authority: Key,
    certificates: Key,
    signatures: Key,
}

impl World {
    pub fn new() -> World {
        World { authority: Key::new(), certificates: Key::new(), signatures: Key::new() }
    }

    /// The trusted root, with an authority whose certificate is valid between these two years.
    pub fn root(&self, years: [&str; 2]) -> Value {
        let [from, to] = years.map(|year| format!("{year}0101000000Z"));
        let ca = sequence(&[&der(0x01, &[0xff])]);
        let extensions = [extension(&[0x55, 0x1d, 0x13], &ca)].concat();
        let certificate = issue(&self.authority, &self.authority.spki(), "authority", [&from, &to], &extensions);
        let since = json!({"start": "2020-01-01T00:00:00Z"});
        let log = |key: &Key| {
            let public = json!({"rawBytes": STANDARD.encode(key.spki()), "validFor": since});
            json!([{"publicKey": public, "logId": {"keyId": STANDARD.encode(key.id())}}])
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": log(&self.signatures),
            "ctlogs": log(&self.certificates),
            "certificateAuthorities": [{
                "certChain": {"certificates": [{"rawBytes": STANDARD.encode(certificate)}]}, "validFor": since,
            }],
        })
    }

    /// The signer's certificate.
    fn certificate(&self, signer: &Key, wanted: &Wanted) -> Vec<u8> {
        let mut extensions = vec![extension(&[0x55, 0x1d, 0x11], &der(SEQUENCE, &wanted.names.concat()))];
        extensions.extend(wanted.usage.map(|usage| extension(&[0x55, 0x1d, 0x25], &sequence(&[&der(OBJECT, usage)]))));
        let fulcio = |(id, content): &(u8, Vec<u8>)| extension(&[FULCIO, &[*id]].concat(), content);
        extensions.extend(wanted.fulcio.iter().map(fulcio));
        if wanted.published {
            let shown = signed_part(&signer.spki(), "signer", MINUTES, &extensions.concat());
            let time = (DURING * 1000).to_be_bytes();
            let length = u32::try_from(shown.len()).unwrap().to_be_bytes();
            let message = [&[0, 0][..], &time, &[0, 1], &self.authority.id(), &length[1..], &shown, &[0, 0]].concat();
            let with_length =
                |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes[..]].concat();
            let signature = with_length(self.certificates.sign(&message));
            let sct = [&[0][..], &self.certificates.id(), &time, &[0, 0, 4, 3], &signature].concat();
            extensions.push(extension(SCTS, &der(OCTETS, &with_length(with_length(sct)))));
        }
        issue(&self.authority, &signer.spki(), "signer", MINUTES, &extensions.concat())
    }

    /// An envelope, and the bundle of version 0.1 around it.
    pub fn bundle(&self, wanted: &Wanted) -> Value {
        let (signer, payload) = (Key::new(), br#"{"_type":"https://in-toto.io/Statement/v1"}"#);
        let certificate = self.certificate(&signer, wanted);
        let signature = signer.sign(&pae(PAYLOAD_TYPE, payload));
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.clone()));
        let hash: String = digest(&SHA256, payload).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let body = json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "payloadHash": {"algorithm": "sha256", "value": hash},
            "signatures": [{"signature": STANDARD.encode(&signature), "verifier": STANDARD.encode(pem)}],
        }});
        let body = STANDARD.encode(body.to_string());
        let log: String = self.signatures.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let promise = format!(r#"{{"body":"{body}","integratedTime":{},"logID":"{log}","logIndex":7}}"#, wanted.logged);
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": {
                "x509CertificateChain": {"certificates": [{"rawBytes": STANDARD.encode(&certificate)}]},
                "tlogEntries": [{
                    "logIndex": "7",
                    "logId": {"keyId": STANDARD.encode(self.signatures.id())},
                    "integratedTime": wanted.logged.to_string(),
                    "inclusionPromise": {"signedEntryTimestamp": STANDARD.encode(self.signatures.sign(promise.as_bytes()))},
                    "canonicalizedBody": body,
                }],
            },
            "dsseEnvelope": {
                "payloadType": PAYLOAD_TYPE,
                "payload": STANDARD.encode(payload),
                "signatures": [{"sig": STANDARD.encode(&signature)}],
            },
        })
    }
}

/// The validity of a signer's certificate.
const MINUTES: [&str; 2] = ["240610120000Z", "240610121000Z"];

fn extension(id: &[u8], content: &[u8]) -> Vec<u8> {
    sequence(&[&der(OBJECT, id), &der(OCTETS, content)])
}

fn name(text: &str) -> Vec<u8> {
    let attribute = sequence(&[&der(OBJECT, &[0x55, 0x04, 0x03]), &der(0x0c, text.as_bytes())]);
    sequence(&[&der(0x31, &attribute)])
}

fn signed_part(spki: &[u8], subject: &str, validity: [&str; 2], extensions: &[u8]) -> Vec<u8> {
    let [from, to] = validity.map(|time| der(0x17, time.as_bytes()));
    sequence(&[
        &der(0xa0, &der(0x02, &[2])),
        &der(0x02, &[1]),
        &sequence(&[&der(OBJECT, ECDSA_SHA256)]),
        &name("authority"),
        &sequence(&[&from, &to]),
        &name(subject),
        spki,
        &der(0xa3, &der(SEQUENCE, extensions)),
    ])
}

fn issue(authority: &Key, spki: &[u8], subject: &str, validity: [&str; 2], extensions: &[u8]) -> Vec<u8> {
    let signed = signed_part(spki, subject, validity, extensions);
    let signature = der(0x03, &[&[0][..], &authority.sign(&signed)].concat());
    sequence(&[&signed, &sequence(&[&der(OBJECT, ECDSA_SHA256)]), &signature])
}

/// The parts of a bundle other than its envelope.
pub fn around(bundle: &Value) -> Bundle {
    let media_type = bundle["mediaType"].as_str().unwrap_or_default().to_owned();
    Bundle { media_type, material: bundle["verificationMaterial"].clone() }
}
