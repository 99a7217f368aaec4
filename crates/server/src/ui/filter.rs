//! The filter of the list as the filter bar of the page shows it: comparisons that have a field are shown in it, the
//! rest as text.
//!
//! An address has one form, `filter=` with the text that searches, counts, views and bulk actions accept. The fields of
//! the bar, and the parameters of older addresses (`status`, `kind`, `resource_type`, `resource_id`), are converted to
//! such a text.

use std::collections::BTreeSet;

use operations::search::{Written, value, written};
use operations::{Search, Status, Timestamp, check_label_key};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::form::{Fields, Wrong};

/// The time ranges that are offered: their text in filters, and their name.
pub(super) const RANGES: [(&str, &str); 3] = [("1h", "Last hour"), ("24h", "Last day"), ("7d", "Last week")];
/// Other spellings of the same ranges.
const ALIASES: [(&str, &str); 5] = [("60m", "1h"), ("1d", "24h"), ("168h", "7d"), ("1w", "7d"), ("3600s", "1h")];
/// The fields of the bar that an address may have.
const FIELDS: [&str; 3] = ["filter", "page", "size"];
/// The characters that are not encoded in addresses.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'(')
    .remove(b')')
    .remove(b':')
    .remove(b'=')
    .remove(b'!')
    .remove(b',');

/// The operations that a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bar {
    /// One of these; any if it is empty.
    pub(super) statuses: BTreeSet<Status>,
    /// One of these; any if it is empty.
    pub(super) kinds: BTreeSet<String>,
    /// One of these; any if it is empty.
    pub(super) projects: BTreeSet<String>,
    /// One of [`RANGES`], or empty.
    pub(super) since: String,
    /// Created at this time or later, in the format of the browser's field: `2026-11-28T04:36`, UTC.
    pub(super) from: String,
    /// Created before this time.
    pub(super) to: String,
    pub(super) resource_type: String,
    pub(super) resource_id: String,
    /// Each `key=value`; all of them.
    pub(super) labels: Vec<String>,
    /// Every other comparison.
    pub(super) more: String,
}

impl Bar {
    /// Reads an address, and reports what is wrong with it.
    pub(super) fn read(fields: &Fields, now: Timestamp) -> (Bar, Wrong) {
        let mut wrong = Wrong::default();
        let mut bar = Bar::default();
        for name in fields.all("status").filter(|name| !["0", Status::UNSPECIFIED_NAME].contains(name)) {
            match status(name) {
                Some(status) => drop(bar.statuses.insert(status)),
                None => wrong.add("status", format!("{name:?} is not a status; the statuses are {}", names())),
            }
        }
        bar.kinds = fields.all("kind").map(str::to_owned).collect();
        bar.projects = fields.all("project").map(str::to_owned).collect();
        let since = fields.one("since");
        if RANGES.iter().any(|(range, _)| *range == since) {
            since.clone_into(&mut bar.since);
        } else {
            fields.one("from").clone_into(&mut bar.from);
            fields.one("to").clone_into(&mut bar.to);
        }
        for (field, text) in [("from", &bar.from), ("to", &bar.to)] {
            if !text.is_empty() && time(text).is_none() {
                wrong.add(field, "is not a time; write it like 2026-01-23 04:56 (UTC)");
            }
        }
        fields.one("resource_type").clone_into(&mut bar.resource_type);
        fields.one("resource_id").clone_into(&mut bar.resource_id);
        bar.labels = fields.all("label").map(str::to_owned).collect();
        for label in &bar.labels {
            if let Err(problem) = split_label(label) {
                wrong.add("label", problem);
            }
        }
        let text = fields.one("filter");
        match written(text) {
            Ok(comparisons) => bar.take(comparisons),
            Err(error) => {
                text.clone_into(&mut bar.more);
                wrong.add("filter", error.to_string());
            }
        }
        if wrong.is_empty()
            && let Err(error) = Search::parse(&bar.text(), now)
        {
            // The position of the error is useful only if the text is what was typed.
            let problem = if bar.text() == text { error.to_string() } else { error.problem };
            wrong.add("filter", problem);
        }
        (bar, wrong)
    }

    /// The bar of a valid filter.
    pub(super) fn of(filter: &str) -> Bar {
        let mut bar = Bar::default();
        match written(filter) {
            Ok(comparisons) => bar.take(comparisons),
            Err(_) => filter.clone_into(&mut bar.more),
        }
        bar
    }

