//! Annotations for GitHub Actions: one line per violation, which the runner shows next to the file that it names. What
//! is waived or was not evaluated is a notice.

use std::fmt::Write as _;

use super::{Level, Problem, Report};
use crate::render::printable;

pub fn render(report: &Report) -> String {
    let waived = report.waived().into_iter().map(|(problem, reason)| {
        let message = format!("waived: {} ({reason})", problem.message).into();
        Problem { level: Level::Note, message, ..problem }
    });
    let mut text = String::new();
    for problem in report.problems().into_iter().chain(report.unevaluated()).chain(waived) {
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
            data(&problem.message)
        );
    }
    text
}

/// The message of a workflow command, on one line, without other control characters.
fn data(text: &str) -> String {
    printable(&text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A"))
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
                "::notice file=sbom.json,line=1,title=age::skipped: no timestamp",
                "::notice file=sbom.json,line=1,title=licences::waived: GPL (we <publish> it)",
            ]
        );
        assert_eq!(super::data("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(super::property("a:b,c\n::error::x"), "a%3Ab%2Cc%0A%3A%3Aerror%3A%3Ax");
    }
}
