//! Calls of one organization go to its cell.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cells;
use super::cell::{Cell, moving};
use crate::{
    AuditPage, BulkProgress, Changes, Counted, EvidenceTotals, Fired, HeldLeases, LeaseRef, Listing, Matching,
    Position, PostgresStore, Reservation, SearchPage, StatisticsAnswer, Store, StoreError, Token, ViewOutcome,
    WaiverOutcome, split,
};

/// The store to which a call of an organization goes.
pub(super) struct At {
    store: PostgresStore,
    /// The store, set up to record the call.
    pub(super) recorded: Arc<dyn Store>,
    /// `None`: the directory's, for the instance and for organizations that are nowhere.
    cell: Option<Arc<Cell>>,
    organization: String,
    moves: u32,
}

/// Bits of a position in a change log that say how often its organization was moved. The bits below are the number of
/// the transaction: 2^48 of them last nine thousand years at a thousand per second.
const MOVES_BITS: u32 = 16;

/// What a cell answers to a call.
pub(super) trait Answer {
    /// Whether it says that there is nothing, or that nothing was done: of an organization that has just left, a cell
    /// says so too.
    fn is_nothing(&self) -> bool {
        false
    }
}

impl<T> Answer for Option<T> {
    fn is_nothing(&self) -> bool {
        self.is_none()
    }
}

impl<T, E> Answer for Result<T, E> {
    fn is_nothing(&self) -> bool {
        self.is_err()
    }
}

impl Answer for bool {
    fn is_nothing(&self) -> bool {
        !self
    }
}

impl Answer for u64 {
    fn is_nothing(&self) -> bool {
        *self == 0
    }
}

/// The number of the next operation.
impl Answer for i64 {
    fn is_nothing(&self) -> bool {
        *self <= 1
    }
}

impl Answer for ViewOutcome {
    fn is_nothing(&self) -> bool {
        *self == ViewOutcome::Missing
    }
}

impl Answer for WaiverOutcome {
    fn is_nothing(&self) -> bool {
        *self == WaiverOutcome::Missing
    }
}

impl Answer for SearchPage {
    fn is_nothing(&self) -> bool {
        self.found.is_empty()
    }
}

impl Answer for Counted {
    fn is_nothing(&self) -> bool {
        self.groups.is_empty()
    }
}

impl Answer for Matching {
    fn is_nothing(&self) -> bool {
        self.found.is_empty()
    }
}

/// Answers that are the same until the organization is removed where it was, or that are often empty.
macro_rules! answers {
    ($($answer:ty),* $(,)?) => { $(impl Answer for $answer {})* };
}
answers!(
    (),
    AuditPage,
    BulkProgress,
    Changes,
    EvidenceTotals,
    Fired,
    HeldLeases,
    Listing,
    Position,
    Reservation,
    StatisticsAnswer,
    Token,
);
impl<T> Answer for Vec<T> {}
impl<K, V> Answer for HashMap<K, V> {}

impl At {
    /// Replaces an answer that only says that the organization has left: an error, or that there is nothing.
    pub(super) async fn checked<T: Answer>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let is_doubtful = match &answer {
            Ok(answer) => answer.is_nothing(),
            Err(error) => matches!(error, StoreError::OrganizationGone | StoreError::Database(_)),
        };
        if is_doubtful && self.cell.is_some() && self.store.is_elsewhere(&self.organization).await? {
            return Err(moving());
        }
        answer
    }

    /// Whether it is in this cell.
    pub(super) fn is_in(&self, cell: &Cell) -> bool {
        self.cell.as_ref().is_some_and(|own| own.index == cell.index)
    }

    fn tag(&self) -> u64 {
        u64::from(self.moves % (1 << MOVES_BITS)) << (u64::BITS - MOVES_BITS)
    }

    /// A position as callers see it.
    pub(super) fn tagged(&self, place: Position) -> Position {
        Position { row: place.row | self.tag(), ..place }
    }

    /// A position as the cell gave it; `None`: it belongs to another cell.
    pub(super) fn untagged(&self, place: Position) -> Option<Position> {
        let row = place.row ^ self.tag();
        (row >> (u64::BITS - MOVES_BITS) == 0).then_some(Position { row, ..place })
    }
}

impl Cells {
    /// The store for calls of an organization that do not create it when it is new.
    pub(super) async fn at(&self, organization: &str) -> Result<At, StoreError> {
        let directory = &self.shared.directory;
        let placed = if organization.is_empty() { None } else { directory.find(organization).await? };
        match placed {
            Some(placed) => self.in_cell(&placed.cell, organization, placed.moves).await,
            None => Ok(self.in_directory(organization)),
        }
    }

    /// The store for calls that may create an organization.
    pub(super) async fn at_new(&self, organization: &str) -> Result<At, StoreError> {
        if organization.is_empty() {
            return Ok(self.in_directory(organization));
        }
        let cells = self.shared.cells.iter().filter(|cell| cell.store().is_ok());
        let cells: Vec<&str> = cells.map(|cell| cell.url.name.as_str()).collect();
        let placed = self.shared.directory.find_or_assign(organization, &cells).await?;
        self.in_cell(&placed.cell, organization, placed.moves).await
    }

