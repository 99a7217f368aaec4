//! Pagination: zero-based pages over a newest-first list, and the arithmetic of counted pages.
//!
//! Operations of an organisation are numbered 1, 2, 3 … (their *sequence*). Stores keep exact counts of operations per
//! *bucket* of the sequence on two levels, so that a page deep in a list is reached by skipping whole buckets: first
//! level-2 buckets (2^20 numbers), then level-1 buckets (2^12 numbers) inside the one reached, then at most
//! 4,096 rows. [`locate`] is that skip, for either level.

/// Sequence numbers per level-1 bucket, as a shift: 4,096, the most rows that a page read skips one by one.
pub const LEVEL_1_SHIFT: u32 = 12;
/// Sequence numbers per level-2 bucket, as a shift: 1,048,576, so that 10 million operations are ten buckets.
pub const LEVEL_2_SHIFT: u32 = 20;

/// The default of [`PageRequest::page_size`].
pub const DEFAULT_PAGE_SIZE: u32 = 50;
/// The default of the most entries a page may have.
pub const MAX_PAGE_SIZE: u32 = 100;

/// The largest `total_count` on the wire, an int32.
const WIRE_MAX: u64 = i32::MAX as u64;

/// Which page of a list: page k starts at item k × `page_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Zero-based.
    pub page: u32,
    /// Entries per page; at least 1.
    pub page_size: u32,
}

impl PageRequest {
    /// How many matching operations stand before the page.
    pub const fn offset(self) -> u64 {
        self.page as u64 * self.page_size as u64
    }
}

impl Default for PageRequest {
    fn default() -> PageRequest {
        PageRequest { page: 0, page_size: DEFAULT_PAGE_SIZE }
    }
}

/// Where a page stands in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageInfo {
    /// How many operations match, exactly, in the snapshot from which the page was read.
    pub total_count: u64,
    /// The page that was asked for.
    pub request: PageRequest,
}

impl PageInfo {
    /// `total_count` as an int32, held at 2147483647.
    pub fn wire_total_count(self) -> i32 {
        i32::try_from(self.total_count.min(WIRE_MAX)).expect("held within int32")
    }

    /// How many pages there are: ⌈total / size⌉, 0 when nothing matches; held at 2147483647.
    pub fn wire_total_pages(self) -> i32 {
        let pages = self.total_count.div_ceil(u64::from(self.request.page_size.max(1)));
        i32::try_from(pages.min(WIRE_MAX)).expect("held within int32")
    }
}

/// The bucket in which `seq` lies, for a level given by its shift.
pub const fn bucket(seq: i64, shift: u32) -> i64 {
    seq >> shift
}

/// A place in a list of counted buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket reached.
    pub bucket: i64,
    /// How many of its matching operations, newest first, stand before the place.
    pub skip: u64,
}

/// Skips `offset` matching operations over counted buckets, newest first.
///
/// `counts` are (bucket, matching operations in it), newest bucket first; buckets without any may be left out.
/// `None` when `offset` lies at or past the end.
pub fn locate(counts: impl IntoIterator<Item = (i64, u64)>, offset: u64) -> Option<Place> {
    let mut skip = offset;
    for (bucket, count) in counts {
        if skip < count {
            return Some(Place { bucket, skip });
        }
        skip -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn info(total_count: u64, page_size: u32) -> PageInfo {
        PageInfo { total_count, request: PageRequest { page: 0, page_size } }
    }

    #[test]
    fn total_pages_is_the_ceiling_and_zero_for_nothing() {
        assert_eq!(info(0, 50).wire_total_pages(), 0);
        assert_eq!(info(1, 50).wire_total_pages(), 1);
        assert_eq!(info(50, 50).wire_total_pages(), 1);
        assert_eq!(info(51, 50).wire_total_pages(), 2);
    }

    #[test]
    fn counts_saturate_at_int32() {
        assert_eq!(info(u64::MAX, 1).wire_total_count(), i32::MAX);
        assert_eq!(info(u64::MAX, 1).wire_total_pages(), i32::MAX);
        let last = PageRequest { page: i32::MAX.unsigned_abs(), page_size: u32::MAX };
        assert!(last.offset() > WIRE_MAX, "offsets do not overflow");
    }

    proptest! {
        /// Two levels of counted buckets lead to the very row that counting one by one finds.
        #[test]
        fn locating_by_buckets_equals_counting_rows(
            seqs in proptest::collection::btree_set(1..5_000_000i64, 0..200),
            offset in 0..220u64,
        ) {
            let newest_first: Vec<i64> = seqs.iter().rev().copied().collect();
            let counts = |shift: u32, within: Option<i64>| {
                let mut counts = BTreeMap::<i64, u64>::new();
                for seq in &newest_first {
                    if within.is_none_or(|b| bucket(*seq, LEVEL_2_SHIFT) == b) {
                        *counts.entry(bucket(*seq, shift)).or_default() += 1;
                    }
                }
                counts.into_iter().rev()
            };
            let found = locate(counts(LEVEL_2_SHIFT, None), offset).map(|coarse| {
                let fine = locate(counts(LEVEL_1_SHIFT, Some(coarse.bucket)), coarse.skip).expect("counts agree");
                let upper = (fine.bucket + 1) << LEVEL_1_SHIFT;
                let mut rows = newest_first.iter().filter(|seq| **seq < upper).skip(usize::try_from(fine.skip).expect("small"));
                *rows.next().expect("the place exists")
            });
            let naive = newest_first.get(usize::try_from(offset).expect("small")).copied();
            prop_assert_eq!(found, naive);
        }
    }
}
