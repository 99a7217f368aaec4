//! Records of evidence, which hold no text of a caller except names: those are searched for, like labels, and stay as
//! they are.

use async_trait::async_trait;
use operations::Timestamp;

use super::Sealed;
use crate::{
    Digest, EvidenceFilter, EvidenceKept, EvidenceRecord, EvidenceRecords, EvidenceRemoval, EvidenceStanding,
    EvidenceTotals, ListedEvidence, NewEvidence, Removing, Reservation, StoreError,
};

#[async_trait]
impl EvidenceRecords for Sealed {
    async fn reserve_evidence(&self, organization: &str, digest: Digest, size: u64) -> Result<Reservation, StoreError> {
        self.inner.reserve_evidence(organization, digest, size).await
    }

    async fn end_reservation(&self, organization: &str, digest: Digest) -> Result<(), StoreError> {
        self.inner.end_reservation(organization, digest).await
    }

    async fn put_evidence(&self, organization: &str, evidence: NewEvidence) -> Result<(), StoreError> {
        self.inner.put_evidence(organization, evidence).await
    }

    async fn evidence(&self, organization: &str, digest: &Digest) -> Result<Option<EvidenceRecord>, StoreError> {
        self.inner.evidence(organization, digest).await
    }

    async fn touch_evidence(&self, organization: &str, digest: Digest, name: &str) -> Result<bool, StoreError> {
        self.inner.touch_evidence(organization, digest, name).await
    }

    async fn list_evidence(
        &self,
        organization: &str,
        filter: &EvidenceFilter,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<ListedEvidence>, StoreError> {
        self.inner.list_evidence(organization, filter, after, limit).await
    }

    async fn evidence_totals(&self, organization: &str) -> Result<EvidenceTotals, StoreError> {
        self.inner.evidence_totals(organization).await
    }

    async fn evidence_standings(
        &self,
        organization: &str,
        after: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<EvidenceStanding>, StoreError> {
        self.inner.evidence_standings(organization, after, limit).await
    }

    async fn begin_removal(
        &self,
        organization: &str,
        what: EvidenceRemoval,
    ) -> Result<Result<Removing, EvidenceKept>, StoreError> {
        self.inner.begin_removal(organization, what).await
    }

    async fn end_removal(&self, organization: &str, removing: Removing) -> Result<u64, StoreError> {
        self.inner.end_removal(organization, removing).await
    }
}
