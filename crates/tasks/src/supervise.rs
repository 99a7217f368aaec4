//! Loops that are restarted when they break off.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::Task;

/// The waits before restarts: the first one, and the longest; each is twice the previous one.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A loop that ran for this long starts with the first wait again.
const STEADY: Duration = Duration::from_secs(60);

/// Runs `work`, and restarts it after a wait when it panics or returns before `stop` is cancelled. Returns when `work`
/// has returned, or panicked, after that. State that `work` shares with others stays as the panic left it.
///
/// `work` should end soon after `stop` is cancelled, or cancel `stop` itself when it has a reason to end.
pub async fn supervise<F>(task: &Task, stop: &CancellationToken, mut work: impl FnMut() -> F)
where
    F: Future<Output = ()>,
{
    let mut wait = WAITS.0;
    loop {
        let started = Instant::now();
        let ended = AssertUnwindSafe(work()).catch_unwind().await;
        if stop.is_cancelled() {
            return;
        }
        task.is_down();
        if started.elapsed() >= STEADY {
            wait = WAITS.0;
        }
        let cause = match &ended {
            Ok(()) => "it ended without having been stopped",
            Err(panic) => text_of(panic.as_ref()),
        };
        tracing::error!(task = task.name(), cause, wait_ms = wait.as_millis(), "a task broke off; it is restarted");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        wait = (wait * 2).min(WAITS.1);
        task.is_restarted();
    }
}

/// The message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Health, Trouble};

    #[tokio::test]
    async fn a_loop_that_breaks_off_is_started_again_ever_later_and_counted() {
        let health = Health::default();
        let stop = CancellationToken::new();
        let task = health.register("loop", None);
        let begun = Instant::now();
        let mut starts = Vec::new();
        supervise(&task, &stop, || {
            assert_eq!(health.troubles(), []);
            starts.push(begun.elapsed());
            let start = starts.len();
            let stop = &stop;
            async move {
                match start {
                    1 => panic!("once"),
                    2 => {}
                    _ => stop.cancel(),
                }
            }
        })
        .await;
        assert_eq!(starts.len(), 3);
        assert!(starts[1] >= WAITS.0 && starts[2] >= starts[1] + WAITS.0 * 2, "{starts:?}");
        assert_eq!(health.report()[0].restarts, 2);
    }

    #[tokio::test]
    async fn while_it_is_down_it_is_in_trouble() {
        let health = Health::default();
        let stop = CancellationToken::new();
        let task = health.register("loop", None);
        let down = async {
            while health.troubles() != [Trouble::Down { task: "loop" }] {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        tokio::join!(supervise(&task, &stop, || async { panic!("always") }), down);
    }
}
