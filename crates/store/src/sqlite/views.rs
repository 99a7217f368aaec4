//! Saved views: see [`crate::views`].

use async_trait::async_trait;
use operations::Timestamp;
use rusqlite::Connection;

use super::SqliteStore;
use super::rows;
use super::statement::{Row, query};
use crate::batch::Write;
use crate::rows::damaged;
use crate::views::{ViewChange, exceeded};
use crate::{StoreError, View, ViewOutcome, ViewReach, Views};

/// Served by views_by_name.
const READ: &str = "
    SELECT id, owner, name, filter, columns, created_at, updated_at FROM views
    WHERE organization_id = ?1 AND (owner = ?2 OR ?3 AND owner = '') ORDER BY owner <> '', name";

const COUNT: &str = "
    SELECT coalesce(sum(owner = ?2), 0) AS own, coalesce(sum(owner <> ''), 0) AS private FROM views
    WHERE organization_id = ?1";

const INSERT: &str = "
    INSERT INTO views (organization_id, id, owner, name, filter, columns, created_at, updated_at)
    SELECT organization_id, ?2, ?3, ?4, ?5, ?6, ?7, ?7 FROM organizations WHERE organization_id = ?1 AND deleted = 0
    ON CONFLICT DO NOTHING";

const UPDATE: &str = "
    UPDATE OR IGNORE views SET name = ?5, filter = ?6, columns = ?7, updated_at = ?8
    WHERE organization_id = ?1 AND (owner = ?2 OR ?3 AND owner = '') AND id = ?4";

const DELETE: &str = "
    DELETE FROM views WHERE organization_id = ?1 AND (owner = ?2 OR ?3 AND owner = '') AND id = ?4";

#[async_trait]
impl Views for SqliteStore {
    async fn views(&self, reach: &ViewReach) -> Result<Vec<View>, StoreError> {
        let reach = reach.clone();
        self.readers.read(move |connection| read(connection, &reach)).await
    }

    async fn create_view(&self, organization: &str, view: View) -> Result<ViewOutcome, StoreError> {
        self.writer.submit(Write::View, ViewChange::Create(organization.to_owned(), view)).await
    }

    async fn update_view(&self, reach: &ViewReach, view: View) -> Result<ViewOutcome, StoreError> {
        self.writer.submit(Write::View, ViewChange::Update(reach.clone(), view)).await
    }

    async fn delete_view(&self, reach: &ViewReach, id: &str) -> Result<bool, StoreError> {
        let outcome = self.writer.submit(Write::View, ViewChange::Delete(reach.clone(), id.to_owned())).await?;
        Ok(outcome != ViewOutcome::Missing)
    }
}

fn read(connection: &Connection, reach: &ViewReach) -> Result<Vec<View>, StoreError> {
    let found = query(READ).bind(&reach.organization).bind(&reach.owner).bind(reach.shared).fetch_all(connection)?;
    found.iter().map(view).collect()
}

fn view(row: &Row) -> Result<View, StoreError> {
    let owner: String = row.try_get("owner")?;
    let columns: String = row.try_get("columns")?;
    let time = |column| rows::time(row, column)?.ok_or_else(|| damaged(column));
    Ok(View {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        filter: row.try_get("filter")?,
        columns: serde_json::from_str(&columns).map_err(|_| damaged("columns"))?,
        owner: Some(owner).filter(|owner| !owner.is_empty()),
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
    })
}

/// Carries out a change. A removal answers the view as it was.
pub(super) fn change(connection: &Connection, now: Timestamp, change: &ViewChange) -> Result<ViewOutcome, StoreError> {
    let millis = now.as_millis();
    let columns = |view: &View| serde_json::json!(view.columns).to_string();
    match change {
        ViewChange::Create(organization, view) => {
            let owner = view.stored_owner();
            let counted = query(COUNT).bind(organization).bind(owner).fetch_one(connection)?;
            if let Some(most) = exceeded(owner, counted.try_get("own")?, counted.try_get("private")?) {
                return Ok(ViewOutcome::TooMany(most));
            }
            let insert = query(INSERT).bind(organization).bind(&view.id).bind(owner).bind(&view.name);
            let inserted = insert.bind(&view.filter).bind(columns(view)).bind(millis).execute(connection)?;
            if inserted > 0 {
                return Ok(ViewOutcome::Kept(View { created_at: now, updated_at: now, ..view.clone() }));
            }
            let sql = "SELECT count(*) FROM organizations WHERE organization_id = ?1 AND deleted = 0";
            let is_there = query(sql).bind(organization).fetch_one(connection)?.try_get::<i64>(0)? > 0;
            Ok(if is_there { ViewOutcome::NameTaken } else { ViewOutcome::Missing })
        }
        ViewChange::Update(reach, view) => {
            let update = query(UPDATE).bind(&reach.organization).bind(&reach.owner).bind(reach.shared).bind(&view.id);
            let update = update.bind(&view.name).bind(&view.filter).bind(columns(view)).bind(millis);
            let is_updated = update.execute(connection)? > 0;
            let found = read(connection, reach)?.into_iter().find(|found| found.id == view.id);
            Ok(match found {
                Some(view) if is_updated => ViewOutcome::Kept(view),
                Some(_) => ViewOutcome::NameTaken,
                None => ViewOutcome::Missing,
            })
        }
        ViewChange::Delete(reach, id) => {
            let found = read(connection, reach)?.into_iter().find(|found| found.id == *id);
            let delete = query(DELETE).bind(&reach.organization).bind(&reach.owner).bind(reach.shared).bind(id);
            delete.execute(connection)?;
            Ok(found.map_or(ViewOutcome::Missing, ViewOutcome::Kept))
        }
    }
}
