//! What is paused, and the organizations that can be paused.

use operations::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::connections::Connections;
use super::rows;
use crate::{Organization, Pausable, Paused, StoreError};

/// Whether an organization is here. Until the end of the transaction it stays: a move and a deletion, which pause it for
/// themselves, wait, and creations do not.
const IS_HERE: &str = "SELECT true FROM organizations WHERE organization_id = $1 AND deleted = 0 FOR KEY SHARE";

/// A pause that exists already keeps its time.
const PAUSE: &str = "
    INSERT INTO pauses (organization_id, kind, paused_at) VALUES ($1, $2, $3)
    ON CONFLICT (organization_id, kind) DO UPDATE SET paused_at = pauses.paused_at";

/// The pause of a whole organization by a move or by its deletion, which keeps claims away; one that exists stays.
pub(super) const PAUSE_WHOLE: &str =
    "INSERT INTO pauses (organization_id, kind, paused_at) VALUES ($1, '', $2) ON CONFLICT DO NOTHING";

const RESUME: &str = "DELETE FROM pauses WHERE organization_id = $1 AND kind = $2";

/// Answers 1 when that was done, or 0: there is no such organization, or what is to be resumed was not paused.
pub(super) async fn set(
    connection: &mut PgConnection,
    now: Timestamp,
    what: &Pausable,
    pause: bool,
) -> Result<u64, StoreError> {
    let (organization, kind) = what.key();
    if !organization.is_empty() {
        let is_here: Option<bool> =
            sqlx::query_scalar(IS_HERE).bind(organization).fetch_optional(&mut *connection).await?;
        if is_here.is_none() {
            return Ok(0);
        }
    }
    let query = sqlx::query(if pause { PAUSE } else { RESUME }).bind(organization).bind(kind);
    let query = if pause { query.bind(now.as_millis()) } else { query };
    Ok(query.execute(connection).await?.rows_affected())
}

pub(super) async fn all(pool: &Connections) -> Result<Vec<Paused>, StoreError> {
    let sql = "SELECT organization_id, kind, paused_at FROM pauses ORDER BY organization_id, kind";
    let found = sqlx::query(sql).fetch_all(pool).await?;
    let paused = found.iter().map(|row| {
        let what = Pausable::of_key(row.try_get("organization_id")?, row.try_get("kind")?);
        Ok(Paused { what, since: Timestamp::from_millis(row.try_get("paused_at")?) })
    });
    paused.collect()
}

/// Base and deltas from the fold's horizon on, in one snapshot. Where $1 is true, with those that are being moved or
/// were moved away.
const ORGANIZATIONS: &str = "
    SELECT o.organization_id, o.created_at, o.deleted = 1 AS is_being_deleted, coalesce(sum(n.pending), 0)::bigint AS pending,
        coalesce(sum(n.running), 0)::bigint AS running
    FROM organizations o LEFT JOIN (
        SELECT organization_id, pending, running FROM counters WHERE level = 20
        UNION ALL
        SELECT d.organization_id, d.pending, d.running FROM counter_deltas d
            LEFT JOIN counter_folds f ON f.organization_id = d.organization_id
        WHERE d.xid >= coalesce(f.folded_before, '0')
    ) n ON n.organization_id = o.organization_id
    WHERE o.deleted < 2 OR $1 AND o.deleted = 3 GROUP BY 1, 2, 3 ORDER BY 1";

pub(super) async fn organizations(pool: &Connections, with_elsewhere: bool) -> Result<Vec<Organization>, StoreError> {
    let damaged = || StoreError::Unusable("a row of the table of organizations is damaged".to_owned());
    let found = sqlx::query(ORGANIZATIONS).bind(with_elsewhere).fetch_all(pool).await?;
    let organizations = found.iter().map(|row| {
        Ok(Organization {
            name: row.try_get("organization_id")?,
            created_at: rows::time(row, "created_at")?.ok_or_else(damaged)?,
            pending: row.try_get::<i64, _>("pending")?.unsigned_abs(),
            running: row.try_get::<i64, _>("running")?.unsigned_abs(),
            is_being_deleted: row.try_get("is_being_deleted")?,
        })
    });
    organizations.collect()
}
