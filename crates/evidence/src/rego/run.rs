//! Runs a script on a thread of its own, under a watchdog.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use regorus::Value;
use regorus::utils::limits::ExecutionTimerConfig;

use super::builtins::Calls;
use super::coverage::Probe;
use super::error::{RegoError, engine_error};
use super::own::{self, HttpCalls};
use super::script::Script;
use super::verdict::Verdict;

/// The stack size: the engine recurses as deeply as the script and the data nest.
const STACK: usize = 32 * 1024 * 1024;
/// How much longer than the engine's own timer the watchdog waits.
const GRACE: Duration = Duration::from_millis(500);
/// How many steps the engine takes between two checks of the clock.
const STEPS: NonZeroU32 = NonZeroU32::new(256).expect("not zero");
/// A thread cannot be killed. One that the watchdog has abandoned ends when its current step does; until then it counts
/// here, and when there are this many of them no evaluation starts, so that broken policies cannot occupy the whole
/// machine.
const MAX_ABANDONED: usize = 4;
static ABANDONED: AtomicUsize = AtomicUsize::new(0);

const RUNNING: u8 = 0;
const DONE: u8 = 1;
const GIVEN_UP: u8 = 2;

/// The limits of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum duration of a run.
    pub time: Duration,
}

impl Script {
    /// Runs the script on an input with arguments.
    ///
    /// Blocks until there is a verdict, or the time is over.
    ///
    /// # Errors
    /// [`RegoError`] when there is no verdict.
    pub fn run(&self, input: &Value, args: BTreeMap<Value, Value>, limits: Limits) -> Result<Verdict, RegoError> {
        self.run_calling(input, args, limits, None)
    }

    /// The same, with calls that the script may make. The result counts only if no call remains to be made.
    ///
    /// # Errors
    /// As [`Script::run`].
    pub fn run_calling(
        &self,
        input: &Value,
        args: BTreeMap<Value, Value>,
        limits: Limits,
        calls: Option<&HttpCalls>,
    ) -> Result<Verdict, RegoError> {
        if let Calls::NeedsChainloop(name) = &*self.calls {
            let reason = format!("{name} needs a Chainloop server, which this service does not have");
            return Ok(Verdict::unevaluated(reason));
        }
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(ExecutionTimerConfig { limit: limits.time, check_interval: STEPS });
        engine.set_input(with_args(input, args));
        if self.probe.is_some() {
            Probe::attach(&mut engine);
        }
        let (entry_point, probe, calls) = (self.entry_point.clone(), self.probe.clone(), calls.cloned());
        let work = move || {
            own::attach(calls);
            let mut outcome = engine.eval_rule(entry_point).map_err(|error| run_error(error, limits));
            if let Some(probe) = probe {
                outcome = probe.add(&engine).and(outcome);
            }
            outcome.and_then(|result| Verdict::read(&result))
        };
        watched(&ABANDONED, limits.time.saturating_add(GRACE), work).map_err(|unfinished| match unfinished {
            Unfinished::TooManyAbandoned => RegoError::Exhausted,
            Unfinished::NoThread(error) => RegoError::Engine(format!("no thread to evaluate on: {error}")),
            Unfinished::Panicked => RegoError::Engine("the engine failed on this policy and input".to_owned()),
            Unfinished::TimeOver => RegoError::TimeLimit(limits.time),
        })?
    }
}

/// Why work has no result.
#[derive(Debug)]
enum Unfinished {
    TooManyAbandoned,
    NoThread(std::io::Error),
    Panicked,
    TimeOver,
}

/// Does work on a thread of its own, and waits for its result for this time. Work that takes longer is abandoned, and
/// counts as such until it ends.
fn watched<T: Send + 'static>(
    abandoned: &'static AtomicUsize,
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    if abandoned.load(Ordering::Relaxed) >= MAX_ABANDONED {
        return Err(Unfinished::TooManyAbandoned);
    }
    let state = Arc::new(AtomicU8::new(RUNNING));
    let (sender, receiver) = mpsc::channel();
    let end = End { state: Arc::clone(&state), abandoned };
    let on_thread = move || {
        let _end = end;
        // Nobody receives it if the work has been abandoned.
        let _ = sender.send(work());
    };
    let spawned = thread::Builder::new().name("rego".to_owned()).stack_size(STACK).spawn(on_thread);
    spawned.map_err(Unfinished::NoThread)?;
    match receiver.recv_timeout(time) {
        Ok(result) => return Ok(result),
        Err(RecvTimeoutError::Disconnected) => return Err(Unfinished::Panicked),
        Err(RecvTimeoutError::Timeout) => {}
    }
    abandoned.fetch_add(1, Ordering::Relaxed);
    if state.swap(GIVEN_UP, Ordering::AcqRel) == DONE {
        abandoned.fetch_sub(1, Ordering::Relaxed);
    }
    Err(Unfinished::TimeOver)
}

/// Signals that the thread ended, even if the engine panics.
struct End {
    state: Arc<AtomicU8>,
    abandoned: &'static AtomicUsize,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.state.swap(DONE, Ordering::AcqRel) == GIVEN_UP {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn run_error(error: impl std::fmt::Display, limits: Limits) -> RegoError {
    let text = error.to_string();
    // The timer's own error type is lost in the engine's builtin calls.
    if text.contains("execution exceeded time limit") { RegoError::TimeLimit(limits.time) } else { engine_error(text) }
}

fn with_args(input: &Value, args: BTreeMap<Value, Value>) -> Value {
    let mut fields: BTreeMap<Value, Value> = match input {
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        _ => BTreeMap::new(),
    };
    fields.insert(Value::from("args"), Value::from(args));
    Value::from(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Longer than any of this takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn work_that_takes_too_long_is_abandoned_and_counts_until_it_ends() {
        static ABANDONED: AtomicUsize = AtomicUsize::new(0);
        let mut holders = Vec::new();
        for running in 1..=MAX_ABANDONED {
            let (holder, held) = mpsc::channel::<()>();
            let outcome = watched(&ABANDONED, Duration::ZERO, move || held.recv().is_ok());
            assert!(matches!(outcome, Err(Unfinished::TimeOver)), "{outcome:?}");
            assert_eq!(ABANDONED.load(Ordering::Relaxed), running);
            holders.push(holder);
        }
        let refused = watched(&ABANDONED, LONG, || ());
        assert!(matches!(refused, Err(Unfinished::TooManyAbandoned)), "{refused:?}");
        drop(holders);
        while ABANDONED.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        assert_eq!(watched(&ABANDONED, LONG, || 7).unwrap(), 7);
    }

    #[test]
    fn work_that_panics_is_not_waited_for() {
        static ABANDONED: AtomicUsize = AtomicUsize::new(0);
        let outcome = watched::<()>(&ABANDONED, LONG, || std::panic::resume_unwind(Box::new("a defect")));
        assert!(matches!(outcome, Err(Unfinished::Panicked)), "{outcome:?}");
    }
}
