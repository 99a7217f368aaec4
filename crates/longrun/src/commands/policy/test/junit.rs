//! A JUnit report: one suite per policy, one test per case, and one for the required coverage.

use std::fmt::Write as _;

use evidence::check::CaseReport;

use super::{All, Tested, percent};
use crate::render::report::{broken, escape};

pub fn render(all: &All) -> String {
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"longrun policy test\">\n");
    all.tested.iter().for_each(|one| suite(all, one, &mut text));
    text.push_str("</testsuites>\n");
    text
}

fn suite(all: &All, Tested { file, result }: &Tested, text: &mut String) {
    let file = escape(file);
    let report = match result {
        Ok(report) => report,
        Err(reason) => return broken(&file, "policy", reason, text),
    };
    let name = escape(&report.policy);
    let shortfall = all.shortfall(report);
    let covers = usize::from(all.least.is_some());
    let tests = report.cases.len() + covers;
    let failures = report.cases.iter().filter(|case| !case.ok).count() + usize::from(shortfall.is_some());
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" file=\"{file}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">"
    );
    if all.covers {
        let percent = percent(report.lines());
        let _ = writeln!(text, "    <properties><property name=\"coverage\" value=\"{percent}\"/></properties>");
    }
    report.cases.iter().for_each(|case| test(&name, case, text));
    if covers == 1 {
        let problems: Vec<String> = shortfall.into_iter().collect();
        element(&name, "coverage", &problems, text);
    }
    text.push_str("  </testsuite>\n");
}

fn test(policy: &str, case: &CaseReport, text: &mut String) {
    element(policy, &case.name, &case.problems, text);
}

fn element(policy: &str, name: &str, problems: &[String], text: &mut String) {
    let _ = write!(text, "    <testcase classname=\"{policy}\" name=\"{}\"", escape(name));
    if problems.is_empty() {
        text.push_str("/>\n");
        return;
    }
    let first = escape(&problems[0]);
    let all: Vec<String> = problems.iter().map(|problem| escape(problem)).collect();
    let _ = writeln!(
        text,
        ">\n      <failure type=\"case\" message=\"{first}\">{}</failure>\n    </testcase>",
        all.join("\n")
    );
}
