//! Statistics: how many operations were created, started and ended in each minute, hour and day, and how long they
//! waited and ran.
//!
//! They are kept by a consumer of the change log, so that writes to operations pay nothing for them. It reads a part of
//! an organization's change log, looks up the operations that the part names, and writes their counts together with the
//! offset up to which it has read, in one transaction, and only if the offset is still where the part began. So a
//! reader that dies between any two steps counts nothing twice and loses nothing, and only one of two readers counts a
//! part.
//!
//! Each change is counted in its minute, its hour and its day at once: nothing is rolled up later, and no sum is ever
//! half updated. Minutes and hours are forgotten when their time is over ([`Step::kept`]).
//!
//! **What is counted when.** A creation when it was made; a start whenever an attempt began; an end when it was
//! reached. The waiting time of an operation is from its creation to its first start, the running time is that of the
//! attempt that ended it; an end before any attempt has none. Operations that were removed before they were counted are
//! counted for the whole organization under the empty kind, and without times: nothing else is known of them any more.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use meters::{Happening, Outcome};
use operations::{Access, Durations, NOTICE_KIND, OperationId, Status, Step, Timestamp};

use crate::changes::{Change, Changes, Position};
use crate::measured::since;
use crate::{HistoryKind, Measured, StoreError};

/// The consumer under whose name the store keeps the offset up to which changes are counted.
pub const STATISTICS_CONSUMER: &str = "statistics";
/// The most rows that one request reads.
pub(crate) const MAX_ROWS: u32 = 100_000;

/// The requested statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsRequest {
    /// From the step on in which this time lies.
    pub from: Timestamp,
    /// Up to this time, exclusive.
    pub to: Timestamp,
    /// The length of the steps.
    pub step: Step,
    /// Only this kind; left out, any but [`NOTICE_KIND`], as in lists.
    pub kind: Option<String>,
    /// Whether each kind is counted separately.
    pub by_kind: bool,
}

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that were created.
    pub created: u64,
    /// Attempts that began.
    pub started: u64,
    /// Operations that were completed.
    pub completed: u64,
    /// Operations that failed.
    pub failed: u64,
    /// How long operations that started for the first time had waited.
    pub waiting: Durations,
    /// How long the attempts that ended their operations took.
    pub running: Durations,
}

/// The counts of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsPoint {
    /// When the step began.
    pub start: Timestamp,
    /// The kind, if each was counted separately; empty: for operations that were removed before they were counted.
    pub kind: Option<String>,
    /// What happened.
    pub counts: Counts,
}

/// An answer to a [`StatisticsRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsAnswer {
    /// Since when everything is counted; `None` before the first engine has begun to.
    pub available_since: Option<Timestamp>,
    /// Up to when everything that was committed is counted; `None` before the first engine has begun to.
    pub complete_until: Option<Timestamp>,
    /// In the order of their starts and kinds. Steps in which nothing happened are left out.
    pub points: Vec<StatisticsPoint>,
    /// There are more than could be answered.
    pub is_cut: bool,
}

/// Counting changes, and reading the counts.
#[async_trait]
pub trait Statistics: Send + Sync {
    /// Begins to count changes from now on, if they are not counted yet. Earlier changes are not counted.
    async fn begin_statistics(&self) -> Result<(), StoreError>;

    /// Counts up to `limit` changes of an organization's change log after a position, which must be the offset of the
    /// reader ([`Store::uncommitted`](crate::Store::uncommitted) of [`STATISTICS_CONSUMER`]). Answers whether it
    /// advanced: `false`, and nothing is counted, when the reader's offset has changed by now, or when there is nothing
    /// to be read yet.
    async fn count_changes(&self, organization: &str, from: Position, limit: u32) -> Result<bool, StoreError>;

    /// What happened to operations that may be seen, at most `limit` points.
    async fn statistics(
        &self,
        access: &Access,
        request: &StatisticsRequest,
        limit: u32,
    ) -> Result<StatisticsAnswer, StoreError>;

    /// Forgets up to `limit` counts that are older than they are [kept](Step::kept); answers how many.
    async fn forget_statistics(&self, limit: u32) -> Result<u64, StoreError>;
}

/// What is looked up about an operation whose changes are counted.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) project_id: String,
    pub(crate) created_at: Timestamp,
    /// How often it was claimed.
    pub(crate) fence: i64,
    /// For an operation that has ended: when it ended, and when the attempt that ended it began.
    pub(crate) end: Option<(Timestamp, Option<Timestamp>)>,
}

/// What is looked up about an operation's past: a note about an attempt that ended, or about an end that was retried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    pub(crate) seq: i64,
    /// The number of a [`HistoryKind`].
    pub(crate) kind: i64,
    pub(crate) at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
}

/// The row in which something is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) step: Step,
    /// Empty: the whole organization.
    pub(crate) project_id: String,
    pub(crate) start: Timestamp,
    pub(crate) kind: String,
}

