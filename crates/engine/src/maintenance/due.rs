//! Wakes everything that takes operations from the queue here when an operation becomes due.

use std::sync::Arc;
use std::time::Duration;

use operations::Timestamp;
use store::{Coverage, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::elsewhere::on_each;
use crate::context::Context;

/// The shortest time between two checks that are made because an operation may have begun to wait for its time.
const PACE: Duration = Duration::from_millis(10);
/// The time between two checks where all delays are reported; reading the queue also finds operations whose report was
/// lost.
const LONGEST: Duration = Duration::from_secs(30);

/// Wakes until it is stopped.
pub(crate) async fn wake(context: Arc<Context>, stop: CancellationToken) {
    let (delayed, delays) = (Notify::new(), context.store.commits().delays());
    // The time up to which due operations have been reported.
    let reported_until: Mutex<Timestamp> = Mutex::new(context.store.now());
    let schedule = Schedule::every("due", context.settings.poll.max(LONGEST)).woken_by(&delayed);
    let work = run_periodic(&context.health, schedule, &stop, || async {
        let mut reported_until = reported_until.lock().await;
        let is_notified = context.store.commits().coverage() != Coverage::Own;
        let longest = if is_notified { LONGEST } else { context.settings.poll };
        loop {
            // Those who are woken see a time that is not earlier than this.
            let now = context.store.now();
            // The clock may have been set back.
            *reported_until = (*reported_until).min(now);
            let Some(due) = context.store.next_due(*reported_until).await? else { return Ok(Next::After(longest)) };
            if due > now {
                let millis = due.as_millis().saturating_sub(now.as_millis()).unsigned_abs();
                return Ok::<_, StoreError>(Next::After(Duration::from_millis(millis).min(longest)));
            }
            *reported_until = now;
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
