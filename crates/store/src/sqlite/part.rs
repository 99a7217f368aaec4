//! Which part of a range is a page, and how it is read from the nearer end of the range.

use std::ops::Range;

use operations::PageRequest;

use crate::StoreError;

/// Which of the matching entries of a range make up a page, newest first.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// How many match in the range.
    pub(super) of: i64,
    pub(super) skip: i64,
    pub(super) take: i64,
}

impl Part {
    /// Those of `of` entries that a page shows.
    pub(super) fn of_page(page: PageRequest, of: i64) -> Part {
        let skip = i64::try_from(page.offset()).unwrap_or(i64::MAX).min(of);
        Part { of, skip, take: i64::from(page.page_size).min(of - skip) }
    }

    /// Whether the oldest end is nearer.
    pub(super) fn is_nearer_to_oldest(self) -> bool {
        self.after() < self.skip
    }

    /// Entries older than the page.
    pub(super) fn after(self) -> i64 {
        self.of - self.skip - self.take
    }

    /// Entries from the nearer end to the page's other side.
    pub(super) fn reach(self) -> i64 {
        self.take + self.skip.min(self.after())
    }

    /// The keys of the page, newest first, from at least [`Part::reach`] keys at the nearer end.
    pub(super) fn of_keys<K: Ord>(self, mut keys: Vec<K>) -> Vec<K> {
        keys.sort_unstable_by(|one, other| other.cmp(one));
        let read = keys.len() as i64;
        let skip = if self.is_nearer_to_oldest() { read - self.after() - self.take } else { self.skip };
        let place = |n: i64| usize::try_from(n).unwrap_or_default();
        keys.into_iter().skip(place(skip)).take(place(self.take)).collect()
    }

    /// Numbers at the nearer end of a range that hold the page if entries are spread evenly.
    pub(super) fn first_piece(self, range: &Range<i64>) -> Range<i64> {
        let length = piece(self.reach(), self.of, range.end - range.start).min(range.end - range.start);
        if self.is_nearer_to_oldest() { range.start..range.start + length } else { range.end - length..range.end }
    }

    /// Reads a range in pieces from the nearer end until they hold the page, which the first piece mostly does: it is
    /// as long as it has to be if entries are spread evenly. `read` answers how many are in a piece.
    pub(super) fn read_from_nearer_end(
        self,
        mut range: Range<i64>,
        mut read: impl FnMut(Range<i64>) -> Result<i64, StoreError>,
    ) -> Result<(), StoreError> {
        let mut wanted = self.reach();
        let length = range.end - range.start;
        while wanted > 0 && !range.is_empty() {
            let piece = piece(wanted, self.of, length).min(range.end - range.start);
            wanted -= if self.is_nearer_to_oldest() {
                range.start += piece;
                read(range.start - piece..range.start)?
            } else {
                range.end -= piece;
                read(range.end..range.end + piece)?
            };
        }
        Ok(())
    }
}

/// How many numbers hold this many entries, if `of` are spread evenly over `length` numbers. An eighth more, since
/// entries are never spread quite evenly.
fn piece(wanted: i64, of: i64, length: i64) -> i64 {
    (i128::from(wanted) * i128::from(length) * 9 / (i128::from(of.max(1)) * 8)) as i64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a page of the matching ones among `length` numbers; answers what was read, in the order of pieces.
    fn read(length: i64, matches: impl Fn(i64) -> bool, skip: i64, take: i64) -> (Part, Vec<i64>) {
        let all = (0..length).filter(|n| matches(*n)).count() as i64;
        let part = Part { of: all, skip, take };
        let mut found = Vec::new();
        let read = |piece: Range<i64>| {
            let before = found.len();
            found.extend(piece.filter(|n| matches(*n)));
            Ok((found.len() - before) as i64)
        };
        part.read_from_nearer_end(0..length, read).expect("nothing fails");
        found.sort_unstable();
        (part, found)
    }

    #[test]
    fn the_page_is_read_however_entries_are_spread() {
        let spreads: [fn(i64) -> bool; 4] = [|_| true, |n| n % 7 == 3, |n| n < 100, |n| !(50..3_900).contains(&n)];
        for matches in spreads {
            let all: Vec<i64> = (0..4_096).filter(|n| matches(*n)).rev().collect();
            for skip in (0..all.len() - 10).step_by(13) {
                let (part, mut found) = read(4_096, matches, skip as i64, 10);
                found.reverse();
                let first = if part.is_nearer_to_oldest() { found.len() as i64 - part.after() - 10 } else { part.skip };
                assert_eq!(found[first as usize..][..10], all[skip..][..10]);
            }
        }
    }

    #[test]
    fn no_more_than_half_is_read_where_entries_are_spread_evenly() {
        for skip in [0, 1_000, 2_000, 3_000, 4_046] {
            let (_, found) = read(4_096, |_| true, skip, 50);
            assert!(found.len() <= 2_400, "{} were read", found.len());
        }
        assert!(read(4_096, |_| true, 4_046, 50).1.len() < 60);
    }
}