/// A part of an organization's change log, and its counts.
#[derive(Clone, Debug)]
pub(crate) struct CountedPart {
    pub(crate) organization: String,
    /// Where the part begins, and where it ends.
    pub(crate) from: Position,
    pub(crate) next: Position,
    /// Creations in it.
    pub(crate) created: u64,
    pub(crate) counts: BTreeMap<Place, Counts>,
}

/// What an engine does for statistics.
#[async_trait]
pub(crate) trait Tally: Sync {
    async fn part(&self, organization: &str, from: Position, limit: u32) -> Result<Changes, StoreError>;

    /// The operations of these ids, as far as they exist.
    async fn subjects(
        &self,
        organization: &str,
        ids: Vec<OperationId>,
    ) -> Result<HashMap<OperationId, Subject>, StoreError>;

    /// The past of the operations of these numbers.
    async fn past(&self, organization: &str, numbers: Vec<i64>) -> Result<Vec<Past>, StoreError>;

    /// Writes the counts of a part, and that it is counted, in one transaction; `false` when the reader's offset is
    /// another one.
    async fn commit(&self, part: CountedPart) -> Result<bool, StoreError>;

    /// Continues after changes that are forgotten, and begins to count anew from there; `false` when the reader's
    /// offset is another one.
    async fn skip(&self, organization: &str, from: Position) -> Result<bool, StoreError>;
}

