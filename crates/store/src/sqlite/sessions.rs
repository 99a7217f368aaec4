//! Sessions: see [`crate::sessions`].

use async_trait::async_trait;
use operations::Timestamp;
use rusqlite::Connection;

use super::statement::{Row, query};
use super::{SqliteStore, admin, rows};
use crate::batch::{Upkeep, Write};
use crate::sessions::{Session, SessionChange, Sessions};
use crate::{StoreError, token};

const BEGIN: &str = "
    INSERT INTO sessions (organization_id, id, subject, name, begun_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Served by the primary key.
const REVOKE: &str = "UPDATE sessions SET revoked_at = coalesce(revoked_at, ?3) WHERE organization_id = ?1 AND id = ?2";

/// Served by the primary key.
const ONE: &str = "SELECT organization_id, id, subject, name, begun_at, expires_at, revoked_at FROM sessions
    WHERE organization_id = ?1 AND id = ?2";

/// Served by sessions_by_age.
const PAGE: &str = "SELECT organization_id, id, subject, name, begun_at, expires_at, revoked_at FROM sessions
    WHERE organization_id = ?1 AND (begun_at, id) > (?2, ?3) ORDER BY begun_at, id LIMIT ?4 + 0";

/// Served by sessions_by_end.
const FORGET: &str = "DELETE FROM sessions WHERE (organization_id, id) IN (
    SELECT organization_id, id FROM sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2 + 0)";

/// Forgets those of an organization that is deleted.
pub(super) const REMOVE: &str = "DELETE FROM sessions WHERE organization_id = ?1";

pub(super) fn change(connection: &Connection, now: Timestamp, change: &SessionChange) -> Result<u64, StoreError> {
    match change {
        SessionChange::Begin(Session { id, organization, subject, name, begun_at, expires_at, .. }) => {
            admin::be_there(connection, now, organization)?;
            let begin = query(BEGIN).bind(organization).bind(id).bind(subject).bind(name);
            begin.bind(begun_at.as_millis()).bind(expires_at.as_millis()).execute(connection)
        }
        SessionChange::Revoke(organization, id) => {
            query(REVOKE).bind(organization).bind(id).bind(now.as_millis()).execute(connection)
        }
        SessionChange::Forget(limit) => query(FORGET).bind(now.as_millis()).bind(*limit).execute(connection),
    }
}

fn session(row: &Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.try_get("id")?,
        organization: row.try_get("organization_id")?,
        subject: row.try_get("subject")?,
        name: row.try_get("name")?,
        begun_at: rows::time(row, "begun_at")?.ok_or_else(token::damaged)?,
        expires_at: rows::time(row, "expires_at")?.ok_or_else(token::damaged)?,
        revoked_at: rows::time(row, "revoked_at")?,
    })
}

impl SqliteStore {
    async fn change_session(&self, change: SessionChange) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::Session(change)).await
    }
}

#[async_trait]
impl Sessions for SqliteStore {
    async fn begin_session(&self, session: Session) -> Result<(), StoreError> {
        self.change_session(SessionChange::Begin(session)).await.map(drop)
    }

    async fn session(&self, organization: &str, id: &str) -> Result<Option<Session>, StoreError> {
        let one = query(ONE).bind(organization).bind(id.to_owned());
        let read = move |connection: &Connection| one.fetch_optional(connection)?.as_ref().map(session).transpose();
        self.readers.read(read).await
    }

    async fn sessions(
        &self,
        organization: &str,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_millis(), id));
        let page = query(PAGE).bind(organization.to_owned()).bind(at).bind(id).bind(limit);
        self.readers.read(move |connection| page.fetch_all(connection)?.iter().map(session).collect()).await
    }

    async fn revoke_session(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self.change_session(SessionChange::Revoke(organization.to_owned(), id.to_owned())).await? > 0)
    }

    async fn forget_sessions(&self, limit: u32) -> Result<u64, StoreError> {
        self.change_session(SessionChange::Forget(limit)).await
    }
}
