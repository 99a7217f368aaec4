//! Claiming: one organization after the other; then priority, then age. And leases that ran out.
//!
//! A claim is one statement. It does to each row what [`State::apply`] says of a claim, and its answer is checked
//! against that.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use operations::{Event, Operation, Progress, Projects, State, Status, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row};

use super::concurrency::{self, lock_number};
use super::connections::Connections;
use super::counters::counted;
use super::heads::{Begin, Heads};
use super::unanswered::Claims;
use super::{resources, rows};
use crate::quota::Quotas;
use crate::{AttemptTimeouts, ClaimRequest, Claimed, LeaseRef, Lost, LostLease, Overrun, StoreError};

/// Makes operations that have become due after $3 and until $2 claimable, except those with a concurrency key; rows
/// that another server is working on are left to it. Served by queue_due and the primary key of concurrency_slots.
const PROMOTE: &str = "
    UPDATE queue SET due_at = NULL WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM queue WHERE organization_id = $1 AND due_at > $3 AND due_at <= $2 AND due_at IS NOT NULL
            AND (SELECT 1 FROM concurrency_slots s WHERE s.organization_id = $1 AND s.seq = queue.seq LIMIT 1) IS NULL
        ORDER BY due_at, seq LIMIT 1000 FOR UPDATE SKIP LOCKED)) AND organization_id IS NOT DISTINCT FROM $1
    RETURNING kind, -priority, seq";

/// Takes the first in the queue of the kinds $2 that are not paused, at most $3 ({projects} alone), starts their
/// attempts at $4, and leases each to one of the workers $5, until its time in $6: $7 says for each place which one of
/// them. The queue of each kind is looked at from the places on that $8, $9 and $10 give (see [`super::heads`]). Rows
/// that another server is claiming are passed over. Served by queue_in_order, queue_ready and active_by_kind, once per
/// row. Rows of active are found by comparing all three columns of that index at once, which no other index serves:
/// when active had one row or none at the time of its statistics, the planner cannot tell its indexes apart, and could
/// read all of another one for each row. The last column is when more becomes due, after $11. The leases get the number
/// $12 (see [`super::unanswered`]).
///
/// The transaction that holds a row of the queue may start its operation, so that the operation is not locked before it
/// is written. No two parts are joined: see [`COMPLETE`](super::complete).
const CLAIM: &str = "
    WITH open AS MATERIALIZED (
        SELECT * FROM unnest($2::text[], $8::smallint[], $9::bigint[], $10::bigint[]) AS u (kind, rank, seq, floor)
        WHERE NOT EXISTS (
            SELECT FROM pauses WHERE organization_id = ANY (ARRAY['', $1::text]) AND kind = ANY (ARRAY['', u.kind]))
    ), candidate AS MATERIALIZED (
        SELECT first.*, row_number() OVER (ORDER BY rank, seq) AS place FROM ({begin_of_limited}
            SELECT c.*, k.kind, true AS in_order FROM open AS k CROSS JOIN LATERAL (
                SELECT q.ctid AS at, 0::smallint AS rank, q.seq FROM queue q
                WHERE q.organization_id = $1 AND q.kind = k.kind AND q.in_order AND q.seq >= k.floor{projects}
                ORDER BY q.seq LIMIT $3 FOR UPDATE SKIP LOCKED) AS c
            UNION ALL
            SELECT c.*, k.kind, false FROM open AS k CROSS JOIN LATERAL (
                SELECT q.ctid AS at, -q.priority AS rank, q.seq FROM queue q
                WHERE q.organization_id = $1 AND q.kind = k.kind AND q.due_at IS NULL AND NOT q.in_order
                    AND (-q.priority, q.seq) >= (k.rank, k.seq){projects}
                ORDER BY -q.priority, q.seq LIMIT $3 FOR UPDATE SKIP LOCKED) AS c{end_of_limited}
            ORDER BY rank, seq LIMIT $3) AS first
    ), picked AS MATERIALIZED (
        SELECT candidate.place, candidate.in_order, ($7::int[])[candidate.place] AS worker, a.* FROM candidate CROSS JOIN LATERAL (
            SELECT ctid AS at, {columns}, a.priority, a.attempts + 1 AS attempts, a.max_attempts,
                a.fence + 1 AS fence, a.cancel_requested, a.timeout_ms, a.input
            FROM active a WHERE (kind, organization_id, seq) >= (candidate.kind, $1, candidate.seq)
                AND (kind, organization_id, seq) <= (candidate.kind, $1, candidate.seq) LIMIT 1) AS a
    ), taken AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(SELECT at FROM candidate)) AND organization_id IS NOT DISTINCT FROM $1
    ), started AS (
        UPDATE active SET status = 2, due_at = NULL, started_at = $4, attempts = attempts + 1, fence = fence + 1
        WHERE ctid = ANY (ARRAY(SELECT at FROM picked)) AND organization_id IS NOT DISTINCT FROM $1
        RETURNING 1
    ), leased AS (
        INSERT INTO leases (organization_id, seq, fence, worker, expires_at, claim)
        SELECT $1, seq, fence, ($5::text[])[worker], ($6::bigint[])[worker], $12 FROM picked
    ), counted AS (
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, seq >> 12, project_id, kind, -count(*), count(*), 0, 0 FROM picked GROUP BY 2, 3, 4
    ), counted_by_resource AS (
        {of_resources}
    ), logged AS (
        INSERT INTO changes (organization_id, at, status, ids)
        SELECT $1, $4, 2, array_agg(id) FROM picked HAVING count(*) > 0
    )
    SELECT a.*, '' AS output, (SELECT min(due_at) FROM queue
        WHERE organization_id = $1 AND due_at > $11 AND due_at IS NOT NULL) AS next_due
    FROM (SELECT 1) AS one LEFT JOIN picked AS a ON true
    WHERE CASE WHEN (SELECT count(*) FROM started) < (SELECT count(*) FROM picked) THEN overtaken() ELSE true END";

