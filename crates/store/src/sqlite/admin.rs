//! Organizations, tokens and evidence records.

use rusqlite::Connection;

use operations::{Access, Timestamp};
use serde_json::json;

use super::rows;
use super::statement::{Row, query};
use crate::token::{self, TOKEN_COLUMNS, TOUCH_MILLIS};
use crate::{Digest, EvidenceRecord, NewToken, StoreError, Token};

pub(super) fn create_organization(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
) -> Result<(), StoreError> {
    query("INSERT INTO organizations (organization_id, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(organization)
        .bind(now.as_millis())
        .execute(connection)?;
    Ok(())
}

/// Whether an organization is deleted, or is being deleted.
fn is_gone(connection: &Connection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT deleted <> 0 FROM organizations WHERE organization_id = ?1";
    let found = query(sql).bind(organization).fetch_optional(connection)?;
    Ok(found.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Has an organization that was deleted be there again.
fn make_anew(connection: &Connection, now: Timestamp, organization: &str) -> Result<(), StoreError> {
    let sql = "UPDATE organizations SET deleted = 0, created_at = ?2 WHERE organization_id = ?1 AND deleted = 2";
    query(sql).bind(organization).bind(now.as_millis()).execute(connection)?;
    if is_gone(connection, organization)? {
        return Err(StoreError::OrganizationGone);
    }
    Ok(())
}

pub(super) fn create_token(connection: &Connection, now: Timestamp, new: &NewToken) -> Result<Token, StoreError> {
    create_organization(connection, now, &new.access.organization)?;
    make_anew(connection, now, &new.access.organization)?;
    let token = new.to_token(now);
    query(
        "INSERT INTO tokens (hash, id, organization_id, name, scopes, projects, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(new.hash.as_slice())
    .bind(&token.id)
    .bind(&new.access.organization)
    .bind(&new.name)
    .bind(json!(new.scope_names()).to_string())
    .bind(token.projects().map(|projects| json!(projects).to_string()))
    .bind(now.as_millis())
    .bind(new.expires_at.map(Timestamp::as_millis))
    .execute(connection)?;
    Ok(token)
}

fn read_token(row: &Row) -> Result<Token, StoreError> {
    let scopes: Vec<String> = serde_json::from_str(&row.try_get::<String>("scopes")?).map_err(|_| token::damaged())?;
    let projects: Option<String> = row.try_get("projects")?;
    let projects = projects.map(|list| serde_json::from_str(&list)).transpose().map_err(|_| token::damaged())?;
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

pub(super) fn tokens(connection: &Connection, organization: Option<&str>) -> Result<Vec<Token>, StoreError> {
    let sql =
        format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE ?1 IS NULL OR organization_id = ?1 ORDER BY created_at, id");
    let found = query(sql).bind(organization).fetch_all(connection)?;
    found.iter().map(read_token).collect()
}

pub(super) fn find_token(connection: &Connection, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = ?1");
    let found = query(sql).bind(hash.as_slice()).fetch_optional(connection)?;
    found.as_ref().map(read_token).transpose()
}

pub(super) fn revoke_token(connection: &Connection, now: Timestamp, id: &str) -> Result<u64, StoreError> {
    let done = query("UPDATE tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1")
        .bind(id)
        .bind(now.as_millis())
        .execute(connection)?;
    Ok(done)
}

pub(super) fn touch_tokens(connection: &Connection, now: Timestamp, ids: &[String]) -> Result<u64, StoreError> {
    let done = query(
        "UPDATE tokens SET last_used_at = ?2
         WHERE id IN (SELECT value FROM json_each(?1)) AND coalesce(last_used_at, 0) < ?2 - ?3",
    )
    .bind(json!(ids).to_string())
    .bind(now.as_millis())
    .bind(TOUCH_MILLIS)
    .execute(connection)?;
    Ok(done)
}

pub(super) fn put_evidence(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
    record: &EvidenceRecord,
) -> Result<u64, StoreError> {
    let done = query(
        "INSERT INTO evidence (organization_id, digest, size, kind, created_at) SELECT ?1, ?2, ?3, ?4, ?5
         WHERE NOT EXISTS (SELECT 1 FROM organizations WHERE organization_id = ?1 AND deleted > 0) ON CONFLICT DO NOTHING",
    )
    .bind(organization)
    .bind(record.digest.to_string())
    .bind(i64::try_from(record.size).unwrap_or(i64::MAX))
    .bind(&record.kind)
    .bind(now.as_millis())
    .execute(connection)
    ?;
    if done == 0 && is_gone(connection, organization)? {
        return Err(StoreError::OrganizationGone);
    }
    Ok(done)
}

pub(super) fn evidence(
    connection: &Connection,
    organization: &str,
    digest: &Digest,
) -> Result<Option<EvidenceRecord>, StoreError> {
    let found = query("SELECT size, kind FROM evidence WHERE organization_id = ?1 AND digest = ?2")
        .bind(organization)
        .bind(digest.to_string())
        .fetch_optional(connection)?;
    let Some(row) = found else { return Ok(None) };
    let size = row.try_get::<i64>("size")?.unsigned_abs();
    Ok(Some(EvidenceRecord { digest: *digest, size, kind: row.try_get("kind")? }))
}
