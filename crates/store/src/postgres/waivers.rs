//! Waivers: see [`crate::waivers`].

use async_trait::async_trait;
use operations::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::{PostgresStore, rows};
use crate::batch::Write;
use crate::waivers::{self, ADDED, REMOVED, Waiver, WaiverChange, WaiverOutcome, WaiverWrite, Waivers};
use crate::{Store as _, StoreError};

/// Creations of waivers wait for each other here, so that there are no more than the limit.
const LOCK: &str = "SELECT true FROM organizations WHERE organization_id = $1 AND deleted = 0 FOR NO KEY UPDATE";

/// Served by the primary key.
const READ: &str = "
    SELECT organization_id, id, policy, finding, subject, reason, created_by, created_at, expires_at, state FROM waivers
    WHERE organization_id = $1 AND state <> 3 ORDER BY id COLLATE \"C\"";

/// Served by the primary key.
const FINDINGS: &str = "SELECT finding FROM waivers WHERE organization_id = $1 AND state <> 3";

/// Served by the primary key.
const READ_ONE: &str = "SELECT * FROM waivers WHERE organization_id = $1 AND id = $2 AND state <> 3";

/// Served by waivers_to_see_to.
const CHANGES: &str = "
    SELECT * FROM waivers WHERE state IN (1, 3) OR (state = 2 AND expires_at <= $1) ORDER BY id COLLATE \"C\" LIMIT $2";

const INSERT: &str = "
    INSERT INTO waivers (organization_id, id, policy, finding, subject, reason, created_by, created_at, expires_at, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const MARK: &str = "UPDATE waivers SET state = $3 WHERE organization_id = $1 AND id = $2 AND state <> 3";
const REMOVE: &str = "DELETE FROM waivers WHERE organization_id = $1 AND id = $2 AND state = 3";

fn read(row: &PgRow) -> Result<Waiver, StoreError> {
    Ok(Waiver {
        id: row.try_get("id")?,
        policy: row.try_get("policy")?,
        finding: row.try_get("finding")?,
        subject: row.try_get("subject")?,
        reason: row.try_get("reason")?,
        created_by: row.try_get("created_by")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        expires_at: rows::time(row, "expires_at")?,
    })
}

/// Carries a write out.
pub(super) async fn write(
    connection: &mut PgConnection,
    now: Timestamp,
    write: &WaiverWrite,
) -> Result<WaiverOutcome, StoreError> {
    let organization = write.organization();
    let is_there: Option<bool> = sqlx::query_scalar(LOCK).bind(organization).fetch_optional(&mut *connection).await?;
    if is_there.is_none() {
        return Ok(WaiverOutcome::Missing);
    }
    match write {
        WaiverWrite::Create(_, waiver) => {
            let findings: Vec<String> =
                sqlx::query_scalar(FINDINGS).bind(organization).fetch_all(&mut *connection).await?;
            if let Some(refusal) = waivers::refusal(&waiver.finding, &findings) {
                return Ok(refusal);
            }
            let waiver = Waiver { created_at: now, ..waiver.clone() };
            sqlx::query(INSERT)
                .bind(organization)
                .bind(&waiver.id)
                .bind(&waiver.policy)
                .bind(&waiver.finding)
                .bind(&waiver.subject)
                .bind(&waiver.reason)
                .bind(&waiver.created_by)
                .bind(now.as_millis())
                .bind(waiver.expires_at.map(Timestamp::as_millis))
                .bind(i16::try_from(ADDED).unwrap_or_default())
                .execute(connection)
                .await?;
            Ok(WaiverOutcome::Kept(waiver))
        }
        WaiverWrite::Delete(_, id) => {
            let one = sqlx::query(READ_ONE).bind(organization).bind(id);
            let Some(found) = one.fetch_optional(&mut *connection).await? else {
                return Ok(WaiverOutcome::Missing);
            };
            let waiver = read(&found)?;
            mark(connection, organization, id, REMOVED).await?;
            Ok(WaiverOutcome::Kept(waiver))
        }
        WaiverWrite::Note(WaiverChange { event, waiver, .. }) => {
            match waivers::noted(*event) {
                Some(state) => mark(connection, organization, &waiver.id, state).await?,
                None => {
                    sqlx::query(REMOVE).bind(organization).bind(&waiver.id).execute(connection).await?;
                }
            }
            Ok(WaiverOutcome::Missing)
        }
    }
}

async fn mark(connection: &mut PgConnection, organization: &str, id: &str, state: i64) -> Result<(), StoreError> {
    let mark = sqlx::query(MARK).bind(organization).bind(id).bind(i16::try_from(state).unwrap_or_default());
    mark.execute(connection).await?;
    Ok(())
}

#[async_trait]
impl Waivers for PostgresStore {
    async fn waivers(&self, organization: &str) -> Result<Vec<Waiver>, StoreError> {
        let found = sqlx::query(READ).bind(organization).fetch_all(&self.pool).await;
        found.map_err(|error| StoreError::from(error).or_unavailable())?.iter().map(read).collect()
    }

    async fn create_waiver(&self, organization: &str, waiver: Waiver) -> Result<WaiverOutcome, StoreError> {
        self.submit(organization, Write::Waiver, WaiverWrite::Create(organization.to_owned(), waiver)).await
    }

    async fn delete_waiver(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        let delete = WaiverWrite::Delete(organization.to_owned(), id.to_owned());
        Ok(self.submit(organization, Write::Waiver, delete).await? != WaiverOutcome::Missing)
    }

    async fn waiver_changes(&self, limit: u32) -> Result<Vec<WaiverChange>, StoreError> {
        let now = self.now();
        let changes = sqlx::query(CHANGES).bind(now.as_millis()).bind(i64::from(limit)).fetch_all(&self.pool).await;
        let change = |row: &PgRow| {
            let waiver = read(row)?;
            let event = waivers::event(row.try_get::<i16, _>("state")?.into(), &waiver, now);
            Ok(WaiverChange { organization: row.try_get("organization_id")?, event, waiver })
        };
        changes.map_err(|error| StoreError::from(error).or_unavailable())?.iter().map(change).collect()
    }

    async fn note_waiver_change(&self, change: WaiverChange) -> Result<(), StoreError> {
        let organization = change.organization.clone();
        self.submit(&organization, Write::Waiver, WaiverWrite::Note(change)).await.map(drop)
    }
}
