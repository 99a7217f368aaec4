//! Which kind is detected, what is refused and where, and that arbitrary bytes do no harm.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Material, MaterialError, MaterialKind, Metadata, detect};

fn cyclonedx() -> Json {
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "metadata": {"timestamp": "2024-01-02T03:04:05Z", "component": {"type": "application", "name": "app"}},
        "components": [
            {"type": "library", "name": "a", "version": "1", "purl": "pkg:cargo/a@1", "licenses": [{"license": {"id": "MIT"}}]},
            {"type": "library", "name": "b", "licenses": [{"expression": "MIT OR Apache-2.0"}], "components": [{"type": "file", "name": "c"}]},
        ],
        "dependencies": [{"ref": "a", "dependsOn": ["b"]}],
    })
}

fn spdx() -> Json {
    json!({
        "spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "dataLicense": "CC0-1.0", "name": "app",
        "documentNamespace": "https://example.com/app", "creationInfo": {"created": "2024-01-02T03:04:05Z", "creators": ["Tool: x"]},
        "packages": [{"SPDXID": "SPDXRef-a", "name": "a", "downloadLocation": "NOASSERTION"}],
        "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-a", "relationshipType": "DESCRIBES"}],
    })
}

fn spdx3() -> Json {
    json!({
        "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
        "@graph": [
            {
                "type": "CreationInfo", "@id": "_:c", "specVersion": "3.0.1", "created": "2024-01-02T03:04:05Z",
                "createdBy": ["https://example.com/t"],
            },
            {
                "type": "SpdxDocument", "spdxId": "https://example.com/d", "creationInfo": "_:c", "name": "app",
                "rootElement": ["https://example.com/p"],
            },
        ],
    })
}

fn sarif() -> Json {
    json!({
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "lint", "rules": [{"id": "R1", "defaultConfiguration": {"level": "note"}}]}},
            "results": [{
                "ruleId": "R1", "ruleIndex": 0, "level": "error", "message": {"text": "bad"},
                "locations": [{"physicalLocation": {"artifactLocation": {"uri": "a.rs"}, "region": {"startLine": 1}}}],
            }],
        }],
    })
}

fn openvex() -> Json {
    json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex", "author": "a",
        "timestamp": "2024-01-02T03:04:05Z", "version": 1,
        "statements": [{"vulnerability": {"name": "CVE-1"}, "status": "fixed", "products": [{"@id": "pkg:a"}]}],
    })
}

fn scorecard() -> Json {
    json!({
        "date": "2024-01-02", "repo": {"name": "a", "commit": "b"}, "scorecard": {"version": "v5"}, "score": 7.5,
        "checks": [{"name": "Maintained", "score": -1, "reason": "r"}],
    })
}

fn envelope(predicate: &str) -> Json {
    use base64::Engine as _;
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": {"builder": "b"},
        "subject": [{"name": "s", "digest": {"sha256": "00"}}],
    });
    let payload = base64::engine::general_purpose::STANDARD.encode(statement.to_string());
    json!({"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": [{"sig": "AA=="}]})
}

fn bundle(predicate: &str) -> Json {
    json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {}, "dsseEnvelope": envelope(predicate)})
}

const SLSA: &str = "https://slsa.dev/provenance/v1";

const JUNIT: &str = r#"<?xml version="1.0"?>
<testsuites tests="4" failures="1">
  <testsuite name="s" tests="4" time="1.5">
    <properties><property name="os" value="linux"/></properties>
    <testcase name="passes" classname="c" time="0.5"/>
    <testcase name="fails"><failure message="left &lt; right" type="panic"><![CDATA[at <a>]]> &amp; b</failure></testcase>
    <testcase name="breaks"><error message="e"/></testcase>
    <testcase name="waits"><skipped message="later"/></testcase>
    <testsuite name="inner"><testcase name="deep" time="1,000.5"/></testsuite>
    <system-out>hello</system-out>
  </testsuite>
</testsuites>"#;

const JACOCO: &str = r#"<?xml version="1.0"?><!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd">
<report name="r"><counter type="LINE" missed="10" covered="90"/></report>"#;

const COBERTURA: &str = r#"<coverage line-rate="0.9" branch-rate="0" lines-covered="9" lines-valid="10" version="x">
<packages><package name="p" line-rate="0.5"/></packages></coverage>"#;

fn parse(kind: Option<MaterialKind>, text: &str) -> Result<Json, MaterialError> {
    let metadata = Metadata { name: "m", digest: "sha256:00", ..Metadata::default() };
    let material = Material::parse(kind, &metadata, text.as_bytes())?;
    Ok(serde_json::to_value(material.input()).unwrap())
}

