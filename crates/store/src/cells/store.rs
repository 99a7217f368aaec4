//! [`Cells`] as a [`Store`]: see [`super`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use operations::{Access, Filter, NewOperation, Operation, OperationId, PageRequest, Refusal, Status, Timestamp};

use super::Cells;
use super::routing::cells;
use crate::seal::{Replacement, TextCursor, TextPage, TextPlace};
use crate::split::{heard, recorded};
use crate::{
    AttemptTimeouts, AuditCall, AuditFilter, AuditPage, Changes, ClaimRequest, Claimed, CommandOutcome, Commits,
    Contents, Heartbeat, HistoryEvent, IdempotencyKey, Keyring, LeaseRef, LeaseStatus, Limits, Listing, Lost,
    LostLease, NewToken, OperationCommand, Organization, Overrun, Pausable, Paused, Position, PositionKey, Quotas,
    Report, Settlement, Start, Store, StoreError, Token, TokenReach,
};

cells! {
    impl Store {
        new(&access.organization) => fn create_as(
            &self, access: &Access, operations: Vec<NewOperation>, ids: Vec<OperationId>, key: Option<IdempotencyKey>,
            start: Option<Start>
        ) -> Vec<Operation>;
        at(&access.organization) => fn get_many(&self, access: &Access, ids: &[OperationId]) -> Vec<Option<Operation>>;
        at(organization) => fn created_with(&self, organization: &str, key: &IdempotencyKey) -> Option<Vec<Operation>>;
        at(&access.organization) => fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> Listing;
        at(&access.organization) => fn output(&self, access: &Access, id: OperationId) -> Option<String>;
        at(&access.organization) => fn history(&self, access: &Access, id: OperationId) -> Option<Vec<HistoryEvent>>;
        at(&access.organization) => fn command(
            &self, access: &Access, id: OperationId, command: OperationCommand
        ) -> CommandOutcome;
        sum => fn end_overdue_cancels(&self, grace: Duration, limit: u32) -> u64;
        sum => fn purge(&self, limit: u32) -> u64;
        sum => fn forget_changes(&self, keep: Duration, limit: u32) -> u64;
        at(organization) => fn contents(&self, organization: &str) -> Option<Contents>;
        at(organization) => fn begin_deletion(&self, organization: &str, unfinished_too: bool) -> u64;
        at(organization) => fn delete_part(&self, organization: &str, limit: u32) -> Option<u64>;
        at(organization) => fn end_deletion(&self, organization: &str) -> bool;
    } {
        async fn forget_idempotency_keys(&self, limit: u32) -> Result<u64, StoreError> {
            let (mut forgotten, mut failed) = (0, None);
            for cell in &self.shared.cells {
                let left = limit.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
                let Ok(store) = cell.store() else { continue };
                match store.forget_idempotency_keys(left).await {
                    Ok(rows) => forgotten += rows,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            failed.filter(|_| forgotten == 0).map_or(Ok(forgotten), Err)
        }

        async fn audit(
            &self,
            organization: &str,
            filter: &AuditFilter,
            before: Option<u64>,
            limit: u32,
        ) -> Result<AuditPage, StoreError> {
            if organization.is_empty() {
                // The entries of a cell that is unavailable follow when it answers again.
                for cell in &self.shared.cells {
                    let _ = self.shared.gather_audit(cell).await;
                }
            }
            let at = self.at(organization).await?;
            at.checked(at.recorded.audit(organization, filter, before, limit).await).await
        }

        async fn forget_audit(&self, keep: Duration, limit: u32) -> Result<u64, StoreError> {
            let of_cells = self.every(|store| async move { store.forget_audit(keep, limit).await }).await?;
            let of_instance = self.shared.directory.store.forget_audit(keep, limit).await?;
            Ok(of_cells.into_iter().map(|(_, rows)| rows).sum::<u64>() + of_instance)
        }

        async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
            match request.organization().map(str::to_owned) {
                Some(organization) => {
                    let at = self.at(&organization).await?;
                    at.checked(at.recorded.claim(request).await).await
                }
                None => self.claim_in_rotation(request).await,
            }
        }

        async fn heartbeat(&self, beats: Vec<Heartbeat>, lease: Duration) -> Result<Vec<LeaseStatus>, StoreError> {
            let statuses = self
                .by_organization(beats, |beat| &beat.lease, |store, beats| async move {
                    store.heartbeat(beats, lease).await
                })
                .await;
            heard(statuses, self.now())
        }

        async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
            let settled = self.by_organization(settlements, |settlement| &settlement.lease, |store, part| async move {
                store.settle(part).await
            });
            recorded(settled.await)
        }

        async fn release(&self, leases: Vec<LeaseRef>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
            let released = self.by_organization(leases, |lease| lease, |store, part| async move {
                store.release(part).await
            });
            recorded(released.await)
        }

        async fn lost_leases(&self, which: Lost, limit: u32) -> Result<Vec<LostLease>, StoreError> {
            let found = self.every(|store| async move { store.lost_leases(which, limit).await }).await?;
            Ok(self.in_their_cells(found, |lost| &lost.lease.organization).await)
        }

        async fn overruns(&self, timeouts: &AttemptTimeouts, limit: u32) -> Result<Vec<Overrun>, StoreError> {
            let found = self.every(|store| async move { store.overruns(timeouts, limit).await }).await?;
            Ok(self.in_their_cells(found, |overrun| &overrun.lease.organization).await)
        }

        async fn lose(&self, lost: Vec<(LeaseRef, Duration)>) -> Result<u64, StoreError> {
            let lost = self.by_organization(lost, |(lease, _)| lease, |store, part| async move {
                let count = part.len();
                let done = store.lose(part).await?;
                // The answers do not say which of them, but their number is right.
                Ok((0..count as u64).map(|index| u64::from(index < done)).collect())
            });
            let lost = lost.await;
            if !lost.is_empty() && lost.iter().all(Result::is_err) {
                return lost.into_iter().sum();
            }
            Ok(lost.into_iter().flatten().sum())
        }

        fn set_default_retention(&self, retain_for: Option<Duration>) {
            self.shared.settings.requested().retention = Some(retain_for);
            self.connected().for_each(|store| store.set_default_retention(retain_for));
        }

        fn set_quotas(&self, quotas: Quotas) {
            self.shared.settings.requested().quotas = Some(quotas.clone());
            self.connected().for_each(|store| store.set_quotas(quotas.clone()));
            self.shared.admission.set(quotas);
        }

        async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
            let due = self.every(|store| async move { store.next_due(after).await }).await?;
            Ok(due.into_iter().filter_map(|(_, due)| due).min())
        }

        async fn end_of_changes(&self, organization: &str) -> Result<Position, StoreError> {
            let at = self.at(organization).await?;
            let end = at.checked(at.recorded.end_of_changes(organization).await).await?;
            Ok(at.tagged(end))
        }

        async fn changes(&self, organization: &str, after: Position, limit: u32) -> Result<Changes, StoreError> {
            let at = self.at(organization).await?;
            let after = at.untagged(after).ok_or(StoreError::PositionUnknown)?;
            let mut found = at.checked(at.recorded.changes(organization, after, limit).await).await?;
            found.next = at.tagged(found.next);
            found.changes.iter_mut().for_each(|change| change.position = at.tagged(change.position));
            Ok(found)
        }

        async fn position_key(&self) -> Result<PositionKey, StoreError> {
            self.shared.directory.store.position_key().await
        }

        async fn register_consumer(&self, consumer: &str) -> Result<(), StoreError> {
            self.shared.directory.store.register_consumer(consumer).await?;
            self.every(|store| async move { store.register_consumer(consumer).await }).await?;
            // Cells that are unavailable learn of it once they answer.
            self.shared.settings.requested().consumers.insert(consumer.to_owned());
            Ok(())
        }

        async fn acquire_consumer_lease(&self, consumer: &str, process: &str, time: Duration) -> Result<bool, StoreError> {
            let directory = &self.shared.directory.store;
            match directory.acquire_consumer_lease(consumer, process, time).await {
                // The leases save work. Without the directory each process may take one: an offset does not go back.
                Err(StoreError::Unavailable(_)) => Ok(true),
                lease => lease,
            }
        }

        async fn uncommitted(
            &self,
            consumer: &str,
            after: &str,
            limit: u32,
        ) -> Result<Vec<(String, Position)>, StoreError> {
            self.uncommitted_by_cell(consumer, after, limit).await
        }

        async fn commit_offset(&self, consumer: &str, organization: &str, position: Position) -> Result<(), StoreError> {
            let at = self.at(organization).await?;
            let position = at.untagged(position).ok_or(StoreError::PositionUnknown)?;
            at.checked(at.recorded.commit_offset(consumer, organization, position).await).await
        }

        async fn drain_inbox(&self, limit: u32) -> Result<Option<u64>, StoreError> {
            let drained = self.every(|store| async move { store.drain_inbox(limit).await }).await?;
            Ok(Some(drained.into_iter().filter_map(|(_, rows)| rows).sum()))
        }

        fn now(&self) -> Timestamp {
            self.shared.directory.store.now()
        }

        fn health(&self) -> tasks::Health {
            self.shared.health.clone()
        }

        fn commits(&self) -> Commits {
            self.shared.commits.clone()
        }

        async fn pause(&self, what: Pausable) -> Result<bool, StoreError> {
            self.set_paused(what, true).await
        }

        async fn resume(&self, what: Pausable) -> Result<bool, StoreError> {
            self.set_paused(what, false).await
        }

        async fn paused(&self) -> Result<Vec<Paused>, StoreError> {
            let found = self.every(|store| async move { store.paused().await }).await?;
            let mut paused = BTreeMap::new();
            for (cell, found) in found {
                for Paused { what, since } in found {
                    let organization = what.key().0.to_owned();
                    if organization.is_empty() || self.is_in(cell, &organization).await {
                        paused.entry(what).or_insert(since);
                    }
                }
            }
            Ok(paused.into_iter().map(|(what, since)| Paused { what, since }).collect())
        }

        async fn organizations(&self) -> Result<Vec<Organization>, StoreError> {
            self.organizations_of_all().await
        }

        async fn kinds(&self, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
            if let Some(name) = organization {
                let at = self.at(name).await?;
                return at.checked(at.recorded.kinds(organization).await).await;
            }
            let kinds = self.every(|store| async move { store.kinds(None).await }).await?;
            let kinds: BTreeSet<String> = kinds.into_iter().flat_map(|(_, kinds)| kinds).collect();
            Ok(kinds.into_iter().collect())
        }

        fn on_behalf_of(&self, call: AuditCall) -> Arc<dyn Store> {
            Arc::new(Cells { call: Some(call), ..self.clone() })
        }

        async fn record(&self, call: AuditCall, code: i32) -> Result<(), StoreError> {
            let at = self.at(&call.organization).await?;
            at.checked(at.recorded.record(call, code).await).await
        }

        async fn create_organization(&self, organization: &str, limits: Limits) -> Result<bool, StoreError> {
            let at = self.at_new(organization).await?;
            let made = at.checked(at.recorded.create_organization(organization, limits).await).await;
            self.merge_limits();
            made
        }

        async fn set_limits(&self, organization: &str, limits: Limits) -> Result<bool, StoreError> {
            let at = self.at(organization).await?;
            let set = at.checked(at.recorded.set_limits(organization, limits).await).await;
            self.merge_limits();
            set
        }

        async fn refresh_limits(&self) -> Result<(), StoreError> {
            self.every(|store| async move { store.refresh_limits().await }).await?;
            self.merge_limits();
            Ok(())
        }

        fn limits(&self) -> Arc<BTreeMap<String, Limits>> {
            self.shared.admission.stored()
        }

        fn quotas(&self) -> Arc<Quotas> {
            self.shared.admission.quotas()
        }

        async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
            let at = self.at_new(&token.access.organization).await?;
            at.checked(at.recorded.create_token(token).await).await
        }

        async fn list_tokens(
            &self,
            reach: &TokenReach,
            after: Option<(Timestamp, String)>,
            limit: u32,
        ) -> Result<Vec<Token>, StoreError> {
            self.tokens_in_reach(reach, after, limit).await
        }

        async fn token(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
            self.look_for_token(|store| async move { store.token(reach, id).await }).await
        }

        async fn revoke(&self, reach: &TokenReach, id: &str) -> Result<Option<Token>, StoreError> {
            let Some(token) = self.token(reach, id).await? else { return Ok(None) };
            let at = self.at(&token.access.organization).await?;
            at.checked(at.recorded.revoke(reach, id).await).await
        }

        async fn replace_token(&self, id: &str, new: NewToken, overlap: Duration) -> Result<Option<Token>, StoreError> {
            let at = self.at(&new.access.organization).await?;
            at.checked(at.recorded.replace_token(id, new, overlap).await).await
        }

        async fn find_token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
            self.look_for_token(|store| async move { store.find_token(hash).await }).await
        }

        async fn touch_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
            let ids = &ids;
            self.every(|store| async move { store.touch_tokens(ids.clone()).await }).await?;
            self.shared.directory.store.touch_tokens(ids.clone()).await
        }

        async fn close(&self) {
            self.shared.closing.cancel();
            let stores: Vec<_> = self.connected().collect();
            futures_util::future::join_all(stores.iter().map(|store| store.close())).await;
            self.shared.directory.store.close().await;
        }

        async fn ping(&self) -> Result<(), StoreError> {
            // One cell is enough: calls of organizations in the others are answered with 503.
            let (answers, error) = self.ask(|store| async move { store.ping().await }).await;
            match error {
                Some(error) if answers.is_empty() => self.shared.directory.store.ping().await.map_err(|_| error),
                _ => Ok(()),
            }
        }

        async fn doctor(&self) -> Result<Report, StoreError> {
            self.examine().await
        }

        fn seal_with(&self, keyring: Keyring) {
            self.shared.settings.requested().keyring = Some(keyring.clone());
            self.connected().for_each(|store| store.seal_with(keyring.clone()));
        }

        async fn text_heads(&self, after: TextCursor, limit: u32) -> Result<TextPage, StoreError> {
            // One cell after the other.
            let cell = after.cell;
            let Some(walked) = self.shared.cells.get(cell) else { return Ok(TextPage { heads: Vec::new(), next: None }) };
            let mut page = walked.store()?.text_heads(TextCursor { cell: 0, ..after }, limit).await?;
            let others = (cell + 1 < self.shared.cells.len()).then(|| TextCursor { cell: cell + 1, ..TextCursor::default() });
            page.next = page.next.map(|next| TextCursor { cell, ..next }).or(others);
            let mut heads = Vec::with_capacity(page.heads.len());
            for head in page.heads {
                // Texts of an organization that is being moved are not passed over: who wants to read them is told.
                if self.is_placed_in(walked, &head.place.organization).await? {
                    heads.push(head);
                }
            }
            Ok(TextPage { heads, ..page })
        }

        async fn texts(&self, places: Vec<TextPlace>) -> Result<Vec<Option<String>>, StoreError> {
            let mut texts = Vec::with_capacity(places.len());
            for part in places.chunk_by(|one, other| one.organization == other.organization) {
                let at = self.at(&part[0].organization).await?;
                texts.extend(at.checked(at.recorded.texts(part.to_vec()).await).await?);
            }
            Ok(texts)
        }

        async fn replace_texts(&self, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
            let mut replaced = 0;
            for part in replacements.chunk_by(|one, other| one.place.organization == other.place.organization) {
                let at = self.at(&part[0].place.organization).await?;
                replaced += at.checked(at.recorded.replace_texts(part.to_vec()).await).await?;
            }
            Ok(replaced)
        }
    }
}

