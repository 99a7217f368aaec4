//! Rounds of consumers: the organizations of one cell, then those of the next.
//!
//! Each database has names in the order of its own collation, so that the names after a given one are not the same in
//! all of them, and the lists of several cells cannot be merged by name. So a round goes through each cell in the order
//! that the cell itself has, and the name that a page ends with says in which cell the next page continues. If that
//! organization is moved in between, a round may pass over others or meet them twice; the next round begins anew.

use super::Cells;
use crate::{Position, StoreError};

impl Cells {
    /// [`Store::uncommitted`](crate::Store::uncommitted).
    pub(super) async fn uncommitted_by_cell(
        &self,
        consumer: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Position)>, StoreError> {
        let first = self.cell_of(after).and_then(|name| self.cell(&name)).map_or(0, |cell| cell.index);
        let (mut uncommitted, mut has_answered, mut error) = (Vec::new(), false, None);
        for cell in &self.shared.cells[first..] {
            let mut after = if cell.index == first { after.to_owned() } else { String::new() };
            loop {
                let left = limit.saturating_sub(u32::try_from(uncommitted.len()).unwrap_or(u32::MAX));
                if left == 0 {
                    return Ok(uncommitted);
                }
                let from = &after;
                let asked =
                    self.ask_one(cell, |store| async move { store.uncommitted(consumer, from, left).await }).await;
                let found = match asked {
                    Ok(found) => found,
                    // Another round reads it.
                    Err(failed) => {
                        error = error.or(Some(failed));
                        break;
                    }
                };
                has_answered = true;
                let is_last = found.len() < left as usize;
                for (organization, position) in found {
                    if self.is_in(cell, &organization).await
                        // An organization that is being moved is read when it has arrived. A position is valid in
                        // this cell alone.
                        && let Ok(at) = self.at(&organization).await
                        && at.is_in(cell)
                    {
                        uncommitted.push((organization.clone(), at.tagged(position)));
                    }
                    after = organization;
                }
                if is_last {
                    break;
                }
            }
        }
        // A round that continues in a later cell was answered before.
        error.filter(|_| first == 0 && !has_answered).map_or(Ok(uncommitted), Err)
    }
}
