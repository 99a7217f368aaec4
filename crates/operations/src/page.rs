//! Pagination: zero-based pages over a newest-first list, and the arithmetic of counted pages.
//!
//! Operations of an organization are numbered 1, 2, 3 … (their *sequence*). Stores keep exact counts of operations per
//! *bucket* of the sequence on three levels ([`LEVELS`]), so that a page deep in a list is reached by skipping whole
//! buckets: first buckets of 2^20 numbers, then, inside the bucket that is reached, buckets of 2^16, then of 2^12, then
//! at most 4,096 rows.

/// The levels of buckets with counts, coarsest first: a bucket of level `l` has 2^`l` numbers, and 16 buckets make one
/// bucket of the next coarser level. Ten million operations are ten buckets of the coarsest level.
pub const LEVELS: [u32; 3] = [20, 16, FINEST];
/// The finest level: 4,096 numbers, which is the most rows that reading a page skips one by one.
pub const FINEST: u32 = 12;

/// The default of [`PageRequest::page_size`].
pub const DEFAULT_PAGE_SIZE: u32 = 50;
/// The default upper limit of the entries of a page.
pub const MAX_PAGE_SIZE: u32 = 100;

/// The largest `total_count` that is sent, an int32.
const WIRE_MAX: u64 = i32::MAX as u64;

/// Which page of a list: page k starts at item k × `page_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// Zero-based.
    pub page: u32,
    /// Entries per page; at least 1.
    pub page_size: u32,
}

impl PageRequest {
    /// How many matching operations precede the page.
    pub const fn offset(self) -> u64 {
        self.page as u64 * self.page_size as u64
    }
}

impl Default for PageRequest {
    fn default() -> PageRequest {
        PageRequest { page: 0, page_size: DEFAULT_PAGE_SIZE }
    }
}

/// The position of a page in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageInfo {
    /// How many operations match, exactly, in the snapshot from which the page was read.
    pub total_count: u64,
    /// The page that was requested.
    pub request: PageRequest,
}

impl PageInfo {
    /// `total_count` as an int32, capped at 2147483647.
    pub fn wire_total_count(self) -> i32 {
        i32::try_from(self.total_count.min(WIRE_MAX)).expect("capped at the largest int32")
    }

    /// The number of pages: ⌈total / size⌉, 0 when nothing matches; capped at 2147483647.
    pub fn wire_total_pages(self) -> i32 {
        let pages = self.total_count.div_ceil(u64::from(self.request.page_size.max(1)));
        i32::try_from(pages.min(WIRE_MAX)).expect("capped at the largest int32")
    }
}

/// The bucket of a level in which `seq` lies.
pub const fn bucket(seq: i64, level: u32) -> i64 {
    seq >> level
}

#[cfg(test)]
mod tests {
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
}
