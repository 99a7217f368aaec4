//! Claiming: organizations in round-robin order, then by priority, then by age. And leases that ran out.

use operations::{Event, Operation, Progress, Projects, State, Status, Timestamp};
use rusqlite::{Connection, ToSql};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

use super::changes::NewLog;
use super::concurrency::Keys;
use super::counters::{Changes, Counted};
use super::resources::Resources;
use super::statement::query;
use super::{read, rows};
use crate::quota::{Quotas, RunningLimits};
use crate::rotation::{Rotation, Rotations, deal, shares};
use crate::{AttemptTimeouts, ClaimRequest, Claimed, LeaseRef, Lost, LostLease, Organizations, Overrun, StoreError};

/// Makes operations claimable that have become due, or lets them wait for a place of their concurrency key: those that
/// are due longest first, at most ?2, so that nothing else waits for long when many become due at one time. Served by
/// active_due.
const PROMOTE: &str = "
    UPDATE active SET due_at = NULL, waits = concurrency_key IS NOT NULL WHERE rowid IN (
        SELECT rowid FROM active INDEXED BY active_due WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2 + 0)
    RETURNING organization_id, concurrency_key";

/// This many become claimable in one transaction.
const PROMOTED: usize = 1_000;

/// Organizations after ?1, of ?4 if that is given, that have something to claim of the kinds ?2 that is not paused: a
/// loose scan over active_ready, one seek each.
const WAITING: &str = "
    WITH RECURSIVE organization (id) AS (
        SELECT min(organization_id) FROM active INDEXED BY active_ready
            WHERE status = 1 AND due_at IS NULL AND waits = 0 AND organization_id > ?1
        UNION ALL
        SELECT (SELECT min(organization_id) FROM active INDEXED BY active_ready
            WHERE status = 1 AND due_at IS NULL AND waits = 0 AND organization_id > organization.id)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT id FROM organization
    WHERE id IS NOT NULL AND (?4 IS NULL OR id IN (SELECT value FROM json_each(?4))) AND EXISTS (
        SELECT 1 FROM json_each(?2) k CROSS JOIN active a INDEXED BY active_ready
        WHERE a.organization_id = organization.id AND a.kind = k.value AND a.status = 1 AND a.due_at IS NULL AND a.waits = 0
            AND NOT EXISTS (SELECT 1 FROM pauses p
                WHERE p.organization_id IN ('', organization.id) AND p.kind IN ('', k.value)){not_full})
    LIMIT ?3 + 0";

/// The further condition that fewer run than may: ?5 is a list of organization, or '' for all, kind and number. Served
/// by the counters' primary key.
const NOT_FULL: &str = "
            AND coalesce((SELECT j.value ->> 2 FROM json_each(?5) j
                    WHERE j.value ->> 0 IN ('', organization.id) AND j.value ->> 1 = k.value
                    ORDER BY j.value ->> 0 = '' LIMIT 1), 0) NOT BETWEEN 1 AND (
                SELECT coalesce(sum(running), 0) FROM counters c
                WHERE c.organization_id = organization.id AND c.level = 20 AND c.kind = k.value)";

/// How many run of a kind. Served by the counters' primary key.
const RUNNING: &str =
    "SELECT coalesce(sum(running), 0) FROM counters WHERE organization_id = ?1 AND level = 20 AND kind = ?2";

/// The first in the queue of one organization and kind, unless these are paused. Served by active_ready.
const FIRST_IN_QUEUE: &str = "
    SELECT a.rowid, a.seq, a.priority FROM active a INDEXED BY active_ready
    WHERE a.organization_id = ?1 AND a.kind = ?2 AND a.status = 1 AND a.due_at IS NULL AND a.waits = 0
        AND NOT EXISTS (SELECT 1 FROM pauses WHERE organization_id IN ('', ?1) AND kind IN ('', ?2))
    ORDER BY a.priority DESC, a.seq LIMIT ?3 + 0";

/// The same for the projects ?4 alone; walks past what other projects have in the queue, unless the projects ?4 have
/// nothing at all. Served by active_ready and active_by_project.
const FIRST_IN_QUEUE_OF_PROJECTS: &str = "
    SELECT a.rowid, a.seq, a.priority FROM active a INDEXED BY active_ready
    WHERE a.organization_id = ?1 AND a.kind = ?2 AND a.status = 1 AND a.due_at IS NULL AND a.waits = 0
        AND NOT EXISTS (SELECT 1 FROM pauses WHERE organization_id IN ('', ?1) AND kind IN ('', ?2))
        AND a.project_id IN (SELECT value FROM json_each(?4))
        AND EXISTS (SELECT 1 FROM json_each(?4) p CROSS JOIN active INDEXED BY active_by_project
            WHERE organization_id = ?1 AND project_id = p.value AND project_id <> '' AND status = 1 AND kind = ?2)
    ORDER BY a.priority DESC, a.seq LIMIT ?3 + 0";

const START: &str = "
    UPDATE active SET status = 2, due_at = NULL, started_at = ?2, attempts = ?3, fence = ?4 WHERE rowid = ?1";

pub(super) const LEASE: &str = "
    INSERT INTO leases (organization_id, seq, fence, worker, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)";

/// The key of requests that may get the same operations: organization, projects, kinds; and the worker, if it claims
/// for several organizations.
type Alike<'r> = (Option<&'r str>, &'r Projects, &'r [String], Option<(&'r str, &'r Organizations)>);

