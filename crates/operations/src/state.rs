//! The life cycle of an operation as a pure function: [`State::apply`].
//!
//! ```text
//!             Claim                 Settle(output)
//!  Pending ─────────► Running ───────────────────► Completed
//!    ▲  │               │  │
//!    │  │Cancel         │  │Settle(error), attempts exhausted, CancelOverdue
//!    │  └────────────┐  │  └────────────────────► Failed ──Retry──► Pending
//!    └── Settle(retryable), LoseLease, Release      ▲
//!                    └──────────────────────────────┘
//! ```
//!
//! Promises, property-tested below: terminal states are final (only `Retry` leaves `Failed`, nothing leaves
//! `Completed`); the fencing token grows with every claim and never shrinks; an event that carries an older token
//! changes nothing; an orderly `Release` charges no attempt; `started_at` is set exactly when an attempt has started.

use crate::{Status, Timestamp};

/// What an operation has used of its attempts and fencing tokens so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of attempts charged, the running one included.
    pub attempts: u32,
    /// The number of attempts that may be charged; at least 1.
    pub max_attempts: u32,
    /// The fencing token of the latest claim; 0 before the first. It only grows, over the whole life of the operation.
    pub fence: u64,
}

/// The state of an operation, with exactly the data that belong to that state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The operation waits to be claimed.
    Pending {
        /// What the operation has used.
        progress: Progress,
        /// When its latest attempt started, if there was one.
        started_at: Option<Timestamp>,
        /// The operation must not be claimed before this time.
        due_at: Option<Timestamp>,
    },
    /// An attempt is running; the worker that knows `progress.fence` holds it.
    Running {
        /// What the operation has used.
        progress: Progress,
        /// When this attempt started.
        started_at: Timestamp,
        /// Whether somebody requested its cancellation.
        cancel_requested: bool,
    },
    /// The operation ended with an output.
    Completed {
        /// What the operation used.
        progress: Progress,
        /// When its last attempt started.
        started_at: Timestamp,
        /// When it ended.
        finished_at: Timestamp,
        /// The output.
        output: String,
    },
    /// The operation ended with an error.
    Failed {
        /// What the operation used.
        progress: Progress,
        /// When its last attempt started, if there was one.
        started_at: Option<Timestamp>,
        /// When it ended.
        finished_at: Timestamp,
        /// Why it failed, for people.
        error_message: String,
    },
}

/// How an attempt ended, as its worker reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The worker did the work.
    Completed {
        /// The output; structured output is JSON in this string.
        output: String,
    },
    /// The worker could not do the work.
    Failed {
        /// Why it failed, for people.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
}

/// Something that happens to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker claims it.
    Claim {
        /// When.
        at: Timestamp,
    },
    /// Its worker ends the attempt.
    Settle {
        /// The fencing token that the worker was given.
        fence: u64,
        /// When.
        at: Timestamp,
        /// How it ended.
        outcome: Outcome,
        /// When the next attempt may start, if there is one.
        retry_at: Timestamp,
    },
    /// The worker did not send a heartbeat for the length of the lease.
    LoseLease {
        /// The fencing token of the lease that ran out.
        fence: u64,
        /// When.
        at: Timestamp,
        /// When the next attempt may start, if there is one.
        retry_at: Timestamp,
    },
    /// The worker releases it in good order (an orderly deploy).
    Release {
        /// The fencing token that the worker was given.
        fence: u64,
        /// When it may be claimed again; `None`: at once.
        due_at: Option<Timestamp>,
    },
    /// Somebody cancels it.
    Cancel {
        /// When.
        at: Timestamp,
    },
    /// Somebody cancelled it, and its worker did not stop within the cancellation grace.
    CancelOverdue {
        /// The fencing token of the attempt that should have stopped.
        fence: u64,
        /// When.
        at: Timestamp,
    },
    /// Somebody wants a failed operation to be tried again.
    Retry,
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The lease was lost: another attempt has started or the operation has ended since.
    #[error(
        "the lease token does not belong to the current attempt: the attempt was lost or has been settled with another outcome, and this result is not recorded"
    )]
    StaleLease,
    /// Not yet due.
    #[error("the operation is not due yet")]
    NotDue,
    /// The event does not fit the state.
    #[error("the operation is {0}")]
    WrongStatus(Status),
    /// Another operation with the same unique key has not ended.
    #[error("another operation with the same unique key has not ended")]
    UniqueKeyInUse,
    /// Where the operation is stored cannot be reached now, so that it is not known whether the event took place. Given by
    /// stores, for some of the rows of a call; the same row can be sent again.
    #[error("the operation cannot be reached now; send this row again")]
    Unavailable,
}

