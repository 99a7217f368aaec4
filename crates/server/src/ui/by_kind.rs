//! The overview's figures by kind and status: pending and running operations now, and the outcomes of recent ones.

use operations::Status;
use operations::search::value;

use super::filter::{self, parameter};
use super::format::number;
use super::overview::{Paused, Range};
use super::visitor::Visitor;
use crate::app::App;
use crate::calls::search::{self, CountOperations};
use crate::error::ApiError;
use crate::strict::Read;

/// The most kinds that are shown: those with the most operations.
const SHOWN_KINDS: usize = 12;

/// A kind with its figures.
pub(super) struct KindRow {
    pub(super) kind: String,
    /// The address of the overview of this kind.
    pub(super) url: String,
    pub(super) is_paused: bool,
    /// By status.
    pub(super) cells: Vec<Cell>,
}

pub(super) struct Cell {
    pub(super) label: &'static str,
    pub(super) class: &'static str,
    pub(super) figure: String,
    /// The address of the list that it counts; none where the list is empty.
    pub(super) url: Option<String>,
}

/// How many operations of a kind have a status.
struct Count {
    kind: String,
    status: Status,
    count: u64,
}

/// How many operations there are, by kind and status.
pub(super) struct Counted {
    groups: Vec<Count>,
    pub(super) is_exact: bool,
}

impl Counted {
    /// The number of a status, for one kind or for all.
    pub(super) fn of(&self, status: Status, kind: Option<&str>) -> u64 {
        let groups = self.groups.iter().filter(|group| group.status == status);
        groups.filter(|group| kind.is_none_or(|kind| group.kind == kind)).map(|group| group.count).sum()
    }

    /// A count, for people.
    pub(super) fn shown(&self, count: u64) -> String {
        if self.is_exact { number(count) } else { format!("≥ {}", number(count)) }
    }
}

/// Counts the operations that match a filter, of one kind or of all.
pub(super) async fn counted(app: &App, visitor: &Visitor, filter: &str, kind: &str) -> Result<Counted, ApiError> {
    let value = CountOperations { filter: and_kind(filter, kind), group_by: "status,kind".to_owned() };
    let counts = search::count(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    let is_exact = counts.counted.is_exact && counts.groups_left_out == 0;
    let groups = counts.counted.groups.into_iter();
    let groups =
        groups.filter_map(|group| Some(Count { kind: group.kind?, status: group.status?, count: group.count }));
    Ok(Counted { groups: groups.collect(), is_exact })
}

/// The kinds with the most operations, and how many are left out.
pub(super) fn rows(range: Range, by_now: &Counted, lately: &Counted, paused: Option<&Paused>) -> (Vec<KindRow>, usize) {
    let mut sums: Vec<(u64, &str)> = Vec::new();
    let groups = by_now.groups.iter().filter(|group| !group.status.is_terminal()).chain(&lately.groups);
    for group in groups {
        match sums.iter_mut().find(|(_, kind)| *kind == group.kind) {
            Some((sum, _)) => *sum += group.count,
            None => sums.push((group.count, &group.kind)),
        }
    }
    sums.sort_unstable_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    let more = sums.len().saturating_sub(SHOWN_KINDS);
    let rows = sums.into_iter().take(SHOWN_KINDS).map(|(_, kind)| {
        let cell = |label, class, counted: &Counted, status: Status| {
            let count = counted.of(status, Some(kind));
            let url = if status.is_terminal() {
                let status = if status == Status::Failed { "FAILED" } else { "COMPLETED" };
                filter::url(&and_kind(&format!("status = {status} AND created_at >= \"{}\"", range.ago()), kind), &[])
            } else {
                status_url(status, kind)
            };
            Cell { label, class, figure: counted.shown(count), url: (count > 0).then_some(url) }
        };
        KindRow {
            url: format!("/ui?range={}&kind={}", range.names().0, parameter(kind)),
            is_paused: paused.is_some_and(|paused| paused.kinds.iter().any(|other| other.name == kind)),
            cells: vec![
                cell("Waiting", "pending", by_now, Status::Pending),
                cell("Running", "running", by_now, Status::Running),
                cell("Completed", "completed", lately, Status::Completed),
                cell("Failed", "failed", lately, Status::Failed),
            ],
            kind: kind.to_owned(),
        }
    });
    (rows.collect(), more)
}

/// The address of the list of a status.
pub(super) fn status_url(status: Status, kind: &str) -> String {
    filter::url(&and_kind(&format!("status = {status}"), kind), &[])
}

/// A filter, limited to a kind unless it is empty.
pub(super) fn and_kind(filter: &str, kind: &str) -> String {
    match (filter, kind) {
        (filter, "") => filter.to_owned(),
        ("", kind) => format!("kind = {}", value(kind)),
        (filter, kind) => format!("{filter} AND kind = {}", value(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_a_value_of_the_filter_whatever_it_holds() {
        assert_eq!(and_kind("", ""), "");
        assert_eq!(and_kind("", "scan"), "kind = scan");
        assert_eq!(and_kind("status = PENDING", "a\" OR \\"), "status = PENDING AND kind = \"a\\\" OR \\\\\"");
    }
}
