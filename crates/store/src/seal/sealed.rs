//! The store that seals: a decorator around a store of either engine.
//!
//! It is also there when nothing has to be sealed: then it opens texts that were sealed before, and distinguishes those
//! that only look sealed.
//!
//! **A text that cannot be opened** (its key is missing, or it was changed) must not keep others from being read. So
//! lists and reads of many operations answer its operation without it, and give the reason in `error_message`;
//! [`readable`] recognizes such an operation, and a request for it alone is refused. A worker does not get an operation
//! whose input cannot be opened: where its key is missing, the attempt is released uncharged for a while, for a server
//! that has the key; where the text was changed, the attempt fails.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use operations::{Access, Filter, NewOperation, Operation, OperationId, PageRequest, Refusal, Status, Timestamp};

use super::keys::Keyring;
use super::rotation;
use super::text::{Field, Owner};
use super::{Replacement, TextCursor, TextPage, TextPlace};
use crate::history::cut;
use crate::{
    AttemptTimeouts, AuditCall, AuditFilter, AuditPage, BulkBatch, BulkOperations, BulkProgress, Changes, ClaimRequest,
    Claimed, CommandOutcome, Commits, Contents, Details, Finding, Heartbeat, HistoryEvent, IdempotencyKey, LeaseRef,
    LeaseStatus, Limits, Listing, Lost, LostLease, NewToken, OperationCommand, OperationDetail, Organization, Overrun,
    Pausable, Paused, Position, PositionKey, Quotas, Report, Settlement, Start, Statistics, StatisticsAnswer,
    StatisticsRequest, Store, StoreError, Token, TokenReach, View, ViewOutcome, ViewReach, Views,
};

/// A store whose texts are sealed. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Sealed {
    pub(super) inner: Arc<dyn Store>,
    pub(super) keyring: Keyring,
    /// Limits on outputs hold for what workers send, and not for what is stored: as this process was configured, and
    /// with what calls have set.
    quotas: Arc<RwLock<(Quotas, Arc<Quotas>)>>,
}

/// Whether an operation that was read with others has all its texts.
///
/// # Errors
/// [`StoreError::Unavailable`] when its output could not be opened.
pub fn readable(operation: &Operation) -> Result<(), StoreError> {
    // An operation that ended well has no error.
    if operation.status == Status::Completed && !operation.error_message.is_empty() {
        return Err(StoreError::Unavailable(operation.error_message.clone()));
    }
    Ok(())
}

impl Sealed {
    /// A decorator around this store, with these keys.
    pub fn new(inner: Arc<dyn Store>, keyring: Keyring) -> Sealed {
        inner.seal_with(keyring.clone());
        Sealed { inner, keyring, quotas: Arc::default() }
    }

    /// Merges the limits that calls have set into those that this process was configured with.
    fn merge_limits(&self) {
        let limits = self.inner.limits();
        let mut quotas = self.quotas.write().unwrap_or_else(PoisonError::into_inner);
        quotas.1 = Arc::new(quotas.0.with_limits(&limits));
    }

    /// An operation as it was written; a text that cannot be opened is left out, and the error says so.
    pub(super) fn opened(&self, organization: &str, mut operation: Operation) -> Operation {
        let owner = |field| Owner { organization, id: operation.id, field };
        let output = self.keyring.open(&owner(Field::Output), std::mem::take(&mut operation.output));
        let message = self.keyring.open(&owner(Field::Message), std::mem::take(&mut operation.error_message));
        operation.error_message = message.unwrap_or_else(|error| format!("the message cannot be opened: {error}"));
        operation.output = output.unwrap_or_else(|error| {
            operation.error_message = format!("the output cannot be opened: {error}");
            String::new()
        });
        operation
    }

    /// Opens everything about an operation. A text that cannot be opened is an error when the operation was requested
    /// `alone`, else it is left out.
    pub(super) fn open_detail(
        &self,
        organization: &str,
        detail: &mut OperationDetail,
        alone: bool,
    ) -> Result<(), StoreError> {
        detail.operation = self.opened(organization, detail.operation.clone());
        let owner = |field| Owner { organization, id: detail.operation.id, field };
        let input = self.keyring.open(&owner(Field::Input), std::mem::take(&mut detail.input));
        let progress = self.keyring.open(&owner(Field::Message), std::mem::take(&mut detail.progress));
        if alone {
            readable(&detail.operation)?;
            detail.input = input?;
        } else {
            detail.input_left_out |= input.is_err();
            detail.input = input.unwrap_or_default();
        }
        detail.progress = progress.unwrap_or_else(|error| format!("the message cannot be opened: {error}"));
        Ok(())
    }
}

