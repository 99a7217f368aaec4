//! Searching, counting, and selecting operations for bulk actions: combines the methods of [`super`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;

use operations::page::{FINEST, LEVELS};
use operations::{Access, OperationId, PageRequest, Search, Status};

use super::cover::{Piece, cover, runs};
use super::plan::Plan;
use super::sql::{Among, Cells, Column, Driver, Rows, Sql};
use super::tally::Whose;
use super::times::TimesCache;
use super::{
    CountGroup, Counted, GroupBy, LOOKED_AT, Matching, SearchCursor, SearchOrder, SearchPage, SearchRequest,
    SearchStart, Snapshot,
};
use crate::StoreError;
use crate::rows::damaged;

/// Entries of an index that are skipped instead of reading finer counters.
const FEW: u64 = 2_048;
/// Operations of an index that one statement reads.
const PART: usize = 2_000;

/// Operations by status, kind and project.
type Groups = BTreeMap<(Status, String, String), u64>;

/// A page of numbers, and how many there are.
pub(crate) async fn search(
    snapshot: &mut impl Snapshot,
    cache: &TimesCache,
    access: &Access,
    request: &SearchRequest,
) -> Result<SearchPage<i64>, StoreError> {
    if let Some(page) = listed(snapshot, access, request).await? {
        return Ok(page);
    }
    let nothing = SearchPage { found: Vec::new(), total: 0, total_is_exact: true, next: None };
    let Some(mut finder) = Finder::of(snapshot, cache, access, &request.search).await? else { return Ok(nothing) };
    finder.is_newest_first = request.order == SearchOrder::Newest;
    let (skip, passed, numbers) = match request.start {
        SearchStart::Page(page) => (u64::from(page) * u64::from(request.page_size), 0, 0..finder.next),
        SearchStart::After(cursor) if finder.is_newest_first => (0, cursor.passed, 0..cursor.seq),
        SearchStart::After(cursor) => (0, cursor.passed, cursor.seq + 1..finder.next),
    };
    // One more shows whether there is a next page.
    let take = u64::from(request.page_size) + 1;
    let mut page = finder.find(numbers, skip, take, u64::from(passed)).await?;
    let has_more = page.found.len() as u64 == take;
    page.found.truncate(request.page_size as usize);
    let passed = match request.start {
        SearchStart::Page(_) => skip + page.found.len() as u64,
        SearchStart::After(_) => u64::from(passed) + page.found.len() as u64,
    };
    let seq = if has_more { page.found.last().copied() } else { page.looked_until };
    let next = seq.map(|seq| SearchCursor::after(seq, passed));
    Ok(SearchPage { found: page.found, total: page.total, total_is_exact: page.looked_until.is_none(), next })
}

/// The same as a page of the list, if it is one.
async fn listed(
    snapshot: &mut impl Snapshot,
    access: &Access,
    request: &SearchRequest,
) -> Result<Option<SearchPage<i64>>, StoreError> {
    let (SearchOrder::Newest, SearchStart::Page(page)) = (request.order, request.start) else { return Ok(None) };
    let Some(filter) = request.search.of_one_resource() else { return Ok(None) };
    let Some(access) = access.within(&request.search.project_id) else { return Ok(None) };
    let page = PageRequest { page, page_size: request.page_size };
    let (found, total) = snapshot.list(&access, &filter, page).await?;
    let passed = page.offset() + found.len() as u64;
    let last = found.last().copied().filter(|_| passed < total);
    let next = last.map(|seq| SearchCursor::after(seq, passed));
    Ok(Some(SearchPage { found, total, total_is_exact: true, next }))
}

/// The fields that distinguish groups; `None` for a field that does not.
type GroupKey = (Option<Status>, Option<String>, Option<String>);

