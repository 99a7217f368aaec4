//! Filters of searches, counts, bulk actions and saved views: one grammar for all of them, a bounded part of
//! [AIP-160](https://google.aip.dev/160).
//!
//! A filter consists of comparisons that are joined by `AND`. `OR` and `NOT` are allowed within one field only, so that
//! every filter amounts to one set or one range per field: that is what [`Search`] holds, and what stores can answer
//! from their counters and indexes. [`Search::parse`] reads what people write; `Display` writes a canonical form, which
//! [`FromStr`](std::str::FromStr) reads again.

mod fields;
mod lexer;
mod parse;
mod print;
mod range;
mod set;
#[cfg(test)]
mod tests;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Filter, NOTICE_KIND, Operation, OperationId, Resource, Status, Timestamp, Violation};

pub use range::{Numbers, Times};
pub use set::Set;
pub use written::{Written, value, written};

/// The maximum length of a filter that a caller may send, in bytes.
pub const MAX_FILTER_BYTES: usize = 2_048;
/// The maximum number of comparisons in a filter that a caller may send; a list of values counts as one.
pub const MAX_COMPARISONS: usize = 16;
/// The maximum length of the canonical form, in bytes: quotes, spaces and durations that became times make it longer.
const MAX_CANONICAL_BYTES: usize = 64 * 1024;
/// The maximum length of a label's key, in bytes.
const MAX_LABEL_KEY_BYTES: usize = 63;

/// A parsed filter: which operations match. The default matches every operation except those of the kind
/// [`NOTICE_KIND`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Search {
    /// Their status.
    pub status: Set<Status>,
    /// Their kind. Operations of [`NOTICE_KIND`] match only where this kind is named: see [`Search::means_kind`].
    pub kind: Set<String>,
    /// Their project; the empty text stands for no project.
    pub project_id: Set<String>,
    /// When they were created.
    pub created_at: Times,
    /// When their latest attempt started; an operation that never started is in no bounded range.
    pub started_at: Times,
    /// When they ended; an operation that has not ended is in no bounded range.
    pub finished_at: Times,
    /// The type of their resource; the empty text stands for none.
    pub resource_type: Set<String>,
    /// The id of their resource.
    pub resource_id: Set<String>,
    /// Their ids.
    pub id: Set<OperationId>,
    /// Their unique keys.
    pub unique_key: Set<String>,
    /// The names of the schedules that created them.
    pub schedule: Set<String>,
    /// Values of labels, by the keys of the labels; an operation must match all of them.
    pub labels: BTreeMap<String, Set<String>>,
    /// The worker of their latest attempt; the empty text stands for none.
    pub worker: Set<String>,
    /// The number of attempts that were charged.
    pub attempts: Numbers,
    /// Their priority.
    pub priority: Numbers,
    /// Texts that the error message contains, all of them, case-sensitive.
    pub error_message: BTreeSet<String>,
    /// Texts that the input contains, all of them.
    pub input: BTreeSet<String>,
    /// Texts that the output contains, all of them.
    pub output: BTreeSet<String>,
}

/// What [`Search::matches`] reads: an operation, and what its twelve fields do not hold.
#[derive(Clone, Copy, Debug)]
pub struct Searched<'a> {
    /// The twelve fields.
    pub operation: &'a Operation,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its unique key.
    pub unique_key: Option<&'a str>,
    /// The name of the schedule that created it.
    pub schedule: Option<&'a str>,
    /// The worker of its latest attempt, or empty.
    pub worker: &'a str,
    /// The number of attempts that were charged.
    pub attempts: u32,
    /// Its priority.
    pub priority: i16,
    /// Its input.
    pub input: &'a str,
}

/// Why and where a filter is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidFilter {
    /// The position of the character at which the filter stops being valid; the first is 1.
    pub position: usize,
    /// What is at this position and what would be valid.
    pub problem: String,
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.position, self.problem)
    }
}

impl InvalidFilter {
    /// The same as a violation of a field of a request.
    pub fn violation(&self, field: &str) -> Violation {
        Violation::new(field, self.to_string())
    }
}

impl Search {
    /// Reads a filter as callers write it; the empty text matches every operation. Durations such as `"-1h"` count back
    /// from `now`.
    ///
    /// # Errors
    /// [`InvalidFilter`] for anything outside of the grammar: nothing is ignored.
    pub fn parse(filter: &str, now: Timestamp) -> Result<Search, InvalidFilter> {
        if filter.len() > MAX_FILTER_BYTES {
            let position = filter.char_indices().take_while(|(at, _)| *at < MAX_FILTER_BYTES).count() + 1;
            let problem = format!("the filter is {} bytes long; at most {MAX_FILTER_BYTES} are allowed", filter.len());
            return Err(InvalidFilter { position, problem });
        }
        parse::parse(filter, Some(now), MAX_COMPARISONS)
    }

    /// Whether operations of this kind can match. There are many notices and few people want to see them, so they do
    /// not match unless their kind is named by `=`.
    pub fn means_kind(&self, kind: &str) -> bool {
        match &self.kind {
            Set::Among(kinds) => kinds.contains(kind),
            Set::Except(kinds) => kind != NOTICE_KIND && !kinds.contains(kind),
        }
    }