/// Every well-formed sample with its kind.
fn samples() -> Vec<(MaterialKind, String)> {
    vec![
        (MaterialKind::SbomCyclonedxJson, cyclonedx().to_string()),
        (MaterialKind::SbomSpdxJson, spdx().to_string()),
        (MaterialKind::SbomSpdxJson, spdx3().to_string()),
        (MaterialKind::Sarif, sarif().to_string()),
        (MaterialKind::Openvex, openvex().to_string()),
        (MaterialKind::OssfScorecardJson, scorecard().to_string()),
        (MaterialKind::Attestation, envelope("https://example.com/p").to_string()),
        (MaterialKind::Attestation, bundle("https://example.com/p").to_string()),
        (MaterialKind::SlsaProvenance, bundle(SLSA).to_string()),
        (MaterialKind::JunitXml, JUNIT.to_owned()),
        (MaterialKind::JacocoXml, JACOCO.to_owned()),
        (MaterialKind::CoberturaXml, COBERTURA.to_owned()),
        (MaterialKind::CsafVex, csaf("csaf_vex").to_string()),
        (MaterialKind::CsafInformationalAdvisory, csaf("csaf_informational_advisory").to_string()),
        (MaterialKind::CsafSecurityAdvisory, csaf("csaf_security_advisory").to_string()),
        (MaterialKind::CsafSecurityIncidentResponse, csaf("csaf_security_incident_response").to_string()),
        (MaterialKind::GhasSecretScan, r#"[{"number": 1, "state": "open", "secret_type": "aws_key"}]"#.to_owned()),
        (MaterialKind::TrufflehogJson, "{\"DetectorName\":\"a\",\"SourceMetadata\":{}}\n".repeat(2)),
        (MaterialKind::ChainloopPrInfo, pull_request().to_string()),
        (MaterialKind::OpenapiSpec, r#"{"openapi":"3.0.3","info":{"title":"t","version":"1"},"paths":{}}"#.to_owned()),
        (MaterialKind::GraphqlSpec, "\"\"\"d\"\"\" type Query { a(b: [Int!]! = [1]): String @c }".to_owned()),
        (MaterialKind::RadamsaReport, "seed: 1\nmuta-num: 1, generator: file, nth: 1".to_owned()),
        (MaterialKind::SysinternalsSigcheck, "Path,Verified\na,Signed\n".to_owned()),
    ]
}

fn csaf(category: &str) -> Json {
    json!({
        "document": {
            "category": category, "csaf_version": "2.0", "title": "t",
            "publisher": {"category": "vendor", "name": "n", "namespace": "https://example.com"},
            "tracking": {
                "id": "1", "version": "1", "status": "final", "current_release_date": "2024-01-02T03:04:05Z",
                "initial_release_date": "2024-01-02T03:04:05Z",
                "revision_history": [{"date": "2024-01-02T03:04:05Z", "number": "1", "summary": "s"}],
            },
            "notes": [{"category": "summary", "text": "t"}], "references": [{"summary": "s", "url": "https://example.com"}],
        },
        "product_tree": {"full_product_names": [{"name": "n", "product_id": "p"}]},
        "vulnerabilities": [{
            "cve": "CVE-2024-0001", "product_status": {"fixed": ["p"]},
            "notes": [{"category": "description", "text": "t"}],
        }],
    })
}

/// Of a version whose schema is not checked.
fn csaf_2_1() -> Json {
    let mut document = csaf("csaf_vex");
    document["document"]["csaf_version"] = json!("2.1");
    document
}

fn pull_request() -> Json {
    json!({
        "chainloop.material.evidence.id": "CHAINLOOP_PR_INFO", "schema": "https://schemas.chainloop.dev/prinfo/1.2/x",
        "data": {"platform": "github", "type": "pull_request", "number": "7"},
    })
}

#[test]
fn every_sample_is_detected_and_accepted() {
    for (kind, text) in samples() {
        assert_eq!(detect(text.as_bytes()), Some(kind), "{text}");
        let input = parse(None, &text).unwrap();
        assert_eq!(input["chainloop_metadata"]["kind"], kind.as_str());
        assert_eq!(detect(format!("\u{feff} \n{text}").as_bytes()), Some(kind), "with a byte order mark");
    }
}

#[test]
fn no_sample_passes_for_another_kind() {
    for (kind, text) in samples() {
        for other in MaterialKind::ALL {
            let anything =
                [MaterialKind::String, MaterialKind::Evidence, MaterialKind::Artifact, MaterialKind::RadamsaCrashes]
                    .contains(other);
            // Provenance is an attestation, too.
            let provenance = kind == MaterialKind::SlsaProvenance && *other == MaterialKind::Attestation;
            // JSON lines begin like a JSON document, but are not one.
            let broken = kind == MaterialKind::TrufflehogJson
                && [MaterialKind::Evidence, MaterialKind::Artifact].contains(other);
            let accepted = parse(Some(*other), &text).is_ok();
            assert_eq!(accepted, *other == kind || (anything && !broken) || provenance, "{kind} as {other}");
        }
    }
}

#[test]
fn what_is_not_recognised_lists_the_kinds() {
    for text in ["{}", "[]", "", "hello", "<a/>", "{\"a\":", "1"] {
        assert_eq!(parse(None, text), Err(MaterialError::NotRecognised), "{text:?}");
    }
    let error = parse(None, "{}").unwrap_err().to_string();
    assert!(error.contains("name it in `kind`: SBOM_CYCLONEDX_JSON, "), "{error}");
}

/// Changes one position of a document, given as a JSON pointer; `None` removes it.
fn changed(mut document: Json, pointer: &str, value: Option<Json>) -> String {
    match value {
        Some(value) => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = document.pointer_mut(parent).unwrap();
            match parent {
                Json::Array(items) => items[key.parse::<usize>().unwrap()] = value,
                _ => parent[key] = value,
            }
        }
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        }
    }
    document.to_string()
}

