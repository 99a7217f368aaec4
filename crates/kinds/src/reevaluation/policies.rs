//! Policies that change: evidence that was evaluated by an older version of a policy in the policy folder is evaluated
//! again.
//!
//! What it promises: each change is handled once, by any server, even a change that was made while no server ran;
//! nothing is handled when a store has never known a policy folder; and while servers see different files, as they do
//! during a rollout, nothing is handled at all. So each server records in the store which policies it sees. Once all
//! servers that were active within the last minute see the same, and it differs from the version that was handled last,
//! each organization with evidence gets one operation, whose input contains the digests: only evaluations that ran by
//! other digests are repeated.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evidence::digest;
use evidence::policy::{PolicyFolder, plain_reference};
use operations::Timestamp;
use serde_json::Value;
use store::{EvidenceFilter, FOLLOWED, IdempotencyKey, PolicyDigests, Store, StoreError};

use super::{Selection, operation};

/// The time between two records of a server that sees the same as before.
const NOTE_EVERY: Duration = Duration::from_secs(20);
/// A server that has recorded nothing for this long counts as stopped.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// The number of references that a cause names.
const NAMED: usize = 10;

/// Detects and handles changes in a policy folder.
pub struct PolicyFollower {
    store: Arc<dyn Store>,
    folder: Arc<Mutex<PolicyFolder>>,
    /// The name under which it records what it sees; `None`: no other server uses the store.
    server: Option<String>,
    last_check: tokio::sync::Mutex<LastCheck>,
}

/// The results of earlier checks.
#[derive(Default)]
struct LastCheck {
    seen: Option<PolicyDigests>,
    /// When this was recorded.
    noted_at: Option<Timestamp>,
    /// Whether it was logged that changes cannot be handled at present.
    is_complained_of: bool,
}

impl LastCheck {
    fn is_first_complaint(&mut self) -> bool {
        !std::mem::replace(&mut self.is_complained_of, true)
    }
}

impl std::fmt::Debug for PolicyFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyFollower").field("server", &self.server).finish_non_exhaustive()
    }
}

impl PolicyFollower {
    /// Follows this folder, for a server of this name; without a name, for the only server of the store.
    pub fn new(store: Arc<dyn Store>, folder: PathBuf, server: Option<String>) -> PolicyFollower {
        let folder = Arc::new(Mutex::new(PolicyFolder::new(folder)));
        PolicyFollower { store, folder, server, last_check: tokio::sync::Mutex::default() }
    }

    /// Checks the folder; returns whether there was something to do. Files that differ from the previous check are left
    /// to the next one: they may be incomplete.
    ///
    /// # Errors
    /// [`StoreError`]; then it must be called again.
    pub async fn follow(&self) -> Result<bool, StoreError> {
        let mut last_check = self.last_check.lock().await;
        let seen = match self.read().await {
            Ok(seen) => seen,
            Err(message) => {
                if last_check.is_first_complaint() {
                    tracing::warn!(
                        message,
                        "cannot read the policy folder; evidence is not evaluated again when policies in it change"
                    );
                }
                return Ok(false);
            }
        };
        if last_check.seen.as_ref() != Some(&seen) {
            *last_check = LastCheck { seen: Some(seen), noted_at: None, is_complained_of: last_check.is_complained_of };
            return Ok(false);
        }
        let now = self.store.now();
        // Recorded before it reads what others see: of two servers that see different policies at least one then knows
        // it.
        if let Some(server) = &self.server
            && last_check.noted_at.is_none_or(|at| now >= at.after(NOTE_EVERY))
        {
            self.store.note_policies(server, &seen).await?;
            last_check.noted_at = Some(now);
        }
        let (mut followed, mut is_noted, mut differs) = (None, false, false);
        for noted in self.store.seen_policies().await? {
            if noted.server == FOLLOWED {
                followed = Some(noted);
            } else if self.server.as_ref() == Some(&noted.server) {
                is_noted = true;
            } else if self.server.is_none() || noted.seen_at < now.before(GONE_AFTER) {
                self.store.forget_policies(&noted.server).await?;
            } else {
                differs |= noted.policies != seen;
            }
        }
        if differs {
            if last_check.is_first_complaint() {
                tracing::info!("servers see different policies; evidence is evaluated again once they see the same");
            }
            return Ok(false);
        }
        if self.server.is_some() && !is_noted {
            // Another server considered this one stopped.
            last_check.noted_at = None;
            return Ok(false);
        }
        last_check.is_complained_of = false;
        let Some(followed) = followed else {
            self.store.note_policies(FOLLOWED, &seen).await?;
            return Ok(false);
        };
        let mut changed = seen.clone();
        changed.retain(|reference, now| followed.policies.get(reference).is_some_and(|before| before != now));
        // A file that is missing at present may come back with another content.
        let mut all = followed.policies.clone();
        all.extend(seen);
        if all == followed.policies {
            return Ok(false);
        }
        let has_changed = !changed.is_empty();
        if has_changed {
            // Not a key that a client could send: clients' keys are printable ASCII. It is the same on every server.
            let text = serde_json::to_string(&all).expect("texts are JSON");
            let key = format!("\u{1}policies {} {}", followed.seen_at.as_millis(), digest(text.as_bytes()));
            self.reevaluate(changed, &key).await?;
        }
        self.store.note_policies(FOLLOWED, &all).await?;
        Ok(has_changed)
    }

