//! Wakes everything that takes from the queue here when an operation becomes due.

use std::sync::Arc;
use std::time::Duration;

use operations::Timestamp;
use store::{Coverage, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::elsewhere::on_each;
use crate::context::Context;

/// Between two looks because an operation may have begun to wait for a time.
const PACE: Duration = Duration::from_millis(10);
/// Between two looks where all delays are reported; the looks into the queue also find those whose report got lost.
const LONGEST: Duration = Duration::from_secs(30);

/// Wakes until it is stopped.
pub(crate) async fn wake(context: Arc<Context>, stop: CancellationToken) {
    let (delayed, delays) = (Notify::new(), context.store.commits().delays());
    // The time up to which due operations have been reported.
    let told: Mutex<Timestamp> = Mutex::new(context.store.now());
    let schedule = Schedule::every("due", context.settings.poll.max(LONGEST)).woken_by(&delayed);
    let work = run_periodic(&context.health, schedule, &stop, || async {
        let mut told = told.lock().await;
        let is_told = context.store.commits().coverage() != Coverage::Own;
        let longest = if is_told { LONGEST } else { context.settings.poll };
        loop {
            // Those who are woken know that it is at least this late.
            let now = context.store.now();
            // A clock that was set back.
            *told = (*told).min(now);
            let Some(due) = context.store.next_due(*told).await? else { return Ok(Next::After(longest)) };
            if due > now {
                let millis = due.as_millis().saturating_sub(now.as_millis()).unsigned_abs();
                return Ok::<_, StoreError>(Next::After(Duration::from_millis(millis).min(longest)));
            }
            *told = now;
            context.waker.wake();
        }
    });
    tokio::select! {
        () = work => {}
        () = async {
            on_each(delays, PACE, || delayed.notify_one()).await;
            std::future::pending().await
        } => {}
    }
}