#[test]
fn a_mismatch_says_what_was_expected_and_where() {
    use MaterialKind::{
        BlackduckScaJson, ChainloopAiCodingSession, ChainloopPrInfo, CsafVex, GhasCodeScan, OpenapiSpec, Openvex,
        OssfScorecardJson, Sarif, SbomCyclonedxJson, SbomSpdxJson, YelpDetectSecretsBaseline,
    };
    let cases: Vec<(MaterialKind, String, &str)> = vec![
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/specVersion", Some(json!("1.1"))),
            "at $.specVersion: expected one of 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, found the string \"1.1\"",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/bomFormat", None),
            "at $: expected a member \"bomFormat\", found none",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/version", Some(json!(0))),
            "at $.version: expected an integer of at least 1, found the number 0",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/serialNumber", Some(json!("x"))),
            "at $.serialNumber: expected urn:uuid: and a UUID",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/components", Some(json!({}))),
            "at $.components: expected an array, found an object",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/components/1/components/0/name", None),
            "at $.components[1].components[0]: expected a member \"name\"",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/components/0/type", Some(json!("lib"))),
            "at $.components[0].type: expected one of application,",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/components/0/licenses/0", Some(json!({}))),
            "at $.components[0].licenses[0]: expected an object with either license or expression",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/components/0/purl", Some(json!("a"))),
            "at $.components[0].purl: expected a package URL",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/metadata/timestamp", Some(json!("today"))),
            "at $.metadata.timestamp: expected a date and time",
        ),
        (
            SbomCyclonedxJson,
            changed(cyclonedx(), "/dependencies/0/ref", None),
            "at $.dependencies[0]: expected a member \"ref\"",
        ),
        (
            SbomSpdxJson,
            changed(spdx(), "/spdxVersion", Some(json!("SPDX-2.1"))),
            "at $.spdxVersion: expected one of SPDX-2.2, SPDX-2.3",
        ),
        (
            SbomSpdxJson,
            changed(spdx(), "/creationInfo/creators", Some(json!([]))),
            "at $.creationInfo.creators: expected at least one creator",
        ),
        (
            SbomSpdxJson,
            changed(spdx(), "/creationInfo/creators/0", Some(json!("x"))),
            "at $.creationInfo.creators[0]: expected Tool:",
        ),
        (
            SbomSpdxJson,
            changed(spdx(), "/packages/0/SPDXID", Some(json!("a"))),
            "at $.packages[0].SPDXID: expected SPDXRef-",
        ),
        (
            SbomSpdxJson,
            changed(spdx(), "/packages/0/downloadLocation", None),
            "at $.packages[0]: expected a member \"downloadLocation\"",
        ),
        (
            SbomSpdxJson,
            changed(spdx3(), "/@graph/0/specVersion", Some(json!("4.0"))),
            "at $[\"@graph\"][0].specVersion: expected 3.0",
        ),
        (
            SbomSpdxJson,
            changed(spdx3(), "/@graph", Some(json!([]))),
            "at $[\"@graph\"]: expected exactly one element of type SpdxDocument",
        ),
        (Sarif, changed(sarif(), "/version", Some(json!("2.0.0"))), "at $.version: expected one of 2.1.0"),
        (
            Sarif,
            changed(sarif(), "/runs/0/tool/driver/name", None),
            "at $.runs[0].tool.driver: expected a member \"name\"",
        ),
        (
            Sarif,
            changed(sarif(), "/runs/0/results/0/message", Some(json!({}))),
            "at $.runs[0].results[0].message: expected a message with text or id",
        ),
        (
            Sarif,
            changed(sarif(), "/runs/0/results/0/level", Some(json!("fatal"))),
            "at $.runs[0].results[0].level: expected one of none, note, warning, error",
        ),
        (
            Sarif,
            changed(sarif(), "/runs/0/externalPropertyFileReferences", Some(json!({"results": [{"itemCount": 2}]}))),
            "at $.runs[0].externalPropertyFileReferences.results: expected a run that holds its results itself",
        ),
        (
            Sarif,
            changed(sarif(), "/runs/0/externalPropertyFileReferences", Some(json!({"driver": {"itemCount": 1}}))),
            "at $.runs[0].externalPropertyFileReferences.driver: expected a run that holds its driver itself",
        ),
        (
            Sarif,
            changed(sarif(), "/runs/0/externalPropertyFileReferences", Some(json!({"results": {"location": {}}}))),
            "at $.runs[0].externalPropertyFileReferences.results: expected a run that holds its results itself",
        ),
        (
            Sarif,
            changed(
                sarif(),
                "/runs/0/externalPropertyFileReferences",
                Some(json!({"invocations": [{"itemCount": 1}]})),
            ),
            "at $.runs[0].externalPropertyFileReferences.invocations: expected a run that holds its invocations itself",
        ),
        (
            Sarif,
            changed(sarif(), "/inlineExternalProperties", Some(json!([{"results": [{"message": {"text": "m"}}]}]))),
            "at $.inlineExternalProperties[0].results: expected a run that holds its results itself",
        ),
        (
            GhasCodeScan,
            json!([{"number": 1, "state": "OPEN", "rule": {"id": "r"}, "tool": {}}]).to_string(),
            "at $[0].state: expected one of open, dismissed, fixed",
        ),
        (
            Openvex,
            changed(openvex(), "/statements/0/status", Some(json!("open"))),
            "at $.statements[0].status: expected one of not_affected,",
        ),
        (
            Openvex,
            changed(openvex(), "/statements/0/status", Some(json!("not_affected"))),
            "at $.statements[0]: expected a justification",
        ),
        (
            CsafVex,
            changed(csaf("csaf_vex"), "/document/category", Some(json!("csaf_base"))),
            "at $.document.category: expected one of csaf_vex",
        ),
        (
            CsafVex,
            changed(csaf("csaf_vex"), "/vulnerabilities/0/cve", None),
            "at $.vulnerabilities[0]: expected a vulnerability with cve or ids",
        ),
        (
            CsafVex,
            changed(csaf_2_1(), "/vulnerabilities/0/product_status/known_affected", Some(json!("p"))),
            "at $.vulnerabilities[0].product_status.known_affected: expected an array, found the string \"p\"",
        ),
        (
            CsafVex,
            changed(csaf_2_1(), "/vulnerabilities/0/product_status/known_affected", Some(json!(null))),
            "at $.vulnerabilities[0].product_status.known_affected: expected an array, found null",
        ),
        (
            CsafVex,
            changed(csaf_2_1(), "/vulnerabilities/0/product_status/known_affected", Some(json!([7]))),
            "at $.vulnerabilities[0].product_status.known_affected[0]: expected a string that is not empty",
        ),
        (
            YelpDetectSecretsBaseline,
            json!({"version": "1", "plugins_used": [], "results": {"a": [
                {"type": "t", "hashed_secret": "h", "is_verified": "true"}]}})
            .to_string(),
            "at $.results.a[0].is_verified: expected true or false",
        ),
        (
            BlackduckScaJson,
            json!({"detailedCodeLocations": [], "detailedProjectVersionCustomFields": [],
                "detailedVulnerabilities": [{"overallScore": true}]})
            .to_string(),
            "at $.detailedVulnerabilities[0].overallScore: expected a number from -1 to 10, found true",
        ),
        (
            ChainloopAiCodingSession,
            json!({"chainloop.material.evidence.id": "CHAINLOOP_AI_CODING_SESSION", "data": {
                "schema_version": "0.1", "agent": {"name": "a"}, "code_changes": {"lines_added": true},
                "session": {"id": "s", "started_at": "2026-01-15T10:00:00Z"}}})
            .to_string(),
            "at $.data.code_changes.lines_added: expected an integer of at least 0",
        ),
        (
            ChainloopPrInfo,
            changed(pull_request(), "/data/platform", Some(json!("other"))),
            "at $.data.platform: expected one of github, gitlab",
        ),
        (
            OpenapiSpec,
            json!({"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {"a": {}}}).to_string(),
            "at $.paths.a: expected a path that begins with /",
        ),
        (
            OpenapiSpec,
            json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/a": {"get": {"security": "none"}}}})
                .to_string(),
            "at $.paths[\"/a\"].get.security: expected an array, found the string \"none\"",
        ),
        (
            OssfScorecardJson,
            changed(scorecard(), "/score", Some(json!(11))),
            "at $.score: expected a number from -1 to 10",
        ),
    ];
    for (kind, text, expected) in cases {
        let error = parse(Some(kind), &text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("not {kind}: ")) && error.contains(expected), "{error}\nlacks\n{expected}");
    }
}

