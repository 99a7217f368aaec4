//! Maintenance that is repeated periodically.

use std::error::Error;
use std::future::pending;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Health, Task, supervise};

/// How long a round may take by default. The store has limits of its own, of about 35 s; this limit is for work that
/// has none, so that nothing blocks a task forever.
pub const ROUND_LIMIT: Duration = Duration::from_secs(40);
/// The wait after a round that failed, unless the period is shorter: the store may be unavailable.
const RETRY: Duration = Duration::from_secs(1);
/// How long a running round may go on when the task is asked to stop.
const LAST_ROUND: Duration = Duration::from_secs(2);

/// When a piece of maintenance runs.
#[derive(Clone, Copy, Debug)]
pub struct Schedule<'s> {
    name: &'static str,
    period: Duration,
    round_limit: Duration,
    wake: Option<&'s Notify>,
}

impl<'s> Schedule<'s> {
    /// One round per period.
    pub fn every(name: &'static str, period: Duration) -> Schedule<'s> {
        Schedule { name, period, round_limit: ROUND_LIMIT, wake: None }
    }

    /// With a limit other than [`ROUND_LIMIT`].
    #[must_use]
    pub fn round_limit(self, round_limit: Duration) -> Schedule<'s> {
        Schedule { round_limit, ..self }
    }

    /// With an additional round at each wake-up.
    #[must_use]
    pub fn woken_by(self, wake: &'s Notify) -> Schedule<'s> {
        Schedule { wake: Some(wake), ..self }
    }
}

/// When the next round should start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// One period later.
    AfterPeriod,
    /// This much later.
    After(Duration),
    /// Never: there is nothing to maintain.
    Never,
}

/// Runs a piece of maintenance until `stop` is cancelled, supervised. The first round starts at once. A round that
/// fails or takes too long is repeated soon.
pub async fn run_periodic<F, E>(
    health: &Health,
    schedule: Schedule<'_>,
    stop: &CancellationToken,
    work: impl FnMut() -> F,
) where
    F: Future<Output = Result<Next, E>>,
    E: Error + 'static,
{
    let task = health.register(schedule.name, Some(schedule.period));
    // Cancelled by `stop`, or when there is nothing to maintain.
    let ended = stop.child_token();
    let rounds = Mutex::new(Rounds { task: &task, schedule, work, is_failing: false });
    supervise(&task, &ended, || async { rounds.lock().await.run(&ended).await }).await;
}

struct Rounds<'s, W> {
    task: &'s Task,
    schedule: Schedule<'s>,
    work: W,
    is_failing: bool,
}

impl<W> Rounds<'_, W> {
    async fn run<F, E>(&mut self, ended: &CancellationToken)
    where
        W: FnMut() -> F,
        F: Future<Output = Result<Next, E>>,
        E: Error + 'static,
    {
        while !ended.is_cancelled() {
            let round = tokio::select! {
                round = timeout(self.schedule.round_limit, (self.work)()) => round,
                () = after_stop(ended) => return,
            };
            let Some(pause) = self.after(round) else { return ended.cancel() };
            let woken = async {
                match self.schedule.wake {
                    Some(wake) => wake.notified().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                () = woken => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Notes the outcome of a round; returns the time until the next one, if there is one.
    fn after<E: Error + 'static>(&mut self, round: Result<Result<Next, E>, Elapsed>) -> Option<Duration> {
        let Schedule { name, period, round_limit, .. } = self.schedule;
        let was_failing = std::mem::replace(&mut self.is_failing, !matches!(round, Ok(Ok(_))));
        match round {
            Ok(Ok(next)) => {
                self.task.succeeded();
                if was_failing {
                    tracing::info!(task = name, "the maintenance task succeeds again");
                }
                return match next {
                    Next::AfterPeriod => Some(period),
                    Next::After(pause) => Some(pause),
                    Next::Never => None,
                };
            }
            // Logged as an error once per outage.
            Ok(Err(error)) if !was_failing => {
                tracing::error!(task = name, error = &error as &dyn Error, "a round of the maintenance task failed");
            }
            Ok(Err(error)) => {
                tracing::debug!(
                    task = name,
                    error = &error as &dyn Error,
                    "a round of the maintenance task failed again"
                );
            }
            Err(_) => {
                let limit_s = round_limit.as_secs_f64();
                tracing::error!(task = name, limit_s, "a round of the maintenance task took too long and was given up");
            }
        }
        Some(period.min(RETRY))
    }
}

/// Returns when a round that is running when `stop` is cancelled is to be given up: 2 s later.
pub async fn after_stop(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_ROUND).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;
    use std::io;
    use std::time::Instant;

    use super::*;
    use crate::Trouble;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn rounds_follow_the_schedule_what_they_ask_for_and_wake_ups() {
        let (health, stop, wake) = (Health::default(), CancellationToken::new(), Notify::new());
        let mut rounds = 0;
        run_periodic(&health, Schedule::every("it", LONG).woken_by(&wake), &stop, || {
            rounds += 1;
            // Waiting for the end of the period would take too long in a test.
            ready(match rounds {
                1 => Err(io::Error::other("away")),
                2 => Ok(Next::After(SHORT)),
                3 => {
                    wake.notify_one();
                    Ok(Next::AfterPeriod)
                }
                _ => Ok(Next::Never),
            })
        })
        .await;
        assert_eq!(rounds, 4);
        assert!(!stop.is_cancelled(), "other tasks go on");
    }

    #[tokio::test]
    async fn a_round_that_hangs_is_given_up_and_told_until_one_succeeds() {
        let (health, stop) = (Health::patient_for(SHORT * 50), CancellationToken::new());
        let (go_on, mut rounds) = (Notify::new(), 0);
        let schedule = Schedule::every("it", SHORT).round_limit(SHORT * 500);
        let work = run_periodic(&health, schedule, &stop, || {
            rounds += 1;
            let (round, go_on) = (rounds, &go_on);
            async move {
                match round {
                    2 => pending().await,
                    3 => go_on.notified().await,
                    _ => {}
                }
                Ok::<_, Infallible>(Next::AfterPeriod)
            }
        });
        let watch = async {
            while !matches!(health.troubles()[..], [Trouble::Overdue { task: "it", .. }]) {
                sleep(SHORT).await;
            }
            go_on.notify_one();
            while !health.troubles().is_empty() {
                sleep(SHORT).await;
            }
            stop.cancel();
        };
        tokio::join!(work, watch);
        assert!(rounds >= 3);
    }

    #[tokio::test]
    async fn a_round_that_hangs_does_not_hold_up_the_end() {
        let (health, stop) = (Health::default(), CancellationToken::new());
        let begun = Instant::now();
        let schedule = Schedule::every("it", LONG).round_limit(LONG);
        run_periodic(&health, schedule, &stop, || {
            stop.cancel();
            pending::<Result<Next, Infallible>>()
        })
        .await;
        assert!(begun.elapsed() >= LAST_ROUND);
    }
}
