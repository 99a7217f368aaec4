//! Statistics: see [`crate::statistics`].

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{Access, OperationId, Step, Timestamp};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::connections::Connections;
use super::tx::Tx;
use super::{PostgresStore, changes, list, rows};
use crate::StoreError;
use crate::changes::{Changes, Position};
use crate::statistics::{
    CountedPart, Counts, MAX_ROWS, Past, Place, Points, STATISTICS_CONSUMER, Statistics, StatisticsAnswer,
    StatisticsRequest, Subject, Tally, count,
};

/// Served by active_by_id and settled_by_id, once per id.
const SUBJECTS: &str = "
    SELECT u.id, o.* FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
        SELECT seq, kind, project_id, created_at, fence, NULL::bigint AS finished_at, NULL::bigint AS started_at
        FROM active WHERE organization_id = $1 AND id = u.id
        UNION ALL
        SELECT seq, kind, project_id, created_at, fence, finished_at, CASE WHEN worker <> '' THEN started_at END
        FROM settled WHERE organization_id = $1 AND id = u.id OFFSET 0) AS o";

/// Served by events_by_operation, once per operation. 7: an end that was retried.
const PAST: &str = "
    SELECT u.seq, e.* FROM unnest($2::bigint[]) AS u (seq) CROSS JOIN LATERAL (
        SELECT kind, at, started_at FROM events
        WHERE organization_id = $1 AND seq = u.seq AND (started_at IS NOT NULL OR kind = 7) OFFSET 0) AS e";

/// A reader that has read something stands where its mark is; one that has not, where it began.
const MOVE: &str = "
    UPDATE change_marks SET xid = $5::text::xid8, n = $6, seen = $7
    WHERE reader = 'statistics' AND organization_id = $1 AND xid = $2::text::xid8 AND n = $3 AND seen = $4";
const FIRST_MOVE: &str = "
    INSERT INTO change_marks (reader, organization_id, xid, n, seen)
    SELECT reader, $1, $5::text::xid8, $6, $7 FROM change_readers
    WHERE reader = 'statistics' AND xid = $2::text::xid8 AND $3::int = 0 AND $4::int = 0
    ON CONFLICT (reader, organization_id) DO NOTHING";

/// Numbers that were given before a position in the change log: all except those of the creations after it. A creation
/// takes its numbers and appends to the change log in one statement, so that a snapshot has both or neither. Served by
/// the primary key.
const BEFORE: &str = "(o.next_seq - 1 - (
    SELECT coalesce(sum(cardinality(c.ids) - CASE WHEN (c.xid, c.n) = ($2::text::xid8, $3::int) THEN $4::int ELSE 0 END), 0)
    FROM changes c
    WHERE c.organization_id = o.organization_id AND (c.xid, c.n) >= ($2::text::xid8, $3::int) AND c.is_creation))";

const COUNT_CREATED: &str = "UPDATE statistics_origins SET created = created + $2 WHERE organization_id = $1";

/// Served by the primary key, once per row.
const STORED: &str = "
    SELECT u.place, s.* FROM unnest($2::smallint[], $3::text[], $4::bigint[], $5::text[]) WITH ORDINALITY
        AS u (step, project_id, start, kind, place) CROSS JOIN LATERAL (
        SELECT created, started, completed, failed, waiting, running FROM statistics
        WHERE organization_id = $1 AND step = u.step AND project_id = u.project_id AND start = u.start
            AND kind = u.kind OFFSET 0) AS s";
const STORE: &str = "
    INSERT INTO statistics (organization_id, step, project_id, start, kind, created, started, completed, failed,
        waiting, running)
    SELECT $1, u.* FROM unnest($2::smallint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[]) AS u
    ON CONFLICT (organization_id, step, project_id, start, kind) DO UPDATE SET created = excluded.created,
        started = excluded.started, completed = excluded.completed, failed = excluded.failed,
        waiting = excluded.waiting, running = excluded.running";

