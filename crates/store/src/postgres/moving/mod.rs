//! Moving an organization from one database to another: the steps in either. Their order is in [`crate::cells`].
//!
//! **The source** keeps everything until the end. Its row of `organizations` is marked ([`AWAY`]), so that creations
//! are refused in the statement that takes numbers; a pause keeps claims away; triggers, for this organization alone
//! and for as long as the move takes, refuse every other write, also by a server that knows nothing of the move.
//!
//! **The target** takes a copy (`copy.rs`), which nobody uses until it is opened.

mod copy;

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::cells::away;
use super::tx::Tx;
use super::{PostgresStore, session};
use crate::{StoreError, go_on_deleting};

/// How long a change of the fence waits for a table: meanwhile every transaction that writes to it waits behind.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '1s'";
/// How many times the change is tried.
const LOCK_TRIES: u32 = 30;
/// The first number of the advisory locks on organizations that are being moved; an arbitrary number that nobody else
/// uses.
const MOVING: i32 = 0x6d6f_7665;

/// The value of the column `deleted` of an organization that must not be used in this database.
pub(crate) const AWAY: i16 = 3;

/// The tables that are no longer written in the source. A transaction that writes to another table of the organization
/// writes to one of these too.
const FENCED: &[&str] = &[
    "changes",
    "change_marks",
    "active",
    "settled",
    "leases",
    "events",
    "audit",
    "bulk_progress",
    "evidence",
    "evidence_totals",
    "idempotency_keys",
    "inbox",
    "organization_limits",
    "schedules",
    "sessions",
    "statistics",
    "statistics_origins",
    "tokens",
    "views",
    "waivers",
];

/// What the source reported to a move.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Left {
    /// A caller had paused the organization before.
    pub(crate) was_paused: bool,
    /// For how long it could not be used.
    pub(crate) stood_still: Duration,
}

impl PostgresStore {
    /// Directory: the right to move an organization, until it is dropped; `None`: another process has it.
    pub(crate) async fn move_lock(&self, organization: &str) -> Result<Option<PgConnection>, StoreError> {
        let mut connection = session::unhurried(&self.pool).await?;
        let sql = "SELECT pg_try_advisory_lock($1, hashtext($2))";
        let is_free: bool =
            sqlx::query_scalar(sql).bind(MOVING).bind(organization).fetch_one(&mut connection).await.map_err(away)?;
        Ok(is_free.then_some(connection))
    }

    /// What an organization's row says about it: 0 it is here, 1 it is being deleted, 2 it was deleted, [`AWAY`];
    /// `None`: it was never here.
    pub(crate) async fn standing(&self, organization: &str) -> Result<Option<i16>, StoreError> {
        let sql = "SELECT deleted FROM organizations WHERE organization_id = $1";
        sqlx::query_scalar(sql).bind(organization).fetch_optional(&self.pool).await.map_err(away)
    }

    /// Source: marks the organization as no longer to be used here. Nothing is created or started from here on; other
    /// writes are refused once it is [fenced](PostgresStore::fence).
    pub(crate) async fn leave(&self, organization: &str) -> Result<(), StoreError> {
        self.change(async |tx| {
            let sql = "SELECT deleted FROM organizations WHERE organization_id = $1 FOR UPDATE";
            match sqlx::query_scalar::<_, i16>(sql).bind(organization).fetch_optional(&mut **tx).await? {
                Some(AWAY) => return Ok(()),
                Some(0) => {}
                _ => return Err(StoreError::OrganizationGone),
            }
            for sql in [
                "INSERT INTO organizations_elsewhere (organization_id, since, was_paused)
                 SELECT $1, $2, EXISTS (SELECT FROM pauses WHERE organization_id = $1 AND kind = '')
                 ON CONFLICT (organization_id) DO UPDATE SET since = excluded.since, was_paused = excluded.was_paused",
                "INSERT INTO pauses (organization_id, kind, paused_at) VALUES ($1, '', $2) ON CONFLICT DO NOTHING",
            ] {
                sqlx::query(sql).bind(organization).bind(self.millis()).execute(&mut **tx).await?;
            }
            Ok(mark(tx, organization, AWAY).await?)
        })
        .await
    }

    /// Source: what is known about the time since [`PostgresStore::leave`].
    pub(crate) async fn left(&self, organization: &str) -> Result<Left, StoreError> {
        let sql = "SELECT was_paused, since FROM organizations_elsewhere WHERE organization_id = $1";
        let found = sqlx::query_as::<_, (bool, i64)>(sql).bind(organization).fetch_optional(&self.pool).await;
        Ok(found.map_err(away)?.map_or_else(Left::default, |(was_paused, since)| {
            let stood_still = Duration::from_millis((self.millis() - since).max(0).unsigned_abs());
            Left { was_paused, stood_still }
        }))
    }

    /// Source: makes every transaction fail that writes to the organization and is not committed yet.
    pub(crate) async fn fence(&self, organization: &str) -> Result<(), StoreError> {
        let (name, literal) = (fence_name(organization), organization.replace('\'', "''"));
        self.alter(FENCED.iter().map(|table| {
            format!(
                "CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW
                 WHEN (NEW.organization_id = '{literal}') EXECUTE FUNCTION refuse_while_moving()"
            )
        }))
        .await
    }

