//! Who calls: creators, cancellers, workers, a keeper, and whoever kills servers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use operations::{
    Access, Concurrency, Filter, NewOperation, Operation, OperationId, Outcome, PageRequest, Refusal, Resource, Status,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use store::{
    ClaimRequest, Claimed, Heartbeat, IdempotencyKey, LeaseStatus, Lost, OperationCommand, Position, Settlement, Start,
    Store, StoreError,
};

use crate::record::{Answer, Record, Seen};
use crate::server::Place;

const KINDS: [&str; 2] = ["scan", "build"];
/// Concurrency keys, and how many operations of each may run at a time.
const KEYS: [(&str, u32); 2] = [("one", 1), ("two", 2)];
/// A kind of which only so many operations may run at a time.
pub const LIMITED_KIND: (&str, u32) = ("build", 4);
const CREATORS: u64 = 2;
const WORKERS: u64 = 3;
/// What each of them does.
const STEPS: u32 = 12;
const LEASE: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(20);

/// The resource of operations with a concurrency key.
fn of_key(key: &str) -> Resource {
    Resource { resource_type: "key".to_owned(), resource_id: key.to_owned() }
}

/// One of those who call.
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

/// Runs a seed to its end; answers the record of it.
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
    let (feed, operations, totals) = last.look(start).await;
    drop(last);
    let record = Arc::into_inner(record).unwrap();
    Record { feed, operations, totals, ..record }
}

impl Actor {
    fn server(&mut self) -> usize {
        self.random.random_range(0..self.place.servers())
    }

    fn access(&self) -> Access {
        Access::organization(&*self.organization)
    }

    /// Creates one to three at a time, one sometimes so that it starts at once; with a key, until it is answered.
    async fn create(mut self) {
        for step in 0..STEPS {
            let new: Vec<NewOperation> = (0..self.random.random_range(1..=3))
                .map(|_| {
                    // What has a key has a resource by which it is counted.
                    let key = KEYS.get(self.random.random_range(0..KEYS.len() * 2));
                    NewOperation {
                        priority: self.random.random_range(-1..=1),
                        max_attempts: self.random.random_range(1..=3),
                        concurrency: key.map(|(key, limit)| Concurrency { key: (*key).to_owned(), limit: *limit }),
                        resource: key.map(|(key, _)| of_key(key)),
                        ..NewOperation::of_kind(KINDS[self.random.random_range(0..2)])
                    }
                })
                .collect();
            let key = self
                .random
                .random_bool(0.5)
                .then(|| IdempotencyKey { key: format!("{}-{step}", self.name), fingerprint: [7; 32] });
            let starts = new.len() == 1 && self.random.random_bool(0.7);
            loop {
                let (server, organization) = (self.server(), Arc::clone(&self.organization));
                let (new, key_again) = (new.clone(), key.clone());
                let from = self.record.begin();
                let start = starts.then(|| {
                    let (record, started) = (Arc::clone(&self.record), Arc::clone(&self.started));
                    Start::new(self.name.clone(), LEASE, move |claimed: Claimed| {
                        record.note(from, claimed.operation.id, Seen::Claimed(claimed.lease.fence));
                        started.lock().unwrap().push(claimed);
                    })
                });
                let created = self
                    .place
                    .call(server, |store| async move {
                        match store.create_with(&organization, new, key_again, start).await {
                            // Made by the call that was not answered, and deleted by another client since.
                            Err(StoreError::IdempotencyGone) => Ok(Vec::new()),
                            other => other,
                        }
                    })
                    .await;
                match created {
                    Some(created) => {
                        for operation in created {
                            self.record.note(from, operation.id, Seen::Created);
                        }
                        break;
                    }
                    None if key.is_none() => break,
                    None => tokio::task::yield_now().await,
                }
            }
        }
    }

    async fn claim(&mut self, limit: u32) -> Vec<Claimed> {
        let request = ClaimRequest {
            kinds: KINDS.map(str::to_owned).to_vec(),
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

    /// Works, well and badly. What it stalls on it brings at its very end, long after others took over perhaps.
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
                    5 | 6 => self.end(&claimed, Outcome::Failed { message: said(&claimed), retryable: true }).await,
                    7 => self.give_back(&claimed).await,
                    8 => stalled.push(claimed),
                    // It dies: nobody hears of it again.
                    _ => {}
                }
                if let Some(late) = stalled.first().cloned()
                    && self.random.random_bool(0.3)
                {
                    self.beat(&late).await;
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
        // A worker that was not answered asks again: what it is told the second time says nothing of the first.
        let mut asked = false;
        loop {
            let (server, again, from) = (self.server(), settlement.clone(), self.record.begin());
            let answer = self.place.call(server, |store| async move { store.settle(vec![again]).await }).await;
            let answer = match answer.map(|mut answers| answers.remove(0)) {
                Some(Ok(status)) => Answer::Accepted(status),
                Some(Err(Refusal::StaleLease)) if asked => Answer::Unknown,
                Some(Err(Refusal::StaleLease)) => Answer::Refused,
                Some(Err(other)) => panic!("{other}"),
                None => Answer::Unknown,
            };
            let is_answered = answer != Answer::Unknown || asked;
            self.record.note(from, claimed.operation.id, Seen::Settled { fence, text: said(claimed), answer });
            if is_answered {
                return;
            }
            asked = true;
        }
    }

    async fn give_back(&mut self, claimed: &Claimed) {
        let (server, lease) = (self.server(), claimed.lease.clone());
        self.place.call(server, |store| async move { store.release(vec![lease]).await }).await;
    }

    async fn beat(&mut self, claimed: &Claimed) {
        let (server, from) = (self.server(), self.record.begin());
        let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some("still at it".to_owned()) };
        let told = self.place.call(server, |store| async move { store.heartbeat(vec![beat], LEASE).await }).await;
        if let Some([LeaseStatus::Held { .. }]) = told.as_deref() {
            self.record.note(from, claimed.operation.id, Seen::Held(claimed.lease.fence));
        }
    }

