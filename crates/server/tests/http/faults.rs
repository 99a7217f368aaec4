//! What clients see when the store fails: the right class of error, never its cause, and never half an answer in place
//! of a whole one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine::{Engine, Health, Registry, Settings};
use http::{Method, StatusCode};
use operations::schedule::NewSchedule;
use operations::{
    Access, Filter, NewOperation, Operation, OperationId, PageRequest, Refusal, Search, Status, Timestamp,
};
use store::seal::{Replacement, TextCursor, TextPage, TextPlace};
use store::{
    BulkBatch, BulkOperations, BulkProgress, Changes, ClaimRequest, Claimed, CommandOutcome, Counted, Details, Digest,
    DueSchedules, EvidenceFilter, EvidenceKept, EvidenceRecord, EvidenceRecords, EvidenceRemoval, EvidenceStanding,
    EvidenceTotals, Fired, GroupBy, Heartbeat, HistoryEvent, IdempotencyKey, LeaseRef, LeaseStatus, ListedEvidence,
    Listing, Lost, LostLease, Matching, NewEvidence, NewToken, OperationCommand, OperationDetail, Position,
    PositionKey, Removing, Report, Reservation, Schedule, ScheduleOutcome, Schedules, SearchOperations, SearchPage,
    SearchRequest, Settlement, Statistics, StatisticsAnswer, StatisticsRequest, Store, StoreError, Token, View,
    ViewOutcome, ViewReach, Views,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, Caller, Server};

/// How the store fails; the numbers are those of [`FaultyStore::fault`].
#[derive(Clone, Copy)]
pub enum Fault {
    None,
    Unavailable,
    Database,
    Panic,
    OutputGone,
    OutputFails,
    /// The look for lost leases panics.
    RescuePanics,
    /// The look for lost leases never answers.
    RescueHangs,
    /// The look for lost leases finds leases that cannot be taken up.
    RescueIsStuck,
    /// A write panics within its call.
    TouchPanics,
    /// The organization is deleted before evidence is put on record.
    PutAfterDeletion,
}

pub const SECRET_CAUSE: &str = "SELECT secret FROM /var/lib/longrun.db";

/// How long a task of a server with such a store may go without a success.
const PATIENCE: Duration = Duration::from_millis(500);
/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// A store whose reads fail when a test switches the fault on.
#[derive(Clone)]
struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Arc<AtomicU8>,
    /// How often it was asked for work.
    claims: watch::Sender<usize>,
    /// How often it was read.
    reads: watch::Sender<Reads>,
    /// Claims of the organization [`STUCK`] that are under way: they never end.
    stuck: watch::Sender<usize>,
    /// How often it was asked for a token.
    lookups: watch::Sender<usize>,
    /// Impatient, so that tests need not wait.
    health: Health,
}

/// An organization whose claims get no answer from the store. Nor do histories, also of names that begin like this.
pub const STUCK: &str = "stuck";

/// How often a store was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reads {
    /// For operations by their ids.
    pub looks: usize,
    /// Ids that were looked up.
    pub ids: usize,
    /// For changes.
    pub changes: usize,
    /// For lost leases.
    pub lost: usize,
}

