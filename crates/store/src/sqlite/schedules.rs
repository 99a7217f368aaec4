//! Schedules: see [`crate::schedules`].

use async_trait::async_trait;
use operations::schedule::NewSchedule;
use operations::{Access, Operation, OperationId, Projects, Timestamp};
use rusqlite::Connection;
use serde_json::json;

use super::resources::Resources;
use super::statement::{Query, Row, query};
use super::{SqliteStore, admin, create, rows};
use crate::batch::{Create, Created, Write};
use crate::quota::Admission;
use crate::schedules::{
    DueSchedules, Fired, Schedule, ScheduleOutcome, ScheduleReply, ScheduleRow, ScheduleTable, ScheduleWrite, Schedules,
};
use crate::{Store, StoreError};

/// The organizations of all due times that are past; served by schedules_due.
const DUE: &str = "
    SELECT DISTINCT organization_id FROM schedules s INDEXED BY schedules_due
    WHERE fire_at <= ?1 AND (SELECT deleted FROM organizations o WHERE o.organization_id = s.organization_id) = 0
    ORDER BY organization_id";
const NEXT: &str = "SELECT min(fire_at) FROM schedules INDEXED BY schedules_due WHERE fire_at > ?1";

/// Served by schedules_by_name.
const READ: &str = "
    SELECT *, 0 AS is_running FROM schedules WHERE organization_id = ?1 AND name > ?2
        AND (?3 IS NULL OR project_id IN (SELECT value FROM json_each(?3)))
    ORDER BY name LIMIT ?4 + 0";
const GET: &str = "
    SELECT *, EXISTS (SELECT 1 FROM active a WHERE a.organization_id = s.organization_id AND a.id = s.last_operation)
        AS is_running
    FROM schedules s WHERE organization_id = ?1 AND name = ?2
        AND (?3 IS NULL OR project_id IN (SELECT value FROM json_each(?3)))";

/// Served by schedules_due_by_organization and active_by_id.
const DUE_OF_ONE: &str = "
    SELECT *, EXISTS (SELECT 1 FROM active a WHERE a.organization_id = s.organization_id AND a.id = s.last_operation)
        AS is_running
    FROM schedules s WHERE organization_id = ?1 AND fire_at <= ?2 ORDER BY fire_at LIMIT ?3 + 0";

const INSERT: &str = "
    INSERT INTO schedules (organization_id, name, seq, id, created_at, project_id, definition, input, paused, revision,
        anchor, updated_at, next_due, fire_at, last_time, last_operation, passed_over, last_error, last_error_at)
    VALUES (?1, ?2, (SELECT coalesce(max(seq), 0) + 1 FROM schedules WHERE organization_id = ?1), ?3, ?4, ?5, ?6, ?7,
        ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

const WRITE: &str = "
    UPDATE schedules SET project_id = ?3, definition = ?4, input = ?5, paused = ?6, revision = ?7, anchor = ?8,
        updated_at = ?9, next_due = ?10, fire_at = ?11, last_time = ?12, last_operation = ?13, passed_over = ?14,
        last_error = ?15, last_error_at = ?16
    WHERE organization_id = ?1 AND name = ?2";

/// The projects that the caller is limited to, as a JSON array.
fn projects(access: &Access) -> Option<String> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(json!(projects).to_string()),
    }
}

fn read(row: &Row) -> Result<ScheduleRow, StoreError> {
    let time = |column: &'static str| {
        rows::time(row, column)?.ok_or_else(|| StoreError::Unusable(format!("a schedule has no {column}")))
    };
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
        last_operation: row.try_get::<Option<[u8; 16]>>("last_operation")?.map(OperationId::from_bytes),
        passed_over: rows::time(row, "passed_over")?,
        last_error: row.try_get("last_error")?,
        last_error_at: rows::time(row, "last_error_at")?,
        is_running: row.try_get("is_running")?,
    })
}

/// Binds what INSERT and WRITE have in common.
fn bound<'q>(query: Query<'q>, row: &ScheduleRow) -> Query<'q> {
    let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
    query
        .bind(&row.project_id)
        .bind(&row.definition)
        .bind(&row.input)
        .bind(row.paused)
        .bind(row.revision)
        .bind(row.anchor.as_millis())
        .bind(row.updated_at.as_millis())
        .bind(millis(row.next_due))
        .bind(millis(row.fire_at))
        .bind(millis(row.last_time))
        .bind(row.last_operation.map(|id| id.as_bytes().to_vec()))
        .bind(millis(row.passed_over))
        .bind(&row.last_error)
        .bind(millis(row.last_error_at))
}

