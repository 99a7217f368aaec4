//! Reading: counted pages, single operations, outputs.
//!
//! A page with its total is one statement: the spans of [`crate::plan`] by counters, then at most 4,096 index entries are
//! skipped and a page of row ids is taken, from `active` and `settled` together, then those rows are read. Only matching
//! entries are skipped, since every filter has an index that ends in the sequence number.

use std::fmt::Write as _;

use operations::{Access, Filter, NOTICE_KIND, Operation, OperationId, PageInfo, PageRequest, Projects};
use serde_json::json;
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::rows;
use crate::plan::{self, Table, in_order, tables};
use crate::{LISTED_OUTPUT_BYTES, Listed, Listing, StoreError};

/// Reads one page and the total, from one snapshot.
pub(super) async fn list(
    readers: &SqlitePool,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<Listing, StoreError> {
    let Page { text, arguments, .. } = Page::of(access, filter, page)?;
    let found = sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(readers).await?;
    let mut total_count = 0;
    let mut entries = Vec::with_capacity(found.len());
    for row in &found {
        total_count = row.try_get::<i64, _>("total_count")?.unsigned_abs();
        // A page without rows still has one with the total.
        if row.try_get::<Option<i64>, _>("seq")?.is_some() {
            let output_left_out = row.try_get::<i64, _>("left_out")? != 0;
            entries.push(Listed { operation: rows::operation(row)?, output_left_out });
        }
    }
    Ok(Listing { entries, page: PageInfo { total_count, request: page } })
}

/// The statement for a page as it grows. Only constants go into the text; every value is bound.
struct Page<'q> {
    filter: &'q Filter,
    text: String,
    arguments: SqliteArguments,
    /// Placeholders of what the filter names.
    kind: Option<usize>,
    projects: Option<usize>,
    resource: Option<usize>,
}

