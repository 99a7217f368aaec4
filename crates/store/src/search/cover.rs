//! Which numbers have operations that were created within a range of times.
//!
//! Numbers are given in the order of creations, but clocks are set back, and those of several servers differ slightly.
//! So the earliest and the latest creation of each full bucket is kept (`bucket_times`), noted once by a maintenance
//! task: times of creation never change, and a removal only makes a span wider than it had to be. Buckets within the
//! range are counted by counters, those outside of it are left out, and at the edges operations are checked one by
//! one.

use std::collections::BTreeMap;
use std::ops::Range;

use operations::page::{FINEST, LEVELS};
use operations::search::Times;

use super::Snapshot;
use super::plan::Plan;
use super::sql::{Cells, Column, Sql};
use super::times::{Span, TimesCache};
use crate::StoreError;

/// Buckets without times that a call scans. There are more only for a moment after many were filled.
const LOOKED_THROUGH: usize = 512;

/// The number that the next operation of an organization gets; 1 when there is no such organization.
pub(crate) async fn next_number(snapshot: &mut impl Snapshot, organization: &str) -> Result<i64, StoreError> {
    let mut sql = Sql::new(snapshot.dialect(), organization);
    let of = sql.organization();
    sql.text = format!("SELECT next_seq FROM organizations WHERE organization_id = {of} AND deleted < 2");
    let row = snapshot.rows(sql, &[Column::Int]).await?.pop();
    row.map_or(Ok(1), |row| Cells::of(row).int())
}

/// A bucket that has operations in the range of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) level: u32,
    pub(super) bucket: i64,
    /// Some of its operations may be outside of the range of times.
    pub(super) is_mixed: bool,
    /// How many of its operations match.
    pub(super) n: i64,
}

impl Piece {
    pub(super) fn numbers(&self) -> Range<i64> {
        self.bucket << self.level..(self.bucket + 1) << self.level
    }
}

/// The buckets that together have every operation in a range of times, newest first; none is counted yet.
pub(super) async fn cover(
    snapshot: &mut impl Snapshot,
    cache: &TimesCache,
    plan: &Plan,
    next: i64,
) -> Result<Vec<Piece>, StoreError> {
    let times = plan.search.created_at;
    let mut buckets: Vec<i64> = (0..=(next - 1) >> LEVELS[0]).collect();
    let mut pieces = Vec::new();
    if times.is_any() {
        let whole = |bucket| Piece { level: LEVELS[0], bucket, is_mixed: false, n: 0 };
        return Ok(buckets.into_iter().rev().map(whole).collect());
    }
    for (index, level) in LEVELS.into_iter().enumerate() {
        let mut spans = kept(snapshot, plan, level, &runs(buckets.iter().copied())).await?;
        if level == FINEST {
            let unknown: Vec<i64> = buckets.iter().copied().filter(|bucket| !spans.contains_key(bucket)).collect();
            spans.extend(looked_through(snapshot, cache, plan, next, &unknown).await?);
        }
        let mut finer = Vec::new();
        for bucket in buckets {
            let piece = |is_mixed| Piece { level, bucket, is_mixed, n: 0 };
            match spans.get(&bucket).map(|span| place(*span, times)) {
                Some(Place::Outside) => {}
                Some(Place::Inside) => pieces.push(piece(false)),
                _ if level == FINEST => pieces.push(piece(true)),
                _ => {
                    let inside = level - LEVELS[index + 1];
                    let last = (next - 1) >> LEVELS[index + 1];
                    finer.extend(bucket << inside..((bucket + 1) << inside).min(last + 1));
                }
            }
        }
        buckets = finer;
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.numbers().start));
    Ok(pieces)
}

enum Place {
    Outside,
    Inside,
    Across,
}

fn place(span: Span, times: Times) -> Place {
    let (from, before) = (times.from.map(|time| time.as_millis()), times.before.map(|time| time.as_millis()));
    let is_nothing = span.low > span.high;
    if is_nothing || from.is_some_and(|from| span.high < from) || before.is_some_and(|before| span.low >= before) {
        return Place::Outside;
    }
    if from.is_none_or(|from| span.low >= from) && before.is_none_or(|before| span.high < before) {
        return Place::Inside;
    }
    Place::Across
}

