//! Organizations, tokens and evidence records.

use operations::{Access, Timestamp};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::connections::Connections;
use super::rows;
use crate::token::{self, TOKEN_COLUMNS, TOUCH_MILLIS};
use crate::{Digest, EvidenceRecord, NewToken, StoreError, Token};

/// A write that changes nothing: a message in the log, for nobody. Its transaction is committed as durably as others,
/// so that a standby that is waited for is waited for here too.
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

/// Has an organization that was deleted be there again.
async fn make_anew(connection: &mut PgConnection, now: Timestamp, organization: &str) -> Result<(), StoreError> {
    let sql = "UPDATE organizations SET deleted = 0, created_at = $2 WHERE organization_id = $1 AND deleted = 2";
    sqlx::query(sql).bind(organization).bind(now.as_millis()).execute(&mut *connection).await?;
    if is_gone(connection, organization).await? {
        return Err(StoreError::OrganizationGone);
    }
    Ok(())
}

pub(super) async fn create_token(
    connection: &mut PgConnection,
    now: Timestamp,
    new: &NewToken,
) -> Result<Token, StoreError> {
    create_organization(connection, now, &new.access.organization).await?;
    make_anew(connection, now, &new.access.organization).await?;
    let token = new.to_token(now);
    sqlx::query(
        "INSERT INTO tokens (hash, id, organization_id, name, scopes, projects, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(new.hash.as_slice())
    .bind(&token.id)
    .bind(&new.access.organization)
    .bind(&new.name)
    .bind(new.scope_names())
    .bind(token.projects().map(|projects| projects.iter().cloned().collect::<Vec<String>>()))
    .bind(now.as_millis())
    .bind(new.expires_at.map(Timestamp::as_millis))
    .execute(connection)
    .await?;
    Ok(token)
}

fn read_token(row: &PgRow) -> Result<Token, StoreError> {
    let scopes: Vec<String> = row.try_get("scopes")?;
    let projects: Option<Vec<String>> = row.try_get("projects")?;
    let projects = projects.map(|list| list.into_iter().collect());
    Ok(Token {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        access: Access { organization: row.try_get("organization_id")?, projects: token::projects(projects) },
        scopes: token::scopes(&scopes),
        created_at: rows::time(row, "created_at")?.ok_or_else(token::damaged)?,
        expires_at: rows::time(row, "expires_at")?,
        last_used_at: rows::time(row, "last_used_at")?,
        revoked_at: rows::time(row, "revoked_at")?,
    })
}

pub(super) async fn tokens(pool: &Connections, organization: Option<&str>) -> Result<Vec<Token>, StoreError> {
    let sql = format!(
        "SELECT {TOKEN_COLUMNS} FROM tokens WHERE $1::text IS NULL OR organization_id = $1 ORDER BY created_at, id"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(organization).fetch_all(pool).await?;
    found.iter().map(read_token).collect()
}

pub(super) async fn find_token(pool: &Connections, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = $1");
    let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash.as_slice()).fetch_optional(pool).await?;
    found.as_ref().map(read_token).transpose()
}

pub(super) async fn revoke_token(connection: &mut PgConnection, now: Timestamp, id: &str) -> Result<u64, StoreError> {
    let done = sqlx::query("UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1")
        .bind(id)
        .bind(now.as_millis())
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
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

pub(super) async fn put_evidence(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    record: &EvidenceRecord,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "INSERT INTO evidence (organization_id, digest, size, kind, created_at) SELECT $1, $2, $3, $4, $5
         WHERE NOT EXISTS (SELECT FROM organizations WHERE organization_id = $1 AND deleted > 0) ON CONFLICT DO NOTHING",
    )
    .bind(organization)
    .bind(record.digest.to_string())
    .bind(i64::try_from(record.size).unwrap_or(i64::MAX))
    .bind(&record.kind)
    .bind(now.as_millis())
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 && is_gone(connection, organization).await? {
        return Err(StoreError::OrganizationGone);
    }
    Ok(done.rows_affected())
}

pub(super) async fn evidence(
    pool: &Connections,
    organization: &str,
    digest: &Digest,
) -> Result<Option<EvidenceRecord>, StoreError> {
    let found = sqlx::query("SELECT size, kind FROM evidence WHERE organization_id = $1 AND digest = $2")
        .bind(organization)
        .bind(digest.to_string())
        .fetch_optional(pool)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let size = row.try_get::<i64, _>("size")?.unsigned_abs();
    Ok(Some(EvidenceRecord { digest: *digest, size, kind: row.try_get("kind")? }))
}
