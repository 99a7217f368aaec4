//! The texts of all operations, for callers that read them one after the other: see [`crate::seal`].

use std::collections::BTreeMap;

use operations::OperationId;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::connections::Connections;
use super::rows::{text_in, text_out};
use crate::StoreError;
use crate::seal::{Field, HEAD_BYTES, Replacement, TextCursor, TextHead, TextPage, TextPlace, TextTable};

/// The operation of a row of `events`. Served by the tables' primary keys.
const ID_OF_EVENT: &str = "
    coalesce((SELECT a.id FROM active a WHERE a.organization_id = t.organization_id AND a.seq = t.seq),
        (SELECT s.id FROM settled s WHERE s.organization_id = t.organization_id AND s.seq = t.seq))";

/// Identifies a row of an operation in `events`, where rows have no key: by its text. Two rows with the same text count
/// as one here.
const ROW: &str = "hashtextextended(message, 0)";

/// Served by the primary keys of active and settled, and by schedules_by_seq.
pub(super) async fn heads(pool: &Connections, after: &TextCursor, limit: u32) -> Result<TextPage, StoreError> {
    let table = after.table;
    let columns: Vec<String> = table
        .columns()
        .iter()
        .map(|(_, column)| format!("left(t.{column}, {HEAD_BYTES}), octet_length(t.{column})::bigint"))
        .collect();
    let (columns, name) = (columns.join(", "), table.name());
    let sql = match table {
        TextTable::Active | TextTable::Settled | TextTable::Schedules => format!(
            "SELECT t.organization_id, t.seq, t.id, {columns} FROM {name} t
             WHERE (t.organization_id, t.seq) > ($1, $2) ORDER BY t.organization_id, t.seq LIMIT $3"
        ),
        // An operation has several, some hundred at most: they are read together. Served by events_by_operation,
        // once per operation.
        TextTable::Events => format!(
            "WITH RECURSIVE operation AS (
                 (SELECT organization_id, seq, 1 AS nth FROM events WHERE (organization_id, seq) > ($1, $2)
                     ORDER BY organization_id, seq LIMIT 1)
                 UNION ALL
                 SELECT n.organization_id, n.seq, o.nth + 1 FROM operation o CROSS JOIN LATERAL (
                     SELECT organization_id, seq FROM events e
                     WHERE (e.organization_id, e.seq) > (o.organization_id, o.seq)
                     ORDER BY e.organization_id, e.seq LIMIT 1) AS n
                 WHERE o.nth < $3)
             SELECT t.organization_id, t.seq, {ID_OF_EVENT}, {columns}, t.row FROM operation o CROSS JOIN LATERAL (
                 SELECT organization_id, seq, message, {ROW} AS row FROM events
                 WHERE organization_id = o.organization_id AND seq = o.seq OFFSET 0) AS t
             ORDER BY t.organization_id, t.seq"
        ),
    };
    let limit = i64::from(limit);
    let query = sqlx::query(AssertSqlSafe(sql)).bind(&after.organization).bind(after.number).bind(limit);
    let rows = query.fetch_all(pool).await?;
    let (mut heads, mut last, mut seen) = (Vec::new(), None::<(String, i64)>, 0);
    for row in &rows {
        let (organization, seq): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let place = (organization.clone(), seq);
        seen += i64::from(last.as_ref() != Some(&place));
        last = Some(place);
        // A history whose operation is gone is reported by `longrun doctor`.
        let Some(id) = row.try_get::<Option<Uuid>, _>(2)? else { continue };
        for (index, (field, _)) in table.columns().iter().enumerate() {
            let (organization, id) = (organization.clone(), OperationId::from_bytes(*id.as_bytes()));
            let row_number = if table == TextTable::Events { row.try_get("row")? } else { 0 };
            let place = TextPlace { table, organization, seq, row: row_number, id, field: *field };
            let head: String = row.try_get(3 + 2 * index)?;
            heads.extend(TextHead::of(place, &head, row.try_get(4 + 2 * index)?));
        }
    }
    let next = match last {
        Some((organization, number)) if seen == limit => Some(TextCursor { table, organization, number, cell: 0 }),
        _ => after.next_table(),
    };
    Ok(TextPage { heads, next })
}

/// Places of one table and text, as columns.
#[derive(Default)]
struct Columns<'p> {
    indexes: Vec<usize>,
    organizations: Vec<&'p str>,
    seqs: Vec<i64>,
    /// For histories: which of an operation's rows.
    rows: Vec<i64>,
}

fn alike<'p>(places: impl Iterator<Item = &'p TextPlace>) -> BTreeMap<(TextTable, Field), Columns<'p>> {
    let mut groups: BTreeMap<_, Columns<'_>> = BTreeMap::new();
    for (index, place) in places.enumerate() {
        let columns = groups.entry((place.table, place.field)).or_default();
        columns.indexes.push(index);
        columns.organizations.push(&place.organization);
        columns.seqs.push(place.seq);
        columns.rows.push(place.row);
    }
    groups
}

/// The condition that finds the rows of a table that the place `w` refers to. Served by the primary keys of active and
/// settled, by events_by_operation and schedules_by_seq.
fn is_row(table: TextTable) -> String {
    let of_operation = "t.organization_id = w.organization_id AND t.seq = w.seq";
    match table {
        TextTable::Active | TextTable::Settled | TextTable::Schedules => of_operation.to_owned(),
        TextTable::Events => format!("{of_operation} AND {ROW} = w.row"),
    }
}

pub(super) async fn read(pool: &Connections, places: &[TextPlace]) -> Result<Vec<Option<String>>, StoreError> {
    let mut texts = vec![None; places.len()];
    for ((table, field), columns) in alike(places.iter()) {
        let (name, column, is_row) = (table.name(), table.column(field), is_row(table));
        let sql = format!(
            "SELECT w.place, t.text FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY
                 AS w (organization_id, seq, row, place)
             CROSS JOIN LATERAL (SELECT t.{column} AS text FROM {name} t WHERE {is_row} LIMIT 1) AS t"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(columns.organizations).bind(columns.seqs).bind(columns.rows);
        for row in query.fetch_all(pool).await? {
            let place = usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(usize::MAX);
            if let Some(index) = columns.indexes.get(place) {
                texts[*index] = Some(text_out(row.try_get(1)?));
            }
        }
    }
    Ok(texts)
}

/// A row that is written at the same time is left as it is; its writer may have to begin anew.
pub(super) async fn replace(pool: &Connections, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
    let mut replaced = 0;
    for ((table, field), columns) in alike(replacements.iter().map(|replacement| &replacement.place)) {
        let (name, column, is_row) = (table.name(), table.column(field), is_row(table));
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for index in &columns.indexes {
            old.push(text_in(replacements[*index].old.clone()));
            new.push(text_in(replacements[*index].new.clone()));
        }
        let sql = format!(
            "UPDATE {name} t SET {column} = w.new
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
                 AS w (organization_id, seq, row, old, new)
             WHERE {is_row} AND t.{column} = w.old"
        );
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(columns.organizations)
            .bind(columns.seqs)
            .bind(columns.rows)
            .bind(old)
            .bind(new);
        replaced += query.execute(pool).await?.rows_affected();
    }
    Ok(replaced)
}
