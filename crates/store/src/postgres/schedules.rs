//! Schedules: see [`crate::schedules`].
//!
//! A transaction locks schedules before the organization's row, which creations take their numbers under. Those that
//! fire pass over what others have locked, so that servers share the due ones between them.

use async_trait::async_trait;
use operations::schedule::NewSchedule;
use operations::{Access, Operation, OperationId, Projects, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::heads::Heads;
use super::tx::Tx;
use super::{PostgresStore, create, rows};
use crate::batch::{Create, Created, Write};
use crate::quota::Admission;
use crate::schedules::{
    self, DueSchedules, Fired, Schedule, ScheduleOutcome, ScheduleReply, ScheduleRow, ScheduleTable, ScheduleWrite,
    Schedules,
};
use crate::{Store, StoreError};

/// The organizations whose schedules are due: among the first $2, so that a query stays short when many are due. Served
/// by schedules_due.
const DUE: &str = "
    SELECT DISTINCT organization_id FROM (
        SELECT organization_id FROM schedules s WHERE fire_at <= $1
            AND EXISTS (SELECT FROM organizations o WHERE o.organization_id = s.organization_id AND o.deleted = 0)
        ORDER BY fire_at LIMIT $2) AS first
    ORDER BY organization_id";
const DUE_AT_A_LOOK: i64 = 10_000;
const NEXT: &str = "SELECT fire_at FROM schedules WHERE fire_at > $1 ORDER BY fire_at LIMIT 1";

/// Served by the primary key.
const READ: &str = "
    SELECT *, false AS is_running FROM schedules
    WHERE organization_id = $1 AND name > $2 AND ($3::text[] IS NULL OR project_id = ANY ($3))
    ORDER BY name LIMIT $4";
/// Served by the primary key and active_by_id.
const GET: &str = "
    SELECT *, EXISTS (SELECT FROM active a WHERE a.organization_id = $1 AND a.id = s.last_operation) AS is_running
    FROM schedules s WHERE organization_id = $1 AND name = $2 AND ($3::text[] IS NULL OR project_id = ANY ($3))";
/// Served by the primary key.
const LOCK: &str = "
    SELECT *, false AS is_running FROM schedules
    WHERE organization_id = $1 AND name = $2 AND ($3::text[] IS NULL OR project_id = ANY ($3))
    FOR UPDATE";
/// Served by schedules_due_by_organization.
const DUE_OF_ONE: &str = "
    SELECT *, false AS is_running FROM schedules
    WHERE organization_id = $1 AND fire_at <= $2 ORDER BY fire_at LIMIT $3
    FOR UPDATE SKIP LOCKED";
/// Those of the operations $2 that have not ended. A statement that waited for the lock on a schedule finds its last
/// operation but, by its older snapshot, not the row of that operation: so this is read once the schedules are locked.
/// Served by active_by_id.
const NOT_ENDED: &str = "
    SELECT a.id FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT id FROM active WHERE organization_id = $1 AND id = w.id OFFSET 0) AS a";

const INSERT: &str = "
    INSERT INTO schedules (organization_id, name, seq, id, created_at, project_id, definition, input, paused, revision,
        anchor, updated_at, next_due, fire_at, last_error)
    SELECT $1, $2, coalesce(max(seq), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, ''
    FROM schedules WHERE organization_id = $1";

/// The columns that a caller has changed. Served by the primary key.
const WRITE_WHOLE: &str = "
    UPDATE schedules SET project_id = $3, definition = $4, input = $5, paused = $6, revision = $7, anchor = $8,
        updated_at = $9, next_due = $10, fire_at = $11
    WHERE organization_id = $1 AND name = $2";
/// The columns that firing changes. Served by the primary key, row by row.
const WRITE: &str = "
    UPDATE schedules s SET next_due = w.next_due, fire_at = w.fire_at, last_time = w.last_time,
        last_operation = w.last_operation, passed_over = w.passed_over, last_error = w.last_error,
        last_error_at = w.last_error_at
    FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::bigint[], $8::text[], $9::bigint[])
        AS w (name, next_due, fire_at, last_time, last_operation, passed_over, last_error, last_error_at)
    WHERE s.organization_id = $1 AND s.name = w.name";

/// The projects that the caller is limited to.
fn projects(access: &Access) -> Option<Vec<String>> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().cloned().collect()),
    }
}

