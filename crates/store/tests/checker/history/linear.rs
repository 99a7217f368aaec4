//! Histories of single operations, judged by a linearizability checker that others wrote (`todc-utils`: the algorithm
//! of Wing and Gong as Lowe extended it). It looks for an order of the calls that keeps to real time, and in which each
//! answer is what an operation by itself would give.
//!
//! Not everything that happens to an operation is a call with an answer: leases run out, claims reach no worker, servers
//! die after a commit. So the state is the set of all states that the operation may be in; what may happen unseen adds
//! to it, and an answer takes away what contradicts it. A call without an answer happens at any time after its
//! beginning, or never.

use std::collections::BTreeSet;

use operations::Status;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use super::judge::ensure;
use super::record::{Answer, Asked, Call, Seen};

/// The state in which one operation may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum At {
    Absent,
    Pending,
    Running { is_asked_to_stop: bool },
    Completed,
    Failed,
    Gone,
}

/// With the fencing token of its latest claim.
type State = (At, u64);

#[derive(Clone, Debug)]
struct Step {
    what: What,
    /// No fencing token of this history is greater.
    most: u64,
    /// It has a unique key, for which a retry may be refused.
    is_unique: bool,
    /// Retention may remove it.
    is_removed: bool,
}

#[derive(Clone, Debug)]
enum What {
    Call(Seen),
    /// In the end it is this, or is not there.
    End(Option<Status>),
}

/// An operation by itself.
struct Life;

impl Specification for Life {
    type State = BTreeSet<State>;
    type Operation = Step;

    fn init() -> BTreeSet<State> {
        [(At::Absent, 0)].into()
    }

    fn apply(step: &Step, states: &BTreeSet<State>) -> (bool, BTreeSet<State>) {
        let after: BTreeSet<State> = step.unseen(states).into_iter().flat_map(|state| step.from(state)).collect();
        if after.is_empty() { (false, states.clone()) } else { (true, after) }
    }
}

impl Step {
    /// The states, and those that they may become without a call that was answered.
    fn unseen(&self, states: &BTreeSet<State>) -> BTreeSet<State> {
        let (mut all, mut new) = (states.clone(), states.iter().copied().collect::<Vec<_>>());
        while let Some((at, fence)) = new.pop() {
            let next: &[State] = match at {
                At::Absent => &[(At::Pending, fence)],
                At::Pending if fence < self.most => &[(At::Running { is_asked_to_stop: false }, fence + 1)],
                At::Running { is_asked_to_stop: false } => &[(At::Pending, fence), (At::Failed, fence)],
                At::Running { is_asked_to_stop: true } => &[(At::Failed, fence)],
                At::Completed | At::Failed if self.is_removed => &[(At::Gone, fence)],
                _ => &[],
            };
            new.extend(next.iter().filter(|state| all.insert(**state)));
        }
        all
    }