    /// Whether the operation matches. The queries of the stores have exactly this meaning.
    pub fn matches(&self, searched: Searched<'_>) -> bool {
        let operation = searched.operation;
        let (resource_type, resource_id) =
            operation.resource.as_ref().map_or(("", ""), |of| (of.resource_type.as_str(), of.resource_id.as_str()));
        let contains = |wanted: &BTreeSet<String>, text: &str| wanted.iter().all(|part| text.contains(part));
        let is_among =
            |wanted: &Set<String>, has: Option<&str>| wanted.is_any() || has.is_some_and(|text| wanted.contains(text));
        self.status.contains(&operation.status)
            && self.means_kind(&operation.kind)
            && self.project_id.contains(operation.project_id.as_str())
            && self.created_at.contains(Some(operation.created_at))
            && self.started_at.contains(operation.started_at)
            && self.finished_at.contains(operation.finished_at)
            && self.resource_type.contains(resource_type)
            && self.resource_id.contains(resource_id)
            && self.id.contains(&operation.id)
            && is_among(&self.unique_key, searched.unique_key)
            && is_among(&self.schedule, searched.schedule)
            && self
                .labels
                .iter()
                .all(|(key, values)| searched.labels.get(key).is_some_and(|value| values.contains(value.as_str())))
            && self.worker.contains(searched.worker)
            && self.attempts.contains(searched.attempts.into())
            && self.priority.contains(searched.priority.into())
            && contains(&self.error_message, &operation.error_message)
            && contains(&self.input, searched.input)
            && contains(&self.output, &operation.output)
    }

    /// The name of the first field in the filter that neither a counter nor an index serves, if there is one: the store
    /// checks this field row by row.
    pub fn looked_at_by_row(&self) -> Option<&'static str> {
        let resource = !self.resource_type.is_any() || !self.resource_id.is_any();
        [
            ("finished_at", !self.finished_at.is_any()),
            ("started_at", !self.started_at.is_any()),
            ("worker", !self.worker.is_any()),
            ("attempts", !self.attempts.is_any()),
            ("priority", !self.priority.is_any()),
            ("error_message", !self.error_message.is_empty()),
            ("input", !self.input.is_empty()),
            ("output", !self.output.is_empty()),
            // A resource is found only by both of its parts together.
            ("resource_type", resource && self.resource_id.is_any()),
            ("resource_id", resource && self.resource_type.is_any()),
        ]
        .into_iter()
        .find_map(|(field, is_asked_for)| is_asked_for.then_some(field))
    }

    /// Whether an index keeps the number of rows small that the store reads: a lower bound of the creation time, a
    /// resource, an id, a unique key, a schedule, a label, or a status that means that the operation has not ended.
    pub fn is_bounded(&self) -> bool {
        let has_not_ended = match &self.status {
            Set::Among(statuses) => statuses.iter().all(|status| !status.is_terminal()),
            Set::Except(statuses) => Status::ALL.iter().all(|of| !of.is_terminal() || statuses.contains(of)),
        };
        self.created_at.from.is_some() || self.is_by_index() || has_not_ended
    }

    /// Whether the filter names a resource, an id, a unique key, a schedule or a label, which have indexes of their
    /// own.
    pub fn is_by_index(&self) -> bool {
        let is_resource = !self.resource_type.is_any() && !self.resource_id.is_any();
        is_resource
            || !self.id.is_any()
            || !self.unique_key.is_any()
            || !self.schedule.is_any()
            || !self.labels.is_empty()
    }

    /// The same as the [`Filter`] of a list, if this is a list of one resource: with any status or one, any kind or
    /// one, and no other conditions except for projects, which the filter of a list does not have.
    pub fn of_one_resource(&self) -> Option<Filter> {
        let resource =
            Resource { resource_type: self.resource_type.one()?.clone(), resource_id: self.resource_id.one()?.clone() };
        let status = if self.status.is_any() { None } else { Some(*self.status.one()?) };
        let kind = if self.kind.is_any() { None } else { Some(self.kind.one()?.clone()) };
        let rest = Search {
            status: Set::default(),
            kind: Set::default(),
            project_id: Set::default(),
            resource_type: Set::default(),
            resource_id: Set::default(),
            ..self.clone()
        };
        let has_resource = !resource.resource_type.is_empty();
        (rest == Search::default() && has_resource).then_some(Filter { status, kind, resource: Some(resource) })
    }

    /// Refuses a filter for which the store would have to read all operations one by one.
    ///
    /// # Errors
    /// A violation of the field `filter` that names what to add.
    pub fn check_cost(&self) -> Result<(), Violation> {
        match self.looked_at_by_row() {
            Some(field) if !self.is_bounded() => Err(Violation::new(
                "filter",
                format!(
                    "{field} is checked operation by operation, so the filter must also limit the operations: add \
                     created_at >= a time or a duration such as \"-24h\", status = (PENDING OR RUNNING), or a \
                     comparison with id, unique_key, schedule, a label, or resource_type and resource_id together"
                ),
            )),
            _ => Ok(()),
        }
    }
}