/// The message of an operation that was cancelled.
pub(crate) const CANCELLED: &str = "cancelled";

/// The maximum length of an `error_message`, in bytes. The message is for people; a list shows a hundred of them, so a
/// worker that sends a core dump must not fill the memory of a client that reads the list.
pub const MAX_ERROR_BYTES: usize = 8 * 1024;

/// The message of a failure without one.
const NO_MESSAGE: &str = "failed without a message";

/// The message of an attempt whose worker sent no more heartbeats.
const LEASE_RAN_OUT: &str = "the worker's lease ran out";

/// Whether the domain itself has written the message, so that it reveals nothing that others wrote.
pub fn is_own_message(message: &str) -> bool {
    let gave_up = |rest: &str| {
        let attempts = rest.strip_prefix(" (gave up after ")?.strip_suffix(" attempts)")?;
        attempts.bytes().all(|digit| digit.is_ascii_digit()).then_some(())
    };
    [CANCELLED, NO_MESSAGE, LEASE_RAN_OUT].contains(&message)
        || message.strip_prefix(LEASE_RAN_OUT).is_some_and(|rest| gave_up(rest).is_some())
}

/// The message; if it is longer than `most` bytes, it is cut at the end of a character (the text that is added does not
/// count).
pub fn cut_message(message: String, most: usize) -> String {
    if message.len() <= most {
        return message;
    }
    let end = message.floor_char_boundary(most);
    format!("{}… ({} bytes in all)", &message[..end], message.len())
}

/// The message, limited in length and never empty.
fn bounded(message: String) -> String {
    if message.is_empty() { NO_MESSAGE.to_owned() } else { cut_message(message, MAX_ERROR_BYTES) }
}

/// The message of an operation that ended when its attempt ended.
fn final_message(message: String, retryable: bool, attempts: u32) -> String {
    let message = bounded(message);
    if retryable && attempts > 1 { format!("{message} (gave up after {attempts} attempts)") } else { message }
}

impl State {
    /// A new operation.
    pub fn new(max_attempts: u32, due_at: Option<Timestamp>) -> State {
        let progress = Progress { attempts: 0, max_attempts: max_attempts.max(1), fence: 0 };
        State::Pending { progress, started_at: None, due_at }
    }

    /// The status that clients see.
    pub const fn status(&self) -> Status {
        match self {
            State::Pending { .. } => Status::Pending,
            State::Running { .. } => Status::Running,
            State::Completed { .. } => Status::Completed,
            State::Failed { .. } => Status::Failed,
        }
    }

    /// What the operation has used.
    pub const fn progress(&self) -> Progress {
        match self {
            State::Pending { progress, .. }
            | State::Running { progress, .. }
            | State::Completed { progress, .. }
            | State::Failed { progress, .. } => *progress,
        }
    }

