//! docs/promises.md names tests that exist, and all tests of faults; the mutants that it names fit the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every test in these files is named on the page.
const WHOLE: [&str; 21] = [
    "tests/faults/damage.rs",
    "tests/faults/full_disk.rs",
    "tests/faults/kills.rs",
    "tests/faults/slope.rs",
    "tests/faults/soak.rs",
    "tests/cluster.rs",
    "tests/outage.rs",
    "crates/simulation/tests/simulation.rs",
    "crates/store/tests/cells.rs",
    "crates/store/tests/clock.rs",
    "crates/store/tests/failover.rs",
    "crates/store/tests/frozen.rs",
    "crates/store/tests/full_disk.rs",
    "crates/store/tests/heads.rs",
    "crates/store/tests/outage.rs",
    "crates/store/tests/replica.rs",
    "crates/store/tests/resets.rs",
    "crates/store/tests/servers.rs",
    "crates/store/tests/torn.rs",
    "crates/store/tests/unanswered.rs",
    "crates/store/tests/wraparound.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The texts in backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The tests of a file, and whether each is ignored. Those of the contract of the stores are named by a macro.
fn tests_of(path: &str) -> BTreeMap<String, bool> {
    let (mut tests, mut is_marked, mut is_ignored, mut is_contract) = (BTreeMap::new(), false, false, false);
    for line in read(path).lines().map(str::trim) {
        is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        is_ignored |= line.starts_with("#[ignore");
        is_contract = (is_contract || line.starts_with("against_both_engines!(")) && !line.starts_with(");");
        let name = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
        if let Some(name) = name.filter(|_| is_marked) {
            tests.insert(name.split('(').next().unwrap().to_owned(), is_ignored);
            (is_marked, is_ignored) = (false, false);
        } else if is_contract {
            tests.extend(line.split(',').map(|name| (name.trim().to_owned(), false)));
        }
    }
    tests
}

#[test]
fn the_page_of_promises_names_the_tests_that_there_are() {
    let page = read("docs/promises.md");
    let mut named = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let mut file = None;
        for text in quoted(line) {
            if text.ends_with(".rs") {
                file = Some(text);
            } else if let Some(file) = file {
                let is_ignored = tests_of(file).get(text).copied();
                let is_ignored =
                    is_ignored.unwrap_or_else(|| panic!("docs/promises.md names {text}, which {file} has not"));
                let is_run = !is_ignored || line.contains("`make ") && read("mk/faults.mk").contains(text);
                assert!(is_run, "docs/promises.md names {text} of {file}, which is ignored, and which no target runs");
                named.insert((file.to_owned(), text.to_owned()));
            }
        }
    }
    for file in WHOLE {
        for test in tests_of(file).into_keys() {
            assert!(
                named.contains(&(file.to_owned(), test.clone())),
                "docs/promises.md does not name {test} of {file}"
            );
        }
    }
    for patch in std::fs::read_dir(root().join("tests/mutants")).unwrap() {
        let name = patch.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".patch").unwrap();
        assert!(page.contains(&format!("| {name} |")), "docs/promises.md does not name the mutant {name}");
    }
}

/// Brings the figures of `make faults` onto the page: a row replaces that of an earlier run of the same test. The other rows
/// stay as they are.
#[test]
#[ignore = "after make faults: make promises"]
fn figures_are_brought_onto_the_page() {
    let rows = std::fs::read_to_string(std::env::var("LONGRUN_FIGURES").unwrap()).unwrap();
    let mut page: Vec<String> = read("docs/promises.md").lines().map(str::to_owned).collect();
    let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let run = |row: &str| row.split('|').nth(1).map(str::to_owned);
    for row in rows.lines() {
        let new = format!("{row} {} |", today.split('T').next().unwrap());
        match page.iter().position(|line| line.starts_with("| ") && run(line) == run(row)) {
            Some(place) => page[place] = new,
            None => {
                let table = page.iter().position(|line| line.starts_with("| run |")).unwrap();
                page.insert(table + 2, new);
            }
        }
    }
    std::fs::write(root().join("docs/promises.md"), page.join("\n") + "\n").unwrap();
}

/// The lines that a patch expects in each place that it changes.
fn expected(patch: &str) -> Vec<(String, String)> {
    let mut places: Vec<(String, String)> = Vec::new();
    let mut file = String::new();
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("--- a/") {
            file = name.to_owned();
        } else if line.starts_with("@@ ") {
            places.push((file.clone(), String::new()));
        } else if let (Some((_, lines)), Some(line)) =
            (places.last_mut(), line.strip_prefix(' ').or(line.strip_prefix('-')))
        {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    places
}

/// Where judges say what is wrong.
const JUDGES: [&str; 6] = [
    "crates/store/tests/checker/history/judge.rs",
    "crates/store/tests/checker/history/linear.rs",
    "crates/store/tests/checker/history/promises.rs",
    "crates/store/tests/checker/server.rs",
    "crates/simulation/src/actors/reading.rs",
    "crates/simulation/src/actors/watching.rs",
];

#[test]
fn every_mutant_expects_what_a_judge_says() {
    let judges = JUDGES.map(read).concat();
    for patch in std::fs::read_dir(root().join("tests/mutants")).unwrap() {
        let patch = std::fs::read_to_string(patch.unwrap().path()).unwrap();
        let expected: Vec<&str> = patch.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{patch}\nexpects nothing");
        for message in expected {
            assert!(judges.contains(message), "{patch}\nexpects what no judge says: {message}");
        }
    }
}

#[test]
fn every_mutant_fits_the_code() {
    for patch in std::fs::read_dir(root().join("tests/mutants")).unwrap() {
        let patch = patch.unwrap().path();
        let places = expected(&std::fs::read_to_string(&patch).unwrap());
        assert!(!places.is_empty(), "{} changes nothing", patch.display());
        for (file, lines) in places {
            assert!(read(&file).contains(&lines), "{} does not fit {file}:\n{lines}", patch.display());
        }
    }
}
