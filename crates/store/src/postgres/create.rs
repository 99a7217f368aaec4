//! Creating operations, once per idempotency key. All statements of one call are of one organization.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use operations::{Access, Concurrency, NewOperation, Operation, OperationId, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::connections::Connections;
use super::counters::counted;
use super::heads::Heads;
use super::tx::Tx;
use super::{admin, concurrency, details, list, resources, rows};
use crate::audit;
use crate::batch::{Create, Created, records};
use crate::details::{Row as Detail, existing};
use crate::quota::{Admission, Quotas};
use crate::work::StartTerms;
use crate::{Exceeded, IDEMPOTENCY_WINDOW, IdempotencyKey, KeyUse, StoreError};

/// Served by the primary key; "+ 0" keeps the index by age from being taken.
const FIND_KEYS: &str = "
    SELECT i.* FROM unnest($2::text[]) AS k (key) CROSS JOIN LATERAL (
        SELECT key, fingerprint, ids FROM idempotency_keys
        WHERE organization_id = $1 AND key = k.key AND created_at + 0 > $3 OFFSET 0) AS i";

const KEEP_KEYS: &str = "
    INSERT INTO idempotency_keys (organization_id, key, fingerprint, ids, created_at)
    SELECT $1, key, fingerprint, ids::uuid[], $2 FROM unnest($3::text[], $4::bytea[], $5::text[]) AS k (key, fingerprint, ids)
    ON CONFLICT (organization_id, key)
        DO UPDATE SET fingerprint = excluded.fingerprint, ids = excluded.ids, created_at = excluded.created_at";

/// A key that was used anew while this statement waited for its row is looked at again, and stays; "+ 0" as in
/// [`FIND_KEYS`]. Organizations that are being moved are left out, by a subquery that keeps the order of the index.
const FORGET_KEYS: &str = "
    DELETE FROM idempotency_keys WHERE created_at + 0 <= $1 AND (organization_id, key) IN (
        SELECT organization_id, key FROM idempotency_keys k WHERE created_at <= $1
            AND (SELECT true FROM organizations_elsewhere e WHERE e.organization_id = k.organization_id) IS NULL
        ORDER BY created_at LIMIT $2)";

/// Operations that have not ended, except those of the kinds $2.
const NOT_ENDED: &str = concat!("SELECT ", counted!("pending + running", "kind <> ALL ($2)"));

const LOCK_NUMBERS: &str = "SELECT next_seq FROM organizations WHERE organization_id = $1 AND deleted = 0 FOR UPDATE";