/// The table in the transaction of the writer.
pub(super) struct Table<'t> {
    pub(super) connection: &'t Connection,
    pub(super) now: Timestamp,
    pub(super) admission: &'t Admission,
    pub(super) resources: &'t mut Resources,
    pub(super) organization: &'t str,
}

impl ScheduleTable for Table<'_> {
    async fn load(&mut self, access: &Access, name: &str) -> Result<Option<ScheduleRow>, StoreError> {
        let get = query(GET).bind(self.organization).bind(name).bind(projects(access));
        get.fetch_optional(self.connection)?.as_ref().map(read).transpose()
    }

    async fn count(&mut self, name: &str) -> Result<(bool, u64), StoreError> {
        admin::be_there(self.connection, self.now, self.organization)?;
        let sql = "SELECT coalesce(sum(name = ?2), 0), count(*) FROM schedules WHERE organization_id = ?1";
        let row = query(sql).bind(self.organization).bind(name).fetch_one(self.connection)?;
        Ok((row.try_get::<i64>(0)? > 0, row.try_get::<i64>(1)?.unsigned_abs()))
    }

    async fn insert(&mut self, row: &ScheduleRow) -> Result<(), StoreError> {
        let insert = query(INSERT).bind(self.organization).bind(&row.name).bind(row.id.as_bytes().to_vec());
        bound(insert.bind(row.created_at.as_millis()), row).execute(self.connection).map(drop)
    }

    async fn write_whole(&mut self, row: &ScheduleRow) -> Result<(), StoreError> {
        self.write(std::slice::from_ref(row)).await
    }

    async fn write(&mut self, rows: &[ScheduleRow]) -> Result<(), StoreError> {
        for row in rows {
            bound(query(WRITE).bind(self.organization).bind(&row.name), row).execute(self.connection)?;
        }
        Ok(())
    }

    async fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM schedules WHERE organization_id = ?1 AND name = ?2";
        query(sql).bind(self.organization).bind(name).execute(self.connection).map(drop)
    }

    async fn due(&mut self, limit: u32) -> Result<Vec<ScheduleRow>, StoreError> {
        let due = query(DUE_OF_ONE).bind(self.organization).bind(self.now.as_millis()).bind(limit);
        due.fetch_all(self.connection)?.iter().map(read).collect()
    }

    async fn create(&mut self, creates: &[&Create]) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
        create::create(self.connection, self.now, self.admission, self.resources, creates)
    }
}

impl SqliteStore {
    async fn about_schedule(&self, write: ScheduleWrite) -> Result<ScheduleReply, StoreError> {
        self.writer.submit(Write::Schedule, write).await
    }
}

#[async_trait]
impl Schedules for SqliteStore {
    async fn create_schedule(
        &self,
        organization: &str,
        wanted: NewSchedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        let organization = organization.to_owned();
        self.about_schedule(ScheduleWrite::Create { organization, wanted }).await?.schedule()
    }

    async fn schedules(&self, access: &Access, after: &str, limit: u32) -> Result<Vec<Schedule>, StoreError> {
        let (access, after, keyring) = (access.clone(), after.to_owned(), self.admission.keyring());
        let found = self.readers.read(move |connection| {
            let read_all = query(READ).bind(&access.organization).bind(after).bind(projects(&access)).bind(limit);
            let rows = read_all.fetch_all(connection)?;
            rows.iter().map(|row| read(row)?.open_or_tell(&keyring, &access.organization)).collect()
        });
        found.await
    }

    async fn schedule(&self, access: &Access, name: &str) -> Result<Option<Schedule>, StoreError> {
        let (access, name, keyring) = (access.clone(), name.to_owned(), self.admission.keyring());
        let found = self.readers.read(move |connection| {
            let get = query(GET).bind(&access.organization).bind(name).bind(projects(&access));
            let row = get.fetch_optional(connection)?;
            row.map(|row| read(&row)?.open(&keyring, &access.organization)).transpose()
        });
        found.await
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
        let now = self.now().as_millis();
        let found = self.readers.read(move |connection| {
            let rows = query(DUE).bind(now).fetch_all(connection)?;
            let organizations = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            let next: Option<i64> = query(NEXT).bind(now).fetch_one(connection)?.try_get(0)?;
            Ok(DueSchedules { organizations, next: next.map(Timestamp::from_millis) })
        });
        found.await
    }

    async fn fire(&self, organization: &str, limit: u32, cancelled: Vec<OperationId>) -> Result<Fired, StoreError> {
        let organization = organization.to_owned();
        self.about_schedule(ScheduleWrite::Fire { organization, limit, cancelled }).await?.fired()
    }
}
