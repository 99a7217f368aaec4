//! Concurrency keys: at most a given number of operations of one key run at a time.
//!
//! An operation holds a place of its key from the moment that it is in the queue as ready until it ends or is delayed.
//! An operation that has no place waits in `concurrency_slots`, and is not in the queue: claims never meet it, and need
//! to know nothing of keys. The transaction that frees a place also gives it to the next operation.
//!
//! **Locks.** Everything about a key is written under its advisory lock, which is held to the end of the transaction,
//! and read by statements that begin after it was acquired. In every transaction it comes after the locks on operations
//! and their places in the queue, and before the lock on the organization's row.

use std::collections::{BTreeMap, BTreeSet};

use operations::Concurrency;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row};
use uuid::Uuid;

use super::heads::Heads;
use crate::StoreError;

/// The `state` of operations that wait for a place, and of those that have one; 2: it is delayed.
const WAITS: i16 = 0;
const HAS_PLACE: i16 = 1;

const LOCK: &str = "SELECT pg_advisory_xact_lock(lock) FROM unnest($1::bigint[]) AS l (lock)";

/// Operations that were just created, or are pending again. Served by active_by_id.
const ENTER: &str = "
    INSERT INTO concurrency_slots (organization_id, seq, key, kind, priority, state)
    SELECT $1, a.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT seq, concurrency_key, kind, priority, CASE WHEN due_at IS NULL THEN 0 ELSE 2 END FROM active
        WHERE id = w.id AND organization_id = $1 AND concurrency_key IS NOT NULL OFFSET 0) AS a";

/// The limit of the newest creation applies: an operation that is pending again ($5) changes no limit.
const ENTER_KEYS: &str = "
    INSERT INTO concurrency_keys (organization_id, key, most, held, operations)
    SELECT $1, key, most, 0, operations FROM unnest($2::text[], $3::int[], $4::bigint[]) AS k (key, most, operations)
    ON CONFLICT (organization_id, key)
        DO UPDATE SET most = CASE WHEN $5 THEN concurrency_keys.most ELSE excluded.most END,
            operations = concurrency_keys.operations + excluded.operations";

/// Served by the primary key.
const FIND: &str = "
    SELECT s.* FROM unnest($2::bigint[]) AS w (seq) CROSS JOIN LATERAL (
        SELECT seq, key, state FROM concurrency_slots WHERE organization_id = $1 AND seq = w.seq OFFSET 0) AS s";

const LEAVE: &str = "
    DELETE FROM concurrency_slots WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM unnest($2::bigint[]) AS w (seq) CROSS JOIN LATERAL (
            SELECT ctid FROM concurrency_slots WHERE organization_id = $1 AND seq = w.seq OFFSET 0) AS s))
        AND organization_id IS NOT DISTINCT FROM $1";

const DELAY: &str = "
    UPDATE concurrency_slots SET state = 2 WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM unnest($2::bigint[]) AS w (seq) CROSS JOIN LATERAL (
            SELECT ctid FROM concurrency_slots WHERE organization_id = $1 AND seq = w.seq OFFSET 0) AS s))
        AND organization_id IS NOT DISTINCT FROM $1";

const CHANGE_KEYS: &str = "
    UPDATE concurrency_keys k SET held = k.held + c.held, operations = k.operations + c.operations
    FROM unnest($2::text[], $3::int[], $4::bigint[]) AS c (key, held, operations)
    WHERE k.organization_id = $1 AND k.key = c.key";

const FORGET_KEYS: &str =
    "DELETE FROM concurrency_keys WHERE organization_id = $1 AND key = ANY ($2) AND operations = 0";

/// Gives the free places of the keys $2 to waiting operations: by priority, then age. Served by the primary key of
/// concurrency_keys and by concurrency_waiting.
const ADMIT: &str = "
    WITH free AS MATERIALIZED (
        SELECT w.key, k.places FROM unnest($2::text[]) AS w (key) CROSS JOIN LATERAL (
            SELECT most - held AS places FROM concurrency_keys
            WHERE organization_id = $1 AND key = w.key AND held < most OFFSET 0) AS k
    ), admitted AS MATERIALIZED (
        SELECT free.key, s.* FROM free CROSS JOIN LATERAL (
            SELECT ctid AS at, kind, priority, seq FROM concurrency_slots
            WHERE organization_id = $1 AND key = free.key AND state = 0
            ORDER BY -priority, seq LIMIT free.places) AS s
    ), held AS (
        UPDATE concurrency_slots SET state = 1 WHERE ctid = ANY (ARRAY(SELECT at FROM admitted))
            AND organization_id IS NOT DISTINCT FROM $1
    ), counted AS (
        UPDATE concurrency_keys k SET held = held + (SELECT count(*) FROM admitted a WHERE a.key = k.key)
        WHERE organization_id = $1 AND key = ANY (ARRAY(SELECT key FROM admitted))
    ), queued AS (
        INSERT INTO queue (organization_id, kind, priority, seq) SELECT $1, kind, priority, seq FROM admitted
    )
    SELECT kind, -priority, seq FROM admitted";

