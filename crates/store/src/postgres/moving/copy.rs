//! The copy of an organization: from one snapshot of its source, in bounded batches. Counters are counted anew. Changes
//! get new positions, in their order, and so do the marks of the servers' own consumers.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

use super::super::cells::away;
use super::super::pause::PAUSE_WHOLE;
use super::super::tx::Tx;
use super::super::{changes, consumers, counters, doctor, session};
use super::{AWAY, Left, PostgresStore};
use crate::StoreError;

/// Rows that one transaction takes at most.
const BATCH_ROWS: usize = 1_000;
/// Bytes that one transaction takes at most (one row more may go over).
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The tables that are copied as they are, each with the order of its rows. Operations come before the tables that
/// refer to them, so that a copy that was interrupted can be removed like an organization.
const COPIED: &[(&str, &str)] = &[
    ("active", "seq"),
    ("settled", "seq"),
    ("queue", "seq"),
    ("leases", "seq"),
    ("concurrency_keys", "key"),
    ("concurrency_slots", "seq"),
    ("events", "seq, ctid"),
    ("details", "seq"),
    ("labels", "key, value, seq"),
    ("unique_keys", "unique_key"),
    ("bucket_times", "level, bucket"),
    ("bulk_progress", "id"),
    ("idempotency_keys", "key"),
    ("organization_limits", "organization_id"),
    ("audit", "seq"),
    ("tokens", "id"),
    ("sessions", "id"),
    ("schedules", "seq"),
    ("views", "id"),
    ("waivers", "id"),
    ("evidence", "digest"),
    ("evidence_totals", "organization_id"),
    ("statistics", "step, project_id, start, kind"),
    ("statistics_origins", "organization_id"),
];

/// Each table has a statement for its rows as JSON, `$1`, of the organization `$2`.
const AS_IT_IS: &str =
    "INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $1::json) WHERE organization_id = $2";

/// With new numbers of transactions, in their order.
const CHANGES: &str = "
    INSERT INTO changes (organization_id, n, at, status, ids, is_creation)
    SELECT $2, c.place, c.at, c.status, c.ids, c.is_creation
    FROM ROWS FROM (json_to_recordset($1::json)
        AS (at bigint, status smallint, ids uuid[], is_creation boolean)) WITH ORDINALITY
        AS c (at, status, ids, is_creation, place)";

const INBOX: &str = "
    INSERT INTO inbox SELECT (r).* FROM (
        SELECT json_populate_record(NULL::inbox, e.row::json) AS r FROM (
            SELECT (i.row::jsonb || jsonb_build_object('xid', pg_current_xact_id()::text, 'position', i.place))::text AS row
            FROM json_array_elements($1::json) WITH ORDINALITY AS i (row, place)) AS e) AS rows
    WHERE (r).organization_id = $2";

const COUNT: &str = "
    INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
    SELECT $2, seq >> 12, project_id, kind,
        count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
        count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)
    FROM json_to_recordset($1::json) AS o (seq bigint, project_id text, kind text, status smallint) GROUP BY 2, 3, 4";

const MARK: &str = "
    INSERT INTO change_marks (reader, organization_id, xid, n, seen)
    VALUES ($2, $1, coalesce($3::text::xid8, pg_current_xact_id()), $4, $5)
    ON CONFLICT (reader, organization_id) DO UPDATE SET xid = excluded.xid, n = excluded.n, seen = excluded.seen";

/// A position in the source's change log: the number of the transaction, the row, and how much of it was seen.
type OldPlace = (u64, i32, i32);

