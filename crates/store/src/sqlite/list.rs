//! Reading counted pages.
//!
//! A page with its total is a few short statements in one snapshot. The coarsest counters give the total. A page near
//! one end of the list is read from there at once, with its rows, by one statement. For any other page, finer counters
//! lead to a span of sequence numbers that holds the page, in which at most some thousand index entries are skipped,
//! from the nearer end. Only matching entries are skipped, since every filter has an index that ends in the sequence
//! number.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;

use operations::page::LEVELS;
use operations::{Access, Filter, NOTICE_KIND, PageInfo, PageRequest, Projects};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, Rows, Statement};
use serde_json::json;

use super::part::Part;
use super::{read, resources};
use crate::plan::{self, Table, tables};
use crate::{LISTED_OUTPUT_BYTES, Listed, Listing, StoreError};

/// Matching operations that are skipped one by one instead of reading finer counters: reading an index entry takes
/// less than a microsecond.
const FEW: i64 = 2_048;

/// The length of a range of numbers whose entries of projects are read even if many of them do not match.
const SHORT: i64 = 16_384;

/// Reads one page and the total. To be called within a snapshot.
pub(super) fn list(
    connection: &Connection,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<Listing, StoreError> {
    Ok(numbered(connection, access, filter, page)?.1)
}

/// The same, with the number of each entry.
pub(super) fn numbered(
    connection: &Connection,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> Result<(Vec<i64>, Listing), StoreError> {
    let projects = match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects),
    };
    let organization = access.organization.as_str();
    let counted = match &filter.resource {
        Some(resource) => resources::find(connection, organization, resource)?,
        None => None,
    };
    let list = List { connection, organization, projects, filter, counted };
    let (total_count, entries) = match &filter.resource {
        Some(_) if counted.is_none() => list.by_range(page)?,
        _ => list.by_counters(page)?,
    };
    let (numbers, entries) = entries.into_iter().unzip();
    Ok((numbers, Listing { entries, page: PageInfo { total_count: total_count.unsigned_abs(), request: page } }))
}

/// An entry of a list and its number.
type Numbered = (i64, Listed);

/// Where an entry of a list is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    seq: i64,
    is_settled: bool,
    row: i64,
}

struct List<'a> {
    connection: &'a Connection,
    organization: &'a str,
    projects: Option<&'a BTreeSet<String>>,
    filter: &'a Filter,
    /// The number under which the filter's resource is counted.
    counted: Option<i64>,
}

