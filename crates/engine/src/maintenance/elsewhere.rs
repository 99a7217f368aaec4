//! Wakes everything that takes operations from the queue here when another process has reported that it put one in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The shortest time between two wake-ups: every server of the store is woken, and most find that another one was
/// faster.
const PACE: Duration = Duration::from_millis(50);

/// Wakes until it is stopped.
pub(crate) async fn wake(context: Arc<Context>, stop: CancellationToken) {
    let queue = context.store.commits().queue_of_others();
    tokio::select! {
        () = on_each(queue, PACE, || context.waker.wake()) => {}
        () = stop.cancelled() => {}
    }
}

/// Calls `work` after each mark, at once if the last mark was at least `pace` ago. Returns when there can be no more
/// marks.
pub(crate) async fn on_each(mut marks: watch::Receiver<()>, pace: Duration, work: impl Fn()) {
    while marks.changed().await.is_ok() {
        work();
        tokio::time::sleep(pace).await;
    }
}
