//! What an evaluation reads from the store for its output: the waivers that cover violations, and the previous
//! evaluation.

use std::sync::Arc;

use engine::{Attempt, Failure};
use evidence::{Covered, Waiver};
use operations::{Access, Filter, Operation, OperationId, PageRequest, Resource, Status};
use serde_json::Value;
use store::{ContentStore, Digest, Store, StoreError, vex_named};

use super::handler::KIND;
use super::vex::VexDocuments;

/// How many of the newest evaluations of the same evidence are searched for one by the same policies.
const LOOKED_AT: u32 = 10;

/// The store, as an evaluation uses it.
#[derive(Clone)]
pub(super) struct Records {
    store: Arc<dyn Store>,
    vex: Arc<VexDocuments>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

/// The previous evaluation of the same evidence by the same policies.
pub(super) struct Before {
    pub(super) operation: OperationId,
    pub(super) output: Value,
}

impl Records {
    pub(super) fn new(store: Arc<dyn Store>) -> Records {
        Records { store, vex: Arc::default() }
    }

    /// Records that the evidence was used.
    pub(super) async fn note_use(&self, organization: &str, digest: Digest) -> Result<(), Failure> {
        let record = self.store.evidence(organization, &digest).await.map_err(unread)?;
        if record.is_some_and(|record| record.is_use_to_be_noted(self.store.now(), "")) {
            self.store.touch_evidence(organization, digest, "").await.map_err(unread)?;
        }
        Ok(())
    }

    /// The waivers that are in effect now.
    pub(super) async fn waivers(&self, organization: &str, content: &ContentStore) -> Result<Vec<Waiver>, Failure> {
        let now = self.store.now();
        let mut live = Vec::new();
        for waiver in self.store.waivers(organization).await.map_err(unread)? {
            if !waiver.is_live(now) {
                continue;
            }
            let covered = match vex_named(&waiver.finding) {
                Some(digest) => {
                    match self.vex.get(&*self.store, content, organization, digest).await.map_err(unread)? {
                        Some(vex) => Covered::Vex { document: digest.to_owned(), vex },
                        None => continue,
                    }
                }
                None if waiver.finding.is_empty() => Covered::All,
                None => Covered::Finding(waiver.finding),
            };
            live.push(Waiver {
                id: waiver.id,
                policy: waiver.policy,
                covered,
                subject: waiver.subject,
                reason: waiver.reason,
                by: waiver.created_by,
                expires: waiver.expires_at.map(|at| at.to_string()).unwrap_or_default(),
            });
        }
        Ok(live)
    }

    /// The newest completed evaluation of the same evidence, in the same project, by the same policies.
    pub(super) async fn before(&self, attempt: &Attempt) -> Result<Option<Before>, Failure> {
        let access = Access::organization(&attempt.organization);
        let Some(resource) = &attempt.operation.resource else { return Ok(None) };
        let newest = newest(&*self.store, &access, resource.clone()).await.map_err(unread)?;
        let asked = asked(&attempt.input);
        for operation in newest {
            let id = operation.id;
            if id == attempt.operation.id || operation.project_id != attempt.operation.project_id {
                continue;
            }
            // It was deleted meanwhile, or cannot be decrypted any more: there is nothing to compare with.
            let Ok(Some(detail)) = self.store.detail(&access, id).await else { continue };
            if self::asked(&detail.input) == asked
                && let Ok(output) = serde_json::from_str(&detail.operation.output)
            {
                return Ok(Some(Before { operation: id, output }));
            }
        }
        Ok(None)
    }
}

/// The newest completed evaluations of a piece of evidence, newest first.
pub(crate) async fn newest(
    store: &dyn Store,
    access: &Access,
    resource: Resource,
) -> Result<Vec<Operation>, StoreError> {
    let filter = Filter { status: Some(Status::Completed), kind: Some(KIND.to_owned()), resource: Some(resource) };
    let page = PageRequest { page: 0, page_size: LOOKED_AT };
    let listing = store.list(access, &filter, page).await?;
    Ok(listing.entries.into_iter().map(|entry| entry.operation).collect())
}

/// The parts of a request that name its policies.
pub(crate) fn asked(input: &str) -> Option<[Value; 3]> {
    let mut input: Value = serde_json::from_str(input).ok()?;
    Some(["policies", "policy_groups", "prompt"].map(|name| input[name].take()))
}

fn unread(error: impl std::error::Error + 'static) -> Failure {
    tracing::error!(error = &error as &dyn std::error::Error, "could not read from the store what an evaluation needs");
    Failure::transient("the store could not be read")
}
