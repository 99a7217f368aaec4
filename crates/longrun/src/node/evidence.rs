//! The evidence of a server: what is done about it from time to time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kinds::reevaluation::PolicyFollower;
use store::{ContentStore, DeletionError, EvidenceRetention, Store, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

/// Between two looks at what came of waivers.
const WAIVERS_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at the policy folder.
const POLICIES_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at evidence whose time is over, and between two at all that is kept.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
const WALK_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Removes evidence whose time is over, and what its storing or its removal left half done. Servers of one store may do so
/// at the same time.
pub async fn tidy(content: ContentStore, store: Arc<dyn Store>, retention: EvidenceRetention) {
    let schedule = Schedule::every("evidence", TIDY_EVERY).round_limit(TIDY_EVERY);
    let walked = Mutex::new(None::<Instant>);
    run_periodic(&store.health(), schedule, &CancellationToken::new(), || async {
        let pieces = content.tidy(&*store, retention).await?;
        let orphans = match retention.unreferenced {
            // A walk over all objects is long, and what it finds is rare.
            Some(age) if is_due(&walked) => content.remove_orphans(&*store, age.max(WALK_EVERY)).await?,
            _ => 0,
        };
        if pieces + orphans > 0 {
            tracing::info!(pieces, orphans, "evidence whose time was over was removed");
        }
        Ok::<_, DeletionError>(Next::AfterPeriod)
    })
    .await;
}

/// Has evidence evaluated again when a waiver that concerns it came, went or ended. `wake` is called when there is
/// something to run.
pub async fn follow_waivers(store: Arc<dyn Store>, wake: impl Fn()) {
    run_periodic(&store.health(), Schedule::every("waivers", WAIVERS_EVERY), &CancellationToken::new(), || async {
        if kinds::reevaluation::follow_waivers(&*store).await? {
            wake();
        }
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}

/// Has evidence evaluated again by policies that changed. `wake` is called when there is something to run.
pub async fn follow_policies(follower: PolicyFollower, health: tasks::Health, wake: impl Fn()) {
    run_periodic(&health, Schedule::every("policies", POLICIES_EVERY), &CancellationToken::new(), || async {
        if follower.follow().await? {
            wake();
        }
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}

/// Whether it is time for a walk; then it counts as begun.
fn is_due(walked: &Mutex<Option<Instant>>) -> bool {
    let mut walked = walked.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = walked.is_none_or(|last| last.elapsed() >= WALK_EVERY);
    if is_due {
        *walked = Some(Instant::now());
    }
    is_due
}
