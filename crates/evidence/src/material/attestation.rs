//! In-toto statements in a DSSE envelope or a Sigstore bundle.
//!
//! For an `ATTESTATION` the policy sees only the statement. For a `SLSA_PROVENANCE` it sees the bundle with the members
//! of the statement (`_type`, `subject`, `predicateType`, `predicate`) in addition to its own, so that a policy can
//! check both who signed and what was signed. `chainloop_metadata.signature` says whether a trusted key or identity
//! made one of the signatures; they are verified over the very bytes from which the statement is parsed.

use std::collections::BTreeMap;

use attestation::{Bundle, Envelope, EnvelopeSignature, SignatureReport, dsse, inspect};
use regorus::Value;

use super::Metadata;
use super::error::MaterialError;
use super::json;
use super::kind::MaterialKind;
use super::node::Node;

/// The members of a statement.
const OF_STATEMENT: [&str; 4] = ["_type", "subject", "predicateType", "predicate"];
/// The maximum number of signatures. Each is verified with each trusted key, over the whole payload.
const MAX_SIGNATURES: usize = 32;

/// Checks the envelope and the statement inside; returns what the policy sees, and the result of verifying the
/// signatures.
pub fn open(
    kind: MaterialKind,
    value: Value,
    metadata: &Metadata<'_>,
) -> Result<(Value, SignatureReport), MaterialError> {
    let (statement, payload) = read(kind, &value)?;
    let report = signatures(&value, payload, metadata);
    if kind == MaterialKind::Attestation {
        return Ok((statement, report));
    }
    // Nothing in a statement may pass for a part of the bundle, nor the reverse.
    let is_of_statement = |name: &Value| OF_STATEMENT.iter().any(|of| *name == Value::from(*of));
    let of_bundle = value.as_object().into_iter().flat_map(|object| object.iter());
    let of_bundle = of_bundle.filter(|(name, _)| !is_of_statement(name));
    let of_statement = statement.as_object().into_iter().flat_map(|object| object.iter());
    let all = of_statement.chain(of_bundle).map(|(name, value)| (name.clone(), value.clone()));
    Ok((Value::from(all.collect::<BTreeMap<Value, Value>>()), report))
}

/// The result of verifying the signatures over a payload that was read from this envelope or bundle.
fn signatures(value: &Value, payload: Vec<u8>, metadata: &Metadata<'_>) -> SignatureReport {
    let envelope = if value["dsseEnvelope"].as_object().is_ok() { &value["dsseEnvelope"] } else { value };
    let text = |value: &Value| value.as_string().map(|text| text.to_string()).unwrap_or_default();
    let given = envelope["signatures"].as_array().map(|list| list.as_slice()).unwrap_or_default();
    // A text that is not base64 is not a valid signature.
    let signature = |one: &Value| EnvelopeSignature {
        keyid: text(&one["keyid"]),
        sig: dsse::decode(&text(&one["sig"])).unwrap_or_default(),
    };
    let envelope = Envelope {
        payload_type: text(&envelope["payloadType"]),
        payload,
        signatures: given.iter().map(signature).collect(),
    };
    // A value that cannot be written as JSON counts as no verification material.
    let material = serde_json::to_value(&value["verificationMaterial"]).unwrap_or_default();
    let bundle = Bundle { media_type: text(&value["mediaType"]), material };
    inspect(&envelope, &bundle, metadata.trusted_keys, metadata.trusted_identities)
}

/// Checks an envelope or bundle and the statement in it.
pub fn check(kind: MaterialKind, value: &Value) -> Result<(), MaterialError> {
    read(kind, value).map(drop)
}

/// The statement in an envelope or bundle, validated, and the bytes that it was read from.
fn read(kind: MaterialKind, value: &Value) -> Result<(Value, Vec<u8>), MaterialError> {
    let root = Node::root(kind, value);
    root.object()?;
    let bundled = root.field("dsseEnvelope");
    if bundled.is_some() || kind == MaterialKind::SlsaProvenance {
        let media_type = root.required("mediaType")?;
        if !media_type.string()?.starts_with("application/vnd.dev.sigstore.bundle") {
            return Err(media_type.expected("application/vnd.dev.sigstore.bundle…"));
        }
        root.required("dsseEnvelope")?;
    }
    let envelope = bundled.unwrap_or(root);
    envelope.required("payloadType")?.one_of(&["application/vnd.in-toto+json"])?;
    // A policy may require that there is one.
    let signatures = envelope.required("signatures")?;
    signatures.each(|signature| signature.required("sig")?.string().map(drop))?;
    if signatures.len() > MAX_SIGNATURES {
        return Err(signatures.expected(format!("at most {MAX_SIGNATURES} signatures")));
    }
    let payload = envelope.required("payload")?;
    let bytes = dsse::decode(payload.text()?).ok_or_else(|| payload.expected("base64"))?;
    let statement = json::read_evidence(&bytes).map_err(|error| {
        MaterialError::mismatch(kind, format!("{payload}, decoded"), "an in-toto statement", error.to_string())
    })?;
    check_statement(kind, &statement)?;
    Ok((statement, bytes))
}

fn check_statement(kind: MaterialKind, statement: &Value) -> Result<(), MaterialError> {
    let root = Node::root(kind, statement);
    root.object()?;
    let form = root.required("_type")?;
    if !form.string()?.starts_with("https://in-toto.io/Statement/v") {
        return Err(form.expected("https://in-toto.io/Statement/v…"));
    }
    let predicate = root.required("predicateType")?;
    if kind == MaterialKind::SlsaProvenance && !predicate.text()?.starts_with("https://slsa.dev/provenance/") {
        return Err(predicate.expected("https://slsa.dev/provenance/…"));
    }
    predicate.text()?;
    root.required("subject")?.each(|subject| subject.required("digest")?.object())
}
