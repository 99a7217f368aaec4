//! The store for several servers: PostgreSQL 15 or newer.
//!
//! Every transaction touches one organization. Writes of a process go through a few batchers, each organization always
//! through the same ones, one for each sort of write, where concurrent calls coalesce (see [`crate::batch`]); the
//! engine's claims visit one organization after the other. Counts are a base and deltas (see [`counters`]). Servers do
//! not depend on each other (see [`hints`]): rows are locked in key order, claims pass over rows that others have
//! locked, numbers are taken under the lock of the organization's row.

mod admin;
mod audit;
mod bulk;
mod cells;
mod changes;
mod claim;
mod clock;
mod command;
mod complete;
mod concurrency;
mod connections;
mod consumers;
mod counters;
mod create;
mod deletion;
mod details;
mod doctor;
mod error;
mod evidence;
mod folds;
mod heads;
mod heartbeat;
mod hints;
mod history;
mod import;
mod inbox;
mod limits;
mod list;
mod measured;
mod moving;
mod pause;
mod policies;
mod postpone;
mod purge;
mod repeat;
mod replica;
mod resources;
mod rotate;
mod rows;
mod schedules;
mod search;
mod session;
mod sessions;
mod statistics;
mod texts;
mod traced;
mod transition;
mod tx;
mod unanswered;
mod views;
mod waiting;
mod waivers;
mod workers;
mod writer;

#[cfg(test)]
pub(crate) use session::MIGRATIONS;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use meters::{Meters, Queue};
use operations::{
    Access, Event, Filter, NewOperation, Operation, OperationId, PageRequest, Refusal, Status, Timestamp,
};
use tasks::Health;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::batch::{CommandRequest, Create, HeartbeatRequest, Slot, TokenChange, Upkeep, Write, WriteBatcher};
use crate::commits::{Commits, Coverage, News};
use crate::open::Open;
use crate::quota::Admission;
use crate::retention::{self, Retention};
use crate::rotation::Rotations;
use crate::seal::{Replacement, TextCursor, TextPage, TextPlace};
use crate::search::TimesCache;
use crate::split::{self, heard, recorded};
use crate::{
    AttemptTimeouts, AuditCall, AuditFilter, AuditPage, Changes, ClaimRequest, Claimed, Clock, CommandOutcome,
    Contents, Heartbeat, HistoryEvent, IdempotencyKey, KEPT_FOR_CONSUMERS, Keyring, LeaseRef, LeaseStatus, Listing,
    Lost, LostLease, NewToken, OperationCommand, Organization, Overrun, Pausable, Paused, Position, PositionKey,
    Quotas, Report, Settlement, Start, Store, StoreError, Token, TokenReach, Turns,
};
pub(crate) use cells::Watch;
use clock::DatabaseClock;
use connections::Connections;
pub use connections::Limits;
use error::unavailable;
use folds::Folds;
use heads::Heads;
use hints::Hints;
pub use import::Snapshot;
pub(crate) use moving::AWAY;
use replica::{Replica, Written};
use resources::Resources;
use unanswered::Unanswered;
use writer::Writer;

/// Batchers for each sort of write: this many transactions of different organizations are under way at a time.
const BATCHERS: usize = 2;

/// Operations in a PostgreSQL database. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Connections,
    creations: Arc<[WriteBatcher]>,
    claims: Arc<[WriteBatcher]>,
    /// Settlements, heartbeats and the rest.
    others: Arc<[WriteBatcher]>,
    clock: Clock,
    health: Health,
    meters: Meters,
    commits: Commits,
    hints: Hints,
    /// Read when it is first needed.
    position_key: Arc<OnceCell<PositionKey>>,
    /// Cancelled when the store closes.
    closing: CancellationToken,
    retention: Retention,
    admission: Admission,
    /// The organization that was purged last.
    purged: Arc<Mutex<String>>,
    rotations: Arc<Mutex<Rotations>>,
    heads: Heads,
    folds: Folds,
    unanswered: Unanswered,
    resources: Resources,
    times: TimesCache,
    /// Searches, which may take long. They leave connections to other reads; one organization has half of them at most.
    searches: Turns,
    replica: Option<Arc<Replica>>,
    /// The call that its writes are recorded as.
    call: Option<Arc<AuditCall>>,
}