/// Organizations that are being moved are left out, by a subquery that keeps the order of the index. Served by
/// statistics_by_age.
const FORGET: &str = "
    DELETE FROM statistics WHERE (organization_id, step, project_id, start, kind) IN (
        SELECT organization_id, step, project_id, start, kind FROM statistics s WHERE step = $1 AND start < $2
            AND (SELECT true FROM organizations_elsewhere e WHERE e.organization_id = s.organization_id) IS NULL
        ORDER BY start LIMIT $3)";

/// Since when an organization is counted, and the first change that is not. Served by primary keys.
const STATE: &str = "
    SELECT coalesce(s.since,
            greatest(o.created_at, (SELECT since FROM statistics_origins WHERE organization_id = ''))) AS since,
        c.at AS uncounted
    FROM organizations o CROSS JOIN LATERAL (
        SELECT coalesce(m.xid, r.xid) AS xid, coalesce(m.n, 0) AS n, coalesce(m.seen, 0) AS seen
        FROM change_readers r LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = $1
        WHERE r.reader = 'statistics' OFFSET 0) AS p
    LEFT JOIN statistics_origins s ON s.organization_id = $1
    LEFT JOIN LATERAL (
        SELECT at FROM changes
        WHERE organization_id = $1 AND (xid, n) >= (p.xid, p.n)
            AND ((xid, n) > (p.xid, p.n) OR cardinality(ids) > p.seen)
        ORDER BY xid, n LIMIT 1) AS c ON true
    WHERE o.organization_id = $1";

/// Served by the primary key; rows of several projects are sorted.
const READ: &str = "
    SELECT start, kind, created, started, completed, failed, waiting, running FROM statistics
    WHERE organization_id = $1 AND step = $2 AND project_id = ANY ($3) AND start >= $4 AND start < $5
        AND ($6::text IS NULL OR kind = $6) AND kind IS DISTINCT FROM $7
    ORDER BY start, kind COLLATE \"C\" LIMIT $8";

/// Organizations whose numbers do not add up: those before the statistics began, those counted, and those that the
/// change log still has.
pub(super) const DIFFER: &str = "
    SELECT organization_id || ': ' || numbers || ' numbers, ' || created_before || ' before, ' || created
        || ' counted, ' || uncounted || ' in the change log'
    FROM (
        SELECT o.organization_id, o.next_seq - 1 AS numbers, s.created_before, s.created, (
            SELECT coalesce(sum(cardinality(c.ids) - CASE WHEN (c.xid, c.n) = (m.xid, m.n) THEN m.seen ELSE 0 END), 0)
            FROM changes c
            WHERE c.organization_id = o.organization_id AND (c.xid, c.n) >= (coalesce(m.xid, r.xid), coalesce(m.n, 0))
                AND c.is_creation) AS uncounted
        FROM organizations o JOIN statistics_origins s ON s.organization_id = o.organization_id
        JOIN change_readers r ON r.reader = 'statistics'
        LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.organization_id
        WHERE o.deleted = 0) AS counted
    WHERE created_before + created + uncounted <> numbers";

#[async_trait]
impl Statistics for PostgresStore {
    async fn begin_statistics(&self) -> Result<(), StoreError> {
        begin(&self.pool, (self.clock)()).await.map_err(StoreError::or_unavailable)
    }

    async fn count_changes(&self, organization: &str, from: Position, limit: u32) -> Result<bool, StoreError> {
        count(self, organization, from, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn statistics(
        &self,
        access: &Access,
        request: &StatisticsRequest,
        limit: u32,
    ) -> Result<StatisticsAnswer, StoreError> {
        read(&self.pool, (self.clock)(), access, request, limit).await.map_err(StoreError::or_unavailable)
    }

    async fn forget_statistics(&self, limit: u32) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        for step in Step::ALL {
            let Some(kept) = step.kept() else { continue };
            let before = step.start((self.clock)().before(kept)).as_millis();
            let forget = sqlx::query(FORGET).bind(step.number()).bind(before).bind(i64::from(limit));
            forgotten += forget
                .execute(&self.pool)
                .await
                .map_err(|error| StoreError::from(error).or_unavailable())?
                .rows_affected();
        }
        Ok(forgotten)
    }
}

#[async_trait]
impl Tally for PostgresStore {
    async fn part(&self, organization: &str, from: Position, limit: u32) -> Result<Changes, StoreError> {
        changes::read(&self.pool, organization, from, limit).await
    }

