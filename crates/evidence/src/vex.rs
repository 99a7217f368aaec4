//! The statements of a VEX document about vulnerabilities, for waivers that name one.
//!
//! Three formats make the same statements in different terms: OpenVEX (`status`), CSAF 2 (`product_status`) and
//! CycloneDX (`analysis.state`). A vulnerability is *answered* when all statements of a document about it say that it
//! does not affect the product, or is fixed. The product of a statement is not considered: a document may name a
//! product in ways that the evidence does not know. So a vulnerability that is open in one product is open, and a
//! waiver determines to which evidence the document applies. A document may not know that two names belong to one
//! vulnerability, and a finding may have both: then the violation is not covered if the document calls the
//! vulnerability open under either name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::material::MaterialKind;

/// The maximum number of identifiers of vulnerabilities that a document answers.
const MAX_ANSWERS: usize = 10_000;
/// The maximum number of identifiers that a document calls open: they are kept in memory, too.
const MAX_OPEN: usize = 50_000;
/// The maximum number of characters of a statement that are kept.
const KEPT_CHARACTERS: usize = 256;

/// The statements of a VEX document, by the identifiers of vulnerabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vex {
    /// The answers, by identifiers in upper case; none of them is open.
    answers: BTreeMap<String, Arc<str>>,
    /// The identifiers, in upper case, of vulnerabilities that affect a product or may do so.
    open: BTreeSet<String>,
}

/// Why evidence is not read as a VEX document.
#[derive(Debug, thiserror::Error)]
pub enum VexError {
    /// It is not JSON.
    #[error("the document is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is something else.
    #[error("{0} is not a VEX document: give one of the type OPENVEX, CSAF_VEX or SBOM_CYCLONEDX_JSON")]
    Kind(MaterialKind),
    /// It answers no vulnerability.
    #[error("the document contains no statement that a vulnerability does not affect the product or is fixed")]
    Nothing,
    /// It answers more than can be kept in memory.
    #[error("the document answers more than {MAX_ANSWERS} identifiers of vulnerabilities")]
    TooMany,
    /// It calls more open than can be kept in memory.
    #[error("the document lists more than {MAX_OPEN} identifiers of open vulnerabilities")]
    TooManyOpen,
}

/// The statement of a part of a document about one vulnerability.
struct Statement {
    /// All its identifiers.
    ids: BTreeSet<String>,
    /// The status, with the reason; `None` while the vulnerability is open.
    answer: Option<Arc<str>>,
}

impl Vex {
    /// Reads a document of a kind. It is read as the kind that was detected when it was stored, and is not validated.
    ///
    /// # Errors
    /// [`VexError`] when it is not a VEX document, or has no answer.
    pub fn read(kind: MaterialKind, document: &[u8]) -> Result<Vex, VexError> {
        let (member, statements): (_, fn(&Value) -> Vec<Statement>) = match kind {
            MaterialKind::Openvex => ("statements", openvex),
            MaterialKind::CsafVex => ("vulnerabilities", csaf),
            MaterialKind::SbomCyclonedxJson => ("vulnerabilities", cyclonedx),
            other => return Err(VexError::Kind(other)),
        };
        let document: Value = serde_json::from_slice(document)?;
        let vex = answered(list(&document[member]).flat_map(statements).collect());
        match (vex.answers.len(), vex.open.len()) {
            (0, _) => Err(VexError::Nothing),
            (1..=MAX_ANSWERS, 0..=MAX_OPEN) => Ok(vex),
            (1..=MAX_ANSWERS, _) => Err(VexError::TooManyOpen),
            _ => Err(VexError::TooMany),
        }
    }

    /// The answer for a vulnerability with these names: the status and the reason, by the first name that is answered.
    /// `None` if no name is answered, or if the vulnerability is open by one of them.
    pub fn answer<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&str> {
        let names: Vec<String> = names.into_iter().map(str::to_uppercase).collect();
        if names.iter().any(|name| self.open.contains(name)) {
            return None;
        }
        names.iter().find_map(|name| self.answers.get(name)).map(AsRef::as_ref)
    }
}

