//! The records of evidence: see [`crate::evidence`].

use async_trait::async_trait;
use operations::{OperationId, Timestamp};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::{PostgresStore, create, rows};
use crate::batch::Write;
use crate::evidence::{self, EvidenceChange, EvidenceReply, EvidenceRow, EvidenceState, EvidenceTable, EvidenceWrite};
use crate::quota::Admission;
use crate::rows::damaged;
use crate::{
    Digest, EvidenceFilter, EvidenceKept, EvidenceRecord, EvidenceRecords, EvidenceRemoval, EvidenceStanding,
    EvidenceTotals, ListedEvidence, NewEvidence, Removing, Reservation, StoreError, VEX_PREFIX,
};

/// Writes about evidence of an organization wait for each other here, so that its limit is kept.
const LOCK: &str = "SELECT deleted FROM organizations WHERE organization_id = $1 FOR NO KEY UPDATE";

/// Served by the primary key.
const LOAD: &str = "
    SELECT digest, size, kind, name, created_at, last_used_at, state, removing_since FROM evidence
    WHERE organization_id = $1 AND digest = $2";

const SAVE: &str = "
    INSERT INTO evidence (organization_id, digest, size, kind, name, created_at, last_used_at, state, removing_since)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (organization_id, digest) DO UPDATE SET size = excluded.size, kind = excluded.kind,
        name = excluded.name, last_used_at = excluded.last_used_at, state = excluded.state,
        removing_since = excluded.removing_since";

const REMOVE: &str = "DELETE FROM evidence WHERE organization_id = $1 AND digest = $2";

/// Served by active_by_resource, settled_by_resource and the primary key of waivers, which are few.
const REFERENCES: &str = "
    SELECT EXISTS (SELECT FROM active
            WHERE organization_id = $1 AND resource_type = 'evidence' AND resource_id = $2)
        OR EXISTS (SELECT FROM waivers
            WHERE organization_id = $1 AND finding = $3 || $2 AND state IN (1, 2)),
        EXISTS (SELECT FROM settled
            WHERE organization_id = $1 AND resource_type = 'evidence' AND resource_id = $2)";

const TOTALS: &str = "SELECT pieces, bytes FROM evidence_totals WHERE organization_id = $1";

const COUNT: &str = "
    INSERT INTO evidence_totals AS t (organization_id, pieces, bytes) VALUES ($1, $2, $3)
    ON CONFLICT (organization_id) DO UPDATE SET pieces = t.pieces + excluded.pieces, bytes = t.bytes + excluded.bytes";

/// Served by evidence_by_age, and for the newest operation by active_by_resource and settled_by_resource.
const LIST: &str = "
    SELECT digest, size, kind, name, created_at, last_used_at, state, removing_since,
        (SELECT id FROM (
            SELECT * FROM (SELECT id, seq FROM active a WHERE a.organization_id = $1 AND a.resource_type = 'evidence'
                AND a.resource_id = e.digest ORDER BY a.seq DESC LIMIT 1) AS waiting
            UNION ALL
            SELECT * FROM (SELECT id, seq FROM settled s WHERE s.organization_id = $1 AND s.resource_type = 'evidence'
                AND s.resource_id = e.digest ORDER BY s.seq DESC LIMIT 1) AS ended) AS newest
        ORDER BY seq DESC LIMIT 1) AS last_operation
    FROM evidence e
    WHERE organization_id = $1 AND state = 2 AND (created_at, digest) < ($2, $3)
        AND ($4 = '' OR kind = $4) AND ($5 = '' OR name = $5) AND left(digest, length($6)) = $6
    ORDER BY created_at DESC, digest DESC LIMIT $7";

/// Served by the primary key, and as REFERENCES.
const WALK: &str = "
    SELECT digest, size, kind, name, created_at, last_used_at, state, removing_since,
        EXISTS (SELECT FROM active a WHERE a.organization_id = $1 AND a.resource_type = 'evidence'
            AND a.resource_id = e.digest)
        OR EXISTS (SELECT FROM waivers w WHERE w.organization_id = $1 AND w.finding = $4 || e.digest
            AND w.state IN (1, 2)) AS is_awaited,
        EXISTS (SELECT FROM settled s WHERE s.organization_id = $1 AND s.resource_type = 'evidence'
            AND s.resource_id = e.digest) AS has_ended
    FROM evidence e WHERE organization_id = $1 AND digest > $2 ORDER BY digest LIMIT $3";

