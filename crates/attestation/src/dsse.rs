//! The envelope: a payload, and signatures over the payload and its type (DSSE v1).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::keys::PublicKey;

/// A payload with its signatures; as JSON, payload and signatures are base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The type of the payload.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The signed content.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub payload: Vec<u8>,
    /// The signatures; a useful envelope has at least one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// The key that the signature claims to be made with; a hint, which may be missing or wrong.
    #[serde(default)]
    pub keyid: String,
    /// The signature.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub sig: Vec<u8>,
}

/// The bytes that are signed: the pre-authentication encoding of the payload and its type.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// The key among these that made one of the signatures, if there is one.
    pub fn verified_by<'k>(&self, keys: impl IntoIterator<Item = &'k PublicKey>) -> Option<&'k PublicKey> {
        let message = pae(&self.payload_type, &self.payload);
        let verifies = |key: &&PublicKey| self.signatures.iter().any(|one| key.verifies(&message, &one.sig));
        keys.into_iter().find(verifies)
    }

    /// The envelope as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and bytes have a form in JSON")
    }
}

/// Base64 of either alphabet, padded or not.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const EITHER: [GeneralPurpose; 2] =
        [GeneralPurpose::new(&alphabet::STANDARD, CONFIG), GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG)];
    EITHER.iter().find_map(|engine| engine.decode(text).ok())
}

/// Base64, padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn write<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode(bytes))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    decode(&text).ok_or_else(|| serde::de::Error::custom("not base64"))
}
