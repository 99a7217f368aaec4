//! Calls that concern all organizations go to every cell.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Cells;
use super::cell::Cell;
use crate::{Organization, PostgresStore, Store, StoreError};

impl Cells {
    /// Asks every cell that can be reached, all at once; answers with what those said that answered. Fails when none
    /// did.
    pub(super) async fn every<T, F>(
        &self,
        call: impl Fn(Arc<dyn Store>) -> F,
    ) -> Result<Vec<(&Arc<Cell>, T)>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (answers, error) = self.ask(call).await;
        match error {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }

    /// Asks every cell; fails when any does not answer, since the call concerns all.
    pub(super) async fn all<T, F>(&self, call: impl Fn(Arc<dyn Store>) -> F) -> Result<Vec<(&Arc<Cell>, T)>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (answers, error) = self.ask(call).await;
        error.map_or(Ok(answers), Err)
    }

    /// What cells answered about the organizations that are in them; what they answered about others is left out.
    pub(super) async fn in_their_cells<T>(
        &self,
        found: Vec<(&Arc<Cell>, Vec<T>)>,
        organization: impl Fn(&T) -> &str,
    ) -> Vec<T> {
        let mut theirs = Vec::new();
        for (cell, found) in found {
            for one in found {
                if self.is_in(cell, organization(&one)).await {
                    theirs.push(one);
                }
            }
        }
        theirs
    }

    /// What the cells answered, in their order, and the first error.
    pub(super) async fn ask<T, F>(
        &self,
        call: impl Fn(Arc<dyn Store>) -> F,
    ) -> (Vec<(&Arc<Cell>, T)>, Option<StoreError>)
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let call = &call;
        let asked = join_all(
            self.shared.cells.iter().map(async |cell| self.ask_one(cell, call).await.map(|answer| (cell, answer))),
        )
        .await;
        let (mut answers, mut first) = (Vec::new(), None);
        for asked in asked {
            match asked {
                Ok(answer) => answers.push(answer),
                Err(error) => first = first.or(Some(error)),
            }
        }
        (answers, first)
    }

    /// What a cell answered. It does not wait for a cell that is lost meanwhile.
    pub(super) async fn ask_one<T, F>(
        &self,
        cell: &Cell,
        call: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        ask_store(cell, |store| call(self.recorded(&store))).await
    }

    /// [`Store::organizations`]: also those that are being moved, which are where the directory says that they are.
    pub(super) async fn organizations_of_all(&self) -> Result<Vec<Organization>, StoreError> {
        let asked =
            join_all(self.shared.cells.iter().map(async |cell| {
                ask_store(cell, |store| async move { store.organizations_and_elsewhere().await }).await
            }));
        let mut organizations = Vec::new();
        for (cell, found) in self.shared.cells.iter().zip(asked.await) {
            for mut organization in found?.into_iter().filter(|organization| !organization.name.is_empty()) {
                if self.is_placed_in(cell, &organization.name).await? {
                    // A move removes what is left as a deletion does.
                    organization.is_being_deleted &= !cell.lacks(&organization.name);
                    organizations.push(organization);
                }
            }
        }
        organizations.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(organizations)
    }
}

/// What the store of a cell answered. It does not wait for a cell that is lost meanwhile.
async fn ask_store<T, F>(cell: &Cell, call: impl FnOnce(PostgresStore) -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let store = cell.store()?;
    tokio::select! {
        answer = call(store) => answer,
        error = cell.lost() => Err(error),
    }
}
