//! Waivers: see [`crate::waivers`].

use async_trait::async_trait;
use operations::Timestamp;
use rusqlite::Connection;

use super::statement::{Row, query};
use super::{SqliteStore, rows};
use crate::batch::Write;
use crate::rows::damaged;
use crate::waivers::{self, ADDED, REMOVED, Waiver, WaiverChange, WaiverOutcome, WaiverWrite, Waivers};
use crate::{Store as _, StoreError};

/// Served by the primary key.
const READ: &str = "
    SELECT organization_id, id, policy, finding, subject, reason, created_by, created_at, expires_at, state FROM waivers
    WHERE organization_id = ?1 AND state <> 3 ORDER BY id";

/// Served by the primary key.
const READ_ONE: &str = "SELECT * FROM waivers WHERE organization_id = ?1 AND id = ?2 AND state <> 3";

/// Served by waivers_to_see_to.
const CHANGES: &str = "
    SELECT * FROM waivers WHERE state IN (1, 3) OR (state = 2 AND expires_at <= ?1) ORDER BY id LIMIT ?2 + 0";

/// Served by the primary key.
const IS_THERE: &str = "SELECT true FROM organizations WHERE organization_id = ?1 AND deleted = 0";

/// Served by the primary key.
const FINDINGS: &str = "SELECT finding FROM waivers WHERE organization_id = ?1 AND state <> 3";

const INSERT: &str = "
    INSERT INTO waivers (organization_id, id, policy, finding, subject, reason, created_by, created_at, expires_at, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const MARK: &str = "UPDATE waivers SET state = ?3 WHERE organization_id = ?1 AND id = ?2 AND state <> 3";
const REMOVE: &str = "DELETE FROM waivers WHERE organization_id = ?1 AND id = ?2 AND state = 3";

fn read(row: &Row) -> Result<Waiver, StoreError> {
    Ok(Waiver {
        id: row.try_get("id")?,
        policy: row.try_get("policy")?,
        finding: row.try_get("finding")?,
        subject: row.try_get("subject")?,
        reason: row.try_get("reason")?,
        created_by: row.try_get("created_by")?,
        created_at: rows::time(row, "created_at")?.ok_or_else(|| damaged("created_at"))?,
        expires_at: rows::time(row, "expires_at")?,
    })
}

/// Carries out a write.
pub(super) fn write(connection: &Connection, now: Timestamp, write: &WaiverWrite) -> Result<WaiverOutcome, StoreError> {
    match write {
        WaiverWrite::Create(organization, waiver) => {
            if query(IS_THERE).bind(organization).fetch_optional(connection)?.is_none() {
                return Ok(WaiverOutcome::Missing);
            }
            let findings = query(FINDINGS).bind(organization).fetch_all(connection)?;
            let findings = findings.iter().map(|row| row.try_get("finding")).collect::<Result<Vec<_>, _>>()?;
            if let Some(refusal) = waivers::refusal(&waiver.finding, &findings) {
                return Ok(refusal);
            }
            let waiver = Waiver { created_at: now, ..waiver.clone() };
            let insert = query(INSERT).bind(organization).bind(&waiver.id).bind(&waiver.policy).bind(&waiver.finding);
            let insert = insert.bind(&waiver.subject).bind(&waiver.reason).bind(&waiver.created_by);
            let insert = insert.bind(now.as_millis()).bind(waiver.expires_at.map(Timestamp::as_millis)).bind(ADDED);
            insert.execute(connection)?;
            Ok(WaiverOutcome::Kept(waiver))
        }
        WaiverWrite::Delete(organization, id) => {
            let Some(found) = query(READ_ONE).bind(organization).bind(id).fetch_optional(connection)? else {
                return Ok(WaiverOutcome::Missing);
            };
            let waiver = read(&found)?;
            query(MARK).bind(organization).bind(id).bind(REMOVED).execute(connection)?;
            Ok(WaiverOutcome::Kept(waiver))
        }
        WaiverWrite::Note(WaiverChange { organization, event, waiver }) => {
            let done = match waivers::noted(*event) {
                Some(state) => query(MARK).bind(organization).bind(&waiver.id).bind(state),
                None => query(REMOVE).bind(organization).bind(&waiver.id),
            };
            done.execute(connection)?;
            Ok(WaiverOutcome::Missing)
        }
    }
}

#[async_trait]
impl Waivers for SqliteStore {
    async fn waivers(&self, organization: &str) -> Result<Vec<Waiver>, StoreError> {
        let all = query(READ).bind(organization.to_owned());
        self.readers.read(move |connection| all.fetch_all(connection)?.iter().map(read).collect()).await
    }

    async fn create_waiver(&self, organization: &str, waiver: Waiver) -> Result<WaiverOutcome, StoreError> {
        self.writer.submit(Write::Waiver, WaiverWrite::Create(organization.to_owned(), waiver)).await
    }

    async fn delete_waiver(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        let delete = WaiverWrite::Delete(organization.to_owned(), id.to_owned());
        Ok(self.writer.submit(Write::Waiver, delete).await? != WaiverOutcome::Missing)
    }

    async fn waiver_changes(&self, limit: u32) -> Result<Vec<WaiverChange>, StoreError> {
        let now = self.now();
        let changes = query(CHANGES).bind(now.as_millis()).bind(limit);
        let change = move |row: &Row| {
            let waiver = read(row)?;
            let event = waivers::event(row.try_get("state")?, &waiver, now);
            Ok(WaiverChange { organization: row.try_get("organization_id")?, event, waiver })
        };
        self.readers.read(move |connection| changes.fetch_all(connection)?.iter().map(change).collect()).await
    }

    async fn note_waiver_change(&self, change: WaiverChange) -> Result<(), StoreError> {
        self.writer.submit(Write::Waiver, WaiverWrite::Note(change)).await.map(drop)
    }
}
