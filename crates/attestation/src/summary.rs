//! The statement about an evaluation: an in-toto statement whose predicate is a SLSA verification summary.
//!
//! The statement is a function of the evaluation's output and of what the server knows about its operation. So only the
//! parts that cannot be derived from these are stored: the time, the verifier and the signature, some 300 bytes at the
//! end of the output ([`attest`]). [`envelope`] rebuilds the rest. If the output was changed since, or is moved to
//! another operation, the result is another statement, and the signature is not valid.
//!
//! [`FORM`] numbers the versions of this function. A version that produces other bytes from the same output is a new
//! form next to the old one, which is kept for as long as there are outputs that were signed with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dsse::{Envelope, EnvelopeSignature, decode};
use crate::signer::Signer;
use crate::{PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, sha256};

/// The form of new statements. The first form contains neither the scripts of policies in other files nor groups.
const FORM: u32 = 2;
/// The maximum number of bytes that are added to an output; the URI of a verifier has at most 512.
pub const MAX_ADDED_BYTES: usize = 1024;
/// The maximum length of a verifier's URI, in bytes.
pub const MAX_VERIFIER_BYTES: usize = 512;
/// The text that precedes what is added to an output.
const MARK: &str = ",\"attestation\":";
/// Kinds of evidence that are attestations themselves.
const ATTESTATIONS: [&str; 2] = ["ATTESTATION", "SLSA_PROVENANCE"];

/// The operation that ran an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Evaluated<'a> {
    /// Its organization.
    pub organization: &'a str,
    /// Its project; empty for none.
    pub project: &'a str,
    /// Its id.
    pub operation: &'a str,
}

/// Why there is no statement.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The data to sign is not the output of an evaluation.
    #[error("the output is not that of an evaluation: {0}")]
    Output(#[from] serde_json::Error),
    /// It was signed by a later version.
    #[error("the statement has the form {0}, which this version does not know")]
    Form(u32),
}

/// The stored part of a signature.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    form: u32,
    /// The URI of the verifier.
    verifier: Cow<'a, str>,
    /// The version of longrun that evaluated.
    version: Cow<'a, str>,
    /// The time, RFC 3339.
    time: Cow<'a, str>,
    keyid: Cow<'a, str>,
    sig: Cow<'a, str>,
}

/// Signs the result of an evaluation: returns its output, with the signature as the last member, `attestation`.
///
/// # Errors
/// [`SummaryError::Output`].
pub fn attest(
    signer: &Signer,
    version: &str,
    of: Evaluated<'_>,
    output: &str,
    now: SystemTime,
) -> Result<String, SummaryError> {
    attest_in(FORM, signer, version, of, output, now)
}

fn attest_in(
    form: u32,
    signer: &Signer,
    version: &str,
    of: Evaluated<'_>,
    output: &str,
    now: SystemTime,
) -> Result<String, SummaryError> {
    use base64::Engine as _;
    let time = humantime::format_rfc3339_seconds(now).to_string();
    let statement = statement(form, of, output, signer.verifier(), version, &time)?;
    let envelope = signer.sign(PAYLOAD_TYPE, statement);
    let kept = Kept {
        form,
        verifier: signer.verifier().into(),
        version: version.into(),
        time: time.into(),
        keyid: signer.key_id().into(),
        sig: base64::engine::general_purpose::STANDARD.encode(&envelope.signatures[0].sig).into(),
    };
    // It was just parsed as an object with members, so it ends with a brace.
    let opened = output.trim_end().strip_suffix('}').unwrap_or(output);
    Ok(format!("{opened}{MARK}{}}}", serde_json::to_string(&kept)?))
}

/// The envelope of a signed output; `None` if it was not signed.
///
/// # Errors
/// [`SummaryError`] if it was signed, and the statement cannot be rebuilt.
pub fn envelope(of: Evaluated<'_>, output: &str) -> Result<Option<Envelope>, SummaryError> {
    let Some((opened, kept)) = apart(output) else { return Ok(None) };
    if !(1..=FORM).contains(&kept.form) {
        return Err(SummaryError::Form(kept.form));
    }
    let payload = statement(kept.form, of, &format!("{opened}}}"), &kept.verifier, &kept.version, &kept.time)?;
    // A text that is not base64 is not a signature either, and cannot be verified.
    let sig = decode(&kept.sig).unwrap_or_default();
    let signatures = vec![EnvelopeSignature { keyid: kept.keyid.into_owned(), sig }];
    Ok(Some(Envelope { payload_type: PAYLOAD_TYPE.to_owned(), payload, signatures }))
}