impl List<'_> {
    /// The total and the page's entries, by counters.
    fn by_counters(&self, page: PageRequest) -> Result<(i64, Vec<Numbered>), StoreError> {
        let mut counted = BTreeMap::new();
        let total = self.count(LEVELS[0], 0..i64::MAX, &mut counted)?;
        let mut part = Part::of_page(page, total);
        let mut numbers = 0..0;
        if part.take == 0 {
            return Ok((total, Vec::new()));
        }
        let is_exact = self.is_exact();
        let is_read_at_once = self.index_ranges().is_none() && part.reach() <= FEW && is_exact;
        let next = if is_read_at_once { i64::MAX } else { self.next_number()? };
        for (index, level) in LEVELS.iter().enumerate() {
            // The counted buckets have the page, and reach to the newest end or to the oldest.
            let is_from_oldest = index > 0 && part.is_nearer_to_oldest();
            let mut passed = if is_from_oldest { part.of - counted.values().sum::<i64>() } else { 0 };
            // The buckets that the page touches are adjacent.
            let (mut skip, mut of) = (part.skip, 0);
            let mut touched: Option<(i64, i64)> = None;
            for (bucket, n) in counted.iter().rev() {
                if passed < part.skip + part.take && passed + n > part.skip {
                    if touched.is_none() {
                        skip = part.skip - passed;
                    }
                    of += n;
                    touched = Some((touched.map_or(*bucket, |(newest, _)| newest), *bucket));
                }
                passed += n;
            }
            let Some((newest, oldest)) = touched.filter(|_| skip >= 0 && of >= skip + part.take) else {
                return Err(StoreError::Unusable("counters contradict each other; run longrun doctor".to_owned()));
            };
            part = Part { of, skip, take: part.take };
            numbers = oldest << level..((newest + 1) << level).min(next);
            let Some(finer) = LEVELS.get(index + 1) else { break };
            if part.of <= FEW && is_exact {
                break;
            }
            match self.index_ranges() {
                None if part.reach() <= FEW && is_exact => break,
                Some(projects) if part.reach() <= FEW => {
                    // Unless entries are spread unevenly, the first piece has the page.
                    let piece = part.first_piece(&numbers);
                    if is_exact || piece.end - piece.start <= SHORT {
                        let keys = self.keys_of_projects(projects, piece)?;
                        if keys.len() as i64 >= part.reach() {
                            return Ok((total, self.entries(part.of_keys(keys))?));
                        }
                    }
                }
                _ => {}
            }
            counted.clear();
            let buckets = numbers.start >> finer..((numbers.end - 1) >> finer) + 1;
            part.read_from_nearer_end(buckets, |buckets| self.count(*finer, buckets, &mut counted))?;
        }
        Ok((total, self.page(Some(numbers), part)?))
    }

    /// The number that the organization's next operation gets: beyond it there is nothing. Served by the primary key.
    fn next_number(&self) -> Result<i64, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT next_seq FROM organizations WHERE organization_id = ?1")?;
        let next = statement.query_row([self.organization], |row| row.get(0)).optional()?;
        Ok(next.unwrap_or(1))
    }

    /// Whether an index range holds little that does not match: the index has the fields of the filter before the
    /// sequence number.
    fn is_exact(&self) -> bool {
        let Filter { status, kind, resource } = self.filter;
        match (resource, self.projects) {
            (Some(_), projects) => status.is_none() && kind.is_none() && projects.is_none(),
            (None, Some(_)) => kind.is_none(),
            (None, None) => true,
        }
    }

    /// The projects to which the caller is limited, where each has an index range of its own.
    fn index_ranges(&self) -> Option<&BTreeSet<String>> {
        // A resource mostly belongs to one project: in its range they are checked row by row.
        self.projects.filter(|_| self.filter.resource.is_none())
    }

    /// Adds the matching operations per bucket of a level, for these buckets; answers how many there are. Served by the
    /// counters' primary keys.
    fn count(&self, level: u32, buckets: Range<i64>, counted: &mut BTreeMap<i64, i64>) -> Result<i64, StoreError> {
        let counter = plan::counter(self.filter.status);
        let (table, whose) = match (self.counted, self.projects) {
            (None, None) => ("counters", "organization_id = ?1"),
            (None, Some(_)) => ("project_counters", "organization_id = ?1 AND project_id = ?6"),
            (Some(_), None) => ("resource_counters", "resource = ?1"),
            // One resource mostly belongs to one project.
            (Some(_), Some(_)) => {
                ("resource_counters", "resource = ?1 AND project_id IN (SELECT value FROM json_each(?6))")
            }
        };
        let kind = self.of_kind("kind", "?5");
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT bucket, {counter} FROM {table}
             WHERE {whose} AND level = ?2 AND bucket >= ?3 AND bucket < ?4 AND {kind}"
        ))?;
        let text = |text: &String| Value::Text(text.clone());
        let mut values = [
            self.counted.map_or_else(|| Value::Text(self.organization.to_owned()), Value::from),
            Value::from(level),
            Value::from(buckets.start),
            Value::from(buckets.end),
            self.filter.kind.as_ref().map_or(Value::Null, text),
            Value::Null,
        ];
        let mut total = 0;
        let mut add = |projects: Value| -> Result<(), StoreError> {
            values[5] = projects;
            let mut rows = bound(&mut statement, &values)?;
            while let Some(row) = rows.next()? {
                let n: i64 = row.get(1)?;
                if n > 0 {
                    *counted.entry(row.get(0)?).or_default() += n;
                    total += n;
                }
            }
            Ok(())
        };
        match self.projects {
            None => add(Value::Null)?,
            Some(projects) if self.counted.is_some() => add(Value::Text(json!(projects).to_string()))?,
            Some(projects) => projects.iter().try_for_each(|project| add(text(project)))?,
        }
        Ok(total)
    }

    /// The condition on a column with the kind; every index that serves a filter holds it.
    fn of_kind(&self, column: &str, kind: &str) -> String {
        match self.filter.kind {
            Some(_) => format!("{column} = {kind}"),
            None => format!("{column} <> '{NOTICE_KIND}'"),
        }
    }

    /// The total and the page's entries along the index range of a resource that has no counters.
    fn by_range(&self, page: PageRequest) -> Result<(i64, Vec<Numbered>), StoreError> {
        let counts: Vec<String> =
            tables(self.filter).into_iter().map(|table| format!("({})", self.arm(table, "count(*)", false))).collect();
        let mut statement = self.connection.prepare_cached(&format!("SELECT {}", counts.join(" + ")))?;
        let mut rows = bound(&mut statement, &self.values(None, None))?;
        let total = rows.next()?.ok_or_else(|| read::damaged("count"))?.get(0)?;
        Ok((total, self.page(None, Part::of_page(page, total))?))
    }

    /// The entries of a part of the matching operations in a range, newest first.
    fn page(&self, numbers: Option<Range<i64>>, part: Part) -> Result<Vec<Numbered>, StoreError> {
        if part.take == 0 {
            return Ok(Vec::new());
        }
        if let (Some(projects), Some(numbers)) = (self.index_ranges(), &numbers) {
            let mut keys = Vec::with_capacity(usize::try_from(part.reach() * 5 / 4).unwrap_or_default());
            part.read_from_nearer_end(numbers.clone(), |numbers| {
                let before = keys.len();
                keys.extend(self.keys_of_projects(projects, numbers)?);
                Ok((keys.len() - before) as i64)
            })?;
            return self.entries(part.of_keys(keys));
        }
        let (order, skip) = if part.is_nearer_to_oldest() { ("", part.after()) } else { ("DESC", part.skip) };
        let mut statement = self.connection.prepare_cached(&self.rows(numbers.is_some(), order))?;
        let mut values = self.values(numbers, None);
        values.extend([Value::from(part.take), Value::from(skip)]);
        let mut found = Vec::with_capacity(usize::try_from(part.take).unwrap_or_default());
        let mut rows = bound(&mut statement, &values)?;
        while let Some(row) = rows.next()? {
            found.push((row.get(1)?, listed(row)?));
        }
        // They come in this order, or in the opposite one: a statement that had to guarantee the order would sort them.
        found.sort_by_key(|(seq, _)| Reverse(*seq));
        Ok(found)
    }

    /// The statement for the rows of a part of the matching operations: ?8 rows after ?9.
    fn rows(&self, has_numbers: bool, order: &str) -> String {
        if let [table] = tables(self.filter)[..] {
            let key = keyed(table);
            // Rows that are skipped are skipped in the index.
            let rows = self.arm(table, &format!("{IN_ONE_TABLE}, {key}.seq, {}", columns(table)), has_numbers);
            return format!("{rows} ORDER BY {key}.seq {order} LIMIT ?8 + 0 OFFSET ?9");
        }
        let arms = self.arms(has_numbers);
        let (active, settled) = (columns(Table::Active(None)), columns(Table::Settled(None)));
        format!(
            "SELECT k.is_settled, k.seq, {active}, {settled}
             FROM ({arms} ORDER BY 1 {order} LIMIT ?8 + 0 OFFSET ?9) k
             LEFT JOIN active a ON a.rowid = iif(k.is_settled, NULL, k.row)
             LEFT JOIN settled s ON s.rowid = iif(k.is_settled, k.row, NULL)"
        )
    }

    /// The keys of the matching operations in a range, for each project.
    fn keys_of_projects(&self, projects: &BTreeSet<String>, numbers: Range<i64>) -> Result<Vec<Key>, StoreError> {
        let mut statement = self.connection.prepare_cached(&self.arms(true))?;
        let mut keys = Vec::new();
        let mut values = self.values(Some(numbers), None);
        for project in projects {
            values[6] = Value::Text(project.clone());
            let mut rows = bound(&mut statement, &values)?;
            while let Some(row) = rows.next()? {
                keys.push(Key { seq: row.get(0)?, is_settled: row.get(1)?, row: row.get(2)? });
            }
        }
        Ok(keys)
    }

    /// What the placeholders ?1 to ?7 of [`List::arm`] stand for.
    fn values(&self, numbers: Option<Range<i64>>, project: Option<&str>) -> Vec<Value> {
        let resource = self.filter.resource.as_ref();
        let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
        let number = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
        // A resource mostly belongs to one project: in its range they are checked row by row.
        let projects = match (resource, self.projects) {
            (Some(_), Some(projects)) => Some(json!(projects).to_string()),
            _ => None,
        };
        vec![
            text(Some(self.organization)),
            number(numbers.as_ref().map(|numbers| numbers.start)),
            number(numbers.as_ref().map(|numbers| numbers.end)),
            text(self.filter.kind.as_deref()),
            text(resource.map(|resource| resource.resource_type.as_str())),
            text(resource.map(|resource| resource.resource_id.as_str())),
            text(project.or(projects.as_deref())),
        ]
    }

    /// Every table's part of the matching operations; a compound that is ordered by its first column merges them by
    /// their indexes.
    fn arms(&self, has_numbers: bool) -> String {
        let arms = tables(self.filter).into_iter().map(|table| {
            let (t, is_settled) = (alias(table), matches!(table, Table::Settled(_)));
            self.arm(table, &format!("{t}.seq AS seq, {is_settled} AS is_settled, {t}.rowid AS row"), has_numbers)
        });
        arms.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// `SELECT columns FROM table INDEXED BY the index that serves the filter WHERE …`. Placeholders: ?1 the
    /// organization, ?2 and ?3 the numbers from and before which, ?4 the kind, ?5 and ?6 the resource, ?7 the project,
    /// or for a resource the projects.
    fn arm(&self, table: Table, columns: &str, has_numbers: bool) -> String {
        let has_resource = self.filter.resource.is_some();
        let leased = matches!(table, Table::Leased);
        let by_project = self.projects.is_some() && !has_resource && !leased;
        let index = if has_resource {
            "by_resource"
        } else if by_project {
            "by_project"
        } else if self.filter.kind.is_some() {
            "by_kind"
        } else {
            match table {
                Table::Settled(_) => "by_status",
                Table::Active(_) | Table::Leased => "by_seq",
            }
        };
        let t = alias(table);
        let mut sql = format!("SELECT {columns} FROM ");
        let _ = match table {
            Table::Active(_) => write!(sql, "active {t} INDEXED BY active_{index} WHERE "),
            Table::Settled(_) => write!(sql, "settled {t} INDEXED BY settled_{index} WHERE "),
            Table::Leased => write!(
                sql,
                "leases l CROSS JOIN active {t} INDEXED BY active_by_seq
                 ON {t}.organization_id = l.organization_id AND {t}.seq = l.seq WHERE "
            ),
        };
        let key = keyed(table);
        let _ = write!(sql, "{key}.organization_id = ?1");
        if has_numbers {
            let _ = write!(sql, " AND {key}.seq >= ?2 AND {key}.seq < ?3");
        }
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = table {
            let _ = write!(sql, " AND {t}.status = {}", status.number());
        }
        let _ = write!(sql, " AND {}", self.of_kind(&format!("{t}.kind"), "?4"));
        if has_resource {
            // "<> ''" lets the planner use the partial index.
            let _ = write!(sql, " AND {t}.resource_type <> '' AND {t}.resource_type = ?5 AND {t}.resource_id = ?6");
            if self.projects.is_some() {
                let _ = write!(sql, " AND {t}.project_id IN (SELECT value FROM json_each(?7))");
            }
        } else if self.projects.is_some() {
            let _ = write!(sql, " AND {t}.project_id = ?7 AND {t}.project_id <> ''");
        }
        sql
    }

    /// The entries of the keys.
    fn entries(&self, keys: Vec<Key>) -> Result<Vec<Numbered>, StoreError> {
        let by_row = |table| {
            let (columns, t) = (columns(table), alias(table));
            let name = if matches!(table, Table::Settled(_)) { "settled" } else { "active" };
            let sql = format!("SELECT {IN_ONE_TABLE}, {t}.seq, {columns} FROM {name} {t} WHERE {t}.rowid = ?1");
            self.connection.prepare_cached(&sql)
        };
        let (mut active, mut settled) = (by_row(Table::Active(None))?, by_row(Table::Settled(None))?);
        let entry = |key: Key| {
            let statement = if key.is_settled { &mut settled } else { &mut active };
            let mut rows = statement.query([key.row])?;
            Ok((key.seq, listed(rows.next()?.ok_or_else(|| read::damaged("row"))?)?))
        };
        keys.into_iter().map(entry).collect()
    }
}

