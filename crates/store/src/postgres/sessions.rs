//! Sessions: see [`crate::sessions`].

use async_trait::async_trait;
use operations::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::{PostgresStore, create};
use crate::StoreError;
use crate::batch::{Upkeep, Write};
use crate::sessions::{Session, SessionChange, Sessions};

const BEGIN: &str = "
    INSERT INTO sessions (organization_id, id, subject, name, begun_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";

/// Served by the primary key.
const REVOKE: &str = "UPDATE sessions SET revoked_at = coalesce(revoked_at, $3) WHERE organization_id = $1 AND id = $2";

/// Served by the primary key.
const ONE: &str = "SELECT organization_id, id, subject, name, begun_at, expires_at, revoked_at FROM sessions
    WHERE organization_id = $1 AND id = $2";

/// Served by sessions_by_age.
const PAGE: &str = "SELECT organization_id, id, subject, name, begun_at, expires_at, revoked_at FROM sessions
    WHERE organization_id = $1 AND (begun_at, id) > ($2, $3) ORDER BY begun_at, id LIMIT $4";

/// Organizations that are being moved are left out, by a subquery that keeps the order of the index. Served by
/// sessions_by_end. When several servers do so at a time, each session goes to one of them.
const FORGET: &str = "DELETE FROM sessions WHERE (organization_id, id) IN (
    SELECT organization_id, id FROM sessions s WHERE expires_at <= $1
        AND (SELECT true FROM organizations_elsewhere e WHERE e.organization_id = s.organization_id) IS NULL
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

pub(super) async fn change(
    connection: &mut PgConnection,
    now: Timestamp,
    change: &SessionChange,
) -> Result<u64, StoreError> {
    match change {
        SessionChange::Begin(Session { id, organization, subject, name, begun_at, expires_at, .. }) => {
            // Its row stays locked, so that a deletion that begins meanwhile ends this session, too.
            create::lock_numbers(connection, now, organization).await?;
            let begin = sqlx::query(BEGIN).bind(organization).bind(id).bind(subject).bind(name);
            let begin = begin.bind(begun_at.as_millis()).bind(expires_at.as_millis());
            Ok(begin.execute(connection).await?.rows_affected())
        }
        SessionChange::Revoke(organization, id) => {
            let revoke = sqlx::query(REVOKE).bind(organization).bind(id).bind(now.as_millis());
            Ok(revoke.execute(connection).await?.rows_affected())
        }
        SessionChange::Forget(limit) => {
            let forget = sqlx::query(FORGET).bind(now.as_millis()).bind(i64::from(*limit));
            Ok(forget.execute(connection).await?.rows_affected())
        }
    }
}

fn session(row: &PgRow) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.try_get("id")?,
        organization: row.try_get("organization_id")?,
        subject: row.try_get("subject")?,
        name: row.try_get("name")?,
        begun_at: Timestamp::from_millis(row.try_get("begun_at")?),
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
        revoked_at: row.try_get::<Option<i64>, _>("revoked_at")?.map(Timestamp::from_millis),
    })
}

impl PostgresStore {
    async fn change_session(&self, change: SessionChange) -> Result<u64, StoreError> {
        let organization = change.organization().to_owned();
        self.submit(&organization, Write::Upkeep, Upkeep::Session(change)).await
    }
}

#[async_trait]
impl Sessions for PostgresStore {
    async fn begin_session(&self, session: Session) -> Result<(), StoreError> {
        self.change_session(SessionChange::Begin(session)).await.map(drop)
    }

    async fn session(&self, organization: &str, id: &str) -> Result<Option<Session>, StoreError> {
        let found = sqlx::query(ONE).bind(organization).bind(id).fetch_optional(&self.pool).await;
        found.map_err(StoreError::from).map_err(StoreError::or_unavailable)?.as_ref().map(session).transpose()
    }

    async fn sessions(
        &self,
        organization: &str,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_millis(), id));
        let page = sqlx::query(PAGE).bind(organization).bind(at).bind(id).bind(i64::from(limit));
        let found = page.fetch_all(&self.pool).await.map_err(StoreError::from).map_err(StoreError::or_unavailable)?;
        found.iter().map(session).collect()
    }

    async fn revoke_session(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self.change_session(SessionChange::Revoke(organization.to_owned(), id.to_owned())).await? > 0)
    }

    async fn forget_sessions(&self, limit: u32) -> Result<u64, StoreError> {
        self.change_session(SessionChange::Forget(limit)).await
    }
}