/// Whether an output was signed; this does not check whether the signature is valid.
pub fn is_signed(output: &str) -> bool {
    apart(output).is_some()
}

/// The output before it was signed, without its last brace, and what was added.
fn apart(output: &str) -> Option<(&str, Kept<'_>)> {
    let at = output.rfind(MARK)?;
    let kept = serde_json::from_str(output[at + MARK.len()..].strip_suffix('}')?).ok()?;
    Some((&output[..at], kept))
}

/// The parts of an output that the statement contains.
#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    evidence: Evidence<'a>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    policies: Vec<Policy<'a>>,
    #[serde(borrow, default)]
    groups: Vec<Group<'a>>,
    #[serde(borrow)]
    left_out: Vec<LeftOut<'a>>,
    #[serde(borrow)]
    totals: &'a RawValue,
    #[serde(borrow, default)]
    waivers: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Evidence<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    size: u64,
}

#[derive(Deserialize)]
struct Policy<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    /// The digest including the scripts that the document names in other files; omitted if it names none.
    #[serde(borrow, default)]
    content_digest: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, rename = "with")]
    arguments: &'a RawValue,
    violations: Vec<Violation>,
}

impl Policy<'_> {
    /// The digest of the whole policy; in the first form, only of its document.
    fn digest_in(&self, is_first_form: bool) -> &str {
        self.content_digest.as_deref().filter(|_| !is_first_form).unwrap_or(&self.digest)
    }
}

#[derive(Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Violation {
    /// The waiver that covers the violation: then it no longer counts.
    #[serde(default)]
    waived: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct LeftOut<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// Digests by algorithm.
type Digests<'a> = BTreeMap<&'static str, Cow<'a, str>>;

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    form: &'static str,
    subject: [Resource<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

/// A resource descriptor of in-toto.
#[derive(Serialize)]
struct Resource<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    digest: Digests<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    verifier: Verifier<'a>,
    time_verified: &'a str,
    resource_uri: String,
    policy: Resource<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_attestations: Vec<Resource<'a>>,
    verification_result: &'static str,
    verified_levels: [&'static str; 1],
    slsa_version: &'static str,
    /// A reader that knows only the specification ignores this member.
    #[serde(rename = "longrun_evaluation")]
    evaluation: Evaluation<'a>,
}

#[derive(Serialize)]
struct Verifier<'a> {
    id: &'a str,
    version: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
struct Evaluation<'a> {
    operation: &'a str,
    organization: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    project: &'a str,
    status: &'a str,
    evidence: EvidenceFacts<'a>,
    policies: Vec<PolicyFacts<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupFacts<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'a str>,
    totals: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    waivers: Option<&'a RawValue>,
    output: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct EvidenceFacts<'a> {
    kind: &'a str,
    size: u64,
}

#[derive(Serialize)]
struct PolicyFacts<'a> {
    name: &'a str,
    reference: &'a str,
    digest: Digests<'a>,
    /// The digest of the document with the scripts that it names in other files; that of the document if it names none.
    /// Not in the first form.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_digest: Option<Digests<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    /// With other arguments the policy may behave differently.
    #[serde(rename = "with", skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
    status: &'a str,
    violations: usize,
}

/// A group whose policies were requested. Not in the first form.
#[derive(Serialize)]
struct GroupFacts<'a> {
    name: &'a str,
    reference: &'a str,
    digest: Digests<'a>,
}