fn digest(row: &PgRow) -> Result<Digest, StoreError> {
    row.try_get::<String, _>("digest")?.parse().map_err(|_| damaged("digest"))
}

fn read(row: &PgRow) -> Result<EvidenceRow, StoreError> {
    Ok(EvidenceRow {
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        last_used_at: Timestamp::from_millis(row.try_get("last_used_at")?),
        state: EvidenceState::from_number(row.try_get::<i16, _>("state")?.into())?,
        removing_since: rows::time(row, "removing_since")?,
    })
}

fn listed(row: &PgRow) -> Result<ListedEvidence, StoreError> {
    let last: Option<Uuid> = row.try_get("last_operation")?;
    let last_operation = last.map(|id| OperationId::from_bytes(*id.as_bytes()));
    Ok(ListedEvidence { record: read(row)?.record(digest(row)?), last_operation })
}

fn standing(row: &PgRow) -> Result<EvidenceStanding, StoreError> {
    let (is_awaited, has_ended) = (row.try_get("is_awaited")?, row.try_get("has_ended")?);
    Ok(EvidenceStanding::new(digest(row)?, read(row)?, is_awaited, has_ended))
}

fn totals((pieces, bytes): (i64, i64)) -> EvidenceTotals {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    EvidenceTotals { pieces: number(pieces), bytes: number(bytes) }
}

/// The table in the transaction of a write.
struct Table<'t> {
    connection: &'t mut PgConnection,
    organization: &'t str,
}

impl EvidenceTable for Table<'_> {
    async fn load(&mut self, digest: &Digest) -> Result<Option<EvidenceRow>, StoreError> {
        let load = sqlx::query(LOAD).bind(self.organization).bind(digest.to_string());
        load.fetch_optional(&mut *self.connection).await?.as_ref().map(read).transpose()
    }

    async fn save(&mut self, digest: &Digest, row: &EvidenceRow) -> Result<(), StoreError> {
        sqlx::query(SAVE)
            .bind(self.organization)
            .bind(digest.to_string())
            .bind(i64::try_from(row.size).unwrap_or(i64::MAX))
            .bind(&row.kind)
            .bind(&row.name)
            .bind(row.created_at.as_millis())
            .bind(row.last_used_at.as_millis())
            .bind(row.state as i16)
            .bind(row.removing_since.map(Timestamp::as_millis))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn remove(&mut self, digest: &Digest) -> Result<(), StoreError> {
        sqlx::query(REMOVE).bind(self.organization).bind(digest.to_string()).execute(&mut *self.connection).await?;
        Ok(())
    }

    async fn references(&mut self, digest: &Digest) -> Result<(bool, bool), StoreError> {
        let references = sqlx::query_as(REFERENCES).bind(self.organization).bind(digest.to_string()).bind(VEX_PREFIX);
        Ok(references.fetch_one(&mut *self.connection).await?)
    }

    async fn totals(&mut self) -> Result<EvidenceTotals, StoreError> {
        let found = sqlx::query_as(TOTALS).bind(self.organization).fetch_optional(&mut *self.connection).await?;
        Ok(found.map(totals).unwrap_or_default())
    }

    async fn count(&mut self, pieces: i64, bytes: i64) -> Result<(), StoreError> {
        let count = sqlx::query(COUNT).bind(self.organization).bind(pieces).bind(bytes);
        count.execute(&mut *self.connection).await?;
        Ok(())
    }
}

