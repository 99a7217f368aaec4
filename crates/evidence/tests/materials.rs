//! Files of real tools are handled correctly: they are read and detected as their kind, or refused with a reason.
//! `LONGRUN_EVIDENCE` names another folder with an `expected.tsv` to test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use evidence::material::Metadata;
use evidence::{Material, MaterialKind, detect};
use serde_json::{Value, json};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

struct Expected {
    file: String,
    kind: MaterialKind,
    is_evidence: bool,
}

fn expected(folder: &Path) -> Vec<Expected> {
    let table = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<&str>>());
    let read = |row: Vec<&str>| Expected {
        file: row[0].to_owned(),
        kind: row[1].parse().unwrap(),
        is_evidence: row[2] == "accept",
    };
    rows.map(read).collect()
}

fn input(file: &str, kind: Option<MaterialKind>) -> Value {
    let bytes = fs::read(data().join(file)).unwrap();
    let material =
        Material::parse(kind, &Metadata::default(), &bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::to_value(material.input()).unwrap()
}

/// What is wrong with a folder, and one line per file.
fn try_all(folder: &Path) -> (Vec<String>, String) {
    let (mut wrong, mut table) = (Vec::new(), String::new());
    for Expected { file, kind, is_evidence } in expected(folder) {
        let bytes = fs::read(folder.join(&file)).unwrap();
        let outcome = Material::parse(Some(kind), &Metadata::default(), &bytes);
        let found = detect(&bytes);
        if outcome.is_ok() != is_evidence {
            wrong.push(format!("{file} as {kind}: {:?}", outcome.as_ref().err()));
        }
        if is_evidence && found != Some(kind) {
            wrong.push(format!("{file} is detected as {found:?}, not {kind}"));
        }
        let said = outcome.map_or_else(|error| format!("refused: {error}"), |_| "accepted".to_owned());
        let _ = writeln!(table, "{file} | {kind} | {said}");
    }
    (wrong, table)
}

#[test]
fn every_file_gets_the_verdict_that_it_should() {
    let folder = std::env::var_os("LONGRUN_EVIDENCE").map_or_else(data, PathBuf::from);
    let (wrong, table) = try_all(&folder);
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_that_is_told_by_its_content_has_a_file_or_a_sample() {
    let of_files: Vec<MaterialKind> =
        expected(&data()).into_iter().filter(|one| one.is_evidence).map(|one| one.kind).collect();
    let detected = MaterialKind::ALL.iter().filter(|kind| kind.about().told_by != "—");
    let without: Vec<&str> = detected.filter(|kind| !of_files.contains(kind)).map(|kind| kind.as_str()).collect();
    // These have a sample in the unit tests.
    let samples = [
        "CSAF_VEX",
        "CSAF_SECURITY_ADVISORY",
        "CSAF_SECURITY_INCIDENT_RESPONSE",
        "GHAS_SECRET_SCAN",
        "CHAINLOOP_PR_INFO",
        "SBOM_SPDX_JSON",
    ];
    let missing: Vec<&&str> = without.iter().filter(|kind| !samples.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn text_and_archives_take_the_form_that_is_documented() {
    let sigcheck = input("chainloop-dev-sigcheck-report.csv", None);
    assert_eq!(sigcheck["elements"][1]["Path"], "c:\\app\\unsigned.exe");
    assert_eq!(sigcheck["elements"][1]["Verified"], "Unsigned");

    let accesschk = input("chainloop-dev-accesschk-default.txt", None);
    assert_eq!(accesschk["tool"], json!({"name": "AccessChk", "version": "6.15"}));
    let object = &accesschk["objects"][0];
    assert_eq!(object["name"], "c:\\windows\\system32\\notepad.exe");
    let descriptor = &accesschk["descriptors"][usize::try_from(object["descriptor"].as_u64().unwrap()).unwrap()];
    assert_eq!(descriptor["access_entries"].as_array().unwrap().len(), 3);
    assert_eq!(descriptor["access_entries"][2], json!({"access": "R", "principal": "BUILTIN\\Users", "rights": []}));

    let dranzer = input("chainloop-dev-dranzer-report.txt", None);
    assert_eq!((&dranzer["tool"]["version"], &dranzer["summary"]["object_count"]), (&json!("96"), &json!(2)));
    assert_eq!(dranzer["findings"][0]["error_code"], "0xe0434352");
    assert_eq!(dranzer["objects"][0]["metadata"]["com_object_filename"], "example.ocx");

    let radamsa = input("chainloop-dev-radamsa-meta.txt", None);
    assert_eq!(radamsa["elements"].as_array().unwrap().len(), 2, "the line with the seed is not a mutation");
    assert_eq!(radamsa["elements"][0]["length"], 16892);
    assert_eq!(radamsa["elements"][1]["head"], "/tmp/t/sample.eds");

    let trufflehog = input("chainloop-dev-trufflehog-report.json", None);
    let detectors: Vec<&Value> =
        trufflehog["elements"].as_array().unwrap().iter().map(|one| &one["DetectorName"]).collect();
    assert_eq!(detectors, ["Github", "AWS"]);

    let zap = input("chainloop-dev-zap_scan.zip", None);
    assert_eq!(zap["@programName"], "ZAP");

    let helm = input("chainloop-dev-valid-chart.tgz", None);
    assert_eq!(helm["chart"]["name"], "common");
    assert!(helm["values"].is_object());

    let junit = input("chainloop-dev-tests.zip", None);
    assert!(junit["elements"].as_array().unwrap().len() >= 13);

    let graphql = input("chainloop-dev-schema.graphql", None);
    assert_eq!(graphql["definitions"][0], json!({"kind": "enum", "name": "Role"}));
    let annotations = &graphql["chainloop_metadata"]["annotations"];
    assert_eq!(annotations["chainloop.material.graphql.type_count"], "3");
    assert_eq!(annotations["chainloop.material.graphql.directives"], "auth,deprecated");

    assert_eq!(input("chainloop-dev-openapi-3.1.yaml", None)["info"]["title"], "Bookstore API");
}

#[test]
fn cobertura_is_projected_whole() {
    let report = input("chainloop-dev-cobertura.xml", None);
    assert_eq!(report["sources"], json!(["src/main/java"]));
    let class = &report["packages"][0]["classes"][0];
    assert_eq!(class["filename"], "com/example/app/Calculator.java");
    assert_eq!(class["lines"].as_array().unwrap().iter().filter(|line| line["hits"] == 0).count(), 2);
    let branch = json!({"number": 9, "hits": 1, "branch": true, "condition-coverage": "50% (1/2)"});
    assert_eq!(class["methods"][1]["lines"][0], branch);
    let empty = r#"<coverage line-rate="NaN" branch-rate="NaN" lines-valid="0"/>"#;
    let material = Material::parse(None, &Metadata::default(), empty.as_bytes()).unwrap();
    let report = serde_json::to_value(material.input()).unwrap();
    assert_eq!((&report["line-rate"], &report["packages"]), (&Value::Null, &json!([])));
}

#[test]
fn the_main_component_of_an_sbom_is_told_in_its_annotations() {
    let annotations = input("guacsec-cyclonedx-1.7.json", None)["chainloop_metadata"]["annotations"].clone();
    let of = |name: &str| annotations[format!("chainloop.material.sbom.main_component.{name}")].clone();
    assert_eq!((of("name"), of("type")), (json!("github.com/example/app"), json!("application")));
    assert_eq!(of("version"), "1.0.0");
    let image = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "container", "name": "alpine", "version": "3"}},
    });
    let material = Material::parse(None, &Metadata::default(), image.to_string().as_bytes()).unwrap();
    let input = serde_json::to_value(material.input()).unwrap();
    let name = &input["chainloop_metadata"]["annotations"]["chainloop.material.sbom.main_component.name"];
    assert_eq!(name, "index.docker.io/library/alpine");
}

