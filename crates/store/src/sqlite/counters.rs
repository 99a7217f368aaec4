//! Changes of the exact counts, gathered in memory and written once a batch.

use std::collections::BTreeMap;

use operations::Status;
use operations::page::{LEVEL_1_SHIFT, LEVEL_2_SHIFT, bucket};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use crate::StoreError;

/// Signed changes by key, in key order.
#[derive(Default)]
pub(super) struct Changes {
    organizations: BTreeMap<(String, i64, i64, String, u8), i64>,
    projects: BTreeMap<(String, String, i64, i64, String, u8), i64>,
}

/// What an operation is counted under, besides its status.
pub(super) struct Counted<'a> {
    pub(super) organization: &'a str,
    pub(super) project_id: &'a str,
    pub(super) seq: i64,
    pub(super) kind: &'a str,
}

impl Changes {
    /// Counts one operation more (`by` = 1) or fewer (−1) under `status`.
    pub(super) fn add(&mut self, operation: &Counted<'_>, status: Status, by: i64) {
        let Counted { organization, project_id, seq, kind } = operation;
        for (level, shift) in [(1, LEVEL_1_SHIFT), (2, LEVEL_2_SHIFT)] {
            let bucket = bucket(*seq, shift);
            let key = ((*organization).to_owned(), level, bucket, (*kind).to_owned(), status.number());
            *self.organizations.entry(key).or_default() += by;
            if !project_id.is_empty() {
                let organization = (*organization).to_owned();
                let key = (organization, (*project_id).to_owned(), level, bucket, (*kind).to_owned(), status.number());
                *self.projects.entry(key).or_default() += by;
            }
        }
    }

    /// Writes the changes.
    pub(super) async fn write(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let organizations: Vec<_> = self
            .organizations
            .into_iter()
            .filter(|(_, n)| *n != 0)
            .map(|((organization, level, bucket, kind, status), n)| {
                json!([organization, level, bucket, kind, status, n])
            })
            .collect();
        if !organizations.is_empty() {
            let changes = serde_json::Value::Array(organizations).to_string();
            sqlx::query(ADD).bind(&changes).execute(&mut *connection).await?;
            sqlx::query(SWEEP).bind(&changes).execute(&mut *connection).await?;
        }
        let projects: Vec<_> = self
            .projects
            .into_iter()
            .filter(|(_, n)| *n != 0)
            .map(|((organization, project, level, bucket, kind, status), n)| {
                json!([organization, project, level, bucket, kind, status, n])
            })
            .collect();
        if !projects.is_empty() {
            let changes = serde_json::Value::Array(projects).to_string();
            sqlx::query(ADD_PROJECTS).bind(&changes).execute(&mut *connection).await?;
            sqlx::query(SWEEP_PROJECTS).bind(&changes).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

// "WHERE true" keeps the parser from reading ON CONFLICT as a join condition (SQLite documents this ambiguity).
const ADD: &str = "
    INSERT INTO counters (organization_id, level, bucket, kind, status, n)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET n = n + excluded.n";

const SWEEP: &str = "
    DELETE FROM counters WHERE n = 0 AND (organization_id, level, bucket, kind, status) IN (
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?1) WHERE value->>5 < 0)";

const ADD_PROJECTS: &str = "
    INSERT INTO project_counters (organization_id, project_id, level, bucket, kind, status, n)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET n = n + excluded.n";

const SWEEP_PROJECTS: &str = "
    DELETE FROM project_counters WHERE n = 0 AND (organization_id, project_id, level, bucket, kind, status) IN (
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?1)
        WHERE value->>6 < 0)";
