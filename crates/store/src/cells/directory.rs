//! The copy of the directory that each process has.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::postgres::Watch;
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
    /// The state of the reads of it. Held for as long as a read takes.
    look: Mutex<Look>,
    is_here: watch::Sender<bool>,
}

struct Look {
    watch: Watch,
    /// Where the next read begins: see [`Watch::placed_since`].
    horizon: String,
}

impl Directory {
    /// Reads all of it, within `time`.
    pub(super) async fn read(store: PostgresStore, time: Duration) -> Result<Directory, StoreError> {
        let look = Look { watch: store.watch(), horizon: "0".to_owned() };
        let (copy, is_here) = (RwLock::default(), watch::Sender::new(true));
        let directory = Directory { store, copy, look: Mutex::new(look), is_here };
        directory.refresh(time).await?;
        Ok(directory)
    }

    /// Reads what has changed, within `time`. A directory that does not answer is not asked until a read succeeds
    /// again.
    pub(super) async fn refresh(&self, time: Duration) -> Result<(), StoreError> {
        let mut look = self.look.lock().await;
        let Look { watch, horizon } = &mut *look;
        let read = watch.placed_since(horizon, time).await;
        let was_here = self.is_here.send_replace(read.is_ok());
        match &read {
            Ok(_) if !was_here => tracing::info!("the directory of cells answers"),
            Err(error) if was_here => {
                tracing::warn!(error = error as &dyn std::error::Error, "the directory of cells does not answer");
            }
            _ => {}
        }
        let (next, placed) = read?;
        *horizon = next;
        placed.into_iter().for_each(|placed| self.keep(placed));
        Ok(())
    }

    /// What the directory answers. It is not waited for while it is away, nor when it is lost meanwhile.
    pub(super) async fn ask<T, F>(&self, call: impl FnOnce(PostgresStore) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut is_here = self.is_here.subscribe();
        tokio::select! {
            biased;
            // The sender is the directory's own.
            _ = is_here.wait_for(|is_here| !is_here) => {
                Err(StoreError::Unavailable("the directory of cells does not answer".to_owned()))
            }
            answer = call(self.store.clone()) => answer,
        }
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
        let placed = self.ask(|store| async move { store.placed(organization).await }).await?;
        placed.iter().cloned().for_each(|placed| self.keep(placed));
        Ok(placed)
    }

    /// Where an organization is; a new one is assigned to one of these cells.
    pub(super) async fn find_or_assign(&self, organization: &str, cells: &[&str]) -> Result<Placed, StoreError> {
        match self.known(organization) {
            Some(placed) => Ok(placed),
            None => {
                let placed = self.ask(|store| async move { store.assign(organization, cells).await }).await?;
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
