//! The embedded store: SQLite in WAL mode, one file, one writer, several readers.
//!
//! All writes go through one thread ([`writer`]) that takes the writes that queued while the previous commit was in
//! flight and commits them as one transaction: one wait for the disk per batch, and a lone call never waits for others.
//! Reads are carried out on threads that may wait too ([`connections`]), concurrently with the writer, each in one read
//! transaction, so that page and count are of one snapshot.
//!
//! No parameter is used alone as a LIMIT: SQLite would prepare the statement anew each time that the parameter is
//! bound, since its plan may depend on it.
//!
//! Counters are updated in place: SQLite has one writer and no row versions, so nothing grows under a long-held
//! snapshot except the write-ahead log, which is truncated once the snapshot ends.

mod admin;
mod audit;
mod bulk;
mod changes;
mod claim;
mod clock;
mod command;
mod concurrency;
mod connections;
mod consumers;
mod counters;
mod create;
mod deletion;
mod details;
mod disk;
mod doctor;
mod evidence;
mod export;
mod history;
mod limits;
mod list;
mod measured;
mod part;
mod pause;
mod policies;
mod postpone;
mod purge;
mod read;
mod repeat;
mod resources;
mod rows;
mod schedules;
mod search;
mod sessions;
mod single;
mod statement;
mod statistics;
mod texts;
mod traced;
mod transition;
mod views;
mod waivers;
mod workers;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meters::{Meters, Queue};
use operations::{
    Access, Event, Filter, NewOperation, Operation, OperationId, PageRequest, Refusal, Status, Timestamp,
};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::batch::{
    ChangeLogWrite, CommandRequest, Create, HeartbeatRequest, TokenChange, Upkeep, Write, WriteBatcher,
};
use crate::commits::{Commits, Coverage};
use crate::deletion::Deletion;
use crate::open::{self, Open};
use crate::quota::Admission;
use crate::retention::{self, Retention};
use crate::seal::{Replacement, TextCursor, TextPage, TextPlace};
use crate::search::TimesCache;
use crate::{
    AttemptTimeouts, AuditCall, AuditFilter, AuditPage, Changes, ClaimRequest, Claimed, Clock, CommandOutcome,
    Contents, Heartbeat, HistoryEvent, IdempotencyKey, KEPT_FOR_CONSUMERS, Keyring, LeaseRef, LeaseStatus, Limits,
    Listing, Lost, LostLease, NewToken, OperationCommand, Organization, Overrun, Pausable, Paused, Position,
    PositionKey, Quotas, Report, Settlement, Start, Store, StoreError, Token, TokenReach,
};
use clock::Clocks;
use connections::{BUSY_TIMEOUT, Readers};
use disk::Disk;
pub use disk::Latency;
use rusqlite::Connection;
use statement::query;
pub(crate) use statistics::StatisticsWrite;
use tasks::Health;
use tokio::sync::OnceCell;
use writer::{Shared, Writer};

/// The migrations; a new one is added at the end.
pub(crate) static MIGRATIONS: LazyLock<Migrator> = open::migrations![
    "0001_initial",
    "0002_counters",
    "0003_steering",
    "0004_changes",
    "0005_pauses",
    "0006_clock",
    "0007_notices_and_secrets",
    "0008_deletion",
    "0009_resource_counters",
    "0011_instance",
    "0012_audit",
    "0013_details",
    "0014_search",
    "0015_concurrency_and_bulk",
    "0016_schedules",
    "0017_statistics_and_views",
    "0018_sessions",
    "0019_traces",
    "0021_evidence",
    "0022_waivers",
    "0023_schedules_of_operations",
    "0024_seen_policies",
];