fn read(row: &PgRow) -> Result<ScheduleRow, StoreError> {
    let time = |column: &'static str| Ok::<_, StoreError>(Timestamp::from_millis(row.try_get(column)?));
    let last_operation: Option<Uuid> = row.try_get("last_operation")?;
    Ok(ScheduleRow {
        name: row.try_get("name")?,
        id: rows::id(row)?,
        project_id: row.try_get("project_id")?,
        definition: row.try_get("definition")?,
        input: row.try_get("input")?,
        paused: row.try_get("paused")?,
        revision: row.try_get("revision")?,
        anchor: time("anchor")?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        next_due: rows::time(row, "next_due")?,
        fire_at: rows::time(row, "fire_at")?,
        last_time: rows::time(row, "last_time")?,
        last_operation: last_operation.map(|id| OperationId::from_bytes(*id.as_bytes())),
        passed_over: rows::time(row, "passed_over")?,
        last_error: row.try_get("last_error")?,
        last_error_at: rows::time(row, "last_error_at")?,
        is_running: row.try_get("is_running")?,
    })
}

/// The table in the transaction of a write of one organization.
struct Table<'t, 'c> {
    tx: &'t mut Tx<'c>,
    now: Timestamp,
    admission: &'t Admission,
    heads: &'t Heads,
    organization: &'t str,
}

impl Table<'_, '_> {
    /// Notes whose last operation has not ended, for schedules that are locked.
    async fn note_running(&mut self, rows: &mut [ScheduleRow]) -> Result<(), StoreError> {
        let last: Vec<Uuid> = rows.iter().filter_map(|row| row.last_operation.as_ref().map(rows::uuid)).collect();
        if last.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_scalar(NOT_ENDED).bind(self.organization).bind(last);
        let running: Vec<Uuid> = query.fetch_all(&mut **self.tx).await?;
        for row in rows {
            row.is_running = row.last_operation.is_some_and(|last| running.contains(&rows::uuid(&last)));
        }
        Ok(())
    }
}

impl ScheduleTable for Table<'_, '_> {
    async fn load(&mut self, access: &Access, name: &str) -> Result<Option<ScheduleRow>, StoreError> {
        let lock = sqlx::query(LOCK).bind(self.organization).bind(name).bind(projects(access));
        let mut found = lock.fetch_optional(&mut **self.tx).await?.as_ref().map(read).transpose()?;
        self.note_running(found.as_mut_slice()).await?;
        Ok(found)
    }

    async fn count(&mut self, name: &str) -> Result<(bool, u64), StoreError> {
        // Creations of schedules come one after the other.
        create::lock_numbers(self.tx, self.now, self.organization).await?;
        let sql = "SELECT count(*) FILTER (WHERE name = $2), count(*) FROM schedules WHERE organization_id = $1";
        let (of_name, count): (i64, i64) =
            sqlx::query_as(sql).bind(self.organization).bind(name).fetch_one(&mut **self.tx).await?;
        Ok((of_name > 0, count.unsigned_abs()))
    }

    async fn insert(&mut self, row: &ScheduleRow) -> Result<(), StoreError> {
        let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
        sqlx::query(INSERT)
            .bind(self.organization)
            .bind(&row.name)
            .bind(rows::uuid(&row.id))
            .bind(row.created_at.as_millis())
            .bind(&row.project_id)
            .bind(&row.definition)
            .bind(&row.input)
            .bind(row.paused)
            .bind(row.revision)
            .bind(row.anchor.as_millis())
            .bind(row.updated_at.as_millis())
            .bind(millis(row.next_due))
            .bind(millis(row.fire_at))
            .execute(&mut **self.tx)
            .await?;
        Ok(())
    }

    async fn write_whole(&mut self, row: &ScheduleRow) -> Result<(), StoreError> {
        let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
        sqlx::query(WRITE_WHOLE)
            .bind(self.organization)
            .bind(&row.name)
            .bind(&row.project_id)
            .bind(&row.definition)
            .bind(&row.input)
            .bind(row.paused)
            .bind(row.revision)
            .bind(row.anchor.as_millis())
            .bind(row.updated_at.as_millis())
            .bind(millis(row.next_due))
            .bind(millis(row.fire_at))
            .execute(&mut **self.tx)
            .await?;
        Ok(())
    }

    async fn write(&mut self, written: &[ScheduleRow]) -> Result<(), StoreError> {
        if written.is_empty() {
            return Ok(());
        }
        let times = |of: fn(&ScheduleRow) -> Option<Timestamp>| {
            written.iter().map(|row| of(row).map(Timestamp::as_millis)).collect::<Vec<Option<i64>>>()
        };
        let last_operations = written.iter().map(|row| row.last_operation.as_ref().map(rows::uuid));
        sqlx::query(WRITE)
            .bind(self.organization)
            .bind(written.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())
            .bind(times(|row| row.next_due))
            .bind(times(|row| row.fire_at))
            .bind(times(|row| row.last_time))
            .bind(last_operations.collect::<Vec<_>>())
            .bind(times(|row| row.passed_over))
            .bind(written.iter().map(|row| row.last_error.as_str()).collect::<Vec<_>>())
            .bind(times(|row| row.last_error_at))
            .execute(&mut **self.tx)
            .await?;
        Ok(())
    }