/// Takes the organization's next numbers, and with them makes the rows, their places in the queue, their counts and
/// their part of the change log. Answers no row when there is no such organization, or its numbers would pass the
/// ceiling $15: the row is looked at as it is once the creations at the same time are through.
///
/// An operation that has a worker in $16 starts at once, unless it is due later, or something of its kind waits or is
/// paused, or, for those of $26, anything of the organization is pending: then it has no place in the queue, and a lease
/// until $17. An operation that has a concurrency key of $23 and is due comes into the queue once it has a place of the
/// key. The queue is looked at from the places on that $18 to $22 give (see [`super::heads`]). The leases get the number
/// $25 (see [`super::unanswered`]). Answers the operations that start. Served by queue_in_order, queue_ready, queue_due
/// and the primary key of pauses.
const INSERT: &str = "
    WITH numbered AS (
        UPDATE organizations SET next_seq = next_seq + cardinality($3::uuid[]){audit_seq} WHERE {row} AND deleted = 0
            AND ($15::bigint IS NULL OR next_seq + cardinality($3::uuid[]) <= $15)
        RETURNING next_seq - cardinality($3::uuid[]) AS first, ctid::text AS row{audit_first}
    ), new AS MATERIALIZED (
        SELECT first + place - 1 AS seq, n.*,
            CASE WHEN n.worker IS NULL OR n.due_at IS NOT NULL THEN false ELSE
                (SELECT 1 FROM queue WHERE organization_id = $1 AND kind = n.kind AND in_order
                    AND seq >= (SELECT floor FROM unnest($18::text[], $19::bigint[]) AS h (kind, floor)
                        WHERE h.kind = n.kind) LIMIT 1) IS NULL
                AND (SELECT 1 FROM queue WHERE organization_id = $1 AND kind = n.kind AND due_at IS NULL AND NOT in_order
                    AND (-priority, seq) >= (
                        (SELECT rank FROM unnest($18::text[], $20::smallint[]) AS h (kind, rank) WHERE h.kind = n.kind),
                        (SELECT seq FROM unnest($18::text[], $21::bigint[]) AS h (kind, seq) WHERE h.kind = n.kind))
                    LIMIT 1) IS NULL
                AND (SELECT 1 FROM queue WHERE organization_id = $1 AND due_at > $22 AND due_at <= $2
                    AND due_at IS NOT NULL AND kind = n.kind LIMIT 1) IS NULL
                AND (SELECT 1 FROM pauses WHERE organization_id = ANY (ARRAY['', $1::text])
                    AND kind = ANY (ARRAY['', n.kind]) LIMIT 1) IS NULL
                AND (NOT n.only_if_nothing_is_pending OR {pending} = 0) END AS starts
        FROM numbered, unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
            $10::smallint[], $11::int[], $12::bigint[], $13::bigint[], $14::text[], $16::text[], $17::bigint[], $23::text[],
            $24::int[], $26::boolean[]) WITH ORDINALITY
            AS n (id, kind, resource_type, resource_id, project_id, project_version_id, due_at, priority,
                max_attempts, timeout_ms, retain_for_ms, input, worker, expires_at, concurrency_key,
                concurrency_limit, only_if_nothing_is_pending, place)
    ), made AS (
        INSERT INTO active (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
            project_version_id, created_at, due_at, started_at, priority, attempts, max_attempts, fence, timeout_ms,
            retain_for_ms, input, concurrency_key, concurrency_limit)
        SELECT $1, seq, id, kind, CASE WHEN starts THEN 2 ELSE 1 END, resource_type, resource_id, project_id,
            project_version_id, $2, due_at, CASE WHEN starts THEN $2 END, priority, starts::int, max_attempts,
            starts::int, timeout_ms, retain_for_ms, input, concurrency_key, concurrency_limit
        FROM new
    ), queued AS (
        INSERT INTO queue (organization_id, kind, priority, seq, due_at, in_order)
        SELECT $1, kind, priority, seq, due_at, priority = 0 AND due_at IS NULL FROM new
        WHERE NOT starts AND (concurrency_key IS NULL OR due_at IS NOT NULL)
    ), leased AS (
        INSERT INTO leases (organization_id, seq, fence, worker, expires_at, claim)
        SELECT $1, seq, 1, worker, expires_at, $25 FROM new WHERE starts
    ), counted AS (
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, seq >> 12, project_id, kind, count(*) FILTER (WHERE NOT starts), count(*) FILTER (WHERE starts), 0, 0
        FROM new GROUP BY 2, 3, 4
    ), counted_by_resource AS (
        {of_resources}
    ), logged AS (
        INSERT INTO changes (organization_id, at, status, is_creation, ids)
        SELECT $1, $2, 1, true, $3 FROM numbered
        UNION ALL
        SELECT $1, $2, 2, false, array_agg(id) FROM new WHERE starts HAVING count(*) > 0
    ){audited}
    SELECT first, row, (SELECT array_agg(id) FROM new WHERE starts) AS started FROM numbered";

/// For creations that are recorded, the audit log is a part of it: the number of entries, and the entries, come last.
const AUDITED: [(&str, &str); 3] = [
    ("{audit_seq}", ", audit_seq = audit_seq + {entries}"),
    ("{audit_first}", ", audit_seq - {entries} AS audit_first"),
    (
        "{audited}",
        ", audited AS (
        INSERT INTO audit (organization_id, seq, entries, at, log)
        SELECT $1, audit_first, {entries}, $2, {log} FROM numbered
    )",
    ),
];

/// The organization's row by its key, or where it lay when this process wrote it last (see [`super::heads`]).
const BY_KEY: &str = "organization_id = $1";
const BY_PLACE: &str = "ctid = $27::text::tid AND organization_id IS NOT DISTINCT FROM $1";

/// The same row, unless it is locked or has been written since the statement began. A statement that waits for the row
/// looks at the queue and at the pauses as they were before, so that what was paused meanwhile would start.
const IF_FREE: &str = "ctid = (SELECT ctid FROM organizations WHERE {row} FOR NO KEY UPDATE SKIP LOCKED)
            AND organization_id IS NOT DISTINCT FROM $1";

