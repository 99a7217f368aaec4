//! Reading: counted pages, single operations, outputs.
//!
//! A page with its total is one statement: the spans of [`crate::plan`] by counters, then the keys of the page by an
//! index that serves the filter, then its rows by key.

use std::fmt::Write as _;

use operations::{Access, Filter, NOTICE_KIND, Operation, OperationId, PageInfo, PageRequest, Projects};
use sqlx::postgres::{PgArguments, PgConnection, PgExecutor, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Row};
use uuid::Uuid;

use super::connections::Connections;
use super::resources::Resources;
use super::rows;
use crate::plan::{self, Table, in_order, tables};
use crate::{LISTED_OUTPUT_BYTES, Listed, Listing, StoreError};

/// Reads one page and the total, from one snapshot.
pub(super) async fn list(
    pool: &Connections,
    resources: &Resources,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<Listing, StoreError> {
    let known = resources.key(access, filter);
    let mut found = read(pool, Page::rows, access, filter, page, known).await?;
    if found.is_outdated(known) {
        found = read(pool, Page::rows, access, filter, page, None).await?;
    }
    resources.note(access, filter, known, &found);
    let entry =
        |row: &PgRow| Ok(Listed { operation: rows::operation(row)?, output_left_out: row.try_get("left_out")? });
    let entries = found.rows.iter().map(entry).collect::<Result<Vec<Listed>, StoreError>>()?;
    Ok(Listing { entries, page: PageInfo { total_count: found.total, request: page } })
}

/// The numbers of a page and the total, within a transaction.
pub(super) async fn numbers(
    connection: &mut PgConnection,
    resources: &Resources,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<(Vec<i64>, u64), StoreError> {
    let known = resources.key(access, filter);
    let mut found = read(&mut *connection, Page::numbers, access, filter, page, known).await?;
    if found.is_outdated(known) {
        found = read(connection, Page::numbers, access, filter, page, None).await?;
    }
    resources.note(access, filter, known, &found);
    let numbers = found.rows.iter().map(|row| row.try_get("seq")).collect::<Result<_, sqlx::Error>>()?;
    Ok((numbers, found.total))
}

/// The result of a page's statement.
pub(super) struct Found {
    rows: Vec<PgRow>,
    pub(super) total: u64,
    /// The key of the filter's resource, if that is counted.
    pub(super) counted: Option<Uuid>,
}

impl Found {
    /// Whether it was read by counters that are not those of its resource: its organization was deleted, and perhaps
    /// created anew.
    fn is_outdated(&self, known: Option<Uuid>) -> bool {
        known.is_some() && self.counted != known
    }
}

/// Reads what `select` selects of a page, by counters where the `key` of the filter's resource is given.
async fn read<'f>(
    database: impl PgExecutor<'_>,
    select: fn(&mut Page<'f>),
    access: &Access,
    filter: &'f Filter,
    page: PageRequest,
    key: Option<Uuid>,
) -> Result<Found, StoreError> {
    let mut statement = Page::of(access, filter, page, key)?;
    select(&mut statement);
    let Page { text, arguments, .. } = statement;
    let mut rows = sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(database).await?;
    let (mut total, mut counted) = (0, None);
    if let Some(row) = rows.first() {
        total = row.try_get::<i64, _>("total_count")?.unsigned_abs();
        if filter.resource.is_some() {
            counted = row.try_get("counted")?;
        }
        // A page without entries still has one row, with the total.
        if row.try_get::<Option<i64>, _>("seq")?.is_none() {
            rows.clear();
        }
    }
    Ok(Found { rows, total, counted })
}

pub(super) fn projects(access: &Access) -> Option<Vec<String>> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().cloned().collect()),
    }
}

/// The statement for a page as it grows. Only constants go into the text; every value is bound.
struct Page<'q> {
    filter: &'q Filter,
    text: String,
    arguments: PgArguments,
    /// Placeholders of the values that the filter names.
    kind: Option<usize>,
    projects: Option<usize>,
    resource: Option<usize>,
    /// The placeholder of the key under which that resource is counted.
    counted: Option<usize>,
}