/// [`rows::ACTIVE_COLUMNS`] of an operation that starts at $4.
const STARTED_COLUMNS: &str = "a.seq, a.id, a.kind, 2::smallint AS status, a.resource_type, a.resource_id, a.project_id, \
    a.project_version_id, a.created_at, $4::bigint AS started_at, NULL::bigint AS finished_at, '' AS error_message";

/// No more of the kinds {kinds} than {capacities}, one number each.
const LIMITED: [(&str, &str); 2] = [
    (
        "{begin_of_limited}",
        "
            SELECT at, rank, seq, kind, in_order FROM (
            SELECT u.*, row_number() OVER (PARTITION BY kind ORDER BY rank, seq) AS nth FROM (",
    ),
    (
        "{end_of_limited}",
        ") AS u) AS counted WHERE nth <= coalesce((
                SELECT capacity FROM unnest({kinds}::text[], {capacities}::bigint[]) AS l (kind, capacity)
                WHERE l.kind = counted.kind), nth)",
    ),
];

/// How many operations of each of the kinds $2 run.
pub(super) const RUNNING: &str =
    concat!("SELECT k.kind, ", counted!("running", "kind = k.kind"), " FROM unnest($2::text[]) AS k (kind)");

/// Walks past the operations of other projects in the queue, unless these projects have nothing at all. Served by
/// active_by_project.
const OF_PROJECTS: &str = "
    AND EXISTS (SELECT FROM unnest($13::text[]) AS p (project_id) CROSS JOIN LATERAL (
        SELECT FROM active a WHERE a.project_id = p.project_id AND a.organization_id = $1 AND a.project_id <> ''
            AND a.status = 1 AND a.kind = k.kind LIMIT 1) AS other)
    AND EXISTS (SELECT FROM active a
        WHERE a.organization_id = $1 AND a.kind = k.kind AND a.seq = q.seq AND a.project_id = ANY ($13))";

/// What several workers are given.
pub(super) struct Answers<'a> {
    /// The claimed operations by request.
    pub(super) claimed: Vec<Vec<Claimed>>,
    /// The numbers of the statements that claim.
    pub(super) claims: &'a mut Claims,
}

