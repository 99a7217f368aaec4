//! Searching and counting operations by a [`Search`], alike in both engines.
//!
//! What a filter costs depends on what serves it:
//!
//! - **Counters** serve status, kind, project and the time of creation. Numbers are given in the order of creations, so
//!   a range of times is a few ranges of numbers: buckets that lie inside of it are counted by their counters, those at
//!   its edges operation by operation ([`cover`]). Counts are exact, and every page costs about the same.
//! - **An index** serves a resource, an id, a unique key and labels: its operations are checked, at most
//!   [`LOOKED_AT`] of them. A page of one resource, with at most one status and at most one kind, is a page of the
//!   list, which has counters for resources with many operations.
//! - **Everything else** is checked operation by operation, at most [`LOOKED_AT`] per call, from the end of the list
//!   where the call begins. [`Search::check_cost`] refuses searches that nothing bounds.
//!
//! Each call reads one snapshot. The engines say how a statement is carried out in it ([`Snapshot`]); this module says
//! which statements, and what happens to their rows.

mod cover;
mod cursor;
mod find;
mod plan;
mod sql;
mod tally;
mod times;

use std::ops::Range;

use async_trait::async_trait;
use operations::{Access, Filter, OperationId, PageRequest, Search, Status, Violation};

use crate::{OperationDetail, StoreError};

pub(crate) use cover::{fill, next_number};
pub(crate) use find::{count, matching, search};
pub(crate) use sql::{Cell, Column, Dialect, Sql, Value};
pub(crate) use tally::Delta;
pub(crate) use times::TimesCache;

pub use cursor::InvalidCursor;

/// The most operations that a call checks one by one.
pub const LOOKED_AT: u32 = 100_000;

/// The order in which operations are found: by their number, which is the order of creations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SearchOrder {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchStart {
    /// At the entry with this number times the size of a page.
    Page(u32),
    /// After what was seen before.
    After(SearchCursor),
}

/// A cursor in the results of a search. Clients see it sealed: [`crate::PositionKey::seal_search`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchCursor {
    /// The number of the last operation that was checked.
    pub(crate) seq: i64,
    /// How many were found before.
    pub(crate) passed: u32,
    /// The time from which durations in the filter count back, in seconds since the epoch, so that the filter stays the
    /// same.
    pub(crate) now: u32,
}

/// A page of what matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// The filter.
    pub search: Search,
    /// In which order.
    pub order: SearchOrder,
    /// From where on.
    pub start: SearchStart,
    /// Entries; at least 1.
    pub page_size: u32,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPage<T = OperationDetail> {
    /// In the requested order.
    pub found: Vec<T>,
    /// How many operations match; at least this many where that is not exact.
    pub total: u64,
    /// Whether there are no more of them.
    pub total_is_exact: bool,
    /// Where the next page begins; `None` when everything was checked. A page may be empty and have a next one.
    pub next: Option<SearchCursor>,
}

/// By which fields operations are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupBy {
    /// By status.
    pub status: bool,
    /// By kind.
    pub kind: bool,
    /// By project.
    pub project_id: bool,
}

/// How many operations of a group there are. Fields that were not requested are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountGroup {
    /// Their status.
    pub status: Option<Status>,
    /// Their kind.
    pub kind: Option<String>,
    /// Their project; the empty text is none.
    pub project_id: Option<String>,
    /// How many; at least one.
    pub count: u64,
}

impl SearchPage<i64> {
    /// The same with everything that is known of the operations of these numbers, in their order, from the same
    /// snapshot.
    pub(crate) fn with(self, details: Vec<Option<OperationDetail>>) -> SearchPage {
        let SearchPage { total, total_is_exact, next, .. } = self;
        SearchPage { found: details.into_iter().flatten().collect(), total, total_is_exact, next }
    }
}

/// How many operations match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The groups that have any: those with most operations first, then by status, kind and project.
    pub groups: Vec<CountGroup>,
    /// The sum of all groups.
    pub total: u64,
    /// Whether these are all; else there are at least this many.
    pub is_exact: bool,
}

/// Operations that match, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Their numbers and ids.
    pub found: Vec<(i64, OperationId)>,
    /// The number below which to continue; `None` when everything was checked.
    pub next_below: Option<i64>,
}

/// Finding and counting operations.
#[async_trait]
pub trait SearchOperations: Send + Sync {
    /// Whether texts are encrypted before they are stored, so that they cannot be searched.
    fn are_texts_sealed(&self) -> bool {
        false
    }

    /// Refuses a search that would have to check everything, or encrypted texts.
    ///
    /// # Errors
    /// A violation of the field `filter` that says what to do instead.
    fn check_search(&self, search: &Search) -> Result<(), Violation> {
        let texts = [("error_message", &search.error_message), ("input", &search.input), ("output", &search.output)];
        match texts.iter().find(|(_, texts)| !texts.is_empty()) {
            Some((field, _)) if self.are_texts_sealed() => Err(Violation::new(
                "filter",
                format!("{field} cannot be searched: this server encrypts inputs, outputs and messages at rest"),
            )),
            _ => search.check_cost(),
        }
    }

    /// A page of the operations that may be seen and match, with how many there are, from one snapshot. Inputs and
    /// outputs that are longer than [`LISTED_OUTPUT_BYTES`](crate::LISTED_OUTPUT_BYTES), as they are stored, are left
    /// out.
    ///
    /// The caller has checked [`SearchOperations::check_search`].
    async fn search(&self, access: &Access, request: &SearchRequest) -> Result<SearchPage, StoreError>;

    /// How many operations may be seen and match, by groups, from one snapshot.
    async fn count_matching(&self, access: &Access, search: &Search, by: GroupBy) -> Result<Counted, StoreError>;

    /// Up to `limit` operations that may be seen and match, among those with these numbers, newest first.
    async fn matching_ids(
        &self,
        access: &Access,
        search: &Search,
        numbers: Range<i64>,
        limit: u32,
    ) -> Result<Matching, StoreError>;

    /// The number that the organization's next operation gets: all existing ones have lower numbers. 1 when there is no
    /// such organization.
    async fn next_number(&self, organization: &str) -> Result<i64, StoreError>;

    /// Notes when the operations of buckets that have become full were created: up to `limit` buckets of every
    /// organization. Answers how many; 0 when there are no more.
    async fn note_times(&self, limit: u32) -> Result<u64, StoreError>;
}

/// A snapshot of one organization in one engine.
pub(crate) trait Snapshot {
    /// How its statements are written.
    fn dialect(&self) -> &'static Dialect;

    /// Carries out a statement; answers its rows, whose columns are these.
    fn rows(
        &mut self,
        sql: Sql,
        columns: &'static [Column],
    ) -> impl Future<Output = Result<Vec<Vec<Cell>>, StoreError>>;

    /// [`next_number`], and the counts that are not in the counters yet.
    fn start(&mut self, organization: &str) -> impl Future<Output = Result<(i64, Vec<Delta>), StoreError>>;

    /// The numbers of a page of the list, newest first, and how many operations it has in all.
    fn list(
        &mut self,
        access: &Access,
        filter: &Filter,
        page: PageRequest,
    ) -> impl Future<Output = Result<(Vec<i64>, u64), StoreError>>;
}