/// The name of a table in a statement.
fn alias(table: Table) -> &'static str {
    match table {
        Table::Active(_) | Table::Leased => "a",
        Table::Settled(_) => "s",
    }
}

/// The name, in a statement, of the table that is read in the order of numbers.
fn keyed(table: Table) -> &'static str {
    if matches!(table, Table::Leased) { "l" } else { alias(table) }
}

/// Precedes the number and [`columns`] where rows are of one table: no columns of the other table come first.
const IN_ONE_TABLE: &str = "false";

/// The columns of an entry: those of the operation, with its output, and whether that is left out because it is long.
fn columns(table: Table) -> String {
    match table {
        Table::Active(_) | Table::Leased => format!("{}, '', false", read::ACTIVE_COLUMNS),
        Table::Settled(_) => format!(
            "{}, iif(octet_length(s.output) > {LISTED_OUTPUT_BYTES}, '', s.output),
             octet_length(s.output) > {LISTED_OUTPUT_BYTES}",
            read::SETTLED_COLUMNS
        ),
    }
}

/// The entry of a row that begins with a flag whether the columns of another table come before its own, and with its
/// number.
fn listed(row: &Row<'_>) -> Result<Listed, StoreError> {
    let first = if row.get(0)? { 2 + read::AFTER_OPERATION + 1 } else { 2 };
    Ok(Listed { operation: read::operation_at(row, first)?, output_left_out: row.get(first + read::AFTER_OPERATION)? })
}

/// Runs a statement with those of the values that it names: `?n` is the n-th.
fn bound<'s>(statement: &'s mut Statement<'_>, values: &[Value]) -> Result<Rows<'s>, StoreError> {
    for (index, value) in values.iter().enumerate().take(statement.parameter_count()) {
        statement.raw_bind_parameter(index + 1, value)?;
    }
    Ok(statement.raw_query())
}
