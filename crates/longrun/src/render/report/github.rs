//! Annotations for GitHub Actions: one line per violation, which the runner shows next to the file that it names.

use std::fmt::Write as _;

use super::{Level, Report};

pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for problem in report.problems() {
        let command = match problem.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "notice",
        };
        let _ = writeln!(
            text,
            "::{command} file={},line={},title={}::{}",
            property(problem.path),
            problem.line,
            property(&problem.rule),
            data(problem.message)
        );
    }
    for one in &report.files {
        let Ok(verdict) = &one.outcome else { continue };
        for policy in verdict.policies.iter().filter(|policy| policy.status == "skipped") {
            let (file, name) = (property(&one.file), property(&policy.name));
            let reasons = data(&policy.skip_reasons.join("; "));
            let _ = writeln!(text, "::notice file={file},title={name}::skipped: {reasons}");
        }
        if verdict.policies.is_empty() {
            let reasons: Vec<String> =
                verdict.left_out.iter().map(|left| format!("{}: {}", left.name, left.reason)).collect();
            let reasons = data(&reasons.join("; "));
            let _ = writeln!(
                text,
                "::warning file={},title=longrun::no policy evaluated it: {reasons}",
                property(&one.file)
            );
        }
    }
    text
}

/// The message of a workflow command, on one line.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property; colons and commas, which would end it, are escaped.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn a_message_is_one_command_whatever_it_holds() {
        let text = super::render(&report());
        assert_eq!(
            text.lines().collect::<Vec<&str>>(),
            [
                "::warning file=src/a.env,line=7,title=secrets/generic-key::a key in <config>%0Aof 'a' & \"b\", 100%25",
                "::error file=sbom.json,line=1,title=secrets::plain",
                "::error file=broken.json,line=1,title=evaluation::not JSON: line 1",
                "::notice file=sbom.json,title=age::skipped: no timestamp",
            ]
        );
        assert_eq!(super::property("a:b,c\n::error::x"), "a%3Ab%2Cc%0A%3A%3Aerror%3A%3Ax");
    }
}