#[async_trait]
impl BulkOperations for Sealed {
    async fn begin_bulk(
        &self,
        organization: &str,
        id: OperationId,
        total: u64,
    ) -> Result<Option<BulkProgress>, StoreError> {
        self.inner.begin_bulk(organization, id, total).await
    }

    async fn bulk_progress(&self, organization: &str, id: OperationId) -> Result<Option<BulkProgress>, StoreError> {
        self.inner.bulk_progress(organization, id).await
    }

    async fn bulk_batch(&self, batch: BulkBatch) -> Result<BulkProgress, StoreError> {
        self.inner.bulk_batch(batch).await
    }
}

#[async_trait]
impl Details for Sealed {
    async fn details(
        &self,
        access: &Access,
        ids: &[OperationId],
        longest: usize,
    ) -> Result<Vec<Option<OperationDetail>>, StoreError> {
        let mut found = self.inner.details(access, ids, longest).await?;
        for detail in found.iter_mut().flatten() {
            self.open_detail(&access.organization, detail, false)?;
        }
        Ok(found)
    }

    async fn detail_up_to(
        &self,
        access: &Access,
        id: OperationId,
        longest: usize,
    ) -> Result<Option<OperationDetail>, StoreError> {
        let mut found = self.inner.detail_up_to(access, id, longest).await?;
        if let Some(detail) = &mut found {
            self.open_detail(&access.organization, detail, true)?;
        }
        Ok(found)
    }
}

#[async_trait]
impl Store for Sealed {
    async fn create_as(
        &self,
        access: &Access,
        operations: Vec<NewOperation>,
        ids: Vec<OperationId>,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.create_sealed(access, operations, ids, key, start).await
    }

    async fn get_many(&self, access: &Access, ids: &[OperationId]) -> Result<Vec<Option<Operation>>, StoreError> {
        let found = self.inner.get_many(access, ids).await?;
        let opened = |operation| self.opened(&access.organization, operation);
        Ok(found.into_iter().map(|operation| operation.map(opened)).collect())
    }

    async fn get(&self, access: &Access, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let found = self.get_many(access, &[id]).await?.pop().flatten();
        found.as_ref().map_or(Ok(()), readable)?;
        Ok(found)
    }

