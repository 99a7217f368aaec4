//! What is known of evidence besides its content: which pieces an organization has, how many bytes they have in all,
//! and when each was used last.
//!
//! No transaction covers both a row and the object under its digest. So a row has a state: it is *reserved* before
//! content comes to its place, which is when the limit of the organization is checked; it is *stored* once it can be
//! found; and it is *being removed* from before the removal of the object until it is gone. A caller that finds it
//! being removed waits: that way no object is removed that has just been stored. Whichever half a process left undone
//! is found by its age ([`EvidenceAges`]) and removed by the next process that checks.

use std::time::Duration;

use async_trait::async_trait;
use operations::{OperationId, Timestamp};

use crate::quota::Admission;
use crate::rows::damaged;
use crate::{Digest, StoreError};

/// A use is noted only if the last noted one is older than this, so that many evaluations of one piece write little.
pub const EVIDENCE_USE_NOTED: Duration = Duration::from_secs(3_600);

/// How long after a removal began another caller may resume it: the one that began it is gone, or has given up. Before
/// that it may still remove objects, so nobody else may end the removal, after which the same content may be stored.
pub(crate) const REMOVAL_LASTS: Duration = Duration::from_secs(600);
/// How long after a reservation it counts as abandoned: what follows it takes a minute or two at most.
const RESERVATION_LASTS: Duration = Duration::from_secs(3_600);
/// The time that may pass between reading a piece and creating an operation that refers to it.
const CREATION_LASTS: Duration = Duration::from_secs(600);

/// The longest name of a piece of evidence, in bytes.
pub const MAX_EVIDENCE_NAME: usize = 256;

/// A piece of evidence that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRecord {
    /// The SHA-256 of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// The material kind that was detected, e.g. `SBOM_CYCLONEDX_JSON`, or empty.
    pub kind: String,
    /// The name under which it was first stored or evaluated; may be empty.
    pub name: String,
    /// When it was stored first.
    pub created_at: Timestamp,
    /// When it was stored or evaluated last, give or take [`EVIDENCE_USE_NOTED`].
    pub last_used_at: Timestamp,
}

impl EvidenceRecord {
    /// Whether a use at this time, under this name, is worth a write.
    pub fn is_use_to_be_noted(&self, now: Timestamp, name: &str) -> bool {
        now >= self.last_used_at.after(EVIDENCE_USE_NOTED) || (self.name.is_empty() && !name.is_empty())
    }
}

/// A piece of evidence whose content is at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvidence {
    /// The SHA-256 of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// The material kind that was detected, or empty.
    pub kind: String,
    /// What it is called; at most [`MAX_EVIDENCE_NAME`] bytes, may be empty.
    pub name: String,
}

/// The result of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It is stored already.
    Stored(EvidenceRecord),
    /// There is space for it: its content may come to its place, and then it is put.
    Reserved,
    /// It is being removed: try again in a moment.
    BeingRemoved,
    /// The organization has as many bytes as it may.
    Full {
        /// How many it may have.
        limit: u64,
        /// How many it has.
        used: u64,
    },
}

/// Which pieces a list contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceFilter {
    /// Only those of this material kind; empty: of any.
    pub kind: String,
    /// Only those with this name; empty: with any or none.
    pub name: String,
    /// Only those whose digest begins with this, `sha256:` included; empty: all.
    pub digest_prefix: String,
}

/// A piece in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEvidence {
    /// The piece.
    pub record: EvidenceRecord,
    /// The newest operation about it, if there still is one.
    pub last_operation: Option<OperationId>,
}

/// How much evidence an organization has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceTotals {
    /// Pieces, including those that are being stored or removed.
    pub pieces: u64,
    /// Their bytes, as they were sent: bytes that encryption adds are not counted.
    pub bytes: u64,
}

/// The retention of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceRetention {
    /// After its last use, unless an operation that has not ended, or a waiver, refers to it; `None`: forever.
    pub after_use: Option<Duration>,
    /// The same for evidence that no operation and no waiver refers to at all; `None`: forever.
    pub unreferenced: Option<Duration>,
}

/// The times before which evidence is old enough to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceAges {
    unused: Option<Timestamp>,
    unreferenced: Option<Timestamp>,
    reserved: Timestamp,
    removing: Timestamp,
}

