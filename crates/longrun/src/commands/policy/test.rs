//! `longrun policy test`: runs the test cases of policies, without a server, and reports which lines no case evaluates.

mod junit;

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use evidence::check::{Report, check_some, find};
use evidence::rego::{Gap, ScriptCoverage};
use serde_json::{Value, json};

use super::table_of_case;
use crate::connection::OutputArgs;
use crate::exit::{Exit, Tally, failure};
use crate::progress::Spinner;
use crate::render::{self, Answer, Format, Style, count, printable, table};

/// What `longrun policy test` takes.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Policies and groups, or folders to search for them; the cases of NAME.yaml are in NAME.cases.yaml or cases.yaml
    /// next to it
    #[arg(default_value = ".", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only run cases with this text in POLICY/CASE, e.g. sbom- or "sbom-freshness/an old one"
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Exit with 1 if the cases of a policy evaluate less than this percentage of its lines
    #[arg(long, value_name = "PERCENT", conflicts_with = "filter", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// Print a report for a build system instead of the results
    #[arg(long = "format", value_name = "REPORT", conflicts_with = "format")]
    report: Option<TestReport>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TestReport {
    /// A JUnit report: one suite per policy, one test per case.
    Junit,
    /// The same as `-o json`.
    Json,
}

/// Runs the cases; the answer is no if one fails, or too little of a policy is evaluated.
///
/// # Errors
/// When there is nothing to test, or the result cannot be written. An invalid policy is part of the result, and the
/// command ends with 2.
pub fn run(args: &TestArgs) -> anyhow::Result<Exit> {
    let spinner = Spinner::start("testing");
    let mut tally = Tally::new();
    let (mut files, mut is_complete) = (Vec::new(), true);
    for path in &args.paths {
        match find(path).context("cannot search for policies") {
            Ok(found) => files.extend(found.into_iter().filter(|file| !files.contains(file)).collect::<Vec<_>>()),
            Err(error) => {
                is_complete = false;
                spinner.step_aside(|| tally.failed(&error));
            }
        }
    }
    let chosen = |policy: &str, case: &str| {
        args.filter.as_ref().is_none_or(|filter| format!("{policy}/{case}").contains(filter.as_str()))
    };
    let mut tested = Vec::new();
    for file in &files {
        let shown = file.display().to_string();
        spinner.say(format!("testing {shown}"));
        let result = check_some(file, chosen).map_err(|error| error.to_string());
        // Policies that were not selected are not mentioned.
        let is_meant = args.filter.is_none() || result.as_ref().map_or(true, |report| !report.cases.is_empty());
        if is_meant {
            tested.push(Tested { file: shown, result });
        }
    }
    drop(spinner);
    if tested.is_empty() && is_complete {
        return Err(nothing(args));
    }
    if !tested.is_empty() {
        let all = All { tested, least: args.min_coverage, covers: args.filter.is_none() };
        all.tested.iter().for_each(|one| tally.add(all.exit(one)));
        match args.report {
            Some(TestReport::Junit) => render::write(junit::render(&all))?,
            Some(TestReport::Json) => render::print(Format::Json, &all)?,
            None => render::print(args.output.format, &all)?,
        }
    }
    Ok(tally.exit())
}

fn nothing(args: &TestArgs) -> anyhow::Error {
    let paths: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
    match &args.filter {
        Some(filter) => failure(
            format!("no case in {} has {filter:?} in its policy's name or its own", paths.join(", ")),
            "without --filter, all cases are shown",
        ),
        None => failure(
            format!("no policy in {}", paths.join(", ")),
            "a policy is a policy.yaml, or a NAME.yaml with a NAME.cases.yaml beside it",
        ),
    }
}

/// A policy file and its result.
struct Tested {
    file: String,
    /// The report of its cases, or why it cannot be tested.
    result: Result<Report, String>,
}

struct All {
    tested: Vec<Tested>,
    /// The required coverage of each policy, in percent.
    least: Option<u8>,
    /// Whether all cases ran, so that the coverage is meaningful.
    covers: bool,
}

/// The coverage in percent, rounded down: it is 100 only if every line was evaluated.
fn percent((lines, evaluated): (usize, usize)) -> usize {
    (100 * evaluated).checked_div(lines).unwrap_or(100)
}

impl All {
    /// What is wrong with a policy that can be tested, apart from its cases.
    fn shortfall(&self, report: &Report) -> Option<String> {
        // A group has no lines of its own.
        let lines = Some(report.lines()).filter(|(all, _)| *all > 0)?;
        let (least, reached) = (usize::from(self.least?), percent(lines));
        (reached < least).then(|| format!("its cases evaluate {reached} % of its lines, and {least} % are required"))
    }

    fn exit(&self, one: &Tested) -> Exit {
        match &one.result {
            Ok(report) => Exit::yes_if(report.ok && self.shortfall(report).is_none()),
            Err(_) => Exit::Failed,
        }
    }