/// The columns of the rows to be inserted.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    kinds: Vec<String>,
    resource_types: Vec<String>,
    resource_ids: Vec<String>,
    projects: Vec<String>,
    versions: Vec<String>,
    due_ats: Vec<Option<i64>>,
    priorities: Vec<i16>,
    max_attempts: Vec<i32>,
    timeouts: Vec<Option<i64>>,
    retain_fors: Vec<Option<i64>>,
    inputs: Vec<String>,
    workers: Vec<Option<String>>,
    expiries: Vec<Option<i64>>,
    keys: Vec<Option<String>>,
    limits: Vec<Option<i32>>,
    only_if_nothing_is_pending: Vec<bool>,
}

impl Rows {
    fn push(&mut self, operation: &Operation, new: &NewOperation, start: Option<&StartTerms>) {
        let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let (resource_type, resource_id) = match &new.resource {
            Some(resource) => (resource.resource_type.clone(), resource.resource_id.clone()),
            None => (String::new(), String::new()),
        };
        self.ids.push(rows::uuid(&operation.id));
        self.kinds.push(new.kind.clone());
        self.resource_types.push(resource_type);
        self.resource_ids.push(resource_id);
        self.projects.push(new.project_id.clone());
        self.versions.push(new.project_version_id.clone());
        self.due_ats.push(new.run_after.filter(|at| *at > operation.created_at).map(Timestamp::as_millis));
        self.priorities.push(new.priority);
        self.max_attempts.push(i32::try_from(new.max_attempts).unwrap_or(i32::MAX));
        self.timeouts.push(new.timeout.map(millis));
        self.retain_fors.push(new.retain_for.map(millis));
        self.inputs.push(new.input.clone());
        self.workers.push(start.map(|start| start.worker.clone()));
        let concurrency = new.concurrency.as_ref();
        self.keys.push(concurrency.map(|concurrency| concurrency.key.clone()));
        self.limits.push(concurrency.map(|concurrency| i32::try_from(concurrency.limit).unwrap_or(i32::MAX)));
        self.only_if_nothing_is_pending.push(start.is_some_and(|start| start.only_if_nothing_is_pending));
        self.expiries.push(start.map(|start| operation.created_at.after(start.lease).as_millis()));
    }
}

/// Carries out the creations of one organization, in their order; a conflict of keys, and a limit that would be
/// exceeded, fail that creation only. Without keys and details and below the limit it is one statement. `claim` is the
/// number of the claim of those that start, if any may.
pub(super) async fn create(
    tx: &mut Tx<'_>,
    now: Timestamp,
    admission: &Admission,
    heads: &Heads,
    organization: &str,
    claim: Option<Uuid>,
    creates: &[&Create],
) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
    let keys: Vec<&str> = creates.iter().filter_map(|create| create.key.as_ref()).map(|key| key.key.as_str()).collect();
    let mut known = Known::default();
    let all = || creates.iter().flat_map(|create| &create.operations);
    let concurrency_keys: BTreeSet<&str> =
        all().filter_map(|new| Some(new.concurrency.as_ref()?.key.as_str())).collect();
    if !concurrency_keys.is_empty() {
        // Before the lock on the organization's row (see `concurrency`).
        tx.begin().await?;
        concurrency::lock_keys(tx, organization, concurrency_keys.into_iter()).await?;
    }
    let unique_keys: Vec<&str> = all().filter_map(|new| new.unique_key.as_deref()).collect();
    if !keys.is_empty() || !unique_keys.is_empty() {
        // The lock on the organization's row makes the looks at keys happen one after the other.
        lock_numbers(tx, now, organization).await?;
        if !keys.is_empty() {
            known.uses = find_keys(tx, now, organization, &keys).await?;
        }
        if !unique_keys.is_empty() {
            known.held = details::holders(tx, organization, &unique_keys).await?;
        }
    }
    let quotas = admission.quotas();
    let is_limited = creates.iter().any(|create| quotas.limited(&create.operations) > 0);
    let limit = quotas.of(organization).max_pending.filter(|_| is_limited);
    let ceiling = limit.and_then(|_| admission.ceiling(organization, now));
    let mut plan = Plan::of(now, &quotas, claim, creates, known.clone(), None);
    // A limit without a ceiling means that nobody has counted yet.
    if plan.rows.ids.is_empty()
        || (limit.is_none() || ceiling.is_some()) && plan.insert(tx, now, heads, organization, ceiling).await?
    {
        return plan.keep(tx, now, organization).await;
    }
    let Some(limit) = limit else {
        admin::create_organization(tx, now, organization).await?;
        if !plan.insert(tx, now, heads, organization, None).await? {
            return Err(StoreError::OrganizationGone);
        }
        return plan.keep(tx, now, organization).await;
    };
    tx.begin().await?;
    let left = capacity_left(tx, now, admission, organization, limit).await?;
    let mut plan = Plan::of(now, &quotas, claim, creates, known, Some((limit, left)));
    if !plan.rows.ids.is_empty() {
        plan.insert(tx, now, heads, organization, None).await?;
    }
    plan.keep(tx, now, organization).await
}

