//! Reading single operations and outputs.

use operations::{Access, Operation, OperationId, Projects};
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::json;

use super::read;
use crate::StoreError;
use crate::plan::in_order;

/// Served by active_by_id and settled_by_id.
pub(super) fn get(
    connection: &Connection,
    access: &Access,
    ids: &[OperationId],
) -> Result<Vec<Option<Operation>>, StoreError> {
    let projects = project_list(access);
    let (active, settled) = (read::ACTIVE_COLUMNS, read::SETTLED_COLUMNS);
    let condition = "organization_id = ?1 AND id = ?2
         AND (?3 IS NULL OR project_id IN (SELECT value FROM json_each(?3)))";
    let mut active = connection
        .prepare_cached(&format!("SELECT {active}, '' FROM active a INDEXED BY active_by_id WHERE {condition}"))?;
    let mut settled = connection.prepare_cached(&format!(
        "SELECT {settled}, s.output FROM settled s INDEXED BY settled_by_id WHERE {condition}"
    ))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        for statement in [&mut active, &mut settled] {
            let mut rows = statement.query((&access.organization, id.as_bytes(), &projects))?;
            if let Some(row) = rows.next()? {
                found.push(read::operation(row));
                break;
            }
        }
    }
    in_order(ids, found.into_iter())
}

/// Served by settled_by_id.
pub(super) fn output(connection: &Connection, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT output FROM settled INDEXED BY settled_by_id
         WHERE organization_id = ?1 AND id = ?2
             AND (?3 IS NULL OR project_id IN (SELECT value FROM json_each(?3)))",
    )?;
    let values = (&access.organization, id.as_bytes(), project_list(access));
    Ok(statement.query_row(values, |row| row.get(0)).optional()?)
}

/// The projects that a caller is limited to, as a JSON array; none: it is not.
pub(super) fn project_list(access: &Access) -> Option<String> {
    match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(json!(projects).to_string()),
    }
}
