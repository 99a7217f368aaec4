//! All content, one piece after the other: sealed anew under the active key, or counted by key.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt};

use super::{ContentError, ContentStore, Digest, ORGANIZATIONS, whose};
use crate::seal::{Rotated, SEALED_HEADER_BYTES, Seal, content_seal};

/// A piece as it is stored.
struct Stored {
    organization: String,
    digest: Digest,
    seal: Seal,
}

impl ContentStore {
    /// How pieces are sealed.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn survey(&self) -> Result<BTreeMap<Seal, u64>, ContentError> {
        let mut counts = BTreeMap::new();
        let mut found = self.objects.list(Some(&Path::from(ORGANIZATIONS)));
        while let Some(piece) = found.try_next().await? {
            if let Some(stored) = self.stored(&piece).await? {
                *counts.entry(stored.seal).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Seals anew every piece that is not under the active key; without one, opens every piece. Servers may be at work
    /// meanwhile: a piece is there at all times, in one form or the other. `progress` is called from time to time with
    /// how many were written.
    ///
    /// # Errors
    /// [`ContentError::Store`]; what was done stays done.
    pub async fn rotate(&self, mut progress: impl FnMut(u64)) -> Result<Rotated, ContentError> {
        let wanted = self.keyring.active().map_or(Seal::Plain, |key| Seal::Key(key.id().to_owned()));
        let mut rotated = Rotated { is_complete: true, ..Rotated::default() };
        let mut found = self.objects.list(Some(&Path::from(ORGANIZATIONS)));
        while let Some(piece) = found.try_next().await? {
            let Some(Stored { organization, digest, seal }) = self.stored(&piece).await? else { continue };
            if seal == wanted {
                continue;
            }
            match self.renew(&organization, &digest).await {
                Ok(()) => {}
                Err(error @ (ContentError::Damaged(_) | ContentError::KeyMissing { .. })) => {
                    rotated.leave(format!("{organization} evidence: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            }
            let is_moved = (seal == Seal::Plain) != (wanted == Seal::Plain);
            if is_moved {
                self.remove_at(&piece.location).await?;
            }
            rotated.renewed += 1;
            progress(rotated.renewed);
        }
        Ok(rotated)
    }

    /// Stores a piece once more, as pieces are stored now.
    async fn renew(&self, organization: &str, digest: &Digest) -> Result<(), ContentError> {
        // Gone meanwhile, with its organization.
        let Some(content) = self.open(organization, digest).await? else { return Ok(()) };
        // The error is kept, since an incoming stream only carries it as a text.
        let mut broke_off = None;
        let content = content.map(|piece| {
            piece.map_err(|error| {
                let message = error.to_string();
                broke_off = Some(error);
                message
            })
        });
        let staged = self.stage_up_to(organization, content, u64::MAX).await;
        match (staged, broke_off) {
            (_, Some(error)) => Err(error),
            (staged, None) => self.place(staged?).await.map(drop),
        }
    }

    /// What a file is; `None` for one that longrun did not put there.
    async fn stored(&self, piece: &ObjectMeta) -> Result<Option<Stored>, ContentError> {
        let Some((organization, digest, is_sealed)) = whose(&piece.location) else { return Ok(None) };
        let seal = if is_sealed {
            match self.objects.get_range(&piece.location, 0..SEALED_HEADER_BYTES).await {
                Ok(start) => content_seal(&start),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) if piece.size >= SEALED_HEADER_BYTES => return Err(error.into()),
                Err(_) => Seal::Unknown,
            }
        } else {
            Seal::Plain
        };
        Ok(Some(Stored { organization, digest, seal }))
    }
}
