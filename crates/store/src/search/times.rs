//! When the operations of a bucket were created, as a process remembers it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Buckets that are remembered; then all are forgotten.
const MOST: usize = 16_384;

/// The earliest and the latest creation among some numbers: of all that there ever were, so that both stay right even
/// when some were removed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Span {
    /// Of no operation.
    pub(super) const NOTHING: Span = Span { low: i64::MAX, high: i64::MIN };

    pub(super) fn and(self, other: Span) -> Span {
        Span { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// What was seen of buckets for which the store has no times: mostly of the newest one, of which the next call reads
/// only what has come since. Times of creation never change.
#[derive(Clone, Default)]
pub(crate) struct TimesCache(Arc<Mutex<HashMap<Key, (i64, Span)>>>);

/// The organization and the bucket. Numbers are not reused, even when the name of an organization is.
type Key = (String, i64);

impl TimesCache {
    /// The number before which a bucket was read, and what was seen.
    pub(super) fn seen(&self, organization: &str, bucket: i64) -> Option<(i64, Span)> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&(organization.to_owned(), bucket)).copied()
    }

    /// Remembers what was seen before a number.
    pub(super) fn note(&self, organization: &str, bucket: i64, before: i64, span: Span) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MOST {
            cache.clear();
        }
        let known = cache.entry((organization.to_owned(), bucket)).or_insert((before, span));
        *known = (known.0.max(before), known.1.and(span));
    }
}