/// Claims for several workers of one organization, into their `answers`. Workers that can run the same operations are
/// served together, one after the other from the queue. After an error `answers` has what was claimed before it, which
/// stands unless there is a transaction around all of this.
pub(super) async fn claim(
    connection: &mut PgConnection,
    now: Timestamp,
    heads: &Heads,
    quotas: &Quotas,
    organization: &str,
    requests: &[&ClaimRequest],
    answers: &mut Answers<'_>,
) -> Result<(), StoreError> {
    for ((projects, kinds), indexes) in alike(requests) {
        // The request that each place in the queue belongs to.
        let mut places: Vec<usize> =
            indexes.iter().flat_map(|index| std::iter::repeat_n(*index, requests[*index].limit as usize)).collect();
        let limited = quotas.running.of_kinds(organization, kinds);
        let batch = Batch { now, heads, organization, projects, requests, limited };
        let begin = heads.begin(connection, organization, kinds).await?;
        let next_due = batch.take(connection, begin.clone(), &mut places, answers).await?;
        // Something may have come in before the place where the claim began.
        if !places.is_empty() && heads.look_again(connection, organization, kinds).await? {
            let begin = heads.begin(connection, organization, kinds).await?;
            batch.take(connection, begin, &mut places, answers).await?;
        }
        if next_due.is_some_and(|due| due <= now) {
            let promote = sqlx::query_as(PROMOTE).bind(organization).bind(now.as_millis()).bind(begin.due);
            let promoted: Vec<(String, i16, i64)> = promote.fetch_all(&mut *connection).await?;
            heads.came(organization, &promoted);
            concurrency::promote(connection, heads, organization, now.as_millis(), begin.due).await?;
            if !places.is_empty() {
                let begin = heads.begin(connection, organization, kinds).await?;
                batch.take(connection, begin, &mut places, answers).await?;
            }
        }
    }
    Ok(())
}

/// The indexes of the requests that may get the same operations: of the same projects and kinds.
fn alike<'r>(requests: &[&'r ClaimRequest]) -> BTreeMap<(&'r Projects, &'r [String]), Vec<usize>> {
    let mut groups: BTreeMap<(&Projects, &[String]), Vec<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        groups.entry((request.projects(), &request.kinds)).or_default().push(index);
    }
    groups
}

/// Requests for the same operations of one organization.
struct Batch<'b> {
    now: Timestamp,
    heads: &'b Heads,
    organization: &'b str,
    projects: &'b Projects,
    requests: &'b [&'b ClaimRequest],
    /// Kinds of which only a limited number may run.
    limited: Vec<(&'b str, u32)>,
}

/// How many more may start, as columns by kind.
#[derive(Default)]
struct Capacities {
    kinds: Vec<String>,
    of_kinds: Vec<i64>,
}

