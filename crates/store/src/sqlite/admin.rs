//! Organizations, tokens and evidence records.

use std::collections::BTreeSet;
use std::time::Duration;

use operations::{Access, Projects, Timestamp};
use rusqlite::Connection;
use serde_json::json;

use super::rows;
use super::statement::{Query, Row, query};
use crate::batch::TokenChange;
use crate::token::{self, TOKEN_COLUMNS, TOUCH_MILLIS};
use crate::{NewToken, StoreError, Token, TokenReach};

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
pub(super) fn is_gone(connection: &Connection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT deleted <> 0 FROM organizations WHERE organization_id = ?1";
    let found = query(sql).bind(organization).fetch_optional(connection)?;
    Ok(found.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Makes sure that an organization exists, unless it was deleted.
pub(super) fn be_there(connection: &Connection, now: Timestamp, organization: &str) -> Result<(), StoreError> {
    create_organization(connection, now, organization)?;
    if is_gone(connection, organization)? { Err(StoreError::OrganizationGone) } else { Ok(()) }
}

/// Makes an organization that was deleted exist again.
fn make_anew(connection: &Connection, now: Timestamp, organization: &str) -> Result<(), StoreError> {
    let sql = "UPDATE organizations SET deleted = 0, created_at = ?2 WHERE organization_id = ?1 AND deleted = 2";
    query(sql).bind(organization).bind(now.as_millis()).execute(connection)?;
    if is_gone(connection, organization)? {
        return Err(StoreError::OrganizationGone);
    }
    Ok(())
}

/// Makes sure that an organization exists, even one that was deleted.
pub(super) fn make_organization(connection: &Connection, now: Timestamp, organization: &str) -> Result<(), StoreError> {
    create_organization(connection, now, organization)?;
    make_anew(connection, now, organization)
}

/// Makes the row of the instance: its name is empty, and it counts as deleted, so that nothing is created in it.
pub(super) fn make_instance(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO organizations (organization_id, created_at, deleted) VALUES ('', ?1, 2) ON CONFLICT DO NOTHING";
    query(sql).bind(now.as_millis()).execute(connection)?;
    Ok(())
}

pub(super) fn create_token(connection: &Connection, now: Timestamp, new: &NewToken) -> Result<Token, StoreError> {
    if new.instance.is_some() {
        make_instance(connection, now)?;
    } else {
        make_organization(connection, now, &new.access.organization)?;
    }
    insert_token(connection, now, new)
}

fn insert_token(connection: &Connection, now: Timestamp, new: &NewToken) -> Result<Token, StoreError> {
    let token = new.to_token(now);
    query(
        "INSERT INTO tokens (hash, id, organization_id, name, scopes, projects, organizations, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .bind(new.hash.as_slice())
    .bind(&token.id)
    .bind(&new.access.organization)
    .bind(&new.name)
    .bind(json!(new.scope_names()).to_string())
    .bind(token.projects().map(|projects| json!(projects).to_string()))
    .bind(new.instance.as_ref().and_then(|reach| reach.names()).map(|names| json!(names).to_string()))
    .bind(now.as_millis())
    .bind(new.expires_at.map(Timestamp::as_millis))
    .execute(connection)?;
    Ok(token)
}

fn read_token(row: &Row) -> Result<Token, StoreError> {
    let scopes: Vec<String> = serde_json::from_str(&row.try_get::<String>("scopes")?).map_err(|_| token::damaged())?;
    let set = |column: &str| -> Result<Option<BTreeSet<String>>, StoreError> {
        let list: Option<String> = row.try_get(column)?;
        list.map(|list| serde_json::from_str(&list)).transpose().map_err(|_| token::damaged())
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

/// Tokens that are within reach: of the organizations ?1 (all where it is NULL), limited to projects among ?2, and with
/// ?3 those of the instance that reach no other organizations.
const WITHIN: &str = "
    (CASE WHEN organization_id = '' THEN ?3 AND (?1 IS NULL OR organizations IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM json_each(organizations) WHERE value NOT IN (SELECT value FROM json_each(?1))))
        ELSE ?1 IS NULL OR organization_id IN (SELECT value FROM json_each(?1)) END)
    AND (?2 IS NULL OR projects IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM json_each(projects) WHERE value NOT IN (SELECT value FROM json_each(?2))))";

/// A statement with its reach; other values are bound after it.
fn within(sql: &str, reach: &TokenReach) -> Query<'static> {
    let projects = match &reach.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(json!(projects).to_string()),
    };
    query(sql.replace("{within}", WITHIN))
        .bind(reach.organizations.names().map(|names| json!(names).to_string()))
        .bind(projects)
        .bind(reach.instance)
}

/// Up to `limit` tokens after a place, oldest first. Served by tokens_by_age.
pub(super) fn tokens(
    connection: &Connection,
    reach: &TokenReach,
    after: Option<(Timestamp, String)>,
    limit: u32,
) -> Result<Vec<Token>, StoreError> {
    let sql = format!(
        "SELECT {TOKEN_COLUMNS} FROM tokens WHERE (created_at, id) > (?4, ?5) AND {{within}} ORDER BY created_at, id LIMIT ?6 + 0"
    );
    let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_millis(), id));
    let found = within(&sql, reach).bind(at).bind(id).bind(limit).fetch_all(connection)?;
    found.iter().map(read_token).collect()
}

/// The token of this id, if it is within reach.
pub(super) fn token(connection: &Connection, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?4 AND {{within}}");
    within(&sql, reach).bind(id).fetch_optional(connection)?.as_ref().map(read_token).transpose()
}

pub(super) fn find_token(connection: &Connection, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
    let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = ?1");
    let found = query(sql).bind(hash.as_slice()).fetch_optional(connection)?;
    found.as_ref().map(read_token).transpose()
}

pub(super) fn change_token(
    connection: &Connection,
    now: Timestamp,
    change: &TokenChange,
) -> Result<Option<Token>, StoreError> {
    match change {
        TokenChange::Revoke(reach, id) => {
            let sql = "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?5) WHERE id = ?4 AND {within}";
            within(sql, reach).bind(id).bind(now.as_millis()).execute(connection)?;
            let revoked = token(connection, reach, id)?;
            if let Some(revoked) = &revoked {
                let views = "DELETE FROM views WHERE organization_id = ?1 AND owner = ?2";
                query(views).bind(&revoked.access.organization).bind(id).execute(connection)?;
            }
            Ok(revoked)
        }
        TokenChange::Replace(id, new, overlap) => replace_token(connection, now, id, new, *overlap),
    }
}

/// Keeps a new token in the place of one that is valid, which ends after the overlap.
fn replace_token(
    connection: &Connection,
    now: Timestamp,
    id: &str,
    new: &NewToken,
    overlap: Duration,
) -> Result<Option<Token>, StoreError> {
    let sql = "UPDATE tokens SET expires_at = min(coalesce(expires_at, ?3), ?3)
        WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";
    let ended = query(sql).bind(id).bind(now.as_millis()).bind(now.after(overlap).as_millis()).execute(connection)?;
    if ended == 0 {
        return Ok(None);
    }
    let kept = insert_token(connection, now, new)?;
    let views = "UPDATE views SET owner = ?2 WHERE organization_id = ?3 AND owner = ?1";
    query(views).bind(id).bind(&kept.id).bind(&kept.access.organization).execute(connection)?;
    Ok(Some(kept))
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