/// Claims for several workers; answers them in their order, and whether more may be due, which the next claim makes
/// claimable. Workers that may get the same operations are served together, one after the other from the queue.
pub(super) fn claim(
    connection: &Connection,
    now: Timestamp,
    quotas: &Quotas,
    rotations: &mut Rotations,
    resources: &Resources,
    requests: &[&ClaimRequest],
) -> Result<(Vec<Vec<Claimed>>, bool), StoreError> {
    let is_more_due = promote(connection, now)?;
    let mut groups: BTreeMap<Alike, Vec<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        let among = request.among.as_ref().map(|among| (request.worker.as_str(), among));
        groups.entry((request.organization(), request.projects(), &request.kinds, among)).or_default().push(index);
    }
    let mut answers: Vec<Vec<Claimed>> = requests.iter().map(|_| Vec::new()).collect();
    for ((organization, projects, kinds, _), indexes) in groups {
        let limit: u32 = indexes.iter().map(|index| requests[*index].limit).fold(0, u32::saturating_add);
        let rows = match organization {
            Some(organization) => of_one(connection, quotas, organization, projects, kinds, limit)?,
            None => {
                let request = requests[indexes[0]];
                in_rotation(connection, quotas, rotations.of(request), request, limit)?
            }
        };
        // The request to which each place in the queue belongs.
        let places = indexes.iter().flat_map(|index| std::iter::repeat_n(*index, requests[*index].limit as usize));
        let chosen: Vec<Chosen> = rows
            .into_iter()
            .zip(places)
            .map(|((organization, row), index)| Chosen { organization, row, index })
            .collect();
        start(connection, now, resources, requests, &chosen, &mut answers)?;
    }
    Ok((answers, is_more_due))
}

/// Answers whether more may be due.
fn promote(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let (mut keys, mut count) = (Keys::default(), 0);
    let mut promote = connection.prepare_cached(PROMOTE)?;
    let mut promoted = promote.query((now.as_millis(), PROMOTED as i64))?;
    while let Some(row) = promoted.next()? {
        count += 1;
        if let Some(key) = row.get::<_, Option<String>>(1)? {
            keys.touch(row.get(0)?, key);
        }
    }
    keys.admit(connection)?;
    Ok(count >= PROMOTED)
}

/// A row that will be started, and the place of the request that gets it.
struct Chosen {
    organization: String,
    row: i64,
    index: usize,
}

/// Up to `limit` rows of one organization that are next.
fn of_one(
    connection: &Connection,
    quotas: &Quotas,
    organization: &str,
    projects: &Projects,
    kinds: &[String],
    limit: u32,
) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = queued(connection, quotas, organization, projects, kinds, limit)?;
    Ok(rows.into_iter().map(|row| (organization.to_owned(), row)).collect())
}