fn statement(
    form: u32,
    of: Evaluated<'_>,
    output: &str,
    verifier: &str,
    version: &str,
    time: &str,
) -> Result<Vec<u8>, SummaryError> {
    let found: Output<'_> = serde_json::from_str(output)?;
    let is_first_form = form == 1;
    let evidence = &found.evidence;
    let is_passed = found.status == "passed";
    let name = if evidence.name.is_empty() { &evidence.digest } else { &evidence.name };
    let uri = format!("longrun:evidence/{}", evidence.digest);
    let input = || Resource { uri: Some(uri.clone()), name: None, digest: digests(&evidence.digest) };
    let policies = found.policies.iter().map(|policy| PolicyFacts {
        name: &policy.name,
        reference: &policy.reference,
        digest: digests(&policy.digest),
        content_digest: (!is_first_form).then(|| digests(policy.digest_in(false))),
        group: policy.group.as_deref(),
        arguments: Some(policy.arguments).filter(|arguments| arguments.get() != "{}"),
        status: &policy.status,
        violations: policy.violations.iter().filter(|violation| violation.waived.is_none()).count(),
    });
    let groups = found.groups.iter().filter(|_| !is_first_form).map(|group| GroupFacts {
        name: &group.name,
        reference: &group.reference,
        digest: digests(&group.digest),
    });
    let statement = Statement {
        form: STATEMENT_TYPE,
        subject: [Resource { uri: None, name: Some(name), digest: digests(&evidence.digest) }],
        predicate_type: PREDICATE_TYPE,
        predicate: Predicate {
            verifier: Verifier { id: verifier, version: BTreeMap::from([("longrun", version)]) },
            time_verified: time,
            resource_uri: uri.clone(),
            policy: policy(&found.policies, is_first_form),
            input_attestations: ATTESTATIONS.contains(&&*evidence.kind).then(input).into_iter().collect(),
            // Evidence that no policy has evaluated has not passed.
            verification_result: if is_passed { "PASSED" } else { "FAILED" },
            // The evaluation makes no statement about any SLSA track.
            verified_levels: [if is_passed { "SLSA_BUILD_LEVEL_UNEVALUATED" } else { "FAILED" }],
            slsa_version: "1.0",
            evaluation: Evaluation {
                operation: of.operation,
                organization: of.organization,
                project: of.project,
                status: &found.status,
                evidence: EvidenceFacts { kind: &evidence.kind, size: evidence.size },
                policies: policies.collect(),
                groups: groups.collect(),
                left_out: found.left_out.iter().map(|left_out| &*left_out.name).collect(),
                totals: found.totals,
                waivers: found.waivers,
                output: BTreeMap::from([("sha256", sha256(output.as_bytes()))]),
            },
        },
    };
    Ok(serde_json::to_vec(&statement)?)
}