impl Cells {
    /// The stores of cells that were ever connected to.
    fn connected(&self) -> impl Iterator<Item = crate::PostgresStore> {
        self.shared.cells.iter().filter_map(|cell| cell.last_store())
    }

    /// Merges the limits that every cell has, as of the last check.
    fn merge_limits(&self) {
        let mut limits = BTreeMap::new();
        for store in self.connected() {
            limits.extend(store.limits().iter().map(|(name, limits)| (name.clone(), limits.clone())));
        }
        self.shared.admission.set_stored(limits);
    }

    /// A kind that is paused everywhere is paused in every cell, and in the directory for cells that come later.
    async fn set_paused(&self, what: Pausable, paused: bool) -> Result<bool, StoreError> {
        let set = async |store: Arc<dyn Store>| match paused {
            true => store.pause(what.clone()).await,
            false => store.resume(what.clone()).await,
        };
        let organization = what.key().0;
        if !organization.is_empty() {
            let at = self.at(organization).await?;
            return at.checked(set(Arc::clone(&at.recorded)).await).await;
        }
        let was = set(self.recorded(&self.shared.directory.store)).await?;
        self.all(|store| {
            let what = what.clone();
            async move { if paused { store.pause(what).await } else { store.resume(what).await } }
        })
        .await?;
        Ok(was)
    }
}