    async fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(access, filter, page).await?;
        for entry in &mut listing.entries {
            entry.operation = self.opened(&access.organization, entry.operation.clone());
        }
        Ok(listing)
    }

    async fn created_with(
        &self,
        organization: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Vec<Operation>>, StoreError> {
        let created = self.inner.created_with(organization, key).await?;
        let opened = |operation| self.opened(organization, operation);
        Ok(created.map(|operations| operations.into_iter().map(opened).collect()))
    }

    async fn output(&self, access: &Access, id: OperationId) -> Result<Option<String>, StoreError> {
        let Some(output) = self.inner.output(access, id).await? else { return Ok(None) };
        let owner = Owner { organization: &access.organization, id, field: Field::Output };
        Ok(Some(self.keyring.open(&owner, output)?))
    }

    async fn history(&self, access: &Access, id: OperationId) -> Result<Option<Vec<HistoryEvent>>, StoreError> {
        let Some(mut events) = self.inner.history(access, id).await? else { return Ok(None) };
        let owner = Owner { organization: &access.organization, id, field: Field::Message };
        for event in &mut events {
            event.message = match self.keyring.open(&owner, std::mem::take(&mut event.message)) {
                // The end comes from the operation, with all of its message.
                Ok(message) if event.kind == crate::HistoryKind::Failed => message,
                Ok(message) => cut(&message).to_owned(),
                Err(error) => format!("the message cannot be opened: {error}"),
            };
        }
        Ok(Some(events))
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.claim_opened(request).await
    }

    async fn heartbeat(&self, beats: Vec<Heartbeat>, lease: Duration) -> Result<Vec<LeaseStatus>, StoreError> {
        self.heartbeat_sealed(beats, lease).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
        self.settle_sealed(settlements).await
    }

    async fn command(
        &self,
        access: &Access,
        id: OperationId,
        command: OperationCommand,
    ) -> Result<CommandOutcome, StoreError> {
        let outcome = self.inner.command(access, id, command).await?;
        // It is carried out, whether or not all texts open: that way unreadable operations can be deleted.
        Ok(outcome.map(|done| done.map(|operation| self.opened(&access.organization, operation))))
    }

    fn set_quotas(&self, quotas: Quotas) {
        self.quotas.write().unwrap_or_else(PoisonError::into_inner).0 = quotas.clone();
        self.inner.set_quotas(quotas.with_any_output());
        self.merge_limits();
    }

    async fn doctor(&self) -> Result<Report, StoreError> {
        let mut report = self.inner.doctor().await?;
        match rotation::examine(&*self.inner, &self.keyring).await {
            Ok(found) => report.findings.extend(found),
            // The damage is reported already.
            Err(error) if error.is_damage() => {
                let detail = "cannot be checked, since the file is damaged".to_owned();
                report.findings.push(Finding { invariant: "all texts can be read", detail });
            }
            Err(error) => return Err(error),
        }
        Ok(report)
    }

    fn seal_with(&self, keyring: Keyring) {
        self.inner.seal_with(keyring);
    }

    // Calls without a text of a caller are passed on.

    async fn release(&self, leases: Vec<LeaseRef>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.inner.release(leases).await
    }

    async fn lost_leases(&self, which: Lost, limit: u32) -> Result<Vec<LostLease>, StoreError> {
        self.inner.lost_leases(which, limit).await
    }

    async fn overruns(&self, timeouts: &AttemptTimeouts, limit: u32) -> Result<Vec<Overrun>, StoreError> {
        self.inner.overruns(timeouts, limit).await
    }

    async fn lose(&self, lost: Vec<(LeaseRef, Duration)>) -> Result<u64, StoreError> {
        self.inner.lose(lost).await
    }

    async fn end_overdue_cancels(&self, grace: Duration, limit: u32) -> Result<u64, StoreError> {
        self.inner.end_overdue_cancels(grace, limit).await
    }

    fn set_default_retention(&self, retain_for: Option<Duration>) {
        self.inner.set_default_retention(retain_for);
    }

    async fn purge(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.purge(limit).await
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_due(after).await
    }

    async fn forget_idempotency_keys(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_idempotency_keys(limit).await
    }

    async fn end_of_changes(&self, organization: &str) -> Result<Position, StoreError> {
        self.inner.end_of_changes(organization).await
    }

    async fn changes(&self, organization: &str, after: Position, limit: u32) -> Result<Changes, StoreError> {
        self.inner.changes(organization, after, limit).await
    }

    async fn position_key(&self) -> Result<PositionKey, StoreError> {
        self.inner.position_key().await
    }

    async fn register_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        self.inner.register_consumer(consumer).await
    }

    async fn acquire_consumer_lease(&self, consumer: &str, process: &str, time: Duration) -> Result<bool, StoreError> {
        self.inner.acquire_consumer_lease(consumer, process, time).await
    }

    async fn uncommitted(
        &self,
        consumer: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Position)>, StoreError> {
        self.inner.uncommitted(consumer, after, limit).await
    }

    async fn commit_offset(&self, consumer: &str, organization: &str, position: Position) -> Result<(), StoreError> {
        self.inner.commit_offset(consumer, organization, position).await
    }

    async fn forget_changes(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_changes(keep, limit).await
    }

    async fn drain_inbox(&self, limit: u32) -> Result<Option<u64>, StoreError> {
        self.inner.drain_inbox(limit).await
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn health(&self) -> tasks::Health {
        self.inner.health()
    }

    fn commits(&self) -> Commits {
        self.inner.commits()
    }

    async fn pause(&self, what: Pausable) -> Result<bool, StoreError> {
        self.inner.pause(what).await
    }

    async fn resume(&self, what: Pausable) -> Result<bool, StoreError> {
        self.inner.resume(what).await
    }

    async fn paused(&self) -> Result<Vec<Paused>, StoreError> {
        self.inner.paused().await
    }

    async fn organizations(&self) -> Result<Vec<Organization>, StoreError> {
        self.inner.organizations().await
    }

    async fn kinds(&self, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
        self.inner.kinds(organization).await
    }

    async fn contents(&self, organization: &str) -> Result<Option<Contents>, StoreError> {
        self.inner.contents(organization).await
    }

    async fn begin_deletion(&self, organization: &str, unfinished_too: bool) -> Result<u64, StoreError> {
        self.inner.begin_deletion(organization, unfinished_too).await
    }

    async fn delete_part(&self, organization: &str, limit: u32) -> Result<Option<u64>, StoreError> {
        self.inner.delete_part(organization, limit).await
    }

    async fn end_deletion(&self, organization: &str) -> Result<bool, StoreError> {
        self.inner.end_deletion(organization).await
    }

    async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
        self.inner.create_token(token).await
    }

    async fn list_tokens(
        &self,
        reach: &TokenReach,
        after: Option<(Timestamp, String)>,
        limit: u32,
    ) -> Result<Vec<Token>, StoreError> {
        self.inner.list_tokens(reach, after, limit).await
    }

    async fn token(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        self.inner.token(reach, id).await
    }

    async fn revoke(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
        self.inner.revoke(reach, id).await
    }

    async fn replace_token(&self, id: &str, new: NewToken, overlap: Duration) -> Result<Option<Token>, StoreError> {
        self.inner.replace_token(id, new, overlap).await
    }

    fn on_behalf_of(&self, call: AuditCall) -> Arc<dyn Store> {
        Arc::new(Sealed { inner: self.inner.on_behalf_of(call), ..self.clone() })
    }

    async fn record(&self, call: AuditCall, code: i32) -> Result<(), StoreError> {
        self.inner.record(call, code).await
    }

    async fn audit(
        &self,
        organization: &str,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        self.inner.audit(organization, filter, before, limit).await
    }

    async fn forget_audit(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_audit(keep, limit).await
    }

    async fn create_organization(&self, organization: &str, limits: Limits) -> Result<bool, StoreError> {
        let made = self.inner.create_organization(organization, limits).await;
        self.merge_limits();
        made
    }

    async fn set_limits(&self, organization: &str, limits: Limits) -> Result<bool, StoreError> {
        let set = self.inner.set_limits(organization, limits).await;
        self.merge_limits();
        set
    }

    async fn refresh_limits(&self) -> Result<(), StoreError> {
        self.inner.refresh_limits().await?;
        self.merge_limits();
        Ok(())
    }

    fn limits(&self) -> Arc<BTreeMap<String, Limits>> {
        self.inner.limits()
    }

    fn quotas(&self) -> Arc<Quotas> {
        Arc::clone(&self.quotas.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    async fn find_token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.inner.find_token(hash).await
    }

    async fn touch_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.inner.touch_tokens(ids).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn text_heads(&self, after: TextCursor, limit: u32) -> Result<TextPage, StoreError> {
        self.inner.text_heads(after, limit).await
    }

    async fn texts(&self, places: Vec<TextPlace>) -> Result<Vec<Option<String>>, StoreError> {
        self.inner.texts(places).await
    }

    async fn replace_texts(&self, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
        self.inner.replace_texts(replacements).await
    }
}