/// Up to `limit` rows that are next over the organizations of a request, each with its organization.
fn in_rotation(
    connection: &Connection,
    quotas: &Quotas,
    rotation: &mut Rotation,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<(String, i64)>, StoreError> {
    let (mut chosen, kinds) = (Vec::new(), request.kinds.as_slice());
    let asked = rotation.left.min(limit);
    if asked > 0 && request.reaches(&rotation.last) {
        chosen = of_one(connection, quotas, &rotation.last, &Projects::All, kinds, asked)?;
        rotation.went_on(asked, chosen.len());
    }
    let left = limit.saturating_sub(u32::try_from(chosen.len()).unwrap_or(u32::MAX));
    if left == 0 {
        return Ok(chosen);
    }
    let organizations = waiting(connection, quotas, rotation, request, left)?;
    let weights: Vec<u32> = organizations.iter().map(|organization| quotas.of(organization).weight).collect();
    let parts = deal(&weights, left);
    let mut queues = Vec::with_capacity(organizations.len());
    for (organization, share) in organizations.iter().zip(shares(&parts, organizations.len())) {
        // Operations that were taken above are chosen, not started: they are still in the queue.
        let already = if *organization == rotation.last { chosen.len() } else { 0 };
        let most = share.saturating_add(u32::try_from(already).unwrap_or(u32::MAX));
        let mut queue = of_one(connection, quotas, organization, &Projects::All, kinds, most)?;
        queues.push(queue.split_off(already.min(queue.len())));
    }
    chosen.extend(rotation.take(&parts, &organizations, &weights, queues));
    Ok(chosen)
}

/// Up to `limit` organizations in the rotation's order, the one served last at the end.
fn waiting(
    connection: &Connection,
    quotas: &Quotas,
    rotation: &Rotation,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let kinds = json!(request.kinds).to_string();
    let only = request.among.as_ref().and_then(|among| among.names()).map(|names| json!(names).to_string());
    let limits = limits(&quotas.running);
    let sql = WAITING.replace("{not_full}", if limits.is_some() { NOT_FULL } else { "" });
    let mut organizations: Vec<String> = Vec::new();
    for after in [rotation.last.as_str(), ""] {
        let left = limit as usize - organizations.len();
        let mut found = query(sql.as_str()).bind(after).bind(&kinds).bind(left as i64).bind(only.as_deref());
        if let Some(limits) = &limits {
            found = found.bind(limits);
        }
        let found = found.fetch_all(connection)?;
        for row in &found {
            let organization: String = row.try_get(0)?;
            if !organizations.contains(&organization) {
                organizations.push(organization);
            }
        }
        if rotation.last.is_empty() || organizations.len() >= limit as usize {
            break;
        }
    }
    Ok(organizations)
}

/// The limits of kinds as [`NOT_FULL`] takes them, if there are any.
fn limits(running: &RunningLimits) -> Option<String> {
    let everybody = running.everybody.iter().map(|(kind, most)| json!(["", kind, most]));
    let named =
        running.named.iter().flat_map(|(of, kinds)| kinds.iter().map(move |(kind, most)| json!([of, kind, most])));
    (!running.is_empty()).then(|| serde_json::Value::from_iter(everybody.chain(named)).to_string())
}

/// The next rows of an organization, over several kinds.
fn queued(
    connection: &Connection,
    quotas: &Quotas,
    organization: &str,
    projects: &Projects,
    kinds: &[String],
    limit: u32,
) -> Result<Vec<i64>, StoreError> {
    let mut candidates: Vec<(i64, i64, i64)> = Vec::new();
    for kind in kinds {
        // There is one writer: running operations are counted, and nothing else starts meanwhile.
        let limit = match quotas.running.of(organization, kind) {
            None => limit,
            Some(most) => {
                let running: i64 = query(RUNNING).bind(organization).bind(kind).fetch_one(connection)?.try_get(0)?;
                limit.min(u32::try_from(i64::from(most) - running).unwrap_or(0))
            }
        };
        let mut keep = |row: &rusqlite::Row<'_>| {
            candidates.push((-row.get::<_, i64>(2)?, row.get(1)?, row.get(0)?));
            Ok(())
        };
        let mut find = |sql, values: &[&dyn ToSql]| -> Result<(), StoreError> {
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_map(values, &mut keep)?.collect::<Result<(), _>>()?)
        };
        match projects {
            Projects::All => find(FIRST_IN_QUEUE, &[&organization, kind, &limit])?,
            Projects::Only(projects) => {
                let projects = json!(projects).to_string();
                find(FIRST_IN_QUEUE_OF_PROJECTS, &[&organization, kind, &limit, &projects])?;
            }
        }
    }
    candidates.sort_unstable();
    candidates.truncate(limit as usize);
    Ok(candidates.into_iter().map(|(_, _, row)| row).collect())
}