/// The state that is known before creations are carried out.
#[derive(Clone, Default)]
struct Known {
    /// The uses of idempotency keys.
    uses: HashMap<String, KeyUse>,
    /// The operations that have not ended, by their unique keys.
    held: HashMap<String, Operation>,
}

/// The outcome of creations, before anything is written.
struct Plan<'c> {
    results: Vec<Result<Created, StoreError>>,
    rows: Rows,
    /// The new operations with details, each with the index of its row.
    detailed: Vec<(usize, &'c NewOperation)>,
    /// The number of the first row, once the rows are inserted.
    first: i64,
    /// The creations that are to start at once if they can, each with the index of its result.
    starts: Vec<(usize, &'c Create, &'c StartTerms)>,
    /// The number of their claim.
    claim: Option<Uuid>,
    keys: Keys,
    /// The operations that have a concurrency key.
    keyed: Vec<(Uuid, Concurrency)>,
    /// The number of entries of the audit log, and the entries.
    audited: Option<(i32, String)>,
}

impl<'c> Plan<'c> {
    /// `left` is the limit, and how many operations may be created below it.
    fn of(
        now: Timestamp,
        quotas: &Quotas,
        claim: Option<Uuid>,
        creates: &[&'c Create],
        mut known: Known,
        left: Option<(u64, u64)>,
    ) -> Plan<'c> {
        let mut plan = Plan {
            results: Vec::with_capacity(creates.len()),
            rows: Rows::default(),
            detailed: Vec::new(),
            first: 0,
            starts: Vec::new(),
            claim,
            keys: Keys::default(),
            keyed: Vec::new(),
            audited: None,
        };
        let mut used = 0;
        for create in creates {
            if let Some(key) = &create.key
                && let Some(earlier) = known.uses.get(&key.key)
            {
                plan.results.push(key.answer(earlier.clone()).map(Created::repeated));
                continue;
            }
            let Ok(held) = find_held(&known.held, create) else {
                plan.results.push(Err(StoreError::UniqueKeyInUse));
                continue;
            };
            let new = create.operations.iter().zip(&held).filter(|(_, held)| held.is_none());
            let limited = quotas.limited(new.map(|(new, _)| new)) as u64;
            if let Some((limit, left)) = left
                && limited > 0
                && used + limited > left
            {
                plan.results.push(Err(Exceeded::Pending { limit }.into()));
                continue;
            }
            used += limited;
            let (mut created, mut existing) = (Vec::with_capacity(create.operations.len()), Vec::new());
            for ((index, new), held) in create.operations.iter().enumerate().zip(held) {
                if let Some(held) = held {
                    existing.push(index);
                    created.push(held);
                    continue;
                }
                let mut operation = new.to_operation(now);
                if let Some(id) = create.ids.get(index) {
                    operation.id = *id;
                }
                if new.has_details() {
                    plan.detailed.push((plan.rows.ids.len(), new));
                }
                if let Some(key) = &new.unique_key {
                    known.held.insert(key.clone(), operation.clone());
                }
                // An operation with a key waits with the others of the key, and one whose kind has a limit is counted
                // by claims.
                let is_limited =
                    new.concurrency.is_some() || quotas.running.of(&create.organization, &new.kind).is_some();
                // The statement does not see the rows that it makes itself.
                let is_alone = |start: &&StartTerms| !start.only_if_nothing_is_pending || plan.rows.ids.is_empty();
                let start = create.start.as_ref().filter(|_| !is_limited).filter(is_alone);
                plan.rows.push(&operation, new, start);
                if let Some(concurrency) = &new.concurrency {
                    plan.keyed.push((rows::uuid(&operation.id), concurrency.clone()));
                }
                created.push(operation);
            }
            if let Some(key) = &create.key {
                plan.keys.push(key, &created);
                // First used in this very batch.
                known.uses.insert(key.key.clone(), (key.fingerprint, Some(created.clone())));
            }
            if let Some(terms) = create.start.as_ref().filter(|_| existing.is_empty()) {
                plan.starts.push((plan.results.len(), create, terms));
            }
            plan.results.push(Ok(Created { operations: created, existing, started: None }));
        }
        let records = records(creates, &plan.results);
        plan.audited = audit::rows(&records).pop().map(|(_, entries, log)| (entries, log));
        plan
    }

