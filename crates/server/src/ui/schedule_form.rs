//! The form of a schedule: its input, and the request that it becomes.
//!
//! It is converted to the JSON of the API, which is read and checked like any other request.

use std::collections::BTreeMap;
use std::time::Duration;

use operations::schedule::NewSchedule;
use operations::{Concurrency, Labels, Resource, Violation};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::form::Fields;
use super::format::pretty;
use crate::calls::duration;
use crate::error::ApiError;

/// The content of the fields.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) name: String,
    pub(super) cron: String,
    pub(super) every: String,
    pub(super) time_zone: String,
    pub(super) overlap: String,
    pub(super) catch_up: String,
    pub(super) jitter: String,
    pub(super) paused: bool,
    pub(super) kind: String,
    pub(super) input: String,
    pub(super) resource_type: String,
    pub(super) resource_id: String,
    pub(super) project_id: String,
    pub(super) project_version_id: String,
    /// One per line, each `key=value`.
    pub(super) labels: String,
    pub(super) priority: String,
    pub(super) timeout: String,
    pub(super) max_attempts: String,
    pub(super) retain_for: String,
    pub(super) concurrency_key: String,
    pub(super) concurrency_limit: String,
}

impl Typed {
    pub(super) fn of(fields: &Fields) -> Typed {
        let one = |name: &str| fields.one(name).to_owned();
        Typed {
            name: one("name"),
            cron: one("cron"),
            every: one("every"),
            time_zone: one("time_zone"),
            overlap: one("overlap"),
            catch_up: one("catch_up"),
            jitter: one("jitter"),
            paused: fields.has("paused"),
            kind: one("kind"),
            input: fields.text("input"),
            resource_type: one("resource_type"),
            resource_id: one("resource_id"),
            project_id: one("project_id"),
            project_version_id: one("project_version_id"),
            labels: fields.text("labels"),
            priority: one("priority"),
            timeout: one("timeout"),
            max_attempts: one("max_attempts"),
            retain_for: one("retain_for"),
            concurrency_key: one("concurrency_key"),
            concurrency_limit: one("concurrency_limit"),
        }
    }

    /// The body of a creation.
    ///
    /// # Errors
    /// What cannot be expressed in JSON, by the fields of the API.
    pub(super) fn creation(&self) -> Result<String, ApiError> {
        let mut body = self.timing();
        body.insert("name".to_owned(), json!(self.name));
        put(&mut body, "time_zone", &self.time_zone);
        put(&mut body, "jitter", &seconds(&self.jitter));
        if self.paused {
            body.insert("paused".to_owned(), json!(true));
        }
        self.with_operation(body)
    }

    /// The body of a change: it contains all fields of the form, since fields that are left out would not change.
    ///
    /// # Errors
    /// As for [`Typed::creation`].
    pub(super) fn change(&self) -> Result<String, ApiError> {
        let mut body = self.timing();
        if body.is_empty() || (self.cron.is_empty() && self.every.is_empty()) {
            return Err(ApiError::field("cron", "must be given, or every"));
        }
        let zone = if self.cron.is_empty() || !self.time_zone.is_empty() { &self.time_zone } else { "UTC" };
        put(&mut body, "time_zone", zone);
        let jitter = if self.jitter.is_empty() { "0s" } else { &self.jitter };
        put(&mut body, "jitter", &seconds(jitter));
        self.with_operation(body)
    }

    fn timing(&self) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "cron", &self.cron);
        put(&mut body, "every", &seconds(&self.every));
        put(&mut body, "overlap", &self.overlap);
        put(&mut body, "catch_up", &self.catch_up);
        body
    }

    fn with_operation(&self, mut body: Map<String, Value>) -> Result<String, ApiError> {
        let mut wrong = Vec::new();
        let mut operation = Map::new();
        operation.insert("kind".to_owned(), json!(self.kind));
        for (name, text) in [
            ("resource_type", &self.resource_type),
            ("resource_id", &self.resource_id),
            ("project_id", &self.project_id),
            ("project_version_id", &self.project_version_id),
            ("timeout", &seconds(&self.timeout)),
            ("retain_for", &seconds(&self.retain_for)),
            ("concurrency_key", &self.concurrency_key),
        ] {
            put(&mut operation, name, text);
        }
        for (name, text) in [
            ("priority", &self.priority),
            ("max_attempts", &self.max_attempts),
            ("concurrency_limit", &self.concurrency_limit),
        ] {
            // A text that is not a number is refused when the request is read.
            let number = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
            Some(text).filter(|text| !text.is_empty()).map(|text| operation.insert(name.to_owned(), number(text)));
        }
        match labels(&self.labels) {
            Ok(labels) if labels.is_empty() => {}
            Ok(labels) => drop(operation.insert("labels".to_owned(), json!(labels))),
            Err(problem) => wrong.push(Violation::new("operation.labels", problem)),
        }
        let input = self.input.trim();
        let raw = Some(input).filter(|input| !input.is_empty()).map(serde_json::from_str::<&RawValue>).transpose();
        if let Err(error) = &raw {
            wrong.push(Violation::new("operation.input", format!("is not JSON: {error}")));
        }
        if !wrong.is_empty() {
            return Err(ApiError::Invalid(wrong));
        }
        let mut operation = Value::from(operation).to_string();
        if let Ok(Some(raw)) = raw {
            // As it was typed, digit for digit.
            operation.pop();
            operation = format!("{operation},\"input\":{raw}}}");
        }
        body.remove("operation");
        let mut whole = Value::from(body).to_string();
        whole.pop();
        let comma = if whole == "{" { "" } else { "," };
        Ok(format!("{whole}{comma}\"operation\":{operation}}}"))
    }
}