impl EvidenceAges {
    /// The times for a retention, at this time.
    pub fn at(now: Timestamp, retention: EvidenceRetention) -> EvidenceAges {
        // A use may not be noted for a while, and an operation that refers to it may be about to be created.
        let before = |age: Duration| now.before(age.saturating_add(EVIDENCE_USE_NOTED).saturating_add(CREATION_LASTS));
        EvidenceAges {
            unused: retention.after_use.map(before),
            unreferenced: retention.unreferenced.map(before),
            reserved: now.before(RESERVATION_LASTS),
            removing: now.before(REMOVAL_LASTS),
        }
    }
}

/// The state of a piece, for the removal of old pieces and for the comparison of rows with objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceStanding {
    /// The digest.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// Whether it can be found.
    pub is_stored: bool,
    /// Whether an operation that has not ended, or a waiver that has an effect, refers to it.
    pub is_awaited: bool,
    /// Whether any operation or waiver refers to it.
    pub is_referred_to: bool,
    row: EvidenceRow,
}

impl EvidenceStanding {
    pub(crate) fn new(digest: Digest, row: EvidenceRow, is_awaited: bool, has_ended: bool) -> EvidenceStanding {
        let (size, is_stored) = (row.size, row.state == EvidenceState::Stored);
        EvidenceStanding { digest, size, is_stored, is_awaited, is_referred_to: is_awaited || has_ended, row }
    }

    /// Whether it is old enough to be removed.
    pub fn is_over(&self, ages: &EvidenceAges) -> bool {
        self.row.is_over(ages, self.is_awaited, self.is_referred_to)
    }
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceRemoval {
    /// This one, on request.
    One(Digest),
    /// Of these, the ones that are old enough.
    Aged(Vec<Digest>, EvidenceAges),
    /// Of these, the ones that belong to nothing, which were left behind: they have no row, or their organization is
    /// deleted or being deleted.
    Orphans(Vec<Digest>),
}

/// A removal that has begun: the objects are to be removed now, and then it is [ended](EvidenceRecords::end_removal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removing {
    /// Which pieces.
    pub digests: Vec<Digest>,
    /// When it began, which distinguishes it from a later one.
    pub since: Timestamp,
}

/// Why one piece is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceKept {
    /// There is no such piece.
    #[error("there is no such evidence")]
    NotFound,
    /// An operation that has not ended, or a waiver, refers to it.
    #[error(
        "an operation that has not ended or a waiver refers to the evidence: wait until it has ended, cancel it, or remove \
         the waiver"
    )]
    InUse,
    /// Another caller is removing it: try again in a moment.
    #[error("the evidence is being removed")]
    BeingRemoved,
}

/// What is known of evidence. Nothing here is limited to projects: evidence belongs to its organization as a whole.
#[async_trait]
pub trait EvidenceRecords: Send + Sync {
    /// Reserves space for content that is about to come to its place.
    async fn reserve_evidence(&self, organization: &str, digest: Digest, size: u64) -> Result<Reservation, StoreError>;

    /// Releases a reservation whose content did not come to its place; does nothing when there is none. If another
    /// caller is storing the same content, it is put without a reservation.
    async fn end_reservation(&self, organization: &str, digest: Digest) -> Result<(), StoreError>;

    /// Notes a piece of evidence whose content is at its place; a digest already noted keeps its record, except that it
    /// gets a name if it had none. [`StoreError::Unavailable`] when it is being removed.
    async fn put_evidence(&self, organization: &str, evidence: NewEvidence) -> Result<(), StoreError>;

    /// The record of a piece of evidence of this organization.
    async fn evidence(&self, organization: &str, digest: &Digest) -> Result<Option<EvidenceRecord>, StoreError>;

    /// Notes that a piece was used just now, under this name; `false` when there is no such piece.
    async fn touch_evidence(&self, organization: &str, digest: Digest, name: &str) -> Result<bool, StoreError>;