/// How many there are, by groups.
pub(crate) async fn count(
    snapshot: &mut impl Snapshot,
    cache: &TimesCache,
    access: &Access,
    search: &Search,
    by: GroupBy,
) -> Result<Counted, StoreError> {
    let nothing = Counted { is_exact: true, ..Counted::default() };
    let Some(mut finder) = Finder::of(snapshot, cache, access, search).await? else { return Ok(nothing) };
    let (counted, is_exact) = finder.count(by).await?;
    let mut groups: HashMap<GroupKey, u64> = HashMap::new();
    for ((status, kind, project), n) in counted {
        let group = (by.status.then_some(status), by.kind.then_some(kind), by.project_id.then_some(project));
        *groups.entry(group).or_default() += n;
    }
    let group = |((status, kind, project_id), count)| CountGroup { status, kind, project_id, count };
    let mut groups: Vec<CountGroup> = groups.into_iter().filter(|(_, n)| *n > 0).map(group).collect();
    groups.sort_by(|one, other| {
        let place = |group: &CountGroup| (group.status, group.kind.clone(), group.project_id.clone());
        other.count.cmp(&one.count).then_with(|| place(one).cmp(&place(other)))
    });
    let total = groups.iter().map(|group| group.count).sum();
    Ok(Counted { groups, total, is_exact })
}

/// The matching operations among some numbers, newest first.
pub(crate) async fn matching(
    snapshot: &mut impl Snapshot,
    cache: &TimesCache,
    access: &Access,
    search: &Search,
    numbers: Range<i64>,
    limit: u32,
) -> Result<Matching, StoreError> {
    let Some(mut finder) = Finder::of(snapshot, cache, access, search).await? else { return Ok(Matching::default()) };
    finder.is_counted = false;
    let numbers = numbers.start.max(0)..numbers.end.min(finder.next);
    let page = finder.find(numbers.clone(), 0, u64::from(limit), 0).await?;
    let ids = finder.ids(&page.found).await?;
    let found = page.found.iter().map(|seq| Ok((*seq, *ids.get(seq).ok_or_else(|| damaged("search"))?)));
    let is_full = page.found.len() as u64 == u64::from(limit);
    let next_below = if is_full { page.found.last().copied() } else { page.looked_until };
    let next_below = next_below.filter(|next| *next > numbers.start);
    Ok(Matching { found: found.collect::<Result<_, StoreError>>()?, next_below })
}

/// The part of a page that was found.
struct Found {
    /// Numbers, in order.
    found: Vec<i64>,
    total: u64,
    /// The last number that was checked, when there are more that were not.
    looked_until: Option<i64>,
}

/// A search under way in a snapshot.
struct Finder<'s, S> {
    snapshot: &'s mut S,
    plan: Plan,
    /// The number that the next operation gets.
    next: i64,
    whose: Whose,
    /// The buckets that may have something, newest first, counted.
    pieces: Vec<Piece>,
    is_newest_first: bool,
    /// Whether totals are requested.
    is_counted: bool,
}

