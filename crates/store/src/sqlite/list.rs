//! Reading: counted pages, single operations, outputs.
//!
//! A page is read in one read transaction: (1) the filter's level-2 counters give the total and the bucket of 2^20
//! numbers in which the page starts; (2) level-1 counters give the bucket of 4,096 numbers in which it starts and the
//! one in which it ends; (3) between those bounds at most 4,096 matching index entries are skipped and a page of row ids
//! is taken, from `active` and `settled` together; (4) those rows are read. Step 3 reads matching entries only, since
//! every filter has an index that ends in the sequence number.

use std::fmt::Write as _;

use operations::{Access, Filter, Operation, OperationId, PageInfo, PageRequest, Projects};
use serde_json::json;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::rows;
use crate::plan::{Coarse, Counts, Span, Table, tables};
use crate::{LISTED_OUTPUT_BYTES, Listed, Listing, StoreError};

/// Reads one page and the total, from one snapshot.
pub(super) async fn list(
    readers: &SqlitePool,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<Listing, StoreError> {
    let mut snapshot = readers.begin().await?;
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

impl Query<'_> {
    fn status(&self) -> Option<i64> {
        self.filter.status.map(|status| i64::from(status.number()))
    }

    fn projects(&self) -> Option<Vec<&str>> {
        match &self.access.projects {
            Projects::All => None,
            Projects::Only(projects) => Some(projects.iter().map(String::as_str).collect()),
        }
    }

    /// Total and span by the counters.
    async fn locate(
        &self,
        snapshot: &mut SqliteConnection,
        page: PageRequest,
    ) -> Result<(u64, Option<Span>), StoreError> {
        let coarse = Coarse::new(self.counts(snapshot, 2, Coarse::ALL).await?);
        let mut fine = Vec::new();
        for range in coarse.fine_ranges(page) {
            fine.extend(self.counts(snapshot, 1, range).await?);
        }
        let span = if fine.is_empty() { None } else { Some(coarse.span(&fine, page)?) };
        Ok((coarse.total(), span))
    }

    /// Matching operations per bucket, newest bucket first. Served by the counters' primary keys.
    async fn counts(
        &self,
        snapshot: &mut SqliteConnection,
        level: i64,
        (from, to): (i64, i64),
    ) -> Result<Counts, StoreError> {
        let of_organization = "
            SELECT bucket, sum(n) AS n FROM counters
            WHERE organization_id = ?1 AND level = ?2 AND bucket BETWEEN ?3 AND ?4
                AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR status = ?6)
            GROUP BY bucket ORDER BY bucket DESC";
        let of_projects = "
            SELECT bucket, sum(n) AS n FROM json_each(?7) p CROSS JOIN project_counters
            WHERE organization_id = ?1 AND project_id = p.value AND level = ?2 AND bucket BETWEEN ?3 AND ?4
                AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR status = ?6)
            GROUP BY bucket ORDER BY bucket DESC";
        let projects = self.projects();
        let query = sqlx::query(if projects.is_some() { of_projects } else { of_organization })
            .bind(&self.access.organization)
            .bind(level)
            .bind(from)
            .bind(to)
            .bind(self.filter.kind.as_deref())
            .bind(self.status());
        let query = match projects {
            Some(projects) => query.bind(json!(projects).to_string()),
            None => query,
        };
        let found = query.fetch_all(snapshot).await?;
        found.iter().map(|row| Ok((row.try_get("bucket")?, row.try_get::<i64, _>("n")?.unsigned_abs()))).collect()
    }

    /// Counts by the index, for filters without counters (a resource): a short range.
    async fn count_rows(&self, snapshot: &mut SqliteConnection) -> Result<u64, StoreError> {
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
    async fn read(&self, snapshot: &mut SqliteConnection, span: Span, size: u32) -> Result<Vec<Listed>, StoreError> {
        let mut sql = Sql::default();
        for (index, table) in tables(self.filter).into_iter().enumerate() {
            if index > 0 {
                sql.text.push_str("\nUNION ALL\n");
            }
            sql.arm(self, table, row_ids(table), Some(span))?;
        }
        sql.text.push_str("\nORDER BY 1 DESC LIMIT ");
        sql.bind(i64::from(size))?;
        sql.text.push_str(" OFFSET ");
        sql.bind(i64::try_from(span.skip).unwrap_or(i64::MAX))?;
        let found = sqlx::query_with(AssertSqlSafe(sql.text), sql.arguments).fetch_all(&mut *snapshot).await?;
        let (mut active, mut settled) = (Vec::new(), Vec::new());
        for row in &found {
            let rowid: i64 = row.try_get(2)?;
            if row.try_get::<i64, _>(1)? == 0 { active.push(rowid) } else { settled.push(rowid) }
        }
        rows_by_id(snapshot, &active, &settled).await
    }
}

/// Reads whole rows, newest first, leaving long outputs out.
async fn rows_by_id(
    snapshot: &mut SqliteConnection,
    active: &[i64],
    settled: &[i64],
) -> Result<Vec<Listed>, StoreError> {
    let (of_active, of_settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "SELECT {of_active}, 0 AS left_out, '' AS output
         FROM json_each(?1) j CROSS JOIN active a ON a.rowid = j.value
         UNION ALL
         SELECT {of_settled}, octet_length(s.output) > ?3 AS left_out,
             CASE WHEN octet_length(s.output) > ?3 THEN '' ELSE s.output END AS output
         FROM json_each(?2) j CROSS JOIN settled s ON s.rowid = j.value"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(json!(active).to_string())
        .bind(json!(settled).to_string())
        .bind(i64::try_from(LISTED_OUTPUT_BYTES).unwrap_or(i64::MAX))
        .fetch_all(snapshot)
        .await?;
    let mut entries = Vec::with_capacity(found.len());
    for row in &found {
        entries.push((row.try_get::<i64, _>("seq")?, listed(row)?));
    }
    entries.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
    Ok(entries.into_iter().map(|(_, listed)| listed).collect())
}

fn listed(row: &SqliteRow) -> Result<Listed, StoreError> {
    let output_left_out = row.try_get::<i64, _>("left_out")? != 0;
    Ok(Listed { operation: rows::operation(row)?, output_left_out })
}

/// Sequence number, which table, row id.
fn row_ids(table: Table) -> &'static str {
    match table {
        Table::Active(_) | Table::Leased => "t.seq, 0, t.rowid",
        Table::Settled(_) => "t.seq, 1, t.rowid",
    }
}

