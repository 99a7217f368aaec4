//! Creating operations, once per idempotency key.

use rusqlite::{Connection, Statement, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use operations::{Access, NewOperation, Operation, Status, Timestamp};
use serde_json::json;

use super::changes::NewLog;
use super::claim::LEASE;
use super::concurrency::Keys;
use super::counters::{Changes, Counted};
use super::resources::{self, Resources};
use super::statement::query;
use super::{admin, details, rows, single};
use crate::batch::{Create, Created};
use crate::details::{Row, existing};
use crate::quota::Admission;
use crate::{Claimed, Exceeded, IDEMPOTENCY_WINDOW, IdempotencyKey, KeyUse, StoreError};

const FIND_KEY: &str = "
    SELECT fingerprint, ids, json_array_length(ids) AS made FROM idempotency_keys
    WHERE organization_id = ?1 AND key = ?2 AND created_at > ?3";

const KEEP_KEY: &str = "
    INSERT INTO idempotency_keys (organization_id, key, fingerprint, ids, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, ids = excluded.ids, created_at = excluded.created_at";

const FORGET_KEYS: &str = "
    DELETE FROM idempotency_keys WHERE (organization_id, key) IN (
        SELECT organization_id, key FROM idempotency_keys INDEXED BY idempotency_keys_by_age
        WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2 + 0)";

const TAKE_NUMBERS: &str = "
    UPDATE organizations SET next_seq = next_seq + ?2 WHERE organization_id = ?1 AND deleted = 0
    RETURNING next_seq - ?2";

const INSERT: &str = "
    INSERT INTO active (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, due_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, input, concurrency_key, concurrency_limit, waits)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";

/// Served by active_ready, active_due and the primary key of pauses.
const IS_BUSY: &str = "
    SELECT EXISTS (SELECT 1 FROM active INDEXED BY active_ready
            WHERE organization_id = ?1 AND kind = ?2 AND status = 1 AND due_at IS NULL AND waits = 0)
        OR EXISTS (SELECT 1 FROM active INDEXED BY active_due
            WHERE due_at <= ?3 AND organization_id = ?1 AND kind = ?2)
        OR EXISTS (SELECT 1 FROM pauses WHERE organization_id IN ('', ?1) AND kind IN ('', ?2))";

/// Served by the counters' primary key.
const HAS_PENDING: &str =
    "SELECT EXISTS (SELECT 1 FROM counters WHERE organization_id = ?1 AND level = 20 AND pending > 0)";

/// Operations that have not ended, except for those of the kinds ?2. Served by the counters' primary key.
const NOT_ENDED: &str = "
    SELECT coalesce(sum(pending + running), 0) FROM counters
    WHERE organization_id = ?1 AND level = 20 AND kind NOT IN (SELECT value FROM json_each(?2))";

/// Carries out the creations, in their order; a conflict of keys, or a limit that would be exceeded, makes only that
/// creation fail.
pub(super) fn create(
    connection: &Connection,
    now: Timestamp,
    admission: &Admission,
    resources: &mut Resources,
    creates: &[&Create],
) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
    let mut results: Vec<Result<Created, StoreError>> = Vec::with_capacity(creates.len());
    // Keys first used in this very batch: where their creation is in `results`.
    let mut fresh_keys: HashMap<(&str, &str), (usize, [u8; 32])> = HashMap::new();
    let mut numbers = take_numbers(connection, now, creates)?;
    let taken = numbers.clone();
    let quotas = admission.quotas();
    // How many operations this batch creates, by organization; they are counted at the end.
    let mut used: BTreeMap<&str, u64> = BTreeMap::new();
    let mut insert = connection.prepare_cached(INSERT)?;
    // Kinds of which this batch has put operations into the queue.
    let mut queued: BTreeSet<(&str, &str)> = BTreeSet::new();
    // Resources that are checked afterwards.
    let mut looks = Vec::new();
    let mut counts = Changes::new(resources);
    let mut log = NewLog::default();
    let mut keys = Keys::default();
    for (index, create) in creates.iter().enumerate() {
        if let Some(key) = &create.key {
            let earlier = match fresh_keys.get(&(create.organization.as_str(), key.key.as_str())) {
                Some((first, fingerprint)) => {
                    let operations =
                        results[*first].as_ref().map(|created| created.operations.clone()).unwrap_or_default();
                    Some((*fingerprint, Some(operations)))
                }
                None => find_key(connection, now, &create.organization, key)?,
            };
            if let Some(earlier) = earlier {
                results.push(key.answer(earlier).map(Created::repeated));
                continue;
            }
        }
        let organization = create.organization.as_str();
        let mut held = match find_held(connection, create) {
            Ok(held) => held,
            Err(StoreError::UniqueKeyInUse) => {
                results.push(Err(StoreError::UniqueKeyInUse));
                continue;
            }
            Err(error) => return Err(error),
        };
        let new = || create.operations.iter().enumerate().filter(|(place, _)| !held.contains_key(place));
        let used = used.entry(organization).or_default();
        let asked = Asked {
            organization,
            first: taken[organization].start,
            last: numbers[organization].start + new().count() as i64,
            used: *used,
            limited: quotas.limited(new().map(|(_, new)| new)) as u64,
        };
        if let Err(exceeded) = admit(connection, now, admission, &asked)? {
            results.push(Err(exceeded.into()));
            continue;
        }
        *used += asked.limited;
        if let Some(key) = &create.key {
            fresh_keys.insert((&create.organization, &key.key), (index, key.fingerprint));
        }
        let next = numbers.get_mut(create.organization.as_str()).expect("numbers were taken for every organization");
        let mut created = Vec::with_capacity(create.operations.len());
        let (mut existing, mut started) = (Vec::new(), None);
        for (index, new) in create.operations.iter().enumerate() {
            if let Some(operation) = held.remove(&index) {
                existing.push(index);
                created.push(operation);
                continue;
            }
            let mut operation = new.to_operation(now);
            if let Some(id) = create.ids.get(index) {
                operation.id = *id;
            }
            let seq = next.start;
            next.start += 1;
            if let Some(row) = Row::of(seq, new) {
                details::insert(connection, organization, &row)?;
            }
            log.add_creation(organization, &operation.id);
            if let Some(resource) = new.resource.as_ref().filter(|_| resources::is_looked_at(seq)) {
                looks.push((organization, resource));
            }
            let is_first = !queued.contains(&(organization, new.kind.as_str()));
            // An operation with a concurrency key queues with those of the same key, and one with a limit is counted by
            // claims.
            let is_limited = new.concurrency.is_some() || quotas.running.of(organization, &new.kind).is_some();
            if let Some(terms) = create.start.as_ref().filter(|_| is_first && !is_limited)
                && new.run_after.is_none_or(|at| at <= now)
                && is_free(connection, now, organization, &new.kind)?
                && (!terms.only_if_nothing_is_pending || !has_pending(connection, organization, &queued)?)
            {
                let attempt = terms.claimed(organization, &operation, new, now);
                log.add(organization, Some(Status::Running), &operation.id);
                counts.add(&Counted::of(organization, seq, &operation), None, Some(Status::Running));
                insert_row(&mut insert, organization, seq, &attempt.operation, new, Some(&attempt))?;
                lease(connection, seq, &attempt, &terms.worker)?;
                created.push(attempt.operation.clone());
                started = Some(attempt);
                continue;
            }
            queued.insert((organization, new.kind.as_str()));
            if let Some(concurrency) = &new.concurrency {
                keys.enter(connection, organization, concurrency, false)?;
            }
            counts.add(&Counted::of(organization, seq, &operation), None, Some(Status::Pending));
            insert_row(&mut insert, organization, seq, &operation, new, None)?;
            created.push(operation);
        }
        if let Some(key) = &create.key {
            keep_key(connection, now, &create.organization, key, &created)?;
        }
        results.push(Ok(Created { operations: created, existing, started }));
    }
    give_back(connection, &numbers)?;
    keys.admit(connection)?;
    counts.write(connection)?;
    log.write(connection, now)?;
    for (organization, resource) in looks {
        resources.look(connection, organization, resource)?;
    }
    Ok(results)
}

/// The operations that have the unique keys of operations to be created, and have not ended, by the places of the
/// latter.
fn find_held(connection: &Connection, create: &Create) -> Result<BTreeMap<usize, Operation>, StoreError> {
    let mut held = BTreeMap::new();
    for (place, new) in create.operations.iter().enumerate() {
        let Some(key) = &new.unique_key else { continue };
        let Some(id) = details::holder(connection, &create.organization, key)? else { continue };
        let access = Access::organization(&create.organization);
        for operation in single::get(connection, &access, &[id])?.into_iter().flatten() {
            held.insert(place, existing(&operation, &create.seen_by)?);
        }
    }
    Ok(held)
}

/// Whether nothing of this organization and kind waits or is paused, so that a new operation may start at once.
fn is_free(connection: &Connection, now: Timestamp, organization: &str, kind: &str) -> Result<bool, StoreError> {
    let busy = query(IS_BUSY).bind(organization).bind(kind).bind(now.as_millis()).fetch_one(connection)?;
    Ok(busy.try_get::<i64>(0)? == 0)
}

/// Whether anything of this organization is pending, or among what this batch has put into the queue.
fn has_pending(
    connection: &Connection,
    organization: &str,
    queued: &BTreeSet<(&str, &str)>,
) -> Result<bool, StoreError> {
    if queued.range((organization, "")..).next().is_some_and(|(of, _)| *of == organization) {
        return Ok(true);
    }
    let pending = query(HAS_PENDING).bind(organization).fetch_one(connection)?;
    Ok(pending.try_get::<i64>(0)? != 0)
}

/// A creation that asks to be admitted.
struct Asked<'a> {
    organization: &'a str,
    /// The organization's next number before this batch.
    first: i64,
    /// The organization's next number after this creation.
    last: i64,
    /// Operations that this batch created before, as far as limits hold for them.
    used: u64,
    /// Such operations of this creation.
    limited: u64,
}

