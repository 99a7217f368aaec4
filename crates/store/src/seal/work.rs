//! The texts of work that passes through [`Sealed`]: inputs that are created and claimed, progress, outcomes.

use std::time::Duration;

use operations::{
    Access, MAX_ERROR_BYTES, NewOperation, Operation, OperationId, Outcome, Refusal, Status, cut_message,
};

use super::Sealed;
use super::keys::{Key, Keyring};
use super::text::{Field, Owner, Unopened, plain_bytes, seal_with};
use crate::history::cut;
use crate::{
    ClaimRequest, Claimed, Heartbeat, IdempotencyKey, LeaseRef, LeaseStatus, Settlement, Start, Store, StoreError,
};

/// The most bytes of a message, so that its sealed form is not longer than the domain takes, even with the text that
/// says that it was cut.
const MESSAGE_BYTES: usize = plain_bytes(MAX_ERROR_BYTES) - 40;
/// When an attempt whose input could not be opened is repeated: an operator has to act before that.
const UNOPENED_RETRY: Duration = Duration::from_secs(60);
/// What [`tasks::Health`] reports while operations wait for a key, and for `KEY_MISSING_FOR` after one was last met.
const KEY_MISSING: &str =
    "an encryption key is missing: operations whose input is encrypted with it are waiting; the log names the key";
const KEY_MISSING_FOR: Duration = Duration::from_secs(180);

impl Sealed {
    /// [`Store::create_as`] with inputs sealed.
    pub(super) async fn create_sealed(
        &self,
        access: &Access,
        mut operations: Vec<NewOperation>,
        mut ids: Vec<OperationId>,
        key: Option<IdempotencyKey>,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        let organization = access.organization.as_str();
        if self.keyring.active().is_some() {
            if ids.is_empty() {
                let now = self.inner.now();
                ids = operations.iter().map(|_| OperationId::new(now)).collect();
            }
            for (new, id) in operations.iter_mut().zip(&ids) {
                new.input = self.keyring.seal(&Owner { organization, id: *id, field: Field::Input }, &new.input);
            }
        }
        let start = start.map(|start| {
            let (keyring, started) = (self.keyring.clone(), start.started);
            let started = move |claimed| match open_input(&keyring, claimed) {
                Ok(claimed) => started(claimed),
                Err(_) => tracing::error!("an input that was just sealed does not open; its attempt is given up"),
            };
            Start { terms: start.terms, started: Box::new(started) }
        });
        let created = match key {
            None => self.inner.create_as(access, operations, ids, None, start).await,
            Some(IdempotencyKey { key, fingerprint }) => {
                let mut ways = self.keyring.fingerprints(organization, fingerprint).into_iter().peekable();
                let (mut start, mut created) = (start, Err(StoreError::IdempotencyConflict));
                // The key may have been used for the same request while another key sealed.
                while let (Err(StoreError::IdempotencyConflict), Some(fingerprint)) = (&created, ways.next()) {
                    let key = Some(IdempotencyKey { key: key.clone(), fingerprint });
                    let (operations, ids) = match ways.peek() {
                        Some(_) => (operations.clone(), ids.clone()),
                        None => (std::mem::take(&mut operations), std::mem::take(&mut ids)),
                    };
                    created = self.inner.create_as(access, operations, ids, key, start.take()).await;
                }
                created
            }
        };
        Ok(created?.into_iter().map(|operation| self.opened(organization, operation)).collect())
    }

