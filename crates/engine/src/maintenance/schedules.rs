//! Does what is due by schedules: it wakes at the time of the next one, and when a schedule was created or changed.
//!
//! Every server of a store does this, each with schedules that no other server is working on.

use std::sync::Arc;
use std::time::Duration;

use store::{Coverage, StoreError, fire_schedules};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::elsewhere::on_each;
use crate::context::Context;

/// The number of schedules that one transaction processes: other creations of the organization wait no longer than
/// that.
const BATCH: u32 = 200;
/// The shortest time between two checks that are made because something may have become due earlier.
const PACE: Duration = Duration::from_millis(10);
/// The time between two checks when other servers are working on all that is due.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest time between two checks where all changes are reported; a change whose report was lost takes effect no
/// later than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Creates what is due until it is stopped.
pub(crate) async fn fire(context: Arc<Context>, stop: CancellationToken) {
    let (changed, changes) = (Notify::new(), context.store.commits().delays());
    let schedule = Schedule::every("schedules", context.settings.poll.max(LONGEST)).woken_by(&changed);
    let work = run_periodic(&context.health, schedule, &stop, || round(&context));
    tokio::select! {
        () = work => {}
        () = async {
            on_each(changes, PACE, || changed.notify_one()).await;
            std::future::pending().await
        } => {}
    }
}

/// Processes one batch of each organization that has something due; returns when to check again.
async fn round(context: &Context) -> Result<Next, StoreError> {
    let store = &*context.store;
    let (due, meters) = (store.due_schedules().await?, store.meters());
    let (mut schedules, mut operations, mut failed) = (0, 0, None);
    for organization in &due.organizations {
        match fire_schedules(store, organization, BATCH).await {
            Ok(fired) => {
                schedules += fired.schedules;
                operations += fired.operations;
                meters.schedules_dealt_with.inc_by(fired.schedules);
                meters.schedule_operations.inc_by(fired.operations);
            }
            // The organization is being deleted.
            Err(StoreError::OrganizationGone) => {}
            // An error of one organization, whose row may be locked, must not delay the others.
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(organization, error = cause, "could not create the operations of due schedules");
                failed = Some(error);
            }
        }
    }
    if operations > 0 {
        context.waker.wake();
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if !due.organizations.is_empty() {
        // The schedules that were processed are due again at some time, which may be earlier than that of the others.
        return Ok(Next::After(if schedules > 0 { Duration::ZERO } else { AGAIN }));
    }
    let is_notified = store.commits().coverage() != Coverage::Own;
    let longest = if is_notified { LONGEST } else { context.settings.poll };
    let Some(next) = due.next else { return Ok(Next::After(longest)) };
    let millis = next.as_millis().saturating_sub(store.now().as_millis()).max(0).unsigned_abs();
    Ok(Next::After(Duration::from_millis(millis).min(longest)))
}
