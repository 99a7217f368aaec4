//! Tokens: those of organizations are in their cells, those of the instance in the directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use operations::Timestamp;

use super::Cells;
use super::cell::moving;
use crate::{Organizations, Store, StoreError, Token, TokenReach};

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

    /// Looks for a token in every cell, and in the directory for those of the instance. It answers that there is none
    /// only when all were asked.
    pub(super) async fn look_for_token<F>(
        &self,
        call: impl Fn(Arc<dyn Store>) -> F,
    ) -> Result<Option<Token>, StoreError>
    where
        F: Future<Output = Result<Option<Token>, StoreError>>,
    {
        let (of_cells, of_directory) =
            futures_util::future::join(self.ask(&call), call(Arc::new(self.shared.directory.store.clone()))).await;
        let (found, mut error) = of_cells;
        for (cell, token) in found {
            let Some(token) = token else { continue };
            let organization = &token.access.organization;
            if self.is_in(cell, organization).await {
                return Ok(Some(token));
            }
            // The token is also for a while in the cell that its organization was moved from; and the copy may not know
            // of the move yet.
            let placed = self.shared.directory.look_up(organization).await?;
            if placed.is_some_and(|placed| placed.cell == cell.url.name) {
                if !cell.lacks(organization) {
                    return Ok(Some(token));
                }
                error = error.or(Some(moving()));
            }
        }
        match of_directory {
            Ok(Some(token)) if token.instance.is_some() => return Ok(Some(token)),
            Ok(_) => {}
            Err(failed) => error = error.or(Some(failed)),
        }
        error.map_or(Ok(None), Err)
    }
}
