//! Counts as base and deltas: changes are appended in the transaction of the rows, and folded into the base from time
//! to time.
//!
//! A fold takes the deltas of all transactions below a horizon that no transaction under way can still write to
//! (`pg_snapshot_xmin`), adds them to the counters, and notes the horizon. Readers sum the base and the deltas from
//! that horizon on, in one snapshot, so that a count is exact before, during and after a fold.

use std::collections::BTreeMap;

use operations::page::{FINEST, bucket};
use operations::{Resource, Status};
use sqlx::postgres::PgConnection;

use super::connections::Connections;
use super::tx::Tx;
use crate::StoreError;

/// The properties of an operation by which it is counted.
pub(super) struct Counted<'c> {
    pub(super) seq: i64,
    pub(super) project_id: &'c str,
    pub(super) kind: &'c str,
    pub(super) resource: Option<&'c Resource>,
}

/// Deltas of resources only for those that are counted, as [`super::resources::deltas`]. Served by the primary key of
/// counted_resources.
const WRITE: &str = "
    WITH change AS MATERIALIZED (
        SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::int[], $9::text[],
            $10::text[]) AS c (bucket, project_id, kind, pending, running, completed, failed, resource_type, resource_id)
    ), counted_by_resource AS (
        INSERT INTO resource_deltas
            (organization_id, bucket, project_id, kind, pending, running, completed, failed, resource)
        SELECT $1, bucket, project_id, kind, pending, running, completed, failed, r.resource
        FROM change AS o CROSS JOIN LATERAL (
            SELECT resource FROM counted_resources AS c WHERE c.organization_id = $1
                AND c.resource_type = o.resource_type AND c.resource_id = o.resource_id OFFSET 0) AS r
        WHERE o.resource_type <> '' AND EXISTS (SELECT FROM counted_resources WHERE organization_id = $1)
    )
    INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
    SELECT $1, bucket, project_id, kind, sum(pending), sum(running), sum(completed), sum(failed) FROM change
    GROUP BY 2, 3, 4";

/// Signed changes of one organization: (finest bucket, project, kind, resource) → n for each status, in the order of
/// their numbers.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<(i64, String, String, Option<Resource>), [i32; 4]>);

impl Changes {
    /// Counts one operation more (`by` = 1) or fewer (−1) under `status`.
    pub(super) fn add(&mut self, of: &Counted<'_>, status: Status, by: i32) {
        let key = (bucket(of.seq, FINEST), of.project_id.to_owned(), of.kind.to_owned(), of.resource.cloned());
        self.0.entry(key).or_default()[usize::from(status.number() - 1)] += by;
    }

    /// Appends the changes.
    pub(super) async fn write(self, connection: &mut PgConnection, organization: &str) -> Result<(), StoreError> {
        let (mut buckets, mut projects, mut kinds, mut types, mut ids) = (vec![], vec![], vec![], vec![], vec![]);
        let mut ns: [Vec<i32>; 4] = Default::default();
        for ((bucket, project, kind, resource), by_status) in self.0 {
            if by_status != [0; 4] {
                buckets.push(bucket);
                projects.push(project);
                kinds.push(kind);
                let (resource_type, resource_id) =
                    resource.map(|resource| (resource.resource_type, resource.resource_id)).unwrap_or_default();
                types.push(resource_type);
                ids.push(resource_id);
                for (column, n) in ns.iter_mut().zip(by_status) {
                    column.push(n);
                }
            }
        }
        if buckets.is_empty() {
            return Ok(());
        }
        let [pending, running, completed, failed] = ns;
        sqlx::query(WRITE)
            .bind(organization)
            .bind(buckets)
            .bind(projects)
            .bind(kinds)
            .bind(pending)
            .bind(running)
            .bind(completed)
            .bind(failed)
            .bind(types)
            .bind(ids)
            .execute(connection)
            .await?;
        Ok(())
    }
}

const FOLD_BASE: &str = "
    INSERT INTO counters (organization_id, level, bucket, kind, pending, running, completed, failed)
    SELECT organization_id, l.level, bucket >> (l.level - 12), kind,
        sum(pending), sum(running), sum(completed), sum(failed)
    FROM counter_deltas, (VALUES (12), (16), (20)) l (level)
    WHERE organization_id = $1 AND xid >= $2::text::xid8 AND xid < $3::text::xid8
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (organization_id, level, bucket, kind) DO UPDATE SET
        pending = counters.pending + excluded.pending, running = counters.running + excluded.running,
        completed = counters.completed + excluded.completed, failed = counters.failed + excluded.failed";

const FOLD_PROJECTS: &str = "
    INSERT INTO project_counters (organization_id, project_id, level, bucket, kind, pending, running, completed, failed)
    SELECT organization_id, project_id, l.level, bucket >> (l.level - 12), kind,
        sum(pending), sum(running), sum(completed), sum(failed)
    FROM counter_deltas, (VALUES (12), (16), (20)) l (level)
    WHERE organization_id = $1 AND xid >= $2::text::xid8 AND xid < $3::text::xid8 AND project_id <> ''
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, project_id, level, bucket, kind) DO UPDATE SET
        pending = project_counters.pending + excluded.pending, running = project_counters.running + excluded.running,
        completed = project_counters.completed + excluded.completed, failed = project_counters.failed + excluded.failed";