impl Batch<'_> {
    /// [`Batch::start`] for no more operations than may run.
    async fn take(
        &self,
        connection: &mut PgConnection,
        begin: Begin,
        places: &mut Vec<usize>,
        answers: &mut Answers<'_>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let sent = answers.claims.sent();
        let taken = if self.limited.is_empty() {
            self.start(connection, begin, &Capacities::default(), places, answers).await
        } else {
            let before: Vec<usize> = answers.claimed.iter().map(Vec::len).collect();
            let taken = self.take_limited(connection, begin, places, answers).await;
            if taken.is_err() {
                // The transaction is rolled back, or nobody knows whether it was committed.
                answers.claimed.iter_mut().zip(before).for_each(|(answer, length)| answer.truncate(length));
            }
            taken
        };
        if taken.is_ok() {
            answers.claims.answered(sent);
        }
        taken
    }

    /// The same for kinds that are limited. Their running operations are counted under a lock that every transaction
    /// that starts some of them takes, and holds until it is committed: counting and starting are a transaction by
    /// themselves.
    async fn take_limited(
        &self,
        connection: &mut PgConnection,
        begin: Begin,
        places: &mut Vec<usize>,
        answers: &mut Answers<'_>,
    ) -> Result<Option<Timestamp>, StoreError> {
        // A connection on which this breaks off is not used again.
        connection.execute("BEGIN").await?;
        let locks = self.limited.iter().map(|(kind, _)| lock_number("limit of a kind", self.organization, kind));
        concurrency::lock(connection, locks).await?;
        let kinds: Vec<&str> = self.limited.iter().map(|(kind, _)| *kind).collect();
        let running: Vec<(String, i64)> =
            sqlx::query_as(RUNNING).bind(self.organization).bind(kinds).fetch_all(&mut *connection).await?;
        let mut capacities = Capacities::default();
        let of_kind = |answers: &Answers<'_>, kind: &str| {
            answers.claimed.iter().flatten().filter(|claimed| claimed.operation.kind == kind).count()
        };
        let before: BTreeMap<String, usize> =
            running.iter().map(|(kind, _)| (kind.clone(), of_kind(answers, kind))).collect();
        for (kind, running) in running {
            let most = self.limited.iter().find(|(limited, _)| *limited == kind).map_or(0, |(_, most)| *most);
            let capacity = (i64::from(most) - running).max(0);
            capacities.kinds.push(kind);
            capacities.of_kinds.push(capacity);
        }
        let next_due = self.start(connection, begin, &capacities, places, answers).await?;
        connection.execute("COMMIT").await?;
        for (kind, capacity) in capacities.kinds.iter().zip(capacities.of_kinds) {
            let started = of_kind(answers, kind) - before.get(kind).copied().unwrap_or(0);
            self.heads.note_full(self.organization, kind, i64::try_from(started).unwrap_or(i64::MAX) >= capacity);
        }
        Ok(next_due)
    }

    /// Starts an attempt of each of the first operations in the queue, from where its kinds `begin`, for the request at
    /// its place, and leaves in `places` those that are still free. Answers when more becomes due.
    async fn start(
        &self,
        connection: &mut PgConnection,
        begin: Begin,
        capacities: &Capacities,
        places: &mut Vec<usize>,
        answers: &mut Answers<'_>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (mut workers, mut expiries) = (Vec::new(), Vec::new());
        for request in self.requests {
            workers.push(request.worker.as_str());
            expiries.push(self.now.after(request.lease).as_millis());
        }
        // Counted from 1, as PostgreSQL does.
        let whose: Vec<i32> = places.iter().map(|index| i32::try_from(index + 1).unwrap_or(i32::MAX)).collect();
        /// For all projects and for some, each without and with kinds that are limited.
        static OF: LazyLock<[[String; 2]; 2]> = LazyLock::new(|| {
            let of_resources = resources::deltas("picked", "-count(*), count(*), 0, 0");
            let sql = CLAIM.replace("{columns}", STARTED_COLUMNS).replace("{of_resources}", &of_resources);
            [("", "$13", "$14"), (OF_PROJECTS, "$14", "$15")].map(|(projects, kinds, capacities)| {
                let sql = sql.replace("{projects}", projects);
                [false, true].map(|is_limited| {
                    let with = |sql: String, (part, text): &(&str, &str)| {
                        sql.replace(part, if is_limited { text } else { "" })
                    };
                    LIMITED.iter().fold(sql.clone(), with).replace("{kinds}", kinds).replace("{capacities}", capacities)
                })
            })
        });
        let is_limited = !capacities.kinds.is_empty();
        let sql = OF[usize::from(!matches!(self.projects, Projects::All))][usize::from(is_limited)].as_str();
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(self.organization)
            .bind(begin.kinds)
            .bind(i64::try_from(places.len()).unwrap_or(i64::MAX))
            .bind(self.now.as_millis())
            .bind(workers)
            .bind(expiries)
            .bind(whose)
            .bind(begin.ranks)
            .bind(begin.seqs)
            .bind(begin.floors)
            .bind(begin.due)
            .bind(answers.claims.send());
        if let Projects::Only(projects) = self.projects {
            query = query.bind(projects.iter().map(String::as_str).collect::<Vec<_>>());
        }
        if is_limited {
            query = query.bind(&capacities.kinds).bind(&capacities.of_kinds);
        }
        let asked = Instant::now();
        let found = query.fetch_all(connection).await?;
        let cost = asked.elapsed();
        let mut next_due = None;
        let mut placed = Vec::with_capacity(found.len());
        for row in &found {
            next_due = rows::time(row, "next_due")?;
            if let Some(place) = row.try_get::<Option<i64>, _>("place")? {
                placed.push((place, row));
            }
        }
        placed.sort_unstable_by_key(|(place, _)| *place);
        let mut taken = Vec::with_capacity(placed.len());
        for (place, row) in &placed {
            let index = usize::try_from(place - 1).ok().and_then(|place| places.get(place)).copied();
            let index = index
                .ok_or_else(|| StoreError::Unusable("a claim gave more operations than were requested".to_owned()))?;
            let expires_at = self.now.after(self.requests[index].lease);
            answers.claimed[index].push(self.claimed(row, expires_at)?);
            let rank = -row.try_get::<i16, _>("priority")?;
            taken.push((row.try_get::<&str, _>("kind")?, (rank, row.try_get("seq")?), row.try_get("in_order")?));
        }
        let until = placed.last().and_then(|(place, _)| usize::try_from(*place).ok());
        places.drain(..until.unwrap_or(0));
        self.heads.took(self.organization, taken.into_iter());
        self.heads.due(self.organization, self.now, begin.due, next_due, cost);
        Ok(next_due)
    }

    fn claimed(&self, row: &PgRow, lease_expires_at: Timestamp) -> Result<Claimed, StoreError> {
        let operation = rows::operation(row)?;
        let state = rows::active_state(row)?;
        let Progress { attempts, max_attempts, fence } = state.progress();
        debug_assert_eq!(
            Ok(&state),
            State::Pending {
                progress: Progress { attempts: attempts - 1, max_attempts, fence: fence - 1 },
                started_at: None,
                due_at: None
            }
            .apply(Event::Claim { at: self.now })
            .as_ref(),
            "the statement does what the transition function says"
        );
        let State::Running { cancel_requested, .. } = state else {
            return Err(StoreError::Unusable("an operation that was claimed is not running".to_owned()));
        };
        Ok(Claimed {
            lease: LeaseRef {
                organization: self.organization.to_owned(),
                id: operation.id,
                fence,
                expired_at: None,
                scope: None,
            },
            operation: Operation { status: Status::Running, ..operation },
            input: row.try_get("input")?,
            attempt: attempts,
            timeout: timeout(row)?,
            lease_expires_at,
            cancel_requested,
        })
    }
}

