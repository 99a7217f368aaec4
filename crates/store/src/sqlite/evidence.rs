//! What is known of evidence: see [`crate::evidence`].

use async_trait::async_trait;
use operations::{OperationId, Timestamp};
use rusqlite::Connection;

use super::statement::{Row, query};
use super::{SqliteStore, admin, rows};
use crate::batch::Write;
use crate::evidence::{self, EvidenceChange, EvidenceReply, EvidenceRow, EvidenceState, EvidenceTable, EvidenceWrite};
use crate::quota::Admission;
use crate::rows::damaged;
use crate::{
    Digest, EvidenceFilter, EvidenceKept, EvidenceRecord, EvidenceRecords, EvidenceRemoval, EvidenceStanding,
    EvidenceTotals, ListedEvidence, NewEvidence, Removing, Reservation, StoreError, VEX_PREFIX,
};

/// Served by the primary key.
const LOAD: &str = "
    SELECT digest, size, kind, name, created_at, last_used_at, state, removing_since FROM evidence
    WHERE organization_id = ?1 AND digest = ?2";

const SAVE: &str = "
    INSERT INTO evidence (organization_id, digest, size, kind, name, created_at, last_used_at, state, removing_since)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET size = excluded.size, kind = excluded.kind, name = excluded.name,
        last_used_at = excluded.last_used_at, state = excluded.state, removing_since = excluded.removing_since";

const REMOVE: &str = "DELETE FROM evidence WHERE organization_id = ?1 AND digest = ?2";

/// Served by active_by_resource, settled_by_resource and the primary key of waivers, which are few.
const REFERENCES: &str = "
    SELECT EXISTS (SELECT 1 FROM active
            WHERE organization_id = ?1 AND resource_type = 'evidence' AND resource_id = ?2)
        OR EXISTS (SELECT 1 FROM waivers
            WHERE organization_id = ?1 AND finding = ?3 || ?2 AND state IN (1, 2)) AS is_awaited,
        EXISTS (SELECT 1 FROM settled
            WHERE organization_id = ?1 AND resource_type = 'evidence' AND resource_id = ?2) AS has_ended";

const TOTALS: &str = "SELECT pieces, bytes FROM evidence_totals WHERE organization_id = ?1";

const COUNT: &str = "
    INSERT INTO evidence_totals (organization_id, pieces, bytes) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET pieces = pieces + excluded.pieces, bytes = bytes + excluded.bytes";

/// Served by evidence_by_age, and for the newest operation by active_by_resource and settled_by_resource.
const LIST: &str = "
    SELECT digest, size, kind, name, created_at, last_used_at, state, removing_since,
        (SELECT id FROM (
            SELECT * FROM (SELECT id, seq FROM active a WHERE a.organization_id = ?1 AND a.resource_type = 'evidence'
                AND a.resource_id = e.digest ORDER BY a.seq DESC LIMIT 1) AS waiting
            UNION ALL
            SELECT * FROM (SELECT id, seq FROM settled s WHERE s.organization_id = ?1 AND s.resource_type = 'evidence'
                AND s.resource_id = e.digest ORDER BY s.seq DESC LIMIT 1) AS ended) AS newest
        ORDER BY seq DESC LIMIT 1) AS last_operation
    FROM evidence e
    WHERE organization_id = ?1 AND state = 2 AND (created_at, digest) < (?2, ?3)
        AND (?4 = '' OR kind = ?4) AND (?5 = '' OR name = ?5) AND substr(digest, 1, length(?6)) = ?6
    ORDER BY created_at DESC, digest DESC LIMIT ?7 + 0";

/// Served by the primary key, and by the same indexes as REFERENCES.
const WALK: &str = "
    SELECT digest, size, kind, name, created_at, last_used_at, state, removing_since,
        EXISTS (SELECT 1 FROM active a WHERE a.organization_id = ?1 AND a.resource_type = 'evidence'
            AND a.resource_id = e.digest)
        OR EXISTS (SELECT 1 FROM waivers w WHERE w.organization_id = ?1 AND w.finding = ?4 || e.digest
            AND w.state IN (1, 2)) AS is_awaited,
        EXISTS (SELECT 1 FROM settled s WHERE s.organization_id = ?1 AND s.resource_type = 'evidence'
            AND s.resource_id = e.digest) AS has_ended
    FROM evidence e WHERE organization_id = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3 + 0";

fn digest(row: &Row) -> Result<Digest, StoreError> {
    row.try_get::<String>("digest")?.parse().map_err(|_| damaged("digest"))
}

fn read(row: &Row) -> Result<EvidenceRow, StoreError> {
    let time = |column: &'static str| rows::time(row, column)?.ok_or_else(|| damaged(column));
    Ok(EvidenceRow {
        size: row.try_get::<i64>("size")?.unsigned_abs(),
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        created_at: time("created_at")?,
        last_used_at: time("last_used_at")?,
        state: EvidenceState::from_number(row.try_get("state")?)?,
        removing_since: rows::time(row, "removing_since")?,
    })
}