/// Parts of a store that few callers choose.
#[derive(Default)]
struct Parts {
    /// `None`: the database's.
    clock: Option<Clock>,
    limits: Limits,
    meters: Meters,
}

impl PostgresStore {
    /// Connects to `postgres://user@host:port/database`, creates the schema `longrun` or brings it up to date (one
    /// server at a time, under a lock), and keeps up to `connections` connections.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached; [`StoreError::Unusable`] when the URL is not
    /// valid, or the schema was made by a newer longrun.
    pub async fn connect(url: &str, connections: u32) -> Result<PostgresStore, StoreError> {
        PostgresStore::connect_as(url, Open::Create, connections).await
    }

    /// As [`PostgresStore::connect`], with the schema as [`Open`] says.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`]; of a store that is to exist also [`StoreError::Missing`], and
    /// [`StoreError::Unusable`] when an older longrun made it.
    pub async fn connect_as(url: &str, how: Open, connections: u32) -> Result<PostgresStore, StoreError> {
        PostgresStore::start(url, how, None, connections, Parts::default()).await
    }

    /// As [`PostgresStore::connect`]; lists and single operations are read from the standby at `read_url` when it has
    /// replayed what this process wrote (see [`replica`]). The standby may be unavailable at any time.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`]; [`StoreError::Unusable`] too when `read_url` is another database.
    pub async fn connect_with_replica(
        url: &str,
        read_url: &str,
        connections: u32,
    ) -> Result<PostgresStore, StoreError> {
        PostgresStore::start(url, Open::Create, Some(read_url), connections, Parts::default()).await
    }

    /// As [`PostgresStore::connect`], with a clock of the caller's choice (tests move time by hand).
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect_with_clock(url: &str, connections: u32, clock: Clock) -> Result<PostgresStore, StoreError> {
        let parts = Parts { clock: Some(clock), ..Parts::default() };
        PostgresStore::start(url, Open::Create, None, connections, parts).await
    }

    /// As [`PostgresStore::connect`], with time limits of the caller's choice (tests use short ones).
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect_with_limits(url: &str, connections: u32, limits: Limits) -> Result<PostgresStore, StoreError> {
        PostgresStore::start(url, Open::Create, None, connections, Parts { limits, ..Parts::default() }).await
    }

    async fn start(
        url: &str,
        how: Open,
        read_url: Option<&str>,
        connections: u32,
        Parts { clock, limits, meters }: Parts,
    ) -> Result<PostgresStore, StoreError> {
        let connections = connections.max(2);
        let pool = Connections::new(session::options(url, limits)?, connections, limits, &meters);
        session::refuse_distributed(&pool).await?;
        match how {
            Open::Existing => session::accept(&pool).await?,
            Open::Create => session::migrate(&pool).await?,
        }
        counters::adopt(&pool).await.map_err(unavailable)?;
        statistics::adopt(&pool).await.map_err(unavailable)?;
        changes::adopt(&pool).await.map_err(unavailable)?;
        let (health, closing) = (Health::default(), CancellationToken::new());
        let clock = match clock {
            Some(clock) => clock,
            None => DatabaseClock::start(pool.clone(), &health, &closing).await?,
        };
        let written = read_url.map(|_| Written::default());
        let replica = match (read_url, &written) {
            (Some(url), Some(written)) => {
                let replica =
                    Replica::open(session::options(url, limits)?, connections, pool.clone(), written.clone()).await?;
                Some(Arc::new(replica))
            }
            _ => None,
        };
        let folds = Folds::start(pool.clone(), written, &health, &closing);
        let resources = Resources::start(pool.clone(), &health, &closing);
        let (retention, admission, unanswered) = (Retention::default(), Admission::default(), Unanswered::default());
        let (commits, heads) = (Commits::new(Coverage::Own), Heads::default());
        let hints = Hints::start(&pool, &commits, &health, &closing);
        let batchers = |queue| {
            let (clock, retention, admission, heads) = (&clock, &retention, &admission, &heads);
            let writer = || {
                Writer::new(
                    pool.clone(),
                    Arc::clone(clock),
                    retention.clone(),
                    admission.clone(),
                    heads.clone(),
                    folds.clone(),
                    unanswered.clone(),
                )
            };
            let batcher = |_| WriteBatcher::start(writer(), queue, &meters, &health, &commits);
            (0..BATCHERS).map(batcher).collect()
        };
        let (creations, claims, others) =
            (batchers(Queue::creations), batchers(Queue::claims), batchers(Queue::others));
        let (rotations, purged) = (Arc::default(), Arc::default());
        let searches = connections.saturating_sub(2) as usize;
        Ok(PostgresStore {
            creations,
            claims,
            others,
            pool,
            clock,
            health,
            meters: meters.clone(),
            commits,
            hints,
            position_key: Arc::default(),
            closing,
            retention,
            admission,
            purged,
            rotations,
            heads,
            folds,
            unanswered,
            resources,
            times: TimesCache::default(),
            searches: Turns::new(searches, searches / 2),
            replica,
            call: None,
        })
    }