    /// Puts comparisons into their fields if these exist and are still empty, and the others into the text.
    fn take(&mut self, comparisons: Vec<Written>) {
        let mut rest = Vec::new();
        let before = self.clone();
        for comparison in comparisons {
            if !self.takes(&before, &comparison) {
                rest.push(comparison.text);
            }
        }
        self.more = rest.join(" AND ");
    }

    fn takes(&mut self, before: &Bar, comparison: &Written) -> bool {
        let Written { field, sign, values, .. } = comparison;
        let is_plain = values.iter().all(|value| !value.is_empty() && value.trim() == value);
        match (field.as_str(), *sign, &values[..]) {
            ("status", "=", values) if self.statuses.is_empty() => {
                let Some(statuses) = values.iter().map(|name| status(name)).collect() else { return false };
                self.statuses = statuses;
                true
            }
            ("kind", "=", values) if is_plain && self.kinds.is_empty() => {
                self.kinds = values.iter().cloned().collect();
                true
            }
            ("project_id", "=", values) if is_plain && self.projects.is_empty() => {
                self.projects = values.iter().cloned().collect();
                true
            }
            ("created_at", ">=", [value]) if self.since.is_empty() && self.from.is_empty() => {
                if let Some(range) = range(value).filter(|_| self.to.is_empty()) {
                    range.clone_into(&mut self.since);
                    return true;
                }
                let Ok(time) = value.parse() else { return false };
                self.from = shown(time);
                true
            }
            ("created_at", "<", [value]) if self.since.is_empty() && self.to.is_empty() => {
                let Ok(time) = value.parse() else { return false };
                self.to = shown(time);
                true
            }
            ("resource_type", "=", [value]) if is_plain && self.resource_type.is_empty() => {
                value.clone_into(&mut self.resource_type);
                true
            }
            ("resource_id", "=", [value]) if is_plain && self.resource_id.is_empty() => {
                value.clone_into(&mut self.resource_id);
                true
            }
            (field, "=", [value]) if is_plain && before.labels.is_empty() => {
                let Some(key) = field.strip_prefix("labels.") else { return false };
                let begin = format!("{key}=");
                let is_new = !self.labels.iter().any(|label| label.starts_with(&begin));
                let is_in_order = check_label_key("label", key).is_ok();
                if is_new && is_in_order {
                    self.labels.push(begin + value);
                }
                is_new && is_in_order
            }
            _ => false,
        }
    }

    /// The filter as text; empty for everything.
    pub(super) fn text(&self) -> String {
        let among = |field: &str, values: Vec<String>| match &values[..] {
            [] => None,
            [value] => Some(format!("{field} = {value}")),
            values => Some(format!("{field} = ({})", values.join(" OR "))),
        };
        let values = |of: &BTreeSet<String>| of.iter().map(|text| value(text)).collect();
        let one = |text: &str| Some(text).filter(|text| !text.is_empty()).map(value).into_iter().collect();
        let at = |sign: &str, text: &str| Some(format!("created_at {sign} \"{}\"", brief(time(text)?)));
        let mut parts = vec![
            among("status", self.statuses.iter().map(ToString::to_string).collect()),
            among("kind", values(&self.kinds)),
            among("project_id", values(&self.projects)),
            Some(format!("created_at >= \"-{}\"", self.since)).filter(|_| !self.since.is_empty()),
            at(">=", &self.from),
            at("<", &self.to),
            among("resource_type", one(&self.resource_type)),
            among("resource_id", one(&self.resource_id)),
        ];
        let labels = self.labels.iter().filter_map(|label| split_label(label).ok());
        parts.extend(labels.map(|(key, text)| Some(format!("labels.{key} = {}", value(text)))));
        parts.push(Some(self.more.clone()).filter(|more| !more.is_empty()));
        parts.into_iter().flatten().collect::<Vec<_>>().join(" AND ")
    }

    /// The same for any status and kind: the filter whose counts are shown for each of them. A kind that is only found
    /// when it is named remains in the filter.
    pub(super) fn without_groups(&self) -> Bar {
        let is_hidden = self.kinds.contains(operations::NOTICE_KIND);
        let kinds = if is_hidden { self.kinds.clone() } else { BTreeSet::new() };
        Bar { statuses: BTreeSet::new(), kinds, ..self.clone() }
    }

