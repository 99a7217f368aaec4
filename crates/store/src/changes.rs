//! The change log, as readers see it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use operations::{Operation, OperationId, Status, Timestamp};

/// How long changes are kept for [consumers](crate::Store::register_consumer) that do not read them: a week. No server
/// has run for that long then, or none that reads for them.
pub const KEPT_FOR_CONSUMERS: Duration = Duration::from_secs(7 * 24 * 3600);

/// A cursor of an organization: after some changes and before the others.
///
/// Positions are ordered, and mean something only to the store that gave them. Their text is for logs and keys; clients
/// see them sealed: [`crate::PositionKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The row of the change log: in PostgreSQL the transaction that wrote it, in SQLite its key.
    pub(crate) row: u64,
    /// PostgreSQL: the row among those of its transaction. [`Position::SQLITE`] in SQLite, so that a position in an
    /// embedded store that was moved to PostgreSQL is known to be invalid there.
    pub(crate) part: u32,
    /// How many of the row's changes lie before the position.
    pub(crate) seen: u32,
}

impl Position {
    pub(crate) const SQLITE: u32 = u32::MAX;
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.row, self.part, self.seen)
    }
}

/// The text is not a position in a change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an event of this server")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Position, InvalidPosition> {
        let mut numbers = text.split('-').map(|part| {
            let is_canonical = part == "0" || (!part.starts_with(['0', '+']) && !part.is_empty());
            if is_canonical { part.parse::<u64>().map_err(|_| InvalidPosition) } else { Err(InvalidPosition) }
        });
        let mut next = || numbers.next().ok_or(InvalidPosition)?;
        let (row, part, seen) = (next()?, next()?, next()?);
        if numbers.next().is_some() {
            return Err(InvalidPosition);
        }
        let small = |number: u64| u32::try_from(number).map_err(|_| InvalidPosition);
        Ok(Position { row, part: small(part)?, seen: small(seen)? })
    }
}

/// A transition of an operation, or its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The position right after it.
    pub position: Position,
    /// When it happened.
    pub at: Timestamp,
    /// The operation.
    pub id: OperationId,
    /// Its new status; `None`: it was removed.
    pub status: Option<Status>,
    /// It was created: pending for the first time.
    pub is_creation: bool,
}

/// A row of the change log: the status to which one statement brought some operations of an organization.
pub(crate) struct ChangeRow {
    /// Its position: see [`Position`].
    pub(crate) row: u64,
    pub(crate) part: u32,
    pub(crate) at: Timestamp,
    pub(crate) status: Option<Status>,
    pub(crate) is_creation: bool,
    pub(crate) ids: Vec<OperationId>,
}

impl Change {
    /// The operation right after this change, as far as that can be derived from its state `now`; `None` after a
    /// removal. For an end that was retried since, the output and the error are no longer known.
    pub fn then(&self, now: Operation) -> Option<Operation> {
        let status = self.status?;
        // An operation that ended again ended later.
        let is_same_end = now.status == Status::Completed || now.finished_at.is_some_and(|end| end <= self.at);
        if status.is_terminal() && now.status == status && is_same_end {
            return Some(now);
        }
        let then = Operation { status, output: String::new(), error_message: String::new(), finished_at: None, ..now };
        Some(match status {
            Status::Pending => Operation { started_at: None, ..then },
            Status::Running => Operation { started_at: Some(self.at), ..then },
            Status::Completed | Status::Failed => Operation { finished_at: Some(self.at), ..then },
        })
    }
}

/// A batch of changes of the change log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In commit order; empty when nothing has happened.
    pub changes: Vec<Change>,
    /// The position from which to continue.
    pub next: Position,
    /// The oldest change that is committed and cannot be shown yet, because a transaction that began earlier (perhaps
    /// an application's) is still under way and may commit something that comes before. `None` when everything is
    /// shown, and when there may be more to read already.
    pub held_up: Option<Timestamp>,
}

/// The bytes of the ids that a read of this many changes needs, with those of the first row that were read before.
pub(crate) fn bytes_of_ids(after: Position, limit: u32) -> i64 {
    16 * (i64::from(limit) + i64::from(after.seen))
}

