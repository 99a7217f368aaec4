//! Reading: counted pages, single operations, outputs. The same steps as in the embedded store (see `sqlite/list.rs`):
//! coarse counters, fine counters, the keys of the page, its rows; all in one repeatable-read transaction.

use operations::{Access, Filter, Operation, OperationId, PageInfo, PageRequest, Projects};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Row};
use std::fmt::Write as _;

use super::rows;
use crate::plan::{Coarse, Counts, Span, Table, tables};
use crate::{LISTED_OUTPUT_BYTES, Listed, Listing, StoreError};

/// Reads one page and the total, from one snapshot.
pub(super) async fn list(
    pool: &PgPool,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<Listing, StoreError> {
    let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let query = Query { access, filter };
    let (total_count, span) = if filter.resource.is_some() {
        let total = query.count_rows(&mut snapshot).await?;
        let span = Span { lower: 0, upper: i64::MAX, skip: page.offset() };
        (total, (page.offset() < total).then_some(span))
    } else {
        query.locate(&mut snapshot, page).await?
    };
    let entries = match span {
        Some(span) => query.read(&mut snapshot, span, page.page_size).await?,
        None => Vec::new(),
    };
    snapshot.commit().await?;
    Ok(Listing { entries, page: PageInfo { total_count, request: page } })
}

struct Query<'q> {
    access: &'q Access,
    filter: &'q Filter,
}

fn projects(access: &Access) -> Option<Vec<String>> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().cloned().collect()),
    }
}

/// Base and deltas from the fold's horizon on; $1 organisation, $2 level, $3 and $4 buckets, $5 kind, $6 status. Served
/// by the counters' primary keys and counter_deltas_by_xid.
const COUNTS: &str = "
    SELECT bucket, sum(n)::bigint AS n FROM (
        SELECT bucket, n FROM counters
        WHERE organization_id = $1 AND level = $2 AND bucket BETWEEN $3 AND $4
            AND ($5::text IS NULL OR kind = $5) AND ($6::smallint IS NULL OR status = $6)
        UNION ALL
        SELECT CASE $2 WHEN 1 THEN bucket ELSE bucket >> 8 END, n FROM counter_deltas
        WHERE organization_id = $1
            AND xid >= coalesce((SELECT folded_before FROM counter_folds WHERE organization_id = $1), '0')
            AND CASE $2 WHEN 1 THEN bucket ELSE bucket >> 8 END BETWEEN $3 AND $4
            AND ($5::text IS NULL OR kind = $5) AND ($6::smallint IS NULL OR status = $6)
    ) AS counted (bucket, n)
    GROUP BY bucket HAVING sum(n) > 0 ORDER BY bucket DESC";

/// The same for the projects $7.
const PROJECT_COUNTS: &str = "
    SELECT bucket, sum(n)::bigint AS n FROM (
        SELECT bucket, n FROM project_counters
        WHERE organization_id = $1 AND project_id = ANY ($7) AND level = $2 AND bucket BETWEEN $3 AND $4
            AND ($5::text IS NULL OR kind = $5) AND ($6::smallint IS NULL OR status = $6)
        UNION ALL
        SELECT CASE $2 WHEN 1 THEN bucket ELSE bucket >> 8 END, n FROM counter_deltas
        WHERE organization_id = $1 AND project_id = ANY ($7)
            AND xid >= coalesce((SELECT folded_before FROM counter_folds WHERE organization_id = $1), '0')
            AND CASE $2 WHEN 1 THEN bucket ELSE bucket >> 8 END BETWEEN $3 AND $4
            AND ($5::text IS NULL OR kind = $5) AND ($6::smallint IS NULL OR status = $6)
    ) AS counted (bucket, n)
    GROUP BY bucket HAVING sum(n) > 0 ORDER BY bucket DESC";