/// The keys of operations that became due after $3 and until $2. Served by queue_due and the primary key of
/// concurrency_slots.
const DUE: &str = "
    SELECT DISTINCT s.key FROM (
        SELECT seq FROM queue WHERE organization_id = $1 AND due_at > $3 AND due_at <= $2 AND due_at IS NOT NULL
        ORDER BY due_at LIMIT 1000) AS q CROSS JOIN LATERAL (
        SELECT key FROM concurrency_slots WHERE organization_id = $1 AND seq = q.seq OFFSET 0) AS s";

/// Takes operations of the keys $4 that became due out of the queue: from now on they wait for a place. Rows that
/// another server is working on are left to it.
const LET_WAIT: &str = "
    WITH due AS MATERIALIZED (
        SELECT ctid AS at, seq FROM queue
        WHERE organization_id = $1 AND due_at > $3 AND due_at <= $2 AND due_at IS NOT NULL
        ORDER BY due_at LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), keyed AS MATERIALIZED (
        SELECT due.at, s.place FROM due CROSS JOIN LATERAL (
            SELECT ctid AS place FROM concurrency_slots
            WHERE organization_id = $1 AND seq = due.seq AND key = ANY ($4) OFFSET 0) AS s
    ), gone AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(SELECT at FROM keyed)) AND organization_id IS NOT DISTINCT FROM $1
    )
    UPDATE concurrency_slots SET state = 0 WHERE ctid = ANY (ARRAY(SELECT place FROM keyed))
        AND organization_id IS NOT DISTINCT FROM $1";