#[test]
fn an_image_is_known_by_its_name_digest_and_tag() {
    let digest = "0a".repeat(32);
    let metadata = Metadata {
        name: "image",
        digest: "sha256:of-the-text",
        annotations: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        ..Metadata::default()
    };
    let text = format!("ghcr.io/a/b:latest@sha256:{digest}");
    let material = Material::parse(Some(MaterialKind::ContainerImage), &metadata, text.as_bytes()).unwrap();
    let input = serde_json::to_value(material.input()).unwrap();
    assert_eq!(
        input,
        json!({"chainloop_metadata": {
            "name": "ghcr.io/a/b", "kind": "CONTAINER_IMAGE", "digest": {"sha256": digest},
            "annotations": {
                "team": "a", "chainloop.material.name": "image", "chainloop.material.type": "CONTAINER_IMAGE",
                "chainloop.material.image.tag": "latest", "chainloop.material.image.is_latest_tag": true,
            },
        }})
    );
}

#[test]
fn empty_evidence_is_evidence_of_what_may_be_empty() {
    for kind in [MaterialKind::String, MaterialKind::Artifact, MaterialKind::TrufflehogJson] {
        assert!(Material::parse(Some(kind), &Metadata::default(), b"").is_ok(), "{kind}");
    }
    for kind in MaterialKind::ALL {
        // A kind without a format of its own has no required members.
        let may_be = ["STRING", "ARTIFACT", "EVIDENCE", "TRUFFLEHOG_JSON", "RADAMSA_REPORT"].contains(&kind.as_str());
        assert_eq!(Material::parse(Some(*kind), &Metadata::default(), b"").is_ok(), may_be, "{kind}");
    }
}