/// Whether the organization may have this many more.
fn admit(
    connection: &Connection,
    now: Timestamp,
    admission: &Admission,
    asked: &Asked<'_>,
) -> Result<Result<(), Exceeded>, StoreError> {
    let Asked { organization, first, last, used, limited } = *asked;
    let quotas = admission.quotas();
    let Some(limit) = quotas.of(organization).max_pending.filter(|_| limited > 0) else { return Ok(Ok(())) };
    if admission.ceiling(organization, now).is_some_and(|ceiling| last <= ceiling) {
        return Ok(Ok(()));
    }
    let own_kinds = json!(quotas.own_kinds).to_string();
    let pending: i64 = query(NOT_ENDED).bind(organization).bind(own_kinds).fetch_one(connection)?.try_get(0)?;
    let capacity = admission.counted(organization, limit, first, pending, now).saturating_sub(first).unsigned_abs();
    Ok(if used + limited <= capacity { Ok(()) } else { Err(Exceeded::Pending { limit }) })
}

fn insert_row(
    insert: &mut Statement<'_>,
    organization: &str,
    seq: i64,
    operation: &Operation,
    new: &NewOperation,
    started: Option<&Claimed>,
) -> Result<(), StoreError> {
    let (resource_type, resource_id) = match &new.resource {
        Some(resource) => (resource.resource_type.as_str(), resource.resource_id.as_str()),
        None => ("", ""),
    };
    let due_at = new.run_after.filter(|at| *at > operation.created_at).map(Timestamp::as_millis);
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    insert.execute(params![
        organization,
        seq,
        operation.id.as_bytes(),
        new.kind,
        operation.status.number(),
        resource_type,
        resource_id,
        new.project_id,
        new.project_version_id,
        operation.created_at.as_millis(),
        operation.started_at.map(Timestamp::as_millis),
        due_at,
        new.priority,
        started.map_or(0, |attempt| attempt.attempt),
        new.max_attempts,
        started.map_or(0, |attempt| attempt.lease.fence.cast_signed()),
        new.timeout.map(millis),
        new.retain_for.map(millis),
        new.input,
        new.concurrency.as_ref().map(|concurrency| concurrency.key.as_str()),
        new.concurrency.as_ref().map(|concurrency| concurrency.limit),
        new.concurrency.is_some() && due_at.is_none(),
    ])?;
    Ok(())
}

