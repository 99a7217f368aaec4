//! Creators: with idempotency keys that two calls use at once, unique keys that they compete for, labels, and more.

use std::collections::BTreeSet;
use std::sync::Arc;

use operations::{Concurrency, NewOperation, OperationId};
use rand::RngExt as _;
use store::{Claimed, IdempotencyKey, Start, StoreError};

use super::{Actor, KEYS, KINDS, LEASE, STEPS, UNIQUE_KEYS, of_key};
use crate::history::{Asked, RETAIN_FOR, Seen};

/// A creation that may be requested several times.
#[derive(Clone)]
struct Creation {
    new: Vec<NewOperation>,
    key: Option<IdempotencyKey>,
    starts: bool,
}

impl Actor {
    /// Creates one to three at a time, one sometimes so that it starts at once; with a key, repeats the call until it
    /// is answered.
    pub(super) async fn create(mut self) {
        for step in 0..STEPS {
            let mut new: Vec<NewOperation> =
                (0..self.random.random_range(1..=3)).map(|place| self.anything(step, place)).collect();
            // The call refuses a request that names a unique key twice.
            let mut named = BTreeSet::new();
            new.retain(|new| new.unique_key.as_ref().is_none_or(|key| named.insert(key.clone())));
            let key = self
                .random
                .random_bool(0.5)
                .then(|| IdempotencyKey { key: format!("{}-{step}", self.name), fingerprint: [7; 32] });
            let starts = new.len() == 1 && self.random.random_bool(0.7);
            let creation = Creation { new, key, starts };
            for call in 0.. {
                // An impatient client calls a second time while the first call is under way.
                let (first, second) = (self.server(), self.server());
                let is_answered = if creation.key.is_some() && self.random.random_bool(0.4) {
                    let calls =
                        tokio::join!(self.ask(first, &creation, 2 * call), self.ask(second, &creation, 2 * call + 1));
                    calls.0 || calls.1
                } else {
                    self.ask(first, &creation, 2 * call).await
                };
                if is_answered || creation.key.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// An operation with a concurrency key, a unique key or neither.
    fn anything(&mut self, step: u32, place: u32) -> NewOperation {
        let key = KEYS.get(self.random.random_range(0..KEYS.len() * 3));
        let unique = UNIQUE_KEYS.get(self.random.random_range(0..UNIQUE_KEYS.len() * 3)).filter(|_| key.is_none());
        // An operation with a key has a resource by which it is counted.
        let resource = key.map(|(key, _)| of_key("key", key)).or(unique.map(|key| of_key("unique", key)));
        let labels = self.random.random_bool(0.3).then(|| ("n".to_owned(), format!("{}", (step + place) % 3)));
        NewOperation {
            priority: self.random.random_range(-1..=1),
            max_attempts: self.random.random_range(1..=3),
            concurrency: key.map(|(key, limit)| Concurrency { key: (*key).to_owned(), limit: *limit }),
            resource,
            unique_key: unique.map(|key| (*key).to_owned()),
            labels: labels.into_iter().collect(),
            retain_for: self.random.random_bool(0.2).then_some(RETAIN_FOR),
            ..NewOperation::of_kind(KINDS[self.random.random_range(0..2)])
        }
    }

    /// One call; returns whether it was answered.
    async fn ask(&self, server: usize, creation: &Creation, call: u32) -> bool {
        let Creation { new, key, starts } = creation.clone();
        let ids: Vec<OperationId> = new.iter().map(|_| OperationId::new(self.place.now())).collect();
        for (id, new) in ids.iter().zip(&new) {
            let call = key.as_ref().map(|key| (key.key.clone(), call));
            self.record.asked.lock().unwrap().insert(*id, Asked { new: new.clone(), call });
        }
        let from = self.record.begin();
        let start = starts.then(|| {
            let (record, started) = (Arc::clone(&self.record), Arc::clone(&self.started));
            Start::new(self.name.clone(), LEASE, move |claimed: Claimed| {
                record.note(from, claimed.operation.id, Seen::Claimed(claimed.lease.fence));
                started.lock().unwrap().push(claimed);
            })
        });
        let (access, named, key_again) = (self.access(), ids.clone(), key.clone());
        let created = self
            .place
            .call(server, |store| async move {
                match store.create_as(&access, new, named, key_again, start).await {
                    // Created by an earlier call, and removed since.
                    Err(StoreError::IdempotencyGone) => Ok(Vec::new()),
                    other => other,
                }
            })
            .await;
        let Some(created) = created else { return false };
        for (operation, own) in created.iter().zip(&ids) {
            let is_held = key.is_none() && operation.id != *own;
            self.record.note(from, operation.id, if is_held { Seen::Found } else { Seen::Created });
        }
        if let Some(key) = key.filter(|_| !created.is_empty()) {
            let answer = created.iter().map(|operation| operation.id).collect();
            self.record.keyed.lock().unwrap().push((key.key, answer));
        }
        true
    }
}
