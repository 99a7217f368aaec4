//! A JUnit report: one suite per file, one test per policy.

use std::fmt::Write as _;

use super::{Evaluated, Policy, Report};

pub fn render(report: &Report) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"longrun\">\n");
    for file in &report.files {
        suite(file, &mut text);
    }
    text.push_str("</testsuites>\n");
    text
}

fn suite(Evaluated { file, outcome }: &Evaluated, text: &mut String) {
    let file = escape(file);
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err(reason) => return broken(&file, "evaluation", reason, text),
    };
    let failures = verdict.policies.iter().filter(|policy| policy.status == "failed").count();
    let skipped = verdict.policies.iter().filter(|policy| policy.is_skipped()).count() + verdict.left_out.len();
    let tests = verdict.policies.len() + verdict.left_out.len();
    let time = seconds(verdict.policies.iter().map(|policy| policy.duration_ms).sum());
    let _ = writeln!(
        text,
        "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{time}\">"
    );
    for policy in &verdict.policies {
        test(&file, policy, text);
    }
    for left in &verdict.left_out {
        let (name, reason) = (escape(&left.name), escape(&left.reason));
        let _ = writeln!(
            text,
            "    <testcase classname=\"{file}\" name=\"{name}\"><skipped message=\"{reason}\"/></testcase>"
        );
    }
    text.push_str("  </testsuite>\n");
}

/// The suite of a file (already escaped) of which only the reason is known why nothing could be tested.
pub fn broken(file: &str, test: &str, reason: &str, text: &mut String) {
    let reason = escape(reason);
    let _ = write!(
        text,
        "  <testsuite name=\"{file}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n    \
         <testcase classname=\"{file}\" name=\"{test}\">\n      \
         <error message=\"{reason}\"/>\n    </testcase>\n  </testsuite>\n"
    );
}

fn test(file: &str, policy: &Policy, text: &mut String) {
    let time = seconds(policy.duration_ms);
    let _ = writeln!(text, "    <testcase classname=\"{file}\" name=\"{}\" time=\"{time}\">", escape(&policy.name));
    let is_skipped = policy.is_skipped();
    if is_skipped {
        let _ = writeln!(text, "      <skipped message=\"{}\"/>", escape(&policy.skip_reasons.join("; ")));
    }
    // What is no part of the verdict.
    let mut aside: Vec<String> = policy.part_not_evaluated().into_iter().collect();
    let mut counted = Vec::new();
    for violation in &policy.violations {
        match &violation.waived {
            Some(waived) => aside.push(format!("waived: {} ({})", violation.message, waived.reason())),
            None if is_skipped => aside.push(format!("not counted: {}", violation.message)),
            None => counted.push(escape(&violation.message)),
        }
    }
    if policy.status == "failed" {
        let message = match counted.as_slice() {
            [only] => only.clone(),
            several => format!("{} violations", several.len()),
        };
        let all = counted.join("\n");
        let _ = writeln!(text, "      <failure type=\"violation\" message=\"{message}\">{all}</failure>");
    }
    if !aside.is_empty() {
        let aside: Vec<String> = aside.iter().map(|line| escape(line)).collect();
        let _ = writeln!(text, "      <system-out>{}</system-out>", aside.join("\n"));
    }
    text.push_str("    </testcase>\n");
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Text for attributes and elements, without the characters that XML does not allow.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn each_policy_is_a_test_and_a_file_without_a_verdict_an_error() {
        let text = super::render(&report());
        for expected in [
            r#"<testsuite name="sbom.json" tests="4" failures="1" errors="0" skipped="2" time="0.015">"#,
            "name=\"licences\" time=\"0.012\">\n      <system-out>waived: GPL (we &lt;publish&gt; it)</system-out>\n",
            "<failure type=\"violation\" message=\"2 violations\">a key in &lt;config&gt;&#10;of 'a' &amp; &quot;b&quot;, 100%\nplain</failure>",
            "name=\"age\" time=\"0.000\">\n      <skipped message=\"no timestamp\"/>\n      \
             <system-out>not counted: kept</system-out>\n    </testcase>",
            r#"name="other"><skipped message="it is for SARIF"/>"#,
            r#"<error message="not JSON: line 1"/>"#,
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        let kind = Some(evidence::MaterialKind::JunitXml);
        let read = evidence::Material::parse(kind, &evidence::material::Metadata::default(), text.as_bytes());
        assert!(read.is_ok(), "{read:?}\n{text}");
    }
}