    async fn subjects(
        &self,
        organization: &str,
        ids: Vec<OperationId>,
    ) -> Result<HashMap<OperationId, Subject>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(rows::uuid).collect();
        let found = sqlx::query(SUBJECTS).bind(organization).bind(ids).fetch_all(&self.pool).await?;
        let subject = |row: &PgRow| {
            let id: Uuid = row.try_get("id")?;
            let subject = Subject {
                seq: row.try_get("seq")?,
                kind: row.try_get("kind")?,
                project_id: row.try_get("project_id")?,
                created_at: Timestamp::from_millis(row.try_get("created_at")?),
                fence: row.try_get("fence")?,
                end: rows::time(row, "finished_at")?
                    .map(|at| Ok::<_, StoreError>((at, rows::time(row, "started_at")?)))
                    .transpose()?,
            };
            Ok((OperationId::from_bytes(*id.as_bytes()), subject))
        };
        found.iter().map(subject).collect()
    }

    async fn past(&self, organization: &str, numbers: Vec<i64>) -> Result<Vec<Past>, StoreError> {
        let found = sqlx::query(PAST).bind(organization).bind(numbers).fetch_all(&self.pool).await?;
        let past = |row: &PgRow| {
            Ok(Past {
                seq: row.try_get("seq")?,
                kind: row.try_get::<i16, _>("kind")?.into(),
                at: Timestamp::from_millis(row.try_get("at")?),
                started_at: rows::time(row, "started_at")?,
            })
        };
        found.iter().map(past).collect()
    }

    async fn commit(&self, part: CountedPart) -> Result<bool, StoreError> {
        let commit = async {
            let mut connection = self.pool.acquire().await?;
            // If the counts are lost, so is the reader's mark, and the changes are counted again.
            let mut tx = Tx::durable_later(&mut connection).await?;
            let is_moved = commit(&mut tx, &part).await?;
            tx.commit().await?;
            connection.release();
            Ok::<_, StoreError>(is_moved)
        };
        self.pool.within(commit).await
    }

    async fn skip(&self, organization: &str, from: Position) -> Result<bool, StoreError> {
        let end = changes::end(&self.pool, organization).await?;
        let skip = async {
            let mut connection = self.pool.acquire().await?;
            let mut tx = Tx::begun(&mut connection).await?;
            let is_moved = skip(&mut tx, (self.clock)(), organization, from, end).await?;
            tx.commit().await?;
            connection.release();
            Ok::<_, StoreError>(is_moved)
        };
        self.pool.within(skip).await
    }
}

async fn begin(pool: &Connections, now: Timestamp) -> Result<(), StoreError> {
    let begin = async {
        let mut connection = pool.acquire().await?;
        let mut tx = Tx::begun(&mut connection).await?;
        if begin_on(&mut tx, now).await? {
            tx.commit().await?;
        } else {
            tx.roll_back().await?;
        }
        connection.release();
        Ok::<_, StoreError>(())
    };
    pool.within(begin).await
}

/// Answers whether it has begun now.
async fn begin_on(connection: &mut PgConnection, now: Timestamp) -> Result<bool, StoreError> {
    let reader = "INSERT INTO change_readers (reader, xid) VALUES ($1, pg_snapshot_xmin(pg_current_snapshot()))
        ON CONFLICT DO NOTHING RETURNING xid::text";
    let begun: Option<String> =
        sqlx::query_scalar(reader).bind(STATISTICS_CONSUMER).fetch_optional(&mut *connection).await?;
    let Some(xid) = begun else { return Ok(false) };
    let marks = "DELETE FROM change_marks WHERE reader = $1";
    sqlx::query(marks).bind(STATISTICS_CONSUMER).execute(&mut *connection).await?;
    // Earlier counts stay, with a gap up to now.
    let anew = format!(
        "UPDATE statistics_origins AS s SET since = $1, created_before = {BEFORE} - s.created
         FROM organizations o WHERE o.organization_id = s.organization_id"
    );
    let anew = sqlx::query(AssertSqlSafe(anew)).bind(now.as_millis()).bind(xid).bind(0).bind(0);
    anew.execute(&mut *connection).await?;
    let origin =
        "INSERT INTO statistics_origins (organization_id, since, created_before, created) VALUES ('', $1, 0, 0)
        ON CONFLICT (organization_id) DO UPDATE SET since = excluded.since";
    sqlx::query(origin).bind(now.as_millis()).execute(connection).await?;
    Ok(true)
}