    /// Inserts the rows, and notes which of them have started; `false` when there is no such organization, or its
    /// numbers would pass the ceiling.
    async fn insert(
        &mut self,
        connection: &mut PgConnection,
        now: Timestamp,
        heads: &Heads,
        organization: &str,
        ceiling: Option<i64>,
    ) -> Result<bool, StoreError> {
        let what = Insertion {
            now,
            organization,
            rows: &self.rows,
            ceiling,
            audited: self.audited.as_ref(),
            claim: self.claim,
        };
        let started = insert(connection, heads, &what).await?;
        let Some(Inserted { first, started }) = started else { return Ok(false) };
        self.first = first;
        if !self.keyed.is_empty() {
            let admitted = concurrency::enter(connection, organization, &self.keyed, false).await?;
            heads.came(organization, &admitted);
        }
        for (index, create, terms) in &self.starts {
            if let (Ok(created), [new]) = (&mut self.results[*index], create.operations.as_slice())
                && let [operation] = created.operations.as_mut_slice()
                && started.contains(&rows::uuid(&operation.id))
            {
                let attempt = terms.claimed(organization, operation, new, now);
                *operation = attempt.operation.clone();
                created.started = Some(attempt);
            }
        }
        Ok(true)
    }

    /// Keeps the keys and the details, once the rows are inserted; answers the results.
    async fn keep(
        self,
        connection: &mut PgConnection,
        now: Timestamp,
        organization: &str,
    ) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
        if !self.keys.keys.is_empty() {
            sqlx::query(KEEP_KEYS)
                .bind(organization)
                .bind(now.as_millis())
                .bind(self.keys.keys)
                .bind(self.keys.fingerprints)
                .bind(self.keys.ids)
                .execute(&mut *connection)
                .await?;
        }
        let seq = |row: usize| self.first + i64::try_from(row).unwrap_or(i64::MAX);
        let detailed: Vec<_> = self.detailed.iter().filter_map(|(row, new)| Detail::of(seq(*row), new)).collect();
        if !detailed.is_empty() {
            details::insert(connection, organization, &detailed).await?;
        }
        Ok(self.results)
    }
}

/// The operations that have not ended and have the unique keys of what is to be created, in its order.
fn find_held(held: &HashMap<String, Operation>, create: &Create) -> Result<Vec<Option<Operation>>, StoreError> {
    let held_by = |new: &NewOperation| {
        let held = new.unique_key.as_ref().and_then(|key| held.get(key));
        held.map(|operation| existing(operation, &create.seen_by)).transpose()
    };
    create.operations.iter().map(held_by).collect()
}

/// How many operations may be created below the limit. Locks the organization's row, so that it stays true.
pub(super) async fn capacity_left(
    connection: &mut PgConnection,
    now: Timestamp,
    admission: &Admission,
    organization: &str,
    limit: u64,
) -> Result<u64, StoreError> {
    let next_seq = lock_numbers(connection, now, organization).await?;
    let own_kinds: Vec<String> = admission.quotas().own_kinds.iter().cloned().collect();
    let pending = sqlx::query_scalar(NOT_ENDED).bind(organization).bind(own_kinds).fetch_one(connection).await?;
    let ceiling = admission.counted(organization, limit, next_seq, pending, now);
    Ok(ceiling.saturating_sub(next_seq).unsigned_abs())
}