impl<'s, S: Snapshot> Finder<'s, S> {
    /// `None` when nothing can match.
    async fn of(
        snapshot: &'s mut S,
        cache: &TimesCache,
        access: &Access,
        search: &Search,
    ) -> Result<Option<Finder<'s, S>>, StoreError> {
        let Some(mut plan) = Plan::of(access, search) else { return Ok(None) };
        let (next, deltas) = snapshot.start(&plan.organization).await?;
        if next <= 1 {
            return Ok(None);
        }
        let is_by_index = search.is_by_index();
        let whose = Whose::of(snapshot, &plan, false, deltas).await?;
        let mut pieces = Vec::new();
        if !is_by_index {
            pieces = cover(snapshot, cache, &plan, next).await?;
            let kinds = tally(snapshot, &plan, &whose, &mut pieces).await?;
            if plan.asks_for_kinds() {
                plan.choose(Some(&kinds));
            }
        }
        Ok(Some(Finder { snapshot, plan, next, whose, pieces, is_newest_first: true, is_counted: true }))
    }

    async fn find(&mut self, numbers: Range<i64>, skip: u64, take: u64, passed: u64) -> Result<Found, StoreError> {
        if self.plan.search.is_by_index() {
            self.by_index(numbers, skip, take, passed).await
        } else if self.plan.is_by_row() {
            self.by_row(numbers, skip, take, passed).await
        } else {
            self.by_counters(numbers, skip, take).await
        }
    }

    /// Searches that counters serve.
    async fn by_counters(&mut self, numbers: Range<i64>, skip: u64, take: u64) -> Result<Found, StoreError> {
        if self.is_counted || skip > 0 {
            self.look_into_mixed().await?;
        }
        let total = self.pieces.iter().map(|piece| piece.n.max(0).unsigned_abs()).sum();
        let found = self.walk(&numbers, skip, take).await?;
        Ok(Found { found, total, looked_until: None })
    }

    /// Counts the buckets at the edges operation by operation.
    async fn look_into_mixed(&mut self) -> Result<(), StoreError> {
        for index in 0..self.pieces.len() {
            let piece = self.pieces[index];
            if piece.is_mixed && piece.n > 0 {
                let groups = self.row_counts(Among::Range(piece.numbers()), true, false).await?;
                self.pieces[index].n = groups.values().sum::<u64>() as i64;
            }
        }
        Ok(())
    }

    /// The numbers of the matching operations, `take` after `skip`, among `numbers`. With something to skip, `numbers`
    /// are all.
    async fn walk(&mut self, numbers: &Range<i64>, skip: u64, take: u64) -> Result<Vec<i64>, StoreError> {
        let mut queue: VecDeque<Piece> = self.pieces.iter().copied().collect();
        if !self.is_newest_first {
            queue.make_contiguous().reverse();
        }
        let (mut skip, mut found) = (skip, Vec::new());
        while let Some(piece) = queue.pop_front() {
            let wanted = take - found.len() as u64;
            if wanted == 0 {
                break;
            }
            let mut range = within(&piece.numbers(), numbers);
            let n = piece.n.max(0).unsigned_abs();
            if n == 0 || range.is_empty() {
                continue;
            }
            let is_cut = range != within(&piece.numbers(), &(0..self.next));
            if !is_cut && n <= skip {
                skip -= n;
                continue;
            }
            let is_read = piece.is_mixed || piece.level == FINEST || self.plan.is_exact && skip + wanted <= FEW;
            if !is_read {
                self.refine(&mut queue, piece).await?;
                continue;
            }
            // Pieces that follow without a gap are read together with it.
            let mut of = if is_cut { 0 } else { n };
            while self.plan.is_exact && !piece.is_mixed && of < skip + wanted {
                let Some(next) = queue.front().copied().filter(|next| !next.is_mixed) else { break };
                let more = within(&next.numbers(), numbers);
                let is_adjacent = more.end == range.start || more.start == range.end;
                if !is_adjacent || next.level > FINEST && skip + wanted > FEW {
                    break;
                }
                range = range.start.min(more.start)..range.end.max(more.end);
                of += next.n.max(0).unsigned_abs();
                queue.pop_front();
            }
            let keys = self.keys(Among::Range(range), piece.is_mixed, skip, wanted).await?;
            // The place was reached, so nothing has to be skipped after it.
            skip = 0;
            found.extend(keys);
        }
        Ok(found)
    }

    /// Puts the finer buckets of a piece in its place.
    async fn refine(&mut self, queue: &mut VecDeque<Piece>, piece: Piece) -> Result<(), StoreError> {
        let mut finer = finer(piece, self.next);
        tally(self.snapshot, &self.plan, &self.whose, &mut finer).await?;
        if !self.is_newest_first {
            finer.reverse();
        }
        // The piece that is pushed last comes first.
        finer.into_iter().for_each(|piece| queue.push_front(piece));
        Ok(())
    }

    /// The numbers of the matching operations, in order, `take` after `skip`.
    async fn keys(
        &mut self,
        numbers: Among<'_>,
        is_checked: bool,
        skip: u64,
        take: u64,
    ) -> Result<Vec<i64>, StoreError> {
        let rows = Rows { plan: &self.plan, numbers, is_checked };
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = Sql::new(self.snapshot.dialect(), &self.plan.organization);
        rows.keys(&mut sql, self.is_newest_first, skip, take);
        numbers_of(self.snapshot.rows(sql, &[Column::Int]).await?)
    }

    async fn row_counts(
        &mut self,
        numbers: Among<'_>,
        is_checked: bool,
        by_project: bool,
    ) -> Result<Groups, StoreError> {
        let rows = Rows { plan: &self.plan, numbers, is_checked };
        let mut groups = Groups::new();
        if rows.is_empty() {
            return Ok(groups);
        }
        let mut sql = Sql::new(self.snapshot.dialect(), &self.plan.organization);
        rows.counts(&mut sql, by_project);
        for row in self.snapshot.rows(sql, &[Column::Int, Column::Text, Column::Text, Column::Int]).await? {
            let mut cells = Cells::of(row);
            let status = Status::from_number(cells.int()?).ok_or_else(|| damaged("status"))?;
            let (kind, project, n) = (cells.text()?, cells.text()?, cells.int()?);
            *groups.entry((status, kind, project)).or_default() += n.unsigned_abs();
        }
        Ok(groups)
    }

    /// The ids of the operations that exist.
    async fn ids(&mut self, seqs: &[i64]) -> Result<HashMap<i64, OperationId>, StoreError> {
        let mut ids = HashMap::with_capacity(seqs.len());
        for seqs in seqs.chunks(PART) {
            let rows = Rows { plan: &self.plan, numbers: Among::These(seqs), is_checked: false };
            let mut sql = Sql::new(self.snapshot.dialect(), &self.plan.organization);
            rows.ids(&mut sql);
            for row in self.snapshot.rows(sql, &[Column::Int, Column::Id]).await? {
                let mut cells = Cells::of(row);
                ids.insert(cells.int()?, cells.id()?);
            }
        }
        Ok(ids)
    }

    /// Ranges of numbers, in order, that have as many operations as a call checks, and the last number if there are
    /// more. The operations that are checked have the requested status, kind and project.
    async fn window(&mut self, numbers: &Range<i64>) -> Result<(Vec<Range<i64>>, Option<i64>), StoreError> {
        let mut queue: VecDeque<Piece> = self.pieces.iter().copied().collect();
        if !self.is_newest_first {
            queue.make_contiguous().reverse();
        }
        let mut left = i64::from(LOOKED_AT);
        let mut ranges: Vec<Range<i64>> = Vec::new();
        while let Some(piece) = queue.pop_front() {
            let range = within(&piece.numbers(), numbers);
            if range.is_empty() || piece.n <= 0 {
                continue;
            }
            if piece.n > left && piece.level > FINEST {
                self.refine(&mut queue, piece).await?;
                continue;
            }
            if piece.n > left && !ranges.is_empty() {
                let last = ranges.last().map(|last| if self.is_newest_first { last.start } else { last.end - 1 });
                return Ok((ranges, last));
            }
            left -= piece.n;
            match ranges.last_mut() {
                Some(last) if self.is_newest_first && last.start == range.end => last.start = range.start,
                Some(last) if !self.is_newest_first && last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        Ok((ranges, None))
    }

    /// Searches that check operations row by row.
    async fn by_row(&mut self, numbers: Range<i64>, skip: u64, take: u64, passed: u64) -> Result<Found, StoreError> {
        let (ranges, looked_until) = self.window(&numbers).await?;
        let (mut found, mut total, mut skip) = (Vec::new(), passed, skip);
        for range in ranges {
            let n = if self.is_counted {
                self.row_counts(Among::Range(range.clone()), true, false).await?.values().sum()
            } else {
                u64::MAX
            };
            total = total.saturating_add(n);
            if n <= skip {
                skip -= n;
                continue;
            }
            let wanted = take - found.len() as u64;
            if wanted > 0 {
                found.extend(self.keys(Among::Range(range), true, skip, wanted).await?);
                skip = 0;
            }
        }
        Ok(Found { found, total, looked_until })
    }

    /// The index to be followed: the first that has few entries, else the first.
    async fn driver(&mut self, numbers: &Range<i64>) -> Result<Vec<Driver>, StoreError> {
        let mut drivers = self.plan.drivers();
        if drivers.len() > 1 {
            for index in 0..drivers.len() {
                let mut n = 0;
                for driver in &drivers[index] {
                    n += self.how_many(driver, numbers, PART as u32).await?;
                }
                if n < PART as i64 {
                    return Ok(drivers.swap_remove(index));
                }
            }
        }
        Ok(drivers.into_iter().next().unwrap_or_default())
    }

    /// The operations that an index of resources or of labels leads to, and how many they are, if they are no more than
    /// a call checks: they are checked along the index, and not fetched first.
    async fn few<'d>(
        &mut self,
        drivers: &'d [Driver],
        numbers: &Range<i64>,
    ) -> Result<Option<(Among<'d>, u64)>, StoreError> {
        let (driver, among) = match drivers {
            [driver @ Driver::Resources(resources)] => (driver, Among::Resources(numbers.clone(), resources)),
            [driver @ Driver::Labels(key, values)] => (driver, Among::Labelled(numbers.clone(), key, values)),
            _ => return Ok(None),
        };
        let n = self.how_many(driver, numbers, LOOKED_AT + 1).await?;
        Ok((n <= i64::from(LOOKED_AT)).then_some((among, n.unsigned_abs())))
    }

    /// How many operations an index leads to, at most `limit`.
    async fn how_many(&mut self, driver: &Driver, numbers: &Range<i64>, limit: u32) -> Result<i64, StoreError> {
        let mut sql = Sql::new(self.snapshot.dialect(), &self.plan.organization);
        driver.count(&mut sql, numbers, limit);
        Ok(numbers_of(self.snapshot.rows(sql, &[Column::Int]).await?)?.iter().sum())
    }

    /// The operations that an index leads to, in order, at most `take` after `skip`.
    async fn led_to(
        &mut self,
        driver: &Driver,
        numbers: &Range<i64>,
        skip: u64,
        take: u64,
    ) -> Result<Vec<i64>, StoreError> {
        let mut sql = Sql::new(self.snapshot.dialect(), &self.plan.organization);
        driver.candidates(&mut sql, numbers, self.is_newest_first, skip, take);
        numbers_of(self.snapshot.rows(sql, &[Column::Int]).await?)
    }

    /// The operations that indexes lead to, in order, at most `limit`.
    async fn candidates(
        &mut self,
        drivers: Vec<Driver>,
        numbers: &Range<i64>,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        let mut seqs = Vec::new();
        for driver in drivers {
            seqs.extend(self.led_to(&driver, numbers, 0, limit.into()).await?);
        }
        seqs.sort_unstable();
        seqs.dedup();
        if self.is_newest_first {
            seqs.reverse();
        }
        seqs.truncate(limit as usize);
        Ok(seqs)
    }

    /// Searches that an index serves.
    async fn by_index(&mut self, numbers: Range<i64>, skip: u64, take: u64, passed: u64) -> Result<Found, StoreError> {
        let first = usize::try_from(skip).unwrap_or(usize::MAX);
        let page = |found: &[i64]| found.iter().skip(first).copied().take(take as usize).collect();
        let drivers = self.driver(&numbers).await?;
        if self.is_counted
            && let Some((among, n)) = self.few(&drivers, &numbers).await?
        {
            let (found, n) = if self.plan.is_of_one_label() {
                // The index of labels is enough, since notices have no labels.
                (self.led_to(&drivers[0], &numbers, skip, take).await?, n)
            } else {
                let matching = self.keys(among, true, 0, LOOKED_AT.into()).await?;
                (page(&matching), matching.len() as u64)
            };
            return Ok(Found { found, total: passed + n, looked_until: None });
        }
        let most = if self.is_counted { LOOKED_AT } else { LOOKED_AT.min(4 * PART as u32) };
        let mut candidates = self.candidates(drivers, &numbers, most + 1).await?;
        let mut looked_until = None;
        if candidates.len() > most as usize {
            candidates.truncate(most as usize);
            looked_until = candidates.last().copied();
        }
        let (mut found, mut total) = (Vec::new(), passed);
        for seqs in candidates.chunks(PART) {
            let matching = self.keys(Among::These(seqs), true, 0, seqs.len() as u64).await?;
            total += matching.len() as u64;
            found.extend(matching);
            if !self.is_counted && found.len() as u64 >= take {
                break;
            }
        }
        Ok(Found { found: page(&found), total, looked_until })
    }

    /// How many there are, and whether these are all.
    async fn count(&mut self, by: GroupBy) -> Result<(Groups, bool), StoreError> {
        let everything = 0..self.next;
        let mut groups = Groups::new();
        let mut add = |more: Groups| more.into_iter().for_each(|(group, n)| *groups.entry(group).or_default() += n);
        if self.plan.search.is_by_index() {
            let drivers = self.driver(&everything).await?;
            if let Some((among, _)) = self.few(&drivers, &everything).await? {
                return Ok((self.row_counts(among, true, by.project_id).await?, true));
            }
            let mut candidates = self.candidates(drivers, &everything, LOOKED_AT + 1).await?;
            let is_exact = candidates.len() <= LOOKED_AT as usize;
            candidates.truncate(LOOKED_AT as usize);
            for seqs in candidates.chunks(PART) {
                add(self.row_counts(Among::These(seqs), true, by.project_id).await?);
            }
            return Ok((groups, is_exact));
        }
        if self.plan.is_by_row() {
            let (ranges, looked_until) = self.window(&everything).await?;
            for range in ranges {
                add(self.row_counts(Among::Range(range), true, by.project_id).await?);
            }
            return Ok((groups, looked_until.is_none()));
        }
        for index in 0..self.pieces.len() {
            let piece = self.pieces[index];
            if piece.is_mixed && piece.n > 0 {
                add(self.row_counts(Among::Range(piece.numbers()), true, by.project_id).await?);
            }
        }
        if by.project_id {
            let deltas = std::mem::take(&mut self.whose.deltas);
            self.whose = Whose::of(self.snapshot, &self.plan, true, deltas).await?;
        }
        let mut counted: BTreeMap<(Status, String, String), i64> = BTreeMap::new();
        for level in LEVELS {
            let buckets = self.pieces.iter().filter(|piece| !piece.is_mixed && piece.level == level);
            let buckets: BTreeSet<i64> = buckets.map(|piece| piece.bucket).collect();
            for tally in self.whose.count(self.snapshot, &self.plan, level, &runs(buckets)).await? {
                for status in &self.plan.statuses {
                    let n = tally.n[usize::from(status.number()) - 1];
                    *counted.entry((*status, tally.kind.clone(), tally.project_id.clone())).or_default() += n;
                }
            }
        }
        add(counted.into_iter().map(|(group, n)| (group, n.max(0).unsigned_abs())).collect());
        Ok((groups, true))
    }
}

