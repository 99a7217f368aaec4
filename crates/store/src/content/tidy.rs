//! Removing evidence that is no longer kept: evidence past its retention, leftovers of uploads and removals that broke
//! off, and objects that no row knows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, pin_mut};
use object_store::path::{Path, PathPart};

use super::{ContentError, ContentStore, Digest, ORGANIZATIONS, whose};
use crate::{DeletionError, EvidenceAges, EvidenceRemoval, EvidenceRetention, Removing, Store, StoreError};

/// Rows that are checked together, and pieces that are removed together.
const PART: u32 = 100;
/// Pieces of a deleted organization that are removed together: somebody may be waiting for an answer.
const FEW: usize = 20;
/// How long after its beginning a removal may still remove objects: much less than the time after which another process
/// may resume it, and then store the same content anew.
const REMOVES_FOR: Duration = Duration::from_secs(120);

impl ContentStore {
    /// Removes the evidence of every organization whose time is over, and what interrupted uploads and removals left
    /// behind; answers how many pieces. Others may do the same at the same time, and upload the same content.
    ///
    /// # Errors
    /// [`DeletionError`]; what was removed stays so.
    pub async fn tidy(&self, store: &dyn Store, retention: EvidenceRetention) -> Result<u64, DeletionError> {
        let ages = EvidenceAges::at(store.now(), retention);
        let (mut removed, mut failed) = (0, None);
        for organization in store.organizations().await? {
            match self.tidy_organization(store, &organization.name, ages).await {
                Ok(pieces) => removed += pieces,
                // The organization may be being moved: the others must not wait for it.
                Err(error @ DeletionError::Store(StoreError::Unavailable(_))) => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    async fn tidy_organization(
        &self,
        store: &dyn Store,
        organization: &str,
        ages: EvidenceAges,
    ) -> Result<u64, DeletionError> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let part = store.evidence_standings(organization, after, PART).await?;
            after = part.last().map(|last| last.digest);
            let over = part.iter().filter(|standing| standing.is_over(&ages)).map(|standing| standing.digest);
            let over: Vec<Digest> = over.collect();
            if !over.is_empty() {
                removed += self.remove_some(store, organization, EvidenceRemoval::Aged(over, ages)).await?;
            }
            if part.len() < PART as usize {
                return Ok(removed);
            }
        }
    }

    /// Removes objects that are at least this old and that no row knows: those that an upload left during a removal of
    /// the same content, or that were stored after the backup that the store was made from. Nobody else may keep
    /// evidence in the same place.
    ///
    /// # Errors
    /// [`DeletionError`]; what was removed stays so.
    pub async fn remove_orphans(&self, store: &dyn Store, age: Duration) -> Result<u64, DeletionError> {
        let mut waiting: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
        let mut removed = 0;
        let found = self.walk();
        pin_mut!(found);
        while let Some(object) = found.try_next().await? {
            if object.age < age {
                continue;
            }
            let of_organization = waiting.entry(object.organization.clone()).or_default();
            of_organization.push(object.digest);
            if of_organization.len() >= PART as usize {
                let digests = std::mem::take(of_organization);
                removed += self.remove_some(store, &object.organization, EvidenceRemoval::Orphans(digests)).await?;
            }
        }
        for (organization, digests) in waiting {
            removed += self.remove_some(store, &organization, EvidenceRemoval::Orphans(digests)).await?;
        }
        Ok(removed)
    }

    /// Removes the objects of an organization that is being deleted, until no more are found (answers true) or
    /// `is_over`. Those that others are removing are left to them. Nothing is lost if another caller has ended the
    /// deletion meanwhile, and the organization was made anew.
    ///
    /// # Errors
    /// [`DeletionError`]; what was removed stays so.
    pub async fn remove_all(
        &self,
        store: &dyn Store,
        organization: &str,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, DeletionError> {
        let folder = Path::from_iter([PathPart::from(ORGANIZATIONS), PathPart::from(organization)]);
        let mut found = self.objects.list(Some(&folder)).try_chunks(FEW);
        while let Some(part) = found.next().await {
            if is_over() {
                return Ok(false);
            }
            let mut digests = Vec::new();
            for object in part.map_err(|error| ContentError::from(error.1))? {
                match whose(&object.location) {
                    Some((_, digest, _)) => digests.push(digest),
                    None => self.remove_at(&object.location).await?,
                }
            }
            self.remove_some(store, organization, EvidenceRemoval::Orphans(digests)).await?;
        }
        Ok(true)
    }

    /// Removes the object of an upload that could not be put on record, if it belongs to nothing.
    ///
    /// # Errors
    /// [`DeletionError`].
    pub async fn remove_orphan(
        &self,
        store: &dyn Store,
        organization: &str,
        digest: Digest,
    ) -> Result<(), DeletionError> {
        self.remove_some(store, organization, EvidenceRemoval::Orphans(vec![digest])).await.map(drop)
    }

    /// Removes the pieces that may be removed; answers how many.
    async fn remove_some(
        &self,
        store: &dyn Store,
        organization: &str,
        what: EvidenceRemoval,
    ) -> Result<u64, DeletionError> {
        let begun = Instant::now();
        let removing = match store.begin_removal(organization, what).await {
            Ok(Ok(removing)) => removing,
            Ok(Err(_)) => return Ok(0),
            // It is being deleted: its objects are removed as orphans.
            Err(StoreError::OrganizationGone) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        self.remove_begun(store, organization, removing, begun).await
    }

    /// Removes the objects of a removal that began in the store after `begun`, and ends it; answers how many pieces.
    ///
    /// # Errors
    /// [`DeletionError`]; what is left can be removed once the removal counts as broken off.
    pub async fn remove_begun(
        &self,
        store: &dyn Store,
        organization: &str,
        removing: Removing,
        begun: Instant,
    ) -> Result<u64, DeletionError> {
        let mut gone = Vec::with_capacity(removing.digests.len());
        for digest in removing.digests {
            // What takes longer is left to the caller that resumes it.
            if begun.elapsed() >= REMOVES_FOR {
                break;
            }
            self.remove(organization, &digest).await?;
            gone.push(digest);
        }
        if gone.is_empty() {
            return Ok(0);
        }
        Ok(store.end_removal(organization, Removing { digests: gone, since: removing.since }).await?)
    }

    /// Which pieces that are on record have no object, or one of another size: each as `organization digest`, at most
    /// `most`.
    ///
    /// # Errors
    /// [`DeletionError`].
    pub async fn missing(&self, store: &dyn Store, most: usize) -> Result<Vec<String>, DeletionError> {
        let mut missing = Vec::new();
        for organization in store.organizations().await? {
            let mut after = None;
            loop {
                let part = store.evidence_standings(&organization.name, after, PART).await?;
                after = part.last().map(|last| last.digest);
                for standing in part.iter().filter(|standing| standing.is_stored) {
                    if missing.len() >= most {
                        return Ok(missing);
                    }
                    if self.is_there(&organization.name, &standing.digest, standing.size).await? {
                        continue;
                    }
                    // It may have been removed since it was read.
                    if store.evidence(&organization.name, &standing.digest).await?.is_some() {
                        missing.push(format!("{} {}", organization.name, standing.digest));
                    }
                }
                if part.len() < PART as usize {
                    break;
                }
            }
        }
        Ok(missing)
    }
}