    /// The state after `event`, or why the event changes nothing.
    ///
    /// # Errors
    /// [`Refusal::StaleLease`] when the event's fencing token is not the current one or no attempt is under way;
    /// [`Refusal::NotDue`] for a claim before its time; [`Refusal::WrongStatus`] otherwise.
    pub fn apply(self, event: Event) -> Result<State, Refusal> {
        match event {
            Event::Claim { at } => self.claim(at),
            Event::Settle { fence, at, outcome, retry_at } => self.settle(fence, at, outcome, retry_at),
            Event::LoseLease { fence, at, retry_at } => {
                let outcome = Outcome::Failed { message: LEASE_RAN_OUT.to_owned(), retryable: true };
                self.settle(fence, at, outcome, retry_at)
            }
            Event::Release { fence, due_at } => {
                let (mut progress, started_at, cancel_requested) = self.held(fence)?;
                if cancel_requested {
                    return Ok(State::Running { progress, started_at, cancel_requested });
                }
                progress.attempts -= 1;
                let started_at = (progress.attempts > 0).then_some(started_at);
                Ok(State::Pending { progress, started_at, due_at })
            }
            Event::Cancel { at } => self.cancel(at),
            Event::CancelOverdue { fence, at } => {
                let (progress, started_at, cancel_requested) = self.held(fence)?;
                if !cancel_requested {
                    return Err(Refusal::WrongStatus(Status::Running));
                }
                let error_message = CANCELLED.to_owned();
                Ok(State::Failed { progress, started_at: Some(started_at), finished_at: at, error_message })
            }
            Event::Retry => match self {
                State::Failed { mut progress, started_at, .. } => {
                    progress.max_attempts = progress.max_attempts.max(progress.attempts.saturating_add(1));
                    Ok(State::Pending { progress, started_at, due_at: None })
                }
                other => Err(Refusal::WrongStatus(other.status())),
            },
        }
    }

    /// Whether the worker that held this fencing token has already settled with this outcome: a worker that did not
    /// receive the answer settles again, and must learn what was recorded. If a later token has been given out, this
    /// one is stale.
    ///
    /// `is_noted`: the history records that the latest attempt failed in this way and is to be repeated. The state of a
    /// pending operation does not show that. The failure of an attempt that should have stopped is recorded as the
    /// cancellation, whatever its message.
    pub fn was_settled(&self, fence: u64, outcome: &Outcome, is_noted: bool) -> bool {
        if self.progress().fence != fence {
            return false;
        }
        match (self, outcome) {
            (State::Completed { output, .. }, Outcome::Completed { output: again }) => output == again,
            (State::Failed { progress, error_message, .. }, Outcome::Failed { message, retryable }) => {
                error_message == CANCELLED
                    || *error_message == final_message(message.clone(), *retryable, progress.attempts)
            }
            (State::Pending { .. }, Outcome::Failed { retryable: true, .. }) => is_noted,
            _ => false,
        }
    }

    /// Whether the worker that held this fencing token has already released the operation: a worker that did not
    /// receive the answer releases it again. If a later token has been given out, this one is stale. `is_noted`: the
    /// history records that the latest attempt was released.
    pub const fn was_released(&self, fence: u64, is_noted: bool) -> bool {
        matches!(self, State::Pending { progress, .. } if progress.fence == fence && is_noted)
    }

    /// Whether the operation may be deleted: only ended operations may.
    ///
    /// # Errors
    /// [`Refusal::WrongStatus`] while it is pending or running.
    pub const fn check_removal(&self) -> Result<(), Refusal> {
        let status = self.status();
        if status.is_terminal() { Ok(()) } else { Err(Refusal::WrongStatus(status)) }
    }

    fn claim(self, at: Timestamp) -> Result<State, Refusal> {
        match self {
            State::Pending { due_at: Some(due), .. } if at < due => Err(Refusal::NotDue),
            State::Pending { mut progress, .. } => {
                progress.attempts += 1;
                progress.fence += 1;
                Ok(State::Running { progress, started_at: at, cancel_requested: false })
            }
            other => Err(Refusal::WrongStatus(other.status())),
        }
    }

    /// The parts of the running attempt, for the worker that holds it.
    fn held(self, fence: u64) -> Result<(Progress, Timestamp, bool), Refusal> {
        match self {
            State::Running { progress, started_at, cancel_requested } if progress.fence == fence => {
                Ok((progress, started_at, cancel_requested))
            }
            _ => Err(Refusal::StaleLease),
        }
    }