/// Operations in one SQLite file. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct SqliteStore {
    readers: Readers,
    writer: WriteBatcher,
    clocks: Arc<Clocks>,
    health: Health,
    meters: Meters,
    commits: Commits,
    /// Read when it is first needed.
    position_key: Arc<OnceCell<PositionKey>>,
    retention: Retention,
    admission: Admission,
    /// The organization that was purged last.
    purged: Arc<Mutex<String>>,
    path: PathBuf,
    times: TimesCache,
    /// As [`Shared::left_due`].
    left_due: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Opens the database file, creates it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the file is not a database, cannot be written, or was made by a newer longrun.
    pub async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_as(path, Open::Create).await
    }

    /// Opens the database file as [`Open`] says.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; for a file that must exist also [`StoreError::Missing`], and [`StoreError::Unusable`]
    /// when an older longrun made it.
    pub async fn open_as(path: &Path, how: Open) -> Result<SqliteStore, StoreError> {
        SqliteStore::start(path, how, clock::system(), clock::passing()).await
    }

    /// As [`SqliteStore::open`], with a clock of the caller's choice (tests move time by hand).
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with_clock(path: &Path, clock: Clock) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_with_clocks(path, Arc::clone(&clock), clock).await
    }

    /// As [`SqliteStore::open_with_clock`]; leases go by `passing`, which is never set, however `clock` is.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with_clocks(path: &Path, clock: Clock, passing: Clock) -> Result<SqliteStore, StoreError> {
        SqliteStore::start(path, Open::Create, clock, passing).await
    }

    async fn start(path: &Path, how: Open, clock: Clock, passing: Clock) -> Result<SqliteStore, StoreError> {
        let unusable = |error: &dyn std::fmt::Display| StoreError::Unusable(format!("{}: {error}", path.display()));
        let options = SqliteConnectOptions::new().filename(path).foreign_keys(true).busy_timeout(BUSY_TIMEOUT);
        match how {
            Open::Existing => accept(path, &options).await?,
            Open::Create => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(|error| unusable(&error))?;
                }
            }
        }
        // Created and migrated by the library that does it for PostgreSQL too; everything else is done on our own
        // connections.
        let options = options.create_if_missing(how == Open::Create).journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.map_err(|error| unusable(&error))?;
        if how == Open::Create {
            let place = path.display().to_string();
            MIGRATIONS.run(&mut connection).await.map_err(|error| open::refused(&place, &error))?;
        }
        // Closed last, or the library would remove the file's journal, which would have to be made again.
        let store = SqliteStore::on(path, Disk::Threads, clock, passing)?;
        connection.close().await.map_err(|error| unusable(&error))?;
        Ok(store)
    }

    /// A store on a file that exists and was made by this version; neither is checked. It has no threads: reads and
    /// writes are done by the tasks of the caller's runtime, as fast as `latency` says. For simulations.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the file cannot be read.
    pub fn open_inline(path: &Path, latency: Latency) -> Result<SqliteStore, StoreError> {
        SqliteStore::on(path, Disk::Inline(latency), clock::system(), clock::passing())
    }

    fn on(path: &Path, disk: Disk, clock: Clock, passing: Clock) -> Result<SqliteStore, StoreError> {
        let meters = Meters::default();
        let unusable = |error: StoreError| StoreError::Unusable(format!("{}: {error}", path.display()));
        let readers = Readers::open(path, disk.clone(), &meters).map_err(unusable)?;
        let (retention, admission) = (Retention::default(), Admission::default());
        let (health, clocks, commits) =
            (Health::default(), Arc::new(Clocks::new(clock, passing)), Commits::new(Coverage::All));
        let left_due = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            path: path.to_owned(),
            disk: disk.clone(),
            clocks: Arc::clone(&clocks),
            retention: retention.clone(),
            admission: admission.clone(),
            left_due: Arc::clone(&left_due),
        };
        let writer = Writer::new(shared);
        let writer = match disk {
            Disk::Threads => WriteBatcher::start_thread(writer, Queue::all, &meters, &health, &commits)?,
            Disk::Inline(_) => WriteBatcher::start(writer, Queue::all, &meters, &health, &commits),
        };
        let (path, purged, position_key, times) =
            (path.to_owned(), Arc::default(), Arc::default(), TimesCache::default());
        Ok(SqliteStore {
            readers,
            writer,
            clocks,
            health,
            meters,
            commits,
            position_key,
            retention,
            admission,
            purged,
            path,
            times,
            left_due,
        })
    }

    /// The time by which leases are judged, after they were moved if the clock was set; and the offset that must not
    /// change until they were read.
    async fn look_at_leases(&self) -> Result<(Timestamp, i64), StoreError> {
        loop {
            let (offset, now) = (self.clocks.offset(), self.now());
            if self.clocks.set_by() == 0 {
                return Ok((now, offset));
            }
            // Every write moves them first.
            self.writer.submit(Write::Upkeep, Upkeep::Ping).await?;
        }
    }

    /// The leases that were found, unless leases were moved while they were read: then nothing is certain, and the next
    /// call finds them.
    fn if_unmoved<T>(&self, offset: i64, found: Vec<T>) -> Vec<T> {
        if self.clocks.offset() == offset { found } else { Vec::new() }
    }

    async fn write_change_log(&self, write: ChangeLogWrite) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::ChangeLog(write)).await
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of SQLite inside, e.g. `3.51.0`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn engine_version(&self) -> Result<String, StoreError> {
        Ok(rusqlite::version().to_owned())
    }

    async fn delete(&self, organization: &str, step: Deletion) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::Delete(organization.to_owned(), step)).await
    }

    async fn set_paused(&self, what: Pausable, paused: bool) -> Result<bool, StoreError> {
        Ok(self.writer.submit(Write::Upkeep, Upkeep::Pause(what, paused)).await? > 0)
    }

    async fn transition(&self, events: Vec<(LeaseRef, Event)>) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
        self.writer.submit(Write::Transition, events).await
    }
}