/// The page of the documentation, generated from the code.
fn table() -> String {
    let mut table = String::from(
        "# Material types\n\n\
        The material type is what a piece of evidence claims to be: its `kind` in requests and in policies. The evidence is read and\n\
        validated as this type, and the error for a mismatch names the position. If a request names no kind, the kind is detected from\n\
        the content; a dash means that it must be named. Policies see the `input` below and `chainloop_metadata`\n\
        ([writing policies](policies.md#what-a-script-sees)).\n\n\
        | type | what is read | `input` | detected by |\n|---|---|---|---|\n",
    );
    for kind in MaterialKind::ALL {
        let about = kind.about();
        let _ = writeln!(table, "| `{kind}` | {} | {} | {} |", about.reads, about.input, about.told_by);
    }
    table.push_str(
        "\nXML, JSON lines and text are converted to JSON; a top-level list becomes `{\"elements\": […]}`; content that has no JSON form\n\
        becomes `{}`. Integers keep all their digits.\n\n\
        `EVIDENCE` and `ARTIFACT` that begin like JSON (`{`, `[`) but cannot be parsed as one JSON document are refused with the reason:\n\
        a policy would see `{}` and report no violations. Text that only begins with such a bracket, such as a section of an INI file, a\n\
        line of a log or a template, does not count as JSON.\n\n\
        A zip must contain exactly one `report_json.json` of ZAP. In JUnit reports, tests outside of suites are put into a suite without\n\
        a name. A failure without a test case becomes a test with the name of its suite: a `<failure>` or an `<error>` of the suite, and\n\
        failures that only the attributes `failures` and `errors` of the suite report. For Cobertura, `lines-covered`, `lines-valid`,\n\
        `branches-covered` and `branches-valid` are present if the report contains them.\n\n\
        A SARIF log must itself contain the results, invocations and policies of its runs, their driver and their extensions: a log that\n\
        stores them as external properties, in other files or outside of the run, is refused, since policies read only the runs.\n\n\
        ## Limits\n\n\
        JSON and XML may be nested at most 128 levels deep, YAML 64 levels deep and without anchors, aliases and tags; a number may have at\n\
        most 1,000 characters. An archive may have at most 50,000 entries, which together may have at most 100 MiB and at most 200 times\n\
        the size of the archive (1 MiB is always allowed). A report or another file that is looked for is refused\n\
        if it is encrypted or, in a tar, a link; so is a tar without an end, with something after its end, or with headers that\n\
        programs read in different ways (such as those of sparse files), and a chart with two files `Chart.yaml` or `values.yaml`. An\n\
        envelope may have at most 32 signatures. Rows of sigcheck must have as many cells as the header. A key that occurs twice in\n\
        an object of JSON or YAML is refused: readers differ in which value counts. An OpenAPI or AsyncAPI document in YAML may have at\n\
        most 8 MiB. Empty evidence is accepted only for `STRING`, `ARTIFACT`, `EVIDENCE`, `TRUFFLEHOG_JSON` and\n\
        `RADAMSA_REPORT`.\n\n\
        ## How far the standards are checked\n\n\
        First, the members that policies rely on are checked. Then CycloneDX documents are checked against the JSON Schema of their\n\
        version (for 1.2 and 1.3 the one that is not strict), SPDX documents against that of 2.2, 2.3 or 3.0.1, CSAF 2.0 documents\n\
        against theirs with the schemas of CVSS, and SARIF logs against that of SARIF 2.1.0, as their authors publish them. A document\n\
        that violates its schema is refused with the position and the reason:\n\n\
        ```text\n\
        not SBOM_CYCLONEDX_JSON: at $.components[0].hashes[0].alg: it has to be one of \"MD5\", \"SHA-1\", … (JSON Schema of version 1.5)\n\
        ```\n\n\
        Some things are accepted although a schema would refuse them:\n\n\
        - a member that is `null`, which counts as absent;\n\
        - in CycloneDX, an identifier of a licence that SPDX added after the schema was published;\n\
        - in CycloneDX 1.7, an `asserter` of a patent that is written as `{\"ref\": …}`, `{\"organization\": …}` or\n\
        \x20 `{\"individual\": …}`, or that has only a `name`;\n\
        - in SARIF, texts that are not of the format that the schema names, such as an empty address or one with a space;\n\
        - in SPDX 2.2 and 2.3, packages, files and snippets without statements about licences and copyright, files without\n\
        \x20 checksums, snippets without a name, and `PACKAGE_MANAGER` and `PERSISTENT_ID` with an underscore.\n\n\
        For the other formats (OpenVEX, CSAF 2.1, SPDX 3.0 in other contexts than that of 3.0.1, and those of single tools) the\n\
        members that policies rely on are checked wherever they occur, but not every rule of a schema: an OpenVEX document with an\n\
        unknown member is accepted, one with a statement without a status is not.\n",
    );
    table
}

#[test]
fn the_documented_table_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/materials.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, table()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, table(), "renew it: UPDATE_DOCS=1 cargo test -p evidence the_documented_table");
}
