//! Organizations that are created by a call, and limits of single organizations.

use operations::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::admin;
use super::connections::Connections;
use crate::limits::{self, Stored};
use crate::{Limits, StoreError};

const SET: &str = "
    INSERT INTO organization_limits (organization_id, limits, updated_at)
    SELECT $1, $2, $3 WHERE EXISTS (SELECT FROM organizations WHERE organization_id = $1 AND deleted = 0)
    ON CONFLICT (organization_id) DO UPDATE SET limits = excluded.limits, updated_at = excluded.updated_at";

/// Creates an organization; 0: it exists already.
pub(super) async fn create(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    limits: &Limits,
) -> Result<u64, StoreError> {
    let sql = "SELECT deleted FROM organizations WHERE organization_id = $1 FOR UPDATE";
    let found: Option<i16> = sqlx::query_scalar(sql).bind(organization).fetch_optional(&mut *connection).await?;
    match found {
        Some(0) => return Ok(0),
        Some(1) => return Err(StoreError::OrganizationGone),
        _ => {}
    }
    admin::make_organization(connection, now, organization).await?;
    set(connection, now, organization, limits).await
}

/// Sets the limits of an organization; 0: there is no such organization.
pub(super) async fn set(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    limits: &Limits,
) -> Result<u64, StoreError> {
    let text = serde_json::to_string(limits).expect("numbers are JSON");
    let set = sqlx::query(SET).bind(organization).bind(text).bind(now.as_millis()).execute(connection).await?;
    Ok(set.rows_affected())
}

pub(super) async fn all(pool: &Connections) -> Result<Stored, StoreError> {
    let found = sqlx::query("SELECT organization_id, limits FROM organization_limits").fetch_all(pool).await?;
    let limits = found.iter().map(|row| {
        let limits = serde_json::from_str(&row.try_get::<String, _>(1)?);
        Ok((row.try_get(0)?, limits.map_err(|_| limits::damaged())?))
    });
    limits.collect()
}
