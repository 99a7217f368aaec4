//! Verifies the signed result of an evaluation with nothing but keys: this is what `longrun verify` does.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dsse::Envelope;
use crate::keys::PublicKey;
use crate::{PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, sha256};

/// The content of a signed result, once the signature has been verified.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verified {
    /// The id of the key that signed.
    pub key_id: String,
    /// The evidence's name.
    pub name: String,
    /// The evidence's digest, `sha256:…`.
    pub digest: String,
    /// The URI of the verifier that made the statement.
    pub verifier: String,
    /// The time, RFC 3339.
    pub time: String,
    /// `PASSED` or `FAILED`.
    pub result: String,
    /// `passed`, `failed` or `skipped`, as in longrun; empty in a summary by other software.
    pub status: String,
    /// The policies and their verdicts; empty in a summary by other software.
    pub policies: Vec<PolicyVerdict>,
    /// The whole statement.
    pub statement: Value,
}

/// The verdict of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVerdict {
    /// Its name.
    pub name: String,
    /// `passed`, `failed` or `skipped`.
    pub status: String,
    /// The number of its violations.
    #[serde(default)]
    pub violations: u64,
    /// The reference by which it was requested, or `embedded`: then it stood in the request or the group itself.
    #[serde(default)]
    pub reference: String,
    /// The digest of its document with the scripts that it names, by algorithm; empty in statements of the first form.
    #[serde(default)]
    pub content_digest: BTreeMap<String, String>,
    /// The group that included it; groups cannot come with a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its inputs.
    #[serde(default, rename = "with")]
    pub arguments: BTreeMap<String, String>,
}

impl PolicyVerdict {
    /// Whether the caller sent it with the request: then anybody who may evaluate evidence can have written it.
    pub fn is_embedded(&self) -> bool {
        self.reference == "embedded" && self.group.is_none()
    }

    /// Whether the caller may have chosen its content: it was sent with the request, or comes from an address and not
    /// from the server's policy folder.
    fn is_of_the_caller(&self) -> bool {
        let is_address = ["https://", "http://"].iter().any(|scheme| self.reference.starts_with(scheme));
        self.is_embedded() || (is_address && self.group.is_none())
    }

    /// The SHA-256 of its content, in hexadecimal digits.
    pub fn content(&self) -> Option<&str> {
        self.content_digest.get("sha256").map(String::as_str)
    }
}

/// A policy that must have passed: `NAME`, or `NAME@sha256:…` with the digest of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    name: String,
    /// In hexadecimal digits.
    content: Option<String>,
}

impl FromStr for Required {
    type Err = String;

    fn from_str(text: &str) -> Result<Required, String> {
        let (name, content) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let is_hex = |hex: &&str| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
                let hex = digest.strip_prefix("sha256:").filter(is_hex);
                let hex = hex.ok_or("after the @, expected sha256: and 64 hexadecimal digits")?;
                (name, Some(hex.to_ascii_lowercase()))
            }
        };
        if name.is_empty() {
            return Err("expected the name of a policy".to_owned());
        }
        Ok(Required { name: name.to_owned(), content })
    }
}

impl Required {
    /// The name of the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the policy does not count as passed, as the end of a sentence; `None` if it has passed.
    ///
    /// A policy that came with the request or from an address does not count under its name alone: the caller chose it.
    pub fn why_not(&self, policies: &[PolicyVerdict]) -> Option<String> {
        let mut named = policies.iter().filter(|policy| policy.name == self.name).peekable();
        if named.peek().is_none() {
            return Some("was not evaluated".to_owned());
        }
        let is_meant = |policy: &&PolicyVerdict| match &self.content {
            Some(content) => policy.content() == Some(content.as_str()),
            None => !policy.is_of_the_caller(),
        };
        let mut meant = named.filter(is_meant).peekable();
        if meant.peek().is_none() {
            let why = match self.content {
                Some(_) => "has another content",
                None => {
                    "came with the request or from an address, so that it counts only with the digest of its content"
                }
            };
            return Some(why.to_owned());
        }
        let other = meant.find(|policy| policy.status != "passed")?;
        Some(if other.status == "skipped" { "was skipped".to_owned() } else { "has not passed".to_owned() })
    }
}