    async fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM schedules WHERE organization_id = $1 AND name = $2";
        sqlx::query(sql).bind(self.organization).bind(name).execute(&mut **self.tx).await?;
        Ok(())
    }

    async fn due(&mut self, limit: u32) -> Result<Vec<ScheduleRow>, StoreError> {
        let due = sqlx::query(DUE_OF_ONE).bind(self.organization).bind(self.now.as_millis()).bind(i64::from(limit));
        let mut found: Vec<ScheduleRow> =
            due.fetch_all(&mut **self.tx).await?.iter().map(read).collect::<Result<_, _>>()?;
        self.note_running(&mut found).await?;
        Ok(found)
    }

    async fn create(&mut self, creates: &[&Create]) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
        create::create(self.tx, self.now, self.admission, self.heads, self.organization, None, creates).await
    }
}

/// Carries out a write in its transaction.
pub(super) async fn carry_out(
    tx: &mut Tx<'_>,
    now: Timestamp,
    admission: &Admission,
    heads: &Heads,
    organization: &str,
    write: &ScheduleWrite,
) -> Result<Result<ScheduleReply, StoreError>, StoreError> {
    let mut table = Table { tx, now, admission, heads, organization };
    schedules::carry_out(&mut table, now, admission, write).await
}

impl PostgresStore {
    async fn about_schedule(&self, write: ScheduleWrite) -> Result<ScheduleReply, StoreError> {
        let organization = write.organization().to_owned();
        self.submit(&organization, Write::Schedule, write).await
    }

    async fn read_due(&self) -> Result<DueSchedules, StoreError> {
        let now = self.now().as_millis();
        let organizations = sqlx::query_scalar(DUE).bind(now).bind(DUE_AT_A_LOOK).fetch_all(&self.pool).await?;
        let next: Option<i64> = sqlx::query_scalar(NEXT).bind(now).fetch_optional(&self.pool).await?;
        Ok(DueSchedules { organizations, next: next.map(Timestamp::from_millis) })
    }

    async fn read_schedules(&self, access: &Access, after: &str, limit: u32) -> Result<Vec<Schedule>, StoreError> {
        let keyring = self.admission.keyring();
        let read_all =
            sqlx::query(READ).bind(&access.organization).bind(after).bind(projects(access)).bind(i64::from(limit));
        let found = read_all.fetch_all(&self.pool).await?;
        found.iter().map(|row| read(row)?.open_or_tell(&keyring, &access.organization)).collect()
    }

    async fn read_schedule(&self, access: &Access, name: &str) -> Result<Option<Schedule>, StoreError> {
        let keyring = self.admission.keyring();
        let get = sqlx::query(GET).bind(&access.organization).bind(name).bind(projects(access));
        let found = get.fetch_optional(&self.pool).await?;
        found.map(|row| read(&row)?.open(&keyring, &access.organization)).transpose()
    }
}

#[async_trait]
impl Schedules for PostgresStore {
    async fn create_schedule(
        &self,
        organization: &str,
        wanted: NewSchedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        let organization = organization.to_owned();
        self.about_schedule(ScheduleWrite::Create { organization, wanted }).await?.schedule()
    }

    async fn schedules(&self, access: &Access, after: &str, limit: u32) -> Result<Vec<Schedule>, StoreError> {
        self.read_schedules(access, after, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn schedule(&self, access: &Access, name: &str) -> Result<Option<Schedule>, StoreError> {
        self.read_schedule(access, name).await.map_err(StoreError::or_unavailable)
    }

    async fn update_schedule(
        &self,
        access: &Access,
        wanted: NewSchedule,
        read: &Schedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        let (access, id, revision) = (access.clone(), read.id, read.revision);
        self.about_schedule(ScheduleWrite::Update { access, wanted, id, revision }).await?.schedule()
    }

    async fn delete_schedule(&self, access: &Access, name: &str) -> Result<ScheduleOutcome<()>, StoreError> {
        let (access, name) = (access.clone(), name.to_owned());
        self.about_schedule(ScheduleWrite::Delete { access, name }).await?.deleted()
    }

    async fn trigger(
        &self,
        access: &Access,
        name: &str,
        cancelled: Option<OperationId>,
    ) -> Result<ScheduleOutcome<Operation>, StoreError> {
        let (access, name) = (access.clone(), name.to_owned());
        self.about_schedule(ScheduleWrite::Trigger { access, name, cancelled }).await?.created()
    }

    async fn due_schedules(&self) -> Result<DueSchedules, StoreError> {
        self.read_due().await.map_err(StoreError::or_unavailable)
    }

    async fn fire(&self, organization: &str, limit: u32, cancelled: Vec<OperationId>) -> Result<Fired, StoreError> {
        let organization = organization.to_owned();
        self.about_schedule(ScheduleWrite::Fire { organization, limit, cancelled }).await?.fired()
    }
}
