//! Searching sealed texts: it is refused, since the stored texts are not what was written.

use std::ops::Range;

use async_trait::async_trait;
use operations::{Access, Search};

use super::Sealed;
use crate::{Counted, GroupBy, Matching, SearchOperations, SearchPage, SearchRequest, StoreError};

#[async_trait]
impl SearchOperations for Sealed {
    fn are_texts_sealed(&self) -> bool {
        !self.keyring.ids().is_empty()
    }

    async fn search(&self, access: &Access, request: &SearchRequest) -> Result<SearchPage, StoreError> {
        let mut page = self.inner.search(access, request).await?;
        for detail in &mut page.found {
            self.open_detail(&access.organization, detail, false)?;
        }
        Ok(page)
    }

    async fn count_matching(&self, access: &Access, search: &Search, by: GroupBy) -> Result<Counted, StoreError> {
        self.inner.count_matching(access, search, by).await
    }

    async fn matching_ids(
        &self,
        access: &Access,
        search: &Search,
        numbers: Range<i64>,
        limit: u32,
    ) -> Result<Matching, StoreError> {
        self.inner.matching_ids(access, search, numbers, limit).await
    }

    async fn next_number(&self, organization: &str) -> Result<i64, StoreError> {
        self.inner.next_number(organization).await
    }

    async fn note_times(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.note_times(limit).await
    }
}
