//! Where operations are kept: the [`Store`] trait, its implementations, and the content store for evidence.
//!
//! **Responsibility.** Durability, exact counts, constant-cost pages, claims that never overlap, tenant isolation:
//! every call that reads or writes on behalf of a caller takes an [`Access`] or an organization, and enforces it in its
//! queries, not after them.
//!
//! **Promises.** A write that was answered is on disk. Page and count come from one snapshot and are exact. Transitions
//! are those of [`operations::State::apply`]; an event that it refuses changes nothing. Times come from the store's own
//! clock and are never compared across machines.
//!
//! [`SqliteStore`] is the embedded implementation: one process, one file, no set-up. [`PostgresStore`] is for several
//! servers on one database, [`Cells`] for several databases. [`Sealed`] wraps either of them, and encrypts what callers
//! and workers write.

mod audit;
mod batch;
mod bulk;
mod cells;
mod census;
mod changes;
mod command;
mod commits;
mod content;
mod deletion;
mod details;
mod doctor;
mod error;
mod evidence;
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod limits;
mod management;
mod measured;
mod open;
mod pause;
mod plan;
mod policies;
mod position_key;
pub mod postgres;
mod postpone;
mod quota;
mod reach;
mod repeat;
mod retention;
mod rotation;
mod rows;
mod schedules;
pub mod seal;
mod search;
mod sessions;
mod split;
pub mod sqlite;
mod statistics;
mod token;
mod traced;
mod transfer;
mod transition;
mod turns;
mod url;
mod views;
mod waivers;
mod work;
mod workers;

use async_trait::async_trait;
use operations::{Access, Filter, NewOperation, Operation, OperationId, PageInfo, PageRequest, Timestamp};

use seal::{Replacement, TextCursor, TextPage, TextPlace};

pub use audit::{Actor, ActorKind, AuditCall, AuditEntry, AuditFilter, AuditPage};
pub use bulk::{BulkBatch, BulkOperations, BulkProgress, BulkRefusal, SHOWN_REFUSALS};
pub use cells::{CellUrl, Cells, CellsConfig, MoveError, Moved, Patience};
pub use census::{Census, NamedEvidence};
pub use changes::{Change, Changes, InvalidPosition, KEPT_FOR_CONSUMERS, Position};
pub use command::{CommandOutcome, OperationCommand};
pub use commits::{Commits, Coverage, SAFETY_POLL};
pub use content::{
    Content, ContentError, ContentStore, Digest, InvalidBucket, InvalidDigest, Staged, StoredContent, is_sealed_content,
};
pub use deletion::{Contents, DeletionError, go_on_deleting};
pub use details::{Details, OperationDetail};
pub use doctor::{Finding, Report};
pub use error::StoreError;
pub use evidence::{
    EVIDENCE_USE_NOTED, EvidenceAges, EvidenceFilter, EvidenceKept, EvidenceRecord, EvidenceRecords, EvidenceRemoval,
    EvidenceRetention, EvidenceStanding, EvidenceTotals, ListedEvidence, MAX_EVIDENCE_NAME, NewEvidence, Removing,
    Reservation,
};
pub use history::{
    HistoryEvent, HistoryKind, HistoryPage, HistoryPlace, InvalidHistoryPlace, MAX_NOTES, MAX_PROGRESS_NOTES,
};
pub use limits::{Limits, MOST_WEIGHT};
pub use management::{
    DEFAULT_OVERLAP, MAX_OVERLAP, Rotation as TokenRotation, TokenError, TokenWish, create_token, revoke_token,
    rotate_token,
};
pub use measured::{KindStanding, Measured, Standings};
pub use meters;
pub use open::Open;
pub use pause::{Organization, Pausable, Paused};
pub use policies::{FOLLOWED, PolicyDigests, PolicyNotes, SeenPolicies};
pub use position_key::PositionKey;
pub use postgres::PostgresStore;
pub use postpone::Postpone;
pub use quota::{DEFAULT_MAX_SCHEDULES, Exceeded, Quota, Quotas, Rate, RunningLimits};
pub use reach::{Organizations, TokenReach};
pub use schedules::{
    DueSchedules, Fired, Schedule, ScheduleOutcome, ScheduleRefusal, Schedules, fire_schedules, trigger_schedule,
};
pub use seal::{Keyring, Sealed};
pub use search::{
    CountGroup, Counted, GroupBy, InvalidCursor, LOOKED_AT, Matching, SearchCursor, SearchOperations, SearchOrder,
    SearchPage, SearchRequest, SearchStart,
};
pub use sessions::{Session, Sessions};
pub use sqlite::{Latency, SqliteStore};
pub use statistics::{Counts, STATISTICS_CONSUMER, Statistics, StatisticsAnswer, StatisticsPoint, StatisticsRequest};
pub use token::{NewToken, Scope, Token, UnknownScope};
pub use traced::Traced;
pub use transfer::{TransferError, transfer};
pub use turns::{Turn, Turns};
pub use url::{InvalidStoreUrl, PARAMETERS, PostgresUrl, StoreUrl, open};
pub use views::{MAX_ALL_PRIVATE_VIEWS, MAX_PRIVATE_VIEWS, MAX_SHARED_VIEWS, View, ViewOutcome, ViewReach, Views};
pub use waivers::{
    MAX_VEX_WAIVERS, MAX_WAIVERS, VEX_PREFIX, Waiver, WaiverChange, WaiverEvent, WaiverOutcome, Waivers, vex_named,
};
pub use work::{
    AttemptTimeouts, AuthorizationScope, ClaimRequest, Claimed, Heartbeat, LeaseRef, LeaseStatus, Overrun, Settlement,
    Start,
};
pub use workers::{HeldLease, HeldLeases, MAX_HELD_LEASES, Workers};