/// A number for the lock of something with this name, the same in every process. Two names that share a number wait for
/// each other without need.
pub(super) fn lock_number(what: &str, organization: &str, name: &str) -> i64 {
    let mut hash = Sha256::new();
    for part in [what, organization, name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Takes locks in an order that is the same in every transaction.
pub(super) async fn lock(connection: &mut PgConnection, locks: impl Iterator<Item = i64>) -> Result<(), StoreError> {
    let locks: BTreeSet<i64> = locks.collect();
    if !locks.is_empty() {
        let locks: Vec<i64> = locks.into_iter().collect();
        sqlx::query(LOCK).bind(locks).execute(connection).await?;
    }
    Ok(())
}

pub(super) async fn lock_keys<'k>(
    connection: &mut PgConnection,
    organization: &str,
    keys: impl Iterator<Item = &'k str>,
) -> Result<(), StoreError> {
    lock(connection, keys.map(|key| lock_number("concurrency key", organization, key))).await
}

/// Operations with these ids have come in, each with its key: created, or pending again. The keys are locked.
pub(super) async fn enter(
    connection: &mut PgConnection,
    organization: &str,
    came: &[(Uuid, Concurrency)],
    again: bool,
) -> Result<Vec<(String, i16, i64)>, StoreError> {
    let mut named: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
    for (_, Concurrency { key, limit }) in came {
        let (most, operations) = named.entry(key).or_default();
        *most = i32::try_from(*limit).unwrap_or(i32::MAX);
        *operations += 1;
    }
    let ids: Vec<Uuid> = came.iter().map(|(id, _)| *id).collect();
    let keys: Vec<String> = named.keys().map(|key| (*key).to_owned()).collect();
    let (most, operations): (Vec<i32>, Vec<i64>) = named.into_values().unzip();
    sqlx::query(ENTER).bind(organization).bind(ids).execute(&mut *connection).await?;
    sqlx::query(ENTER_KEYS)
        .bind(organization)
        .bind(&keys)
        .bind(most)
        .bind(operations)
        .bind(again)
        .execute(&mut *connection)
        .await?;
    admit(connection, organization, &keys).await
}

/// Operations with keys that end or are delayed, all of which had a place or waited.
#[derive(Default)]
pub(super) struct Left {
    pub(super) keys: BTreeSet<String>,
    /// The numbers of those that ended.
    pub(super) ended: Vec<i64>,
    /// Those that are tried again later.
    pub(super) delayed: Vec<i64>,
}

impl Left {
    /// Writes it, and gives the places that are free now to waiting operations; answers whether there were any. Locks
    /// the keys.
    pub(super) async fn write(self, connection: &mut PgConnection, organization: &str) -> Result<bool, StoreError> {
        let Left { keys, ended, delayed } = self;
        if keys.is_empty() {
            return Ok(false);
        }
        lock_keys(connection, organization, keys.iter().map(String::as_str)).await?;
        let mut changes: BTreeMap<String, (i32, i64)> = BTreeMap::new();
        for (seqs, sql, gone) in [(ended, LEAVE, 1), (delayed, DELAY, 0)] {
            if seqs.is_empty() {
                continue;
            }
            for row in sqlx::query(FIND).bind(organization).bind(&seqs).fetch_all(&mut *connection).await? {
                let (held, operations) = changes.entry(row.try_get("key")?).or_default();
                *held -= i32::from(row.try_get::<i16, _>("state")? == HAS_PLACE);
                *operations -= gone;
            }
            sqlx::query(sql).bind(organization).bind(seqs).execute(&mut *connection).await?;
        }
        let keys: Vec<String> = changes.keys().cloned().collect();
        let (held, operations): (Vec<i32>, Vec<i64>) = changes.into_values().unzip();
        sqlx::query(CHANGE_KEYS)
            .bind(organization)
            .bind(&keys)
            .bind(held)
            .bind(operations)
            .execute(&mut *connection)
            .await?;
        sqlx::query(FORGET_KEYS).bind(organization).bind(&keys).execute(&mut *connection).await?;
        Ok(!admit(connection, organization, &keys).await?.is_empty())
    }
}

/// Answers the kinds and places in the queue of the operations that have a place now.
async fn admit(
    connection: &mut PgConnection,
    organization: &str,
    keys: &[String],
) -> Result<Vec<(String, i16, i64)>, StoreError> {
    Ok(sqlx::query_as(ADMIT).bind(organization).bind(keys).fetch_all(connection).await?)
}

/// Whether an operation waits for a place of its key, which this locks and keeps locked: then it cannot be claimed.
pub(super) async fn waits(
    connection: &mut PgConnection,
    organization: &str,
    key: &str,
    seq: i64,
) -> Result<bool, StoreError> {
    lock_keys(connection, organization, [key].into_iter()).await?;
    let found = sqlx::query(FIND).bind(organization).bind([seq]).fetch_optional(connection).await?;
    Ok(match found {
        Some(row) => row.try_get::<i16, _>("state")? == WAITS,
        None => false,
    })
}

/// Whether all of these operations wait for places of their keys, which are locked.
pub(super) async fn all_wait(
    connection: &mut PgConnection,
    organization: &str,
    seqs: Vec<i64>,
) -> Result<bool, StoreError> {
    if seqs.is_empty() {
        return Ok(true);
    }
    let found = sqlx::query(FIND).bind(organization).bind(&seqs).fetch_all(connection).await?;
    let mut waiting = 0;
    for row in &found {
        waiting += usize::from(row.try_get::<i16, _>("state")? == WAITS);
    }
    Ok(waiting == seqs.len())
}

/// Makes operations that became due after `from` wait for a place of their key, or gives them one. It is a transaction
/// of its own, on a connection that is in none. Answers whether something can be claimed now that could not be before.
pub(super) async fn promote(
    connection: &mut PgConnection,
    heads: &Heads,
    organization: &str,
    now: i64,
    from: i64,
) -> Result<bool, StoreError> {
    let keys: Vec<String> =
        sqlx::query_scalar(DUE).bind(organization).bind(now).bind(from).fetch_all(&mut *connection).await?;
    if keys.is_empty() {
        return Ok(false);
    }
    // A connection on which this is interrupted is not used again.
    connection.execute("BEGIN").await?;
    lock_keys(connection, organization, keys.iter().map(String::as_str)).await?;
    sqlx::query(LET_WAIT).bind(organization).bind(now).bind(from).bind(&keys).execute(&mut *connection).await?;
    let admitted = admit(connection, organization, &keys).await?;
    connection.execute("COMMIT").await?;
    heads.came(organization, &admitted);
    Ok(!admitted.is_empty())
}

/// Gives places to the first waiting operations of all keys, of which no place is taken: for an import, when nobody
/// else works with the store.
pub(super) async fn admit_all(connection: &mut PgConnection, organization: &str) -> Result<(), StoreError> {
    let sql = "UPDATE concurrency_keys SET held = 0 WHERE organization_id = $1 RETURNING key";
    let keys: Vec<String> = sqlx::query_scalar(sql).bind(organization).fetch_all(&mut *connection).await?;
    admit(connection, organization, &keys).await.map(drop)
}
