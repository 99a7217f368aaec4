//! Notes about policy folders: see [`crate::policies`].

use async_trait::async_trait;
use operations::Timestamp;

use super::PostgresStore;
use crate::policies::{self, PolicyDigests, PolicyNotes, SeenPolicies};
use crate::{Store as _, StoreError};

/// A row for each server.
const READ: &str = "SELECT server, seen_at, policies FROM seen_policies ORDER BY server COLLATE \"C\"";

const NOTE: &str = "
    INSERT INTO seen_policies (server, seen_at, policies) VALUES ($1, $2, $3)
    ON CONFLICT (server) DO UPDATE SET seen_at = excluded.seen_at, policies = excluded.policies";

const FORGET: &str = "DELETE FROM seen_policies WHERE server = $1";

fn failed(error: sqlx::Error) -> StoreError {
    StoreError::from(error).or_unavailable()
}

#[async_trait]
impl PolicyNotes for PostgresStore {
    async fn seen_policies(&self) -> Result<Vec<SeenPolicies>, StoreError> {
        let found: Vec<(String, i64, String)> = sqlx::query_as(READ).fetch_all(&self.pool).await.map_err(failed)?;
        let seen =
            |(server, at, text): (String, i64, String)| policies::seen(server, Timestamp::from_millis(at), &text);
        found.into_iter().map(seen).collect()
    }

    async fn note_policies(&self, server: &str, policies: &PolicyDigests) -> Result<(), StoreError> {
        let note = sqlx::query(NOTE).bind(server).bind(self.now().as_millis()).bind(policies::text(policies));
        note.execute(&self.pool).await.map(drop).map_err(failed)
    }

    async fn forget_policies(&self, server: &str) -> Result<(), StoreError> {
        sqlx::query(FORGET).bind(server).execute(&self.pool).await.map(drop).map_err(failed)
    }
}