    /// What a state may become when the call is answered as it was; nothing if it cannot be.
    fn from(&self, (at, fence): State) -> Vec<State> {
        let is_held = |by: u64| matches!(at, At::Running { .. }) && fence == by;
        let stays = |holds: bool| if holds { vec![(at, fence)] } else { Vec::new() };
        let becomes = |holds: bool, next: At| if holds { vec![(next, fence)] } else { Vec::new() };
        let perhaps = |after: Vec<State>| [vec![(at, fence)], after].concat();
        let is_asked = at == At::Running { is_asked_to_stop: true };
        match &self.what {
            What::End(None) => stays(matches!(at, At::Gone | At::Absent)),
            What::End(Some(Status::Completed)) => stays(at == At::Completed),
            What::End(Some(Status::Failed)) => stays(at == At::Failed),
            What::End(Some(_)) => Vec::new(),
            What::Call(Seen::Created) if at == At::Absent => becomes(true, At::Pending),
            What::Call(Seen::Created) => stays(at != At::Gone),
            What::Call(Seen::Found) => stays(matches!(at, At::Pending | At::Running { .. })),
            What::Call(Seen::Claimed(by)) if at == At::Pending && fence + 1 == *by => {
                vec![(At::Running { is_asked_to_stop: false }, *by)]
            }
            What::Call(Seen::Claimed(_)) => Vec::new(),
            What::Call(Seen::Held(by)) => stays(is_held(*by)),
            What::Call(Seen::Lost(by)) => stays(!is_held(*by)),
            What::Call(Seen::Released { fence: by, answer }) => {
                let given_back = if is_asked { stays(is_held(*by)) } else { becomes(is_held(*by), At::Pending) };
                match answer {
                    Answer::Accepted(()) => given_back,
                    Answer::Refused => stays(!is_held(*by)),
                    Answer::Unknown => perhaps(given_back),
                }
            }
            What::Call(Seen::Settled { fence: by, answer, .. }) => match answer {
                Answer::Accepted(Status::Completed) => becomes(is_held(*by), At::Completed),
                // One that was asked to stop and went on for too long has failed already; its worker gets that answer.
                Answer::Accepted(Status::Failed) => {
                    becomes(is_held(*by) || (at == At::Failed && fence == *by), At::Failed)
                }
                Answer::Accepted(Status::Pending) => becomes(is_held(*by) && !is_asked, At::Pending),
                Answer::Accepted(Status::Running) => Vec::new(),
                Answer::Refused => stays(!is_held(*by)),
                Answer::Unknown if is_held(*by) => {
                    perhaps([At::Completed, At::Failed, At::Pending].map(|next| (next, fence)).to_vec())
                }
                Answer::Unknown => stays(true),
            },
            What::Call(Seen::Cancelled(answer)) => {
                let ended = becomes(at == At::Pending, At::Failed);
                let asked = becomes(matches!(at, At::Running { .. }), At::Running { is_asked_to_stop: true });
                match answer {
                    Answer::Accepted(Status::Failed) => ended,
                    Answer::Accepted(_) => asked,
                    Answer::Refused => stays(matches!(at, At::Completed | At::Failed | At::Gone)),
                    Answer::Unknown => perhaps([ended, asked].concat()),
                }
            }
            What::Call(Seen::Retried(answer)) => {
                let retried = becomes(at == At::Failed, At::Pending);
                match answer {
                    Answer::Accepted(()) => retried,
                    Answer::Refused => stays(at != At::Failed || self.is_unique),
                    Answer::Unknown => perhaps(retried),
                }
            }
            What::Call(Seen::Deleted(answer)) => {
                let has_ended = matches!(at, At::Completed | At::Failed);
                match answer {
                    Answer::Accepted(()) => becomes(has_ended, At::Gone),
                    Answer::Refused => stays(!has_ended),
                    Answer::Unknown => perhaps(becomes(has_ended, At::Gone)),
                }
            }
        }
    }
}

fn is_unanswered(seen: &Seen) -> bool {
    match seen {
        Seen::Released { answer, .. } | Seen::Retried(answer) | Seen::Deleted(answer) => *answer == Answer::Unknown,
        Seen::Settled { answer, .. } | Seen::Cancelled(answer) => *answer == Answer::Unknown,
        Seen::Created | Seen::Found | Seen::Claimed(_) | Seen::Held(_) | Seen::Lost(_) => false,
    }
}

/// Claims in the change log: the fencing tokens go up to this number, including claims that reached no worker.
fn claims(told: &[Option<Status>]) -> u64 {
    told.iter().filter(|told| **told == Some(Status::Running)).count() as u64
}

/// Whether the calls about one operation can have come one after the other, and left it as it is in the end.
pub fn judge(calls: &[&Call], told: &[Option<Status>], asked: Option<&Asked>) -> Result<(), String> {
    let (end, most) = (told.last().copied().flatten(), claims(told));
    let is_unique = asked.is_some_and(|asked| asked.new.unique_key.is_some());
    let is_removed = asked.is_some_and(|asked| asked.new.retain_for.is_some());
    let step = |what| Step { what, most, is_unique, is_removed };
    let mut actions = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let step = step(What::Call(call.seen.clone()));
        // A call without an answer ends with everything else.
        let until = if is_unanswered(&call.seen) { u64::MAX - 2 } else { call.span.until };
        actions.push((call.span.from, place, Action::Call(step.clone())));
        actions.push((until, place, Action::Response(step)));
    }
    let step = step(What::End(end));
    actions.push((u64::MAX - 1, calls.len(), Action::Call(step.clone())));
    actions.push((u64::MAX, calls.len(), Action::Response(step)));
    // At the same time: those of one call, its beginning first.
    actions.sort_by_key(|(time, place, _)| (*time, *place));
    let history = History::from_actions(actions.into_iter().map(|(_, place, action)| (place, action)).collect());
    ensure(WGLChecker::<Life>::is_linearizable(history), "is not as a history of one thing after the other could be")
}
