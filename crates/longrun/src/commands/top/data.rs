//! What `longrun top` shows, as the API reports it.
//!
//! A refresh makes five calls at once, and at most two more: for the number of operations of each kind by status, the
//! running operations (with their workers), those that have waited longest, the failures, and the statistics of the
//! last minutes. None of these calls takes longer when there are more operations.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Result;
use longrun_client::{Client, Error, OperationDetail, SearchRequest, Stats, StatsPoint, StatsRequest, short_status};
use operations::Timestamp;
use operations::search::value;

use crate::render::age;

/// How many running operations, and how many of those that have waited longest, are read.
const LOOKED_AT: i32 = 100;
/// How many failures are shown.
const FAILURES: i32 = 50;
/// How many kinds one refresh asks separately for their longest wait, if it is not among the longest of all.
const ASKED_KINDS: usize = 2;
/// One minute, over which rates are computed.
const MINUTE: Duration = Duration::from_secs(60);

/// Operations of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    pub kind: String,
    pub pending: u64,
    pub running: u64,
    /// The operation that has waited longest: its id, and since when.
    pub oldest: Option<(String, Timestamp)>,
    pub rates: Rates,
}

/// Operations per second, over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub created: f64,
    pub completed: f64,
    pub failed: f64,
}

/// A worker and the operations that it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub name: String,
    /// Longest running first.
    pub holds: Vec<OperationDetail>,
}

/// A state of the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub at: Option<Timestamp>,
    /// Queues by kind.
    pub queues: Vec<Queue>,
    /// Workers with most operations first.
    pub workers: Vec<Worker>,
    /// Whether there are more running operations than were read.
    pub more_running: bool,
    /// Newest first.
    pub failures: Vec<OperationDetail>,
    pub rates: Rates,
    /// The time up to which statistics are complete.
    pub counted_until: Option<Timestamp>,
}

impl Seen {
    pub fn pending(&self) -> u64 {
        self.queues.iter().map(|queue| queue.pending).sum()
    }

    pub fn running(&self) -> u64 {
        self.queues.iter().map(|queue| queue.running).sum()
    }
}

/// The time at which an operation was created, started or ended, if it was.
pub fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

/// Fetches the state repeatedly.
#[derive(Debug, Default)]
pub struct Source {
    /// The kinds that were asked for separately, with their longest wait; the least recent first.
    asked: Vec<(String, Option<(String, Timestamp)>)>,
}

impl Source {
    /// Fetches the state of the server.
    ///
    /// # Errors
    /// When one of the calls fails.
    pub async fn refresh(&mut self, client: &Client) -> Result<Seen, Error> {
        let now = age::now();
        let search = |filter: &str, page_size, oldest_first| {
            let filter = filter.to_owned();
            let request = SearchRequest { filter, page_size: Some(page_size), page_token: String::new(), oldest_first };
            async move { client.search(&request).await }
        };
        let request = StatsRequest {
            from: Some(now.before(3 * MINUTE).to_string()),
            step: Some("minute".to_owned()),
            by_kind: true,
            ..StatsRequest::default()
        };
        let (counts, running, waiting, failed, stats) = tokio::try_join!(
            client.count("status = (PENDING OR RUNNING)", &["kind", "status"]),
            search("status = RUNNING", LOOKED_AT, true),
            search("status = PENDING", LOOKED_AT, true),
            search("status = FAILED", FAILURES, false),
            client.stats(&request),
        )?;
        let mut queues = queues(
            counts.value.groups.iter().map(|group| {
                let status = group.status.as_deref().map(short_status).unwrap_or_default();
                (group.kind.as_deref().unwrap_or_default(), status, group.count)
            }),
            &waiting.value.operations,
        );
        if waiting.value.operations.len() == usize::try_from(LOOKED_AT).unwrap_or(0) {
            self.ask_kinds(client, &mut queues).await?;
        }
        rate(&mut queues, &stats.value, now);
        let rates = queues.iter().map(|queue| queue.rates).fold(Rates::default(), Rates::and);
        queues.retain(|queue| queue.pending + queue.running > 0 || queue.rates != Rates::default());
        let mut failures = failed.value.operations;
        failures.sort_by(|a, b| b.operation.finished_at.cmp(&a.operation.finished_at));
        Ok(Seen {
            at: Some(now),
            queues,
            more_running: !running.value.next_page_token.is_empty(),
            workers: workers(running.value.operations),
            failures,
            rates,
            counted_until: time(stats.value.complete_until.as_ref()),
        })
    }

