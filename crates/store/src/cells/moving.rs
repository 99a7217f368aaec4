//! Moving an organization to another cell, while servers run.
//!
//! 1. The directory notes the move; it refuses every other process that would move the same organization.
//! 2. The target notes that the organization is not to be used there, and the source that it has left: from here on its
//!    calls are answered with 503. Its writes that are still under way in the source are refused (`postgres/moving/`).
//! 3. Everything is copied from one snapshot, counted, and examined as `longrun doctor` does.
//! 4. Once no process can any longer take it to be in the source ([`Patience::trust`](super::Patience::trust)), the
//!    directory says that it is in the target. This is the moment of the move.
//! 5. It is opened there, its leases as long as they had left, and removed from the source.
//!
//! When a step is interrupted, repeating the same move completes the rest; before the fourth step, the move can be
//! given up.
//!
//! The right to move an organization is a lock of a connection to the directory, which may break without its process
//! noticing. Therefore each process that gets the lock is given a greater number, and every later step, in the
//! directory and in the cells, is refused to a process with a smaller number than the last one that was there.

use std::time::{Duration, Instant};

use super::Cells;
use super::cell::Cell;
use crate::postgres::AWAY;
use crate::{PostgresStore, StoreError};

/// The clocks of machines run at the same speed to within this.
const CLOCKS: Duration = Duration::from_millis(500);

/// The result of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Rows that were copied; `None`: they were copied by an earlier call, which was interrupted later.
    pub rows: Option<u64>,
    /// For how long the organization's calls were refused.
    pub stood_still: Duration,
}

