//! Organizations, tokens and evidence records.

use std::collections::BTreeSet;
use std::time::Duration;

use operations::{Access, Projects, Timestamp};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::connections::Connections;
use super::rows;
use crate::batch::TokenChange;
use crate::token::{self, TOKEN_COLUMNS, TOUCH_MILLIS};
use crate::{NewToken, StoreError, Token, TokenReach};

/// A write that changes nothing: a message in the log that no one reads. Its transaction is committed as durably as
/// others, so that where commits wait for a standby, this one does too.
const WRITE_NOTHING: &str = "
    SELECT CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN NULL
        ELSE pg_logical_emit_message(true, 'longrun', ''::text) END IS NOT NULL";

/// Fails unless the database takes writes.
pub(super) async fn write_nothing(connection: &mut PgConnection) -> Result<u64, StoreError> {
    if sqlx::query_scalar(WRITE_NOTHING).fetch_one(connection).await? {
        return Ok(0);
    }
    Err(StoreError::Unavailable("the database takes no writes: it is a standby or read-only".to_owned()))
}

pub(super) async fn create_organization(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO organizations (organization_id, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(organization)
        .bind(now.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether an organization is deleted, or is being deleted.
async fn is_gone(connection: &mut PgConnection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT deleted <> 0 FROM organizations WHERE organization_id = $1";
    Ok(sqlx::query_scalar(sql).bind(organization).fetch_optional(connection).await?.unwrap_or(false))
}

/// Makes an organization that was deleted exist again.
async fn make_anew(connection: &mut PgConnection, now: Timestamp, organization: &str) -> Result<(), StoreError> {
    let sql = "UPDATE organizations SET deleted = 0, created_at = $2 WHERE organization_id = $1 AND deleted = 2";
    sqlx::query(sql).bind(organization).bind(now.as_millis()).execute(&mut *connection).await?;
    if is_gone(connection, organization).await? {
        return Err(StoreError::OrganizationGone);
    }
    Ok(())
}

/// Makes an organization exist, also one that was deleted.
pub(super) async fn make_organization(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
) -> Result<(), StoreError> {
    create_organization(connection, now, organization).await?;
    make_anew(connection, now, organization).await
}

/// Makes the row of the instance: its name is empty, and it is marked as deleted, so that nothing is created in it.
pub(super) async fn make_instance(connection: &mut PgConnection, now: Timestamp) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO organizations (organization_id, created_at, deleted) VALUES ('', $1, 2) ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(now.as_millis()).execute(connection).await?;
    Ok(())
}

pub(super) async fn create_token(
    connection: &mut PgConnection,
    now: Timestamp,
    new: &NewToken,
) -> Result<Token, StoreError> {
    if new.instance.is_some() {
        make_instance(connection, now).await?;
    } else {
        make_organization(connection, now, &new.access.organization).await?;
    }
    insert_token(connection, now, new).await
}

async fn insert_token(connection: &mut PgConnection, now: Timestamp, new: &NewToken) -> Result<Token, StoreError> {
    let token = new.to_token(now);
    sqlx::query(
        "INSERT INTO tokens (hash, id, organization_id, name, scopes, projects, organizations, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.hash.as_slice())
    .bind(&token.id)
    .bind(&new.access.organization)
    .bind(&new.name)
    .bind(new.scope_names())
    .bind(token.projects().map(list))
    .bind(new.instance.as_ref().and_then(|reach| reach.names()).map(list))
    .bind(now.as_millis())
    .bind(new.expires_at.map(Timestamp::as_millis))
    .execute(connection)
    .await?;
    Ok(token)
}

fn list(names: &BTreeSet<String>) -> Vec<String> {
    names.iter().cloned().collect()
}

fn read_token(row: &PgRow) -> Result<Token, StoreError> {
    let scopes: Vec<String> = row.try_get("scopes")?;
    let set = |column: &str| -> Result<Option<BTreeSet<String>>, StoreError> {
        Ok(row.try_get::<Option<Vec<String>>, _>(column)?.map(|list| list.into_iter().collect()))
    };
    let organization: String = row.try_get("organization_id")?;
    Ok(Token {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        instance: token::instance(&organization, set("organizations")?),
        access: Access { organization, projects: token::projects(set("projects")?) },
        scopes: token::scopes(&scopes),
        created_at: rows::time(row, "created_at")?.ok_or_else(token::damaged)?,
        expires_at: rows::time(row, "expires_at")?,
        last_used_at: rows::time(row, "last_used_at")?,
        revoked_at: rows::time(row, "revoked_at")?,
    })
}

/// Tokens that are within reach: of the organizations $1 (all where it is NULL), limited to projects among $2, and with
/// $3 those of the instance that reach no other organizations.
macro_rules! within {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " (CASE WHEN organization_id = '' THEN $3 AND ($1::text[] IS NULL OR organizations <@ $1)
                ELSE $1::text[] IS NULL OR organization_id = ANY ($1) END)
            AND ($2::text[] IS NULL OR projects <@ $2) ",
            $after
        )
    };
}