/// Locks the organization's row, made if it is new; answers its next number.
pub(super) async fn lock_numbers(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
) -> Result<i64, StoreError> {
    let locked = sqlx::query_scalar(LOCK_NUMBERS).bind(organization).fetch_optional(&mut *connection).await?;
    match locked {
        Some(next) => Ok(next),
        None => {
            admin::create_organization(connection, now, organization).await?;
            let locked = sqlx::query_scalar(LOCK_NUMBERS).bind(organization).fetch_optional(&mut *connection).await?;
            locked.ok_or(StoreError::OrganizationGone)
        }
    }
}

/// The values to insert.
struct Insertion<'i> {
    now: Timestamp,
    organization: &'i str,
    rows: &'i Rows,
    /// The ceiling that the organization's numbers must not pass.
    ceiling: Option<i64>,
    /// The number of entries of the audit log that go along, and the entries.
    audited: Option<&'i (i32, String)>,
    /// The number of the claim of those that start.
    claim: Option<Uuid>,
}

/// Inserts the rows; answers which of them have started. `None` when there is no such organization, or its numbers
/// would pass the ceiling.
async fn insert(
    connection: &mut PgConnection,
    heads: &Heads,
    what: &Insertion<'_>,
) -> Result<Option<Inserted>, StoreError> {
    let workers = &what.rows.workers;
    if let Some(place) = heads.row(what.organization) {
        if let Some(made) = insert_at(connection, heads, what, Some(&place), workers).await? {
            heads.row_lies(what.organization, made.row);
            return Ok(Some(made.inserted));
        }
        heads.row_moved(what.organization);
    }
    let mut made = insert_at(connection, heads, what, None, workers).await?;
    if made.is_none() && workers.iter().any(Option::is_some) {
        // Somebody else has the row: what is created then does not start at once.
        made = insert_at(connection, heads, what, None, &vec![None; workers.len()]).await?;
    }
    Ok(made.map(|made| {
        heads.row_lies(what.organization, made.row);
        made.inserted
    }))
}

/// The result of an insertion.
struct Made {
    /// Where the organization's row lies now.
    row: String,
    inserted: Inserted,
}

/// Rows that were inserted.
struct Inserted {
    /// The number of the first.
    first: i64,
    /// The ids of those that have started.
    started: Vec<Uuid>,
}

/// Inserts the rows by the organization's row, which lies at `place`. Where some may start at once, by their `workers`,
/// only if the row is free.
async fn insert_at(
    connection: &mut PgConnection,
    heads: &Heads,
    what: &Insertion<'_>,
    place: Option<&str>,
    workers: &[Option<String>],
) -> Result<Option<Made>, StoreError> {
    let &Insertion { now, organization, rows, ceiling, audited, claim } = what;
    let starts = workers.iter().any(Option::is_some);
    let starting = rows.kinds.iter().zip(workers).filter_map(|(kind, worker)| worker.is_some().then_some(kind));
    let begin = heads.peek(organization, starting.collect::<BTreeSet<_>>().into_iter());
    /// By the key or the place of the organization's row, each without and with what starts, and these without and with
    /// the audit log.
    static BY: LazyLock<[[[String; 2]; 2]; 2]> = LazyLock::new(|| {
        let counts = "count(*) FILTER (WHERE NOT starts), count(*) FILTER (WHERE starts), 0, 0";
        let sql = INSERT
            .replace("{of_resources}", &resources::deltas("new", counts))
            .replace("{pending}", counted!("pending"));
        [(BY_KEY, "$27::int", "$28::text"), (BY_PLACE, "$28::int", "$29::text")].map(|(row, entries, log)| {
            [row.to_owned(), IF_FREE.replace("{row}", row)].map(|row| {
                let sql = sql.replace("{row}", &row);
                [false, true].map(|is_audited| {
                    let with = |sql: String, (part, text): &(&str, &str)| {
                        sql.replace(part, if is_audited { text } else { "" })
                    };
                    AUDITED.iter().fold(sql.clone(), with).replace("{entries}", entries).replace("{log}", log)
                })
            })
        })
    });
    let sql = BY[usize::from(place.is_some())][usize::from(starts)][usize::from(audited.is_some())].as_str();
    let mut query = sqlx::query_as::<_, (i64, String, Option<Vec<Uuid>>)>(AssertSqlSafe(sql))
        .bind(organization)
        .bind(now.as_millis())
        .bind(&rows.ids)
        .bind(&rows.kinds)
        .bind(&rows.resource_types)
        .bind(&rows.resource_ids)
        .bind(&rows.projects)
        .bind(&rows.versions)
        .bind(&rows.due_ats)
        .bind(&rows.priorities)
        .bind(&rows.max_attempts)
        .bind(&rows.timeouts)
        .bind(&rows.retain_fors)
        .bind(&rows.inputs)
        .bind(ceiling)
        .bind(workers)
        .bind(&rows.expiries)
        .bind(begin.kinds)
        .bind(begin.floors)
        .bind(begin.ranks)
        .bind(begin.seqs)
        .bind(begin.due)
        .bind(&rows.keys)
        .bind(&rows.limits)
        .bind(claim)
        .bind(&rows.only_if_nothing_is_pending);
    if let Some(place) = place {
        query = query.bind(place);
    }
    if let Some((entries, log)) = audited {
        query = query.bind(entries).bind(log);
    }
    let made = query.fetch_optional(connection).await?;
    let inserted = |first, started: Option<Vec<Uuid>>| Inserted { first, started: started.unwrap_or_default() };
    Ok(made.map(|(first, row, started)| Made { row, inserted: inserted(first, started) }))
}

