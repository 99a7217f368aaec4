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
/// How many evaluations are read together when all are wanted.
const PAGE: u32 = 100;

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
        let newest = evaluations(&*self.store, &access, Status::Completed, Some(resource.clone()), (0, LOOKED_AT));
        let newest = newest.await.map_err(unread)?;
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

/// A page of the evaluations with this status, newest first: those of a piece of evidence, or all.
async fn evaluations(
    store: &dyn Store,
    access: &Access,
    status: Status,
    resource: Option<Resource>,
    (page, page_size): (u32, u32),
) -> Result<Vec<Operation>, StoreError> {
    let filter = Filter { status: Some(status), kind: Some(KIND.to_owned()), resource };
    let listing = store.list(access, &filter, PageRequest { page, page_size }).await?;
    Ok(listing.entries.into_iter().map(|entry| entry.operation).collect())
}

/// All evaluations with this status, newest first: those of a piece of evidence, or all. One that is created meanwhile
/// may make others appear twice, but none is missing.
pub(crate) async fn all_evaluations(
    store: &dyn Store,
    access: &Access,
    status: Status,
    resource: Option<Resource>,
) -> Result<Vec<Operation>, StoreError> {
    let mut all = Vec::new();
    for page in 0.. {
        let part = evaluations(store, access, status, resource.clone(), (page, PAGE)).await?;
        let is_last = part.len() < PAGE as usize;
        all.extend(part);
        if is_last {
            break;
        }
    }
    Ok(all)
}

/// The parts of a request that name its policies and its project: evaluations that have them in common are compared.
fn asked(input: &str) -> Option<[Value; 4]> {
    let mut input: Value = serde_json::from_str(input).ok()?;
    Some(["policies", "policy_groups", "prompt", "project_name"].map(|name| input[name].take()))
}

fn unread(error: impl std::error::Error + 'static) -> Failure {
    tracing::error!(error = &error as &dyn std::error::Error, "could not read from the store what an evaluation needs");
    Failure::transient("the store could not be read")
}
