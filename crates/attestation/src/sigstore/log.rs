//! An entry in a public log of signatures (Rekor): checks that the log includes it or promised to, and that it is about
//! this signature.

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::bundle::{Base64, Entry, Proof};
use super::root::Log;
use super::{Refusal, short};
use crate::dsse::{decode, encode};
use crate::{hex, sha256};

/// The maximum number of signatures of a checkpoint that are checked: that of the log, and those of witnesses.
const MAX_CHECKPOINT_SIGNATURES: usize = 16;

/// What an entry must record: what was signed, and by whom.
pub struct Signed<'a> {
    /// The payload of the envelope.
    pub payload: &'a [u8],
    /// The type of the payload.
    pub payload_type: &'a str,
    /// The bytes that are signed.
    pub message: &'a [u8],
    /// The only signature.
    pub signature: &'a [u8],
    /// The signer's certificate, in DER.
    pub certificate: &'a [u8],
}

/// Verifies an entry; returns its log, and when the log accepted it, if the log has signed that.
pub fn verify<'l>(
    entry: &Entry,
    proof_is_due: bool,
    signed: &Signed<'_>,
    logs: &'l [Log],
) -> Result<(&'l Log, Option<u64>), Refusal> {
    let id = &entry.log_id.key_id.0;
    let log = logs.iter().find(|log| log.id == *id).ok_or_else(|| Refusal::UnknownLog(hex(id)))?;
    is_about(&entry.canonicalized_body.0, signed)?;
    let time = match &entry.inclusion_promise {
        Some(promise) if promised(entry, &promise.signed_entry_timestamp.0, log) => Some(entry.integrated_time.0),
        Some(_) => return Err(Refusal::Promise),
        None => None,
    };
    match &entry.inclusion_proof {
        Some(proof) => included(entry, proof, log)?,
        None if proof_is_due || time.is_none() => return Err(Refusal::Proof("there is no proof")),
        None => {}
    }
    Ok((log, time))
}

/// Whether the log promised to include the entry (the signed entry timestamp of Rekor 1: a signature over canonical
/// JSON).
fn promised(entry: &Entry, promise: &[u8], log: &Log) -> bool {
    let said = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        encode(&entry.canonicalized_body.0),
        entry.integrated_time.0,
        hex(&log.id),
        entry.log_index.0
    );
    log.key.verifies(said.as_bytes(), promise)
}

/// Checks that the log includes the entry, in a tree that the log has signed.
fn included(entry: &Entry, proof: &Proof, log: &Log) -> Result<(), Refusal> {
    let leaf = digest(&SHA256, &[&[0], &entry.canonicalized_body.0[..]].concat());
    let root = root_of(proof, leaf.as_ref()).ok_or(Refusal::Proof("it does not fit the size of the tree"))?;
    if root != proof.root_hash.0 {
        return Err(Refusal::Proof("it yields another root hash"));
    }
    let note = proof.checkpoint.as_ref().ok_or(Refusal::Checkpoint("there is none"))?;
    let tree = checkpoint(&note.envelope, log)?;
    if tree != (proof.tree_size.0, proof.root_hash.0.clone()) {
        return Err(Refusal::Checkpoint("it is about another tree"));
    }
    Ok(())
}