/// The columns of the keys to be kept.
#[derive(Default)]
struct Keys {
    keys: Vec<String>,
    fingerprints: Vec<Vec<u8>>,
    /// Arrays of ids, each as a text: an array of arrays would have to be rectangular.
    ids: Vec<String>,
}

impl Keys {
    fn push(&mut self, key: &IdempotencyKey, created: &[Operation]) {
        let ids: Vec<String> = created.iter().map(|operation| operation.id.to_string()).collect();
        self.keys.push(key.key.clone());
        self.fingerprints.push(key.fingerprint.to_vec());
        self.ids.push(format!("{{{}}}", ids.join(",")));
    }
}

fn window_start(now: Timestamp) -> i64 {
    now.as_millis() - i64::try_from(IDEMPOTENCY_WINDOW.as_millis()).expect("a day fits")
}

/// What was created with a key, as far as it was used lately.
pub(super) async fn created_with(
    pool: &Connections,
    now: Timestamp,
    organization: &str,
    key: &IdempotencyKey,
) -> Result<Option<Vec<Operation>>, StoreError> {
    let mut connection = pool.acquire().await?;
    let mut known = find_keys(&mut connection, now, organization, &[&key.key]).await?;
    known.remove(&key.key).map(|earlier| key.answer(earlier)).transpose()
}

/// The first use of each key, by key.
async fn find_keys(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    keys: &[&str],
) -> Result<HashMap<String, KeyUse>, StoreError> {
    let found = sqlx::query(FIND_KEYS)
        .bind(organization)
        .bind(keys)
        .bind(window_start(now))
        .fetch_all(&mut *connection)
        .await?;
    if found.is_empty() {
        return Ok(HashMap::new());
    }
    let mut ids_by_key: Vec<(String, [u8; 32], Vec<OperationId>)> = Vec::with_capacity(found.len());
    for row in &found {
        let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
        let fingerprint =
            fingerprint.try_into().map_err(|_| StoreError::Unusable("a damaged idempotency key".to_owned()))?;
        let ids: Vec<Uuid> = row.try_get("ids")?;
        let ids = ids.iter().map(|id| OperationId::from_bytes(*id.as_bytes())).collect();
        ids_by_key.push((row.try_get("key")?, fingerprint, ids));
    }
    let ids: Vec<OperationId> = ids_by_key.iter().flat_map(|(_, _, ids)| ids).copied().collect();
    let mut operations: HashMap<OperationId, Operation> = HashMap::with_capacity(ids.len());
    let access = Access::organization(organization);
    for operation in list::get(&mut *connection, &access, &ids).await?.into_iter().flatten() {
        operations.insert(operation.id, operation);
    }
    let known = ids_by_key.into_iter().map(|(key, fingerprint, ids)| {
        let operations = ids.iter().map(|id| operations.get(id).cloned()).collect();
        (key, (fingerprint, operations))
    });
    Ok(known.collect())
}

/// Deletes up to `limit` keys past their window.
pub(super) async fn forget_keys(connection: &mut PgConnection, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let done = sqlx::query(FORGET_KEYS).bind(window_start(now)).bind(i64::from(limit)).execute(connection).await?;
    Ok(done.rows_affected())
}
