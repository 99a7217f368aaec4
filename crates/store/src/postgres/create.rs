//! Creating operations, once per idempotency key. All statements of one call are of one organisation.

use std::collections::HashMap;

use operations::{NewOperation, Operation, Status, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::counters::Changes;
use super::{admin, rows};
use crate::batch::Create;
use crate::{IDEMPOTENCY_WINDOW, IdempotencyKey, StoreError};

const FIND_KEY: &str = "
    SELECT fingerprint, ids FROM idempotency_keys WHERE organization_id = $1 AND key = $2 AND created_at > $3";

const KEEP_KEY: &str = "
    INSERT INTO idempotency_keys (organization_id, key, fingerprint, ids, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (organization_id, key)
        DO UPDATE SET fingerprint = excluded.fingerprint, ids = excluded.ids, created_at = excluded.created_at";

const FORGET_KEYS: &str = "
    DELETE FROM idempotency_keys WHERE (organization_id, key) IN (
        SELECT organization_id, key FROM idempotency_keys WHERE created_at <= $1 ORDER BY created_at LIMIT $2)";

const LOCK_NUMBERS: &str = "SELECT next_seq FROM organizations WHERE organization_id = $1 FOR UPDATE";

const INSERT: &str = "
    INSERT INTO active (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, due_at, priority, attempts, max_attempts, fence, timeout_ms, retain_for_ms,
        input)
    SELECT $1, seq, id, kind, 1, resource_type, resource_id, project_id, project_version_id, $2, due_at, priority, 0,
        max_attempts, 0, timeout_ms, retain_for_ms, input
    FROM unnest($3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[],
        $11::smallint[], $12::int[], $13::bigint[], $14::bigint[], $15::text[])
        AS new (seq, id, kind, resource_type, resource_id, project_id, project_version_id, due_at, priority,
            max_attempts, timeout_ms, retain_for_ms, input)";

/// The columns of the rows to be inserted.
#[derive(Default)]
struct Rows {
    seqs: Vec<i64>,
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
}

impl Rows {
    fn push(&mut self, seq: i64, operation: &Operation, new: &NewOperation) {
        let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let (resource_type, resource_id) = match &new.resource {
            Some(resource) => (resource.resource_type.clone(), resource.resource_id.clone()),
            None => (String::new(), String::new()),
        };
        self.seqs.push(seq);
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
    }
}

/// Carries out the creations of one organisation, in their order; a conflict of keys fails that creation only.
pub(super) async fn create(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    creates: &[&Create],
) -> Result<Vec<Result<Vec<Operation>, StoreError>>, StoreError> {
    // The lock on the organisation's row also puts the looks at idempotency keys one after the other.
    let first = lock_numbers(connection, now, organization).await?;
    let mut next = first;
    let mut results: Vec<Result<Vec<Operation>, StoreError>> = Vec::with_capacity(creates.len());
    // Keys first used in this very batch: where their creation stands in `results`.
    let mut fresh_keys: HashMap<&str, (usize, [u8; 32])> = HashMap::new();
    let mut new_rows = Rows::default();
    let mut changes = Changes::default();
    for (index, create) in creates.iter().enumerate() {
        if let Some(key) = &create.key {
            let earlier = match fresh_keys.get(key.key.as_str()) {
                Some((first, fingerprint)) => {
                    let operations = results[*first].as_ref().map(Clone::clone).unwrap_or_default();
                    Some((*fingerprint, operations))
                }
                None => find_key(connection, now, organization, key).await?,
            };
            if let Some((fingerprint, operations)) = earlier {
                let same = fingerprint == key.fingerprint;
                results.push(if same { Ok(operations) } else { Err(StoreError::IdempotencyConflict) });
                continue;
            }
            fresh_keys.insert(&key.key, (index, key.fingerprint));
        }
        let mut created = Vec::with_capacity(create.operations.len());
        for (index, new) in create.operations.iter().enumerate() {
            let mut operation = new.to_operation(now);
            if let Some(id) = create.ids.get(index) {
                operation.id = *id;
            }
            changes.add(next, &new.project_id, &new.kind, Status::Pending, 1);
            new_rows.push(next, &operation, new);
            next += 1;
            created.push(operation);
        }
        if let Some(key) = &create.key {
            keep_key(connection, now, organization, key, &created).await?;
        }
        results.push(Ok(created));
    }
    if next > first {
        insert(connection, now, organization, new_rows).await?;
        sqlx::query("UPDATE organizations SET next_seq = $2 WHERE organization_id = $1")
            .bind(organization)
            .bind(next)
            .execute(&mut *connection)
            .await?;
        changes.write(connection, organization).await?;
    }
    Ok(results)
}

/// Locks the organisation's row, made if it is new; answers its next number.
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
            Ok(sqlx::query_scalar(LOCK_NUMBERS).bind(organization).fetch_one(&mut *connection).await?)
        }
    }
}

async fn insert(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    rows: Rows,
) -> Result<(), StoreError> {
    sqlx::query(INSERT)
        .bind(organization)
        .bind(now.as_millis())
        .bind(rows.seqs)
        .bind(rows.ids)
        .bind(rows.kinds)
        .bind(rows.resource_types)
        .bind(rows.resource_ids)
        .bind(rows.projects)
        .bind(rows.versions)
        .bind(rows.due_ats)
        .bind(rows.priorities)
        .bind(rows.max_attempts)
        .bind(rows.timeouts)
        .bind(rows.retain_fors)
        .bind(rows.inputs)
        .execute(connection)
        .await?;
    Ok(())
}

fn window_start(now: Timestamp) -> i64 {
    now.as_millis() - i64::try_from(IDEMPOTENCY_WINDOW.as_millis()).expect("a day fits")
}

async fn find_key(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    key: &IdempotencyKey,
) -> Result<Option<([u8; 32], Vec<Operation>)>, StoreError> {
    let found = sqlx::query(FIND_KEY)
        .bind(organization)
        .bind(&key.key)
        .bind(window_start(now))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
    let fingerprint =
        fingerprint.try_into().map_err(|_| StoreError::Unusable("a damaged idempotency key".to_owned()))?;
    let ids: Vec<Uuid> = row.try_get("ids")?;
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    // Served by active_by_id and settled_by_id.
    let sql = format!(
        "SELECT {active}, '' AS output, array_position($2, a.id) AS position FROM active a
         WHERE a.organization_id = $1 AND a.id = ANY ($2)
         UNION ALL
         SELECT {settled}, s.output, array_position($2, s.id) FROM settled s
         WHERE s.organization_id = $1 AND s.id = ANY ($2)
         ORDER BY position"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(ids).fetch_all(&mut *connection).await?;
    let operations = found.iter().map(rows::operation).collect::<Result<_, _>>()?;
    Ok(Some((fingerprint, operations)))
}

async fn keep_key(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    key: &IdempotencyKey,
    created: &[Operation],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = created.iter().map(|operation| rows::uuid(&operation.id)).collect();
    sqlx::query(KEEP_KEY)
        .bind(organization)
        .bind(&key.key)
        .bind(key.fingerprint.as_slice())
        .bind(ids)
        .bind(now.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets up to `limit` keys past their window.
pub(super) async fn forget_keys(connection: &mut PgConnection, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let done = sqlx::query(FORGET_KEYS).bind(window_start(now)).bind(i64::from(limit)).execute(connection).await?;
    Ok(done.rows_affected())
}