    /// Fetches the longest wait of each kind that has none among the longest of all.
    async fn ask_kinds(&mut self, client: &Client, queues: &mut [Queue]) -> Result<(), Error> {
        let lacks = |queue: &Queue| queue.pending > 0 && queue.oldest.is_none();
        self.asked.retain(|(kind, _)| queues.iter().any(|queue| lacks(queue) && queue.kind == *kind));
        for queue in queues.iter().filter(|queue| lacks(queue)) {
            if !self.asked.iter().any(|(kind, _)| *kind == queue.kind) {
                self.asked.insert(0, (queue.kind.clone(), None));
            }
        }
        for _ in 0..ASKED_KINDS.min(self.asked.len()) {
            let (kind, _) = self.asked.remove(0);
            let filter = format!("status = PENDING AND kind = {}", value(&kind));
            let request = SearchRequest { filter, page_size: Some(1), oldest_first: true, ..SearchRequest::default() };
            let found = client.search(&request).await?.value.operations;
            let oldest = found.first().and_then(waiting_since);
            self.asked.push((kind, oldest));
        }
        for queue in queues.iter_mut().filter(|queue| lacks(queue)) {
            let asked = self.asked.iter().find(|(kind, _)| *kind == queue.kind);
            queue.oldest = asked.and_then(|(_, oldest)| oldest.clone());
        }
        Ok(())
    }
}

fn waiting_since(found: &OperationDetail) -> Option<(String, Timestamp)> {
    Some((found.operation.id.clone(), time(found.operation.created_at.as_ref())?))
}

/// The kinds with their counts, and the longest wait of each as far as it is among `waiting`.
fn queues<'a>(counts: impl Iterator<Item = (&'a str, &'a str, u64)>, waiting: &[OperationDetail]) -> Vec<Queue> {
    let mut oldest = HashMap::new();
    for found in waiting {
        if let Some(since) = waiting_since(found) {
            oldest.entry(found.operation.kind.as_str()).or_insert(since);
        }
    }
    let mut queues: BTreeMap<&str, Queue> = BTreeMap::new();
    for (kind, status, count) in counts {
        let queue = queues.entry(kind).or_insert_with(|| Queue {
            kind: kind.to_owned(),
            oldest: oldest.get(kind).cloned(),
            ..Queue::default()
        });
        match status {
            "PENDING" => queue.pending = count,
            _ => queue.running = count,
        }
    }
    queues.into_values().collect()
}

impl Rates {
    fn and(self, other: Rates) -> Rates {
        Rates {
            created: self.created + other.created,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
        }
    }
}

/// Computes the rates of each kind. The minute before the last moment that has been counted spans two steps: the later
/// one as a whole, and the missing part of the one before it.
fn rate(queues: &mut Vec<Queue>, stats: &Stats, now: Timestamp) {
    let until = time(stats.complete_until.as_ref()).filter(|until| *until < now).unwrap_or(now).as_millis();
    let minute = i64::try_from(MINUTE.as_millis()).unwrap_or(i64::MAX);
    let from = until - minute;
    for point in &stats.points {
        let Ok(start) = point.start.parse::<Timestamp>() else { continue };
        let within = (start.as_millis() + minute).min(until) - start.as_millis().max(from);
        if within <= 0 {
            continue;
        }
        // The time after `until` has not been counted yet: the step's count covers only the part before it.
        let share = if start.as_millis() >= from { 1.0 } else { within as f64 / minute as f64 };
        let per_second = |count: u64| count as f64 * share / MINUTE.as_secs_f64();
        let StatsPoint { created, completed, failed, .. } = point;
        let rates =
            Rates { created: per_second(*created), completed: per_second(*completed), failed: per_second(*failed) };
        let kind = point.kind.as_deref().unwrap_or_default();
        let index = queues.iter().position(|queue| queue.kind == kind).unwrap_or_else(|| {
            queues.push(Queue { kind: kind.to_owned(), ..Queue::default() });
            queues.len() - 1
        });
        queues[index].rates = queues[index].rates.and(rates);
    }
}