/// The answers for identifiers that are not open, under this or another name, and the identifiers that are open. Each
/// identifier is looked at once, so that a long chain of names takes no more time than its length requires.
fn answered(statements: Vec<Statement>) -> Vex {
    let mut about: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, statement) in statements.iter().enumerate() {
        for id in &statement.ids {
            about.entry(id).or_default().push(index);
        }
    }
    let mut is_open: Vec<bool> = statements.iter().map(|statement| statement.answer.is_none()).collect();
    let begin = statements.iter().filter(|statement| statement.answer.is_none());
    let mut next: Vec<&str> = begin.flat_map(|statement| &statement.ids).map(String::as_str).collect();
    while let Some(id) = next.pop() {
        for index in about.remove(id).unwrap_or_default() {
            if !is_open[index] {
                is_open[index] = true;
                next.extend(statements[index].ids.iter().map(String::as_str));
            }
        }
    }
    let mut vex = Vex::default();
    for (Statement { ids, answer }, is_open) in statements.into_iter().zip(is_open) {
        match answer {
            Some(answer) if !is_open => vex.answers.extend(ids.into_iter().map(|id| (id, Arc::clone(&answer)))),
            _ => vex.open.extend(ids),
        }
    }
    vex
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn ids<'v>(of: impl IntoIterator<Item = &'v Value>) -> BTreeSet<String> {
    of.into_iter().filter_map(Value::as_str).filter(|id| !id.is_empty()).map(str::to_uppercase).collect()
}

/// The status with the first given reason.
fn answer_text(status: &str, reasons: &[&Value]) -> Arc<str> {
    match reasons.iter().filter_map(|reason| reason.as_str()).find(|reason| !reason.trim().is_empty()) {
        Some(reason) => format!("{status}: {}", reason.chars().take(KEPT_CHARACTERS).collect::<String>()).into(),
        None => status.into(),
    }
}

/// A statement of OpenVEX 0.2, or of 0.0, where the vulnerability is a text.
fn openvex(statement: &Value) -> Vec<Statement> {
    let vulnerability = &statement["vulnerability"];
    let names = [vulnerability, &vulnerability["name"]];
    let status = statement["status"].as_str().unwrap_or_default();
    let reasons = [&statement["justification"], &statement["impact_statement"], &statement["status_notes"]];
    let answer = matches!(status, "not_affected" | "fixed").then(|| answer_text(status, &reasons));
    vec![Statement { ids: ids(names.into_iter().chain(list(&vulnerability["aliases"]))), answer }]
}

/// The statement of CSAF about a vulnerability, unless no product has a status: it is open if any status is.
fn csaf(vulnerability: &Value) -> Vec<Statement> {
    let known = list(&vulnerability["ids"]).map(|id| &id["text"]);
    let ids = ids([&vulnerability["cve"]].into_iter().chain(known));
    let flag = list(&vulnerability["flags"]).map(|flag| &flag["label"]).next().unwrap_or(&Value::Null);
    let threat = list(&vulnerability["threats"]).find(|threat| threat["category"] == "impact");
    let impact = threat.map_or(&Value::Null, |threat| &threat["details"]);
    let products = vulnerability["product_status"].as_object();
    let has_any = |products: &Value| products.as_array().is_some_and(|products| !products.is_empty());
    let statuses = products.into_iter().flatten().filter(|(_, products)| has_any(products));
    let answer = |(status, _): (&String, &Value)| match status.as_str() {
        "known_not_affected" => Some(answer_text("not_affected", &[flag, impact])),
        "fixed" | "first_fixed" => Some("fixed".into()),
        _ => None,
    };
    // "recommended" names the version to use, and says nothing about the present one.
    let answers = statuses.filter(|(status, _)| *status != "recommended").map(answer);
    let answer: Option<Option<Arc<str>>> = answers.reduce(|one, other| one.and(other));
    answer.map(|answer| Statement { ids, answer }).into_iter().collect()
}

