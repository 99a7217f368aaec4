//! Reading: counted pages, single operations, outputs.
//!
//! A page is read in one read transaction: (1) the filter's level-2 counters give the total and the bucket of 2^20
//! numbers in which the page starts; (2) its level-1 counters give the bucket of 4,096 numbers; (3) from that bucket's
//! upper end at most 4,096 matching index entries are skipped and a page of row ids is taken, merging `active` and
//! `settled`; (4) those rows are read. Step 3 is a merge of index ranges, one *arm* each, every one in the order of the
//! sequence, so that no arm is ever sorted or read past the page's end.

use std::fmt::Write as _;

use operations::page::{LEVEL_1_SHIFT, LEVEL_2_SHIFT, Place, locate};
use operations::{Access, Filter, Operation, OperationId, PageInfo, PageRequest, Projects, Status};
use serde_json::json;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::rows;
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
    let (total_count, start) = if filter.resource.is_some() {
        let total = query.count_rows(&mut snapshot).await?;
        (total, (page.offset() < total).then_some((i64::MAX, page.offset())))
    } else {
        query.locate(&mut snapshot, page.offset()).await?
    };
    let entries = match start {
        Some((upper, skip)) => query.read(&mut snapshot, upper, skip, page.page_size).await?,
        None => Vec::new(),
    };
    snapshot.commit().await?;
    Ok(Listing { entries, page: PageInfo { total_count, request: page } })
}

/// Where a page starts: the largest sequence number to look at, and the matching operations to skip from there.
type Start = (i64, u64);

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

    /// Total and start by the counters.
    async fn locate(&self, snapshot: &mut SqliteConnection, offset: u64) -> Result<(u64, Option<Start>), StoreError> {
        let coarse = self.counts(snapshot, 2, 0, i64::MAX).await?;
        let total = coarse.iter().map(|(_, n)| n).sum();
        let Some(Place { bucket, skip }) = locate(coarse, offset) else { return Ok((total, None)) };
        let per_bucket = 1_i64 << (LEVEL_2_SHIFT - LEVEL_1_SHIFT);
        let fine = self.counts(snapshot, 1, bucket * per_bucket, (bucket + 1) * per_bucket - 1).await?;
        let Some(Place { bucket, skip }) = locate(fine, skip) else {
            return Err(StoreError::Unusable("the counters do not add up; run longrun doctor".to_owned()));
        };
        Ok((total, Some((((bucket + 1) << LEVEL_1_SHIFT) - 1, skip))))
    }

    /// Matching operations per bucket, newest bucket first. Served by the counters' primary keys.
    async fn counts(
        &self,
        snapshot: &mut SqliteConnection,
        level: i64,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, u64)>, StoreError> {
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
        for arm in self.arms() {
            let mut sql = Sql::default();
            sql.arm(self, &arm, "count(*)", i64::MAX)?;
            let row = sqlx::query_with(AssertSqlSafe(sql.text), sql.arguments).fetch_one(&mut *snapshot).await?;
            total += row.try_get::<i64, _>(0)?.unsigned_abs();
        }
        Ok(total)
    }

    /// The index ranges that together hold exactly what matches.
    fn arms(&self) -> Vec<Arm> {
        let projects = match (self.projects(), &self.filter.resource) {
            (Some(projects), None) => projects.into_iter().map(|p| Some(p.to_owned())).collect(),
            // A resource's range is short: its project is looked at row by row.
            (Some(_), Some(_)) | (None, _) => vec![None],
        };
        let mut arms = Vec::new();
        for project in projects {
            for table in self.tables() {
                arms.push(Arm { table, project: project.clone() });
            }
        }
        arms
    }

    fn tables(&self) -> Vec<Table> {
        let by_resource = self.filter.resource.is_some();
        match self.filter.status {
            None if by_resource => vec![Table::Active(None), Table::Settled(None)],
            None => {
                vec![Table::Active(None), Table::Settled(Some(Status::Completed)), Table::Settled(Some(Status::Failed))]
            }
            // Few run at a time, and each of those has a lease: through them they are found among many that wait.
            Some(Status::Running) if !by_resource => vec![Table::Leased],
            Some(status) if status.is_terminal() => vec![Table::Settled(Some(status))],
            Some(status) => vec![Table::Active(Some(status))],
        }
    }

    /// The rows of the page that starts `skip` matches below `upper`.
    async fn read(
        &self,
        snapshot: &mut SqliteConnection,
        upper: i64,
        skip: u64,
        size: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut sql = Sql::default();
        for (index, arm) in self.arms().iter().enumerate() {
            if index > 0 {
                sql.text.push_str("\nUNION ALL\n");
            }
            sql.arm(self, arm, arm.table.row_ids(), upper)?;
        }
        if sql.text.is_empty() {
            return Ok(Vec::new());
        }
        sql.text.push_str("\nORDER BY 1 DESC LIMIT ");
        sql.bind(i64::from(size))?;
        sql.text.push_str(" OFFSET ");
        sql.bind(i64::try_from(skip).unwrap_or(i64::MAX))?;
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

/// Part of a table that an arm reads.
#[derive(Clone, Copy)]
enum Table {
    Active(Option<Status>),
    Leased,
    Settled(Option<Status>),
}

impl Table {
    /// Sequence number, which table, row id.
    fn row_ids(self) -> &'static str {
        match self {
            Table::Active(_) => "seq, 0, rowid",
            Table::Leased => "active.seq, 0, active.rowid",
            Table::Settled(_) => "seq, 1, rowid",
        }
    }
}