    /// [`Store::claim`] with inputs opened.
    pub(super) async fn claim_opened(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let claimed = self.inner.claim(request).await?;
        let (mut opened, mut unopened) = (Vec::with_capacity(claimed.len()), Vec::new());
        for attempt in claimed {
            match open_input(&self.keyring, attempt) {
                Ok(attempt) => opened.push(attempt),
                Err(failed) => unopened.push(failed),
            }
        }
        // The claimed operations have to be run, whatever becomes of the others.
        if let Err(error) = self.give_up(unopened).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "attempts whose input cannot be opened were not ended; their leases will run out");
        }
        Ok(opened)
    }

    /// [`Store::heartbeat`] with progress sealed.
    pub(super) async fn heartbeat_sealed(
        &self,
        mut beats: Vec<Heartbeat>,
        lease: Duration,
    ) -> Result<Vec<LeaseStatus>, StoreError> {
        for Heartbeat { lease, progress } in &mut beats {
            if let Some(progress) = progress {
                let owner = Owner { organization: &lease.organization, id: lease.id, field: Field::Message };
                *progress = self.keyring.seal(&owner, cut(progress));
            }
        }
        self.inner.heartbeat(beats, lease).await
    }

    /// [`Store::settle`] with outcomes sealed.
    pub(super) async fn settle_sealed(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
        let quotas = self.quotas();
        let settlements: Vec<Settlement> = settlements.into_iter().map(|one| quotas.bounded(one)).collect();
        let mut results = vec![Err(Refusal::StaleLease); settlements.len()];
        // A worker whose answer was lost settles again: its outcome is recognized by its stored form, which may be
        // under another key by now. A stale settlement stays stale, so nothing is recorded with the later keys.
        for key in self.keyring.ways() {
            let stale: Vec<usize> =
                (0..results.len()).filter(|index| results[*index] == Err(Refusal::StaleLease)).collect();
            if stale.is_empty() {
                break;
            }
            let sealed = stale.iter().map(|index| Sealed::sealed_settlement(key, &settlements[*index]));
            let settled = match self.inner.settle(sealed.collect()).await {
                // What the first way has recorded is answered.
                Err(StoreError::Unavailable(_)) if stale.len() < results.len() => {
                    stale.into_iter().for_each(|index| results[index] = Err(Refusal::Unavailable));
                    break;
                }
                settled => settled?,
            };
            stale.into_iter().zip(settled).for_each(|(index, result)| results[index] = result);
        }
        Ok(results)
    }

    fn sealed_settlement(key: Option<&Key>, settlement: &Settlement) -> Settlement {
        let LeaseRef { organization, id, .. } = &settlement.lease;
        let owner = |field| Owner { organization, id: *id, field };
        let outcome = match &settlement.outcome {
            Outcome::Completed { output } => {
                Outcome::Completed { output: seal_with(key, &owner(Field::Output), output) }
            }
            Outcome::Failed { message, retryable } => {
                let message = match key {
                    Some(_) => &cut_message(message.clone(), MESSAGE_BYTES),
                    None => message,
                };
                Outcome::Failed { message: seal_with(key, &owner(Field::Message), message), retryable: *retryable }
            }
        };
        Settlement { outcome, ..settlement.clone() }
    }

    /// Ends attempts whose input could not be opened. Those whose key is missing are released, for a server that has
    /// it; the others fail, to be tried again.
    async fn give_up(&self, unopened: Vec<(LeaseRef, Unopened)>) -> Result<(), StoreError> {
        let (mut postponed, mut settlements) = (Vec::new(), Vec::new());
        for (lease, error) in unopened {
            let (organization, operation) = (&lease.organization, lease.id);
            tracing::error!(organization, %operation, %error, "an input cannot be opened; its operation waits");
            match error {
                Unopened::KeyMissing(_) => postponed.push(lease),
                error => {
                    let message = format!("the input cannot be opened: {error}");
                    let outcome = Outcome::Failed { message, retryable: true };
                    settlements.push(Settlement { lease, outcome, retry_after: UNOPENED_RETRY });
                }
            }
        }
        if !postponed.is_empty() {
            self.inner.health().complain(KEY_MISSING, KEY_MISSING_FOR);
            self.inner.postpone(postponed, UNOPENED_RETRY).await?;
        }
        if !settlements.is_empty() {
            self.inner.settle(settlements).await?;
        }
        Ok(())
    }
}

/// Opens the input of an attempt.
fn open_input(keyring: &Keyring, claimed: Claimed) -> Result<Claimed, (LeaseRef, Unopened)> {
    let LeaseRef { organization, id, .. } = &claimed.lease;
    let owner = Owner { organization, id: *id, field: Field::Input };
    match keyring.open(&owner, claimed.input) {
        Ok(input) => Ok(Claimed { input, ..claimed }),
        Err(error) => Err((claimed.lease, error)),
    }
}