/// The lease of an attempt that begins with its operation.
fn lease(connection: &Connection, seq: i64, attempt: &Claimed, worker: &str) -> Result<(), StoreError> {
    let (lease, expires_at) = (&attempt.lease, attempt.lease_expires_at.as_millis());
    let values = (&lease.organization, seq, lease.fence.cast_signed(), worker, expires_at);
    connection.prepare_cached(LEASE)?.execute(values)?;
    Ok(())
}

/// Takes a run of numbers for every organization of the batch.
fn take_numbers<'c>(
    connection: &Connection,
    now: Timestamp,
    creates: &[&'c Create],
) -> Result<BTreeMap<&'c str, Range<i64>>, StoreError> {
    let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
    for create in creates {
        *wanted.entry(&create.organization).or_default() += create.operations.len() as i64;
    }
    let mut numbers = BTreeMap::new();
    for (organization, number) in wanted {
        let take = || query(TAKE_NUMBERS).bind(organization).bind(number);
        let first: i64 = match take().fetch_optional(connection)? {
            Some(row) => row.try_get(0)?,
            None => {
                admin::create_organization(connection, now, organization)?;
                let taken = take().fetch_optional(connection)?;
                taken.ok_or(StoreError::OrganizationGone)?.try_get(0)?
            }
        };
        numbers.insert(organization, first..first + number);
    }
    Ok(numbers)
}