fn timeout(row: &PgRow) -> Result<Option<Duration>, StoreError> {
    let millis: Option<i64> = row.try_get("timeout_ms")?;
    Ok(millis.map(|millis| Duration::from_millis(millis.unsigned_abs())))
}

/// Where $1 is true, the leases that no token holds. The table has only what runs now, so that it is read whole: an
/// index on expiry would make every heartbeat more expensive. Operations are looked up by active's primary key, once per
/// lease: a join would read all operations when the planner takes leases for many, as after the end of a long queue.
///
/// One of each organization comes before a second one of any, so that those of an organization that is locked do not
/// fill every round.
const LOST: &str = "
    SELECT l.organization_id, l.fence, a.id, a.kind, a.attempts, l.expires_at
    FROM (
        SELECT *, row_number() OVER (PARTITION BY organization_id ORDER BY expires_at) AS place FROM leases l
        WHERE CASE WHEN $1 THEN NOT EXISTS (SELECT FROM tokens WHERE id = l.worker) ELSE l.expires_at <= $2 END
            AND NOT EXISTS (SELECT FROM organizations_elsewhere e WHERE e.organization_id = l.organization_id)
        ORDER BY place LIMIT $3) AS l CROSS JOIN LATERAL (
        SELECT id, kind, attempts FROM active WHERE organization_id = l.organization_id AND seq = l.seq OFFSET 0) AS a";

pub(super) async fn lost_leases(
    pool: &Connections,
    which: Lost,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<LostLease>, StoreError> {
    let found = sqlx::query(LOST)
        .bind(which == Lost::Local)
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    found
        .iter()
        .map(|row| {
            let mut lost = rows::lost_lease(row)?;
            if which == Lost::Expired {
                lost.lease.expired_at = rows::time(row, "expires_at")?;
            }
            Ok(lost)
        })
        .collect()
}

/// Attempts of remote workers, whose leases are held by a token, that began longer ago than they may take. The table
/// has only what runs now, so that it is read whole. Served by active's primary key and the tokens' by id, once per
/// lease. One of each organization comes before a second one of any, as in [`LOST`].
const OVERRUNS: &str = "
    SELECT l.organization_id, l.fence, a.id, a.kind, a.attempts, t.timeout
    FROM leases l CROSS JOIN LATERAL (
            SELECT id, kind, attempts, timeout_ms, started_at FROM active
            WHERE organization_id = l.organization_id AND seq = l.seq OFFSET 0) AS a
        CROSS JOIN LATERAL (SELECT coalesce(a.timeout_ms,
            (SELECT k.timeout FROM unnest($1::text[], $2::bigint[]) AS k (kind, timeout) WHERE k.kind = a.kind),
            $3) AS timeout) AS t
    WHERE a.started_at < $4 - t.timeout AND EXISTS (SELECT FROM tokens WHERE id = l.worker)
        AND NOT EXISTS (SELECT FROM organizations_elsewhere e WHERE e.organization_id = l.organization_id)
    ORDER BY row_number() OVER (PARTITION BY l.organization_id ORDER BY a.started_at) LIMIT $5";

pub(super) async fn overruns(
    pool: &Connections,
    now: Timestamp,
    timeouts: &AttemptTimeouts,
    limit: u32,
) -> Result<Vec<Overrun>, StoreError> {
    let (kinds, of_kinds) = timeouts.by_kind();
    let found = sqlx::query(OVERRUNS)
        .bind(kinds)
        .bind(of_kinds)
        .bind(timeouts.otherwise_millis())
        .bind(now.before(timeouts.grace).as_millis())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    found
        .iter()
        .map(|row| {
            let LostLease { lease, kind, attempts } = rows::lost_lease(row)?;
            let timeout = Duration::from_millis(row.try_get::<i64, _>("timeout")?.unsigned_abs());
            Ok(Overrun { lease, kind, attempts, timeout })
        })
        .collect()
}
