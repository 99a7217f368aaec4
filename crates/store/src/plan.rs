//! How a page is found, the same for every engine: which tables hold what matches, and between which numbers it lies.
//!
//! The engines only differ in how they count (`counts`) and how they write the ranges as SQL.

use operations::page::{LEVEL_1_SHIFT, LEVEL_2_SHIFT, Place, locate};
use operations::{Filter, PageRequest, Status};

use crate::StoreError;

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The smallest sequence number that the page can have.
    pub(crate) lower: i64,
    /// The largest sequence number to look at.
    pub(crate) upper: i64,
    /// The matching operations to skip, from `upper` down.
    pub(crate) skip: u64,
}

/// Level-1 buckets in one of level 2.
const FINE_PER_COARSE: i64 = 1 << (LEVEL_2_SHIFT - LEVEL_1_SHIFT);

/// Matching operations per bucket, newest bucket first, of the level and between the buckets asked for.
pub(crate) type Counts = Vec<(i64, u64)>;

/// The first step: level-2 buckets, all of them.
pub(crate) struct Coarse(Counts);

impl Coarse {
    /// The bounds of the level-2 buckets: all.
    pub(crate) const ALL: (i64, i64) = (0, i64::MAX);

    pub(crate) fn new(counts: Counts) -> Coarse {
        Coarse(counts)
    }

    /// How many operations match.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    /// The ranges of level-1 buckets (first, last) that the page can touch, newest first: mostly one, more where it
    /// reaches over the lower end of a level-2 bucket. Empty when the page lies past the end.
    pub(crate) fn fine_ranges(&self, page: PageRequest) -> Vec<(i64, i64)> {
        let Some(start) = locate(self.0.iter().copied(), page.offset()) else { return Vec::new() };
        let wanted = start.skip + u64::from(page.page_size);
        let mut counted = 0;
        let mut ranges = Vec::new();
        for (bucket, n) in self.0.iter().skip_while(|(bucket, _)| *bucket != start.bucket) {
            let first = bucket * FINE_PER_COARSE;
            ranges.push((first, first + FINE_PER_COARSE - 1));
            counted += n;
            if counted >= wanted {
                break;
            }
        }
        ranges
    }

    /// The span of the page, by the counts of [`Coarse::fine_ranges`] in their order.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the levels do not agree.
    pub(crate) fn span(&self, fine: &Counts, page: PageRequest) -> Result<Span, StoreError> {
        let damaged = || StoreError::Unusable("the counters do not add up; run longrun doctor".to_owned());
        let start = locate(self.0.iter().copied(), page.offset()).ok_or_else(damaged)?;
        let Place { bucket, skip } = locate(fine.iter().copied(), start.skip).ok_or_else(damaged)?;
        let last = locate(fine.iter().copied(), start.skip + u64::from(page.page_size) - 1);
        let lowest = last.map(|place| place.bucket).or(fine.last().map(|(bucket, _)| *bucket)).unwrap_or_default();
        Ok(Span { lower: lowest << LEVEL_1_SHIFT, upper: ((bucket + 1) << LEVEL_1_SHIFT) - 1, skip })
    }
}

/// Part of a table that holds some of what matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// What is pending or running, or only the pending.
    Active(Option<Status>),
    /// What is running, by its leases.
    Leased,
    /// What has ended, or only in one way.
    Settled(Option<Status>),
}

/// The parts of tables that together hold exactly what matches; each is one index range (one per project).
pub(crate) fn tables(filter: &Filter) -> Vec<Table> {
    let by_resource = filter.resource.is_some();
    match filter.status {
        None if by_resource => vec![Table::Active(None), Table::Settled(None)],
        None => {
            vec![Table::Active(None), Table::Settled(Some(Status::Completed)), Table::Settled(Some(Status::Failed))]
        }
        // Few run at a time, and each of those has a lease: through them they are found among many that wait.
        Some(Status::Running) if !by_resource => vec![Table::Leased],
        Some(status) if status.is_terminal() => vec![Table::Settled(Some(status))],
        Some(status) => vec![Table::Active(Some(status))],
    }
}