/// Numbers that replayed keys did not use go back, so that the sequence has no gap.
fn give_back(connection: &Connection, left: &BTreeMap<&str, Range<i64>>) -> Result<(), StoreError> {
    for (organization, left) in left.iter().filter(|(_, left)| !left.is_empty()) {
        query("UPDATE organizations SET next_seq = ?2 WHERE organization_id = ?1")
            .bind(*organization)
            .bind(left.start)
            .execute(connection)?;
    }
    Ok(())
}

fn window_start(now: Timestamp) -> i64 {
    now.as_millis() - i64::try_from(IDEMPOTENCY_WINDOW.as_millis()).expect("a day fits")
}

/// What was created with a key, as far as it was used lately.
pub(super) fn created_with(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
    key: &IdempotencyKey,
) -> Result<Option<Vec<Operation>>, StoreError> {
    find_key(connection, now, organization, key)?.map(|earlier| key.answer(earlier)).transpose()
}

fn find_key(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
    key: &IdempotencyKey,
) -> Result<Option<KeyUse>, StoreError> {
    let found = query(FIND_KEY).bind(organization).bind(&key.key).bind(window_start(now)).fetch_optional(connection)?;
    let Some(row) = found else { return Ok(None) };
    let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
    let fingerprint =
        fingerprint.try_into().map_err(|_| StoreError::Unusable("a damaged idempotency key".to_owned()))?;
    let ids: String = row.try_get("ids")?;
    let made = row.try_get::<i64>("made")?.unsigned_abs() as usize;
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    // Served by active_by_id and settled_by_id.
    let sql = format!(
        "SELECT j.key AS position, {active}, '' AS output FROM json_each(?2) j CROSS JOIN active a
             ON a.organization_id = ?1 AND a.id = unhex(j.value, '-')
         UNION ALL
         SELECT j.key AS position, {settled}, s.output FROM json_each(?2) j CROSS JOIN settled s
             ON s.organization_id = ?1 AND s.id = unhex(j.value, '-')
         ORDER BY position"
    );
    let found = query(sql).bind(organization).bind(ids).fetch_all(connection)?;
    let operations = found.iter().map(rows::operation).collect::<Result<Vec<_>, _>>()?;
    Ok(Some((fingerprint, (operations.len() == made).then_some(operations))))
}

fn keep_key(
    connection: &Connection,
    now: Timestamp,
    organization: &str,
    key: &IdempotencyKey,
    created: &[Operation],
) -> Result<(), StoreError> {
    let ids: Vec<String> = created.iter().map(|operation| operation.id.to_string()).collect();
    query(KEEP_KEY)
        .bind(organization)
        .bind(&key.key)
        .bind(key.fingerprint.as_slice())
        .bind(json!(ids).to_string())
        .bind(now.as_millis())
        .execute(connection)?;
    Ok(())
}

/// Forgets up to `limit` keys past their window.
pub(super) fn forget_keys(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let done = query(FORGET_KEYS).bind(window_start(now)).bind(limit).execute(connection)?;
    Ok(done)
}
