//! VEX documents that waivers name, read from the stored evidence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use evidence::{MaterialKind, Vex, VexError};
use store::{ContentError, ContentStore, Digest, EvidenceRecords, StoreError};

use super::handler::beginning;

/// The largest document that is read, in bytes.
pub const MAX_VEX_BYTES: u64 = 2 * 1024 * 1024;
/// The maximum number of documents that are cached; beyond it, the whole cache is cleared.
const REMEMBERED: usize = 64;

/// Why a VEX document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VexUnread {
    /// There is no such document.
    #[error("{0} is not stored as evidence")]
    Missing(Digest),
    /// It is longer than the limit.
    #[error("the document is longer than {MAX_VEX_BYTES} bytes")]
    TooLong,
    /// It is something else, or contains no statements that can be used.
    #[error(transparent)]
    Vex(#[from] VexError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Reading it was interrupted.
    #[error("the document could not be read")]
    Ended(#[from] tokio::task::JoinError),
}

/// Reads a VEX document that an organization has stored.
///
/// # Errors
/// [`VexUnread`].
pub async fn read_vex(
    records: &(impl EvidenceRecords + ?Sized),
    content: &ContentStore,
    organization: &str,
    digest: Digest,
) -> Result<Vex, VexUnread> {
    let missing = || VexUnread::Missing(digest);
    let record = records.evidence(organization, &digest).await?.ok_or_else(missing)?;
    if record.size > MAX_VEX_BYTES {
        return Err(VexUnread::TooLong);
    }
    // A document whose kind was not recognized when it was stored is not a VEX document.
    let kind: MaterialKind = record.kind.parse().unwrap_or(MaterialKind::Evidence);
    let content = content.open(organization, &digest).await?.ok_or_else(missing)?;
    let document = beginning(content, MAX_VEX_BYTES as usize).await?;
    Ok(tokio::task::spawn_blocking(move || Vex::read(kind, &document)).await??)
}

/// A cache of documents. The content of a digest never changes.
#[derive(Debug, Default)]
pub(super) struct VexDocuments(Mutex<HashMap<(String, Digest), Arc<Vex>>>);

impl VexDocuments {
    /// The document of a waiver; `None` when it no longer exists, is damaged or is not a VEX document: then the waiver
    /// covers nothing.
    pub(super) async fn get(
        &self,
        records: &(impl EvidenceRecords + ?Sized),
        content: &ContentStore,
        organization: &str,
        digest: &str,
    ) -> Result<Option<Arc<Vex>>, VexUnread> {
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        let key = (organization.to_owned(), digest);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let vex = match read_vex(records, content, organization, digest).await {
            Ok(vex) => Arc::new(vex),
            Err(error @ VexUnread::Store(_)) => return Err(error),
            // A damaged document stays damaged; one that could not be read may be readable later.
            Err(VexUnread::Content(error)) if !matches!(error, ContentError::Damaged(_)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(organization, %digest, %error, "a waiver names a VEX document that cannot be used");
                return Ok(None);
            }
        };
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if documents.len() >= REMEMBERED {
            documents.clear();
        }
        documents.insert(key, Arc::clone(&vex));
        Ok(Some(vex))
    }
}