    async fn unfence(&self, organization: &str) -> Result<(), StoreError> {
        let name = fence_name(organization);
        let sql = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = $1";
        let tables: Vec<String> = sqlx::query_scalar(sql).bind(&name).fetch_all(&self.pool).await.map_err(away)?;
        self.alter(tables.iter().map(|table| format!("DROP TRIGGER IF EXISTS {name} ON {table}"))).await
    }

    /// Carries out statements that lock a table, each by itself, so that none waits for long, and none for another.
    async fn alter(&self, statements: impl Iterator<Item = String>) -> Result<(), StoreError> {
        let mut connection = session::unhurried(&self.pool).await?;
        connection.execute(LOCK_TIMEOUT).await.map_err(away)?;
        for sql in statements {
            let mut tries = 1;
            while let Err(error) = connection.execute(AssertSqlSafe(sql.clone())).await {
                let is_locked = error.as_database_error().and_then(|error| error.code()).is_some_and(|c| c == "55P03");
                if !is_locked || tries == LOCK_TRIES {
                    return Err(away(error));
                }
                tries += 1;
            }
        }
        connection.close().await.map_err(away)
    }

    /// Source: gives the move up. The organization remains here, its leases as long as they had left.
    pub(crate) async fn stay(&self, organization: &str) -> Result<(), StoreError> {
        let left = self.left(organization).await?;
        self.unfence(organization).await?;
        self.open(organization, left).await
    }

    /// Makes the organization usable here again, with its leases extended by the time that it could not be used.
    pub(crate) async fn open(&self, organization: &str, left: Left) -> Result<(), StoreError> {
        self.change(async |tx| {
            let sql = "SELECT deleted FROM organizations WHERE organization_id = $1 FOR UPDATE";
            match sqlx::query_scalar::<_, i16>(sql).bind(organization).fetch_optional(&mut **tx).await? {
                Some(0) => return Ok(()),
                Some(AWAY) => {}
                _ => return Err(StoreError::OrganizationGone),
            }
            let shift = i64::try_from(left.stood_still.as_millis()).unwrap_or_default();
            let sql = "UPDATE leases SET expires_at = expires_at + $2 WHERE organization_id = $1";
            sqlx::query(sql).bind(organization).bind(shift).execute(&mut **tx).await?;
            if !left.was_paused {
                let sql = "DELETE FROM pauses WHERE organization_id = $1 AND kind = ''";
                sqlx::query(sql).bind(organization).execute(&mut **tx).await?;
            }
            mark(tx, organization, 0).await?;
            let sql = "DELETE FROM organizations_elsewhere WHERE organization_id = $1";
            sqlx::query(sql).bind(organization).execute(&mut **tx).await?;
            Ok(())
        })
        .await
    }

    /// Removes the rows here of an organization that is elsewhere; its name stays, so that it is not created anew here.
    pub(crate) async fn remove_left(&self, organization: &str) -> Result<(), StoreError> {
        if matches!(self.standing(organization).await?, Some(1 | 2 | AWAY)) {
            self.change(async |tx| Ok(mark(tx, organization, 1).await?)).await?;
            let deleted = go_on_deleting(self, None, organization, None, |_| {}).await;
            deleted.map_err(|error| match error {
                crate::DeletionError::Store(error) => error,
                crate::DeletionError::Content(error) => StoreError::Unusable(error.to_string()),
            })?;
            self.change(async |tx| Ok(mark(tx, organization, AWAY).await?)).await?;
        }
        self.unfence(organization).await
    }

    /// Target: notes that the organization is not to be used here, and removes what is left of an earlier stay or of a
    /// copy that was interrupted.
    pub(crate) async fn arrive(&self, organization: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO organizations_elsewhere (organization_id, since, was_paused) VALUES ($1, $2, false)
            ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(organization).bind(self.millis()).execute(&self.pool).await.map_err(away)?;
        self.remove_left(organization).await
    }

    /// Does `work` in one transaction.
    pub(super) async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let change = async {
            let mut connection = self.pool.acquire().await?;
            let mut tx = Tx::begun(&mut connection).await?;
            let done = work(&mut tx).await?;
            tx.commit().await?;
            connection.release();
            Ok::<_, StoreError>(done)
        };
        self.pool.within(change).await.map_err(StoreError::or_unavailable)
    }

    fn millis(&self) -> i64 {
        (self.clock)().as_millis()
    }
}

async fn mark(connection: &mut PgConnection, organization: &str, as_: i16) -> Result<(), sqlx::Error> {
    let sql = "UPDATE organizations SET deleted = $2 WHERE organization_id = $1";
    sqlx::query(sql).bind(organization).bind(as_).execute(connection).await.map(drop)
}

/// The name of the triggers: short, whatever the organization is called.
fn fence_name(organization: &str) -> String {
    let digest = crate::Digest::of(organization.as_bytes()).to_string();
    format!("moving_{}", &digest[digest.len() - 24..])
}
