//! The standards' own JSON Schemas, as their authors publish them (`crates/evidence/schemas/README.md`).
//!
//! Each is compiled when the first document of its version is checked. Rules that a schema cannot express, and those
//! that deserve clearer messages than a schema gives, are checked before, in addition to this.

mod value;

use std::fmt::Write as _;
use std::sync::OnceLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, Registry, ValidationError, Validator};
use regorus::Value;
use serde_json::json;

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::write_field;
use value::Rego;

/// A schema and its compiled form.
struct Schema {
    /// The version as documents name it.
    version: &'static str,
    text: &'static str,
    /// Whether the formats of texts are checked, such as that of addresses.
    has_formats: bool,
    compiled: OnceLock<Validator<Rego>>,
}

macro_rules! schemas {
    (formats: $has_formats:literal, $($version:literal: $file:literal),+ $(,)?) => {
        [$(Schema {
            version: $version,
            text: include_str!(concat!("../../../schemas/", $file)),
            has_formats: $has_formats,
            compiled: OnceLock::new(),
        }),+]
    };
}

static CYCLONEDX: [Schema; 6] = schemas![
    formats: true,
    "1.2": "cyclonedx/bom-1.2.schema.json",
    "1.3": "cyclonedx/bom-1.3.schema.json",
    "1.4": "cyclonedx/bom-1.4.schema.json",
    "1.5": "cyclonedx/bom-1.5.schema.json",
    "1.6": "cyclonedx/bom-1.6.schema.json",
    "1.7": "cyclonedx/bom-1.7.schema.json",
];
static CSAF: [Schema; 1] = schemas![formats: true, "2.0": "csaf/csaf-2.0.json"];
/// Tools write addresses that are empty, or have spaces. Whoever reads them sees what is meant.
static SARIF: [Schema; 1] = schemas![formats: false, "2.1.0": "sarif/sarif-2.1.0.json"];

/// The schemas that others refer to, by the names that they use.
const REFERRED_TO: [(&str, &str); 5] = [
    (
        "http://cyclonedx.org/schema/jsf-0.82.schema.json",
        include_str!("../../../schemas/cyclonedx/jsf-0.82.schema.json"),
    ),
    (
        "http://cyclonedx.org/schema/cryptography-defs.schema.json",
        include_str!("../../../schemas/cyclonedx/cryptography-defs.schema.json"),
    ),
    ("https://www.first.org/cvss/cvss-v2.0.json", include_str!("../../../schemas/csaf/cvss-v2.0.json")),
    ("https://www.first.org/cvss/cvss-v3.0.json", include_str!("../../../schemas/csaf/cvss-v3.0.json")),
    ("https://www.first.org/cvss/cvss-v3.1.json", include_str!("../../../schemas/csaf/cvss-v3.1.json")),
];

/// The identifiers of licences that SPDX knew when a version of CycloneDX was released. Any text is accepted instead:
/// SPDX adds some every few months, and a document that uses them is still valid.
const LICENSES: &str = "http://cyclonedx.org/schema/spdx.schema.json";

/// Checks a CycloneDX document against the schema of its version.
pub fn cyclonedx(value: &Value) -> Result<(), MaterialError> {
    check(MaterialKind::SbomCyclonedxJson, &CYCLONEDX, &value["specVersion"], value)
}

/// Checks a CSAF document against the schema of its version, if it is version 2.0.
pub fn csaf(kind: MaterialKind, value: &Value) -> Result<(), MaterialError> {
    check(kind, &CSAF, &value["document"]["csaf_version"], value)
}

/// Checks a SARIF log against its schema.
pub fn sarif(value: &Value) -> Result<(), MaterialError> {
    check(MaterialKind::Sarif, &SARIF, &value["version"], value)
}

fn check(kind: MaterialKind, schemas: &[Schema], version: &Value, value: &Value) -> Result<(), MaterialError> {
    let Some(schema) = schemas.iter().find(|schema| *version == Value::from(schema.version)) else { return Ok(()) };
    let validator = schema.compiled.get_or_init(|| compile(schema));
    validator.validate(value).map_err(|error| {
        let error = innermost(&error);
        MaterialError::Schema {
            kind,
            version: schema.version,
            at: path(error.instance_path().as_str()),
            reason: reason(error),
        }
    })
}