/// Which worker runs which operations.
fn workers(running: Vec<OperationDetail>) -> Vec<Worker> {
    let mut workers: BTreeMap<String, Vec<OperationDetail>> = BTreeMap::new();
    for found in running {
        workers.entry(found.worker.clone()).or_default().push(found);
    }
    let mut workers: Vec<Worker> = workers.into_iter().map(|(name, holds)| Worker { name, holds }).collect();
    for worker in &mut workers {
        worker.holds.sort_by(|a, b| a.operation.started_at.cmp(&b.operation.started_at));
    }
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.holds.len()));
    workers
}

#[cfg(test)]
mod tests {
    use longrun_client::Operation;

    use super::*;

    fn found(id: &str, kind: &str, worker: &str, second: i64) -> OperationDetail {
        let at = Some(Timestamp::from_millis(second * 1_000).to_string());
        let (id, kind) = (id.to_owned(), kind.to_owned());
        let operation = Operation { id, kind, created_at: at.clone(), started_at: at, ..Operation::default() };
        OperationDetail { operation, worker: worker.to_owned(), ..OperationDetail::default() }
    }

    #[test]
    fn a_kind_has_its_counts_and_what_has_waited_longest_in_it() {
        let counts = [("scan", "PENDING", 7), ("build", "RUNNING", 2), ("scan", "RUNNING", 1)];
        let queues = queues(counts.into_iter(), &[found("1", "scan", "", 5), found("2", "scan", "", 6)]);
        let told: Vec<_> = queues.iter().map(|queue| (queue.kind.as_str(), queue.pending, queue.running)).collect();
        assert_eq!(told, [("build", 0, 2), ("scan", 7, 1)]);
        assert_eq!(queues[1].oldest, Some(("1".to_owned(), Timestamp::from_millis(5_000))));
    }

    #[test]
    fn rates_are_of_the_last_minute_that_is_counted() {
        let point = |start, completed| StatsPoint {
            start: Timestamp::from_millis(start).to_string(),
            kind: Some("scan".to_owned()),
            completed,
            ..StatsPoint::default()
        };
        let until = Some(Timestamp::from_millis(75_000).to_string());
        let points = vec![point(0, 120), point(60_000, 30)];
        let stats = Stats { complete_until: until, points, ..Stats::default() };
        let mut queues = Vec::new();
        rate(&mut queues, &stats, Timestamp::from_millis(80_000));
        // 45 of the 60 seconds of the first step, and everything in the second one.
        assert_eq!(queues[0].rates.completed, (120.0 * 0.75 + 30.0) / 60.0);
    }

    #[test]
    fn workers_that_hold_most_come_first() {
        let workers = workers(vec![found("1", "a", "w1", 3), found("2", "a", "w2", 2), found("3", "a", "w2", 1)]);
        let told: Vec<_> = workers.iter().map(|of| (of.name.as_str(), of.holds[0].operation.id.as_str())).collect();
        assert_eq!(told, [("w2", "3"), ("w1", "1")]);
    }

    #[test]
    fn a_kind_with_quotes_is_one_value_of_the_filter() {
        assert_eq!(value("a\"b\\"), "\"a\\\"b\\\\\"");
    }
}