/// Ranges of numbers that follow each other, of numbers in order.
pub(super) fn runs(numbers: impl IntoIterator<Item = i64>) -> Vec<Range<i64>> {
    let mut runs: Vec<Range<i64>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

/// The times that are kept for buckets. Served by the primary key.
async fn kept(
    snapshot: &mut impl Snapshot,
    plan: &Plan,
    level: u32,
    buckets: &[Range<i64>],
) -> Result<BTreeMap<i64, Span>, StoreError> {
    let mut spans = BTreeMap::new();
    if buckets.is_empty() {
        return Ok(spans);
    }
    let mut sql = Sql::new(snapshot.dialect(), &plan.organization);
    let within = sql.within_any("bucket", buckets);
    sql.text = format!(
        "SELECT bucket, low, high FROM bucket_times \
         WHERE organization_id = {} AND level = {level} AND {within}",
        sql.organization()
    );
    for row in snapshot.rows(sql, &[Column::Int, Column::Int, Column::Int]).await? {
        let mut cells = Cells::of(row);
        spans.insert(cells.int()?, Span { low: cells.int()?, high: cells.int()? });
    }
    Ok(spans)
}

/// The times of buckets of the finest level for which none are kept, by reading operations that have not been read
/// before.
async fn looked_through(
    snapshot: &mut impl Snapshot,
    cache: &TimesCache,
    plan: &Plan,
    next: i64,
    buckets: &[i64],
) -> Result<BTreeMap<i64, Span>, StoreError> {
    let (mut spans, mut looked) = (BTreeMap::new(), 0);
    let mut unknown = Vec::new();
    for bucket in buckets {
        let end = ((bucket + 1) << FINEST).min(next);
        match cache.seen(&plan.organization, *bucket) {
            Some((before, span)) if before >= end => {
                spans.insert(*bucket, span);
            }
            Some((before, span)) => {
                let newer = scan(snapshot, &plan.organization, before..end).await?;
                let span = newer.get(bucket).map_or(span, |newer| newer.and(span));
                cache.note(&plan.organization, *bucket, end, span);
                spans.insert(*bucket, span);
            }
            None => unknown.push(*bucket),
        }
    }
    for run in runs(unknown) {
        looked += run.clone().count();
        if looked > LOOKED_THROUGH {
            return Err(StoreError::Unavailable(
                "the server is still recording when operations were created; try again in a moment".to_owned(),
            ));
        }
        let mut found = scan(snapshot, &plan.organization, run.start << FINEST..run.end << FINEST).await?;
        for bucket in run {
            let span = found.remove(&bucket).unwrap_or(Span::NOTHING);
            cache.note(&plan.organization, bucket, ((bucket + 1) << FINEST).min(next), span);
            spans.insert(bucket, span);
        }
    }
    Ok(spans)
}

/// The times of creation among numbers, by bucket of the finest level. Served by the indexes by number.
async fn scan(
    snapshot: &mut impl Snapshot,
    organization: &str,
    numbers: Range<i64>,
) -> Result<BTreeMap<i64, Span>, StoreError> {
    let mut sql = Sql::new(snapshot.dialect(), organization);
    let of = sql.organization();
    let within = format!("organization_id = {of} AND {}", sql.within("seq", &numbers));
    sql.text = format!(
        "SELECT seq >> {FINEST} AS bucket, min(created_at), max(created_at) FROM (
             SELECT seq, created_at FROM active WHERE {within}
             UNION ALL SELECT seq, created_at FROM settled WHERE {within} AND status = 3
             UNION ALL SELECT seq, created_at FROM settled WHERE {within} AND status = 4
         ) AS t GROUP BY 1"
    );
    let mut spans = BTreeMap::new();
    for row in snapshot.rows(sql, &[Column::Int, Column::Int, Column::Int]).await? {
        let mut cells = Cells::of(row);
        spans.insert(cells.int()?, Span { low: cells.int()?, high: cells.int()? });
    }
    Ok(spans)
}

/// Notes the times of up to `limit` buckets of an organization that have become full; answers how many.
pub(crate) async fn fill(snapshot: &mut impl Snapshot, organization: &str, limit: u32) -> Result<u64, StoreError> {
    let next = next_number(snapshot, organization).await?;
    let mut sql = Sql::new(snapshot.dialect(), organization);
    sql.text = format!(
        "SELECT max(bucket) FROM bucket_times WHERE organization_id = {} AND level = {FINEST}",
        sql.organization()
    );
    let last = match snapshot.rows(sql, &[Column::Int]).await?.pop() {
        Some(row) => Cells::of(row).some_int()?,
        None => None,
    };
    let first = last.map_or(0, |last| last + 1);
    let end = (next >> FINEST).min(first + i64::from(limit));
    if end <= first {
        return Ok(0);
    }
    let spans = scan(snapshot, organization, first << FINEST..end << FINEST).await?;
    let mut sql = Sql::new(snapshot.dialect(), organization);
    let mut noted = Vec::new();
    for bucket in first..end {
        let span = spans.get(&bucket).copied().unwrap_or(Span::NOTHING);
        noted.push(format!("({}, {}, {})", sql.int(bucket), sql.int(span.low), sql.int(span.high)));
    }
    sql.text = format!(
        "WITH noted (bucket, low, high) AS (VALUES {}) \
         INSERT INTO bucket_times (organization_id, level, bucket, low, high) \
         SELECT {}, {FINEST}, bucket, low, high FROM noted WHERE true ON CONFLICT DO NOTHING",
        noted.join(", "),
        sql.organization()
    );
    snapshot.rows(sql, &[]).await?;
    for pair in LEVELS.windows(2).rev() {
        let (level, finer) = (pair[0], pair[1]);
        let (inside, below) = (level - finer, finer - FINEST);
        let full = (first >> below) >> inside..(end >> below) >> inside;
        if full.is_empty() {
            continue;
        }
        let mut sql = Sql::new(snapshot.dialect(), organization);
        let within = sql.within("bucket", &(full.start << inside..full.end << inside));
        sql.text = format!(
            "INSERT INTO bucket_times (organization_id, level, bucket, low, high) \
             SELECT organization_id, {level}, bucket >> {inside}, min(low), max(high) FROM bucket_times \
             WHERE organization_id = {} AND level = {finer} AND {within} \
             GROUP BY organization_id, bucket >> {inside} HAVING count(*) = {} ON CONFLICT DO NOTHING",
            sql.organization(),
            1 << inside
        );
        snapshot.rows(sql, &[]).await?;
    }
    Ok((end - first).unsigned_abs())
}
