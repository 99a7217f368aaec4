//! The evidence of a server: its periodic maintenance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kinds::reevaluation::PolicyFollower;
use store::{ContentStore, DeletionError, EvidenceRetention, Store, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

/// The time between two checks for changes of waivers.
const WAIVERS_EVERY: Duration = Duration::from_secs(2);
/// The time between two checks of the policy folder.
const POLICIES_EVERY: Duration = Duration::from_secs(5);
/// The time between two removals of expired evidence, and between two scans of all stored content.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
const WALK_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Removes expired evidence, and leftovers of interrupted uploads and removals. Servers of one store may do so at the
/// same time.
pub async fn tidy(content: ContentStore, store: Arc<dyn Store>, retention: EvidenceRetention) {
    let schedule = Schedule::every("evidence", TIDY_EVERY).round_limit(TIDY_EVERY);
    let walked = Mutex::new(None::<Instant>);
    run_periodic(&store.health(), schedule, &CancellationToken::new(), || async {
        let pieces = content.tidy(&*store, retention).await?;
        let orphans = match retention.unreferenced {
            // A scan of all objects takes long, and it rarely finds anything.
            Some(age) if is_due(&walked) => content.remove_orphans(&*store, age.max(WALK_EVERY)).await?,
            _ => 0,
        };
        if pieces + orphans > 0 {
            tracing::info!(pieces, orphans, "removed expired evidence");
        }
        Ok::<_, DeletionError>(Next::AfterPeriod)
    })
    .await;
}

/// Has evidence evaluated again when a waiver that concerns it was added, removed or has expired. `wake` is called when
/// there is something to run.
pub async fn follow_waivers(store: Arc<dyn Store>, wake: impl Fn()) {
    run_periodic(&store.health(), Schedule::every("waivers", WAIVERS_EVERY), &CancellationToken::new(), || async {
        if kinds::reevaluation::follow_waivers(&*store).await? {
            wake();
        }
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}

/// Has evidence evaluated again with policies that have changed. `wake` is called when there is something to run.
pub async fn follow_policies(follower: PolicyFollower, health: tasks::Health, wake: impl Fn()) {
    run_periodic(&health, Schedule::every("policies", POLICIES_EVERY), &CancellationToken::new(), || async {
        if follower.follow().await? {
            wake();
        }
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}

/// Whether it is time for a scan; if so, it counts as started.
fn is_due(walked: &Mutex<Option<Instant>>) -> bool {
    let mut walked = walked.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = walked.is_none_or(|last| last.elapsed() >= WALK_EVERY);
    if is_due {
        *walked = Some(Instant::now());
    }
    is_due
}