    /// Up to `limit` pieces, newest first, after one that was stored at this time and has this digest.
    async fn list_evidence(
        &self,
        organization: &str,
        filter: &EvidenceFilter,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<ListedEvidence>, StoreError>;

    /// How much an organization has.
    async fn evidence_totals(&self, organization: &str) -> Result<EvidenceTotals, StoreError>;

    /// A part of a walk over all pieces of an organization, in the order of their digests: up to `limit` after `after`.
    async fn evidence_standings(
        &self,
        organization: &str,
        after: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<EvidenceStanding>, StoreError>;

    /// Begins to remove pieces that may be removed: nobody finds them from now on, nor stores them anew until the
    /// removal has ended.
    async fn begin_removal(
        &self,
        organization: &str,
        what: EvidenceRemoval,
    ) -> Result<Result<Removing, EvidenceKept>, StoreError>;

    /// Ends a removal whose objects are gone; answers how many pieces went.
    async fn end_removal(&self, organization: &str, removing: Removing) -> Result<u64, StoreError>;
}

/// Something to be written about evidence.
#[derive(Clone, Debug)]
pub(crate) struct EvidenceWrite {
    pub(crate) organization: String,
    pub(crate) change: EvidenceChange,
}

#[derive(Clone, Debug)]
pub(crate) enum EvidenceChange {
    Reserve(Digest, u64),
    Unreserve(Digest),
    Put(NewEvidence),
    Touch(Digest, String),
    Begin(EvidenceRemoval),
    End(Removing),
}

impl EvidenceWrite {
    /// The most rows that it may write.
    pub(crate) fn rows(&self) -> usize {
        match &self.change {
            EvidenceChange::Begin(EvidenceRemoval::Aged(digests, _) | EvidenceRemoval::Orphans(digests))
            | EvidenceChange::End(Removing { digests, .. }) => digests.len(),
            _ => 1,
        }
    }

    /// Whether an organization that does not exist yet is made by it.
    pub(crate) fn makes_organization(&self) -> bool {
        matches!(self.change, EvidenceChange::Reserve(..) | EvidenceChange::Put(_))
    }

    /// Whether it may be carried out in an organization that is deleted or being deleted. An organization that is made
    /// anew keeps the rows of such removals, so that none of them removes an object that was stored in it.
    pub(crate) fn concerns_the_deleted(&self) -> bool {
        matches!(self.change, EvidenceChange::Begin(EvidenceRemoval::Orphans(_)) | EvidenceChange::End(_))
    }
}

/// The result of the write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EvidenceReply {
    Reservation(Reservation),
    /// Rows that were written.
    Done(u64),
    Removing(Removing),
    Kept(EvidenceKept),
}

impl EvidenceReply {
    pub(crate) fn reservation(self) -> Result<Reservation, StoreError> {
        if let EvidenceReply::Reservation(reservation) = self { Ok(reservation) } else { Err(unexpected()) }
    }

    pub(crate) fn done(self) -> Result<u64, StoreError> {
        if let EvidenceReply::Done(rows) = self { Ok(rows) } else { Err(unexpected()) }
    }

    pub(crate) fn put(self) -> Result<(), StoreError> {
        match self {
            EvidenceReply::Reservation(Reservation::BeingRemoved) => {
                Err(StoreError::Unavailable("the evidence is being removed".to_owned()))
            }
            other => other.done().map(drop),
        }
    }

    pub(crate) fn removing(self) -> Result<Result<Removing, EvidenceKept>, StoreError> {
        match self {
            EvidenceReply::Removing(removing) => Ok(Ok(removing)),
            EvidenceReply::Kept(kept) => Ok(Err(kept)),
            _ => Err(unexpected()),
        }
    }

    /// Whether something was done that deserves an entry of the audit log.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self, EvidenceReply::Done(1..) | EvidenceReply::Removing(_))
    }
}

fn unexpected() -> StoreError {
    StoreError::Unusable("a write about evidence was answered as another kind of write".to_owned())
}

/// The state of a row between its reservation and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvidenceState {
    Reserved = 1,
    Stored = 2,
    Removing = 3,
}

impl EvidenceState {
    pub(crate) fn from_number(number: i64) -> Result<EvidenceState, StoreError> {
        match number {
            1 => Ok(EvidenceState::Reserved),
            2 => Ok(EvidenceState::Stored),
            3 => Ok(EvidenceState::Removing),
            _ => Err(damaged("state")),
        }
    }
}

/// A row of the table, as both engines have it, except for its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvidenceRow {
    pub(crate) size: u64,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Timestamp,
    pub(crate) state: EvidenceState,
    pub(crate) removing_since: Option<Timestamp>,
}