/// Outputs longer than this, as they are stored, are left out of a [`Listing`] and read one by one with
/// [`Store::output`], so that a page of large outputs is never in memory at once: 100 entries × 16 KiB bound a page to
/// 1.6 MiB.
pub const LISTED_OUTPUT_BYTES: usize = 16 * 1024;

/// Where a store takes the time from.
pub type Clock = std::sync::Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How long an idempotency key is remembered: 24 hours.
pub const IDEMPOTENCY_WINDOW: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// One page of a list, with the exact total, from one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Newest first.
    pub entries: Vec<Listed>,
    /// The position of the page in the list.
    pub page: PageInfo,
}

/// An entry of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The operation; its `output` is empty when `output_left_out`.
    pub operation: Operation,
    /// The output is longer than [`LISTED_OUTPUT_BYTES`]: read it with [`Store::output`]. Outputs of terminal
    /// operations never change, so reading it later still shows the snapshot's value.
    pub output_left_out: bool,
}

/// Makes repeated creations with one key create once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// What the client sent, 1 to 256 bytes; unique within the organization for [`IDEMPOTENCY_WINDOW`].
    pub key: String,
    /// SHA-256 of the request, so that the same key with another request is recognized.
    pub fingerprint: [u8; 32],
}

/// The fingerprint of a key's first use, and the operations that it created; `None` when any of them was removed since.
pub(crate) type KeyUse = ([u8; 32], Option<Vec<Operation>>);

impl IdempotencyKey {
    /// What a call with this key is answered with, given the key's first use.
    pub(crate) fn answer(&self, (fingerprint, operations): KeyUse) -> Result<Vec<Operation>, StoreError> {
        if fingerprint != self.fingerprint {
            return Err(StoreError::IdempotencyConflict);
        }
        operations.ok_or(StoreError::IdempotencyGone)
    }
}

