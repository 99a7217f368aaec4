//! Which workers and servers run operations now, and which attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use operations::{NOTICE_KIND, Timestamp};
use store::{HeldLease, HeldLeases, Scope};

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;

/// The most attempts that are shown of a worker: its oldest ones.
const SHOWN_ATTEMPTS: usize = 20;

/// A worker or server that runs operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunningWorker {
    /// The id of the token of a worker, or the name of a server.
    pub(crate) name: String,
    /// The number of its running attempts.
    pub(crate) running: u64,
    /// The kinds of these attempts, sorted.
    pub(crate) kinds: Vec<String>,
    /// When the oldest of its attempts began.
    pub(crate) oldest_started_at: Timestamp,
    /// When it last claimed or kept a lease: the end of its latest lease minus the time that leases last on this
    /// server.
    pub(crate) last_heartbeat_at: Timestamp,
    /// Its running attempts, oldest first, as far as they are shown.
    pub(crate) attempts: Vec<HeldLease>,
}

/// The workers and servers that run operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunningWorkers {
    /// Those with the most attempts first.
    pub(crate) workers: Vec<RunningWorker>,
    /// Whether these are all of them; not when more attempts are running than are examined.
    pub(crate) is_complete: bool,
}

/// The workers and servers that run operations which the caller may see; without notices, as in lists.
pub(crate) async fn list(app: &App, caller: &Caller) -> Result<RunningWorkers, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let leases = app.store.held_leases(caller.access()).await?;
    Ok(by_worker(leases, app.settings.work.lease, app.store.now()))
}

fn by_worker(leases: HeldLeases, lease_time: Duration, now: Timestamp) -> RunningWorkers {
    let mut workers: BTreeMap<String, RunningWorker> = BTreeMap::new();
    for held in leases.held.into_iter().filter(|held| held.kind != NOTICE_KIND) {
        let heard = held.expires_at.before(lease_time).min(now);
        let worker = workers.entry(held.worker.clone()).or_insert_with(|| RunningWorker {
            name: held.worker.clone(),
            running: 0,
            kinds: Vec::new(),
            oldest_started_at: held.started_at,
            last_heartbeat_at: heard,
            attempts: Vec::new(),
        });
        worker.running += 1;
        worker.oldest_started_at = worker.oldest_started_at.min(held.started_at);
        worker.last_heartbeat_at = worker.last_heartbeat_at.max(heard);
        if let Err(place) = worker.kinds.binary_search(&held.kind) {
            worker.kinds.insert(place, held.kind.clone());
        }
        let place = worker.attempts.partition_point(|other| other.started_at <= held.started_at);
        if place < SHOWN_ATTEMPTS {
            worker.attempts.insert(place, held);
            worker.attempts.truncate(SHOWN_ATTEMPTS);
        }
    }
    let mut workers: Vec<RunningWorker> = workers.into_values().collect();
    workers.sort_by(|one, other| other.running.cmp(&one.running).then_with(|| one.name.cmp(&other.name)));
    RunningWorkers { workers, is_complete: leases.is_complete }
}

#[cfg(test)]
mod tests {
    use operations::OperationId;

    use super::*;

    fn held(worker: &str, kind: &str, started: i64, expires: i64) -> HeldLease {
        HeldLease {
            worker: worker.to_owned(),
            operation: OperationId::from_bytes([0; 16]),
            kind: kind.to_owned(),
            project_id: String::new(),
            attempt: 1,
            started_at: Timestamp::from_millis(started),
            expires_at: Timestamp::from_millis(expires),
        }
    }

    #[test]
    fn who_runs_most_comes_first_with_its_oldest_attempts() {
        let mut all: Vec<HeldLease> = (0..30).map(|n| held("b", "scan", 100 - n, 31_000)).collect();
        all.extend([held("a", "build", 5, 20_000), held("c", NOTICE_KIND, 1, 9), held("b", "build", 200, 40_000)]);
        let list = by_worker(
            HeldLeases { held: all, is_complete: true },
            Duration::from_secs(30),
            Timestamp::from_millis(8_000),
        );
        let names: Vec<(&str, u64)> = list.workers.iter().map(|worker| (&*worker.name, worker.running)).collect();
        assert_eq!(names, [("b", 31), ("a", 1)], "workers that deliver notices are not shown");
        let first = &list.workers[0];
        assert_eq!(first.kinds, ["build", "scan"]);
        assert_eq!(first.oldest_started_at.as_millis(), 71);
        assert_eq!(first.last_heartbeat_at.as_millis(), 8_000, "no later than now");
        let starts: Vec<i64> = first.attempts.iter().map(|held| held.started_at.as_millis()).collect();
        assert_eq!(starts, (71..91).collect::<Vec<_>>());
        assert_eq!(list.workers[1].last_heartbeat_at.as_millis(), -10_000);
    }
}