fn totals(connection: &Connection, organization: &str) -> Result<EvidenceTotals, StoreError> {
    let Some(row) = query(TOTALS).bind(organization).fetch_optional(connection)? else {
        return Ok(EvidenceTotals::default());
    };
    let number = |column: &str| row.try_get::<i64>(column).map(|number| u64::try_from(number).unwrap_or(0));
    Ok(EvidenceTotals { pieces: number("pieces")?, bytes: number("bytes")? })
}

/// The table in the transaction of the writer.
struct Table<'t> {
    connection: &'t Connection,
    organization: &'t str,
}

impl EvidenceTable for Table<'_> {
    async fn load(&mut self, digest: &Digest) -> Result<Option<EvidenceRow>, StoreError> {
        let load = query(LOAD).bind(self.organization).bind(digest.to_string());
        load.fetch_optional(self.connection)?.as_ref().map(read).transpose()
    }

    async fn save(&mut self, digest: &Digest, row: &EvidenceRow) -> Result<(), StoreError> {
        query(SAVE)
            .bind(self.organization)
            .bind(digest.to_string())
            .bind(i64::try_from(row.size).unwrap_or(i64::MAX))
            .bind(&row.kind)
            .bind(&row.name)
            .bind(row.created_at.as_millis())
            .bind(row.last_used_at.as_millis())
            .bind(row.state as i64)
            .bind(row.removing_since.map(Timestamp::as_millis))
            .execute(self.connection)
            .map(drop)
    }

    async fn remove(&mut self, digest: &Digest) -> Result<(), StoreError> {
        query(REMOVE).bind(self.organization).bind(digest.to_string()).execute(self.connection).map(drop)
    }

    async fn references(&mut self, digest: &Digest) -> Result<(bool, bool), StoreError> {
        let found = query(REFERENCES)
            .bind(self.organization)
            .bind(digest.to_string())
            .bind(VEX_PREFIX)
            .fetch_one(self.connection)?;
        Ok((found.try_get("is_awaited")?, found.try_get("has_ended")?))
    }

    async fn totals(&mut self) -> Result<EvidenceTotals, StoreError> {
        totals(self.connection, self.organization)
    }

    async fn count(&mut self, pieces: i64, bytes: i64) -> Result<(), StoreError> {
        query(COUNT).bind(self.organization).bind(pieces).bind(bytes).execute(self.connection).map(drop)
    }
}

/// Carries out a write.
pub(super) async fn write(
    connection: &Connection,
    now: Timestamp,
    admission: &Admission,
    write: &EvidenceWrite,
) -> Result<Result<EvidenceReply, StoreError>, StoreError> {
    let is_deleted = admin::is_gone(connection, &write.organization)?;
    if is_deleted && !write.concerns_the_deleted() {
        return Ok(Err(StoreError::OrganizationGone));
    }
    if write.makes_organization() {
        admin::create_organization(connection, now, &write.organization)?;
    }
    let mut table = Table { connection, organization: &write.organization };
    evidence::carry_out(&mut table, now, admission, is_deleted, write).await.map(Ok)
}

impl SqliteStore {
    async fn change_evidence(&self, organization: &str, change: EvidenceChange) -> Result<EvidenceReply, StoreError> {
        let organization = organization.to_owned();
        self.writer.submit(Write::Evidence, EvidenceWrite { organization, change }).await
    }
}

#[async_trait]
impl EvidenceRecords for SqliteStore {
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
        let (load, digest) = (query(LOAD).bind(organization.to_owned()).bind(digest.to_string()), *digest);
        let found =
            self.readers.read(move |connection| load.fetch_optional(connection)?.as_ref().map(read).transpose());
        let stored = found.await?.filter(|row| row.state == EvidenceState::Stored);
        Ok(stored.map(|row| row.record(digest)))
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
        let list = query(LIST).bind(organization.to_owned()).bind(at).bind(digest_before).bind(filter.kind.clone());
        let list = list.bind(filter.name.clone()).bind(filter.digest_prefix.clone()).bind(limit);
        let listed = |row: &Row| {
            let last = row.try_get::<Option<[u8; 16]>>("last_operation")?.map(OperationId::from_bytes);
            Ok(ListedEvidence { record: read(row)?.record(digest(row)?), last_operation: last })
        };
        self.readers.read(move |connection| list.fetch_all(connection)?.iter().map(listed).collect()).await
    }

    async fn evidence_totals(&self, organization: &str) -> Result<EvidenceTotals, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| totals(connection, &organization)).await
    }

    async fn evidence_standings(
        &self,
        organization: &str,
        after: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<EvidenceStanding>, StoreError> {
        let after = after.map(|digest| digest.to_string()).unwrap_or_default();
        let walk = query(WALK).bind(organization.to_owned()).bind(after).bind(limit).bind(VEX_PREFIX);
        let standing = |row: &Row| {
            let (is_awaited, has_ended) = (row.try_get("is_awaited")?, row.try_get("has_ended")?);
            Ok(EvidenceStanding::new(digest(row)?, read(row)?, is_awaited, has_ended))
        };
        self.readers.read(move |connection| walk.fetch_all(connection)?.iter().map(standing).collect()).await
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
