//! Actors that keep servers going, count, follow the change log, kill servers, and read what there is in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use operations::schedule::{CatchUp, NewSchedule, Overlap};
use operations::{Filter, NewOperation, Outcome, PageRequest, Status};
use rand::RngExt as _;
use store::{Claimed, Lost, Position, Store, fire_schedules};

use super::{Actor, KEYS, LEASE, LIMITED_KIND, STEPS, UNIQUE_KEYS, of_key, said};
use crate::history::{EVERY, RETAIN_FOR, TICK, Told};

const GRACE: Duration = Duration::from_secs(20);
/// How much one call ends, fires or removes.
const BATCH: u32 = 100;

impl Actor {
    /// Makes a schedule whose every due time is to create one operation.
    pub(super) async fn schedule(&self) {
        let wanted = NewSchedule {
            name: TICK.to_owned(),
            cron: String::new(),
            every: Some(EVERY),
            time_zone: String::new(),
            operation: NewOperation::of_kind(TICK),
            overlap: Overlap::Allow,
            catch_up: CatchUp::All,
            jitter: Duration::ZERO,
            paused: false,
        };
        let create = |store: Arc<dyn Store>| {
            let (organization, wanted) = (Arc::clone(&self.organization), wanted.clone());
            async move { store.create_schedule(&organization, wanted).await }
        };
        self.place.must(create).await.unwrap();
    }

    /// Lets time pass and does what is due, as servers do.
    pub(super) async fn keep(mut self) {
        for _ in 0..STEPS * 2 {
            self.place.advance(Duration::from_secs(self.random.random_range(0..15)));
            let servers = [self.server(), self.server()];
            self.rescue(servers[0]).await;
            // Both read the same due times.
            tokio::join!(self.fire(servers[0]), self.fire(servers[1]));
            self.place.call(servers[1], |store| async move { store.purge(BATCH).await }).await;
            self.count_running().await;
            tokio::task::yield_now().await;
        }
    }

    async fn fire(&self, server: usize) {
        let organization = Arc::clone(&self.organization);
        let fire = |store: Arc<dyn Store>| async move { fire_schedules(&*store, &organization, BATCH).await };
        self.place.call(server, fire).await;
    }

    /// In no snapshot do more operations of a key or of a kind run than may, nor do two that have not ended have one
    /// unique key.
    async fn count_running(&self) {
        for (key, limit) in KEYS {
            let resource = Some(of_key("key", key));
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
        for key in UNIQUE_KEYS {
            let page = self.page(Filter { resource: Some(of_key("unique", key)), ..Filter::default() }, 0).await;
            let not_ended = page.entries.iter().filter(|entry| !entry.operation.status.is_terminal()).count();
            assert!(not_ended <= 1, "{}: {not_ended} with the unique key {key} have not ended", self.organization);
        }
    }

    async fn rescue(&self, server: usize) {
        self.place
            .call(server, |store| async move {
                let lost = store.lost_leases(Lost::Expired, BATCH).await?;
                let lost = lost.into_iter().map(|lost| (lost.lease, Duration::from_secs(1))).collect();
                store.lose(lost).await?;
                store.end_overdue_cancels(GRACE, BATCH).await
            })
            .await;
    }

    pub(super) async fn kill(mut self) {
        for _ in 0..self.random.random_range(0..3) {
            for _ in 0..self.random.random_range(0..200) {
                tokio::task::yield_now().await;
            }
            let server = self.server();
            self.place.kill(server).await;
        }
    }

    /// Reads the change log bit by bit while everything happens, until it is over.
    pub(super) async fn follow(mut self, start: Position, is_over: Arc<AtomicBool>) {
        let mut after = start;
        self.record.followed.lock().unwrap().get_or_insert_default();
        loop {
            let was_over = is_over.load(Ordering::SeqCst);
            let (server, limit) = (self.server(), self.random.random_range(1..20));
            let organization = Arc::clone(&self.organization);
            let read = |store: Arc<dyn Store>| async move { store.changes(&organization, after, limit).await };
            let Some(part) = self.place.call(server, read).await else { continue };
            if part.changes.is_empty() && part.held_up.is_none() && was_over {
                return;
            }
            let told = part.changes.iter().map(|change| Told { id: change.id, status: change.status, at: change.at });
            self.record.followed.lock().unwrap().get_or_insert_default().extend(told);
            after = part.next;
            tokio::task::yield_now().await;
        }
    }

    /// Works properly until nothing is left, and everything whose retention is over is removed.
    pub(super) async fn finish(&mut self) {
        let organization = Arc::clone(&self.organization);
        let fire = |store: Arc<dyn Store>| {
            let organization = Arc::clone(&organization);
            async move { fire_schedules(&*store, &organization, BATCH).await }
        };
        loop {
            // Often enough that there are never more past due times than are made up.
            self.place.must(fire).await;
            self.place.advance(LEASE * 2);
            self.rescue(0).await;
            let claimed: Vec<Claimed> = self.claim(50).await;
            for claimed in claimed {
                self.end(&claimed, Outcome::Completed { output: said(&claimed) }).await;
            }
            let active = self.total(Some(Status::Pending)).await + self.total(Some(Status::Running)).await;
            if active == 0 {
                break;
            }
        }
        self.place.advance(RETAIN_FOR * 2);
        self.place.must(fire).await;
        while self.total(Some(Status::Pending)).await > 0 {
            for claimed in self.claim(50).await {
                self.end(&claimed, Outcome::Completed { output: said(&claimed) }).await;
            }
        }
        while self.place.must(|store| async move { store.purge(BATCH).await }).await > 0 {}
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
}