struct Arm {
    table: Table,
    project: Option<String>,
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

    /// One index range: `SELECT columns FROM table INDEXED BY the index that serves it WHERE …`.
    fn arm(&mut self, query: &Query<'_>, arm: &Arm, columns: &str, upper: i64) -> Result<(), StoreError> {
        let filter = query.filter;
        let index = if filter.resource.is_some() {
            "by_resource"
        } else if arm.project.is_some() {
            "by_project"
        } else if filter.kind.is_some() {
            "by_kind"
        } else {
            match arm.table {
                Table::Settled(_) => "by_status",
                _ => "by_seq",
            }
        };
        let _ = match arm.table {
            Table::Active(_) => write!(self.text, "SELECT {columns} FROM active INDEXED BY active_{index} WHERE "),
            Table::Settled(_) => write!(self.text, "SELECT {columns} FROM settled INDEXED BY settled_{index} WHERE "),
            Table::Leased => write!(
                self.text,
                "SELECT {columns} FROM leases CROSS JOIN active INDEXED BY active_by_seq
                 ON active.organization_id = leases.organization_id AND active.seq = leases.seq WHERE "
            ),
        };
        let leased = matches!(arm.table, Table::Leased);
        self.text.push_str(if leased { "leases.organization_id = " } else { "organization_id = " });
        self.bind(query.access.organization.clone())?;
        self.and(if leased { "leases.seq <= " } else { "seq <= " }, upper)?;
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = arm.table {
            self.and("status = ", i64::from(status.number()))?;
        }
        if let Some(kind) = &filter.kind {
            self.and("kind = ", kind.clone())?;
        }
        if let Some(project) = &arm.project {
            // Stated twice: the partial index is only used where its own condition is implied by the text.
            self.text.push_str(" AND project_id <> ''");
            self.and("project_id = ", project.clone())?;
        }
        if let Some(resource) = &filter.resource {
            self.text.push_str(" AND resource_type <> ''");
            self.and("resource_type = ", resource.resource_type.clone())?;
            self.and("resource_id = ", resource.resource_id.clone())?;
            if let Some(projects) = query.projects() {
                self.and("project_id IN (SELECT value FROM json_each(", json!(projects).to_string())?;
                self.text.push_str("))");
            }
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