#[async_trait]
impl Statistics for Sealed {
    async fn begin_statistics(&self) -> Result<(), StoreError> {
        self.inner.begin_statistics().await
    }

    async fn count_changes(&self, organization: &str, from: Position, limit: u32) -> Result<bool, StoreError> {
        self.inner.count_changes(organization, from, limit).await
    }

    async fn statistics(
        &self,
        access: &Access,
        request: &StatisticsRequest,
        limit: u32,
    ) -> Result<StatisticsAnswer, StoreError> {
        self.inner.statistics(access, request, limit).await
    }

    async fn forget_statistics(&self, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_statistics(limit).await
    }
}

#[async_trait]
impl Views for Sealed {
    async fn views(&self, reach: &ViewReach) -> Result<Vec<View>, StoreError> {
        self.inner.views(reach).await
    }

    async fn create_view(&self, organization: &str, view: View) -> Result<ViewOutcome, StoreError> {
        self.inner.create_view(organization, view).await
    }

    async fn update_view(&self, reach: &ViewReach, view: View) -> Result<ViewOutcome, StoreError> {
        self.inner.update_view(reach, view).await
    }

    async fn delete_view(&self, reach: &ViewReach, id: &str) -> Result<bool, StoreError> {
        self.inner.delete_view(reach, id).await
    }
}