/// Accepts only a file that has a store of this version, and changes nothing about it.
async fn accept(path: &Path, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let place = path.display().to_string();
    let missing = || StoreError::Missing(format!("at {place}"));
    if !path.exists() {
        return Err(missing());
    }
    let unusable = |error: sqlx::Error| StoreError::Unusable(format!("{place}: {error}"));
    let mut connection = options.connect().await.map_err(unusable)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1")
        .bind(open::APPLIED)
        .fetch_one(&mut connection)
        .await
        .map_err(unusable)?;
    let accepted = match tables {
        0 => Err(missing()),
        _ => open::accept_current(&mut connection, &MIGRATIONS, &place).await,
    };
    connection.close().await.map_err(unusable)?;
    accepted
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_as(
        &self,
        access: &Access,
        operations: Vec<NewOperation>,
        ids: Vec<OperationId>,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        let batcher = &self.writer;
        let Access { organization, projects: seen_by } = access.clone();
        let create = Create { organization, seen_by, operations, ids, key, start: None, call: None };
        batcher.create(&self.admission, || self.now(), create, start).await
    }

    async fn get_many(&self, access: &Access, ids: &[OperationId]) -> Result<Vec<Option<Operation>>, StoreError> {
        let (access, ids) = (access.clone(), ids.to_vec());
        self.readers.read(move |connection| single::get(connection, &access, &ids)).await
    }

    async fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> Result<Listing, StoreError> {
        let (access, filter) = (access.clone(), filter.clone());
        self.readers.read(move |connection| list::list(connection, &access, &filter, page)).await
    }

    async fn created_with(
        &self,
        organization: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Vec<Operation>>, StoreError> {
        let (now, organization, key) = (self.now(), organization.to_owned(), key.clone());
        self.readers.read(move |connection| create::created_with(connection, now, &organization, &key)).await
    }

    async fn output(&self, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
        let access = access.clone();
        self.readers.read(move |connection| single::output(connection, &access, id)).await
    }

    async fn history(&self, access: &Access, id: OperationId) -> Result<Option<Vec<HistoryEvent>>, StoreError> {
        let access = access.clone();
        self.readers.read(move |connection| history::read(connection, &access, id)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let mut all: Vec<Claimed> = Vec::new();
        loop {
            let left_due = self.left_due.load(Ordering::Relaxed);
            let limit = request.limit.saturating_sub(u32::try_from(all.len()).unwrap_or(u32::MAX));
            match self.writer.submit(Write::Claim, ClaimRequest { limit, ..request.clone() }).await {
                Ok(claimed) => all.extend(claimed),
                Err(error) if all.is_empty() => return Err(error),
                // Operations that were claimed before are answered.
                Err(_) => return Ok(all),
            }
            // Due operations are made claimable a bounded number at a time, and the next ones may be those that are
            // requested.
            if all.len() >= request.limit as usize || self.left_due.load(Ordering::Relaxed) == left_due {
                return Ok(all);
            }
        }
    }

    async fn heartbeat(&self, beats: Vec<Heartbeat>, lease: Duration) -> Result<Vec<LeaseStatus>, StoreError> {
        self.writer.submit(Write::Heartbeat, HeartbeatRequest { beats, lease }).await
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
        if which == Lost::Unanswered {
            // The writer is in this process: it always answers.
            return Ok(Vec::new());
        }
        let (now, offset) = self.look_at_leases().await?;
        let found = self.readers.read(move |connection| claim::lost_leases(connection, which, now, limit)).await?;
        Ok(self.if_unmoved(offset, found))
    }

    async fn overruns(&self, timeouts: &AttemptTimeouts, limit: u32) -> Result<Vec<Overrun>, StoreError> {
        let (now, offset) = self.look_at_leases().await?;
        let timeouts = timeouts.clone();
        let found = self.readers.read(move |connection| claim::overruns(connection, now, &timeouts, limit)).await?;
        Ok(self.if_unmoved(offset, found))
    }

    async fn lose(&self, lost: Vec<(LeaseRef, Duration)>) -> Result<u64, StoreError> {
        let at = self.now();
        let events = lost.into_iter().map(|(lease, delay)| lease.into_loss(at, delay));
        let results = self.transition(events.collect()).await?;
        Ok(results.iter().filter(|result| result.is_ok()).count() as u64)
    }

    async fn command(
        &self,
        access: &Access,
        id: OperationId,
        command: OperationCommand,
    ) -> Result<CommandOutcome, StoreError> {
        self.writer.submit(Write::Command, CommandRequest { access: access.clone(), id, command }).await
    }

    async fn end_overdue_cancels(&self, grace: Duration, limit: u32) -> Result<u64, StoreError> {
        let (now, offset) = self.look_at_leases().await?;
        let found = self.readers.read(move |connection| command::overdue(connection, now, grace, limit)).await?;
        let events = self.if_unmoved(offset, found);
        let results = if events.is_empty() { Vec::new() } else { self.transition(events).await? };
        Ok(results.iter().filter(|result| result.is_ok()).count() as u64)
    }

    fn set_default_retention(&self, retain_for: Option<Duration>) {
        self.retention.set(retain_for);
    }

    fn set_quotas(&self, quotas: Quotas) {
        self.admission.set(quotas);
    }

    async fn purge(&self, limit: u32) -> Result<u64, StoreError> {
        let now = self.now();
        let due = self.readers.read(move |connection| purge::due(connection, now)).await?;
        let mut purged = 0;
        for organization in retention::in_rotation(due, &self.purged) {
            purged += self.writer.submit(Write::Upkeep, Upkeep::Purge(organization.clone(), limit)).await?;
            retention::served(&self.purged, organization);
        }
        Ok(purged)
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.readers.read(move |connection| claim::next_due(connection, after)).await
    }

    async fn forget_idempotency_keys(&self, limit: u32) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::ForgetIdempotencyKeys(limit)).await
    }

    async fn end_of_changes(&self, _organization: &str) -> Result<Position, StoreError> {
        self.readers.read(changes::end).await
    }

    async fn changes(&self, organization: &str, after: Position, limit: u32) -> Result<Changes, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| changes::read(connection, &organization, after, limit)).await
    }

    async fn forget_changes(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        let now = self.now();
        self.write_change_log(ChangeLogWrite::Forget(now.before(keep), now.before(keep.max(KEPT_FOR_CONSUMERS)), limit))
            .await
    }

    async fn position_key(&self) -> Result<PositionKey, StoreError> {
        let read = async || -> Result<PositionKey, StoreError> {
            let sql = "SELECT value FROM secrets WHERE name = 'feed'";
            let read = move |connection: &Connection| {
                query(sql).fetch_optional(connection)?.map(|row| row.try_get(0)).transpose()
            };
            let secret: Option<Vec<u8>> = self.readers.read(read).await?;
            let key = secret.as_deref().and_then(PositionKey::new);
            key.ok_or_else(|| StoreError::Unusable("the secret of the change log is missing".to_owned()))
        };
        self.position_key.get_or_try_init(read).await.cloned()
    }

    async fn register_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        self.write_change_log(ChangeLogWrite::Register(consumer.to_owned())).await.map(drop)
    }

    async fn acquire_consumer_lease(&self, consumer: &str, process: &str, time: Duration) -> Result<bool, StoreError> {
        let lease = ChangeLogWrite::Lease(consumer.to_owned(), process.to_owned(), self.now().after(time));
        Ok(self.write_change_log(lease).await? > 0)
    }

    async fn uncommitted(
        &self,
        consumer: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Position)>, StoreError> {
        let (consumer, after) = (consumer.to_owned(), after.to_owned());
        self.readers.read(move |connection| consumers::uncommitted(connection, &consumer, &after, limit)).await
    }

    async fn commit_offset(&self, consumer: &str, organization: &str, position: Position) -> Result<(), StoreError> {
        self.write_change_log(ChangeLogWrite::CommitOffset(consumer.to_owned(), organization.to_owned(), position))
            .await
            .map(drop)
    }

    fn now(&self) -> Timestamp {
        self.clocks.now()
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn commits(&self) -> Commits {
        self.commits.clone()
    }

    async fn pause(&self, what: Pausable) -> Result<bool, StoreError> {
        self.set_paused(what, true).await
    }

    async fn resume(&self, what: Pausable) -> Result<bool, StoreError> {
        self.set_paused(what, false).await
    }

    async fn paused(&self) -> Result<Vec<Paused>, StoreError> {
        self.readers.read(pause::all).await
    }

    async fn organizations(&self) -> Result<Vec<Organization>, StoreError> {
        self.readers.read(pause::organizations).await
    }

    async fn kinds(&self, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
        let organization = organization.map(str::to_owned);
        self.readers.read(move |connection| deletion::kinds(connection, organization.as_deref())).await
    }

    async fn contents(&self, organization: &str) -> Result<Option<Contents>, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| deletion::contents(connection, &organization)).await
    }

    async fn begin_deletion(&self, organization: &str, unfinished_too: bool) -> Result<u64, StoreError> {
        self.delete(organization, Deletion::Begin(unfinished_too)).await
    }

    async fn delete_part(&self, organization: &str, limit: u32) -> Result<Option<u64>, StoreError> {
        let removed = self.delete(organization, Deletion::Part(limit)).await?;
        Ok(Some(removed).filter(|removed| *removed != deletion::NOT_BEGUN))
    }

    async fn end_deletion(&self, organization: &str) -> Result<bool, StoreError> {
        Ok(self.delete(organization, Deletion::End).await? > 0)
    }

    async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
        self.writer.submit(Write::CreateToken, token).await
    }

    async fn list_tokens(
        &self,
        reach: &TokenReach,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Token>, StoreError> {
        let reach = reach.clone();
        self.readers.read(move |connection| admin::tokens(connection, &reach, after, limit)).await
    }

    async fn token(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        let (reach, id) = (reach.clone(), id.to_owned());
        self.readers.read(move |connection| admin::token(connection, &reach, &id)).await
    }

    async fn revoke(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        let change = TokenChange::Revoke(reach.clone(), id.to_owned());
        self.writer.submit(Write::ChangeToken, change).await
    }

    async fn replace_token(&self, id: &str, new: NewToken, overlap: Duration) -> Result<Option<Token>, StoreError> {
        self.writer.submit(Write::ChangeToken, TokenChange::Replace(id.to_owned(), new, overlap)).await
    }

    async fn find_token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let hash = *hash;
        self.readers.read(move |connection| admin::find_token(connection, &hash)).await
    }

    fn on_behalf_of(&self, call: AuditCall) -> Arc<dyn Store> {
        Arc::new(SqliteStore { writer: self.writer.on_behalf_of(&Arc::new(call)), ..self.clone() })
    }

    async fn record(&self, call: AuditCall, code: i32) -> Result<(), StoreError> {
        self.writer.on_behalf_of(&Arc::new(call)).submit(Write::Upkeep, Upkeep::Record(code)).await.map(drop)
    }

    async fn audit(
        &self,
        organization: &str,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        let (organization, filter) = (organization.to_owned(), filter.clone());
        self.readers.read(move |connection| audit::read(connection, &organization, &filter, before, limit)).await
    }

    async fn forget_audit(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::ForgetAudit(self.now().before(keep), limit)).await
    }

    async fn create_organization(&self, organization: &str, limits: Limits) -> Result<bool, StoreError> {
        let made = Upkeep::CreateOrganization(organization.to_owned(), limits);
        let is_made = self.writer.submit(Write::Upkeep, made).await? > 0;
        self.refresh_limits().await?;
        Ok(is_made)
    }

    async fn set_limits(&self, organization: &str, limits: Limits) -> Result<bool, StoreError> {
        let is_there = self.writer.submit(Write::Upkeep, Upkeep::SetLimits(organization.to_owned(), limits)).await? > 0;
        self.refresh_limits().await?;
        Ok(is_there)
    }

    async fn refresh_limits(&self) -> Result<(), StoreError> {
        self.admission.set_stored(self.readers.read(limits::all).await?);
        Ok(())
    }

    fn limits(&self) -> Arc<BTreeMap<String, crate::Limits>> {
        self.admission.stored()
    }

    fn quotas(&self) -> Arc<Quotas> {
        self.admission.quotas()
    }

    async fn touch_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::TouchTokens(ids)).await.map(|_| ())
    }

    async fn close(&self) {
        self.readers.close().await;
        // The last connection empties the write-ahead log into the file and removes it. A writer that has stopped has
        // no connection.
        let _ = self.writer.submit(Write::Upkeep, Upkeep::Disconnect).await;
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.readers.read(|connection| query("SELECT 1").fetch_one(connection).map(drop)).await?;
        self.writer.submit(Write::Upkeep, Upkeep::Ping).await.map(|_| ())
    }

    fn seal_with(&self, keyring: Keyring) {
        self.admission.seal_with(keyring);
    }

    async fn text_heads(&self, after: TextCursor, limit: u32) -> Result<TextPage, StoreError> {
        self.readers.read(move |connection| texts::heads(connection, &after, limit)).await
    }

    async fn texts(&self, places: Vec<TextPlace>) -> Result<Vec<Option<String>>, StoreError> {
        self.readers.read(move |connection| texts::read(connection, &places)).await
    }

    async fn replace_texts(&self, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::ReplaceTexts(replacements)).await
    }

    async fn doctor(&self) -> Result<Report, StoreError> {
        self.readers.read(doctor::examine).await
    }
}
