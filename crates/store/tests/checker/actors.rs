//! The callers: creators, cancellers, workers, a keeper, a reader of the change log, and one that kills servers.

mod creating;
mod keeping;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operations::{Access, OperationId, Outcome, Refusal, Resource};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use store::{ClaimRequest, Claimed, Heartbeat, LeaseStatus, OperationCommand, Settlement, Store};

use crate::history::{self, Answer, Record, Seen, TICK};
use crate::server::Place;

const KINDS: [&str; 2] = ["scan", "build"];
/// Unique keys, for which operations compete.
const UNIQUE_KEYS: [&str; 2] = ["first", "second"];
/// Concurrency keys, and how many operations of each may run at a time.
const KEYS: [(&str, u32); 2] = [("one", 1), ("two", 2)];
/// A kind of which only a given number of operations may run at a time.
pub const LIMITED_KIND: (&str, u32) = ("build", 4);
const CREATORS: u64 = 2;
const WORKERS: u64 = 3;
/// How many steps each actor does.
const STEPS: u32 = 12;
const LEASE: Duration = Duration::from_secs(30);

/// The resource by which operations with a concurrency key, or with a unique key, are counted.
fn of_key(what: &str, key: &str) -> Resource {
    Resource { resource_type: what.to_owned(), resource_id: key.to_owned() }
}

/// One of the callers.
struct Actor {
    place: Arc<Place>,
    record: Arc<Record>,
    organization: Arc<str>,
    random: StdRng,
    name: String,
    /// Attempts that began with a creation, for whichever worker comes first.
    started: Started,
}

type Started = Arc<Mutex<Vec<Claimed>>>;