/// Makes a batch of changes from rows of the change log, in their order.
pub(crate) fn batch_of_changes(after: Position, limit: u32, rows: impl IntoIterator<Item = ChangeRow>) -> Changes {
    let limit = limit as usize;
    let (mut changes, mut next) = (Vec::new(), after);
    for ChangeRow { row, part, at, status, is_creation, ids } in rows {
        let seen = if (row, part) == (after.row, after.part) { after.seen as usize } else { 0 };
        for (index, id) in ids.into_iter().enumerate().skip(seen) {
            if changes.len() >= limit {
                return Changes { changes, next, held_up: None };
            }
            next = Position { row, part, seen: u32::try_from(index + 1).unwrap_or(u32::MAX) };
            changes.push(Change { position: next, at, id, status, is_creation });
        }
    }
    Changes { changes, next, held_up: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use operations::NewOperation;

    use super::*;

    #[test]
    fn places_come_back_from_their_text_and_other_texts_are_refused() {
        for position in [
            Position { row: 0, part: 0, seen: 0 },
            Position { row: u64::MAX, part: 7, seen: 1_000 },
            Position { row: 12, part: Position::SQLITE, seen: 1 },
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in
            ["", "1", "1-2", "1-2-3-4", "1--3", "-1-2-3", "a-b-c", "01-2-3", "+1-2-3", "1-2-4294967296", "1-2-3 "]
        {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }

    #[test]
    fn an_operation_is_shown_as_it_was() {
        let at = Timestamp::from_millis;
        let now = Operation {
            status: Status::Failed,
            started_at: Some(at(30)),
            finished_at: Some(at(40)),
            error_message: "no luck".to_owned(),
            ..NewOperation::of_kind("scan").to_operation(at(0))
        };
        let became = |status, millis, now: &Operation| {
            let position = Position { row: 1, part: 1, seen: 1 };
            let change = Change { position, at: at(millis), id: now.id, status: Some(status), is_creation: false };
            let then = change.then(now.clone()).unwrap();
            assert_eq!((then.status, then.id, then.created_at), (status, now.id, now.created_at));
            (then.started_at, then.finished_at, then.error_message)
        };
        assert_eq!(became(Status::Pending, 20, &now), (None, None, String::new()));
        assert_eq!(became(Status::Running, 20, &now), (Some(at(20)), None, String::new()));
        assert_eq!(became(Status::Failed, 41, &now), (Some(at(30)), Some(at(40)), "no luck".to_owned()));
        assert_eq!(became(Status::Failed, 20, &now).1, Some(at(20)), "it failed again since");
        let retried = Operation { status: Status::Running, finished_at: None, error_message: String::new(), ..now };
        assert_eq!(became(Status::Failed, 20, &retried), (Some(at(30)), Some(at(20)), String::new()));
        let position = "1-1-1".parse().unwrap();
        let removed = Change { position, at: at(50), id: retried.id, status: None, is_creation: false };
        assert_eq!(removed.then(retried), None);
    }

    #[test]
    fn a_stretch_ends_at_its_limit_and_goes_on_inside_of_a_row() {
        let at = Timestamp::from_millis(0);
        let ids: Vec<OperationId> = (0..5).map(|_| OperationId::new(at)).collect();
        let row = |row, status, ids: &[OperationId]| ChangeRow {
            row,
            part: 1,
            at,
            status,
            is_creation: false,
            ids: ids.to_vec(),
        };
        let rows = || [row(7, Some(Status::Pending), &ids[..3]), row(9, None, &ids[3..])];
        let (mut after, mut seen) = (Position { row: 7, part: 0, seen: 0 }, Vec::new());
        loop {
            let rest = rows().into_iter().filter(|row| (row.row, row.part) >= (after.row, after.part));
            let part = batch_of_changes(after, 2, rest);
            if part.changes.is_empty() {
                assert_eq!(part.next, after);
                break;
            }
            assert!(part.changes.len() <= 2 && part.next > after);
            seen.extend(part.changes.iter().map(|change| change.id));
            after = part.next;
        }
        assert_eq!(seen, ids);
    }
}
