//! `longrun policy check`: whether a policy is valid, and whether its examples have the expected results.

pub mod test;

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use evidence::check::{CaseReport, Report, check};
use serde_json::{Value, json};

use crate::connection::OutputArgs;
use crate::exit::{Exit, Tally};
use crate::progress::Spinner;
use crate::render::{self, Answer, Style, printable};

/// What `longrun policy check` takes.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Policy files; the examples of each policy are in cases.yaml next to it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Checks policies; the answer is no if one is invalid or an example has an unexpected result.
///
/// # Errors
/// When the report cannot be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let spinner = Spinner::start("checking");
    let mut checked = Vec::new();
    let mut tally = Tally::new();
    for file in &args.files {
        let shown = file.display().to_string();
        if let Err(error) = std::fs::File::open(file).with_context(|| format!("cannot read {shown}")) {
            spinner.step_aside(|| tally.failed(&error));
            continue;
        }
        spinner.say(format!("checking {shown}"));
        let result = check(file).map_err(|error| error.to_string());
        checked.push(Checked { file: shown, result });
    }
    drop(spinner);
    if !checked.is_empty() {
        tally.add(Exit::yes_if(checked.iter().all(Checked::is_ok)));
        render::print(args.output.format, &All(checked))?;
    }
    Ok(tally.exit())
}

struct Checked {
    file: String,
    /// The report, or why the policy is invalid.
    result: Result<Report, String>,
}

impl Checked {
    fn is_ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|report| report.ok)
    }

    fn json(&self) -> io::Result<Value> {
        let mut value = match &self.result {
            Ok(report) => serde_json::to_value(report)?,
            Err(error) => json!({"ok": false, "error": error}),
        };
        value["file"] = Value::from(self.file.as_str());
        Ok(value)
    }

    fn table(&self, style: Style) -> String {
        let report = match &self.result {
            Ok(report) => report,
            Err(error) => {
                let lines: Vec<String> = error.lines().map(printable).collect();
                return format!("{} {}\n    {}\n", style.bad("✗"), printable(&self.file), lines.join("\n    "));
            }
        };
        let mark = if report.ok { style.good("✓") } else { style.bad("✗") };
        let passed = report.cases.iter().filter(|case| case.ok).count();
        let mut text = format!("{mark} {}: {passed} of {} examples\n", printable(&self.file), report.cases.len());
        for note in &report.notes {
            text += &format!("    {} {}\n", style.notable("note:"), printable(note));
        }
        for case in report.cases.iter().filter(|case| !case.ok) {
            text += &table_of_case(style, case);
        }
        text
    }
}

/// An example with an unexpected result, and the difference.
fn table_of_case(style: Style, case: &CaseReport) -> String {
    let mut text = format!("    {} {}\n", style.bad("✗"), printable(&case.name));
    for problem in &case.problems {
        text += &format!("        {}\n", printable(problem));
    }
    for message in case.violations.iter().chain(&case.skip_reasons) {
        text += &style.faint(&format!("        it says: {}\n", printable(message)));
    }
    text
}

struct All(Vec<Checked>);

impl Answer for All {
    fn json(&self) -> io::Result<Vec<u8>> {
        let all = self.0.iter().map(Checked::json).collect::<io::Result<Vec<Value>>>()?;
        Ok(Value::from(all).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        self.0.iter().map(|checked| checked.table(style)).collect()
    }

    /// The files with problems.
    fn ids(&self) -> Vec<String> {
        self.0.iter().filter(|checked| !checked.is_ok()).map(|checked| checked.file.clone()).collect()
    }
}