    fn details(&self, style: Style, one: &Tested) -> String {
        let report = match &one.result {
            Ok(report) => report,
            Err(error) => {
                let lines: Vec<String> = error.lines().map(printable).collect();
                return format!("{} {}\n    {}\n", style.bad("✗"), printable(&one.file), lines.join("\n    "));
            }
        };
        let mut text = String::new();
        for note in &report.notes {
            text += &format!("    {} {}\n", style.notable("note:"), printable(note));
        }
        text.extend(report.cases.iter().filter(|case| !case.ok).map(|case| table_of_case(style, case)));
        if let Some(shortfall) = self.shortfall(report) {
            text += &format!("    {} {shortfall}\n", style.bad("✗"));
        }
        if self.covers {
            for script in report.coverage.iter().filter(|script| !script.gaps.is_empty()) {
                text += &style.faint(&format!("    not evaluated: {}\n", printable(&gaps(script))));
            }
        }
        if text.is_empty() { text } else { format!("{}\n{text}", printable(&one.file)) }
    }

    fn json(&self, one: &Tested) -> io::Result<Value> {
        let mut value = match &one.result {
            Ok(report) => {
                let mut value = serde_json::to_value(report)?;
                let lines = report.lines();
                value["coverage"] = json!({
                    "percent": percent(lines),
                    "lines": lines.0,
                    "evaluated": lines.1,
                    "scripts": report.coverage,
                });
                if !self.covers
                    && let Some(fields) = value.as_object_mut()
                {
                    fields.remove("coverage");
                }
                value["ok"] = Value::from(self.exit(one) == Exit::Done);
                value
            }
            Err(error) => json!({"ok": false, "error": error}),
        };
        value["file"] = Value::from(one.file.as_str());
        Ok(value)
    }
}

fn policies(number: usize) -> String {
    if number == 1 { "1 policy".to_owned() } else { format!("{number} policies") }
}

/// The lines of a script that no case evaluates: `cyclonedx.rego: violations 12-14, 17; name_of 21`.
fn gaps(script: &ScriptCoverage) -> String {
    let rules: Vec<String> =
        script.gaps.iter().map(|Gap { rule, lines }| format!("{rule} {}", ranges(lines))).collect();
    format!("{}: {}", script.script, rules.join("; "))
}

/// Numbers in ascending order, with consecutive ones as `from-to`.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let shown = ranges.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") });
    shown.collect::<Vec<String>>().join(", ")
}

impl Answer for All {
    fn json(&self) -> io::Result<Vec<u8>> {
        let all = self.tested.iter().map(|one| All::json(self, one)).collect::<io::Result<Vec<Value>>>()?;
        Ok(Value::from(all).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let reports: Vec<&Report> = self.tested.iter().filter_map(|one| one.result.as_ref().ok()).collect();
        let covered = |lines: (usize, usize)| {
            if self.covers && lines.0 > 0 { format!("{} %", percent(lines)) } else { "-".to_owned() }
        };
        let rows = reports.iter().map(|report| {
            let passed = report.cases.iter().filter(|case| case.ok).count();
            let is_good = report.ok && self.shortfall(report).is_none();
            [
                report.policy.clone(),
                format!("{passed}/{}", report.cases.len()),
                covered(report.lines()),
                match (is_good, report.cases.is_empty()) {
                    (false, _) => "failed",
                    (true, true) => "no cases",
                    (true, false) => "passed",
                }
                .to_owned(),
            ]
        });
        let mut text = table(style, ["NAME", "CASES", "COVERAGE", "STATUS"], rows.collect::<Vec<_>>());
        let details: Vec<String> = self.tested.iter().map(|one| self.details(style, one)).collect();
        if details.iter().any(|detail| !detail.is_empty()) {
            text += "\n";
        }
        text.extend(details);
        let cases = || reports.iter().flat_map(|report| &report.cases);
        let wrong = cases().filter(|case| !case.ok).count();
        let lines = reports.iter().map(|report| report.lines());
        let lines = lines.fold((0, 0), |(all, evaluated), more| (all + more.0, evaluated + more.1));
        let broken = self.tested.len() - reports.len();
        text += &format!("\n{}, {}", policies(reports.len()), count(cases().count() as u64, "case"));
        if wrong > 0 {
            text += &style.bad(&format!(", {wrong} of them failed"));
        }
        if broken > 0 {
            text += &style.bad(&format!("; {} could not be tested", policies(broken)));
        }
        if self.covers {
            text += &format!("; {} of the lines evaluated", covered(lines));
        }
        text + "\n"
    }

    /// The files with problems.
    fn ids(&self) -> Vec<String> {
        self.tested.iter().filter(|one| self.exit(one) != Exit::Done).map(|one| one.file.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_one_another_are_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn only_all_of_it_is_a_hundred_percent() {
        assert_eq!([percent((0, 0)), percent((1000, 999)), percent((3, 3)), percent((4, 0))], [100, 99, 100, 0]);
    }
}