/// The root hash that a proof yields for the hash of a leaf, by RFC 9162, section 2.1.3.2; `None` if the proof is too
/// short or too long.
fn root_of(proof: &Proof, leaf: &[u8]) -> Option<Vec<u8>> {
    let (mut index, mut last) = (proof.log_index.0, proof.tree_size.0.checked_sub(1)?);
    if index > last {
        return None;
    }
    let node = |left: &[u8], right: &[u8]| digest(&SHA256, &[&[1], left, right].concat()).as_ref().to_vec();
    let mut hash = leaf.to_vec();
    for Base64(other) in &proof.hashes {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            hash = node(other, &hash);
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, other);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// The size and the root hash of the tree in a checkpoint, if the log made one of its signatures (a signed note,
/// <https://c2sp.org/signed-note>, whose text is a checkpoint, <https://c2sp.org/tlog-checkpoint>).
fn checkpoint(envelope: &str, log: &Log) -> Result<(u64, Vec<u8>), Refusal> {
    let (text, signatures) = envelope.split_once("\n\n").ok_or(Refusal::Checkpoint("it is not a signed note"))?;
    let text = format!("{text}\n");
    let is_the_logs = |line: &str| {
        // The name and the first four bytes identify the key; they are only hints.
        let signature = line.strip_prefix("— ").and_then(|line| line.split_once(' ')).and_then(|(_, it)| decode(it));
        signature.is_some_and(|it| it.get(4..).is_some_and(|it| log.key.verifies(text.as_bytes(), it)))
    };
    if !signatures.lines().take(MAX_CHECKPOINT_SIGNATURES).any(is_the_logs) {
        return Err(Refusal::Checkpoint("none of its signatures was made by the log"));
    }
    let mut lines = text.lines().skip(1);
    let size = lines.next().and_then(|line| line.parse().ok());
    let tree = size.zip(lines.next().and_then(decode));
    tree.ok_or(Refusal::Checkpoint("it does not describe a tree"))
}

/// Checks that the body of an entry records what was signed.
fn is_about(body: &[u8], signed: &Signed<'_>) -> Result<(), Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::OtherEntry("it is not JSON".to_owned()))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, version) = (text(&body["kind"]), text(&body["apiVersion"]));
    let spec = &body["spec"];
    let payload = sha256(signed.payload);
    let in_hex = |hash: &Value| hash["algorithm"] == "sha256" && hash["value"] == payload.as_str();
    let in_base64 = |hash: &Value, of: &[u8]| {
        hash["algorithm"] == "SHA2_256" && binary(&hash["digest"]).as_deref() == Some(digest(&SHA256, of).as_ref())
    };
    let (content, signature, certificate) = match (kind.as_str(), version.as_str()) {
        ("dsse", "0.0.1") => {
            let one = only(&spec["signatures"]);
            (in_hex(&spec["payloadHash"]), binary(&one["signature"]), in_pem(&one["verifier"]))
        }
        ("intoto", "0.0.2") => {
            let (content, envelope) = (&spec["content"], &spec["content"]["envelope"]);
            let one = only(&envelope["signatures"]);
            let same = in_hex(&content["payloadHash"]) && envelope["payloadType"] == signed.payload_type;
            // The signature was already base64 when the log encoded it as base64.
            let inner = binary(&one["sig"]).and_then(|text| decode(std::str::from_utf8(&text).ok()?));
            (same, inner, in_pem(&one["publicKey"]))
        }
        // Rekor 2 records the signed content of an envelope as if it were any file.
        ("hashedrekord", "0.0.2") => {
            let spec = &spec["hashedRekordV002"];
            let one = &spec["signature"];
            (in_base64(&spec["data"], signed.message), binary(&one["content"]), in_der(&one["verifier"]))
        }
        ("dsse", "0.0.2") => {
            let spec = &spec["dsseV002"];
            let one = only(&spec["signatures"]);
            (in_base64(&spec["payloadHash"], signed.payload), binary(&one["content"]), in_der(&one["verifier"]))
        }
        _ => {
            let why = format!(
                "its kind {:?} in version {:?} is not supported: supported are dsse 0.0.1 and 0.0.2, intoto 0.0.2 and hashedrekord 0.0.2",
                short(&kind),
                short(&version)
            );
            return Err(Refusal::OtherEntry(why));
        }
    };
    let what = if !content {
        "content"
    } else if signature.as_deref() != Some(signed.signature) {
        "signature"
    } else if certificate.as_deref() != Some(signed.certificate) {
        "certificate"
    } else {
        return Ok(());
    };
    Err(Refusal::OtherEntry(format!("it is about another {what}")))
}

/// The only element of a list; null if there are none or several.
fn only(list: &Value) -> &Value {
    match list.as_array().map(Vec::as_slice) {
        Some([one]) => one,
        _ => &Value::Null,
    }
}

fn binary(value: &Value) -> Option<Vec<u8>> {
    decode(value.as_str()?)
}

fn in_der(verifier: &Value) -> Option<Vec<u8>> {
    binary(&verifier["x509Certificate"]["rawBytes"])
}

fn in_pem(value: &Value) -> Option<Vec<u8>> {
    let block = pem::parse(binary(value)?).ok()?;
    (block.tag() == "CERTIFICATE").then(|| block.into_contents())
}
