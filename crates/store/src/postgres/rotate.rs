//! Claims over several organizations: one organization after the other, each by its weight, each in a transaction of
//! its own.

use std::sync::{MutexGuard, PoisonError};

use operations::Access;

use super::{PostgresStore, waiting};
use crate::batch::Write;
use crate::rotation::{Rotation, Rotations, deal, shares};
use crate::{ClaimRequest, Claimed, Store as _, StoreError};

impl PostgresStore {
    /// Claims over the organizations of a request. Operations that were claimed belong to the worker, and reach it also
    /// when a later part fails.
    pub(super) async fn claim_in_rotation(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let mut claimed = self.go_on(request).await?;
        let limit = request.limit.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        if limit > 0 {
            match self.claim_round(request, limit).await {
                Ok(round) => claimed.extend(round),
                Err(error) if claimed.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(claimed)
    }

    fn rotations(&self) -> MutexGuard<'_, Rotations> {
        self.rotations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Continues the organization's share that the last claim left unfinished.
    async fn go_on(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let Rotation { last, left } = self.rotations().of(request).clone();
        let asked = left.min(request.limit);
        if asked == 0 || !request.reaches(&last) {
            return Ok(Vec::new());
        }
        let claimed = self.claim_of(&last, request, asked).await?;
        self.rotations().of(request).went_on(asked, claimed.len());
        Ok(claimed)
    }

    /// A round over organizations that have something to claim; another one while its only result is that organizations
    /// turn out to be at the limits of their kinds, which others may have reached meanwhile.
    async fn claim_round(&self, request: &ClaimRequest, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        loop {
            let full = self.heads.full().len();
            let claimed = self.round(request, limit).await?;
            if !claimed.is_empty() || self.heads.full().len() <= full {
                return Ok(claimed);
            }
        }
    }

    async fn round(&self, request: &ClaimRequest, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        let last = self.rotations().of(request).last.clone();
        let quotas = self.admission.quotas();
        let (now, limits) = (self.now(), &quotas.running);
        let organizations = waiting::waiting(&self.pool, now, &self.heads, limits, &last, request, limit).await;
        let organizations = organizations.map_err(StoreError::or_unavailable)?;
        let weights: Vec<u32> = organizations.iter().map(|organization| quotas.of(organization).weight).collect();
        let parts = deal(&weights, limit);
        let mut queues: Vec<Vec<Claimed>> = Vec::with_capacity(organizations.len());
        for (organization, share) in organizations.iter().zip(shares(&parts, organizations.len())) {
            if share == 0 {
                break;
            }
            match self.claim_of(organization, request, share).await {
                Ok(queue) => queues.push(queue),
                Err(error) if queues.iter().all(Vec::is_empty) => return Err(error),
                Err(_) => break,
            }
        }
        Ok(self.rotations().of(request).take(&parts, &organizations, &weights, queues))
    }

    async fn claim_of(
        &self,
        organization: &str,
        request: &ClaimRequest,
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        let access = Some(Access::organization(organization));
        let request = ClaimRequest { limit, access, ..request.clone() };
        self.batcher(&self.claims, organization).submit(Write::Claim, request).await
    }
}
