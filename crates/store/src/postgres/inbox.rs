//! The inbox: rows that applications created in their own transactions become operations.
//!
//! One transaction takes rows of one organization out of the inbox and puts the operations in: exactly once, however
//! many servers do it at a time, since the lock on the organization's row (the one under which numbers are taken) lets
//! them in one after the other, and each sees what the one before it took.
//!
//! **Order.** Rows are taken in the order of their transactions' numbers, then of insertion. A transaction that
//! committed before another one inserted its first row comes before it; of transactions that overlap, one comes after
//! the other, or later if it commits after the other's rows were taken. The rows of a transaction keep their order:
//! they become visible at once, and are taken from the first on.
//!
//! **Limits.** Rows that their organization may not have as operations yet, by its [quota](crate::Quota), stay in the
//! inbox until it may.
//!
//! A row that cannot become an operation stays, with the reason in `refused`, and is reported by `longrun doctor`.

use std::time::Duration;

use operations::{NewOperation, OperationId, Projects, Resource, Timestamp, Violation};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::connections::Connections;
use super::error::unavailable;
use super::folds::Folds;
use super::heads::Heads;
use super::tx::Tx;
use super::{create, rows};
use crate::batch::Create;
use crate::quota::Admission;
use crate::seal::{Field, Owner};
use crate::{IdempotencyKey, Keyring, StoreError};

/// Bytes of input that one transaction takes at most (one row more may go over).
const BATCH_BYTES: i64 = 8 * 1024 * 1024;