/// Carries a write out.
pub(super) async fn write(
    connection: &mut PgConnection,
    now: Timestamp,
    admission: &Admission,
    write: &EvidenceWrite,
) -> Result<Result<EvidenceReply, StoreError>, StoreError> {
    let organization = write.organization.as_str();
    let deleted: Option<i16> = sqlx::query_scalar(LOCK).bind(organization).fetch_optional(&mut *connection).await?;
    let is_deleted = match deleted {
        None if write.makes_organization() => {
            create::lock_numbers(connection, now, organization).await?;
            false
        }
        None | Some(0) => false,
        Some(1 | 2) if write.concerns_the_deleted() => true,
        // It is elsewhere, if it is not deleted.
        _ => return Ok(Err(StoreError::OrganizationGone)),
    };
    evidence::carry_out(&mut Table { connection, organization }, now, admission, is_deleted, write).await.map(Ok)
}

impl PostgresStore {
    async fn change_evidence(&self, organization: &str, change: EvidenceChange) -> Result<EvidenceReply, StoreError> {
        let write = EvidenceWrite { organization: organization.to_owned(), change };
        self.submit(organization, Write::Evidence, write).await
    }
}

/// The error of a failed read of the pool.
fn unread(error: sqlx::Error) -> StoreError {
    StoreError::from(error).or_unavailable()
}

#[async_trait]
impl EvidenceRecords for PostgresStore {
    async fn reserve_evidence(&self, organization: &str, digest: Digest, size: u64) -> Result<Reservation, StoreError> {
        self.change_evidence(organization, EvidenceChange::Reserve(digest, size)).await?.reservation()
    }

    async fn end_reservation(&self, organization: &str, digest: Digest) -> Result<(), StoreError> {
        self.change_evidence(organization, EvidenceChange::Unreserve(digest)).await?.done().map(drop)
    }

    async fn put_evidence(&self, organization: &str, evidence: NewEvidence) -> Result<(), StoreError> {
        self.change_evidence(organization, EvidenceChange::Put(evidence)).await?.put()
    }

    async fn evidence(&self, organization: &str, digest: &Digest) -> Result<Option<EvidenceRecord>, StoreError> {
        let load = sqlx::query(LOAD).bind(organization).bind(digest.to_string());
        let Some(found) = load.fetch_optional(&self.pool).await.map_err(unread)? else { return Ok(None) };
        let row = read(&found)?;
        Ok((row.state == EvidenceState::Stored).then(|| row.record(*digest)))
    }

    async fn touch_evidence(&self, organization: &str, digest: Digest, name: &str) -> Result<bool, StoreError> {
        let touch = EvidenceChange::Touch(digest, name.to_owned());
        Ok(self.change_evidence(organization, touch).await?.done()? > 0)
    }

    async fn list_evidence(
        &self,
        organization: &str,
        filter: &EvidenceFilter,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<ListedEvidence>, StoreError> {
        let (at, digest_before) = after.map_or((i64::MAX, String::new()), |(at, digest)| (at.as_millis(), digest));
        let list = sqlx::query(LIST).bind(organization).bind(at).bind(digest_before).bind(&filter.kind);
        let list = list.bind(&filter.name).bind(&filter.digest_prefix).bind(i64::from(limit));
        list.fetch_all(&self.pool).await.map_err(unread)?.iter().map(listed).collect()
    }

    async fn evidence_totals(&self, organization: &str) -> Result<EvidenceTotals, StoreError> {
        let found = sqlx::query_as(TOTALS).bind(organization).fetch_optional(&self.pool).await.map_err(unread)?;
        Ok(found.map(totals).unwrap_or_default())
    }

    async fn evidence_standings(
        &self,
        organization: &str,
        after: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<EvidenceStanding>, StoreError> {
        let after = after.map(|digest| digest.to_string()).unwrap_or_default();
        let walk = sqlx::query(WALK).bind(organization).bind(after).bind(i64::from(limit)).bind(VEX_PREFIX);
        walk.fetch_all(&self.pool).await.map_err(unread)?.iter().map(standing).collect()
    }

    async fn begin_removal(
        &self,
        organization: &str,
        what: EvidenceRemoval,
    ) -> Result<Result<Removing, EvidenceKept>, StoreError> {
        self.change_evidence(organization, EvidenceChange::Begin(what)).await?.removing()
    }

    async fn end_removal(&self, organization: &str, removing: Removing) -> Result<u64, StoreError> {
        self.change_evidence(organization, EvidenceChange::End(removing)).await?.done()
    }
}
