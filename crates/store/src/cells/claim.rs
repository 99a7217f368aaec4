//! Claims for several organizations: round-robin over the cells.
//!
//! Within a cell, its organizations are served round-robin by their weights, as in every store. Each cell that has
//! enough gets an equal share of a claim; the others get what one cell does not use; which cell has the first share
//! changes with each claim. So an organization waits for the others of its own cell, and for at most a share of each
//! other cell.
//!
//! A claim does not wait for a cell that is lost meanwhile, though its database may still be working on the claim, or
//! only the check of the cell may have failed. What it has claimed when it does answer is released: its worker knows
//! nothing of it.

use std::sync::PoisonError;

use futures_util::future::join_all;
use operations::Refusal;
use tokio::sync::oneshot;

use super::Cells;
use super::cell::Cell;
use crate::{ClaimRequest, Claimed, LeaseRef, PostgresStore, Store as _, StoreError};

impl Cells {
    pub(super) async fn claim_in_rotation(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let cells = &self.shared.cells;
        let first = {
            let mut next = self.shared.next_cell.lock().unwrap_or_else(PoisonError::into_inner);
            let first = *next;
            *next = (first + 1) % cells.len();
            first
        };
        // The cells that may have more, in round-robin order.
        let mut asked: Vec<_> = (0..cells.len()).map(|place| &cells[(first + place) % cells.len()]).collect();
        let (mut claimed, mut has_answered, mut error) = (Vec::new(), false, None);
        loop {
            let left = request.limit.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
            if left == 0 || asked.is_empty() {
                break;
            }
            let shares = shares(left, asked.len());
            let answers =
                join_all(asked.iter().zip(&shares).filter(|(_, share)| **share > 0).map(async |(cell, share)| {
                    claim_of(cell, ClaimRequest { limit: *share, ..request.clone() }).await
                }))
                .await;
            let mut still = Vec::new();
            for ((cell, share), answer) in asked.iter().zip(&shares).zip(answers) {
                match answer {
                    Ok(found) => {
                        has_answered = true;
                        if found.len() == *share as usize {
                            still.push(*cell);
                        }
                        claimed.extend(found);
                    }
                    Err(failed) => error = error.or(Some(failed)),
                }
            }
            // Cells that had no share come first now.
            let unasked = asked.iter().skip(shares.iter().filter(|share| **share > 0).count());
            asked = unasked.copied().chain(still).collect();
        }
        match error {
            Some(error) if !has_answered && claimed.is_empty() => Err(error),
            _ => Ok(claimed),
        }
    }
}

/// Claims in one cell. An answer that comes when its caller has gone is released.
async fn claim_of(cell: &Cell, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
    let store = cell.store()?;
    let (caller, mut answer) = oneshot::channel();
    // On a task of its own: a claim of several organizations that is dropped half-way would leave what it has to
    // nobody.
    tokio::spawn(async move {
        let claimed = store.claim(request).await;
        if let Err(Ok(late)) = caller.send(claimed) {
            hand_back(&store, late).await;
        }
    });
    let lost = tokio::select! {
        // An answer counts, also when the cell is lost at the same time.
        biased;
        answered = &mut answer => {
            return answered.unwrap_or_else(|_| Err(StoreError::Unavailable("a claim was interrupted".to_owned())));
        }
        lost = cell.lost() => lost,
    };
    // From here on nothing can be sent. What was sent a moment ago is here.
    answer.close();
    answer.try_recv().unwrap_or(Err(lost))
}

async fn hand_back(store: &PostgresStore, claimed: Vec<Claimed>) {
    if claimed.is_empty() {
        return;
    }
    let leases: Vec<LeaseRef> = claimed.into_iter().map(|claimed| claimed.lease).collect();
    let operations = leases.len();
    match store.release(leases).await {
        Ok(results) => {
            let kept = results.iter().filter(|result| **result == Err(Refusal::Unavailable)).count();
            tracing::info!(
                operations,
                kept,
                "a claim was answered after its caller had gone: its operations are released, but for those kept, whose \
                 leases will run out"
            );
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                operations,
                error,
                "a claim was answered late and its operations could not be released: their leases will run out"
            );
        }
    }
}

/// Splits `count` into `among` shares as equal as they can be, the larger ones first.
fn shares(count: u32, among: usize) -> Vec<u32> {
    let among = u32::try_from(among).unwrap_or(u32::MAX).max(1);
    (0..among).map(|place| count / among + u32::from(place < count % among)).collect()
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_are_as_equal_as_they_can_be_and_add_up() {
        assert_eq!(shares(10, 4), [3, 3, 2, 2]);
        assert_eq!(shares(1, 3), [1, 0, 0]);
        assert_eq!(shares(0, 2), [0, 0]);
    }
}