/// The statements of CycloneDX about a vulnerability; without an analysis it is open.
fn cyclonedx(vulnerability: &Value) -> Vec<Statement> {
    let references = list(&vulnerability["references"]).map(|reference| &reference["id"]);
    let analysis = &vulnerability["analysis"];
    let state = analysis["state"].as_str().unwrap_or_default();
    let status = match state {
        "not_affected" | "false_positive" => Some("not_affected"),
        "resolved" | "resolved_with_pedigree" => Some("fixed"),
        _ => None,
    };
    let answer = status.map(|status| answer_text(status, &[&analysis["justification"], &analysis["detail"]]));
    vec![Statement { ids: ids([&vulnerability["id"]].into_iter().chain(references)), answer }]
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::detect;

    pub(crate) fn read(document: &Value) -> Vex {
        let document = document.to_string();
        Vex::read(detect(document.as_bytes()).unwrap(), document.as_bytes()).unwrap()
    }

    pub(crate) fn openvex(statements: &Value) -> Value {
        json!({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "security",
            "timestamp": "2026-11-01T00:00:00Z", "version": 1, "statements": statements})
    }

    pub(crate) fn statement(id: &str, aliases: &[&str], status: &str) -> Value {
        json!({"vulnerability": {"name": id, "aliases": aliases}, "products": [{"@id": "pkg:oci/app"}],
            "status": status, "justification": "vulnerable_code_not_present", "impact_statement": "not linked in",
            "action_statement": "update"})
    }

    #[test]
    fn openvex_answers_by_every_identifier() {
        let vex = read(&openvex(&json!([
            statement("CVE-2026-1", &["GHSA-aaaa"], "not_affected"),
            statement("CVE-2026-2", &[], "affected"),
            statement("CVE-2026-3", &[], "under_investigation"),
            statement("CVE-2026-4", &[], "fixed"),
        ])));
        let not_affected = Some("not_affected: vulnerable_code_not_present");
        assert_eq!(vex.answer(["CVE-2026-1"]), not_affected);
        assert_eq!(vex.answer(["ghsa-AAAA"]), not_affected);
        assert_eq!(vex.answer(["CVE-2026-4"]), Some("fixed: vulnerable_code_not_present"));
        for open in ["CVE-2026-2", "CVE-2026-3", "CVE-2026-9", ""] {
            assert_eq!(vex.answer([open]), None, "{open}");
        }
    }

    #[test]
    fn long_reasons_are_cut() {
        let long = "é".repeat(100_000);
        let mut of = statement("CVE-2026-1", &["GHSA-1"], "not_affected");
        of["justification"] = json!(long);
        let vex = read(&openvex(&json!([of])));
        let kept = format!("not_affected: {}", "é".repeat(KEPT_CHARACTERS));
        assert_eq!(vex.answer(["GHSA-1"]), Some(kept.as_str()));
    }

    #[test]
    fn what_is_open_in_one_product_or_by_another_name_is_open() {
        let vex = read(&openvex(&json!([
            statement("CVE-2026-1", &["GHSA-1"], "not_affected"),
            statement("GHSA-1", &["OSV-1"], "not_affected"),
            statement("OSV-1", &[], "affected"),
            statement("CVE-2026-2", &[], "not_affected"),
            statement("CVE-2026-2", &[], "affected"),
            statement("CVE-2026-3", &[], "fixed"),
        ])));
        assert_eq!(vex.answers.keys().collect::<Vec<_>>(), ["CVE-2026-3"]);
        assert!(vex.open.iter().eq(["CVE-2026-1", "CVE-2026-2", "GHSA-1", "OSV-1"]), "{:?}", vex.open);
    }

    /// Each statement has a name in common with the next one, and only the last one is open.
    #[test]
    fn what_is_open_by_a_long_chain_of_names_is_open() {
        const LENGTH: usize = 20_000;
        let name = |number: usize| format!("CVE-{number}");
        let mut chain: Vec<Value> =
            (0..LENGTH).map(|number| statement(&name(number), &[&name(number + 1)], "not_affected")).collect();
        chain.push(statement(&name(LENGTH), &[], "affected"));
        chain.push(statement("CVE-X", &[], "fixed"));
        let vex = read(&openvex(&json!(chain)));
        assert_eq!(vex.open.len(), LENGTH + 1);
        assert_eq!(vex.answers.keys().collect::<Vec<_>>(), ["CVE-X"]);
    }

    /// The document does not say that both names belong to one vulnerability; the finding does.
    #[test]
    fn a_vulnerability_is_answered_by_none_of_its_names_when_it_is_open_by_one() {
        for status in ["affected", "under_investigation", "unknown"] {
            let statements = [statement("GHSA-1", &[], "not_affected"), statement("CVE-1", &["OSV-1"], status)];
            let vex = read(&openvex(&json!(statements)));
            let not_affected = Some("not_affected: vulnerable_code_not_present");
            assert_eq!(vex.answer(["GHSA-1"]), not_affected);
            assert_eq!(vex.answer(["GHSA-1", "CVE-9"]), not_affected, "there is no statement under the other name");
            for names in [["GHSA-1", "CVE-1"], ["cve-1", "ghsa-1"], ["GHSA-1", "osv-1"]] {
                assert_eq!(vex.answer(names), None, "{names:?}: {status}");
            }
        }
    }

    #[test]
    fn csaf_answers_by_the_status_of_products() {
        let vulnerability = |cve: &str, status: Value| {
            json!({"cve": cve, "product_status": status, "notes": [{"category": "description", "text": "x"}],
                "flags": [{"label": "component_not_present", "product_ids": ["P"]}],
                "remediations": [{"category": "vendor_fix", "details": "update", "product_ids": ["P"]}]})
        };
        let vex = read(&json!({
            "document": {"category": "csaf_vex", "csaf_version": "2.0", "title": "t",
                "notes": [{"category": "summary", "text": "x"}],
                "publisher": {"category": "vendor", "name": "n", "namespace": "https://example.com"},
                "tracking": {"id": "1", "status": "final", "version": "1", "current_release_date": "2026-11-01T00:00:00Z",
                    "initial_release_date": "2026-11-01T00:00:00Z",
                    "revision_history": [{"date": "2026-11-01T00:00:00Z", "number": "1", "summary": "x"}]}},
            "product_tree": {"full_product_names": [{"product_id": "P", "name": "p"}, {"product_id": "Q", "name": "q"}]},
            "vulnerabilities": [
                vulnerability("CVE-2026-1", json!({"known_not_affected": ["P"]})),
                vulnerability("CVE-2026-2", json!({"known_not_affected": ["P"], "known_affected": ["Q"]})),
                vulnerability("CVE-2026-3", json!({"under_investigation": ["P"]})),
                vulnerability("CVE-2026-4", json!({"fixed": ["P"]})),
                vulnerability("CVE-2026-5", json!({"fixed": ["P"], "under_investigation": ["Q"]})),
                vulnerability("CVE-2026-6", json!({"recommended": ["Q"]})),
            ],
        }));
        assert_eq!(vex.answer(["CVE-2026-1"]), Some("not_affected: component_not_present"));
        assert_eq!(vex.answers.keys().collect::<Vec<_>>(), ["CVE-2026-1", "CVE-2026-4"]);
    }

    #[test]
    fn cyclonedx_answers_by_its_analysis() {
        let vulnerability = |id: &str, state: &str| {
            json!({"id": id, "references": [{"id": format!("SNYK-{id}"), "source": {"name": "s"}}],
                "analysis": {"state": state, "justification": "code_not_reachable"}})
        };
        let vex = read(&json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "vulnerabilities": [
                vulnerability("CVE-2026-1", "not_affected"), vulnerability("CVE-2026-2", "exploitable"),
                vulnerability("CVE-2026-3", "resolved"), {"id": "CVE-2026-4"}, vulnerability("CVE-2026-5", "in_triage"),
            ],
        }));
        assert_eq!(vex.answer(["snyk-cve-2026-1"]), Some("not_affected: code_not_reachable"));
        assert_eq!(vex.answers.len(), 4, "two vulnerabilities with two identifiers each");
        assert!(vex.answer(["CVE-2026-3"]).is_some());
    }

    #[test]
    fn what_is_no_vex_document_is_refused() {
        let error = |kind, document: &[u8]| Vex::read(kind, document).unwrap_err().to_string();
        assert!(error(MaterialKind::Sarif, b"{}").starts_with("SARIF is not a VEX document"));
        assert!(error(MaterialKind::Openvex, b"{").starts_with("the document is not JSON"));
        let open = openvex(&json!([statement("CVE-2026-1", &[], "affected")])).to_string();
        assert!(error(MaterialKind::Openvex, open.as_bytes()).contains("contains no statement"));
        for kind in [MaterialKind::Openvex, MaterialKind::CsafVex, MaterialKind::SbomCyclonedxJson] {
            for document in
                ["null", "[1]", r#"{"statements": 1, "vulnerabilities": {}}"#, r#"{"statements": [1, null]}"#]
            {
                assert!(error(kind, document.as_bytes()).contains("contains no statement"), "{document}");
            }
        }
        let many: Vec<Value> = (0..=MAX_ANSWERS).map(|n| statement(&format!("CVE-{n}"), &[], "fixed")).collect();
        assert!(error(MaterialKind::Openvex, openvex(&json!(many)).to_string().as_bytes()).contains("more than 10000"));
        let names: Vec<String> = (0..=MAX_OPEN).map(|n| format!("CVE-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let open = [statement("GHSA-1", &[], "fixed"), statement("CVE-0", &names, "affected")];
        assert!(error(MaterialKind::Openvex, openvex(&json!(open)).to_string().as_bytes()).contains("more than 50000"));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(error(MaterialKind::Openvex, deep.as_bytes()).contains("recursion limit"));
    }
}
