//! Deleting an organization with everything that belongs to it, in bounded parts, so that no transaction grows with it
//! and a deletion that was interrupted can be continued.
//!
//! From [`begin`](crate::Store::begin_deletion) on its tokens are revoked, nothing of it is started, and nothing is
//! created in it, by any process. Parts remove rows with their counts, so that the store is sound in between. At the
//! [end](crate::Store::end_deletion) only its name is left, by which calls that began before are refused; a new token
//! creates the organization anew.
//!
//! Several callers may delete the same organization, and one of them may have ended the deletion, and somebody made the
//! organization anew, while another one still removes evidence. So each begins the removal of an object in the store
//! first, as all removals of evidence do ([`crate::evidence`]): what has been stored in the new organization belongs to
//! it, and is not removed. A deletion does not end while others remove evidence of the organization.

use std::time::{Duration, Instant};

use crate::{ContentError, ContentStore, Store, StoreError};

/// What an organization has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its deletion has begun, and has not ended.
    pub is_being_deleted: bool,
    /// Pending and running operations, those that applications have put into the inbox included.
    pub unfinished: u64,
    /// Operations that have ended.
    pub ended: u64,
    /// Tokens, revoked and expired ones included.
    pub tokens: u64,
    /// Pieces of evidence on record.
    pub evidence: u64,
    /// Their bytes.
    pub evidence_bytes: u64,
}

/// A part of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// Begin, with operations that have not ended or only without.
    Begin(bool),
    /// Remove up to this many rows.
    Part(u32),
    /// End.
    End,
}

/// Rows that one transaction removes: transactions of other organizations wait no longer than for these.
const PART: u32 = 1_000;
/// How often a part is retried when another transaction got in its way, and after what time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Why a deletion was interrupted. What is removed stays removed; another call continues it.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The evidence could not be removed.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Goes on with a deletion that has [begun](Store::begin_deletion), until it is done, by this caller or by another one
/// (answers true), or the time is over. `progress` is called with how many rows were removed so far. Evidence is
/// removed where it is kept, if that is given.
///
/// # Errors
/// [`DeletionError`].
pub async fn go_on_deleting(
    store: &dyn Store,
    content: Option<&ContentStore>,
    organization: &str,
    time: Option<Duration>,
    mut progress: impl FnMut(u64),
) -> Result<bool, DeletionError> {
    let begun = Instant::now();
    let is_over = || time.is_some_and(|time| begun.elapsed() >= time);
    let (mut rows, mut tries) = (0, 0);
    loop {
        if is_over() {
            return Ok(false);
        }
        let step = match store.delete_part(organization, PART).await {
            // Another caller has ended it, and the organization may exist anew.
            Ok(None) => return Ok(true),
            Ok(Some(0)) => {
                if let Some(content) = content
                    && !content.remove_all(store, organization, &is_over).await?
                {
                    return Ok(false);
                }
                match store.end_deletion(organization).await {
                    Ok(true) => return Ok(true),
                    Ok(false) => {
                        tokio::time::sleep(PAUSE).await;
                        Ok(0)
                    }
                    // Creations that began before may have become visible since.
                    Err(error) => Err(error),
                }
            }
            Ok(Some(removed)) => Ok(removed),
            Err(error) => Err(error),
        };
        match step {
            Ok(removed) => {
                (rows, tries) = (rows + removed, 0);
                progress(rows);
            }
            Err(StoreError::Unavailable(_)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