/// A test compiles every schema.
fn compile(schema: &Schema) -> Validator<Rego> {
    let parsed = |text| serde_json::from_str::<serde_json::Value>(text).expect("a schema is JSON");
    let mut registry = Registry::new().add(LICENSES, json!({"type": "string"})).expect("a name is a URI");
    for (name, text) in REFERRED_TO {
        registry = registry.add(name, parsed(text)).expect("a name is a URI");
    }
    let mut rules = parsed(schema.text);
    widen(&mut rules);
    mend(&mut rules);
    let registry = registry.prepare().expect("what schemas refer to is there");
    jsonschema::options_for::<Rego>()
        .with_registry(&registry)
        // Without look-around and anything else that can take more than linear time.
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(schema.has_formats)
        .build(&rules)
        .expect("a schema can be compiled")
}

/// By the schema of CycloneDX 1.7, the asserter of a patent is either an entity, a contact or a reference; so one with
/// only a name, which matches two of these, is not valid. And libraries that are generated from the standard's Protocol
/// Buffers write an object that names which of them it is, as for annotators. Both are accepted.
fn widen(schema: &mut serde_json::Value) {
    let Some(asserter) = schema.pointer_mut("/definitions/patentAssertions/items/properties/asserter") else { return };
    let Some(mut forms) = asserter.get_mut("oneOf").map(serde_json::Value::take) else { return };
    if let Some(forms) = forms.as_array_mut() {
        forms.extend(
            [("organization", "organizationalEntity"), ("individual", "organizationalContact"), ("ref", "refLinkType")]
                .map(|(name, of)| {
                    let member = json!({name: {"$ref": format!("#/definitions/{of}")}});
                    json!({"type": "object", "required": [name], "additionalProperties": false, "properties": member})
                }),
        );
    }
    *asserter = json!({"anyOf": forms});
}

/// SARIF's pattern of a language has a bracket too many, so that it is no regular expression by JSON Schema's own rules.
/// Its first part admits everything that the rest was to admit.
fn mend(schema: &mut serde_json::Value) {
    for of in ["run", "toolComponent"] {
        if let Some(language) = schema.pointer_mut(&format!("/definitions/{of}/properties/language/pattern")) {
            *language = json!("^[a-zA-Z]{2}");
        }
    }
}

/// Where a value matches none of several forms: the error for the form that matches best, which is the one whose error
/// is nested deepest.
fn innermost<'e>(error: &'e ValidationError<'e>) -> &'e ValidationError<'e> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return error;
    };
    let depth = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
    let inner = context.iter().flatten().map(|inner| innermost(inner)).max_by_key(|inner| depth(inner));
    inner.filter(|inner| depth(inner) > depth(error)).unwrap_or(error)
}

/// A JSON pointer as a JSON path, such as `$.components[3].name`.
fn path(pointer: &str) -> String {
    let mut path = "$".to_owned();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        // Writing to a text does not fail.
        let _ = if step.bytes().all(|byte| byte.is_ascii_digit()) {
            write!(path, "[{step}]")
        } else {
            write_field(&mut path, &step)
        };
    }
    path
}

/// How a value violates the schema, in a sentence that does not quote the value.
fn reason(error: &ValidationError<'_>) -> String {
    const MOST: usize = 12;
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let named: Vec<String> = unexpected.iter().take(MOST).map(|name| format!("{name:?}")).collect();
            format!("members named {} are not allowed here", named.join(", "))
        }
        ValidationErrorKind::Required { property } => format!("the member {property} is missing"),
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => format!("it has to be of the type {one}"),
        ValidationErrorKind::Enum { options } => match options.as_array() {
            Some(options) if options.len() <= MOST => format!("it has to be one of {}", listed(options)),
            Some(options) => format!("it is not one of the {} allowed values", options.len()),
            None => "it is not one of the allowed values".to_owned(),
        },
        ValidationErrorKind::Constant { expected_value } => format!("it has to be {expected_value}"),
        ValidationErrorKind::Pattern { pattern } => format!("it does not match the pattern {pattern}"),
        ValidationErrorKind::Format { format } => format!("it is not of the format {format}"),
        ValidationErrorKind::UniqueItems => "it contains an item twice".to_owned(),
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            "it has none of the allowed forms".to_owned()
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            "it matches several forms of which only one is allowed".to_owned()
        }
        _ => error.masked_with("it").to_string(),
    }
}