impl<'q> Page<'q> {
    fn of(access: &Access, filter: &'q Filter, page: PageRequest) -> Result<Page<'q>, StoreError> {
        let mut this = Page {
            filter,
            text: String::new(),
            arguments: SqliteArguments::default(),
            kind: None,
            projects: None,
            resource: None,
        };
        this.bind(access.organization.clone())?;
        this.bind(i64::from(page.page_size))?;
        this.bind(i64::try_from(page.offset()).unwrap_or(i64::MAX))?;
        if let Some(kind) = &filter.kind {
            this.kind = Some(this.bind(kind.clone())?);
        }
        if let Some(projects) = project_list(access) {
            this.projects = Some(this.bind(projects)?);
        }
        if let Some(resource) = &filter.resource {
            this.resource = Some(this.bind(resource.resource_type.clone())?);
            this.bind(resource.resource_id.clone())?;
        }
        if filter.resource.is_some() {
            this.by_range()
        } else {
            this.by_counters()
        }
        this.rows();
        Ok(this)
    }

    /// Binds a value; answers the number of its placeholder.
    fn bind<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + 'v>(
        &mut self,
        value: T,
    ) -> Result<usize, StoreError> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self.arguments.len())
    }

    /// The condition on the kind of a table's rows; every index that serves a filter holds the kind.
    fn of_kind(&self, table: &str) -> String {
        match self.kind {
            Some(kind) => format!(" AND {table}.kind = ?{kind}"),
            None => format!(" AND {table}.kind <> '{NOTICE_KIND}'"),
        }
    }

    /// Matching operations per bucket of a level. Served by the counters' primary keys.
    fn counts(&self, level: u32, parent: Option<(u32, &str)>) -> String {
        let counter = plan::counter(self.filter.status);
        let (mut tables, mut condition) = (Vec::new(), String::new());
        if let Some(projects) = self.projects {
            tables.push(format!("json_each(?{projects}) p"));
            condition.push_str(" AND c.project_id = p.value");
        }
        if let Some((above, touched)) = parent {
            tables.push(format!("{touched} t"));
            let inside = above - level;
            let _ =
                write!(condition, " AND c.bucket >= t.bucket << {inside} AND c.bucket < (t.bucket + 1) << {inside}");
        }
        condition.push_str(&self.of_kind("c"));
        tables.push(if self.projects.is_some() { "project_counters c" } else { "counters c" }.to_owned());
        format!(
            "SELECT c.bucket AS bucket, sum({counter}) AS n FROM {}
             WHERE c.organization_id = ?1 AND c.level = {level}{condition} GROUP BY c.bucket",
            tables.join(" CROSS JOIN ")
        )
    }

    /// The keys of the page as `page (seq, settled, row)`, and `total (n)`, by counters.
    fn by_counters(&mut self) {
        let span = plan::span(|level, parent| self.counts(level, parent), "?2", "?3");
        let arms =
            self.arms(|seq| format!(" AND {seq} >= (SELECT lower FROM span) AND {seq} <= (SELECT upper FROM span)"));
        let _ = write!(
            self.text,
            "WITH {span}, page (seq, settled, row) AS MATERIALIZED (
                 {arms} ORDER BY 1 DESC LIMIT ?2 + 0 OFFSET (SELECT skip FROM span)
             )"
        );
    }

    /// The same along the index range of a resource, which has no counters: from the end of it that is nearer. Each
    /// direction is limited to nothing where the other is taken.
    fn by_range(&mut self) {
        let counted: Vec<String> = tables(self.filter)
            .into_iter()
            .map(|table| format!("({})", self.arm(table, "count(*)", |_| String::new())))
            .collect();
        let arms = self.arms(|_| String::new());
        let _ = write!(
            self.text,
            "WITH total AS MATERIALIZED (SELECT {} AS n),
             place AS MATERIALIZED (
                 SELECT min(?3, n) AS before, max(n - ?3 - ?2, 0) AS after,
                     min(?2, max(n - ?3, 0)) AS rows, ?3 > n / 2 AS from_end
                 FROM total
             ), page (seq, settled, row) AS MATERIALIZED (
                 SELECT * FROM ({arms} ORDER BY 1 DESC
                     LIMIT (SELECT iif(from_end, 0, rows) FROM place) OFFSET (SELECT before FROM place))
                 UNION ALL
                 SELECT * FROM ({arms} ORDER BY 1
                     LIMIT (SELECT iif(from_end, rows, 0) FROM place) OFFSET (SELECT after FROM place))
             )",
            counted.join(" + ")
        );
    }

    /// The rows of `page`, newest first, each with the total; long outputs are left out.
    fn rows(&mut self) {
        let (of_active, of_settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
        let _ = write!(
            self.text,
            " SELECT total.n AS total_count, r.* FROM total LEFT JOIN (
                 SELECT {of_active}, 0 AS left_out, '' AS output
                 FROM page CROSS JOIN active a ON a.rowid = page.row WHERE NOT settled
                 UNION ALL
                 SELECT {of_settled}, octet_length(s.output) > {LISTED_OUTPUT_BYTES},
                     iif(octet_length(s.output) > {LISTED_OUTPUT_BYTES}, '', s.output)
                 FROM page CROSS JOIN settled s ON s.rowid = page.row WHERE settled
             ) AS r ORDER BY r.seq DESC"
        );
    }

    /// Every table's part of what matches; a compound that is ordered by its first column merges them by their indexes.
    fn arms(&self, condition: impl Fn(&str) -> String) -> String {
        let arms = tables(self.filter).into_iter().map(|table| {
            let settled = matches!(table, Table::Settled(_));
            self.arm(table, &format!("t.seq, {settled}, t.rowid"), &condition)
        });
        arms.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// `SELECT columns FROM table t INDEXED BY the index that serves the filter WHERE …`; `condition` is given the name of
    /// the sequence number.
    fn arm(&self, table: Table, columns: &str, condition: impl Fn(&str) -> String) -> String {
        let filter = self.filter;
        let leased = matches!(table, Table::Leased);
        // A resource's range is short: its projects are looked at row by row.
        let by_project = self.projects.filter(|_| filter.resource.is_none() && !leased);
        let index = if filter.resource.is_some() {
            "by_resource"
        } else if by_project.is_some() {
            "by_project"
        } else if filter.kind.is_some() {
            "by_kind"
        } else {
            match table {
                Table::Settled(_) => "by_status",
                Table::Active(_) | Table::Leased => "by_seq",
            }
        };
        let mut sql = format!("SELECT {columns} FROM ");
        if let Some(projects) = by_project {
            let _ = write!(sql, "json_each(?{projects}) p CROSS JOIN ");
        }
        let _ = match table {
            Table::Active(_) => write!(sql, "active t INDEXED BY active_{index} WHERE "),
            Table::Settled(_) => write!(sql, "settled t INDEXED BY settled_{index} WHERE "),
            Table::Leased => write!(
                sql,
                "leases l CROSS JOIN active t INDEXED BY active_by_seq
                 ON t.organization_id = l.organization_id AND t.seq = l.seq WHERE "
            ),
        };
        let (organization, seq) = if leased { ("l.organization_id", "l.seq") } else { ("t.organization_id", "t.seq") };
        let _ = write!(sql, "{organization} = ?1{}", condition(seq));
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = table {
            let _ = write!(sql, " AND t.status = {}", status.number());
        }
        sql.push_str(&self.of_kind("t"));
        match self.projects {
            // "<> ''" lets the planner use the partial index.
            Some(_) if by_project.is_some() => sql.push_str(" AND t.project_id = p.value AND t.project_id <> ''"),
            Some(projects) => {
                let _ = write!(sql, " AND t.project_id IN (SELECT value FROM json_each(?{projects}))");
            }
            None => {}
        }
        if let Some(resource) = self.resource {
            let id = resource + 1;
            let _ =
                write!(sql, " AND t.resource_type <> '' AND t.resource_type = ?{resource} AND t.resource_id = ?{id}");
        }
        sql
    }
}

pub(super) fn project_list(access: &Access) -> Option<String> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(json!(projects).to_string()),
    }
}

/// Served by active_by_id and settled_by_id.
pub(super) async fn get(
    readers: &SqlitePool,
    access: &Access,
    ids: &[OperationId],
) -> Result<Vec<Option<Operation>>, StoreError> {
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "WITH wanted (id) AS MATERIALIZED (SELECT unhex(value) FROM json_each(?2))
         SELECT {active}, '' AS output FROM wanted w CROSS JOIN active a INDEXED BY active_by_id
         WHERE a.organization_id = ?1 AND a.id = w.id
             AND (?3 IS NULL OR a.project_id IN (SELECT value FROM json_each(?3)))
         UNION ALL
         SELECT {settled}, s.output FROM wanted w CROSS JOIN settled s INDEXED BY settled_by_id
         WHERE s.organization_id = ?1 AND s.id = w.id
             AND (?3 IS NULL OR s.project_id IN (SELECT value FROM json_each(?3)))"
    );
    let hexadecimal: Vec<String> =
        ids.iter().map(|id| format!("{:032x}", u128::from_be_bytes(*id.as_bytes()))).collect();
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(&access.organization)
        .bind(json!(hexadecimal).to_string())
        .bind(project_list(access))
        .fetch_all(readers)
        .await?;
    in_order(ids, found.iter().map(rows::operation))
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