/// A statement with its reach bound; the caller binds its other values after that.
fn within<'q>(
    sql: &'static str,
    reach: &TokenReach,
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let projects = match &reach.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(list(projects)),
    };
    sqlx::query(sql).bind(reach.organizations.names().map(list)).bind(projects).bind(reach.instance)
}

/// Up to `limit` tokens after a position, oldest first. Served by tokens_by_age.
pub(super) async fn tokens(
    pool: &Connections,
    reach: &TokenReach,
    after: Option<(Timestamp, String)>,
    limit: u32,
) -> Result<Vec<Token>, StoreError> {
    const LIST: &str =
        within!("SELECT * FROM tokens WHERE (created_at, id) > ($4, $5) AND", "ORDER BY created_at, id LIMIT $6");
    let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_millis(), id));
    let found = within(LIST, reach).bind(at).bind(id).bind(i64::from(limit)).fetch_all(pool).await?;
    found.iter().map(read_token).collect()
}

/// The token of this id, if it is within reach.
pub(super) async fn token(pool: &Connections, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
    const GET: &str = within!("SELECT * FROM tokens WHERE id = $4 AND", "");
    let found = within(GET, reach).bind(id.to_owned()).fetch_optional(pool).await?;
    found.as_ref().map(read_token).transpose()
}

pub(super) async fn find_token(pool: &Connections, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = $1");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash.as_slice()).fetch_optional(pool).await?;
    found.as_ref().map(read_token).transpose()
}

pub(super) async fn change_token(
    connection: &mut PgConnection,
    now: Timestamp,
    change: &TokenChange,
) -> Result<Option<Token>, StoreError> {
    const REVOKE: &str =
        within!("UPDATE tokens SET revoked_at = coalesce(revoked_at, $5) WHERE id = $4 AND", "RETURNING *");
    match change {
        TokenChange::Revoke(reach, id) => {
            let revoke = within(REVOKE, reach).bind(id.clone()).bind(now.as_millis());
            let revoked = revoke.fetch_optional(&mut *connection).await?.as_ref().map(read_token).transpose()?;
            if let Some(revoked) = &revoked {
                let views = "DELETE FROM views WHERE organization_id = $1 AND owner = $2";
                sqlx::query(views).bind(&revoked.access.organization).bind(id).execute(connection).await?;
            }
            Ok(revoked)
        }
        TokenChange::Replace(id, new, overlap) => replace_token(connection, now, id, new, *overlap).await,
    }
}

/// Stores a new token instead of one that is valid, which ends after the overlap.
async fn replace_token(
    connection: &mut PgConnection,
    now: Timestamp,
    id: &str,
    new: &NewToken,
    overlap: Duration,
) -> Result<Option<Token>, StoreError> {
    let sql = "UPDATE tokens SET expires_at = least(expires_at, $3)
        WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    let ended = sqlx::query(sql).bind(id).bind(now.as_millis()).bind(now.after(overlap).as_millis());
    if ended.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let kept = insert_token(&mut *connection, now, new).await?;
    let views = "UPDATE views SET owner = $2 WHERE organization_id = $3 AND owner = $1";
    sqlx::query(views).bind(id).bind(&kept.id).bind(&kept.access.organization).execute(connection).await?;
    Ok(Some(kept))
}

pub(super) async fn touch_tokens(
    connection: &mut PgConnection,
    now: Timestamp,
    ids: &[String],
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE tokens SET last_used_at = $2
         WHERE id = ANY ($1) AND coalesce(last_used_at, 0) < $2 - $3",
    )
    .bind(ids)
    .bind(now.as_millis())
    .bind(TOUCH_MILLIS)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