/// Why a signed result cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// It is not an envelope.
    #[error("it is not a DSSE envelope: {0}")]
    NoEnvelope(String),
    /// None of the given keys has signed it.
    #[error("no signature was made with {keys}; the envelope names {named}")]
    WrongSignature {
        /// The keys that were tried.
        keys: String,
        /// The key that the envelope names.
        named: String,
    },
    /// The signature is valid, but covers something else.
    #[error("{what} is {found:?} and not {expected:?}")]
    OtherType {
        /// The part that differs.
        what: &'static str,
        /// The expected value.
        expected: &'static str,
        /// The value that was found.
        found: String,
    },
    /// The signature is valid, but its content cannot be read.
    #[error("the statement in it cannot be read: {0}")]
    Unreadable(String),
    /// It is about other evidence.
    #[error("it is about {subject}, and the evidence has the digest sha256:{digest}")]
    OtherEvidence {
        /// The subject of the statement.
        subject: String,
        /// The SHA-256 of the evidence.
        digest: String,
    },
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    form: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    verifier: Verifier,
    time_verified: String,
    verification_result: String,
    #[serde(default, rename = "longrun_evaluation")]
    evaluation: Evaluation,
}

#[derive(Deserialize)]
struct Verifier {
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Evaluation {
    status: String,
    policies: Vec<PolicyVerdict>,
}

/// Verifies the signature, the types and, if the evidence is given, that the statement is about it.
///
/// # Errors
/// [`Unverified`].
pub fn verify(envelope: &[u8], keys: &[PublicKey], evidence: Option<&[u8]>) -> Result<Verified, Unverified> {
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|error| Unverified::NoEnvelope(error.to_string()))?;
    // Before anything in the payload is read.
    let key = envelope.verified_by(keys).ok_or_else(|| Unverified::WrongSignature {
        keys: match keys {
            [one] => format!("the key {}", one.id()),
            keys => format!("any of the {} keys", keys.len()),
        },
        named: envelope
            .signatures
            .first()
            .map_or_else(|| "no key".to_owned(), |one| format!("the key {:?}", one.keyid)),
    })?;
    let same = |what, expected: &'static str, found: &str| {
        if found == expected { Ok(()) } else { Err(Unverified::OtherType { what, expected, found: found.to_owned() }) }
    };
    same("the type of the payload", PAYLOAD_TYPE, &envelope.payload_type)?;
    let unreadable = |error: serde_json::Error| Unverified::Unreadable(error.to_string());
    let whole: Value = serde_json::from_slice(&envelope.payload).map_err(unreadable)?;
    let statement: Statement = serde_json::from_slice(&envelope.payload).map_err(unreadable)?;
    same("the type of the statement", STATEMENT_TYPE, &statement.form)?;
    same("the type of the predicate", PREDICATE_TYPE, &statement.predicate_type)?;
    let predicate: Predicate = Predicate::deserialize(&whole["predicate"]).map_err(unreadable)?;
    let of = |subject: &Subject| subject.digest.get("sha256").cloned().unwrap_or_default();
    let digest = evidence.map(sha256);
    let about = match &digest {
        Some(digest) => statement.subject.iter().find(|subject| of(subject) == *digest),
        None => statement.subject.first(),
    };
    let Some(about) = about else {
        let subject = statement.subject.first().map_or_else(
            || "nothing".to_owned(),
            |subject| format!("{:?} with the digest sha256:{}", subject.name, of(subject)),
        );
        return Err(match digest {
            Some(digest) => Unverified::OtherEvidence { subject, digest },
            None => Unverified::Unreadable("it has no subject".to_owned()),
        });
    };
    Ok(Verified {
        key_id: key.id().to_owned(),
        name: about.name.clone(),
        digest: format!("sha256:{}", of(about)),
        verifier: predicate.verifier.id,
        time: predicate.time_verified,
        result: predicate.verification_result,
        status: predicate.evaluation.status,
        policies: predicate.evaluation.policies,
        statement: whole,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::signer::Signer;

    fn signer() -> Signer {
        Signer::from_pem(Signer::generate_pem().unwrap().as_bytes(), "urn:test").unwrap()
    }

    /// The minimal verification summary, as another verifier would write it.
    fn summary() -> Value {
        json!({
            "_type": STATEMENT_TYPE,
            "subject": [{"digest": {"sha256": "aa"}}, {"name": "app", "digest": {"sha256": sha256(b"evidence")}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"verifier": {"id": "urn:other"}, "timeVerified": "2026-01-23T04:56:07Z", "verificationResult": "PASSED"},
        })
    }

    fn why(payload_type: &str, statement: &Value) -> String {
        let signer = signer();
        let envelope = signer.sign(payload_type, statement.to_string().into_bytes());
        verify(envelope.json().as_bytes(), signer.published(), None).unwrap_err().to_string()
    }

    #[test]
    fn a_summary_of_another_verifier_is_read_too() {
        let signer = signer();
        let envelope = signer.sign(PAYLOAD_TYPE, summary().to_string().into_bytes()).json();
        let verified = verify(envelope.as_bytes(), signer.published(), Some(b"evidence")).unwrap();
        assert_eq!((verified.name.as_str(), verified.status.as_str()), ("app", ""));
        assert_eq!(verified.statement, summary());
        let other = verify(envelope.as_bytes(), signer.published(), Some(b"other")).unwrap_err();
        assert!(matches!(other, Unverified::OtherEvidence { .. }), "{other}");
        let strange = verify(envelope.as_bytes(), self::signer().published(), None).unwrap_err();
        assert!(matches!(strange, Unverified::WrongSignature { .. }), "{strange}");
    }

    #[test]
    fn a_required_policy_is_found_by_its_name_and_content_and_must_have_passed() {
        let (real, other) = ("aa".repeat(32), "bb".repeat(32));
        let policy = |name: &str, reference: &str, content: &str, status: &str| PolicyVerdict {
            name: name.to_owned(),
            status: status.to_owned(),
            violations: 0,
            reference: reference.to_owned(),
            content_digest: [("sha256".to_owned(), content.to_owned())].into(),
            group: None,
            arguments: BTreeMap::new(),
        };
        let why = |required: &str, policies: &[PolicyVerdict]| {
            required.parse::<Required>().unwrap().why_not(policies).unwrap_or_default()
        };
        let ran = [policy("age", "age", &real, "passed"), policy("keys", "keys", &real, "failed")];
        let pinned = format!("age@sha256:{}", real.to_ascii_uppercase());
        assert_eq!((why("age", &ran), why(&pinned, &ran)), (String::new(), String::new()));
        assert_eq!(why("sbom", &ran), "was not evaluated");
        assert_eq!(why("keys", &ran), "has not passed");
        assert_eq!(why("age", &[policy("age", "age", &real, "skipped")]), "was skipped");
        assert_eq!(why(&format!("age@sha256:{other}"), &ran), "has another content");
        let sent = [policy("age", "embedded", &other, "passed")];
        assert!(why("age", &sent).starts_with("came with the request"));
        assert_eq!(why(&pinned, &sent), "has another content");
        let fetched = [policy("age", "https://example.com/age.yaml", &other, "passed")];
        assert!(why("age", &fetched).starts_with("came with the request"));
        assert_eq!(why(&format!("age@sha256:{other}"), &fetched), "");
        assert_eq!(why(&format!("age@sha256:{other}"), &sent), "", "whoever gives the digest knows the content");
        let in_a_group = PolicyVerdict { group: Some("gate".to_owned()), ..sent[0].clone() };
        assert_eq!(why("age", &[in_a_group]), "", "the operator wrote the group");
        let both = [policy("age", "embedded", &other, "passed"), policy("age", "age", &real, "failed")];
        assert_eq!(why("age", &both), "has not passed");
        let first_form = [PolicyVerdict { content_digest: BTreeMap::new(), ..policy("age", "age", "", "passed") }];
        assert_eq!(why(&pinned, &first_form), "has another content");
        for text in ["", "@sha256:aa", "age@sha256:aa", "age@1"] {
            assert!(text.parse::<Required>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_good_signature_over_something_else_is_refused_with_what_it_is() {
        let with = |name: &str, value: Value| {
            let mut changed = summary();
            changed[name] = value;
            changed
        };
        for (payload_type, statement, says) in [
            ("application/json", summary(), "the type of the payload is \"application/json\""),
            (PAYLOAD_TYPE, with("_type", json!("https://in-toto.io/Statement/v0.1")), "the type of the statement"),
            (PAYLOAD_TYPE, with("predicateType", json!("https://slsa.dev/provenance/v1")), "the type of the predicate"),
            (PAYLOAD_TYPE, with("subject", json!([])), "it has no subject"),
            (PAYLOAD_TYPE, with("predicate", json!({})), "cannot be read"),
            (PAYLOAD_TYPE, json!("nothing"), "cannot be read"),
        ] {
            let why = why(payload_type, &statement);
            assert!(why.contains(says), "{why}");
        }
        assert!(matches!(verify(b"{}", &[], None), Err(Unverified::NoEnvelope(_))));
        let unsigned = json!({"payloadType": PAYLOAD_TYPE, "payload": "e30=", "signatures": []}).to_string();
        let error = verify(unsigned.as_bytes(), signer().published(), None).unwrap_err();
        assert!(matches!(error, Unverified::WrongSignature { .. }), "{error}");
    }
}