impl EvidenceRow {
    fn new(size: u64, state: EvidenceState, now: Timestamp) -> EvidenceRow {
        EvidenceRow {
            size,
            kind: String::new(),
            name: String::new(),
            created_at: now,
            last_used_at: now,
            state,
            removing_since: (state == EvidenceState::Removing).then_some(now),
        }
    }

    pub(crate) fn record(self, digest: Digest) -> EvidenceRecord {
        let EvidenceRow { size, kind, name, created_at, last_used_at, .. } = self;
        EvidenceRecord { digest, size, kind, name, created_at, last_used_at }
    }

    fn is_over(&self, ages: &EvidenceAges, is_awaited: bool, is_referred_to: bool) -> bool {
        let is_before = |age: Option<Timestamp>| age.is_some_and(|age| self.last_used_at < age);
        match self.state {
            EvidenceState::Reserved => self.last_used_at < ages.reserved,
            EvidenceState::Stored => {
                (!is_awaited && is_before(ages.unused)) || (!is_referred_to && is_before(ages.unreferenced))
            }
            EvidenceState::Removing => !self.is_in_other_hands(ages.removing),
        }
    }

    /// Whether it is being removed by a caller that began at this time or later.
    fn is_in_other_hands(&self, since: Timestamp) -> bool {
        self.state == EvidenceState::Removing && self.removing_since.is_some_and(|began| began >= since)
    }
}

/// What an engine does in the transaction of a write, in which the organization is locked.
pub(crate) trait EvidenceTable {
    async fn load(&mut self, digest: &Digest) -> Result<Option<EvidenceRow>, StoreError>;
    /// Inserts the row, or replaces the existing one.
    async fn save(&mut self, digest: &Digest, row: &EvidenceRow) -> Result<(), StoreError>;
    async fn remove(&mut self, digest: &Digest) -> Result<(), StoreError>;
    /// Whether an operation that has not ended or a waiver refers to it, and whether an operation that has ended does.
    async fn references(&mut self, digest: &Digest) -> Result<(bool, bool), StoreError>;
    async fn totals(&mut self) -> Result<EvidenceTotals, StoreError>;
    /// Adds to the totals.
    async fn count(&mut self, pieces: i64, bytes: i64) -> Result<(), StoreError>;
}

/// Carries out a write; `is_deleted` says whether the organization is deleted or being deleted, in which case the write
/// [concerns](EvidenceWrite::concerns_the_deleted) that.
pub(crate) async fn carry_out(
    table: &mut impl EvidenceTable,
    now: Timestamp,
    admission: &Admission,
    is_deleted: bool,
    write: &EvidenceWrite,
) -> Result<EvidenceReply, StoreError> {
    match &write.change {
        EvidenceChange::Reserve(digest, size) => {
            let most = admission.of(&write.organization).max_evidence;
            reserve(table, now, most, digest, *size).await.map(EvidenceReply::Reservation)
        }
        EvidenceChange::Unreserve(digest) => {
            let found = table.load(digest).await?.filter(|row| row.state == EvidenceState::Reserved);
            let Some(row) = found else { return Ok(EvidenceReply::Done(0)) };
            table.remove(digest).await?;
            table.count(-1, -signed(row.size)).await?;
            Ok(EvidenceReply::Done(1))
        }
        EvidenceChange::Put(new) => put(table, now, new).await,
        EvidenceChange::Touch(digest, name) => {
            let Some(mut row) = table.load(digest).await?.filter(|row| row.state == EvidenceState::Stored) else {
                return Ok(EvidenceReply::Done(0));
            };
            row.last_used_at = now.max(row.last_used_at);
            if row.name.is_empty() {
                row.name.clone_from(name);
            }
            table.save(digest, &row).await?;
            Ok(EvidenceReply::Done(1))
        }
        EvidenceChange::Begin(what) => begin(table, now, is_deleted, what).await,
        EvidenceChange::End(removing) => {
            let mut gone = 0;
            for digest in &removing.digests {
                let row = table.load(digest).await?.filter(|row| row.state == EvidenceState::Removing);
                // A removal that another process has resumed is ended by that process.
                let Some(row) = row.filter(|row| row.removing_since == Some(removing.since)) else { continue };
                table.remove(digest).await?;
                table.count(-1, -signed(row.size)).await?;
                gone += 1;
            }
            Ok(EvidenceReply::Done(gone))
        }
    }
}

