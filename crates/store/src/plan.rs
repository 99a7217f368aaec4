//! How a page is found, the same for every engine: by counted buckets to a span of numbers, and which parts of tables
//! hold what matches there.
//!
//! The whole is one statement, so that it sees one snapshot and costs one round trip. [`span`] is its first half; the
//! engines say how they count ([`counts`](span)) and how they read an index range.

use std::collections::HashMap;

use operations::page::{FINEST, LEVELS};
use operations::{Filter, Operation, OperationId, Status};

use crate::StoreError;

/// The levels of counters that a page is found by, coarsest first: those of all stores, and one above them, which
/// matters once an organization has some ten million operations.
const COUNTED: [u32; 4] = [24, LEVELS[0], LEVELS[1], FINEST];

/// Common table expressions that lead from counted buckets to the page.
///
/// They end with `total (n)`, how many operations match, and `span (lower, upper, skip)`: the page's operations lie
/// between the numbers `lower` and `upper`, and from `upper` down `skip` matching ones come before them; NULL when the
/// page lies past the end.
///
/// `counts` writes the query for the matching operations per bucket of a level, as columns (bucket, n), of all buckets
/// or of those inside the buckets of the table named, which are of the level that is named with it. `size` and `offset`
/// are placeholders. On each level the buckets that the page touches are found by their running totals, newest first.
pub(crate) fn span(counts: impl Fn(u32, Option<(u32, &str)>) -> String, size: &str, offset: &str) -> String {
    let mut sql = String::new();
    let mut parent: Option<u32> = None;
    for level in COUNTED {
        let (counted, before) = match parent {
            None => (counts(level, None), "0".to_owned()),
            Some(above) => {
                let touched = format!("touched_{above}");
                (counts(level, Some((above, &touched))), format!("(SELECT min(passed) FROM {touched})"))
            }
        };
        sql.push_str(&format!(
            "counted_{level} AS MATERIALIZED (
                 SELECT bucket, n, CAST({before} + sum(n) OVER (ORDER BY bucket DESC) - n AS bigint) AS passed
                 FROM ({counted}) AS c WHERE n > 0
             ), touched_{level} AS MATERIALIZED (
                 SELECT bucket, passed FROM counted_{level} WHERE passed < {offset} + {size} AND passed + n > {offset}
             ), "
        ));
        parent = Some(level);
    }
    let coarsest = COUNTED[0];
    sql.push_str(&format!(
        "total AS MATERIALIZED (SELECT coalesce(sum(n), 0) AS n FROM counted_{coarsest}),
         span AS MATERIALIZED (
             SELECT min(bucket) << {FINEST} AS lower, ((max(bucket) + 1) << {FINEST}) - 1 AS upper,
                 coalesce({offset} - min(passed), 0) AS skip
             FROM touched_{FINEST})"
    ));
    sql
}

/// The column of the counters for a status, or their sum.
pub(crate) fn counter(status: Option<Status>) -> &'static str {
    match status {
        None => "pending + running + completed + failed",
        Some(Status::Pending) => "pending",
        Some(Status::Running) => "running",
        Some(Status::Completed) => "completed",
        Some(Status::Failed) => "failed",
    }
}

/// Part of a table that holds some of what matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// What is pending or running, or only the pending.
    Active(Option<Status>),
    /// What is running, by its leases.
    Leased,
    /// What has ended, or only in one way.
    Settled(Option<Status>),
}

/// The parts of tables that together hold exactly what matches; each is one index range (one per project).
pub(crate) fn tables(filter: &Filter) -> Vec<Table> {
    let by_resource = filter.resource.is_some();
    match filter.status {
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

/// What was found, in the order of the request.
pub(crate) fn in_order(
    ids: &[OperationId],
    found: impl Iterator<Item = Result<Operation, StoreError>>,
) -> Result<Vec<Option<Operation>>, StoreError> {
    let mut by_id: HashMap<OperationId, Operation> = HashMap::with_capacity(ids.len());
    for operation in found {
        let operation = operation?;
        by_id.insert(operation.id, operation);
    }
    Ok(ids.iter().map(|id| by_id.get(id).cloned()).collect())
}