    fn settle(self, fence: u64, at: Timestamp, outcome: Outcome, retry_at: Timestamp) -> Result<State, Refusal> {
        let (progress, started_at, cancel_requested) = self.held(fence)?;
        let (message, retryable) = match outcome {
            Outcome::Completed { output } => {
                return Ok(State::Completed { progress, started_at, finished_at: at, output });
            }
            Outcome::Failed { message, retryable } => (message, retryable),
        };
        if cancel_requested {
            let error_message = CANCELLED.to_owned();
            return Ok(State::Failed { progress, started_at: Some(started_at), finished_at: at, error_message });
        }
        if retryable && progress.attempts < progress.max_attempts {
            return Ok(State::Pending { progress, started_at: Some(started_at), due_at: Some(retry_at) });
        }
        let error_message = final_message(message, retryable, progress.attempts);
        Ok(State::Failed { progress, started_at: Some(started_at), finished_at: at, error_message })
    }

    fn cancel(self, at: Timestamp) -> Result<State, Refusal> {
        match self {
            State::Pending { progress, started_at, .. } => {
                Ok(State::Failed { progress, started_at, finished_at: at, error_message: CANCELLED.to_owned() })
            }
            State::Running { progress, started_at, .. } => {
                Ok(State::Running { progress, started_at, cancel_requested: true })
            }
            other => Err(Refusal::WrongStatus(other.status())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn failed(message: &str, retryable: bool) -> Outcome {
        Outcome::Failed { message: message.to_owned(), retryable }
    }

    #[test]
    fn the_main_path_completes() {
        let running = State::new(5, None).apply(Event::Claim { at: at(10) }).unwrap();
        let outcome = Outcome::Completed { output: "done".to_owned() };
        let done = running.apply(Event::Settle { fence: 1, at: at(20), outcome, retry_at: at(0) }).unwrap();
        assert_eq!(
            done,
            State::Completed {
                progress: Progress { attempts: 1, max_attempts: 5, fence: 1 },
                started_at: at(10),
                finished_at: at(20),
                output: "done".to_owned(),
            }
        );
    }

    #[test]
    fn a_retryable_failure_waits_and_then_gives_up() {
        let mut state = State::new(2, None);
        state = state.apply(Event::Claim { at: at(1) }).unwrap();
        state =
            state.apply(Event::Settle { fence: 1, at: at(2), outcome: failed("no", true), retry_at: at(50) }).unwrap();
        assert_eq!(state.clone().apply(Event::Claim { at: at(49) }), Err(Refusal::NotDue));
        state = state.apply(Event::Claim { at: at(50) }).unwrap();
        state = state.apply(Event::LoseLease { fence: 2, at: at(60), retry_at: at(70) }).unwrap();
        let State::Failed { error_message, .. } = state else { panic!("{state:?}") };
        assert_eq!(error_message, "the worker's lease ran out (gave up after 2 attempts)");
        assert!(is_own_message(&error_message) && is_own_message(CANCELLED));
        assert!(!is_own_message("the worker's lease ran out, said the worker") && !is_own_message(""));
    }

    #[test]
    fn a_failure_that_is_not_retryable_ends_at_once() {
        let state = State::new(5, None).apply(Event::Claim { at: at(1) }).unwrap();
        let event = Event::Settle { fence: 1, at: at(2), outcome: failed("broken", false), retry_at: at(3) };
        let State::Failed { error_message, .. } = state.apply(event).unwrap() else { panic!("not failed") };
        assert_eq!(error_message, "broken");
    }

    #[test]
    fn what_was_settled_is_known_again_and_nothing_else_is() {
        let outcomes = [
            Outcome::Completed { output: "done".to_owned() },
            Outcome::Completed { output: "other".to_owned() },
            failed("no", true),
            failed("no", false),
            failed("other", true),
        ];
        for max_attempts in [1, 2] {
            for outcome in &outcomes {
                let lost = State::new(max_attempts, None).apply(Event::Claim { at: at(1) }).unwrap();
                let lost = lost.apply(Event::LoseLease { fence: 1, at: at(2), retry_at: at(2) }).unwrap();
                assert!(!lost.was_settled(1, outcome, false), "{outcome:?}");
                let State::Pending { .. } = lost else { continue };
                let running = lost.apply(Event::Claim { at: at(3) }).unwrap();
                assert!(!running.was_settled(2, outcome, false));
                let settle = Event::Settle { fence: 2, at: at(4), outcome: outcome.clone(), retry_at: at(5) };
                let settled = running.apply(settle).unwrap();
                for other in &outcomes {
                    assert_eq!(settled.was_settled(2, other, false), outcome == other, "{outcome:?} {other:?}");
                    assert!(!settled.was_settled(1, other, true), "an older token is stale");
                }
            }
        }
        let state = State::new(2, None).apply(Event::Claim { at: at(1) }).unwrap();
        let settle = Event::Settle { fence: 1, at: at(2), outcome: failed("no", true), retry_at: at(3) };
        let pending = state.apply(settle).unwrap();
        assert!(pending.was_settled(1, &failed("no", true), true));
        assert!(!pending.was_settled(1, &failed("no", true), false), "the history records another end");
        assert!(!pending.was_settled(1, &failed("no", false), true));
        let again = pending.apply(Event::Claim { at: at(3) }).unwrap();
        assert!(!again.was_settled(1, &failed("no", true), true), "a later token was given out");
    }

    #[test]
    fn an_error_message_is_there_and_bounded() {
        let end = |message: &str| {
            let state = State::new(1, None).apply(Event::Claim { at: at(1) }).unwrap();
            let event = Event::Settle { fence: 1, at: at(2), outcome: failed(message, false), retry_at: at(3) };
            let State::Failed { error_message, .. } = state.apply(event).unwrap() else { panic!("not failed") };
            error_message
        };
        assert_eq!(end(""), "failed without a message");
        let long = end(&"é".repeat(10_000));
        assert!(long.len() < MAX_ERROR_BYTES + 64 && long.ends_with("é… (20000 bytes in all)"), "{long}");
    }

    #[test]
    fn a_release_charges_no_attempt_but_moves_the_fence_on() {
        let state = State::new(1, None).apply(Event::Claim { at: at(1) }).unwrap();
        let state = state.apply(Event::Release { fence: 1, due_at: None }).unwrap();
        assert_eq!(state, State::new(1, None).with_fence(1));
        assert!(state.was_released(1, true) && !state.was_released(1, false) && !state.was_released(2, true));
        let again = state.apply(Event::Claim { at: at(2) }).unwrap();
        assert_eq!(again.progress(), Progress { attempts: 1, max_attempts: 1, fence: 2 });
        assert!(!again.was_released(1, true), "a later token was given out");
        assert_eq!(again.clone().apply(Event::Release { fence: 1, due_at: None }), Err(Refusal::StaleLease));
        let later = again.apply(Event::Release { fence: 2, due_at: Some(at(9)) }).unwrap();
        assert_eq!(later.clone().apply(Event::Claim { at: at(8) }), Err(Refusal::NotDue));
        assert_eq!(later.apply(Event::Claim { at: at(9) }).unwrap().progress().attempts, 1);
    }

    #[test]
    fn cancel_ends_what_waits_and_asks_what_runs() {
        let State::Failed { error_message, .. } = State::new(1, None).apply(Event::Cancel { at: at(1) }).unwrap()
        else {
            panic!("not failed")
        };
        assert_eq!(error_message, "cancelled");
        let running = State::new(5, None).apply(Event::Claim { at: at(1) }).unwrap();
        let asked = running.apply(Event::Cancel { at: at(2) }).unwrap();
        let event = Event::Settle { fence: 1, at: at(3), outcome: failed("stopped", true), retry_at: at(4) };
        let State::Failed { error_message, .. } = asked.apply(event).unwrap() else { panic!("not failed") };
        assert_eq!(error_message, "cancelled");
    }

    #[test]
    fn what_was_asked_to_stop_and_did_not_is_ended() {
        let running = State::new(5, None).apply(Event::Claim { at: at(1) }).unwrap();
        let overdue = Event::CancelOverdue { fence: 1, at: at(9) };
        assert_eq!(
            running.clone().apply(overdue.clone()),
            Err(Refusal::WrongStatus(Status::Running)),
            "nobody cancelled it"
        );
        let asked = running.apply(Event::Cancel { at: at(2) }).unwrap();
        assert_eq!(
            asked.clone().apply(Event::Cancel { at: at(3) }),
            Ok(asked.clone()),
            "a second cancellation changes nothing"
        );
        assert_eq!(asked.clone().apply(Event::CancelOverdue { fence: 2, at: at(9) }), Err(Refusal::StaleLease));
        let ended = asked.apply(overdue).unwrap();
        let late = Outcome::Completed { output: "late".to_owned() };
        let event = Event::Settle { fence: 1, at: at(10), outcome: late, retry_at: at(10) };
        assert_eq!(ended.clone().apply(event), Err(Refusal::StaleLease));
        let State::Failed { error_message, finished_at, .. } = ended else { panic!("not failed") };
        assert_eq!((error_message.as_str(), finished_at), ("cancelled", at(9)));
    }

    #[test]
    fn only_what_has_ended_may_be_removed() {
        let pending = State::new(1, None);
        assert_eq!(pending.check_removal(), Err(Refusal::WrongStatus(Status::Pending)));
        let running = pending.clone().apply(Event::Claim { at: at(1) }).unwrap();
        assert_eq!(running.check_removal(), Err(Refusal::WrongStatus(Status::Running)));
        assert_eq!(pending.apply(Event::Cancel { at: at(1) }).unwrap().check_removal(), Ok(()));
    }

    impl State {
        fn with_fence(self, fence: u64) -> State {
            match self {
                State::Pending { mut progress, started_at, due_at } => {
                    progress.fence = fence;
                    State::Pending { progress, started_at, due_at }
                }
                other => other,
            }
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let fence = 0..6u64;
        let outcome = prop_oneof![
            Just(Outcome::Completed { output: "o".to_owned() }),
            any::<bool>().prop_map(|retryable| failed("e", retryable)),
        ];
        prop_oneof![
            4 => (0..100i64).prop_map(|t| Event::Claim { at: at(t) }),
            4 => (fence.clone(), 0..100i64, outcome, 0..100i64).prop_map(|(fence, t, outcome, r)| Event::Settle {
                fence, at: at(t), outcome, retry_at: at(r),
            }),
            1 => (fence.clone(), 0..100i64).prop_map(|(fence, t)| Event::LoseLease { fence, at: at(t), retry_at: at(t) }),
            1 => (fence, proptest::option::of(0..100i64))
                .prop_map(|(fence, due)| Event::Release { fence, due_at: due.map(at) }),
            1 => (0..100i64).prop_map(|t| Event::Cancel { at: at(t) }),
            1 => (0..6u64, 0..100i64).prop_map(|(fence, t)| Event::CancelOverdue { fence, at: at(t) }),
            1 => Just(Event::Retry),
        ]
    }

    proptest! {
        #[test]
        fn every_sequence_of_events_keeps_the_invariants(
            max_attempts in 1..4u32,
            events in proptest::collection::vec(any_event(), 0..40),
        ) {
            let mut state = State::new(max_attempts, None);
            for event in events {
                let before = state.clone();
                let Ok(after) = before.clone().apply(event.clone()) else { continue };
                let (was, is) = (before.progress(), after.progress());
                // Fencing: the token grows by exactly one with a claim and stays the same otherwise.
                let claimed = matches!(event, Event::Claim { .. });
                prop_assert_eq!(is.fence, was.fence + u64::from(claimed));
                // Attempts: the number is within bounds, and only an orderly release reduces it.
                prop_assert!(is.attempts <= is.max_attempts);
                let released = matches!(event, Event::Release { .. });
                prop_assert!(is.attempts >= was.attempts || released);
                // Only the holder of the current token ends an attempt.
                if let Event::Settle { fence, .. }
                | Event::LoseLease { fence, .. }
                | Event::Release { fence, .. }
                | Event::CancelOverdue { fence, .. } = event
                {
                    prop_assert_eq!(before.status(), Status::Running);
                    prop_assert_eq!(fence, was.fence);
                }
                // Terminal states are final.
                if before.status().is_terminal() {
                    prop_assert_eq!(before.status(), Status::Failed);
                    prop_assert!(event == Event::Retry);
                }
                if let State::Failed { error_message, .. } = &after {
                    prop_assert!(!error_message.is_empty());
                }
                state = after;
            }
        }
    }
}