/// Durable operations, tokens and evidence records.
///
/// Every method may fail with [`StoreError`]: `Unavailable` is worth a retry later, other errors are not. Futures may
/// be dropped at any time: a write that was passed on is then still carried out whole or not at all.
#[async_trait]
pub trait Store:
    BulkOperations
    + Details
    + EvidenceRecords
    + Measured
    + PolicyNotes
    + Postpone
    + Schedules
    + SearchOperations
    + Sessions
    + Statistics
    + Traced
    + Views
    + Waivers
    + Workers
    + Send
    + Sync
    + 'static
{
    /// Creates operations in one transaction, all or none, in this order; returns them in this order once they are
    /// durable.
    ///
    /// With a key that was used within [`IDEMPOTENCY_WINDOW`]: the operations of its first use when the fingerprint is
    /// the same, else [`StoreError::IdempotencyConflict`]; [`StoreError::IdempotencyGone`] when any of them was removed
    /// since.
    ///
    /// Fails with [`StoreError::Exceeded`] when the organization would have more operations, or create them faster,
    /// than its [`Quota`] allows.
    ///
    /// With a start, which is for one operation alone: it starts at once if it is due and nothing of its organization
    /// and kind is waiting or paused. Then it is created and started in one transaction, answered as running, and the
    /// attempt is passed to `start`. Otherwise it is created as pending, like every other.
    ///
    /// When an operation that has not ended has the unique key of one to be created, that operation is answered
    /// instead. Fails with [`StoreError::UniqueKeyInUse`] when it may not be seen.
    ///
    /// The caller has checked [`NewOperation::violations`] and its own right to the projects named.
    async fn create_with(
        &self,
        organization: &str,
        operations: Vec<NewOperation>,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.create_as(&Access::organization(organization), operations, Vec::new(), key, start).await
    }

    /// [`Store::create_with`] on behalf of a caller, for operations that already have ids, `ids` in their order; or
    /// none has one, and `ids` is empty. An operation that is answered with another id than the given one existed
    /// before.
    async fn create_as(
        &self,
        access: &Access,
        operations: Vec<NewOperation>,
        ids: Vec<OperationId>,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError>;

    /// [`Store::create_with`] for operations that wait to be claimed.
    async fn create(
        &self,
        organization: &str,
        operations: Vec<NewOperation>,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.create_with(organization, operations, key, None).await
    }

    /// [`Store::create_with`] of one operation, which starts at once if it can and there is a worker to run it.
    async fn create_one(
        &self,
        organization: &str,
        operation: NewOperation,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Operation, StoreError> {
        let mut created = self.create_with(organization, vec![operation], key, start).await?;
        created.pop().ok_or_else(|| StoreError::Unusable("a creation created no operation".to_owned()))
    }

    /// The operations of these ids, in their order; `None` for one that does not exist or may not be seen.
    async fn get_many(&self, access: &Access, ids: &[OperationId]) -> Result<Vec<Option<Operation>>, StoreError>;

    /// The operation, if it exists and may be seen.
    async fn get(&self, access: &Access, id: OperationId) -> Result<Option<Operation>, StoreError> {
        Ok(self.get_many(access, &[id]).await?.pop().flatten())
    }

    /// What was created with this key: what a repetition of that call is answered with. `None` when the key was not
    /// used within [`IDEMPOTENCY_WINDOW`].
    ///
    /// Fails with [`StoreError::IdempotencyConflict`] when another call used the key, and with
    /// [`StoreError::IdempotencyGone`] when some of the operations were deleted.
    async fn created_with(
        &self,
        organization: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Vec<Operation>>, StoreError>;

    /// One page of the operations that may be seen and match, newest first, and how many there are.
    async fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> Result<Listing, StoreError>;

    /// The output of a terminal operation; `None` when there is no such operation (any more).
    async fn output(&self, access: &Access, id: OperationId) -> Result<Option<String>, StoreError>;

    /// What happened to an operation, oldest first, as far as it is kept ([`MAX_NOTES`]); `None` when it does not exist
    /// or may not be seen.
    async fn history(&self, access: &Access, id: OperationId) -> Result<Option<Vec<HistoryEvent>>, StoreError>;

    /// Takes due operations for a worker: the organizations in round-robin order, from each as many as its
    /// [`Quota::weight`] before the next one; then by priority, then by age. What is [paused](Store::pause) is passed
    /// over.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// Extends leases by `lease`; answers in the order of the beats. A lost lease is not extended.
    async fn heartbeat(
        &self,
        beats: Vec<Heartbeat>,
        lease: std::time::Duration,
    ) -> Result<Vec<LeaseStatus>, StoreError>;

    /// Ends attempts; answers in the order given. A refused settlement changes nothing, the others stand. An output
    /// above [`Quota::max_output`] ends its operation as failed. When only some organizations can be reached, the
    /// settlements of the others are [unavailable](operations::Refusal::Unavailable).
    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<operations::Status, operations::Refusal>>, StoreError>;

    /// Releases attempts in good order, without charging them; answers as [`Store::settle`] does.
    async fn release(&self, leases: Vec<LeaseRef>) -> Result<Vec<Result<(), operations::Refusal>>, StoreError>;

    /// Up to `limit` attempts that are lost.
    async fn lost_leases(&self, which: Lost, limit: u32) -> Result<Vec<LostLease>, StoreError>;

    /// Up to `limit` attempts that remote workers (those that claimed with a token) have been running for longer than
    /// they may, however well they keep their leases.
    async fn overruns(&self, timeouts: &AttemptTimeouts, limit: u32) -> Result<Vec<Overrun>, StoreError>;

    /// Ends such attempts as lost: back to pending with the given delay, or failed when attempts are exhausted. An
    /// attempt whose lease had [run out](LeaseRef::expired_at) goes on if a heartbeat has extended it since.
    async fn lose(&self, lost: Vec<(LeaseRef, std::time::Duration)>) -> Result<u64, StoreError>;

    /// Carries out a command on one operation as its state allows, if it exists and may be seen. Asking a running one
    /// to stop again changes nothing. Must not depend on any limit on what may be created or claimed.
    async fn command(
        &self,
        access: &Access,
        id: OperationId,
        command: OperationCommand,
    ) -> Result<CommandOutcome, StoreError>;

    /// Ends up to `limit` attempts that were asked to stop at least `grace` ago; answers how many ended.
    async fn end_overdue_cancels(&self, grace: std::time::Duration, limit: u32) -> Result<u64, StoreError>;

    /// How long operations that name no `retain_for` are kept after their end: `None`, the initial value, is forever.
    /// It is decided when an operation ends; operations that have ended already keep their time.
    fn set_default_retention(&self, retain_for: Option<std::time::Duration>);

    /// Sets the limits of organizations, in this process; initially there are none.
    fn set_quotas(&self, quotas: Quotas);

    /// Removes terminal operations whose time is over: up to `limit` of every organization, each organization's in one
    /// transaction; the organization that was served last comes last. Answers how many; 0 when there are no more.
    async fn purge(&self, limit: u32) -> Result<u64, StoreError>;

    /// When the first pending operation that becomes due after `after` does, if there is one; those of paused
    /// organizations do not count.
    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Forgets up to `limit` idempotency keys past their window; answers how many.
    async fn forget_idempotency_keys(&self, limit: u32) -> Result<u64, StoreError>;

    /// The end of an organization's change log: what is committed after this call began comes after it.
    async fn end_of_changes(&self, organization: &str) -> Result<Position, StoreError>;

    /// The transitions of an organization's operations after a position, in commit order, at most `limit`: each once,
    /// of any process, none left out. Transitions are creations, claims, ends, returns to pending, and removals.
    ///
    /// Fails with [`StoreError::PositionUnknown`] when some of them may be forgotten already.
    async fn changes(&self, organization: &str, after: Position, limit: u32) -> Result<Changes, StoreError>;

    /// The key that cursors are sealed with before clients see them; the same in every process of the store.
    async fn position_key(&self) -> Result<PositionKey, StoreError>;

    /// Registers a consumer of every organization's change log from now on, if it is not registered yet. Changes that
    /// it has not read are kept for [`KEPT_FOR_CONSUMERS`] at least, whatever [`Store::forget_changes`] is asked to
    /// forget.
    async fn register_consumer(&self, consumer: &str) -> Result<(), StoreError>;

    /// Whether this process gets the lease to read for a consumer, now and for this long. It does if no other process
    /// holds a lease of it that has begun and not ended.
    async fn acquire_consumer_lease(
        &self,
        consumer: &str,
        process: &str,
        time: std::time::Duration,
    ) -> Result<bool, StoreError>;

    /// Up to `limit` organizations after `after`, with changes that the consumer has not read, and its position in
    /// each. They are in the store's own order, and `after` is one that was answered, or empty at the beginning. Fewer
    /// than `limit`: there are no more.
    async fn uncommitted(&self, consumer: &str, after: &str, limit: u32)
    -> Result<Vec<(String, Position)>, StoreError>;

    /// Notes up to where a consumer has read the change log of an organization. A later position stays.
    async fn commit_offset(&self, consumer: &str, organization: &str, position: Position) -> Result<(), StoreError>;

    /// Forgets up to `limit` rows of the change log that are older than `keep`; answers how many.
    async fn forget_changes(&self, keep: std::time::Duration, limit: u32) -> Result<u64, StoreError>;

    /// Creates operations from what applications put into the store's inbox in their own transactions: up to `limit`
    /// rows of every organization, in their order, each once. Answers how many rows it dealt with; `None` when this
    /// store has no inbox.
    async fn drain_inbox(&self, limit: u32) -> Result<Option<u64>, StoreError> {
        let _ = limit;
        Ok(None)
    }

    /// The store's clock.
    fn now(&self) -> Timestamp;

    /// The health of the tasks that keep this store working; code that works with it adds its own tasks.
    fn health(&self) -> tasks::Health;

    /// What this process knows of commits to this store.
    fn commits(&self) -> Commits;

    /// Keeps all of this from being started, in all processes, until it is [resumed](Store::resume); running operations
    /// continue. Answers whether there is such an organization.
    async fn pause(&self, what: Pausable) -> Result<bool, StoreError>;

    /// Lets it be started again; answers whether it was paused.
    async fn resume(&self, what: Pausable) -> Result<bool, StoreError>;

    /// Everything that is paused.
    async fn paused(&self) -> Result<Vec<Paused>, StoreError>;

    /// Every organization, by name.
    async fn organizations(&self) -> Result<Vec<Organization>, StoreError>;

    /// Every kind that operations of this store have or had, in order; of one organization or of all.
    async fn kinds(&self, organization: Option<&str>) -> Result<Vec<String>, StoreError>;

    /// The contents of an organization, from one snapshot; `None` when there is no such organization.
    async fn contents(&self, organization: &str) -> Result<Option<Contents>, StoreError>;

    /// Begins to delete an organization, or continues: its tokens are revoked, nothing of it is started, nothing is
    /// created in it. Answers how many operations have not ended; when there are any, that is done only if
    /// `unfinished_too`.
    async fn begin_deletion(&self, organization: &str, unfinished_too: bool) -> Result<u64, StoreError>;

    /// Removes up to `limit` rows of an organization whose deletion has begun, in one transaction; answers how many. 0
    /// when there are no more, `None` when it is not being deleted.
    async fn delete_part(&self, organization: &str, limit: u32) -> Result<Option<u64>, StoreError>;

    /// Ends a deletion whose parts are done: the organization no longer exists. `false` while others still remove
    /// evidence of it: try again in a moment. [`StoreError::Unavailable`] when more operations became visible
    /// meanwhile: more parts have to be removed.
    async fn end_deletion(&self, organization: &str) -> Result<bool, StoreError>;

    /// This store for one call: what is written through it is recorded in the audit log as the call, in the transaction
    /// of the change. A call that changes nothing is not recorded, nor are claims, heartbeats and ends of attempts,
    /// which the histories of the operations record.
    fn on_behalf_of(&self, call: AuditCall) -> std::sync::Arc<dyn Store>;

    /// Records a call separately, with its answer, a `google.rpc.Code`: for a call that was refused.
    async fn record(&self, call: AuditCall, code: i32) -> Result<(), StoreError>;

    /// Up to `limit` entries of an organization's audit log, or, with the empty name, of the instance's, newest first,
    /// from below a number.
    async fn audit(
        &self,
        organization: &str,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError>;

    /// Forgets up to `limit` rows of each audit log that are older than `keep`; answers how many entries they had.
    async fn forget_audit(&self, keep: std::time::Duration, limit: u32) -> Result<u64, StoreError>;

    /// Makes a new organization; `false` when it exists already. Fails with [`StoreError::OrganizationGone`] while it
    /// is being deleted. The caller has checked its name and [`Limits::violations`].
    async fn create_organization(&self, organization: &str, limits: Limits) -> Result<bool, StoreError>;

    /// Sets the limits of an organization; `false` when there is none. They hold in this process from now on, in others
    /// once they [refresh](Store::refresh_limits).
    async fn set_limits(&self, organization: &str, limits: Limits) -> Result<bool, StoreError>;

    /// Reads the limits that calls have set, in any process.
    async fn refresh_limits(&self) -> Result<(), StoreError>;

    /// The limits that calls have set, as this process read them last.
    fn limits(&self) -> std::sync::Arc<std::collections::BTreeMap<String, Limits>>;

    /// The limits of organizations: as this process was configured, and as calls have set them.
    fn quotas(&self) -> std::sync::Arc<Quotas>;

    /// Keeps a token (its hash, never the secret). Creates the organization if it is new; fails with
    /// [`StoreError::OrganizationGone`] while it is being deleted.
    async fn create_token(&self, token: NewToken) -> Result<Token, StoreError>;

    /// Up to `limit` tokens within reach, oldest first, after one that was made then and has this id.
    async fn list_tokens(
        &self,
        reach: &TokenReach,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Token>, StoreError>;

    /// The token of this id, if it is within reach.
    async fn token(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError>;

    /// Revokes a token within reach permanently, and returns it; one that was revoked before stays as it is.
    async fn revoke(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError>;

    /// Keeps a token in the place of another one, which ends after the overlap at the latest; `None` when that one is
    /// no longer valid. The caller has checked that the new one is like the old one.
    async fn replace_token(
        &self,
        id: &str,
        new: NewToken,
        overlap: std::time::Duration,
    ) -> Result<Option<Token>, StoreError>;

    /// Every token, oldest first; of one organization or of all, those of the instance included.
    async fn tokens(&self, organization: Option<&str>) -> Result<Vec<Token>, StoreError> {
        const PART: u32 = 1_000;
        let reach = TokenReach::everything();
        let reach = organization.map_or(reach.clone(), |organization| reach.within(organization));
        let (mut tokens, mut after) = (Vec::new(), None);
        loop {
            let part: Vec<Token> = self.list_tokens(&reach, after, PART).await?;
            let is_last = part.len() < PART as usize;
            after = part.last().map(|token| (token.created_at, token.id.clone()));
            tokens.extend(part);
            if is_last {
                return Ok(tokens);
            }
        }
    }

    /// Revokes a token permanently; `false` when there is none with this id.
    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.revoke(&TokenReach::everything(), id).await?.is_some())
    }

    /// The token with this SHA-256, revoked and expired ones included.
    async fn find_token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError>;

    /// Notes that tokens were used just now; best effort, by id.
    async fn touch_tokens(&self, ids: Vec<String>) -> Result<(), StoreError>;

    /// Closes the connections once the work under way has ended; later calls fail.
    async fn close(&self);

    /// Answers when the store can be read and written: it writes a little, as durably as everything else.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Recounts everything and compares: counters, sequences, tables, leases.
    async fn doctor(&self) -> Result<Report, StoreError>;

    /// Sets how texts are sealed that come into the store in other ways than this trait, and those of schedules. All
    /// other texts are stored and answered as they are: [`Sealed`] seals them.
    fn seal_with(&self, keyring: Keyring);

    /// A part of a walk over all texts: up to `limit` rows after `after`.
    async fn text_heads(&self, after: TextCursor, limit: u32) -> Result<TextPage, StoreError>;

    /// The texts at these places, as they are stored, in their order; `None` where there is no text any more.
    async fn texts(&self, places: Vec<TextPlace>) -> Result<Vec<Option<String>>, StoreError>;

    /// Replaces texts by others, where the old ones are still there; answers how many were.
    async fn replace_texts(&self, replacements: Vec<Replacement>) -> Result<u64, StoreError>;
}

/// Which attempts are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Those whose lease has run out.
    Expired,
    /// All that servers run themselves, whether or not their lease has run out: what a process that uses the store
    /// alone finds when it starts. Those of remote workers, whose leases are held by a token, are not among them.
    Local,
    /// Those of claims, or of creations that start at once, that this process sent and was not answered: nobody holds
    /// their leases, and no attempt has begun. They are to be [released](Store::release). The store is asked only while
    /// such leases may exist.
    Unanswered,
}

/// An attempt whose worker sent no heartbeat in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLease {
    /// The attempt.
    pub lease: LeaseRef,
    /// The kind of its operation.
    pub kind: String,
    /// Attempts charged, this one included; a backoff is computed from it.
    pub attempts: u32,
}
