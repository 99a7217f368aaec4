//! Resources that have many operations: they have counters, as organizations and projects do.
//!
//! The others are counted along their range of an index, which is short. That a resource has many is noticed by a read
//! of its operations, so that resources that are never read cost nothing. Then it is *marked*: a row in
//! `counted_resources`, which every statement that changes the status of an operation reads, and if it finds one
//! appends to `resource_deltas`. Once all statements see the mark, the operations are *counted*, and the deltas that
//! this count has seen are dropped, all in one statement and so from one snapshot: the deltas that stay are of changes
//! that it has not seen. From then on the deltas are folded with all others (see [`super::counters`]).
//!
//! A statement that took its snapshot before the mark was committed appends nothing, and may get its transaction's
//! number at any time later, so that numbers say nothing about it. The task waits for it as `CREATE INDEX CONCURRENTLY`
//! does, until no session of the database has a snapshot as old; and, since the snapshots of other users' sessions may
//! be hidden, for as long as a statement of ours may take. Servers from before this scheme append nothing either: while
//! there is one nothing is counted, and none can be started any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operations::{Access, Filter, Resource};
use sqlx::{AssertSqlSafe, Executor as _};
use tasks::{Health, Next, Schedule, run_periodic};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connections::Connections;
use super::list::Found;
use super::session;
use super::tx::Tx;
use crate::StoreError;

/// This many operations are many: counting fewer along the index takes about a fifth of a millisecond.
const MANY: u64 = 1_024;
/// The most resources that are known to be counted, and that are to be; beyond that all are forgotten, which costs a
/// slow read each.
const KNOWN: usize = 10_000;
/// The time between two checks whether those that are marked can be counted.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The time between two rounds when none is to be counted.
const ROUND: Duration = Duration::from_secs(60);

/// An organization, and what it calls a resource.
type Key = (String, Resource);

/// What a process knows about the resources that are counted.
#[derive(Clone, Debug)]
pub(super) struct Resources(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The keys that stand for those that are counted.
    counted: Mutex<HashMap<Key, Uuid>>,
    /// The resources that have many operations and are not counted.
    wanted: Mutex<BTreeSet<(String, String, String)>>,
    noticed: Notify,
}

/// The part of a data-modifying statement that appends deltas of resources: `rows` are those that change, with their
/// `resource_type`, `resource_id`, `seq`, `project_id` and `kind`; `counts` is how many are pending, running, completed
/// and failed from then on. An organization that counts no resource pays for one lookup. Served by the primary key of
/// counted_resources.
pub(super) fn deltas(rows: &str, counts: &str) -> String {
    format!(
        "INSERT INTO resource_deltas
            (organization_id, resource, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, r.resource, seq >> 12, project_id, kind, {counts}
        FROM {rows} AS o CROSS JOIN LATERAL (
            SELECT resource FROM counted_resources AS c WHERE c.organization_id = $1
                AND c.resource_type = o.resource_type AND c.resource_id = o.resource_id OFFSET 0) AS r
        WHERE o.resource_type <> '' AND EXISTS (SELECT FROM counted_resources WHERE organization_id = $1)
        GROUP BY 2, 3, 4, 5"
    )
}

impl Resources {
    /// Starts the task that counts; it ends when the store closes.
    pub(super) fn start(pool: Connections, health: &Health, closing: &CancellationToken) -> Resources {
        let inner = Arc::new(Inner::default());
        let (weak, health, closing) = (Arc::downgrade(&inner), health.clone(), closing.clone());
        let task = Arc::clone(&inner);
        tokio::spawn(async move {
            let schedule = Schedule::every("resource_counts", ROUND).woken_by(&task.noticed);
            run_periodic(&health, schedule, &closing, || async {
                let Some(inner) = weak.upgrade() else { return Ok(Next::Never) };
                let wanted = lock(&inner.wanted).clone();
                for key in wanted {
                    if mark_and_count(&pool, &key).await.map_err(StoreError::or_unavailable)? {
                        lock(&inner.wanted).remove(&key);
                    }
                }
                let is_done = lock(&inner.wanted).is_empty();
                Ok::<_, StoreError>(if is_done { Next::AfterPeriod } else { Next::After(LOOK_EVERY) })
            })
            .await;
        });
        Resources(inner)
    }

    /// The key of a filter's resource, if that is known to be counted.
    pub(super) fn key(&self, access: &Access, filter: &Filter) -> Option<Uuid> {
        let resource = filter.resource.clone()?;
        lock(&self.0.counted).get(&(access.organization.clone(), resource)).copied()
    }

    /// Notes what a read of a filter's operations has found about its resource, whose key was `known`.
    pub(super) fn note(&self, access: &Access, filter: &Filter, known: Option<Uuid>, found: &Found) {
        let Some(resource) = &filter.resource else { return };
        if known.is_some() && known == found.counted {
            return;
        }
        let mut counted = lock(&self.0.counted);
        if counted.len() >= KNOWN {
            counted.clear();
        }
        let key = (access.organization.clone(), resource.clone());
        if let Some(is) = found.counted {
            counted.insert(key, is);
            return;
        }
        counted.remove(&key);
        let (organization, Resource { resource_type, resource_id }) = key;
        let mut wanted = lock(&self.0.wanted);
        if found.total >= MANY && wanted.len() < KNOWN && wanted.insert((organization, resource_type, resource_id)) {
            self.0.noticed.notify_one();
        }
    }
}

/// Nothing that holds the lock can panic between two changes.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

const MARK: &str = "
    INSERT INTO counted_resources (organization_id, resource_type, resource_id)
    SELECT organization_id, $2, $3 FROM organizations WHERE organization_id = $1 AND deleted = 0
    ON CONFLICT DO NOTHING";

/// Whether the resource is marked, counted, and every statement sees its mark, $4 milliseconds after it was made and
/// with no server of the application name $5.
const STATE: &str = "
    SELECT is_counted, clock_timestamp() - marked_at > $4 * interval '1 millisecond' AND NOT EXISTS (
        SELECT FROM pg_stat_activity AS s WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND (s.application_name = $5 OR age(s.backend_xmin) >= age(c.xmin)))
    FROM counted_resources AS c WHERE organization_id = $1 AND resource_type = $2 AND resource_id = $3";

const COUNT: &str = "
    WITH op AS MATERIALIZED (
        SELECT seq, kind, project_id, status FROM active
        WHERE organization_id = $1 AND resource_type <> '' AND resource_type = $2 AND resource_id = $3
        UNION ALL
        SELECT seq, kind, project_id, status FROM settled
        WHERE organization_id = $1 AND resource_type <> '' AND resource_type = $2 AND resource_id = $3
    ), counted AS (
        INSERT INTO resource_counters
            (organization_id, resource, level, bucket, kind, project_id, pending, running, completed, failed)
        SELECT $1, $4, level, seq >> level, kind, p.id,
            count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
            count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)
        FROM op CROSS JOIN (VALUES (12), (16), (20)) AS l (level)
            CROSS JOIN LATERAL (SELECT '' UNION SELECT op.project_id) AS p (id)
        GROUP BY 3, 4, 5, 6
    ), seen AS (
        DELETE FROM resource_deltas WHERE organization_id = $1 AND resource = $4
            AND xid >= coalesce((SELECT folded_before FROM counter_folds WHERE organization_id = $1), '0')
    )
    UPDATE counted_resources SET is_counted = true
    WHERE organization_id = $1 AND resource_type = $2 AND resource_id = $3";