#[test]
fn a_junit_report_takes_the_form_that_its_module_documents() {
    let input = parse(None, JUNIT).unwrap();
    let suite = &input["elements"][0];
    assert_eq!(suite["properties"]["os"], "linux");
    assert_eq!(suite["stdout"], "hello");
    assert_eq!(
        suite["totals"],
        json!({"tests": 5, "passed": 2, "skipped": 1, "failed": 1, "error": 1, "duration": 1_001_000_000_000i64})
    );
    let tests = suite["tests"].as_array().unwrap();
    let statuses: Vec<&str> = tests.iter().map(|test| test["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["passed", "failed", "error", "skipped"]);
    assert_eq!(tests[1]["error"], json!({"message": "left < right", "type": "panic", "body": "at <a> & b"}));
    assert_eq!(tests[0]["error"], Json::Null);
    assert_eq!(tests[3]["message"], "later");
    assert_eq!(suite["suites"][0]["tests"][0]["name"], "deep");
}

/// The suites of a JUnit report.
fn suites(report: &str) -> Json {
    parse(Some(MaterialKind::JunitXml), report).unwrap()["elements"].take()
}

#[test]
fn tests_outside_of_suites_and_within_unknown_elements_are_not_lost() {
    let found = suites(
        r#"<testsuites>
            <testsuite name="first"><testcase name="a"/></testsuite>
            <testcase name="loose"><failure message="1 == 2"/></testcase>
            <testsuites><testsuite name="b"><testcase name="b"><error/></testcase></testsuite><testcase name="c"/></testsuites>
            <group><part><testcase name="d"><skipped/></testcase></part></group>
        </testsuites>"#,
    );
    let names: Vec<&str> = found.as_array().unwrap().iter().map(|suite| suite["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "", "b"]);
    let tests: Vec<&Json> = found[1]["tests"].as_array().unwrap().iter().map(|test| &test["name"]).collect();
    assert_eq!(tests, ["loose", "c", "d"]);
    assert_eq!(
        found[1]["totals"],
        json!({"tests": 3, "passed": 1, "skipped": 1, "failed": 1, "error": 0, "duration": 0})
    );
    assert_eq!(found[1]["tests"][0]["message"], "1 == 2");
    // The form in which `node --test` writes tests outside of `describe`.
    let only = suites(r#"<testsuites><testcase name="a"><failure/></testcase></testsuites>"#);
    assert_eq!(only[0]["totals"]["failed"], 1);
    let within = suites(
        r#"<testsuite name="s"><x><testcase name="a"><failure/></testcase><testsuite name="t"/></x></testsuite>"#,
    );
    assert_eq!((&within[0]["totals"]["failed"], &within[0]["suites"][0]["name"]), (&json!(1), &json!("t")));
    assert_eq!(suites("<testsuites/>"), json!([]));
}

#[test]
fn what_broke_without_a_test_case_is_a_test_that_failed() {
    let found = suites(
        r#"<testsuites failures="3" errors="1"><testsuite name="a" tests="4" failures="3" errors="1">
            <error message="beforeAll broke" type="T">at</error><testcase name="t"/></testsuite></testsuites>"#,
    );
    assert_eq!(found.as_array().unwrap().len(), 1, "the root reports the same failures as the suite");
    assert_eq!(
        found[0]["totals"],
        json!({"tests": 5, "passed": 1, "skipped": 0, "failed": 3, "error": 1, "duration": 0})
    );
    let of = |test: usize, member: &str| found[0]["tests"][test][member].clone();
    assert_eq!((of(0, "name"), of(0, "status")), (json!("a"), json!("error")));
    assert_eq!(of(0, "error"), json!({"message": "beforeAll broke", "type": "T", "body": "at"}));
    assert_eq!((of(1, "name"), of(1, "status")), (json!("t"), json!("passed")));
    assert_eq!((of(2, "name"), of(2, "status")), (json!("a"), json!("failed")));
    assert_eq!(of(2, "message"), "the attribute failures reports 3 more than the test cases show");

    let broken = suites(r#"<testsuites><testsuite name="a"/><failure message="no tests"/></testsuites>"#);
    assert_eq!((&broken[1]["name"], &broken[1]["tests"][0]["message"]), (&json!(""), &json!("no tests")));
    let counted = suites(r#"<testsuites errors="2"><testsuite name="a"><testcase name="t"/></testsuite></testsuites>"#);
    assert_eq!((&counted[0]["totals"]["error"], &counted[1]["totals"]["error"]), (&json!(0), &json!(2)));
    // One failed test counts once, whatever a tool calls it; and no count is too large.
    let other = suites(r#"<testsuite failures="1" errors="0"><testcase name="t"><error/></testcase></testsuite>"#);
    assert_eq!((&other[0]["totals"]["tests"], &other[0]["totals"]["failed"]), (&json!(1), &json!(0)));
    let most = u64::MAX;
    let huge = suites(&format!(r#"<testsuite failures="{most}" errors="{most}"><testcase name="t"/></testsuite>"#));
    assert_eq!((&huge[0]["totals"]["failed"], &huge[0]["totals"]["tests"]), (&json!(most), &json!(most)));
}

#[test]
fn a_junit_report_that_is_not_in_order_is_refused_with_its_line() {
    for (text, expected) in [
        (
            "<testsuites>\n<testsuite>\n<testcase/></testsuite></testsuites>",
            "line 3: expected a name attribute of <testcase>",
        ),
        ("<testsuite tests=\"many\"/>", "line 1: expected a count in the attribute tests"),
        (
            "<testsuite><testcase name=\"a\" time=\"soon\"/></testsuite>",
            "line 1: expected seconds in the attribute time",
        ),
        ("<report/>", "line 1: expected <testsuites> or <testsuite>, found <report>"),
        ("<testsuite>\n<testcase name=\"a\">", "line 2: the document ends before </testcase>"),
        ("<testsuite>\n</testcase>", "not XML: line 2: "),
        ("<testsuite/><testsuite/>", "a second root element"),
        ("<testsuite>&unknown;</testsuite>", "the entity \"unknown\""),
    ] {
        let error = parse(Some(MaterialKind::JunitXml), text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn coverage_reports_take_the_form_that_their_module_documents() {
    assert_eq!(parse(None, JACOCO).unwrap()["counters"], json!([{"type": "LINE", "missed": 10, "covered": 90}]));
    let input = parse(None, COBERTURA).unwrap();
    assert_eq!((&input["line-rate"], &input["lines-valid"]), (&json!(0.9), &json!(10)));
    let package = json!({"name": "p", "line-rate": 0.5, "branch-rate": 0, "complexity": 0, "classes": []});
    assert_eq!((&input["packages"], &input["sources"]), (&json!([package]), &json!([])));
}

#[test]
fn a_total_that_a_coverage_report_does_not_tell_is_not_there() {
    let totals = ["lines-covered", "lines-valid", "branches-covered", "branches-valid"];
    let input = parse(None, r#"<coverage line-rate="0.1" branch-rate="0.1" branches-valid=" "/>"#).unwrap();
    for total in totals {
        assert_eq!(input.get(total), None, "{total}");
    }
    let report =
        r#"<coverage line-rate="0" lines-covered="0" lines-valid="0" branches-covered="0" branches-valid="0"/>"#;
    let input = parse(None, report).unwrap();
    for total in totals {
        assert_eq!(input[total], 0, "{total}");
    }
    let error = parse(None, r#"<coverage line-rate="0" lines-valid="many"/>"#).unwrap_err().to_string();
    assert!(error.contains("expected a count in the attribute lines-valid of <coverage>"), "{error}");
}

/// A policy that saw nothing of it would report no violations.
#[test]
fn json_that_cannot_be_read_is_no_empty_evidence() {
    let deep = format!("{{\"secrets\":[\"a\"],\"d\":{}{}}}", "[".repeat(130), "]".repeat(130));
    for (text, says) in [
        ("{\"secrets\":[\"a\"],\"score\":1e999}", "a number out of range"),
        (deep.as_str(), "nested deeper than 128"),
        ("\u{feff}\n{\"secrets\":[\"a\"],}", "expected a key in double quotes"),
        ("[\"a\",]", "expected a value"),
        ("{\"a\":1}\n{\"a\":2}\n", "text after the end of the document"),
    ] {
        for kind in [MaterialKind::Evidence, MaterialKind::Artifact] {
            let error = parse(Some(kind), text).unwrap_err().to_string();
            assert!(error.starts_with("not JSON: ") && error.contains(says), "{kind}: {text}: {error}");
        }
    }
    for text in ["", "text", "[package]\nname = \"a\"\n", "{{ .Values.a }}", "\u{0}\u{1}{", "<a/>", "1"] {
        let input = parse(Some(MaterialKind::Artifact), text).unwrap();
        assert_eq!(input.as_object().unwrap().len(), 1, "{text:?}");
    }
}

#[test]
fn of_an_attestation_the_policy_sees_the_statement() {
    let input = parse(None, &envelope("https://example.com/p").to_string()).unwrap();
    assert_eq!(input["predicateType"], "https://example.com/p");
    assert!(input.get("payload").is_none());
    let input = parse(None, &bundle(SLSA).to_string()).unwrap();
    assert_eq!(input["predicateType"], SLSA);
    assert_eq!(input["dsseEnvelope"]["signatures"][0]["sig"], "AA==");
    let error =
        parse(Some(MaterialKind::Attestation), &changed(envelope(SLSA), "/payload", Some(json!("%")))).unwrap_err();
    assert!(error.to_string().contains("at $.payload: expected base64"), "{error}");
}

/// As signatures may be: Sigstore's bundles may use either alphabet, and omit the padding.
#[test]
fn a_payload_may_be_base64_of_either_alphabet_padded_or_not() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.com/p?>~",
        "subject": [{"name": "s", "digest": {"sha256": "00"}}],
    });
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        for end in ["", " ", "  "] {
            let payload = json!(engine.encode(format!("{statement}{end}")));
            let input = parse(None, &changed(envelope(SLSA), "/payload", Some(payload))).unwrap();
            assert_eq!(input["predicateType"], "https://example.com/p?>~");
        }
    }
}

#[test]
fn a_statement_and_its_bundle_cannot_pass_for_each_other() {
    use base64::Engine as _;
    let mut both = bundle(SLSA);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": SLSA, "subject": [],
        "mediaType": "of the statement", "dsseEnvelope": {}, "more": 1,
    });
    let payload = base64::engine::general_purpose::STANDARD.encode(statement.to_string());
    both["dsseEnvelope"]["payload"] = json!(payload);
    both["predicateType"] = json!("of the bundle");
    both["predicate"] = json!({"builder": "of the bundle"});
    let input = parse(Some(MaterialKind::SlsaProvenance), &both.to_string()).unwrap();
    assert_eq!((&input["mediaType"], &input["dsseEnvelope"]), (&both["mediaType"], &both["dsseEnvelope"]));
    assert_eq!((&input["predicateType"], &input["more"]), (&json!(SLSA), &json!(1)));
    assert_eq!(input.get("predicate"), None);
}

#[test]
fn an_envelope_with_very_many_signatures_is_refused() {
    let with = |count: usize| {
        let signatures = json!(vec![json!({"sig": "AA=="}); count]);
        parse(Some(MaterialKind::Attestation), &changed(envelope(SLSA), "/signatures", Some(signatures)))
    };
    with(32).unwrap();
    let error = with(33).unwrap_err().to_string();
    assert!(error.contains("at $.signatures: expected at most 32 signatures"), "{error}");
}

#[test]
fn metadata_stand_beside_the_content() {
    let metadata = Metadata {
        name: "m",
        digest: "sha256:00",
        annotations: [("team".to_owned(), "a".to_owned())].into(),
        project_name: Some("p"),
        project_version_name: None,
        trusted_keys: &[],
        trusted_identities: None,
    };
    let material = Material::parse(Some(MaterialKind::Evidence), &metadata, b"[1]").unwrap();
    assert_eq!(
        serde_json::to_value(material.input()).unwrap(),
        json!({
            "elements": [1],
            "chainloop_metadata": {
                "name": "m", "kind": "EVIDENCE", "digest": {"sha256": "00"}, "project_name": "p",
                "annotations": {"team": "a", "chainloop.material.type": "EVIDENCE", "chainloop.material.name": "m"},
            },
        })
    );
    assert_eq!(parse(Some(MaterialKind::Artifact), "\u{0}binary").unwrap().as_object().unwrap().len(), 1);
    assert_eq!(parse(Some(MaterialKind::String), "text").unwrap()["value"], "text");
}

/// Detection runs in the service itself, so the memory that it uses must be bounded.
#[test]
fn of_a_bundle_only_an_envelope_of_some_size_is_read() {
    let (provenance, other) = (MaterialKind::SlsaProvenance, MaterialKind::Attestation);
    let mut large = bundle(SLSA);
    large["verificationMaterial"] = json!("x".repeat(9_000_000));
    assert_eq!(detect(large.to_string().as_bytes()), Some(provenance));
    large["dsseEnvelope"]["signatures"] = json!([{"sig": "A".repeat(9_000_000)}]);
    assert_eq!(detect(large.to_string().as_bytes()), Some(other));
    let broken = json!({"mediaType": "application/vnd.dev.sigstore.bundle", "dsseEnvelope": 1});
    assert_eq!(detect(broken.to_string().as_bytes()), Some(other));
    assert_eq!(detect(br#"{"mediaType": ["sigstore.bundle"], "dsseEnvelope": {}}"#), Some(other));
}

/// A gzip of this content.
fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(content).unwrap();
    packer.finish().unwrap()
}

/// A part of a tar, in the standard format.
fn part(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = vec![0_u8; 512];
    tar[..name.len()].copy_from_slice(name.as_bytes());
    tar[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    tar[148..156].fill(b' ');
    tar[156] = kind;
    tar[257..263].copy_from_slice(b"ustar\0");
    let sum: usize = tar.iter().map(|byte| usize::from(*byte)).sum();
    tar[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().div_ceil(512) * 512, 0);
    tar
}

/// A tar of these parts.
fn parts(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = parts.concat();
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// A tar of these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    parts(&files.iter().map(|(name, content)| part(b'0', name, content)).collect::<Vec<_>>())
}

/// A header of POSIX for the entry that follows it.
fn posix(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let length = (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length).unwrap();
        format!("{length}{rest}")
    };
    part(b'x', "PaxHeaders/0", records.iter().map(record).collect::<String>().as_bytes())
}

/// The report and a link of this kind, which other programs would follow.
fn linked(kind: u8, name: &str) -> Vec<u8> {
    parts(&[part(b'0', "a.xml", JUNIT.as_bytes()), part(kind, name, b"")])
}

#[test]
fn no_file_of_a_tar_is_passed_over_in_silence() {
    let parse = |bytes: &[u8]| Material::parse(Some(MaterialKind::JunitXml), &Metadata::default(), bytes);
    let refused = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    // A symbolic link, a hard link.
    for kind in [b'2', b'1'] {
        let said = refused(&linked(kind, "b.xml"));
        assert!(said.contains("b.xml is a link, or of another kind that is not read"), "{said}");
        parse(&linked(kind, "b.txt")).unwrap();
        let zipped = refused(&gzip(&linked(kind, "b.xml")));
        assert!(zipped.contains("b.xml is a link"), "{zipped}");
    }
    parse(&linked(b'5', "folder.xml")).unwrap();
    assert!(refused(&linked(b'S', "b.txt")).contains("of the kind S, which is not read"));
    for (kind, name) in [(b'2', "b.txt"), (b'5', "folder"), (b'0', "folder/")] {
        let said = refused(&parts(&[part(kind, name, JUNIT.as_bytes())]));
        assert!(said.contains("has content, but is not a file"), "{said}");
    }
    let mut damaged = tar(&[("a.xml", JUNIT.as_bytes())]);
    damaged[0] = b'b';
    assert!(refused(&damaged).contains("a checksum in the tar is not valid"));
    let report = tar(&[("a.xml", JUNIT.as_bytes())]);
    let other = tar(&[("b.xml", JUNIT.as_bytes())]);
    for appended in [[report.clone(), other.clone()].concat(), gzip(&[&*report, &*other].concat())] {
        assert!(refused(&appended).contains("something follows the end of the tar"));
    }
    assert!(refused(&[gzip(&report), gzip(&other)].concat()).contains("something follows the end of the tar"));
    let both = tar(&[("a.xml", JUNIT.as_bytes()), ("b.xml", JUNIT.as_bytes())]);
    assert!(refused(&both[..report.len() - 1024]).contains("it was cut"));
    assert!(refused(&both[..both.len() - 1024]).contains("it was cut"));
}

/// The refusal of a report names its file.
#[test]
fn the_records_of_a_posix_header_are_read_by_their_length() {
    let broken = b"<testsuite>";
    let refused = |before: Vec<Vec<u8>>| {
        let tar = parts(&[before, vec![part(b'0', "own.xml", broken)]].concat());
        Material::parse(Some(MaterialKind::JunitXml), &Metadata::default(), &tar).unwrap_err().to_string()
    };
    let long = format!("{}/long.xml", "folder".repeat(40));
    for (records, name) in [
        (vec![("comment", "a\n16 path=b.xml\n")], "own.xml"),
        (vec![("mtime", "1713944786.37"), ("SCHILY.xattr.a", "\0=\n1 ")], "own.xml"),
        (vec![("path", "first.xml"), ("linkpath", "x"), ("path", long.as_str())], long.as_str()),
    ] {
        let said = refused(vec![posix(&records)]);
        assert!(said.contains(&format!("at {name}: expected a JUnit report")), "{records:?}: {said}");
    }
    for records in ["1 a=b\n", "6 a=b\n6", "7 a=b\n", "5 ab\n", "-6 a=b\n", "a", " ", "99999999999999999999 a=b\n"] {
        let said = refused(vec![part(b'x', "x", records.as_bytes())]);
        assert!(said.contains("a POSIX header of the tar is not valid"), "{records:?}: {said}");
    }
    for (record, says) in [
        (("path", ""), "a path in a POSIX header"),
        (("path", "a.xml\0"), "a path in a POSIX header"),
        (("size", "11"), "gives a size that replaces the one"),
        (("GNU.sparse.name", "a.xml"), "is sparse"),
    ] {
        let said = refused(vec![posix(&[record])]);
        assert!(said.contains(says), "{record:?}: {said}");
    }
    let (path, mut general) = (posix(&[("path", "b.xml")]), part(b'g', "g", b"14 path=b.xml\n"));
    assert!(refused(vec![general]).contains("gives all entries the same path"));
    general = part(b'g', "g", b"13 comment=1\n");
    assert!(refused(vec![general, path.clone()]).contains("at b.xml: "));
    assert!(refused(vec![part(b'L', "././@LongLink", b"c.xml\0")]).contains("at c.xml: "));
    for twice in [vec![path.clone(), path.clone()], vec![part(b'L', "././@LongLink", b"c.xml\0"), path]] {
        assert!(refused(twice).contains("two headers with its path"));
    }
}

/// Of two, Helm uses the last one.
#[test]
fn a_chart_has_one_description() {
    let chart = b"apiVersion: v2\nname: c\nversion: 1.0.0\n";
    let read = |files: &[(&str, &[u8])]| {
        let read = Material::parse(Some(MaterialKind::HelmChart), &Metadata::default(), &gzip(&tar(files)));
        read.map(drop).map_err(|error| error.to_string())
    };
    for name in ["c/Chart.yaml", "./c/Chart.yaml", "c\\Chart.yaml", "c/x/../Chart.yaml"] {
        read(&[(name, chart), ("c/values.yaml", b""), ("c/charts/d/Chart.yaml", b"x"), ("c/._Chart.yaml", b"x")])
            .unwrap();
    }
    for second in ["c/Chart.yaml", "c/./Chart.yaml", "d/Chart.yaml", "./c//Chart.yaml", "c/e\\Chart.yaml"] {
        let said = read(&[("c/Chart.yaml", chart), ("c/values.yaml", b""), (second, chart)]).unwrap_err();
        assert!(said.contains(&format!("expected one file Chart.yaml, found c/Chart.yaml and {second}")), "{said}");
    }
}

#[test]
fn a_key_that_occurs_twice_in_an_object_is_refused() {
    let bom = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,
        "components":[{"type":"library","name":"a"}],"components":[]}"#;
    let refused = |kind, text: &str| {
        Material::parse(Some(kind), &Metadata::default(), text.as_bytes()).map(drop).unwrap_err().to_string()
    };
    let said = refused(MaterialKind::SbomCyclonedxJson, bom);
    assert!(said.contains(r#"line 2, column 54: the key "components" occurs a second time in its object"#), "{said}");
    let lines = "{\"a\":1}\n{\"a\":1,\"a\":2}\n";
    assert!(refused(MaterialKind::TrufflehogJson, lines).contains("occurs a second time"));
    let api = "openapi: 3.0.0\ninfo: {title: t, version: '1'}\npaths:\n  /admin: {get: {}}\n  /admin: {}\n";
    let said = refused(MaterialKind::OpenapiSpec, api);
    assert!(said.contains("duplicate entry with key \"/admin\""), "{said}");
}

#[test]
fn a_quoted_text_of_sigcheck_that_does_not_end_is_refused() {
    let csv = "Path,Verified,Date\na.exe,Signed,\"today\nb.exe,Unsigned,x\n";
    let read = |text: &str| {
        Material::parse(Some(MaterialKind::SysinternalsSigcheck), &Metadata::default(), text.as_bytes()).map(drop)
    };
    let said = read(csv).unwrap_err().to_string();
    assert!(said.contains("line 2"), "{said}");
    read(&csv.replace("\"today", "\"to\nday\"")).unwrap();
}

#[test]
fn a_test_that_did_not_run_has_not_passed() {
    let report = r#"<testsuite name="s" tests="4"><testcase name="a" status="run"/><testcase name="b" status="notrun"/>
        <testcase name="c" status="run" result="suppressed"/><testcase name="d" status="disabled"/></testsuite>"#;
    let read = Material::parse(Some(MaterialKind::JunitXml), &Metadata::default(), report.as_bytes()).unwrap();
    let json = serde_json::to_value(read.input()).unwrap();
    let text = json.to_string();
    assert_eq!(text.matches(r#""status":"skipped""#).count(), 3, "{text}");
    assert_eq!(text.matches(r#""status":"passed""#).count(), 1, "{text}");
}

#[test]
fn archives_are_read_within_bounds() {
    let parse = |kind, bytes: &[u8]| Material::parse(Some(kind), &Metadata::default(), bytes).map(|read| read.size());
    let reports = tar(&[("a/one.xml", JUNIT.as_bytes()), ("two.txt", b"x"), ("b.xml", b"<testsuite/>")]);
    for archive in [reports.clone(), gzip(&reports)] {
        assert_eq!(detect(&archive), Some(MaterialKind::JunitXml));
        parse(MaterialKind::JunitXml, &archive).unwrap();
    }
    let refused = |kind, bytes: &[u8]| parse(kind, bytes).unwrap_err().to_string();
    assert!(refused(MaterialKind::JunitXml, &tar(&[("a.txt", b"x")])).contains("at least one report"));
    let broken = refused(MaterialKind::JunitXml, &tar(&[("a.xml", b"<testsuite>")]));
    assert!(broken.contains("at a.xml: expected a JUnit report"), "{broken}");
    // Larger than the size of the archive allows.
    let bomb = gzip(&tar(&[("a.xml", &vec![b' '; 64 * 1024 * 1024])]));
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    assert!(refused(MaterialKind::JunitXml, &bomb).contains("it contains more than"), "{}", bomb.len());
    assert_eq!(detect(&bomb), None);
    let many = tar(&vec![("a", b"".as_slice()); 60_000]);
    assert!(refused(MaterialKind::RadamsaReport, &many).contains("more than 50000 entries"));
    assert!(refused(MaterialKind::HelmChart, &gzip(b"no tar")).contains("the gzip does not contain a tar"));
    assert!(refused(MaterialKind::HelmChart, &gzip(&tar(&[("c/Chart.yaml", b"name: c")]))).contains("values.yaml"));
    assert!(refused(MaterialKind::ZapDastZip, b"PK\x05\x06").contains("the directory of the zip is broken"));
    // Links and directories are not files, and paths are not followed.
    let chart = b"apiVersion: v2\nname: c\nversion: 1.0.0\n";
    let outside = tar(&[("../../etc/passwd", b"x"), ("c/Chart.yaml", chart), ("c/values.yaml", b"# none\n")]);
    parse(MaterialKind::HelmChart, &gzip(&outside)).unwrap();
    assert_eq!(detect(&gzip(&outside)), Some(MaterialKind::HelmChart));
}

#[test]
fn a_damaged_file_of_a_zip_is_refused() {
    let sound = include_bytes!("../../tests/data/chainloop-dev-zap_scan.zip");
    let read = |bytes: &[u8]| Material::parse(Some(MaterialKind::ZapDastZip), &Metadata::default(), bytes).map(drop);
    read(sound).unwrap();
    let name = b"zap_scan/report_json.json";
    let is_entry = |at: &usize| sound[*at..].starts_with(b"PK\x01\x02") && sound[at + 46..].starts_with(name);
    let entry = (0..sound.len() - 100).find(is_entry).unwrap();
    let mut damaged = sound.to_vec();
    damaged[entry + 16] ^= 1;
    let said = read(&damaged).unwrap_err().to_string();
    assert!(said.contains("is not the one in the directory of the zip"), "{said}");
}

#[test]
fn no_report_of_an_archive_is_passed_over() {
    let failing = br#"<testsuite name="b"><testcase name="t"><failure/></testcase></testsuite>"#;
    let both = tar(&[("a.xml", b"<testsuite/>"), ("B.XML", failing), ("c.xml.txt", b"text")]);
    assert_eq!(detect(&both), Some(MaterialKind::JunitXml));
    let material = Material::parse(None, &Metadata::default(), &both).unwrap();
    let input = serde_json::to_value(material.input()).unwrap();
    assert_eq!(input["elements"][1]["totals"]["failed"], 1);

    let zap = |files: &[(&str, &[u8])]| {
        let read = Material::parse(Some(MaterialKind::ZapDastZip), &Metadata::default(), &tar(files));
        read.map(|material| material.size()).map_err(|error| error.to_string())
    };
    let report = br#"{"@programName": "ZAP", "site": []}"#;
    assert!(zap(&[("web/report_json.json", report), ("__MACOSX/web/report_json.json", b"x")]).is_ok());
    let error = zap(&[("api/report_json.json", report), ("web/report_json.json", report)]).unwrap_err();
    let names = "expected one file report_json.json, found 2: api/report_json.json, web/report_json.json";
    assert!(error.ends_with(names), "{error}");
    // A site for which there is no list of alerts is not one without alerts.
    let silent = br#"{"@programName": "ZAP", "site": [{"@name": "https://example.com"}]}"#;
    let error = zap(&[("report_json.json", silent)]).unwrap_err();
    assert!(error.contains("at $.site[0]: expected a member \"alerts\", found none"), "{error}");
}

#[test]
fn columns_of_sigcheck_have_no_blanks_in_their_names() {
    let input = parse(None, "Path, Verified ,Publisher,,\nc:\\a.exe,Unsigned,n/a,,\n").unwrap();
    assert_eq!(input["elements"][0], json!({"Path": "c:\\a.exe", "Verified": "Unsigned", "Publisher": "n/a", "": ""}));
    for (row, found) in [("b.exe", 1), ("c:\\b,c.exe,Unsigned,n/a,,", 6)] {
        let error = parse(None, &format!("Path,Verified,Publisher,,\na,Signed,A,,\n{row}\n")).unwrap_err().to_string();
        assert!(error.contains(&format!("row 2: expected 5 cells, as in the header, found {found}")), "{error}");
    }
    parse(None, "Path,Verified\na,Signed,,\n").unwrap();
    let error = parse(None, "Path,Verified, Verified\na,Unsigned,Signed\n").unwrap_err().to_string();
    assert!(error.contains("line 1: expected each column once, found \"Verified\" twice"), "{error}");
}

#[test]
fn crashes_are_counted() {
    let count = |bytes: &[u8]| {
        let kind = Some(MaterialKind::RadamsaCrashes);
        let material = Material::parse(kind, &Metadata::default(), bytes).unwrap();
        let input = serde_json::to_value(material.input()).unwrap();
        input["chainloop_metadata"]["annotations"]["chainloop.material.radamsa.crashes.count"].clone()
    };
    assert_eq!(count(b"an input"), "1");
    assert_eq!(count(&gzip(&tar(&[("a", b"1"), ("b", b"2"), ("c", b"3")]))), "3");
    assert_eq!(count(&gzip(b"no tar")), "1");
}

#[test]
fn text_of_windows_is_read_in_utf_16_too() {
    let text = "Path\tVerified\r\nc:\\a\tSigned\r\n\r\n\"x \"\"y\"\"\"\tn/a\r\n";
    let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(detect(&wide), Some(MaterialKind::SysinternalsSigcheck));
    let material = Material::parse(None, &Metadata::default(), &wide).unwrap();
    let input = serde_json::to_value(material.input()).unwrap();
    assert_eq!(input["elements"][0], json!({"Path": "c:\\a", "Verified": "Signed"}));
    assert_eq!(input["elements"][1]["Path"], "x \"y\"");
    assert_eq!(input["elements"].as_array().unwrap().len(), 2);
}

#[test]
fn bombs_are_refused() {
    let xml = Some(MaterialKind::JunitXml);
    let laughs =
        "<?xml version=\"1.0\"?><!DOCTYPE t [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><testsuite>&b;</testsuite>";
    assert!(parse(xml, laughs).unwrap_err().to_string().contains("declarations of its own"));
    let external = "<!DOCTYPE t [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><testsuite>&x;</testsuite>";
    assert!(parse(xml, external).is_err());
    let deep = "<testsuite>".repeat(200_000);
    assert!(parse(xml, &deep).unwrap_err().to_string().contains("nested deeper"));
    assert_eq!(detect(deep.as_bytes()), xml);
    let deep = format!("{{\"bomFormat\":\"CycloneDX\",\"a\":{}", "[".repeat(1_000_000));
    assert_eq!(detect(deep.as_bytes()), None);
    assert!(parse(Some(MaterialKind::SbomCyclonedxJson), &deep).unwrap_err().to_string().contains("nested deeper"));
    let nested = format!("{{\"bomFormat\":\"CycloneDX\",\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(detect(nested.as_bytes()), Some(MaterialKind::SbomCyclonedxJson));
    let schema = format!("type A {{ a: {}Int{} }}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(Some(MaterialKind::GraphqlSpec), &schema).unwrap_err().to_string().contains("at most 64 levels"));
    let anchors = "openapi: 3.0.0\ninfo: &a {title: t, version: '1'}\npaths: {}\n";
    let error = parse(Some(MaterialKind::OpenapiSpec), anchors).unwrap_err().to_string();
    assert!(error.starts_with("not YAML: anchors are not allowed"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = detect(&bytes);
        for kind in MaterialKind::ALL {
            let _ = Material::parse(Some(*kind), &Metadata::default(), &bytes);
        }
    }

    #[test]
    fn damaged_documents_do_no_harm(
        which in 0usize..samples().len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
    ) {
        let (kind, text) = samples().swap_remove(which);
        let mut bytes = text.into_bytes();
        for (at, byte, action) in edits {
            let at = at.index(bytes.len());
            match action {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at + 1),
            }
        }
        let _ = detect(&bytes);
        let _ = Material::parse(Some(kind), &Metadata::default(), &bytes);
        let _ = Material::parse(None, &Metadata::default(), &bytes);
    }

    #[test]
    fn json_reads_as_the_library_reads_it(text in "[\\[\\]{}:,\"\\\\a1.e\\- \\n]{0,40}") {
        let library = serde_json::from_str::<Json>(&text);
        let own = super::json::read(text.as_bytes());
        prop_assert_eq!(library.is_ok(), own.is_ok(), "{} {:?}", text, own);
    }
}