fn small(number: u32) -> Result<i32, StoreError> {
    i32::try_from(number).map_err(|_| StoreError::PositionUnknown)
}

/// Moves the reader, if it stands at `from`; answers whether it did. The transaction that moves it holds its mark until
/// its end, and with it everything that is counted for the organization.
async fn advance(
    connection: &mut PgConnection,
    organization: &str,
    from: Position,
    next: Position,
) -> Result<bool, StoreError> {
    for sql in [MOVE, FIRST_MOVE] {
        let moved = sqlx::query(sql)
            .bind(organization)
            .bind(from.row.to_string())
            .bind(small(from.part)?)
            .bind(small(from.seen)?)
            .bind(next.row.to_string())
            .bind(small(next.part)?)
            .bind(small(next.seen)?)
            .execute(&mut *connection)
            .await?;
        if moved.rows_affected() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the organization exists, and is not being deleted. Changes of one that is being moved to another database
/// are not passed over here: they are counted there.
async fn is_there(connection: &mut PgConnection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT deleted FROM organizations WHERE organization_id = $1";
    match sqlx::query_scalar(sql).bind(organization).fetch_optional(connection).await? {
        Some(super::AWAY) => Err(StoreError::Unavailable("the organization is being moved".to_owned())),
        standing => Ok(standing == Some(0_i16)),
    }
}

async fn commit(connection: &mut PgConnection, part: &CountedPart) -> Result<bool, StoreError> {
    let organization = part.organization.as_str();
    if !advance(connection, organization, part.from, part.next).await? {
        return Ok(false);
    }
    if !is_there(connection, organization).await? {
        return Ok(true);
    }
    let created = i64::try_from(part.created).unwrap_or(i64::MAX);
    let counted = sqlx::query(COUNT_CREATED).bind(organization).bind(created).execute(&mut *connection).await?;
    if counted.rows_affected() == 0 {
        let sql = format!(
            "INSERT INTO statistics_origins (organization_id, since, created_before, created)
             SELECT o.organization_id,
                 greatest(o.created_at, (SELECT since FROM statistics_origins WHERE organization_id = '')), {BEFORE}, $5
             FROM organizations o WHERE o.organization_id = $1"
        );
        origin(sqlx::query(AssertSqlSafe(sql)), organization, part.from)?
            .bind(created)
            .execute(&mut *connection)
            .await?;
    }
    add(connection, organization, part).await?;
    Ok(true)
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

/// Binds the values that [`BEFORE`] needs.
fn origin<'q>(sql: Statement<'q>, organization: &'q str, from: Position) -> Result<Statement<'q>, StoreError> {
    Ok(sql.bind(organization).bind(from.row.to_string()).bind(small(from.part)?).bind(small(from.seen)?))
}

/// Adds the counts of a part to those that are stored.
async fn add(connection: &mut PgConnection, organization: &str, part: &CountedPart) -> Result<(), StoreError> {
    let places: Vec<&Place> = part.counts.keys().collect();
    let mut sums: Vec<Counts> = part.counts.values().cloned().collect();
    let steps: Vec<i16> = places.iter().map(|place| place.step.number()).collect();
    let projects: Vec<&str> = places.iter().map(|place| place.project_id.as_str()).collect();
    let starts: Vec<i64> = places.iter().map(|place| place.start.as_millis()).collect();
    let kinds: Vec<&str> = places.iter().map(|place| place.kind.as_str()).collect();
    let stored = sqlx::query(STORED).bind(organization).bind(&steps).bind(&projects).bind(&starts).bind(&kinds);
    for row in stored.fetch_all(&mut *connection).await? {
        let place = row.try_get::<i64, _>("place")?.unsigned_abs() as usize - 1;
        sums[place].add(&stored_counts(&row)?);
    }
    let numbers: Vec<[i64; 4]> = sums.iter().map(Counts::numbers).collect();
    let column = |index: usize| numbers.iter().map(|numbers| numbers[index]).collect::<Vec<i64>>();
    let waiting: Vec<Vec<u8>> = sums.iter().map(|sum| sum.waiting.to_bytes()).collect();
    let running: Vec<Vec<u8>> = sums.iter().map(|sum| sum.running.to_bytes()).collect();
    let store = sqlx::query(STORE).bind(organization).bind(&steps).bind(&projects).bind(&starts).bind(&kinds);
    let store = store.bind(column(0)).bind(column(1)).bind(column(2)).bind(column(3)).bind(waiting).bind(running);
    store.execute(connection).await?;
    Ok(())
}

fn stored_counts(row: &PgRow) -> Result<Counts, StoreError> {
    let number = |column| row.try_get::<i64, _>(column);
    let numbers = [number("created")?, number("started")?, number("completed")?, number("failed")?];
    Counts::stored(numbers, row.try_get("waiting")?, row.try_get("running")?)
}

async fn skip(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    from: Position,
    end: Position,
) -> Result<bool, StoreError> {
    let floor = "SELECT xid::text, n, entries FROM change_floors
        WHERE organization_id = $1 AND (xid, n, entries) > ($2::text::xid8, $3, $4)";
    let floor: Option<(String, i32, i32)> = sqlx::query_as(floor)
        .bind(organization)
        .bind(from.row.to_string())
        .bind(small(from.part)?)
        .bind(small(from.seen)?)
        .fetch_optional(&mut *connection)
        .await?;
    let next = match floor {
        Some((xid, n, entries)) => changes::position(&xid, n, entries)?,
        None => end,
    };
    if !advance(connection, organization, from, next).await? {
        return Ok(false);
    }
    let sql = format!(
        "INSERT INTO statistics_origins AS s (organization_id, since, created_before, created)
         SELECT o.organization_id, $5, {BEFORE}, 0 FROM organizations o WHERE o.organization_id = $1 AND o.deleted = 0
         ON CONFLICT (organization_id)
             DO UPDATE SET since = excluded.since, created_before = excluded.created_before - s.created"
    );
    let origin = origin(sqlx::query(AssertSqlSafe(sql)), organization, next)?;
    origin.bind(now.as_millis()).execute(connection).await?;
    Ok(true)
}

async fn read(
    pool: &Connections,
    now: Timestamp,
    access: &Access,
    request: &StatisticsRequest,
    limit: u32,
) -> Result<StatisticsAnswer, StoreError> {
    let state = sqlx::query(STATE).bind(&access.organization).fetch_optional(pool).await?;
    let (mut available_since, mut complete_until) = (None, None);
    if let Some(row) = state {
        available_since = rows::time(&row, "since")?;
        complete_until = Some(rows::time(&row, "uncounted")?.unwrap_or(now));
    }
    let (kind, not_kind) = request.kinds();
    let found = sqlx::query(READ)
        .bind(&access.organization)
        .bind(request.step.number())
        .bind(list::projects(access).unwrap_or_else(|| vec![String::new()]))
        .bind(request.step.start(request.from).as_millis())
        .bind(request.to.as_millis())
        .bind(kind)
        .bind(not_kind)
        .bind(i64::from(MAX_ROWS) + 1)
        .fetch_all(pool)
        .await?;
    let mut points = Points::of(request, limit);
    for row in &found {
        let start = Timestamp::from_millis(row.try_get("start")?);
        if !points.take(start, row.try_get("kind")?, &stored_counts(row)?) {
            break;
        }
    }
    Ok(StatisticsAnswer { available_since, complete_until, points: points.points, is_cut: points.is_cut })
}

/// Forgets the position up to which changes are counted when another cluster numbered them (a restored dump): changes
/// that are left would be counted twice.
pub(super) async fn adopt(pool: &Connections) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM change_readers WHERE reader = $1 AND EXISTS (
        SELECT FROM change_marks WHERE reader = $1 AND xid > pg_snapshot_xmax(pg_current_snapshot()))";
    sqlx::query(sql).bind(STATISTICS_CONSUMER).execute(pool).await?;
    Ok(())
}