/// The resource that represents all policies together: the only policy, or a list of them, whose digest is that of one
/// line per policy with its digest and its reference.
fn policy<'a>(policies: &'a [Policy<'_>], is_first_form: bool) -> Resource<'a> {
    let uri = |reference: &str| {
        if reference.contains("://") { reference.to_owned() } else { format!("longrun:policy/{reference}") }
    };
    if let [policy] = policies {
        let digest = digests(policy.digest_in(is_first_form));
        return Resource { uri: Some(uri(&policy.reference)), name: None, digest };
    }
    let line = |policy: &Policy<'_>| format!("{}  {}\n", policy.digest_in(is_first_form), policy.reference);
    let lines: String = policies.iter().map(line).collect();
    let digest = BTreeMap::from([("sha256", sha256(lines.as_bytes()).into())]);
    Resource { uri: Some("longrun:policies".to_owned()), name: None, digest }
}

fn digests(digest: &str) -> Digests<'_> {
    BTreeMap::from([("sha256", digest.strip_prefix("sha256:").unwrap_or(digest).into())])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    const OF: Evaluated<'_> = Evaluated { organization: "acme", project: "web", operation: "0199-1" };
    /// From RFC 8410, section 10.3.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const OUTPUT: &str = concat!(
        r#"{"evidence":{"digest":"sha256:aa","kind":"SARIF","name":"lint","size":7},"status":"failed","policies":["#,
        r#"{"name":"ceiling","reference":"ceiling","digest":"sha256:bb","kind":"SARIF","status":"failed","#,
        r#""violations":[{"subject":"ceiling","message":"1.0 is too much","finding":{"score":1.0,"attestation":{}}}],"#,
        r#""skipped":false,"skip_reasons":[],"ignored":false,"with":{"ceiling":"note"},"duration_ms":1}],"#,
        r#""left_out":[{"name":"sbom","reference":"sbom","reason":"is for others"}],"#,
        r#""totals":{"policies":1,"passed":0,"failed":1,"skipped":0,"violations":1,"left_out":1}}"#,
    );

    fn signer() -> Signer {
        Signer::from_pem(KEY.as_bytes(), "https://longrun.example.com").unwrap()
    }

    /// What was added to [`OUTPUT`] when only the first form existed.
    const IN_FIRST_FORM: &str = concat!(
        r#","attestation":{"form":1,"verifier":"https://longrun.example.com","version":"1.2.3","#,
        r#""time":"2027-01-15T08:00:00Z","keyid":"a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f","#,
        r#""sig":"dAi2XNFf/rf8NL4H/Yrugw1hjgdJa9zT4YD5fRlZbI3wy8vLWqkWKxvvS9zdVR7NCuYVdpf7ypX66Y4i2Bd5Cg=="}}"#,
    );

    fn signed_in(form: u32, output: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_500);
        attest_in(form, &signer(), "1.2.3", OF, output, now).unwrap()
    }

    fn signed() -> String {
        signed_in(FORM, OUTPUT)
    }

    /// The same output, of a policy that has a script in another file and that a group added.
    fn output_with_scripts(content_digest: &str) -> String {
        let digests = format!(r#""digest":"sha256:bb","content_digest":"{content_digest}","#);
        let groups = r#","groups":[{"name":"gate","reference":"gate","digest":"sha256:dd"}],"left_out":[{"#;
        OUTPUT.replacen(r#""digest":"sha256:bb","#, &digests, 1).replacen(r#","left_out":[{"#, groups, 1)
    }

    fn statement_of(signed: &str) -> serde_json::Value {
        serde_json::from_slice(&envelope(OF, signed).unwrap().unwrap().payload).unwrap()
    }

    fn shown(signed: &str) -> String {
        String::from_utf8(envelope(OF, signed).unwrap().unwrap().payload).unwrap().replace(",\"", ",\n\"")
    }

    /// Old signatures cover these bytes: a change to them requires a new form.
    #[test]
    fn the_first_form_of_a_statement_stays_as_it_is() {
        let shown = shown(&signed_in(1, OUTPUT));
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn the_second_form_of_a_statement_stays_as_it_is() {
        let shown = shown(&signed_in(2, &output_with_scripts("sha256:cc")));
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn what_was_signed_in_the_first_form_still_verifies() {
        let old = format!("{}{IN_FIRST_FORM}", &OUTPUT[..OUTPUT.len() - 1]);
        assert_eq!(old, signed_in(1, OUTPUT));
        let signer = signer();
        // Outputs had these members before statements did.
        for signed in [old, signed_in(1, &output_with_scripts("sha256:cc"))] {
            let envelope = envelope(OF, &signed).unwrap().unwrap();
            let verified = crate::verify(envelope.json().as_bytes(), signer.published(), None).unwrap();
            let evaluation = &verified.statement["predicate"]["longrun_evaluation"];
            assert_eq!((verified.key_id.as_str(), verified.result.as_str()), (signer.key_id(), "FAILED"));
            assert!(evaluation["policies"][0]["content_digest"].is_null() && evaluation["groups"].is_null());
        }
    }

    #[test]
    fn a_statement_says_which_scripts_and_which_groups_there_were() {
        let of = |output: &str| {
            let statement = statement_of(&signed_in(FORM, output));
            let predicate = &statement["predicate"];
            let policy = &predicate["longrun_evaluation"]["policies"][0];
            let digests = [&policy["digest"], &policy["content_digest"], &predicate["policy"]["digest"]];
            digests.map(|digest| digest["sha256"].as_str().unwrap().to_owned())
        };
        assert_eq!(of(&output_with_scripts("sha256:cc")), ["bb", "cc", "cc"]);
        assert_eq!(of(&output_with_scripts("sha256:ce")), ["bb", "ce", "ce"], "another script");
        assert_eq!(of(OUTPUT), ["bb", "bb", "bb"], "the document contains all of the policy");
        let statement = statement_of(&signed_in(FORM, &output_with_scripts("sha256:cc")));
        let groups = serde_json::json!([{"name": "gate", "reference": "gate", "digest": {"sha256": "dd"}}]);
        assert_eq!(statement["predicate"]["longrun_evaluation"]["groups"], groups);
    }

    #[test]
    fn a_signed_output_is_the_output_with_some_hundred_bytes_more() {
        let signed = signed();
        assert!(signed.starts_with(&OUTPUT[..OUTPUT.len() - 1]));
        assert!(signed.len() < OUTPUT.len() + 400, "{}", signed.len() - OUTPUT.len());
        let value: serde_json::Value = serde_json::from_str(&signed).unwrap();
        assert_eq!(value["attestation"]["time"], "2027-01-15T08:00:00Z");
        let long = Signer::from_pem(KEY.as_bytes(), "h".repeat(MAX_VERIFIER_BYTES)).unwrap();
        let version = "1".repeat(40);
        let most = attest(&long, &version, OF, OUTPUT, SystemTime::now()).unwrap();
        assert!(most.len() <= OUTPUT.len() + MAX_ADDED_BYTES);
    }

    #[test]
    fn the_envelope_of_a_signed_output_verifies() {
        let signer = signer();
        let envelope = envelope(OF, &signed()).unwrap().unwrap();
        assert_eq!(envelope.verified_by(signer.published()).map(crate::PublicKey::id), Some(signer.key_id()));
    }

    #[test]
    fn whatever_is_changed_of_an_output_is_noticed() {
        let (signed, signer) = (signed(), signer());
        let changes = [
            signed.replacen("\"status\":\"failed\"", "\"status\":\"passed\"", 1),
            signed.replacen("\"size\":7", "\"size\":8", 1),
            signed.replacen("too much", "too  much", 1),
            signed.replacen("sha256:bb", "sha256:bc", 1),
            signed.replacen("\"note\"", "\"error\"", 1),
            signed.replacen("2027-01-15", "2027-01-14", 1),
            signed.replacen("1.2.3", "1.2.4", 1),
            signed.replacen("\"score\":1.0", "\"score\":1.00", 1),
        ];
        for changed in changes {
            assert_ne!(changed, signed);
            let envelope = envelope(OF, &changed).unwrap().unwrap();
            assert_eq!(envelope.verified_by(signer.published()), None, "{changed}");
        }
        for other in [
            Evaluated { operation: "0199-2", ..OF },
            Evaluated { organization: "globex", ..OF },
            Evaluated { project: "", ..OF },
        ] {
            let envelope = envelope(other, &signed).unwrap().unwrap();
            assert_eq!(envelope.verified_by(signer.published()), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_waived_does_not_count_and_the_waivers_are_signed() {
        let waiver = r#"{"id":"w1","by":"tok_1","reason":"known"}"#;
        let waived = OUTPUT.replacen("\"finding\":", &format!("\"waived\":{waiver},\"finding\":"), 1).replacen(
            ",\"totals\":",
            &format!(",\"waivers\":[{waiver}],\"totals\":"),
            1,
        );
        let signed = attest(&signer(), "1.2.3", OF, &waived, SystemTime::now()).unwrap();
        let statement = statement_of(&signed);
        let evaluation = &statement["predicate"]["longrun_evaluation"];
        assert_eq!(evaluation["policies"][0]["violations"], 0);
        assert_eq!(evaluation["waivers"][0]["id"], "w1");
    }

    #[test]
    fn an_output_that_was_not_signed_has_no_envelope() {
        assert!(envelope(OF, OUTPUT).unwrap().is_none());
        assert!(envelope(OF, "").unwrap().is_none());
        assert!(envelope(OF, "hello").unwrap().is_none());
        for unknown in [0, FORM + 1] {
            let later = signed().replacen(&format!("\"form\":{FORM}"), &format!("\"form\":{unknown}"), 1);
            assert!(matches!(envelope(OF, &later), Err(SummaryError::Form(form)) if form == unknown));
        }
        assert!(attest(&signer(), "1", OF, "{}", SystemTime::now()).is_err());
    }
}
