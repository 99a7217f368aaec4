//! Cursors in the results of a search, as clients see them: sealed like cursors of the change log, and bound to the
//! filter and the order for which they were given.

use super::{SearchCursor, SearchOrder};
use crate::{Position, PositionKey};

/// The text is not a cursor of this search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a page token of this filter and order")]
pub struct InvalidCursor;

impl SearchCursor {
    /// The place after the operation of this number, with this many found up to there.
    pub(super) fn after(seq: i64, passed: u64) -> SearchCursor {
        SearchCursor { seq, passed: u32::try_from(passed).unwrap_or(u32::MAX), now: 0 }
    }

    /// The same place for a filter whose durations count back from this time, in seconds since the epoch.
    #[must_use]
    pub fn with_now(self, now: u32) -> SearchCursor {
        SearchCursor { now, ..self }
    }

    /// The time from which durations in the filter count back, in seconds since the epoch.
    pub fn now(self) -> u32 {
        self.now
    }
}

impl PositionKey {
    /// A cursor in the results of a filter, as the caller wrote it, in an order.
    pub fn seal_search(&self, organization: &str, filter: &str, order: SearchOrder, cursor: SearchCursor) -> String {
        let position = Position { row: cursor.seq.unsigned_abs(), part: cursor.passed, seen: cursor.now };
        self.seal_anew(&bound(organization, filter, order), position)
    }

    /// The cursor that a text stands for.
    ///
    /// # Errors
    /// [`InvalidCursor`] when it was not given for this organization, filter and order.
    pub fn open_search(
        &self,
        organization: &str,
        filter: &str,
        order: SearchOrder,
        text: &str,
    ) -> Result<SearchCursor, InvalidCursor> {
        let position = self.open(&bound(organization, filter, order), text).map_err(|_| InvalidCursor)?;
        let seq = i64::try_from(position.row).map_err(|_| InvalidCursor)?;
        Ok(SearchCursor { seq, passed: position.part, now: position.seen })
    }
}

/// No name of an organization has a control character, so this is not such a name.
fn bound(organization: &str, filter: &str, order: SearchOrder) -> String {
    format!("{organization}\0{order:?}\0{filter}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_comes_back_for_the_same_search_only() {
        let key = PositionKey::new(&[7; 32]).unwrap();
        let cursor = SearchCursor { seq: 1 << 40, passed: 100, now: 1_800_000_000 };
        let text = key.seal_search("acme", "kind = a", SearchOrder::Newest, cursor);
        assert_eq!(key.open_search("acme", "kind = a", SearchOrder::Newest, &text), Ok(cursor));
        assert_eq!(key.open_search("acme", "kind = b", SearchOrder::Newest, &text), Err(InvalidCursor));
        assert_eq!(key.open_search("acme", "kind = a", SearchOrder::Oldest, &text), Err(InvalidCursor));
        assert_eq!(key.open_search("other", "kind = a", SearchOrder::Newest, &text), Err(InvalidCursor));
        assert!(key.open("acme", &text).is_err(), "and is not a cursor of the change log");
    }
}