/// Why an organization was not moved. The steps that were done stay done, and the same call continues from there.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The directory does not know it.
    #[error("there is no organization {0}")]
    NoOrganization(String),
    /// The configuration does not have it.
    #[error("there is no cell {name}; the configuration has {}", .known.join(", "))]
    NoCell {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Another process is moving it.
    #[error("the organization is being moved by another process: wait until it is done")]
    UnderWay,
    /// A move that was interrupted was to another cell.
    #[error("a move of the organization to the cell {0} was interrupted: resume it, or give it up first")]
    ToAnother(String),
    /// There is no move to give up.
    #[error("no move of the organization is under way")]
    NotMoving,
    /// It is being deleted.
    #[error("the organization is being deleted, or is deleted")]
    Gone,
    /// The target has another organization of this name, which the directory does not know.
    #[error("the cell {0} has an organization of this name already: `longrun doctor` shows details")]
    Taken(String),
    /// An error of the directory or of one of the cells.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cells {
    /// Moves an organization to another cell, or resumes a move that was interrupted. `progress` is called from time to
    /// time with how many rows were copied.
    ///
    /// # Errors
    /// [`MoveError`].
    pub async fn move_organization(
        &self,
        organization: &str,
        to: &str,
        progress: impl FnMut(u64),
    ) -> Result<Moved, MoveError> {
        let target = self.named(to)?;
        let directory = &self.shared.directory;
        let right = directory.store.right_to_move(organization).await?.ok_or(MoveError::UnderWay)?;
        let placed = directory.look_up(organization).await?;
        let placed = placed.ok_or_else(|| MoveError::NoOrganization(organization.to_owned()))?;
        if let Some(other) = placed.moving_to.filter(|moving_to| moving_to != to) {
            return Err(MoveError::ToAnother(other));
        }
        let (mut rows, mut last) = (None, None);
        if placed.cell != to {
            let source = self.named(&placed.cell)?;
            rows = Some(self.bring(organization, source, target, right.mover, progress).await?);
            last = Some(source);
        }
        let stood_still = self.settle_in(organization, last, target, right.mover).await?;
        drop(right);
        Ok(Moved { rows, stood_still })
    }

    /// Gives up a move that was interrupted, before the directory said that the organization is in the target: it
    /// remains where it was.
    ///
    /// # Errors
    /// [`MoveError`].
    pub async fn abort_move(&self, organization: &str) -> Result<(), MoveError> {
        let directory = &self.shared.directory;
        let right = directory.store.right_to_move(organization).await?.ok_or(MoveError::UnderWay)?;
        let placed = directory.look_up(organization).await?;
        let placed = placed.ok_or_else(|| MoveError::NoOrganization(organization.to_owned()))?;
        let to = placed.moving_to.ok_or(MoveError::NotMoving)?;
        let source = self.named(&placed.cell)?.store()?;
        self.named(&to)?.store()?.arrive(organization, right.mover).await?;
        if source.standing(organization).await? == Some(AWAY) {
            source.stay(organization, right.mover).await?;
        }
        if !directory.store.note_moving(organization, &placed.cell, None, right.mover).await? {
            return Err(MoveError::UnderWay);
        }
        drop(right);
        Ok(())
    }

    /// The first four steps; answers how many rows were copied.
    async fn bring(
        &self,
        organization: &str,
        source: &Cell,
        target: &Cell,
        mover: i64,
        progress: impl FnMut(u64),
    ) -> Result<u64, MoveError> {
        let (from, to) = (source.store()?, target.store()?);
        if to.standing(organization).await? == Some(0) {
            return Err(MoveError::Taken(target.url.name.clone()));
        }
        if !matches!(from.standing(organization).await?, Some(0 | AWAY)) {
            return Err(MoveError::Gone);
        }
        let directory = &self.shared.directory.store;
        if !directory.note_moving(organization, &source.url.name, Some(&target.url.name), mover).await? {
            return Err(MoveError::UnderWay);
        }
        to.arrive(organization, mover).await?;
        from.leave(organization, mover).await?;
        // A process that checked before does not trust the result for longer than this.
        let trusted_until = Instant::now() + self.shared.patience.trust + CLOCKS;
        from.fence(organization, mover).await?;
        let rows = to.copy_from(&from, organization, mover, progress).await?;
        tokio::time::sleep_until(trusted_until.into()).await;
        if !directory.note_moved(organization, &target.url.name, mover).await? {
            return Err(MoveError::UnderWay);
        }
        Ok(rows)
    }

    /// The last step: opens the organization in its cell, and removes it from all others that have something of it.
    /// Answers for how long the organization could not be used. Fails, with the organization open, when the cell that
    /// it came from does not answer; `None`: an earlier call has brought it, from any of the others.
    async fn settle_in(
        &self,
        organization: &str,
        source: Option<&Cell>,
        target: &Cell,
        mover: i64,
    ) -> Result<Duration, MoveError> {
        self.shared.directory.look_up(organization).await?;
        let stood_still = target.store()?.open(organization, mover).await?;
        let mut unsettled = None;
        for cell in self.shared.cells.iter().filter(|cell| cell.index != target.index) {
            match cell.store() {
                Ok(other) if other.is_elsewhere(organization).await? => other.remove_left(organization, mover).await?,
                Ok(_) => {}
                // What cells before the last one still have can wait for the next call.
                Err(_) if source.is_some_and(|source| source.index != cell.index) => {}
                Err(_) => unsettled = Some(&cell.url.name),
            }
        }
        match unsettled {
            None => Ok(stood_still),
            Some(other) => {
                let name = &target.url.name;
                Err(MoveError::Store(StoreError::Unavailable(format!(
                    "{organization} is in the cell {name} and can be used; what it may have left in the cell {other} \
                     was not removed, because that cell does not answer: repeat the command when it does"
                ))))
            }
        }
    }

    fn named(&self, name: &str) -> Result<&Cell, MoveError> {
        let known = || self.shared.cells.iter().map(|cell| cell.url.name.clone()).collect();
        self.cell(name).map(|cell| &**cell).ok_or_else(|| MoveError::NoCell { name: name.to_owned(), known: known() })
    }
}

impl Cells {
    /// The stores of cells by their names, for tests that bypass the directory.
    #[doc(hidden)]
    pub fn store_of(&self, cell: &str) -> Option<PostgresStore> {
        self.cell(cell).and_then(|cell| cell.last_store())
    }
}