impl Query<'_> {
    fn status(&self) -> Option<i16> {
        self.filter.status.map(|status| i16::from(status.number()))
    }

    /// Total and span by the counters.
    async fn locate(&self, snapshot: &mut PgConnection, page: PageRequest) -> Result<(u64, Option<Span>), StoreError> {
        let coarse = Coarse::new(self.counts(snapshot, 2, Coarse::ALL).await?);
        let mut fine = Vec::new();
        for range in coarse.fine_ranges(page) {
            fine.extend(self.counts(snapshot, 1, range).await?);
        }
        let span = if fine.is_empty() { None } else { Some(coarse.span(&fine, page)?) };
        Ok((coarse.total(), span))
    }

    /// Matching operations per bucket, newest bucket first.
    async fn counts(
        &self,
        snapshot: &mut PgConnection,
        level: i16,
        (from, to): (i64, i64),
    ) -> Result<Counts, StoreError> {
        let projects = projects(self.access);
        let query = sqlx::query(if projects.is_some() { PROJECT_COUNTS } else { COUNTS })
            .bind(&self.access.organization)
            .bind(level)
            .bind(from)
            .bind(to)
            .bind(self.filter.kind.as_deref())
            .bind(self.status());
        let query = match projects {
            Some(projects) => query.bind(projects),
            None => query,
        };
        let found = query.fetch_all(snapshot).await?;
        found.iter().map(|row| Ok((row.try_get("bucket")?, row.try_get::<i64, _>("n")?.unsigned_abs()))).collect()
    }

    /// Counts by the index, for filters without counters (a resource): a short range.
    async fn count_rows(&self, snapshot: &mut PgConnection) -> Result<u64, StoreError> {
        let mut total = 0;
        for table in tables(self.filter) {
            let mut sql = Sql::default();
            sql.arm(self, table, "count(*)", None)?;
            let row = sqlx::query_with(AssertSqlSafe(sql.text), sql.arguments).fetch_one(&mut *snapshot).await?;
            total += row.try_get::<i64, _>(0)?.unsigned_abs();
        }
        Ok(total)
    }

    /// The rows of the page.
    async fn read(&self, snapshot: &mut PgConnection, span: Span, size: u32) -> Result<Vec<Listed>, StoreError> {
        let mut sql = Sql { text: "SELECT * FROM (".to_owned(), ..Sql::default() };
        let most = i64::try_from(span.skip.saturating_add(size.into())).unwrap_or(i64::MAX);
        for (index, table) in tables(self.filter).into_iter().enumerate() {
            sql.text.push_str(if index > 0 { "\nUNION ALL\n(" } else { "(" });
            sql.arm(self, table, keys(table), Some(span))?;
            // Each range in its own order and no longer than needed, so that its index gives it as it is.
            sql.text.push_str(" ORDER BY t.seq DESC LIMIT ");
            sql.bind(most)?;
            sql.text.push(')');
        }
        sql.text.push_str("\n) AS page (seq, settled) ORDER BY seq DESC LIMIT ");
        sql.bind(i64::from(size))?;
        sql.text.push_str(" OFFSET ");
        sql.bind(i64::try_from(span.skip).unwrap_or(i64::MAX))?;
        let found = sqlx::query_with(AssertSqlSafe(sql.text), sql.arguments).fetch_all(&mut *snapshot).await?;
        let (mut active, mut settled) = (Vec::new(), Vec::new());
        for row in &found {
            let seq: i64 = row.try_get(0)?;
            if row.try_get(1)? { settled.push(seq) } else { active.push(seq) }
        }
        rows_by_key(snapshot, &self.access.organization, active, settled).await
    }
}