/// For resources that are counted; the deltas of the others will be counted with their rows (see [`super::resources`]).
const FOLD_RESOURCES: &str = "
    INSERT INTO resource_counters
        (organization_id, resource, level, bucket, kind, project_id, pending, running, completed, failed)
    SELECT organization_id, resource, l.level, bucket >> (l.level - 12), kind, p.id,
        sum(pending), sum(running), sum(completed), sum(failed)
    FROM resource_deltas d CROSS JOIN (VALUES (12), (16), (20)) l (level)
        CROSS JOIN LATERAL (SELECT '' UNION SELECT d.project_id) AS p (id)
    WHERE organization_id = $1 AND xid >= $2::text::xid8 AND xid < $3::text::xid8
        AND resource IN (SELECT resource FROM counted_resources WHERE organization_id = $1 AND is_counted)
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 6, 3, 4, 5
    ON CONFLICT (organization_id, resource, project_id, level, bucket, kind) DO UPDATE SET
        pending = resource_counters.pending + excluded.pending, running = resource_counters.running + excluded.running,
        completed = resource_counters.completed + excluded.completed,
        failed = resource_counters.failed + excluded.failed";

/// Rows below $2 went with an earlier fold: dead rows that a snapshot keeps are not walked past.
const FORGET: &str = "
    WITH of_resources AS (
        DELETE FROM resource_deltas WHERE organization_id = $1 AND xid >= $2::text::xid8 AND xid < $3::text::xid8
    )
    DELETE FROM counter_deltas WHERE organization_id = $1 AND xid >= $2::text::xid8 AND xid < $3::text::xid8";

/// The SQL of a sum over the operations of an organization, $1 if none is named, such as of `pending`, perhaps of some
/// kinds only: base and deltas, which are to be read in one snapshot. Served by the counters' primary key and
/// counter_deltas_by_xid.
macro_rules! counted {
    (of $organization:literal, $sum:literal $(, $condition:literal)?) => {
        concat!(
            "(coalesce((SELECT sum(", $sum, ") FROM counters
                WHERE organization_id = ", $organization, " AND level = 20", $(" AND ", $condition,)? "), 0)
            + coalesce((SELECT sum(", $sum, ") FROM counter_deltas WHERE organization_id = ", $organization, "
                AND xid >= coalesce((
                    SELECT folded_before FROM counter_folds WHERE organization_id = ", $organization, "), '0')",
                $(" AND ", $condition,)? "), 0))::bigint"
        )
    };
    ($sum:literal $(, $condition:literal)?) => {
        counted!(of "$1", $sum $(, $condition)?)
    };
}
pub(super) use counted;

/// Folds the deltas of one organization; answers whether there were any.
pub(super) async fn fold(pool: &Connections, organization: &str) -> Result<bool, StoreError> {
    let fold = async {
        let mut connection = pool.acquire().await?;
        let is_folded = fold_on(&mut connection, organization).await?;
        connection.release();
        Ok(is_folded)
    };
    pool.within(fold).await
}

async fn fold_on(connection: &mut PgConnection, organization: &str) -> Result<bool, StoreError> {
    let mut transaction = Tx::durable_later(connection).await?;
    sqlx::query("INSERT INTO counter_folds (organization_id, folded_before) VALUES ($1, '0') ON CONFLICT DO NOTHING")
        .bind(organization)
        .execute(&mut *transaction)
        .await?;
    // One fold of an organization at a time; the horizon is taken under the lock, so that horizons only grow.
    let from: String =
        sqlx::query_scalar("SELECT folded_before::text FROM counter_folds WHERE organization_id = $1 FOR UPDATE")
            .bind(organization)
            .fetch_one(&mut *transaction)
            .await?;
    let horizon: String =
        sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetch_one(&mut *transaction).await?;
    let mut folded = 0;
    for statement in [FOLD_BASE, FOLD_PROJECTS, FOLD_RESOURCES] {
        let done =
            sqlx::query(statement).bind(organization).bind(&from).bind(&horizon).execute(&mut *transaction).await?;
        folded += done.rows_affected();
    }
    if folded == 0 {
        transaction.roll_back().await?;
        return Ok(false);
    }
    sqlx::query("UPDATE counter_folds SET folded_before = $2::text::xid8 WHERE organization_id = $1")
        .bind(organization)
        .bind(&horizon)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(FORGET).bind(organization).bind(&from).bind(&horizon).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Organizations that have deltas: a loose scan over the index, one seek each.
pub(super) async fn unfolded(pool: &Connections) -> Result<Vec<String>, StoreError> {
    let found = sqlx::query_scalar(
        "WITH RECURSIVE organization (id) AS (
             (SELECT organization_id FROM counter_deltas ORDER BY organization_id LIMIT 1)
             UNION ALL
             SELECT (SELECT organization_id FROM counter_deltas WHERE organization_id > organization.id
                 ORDER BY organization_id LIMIT 1)
             FROM organization WHERE organization.id IS NOT NULL
         )
         SELECT id FROM organization WHERE id IS NOT NULL",
    );
    Ok(found.fetch_all(pool).await?)
}

/// Resets horizons that were taken from another cluster's transaction numbers (a restored dump, a logical replica). A
/// dump holds either a delta or what it was folded into, so to sum from the beginning is right.
pub(super) async fn adopt(pool: &Connections) -> Result<(), sqlx::Error> {
    // A horizon is the oldest transaction of its time, and within one cluster that number only grows.
    sqlx::query("DELETE FROM counter_folds WHERE folded_before > pg_snapshot_xmin(pg_current_snapshot())")
        .execute(pool)
        .await?;
    Ok(())
}
