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
    /// Changes the schema where it would refuse documents that are meant to be valid.
    adapt: fn(&mut serde_json::Value),
    compiled: OnceLock<Validator<Rego>>,
}

impl Schema {
    /// The schema, with the changes that it needs.
    fn rules(&self) -> serde_json::Value {
        let mut rules = parsed(self.text);
        (self.adapt)(&mut rules);
        rules
    }
}

macro_rules! schemas {
    (formats: $has_formats:literal, adapt: $adapt:expr, $($version:literal: $file:literal),+ $(,)?) => {
        [$(Schema {
            version: $version,
            text: include_str!(concat!("../../../schemas/", $file)),
            has_formats: $has_formats,
            adapt: $adapt,
            compiled: OnceLock::new(),
        }),+]
    };
}

static CYCLONEDX: [Schema; 6] = schemas![
    formats: true, adapt: cyclonedx_asserters,
    "1.2": "cyclonedx/bom-1.2.schema.json",
    "1.3": "cyclonedx/bom-1.3.schema.json",
    "1.4": "cyclonedx/bom-1.4.schema.json",
    "1.5": "cyclonedx/bom-1.5.schema.json",
    "1.6": "cyclonedx/bom-1.6.schema.json",
    "1.7": "cyclonedx/bom-1.7.schema.json",
];
static CSAF: [Schema; 1] = schemas![formats: true, adapt: |_| (), "2.0": "csaf/csaf-2.0.json"];
/// Tools write addresses that are empty, or have spaces. Whoever reads them sees what is meant.
static SARIF: [Schema; 1] = schemas![formats: false, adapt: sarif_language, "2.1.0": "sarif/sarif-2.1.0.json"];
static SPDX: [Schema; 3] = schemas![
    formats: false, adapt: spdx_usage,
    "2.2": "spdx/spdx-2.2.json",
    "2.3": "spdx/spdx-2.3.json",
    "3.0.1": "spdx/spdx-3.0.1.json",
];

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

/// The context of SPDX 3.0.1.
const SPDX_3_0_1: &str = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld";

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

/// Checks an SPDX document of the second generation against the schema of its version, and one of the third if its
/// context is that of the schema.
pub fn spdx(value: &Value) -> Result<(), MaterialError> {
    let version = match (&value["spdxVersion"], &value["@context"]) {
        (Value::String(version), _) => version.strip_prefix("SPDX-").unwrap_or_default(),
        (_, Value::String(context)) if **context == *SPDX_3_0_1 => "3.0.1",
        _ => return Ok(()),
    };
    check(MaterialKind::SbomSpdxJson, &SPDX, &version.into(), value)
}

fn check(kind: MaterialKind, schemas: &[Schema], version: &Value, value: &Value) -> Result<(), MaterialError> {
    let Some(schema) = schemas.iter().find(|schema| *version == Value::from(schema.version)) else { return Ok(()) };
    let validator = schema.compiled.get_or_init(|| compile(&schema.rules(), schema.has_formats));
    validator.validate(value).map_err(|error| {
        let error = innermost(&error);
        let (at, reason) =
            in_element(schema, value, error).unwrap_or_else(|| (path(error.instance_path().as_str()), reason(error)));
        MaterialError::Schema { kind, version: schema.version, at, reason }
    })
}

/// What is wrong with an element of a graph of SPDX 3, and where: the schema itself only says that the element is of
/// none of its types.
fn in_element(schema: &Schema, document: &Value, error: &ValidationError<'_>) -> Option<(String, String)> {
    let ValidationErrorKind::UnevaluatedProperties { .. } = error.kind() else { return None };
    let place = error.instance_path().as_str();
    let element = &document["@graph"][place.strip_prefix("/@graph/")?.parse::<usize>().ok()?];
    let Value::String(of) = &element["type"] else { return None };
    let mut rules = schema.rules();
    if rules["$defs"][&**of].get("then").is_none() {
        return Some((path(&format!("{place}/type")), "it is not a type of this version".to_owned()));
    }
    rules = json!({"$schema": rules["$schema"], "$ref": format!("#/$defs/{of}/then"), "$defs": rules["$defs"]});
    let validator = compile(&rules, schema.has_formats);
    let error = validator.validate(element).err()?;
    let error = innermost(&error);
    Some((path(&format!("{place}{}", error.instance_path().as_str())), reason(error)))
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("a schema is JSON")
}