/// Base and deltas from the fold's horizon on. Served by the counters' primary keys, counter_deltas_by_xid and
/// resource_deltas_by_xid.
const DELTAS: &str = "
    deltas AS MATERIALIZED (
        SELECT bucket, sum({counter})::bigint AS n FROM {table}
        WHERE organization_id = $1
            AND xid >= coalesce((SELECT folded_before FROM counter_folds WHERE organization_id = $1), '0'){condition}
        GROUP BY bucket
    ), ";

impl<'q> Page<'q> {
    fn of(access: &Access, filter: &'q Filter, page: PageRequest, key: Option<Uuid>) -> Result<Page<'q>, StoreError> {
        let mut this = Page {
            filter,
            text: String::new(),
            arguments: PgArguments::default(),
            kind: None,
            projects: None,
            resource: None,
            counted: None,
        };
        this.bind(access.organization.clone())?;
        this.bind(i64::from(page.page_size))?;
        this.bind(i64::try_from(page.offset()).unwrap_or(i64::MAX))?;
        if let Some(kind) = &filter.kind {
            this.kind = Some(this.bind(kind.clone())?);
        }
        if let Some(projects) = projects(access) {
            this.projects = Some(this.bind(projects)?);
        }
        if let Some(resource) = &filter.resource {
            this.resource = Some(this.bind(resource.resource_type.clone())?);
            this.bind(resource.resource_id.clone())?;
        }
        if let Some(key) = key {
            this.counted = Some(this.bind(key)?);
        }
        if filter.resource.is_some() && this.counted.is_none() {
            this.by_range()
        } else {
            this.by_counters()
        }
        Ok(this)
    }

    /// Binds a value; answers the number of its placeholder.
    fn bind<'v, T: sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'v>(
        &mut self,
        value: T,
    ) -> Result<usize, StoreError> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self.arguments.len())
    }

    /// The condition on the kind of a table's rows.
    fn of_kind(&self, table: &str) -> String {
        match self.kind {
            Some(kind) => format!(" AND {table}kind = ${kind}"),
            None => format!(" AND {table}kind <> '{NOTICE_KIND}'"),
        }
    }

    /// The condition on the project of a table's rows.
    fn of_projects(&self, table: &str) -> String {
        self.projects.map_or_else(String::new, |projects| format!(" AND {table}project_id = ANY (${projects})"))
    }

    /// Matching operations per bucket of a level, one lookup by the key of the counters for each project and each
    /// bucket of the level above; OFFSET 0 keeps it so.
    fn counts(&self, level: u32, parent: Option<(u32, &str)>) -> String {
        let (counter, mut condition) = (plan::counter(self.filter.status), self.of_kind(""));
        let (mut from, mut of_deltas) = (Vec::new(), String::new());
        if let Some(projects) = self.projects {
            from.push(format!("unnest(${projects}::text[]) AS p (project_id)"));
            // Among the counters of a resource, the empty project stands for all.
            condition.push_str(" AND project_id = p.project_id AND project_id <> ''");
        }
        let table = match (self.counted, self.projects) {
            (Some(_), _) => "resource_counters",
            (None, Some(_)) => "project_counters",
            (None, None) => "counters",
        };
        if let Some(key) = self.counted {
            let _ = write!(condition, " AND resource = ${key}");
            if self.projects.is_none() {
                condition.push_str(" AND project_id = ''");
            }
        }
        if let Some((above, touched)) = parent {
            from.push(format!("{touched} AS t"));
            let inside = above - level;
            let _ = write!(condition, " AND bucket >= t.bucket << {inside} AND bucket < (t.bucket + 1) << {inside}");
            let parents = above - operations::page::FINEST;
            of_deltas = format!(" WHERE bucket >> {parents} IN (SELECT bucket FROM {touched})");
        }
        from.push(format!(
            "LATERAL (SELECT bucket, {counter} FROM {table}
                 WHERE organization_id = $1 AND level = {level}{condition} OFFSET 0) AS c (bucket, n)"
        ));
        let shift = level - operations::page::FINEST;
        format!(
            "SELECT bucket, sum(n)::bigint AS n FROM (
                 SELECT c.bucket, c.n FROM {}
                 UNION ALL SELECT bucket >> {shift}, n FROM deltas{of_deltas}
             ) AS c (bucket, n) GROUP BY bucket",
            from.join(" CROSS JOIN ")
        )
    }

    /// The keys of the page as `page (seq, settled)`, and `total (n)`, by counters.
    fn by_counters(&mut self) {
        let (counter, mut condition) = (plan::counter(self.filter.status), self.of_kind(""));
        condition.push_str(&self.of_projects(""));
        let mut table = "counter_deltas";
        if let Some(key) = self.counted {
            table = "resource_deltas";
            let _ = write!(condition, " AND resource = ${key}");
        }
        let deltas = DELTAS.replace("{table}", table).replace("{counter}", counter).replace("{condition}", &condition);
        let span = plan::span(|level, parent| self.counts(level, parent), "$2", "$3");
        let arms = self.arms(
            " AND seq >= (SELECT lower FROM span) AND seq <= (SELECT upper FROM span)",
            " ORDER BY t.seq DESC LIMIT (SELECT skip + $2 FROM span)",
        );
        let _ = write!(
            self.text,
            "WITH {deltas}{span}, page (seq, settled) AS MATERIALIZED (
                 SELECT * FROM ({arms}) AS page (seq, settled)
                 ORDER BY seq DESC LIMIT $2 OFFSET (SELECT skip FROM span)
             )"
        );
    }

    /// The same along the index range of a resource that has no counters: from whichever end of it is nearer. Each
    /// direction is limited to no rows where the other is taken.
    fn by_range(&mut self) {
        let counted: Vec<String> = tables(self.filter)
            .into_iter()
            .map(|table| format!("(SELECT count(*) FROM {} AS counted)", self.arm(table, "t.seq", "", "")))
            .collect();
        let down = self.arms(
            "",
            " ORDER BY t.seq DESC LIMIT (SELECT CASE WHEN from_end THEN 0 ELSE before + rows END FROM place)",
        );
        let up =
            self.arms("", " ORDER BY t.seq LIMIT (SELECT CASE WHEN from_end THEN after + rows ELSE 0 END FROM place)");
        let _ = write!(
            self.text,
            "WITH total AS MATERIALIZED (SELECT {} AS n),
             place AS MATERIALIZED (
                 SELECT least($3, n) AS before, greatest(n - $3 - $2, 0) AS after,
                     least($2, greatest(n - $3, 0)) AS rows, $3 > n / 2 AS from_end
                 FROM total
             ), page (seq, settled) AS MATERIALIZED (
                 (SELECT * FROM ({down}) AS page (seq, settled) ORDER BY seq DESC
                  LIMIT (SELECT CASE WHEN from_end THEN 0 ELSE rows END FROM place)
                  OFFSET (SELECT before FROM place))
                 UNION ALL
                 (SELECT * FROM ({up}) AS page (seq, settled) ORDER BY seq
                  LIMIT (SELECT CASE WHEN from_end THEN rows ELSE 0 END FROM place)
                  OFFSET (SELECT after FROM place))
             )",
            counted.join(" + ")
        );
    }

    /// The rows of `page`, newest first, each with the total; long outputs are left out.
    fn rows(&mut self) {
        let (of_active, of_settled, total) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS, self.total());
        let _ = write!(
            self.text,
            " SELECT {total}, r.* FROM total LEFT JOIN (
                 SELECT a.* FROM page CROSS JOIN LATERAL (
                     SELECT {of_active}, false AS left_out, '' AS output
                     FROM active a WHERE a.organization_id = $1 AND a.seq = page.seq OFFSET 0) AS a
                 WHERE NOT page.settled
                 UNION ALL
                 SELECT s.* FROM page CROSS JOIN LATERAL (
                     SELECT {of_settled}, octet_length(s.output) > {LISTED_OUTPUT_BYTES},
                         CASE WHEN octet_length(s.output) > {LISTED_OUTPUT_BYTES} THEN '' ELSE s.output END
                     FROM settled s WHERE s.organization_id = $1 AND s.seq = page.seq OFFSET 0) AS s
                 WHERE page.settled
             ) AS r ON true ORDER BY r.seq DESC"
        );
    }

    /// The numbers of `page`, newest first, each with the total.
    fn numbers(&mut self) {
        let total = self.total();
        let _ = write!(self.text, " SELECT {total}, page.seq FROM total LEFT JOIN page ON true ORDER BY page.seq DESC");
    }

    /// The total, and the key of the filter's resource if that is counted.
    fn total(&self) -> String {
        let counted = self.resource.map_or_else(String::new, |resource| {
            format!(
                ", (SELECT resource FROM counted_resources WHERE organization_id = $1 AND resource_type = ${resource}
                    AND resource_id = ${} AND is_counted) AS counted",
                resource + 1
            )
        });
        format!("total.n::bigint AS total_count{counted}")
    }

    /// Every table's part of the matches, each in its own order and no longer than needed, so that its index returns it
    /// as it is.
    fn arms(&self, condition: &str, order: &str) -> String {
        let arms = tables(self.filter).into_iter().map(|table| {
            let settled = matches!(table, Table::Settled(_));
            self.arm(table, &format!("t.seq, {settled}"), condition, order)
        });
        arms.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// One table's part, of each project by itself.
    fn arm(&self, table: Table, columns: &str, condition: &str, order: &str) -> String {
        let source = match table {
            Table::Active(_) => "active t",
            Table::Settled(_) => "settled t",
            Table::Leased => "leases l JOIN active t USING (organization_id, seq)",
        };
        let mut sql = format!("SELECT {columns} FROM {source} WHERE organization_id = $1{condition}");
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = table {
            let _ = write!(sql, " AND t.status = {}", status.number());
        }
        sql.push_str(&self.of_kind("t."));
        if let Some(resource) = self.resource {
            let id = resource + 1;
            let _ =
                write!(sql, " AND t.resource_type <> '' AND t.resource_type = ${resource} AND t.resource_id = ${id}");
        }
        match self.projects {
            // One range for all projects.
            Some(_) if self.resource.is_some() => format!("({sql}{}{order})", self.of_projects("t.")),
            // "<> ''" lets the planner use the partial index.
            Some(projects) => format!(
                "(SELECT t.* FROM unnest(${projects}::text[]) AS p (project_id) CROSS JOIN LATERAL (
                     {sql} AND t.project_id <> '' AND t.project_id = p.project_id{order}) AS t)"
            ),
            None => format!("({sql}{order})"),
        }
    }
}

/// Served by active_by_id and settled_by_id.
pub(super) async fn get(
    database: impl PgExecutor<'_>,
    access: &Access,
    ids: &[OperationId],
) -> Result<Vec<Option<Operation>>, StoreError> {
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "SELECT a.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
             SELECT {active}, '' AS output FROM active a WHERE a.id = w.id AND a.organization_id = $1
                 AND ($3::text[] IS NULL OR a.project_id = ANY ($3)) OFFSET 0) AS a
         UNION ALL
         SELECT s.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
             SELECT {settled}, s.output FROM settled s WHERE s.id = w.id AND s.organization_id = $1
                 AND ($3::text[] IS NULL OR s.project_id = ANY ($3)) OFFSET 0) AS s"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(&access.organization)
        .bind(ids.iter().map(rows::uuid).collect::<Vec<_>>())
        .bind(projects(access))
        .fetch_all(database)
        .await?;
    in_order(ids, found.iter().map(rows::operation))
}

/// Served by settled_by_id.
pub(super) async fn output(pool: &Connections, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
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