impl From<&NewSchedule> for Typed {
    fn from(wanted: &NewSchedule) -> Typed {
        let of = &wanted.operation;
        let Resource { resource_type, resource_id } = of
            .resource
            .clone()
            .unwrap_or_else(|| Resource { resource_type: String::new(), resource_id: String::new() });
        let is_given = |duration: &Duration| !duration.is_zero();
        let concurrency = of.concurrency.as_ref();
        Typed {
            name: wanted.name.clone(),
            cron: wanted.cron.clone(),
            every: wanted.every.map(span).unwrap_or_default(),
            time_zone: wanted.time_zone.clone(),
            overlap: wanted.overlap.name().to_owned(),
            catch_up: wanted.catch_up.name().to_owned(),
            jitter: Some(wanted.jitter).filter(is_given).map(span).unwrap_or_default(),
            paused: wanted.paused,
            kind: of.kind.clone(),
            input: pretty(&of.input),
            resource_type,
            resource_id,
            project_id: of.project_id.clone(),
            project_version_id: of.project_version_id.clone(),
            labels: of.labels.iter().map(|(key, value)| format!("{key}={value}\n")).collect(),
            priority: Some(of.priority).filter(|priority| *priority != 0).map(|n| n.to_string()).unwrap_or_default(),
            timeout: of.timeout.map(span).unwrap_or_default(),
            max_attempts: of.max_attempts.to_string(),
            retain_for: of.retain_for.map(span).unwrap_or_default(),
            concurrency_key: concurrency.map(|Concurrency { key, .. }| key.clone()).unwrap_or_default(),
            concurrency_limit: concurrency.map(|of| of.limit.to_string()).unwrap_or_default(),
        }
    }
}

fn put(body: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        body.insert(name.to_owned(), json!(text));
    }
}

/// Lines with a key and a value each.
fn labels(text: &str) -> Result<Labels, String> {
    let mut labels = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let split = line.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
        let (key, value) =
            split.ok_or_else(|| format!("{line:?} is not a label; write key=value, e.g. team=search"))?;
        if labels.insert(key.clone(), value).is_some() {
            return Err(format!("{key:?} is given twice"));
        }
    }
    Ok(labels)
}

/// The units of durations as people type them, with their seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Converts a duration as people type it, `1h30m`, to that of the API, `5400s`; a text that is not a duration does not
/// change, and will be refused.
fn seconds(text: &str) -> String {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit()).and_then(|at| {
            let (number, tail) = rest.split_at(at);
            let unit = tail.chars().next()?;
            let (_, of) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let seconds = number.parse::<u64>().ok()?.checked_mul(*of)?;
            Some((total.checked_add(seconds)?, tail[unit.len_utf8()..].trim_start()))
        });
        let Some((sum, tail)) = unit else { return text.to_owned() };
        (total, rest) = (sum, tail);
    }
    if text.is_empty() { String::new() } else { format!("{total}s") }
}

/// A duration as people type it.
pub(super) fn span(of: Duration) -> String {
    if of.subsec_nanos() > 0 || of.is_zero() {
        return duration::write(of);
    }
    let mut left = of.as_secs();
    let mut text = String::new();
    for (name, seconds) in UNITS {
        if left >= seconds {
            text.push_str(&format!("{}{name}", left / seconds));
            left %= seconds;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_typed_with_units() {
        for (typed, sent) in [
            ("", ""),
            ("90s", "90s"),
            ("5m", "300s"),
            ("1h30m", "5400s"),
            ("1d 2h", "93600s"),
            ("1.5s", "1.5s"),
            ("soon", "soon"),
            ("5", "5"),
            ("99999999999999999999d", "99999999999999999999d"),
        ] {
            assert_eq!(seconds(typed), sent, "{typed}");
        }
        assert_eq!([90, 3_600, 93_600].map(|s| span(Duration::from_secs(s))), ["1m30s", "1h", "1d2h"]);
        assert_eq!(span(Duration::from_millis(1_500)), "1.5s");
    }

    #[test]
    fn what_was_typed_becomes_the_body_of_the_api() {
        let typed = Typed {
            name: "nightly".to_owned(),
            every: "1h".to_owned(),
            kind: "scan".to_owned(),
            input: "{\"n\": 1.000}".to_owned(),
            labels: "team = search\n\nx=y=z".to_owned(),
            priority: "high".to_owned(),
            max_attempts: "3".to_owned(),
            ..Typed::default()
        };
        let body = typed.creation().expect("it can be written as JSON");
        let value: Value = serde_json::from_str(&body).expect("it is JSON");
        let labels = json!({"team": "search", "x": "y=z"});
        assert_eq!(value["operation"]["labels"], labels);
        assert_eq!((&value["every"], &value["operation"]["max_attempts"]), (&json!("3600s"), &json!(3)));
        assert_eq!(value["operation"]["priority"], "high", "the API says what is wrong with it");
        assert!(body.contains("{\"n\": 1.000}"), "{body}");
        let change: Value = serde_json::from_str(&typed.change().expect("as well")).expect("it is JSON");
        assert_eq!((change.get("name"), &change["jitter"]), (None, &json!("0s")));
        let Err(ApiError::Invalid(wrong)) =
            Typed { input: "{".to_owned(), labels: "team".to_owned(), ..typed }.creation()
        else {
            panic!("neither is valid")
        };
        let fields: Vec<&str> = wrong.iter().map(|violation| &*violation.field).collect();
        assert_eq!(fields, ["operation.labels", "operation.input"]);
    }
}
