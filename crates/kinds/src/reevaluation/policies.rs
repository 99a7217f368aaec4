//! Policies that change: evidence that was evaluated by what a policy folder no longer holds is evaluated again.
//!
//! What it promises: a change is followed once, by any server, even one that was made while no server ran; nothing is
//! followed when a store has never known a policy folder; and while servers see different files, as they do while new
//! ones are rolled out, nothing is followed at all. So each server notes in the store what it sees. Once all servers
//! that were heard from within a minute see the same, and it differs from what was followed last, each organization
//! with evidence gets one operation, whose input has the digests: only evaluations that ran by other digests are
//! repeated.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evidence::digest;
use evidence::policy::{PolicyFolder, plain_reference};
use operations::Timestamp;
use serde_json::Value;
use store::{EvidenceFilter, FOLLOWED, IdempotencyKey, PolicyDigests, Store, StoreError};

use super::{Selection, operation};

/// Between two notes of a server that sees the same as before.
const NOTE_EVERY: Duration = Duration::from_secs(20);
/// A server that was not heard from for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// References that a cause names.
const NAMED: usize = 10;

/// Follows a policy folder.
pub struct PolicyFollower {
    store: Arc<dyn Store>,
    folder: Arc<Mutex<PolicyFolder>>,
    /// Under which name it notes what it sees; none: no other server uses the store.
    server: Option<String>,
    looked: tokio::sync::Mutex<Looked>,
}

/// The results of the earlier looks.
#[derive(Default)]
struct Looked {
    seen: Option<PolicyDigests>,
    /// When this was noted.
    noted_at: Option<Timestamp>,
    /// Whether it was logged that nothing can be followed just now.
    is_complained_of: bool,
}

impl Looked {
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
    /// Follows this folder, for a server of this name; without one, for the only server of the store.
    pub fn new(store: Arc<dyn Store>, folder: PathBuf, server: Option<String>) -> PolicyFollower {
        let folder = Arc::new(Mutex::new(PolicyFolder::new(folder)));
        PolicyFollower { store, folder, server, looked: tokio::sync::Mutex::default() }
    }

    /// Looks at the folder; answers whether there is something to do now. Files that differ from the previous look are
    /// left to the next one: they may be half written.
    ///
    /// # Errors
    /// [`StoreError`]; it is to be called again then.
    pub async fn follow(&self) -> Result<bool, StoreError> {
        let mut looked = self.looked.lock().await;
        let seen = match self.look().await {
            Ok(seen) => seen,
            Err(message) => {
                if looked.is_first_complaint() {
                    tracing::warn!(message, "cannot look at the policy folder; changes in it are not followed");
                }
                return Ok(false);
            }
        };
        if looked.seen.as_ref() != Some(&seen) {
            *looked = Looked { seen: Some(seen), noted_at: None, is_complained_of: looked.is_complained_of };
            return Ok(false);
        }
        let now = self.store.now();
        // Before it reads what others see: of two servers that see different policies at least one then knows it.
        if let Some(server) = &self.server
            && looked.noted_at.is_none_or(|at| now >= at.after(NOTE_EVERY))
        {
            self.store.note_policies(server, &seen).await?;
            looked.noted_at = Some(now);
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
            if looked.is_first_complaint() {
                tracing::info!("servers see different policies; a change is followed once they see the same");
            }
            return Ok(false);
        }
        if self.server.is_some() && !is_noted {
            // Another server took this one for gone.
            looked.noted_at = None;
            return Ok(false);
        }
        looked.is_complained_of = false;
        let Some(followed) = followed else {
            self.store.note_policies(FOLLOWED, &seen).await?;
            return Ok(false);
        };
        let mut changed = seen.clone();
        changed.retain(|reference, now| followed.policies.get(reference).is_some_and(|before| before != now));
        // A file that is missing just now may come back with another content.
        let mut all = followed.policies.clone();
        all.extend(seen);
        if all == followed.policies {
            return Ok(false);
        }
        let has_changed = !changed.is_empty();
        if has_changed {
            // Not a key that a client could send: those are printable ASCII. The same on every server.
            let text = serde_json::to_string(&all).expect("texts are JSON");
            let key = format!("\u{1}policies {} {}", followed.seen_at.as_millis(), digest(text.as_bytes()));
            self.reevaluate(changed, &key).await?;
        }
        self.store.note_policies(FOLLOWED, &all).await?;
        Ok(has_changed)
    }

    /// What is in the folder, or why that cannot be determined just now.
    async fn look(&self) -> Result<PolicyDigests, String> {
        let folder = Arc::clone(&self.folder);
        let look = move || folder.lock().unwrap_or_else(PoisonError::into_inner).look();
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Creates the operations, one in each organization that has evidence.
    async fn reevaluate(&self, changed: PolicyDigests, key: &str) -> Result<(), StoreError> {
        let selection = Selection { cause: cause(&changed), changed, ..Selection::default() };
        for organization in self.store.organizations().await? {
            let name = &organization.name;
            if self.store.list_evidence(name, &EvidenceFilter::default(), None, 1).await?.is_empty() {
                continue;
            }
            let key = IdempotencyKey { key: key.to_owned(), fingerprint: [0; 32] };
            match self.store.create(name, vec![operation(&selection)], Some(key)).await {
                Ok(_) | Err(StoreError::IdempotencyGone | StoreError::OrganizationGone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// For people: what changed, each file once, by its name where it has one.
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

/// Whether an evaluation ran by a policy or a group that is something else now.
pub(super) fn is_outdated(changed: &PolicyDigests, input: &Value, output: &Value) -> bool {
    let used = ["policies", "groups"].into_iter().flat_map(|list| output[list].as_array().into_iter().flatten());
    used.into_iter().any(|used| {
        let reference = used["reference"].as_str().unwrap_or_default();
        let with_scripts = used["content_digest"].as_str();
        let digest = with_scripts.or(used["digest"].as_str());
        let is_other = |now: &String| Some(now.as_str()) != digest;
        // A pin covers the document alone: while it stays the same, scripts in other files may have changed.
        let is_kept = || with_scripts.is_none() && is_pinned(input, reference);
        changed.get(&plain_reference(reference)).is_some_and(is_other) && !is_kept()
    })
}

/// Whether a request says which digest it has to have: it can be evaluated by no other one.
fn is_pinned(input: &Value, reference: &str) -> bool {
    let lists = ["policies", "policy_groups"].into_iter();
    let mut asked = lists.flat_map(|list| input[list].as_array().into_iter().flatten());
    asked.any(|asked| {
        let asked = asked["ref"].as_str().unwrap_or_default();
        asked.strip_prefix(reference).is_some_and(|rest| rest.starts_with("@sha256:"))
    })
}