/// A test compiles every schema.
fn compile(rules: &serde_json::Value, has_formats: bool) -> Validator<Rego> {
    let mut registry = Registry::new().add(LICENSES, json!({"type": "string"})).expect("a name is a URI");
    for (name, text) in REFERRED_TO {
        registry = registry.add(name, parsed(text)).expect("a name is a URI");
    }
    let registry = registry.prepare().expect("what schemas refer to is there");
    jsonschema::options_for::<Rego>()
        .with_registry(&registry)
        // Without look-around and anything else that can take more than linear time.
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(has_formats)
        .build(rules)
        .expect("a schema can be compiled")
}

/// By the schema of CycloneDX 1.7, the asserter of a patent is either an entity, a contact or a reference; so one with
/// only a name, which matches two of these, is not valid. And libraries that are generated from the standard's Protocol
/// Buffers write an object that names which of them it is, as for annotators. Both are accepted.
fn cyclonedx_asserters(schema: &mut serde_json::Value) {
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
fn sarif_language(schema: &mut serde_json::Value) {
    for of in ["run", "toolComponent"] {
        if let Some(language) = schema.pointer_mut(&format!("/definitions/{of}/properties/language/pattern")) {
            *language = json!("^[a-zA-Z]{2}");
        }
    }
}

/// SPDX 2.3 does not require the members about licences any more that 2.2 did, and tools leave them out of documents of
/// 2.2, too. Common tools write files without checksums, and snippets need no name by the text of the standard.
/// Categories are spelt with an underscore by tools that follow the first schema of 2.2. In 3.0.1, the rule of an IRI
/// looks ahead, which expressions of linear time cannot.
fn spdx_usage(schema: &mut serde_json::Value) {
    const LICENSES: [&str; 4] = ["licenseConcluded", "licenseDeclared", "licenseInfoInFiles", "copyrightText"];
    for (of, other) in [("packages", ""), ("files", "checksums"), ("snippets", "name")] {
        let required = schema.pointer_mut(&format!("/properties/{of}/items/required"));
        if let Some(required) = required.and_then(serde_json::Value::as_array_mut) {
            required.retain(|name| *name != other && !LICENSES.iter().any(|license| name == license));
        }
    }
    let references = "/properties/packages/items/properties/externalRefs/items/properties";
    if let Some(category) = schema.pointer_mut(&format!("{references}/referenceCategory/enum")) {
        *category =
            json!(["OTHER", "SECURITY", "PERSISTENT-ID", "PERSISTENT_ID", "PACKAGE-MANAGER", "PACKAGE_MANAGER"]);
    }
    if let Some(iri) = schema.pointer_mut("/$defs/IRI/pattern") {
        *iri = json!("^([^_].*|_[^:].*):.+");
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
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
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
        for schema in CYCLONEDX.iter().chain(&CSAF).chain(&SARIF).chain(&SPDX) {
            let _ = compile(&schema.rules(), schema.has_formats);
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
    fn an_spdx_document_is_checked_against_the_schema_of_its_version() {
        let document = |version: &str, package: serde_json::Value| {
            let creation = json!({"created": "2026-01-01T00:00:00Z", "creators": ["Tool: t"]});
            let mut document = json!({"spdxVersion": version, "SPDXID": "SPDXRef-DOCUMENT", "dataLicense": "CC0-1.0"});
            document["name"] = json!("n");
            document["creationInfo"] = creation;
            document["packages"] = json!([{"SPDXID": "SPDXRef-p", "name": "p", "downloadLocation": "NOASSERTION"}]);
            for (name, value) in package.as_object().unwrap() {
                document["packages"][0][name] = value.clone();
            }
            document["files"] = json!([{"SPDXID": "SPDXRef-f", "fileName": "./f"}]);
            document
        };
        let reference = |category: &str| {
            let reference =
                json!({"referenceCategory": category, "referenceType": "purl", "referenceLocator": "pkg:a/b"});
            json!({"externalRefs": [reference]})
        };
        for version in ["SPDX-2.2", "SPDX-2.3"] {
            for fine in
                [json!({}), json!({"supplier": null}), reference("PACKAGE-MANAGER"), reference("PACKAGE_MANAGER")]
            {
                assert_eq!(refused(spdx, &document(version, fine)), None);
            }
            for (package, expected) in [
                (json!({"word": 1}), "at $.packages[0]: members named \"word\" are not allowed here"),
                (json!({"filesAnalyzed": "no"}), "at $.packages[0].filesAnalyzed: it has to be of the type boolean"),
                (reference("PURL"), "at $.packages[0].externalRefs[0].referenceCategory: it has to be one of"),
                (
                    json!({"checksums": [{"algorithm": "CRC", "checksumValue": "0"}]}),
                    "at $.packages[0].checksums[0].algorithm: it",
                ),
                (
                    json!({"checksums": [{"algorithm": "SHA256"}]}),
                    "at $.packages[0].checksums[0]: the member \"checksumValue\" is missing",
                ),
            ] {
                let refused = refused(spdx, &document(version, package)).unwrap();
                assert!(refused.contains(expected), "{refused}");
            }
        }
        let purpose = document("SPDX-2.2", json!({"primaryPackagePurpose": "LIBRARY"}));
        assert!(refused(spdx, &purpose).unwrap().contains("primaryPackagePurpose"), "2.3 added it");
    }

    #[test]
    fn a_graph_of_spdx_3_is_checked_against_the_schema_of_its_context() {
        let graph = |version: &str, mut package: serde_json::Value| {
            let mut info = json!({"type": "CreationInfo", "@id": "_:info", "specVersion": "3.0.1"});
            info["createdBy"] = json!(["urn:a:b"]);
            info["created"] = json!("2026-01-01T00:00:00Z");
            package.as_object_mut().unwrap().entry("type").or_insert(json!("software_Package"));
            package["creationInfo"] = json!("_:info");
            let context = format!("https://spdx.org/rdf/{version}/spdx-context.jsonld");
            json!({"@context": context, "@graph": [info, package]})
        };
        assert_eq!(refused(spdx, &graph("3.0.1", json!({"spdxId": "urn:a:p", "name": "p"}))), None);
        for (wrong, expected) in [
            (json!({"spdxId": "_:p"}), r#"at $["@graph"][1].spdxId: it does not match the pattern"#),
            (json!({"name": "p"}), r#"at $["@graph"][1]: the member "spdxId" is missing"#),
            (json!({"spdxId": "urn:a:p", "name": 7}), r#"at $["@graph"][1].name: it has to be of the type string"#),
            (
                json!({"spdxId": "urn:a:p", "word": 1}),
                r#"at $["@graph"][1]: members named "word" are not allowed here"#,
            ),
            (
                json!({"spdxId": "urn:a:p", "type": "Packet"}),
                r#"at $["@graph"][1].type: it is not a type of this version"#,
            ),
        ] {
            let refused = refused(spdx, &graph("3.0.1", wrong.clone())).unwrap_or_else(|| panic!("{wrong}"));
            assert!(refused.contains(expected), "{refused}");
            assert!(refused.ends_with("(JSON Schema of version 3.0.1)"), "{refused}");
        }
        assert_eq!(refused(spdx, &graph("3.0.0", json!({"spdxId": "_:p"}))), None, "it has another schema");
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
