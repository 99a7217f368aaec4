//! Organizations that are created by a call, and limits of single ones.

use operations::Timestamp;
use rusqlite::Connection;

use super::admin;
use super::statement::query;
use crate::limits::Stored;
use crate::{Limits, StoreError};

const SET: &str = "
    INSERT INTO organization_limits (organization_id, limits, updated_at)
    SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM organizations WHERE organization_id = ?1 AND deleted = 0)
    ON CONFLICT (organization_id) DO UPDATE SET limits = excluded.limits, updated_at = excluded.updated_at";

/// Creates an organization; 0: it exists already.
pub(super) fn create(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
    limits: &Limits,
) -> Result<u64, StoreError> {
    let sql = "SELECT deleted FROM organizations WHERE organization_id = ?1";
    let found = query(sql).bind(organization).fetch_optional(connection)?;
    match found.map(|row| row.try_get::<i64>(0)).transpose()? {
        Some(0) => return Ok(0),
        Some(1) => return Err(StoreError::OrganizationGone),
        _ => {}
    }
    admin::make_organization(connection, now, organization)?;
    set(connection, now, organization, limits)
}

/// Sets what an organization may have; 0: there is no such organization.
pub(super) fn set(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
    limits: &Limits,
) -> Result<u64, StoreError> {
    let text = serde_json::to_string(limits).expect("numbers are JSON");
    query(SET).bind(organization).bind(text).bind(now.as_millis()).execute(connection)
}

pub(super) fn all(connection: &Connection) -> Result<Stored, StoreError> {
    let found = query("SELECT organization_id, limits FROM organization_limits").fetch_all(connection)?;
    let limits = found.iter().map(|row| {
        let limits = serde_json::from_str(&row.try_get::<String>(1)?);
        Ok((row.try_get(0)?, limits.map_err(|_| crate::limits::damaged())?))
    });
    limits.collect()
}