/// Starts an attempt of each chosen row.
fn start(
    connection: &Connection,
    now: Timestamp,
    resources: &Resources,
    requests: &[&ClaimRequest],
    chosen: &[Chosen],
    answers: &mut [Vec<Claimed>],
) -> Result<(), StoreError> {
    if chosen.is_empty() {
        return Ok(());
    }
    let (columns, state_columns) = (read::ACTIVE_COLUMNS, read::STATE_COLUMNS);
    let mut find = connection.prepare_cached(&format!(
        "SELECT {columns}, '', {state_columns}, a.seq, a.timeout_ms, a.input FROM active a WHERE a.rowid = ?1"
    ))?;
    let mut start = connection.prepare_cached(START)?;
    let mut lease = connection.prepare_cached(LEASE)?;
    let mut counts = Changes::new(resources);
    let mut log = NewLog::default();
    for Chosen { organization, row: rowid, index } in chosen {
        let request = requests[*index];
        let expires_at = now.after(request.lease);
        let mut found = find.query([rowid])?;
        let row = found.next()?.ok_or_else(|| read::damaged("place in the queue"))?;
        // The index has only what may be claimed; the transition function still has the last word.
        let Ok(state) = read::active_state(row, read::AFTER_OPERATION)?.apply(Event::Claim { at: now }) else {
            continue;
        };
        let Progress { attempts, fence, .. } = state.progress();
        let State::Running { started_at, cancel_requested, .. } = state else { continue };
        let operation = Operation { status: Status::Running, started_at: Some(started_at), ..read::operation(row)? };
        let (seq, timeout, input) = (row.get(19)?, row.get::<_, Option<i64>>(20)?, row.get(21)?);
        counts.add(&Counted::of(organization, seq, &operation), Some(Status::Pending), Some(Status::Running));
        log.add(organization, Some(Status::Running), &operation.id);
        start.execute((rowid, started_at.as_millis(), attempts, fence.cast_signed()))?;
        lease.execute((organization, seq, fence.cast_signed(), &request.worker, expires_at.as_millis()))?;
        answers[*index].push(Claimed {
            lease: LeaseRef {
                organization: organization.clone(),
                id: operation.id,
                fence,
                expired_at: None,
                scope: None,
            },
            operation,
            input,
            attempt: attempts,
            timeout: timeout.map(|millis| Duration::from_millis(millis.unsigned_abs())),
            lease_expires_at: expires_at,
            cancel_requested,
        });
    }
    counts.write(connection)?;
    log.write(connection, now)
}

/// Where ?1 is true, leases that no token holds. The table has only what runs now, so it is read whole: an index on
/// expiry would make every heartbeat more expensive.
const LOST: &str = "
    SELECT l.organization_id, l.fence, a.id, a.kind, a.attempts, l.expires_at
    FROM leases l JOIN active a INDEXED BY active_by_seq ON a.organization_id = l.organization_id AND a.seq = l.seq
    WHERE CASE WHEN ?1 THEN NOT EXISTS (SELECT 1 FROM tokens t WHERE t.id = l.worker) ELSE l.expires_at <= ?2 END
    LIMIT ?3 + 0";

pub(super) fn lost_leases(
    connection: &Connection,
    which: Lost,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<LostLease>, StoreError> {
    let found = query(LOST).bind(which == Lost::Local).bind(now.as_millis()).bind(limit).fetch_all(connection)?;
    found
        .iter()
        .map(|row| {
            let mut lease = rows::lease(row)?;
            if which == Lost::Expired {
                lease.expired_at = rows::time(row, "expires_at")?;
            }
            Ok(LostLease { lease, kind: row.try_get("kind")?, attempts: row.try_get("attempts")? })
        })
        .collect()
}

/// Attempts of remote workers, whose leases are held by a token, that began longer ago than they may take. The table
/// has only what runs now, so it is read whole. Served by active_by_seq and the tokens' index by id, once per lease.
const OVERRUNS: &str = "
    SELECT l.organization_id, l.fence, a.id, a.kind, a.attempts,
        coalesce(a.timeout_ms, (SELECT value FROM json_each(?1) k WHERE k.key = a.kind), ?2) AS timeout
    FROM leases l JOIN active a INDEXED BY active_by_seq ON a.organization_id = l.organization_id AND a.seq = l.seq
    WHERE a.started_at + l.clock_set_by < ?3 - coalesce(a.timeout_ms, (SELECT value FROM json_each(?1) k WHERE k.key = a.kind), ?2)
        AND EXISTS (SELECT 1 FROM tokens WHERE id = l.worker)
    LIMIT ?4 + 0";

pub(super) fn overruns(
    connection: &Connection,
    now: Timestamp,
    timeouts: &AttemptTimeouts,
    limit: u32,
) -> Result<Vec<Overrun>, StoreError> {
    let (kinds, of_kinds) = timeouts.by_kind();
    let by_kind: BTreeMap<&str, i64> = kinds.into_iter().zip(of_kinds).collect();
    let found = query(OVERRUNS)
        .bind(json!(by_kind).to_string())
        .bind(timeouts.otherwise_millis())
        .bind(now.before(timeouts.grace).as_millis())
        .bind(limit)
        .fetch_all(connection)?;
    found
        .iter()
        .map(|row| {
            let lease = rows::lease(row)?;
            let attempts = row.try_get("attempts")?;
            let timeout = Duration::from_millis(row.try_get::<i64>("timeout")?.unsigned_abs());
            Ok(Overrun { lease, kind: row.try_get("kind")?, attempts, timeout })
        })
        .collect()
}

pub(super) fn next_due(connection: &Connection, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    // Served by active_due.
    let sql = "SELECT min(due_at) AS due_at FROM active WHERE due_at IS NOT NULL AND due_at > ?1";
    let row = query(sql).bind(after.as_millis()).fetch_one(connection)?;
    rows::time(&row, "due_at")
}