impl FaultyStore {
    fn check(&self) -> Result<(), StoreError> {
        match self.fault.load(Ordering::SeqCst) {
            f if f == Fault::Unavailable as u8 => Err(StoreError::Unavailable(SECRET_CAUSE.to_owned())),
            f if f == Fault::Database as u8 => Err(StoreError::Unusable(SECRET_CAUSE.to_owned())),
            f if f == Fault::Panic as u8 => panic!("{SECRET_CAUSE}"),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Schedules for FaultyStore {
    async fn create_schedule(
        &self,
        organization: &str,
        wanted: NewSchedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        self.check()?;
        self.inner.create_schedule(organization, wanted).await
    }
    async fn schedules(&self, access: &Access, after: &str, limit: u32) -> Result<Vec<Schedule>, StoreError> {
        self.check()?;
        self.inner.schedules(access, after, limit).await
    }
    async fn schedule(&self, access: &Access, name: &str) -> Result<Option<Schedule>, StoreError> {
        self.check()?;
        self.inner.schedule(access, name).await
    }
    async fn update_schedule(
        &self,
        access: &Access,
        wanted: NewSchedule,
        read: &Schedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        self.check()?;
        self.inner.update_schedule(access, wanted, read).await
    }
    async fn delete_schedule(&self, access: &Access, name: &str) -> Result<ScheduleOutcome<()>, StoreError> {
        self.check()?;
        self.inner.delete_schedule(access, name).await
    }
    async fn trigger(
        &self,
        access: &Access,
        name: &str,
        cancelled: Option<OperationId>,
    ) -> Result<ScheduleOutcome<Operation>, StoreError> {
        self.check()?;
        self.inner.trigger(access, name, cancelled).await
    }
    async fn due_schedules(&self) -> Result<DueSchedules, StoreError> {
        self.check()?;
        self.inner.due_schedules().await
    }
    async fn fire(&self, organization: &str, limit: u32, cancelled: Vec<OperationId>) -> Result<Fired, StoreError> {
        self.check()?;
        self.inner.fire(organization, limit, cancelled).await
    }
}

#[async_trait]
impl Statistics for FaultyStore {
    async fn statistics(
        &self,
        access: &Access,
        request: &StatisticsRequest,
        limit: u32,
    ) -> Result<StatisticsAnswer, StoreError> {
        self.check()?;
        self.inner.statistics(access, request, limit).await
    }
    async fn begin_statistics(&self) -> Result<(), StoreError> {
        self.inner.begin_statistics().await
    }
    async fn count_changes(&self, organization: &str, from: Position, limit: u32) -> Result<bool, StoreError> {
        self.inner.count_changes(organization, from, limit).await
    }
    async fn forget_statistics(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_statistics(limit).await
    }
}

#[async_trait]
impl BulkOperations for FaultyStore {
    async fn begin_bulk(
        &self,
        organization: &str,
        id: OperationId,
        total: u64,
    ) -> Result<Option<BulkProgress>, StoreError> {
        self.check()?;
        self.inner.begin_bulk(organization, id, total).await
    }

    async fn bulk_progress(&self, organization: &str, id: OperationId) -> Result<Option<BulkProgress>, StoreError> {
        self.check()?;
        self.inner.bulk_progress(organization, id).await
    }

    async fn bulk_batch(&self, batch: BulkBatch) -> Result<BulkProgress, StoreError> {
        self.check()?;
        self.inner.bulk_batch(batch).await
    }
}

#[async_trait]
impl SearchOperations for FaultyStore {
    async fn search(&self, access: &Access, request: &SearchRequest) -> Result<SearchPage, StoreError> {
        self.check()?;
        self.inner.search(access, request).await
    }

    async fn count_matching(&self, access: &Access, search: &Search, by: GroupBy) -> Result<Counted, StoreError> {
        self.check()?;
        self.inner.count_matching(access, search, by).await
    }

    async fn matching_ids(
        &self,
        access: &Access,
        search: &Search,
        numbers: std::ops::Range<i64>,
        limit: u32,
    ) -> Result<Matching, StoreError> {
        self.inner.matching_ids(access, search, numbers, limit).await
    }

    async fn next_number(&self, organization: &str) -> Result<i64, StoreError> {
        self.inner.next_number(organization).await
    }

    async fn note_times(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.note_times(limit).await
    }
}

#[async_trait]
impl Details for FaultyStore {
    async fn details(
        &self,
        access: &Access,
        ids: &[OperationId],
        longest: usize,
    ) -> Result<Vec<Option<OperationDetail>>, StoreError> {
        self.check()?;
        self.inner.details(access, ids, longest).await
    }

    async fn detail_up_to(
        &self,
        access: &Access,
        id: OperationId,
        longest: usize,
    ) -> Result<Option<OperationDetail>, StoreError> {
        self.check()?;
        self.inner.detail_up_to(access, id, longest).await
    }
}

#[async_trait]
impl Views for FaultyStore {
    async fn views(&self, reach: &ViewReach) -> Result<Vec<View>, StoreError> {
        self.check()?;
        self.inner.views(reach).await
    }

    async fn create_view(&self, organization: &str, view: View) -> Result<ViewOutcome, StoreError> {
        self.inner.create_view(organization, view).await
    }

    async fn update_view(&self, reach: &ViewReach, view: View) -> Result<ViewOutcome, StoreError> {
        self.inner.update_view(reach, view).await
    }

    async fn delete_view(&self, reach: &ViewReach, id: &str) -> Result<bool, StoreError> {
        self.inner.delete_view(reach, id).await
    }
}

#[async_trait]
impl store::Workers for FaultyStore {
    async fn held_leases(&self, access: &Access) -> Result<store::HeldLeases, StoreError> {
        self.check()?;
        self.inner.held_leases(access).await
    }
}

#[async_trait]
impl store::PolicyNotes for FaultyStore {
    async fn seen_policies(&self) -> Result<Vec<store::SeenPolicies>, StoreError> {
        self.inner.seen_policies().await
    }

    async fn note_policies(&self, server: &str, policies: &store::PolicyDigests) -> Result<(), StoreError> {
        self.inner.note_policies(server, policies).await
    }

    async fn forget_policies(&self, server: &str) -> Result<(), StoreError> {
        self.inner.forget_policies(server).await
    }
}

#[async_trait]
impl store::Waivers for FaultyStore {
    async fn waivers(&self, organization: &str) -> Result<Vec<store::Waiver>, StoreError> {
        self.inner.waivers(organization).await
    }

    async fn create_waiver(
        &self,
        organization: &str,
        waiver: store::Waiver,
    ) -> Result<store::WaiverOutcome, StoreError> {
        self.inner.create_waiver(organization, waiver).await
    }

    async fn delete_waiver(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        self.inner.delete_waiver(organization, id).await
    }

    async fn waiver_changes(&self, limit: u32) -> Result<Vec<store::WaiverChange>, StoreError> {
        self.inner.waiver_changes(limit).await
    }

    async fn note_waiver_change(&self, change: store::WaiverChange) -> Result<(), StoreError> {
        self.inner.note_waiver_change(change).await
    }
}

#[async_trait]
impl EvidenceRecords for FaultyStore {
    async fn reserve_evidence(&self, organization: &str, digest: Digest, size: u64) -> Result<Reservation, StoreError> {
        self.inner.reserve_evidence(organization, digest, size).await
    }

    async fn end_reservation(&self, organization: &str, digest: Digest) -> Result<(), StoreError> {
        self.inner.end_reservation(organization, digest).await
    }

    async fn put_evidence(&self, organization: &str, evidence: NewEvidence) -> Result<(), StoreError> {
        if self.fault.load(Ordering::SeqCst) == Fault::PutAfterDeletion as u8 {
            self.inner.begin_deletion(organization, true).await?;
            assert!(store::go_on_deleting(&*self.inner, None, organization, None, |_| ()).await.unwrap());
        }
        self.inner.put_evidence(organization, evidence).await
    }

    async fn evidence(&self, organization: &str, digest: &Digest) -> Result<Option<EvidenceRecord>, StoreError> {
        self.inner.evidence(organization, digest).await
    }

    async fn touch_evidence(&self, organization: &str, digest: Digest, name: &str) -> Result<bool, StoreError> {
        self.inner.touch_evidence(organization, digest, name).await
    }

    async fn list_evidence(
        &self,
        organization: &str,
        filter: &EvidenceFilter,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<ListedEvidence>, StoreError> {
        self.inner.list_evidence(organization, filter, after, limit).await
    }

    async fn evidence_totals(&self, organization: &str) -> Result<EvidenceTotals, StoreError> {
        self.inner.evidence_totals(organization).await
    }

    async fn evidence_standings(
        &self,
        organization: &str,
        after: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<EvidenceStanding>, StoreError> {
        self.inner.evidence_standings(organization, after, limit).await
    }

    async fn begin_removal(
        &self,
        organization: &str,
        what: EvidenceRemoval,
    ) -> Result<Result<Removing, EvidenceKept>, StoreError> {
        self.inner.begin_removal(organization, what).await
    }

    async fn end_removal(&self, organization: &str, removing: Removing) -> Result<u64, StoreError> {
        self.inner.end_removal(organization, removing).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get_many(&self, access: &Access, ids: &[OperationId]) -> Result<Vec<Option<Operation>>, StoreError> {
        self.check()?;
        let found = self.inner.get_many(access, ids).await;
        self.reads.send_modify(|reads| {
            reads.looks += 1;
            reads.ids += ids.len();
        });
        found
    }
    async fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> Result<Listing, StoreError> {
        self.check()?;
        self.inner.list(access, filter, page).await
    }
    async fn created_with(
        &self,
        organization: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Vec<Operation>>, StoreError> {
        self.inner.created_with(organization, key).await
    }
    async fn output(&self, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
        match self.fault.load(Ordering::SeqCst) {
            f if f == Fault::OutputGone as u8 => Ok(None),
            f if f == Fault::OutputFails as u8 => Err(StoreError::Unavailable(SECRET_CAUSE.to_owned())),
            _ => self.inner.output(access, id).await,
        }
    }
    async fn close(&self) {
        self.inner.close().await;
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.check()?;
        self.inner.ping().await
    }

    async fn changes(&self, organization: &str, after: Position, limit: u32) -> Result<Changes, StoreError> {
        self.check()?;
        let found = self.inner.changes(organization, after, limit).await;
        self.reads.send_modify(|reads| reads.changes += 1);
        found
    }

    // The remaining calls are passed on.
    fn health(&self) -> Health {
        self.health.clone()
    }
    fn commits(&self) -> store::Commits {
        self.inner.commits()
    }
    async fn history(&self, access: &Access, id: OperationId) -> Result<Option<Vec<HistoryEvent>>, StoreError> {
        if access.organization.starts_with(STUCK) {
            self.stuck.send_modify(|stuck| *stuck += 1);
            return std::future::pending().await;
        }
        self.inner.history(access, id).await
    }
    async fn end_of_changes(&self, organization: &str) -> Result<Position, StoreError> {
        self.inner.end_of_changes(organization).await
    }
    async fn forget_changes(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_changes(keep, limit).await
    }
    async fn position_key(&self) -> Result<PositionKey, StoreError> {
        self.inner.position_key().await
    }
    async fn register_consumer(&self, reader: &str) -> Result<(), StoreError> {
        self.inner.register_consumer(reader).await
    }
    async fn acquire_consumer_lease(&self, reader: &str, process: &str, time: Duration) -> Result<bool, StoreError> {
        self.inner.acquire_consumer_lease(reader, process, time).await
    }
    async fn uncommitted(&self, reader: &str, after: &str, limit: u32) -> Result<Vec<(String, Position)>, StoreError> {
        self.inner.uncommitted(reader, after, limit).await
    }
    async fn commit_offset(&self, reader: &str, organization: &str, position: Position) -> Result<(), StoreError> {
        self.inner.commit_offset(reader, organization, position).await
    }
    async fn create_as(
        &self,
        access: &Access,
        operations: Vec<NewOperation>,
        ids: Vec<OperationId>,
        key: Option<IdempotencyKey>,
        start: Option<store::Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.inner.create_as(access, operations, ids, key, start).await
    }
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.check()?;
        if request.access.as_ref().is_some_and(|access| access.organization == STUCK) {
            self.stuck.send_modify(|stuck| *stuck += 1);
            return std::future::pending().await;
        }
        let claimed = self.inner.claim(request).await;
        self.claims.send_modify(|claims| *claims += 1);
        claimed
    }
    async fn heartbeat(&self, beats: Vec<Heartbeat>, lease: Duration) -> Result<Vec<LeaseStatus>, StoreError> {
        self.inner.heartbeat(beats, lease).await
    }
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
        self.inner.settle(settlements).await
    }
    async fn release(&self, leases: Vec<LeaseRef>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.inner.release(leases).await
    }
    async fn lost_leases(&self, which: Lost, limit: u32) -> Result<Vec<LostLease>, StoreError> {
        if which == Lost::Unanswered {
            return self.inner.lost_leases(which, limit).await;
        }
        self.reads.send_modify(|reads| reads.lost += 1);
        match self.fault.load(Ordering::SeqCst) {
            f if f == Fault::RescueIsStuck as u8 => Ok((0..limit).map(|_| unknown_lease(self.now())).collect()),
            f if f == Fault::RescuePanics as u8 => panic!("{SECRET_CAUSE}"),
            f if f == Fault::RescueHangs as u8 => std::future::pending().await,
            _ => self.inner.lost_leases(which, limit).await,
        }
    }
    async fn lose(&self, lost: Vec<(LeaseRef, Duration)>) -> Result<u64, StoreError> {
        self.inner.lose(lost).await
    }
    async fn command(
        &self,
        access: &Access,
        id: OperationId,
        command: OperationCommand,
    ) -> Result<CommandOutcome, StoreError> {
        self.check()?;
        self.inner.command(access, id, command).await
    }
    async fn end_overdue_cancels(&self, grace: Duration, limit: u32) -> Result<u64, StoreError> {
        self.inner.end_overdue_cancels(grace, limit).await
    }
    async fn overruns(&self, timeouts: &store::AttemptTimeouts, limit: u32) -> Result<Vec<store::Overrun>, StoreError> {
        self.inner.overruns(timeouts, limit).await
    }
    async fn pause(&self, what: store::Pausable) -> Result<bool, StoreError> {
        self.inner.pause(what).await
    }
    async fn resume(&self, what: store::Pausable) -> Result<bool, StoreError> {
        self.inner.resume(what).await
    }
    async fn paused(&self) -> Result<Vec<store::Paused>, StoreError> {
        self.inner.paused().await
    }
    async fn organizations(&self) -> Result<Vec<store::Organization>, StoreError> {
        self.inner.organizations().await
    }
    async fn kinds(&self, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
        self.inner.kinds(organization).await
    }
    async fn contents(&self, organization: &str) -> Result<Option<store::Contents>, StoreError> {
        self.inner.contents(organization).await
    }
    async fn begin_deletion(&self, organization: &str, unfinished_too: bool) -> Result<u64, StoreError> {
        self.inner.begin_deletion(organization, unfinished_too).await
    }
    async fn delete_part(&self, organization: &str, limit: u32) -> Result<Option<u64>, StoreError> {
        self.inner.delete_part(organization, limit).await
    }
    async fn end_deletion(&self, organization: &str) -> Result<bool, StoreError> {
        self.inner.end_deletion(organization).await
    }
    fn set_quotas(&self, quotas: store::Quotas) {
        self.inner.set_quotas(quotas);
    }

    fn set_default_retention(&self, retain_for: Option<Duration>) {
        self.inner.set_default_retention(retain_for);
    }
    async fn purge(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.purge(limit).await
    }
    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_due(after).await
    }
    async fn forget_idempotency_keys(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_idempotency_keys(limit).await
    }
    fn now(&self) -> Timestamp {
        self.inner.now()
    }
    async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
        self.inner.create_token(token).await
    }
    async fn list_tokens(
        &self,
        reach: &store::TokenReach,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Token>, StoreError> {
        self.inner.list_tokens(reach, after, limit).await
    }
    async fn token(&self, reach: &store::TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        self.inner.token(reach, id).await
    }
    async fn revoke(&self, reach: &store::TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        self.inner.revoke(reach, id).await
    }
    async fn replace_token(&self, id: &str, new: NewToken, overlap: Duration) -> Result<Option<Token>, StoreError> {
        self.inner.replace_token(id, new, overlap).await
    }
    fn on_behalf_of(&self, call: store::AuditCall) -> Arc<dyn Store> {
        Arc::new(FaultyStore { inner: self.inner.on_behalf_of(call), ..self.clone() })
    }
    async fn record(&self, call: store::AuditCall, code: i32) -> Result<(), StoreError> {
        self.inner.record(call, code).await
    }
    async fn audit(
        &self,
        organization: &str,
        filter: &store::AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<store::AuditPage, StoreError> {
        self.inner.audit(organization, filter, before, limit).await
    }
    async fn forget_audit(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_audit(keep, limit).await
    }
    async fn create_organization(&self, organization: &str, limits: store::Limits) -> Result<bool, StoreError> {
        self.inner.create_organization(organization, limits).await
    }
    async fn set_limits(&self, organization: &str, limits: store::Limits) -> Result<bool, StoreError> {
        self.inner.set_limits(organization, limits).await
    }
    async fn refresh_limits(&self) -> Result<(), StoreError> {
        self.inner.refresh_limits().await
    }
    fn limits(&self) -> Arc<std::collections::BTreeMap<String, store::Limits>> {
        self.inner.limits()
    }
    fn quotas(&self) -> Arc<store::Quotas> {
        self.inner.quotas()
    }
    async fn find_token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.lookups.send_modify(|lookups| *lookups += 1);
        self.inner.find_token(hash).await
    }
    async fn touch_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
        if self.fault.load(Ordering::SeqCst) == Fault::TouchPanics as u8 {
            panic!("{SECRET_CAUSE}");
        }
        self.inner.touch_tokens(ids).await
    }
    fn seal_with(&self, keyring: store::Keyring) {
        self.inner.seal_with(keyring);
    }
    async fn text_heads(&self, after: TextCursor, limit: u32) -> Result<TextPage, StoreError> {
        self.inner.text_heads(after, limit).await
    }
    async fn texts(&self, places: Vec<TextPlace>) -> Result<Vec<Option<String>>, StoreError> {
        self.inner.texts(places).await
    }
    async fn replace_texts(&self, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
        self.inner.replace_texts(replacements).await
    }
    async fn doctor(&self) -> Result<Report, StoreError> {
        self.inner.doctor().await
    }
}

/// The lease of an operation that does not exist.
fn unknown_lease(now: Timestamp) -> LostLease {
    let lease = LeaseRef {
        organization: "acme".to_owned(),
        id: OperationId::new(now),
        fence: 1,
        expired_at: None,
        scope: None,
    };
    LostLease { lease, kind: "scan".to_owned(), attempts: 1 }
}

/// A server and the switch for its store's faults.
pub async fn faulty() -> (Server, impl Fn(Fault)) {
    let (server, switch, _) = observed().await;
    (server, switch)
}

/// A server, the switch for its store's faults, and how often its store was asked for work.
pub async fn observed() -> (Server, impl Fn(Fault), watch::Receiver<usize>) {
    let (server, switch, asked, _) = counted().await;
    (server, switch, asked)
}

/// The same, and how often its store was read.
pub async fn counted() -> (Server, impl Fn(Fault), watch::Receiver<usize>, watch::Receiver<Reads>) {
    let fault = Arc::new(AtomicU8::new(Fault::None as u8));
    let switch = fault.clone();
    let (server, seen) = seen(fault, None, |_| {}).await;
    (server, move |fault| switch.store(fault as u8, Ordering::SeqCst), seen.claims, seen.reads)
}

/// The calls that a store got.
pub struct Seen {
    pub claims: watch::Receiver<usize>,
    pub reads: watch::Receiver<Reads>,
    pub stuck: watch::Receiver<usize>,
    pub lookups: watch::Receiver<usize>,
}

/// A server that was changed before it started, and the calls that its store gets.
pub async fn watched(change: impl FnOnce(&mut server::Services)) -> (Server, Seen) {
    seen(Arc::default(), None, change).await
}

/// The same over this store.
pub async fn watched_over(store: Arc<dyn Store>, change: impl FnOnce(&mut server::Services)) -> (Server, Seen) {
    seen(Arc::default(), Some(store), change).await
}

async fn seen(
    fault: Arc<AtomicU8>,
    store: Option<Arc<dyn Store>>,
    change: impl FnOnce(&mut server::Services),
) -> (Server, Seen) {
    let (claims, reads, stuck, lookups) =
        (watch::Sender::default(), watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
    let seen = Seen {
        claims: claims.subscribe(),
        reads: reads.subscribe(),
        stuck: stuck.subscribe(),
        lookups: lookups.subscribe(),
    };
    let server = Server::with(|services| {
        let health = Health::patient_for(PATIENCE);
        let inner = store.unwrap_or_else(|| services.store.clone());
        services.store = Arc::new(FaultyStore { inner, fault, claims, reads, stuck, lookups, health });
        change(services);
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn an_unavailable_store_is_503_with_a_time_to_retry() {
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    switch(Fault::Unavailable);
    let answer = caller.get("/v1/operations").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    insta::assert_snapshot!(answer.text(), @r#"{"code":14,"message":"the service is unavailable now; try again later","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"UNAVAILABLE","domain":"longrun","metadata":{}},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}]}"#);
    switch(Fault::None);
    assert_eq!(caller.get("/v1/operations").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_failing_store_and_a_panic_are_500_without_their_cause() {
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    for fault in [Fault::Database, Fault::Panic] {
        switch(fault);
        let answer = caller.get("/v1/operations/0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000").await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"));
        assert!(!answer.text().contains("secret") && !answer.text().contains("/var"), "{answer:?}");
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    switch(Fault::None);
    assert_eq!(caller.get("/v1/operations").await.status, StatusCode::OK, "the server goes on");
}

#[tokio::test]
async fn a_list_whose_long_output_cannot_be_read_breaks_off() {
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    server.completed("scan", &"x".repeat(100_000)).await;
    for fault in [Fault::OutputFails, Fault::OutputGone] {
        switch(fault);
        let answer = caller.try_send(Method::GET, "/v1/operations", &[], "").await;
        assert!(answer.is_err(), "a broken body must not look whole: {answer:?}");
    }
    switch(Fault::None);
    assert_eq!(caller.get("/v1/operations").await.ids().len(), 1);
}

#[tokio::test]
async fn an_upload_that_ends_after_its_organization_leaves_no_content() {
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    switch(Fault::PutAfterDeletion);
    assert_eq!(caller.post("/v1/evidence", "hello").await.status, StatusCode::UNAUTHORIZED);
    switch(Fault::None);
    assert!(!server.evidence_file(&Digest::of(b"hello").to_string()).exists());
}

#[tokio::test]
async fn a_server_without_its_store_is_alive_but_not_ready() {
    let (server, switch) = faulty().await;
    let admin = crate::operators::admin(&server, CancellationToken::new()).await;
    assert_eq!(admin.get("/readyz").await.status, StatusCode::OK);
    for fault in [Fault::Unavailable, Fault::Database] {
        switch(fault);
        assert_eq!(admin.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(admin.get("/healthz").await.status, StatusCode::OK);
    }
}

/// Asks the admin listener until `done` holds of the answer.
async fn until(admin: &Caller, path: &str, done: impl Fn(&Answer) -> bool) -> Answer {
    let asked = async {
        loop {
            let answer = admin.get(path).await;
            if done(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("in time")
}

/// The value of a counter of the tasks' restarts.
fn restarts(metrics: &Answer, task: &str) -> u64 {
    let text = metrics.text();
    let name = format!("longrun_task_restarts_total{{task=\"{task}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn a_maintenance_task_that_panics_or_hangs_is_told_counted_and_goes_on() {
    let (server, switch) = faulty().await;
    let admin = crate::operators::admin(&server, CancellationToken::new()).await;
    let lease = Duration::from_millis(60);
    let settings = Settings { lease, drain: Duration::ZERO, ..Settings::default() };
    let engine = Engine::start(server.store.clone(), Registry::new(), settings, "test");
    until(&admin, "/readyz", |answer| answer.status == StatusCode::OK).await;
    assert_eq!(restarts(&admin.get("/metrics").await, "rescue"), 0);

    for fault in [Fault::RescuePanics, Fault::RescueHangs] {
        switch(fault);
        let answer = until(&admin, "/readyz", |answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(answer.text().contains("the maintenance task rescue"), "{answer:?}");
        assert!(!answer.text().contains("secret"), "{answer:?}");
        assert_eq!(admin.get("/healthz").await.status, StatusCode::OK);
        if matches!(fault, Fault::RescuePanics) {
            until(&admin, "/metrics", |metrics| restarts(metrics, "rescue") >= 2).await;
        }
        switch(Fault::None);
        if matches!(fault, Fault::RescuePanics) {
            until(&admin, "/readyz", |answer| answer.status == StatusCode::OK).await;
        }
        // A round that hangs is given up after its time limit, which the unit tests of `tasks` have a short one for.
    }
    // A hanging task does not hold up the end, and a task that is gone is no trouble.
    tokio::time::timeout(DEADLINE, engine.drain()).await.expect("it ends");
    until(&admin, "/readyz", |answer| answer.status == StatusCode::OK).await;
    let engine =
        Engine::start(server.store.clone(), Registry::new(), Settings { lease, ..Settings::default() }, "test");
    let lost = server.pending("scan").await;
    server
        .store
        .claim(store::ClaimRequest {
            kinds: vec!["scan".to_owned()],
            access: None,
            among: None,
            limit: 1,
            worker: "another".to_owned(),
            lease: Duration::ZERO,
        })
        .await
        .unwrap();
    let is_pending = async {
        while server.store.get(&Access::organization("acme"), lost.id).await.unwrap().unwrap().status != Status::Pending
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, is_pending).await.expect("it is rescued");
    engine.drain().await;
}

#[tokio::test]
async fn uses_of_tokens_are_noted_again_after_a_panic() {
    let (server, switch) = faulty().await;
    let admin = crate::operators::admin(&server, CancellationToken::new()).await;
    switch(Fault::TouchPanics);
    assert_eq!(server.acme().await.get("/v1/operations").await.status, StatusCode::OK);
    until(&admin, "/metrics", |metrics| restarts(metrics, "token_uses") == 1).await;
    switch(Fault::None);
    let (caller, token) = server.caller_and_token(Access::organization("acme"), &[store::Scope::Admin]).await;
    assert_eq!(caller.get("/v1/operations").await.status, StatusCode::OK);
    let noted = async {
        loop {
            let tokens = server.store.tokens(None).await.unwrap();
            if tokens.iter().any(|known| known.id == token.id && known.last_used_at.is_some()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, noted).await.expect("in time");
}

#[tokio::test]
async fn a_rescue_that_cannot_proceed_waits() {
    let (server, switch, _, mut reads) = counted().await;
    let caller = server.acme().await;
    switch(Fault::RescueIsStuck);
    let settings = Settings { lease: Duration::from_secs(3_600), ..Settings::default() };
    let engine = Engine::start(server.store.clone(), Registry::new(), settings, "test");
    reads.wait_for(|reads| reads.lost > 0).await.unwrap();
    // Time enough for thousands of looks.
    for _ in 0..20 {
        caller.get("/v1/operations").await;
    }
    assert_eq!(reads.borrow().lost, 1);
    engine.drain().await;
}

#[async_trait]
impl store::Postpone for FaultyStore {
    async fn postpone(&self, leases: Vec<LeaseRef>, delay: Duration) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.inner.postpone(leases, delay).await
    }
}

#[async_trait]
impl store::Sessions for FaultyStore {
    async fn begin_session(&self, session: store::Session) -> Result<(), StoreError> {
        self.check()?;
        self.inner.begin_session(session).await
    }
    async fn session(&self, organization: &str, id: &str) -> Result<Option<store::Session>, StoreError> {
        self.check()?;
        self.inner.session(organization, id).await
    }
    async fn sessions(
        &self,
        organization: &str,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<store::Session>, StoreError> {
        self.check()?;
        self.inner.sessions(organization, after, limit).await
    }
    async fn revoke_session(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        self.check()?;
        self.inner.revoke_session(organization, id).await
    }
    async fn forget_sessions(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_sessions(limit).await
    }
}

#[async_trait]
impl store::Measured for FaultyStore {
    fn meters(&self) -> store::meters::Meters {
        self.inner.meters()
    }

    async fn standings(&self) -> Result<store::Standings, StoreError> {
        self.check()?;
        self.inner.standings().await
    }
}

#[async_trait]
impl store::Traced for FaultyStore {
    async fn trace_contexts(
        &self,
        organization: &str,
        ids: &[OperationId],
    ) -> Result<std::collections::HashMap<OperationId, operations::TraceContext>, StoreError> {
        self.check()?;
        self.inner.trace_contexts(organization, ids).await
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        self.check()?;
        self.inner.forget_consumer(consumer).await
    }
}
