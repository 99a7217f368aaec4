//! Completions, which most attempts end with: all of a batch in one statement.

use std::collections::HashSet;
use std::sync::LazyLock;

use operations::{Event, Outcome, Projects, Refusal, Status};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{resources, rows};
use crate::{LeaseRef, StoreError};

/// Ends attempts that completed, all in one statement: those with the ids $2 that run under the fencing tokens $3 and
/// that the worker may touch, in the projects $6 and of no kind in $7. It does to each what [`State::apply`] says.
///
/// No two parts of it are joined: the planner does not know how many rows there are, and may compare all with all. Each
/// row is looked up once, with everything that is to be written about it. Served by active_by_id and the leases'
/// primary key.
const COMPLETE: &str = "
    WITH held AS MATERIALIZED (
        SELECT a.*, l.place AS lease_place, l.worker, e.output, e.finished_at
        FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[]) AS e (id, fence, output, finished_at)
            CROSS JOIN LATERAL (
                SELECT ctid AS place, * FROM active WHERE id = e.id AND organization_id = $1 AND fence = e.fence
                    AND concurrency_key IS NULL AND status = 2 AND ($6::text[] IS NULL OR project_id = ANY ($6)) AND kind <> ALL ($7::text[])
                FOR UPDATE) AS a
            LEFT JOIN LATERAL (
                SELECT ctid AS place, worker FROM leases WHERE organization_id = $1 AND seq = a.seq OFFSET 0) AS l ON true
    ), moved AS (
        DELETE FROM active WHERE ctid = ANY (ARRAY(SELECT place FROM held)) AND organization_id IS NOT DISTINCT FROM $1
        RETURNING 1
    ), released AS (
        DELETE FROM leases WHERE ctid = ANY (ARRAY(SELECT lease_place FROM held))
            AND organization_id IS NOT DISTINCT FROM $1
        RETURNING 1
    ), counted AS (
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, seq >> 12, project_id, kind, 0, -count(*), count(*), 0 FROM held GROUP BY 2, 3, 4
    ), counted_by_resource AS (
        {of_resources}
    ), logged AS (
        INSERT INTO changes (organization_id, at, status, ids)
        SELECT $1, max(finished_at), 3, array_agg(id) FROM held HAVING count(*) > 0
    ), kept AS (
        INSERT INTO settled (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
            project_version_id, created_at, started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms,
            retain_for_ms, purge_at, error_message, output, input, worker)
        SELECT organization_id, seq, id, kind, 3, resource_type, resource_id, project_id, project_version_id, created_at,
            started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms, retain_for_ms,
            finished_at + coalesce(retain_for_ms, $8), '', output, input, worker
        FROM held
    )
    -- A row that moves between the read and the deletion, since a caller asked it to stop or a heartbeat came,
    -- is not found at its place.
    SELECT id FROM held WHERE CASE
        WHEN (SELECT count(*) FROM moved) < (SELECT count(*) FROM held) THEN overtaken()
        WHEN (SELECT count(*) FROM released) < (SELECT count(*) FROM held) THEN overtaken()
        ELSE true END";

/// Whether [`complete`] can carry the events out: completions of different operations by workers that may touch the
/// same operations.
pub(super) fn is_plain(events: &[&(LeaseRef, Event)]) -> bool {
    let mut ids = HashSet::with_capacity(events.len());
    let scope = events.first().and_then(|(lease, _)| lease.scope.as_ref());
    events.iter().all(|(lease, event)| {
        let completed = matches!(event, Event::Settle { outcome: Outcome::Completed { .. }, .. });
        let reached = lease.scope.as_ref().is_none_or(|scope| scope.organizations.include(&lease.organization));
        completed && reached && lease.scope.as_ref() == scope && ids.insert(lease.id)
    })
}

/// What [`apply`](super::transition::apply) does to plain events ([`is_plain`]), by one statement. When an operation
/// changes while the statement waits for it (a caller asks it to stop), the whole is tried again; an operation that is
/// gone is refused as stale, and so is one that has a concurrency key: [`apply`](super::transition::apply) has the last
/// word on a refusal.
pub(super) async fn complete(
    connection: &mut PgConnection,
    organization: &str,
    retain_for_ms: Option<i64>,
    events: &[&(LeaseRef, Event)],
) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
    // By id, which is by age: two transactions that end the same operations lock them in the same order.
    let mut rows = Vec::with_capacity(events.len());
    for (lease, event) in events {
        let Event::Settle { fence, at, outcome: Outcome::Completed { output }, .. } = event else { continue };
        rows.push((rows::uuid(&lease.id), fence.cast_signed(), rows::text_in(output.clone()), at.as_millis()));
    }
    rows.sort_unstable();
    let (mut ids, mut fences, mut outputs, mut finished_ats) = (vec![], vec![], vec![], vec![]);
    for (id, fence, output, finished_at) in rows {
        ids.push(id);
        fences.push(fence);
        outputs.push(output);
        finished_ats.push(finished_at);
    }
    let scope = events.first().and_then(|(lease, _)| lease.scope.as_deref());
    let projects: Option<Vec<&str>> = scope.and_then(|scope| match &scope.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().map(String::as_str).collect()),
    });
    let except_kinds: &[String] = scope.map_or(&[], |scope| &scope.except_kinds);
    static SQL: LazyLock<String> =
        LazyLock::new(|| COMPLETE.replace("{of_resources}", &resources::deltas("held", "0, -count(*), count(*), 0")));
    let ended: HashSet<Uuid> = sqlx::query_scalar(AssertSqlSafe(SQL.as_str()))
        .bind(organization)
        .bind(ids)
        .bind(fences)
        .bind(outputs)
        .bind(finished_ats)
        .bind(projects)
        .bind(except_kinds)
        .bind(retain_for_ms)
        .fetch_all(connection)
        .await?
        .into_iter()
        .collect();
    let result = |lease: &LeaseRef| {
        if ended.contains(&rows::uuid(&lease.id)) { Ok(Status::Completed) } else { Err(Refusal::StaleLease) }
    };
    Ok(events.iter().map(|(lease, _)| result(lease)).collect())
}