/// Counts pieces; answers the existing kinds.
async fn tally<S: Snapshot>(
    snapshot: &mut S,
    plan: &Plan,
    whose: &Whose,
    pieces: &mut [Piece],
) -> Result<BTreeSet<String>, StoreError> {
    let mut kinds: BTreeMap<String, i64> = BTreeMap::new();
    for level in LEVELS {
        let buckets: BTreeSet<i64> =
            pieces.iter().filter(|piece| piece.level == level).map(|piece| piece.bucket).collect();
        let mut counted: HashMap<i64, i64> = HashMap::new();
        for tally in whose.count(snapshot, plan, level, &runs(buckets)).await? {
            let n = tally.of(&plan.statuses);
            *counted.entry(tally.bucket).or_default() += n;
            *kinds.entry(tally.kind).or_default() += n;
        }
        for piece in pieces.iter_mut().filter(|piece| piece.level == level) {
            piece.n = counted.get(&piece.bucket).copied().unwrap_or(0);
        }
    }
    Ok(kinds.into_iter().filter(|(_, n)| *n > 0).map(|(kind, _)| kind).collect())
}

/// The buckets of the next level that make up a piece, oldest first.
fn finer(piece: Piece, next: i64) -> Vec<Piece> {
    let level = LEVELS.into_iter().find(|level| *level < piece.level).unwrap_or(FINEST);
    let inside = piece.level - level;
    let end = ((piece.bucket + 1) << inside).min(((next - 1) >> level) + 1);
    (piece.bucket << inside..end).map(|bucket| Piece { level, bucket, is_mixed: false, n: 0 }).collect()
}

fn within(range: &Range<i64>, other: &Range<i64>) -> Range<i64> {
    range.start.max(other.start)..range.end.min(other.end)
}

fn numbers_of(rows: Vec<Vec<super::Cell>>) -> Result<Vec<i64>, StoreError> {
    rows.into_iter().map(|row| Cells::of(row).int()).collect()
}