impl PostgresStore {
    /// Target: copies everything of the organization from the source, whose row says that it is away; answers how many
    /// rows. Fails when the copy differs from what was read, or is not sound.
    pub(crate) async fn copy_from(
        &self,
        source: &PostgresStore,
        organization: &str,
        mover: i64,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, StoreError> {
        let mut connection = session::unhurried(&source.pool).await?;
        let mut snapshot = Tx::snapshot(&mut connection).await?;
        snapshot.execute("SET LOCAL idle_in_transaction_session_timeout = 0").await.map_err(away)?;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut total = 0;
        let left = source.left(organization).await?;
        self.take_organization(&mut snapshot, organization, mover, left).await?;
        for (table, order) in COPIED {
            let mut copied = 0;
            let sql = rows_of(table, order);
            let statement = AS_IT_IS.replace("{table}", table);
            let is_counted = matches!(*table, "active" | "settled");
            self.copy_rows(&mut snapshot, &sql, organization, async |batch: &str, rows| {
                self.receive(&statement, is_counted, organization, mover, batch).await?;
                copied += rows;
                total += rows;
                progress(rows);
                Ok(())
            })
            .await?;
            counts.insert(table, copied);
        }
        let mut inbox = 0;
        self.copy_rows(&mut snapshot, &rows_of("inbox", "xid, position"), organization, async |batch: &str, rows| {
            self.receive(INBOX, false, organization, mover, batch).await?;
            inbox += rows;
            Ok(())
        })
        .await?;
        counts.insert("inbox", inbox);
        counts.insert("changes", self.copy_changes(&mut snapshot, organization, mover).await?);
        snapshot.commit().await?;
        connection.close().await.map_err(away)?;
        counters::fold(&self.pool, organization).await.map_err(StoreError::or_unavailable)?;
        self.compare(organization, &counts).await?;
        let mut findings = doctor::examine_one(&self.pool, organization).await?;
        if !findings.is_empty() {
            // Findings that the source had before are no reason to keep the organization there.
            let before = doctor::examine_one(&source.pool, organization).await?;
            findings.retain(|finding| !before.contains(finding));
        }
        if !findings.is_empty() {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            return Err(StoreError::Unusable(format!("the copy is not sound: {}", findings.join("; "))));
        }
        Ok(total + inbox)
    }

    /// The organization's own row, marked as away, and its pauses, with that of the move: so nothing of the copy is
    /// claimed. What the source knows of the move comes along, for the time when the organization is opened here.
    async fn take_organization(
        &self,
        snapshot: &mut Tx<'_>,
        organization: &str,
        mover: i64,
        left: Left,
    ) -> Result<(), StoreError> {
        let sql = "SELECT to_json(t)::text FROM organizations AS t WHERE organization_id = $1 AND deleted = $2";
        let row = sqlx::query_scalar::<_, String>(sql).bind(organization).bind(AWAY).fetch_optional(&mut **snapshot);
        let row = row.await.map_err(away)?.ok_or(StoreError::OrganizationGone)?;
        let pauses = sqlx::query_scalar::<_, String>(AssertSqlSafe(rows_of("pauses", "kind"))).bind(organization);
        let pauses: Vec<String> = pauses.fetch_all(&mut **snapshot).await.map_err(away)?;
        self.step(organization, mover, async |tx| {
            let sql = "DELETE FROM organizations WHERE organization_id = $1 AND deleted <> 0";
            sqlx::query(sql).bind(organization).execute(&mut **tx).await?;
            for (table, rows) in [("organizations", row), ("pauses", pauses.join(","))] {
                let sql = AssertSqlSafe(AS_IT_IS.replace("{table}", table));
                sqlx::query(sql).bind(format!("[{rows}]")).bind(organization).execute(&mut **tx).await?;
            }
            // It is among them, unless a server of an older version has resumed the organization since it left.
            sqlx::query(PAUSE_WHOLE).bind(organization).bind(self.millis()).execute(&mut **tx).await?;
            let sql = "UPDATE organizations_elsewhere SET was_paused = $2, since = $3 WHERE organization_id = $1";
            let note = sqlx::query(sql).bind(organization).bind(left.was_paused);
            note.bind(self.millis() - left.stood_still).execute(&mut **tx).await?;
            Ok(())
        })
        .await
    }

    /// Reads rows as JSON, and passes them on in batches.
    async fn copy_rows(
        &self,
        snapshot: &mut Tx<'_>,
        sql: &str,
        organization: &str,
        mut batch: impl AsyncFnMut(&str, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql.to_owned())).bind(organization);
        let mut rows = query.fetch(&mut **snapshot);
        let (mut text, mut count) = (String::new(), 0_usize);
        loop {
            let row = rows.try_next().await.map_err(away)?;
            let is_last = row.is_none();
            if let Some(row) = row {
                text.push(if count == 0 { '[' } else { ',' });
                text.push_str(&row);
                count += 1;
            }
            if count > 0 && (is_last || count >= BATCH_ROWS || text.len() >= BATCH_BYTES) {
                text.push(']');
                batch(&text, count as u64).await?;
                (text, count) = (String::new(), 0);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Writes a batch, and counts it; answers the number of the transaction.
    async fn receive(
        &self,
        statement: &str,
        is_counted: bool,
        organization: &str,
        mover: i64,
        rows: &str,
    ) -> Result<u64, StoreError> {
        self.step(organization, mover, async |tx| {
            // The inbox takes a copy, and nothing else of an organization that is elsewhere.
            let sql = "SELECT set_config('longrun.copied', $1, true)";
            sqlx::query(sql).bind(organization).execute(&mut **tx).await?;
            let sql = AssertSqlSafe(statement.to_owned());
            sqlx::query(sql).bind(rows).bind(organization).execute(&mut **tx).await?;
            if is_counted {
                sqlx::query(COUNT).bind(rows).bind(organization).execute(&mut **tx).await?;
            }
            let number: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut **tx).await?;
            changes::number(&number)
        })
        .await
    }

    /// Copies the change log, and the positions of the servers' own consumers in it. Answers how many rows.
    async fn copy_changes(&self, snapshot: &mut Tx<'_>, organization: &str, mover: i64) -> Result<u64, StoreError> {
        // Positions that were given out before are unknown from here on.
        self.step(organization, mover, async |tx| Ok(changes::begin_anew(&mut **tx, organization).await?)).await?;
        let mut marks = marks(snapshot, organization).await?;
        let mut placed: Vec<(String, Option<u64>, i32, i32)> = Vec::new();
        let (mut copied, mut end) = (0, None);
        let sql = "SELECT json_build_object('xid', xid::text, 'n', n, 'at', at, 'status', status, 'ids', ids,
                'is_creation', is_creation)::text FROM changes WHERE organization_id = $1 ORDER BY xid, n";
        self.copy_rows(snapshot, sql, organization, async |batch: &str, rows| {
            let number = self.receive(CHANGES, false, organization, mover, batch).await?;
            let read: Vec<Value> = serde_json::from_str(batch).map_err(|_| crate::rows::damaged("change"))?;
            for (index, row) in read.iter().enumerate() {
                let place = i32::try_from(index + 1).unwrap_or(i32::MAX);
                let old = (
                    row["xid"].as_str().and_then(|xid| xid.parse().ok()).unwrap_or(u64::MAX),
                    row["n"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(i32::MAX),
                );
                // The consumers whose position is at this row, or before it, and that have seen everything that came
                // before.
                marks.retain(|(reader, (xid, n, seen))| {
                    if (*xid, *n) > old {
                        return true;
                    }
                    placed.push((reader.clone(), Some(number), place, if (*xid, *n) == old { *seen } else { 0 }));
                    false
                });
                let length = row["ids"].as_array().map_or(0, Vec::len);
                end = Some((number, place, i32::try_from(length).unwrap_or(i32::MAX)));
            }
            copied += rows;
            Ok(())
        })
        .await?;
        // The others have seen everything.
        placed.extend(marks.into_iter().map(|(reader, _)| match end {
            Some((number, place, seen)) => (reader, Some(number), place, seen),
            None => (reader, None, 0, 0),
        }));
        self.step(organization, mover, async |tx| {
            for (reader, number, place, seen) in &placed {
                consumers::begin_on(tx, reader).await?;
                let query = sqlx::query(MARK).bind(organization).bind(reader).bind(number.map(|n| n.to_string()));
                query.bind(place).bind(seen).execute(&mut **tx).await?;
            }
            Ok(())
        })
        .await?;
        Ok(copied)
    }

    /// Fails when the number of rows differs from the number that was read.
    async fn compare(&self, organization: &str, counts: &BTreeMap<&str, u64>) -> Result<(), StoreError> {
        for (table, expected) in counts {
            let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE organization_id = $1"));
            let found: i64 = sqlx::query_scalar(sql).bind(organization).fetch_one(&self.pool).await.map_err(away)?;
            if found.unsigned_abs() != *expected {
                let message = format!("the copy differs: the table {table} has {found} rows of {expected}");
                return Err(StoreError::Unusable(message));
            }
        }
        Ok(())
    }
}

fn rows_of(table: &str, order: &str) -> String {
    format!("SELECT to_json(t)::text FROM {table} AS t WHERE organization_id = $1 ORDER BY {order}")
}

/// The positions of the consumers in the change log of an organization.
async fn marks(snapshot: &mut Tx<'_>, organization: &str) -> Result<Vec<(String, OldPlace)>, StoreError> {
    let sql = "SELECT r.reader, coalesce(m.xid, r.xid)::text, coalesce(m.n, 0), coalesce(m.seen, 0)
        FROM change_readers AS r LEFT JOIN change_marks AS m ON m.reader = r.reader AND m.organization_id = $1";
    let rows = sqlx::query(sql).bind(organization).fetch_all(&mut **snapshot).await.map_err(away)?;
    let mark = |row: &sqlx::postgres::PgRow| {
        let xid: String = row.try_get(1).map_err(away)?;
        let (n, seen) = (row.try_get(2).map_err(away)?, row.try_get(3).map_err(away)?);
        Ok((row.try_get(0).map_err(away)?, (changes::number(&xid)?, n, seen)))
    };
    rows.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use testkit::{Cluster, Durability};

    use super::super::FENCED;
    use super::*;
    use crate::Store as _;

    /// Tables that are copied in a way of their own.
    const TRANSLATED: &[&str] = &["organizations", "pauses", "inbox", "changes", "change_marks"];
    /// Tables that follow from the rest, and are built anew.
    const DERIVED: &[&str] = &[
        "counters",
        "project_counters",
        "counter_deltas",
        "counted_resources",
        "resource_counters",
        "resource_deltas",
    ];
    /// Tables that concern this database alone.
    const OWN: &[&str] = &["counter_folds", "change_floors", "organization_cells", "organizations_elsewhere"];

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_move_knows_every_table_of_the_schema() {
        let cluster = Cluster::start(Durability::None).unwrap();
        let store = PostgresStore::connect(&cluster.database().await.unwrap(), 2).await.unwrap();
        let sql = "SELECT table_name::text FROM information_schema.columns
            WHERE table_schema = 'longrun' AND column_name = 'organization_id'";
        let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&store.pool).await.unwrap();
        let copied = COPIED.iter().map(|(table, _)| *table);
        let known: Vec<&str> = copied.chain([TRANSLATED, DERIVED, OWN].concat()).collect();
        let (known_once, found) = (known.iter().copied().collect(), found.iter().map(String::as_str).collect());
        assert_eq!(known.len(), BTreeSet::len(&known_once), "each table is moved in one way");
        assert_eq!(known_once, found, "say of each table with organizations how it is moved");
        assert!(FENCED.iter().all(|table| known_once.contains(table)));
        store.close().await;
    }
}
