//! The text formats that Prometheus reads.

use std::fmt::{self, Write};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older format of Prometheus, 0.0.4, which every client reads.
    Plain,
}

impl Form {
    /// The format for a client with this `Accept` header: OpenMetrics only if the header names it.
    pub fn accepted(accept: Option<&str>) -> Form {
        let is_open = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"))
                && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        if accept.is_some_and(|accept| accept.split(',').any(is_open)) { Form::OpenMetrics } else { Form::Plain }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The text of all metrics in these registries.
pub fn render(registries: &[&Registry], form: Form) -> String {
    let mut text = String::new();
    let write = |text: &mut String| -> fmt::Result {
        registries.iter().try_for_each(|registry| encode_registry(text, registry))?;
        encode_eof(text)
    };
    write(&mut text).expect("writing to a String does not fail");
    match form {
        Form::OpenMetrics => text,
        Form::Plain => plain(&text),
    }
}

/// Converts OpenMetrics to the older format: there, the comment lines about a counter also carry its `_total`, and
/// there are no unit lines and no end line.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    // The type of a metric comes after its help.
    let mut help: Option<&str> = None;
    for line in open.lines() {
        if let Some(of) = line.strip_prefix("# HELP ") {
            help = Some(of);
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').unwrap_or((of, ""));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().and_then(|help| help.split_once(' ')) {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with("# ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Happening, Meters};

    #[test]
    fn both_forms_have_the_same_samples_and_name_counters_as_they_should() {
        let meters = Meters::default();
        meters.kinds.name(["scan"]);
        meters.count("scan", Happening::Created);
        meters.count("scan", Happening::Started { waited: Some(std::time::Duration::ZERO) });
        meters.count("made-up", Happening::Created);
        let (open, plain) =
            (render(&[meters.registry()], Form::OpenMetrics), render(&[meters.registry()], Form::Plain));
        assert!(open.ends_with("# EOF\n") && !plain.contains("EOF"), "{open}");
        assert!(open.contains("# TYPE longrun_operations_created counter\n"), "{open}");
        assert!(plain.contains("# TYPE longrun_operations_created_total counter\n"), "{plain}");
        assert!(plain.contains("# TYPE longrun_operation_waiting_seconds histogram\n"), "{plain}");
        let samples = |text: &str| -> Vec<String> {
            let mut samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            samples.sort();
            samples
        };
        assert_eq!(samples(&open), samples(&plain));
        for line in
            ["longrun_operations_created_total{kind=\"scan\"} 1", "longrun_operations_created_total{kind=\"other\"} 1"]
        {
            assert!(plain.lines().any(|l| l == line), "{line} is missing from\n{plain}");
        }
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        assert_eq!(Form::accepted(None), Form::Plain);
        assert_eq!(Form::accepted(Some("text/plain, */*")), Form::Plain);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Form::accepted(Some(prometheus)), Form::OpenMetrics);
        assert_eq!(Form::accepted(Some("application/openmetrics-text; q=0")), Form::Plain);
    }
}