async fn reserve(
    table: &mut impl EvidenceTable,
    now: Timestamp,
    most: Option<u64>,
    digest: &Digest,
    size: u64,
) -> Result<Reservation, StoreError> {
    match table.load(digest).await? {
        None => {
            let used = table.totals().await?.bytes;
            if let Some(limit) = most.filter(|most| used.saturating_add(size) > *most) {
                return Ok(Reservation::Full { limit, used });
            }
            table.save(digest, &EvidenceRow::new(size, EvidenceState::Reserved, now)).await?;
            table.count(1, signed(size)).await?;
            Ok(Reservation::Reserved)
        }
        Some(row) if row.state == EvidenceState::Removing => Ok(Reservation::BeingRemoved),
        Some(mut row) => {
            row.last_used_at = now.max(row.last_used_at);
            table.save(digest, &row).await?;
            let is_stored = row.state == EvidenceState::Stored;
            Ok(if is_stored { Reservation::Stored(row.record(*digest)) } else { Reservation::Reserved })
        }
    }
}

async fn put(table: &mut impl EvidenceTable, now: Timestamp, new: &NewEvidence) -> Result<EvidenceReply, StoreError> {
    let found = table.load(&new.digest).await?;
    let is_new = found.is_none();
    let mut row = found.unwrap_or_else(|| EvidenceRow::new(new.size, EvidenceState::Reserved, now));
    match row.state {
        EvidenceState::Removing => return Ok(EvidenceReply::Reservation(Reservation::BeingRemoved)),
        EvidenceState::Reserved => row = EvidenceRow { kind: new.kind.clone(), state: EvidenceState::Stored, ..row },
        EvidenceState::Stored if !row.name.is_empty() || new.name.is_empty() => return Ok(EvidenceReply::Done(0)),
        EvidenceState::Stored => {}
    }
    if row.name.is_empty() {
        row.name.clone_from(&new.name);
    }
    row.last_used_at = now.max(row.last_used_at);
    table.save(&new.digest, &row).await?;
    if is_new {
        table.count(1, signed(row.size)).await?;
    }
    Ok(EvidenceReply::Done(1))
}

async fn begin(
    table: &mut impl EvidenceTable,
    now: Timestamp,
    is_deleted: bool,
    what: &EvidenceRemoval,
) -> Result<EvidenceReply, StoreError> {
    let mut begun = Vec::new();
    match what {
        EvidenceRemoval::One(digest) => {
            let found = table.load(digest).await?.filter(|row| row.state != EvidenceState::Reserved);
            let Some(row) = found else { return Ok(EvidenceReply::Kept(EvidenceKept::NotFound)) };
            if row.state == EvidenceState::Stored && table.references(digest).await?.0 {
                return Ok(EvidenceReply::Kept(EvidenceKept::InUse));
            }
            if row.is_in_other_hands(now.before(REMOVAL_LASTS)) {
                return Ok(EvidenceReply::Kept(EvidenceKept::BeingRemoved));
            }
            begun.push((*digest, row));
        }
        EvidenceRemoval::Aged(digests, ages) => {
            for digest in digests {
                let Some(row) = table.load(digest).await? else { continue };
                let (is_awaited, has_ended) = table.references(digest).await?;
                if row.is_over(ages, is_awaited, is_awaited || has_ended) {
                    begun.push((*digest, row));
                }
            }
        }
        EvidenceRemoval::Orphans(digests) => {
            for digest in digests {
                if begun.iter().any(|(begun, _)| begun == digest) {
                    continue;
                }
                match table.load(digest).await? {
                    None => {
                        table.count(1, 0).await?;
                        begun.push((*digest, EvidenceRow::new(0, EvidenceState::Removing, now)));
                    }
                    Some(row) if is_deleted && !row.is_in_other_hands(now.before(REMOVAL_LASTS)) => {
                        begun.push((*digest, row));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    let mut digests = Vec::with_capacity(begun.len());
    for (digest, row) in begun {
        let row = EvidenceRow { state: EvidenceState::Removing, removing_since: Some(now), ..row };
        table.save(&digest, &row).await?;
        digests.push(digest);
    }
    Ok(EvidenceReply::Removing(Removing { digests, since: now }))
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