    /// Makes the cursors that were given before unknown, for a store that was restored: changes that came after the
    /// backup may have had the same numbers as those that will come. No server may be using the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn renew_position_key(&self) -> Result<(), StoreError> {
        changes::renew_position_key(&self.pool).await.map_err(unavailable)
    }

    /// The version of PostgreSQL, e.g. `15.18`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn engine_version(&self) -> Result<String, StoreError> {
        sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&self.pool).await.map_err(unavailable)
    }

    /// Reads from the standby, if there is one that has the writes that must be seen; `None`: ask the primary.
    async fn on_standby<T, R>(&self, access: &Access, read: impl FnOnce(Connections) -> R) -> Option<T>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        self.replica.as_ref()?.read(&access.organization, read).await
    }

    /// Notes that what an organization has now was seen by callers: a standby that lacks it is not read.
    pub(crate) fn note_seen(&self, organization: &str) {
        self.folds.seen(organization);
    }

    /// An organization's batcher of a sort of writes. Sorts do not wait for each other: a creation holds the lock on
    /// the organization's row, which claims and settlements do not touch.
    fn batcher<'b>(&self, batchers: &'b [WriteBatcher], organization: &str) -> &'b WriteBatcher {
        // FNV-1a: any spread will do, and this one is the same in every process.
        let hash = organization
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        &batchers[usize::try_from(hash % BATCHERS as u64).expect("a small number")]
    }

    /// Submits a write of an organization that is neither a creation nor a claim to its batcher.
    async fn submit<Q, R: Send + 'static>(
        &self,
        organization: &str,
        write: fn(Slot<Q, R>) -> Write,
        request: Q,
    ) -> Result<R, StoreError> {
        self.batcher(&self.others, organization).submit(write, request).await
    }

    /// [Splits](split::by_organization) work by organization, and submits each part to its batcher.
    async fn by_organization<T, Q, R: Send + 'static>(
        &self,
        items: Vec<T>,
        organization: impl Fn(&T) -> &str,
        write: fn(Slot<Q, Vec<R>>) -> Write,
        request: impl Fn(Vec<T>) -> Q,
    ) -> Vec<Result<R, StoreError>> {
        split::by_organization(items, organization, |organization, part| {
            let request = request(part);
            async move { self.submit(&organization, write, request).await }
        })
        .await
    }

    async fn transition(&self, events: Vec<(LeaseRef, Event)>) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
        recorded(self.transition_each(events).await)
    }

    async fn transition_each(
        &self,
        events: Vec<(LeaseRef, Event)>,
    ) -> Vec<Result<Result<Status, Refusal>, StoreError>> {
        self.by_organization(events, |(lease, _)| &lease.organization, Write::Transition, |events| events).await
    }

    /// Answers how many took place. An organization that is locked or is being moved costs the others nothing: its
    /// error is answered when none took place.
    async fn transition_some(&self, events: Vec<(LeaseRef, Event)>) -> Result<u64, StoreError> {
        let (mut done, mut failed) = (0, None);
        for result in self.transition_each(events).await {
            match result {
                Ok(result) => done += u64::from(result.is_ok()),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.filter(|_| done == 0).map_or(Ok(done), Err)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create_as(
        &self,
        access: &Access,
        operations: Vec<NewOperation>,
        ids: Vec<OperationId>,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        let batcher = self.batcher(&self.creations, &access.organization);
        let Access { organization, projects: seen_by } = access.clone();
        let create = Create { organization, seen_by, operations, ids, key, start: None, call: None };
        batcher.create(&self.admission, || self.now(), create, start).await
    }

    async fn get_many(&self, access: &Access, ids: &[OperationId]) -> Result<Vec<Option<Operation>>, StoreError> {
        let mut found = self
            .on_standby(access, |pool| async move { list::get(&pool, access, ids).await })
            .await
            .unwrap_or_else(|| vec![None; ids.len()]);
        // Operations that a standby lacks may have been created by another process a moment ago.
        let missing: Vec<usize> = (0..ids.len()).filter(|index| found[*index].is_none()).collect();
        if !missing.is_empty() {
            let ids: Vec<OperationId> = missing.iter().map(|index| ids[*index]).collect();
            let there = list::get(&self.pool, access, &ids).await.map_err(StoreError::or_unavailable)?;
            for (index, operation) in missing.into_iter().zip(there) {
                found[index] = operation;
            }
        }
        Ok(found)
    }

    async fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> Result<Listing, StoreError> {
        let resources = &self.resources;
        let listed =
            self.on_standby(access, |pool| async move { list::list(&pool, resources, access, filter, page).await });
        if let Some(listing) = listed.await {
            return Ok(listing);
        }
        list::list(&self.pool, resources, access, filter, page).await.map_err(StoreError::or_unavailable)
    }

    async fn created_with(
        &self,
        organization: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Vec<Operation>>, StoreError> {
        create::created_with(&self.pool, self.now(), organization, key).await.map_err(StoreError::or_unavailable)
    }

    async fn output(&self, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
        if let Some(Some(found)) =
            self.on_standby(access, |pool| async move { list::output(&pool, access, id).await }).await
        {
            return Ok(Some(found));
        }
        list::output(&self.pool, access, id).await.map_err(StoreError::or_unavailable)
    }

    async fn history(&self, access: &Access, id: OperationId) -> Result<Option<Vec<HistoryEvent>>, StoreError> {
        history::read(&self.pool, access, id).await.map_err(StoreError::or_unavailable)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        // Workers of one organization ask at the same time and are served together; those of several are served
        // round-robin.
        if let Some(organization) = request.organization().map(str::to_owned) {
            return self.batcher(&self.claims, &organization).submit(Write::Claim, request).await;
        }
        self.claim_in_rotation(&request).await
    }

    async fn heartbeat(&self, beats: Vec<Heartbeat>, lease: Duration) -> Result<Vec<LeaseStatus>, StoreError> {
        let request = |beats| HeartbeatRequest { beats, lease };
        let statuses = self.by_organization(beats, |beat| &beat.lease.organization, Write::Heartbeat, request).await;
        heard(statuses, self.now())
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
        let at = self.now();
        let events = settlements.into_iter().map(|s| self.admission.bounded(s).into_event(at));
        self.transition(events.collect()).await
    }

    async fn release(&self, leases: Vec<LeaseRef>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        let results = self.transition(leases.into_iter().map(LeaseRef::into_release).collect()).await?;
        Ok(results.into_iter().map(|result| result.map(|_| ())).collect())
    }

    async fn lost_leases(&self, which: Lost, limit: u32) -> Result<Vec<LostLease>, StoreError> {
        let found = match which {
            Lost::Unanswered => self.unanswered.leases(&self.pool, limit).await,
            Lost::Expired | Lost::Local => claim::lost_leases(&self.pool, which, self.now(), limit).await,
        };
        found.map_err(StoreError::or_unavailable)
    }

    async fn overruns(&self, timeouts: &AttemptTimeouts, limit: u32) -> Result<Vec<Overrun>, StoreError> {
        claim::overruns(&self.pool, self.now(), timeouts, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn lose(&self, lost: Vec<(LeaseRef, Duration)>) -> Result<u64, StoreError> {
        let at = self.now();
        let events = lost.into_iter().map(|(lease, delay)| lease.into_loss(at, delay));
        self.transition_some(events.collect()).await
    }

    async fn command(
        &self,
        access: &Access,
        id: OperationId,
        command: OperationCommand,
    ) -> Result<CommandOutcome, StoreError> {
        let request = CommandRequest { access: access.clone(), id, command };
        self.submit(&access.organization, Write::Command, request).await
    }

    async fn end_overdue_cancels(&self, grace: Duration, limit: u32) -> Result<u64, StoreError> {
        let events =
            command::overdue(&self.pool, self.now(), grace, limit).await.map_err(StoreError::or_unavailable)?;
        self.transition_some(events).await
    }

    fn set_default_retention(&self, retain_for: Option<Duration>) {
        self.retention.set(retain_for);
    }

    fn set_quotas(&self, quotas: Quotas) {
        self.admission.set(quotas);
    }

    async fn purge(&self, limit: u32) -> Result<u64, StoreError> {
        let due = purge::due(&self.pool, self.now()).await.map_err(StoreError::or_unavailable)?;
        let (mut purged, mut failed) = (0, None);
        for organization in retention::in_rotation(due, &self.purged) {
            match self.submit(&organization, Write::Upkeep, Upkeep::Purge(organization.clone(), limit)).await {
                Ok(rows) => purged += rows,
                // The organization may be being moved: the others must not wait for it.
                Err(error) => failed = failed.or(Some(error)),
            }
            retention::served(&self.purged, organization);
        }
        failed.filter(|_| purged == 0).map_or(Ok(purged), Err)
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        waiting::next_due(&self.pool, &self.heads, after).await.map_err(StoreError::or_unavailable)
    }

    async fn forget_idempotency_keys(&self, limit: u32) -> Result<u64, StoreError> {
        self.submit("", Write::Upkeep, Upkeep::ForgetIdempotencyKeys(limit)).await
    }

    async fn end_of_changes(&self, organization: &str) -> Result<Position, StoreError> {
        let end = changes::end(&self.pool, organization).await.map_err(StoreError::or_unavailable)?;
        // A caller that then reads what there is, and waits for changes after the end, must see what came before it.
        self.folds.seen(organization);
        Ok(end)
    }

    async fn changes(&self, organization: &str, after: Position, limit: u32) -> Result<Changes, StoreError> {
        let read = changes::read(&self.pool, organization, after, limit).await.map_err(StoreError::or_unavailable)?;
        if !read.changes.is_empty() {
            // A caller that then reads what has changed must see the change.
            self.folds.seen(organization);
        }
        Ok(read)
    }

    async fn forget_changes(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        let now = self.now();
        let (before, uncommitted_before) = (now.before(keep), now.before(keep.max(KEPT_FOR_CONSUMERS)));
        consumers::forget(&self.pool, before, uncommitted_before, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn position_key(&self) -> Result<PositionKey, StoreError> {
        let read = async || -> Result<PositionKey, StoreError> {
            let sql = "SELECT value FROM secrets WHERE name = 'feed'";
            let secret: Option<Vec<u8>> =
                sqlx::query_scalar(sql).fetch_optional(&self.pool).await.map_err(unavailable)?;
            let key = secret.as_deref().and_then(PositionKey::new);
            key.ok_or_else(|| StoreError::Unusable("the secret of the change log is missing".to_owned()))
        };
        self.position_key.get_or_try_init(read).await.cloned()
    }

    async fn register_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        consumers::begin(&self.pool, consumer).await.map_err(StoreError::or_unavailable)
    }

    async fn acquire_consumer_lease(&self, consumer: &str, process: &str, time: Duration) -> Result<bool, StoreError> {
        let now = self.now();
        let lease = consumers::acquire_consumer_lease(&self.pool, now, consumer, process, now.after(time)).await;
        lease.map_err(StoreError::or_unavailable)
    }

    async fn uncommitted(
        &self,
        consumer: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Position)>, StoreError> {
        consumers::uncommitted(&self.pool, consumer, after, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn commit_offset(&self, consumer: &str, organization: &str, position: Position) -> Result<(), StoreError> {
        consumers::mark(&self.pool, consumer, organization, position).await.map_err(StoreError::or_unavailable)
    }

    async fn drain_inbox(&self, limit: u32) -> Result<Option<u64>, StoreError> {
        let drained = inbox::drain(&self.pool, self.now(), limit, &self.admission, &self.heads, &self.folds).await;
        if drained.as_ref().is_ok_and(|rows| *rows > 0) {
            self.commits.note(News::CREATED);
        }
        drained.map(Some).map_err(StoreError::or_unavailable)
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn commits(&self) -> Commits {
        self.commits.clone()
    }

    async fn pause(&self, what: Pausable) -> Result<bool, StoreError> {
        Ok(self.submit(what.key().0, Write::Upkeep, Upkeep::Pause(what.clone(), true)).await? > 0)
    }

    async fn resume(&self, what: Pausable) -> Result<bool, StoreError> {
        Ok(self.submit(what.key().0, Write::Upkeep, Upkeep::Pause(what.clone(), false)).await? > 0)
    }

    async fn paused(&self) -> Result<Vec<Paused>, StoreError> {
        pause::all(&self.pool).await.map_err(StoreError::or_unavailable)
    }

    async fn organizations(&self) -> Result<Vec<Organization>, StoreError> {
        pause::organizations(&self.pool, false).await.map_err(StoreError::or_unavailable)
    }

    async fn kinds(&self, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
        deletion::kinds(&self.pool, organization).await.map_err(StoreError::or_unavailable)
    }

    async fn contents(&self, organization: &str) -> Result<Option<Contents>, StoreError> {
        deletion::contents(&self.pool, organization).await.map_err(StoreError::or_unavailable)
    }

    async fn begin_deletion(&self, organization: &str, unfinished_too: bool) -> Result<u64, StoreError> {
        let begun = deletion::begin(&self.pool, self.now(), organization, unfinished_too, self.call.as_ref()).await;
        self.folds.seen(organization);
        begun.map_err(StoreError::or_unavailable)
    }

    async fn delete_part(&self, organization: &str, limit: u32) -> Result<Option<u64>, StoreError> {
        let part = deletion::part(&self.pool, organization, limit).await;
        self.folds.seen(organization);
        if part.as_ref().is_ok_and(|rows| *rows > Some(0)) {
            self.commits.note(News::CHANGED);
        }
        part.map_err(StoreError::or_unavailable)
    }

    async fn end_deletion(&self, organization: &str) -> Result<bool, StoreError> {
        let is_ended = deletion::end(&self.pool, self.now(), organization).await.map_err(StoreError::or_unavailable)?;
        self.folds.seen(organization);
        self.commits.note(News::CHANGED);
        Ok(is_ended)
    }

    async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
        self.submit(&token.access.organization.clone(), Write::CreateToken, token).await
    }

    async fn list_tokens(
        &self,
        reach: &TokenReach,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Token>, StoreError> {
        admin::tokens(&self.pool, reach, after, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn token(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        admin::token(&self.pool, reach, id).await.map_err(StoreError::or_unavailable)
    }

    async fn revoke(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        self.submit("", Write::ChangeToken, TokenChange::Revoke(reach.clone(), id.to_owned())).await
    }

    async fn replace_token(&self, id: &str, new: NewToken, overlap: Duration) -> Result<Option<Token>, StoreError> {
        let organization = new.access.organization.clone();
        self.submit(&organization, Write::ChangeToken, TokenChange::Replace(id.to_owned(), new, overlap)).await
    }

    async fn find_token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        admin::find_token(&self.pool, hash).await.map_err(StoreError::or_unavailable)
    }

    fn on_behalf_of(&self, call: AuditCall) -> Arc<dyn Store> {
        let call = Arc::new(call);
        let recorded = |batchers: &[WriteBatcher]| batchers.iter().map(|batcher| batcher.on_behalf_of(&call)).collect();
        let (creations, others) = (recorded(&self.creations), recorded(&self.others));
        Arc::new(PostgresStore { creations, others, call: Some(call), ..self.clone() })
    }

    async fn record(&self, call: AuditCall, code: i32) -> Result<(), StoreError> {
        let organization = call.organization.clone();
        let batcher = self.batcher(&self.others, &organization).on_behalf_of(&Arc::new(call));
        batcher.submit(Write::Upkeep, Upkeep::Record(code)).await.map(drop)
    }

    async fn audit(
        &self,
        organization: &str,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        audit::read(&self.pool, organization, filter, before, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn forget_audit(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        audit::forget(&self.pool, self.now().before(keep), limit).await.map_err(StoreError::or_unavailable)
    }

    async fn create_organization(&self, organization: &str, limits: crate::Limits) -> Result<bool, StoreError> {
        let made = Upkeep::CreateOrganization(organization.to_owned(), limits);
        let is_made = self.submit(organization, Write::Upkeep, made).await? > 0;
        self.refresh_limits().await?;
        Ok(is_made)
    }

    async fn set_limits(&self, organization: &str, limits: crate::Limits) -> Result<bool, StoreError> {
        let set = Upkeep::SetLimits(organization.to_owned(), limits);
        let is_there = self.submit(organization, Write::Upkeep, set).await? > 0;
        self.refresh_limits().await?;
        Ok(is_there)
    }

    async fn refresh_limits(&self) -> Result<(), StoreError> {
        self.admission.set_stored(limits::all(&self.pool).await.map_err(StoreError::or_unavailable)?);
        Ok(())
    }

    fn limits(&self) -> Arc<BTreeMap<String, crate::Limits>> {
        self.admission.stored()
    }

    fn quotas(&self) -> Arc<Quotas> {
        self.admission.quotas()
    }

    async fn touch_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.submit("", Write::Upkeep, Upkeep::TouchTokens(ids)).await.map(|_| ())
    }

    async fn close(&self) {
        self.closing.cancel();
        if let Some(replica) = &self.replica {
            replica.close().await;
        }
        let batchers = [&self.creations, &self.claims, &self.others].into_iter().flat_map(|batchers| batchers.iter());
        // All at once: a batcher that is stuck ends by its own time limit, and must not keep the others from
        // disconnecting.
        let disconnected = join_all(batchers.map(|batcher| batcher.submit(Write::Upkeep, Upkeep::Disconnect)));
        if tokio::time::timeout(self.pool.limits().close, disconnected).await.is_err() {
            tracing::warn!("not all writes were answered before the store was closed");
        }
        self.hints.closed(self.pool.limits().close).await;
        self.pool.close().await;
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(unavailable)?;
        self.submit("", Write::Upkeep, Upkeep::Ping).await.map(|_| ())
    }

    fn seal_with(&self, keyring: Keyring) {
        self.admission.seal_with(keyring);
    }

    async fn text_heads(&self, after: TextCursor, limit: u32) -> Result<TextPage, StoreError> {
        texts::heads(&self.pool, &after, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn texts(&self, places: Vec<TextPlace>) -> Result<Vec<Option<String>>, StoreError> {
        texts::read(&self.pool, &places).await.map_err(StoreError::or_unavailable)
    }

    async fn replace_texts(&self, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
        texts::replace(&self.pool, replacements).await.map_err(StoreError::or_unavailable)
    }

    async fn doctor(&self) -> Result<Report, StoreError> {
        doctor::examine(&self.pool).await.map_err(StoreError::or_unavailable)
    }
}