/// Reads whole rows, newest first, leaving long outputs out. Served by the primary keys.
async fn rows_by_key(
    snapshot: &mut PgConnection,
    organization: &str,
    active: Vec<i64>,
    settled: Vec<i64>,
) -> Result<Vec<Listed>, StoreError> {
    let (of_active, of_settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "SELECT {of_active}, false AS left_out, '' AS output
         FROM active a WHERE a.organization_id = $1 AND a.seq = ANY ($2)
         UNION ALL
         SELECT {of_settled}, octet_length(s.output) > $4 AS left_out,
             CASE WHEN octet_length(s.output) > $4 THEN '' ELSE s.output END AS output
         FROM settled s WHERE s.organization_id = $1 AND s.seq = ANY ($3)
         ORDER BY seq DESC"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(organization)
        .bind(active)
        .bind(settled)
        .bind(i32::try_from(LISTED_OUTPUT_BYTES).unwrap_or(i32::MAX))
        .fetch_all(snapshot)
        .await?;
    found.iter().map(listed).collect()
}

fn listed(row: &PgRow) -> Result<Listed, StoreError> {
    Ok(Listed { operation: rows::operation(row)?, output_left_out: row.try_get("left_out")? })
}

/// Sequence number, and whether it is settled.
fn keys(table: Table) -> &'static str {
    match table {
        Table::Active(_) | Table::Leased => "t.seq, false",
        Table::Settled(_) => "t.seq, true",
    }
}

/// A statement as it grows. Only constants go into the text; every value is bound.
#[derive(Default)]
struct Sql {
    text: String,
    arguments: PgArguments,
}

impl Sql {
    fn bind<'v, T: sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'v>(
        &mut self,
        value: T,
    ) -> Result<(), StoreError> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        let _ = write!(self.text, "${}", self.arguments.len());
        Ok(())
    }

    fn and<'v, T: sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'v>(
        &mut self,
        condition: &str,
        value: T,
    ) -> Result<(), StoreError> {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.bind(value)
    }

    fn arm(&mut self, query: &Query<'_>, table: Table, columns: &str, span: Option<Span>) -> Result<(), StoreError> {
        let filter = query.filter;
        let source = match table {
            Table::Active(_) => "active t",
            Table::Settled(_) => "settled t",
            Table::Leased => "leases l JOIN active t USING (organization_id, seq)",
        };
        let _ = write!(self.text, "SELECT {columns} FROM {source} WHERE organization_id = ");
        self.bind(query.access.organization.clone())?;
        if let Some(Span { lower, upper, .. }) = span {
            self.and("seq >= ", lower)?;
            self.and("seq <= ", upper)?;
        }
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = table {
            self.and("t.status = ", i16::from(status.number()))?;
        }
        if let Some(kind) = &filter.kind {
            self.and("t.kind = ", kind.clone())?;
        }
        if let Some(projects) = projects(query.access) {
            // "<> ''" lets the planner use the partial index.
            self.and("t.project_id <> '' AND t.project_id = ANY (", projects)?;
            self.text.push(')');
        }
        if let Some(resource) = &filter.resource {
            self.text.push_str(" AND t.resource_type <> ''");
            self.and("t.resource_type = ", resource.resource_type.clone())?;
            self.and("t.resource_id = ", resource.resource_id.clone())?;
        }
        Ok(())
    }
}

/// Served by active_by_id and settled_by_id.
pub(super) async fn get(pool: &PgPool, access: &Access, id: OperationId) -> Result<Option<Operation>, StoreError> {
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "SELECT {active}, '' AS output FROM active a
         WHERE a.organization_id = $1 AND a.id = $2 AND ($3::text[] IS NULL OR a.project_id = ANY ($3))
         UNION ALL
         SELECT {settled}, s.output FROM settled s
         WHERE s.organization_id = $1 AND s.id = $2 AND ($3::text[] IS NULL OR s.project_id = ANY ($3))"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(&access.organization)
        .bind(rows::uuid(&id))
        .bind(projects(access))
        .fetch_optional(pool)
        .await?;
    found.as_ref().map(rows::operation).transpose()
}

/// Served by settled_by_id.
pub(super) async fn output(pool: &PgPool, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT output FROM settled
         WHERE organization_id = $1 AND id = $2 AND ($3::text[] IS NULL OR project_id = ANY ($3))",
    )
    .bind(&access.organization)
    .bind(rows::uuid(&id))
    .bind(projects(access))
    .fetch_optional(pool)
    .await?;
    Ok(found.map(rows::text_out))
}
