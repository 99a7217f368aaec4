//! Claims whose answer never came: the connection broke, or the database fell silent.
//!
//! Such a statement may have been carried out, or may still be. What it claimed is held by nobody: it would stay running
//! until its leases expire, and then be charged for an attempt that never began. So each statement that claims, or that
//! creates and starts, writes a number of its own into its leases ([`Claims::send`]). When no answer comes, the numbers
//! are kept for as long as the leases last, and [`Unanswered::leases`] finds what was claimed under them, to be released.
//! A number that was answered is forgotten at once, so that nothing that somebody holds is found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::connections::Connections;
use super::rows;
use crate::batch::Write;
use crate::{LostLease, StoreError};

/// What was claimed under the numbers $2 in the organizations $1. Served by the primary keys of leases and active.
const LEASES: &str = "
    SELECT l.organization_id, l.fence, a.id, a.kind, a.attempts FROM (
        SELECT organization, array_agg(claim) AS claims
        FROM unnest($1::text[], $2::uuid[]) AS c (organization, claim) GROUP BY organization) AS c
    CROSS JOIN LATERAL (
        SELECT organization_id, seq, fence FROM leases
        WHERE organization_id = c.organization AND claim = ANY (c.claims) OFFSET 0) AS l
    CROSS JOIN LATERAL (
        SELECT id, kind, attempts FROM active WHERE organization_id = l.organization_id AND seq = l.seq OFFSET 0) AS a
    LIMIT $3";

/// The numbers of the statements that one writer sends.
#[derive(Debug)]
pub(super) struct Claims {
    /// Random, so that no other writer has it.
    writer: u64,
    next: u64,
    /// Those that were sent and not answered.
    sent: Vec<Uuid>,
}

impl Claims {
    pub(super) fn new() -> Claims {
        Claims { writer: Uuid::new_v4().as_u64_pair().0, next: 0, sent: Vec::new() }
    }

    /// The number of a statement that is sent now.
    pub(super) fn send(&mut self) -> Uuid {
        let claim = Uuid::from_u64_pair(self.writer, self.next);
        self.next += 1;
        self.sent.push(claim);
        claim
    }

    /// Forgets the numbers that were sent since `earlier`, the result of [`Claims::sent`]: they are durable, and answered.
    pub(super) fn answered(&mut self, earlier: usize) {
        self.sent.truncate(earlier);
    }

    /// How many numbers were sent and not answered.
    pub(super) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// The numbers that were sent and not answered, which are forgotten here.
    pub(super) fn take(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.sent)
    }
}

/// A statement that was not answered.
#[derive(Debug)]
struct Statement {
    organization: String,
    claim: Uuid,
    /// When its leases have expired.
    until: Instant,
}

/// The statements of this process that were not answered. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Unanswered(Arc<Mutex<Vec<Statement>>>);

impl Unanswered {
    /// Keeps the numbers of statements that were sent for these writes of an organization.
    pub(super) fn keep(&self, organization: &str, claims: Vec<Uuid>, writes: &[&mut Write]) {
        let until = Instant::now() + writes.iter().filter_map(|write| lease(write)).max().unwrap_or_default();
        let statement = |claim| Statement { organization: organization.to_owned(), claim, until };
        self.lock().extend(claims.into_iter().map(statement));
    }

    /// Up to `limit` leases that such statements made and nobody holds. Asks the database only while there are such
    /// statements.
    pub(super) async fn leases(&self, pool: &Connections, limit: u32) -> Result<Vec<LostLease>, StoreError> {
        let (organizations, claims): (Vec<String>, Vec<Uuid>) = {
            let (mut kept, now) = (self.lock(), Instant::now());
            kept.retain(|statement| statement.until > now);
            kept.iter().map(|statement| (statement.organization.clone(), statement.claim)).unzip()
        };
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let found = sqlx::query(LEASES).bind(organizations).bind(claims).bind(i64::from(limit)).fetch_all(pool).await?;
        found.iter().map(rows::lost_lease).collect()
    }

    /// Nothing that holds the lock can panic between two changes.
    fn lock(&self) -> MutexGuard<'_, Vec<Statement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the leases last that a write makes.
fn lease(write: &Write) -> Option<Duration> {
    match write {
        Write::Claim(slot) => Some(slot.request.lease),
        Write::Create(slot) => Some(slot.request.start.as_ref()?.lease),
        _ => None,
    }
}