    fn in_directory(&self, organization: &str) -> At {
        let store = self.shared.directory.store.clone();
        let recorded = self.recorded(&store);
        At { store, recorded, cell: None, organization: organization.to_owned(), moves: 0 }
    }

    async fn in_cell(&self, name: &str, organization: &str, moves: u32) -> Result<At, StoreError> {
        let found = self.cell(name).ok_or_else(|| unknown(name))?;
        match self.at_cell(found, organization, moves).await {
            // The move may be over without the copy knowing it yet.
            Err(error) if found.lacks(organization) => match self.shared.directory.look_up(organization).await? {
                Some(placed) if placed.cell != name => {
                    let cell = self.cell(&placed.cell).ok_or_else(|| unknown(&placed.cell))?;
                    self.at_cell(cell, organization, placed.moves).await
                }
                _ => Err(error),
            },
            at => at,
        }
    }

    async fn at_cell(&self, cell: &Arc<Cell>, organization: &str, moves: u32) -> Result<At, StoreError> {
        let store = self.shared.store_for(cell, organization).await?;
        cell.note_arrival(&store, organization, moves);
        let (recorded, cell) = (self.recorded(&store), Some(Arc::clone(cell)));
        Ok(At { store, recorded, cell, organization: organization.to_owned(), moves })
    }

    /// The store of a part, which records calls as this one does.
    pub(super) fn recorded(&self, store: &PostgresStore) -> Arc<dyn Store> {
        match &self.call {
            Some(call) => store.on_behalf_of(call.clone()),
            None => Arc::new(store.clone()),
        }
    }

    /// Whether an organization is in this cell. What the cell says about others comes from a move that is under way or
    /// was made.
    pub(super) async fn is_in(&self, cell: &Cell, organization: &str) -> bool {
        let is_placed = self.is_placed_in(cell, organization).await;
        !cell.lacks(organization) && is_placed.unwrap_or(false)
    }

    /// Whether the directory says so: also of an organization that is just being moved out of the cell.
    pub(super) async fn is_placed_in(&self, cell: &Cell, organization: &str) -> Result<bool, StoreError> {
        let placed = self.shared.directory.find(organization).await?;
        Ok(placed.is_some_and(|placed| placed.cell == cell.url.name))
    }

    /// [Splits](split::by_organization) work by organization, and has each part done in its cell.
    pub(super) async fn by_organization<T, R, F>(
        &self,
        items: Vec<T>,
        lease: impl Fn(&T) -> &LeaseRef,
        work: impl Fn(Arc<dyn Store>, Vec<T>) -> F,
    ) -> Vec<Result<R, StoreError>>
    where
        F: Future<Output = Result<Vec<R>, StoreError>>,
    {
        let work = &work;
        split::by_organization(
            items,
            |item| &lease(item).organization,
            |organization, part| async move {
                let at = self.at(&organization).await?;
                at.checked(work(Arc::clone(&at.recorded), part).await).await
            },
        )
        .await
    }
}

/// The error for an organization in a cell that the configuration does not have.
pub(super) fn unknown(cell: &str) -> StoreError {
    StoreError::Unusable(format!(
        "the directory refers to the cell {cell}, which is missing in the configuration: configure every cell that has organizations"
    ))
}

/// Implements a trait for [`Cells`]: `at` sends a call to the cell of an organization, `new` does so and assigns a new
/// organization to a cell, `sum` adds up the results of the cells that answer. What follows in braces is copied as
/// it is.
macro_rules! cells {
    (impl $trait:ident {
        $($how:ident $(($organization:expr))? => fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)*
    } $({ $($rest:tt)* })?) => {
        #[async_trait::async_trait]
        impl $trait for $crate::cells::Cells {
            $(async fn $name(&self $(, $argument: $type)*) -> Result<$answer, $crate::StoreError> {
                $crate::cells::routing::cells!(@$how self, $name, ($($argument),*) $(, $organization)?)
            })*
            $($($rest)*)?
        }
    };
    (@at $self:ident, $name:ident, ($($argument:ident),*), $organization:expr) => {{
        let at = $self.at($organization).await?;
        let answer = at.recorded.$name($($argument),*).await;
        at.checked(answer).await
    }};
    (@new $self:ident, $name:ident, ($($argument:ident),*), $organization:expr) => {{
        let at = $self.at_new($organization).await?;
        let answer = at.recorded.$name($($argument),*).await;
        at.checked(answer).await
    }};
    (@sum $self:ident, $name:ident, ($($argument:ident),*)) => {{
        let done = $self.every(|store| async move { store.$name($($argument),*).await }).await?;
        Ok(done.into_iter().map(|(_, count)| count).sum())
    }};
}
pub(super) use cells;