/// Marks a resource, or counts it when it is time; answers whether nothing is left to do.
async fn mark_and_count(pool: &Connections, key: &(String, String, String)) -> Result<bool, StoreError> {
    let (organization, resource_type, resource_id) = key;
    let limit = pool.limits().statement.as_millis();
    let state: Option<(bool, bool)> = sqlx::query_as(STATE)
        .bind(organization)
        .bind(resource_type)
        .bind(resource_id)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(session::APPLICATION_BEFORE)
        .fetch_optional(pool)
        .await?;
    match state {
        Some((true, _)) => return Ok(true),
        Some((false, false)) => return Ok(false),
        Some((false, true)) => {}
        None => {
            let mark = sqlx::query(MARK).bind(organization).bind(resource_type).bind(resource_id);
            // Without the organization there is nothing to count.
            return Ok(mark.execute(pool).await?.rows_affected() == 0);
        }
    }
    // It may take longer than a request may.
    let mut connection = session::unhurried(pool).await?;
    let mut tx = Tx::begun(&mut connection).await?;
    // Nothing is folded meanwhile; and the statement that counts sees whatever was folded before.
    let fold = "INSERT INTO counter_folds (organization_id, folded_before) VALUES ($1, '0') ON CONFLICT DO NOTHING";
    sqlx::query(fold).bind(organization).execute(&mut *tx).await?;
    let fold = "SELECT FROM counter_folds WHERE organization_id = $1 FOR UPDATE";
    sqlx::query(fold).bind(organization).execute(&mut *tx).await?;
    let mine = "SELECT resource FROM counted_resources
        WHERE organization_id = $1 AND resource_type = $2 AND resource_id = $3 AND NOT is_counted FOR UPDATE";
    let resource: Option<Uuid> = sqlx::query_scalar(mine)
        .bind(organization)
        .bind(resource_type)
        .bind(resource_id)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(resource) = resource {
        // Large ranges are read in the order of the table.
        tx.execute(AssertSqlSafe("SET LOCAL enable_bitmapscan = on")).await?;
        sqlx::query(COUNT)
            .bind(organization)
            .bind(resource_type)
            .bind(resource_id)
            .bind(resource)
            .execute(&mut *tx)
            .await?;
        tracing::info!(organization, resource_type, resource_id, "the operations of the resource are counted now");
    }
    tx.commit().await?;
    Ok(true)
}