/// Runs a seed to its end; returns the record of it.
pub async fn run(place: &Arc<Place>, seed: u64) -> Record {
    let organization: Arc<str> = format!("seed-{seed}").into();
    let end = |store: Arc<dyn Store>| {
        let organization = Arc::clone(&organization);
        async move { store.end_of_changes(&organization).await }
    };
    let start = place.must(end).await;
    let record = Arc::new(Record::default());
    let started = Started::default();
    let actor = |number: u64| Actor {
        started: Arc::clone(&started),
        place: Arc::clone(place),
        record: Arc::clone(&record),
        organization: Arc::clone(&organization),
        random: StdRng::seed_from_u64(seed * 100 + number),
        name: format!("actor-{number}"),
    };
    actor(31).schedule().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn(actor(23).follow(start, Arc::clone(&is_over)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CREATORS {
        tasks.spawn(actor(number).create());
    }
    for number in 10..10 + WORKERS {
        tasks.spawn(actor(number).work());
    }
    tasks.spawn(actor(20).command());
    tasks.spawn(actor(21).keep());
    tasks.spawn(actor(22).kill());
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let mut last = actor(30);
    last.finish().await;
    is_over.store(true, Ordering::SeqCst);
    follower.await.unwrap();
    let look = |store: Arc<dyn Store>| history::look(store, Arc::clone(&organization), start);
    let seen = place.must(look).await;
    drop(last);
    let record = Arc::into_inner(record).unwrap();
    Record {
        clock: record.clock,
        calls: record.calls,
        asked: record.asked,
        keyed: record.keyed,
        followed: record.followed,
        ..seen
    }
}

impl Actor {
    fn server(&mut self) -> usize {
        self.random.random_range(0..self.place.servers())
    }

    fn access(&self) -> Access {
        Access::organization(&*self.organization)
    }

    async fn claim(&mut self, limit: u32) -> Vec<Claimed> {
        let request = ClaimRequest {
            kinds: [&KINDS[..], &[TICK]].concat().into_iter().map(str::to_owned).collect(),
            access: Some(self.access()),
            among: None,
            limit,
            worker: self.name.clone(),
            lease: LEASE,
        };
        let (server, from) = (self.server(), self.record.begin());
        let claimed =
            self.place.call(server, |store| async move { store.claim(request).await }).await.unwrap_or_default();
        for claimed in &claimed {
            self.record.note(from, claimed.operation.id, Seen::Claimed(claimed.lease.fence));
        }
        claimed
    }

    /// Works, well and badly. Attempts that it stalls on it settles last, perhaps long after others took over.
    async fn work(mut self) {
        let mut stalled = Vec::new();
        for _ in 0..STEPS {
            let limit = self.random.random_range(1..=3);
            let mut claimed = self.claim(limit).await;
            claimed.append(&mut self.started.lock().unwrap());
            for claimed in claimed {
                match self.random.random_range(0..10) {
                    0..4 => self.end(&claimed, Outcome::Completed { output: said(&claimed) }).await,
                    4 => self.end(&claimed, Outcome::Failed { message: said(&claimed), retryable: false }).await,
                    5 | 6 => {
                        // A caller may want it stopped just now.
                        if self.random.random_bool(0.3) {
                            self.steer_one(claimed.operation.id, OperationCommand::Cancel).await;
                        }
                        self.end(&claimed, Outcome::Failed { message: said(&claimed), retryable: true }).await
                    }
                    7 => self.give_back(&claimed).await,
                    8 => stalled.push(claimed),
                    // It dies, and is not heard of again.
                    _ => {}
                }
                if let Some(late) = stalled.first().cloned()
                    && self.random.random_bool(0.3)
                {
                    self.beat(&late).await;
                    // Perhaps it comes back while another worker runs the operation.
                    if self.random.random_bool(0.3) {
                        self.end(&late, Outcome::Completed { output: said(&late) }).await;
                        stalled.remove(0);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        for late in stalled {
            self.end(&late, Outcome::Completed { output: said(&late) }).await;
        }
    }

    async fn end(&mut self, claimed: &Claimed, outcome: Outcome) {
        let fence = claimed.lease.fence;
        let settlement = Settlement { lease: claimed.lease.clone(), outcome, retry_after: Duration::from_secs(1) };
        // A worker that was not answered repeats its call. A settlement that was accepted is then answered as it was,
        // so that the time counts from the first call on; a refusal says nothing about the first.
        let (from, mut asked) = (self.record.begin(), false);
        let answer = loop {
            let (server, again) = (self.server(), settlement.clone());
            let answer = self.place.call(server, |store| async move { store.settle(vec![again]).await }).await;
            match answer.map(|mut answers| answers.remove(0)) {
                Some(Ok(status)) => break Answer::Accepted(status),
                Some(Err(Refusal::StaleLease)) if asked => break Answer::Unknown,
                Some(Err(Refusal::StaleLease)) => break Answer::Refused,
                Some(Err(other)) => panic!("{other}"),
                None if asked => break Answer::Unknown,
                None => asked = true,
            }
        };
        self.record.note(from, claimed.operation.id, Seen::Settled { fence, text: said(claimed), answer });
    }

    async fn give_back(&mut self, claimed: &Claimed) {
        let (server, lease, from) = (self.server(), claimed.lease.clone(), self.record.begin());
        let released = self.place.call(server, |store| async move { store.release(vec![lease]).await }).await;
        let answer = match released.map(|mut answers| answers.remove(0)) {
            Some(Ok(())) => Answer::Accepted(()),
            Some(Err(_)) => Answer::Refused,
            None => Answer::Unknown,
        };
        self.record.note(from, claimed.operation.id, Seen::Released { fence: claimed.lease.fence, answer });
    }

    async fn beat(&mut self, claimed: &Claimed) {
        let (server, fence, from) = (self.server(), claimed.lease.fence, self.record.begin());
        let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some("still at it".to_owned()) };
        let told = self.place.call(server, |store| async move { store.heartbeat(vec![beat], LEASE).await }).await;
        match told.as_deref() {
            Some([LeaseStatus::Held { .. }]) => self.record.note(from, claimed.operation.id, Seen::Held(fence)),
            Some(_) => self.record.note(from, claimed.operation.id, Seen::Lost(fence)),
            None => {}
        }
    }

    /// Cancels, retries and deletes existing operations.
    async fn command(mut self) {
        for _ in 0..STEPS * 3 {
            let there = self.record.created();
            let Some(id) = there.get(self.random.random_range(0..there.len().max(1))).copied() else {
                tokio::task::yield_now().await;
                continue;
            };
            let command = match self.random.random_range(0..10) {
                0..4 => OperationCommand::Cancel,
                4..8 => OperationCommand::Retry,
                _ => OperationCommand::Delete,
            };
            self.steer_one(id, command).await;
        }
    }

    async fn steer_one(&mut self, id: OperationId, command: OperationCommand) {
        let (server, access, from) = (self.server(), self.access(), self.record.begin());
        let commanded = self.place.call(server, |store| async move { store.command(&access, id, command).await }).await;
        let answer = match commanded {
            Some(Some(Ok(operation))) => Answer::Accepted(operation.status),
            Some(Some(Err(_)) | None) => Answer::Refused,
            None => Answer::Unknown,
        };
        let bare = match answer {
            Answer::Accepted(_) => Answer::Accepted(()),
            Answer::Refused => Answer::Refused,
            Answer::Unknown => Answer::Unknown,
        };
        let seen = match command {
            OperationCommand::Cancel => Seen::Cancelled(answer),
            OperationCommand::Retry => Seen::Retried(bare),
            OperationCommand::Delete => Seen::Deleted(bare),
        };
        self.record.note(from, id, seen);
    }
}

/// What the worker of an attempt says: no two attempts say the same.
fn said(claimed: &Claimed) -> String {
    format!("{} {}", claimed.operation.id, claimed.lease.fence)
}