/// [`Statistics::count_changes`].
pub(crate) async fn count(
    store: &(impl Tally + Measured),
    organization: &str,
    from: Position,
    limit: u32,
) -> Result<bool, StoreError> {
    let part = match store.part(organization, from, limit).await {
        Err(StoreError::PositionUnknown) => {
            tracing::warn!(organization, "some changes were forgotten before they were counted");
            return store.skip(organization, from).await;
        }
        part => part?,
    };
    if part.changes.is_empty() {
        return Ok(false);
    }
    let mut ids: Vec<OperationId> = part.changes.iter().map(|change| change.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let subjects = store.subjects(organization, ids).await?;
    let mut numbers: Vec<i64> = part.changes.iter().filter_map(|change| in_the_past(change, &subjects)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let past = if numbers.is_empty() { Vec::new() } else { store.past(organization, numbers).await? };
    let (counts, happenings) = counts(&part.changes, &subjects, &past);
    let counted = CountedPart {
        organization: organization.to_owned(),
        from,
        next: part.next,
        created: part.changes.iter().filter(|change| change.is_creation).count() as u64,
        counts,
    };
    let is_counted = store.commit(counted).await?;
    if is_counted {
        // Counted by the process that counted the part, so that the processes of a store together count everything
        // once.
        let meters = store.meters();
        happenings.into_iter().for_each(|(kind, happening)| meters.count(kind, happening));
    }
    Ok(is_counted)
}

/// The number of the operation, if its row is not enough to say how long something took.
fn in_the_past(change: &Change, subjects: &HashMap<OperationId, Subject>) -> Option<i64> {
    let subject = subjects.get(&change.id)?;
    let is_past = match change.status? {
        Status::Pending => false,
        Status::Running => subject.fence > 1,
        Status::Completed | Status::Failed => subject.end.is_none_or(|(at, _)| at > change.at),
    };
    is_past.then_some(subject.seq)
}

/// The counts of changes, and the events by kind for the metrics of the process.
fn counts<'s>(
    changes: &[Change],
    subjects: &'s HashMap<OperationId, Subject>,
    past: &[Past],
) -> (BTreeMap<Place, Counts>, Vec<(&'s str, Happening)>) {
    let mut happenings = Vec::with_capacity(changes.len());
    let between = |from: Timestamp, to: Timestamp| since(to, Some(from));
    let mut counts: BTreeMap<Place, Counts> = BTreeMap::new();
    for change in changes {
        let subject = subjects.get(&change.id);
        let kind = subject.map_or("", |subject| &subject.kind);
        let mut one = Counts::default();
        let happening = match change.status {
            Some(Status::Pending) if change.is_creation => {
                one.created = 1;
                Happening::Created
            }
            Some(Status::Running) => {
                one.started = 1;
                let mut waited = None;
                if let Some(subject) = subject.filter(|subject| first_start(subject, change, past) == change.at) {
                    one.waiting.add(subject.created_at, change.at);
                    waited = Some(between(subject.created_at, change.at));
                }
                Happening::Started { waited }
            }
            Some(status @ (Status::Completed | Status::Failed)) => {
                let is_completed = status == Status::Completed;
                *(if is_completed { &mut one.completed } else { &mut one.failed }) = 1;
                let attempt = subject.and_then(|subject| last_attempt(subject, change, past));
                if let Some((started_at, ended_at)) = attempt {
                    one.running.add(started_at, ended_at);
                }
                let outcome = if is_completed { Outcome::completed } else { Outcome::failed };
                Happening::Ended { outcome, ran: attempt.map(|(from, to)| between(from, to)) }
            }
            Some(Status::Pending) => {
                happenings.push((kind, Happening::Returned));
                continue;
            }
            // Removals.
            None => continue,
        };
        happenings.push((kind, happening));
        let project = subject.map(|subject| subject.project_id.as_str()).filter(|project| !project.is_empty());
        for step in Step::ALL {
            for project_id in [Some(""), project].into_iter().flatten() {
                let (project_id, kind) = (project_id.to_owned(), kind.to_owned());
                let place = Place { step, project_id, start: step.start(change.at), kind };
                counts.entry(place).or_default().add(&one);
            }
        }
    }
    (counts, happenings)
}

/// When the operation of a start was first started.
fn first_start(subject: &Subject, change: &Change, past: &[Past]) -> Timestamp {
    let starts = past.iter().filter(|past| past.seq == subject.seq).filter_map(|past| past.started_at);
    starts.min().map_or(change.at, |first| first.min(change.at))
}

/// When the attempt that came to this end began, if there was one, and when it ended. That is earlier than the change
/// where ends are committed together: it is the last end that is no later.
fn last_attempt(subject: &Subject, change: &Change, past: &[Past]) -> Option<(Timestamp, Timestamp)> {
    if let Some((at, started_at)) = subject.end.filter(|(at, _)| *at <= change.at) {
        return Some((started_at?, at));
    }
    let is_end = |past: &&Past| {
        past.seq == subject.seq
            && past.at <= change.at
            && HistoryKind::from_number(past.kind) == Some(HistoryKind::Failed)
    };
    let end = past.iter().filter(is_end).max_by_key(|past| past.at)?;
    Some((end.started_at?, end.at))
}

impl Counts {
    /// Adds other counts.
    pub fn add(&mut self, others: &Counts) {
        self.created += others.created;
        self.started += others.started;
        self.completed += others.completed;
        self.failed += others.failed;
        self.waiting.merge(&others.waiting);
        self.running.merge(&others.running);
    }

    /// Counts as they are stored.
    pub(crate) fn stored(numbers: [i64; 4], waiting: &[u8], running: &[u8]) -> Result<Counts, StoreError> {
        let damaged = |_| StoreError::Unusable("durations of the statistics are damaged".to_owned());
        let [created, started, completed, failed] = numbers.map(i64::unsigned_abs);
        let (waiting, running) =
            (Durations::from_bytes(waiting).map_err(damaged)?, Durations::from_bytes(running).map_err(damaged)?);
        Ok(Counts { created, started, completed, failed, waiting, running })
    }

    pub(crate) fn numbers(&self) -> [i64; 4] {
        [self.created, self.started, self.completed, self.failed].map(|n| i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl StatisticsRequest {
    /// The kind that is included, and the one that is excluded, if there is one.
    pub(crate) fn kinds(&self) -> (Option<&str>, Option<&'static str>) {
        (self.kind.as_deref(), self.kind.is_none().then_some(NOTICE_KIND))
    }
}

/// Makes points from rows that come in the order of their starts and kinds.
pub(crate) struct Points {
    by_kind: bool,
    limit: usize,
    rows: u32,
    pub(crate) points: Vec<StatisticsPoint>,
    pub(crate) is_cut: bool,
}

impl Points {
    pub(crate) fn of(request: &StatisticsRequest, limit: u32) -> Points {
        Points { by_kind: request.by_kind, limit: limit as usize, rows: 0, points: Vec::new(), is_cut: false }
    }

    /// Takes the next row; answers whether another one is wanted.
    pub(crate) fn take(&mut self, start: Timestamp, kind: String, counts: &Counts) -> bool {
        let kind = self.by_kind.then_some(kind);
        self.rows += 1;
        let is_full = self.points.len() >= self.limit;
        match self.points.last_mut().filter(|last| last.start == start && last.kind == kind) {
            Some(last) => last.counts.add(counts),
            None if is_full => self.is_cut = true,
            None => self.points.push(StatisticsPoint { start, kind, counts: counts.clone() }),
        }
        self.is_cut |= self.rows > MAX_ROWS;
        !self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is stored.
    const FAILED: u8 = HistoryKind::Failed.number().unwrap();

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn how_long_an_attempt_ran_is_known_also_when_its_end_was_committed_later_with_others() {
        let subject = |end| Subject {
            seq: 7,
            kind: "scan".to_owned(),
            project_id: String::new(),
            created_at: at(0),
            fence: 2,
            end,
        };
        let (id, status) = (OperationId::new(at(0)), Some(Status::Failed));
        let change =
            Change { position: Position { row: 1, part: 0, seen: 1 }, id, status, is_creation: false, at: at(905) };
        let ended = subject(Some((at(900), Some(at(400)))));
        assert_eq!(last_attempt(&ended, &change, &[]), Some((at(400), at(900))));
        assert_eq!(in_the_past(&change, &[(change.id, ended)].into()), None, "the row says so");
        // It was retried since, and has another end: the past is used.
        let failed = |from, to| Past { seq: 7, kind: i64::from(FAILED), at: at(to), started_at: Some(at(from)) };
        let past = [failed(10, 100), failed(400, 900), failed(1_000, 1_100)];
        let retried = subject(Some((at(1_100), Some(at(1_000)))));
        assert_eq!(last_attempt(&retried, &change, &past), Some((at(400), at(900))));
        assert_eq!(in_the_past(&change, &[(change.id, retried)].into()), Some(7));
    }
}