    /// Cancels, retries and deletes what there is.
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

    /// Lets time pass and ends what has run out, as servers do.
    async fn keep(mut self) {
        for _ in 0..STEPS * 2 {
            self.place.advance(Duration::from_secs(self.random.random_range(0..15)));
            let server = self.server();
            self.rescue(server).await;
            self.count_running().await;
            tokio::task::yield_now().await;
        }
    }

    /// Never do more of a key run than may, in any snapshot, or of a kind.
    async fn count_running(&self) {
        for (key, limit) in KEYS {
            let resource = Some(of_key(key));
            let running = self
                .page(Filter { resource, status: Some(Status::Running), ..Filter::default() }, 0)
                .await
                .page
                .total_count;
            assert!(running <= u64::from(limit), "{}: {running} of the key {key} run", self.organization);
        }
        let (kind, limit) = LIMITED_KIND;
        let filter = Filter { kind: Some(kind.to_owned()), status: Some(Status::Running), ..Filter::default() };
        let running = self.page(filter, 0).await.page.total_count;
        assert!(running <= u64::from(limit), "{}: {running} of the kind {kind} run", self.organization);
    }

    async fn rescue(&self, server: usize) {
        self.place
            .call(server, |store| async move {
                let lost = store.lost_leases(Lost::Expired, 100).await?;
                let lost = lost.into_iter().map(|lost| (lost.lease, Duration::from_secs(1))).collect();
                store.lose(lost).await?;
                store.end_overdue_cancels(GRACE, 100).await
            })
            .await;
    }

    async fn kill(mut self) {
        for _ in 0..self.random.random_range(0..3) {
            for _ in 0..self.random.random_range(0..200) {
                tokio::task::yield_now().await;
            }
            let server = self.server();
            self.place.kill(server).await;
        }
    }

    /// Works in good order until nothing is left.
    async fn finish(&mut self) {
        loop {
            self.place.advance(LEASE * 2);
            self.rescue(0).await;
            for claimed in self.claim(50).await {
                self.end(&claimed, Outcome::Completed { output: said(&claimed) }).await;
            }
            let active = self.total(Some(Status::Pending)).await + self.total(Some(Status::Running)).await;
            if active == 0 {
                return;
            }
        }
    }

    async fn total(&self, status: Option<Status>) -> u64 {
        self.page(Filter { status, ..Filter::default() }, 0).await.page.total_count
    }

    async fn page(&self, filter: Filter, page: u32) -> store::Listing {
        let access = self.access();
        let request = PageRequest { page, page_size: 100 };
        let list = |store: Arc<dyn Store>| {
            let (access, filter) = (access.clone(), filter.clone());
            async move { store.list(&access, &filter, request).await }
        };
        self.place.must(list).await
    }

    /// The feed from a place on, what there is, and the totals of it.
    async fn look(&self, start: Position) -> (Vec<(OperationId, Option<Status>)>, Vec<Operation>, [u64; 5]) {
        let (mut feed, mut after) = (Vec::new(), start);
        loop {
            let organization = Arc::clone(&self.organization);
            let read = |store: Arc<dyn Store>| {
                let organization = Arc::clone(&organization);
                async move { store.changes(&organization, after, 100).await }
            };
            let part = self.place.must(read).await;
            if part.changes.is_empty() && part.held_up.is_none() {
                break;
            }
            feed.extend(part.changes.iter().map(|change| (change.id, change.status)));
            after = part.next;
        }
        let mut operations = Vec::new();
        for page in 0.. {
            let listing = self.page(Filter::default(), page).await;
            if listing.entries.is_empty() {
                break;
            }
            operations.extend(listing.entries.into_iter().map(|entry| entry.operation));
        }
        let mut totals = [self.total(None).await, 0, 0, 0, 0];
        for status in [Status::Pending, Status::Running, Status::Completed, Status::Failed] {
            totals[usize::from(status.number())] = self.total(Some(status)).await;
        }
        (feed, operations, totals)
    }
}

/// What the worker of an attempt says: no two attempts say the same.
fn said(claimed: &Claimed) -> String {
    format!("{} {}", claimed.operation.id, claimed.lease.fence)
}
