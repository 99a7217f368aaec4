//! Tokens: those of organizations are in their cells, those of the instance in the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use operations::Timestamp;

use super::Cells;
use super::cell::moving;
use super::routing::unknown;
use crate::{Organizations, Store, StoreError, Token, TokenReach};

/// How often a token is looked for in the cell of its organization, which may be moved meanwhile.
const LOOKS: usize = 3;

impl Cells {
    /// [`Store::list_tokens`].
    pub(super) async fn tokens_in_reach(
        &self,
        reach: &TokenReach,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Token>, StoreError> {
        if let (Organizations::Only(names), false) = (&reach.organizations, reach.instance)
            && let [organization] = names.iter().collect::<Vec<_>>()[..]
        {
            let at = self.at(organization).await?;
            return at.recorded.list_tokens(reach, after, limit).await;
        }
        let after = &after;
        let found = self.all(|store| async move { store.list_tokens(reach, after.clone(), limit).await }).await?;
        let of_instance = self.shared.directory.store.list_tokens(reach, after.clone(), limit).await?;
        let mut tokens = BTreeMap::new();
        for (cell, found) in found {
            for token in found {
                let key = (token.created_at, token.id.clone());
                // A token of an organization that is being moved is in two cells.
                if self.is_in(cell, &token.access.organization).await || !tokens.contains_key(&key) {
                    tokens.insert(key, token);
                }
            }
        }
        for token in of_instance {
            tokens.entry((token.created_at, token.id.clone())).or_insert(token);
        }
        Ok(tokens.into_values().take(limit as usize).collect())
    }

    /// Looks for a token in every cell, and in the directory for those of the instance, all at once. The first that has
    /// it is enough: nobody waits for a cell, or for the directory, that does not answer, unless the token may be
    /// there. It answers that there is none only when all were asked, and when the cell that the organization of a
    /// token is in does not have it.
    pub(super) async fn look_for_token<F>(
        &self,
        call: impl Fn(Arc<dyn Store>) -> F,
    ) -> Result<Option<Token>, StoreError>
    where
        F: Future<Output = Result<Option<Token>, StoreError>>,
    {
        let call = &call;
        let places = self.shared.cells.iter().map(Some).chain([None]);
        let asked = places.map(async |cell| match cell {
            Some(cell) => (Some(cell), self.ask_one(cell, call).await),
            None => (None, self.shared.directory.ask(|directory| call(Arc::new(directory))).await),
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let (mut elsewhere, mut error) = (BTreeSet::new(), None);
        while let Some((cell, answer)) = answers.next().await {
            match (cell, answer) {
                (None, Ok(Some(token))) if token.instance.is_some() => return Ok(Some(token)),
                (Some(cell), Ok(Some(token))) => {
                    if self.is_in(cell, &token.access.organization).await {
                        return Ok(Some(token));
                    }
                    elsewhere.insert(token.access.organization);
                }
                (_, Ok(_)) => {}
                (_, Err(failed)) => error = error.or(Some(failed)),
            }
        }
        // The token is also for a while in the cell that its organization was moved from; and the copy of the directory
        // may not know of the move yet.
        for organization in &elsewhere {
            match self.token_in_its_cell(organization, call).await {
                Ok(None) => {}
                Ok(token) => return Ok(token),
                Err(failed) => error = error.or(Some(failed)),
            }
        }
        error.map_or(Ok(None), Err)
    }

    /// Looks for a token of an organization in the cell that the directory names now. The answer counts only if the
    /// organization is still there afterwards: a cell that it has come to meanwhile may have the token.
    async fn token_in_its_cell<F>(
        &self,
        organization: &str,
        call: impl Fn(Arc<dyn Store>) -> F,
    ) -> Result<Option<Token>, StoreError>
    where
        F: Future<Output = Result<Option<Token>, StoreError>>,
    {
        let directory = &self.shared.directory;
        let Some(mut placed) = directory.look_up(organization).await? else { return Ok(None) };
        for _ in 0..LOOKS {
            let cell = self.cell(&placed.cell).ok_or_else(|| unknown(&placed.cell))?;
            if cell.lacks(organization) {
                break;
            }
            let token = self.ask_one(cell, &call).await?;
            if token.is_some() {
                return Ok(token);
            }
            let now = directory.look_up(organization).await?;
            match now {
                Some(now) if now.moves != placed.moves => placed = now,
                _ => return Ok(None),
            }
        }
        Err(moving())
    }
}
