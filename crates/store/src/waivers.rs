//! Waivers: violations that an organization accepts for a while, with the reason, who decided, and until when.
//!
//! A waiver is never changed. Its creation, removal or end has consequences for evidence, which have to be handled:
//! each such [`WaiverChange`] is reported until it is [noted](Waivers::note_waiver_change), so that a crash loses none.

use async_trait::async_trait;
use operations::{OperationId, Timestamp};

use crate::StoreError;

/// The most waivers of an organization, those that have ended included: an evaluation reads all of them.
pub const MAX_WAIVERS: u32 = 1_000;
/// The most of them that may name a VEX document: an evaluation has all of these documents in memory.
pub const MAX_VEX_WAIVERS: u32 = 50;
/// The prefix of the digest of a VEX document where a waiver's finding names one.
pub const VEX_PREFIX: &str = "vex:";

/// The digest of the VEX document that the finding of a waiver names, as it is written there; `None` when it names
/// none.
pub fn vex_named(finding: &str) -> Option<&str> {
    finding.strip_prefix(VEX_PREFIX)
}

/// A violation that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// Its id, a UUID; ids are in the order of creation.
    pub id: String,
    /// The name of the policy whose violations it covers.
    pub policy: String,
    /// Which of them: a message, an identifier in a finding, or `vex:` and the digest of a VEX document that is stored
    /// as evidence, which is kept as long as the waiver has an effect; empty: all.
    pub finding: String,
    /// For which evidence: its digest or the id of its project, and outside of projects its name or the name of its
    /// project; empty: any.
    pub subject: String,
    /// The reason.
    pub reason: String,
    /// Who decided: the name of the token.
    pub created_by: String,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When it ceases to have an effect; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Waiver {
    /// Whether it has an effect at this time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// A new id.
    pub fn new_id(now: Timestamp) -> String {
        OperationId::new(now).to_string()
    }
}

/// The result of storing a waiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaiverOutcome {
    /// It is kept.
    Kept(Waiver),
    /// There are already as many as allowed.
    TooMany(u32),
    /// There are already as many that name a VEX document as allowed.
    TooManyVex(u32),
    /// There is no such organization.
    Missing,
}

/// What happened to a waiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiverEvent {
    /// It was made.
    Added,
    /// It was removed.
    Removed,
    /// It expired.
    Expired,
}

impl WaiverEvent {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            WaiverEvent::Added => "added",
            WaiverEvent::Removed => "removed",
            WaiverEvent::Expired => "expired",
        }
    }
}

/// Something that happened to a waiver, and that was not handled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiverChange {
    /// The organization that owns it.
    pub organization: String,
    /// What happened.
    pub event: WaiverEvent,
    /// The waiver.
    pub waiver: Waiver,
}

/// Waivers.
#[async_trait]
pub trait Waivers: Send + Sync {
    /// Every waiver of an organization, oldest first, those that have ended included.
    async fn waivers(&self, organization: &str) -> Result<Vec<Waiver>, StoreError>;

    /// Keeps a new waiver, which is made now.
    async fn create_waiver(&self, organization: &str, waiver: Waiver) -> Result<WaiverOutcome, StoreError>;

    /// Removes a waiver; `false` when there is none with this id.
    async fn delete_waiver(&self, organization: &str, id: &str) -> Result<bool, StoreError>;

    /// Up to `limit` things that happened and that were not handled yet.
    async fn waiver_changes(&self, limit: u32) -> Result<Vec<WaiverChange>, StoreError>;

    /// Notes that one of them was handled.
    async fn note_waiver_change(&self, change: WaiverChange) -> Result<(), StoreError>;
}

/// Something to be written about waivers.
#[derive(Clone, Debug)]
pub(crate) enum WaiverWrite {
    Create(String, Waiver),
    Delete(String, String),
    Note(WaiverChange),
}

impl WaiverWrite {
    pub(crate) fn organization(&self) -> &str {
        match self {
            WaiverWrite::Create(organization, _) | WaiverWrite::Delete(organization, _) => organization,
            WaiverWrite::Note(change) => &change.organization,
        }
    }
}

/// Why a waiver with this finding cannot be kept together with those with the others.
pub(crate) fn refusal(finding: &str, others: &[String]) -> Option<WaiverOutcome> {
    let by_vex = || others.iter().filter(|other| vex_named(other).is_some()).count();
    if others.len() >= MAX_WAIVERS as usize {
        Some(WaiverOutcome::TooMany(MAX_WAIVERS))
    } else if vex_named(finding).is_some() && by_vex() >= MAX_VEX_WAIVERS as usize {
        Some(WaiverOutcome::TooManyVex(MAX_VEX_WAIVERS))
    } else {
        None
    }
}

/// The state of a row: what of it was handled.
pub(crate) const ADDED: i64 = 1;
pub(crate) const SEEN: i64 = 2;
pub(crate) const REMOVED: i64 = 3;
pub(crate) const ENDED: i64 = 4;

/// The event to be handled for a row that was found at this time.
pub(crate) fn event(state: i64, waiver: &Waiver, now: Timestamp) -> WaiverEvent {
    match state {
        REMOVED => WaiverEvent::Removed,
        _ if !waiver.is_live(now) => WaiverEvent::Expired,
        _ => WaiverEvent::Added,
    }
}

/// The state of a row once its event was handled; `None`: the row is removed.
pub(crate) fn noted(event: WaiverEvent) -> Option<i64> {
    match event {
        WaiverEvent::Added => Some(SEEN),
        WaiverEvent::Expired => Some(ENDED),
        WaiverEvent::Removed => None,
    }
}
