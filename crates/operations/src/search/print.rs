//! The canonical form of a filter.

use std::collections::BTreeSet;
use std::fmt;

use super::{Numbers, Search, Set, Times};

impl fmt::Display for Search {
    /// Writes one or two comparisons for each field that is compared, always in the same order; the empty text for a
    /// search that every operation matches. Times are absolute.
    ///
    /// `parse::<Search>()` reads the text again, unless the search matches nothing at all: no filter expresses that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Comparisons(Vec::new());
        out.set("status", &self.status, ToString::to_string);
        out.set("kind", &self.kind, |text| quoted(text));
        out.set("project_id", &self.project_id, |text| quoted(text));
        out.times("created_at", self.created_at);
        out.times("started_at", self.started_at);
        out.times("finished_at", self.finished_at);
        out.set("resource_type", &self.resource_type, |text| quoted(text));
        out.set("resource_id", &self.resource_id, |text| quoted(text));
        out.set("id", &self.id, |id| quoted(&id.to_string()));
        out.set("unique_key", &self.unique_key, |text| quoted(text));
        out.set("schedule", &self.schedule, |text| quoted(text));
        for (key, values) in &self.labels {
            out.set(&format!("labels.{key}"), values, |text| quoted(text));
        }
        out.set("worker", &self.worker, |text| quoted(text));
        out.numbers("attempts", self.attempts);
        out.numbers("priority", self.priority);
        out.texts("error_message", &self.error_message);
        out.texts("input", &self.input);
        out.texts("output", &self.output);
        f.write_str(&out.0.join(" AND "))
    }
}

struct Comparisons(Vec<String>);

impl Comparisons {
    fn set<T: Ord>(&mut self, field: &str, set: &Set<T>, shown: impl Fn(&T) -> String) {
        let (sign, values) = match set {
            Set::Among(values) => ("=", values),
            Set::Except(values) if values.is_empty() => return,
            Set::Except(values) => ("!=", values),
        };
        let values: Vec<String> = values.iter().map(shown).collect();
        let values = if let [value] = &values[..] { value.clone() } else { format!("({})", values.join(" OR ")) };
        self.0.push(format!("{field} {sign} {values}"));
    }

    fn times(&mut self, field: &str, times: Times) {
        self.0.extend(times.from.map(|from| format!("{field} >= \"{from}\"")));
        self.0.extend(times.before.map(|before| format!("{field} < \"{before}\"")));
    }

    fn numbers(&mut self, field: &str, numbers: Numbers) {
        match (numbers.least, numbers.most) {
            (Some(least), Some(most)) if least == most => self.0.push(format!("{field} = {least}")),
            (least, most) => {
                self.0.extend(least.map(|least| format!("{field} >= {least}")));
                self.0.extend(most.map(|most| format!("{field} <= {most}")));
            }
        }
    }

    fn texts(&mut self, field: &str, texts: &BTreeSet<String>) {
        self.0.extend(texts.iter().map(|text| format!("{field} : {}", quoted(text))));
    }
}

/// A text in quotes, as filters write it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