fn listed(values: &[serde_json::Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    use crate::material::json;

    fn refused(check: impl Fn(&Value) -> Result<(), MaterialError>, document: &serde_json::Value) -> Option<String> {
        check(&json::read(document.to_string().as_bytes()).unwrap()).err().map(|error| error.to_string())
    }

    #[test]
    fn every_schema_can_be_compiled() {
        for schema in CYCLONEDX.iter().chain(&CSAF).chain(&SARIF) {
            let _ = compile(schema);
        }
    }

    /// A document of each version, with this member.
    fn bom(version: &str, name: &str, value: &serde_json::Value) -> serde_json::Value {
        json!({"bomFormat": "CycloneDX", "specVersion": version, "version": 1, name: value})
    }

    #[test]
    fn a_document_is_checked_against_the_schema_of_its_version() {
        let services =
            json!([{"name": "n", "x-trust-boundary": true, "data": [{"flow": "sideways", "classification": "c"}]}]);
        for (version, place) in
            [("1.2", "data[0].flow"), ("1.4", "data[0].flow"), ("1.6", "data[0]"), ("1.7", "data[0]")]
        {
            let refused = refused(cyclonedx, &bom(version, "services", &services)).unwrap();
            let expected = format!("not SBOM_CYCLONEDX_JSON: at $.services[0].{place}");
            assert!(refused.starts_with(&expected) || refused.contains("at $.services[0]:"), "{version}: {refused}");
            assert!(refused.ends_with(&format!("(JSON Schema of version {version})")), "{refused}");
        }
        // 1.4 does not know what 1.5 added.
        let formulation = json!([{"bom-ref": "f"}]);
        assert_eq!(refused(cyclonedx, &bom("1.5", "formulation", &formulation)), None);
        assert_eq!(
            refused(cyclonedx, &bom("1.4", "formulation", &formulation)).unwrap(),
            "not SBOM_CYCLONEDX_JSON: at $: members named \"formulation\" are not allowed here (JSON Schema of version 1.4)"
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_the_document() {
        let component = |name: &str, value: serde_json::Value| {
            bom("1.6", "components", &json!([{"type": "library", "name": "n", name: value}]))
        };
        for (document, expected) in [
            (
                component("hashes", json!([{"alg": "MD5", "content": "xyz"}])),
                "at $.components[0].hashes[0].content: it does not match the pattern",
            ),
            (
                component("hashes", json!([{"alg": "CRC", "content": "00"}])),
                "at $.components[0].hashes[0].alg: it has to be one of",
            ),
            (component("purl", json!(7)), "at $.components[0].purl: it has to be of the type string"),
            (
                component("properties", json!([{"name": "a", "word": "b"}])),
                "at $.components[0].properties[0]: members named \"word\" are not allowed here",
            ),
            (
                component("licenses", json!([{"license": {"id": "MIT", "name": "MIT"}}])),
                "at $.components[0].licenses[0]",
            ),
            (component("tags", json!([1])), "at $.components[0].tags[0]: it has to be of the type string"),
            (
                bom("1.6", "components", &json!([{"type": "library", "name": "n"}, {"type": "library", "name": "n"}])),
                "at $.components: it contains an item twice",
            ),
        ] {
            let refused = refused(cyclonedx, &document).unwrap_or_else(|| panic!("{document} was accepted"));
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn what_the_schema_is_too_strict_about_is_taken() {
        // A licence that SPDX added after the schema was published.
        let licensed = json!([{"type": "library", "name": "n", "licenses": [{"license": {"id": "New-Licence-9.0"}}]}]);
        // A member that a tool writes without a value.
        let nothing = json!([{"type": "library", "name": "n", "description": null}]);
        for components in [licensed, nothing] {
            for version in ["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"] {
                let mut components = components.clone();
                components[0]["version"] = json!("1");
                assert_eq!(refused(cyclonedx, &bom(version, "components", &components)), None, "{version}");
            }
        }
        let asserted = |asserter: serde_json::Value| {
            let assertions = json!([{"assertionType": "license", "asserter": asserter}]);
            bom("1.7", "components", &json!([{"type": "library", "name": "n", "patentAssertions": assertions}]))
        };
        for asserter in
            [json!("ref-1"), json!({"name": "n"}), json!({"ref": "ref-1"}), json!({"organization": {"name": "n"}})]
        {
            assert_eq!(refused(cyclonedx, &asserted(asserter)), None);
        }
        assert!(refused(cyclonedx, &asserted(json!({"reference": "ref-1"}))).is_some());
    }

    #[test]
    fn a_sarif_log_is_checked_against_the_schema() {
        let log = |result: serde_json::Value| {
            let driver = json!({"name": "scanner", "informationUri": "", "rules": [{"id": "R1", "helpUri": null}]});
            let run = json!({"tool": {"driver": driver}, "language": "en-US", "results": [result]});
            json!({"version": "2.1.0", "runs": [run]})
        };
        let message = json!({"text": "t"});
        let uri = json!({"physicalLocation": {"artifactLocation": {"uri": "src/my file.c"}}});
        assert_eq!(refused(sarif, &log(json!({"message": message, "locations": [uri]}))), None);
        for (member, value, expected) in [
            ("rank", json!("high"), "at $.runs[0].results[0].rank: it has to be of the type number"),
            ("baselineState", json!("newer"), "at $.runs[0].results[0].baselineState: it has to be one of"),
            ("severity", json!("high"), "at $.runs[0].results[0]: members named \"severity\" are not allowed here"),
            (
                "properties",
                json!({"tags": ["a", "a"]}),
                "at $.runs[0].results[0].properties.tags: it contains an item twice",
            ),
        ] {
            let mut result = json!({"message": message});
            result[member] = value;
            let refused = refused(sarif, &log(result)).unwrap_or_else(|| panic!("{member} was accepted"));
            assert!(refused.contains(expected) && refused.ends_with("(JSON Schema of version 2.1.0)"), "{refused}");
        }
    }

    #[test]
    fn csaf_of_2_0_is_checked_with_what_its_schema_refers_to() {
        let kind = MaterialKind::CsafVex;
        let document = |score: serde_json::Value| {
            json!({
                "document": {
                    "category": "csaf_vex", "csaf_version": "2.0", "title": "t",
                    "publisher": {"category": "vendor", "name": "n", "namespace": "https://example.com"},
                    "tracking": {
                        "id": "1", "version": "1", "status": "final", "current_release_date": "2024-01-02T03:04:05Z",
                        "initial_release_date": "2024-01-02T03:04:05Z",
                        "revision_history": [{"date": "2024-01-02T03:04:05Z", "number": "1", "summary": "s"}],
                    },
                },
                "vulnerabilities": [{"cve": "CVE-2024-0001", "scores": [{"products": ["p"], "cvss_v3": score}]}],
            })
        };
        let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
        let score = json!({"version": "3.1", "vectorString": vector, "baseScore": 9.8, "baseSeverity": "CRITICAL"});
        assert_eq!(refused(|value| csaf(kind, value), &document(score.clone())), None);
        let mut wrong = score;
        wrong["baseScore"] = json!(98);
        let refused = refused(|value| csaf(kind, value), &document(wrong)).unwrap();
        assert!(refused.starts_with("not CSAF_VEX: at $.vulnerabilities[0].scores[0].cvss_v3"), "{refused}");
    }
}
