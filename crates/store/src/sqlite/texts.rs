//! The texts of all operations, for tasks that read them one after the other: see [`crate::seal`].

use operations::OperationId;
use rusqlite::Connection;

use super::statement::query;
use crate::StoreError;
use crate::seal::{HEAD_BYTES, Replacement, TextCursor, TextHead, TextPage, TextPlace, TextTable};

/// The operation of a row of `events`. Served by active_by_seq, and by settled_by_status, a status at a time.
const ID_OF_EVENT: &str = "
    coalesce((SELECT a.id FROM active a WHERE a.organization_id = t.organization_id AND a.seq = t.seq),
        (SELECT s.id FROM settled s WHERE s.organization_id = t.organization_id AND s.status = 3 AND s.seq = t.seq),
        (SELECT s.id FROM settled s WHERE s.organization_id = t.organization_id AND s.status = 4 AND s.seq = t.seq))";

pub(super) fn heads(connection: &Connection, after: &TextCursor, limit: u32) -> Result<TextPage, StoreError> {
    let table = after.table;
    let columns: Vec<String> = table
        .columns()
        .iter()
        .map(|(_, column)| format!("substr(t.{column}, 1, {HEAD_BYTES}), octet_length(t.{column})"))
        .collect();
    let id = if table == TextTable::Events { ID_OF_EVENT } else { "t.id" };
    let sql = format!(
        "SELECT t.rowid, t.organization_id, t.seq, {id}, {} FROM {} t
         WHERE t.rowid > ?1 ORDER BY t.rowid LIMIT {limit}",
        columns.join(", "),
        table.name(),
    );
    let rows = query(sql).bind(after.number).fetch_all(connection)?;
    let (mut heads, mut last) = (Vec::new(), None);
    for row in &rows {
        let number: i64 = row.try_get(0)?;
        last = Some(number);
        // A history whose operation is gone is reported by `longrun doctor`.
        let Some(id) = row.try_get::<Option<[u8; 16]>>(3)? else { continue };
        for (index, (field, _)) in table.columns().iter().enumerate() {
            let place = TextPlace {
                table,
                organization: row.try_get(1)?,
                seq: row.try_get(2)?,
                row: number,
                id: OperationId::from_bytes(id),
                field: *field,
            };
            let head: String = row.try_get(4 + 2 * index)?;
            heads.extend(TextHead::of(place, &head, row.try_get(5 + 2 * index)?));
        }
    }
    let next = match last {
        Some(number) if rows.len() == limit as usize => Some(TextCursor { number, ..after.clone() }),
        _ => after.next_table(),
    };
    Ok(TextPage { heads, next })
}

pub(super) fn read(connection: &Connection, places: &[TextPlace]) -> Result<Vec<Option<String>>, StoreError> {
    let text = |place: &TextPlace| {
        let (column, table) = (place.table.column(place.field), place.table.name());
        // Row numbers are reused after a deletion.
        let sql = format!("SELECT {column} FROM {table} WHERE rowid = ?1 AND organization_id = ?2 AND seq = ?3");
        let row = query(sql).bind(place.row).bind(&place.organization).bind(place.seq).fetch_optional(connection)?;
        row.map(|row| row.try_get(0)).transpose()
    };
    places.iter().map(text).collect()
}

/// The old text is overwritten, and does not stay in free pages of the file.
pub(super) fn replace(connection: &Connection, replacements: &[Replacement]) -> Result<u64, StoreError> {
    connection.pragma_update(None, "secure_delete", true)?;
    let mut replaced = 0;
    for Replacement { place, old, new } in replacements {
        let (column, table) = (place.table.column(place.field), place.table.name());
        let sql = format!(
            "UPDATE {table} SET {column} = ?5 WHERE rowid = ?1 AND organization_id = ?2 AND seq = ?3 AND {column} = ?4"
        );
        let update = query(sql).bind(place.row).bind(&place.organization).bind(place.seq).bind(old).bind(new);
        replaced += update.execute(connection)?;
    }
    connection.pragma_update(None, "secure_delete", false)?;
    Ok(replaced)
}
