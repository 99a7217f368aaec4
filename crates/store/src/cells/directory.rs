//! The copy of the directory that each process has.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::{PostgresStore, StoreError};

/// Where an organization is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) organization: String,
    /// The name of the cell.
    pub(crate) cell: String,
    /// The name of the cell that it is being moved to.
    pub(crate) moving_to: Option<String>,
    /// How many times it was moved.
    pub(crate) moves: u32,
}

pub(super) struct Directory {
    pub(super) store: PostgresStore,
    copy: RwLock<HashMap<String, Placed>>,
    /// Where the next read begins: see [`PostgresStore::placed_since`].
    horizon: tokio::sync::Mutex<String>,
}

impl Directory {
    /// Reads all of it.
    pub(super) async fn read(store: PostgresStore) -> Result<Directory, StoreError> {
        let directory = Directory { store, copy: RwLock::default(), horizon: tokio::sync::Mutex::new("0".to_owned()) };
        directory.refresh().await?;
        Ok(directory)
    }

    /// Reads what has changed.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let mut horizon = self.horizon.lock().await;
        let (next, placed) = self.store.placed_since(&horizon).await?;
        *horizon = next;
        placed.into_iter().for_each(|placed| self.keep(placed));
        Ok(())
    }

    /// What the copy says.
    pub(super) fn known(&self, organization: &str) -> Option<Placed> {
        self.copy.read().unwrap_or_else(PoisonError::into_inner).get(organization).cloned()
    }

    /// What the copy says; organizations that the copy does not know are read from the directory.
    pub(super) async fn find(&self, organization: &str) -> Result<Option<Placed>, StoreError> {
        match self.known(organization) {
            Some(placed) => Ok(Some(placed)),
            None => self.look_up(organization).await,
        }
    }

    /// What the directory says now.
    pub(super) async fn look_up(&self, organization: &str) -> Result<Option<Placed>, StoreError> {
        let placed = self.store.placed(organization).await?;
        placed.iter().cloned().for_each(|placed| self.keep(placed));
        Ok(placed)
    }

    /// Where an organization is; a new one is assigned to one of these cells.
    pub(super) async fn find_or_assign(&self, organization: &str, cells: &[&str]) -> Result<Placed, StoreError> {
        match self.known(organization) {
            Some(placed) => Ok(placed),
            None => {
                let placed = self.store.assign(organization, cells).await?;
                self.keep(placed.clone());
                Ok(placed)
            }
        }
    }

    /// An answer that took long does not replace a newer one.
    fn keep(&self, placed: Placed) {
        let mut copy = self.copy.write().unwrap_or_else(PoisonError::into_inner);
        let is_older = copy.get(&placed.organization).is_some_and(|known| known.moves > placed.moves);
        if !is_older {
            copy.insert(placed.organization.clone(), placed);
        }
    }
}