    /// Whether any of the fields under "More conditions" is set.
    pub(super) fn has_more(&self) -> bool {
        let texts = [&self.from, &self.to, &self.resource_type, &self.resource_id, &self.more];
        texts.iter().any(|text| !text.is_empty()) || !self.labels.is_empty() || !self.projects.is_empty()
    }
}

/// Whether an address has the form of links.
pub(super) fn is_canonical(fields: &Fields) -> bool {
    !fields.has_other_than(&[&FIELDS[..], &["token", "order"]].concat())
}

/// The address of a list: a filter, and the other parameters whose value is not empty.
pub(super) fn url(filter: &str, others: &[(&str, &str)]) -> String {
    let parts = [("filter", filter)].into_iter().chain(others.iter().copied()).filter(|(_, value)| !value.is_empty());
    let parts: Vec<String> = parts.map(|(name, value)| format!("{name}={}", parameter(value))).collect();
    if parts.is_empty() { "/ui/operations".to_owned() } else { format!("/ui/operations?{}", parts.join("&")) }
}

/// The address of the list of operations that have a value of a field.
pub(super) fn url_of(field: &str, text: &str) -> String {
    url(&format!("{field} = {}", value(text)), &[])
}

/// The address of the events of operations with these properties.
pub(super) fn watch_url(parts: &[(&str, &str)]) -> String {
    url("", parts).replacen("/ui/operations", "/v1/operations:watch", 1)
}

/// The filter for operations about a resource.
pub(super) fn of_resource(resource: &operations::Resource) -> String {
    let (resource_type, resource_id) = (resource.resource_type.clone(), resource.resource_id.clone());
    Bar { resource_type, resource_id, ..Bar::default() }.text()
}

/// The address of the list of operations about a resource.
pub(super) fn resource_url(resource: &operations::Resource) -> String {
    url(&of_resource(resource), &[])
}

/// A text as the value of a parameter, in a form that people can read.
pub(super) fn parameter(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string().replace("%20", "+")
}

/// The address of a page with those parameters that have a value.
pub(super) fn address(page: &str, parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<String> = parts.map(|(name, value)| format!("{name}={}", parameter(value))).collect();
    if parts.is_empty() { page.to_owned() } else { format!("{page}?{}", parts.join("&")) }
}

fn status(name: &str) -> Option<Status> {
    let by_number = || name.parse().ok().filter(|_| !name.starts_with('+')).and_then(Status::from_number);
    let by_name = Status::ALL.into_iter().find(|status| status.to_string() == name);
    by_name.or_else(|| Status::from_wire_name(name)).or_else(by_number)
}

fn names() -> String {
    Status::ALL.map(|status| status.to_string()).join(", ")
}

/// The offered range that means the same as a duration before now.
fn range(value: &str) -> Option<&'static str> {
    let duration = value.strip_prefix('-')?;
    let known = ALIASES.iter().find(|(alias, _)| *alias == duration).map_or(duration, |(_, range)| range);
    RANGES.iter().find(|(range, _)| *range == known).map(|(range, _)| *range)
}

fn split_label(label: &str) -> Result<(&str, &str), String> {
    let (key, value) = label.split_once('=').ok_or("must be a key and a value, e.g. team=search")?;
    let (key, value) = (key.trim(), value.trim());
    check_label_key("label", key).map(|()| (key, value)).map_err(|violation| violation.description)
}

/// A time as people type it and as browsers send it: RFC 3339, or without its zone, seconds or time of day.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.replacen(' ', "T", 1);
    ["", "Z", ":00Z", "T00:00:00Z"].iter().find_map(|end| format!("{text}{end}").parse().ok())
}

/// A time without milliseconds that are zero.
fn brief(time: Timestamp) -> String {
    time.to_string().replace(".000Z", "Z")
}

