//! Saved views: see [`crate::views`].

use async_trait::async_trait;
use operations::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::PostgresStore;
use crate::batch::Write;
use crate::views::{ViewChange, exceeded};
use crate::{StoreError, View, ViewOutcome, ViewReach, Views};

/// Served by views_by_name.
const READ: &str = "
    SELECT id, owner, name, filter, columns, created_at, updated_at FROM views
    WHERE organization_id = $1 AND (owner = $2 OR $3 AND owner = '') ORDER BY owner <> '', name COLLATE \"C\"";

/// Creations of views wait for each other here, so that the limits are kept.
const LOCK: &str = "SELECT true FROM organizations WHERE organization_id = $1 AND deleted = 0 FOR NO KEY UPDATE";

const COUNT: &str = "
    SELECT count(*) FILTER (WHERE owner = $2) AS own, count(*) FILTER (WHERE owner <> '') AS private FROM views
    WHERE organization_id = $1";

const INSERT: &str = "
    INSERT INTO views (organization_id, id, owner, name, filter, columns, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING";

/// Changes nothing either when another view has the name.
const UPDATE: &str = "
    UPDATE views AS v SET name = $5, filter = $6, columns = $7, updated_at = $8
    WHERE v.organization_id = $1 AND (v.owner = $2 OR $3 AND v.owner = '') AND v.id = $4
        AND NOT EXISTS (SELECT FROM views o WHERE o.organization_id = $1 AND o.owner = v.owner AND o.name = $5 AND o.id <> $4)";

const DELETE: &str = "
    DELETE FROM views WHERE organization_id = $1 AND (owner = $2 OR $3 AND owner = '') AND id = $4";

#[async_trait]
impl Views for PostgresStore {
    async fn views(&self, reach: &ViewReach) -> Result<Vec<View>, StoreError> {
        let read = sqlx::query(READ).bind(&reach.organization).bind(&reach.owner).bind(reach.shared);
        let found = read.fetch_all(&self.pool).await.map_err(|error| StoreError::from(error).or_unavailable())?;
        found.iter().map(view).collect()
    }

    async fn create_view(&self, organization: &str, view: View) -> Result<ViewOutcome, StoreError> {
        self.submit(organization, Write::View, ViewChange::Create(organization.to_owned(), view)).await
    }

    async fn update_view(&self, reach: &ViewReach, view: View) -> Result<ViewOutcome, StoreError> {
        self.submit(&reach.organization, Write::View, ViewChange::Update(reach.clone(), view)).await
    }

    async fn delete_view(&self, reach: &ViewReach, id: &str) -> Result<bool, StoreError> {
        let change = ViewChange::Delete(reach.clone(), id.to_owned());
        Ok(self.submit(&reach.organization, Write::View, change).await? != ViewOutcome::Missing)
    }
}

async fn read(connection: &mut PgConnection, reach: &ViewReach) -> Result<Vec<View>, StoreError> {
    let read = sqlx::query(READ).bind(&reach.organization).bind(&reach.owner).bind(reach.shared);
    read.fetch_all(connection).await?.iter().map(view).collect()
}

fn view(row: &PgRow) -> Result<View, StoreError> {
    let owner: String = row.try_get("owner")?;
    Ok(View {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        filter: row.try_get("filter")?,
        columns: row.try_get("columns")?,
        owner: Some(owner).filter(|owner| !owner.is_empty()),
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
    })
}

/// Carries a change out. The view of a removal is answered as it was.
pub(super) async fn change(
    connection: &mut PgConnection,
    now: Timestamp,
    change: &ViewChange,
) -> Result<ViewOutcome, StoreError> {
    let millis = now.as_millis();
    let (ViewChange::Create(organization, _)
    | ViewChange::Update(ViewReach { organization, .. }, _)
    | ViewChange::Delete(ViewReach { organization, .. }, _)) = change;
    let is_there: Option<bool> = sqlx::query_scalar(LOCK).bind(organization).fetch_optional(&mut *connection).await?;
    if is_there.is_none() {
        return Ok(ViewOutcome::Missing);
    }
    match change {
        ViewChange::Create(organization, view) => {
            let owner = view.stored_owner();
            let counted = sqlx::query(COUNT).bind(organization).bind(owner).fetch_one(&mut *connection).await?;
            if let Some(most) = exceeded(owner, counted.try_get("own")?, counted.try_get("private")?) {
                return Ok(ViewOutcome::TooMany(most));
            }
            let insert = sqlx::query(INSERT).bind(organization).bind(&view.id).bind(owner).bind(&view.name);
            let insert = insert.bind(&view.filter).bind(&view.columns).bind(millis);
            let is_kept = insert.execute(connection).await?.rows_affected() > 0;
            let kept = || ViewOutcome::Kept(View { created_at: now, updated_at: now, ..view.clone() });
            Ok(if is_kept { kept() } else { ViewOutcome::NameTaken })
        }
        ViewChange::Update(reach, view) => {
            let update = sqlx::query(UPDATE).bind(&reach.organization).bind(&reach.owner).bind(reach.shared);
            let update = update.bind(&view.id).bind(&view.name).bind(&view.filter).bind(&view.columns).bind(millis);
            let is_updated = update.execute(&mut *connection).await?.rows_affected() > 0;
            let found = read(connection, reach).await?.into_iter().find(|found| found.id == view.id);
            Ok(match found {
                Some(view) if is_updated => ViewOutcome::Kept(view),
                Some(_) => ViewOutcome::NameTaken,
                None => ViewOutcome::Missing,
            })
        }
        ViewChange::Delete(reach, id) => {
            let found = read(connection, reach).await?.into_iter().find(|found| found.id == *id);
            let delete = sqlx::query(DELETE).bind(&reach.organization).bind(&reach.owner).bind(reach.shared).bind(id);
            delete.execute(connection).await?;
            Ok(found.map_or(ViewOutcome::Missing, ViewOutcome::Kept))
        }
    }
}