/// A statement as it grows. Only constants go into the text; every value is bound.
#[derive(Default)]
struct Sql {
    text: String,
    arguments: SqliteArguments,
}

impl Sql {
    fn bind<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + 'v>(
        &mut self,
        value: T,
    ) -> Result<(), StoreError> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        let _ = write!(self.text, "?{}", self.arguments.len());
        Ok(())
    }

    fn and<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + 'v>(
        &mut self,
        condition: &str,
        value: T,
    ) -> Result<(), StoreError> {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.bind(value)
    }

    /// `SELECT columns FROM table t INDEXED BY the index that serves the filter WHERE …`.
    fn arm(&mut self, query: &Query<'_>, table: Table, columns: &str, span: Option<Span>) -> Result<(), StoreError> {
        let filter = query.filter;
        let projects = query.projects().map(|projects| json!(projects).to_string());
        // A resource's range is short: its projects are looked at row by row.
        let by_project = projects.is_some() && filter.resource.is_none() && !matches!(table, Table::Leased);
        let index = if filter.resource.is_some() {
            "by_resource"
        } else if by_project {
            "by_project"
        } else if filter.kind.is_some() {
            "by_kind"
        } else {
            match table {
                Table::Settled(_) => "by_status",
                Table::Active(_) | Table::Leased => "by_seq",
            }
        };
        let _ = write!(self.text, "SELECT {columns} FROM ");
        if let Some(projects) = projects.as_ref().filter(|_| by_project) {
            self.text.push_str("json_each(");
            self.bind(projects.clone())?;
            self.text.push_str(") p CROSS JOIN ");
        }
        let _ = match table {
            Table::Active(_) => write!(self.text, "active t INDEXED BY active_{index} WHERE "),
            Table::Settled(_) => write!(self.text, "settled t INDEXED BY settled_{index} WHERE "),
            Table::Leased => write!(
                self.text,
                "leases l CROSS JOIN active t INDEXED BY active_by_seq
                 ON t.organization_id = l.organization_id AND t.seq = l.seq WHERE "
            ),
        };
        let leased = matches!(table, Table::Leased);
        self.text.push_str(if leased { "l.organization_id = " } else { "t.organization_id = " });
        self.bind(query.access.organization.clone())?;
        if let Some(Span { lower, upper, .. }) = span {
            self.and(if leased { "l.seq >= " } else { "t.seq >= " }, lower)?;
            self.and(if leased { "l.seq <= " } else { "t.seq <= " }, upper)?;
        }
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = table {
            self.and("t.status = ", i64::from(status.number()))?;
        }
        if let Some(kind) = &filter.kind {
            self.and("t.kind = ", kind.clone())?;
        }
        match projects {
            // "<> ''" lets the planner use the partial index.
            Some(_) if by_project => self.text.push_str(" AND t.project_id = p.value AND t.project_id <> ''"),
            Some(projects) => {
                self.and("t.project_id IN (SELECT value FROM json_each(", projects)?;
                self.text.push_str("))");
            }
            None => {}
        }
        if let Some(resource) = &filter.resource {
            self.text.push_str(" AND t.resource_type <> ''");
            self.and("t.resource_type = ", resource.resource_type.clone())?;
            self.and("t.resource_id = ", resource.resource_id.clone())?;
        }
        Ok(())
    }
}

fn project_list(access: &Access) -> Option<String> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(json!(projects).to_string()),
    }
}

/// Served by active_by_id and settled_by_id.
pub(super) async fn get(
    readers: &SqlitePool,
    access: &Access,
    id: OperationId,
) -> Result<Option<Operation>, StoreError> {
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "SELECT {active}, '' AS output FROM active a INDEXED BY active_by_id
         WHERE a.organization_id = ?1 AND a.id = ?2
             AND (?3 IS NULL OR a.project_id IN (SELECT value FROM json_each(?3)))
         UNION ALL
         SELECT {settled}, s.output FROM settled s INDEXED BY settled_by_id
         WHERE s.organization_id = ?1 AND s.id = ?2
             AND (?3 IS NULL OR s.project_id IN (SELECT value FROM json_each(?3)))"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(&access.organization)
        .bind(id.as_bytes().as_slice())
        .bind(project_list(access))
        .fetch_optional(readers)
        .await?;
    found.as_ref().map(rows::operation).transpose()
}

/// Served by settled_by_id.
pub(super) async fn output(
    readers: &SqlitePool,
    access: &Access,
    id: OperationId,
) -> Result<Option<String>, StoreError> {
    let found = sqlx::query(
        "SELECT output FROM settled INDEXED BY settled_by_id
         WHERE organization_id = ?1 AND id = ?2
             AND (?3 IS NULL OR project_id IN (SELECT value FROM json_each(?3)))",
    )
    .bind(&access.organization)
    .bind(id.as_bytes().as_slice())
    .bind(project_list(access))
    .fetch_optional(readers)
    .await?;
    found.map(|row| row.try_get(0).map_err(StoreError::from)).transpose()
}