/// A time in the format of the browser's field.
fn shown(time: Timestamp) -> String {
    let brief = brief(time);
    let text = brief.trim_end_matches('Z');
    // Drops seconds that are zero, not minutes.
    let without = text.strip_suffix(":00").filter(|rest| rest.len() == "2026-11-28T04:36".len());
    without.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> (Bar, Wrong) {
        Bar::read(&Fields::parse(query), Timestamp::from_millis(1_800_000_000_000))
    }

    fn text(query: &str) -> String {
        let (bar, wrong) = read(query);
        assert!(wrong.is_empty(), "{query}: {wrong:?}");
        bar.text()
    }

    #[test]
    fn fields_become_a_filter_in_one_order() {
        for (query, filter) in [
            ("", ""),
            ("status=&kind=&label=&filter=", ""),
            ("kind=scan&status=ASYNC_OPERATION_STATUS_FAILED", "status = FAILED AND kind = scan"),
            ("status=4&status=PENDING&status=0", "status = (PENDING OR FAILED)"),
            ("kind=b&kind=a&kind=b", "kind = (a OR b)"),
            ("project=a+b", "project_id = \"a b\""),
            ("since=1h&from=2026-01-02", "created_at >= \"-1h\""),
            (
                "since=range&from=2026-01-02T03:04&to=2026-01-03+00:00:05",
                "created_at >= \"2026-01-02T03:04:00Z\" AND created_at < \"2026-01-03T00:00:05Z\"",
            ),
            ("resource_type=repo&resource_id=a:b", "resource_type = repo AND resource_id = \"a:b\""),
            ("label=team%3Dblue&label=x%3Dy%3Dz", "labels.team = blue AND labels.x = \"y=z\""),
            ("status=FAILED&filter=attempts+>=+2", "status = FAILED AND attempts >= 2"),
            ("filter=attempts+>=+2+AND+status=(FAILED)", "status = FAILED AND attempts >= 2"),
        ] {
            assert_eq!(text(query), filter, "{query}");
            let again = url(filter, &[]).replacen("/ui/operations", "", 1);
            assert_eq!(text(again.trim_start_matches('?')), filter, "{again}");
            assert_eq!(Bar::of(filter).text(), filter);
        }
    }

    #[test]
    fn a_filter_is_shown_by_the_fields_that_there_are() {
        let bar = Bar::of(
            "created_at >= \"-1d\" AND labels.team = blue AND kind != report AND project_id = (a OR b) AND status = RUNNING",
        );
        let wanted = Bar {
            statuses: [Status::Running].into(),
            projects: ["a".to_owned(), "b".to_owned()].into(),
            since: "24h".to_owned(),
            labels: vec!["team=blue".to_owned()],
            more: "kind != report".to_owned(),
            ..Bar::default()
        };
        assert_eq!(bar, wanted);
        let exact = Bar::of("created_at >= \"2026-01-02T03:00:00+01:00\" AND created_at < \"2026-01-02T03:04:05.6Z\"");
        assert_eq!((&*exact.from, &*exact.to), ("2026-01-02T02:00", "2026-01-02T03:04:05.600"));
        for whole in [
            "created_at >= \"-1h\" AND created_at < \"-30m\"",
            "created_at < \"2026-01-02T03:04:05Z\" AND created_at >= \"-1h\"",
            "labels.team = (a OR b)",
            "kind = \" padded \"",
            "project_id = \"\"",
        ] {
            assert_eq!(Bar::of(whole).text(), whole);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_at_its_field_and_kept() {
        for (query, field, says) in [
            ("status=BROKEN", "status", "PENDING, RUNNING"),
            ("from=yesterday", "from", "2026-01-23"),
            ("label=team", "label", "team=search"),
            ("label=Team%3Dx", "label", "lower-case"),
            ("filter=colour+=+red", "filter", "at character 1"),
            ("filter=kind+=", "filter", "the end of the filter"),
            ("status=FAILED&filter=status+=+PENDING", "filter", "excludes every value"),
        ] {
            let (_, wrong) = read(query);
            assert!(wrong.at(field).contains(says), "{query}: {wrong:?}");
        }
        let (bar, _) = read("from=yesterday&label=team&filter=kind+=");
        assert_eq!((&*bar.from, &*bar.labels[0], &*bar.more), ("yesterday", "team", "kind ="));
    }

    #[test]
    fn an_address_can_be_read_by_people() {
        let address = url("status = (PENDING OR RUNNING) AND created_at >= \"-1h\"", &[("size", "50"), ("page", "")]);
        assert_eq!(
            address,
            "/ui/operations?filter=status+=+(PENDING+OR+RUNNING)+AND+created_at+%3E=+%22-1h%22&size=50"
        );
        assert!(is_canonical(&Fields::parse(address.split_once('?').expect("it has a query").1)));
        assert!(!is_canonical(&Fields::parse("kind=scan")));
        assert_eq!(url_of("labels.team", "a&b+c"), "/ui/operations?filter=labels.team+=+%22a%26b%2Bc%22");
    }
}
