//! Where the texts of a store are, for tasks that read all of them: a change of keys, a count, `longrun doctor`.
//!
//! A store is walked table by table, each in the order of a key, so that a walk can stop anywhere and a page costs the
//! same wherever it is. Texts that move to another table meanwhile may be seen twice or not at all.

use operations::OperationId;

use super::text::{Field, Seal};

/// A table that has texts of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextTable {
    /// What is pending or running.
    #[default]
    Active,
    /// What has ended.
    Settled,
    /// Histories.
    Events,
    /// Schedules, whose id stands for that of an operation.
    Schedules,
}

impl TextTable {
    /// All, in the order in which they are walked: mostly that in which texts move.
    pub(crate) const ALL: [TextTable; 4] =
        [TextTable::Active, TextTable::Settled, TextTable::Events, TextTable::Schedules];

    /// Its name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            TextTable::Active => "active",
            TextTable::Settled => "settled",
            TextTable::Events => "events",
            TextTable::Schedules => "schedules",
        }
    }

    /// Its texts, each with the name of its column.
    pub(crate) const fn columns(self) -> &'static [(Field, &'static str)] {
        match self {
            TextTable::Active | TextTable::Schedules => &[(Field::Input, "input")],
            TextTable::Settled => {
                &[(Field::Input, "input"), (Field::Output, "output"), (Field::Message, "error_message")]
            }
            TextTable::Events => &[(Field::Message, "message")],
        }
    }

    /// The name of a text's column.
    pub(crate) fn column(self, field: Field) -> &'static str {
        let column = self.columns().iter().find(|(of, _)| *of == field);
        column.expect("a place is made of a table and one of its texts").1
    }
}

/// How far a store was walked; the beginning by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextCursor {
    pub(crate) table: TextTable,
    /// The organization of the last row, where numbers count within an organization.
    pub(crate) organization: String,
    /// The number of the last row.
    pub(crate) number: i64,
    /// Which one of several databases is walked; see [`crate::Cells`].
    pub(crate) cell: usize,
}

impl TextCursor {
    /// The beginning of the table after this one, if there is one.
    pub(crate) fn next_table(&self) -> Option<TextCursor> {
        let table = TextTable::ALL.into_iter().find(|table| *table > self.table)?;
        Some(TextCursor { table, ..TextCursor::default() })
    }
}

/// Where a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPlace {
    pub(crate) table: TextTable,
    pub(crate) organization: String,
    /// The number of its operation.
    pub(crate) seq: i64,
    /// Which of its rows, where an operation has several; each engine has a number of its own for it.
    pub(crate) row: i64,
    /// Its operation.
    pub(crate) id: OperationId,
    /// Which text.
    pub(crate) field: Field,
}

/// A text without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextHead {
    pub(crate) place: TextPlace,
    /// How it is sealed.
    pub(crate) seal: Seal,
    /// Whether it is a message that longrun itself writes, the same for everybody.
    pub(crate) is_own: bool,
    /// Bytes of it.
    pub(crate) bytes: u64,
}

impl TextHead {
    /// The head of a text that begins with this; `None` for an empty one.
    pub(crate) fn of(place: TextPlace, head: &str, bytes: i64) -> Option<TextHead> {
        let bytes = bytes.unsigned_abs();
        let is_whole = bytes == head.len() as u64;
        let is_own = place.field == Field::Message && is_whole && operations::is_own_message(head);
        (bytes > 0).then(|| TextHead { place, seal: Seal::of(head), is_own, bytes })
    }
}

/// A part of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPage {
    /// Texts that are not empty.
    pub heads: Vec<TextHead>,
    /// Where to continue; `None` when there is nothing left.
    pub next: Option<TextCursor>,
}

/// A text that is to replace another one, if that one is still there.
#[derive(Clone, Debug)]
pub struct Replacement {
    pub(crate) place: TextPlace,
    pub(crate) old: String,
    pub(crate) new: String,
}
