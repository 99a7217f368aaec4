//! Notes about policy folders: see [`crate::policies`].

use async_trait::async_trait;
use operations::Timestamp;
use rusqlite::Connection;

use super::SqliteStore;
use super::rows;
use super::statement::{Row, query};
use crate::StoreError;
use crate::batch::{Upkeep, Write};
use crate::policies::{self, PolicyDigests, PolicyNotes, PolicyWrite, SeenPolicies};
use crate::rows::damaged;

/// A row for each server.
const READ: &str = "SELECT server, seen_at, policies FROM seen_policies ORDER BY server";

const NOTE: &str = "
    INSERT INTO seen_policies (server, seen_at, policies) VALUES (?1, ?2, ?3)
    ON CONFLICT (server) DO UPDATE SET seen_at = excluded.seen_at, policies = excluded.policies";

const FORGET: &str = "DELETE FROM seen_policies WHERE server = ?1";

fn read(row: &Row) -> Result<SeenPolicies, StoreError> {
    let seen_at = rows::time(row, "seen_at")?.ok_or_else(|| damaged("seen_at"))?;
    policies::seen(row.try_get("server")?, seen_at, &row.try_get::<String>("policies")?)
}

/// Carries out a write; answers how many rows it concerned.
pub(super) fn write(connection: &Connection, now: Timestamp, write: &PolicyWrite) -> Result<u64, StoreError> {
    let query = match write {
        PolicyWrite::Note(server, seen) => query(NOTE).bind(server).bind(now.as_millis()).bind(policies::text(seen)),
        PolicyWrite::Forget(server) => query(FORGET).bind(server),
    };
    query.execute(connection)
}

impl SqliteStore {
    async fn policy(&self, write: PolicyWrite) -> Result<(), StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::Policies(write)).await.map(drop)
    }
}

#[async_trait]
impl PolicyNotes for SqliteStore {
    async fn seen_policies(&self) -> Result<Vec<SeenPolicies>, StoreError> {
        self.readers.read(|connection| query(READ).fetch_all(connection)?.iter().map(read).collect()).await
    }

    async fn note_policies(&self, server: &str, policies: &PolicyDigests) -> Result<(), StoreError> {
        self.policy(PolicyWrite::Note(server.to_owned(), policies.clone())).await
    }

    async fn forget_policies(&self, server: &str) -> Result<(), StoreError> {
        self.policy(PolicyWrite::Forget(server.to_owned())).await
    }
}