    /// The contents of the folder, or why they cannot be determined at present.
    async fn read(&self) -> Result<PolicyDigests, String> {
        let folder = Arc::clone(&self.folder);
        let read = move || folder.lock().unwrap_or_else(PoisonError::into_inner).look();
        let found = tokio::task::spawn_blocking(read).await;
        found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Creates the operations, one in each organization that has evidence. An error of one organization, whose row may
    /// be locked, does not keep the others from theirs; then it is done again.
    async fn reevaluate(&self, changed: PolicyDigests, key: &str) -> Result<(), StoreError> {
        let selection = Selection { cause: cause(&changed), changed, ..Selection::default() };
        let mut failed = None;
        for organization in self.store.organizations().await? {
            let name = &organization.name;
            if self.store.list_evidence(name, &EvidenceFilter::default(), None, 1).await?.is_empty() {
                continue;
            }
            let key = IdempotencyKey { key: key.to_owned(), fingerprint: [0; 32] };
            match self.store.create(name, vec![operation(&selection)], Some(key)).await {
                Ok(_) | Err(StoreError::IdempotencyGone | StoreError::OrganizationGone) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// A description for people: what changed, each file once, by its name where it has one.
fn cause(changed: &PolicyDigests) -> String {
    let is_file = |reference: &str| reference.starts_with("file://");
    let has_name = |digest: &String| changed.iter().any(|(reference, other)| !is_file(reference) && other == digest);
    let shown = |(reference, digest): &(&String, &String)| !is_file(reference) || !has_name(digest);
    let mut shown: Vec<&str> = changed.iter().filter(shown).map(|(reference, _)| reference.as_str()).collect();
    let more = shown.len().saturating_sub(NAMED);
    shown.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("changed in the policy folder: {}{more}", shown.join(", "))
}

/// Whether an evaluation ran by an older version of a policy or a group.
pub(super) fn is_outdated(changed: &PolicyDigests, input: &Value, output: &Value) -> bool {
    let used = ["policies", "groups"].into_iter().flat_map(|list| output[list].as_array().into_iter().flatten());
    used.into_iter().any(|used| {
        let reference = used["reference"].as_str().unwrap_or_default();
        let with_scripts = used["content_digest"].as_str();
        let digest = with_scripts.or(used["digest"].as_str());
        let is_other = |now: &String| Some(now.as_str()) != digest;
        // A pin covers only the document: while it stays the same, scripts in other files may have changed.
        let is_kept = || with_scripts.is_none() && is_pinned(input, reference);
        changed.get(&plain_reference(reference)).is_some_and(is_other) && !is_kept()
    })
}

/// Whether a request may run a policy with this name: one that it only refers to may have any name, and so may those of
/// a group, and of the server if it names none.
pub(super) fn may_run(name: &str, input: &Value) -> bool {
    may_concern(input, |policy| match &policy["embedded"] {
        Value::Null => true,
        Value::String(text) => text.contains(name),
        document => document["metadata"]["name"] == *name,
    })
}

/// Whether a request may use one of these policies and groups: a group may contain any of them.
pub(super) fn may_use(changed: &PolicyDigests, input: &Value) -> bool {
    may_concern(input, |policy| changed.contains_key(&plain_reference(policy["ref"].as_str().unwrap_or_default())))
}

fn may_concern(input: &Value, is_meant: impl Fn(&Value) -> bool) -> bool {
    let list = |name: &str| input[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let (policies, groups) = (list("policies"), list("policy_groups"));
    !groups.is_empty() || policies.is_empty() || policies.iter().any(is_meant)
}

/// Whether a request pins the digest of this reference: then it cannot be evaluated by any other version.
fn is_pinned(input: &Value, reference: &str) -> bool {
    let lists = ["policies", "policy_groups"].into_iter();
    let mut asked = lists.flat_map(|list| input[list].as_array().into_iter().flatten());
    asked.any(|asked| {
        let asked = asked["ref"].as_str().unwrap_or_default();
        asked.strip_prefix(reference).is_some_and(|rest| rest.starts_with("@sha256:"))
    })
}