/// Organizations with something in the inbox: a loose scan, one seek each. Rows for an organization that does not exist
/// wait until it does. Served by inbox_waiting.
const WAITING: &str = "
    WITH RECURSIVE organization (id) AS (
        (SELECT organization_id FROM inbox WHERE refused IS NULL ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM inbox WHERE refused IS NULL AND organization_id > organization.id
            ORDER BY organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT id FROM organization
    WHERE id IS NOT NULL AND EXISTS (SELECT FROM organizations o WHERE o.organization_id = organization.id AND o.deleted = 0)";

/// The table is empty at most times, and the planner's statistics of it are worth nothing when it is not: the plan that
/// it must choose is known. Sorting or scanning a backlog for every batch would make emptying it quadratic; so would a
/// plan that was made, and kept, while the other tables were empty. Nor may it wait long for an organization that is
/// locked.
const PLAN: &str = "
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
        set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true),
        set_config('plan_cache_mode', 'force_custom_plan', true), set_config('lock_timeout', $1, true)";

/// The first rows of the inbox. Served by inbox_waiting, active_by_id and settled_by_id.
const FIRST_ROWS: &str = "
    SELECT place::text, id, kind, input, resource_type, resource_id, project_id, project_version_id, priority::smallint,
        ceil(extract(epoch FROM run_after) * 1000)::bigint AS run_after,
        ceil(extract(epoch FROM timeout) * 1000)::bigint AS timeout, max_attempts,
        ceil(extract(epoch FROM retain_for) * 1000)::bigint AS retain_for, idempotency_key, fingerprint,
        coalesce((SELECT true FROM active a WHERE a.organization_id = $1 AND a.id = candidate.id LIMIT 1),
            (SELECT true FROM settled s WHERE s.organization_id = $1 AND s.id = candidate.id LIMIT 1), false) AS id_is_taken
    FROM (
        SELECT *, sum(octet_length(input)) OVER (ORDER BY xid, position
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM (
            SELECT i.ctid AS place, i.*,
                CASE WHEN idempotency_key IS NOT NULL THEN inbox_fingerprint(i) END AS fingerprint
            FROM inbox i WHERE organization_id = $1 AND refused IS NULL ORDER BY xid, position LIMIT $2) head
    ) candidate
    WHERE coalesce(bytes_before, 0) < $3
    ORDER BY xid, position";

/// By their places, which only somebody outside longrun can change meanwhile.
const TAKE_OUT: &str =
    "DELETE FROM inbox WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1";

const REFUSE: &str = "
    UPDATE inbox i SET refused = r.reason FROM unnest($2::uuid[], $3::text[]) AS r (id, reason)
    WHERE i.organization_id = $1 AND i.id = r.id";

/// Creates operations from up to `limit` rows of every organization; answers how many rows were handled.
pub(super) async fn drain(
    pool: &Connections,
    now: Timestamp,
    limit: u32,
    admission: &Admission,
    heads: &Heads,
    folds: &Folds,
) -> Result<u64, StoreError> {
    let organizations: Vec<String> = sqlx::query_scalar(WAITING).fetch_all(pool).await?;
    let (mut rows, mut failed) = (0, None);
    for organization in organizations {
        if !admission.may_have_more(&organization, now) {
            continue;
        }
        let part = async {
            let mut connection = pool.acquire().await.map_err(unavailable)?;
            let mut transaction = Tx::begun(&mut connection).await?;
            let lock = pool.limits().lock.as_millis().to_string();
            sqlx::query(PLAN).bind(lock).execute(&mut *transaction).await?;
            let part = drain_one(&mut transaction, now, &organization, limit, admission, heads).await?;
            transaction.commit().await?;
            connection.release();
            Ok::<_, StoreError>(part)
        };
        match pool.within(part).await.map_err(StoreError::or_unavailable) {
            Ok(part) => {
                rows += part;
                folds.note(&organization);
            }
            // An organization whose row is locked, or whose rows in the inbox cause an error, must not hold up the
            // others.
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(
                    organization,
                    error = cause,
                    "the organization's rows in the inbox could not be processed"
                );
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if rows == 0 => Err(error),
        _ => Ok(rows),
    }
}

async fn drain_one(
    connection: &mut Tx<'_>,
    now: Timestamp,
    organization: &str,
    limit: u32,
    admission: &Admission,
    heads: &Heads,
) -> Result<u64, StoreError> {
    // Before the rows are read: no other server is working on rows that are seen after this.
    create::lock_numbers(connection, now, organization).await?;
    let quota = admission.of(organization);
    let mut capacity = u64::from(limit).min(admission.allowed(organization, now).unwrap_or(u64::MAX));
    if let Some(limit) = quota.max_pending {
        capacity = capacity.min(create::capacity_left(connection, now, admission, organization, limit).await?);
    }
    if capacity == 0 {
        admission.has_all(organization, now);
        return Ok(0);
    }
    let found = sqlx::query(FIRST_ROWS)
        .bind(organization)
        .bind(i64::try_from(capacity).unwrap_or(i64::MAX))
        .bind(BATCH_BYTES)
        .fetch_all(&mut **connection)
        .await?;
    let (mut creates, mut refused) = (Vec::with_capacity(found.len()), Refused::default());
    let keyring = admission.keyring();
    for row in &found {
        let (id, create) = create_of(organization, row)?;
        let place: String = row.try_get("place")?;
        let is_own = admission.quotas().limited(&create.operations) == 0;
        let reserved =
            is_own.then(|| Violation::new("kind", "is reserved: longrun itself makes the operations of this kind"));
        let too_long = create.operations.iter().filter_map(|new| quota.input_violation(&new.input));
        let violations: Vec<String> = create
            .operations
            .iter()
            .flat_map(NewOperation::violations)
            .chain(too_long)
            .chain(reserved)
            .map(|violation| violation.to_string())
            .collect();
        if row.try_get("id_is_taken")? {
            refused.push(id, "another operation has its id");
        } else if violations.is_empty() {
            creates.push((id, place, sealed(&keyring, create)));
        } else {
            refused.push(id, &violations.join("; "));
        }
    }
    let requests: Vec<&Create> = creates.iter().map(|(_, _, (create, _))| create).collect();
    let mut results = create::create(connection, now, admission, heads, organization, None, &requests).await?;
    // A key may have been used for the same request while another encryption key was the active one.
    for way in 0.. {
        let conflicts = creates.iter_mut().zip(&mut results).filter_map(|((_, _, (create, fingerprints)), result)| {
            let fingerprint = *fingerprints.get(way)?;
            matches!(result, Err(StoreError::IdempotencyConflict)).then(|| {
                create.key.iter_mut().for_each(|key| key.fingerprint = fingerprint);
                (&*create, result)
            })
        });
        let (requests, answers): (Vec<&Create>, Vec<_>) = conflicts.unzip();
        if requests.is_empty() {
            break;
        }
        let again = create::create(connection, now, admission, heads, organization, None, &requests).await?;
        again.into_iter().zip(answers).for_each(|(result, answer)| *answer = result);
    }
    let mut left = 0;
    let mut done = Vec::with_capacity(creates.len());
    for ((id, place, _), result) in creates.iter().zip(results) {
        match result {
            Ok(_) => done.push(place.as_str()),
            Err(StoreError::Exceeded(_)) => left += 1,
            Err(conflict) => refused.push(*id, &conflict.to_string()),
        }
    }
    let taken_out = sqlx::query(TAKE_OUT).bind(organization).bind(&done).execute(&mut **connection).await?;
    if taken_out.rows_affected() != done.len() as u64 {
        // Somebody deleted rows by hand meanwhile; the operations that were just created from them go with the
        // transaction.
        return Err(StoreError::Unavailable("rows of the inbox were removed while they were processed".to_owned()));
    }
    refused.write(connection, organization).await?;
    // There was capacity for this many a moment ago.
    let _ = admission.take(organization, done.len(), now);
    Ok(found.len() as u64 - left)
}

/// A row as a creation of one operation, with the id that was given to the application.
fn create_of(organization: &str, row: &PgRow) -> Result<(Uuid, Create), StoreError> {
    let id: Uuid = row.try_get("id")?;
    let duration = |column| Ok::<_, StoreError>(row.try_get::<Option<i64>, _>(column)?.map(millis));
    let resource_type: String = row.try_get("resource_type")?;
    let resource_id: String = row.try_get("resource_id")?;
    let new = NewOperation {
        kind: row.try_get("kind")?,
        resource: (!resource_type.is_empty()).then_some(Resource { resource_type, resource_id }),
        project_id: row.try_get("project_id")?,
        project_version_id: row.try_get("project_version_id")?,
        input: row.try_get("input")?,
        priority: row.try_get("priority")?,
        run_after: rows::time(row, "run_after")?,
        timeout: duration("timeout")?,
        max_attempts: row.try_get::<i32, _>("max_attempts")?.unsigned_abs(),
        retain_for: duration("retain_for")?,
        ..NewOperation::of_kind("")
    };
    let key = match row.try_get::<Option<String>, _>("idempotency_key")? {
        None => None,
        Some(key) => {
            let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
            let fingerprint = fingerprint.try_into().expect("a SHA-256 has 32 bytes");
            Some(IdempotencyKey { key, fingerprint })
        }
    };
    let create = Create {
        organization: organization.to_owned(),
        seen_by: Projects::All,
        operations: vec![new],
        ids: vec![OperationId::from_bytes(*id.as_bytes())],
        key,
        start: None,
        call: None,
    };
    Ok((id, create))
}

/// A creation with its input as it is to be stored, and the fingerprint of its key; after it the fingerprints that may
/// have been stored before.
fn sealed(keyring: &Keyring, mut create: Create) -> (Create, Vec<[u8; 32]>) {
    for (new, id) in create.operations.iter_mut().zip(&create.ids) {
        let owner = Owner { organization: &create.organization, id: *id, field: Field::Input };
        new.input = keyring.seal(&owner, &new.input);
    }
    let Some(key) = &mut create.key else { return (create, Vec::new()) };
    let mut fingerprints = keyring.fingerprints(&create.organization, key.fingerprint);
    key.fingerprint = fingerprints.remove(0);
    (create, fingerprints)
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Rows that stay in the inbox, with the reasons.
#[derive(Default)]
struct Refused {
    ids: Vec<Uuid>,
    reasons: Vec<String>,
}

impl Refused {
    fn push(&mut self, id: Uuid, reason: &str) {
        self.ids.push(id);
        self.reasons.push(reason.to_owned());
    }

    async fn write(self, connection: &mut PgConnection, organization: &str) -> Result<(), StoreError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let rows = self.ids.len();
        tracing::error!(organization, rows, "rows of the inbox cannot become operations; `longrun doctor` shows which");
        sqlx::query(REFUSE).bind(organization).bind(self.ids).bind(self.reasons).execute(connection).await?;
        Ok(())
    }
}
