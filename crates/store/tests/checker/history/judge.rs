//! Checks a record against the promises.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use operations::{Operation, OperationId, Status};

use super::linear;
use super::promises;
use super::record::{Answer, Asked, Call, Record, Seen};

/// What is known of one operation.
#[derive(Default)]
struct Life<'r> {
    calls: Vec<&'r Call>,
    feed: Vec<Option<Status>>,
    last: Option<&'r Operation>,
    /// What its creation requested, if a caller made it.
    asked: Option<&'r Asked>,
    /// How many attempts the store says it was charged.
    attempts: Option<u32>,
    /// How many of its attempts may have been released without a request of a worker.
    unheard: usize,
    /// Retention removed it, and was allowed to.
    was_over: bool,
}

/// What is wrong, if anything is.
pub fn judge(record: &Record) -> Result<(), String> {
    let (calls, asked) = (record.calls(), record.asked.lock().unwrap());
    let mut lives: BTreeMap<OperationId, Life> = BTreeMap::new();
    for call in &calls {
        lives.entry(call.id).or_default().calls.push(call);
    }
    for told in &record.feed {
        lives.entry(told.id).or_default().feed.push(told.status);
    }
    for operation in &record.operations {
        if lives.entry(operation.id).or_default().last.replace(operation).is_some() {
            return Err(format!("{} is listed twice", operation.id));
        }
    }
    for detail in &record.details {
        lives.entry(detail.operation.id).or_default().attempts = Some(detail.attempts);
    }
    for (id, life) in &mut lives {
        life.asked = asked.get(id);
        life.unheard = record.unheard.get(id).copied().unwrap_or_default();
        life.was_over = promises::was_over(record, *id, life.asked);
        let wrong = [
            life.path(),
            life.end(),
            life.outcome(),
            life.counts(),
            life.claims(),
            life.fencing(),
            life.charges(),
            life.cancellation(),
            linear::judge(&life.calls, &life.feed, life.asked),
        ];
        if let Some(wrong) = wrong.into_iter().find_map(Result::err) {
            return Err(format!(
                "{id} {wrong}: the change log has {:?}, it is {:?}, after {:#?}",
                life.feed, life.last, life.calls
            ));
        }
    }
    drop(asked);
    totals(record)?;
    promises::judge(record)
}

/// The totals of the list are those of what it lists.
fn totals(record: &Record) -> Result<(), String> {
    let mut counted = [record.operations.len() as u64, 0, 0, 0, 0];
    for operation in &record.operations {
        counted[usize::from(operation.status.number())] += 1;
    }
    if counted == record.totals {
        Ok(())
    } else {
        Err(format!("{counted:?} are listed, counts say {:?}", record.totals))
    }
}

pub fn ensure(holds: bool, wrong: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong.to_owned()) }
}

impl<'r> Life<'r> {
    fn number(&self, is: impl Fn(&Seen) -> bool) -> usize {
        self.calls.iter().filter(|call| is(&call.seen)).count()
    }

    /// The change log has each transition once and in order: there is a path through the states that produces it.
    fn path(&self) -> Result<(), String> {
        use Status::{Completed, Failed, Pending, Running};
        ensure(self.feed.first() == Some(&Some(Pending)), "does not begin by its creation")?;
        let allowed = |pair: &[Option<Status>]| match (pair[0], pair[1]) {
            (Some(Pending), after) => matches!(after, Some(Running | Failed)),
            (Some(Running), after) => matches!(after, Some(Pending | Completed | Failed)),
            (Some(Failed), after) => matches!(after, Some(Pending) | None),
            (Some(Completed), after) => after.is_none(),
            (None, _) => false,
        };
        ensure(self.feed.windows(2).all(allowed), "made a transition that does not exist")
    }

    /// Nothing is lost and nothing is stuck: it has ended and exists, or a caller removed it.
    fn end(&self) -> Result<(), String> {
        match (self.feed.last().copied().flatten(), self.last) {
            (None, Some(_)) => Err("was removed and is there".to_owned()),
            (None, None) => {
                let deleted = |seen: &Seen| matches!(seen, Seen::Deleted(Answer::Accepted(()) | Answer::Unknown));
                ensure(self.was_over || self.number(deleted) > 0, "is gone, and nobody deleted it")
            }
            (Some(_), None) => Err("is lost".to_owned()),
            (Some(status), Some(operation)) => {
                ensure(operation.status == status, "is not what it became last")?;
                ensure(status.is_terminal() && operation.finished_at.is_some(), "is stuck")
            }
        }
    }

    /// The recorded outcome is what one worker said; if a worker was answered that it completed it, that worker's.
    fn outcome(&self) -> Result<(), String> {
        let said = |wanted: fn(&Answer<Status>) -> bool| {
            let texts = self.calls.iter().filter_map(move |call| match &call.seen {
                Seen::Settled { text, answer, .. } if wanted(answer) => Some(text.as_str()),
                _ => None,
            });
            texts.collect::<BTreeSet<_>>()
        };
        let completed = said(|answer| *answer == Answer::Accepted(Status::Completed));
        ensure(completed.len() <= 1, "has two outcomes")?;
        let Some(operation) = self.last else { return Ok(()) };
        if let Some(text) = completed.first() {
            ensure(operation.status == Status::Completed && operation.output == *text, "is not as it was completed")?;
        }
        if operation.status == Status::Completed {
            let perhaps = said(|answer| matches!(answer, Answer::Unknown));
            let output = operation.output.as_str();
            ensure(completed.contains(output) || perhaps.contains(output), "has an outcome that nobody brought")?;
        }
        Ok(())
    }

    /// Every end and every retry that was answered is in the change log.
    fn counts(&self) -> Result<(), String> {
        let told = |status| self.feed.iter().filter(|told| **told == Some(status)).count();
        let failed = self.number(|seen| {
            let failed = Answer::Accepted(Status::Failed);
            matches!(seen, Seen::Settled { answer, .. } | Seen::Cancelled(answer) if *answer == failed)
        });
        ensure(told(Status::Failed) >= failed, "failed more often than the change log has it")?;
        let claimed = self.number(|seen| matches!(seen, Seen::Claimed(_)));
        ensure(told(Status::Running) >= claimed, "was claimed more often than the change log has it")?;
        let back = |pair: &&[Option<Status>]| *pair == [Some(Status::Failed), Some(Status::Pending)];
        let retried = self.feed.windows(2).filter(back).count();
        let least = self.number(|seen| *seen == Seen::Retried(Answer::Accepted(())));
        let most = least + self.number(|seen| *seen == Seen::Retried(Answer::Unknown));
        ensure((least..=most).contains(&retried), "was retried more or less often than was requested")
    }

    /// Each attempt is charged except those that were released, and no more are made than may be.
    fn charges(&self) -> Result<(), String> {
        let Some(attempts) = self.attempts else { return Ok(()) };
        let started = self.feed.iter().filter(|told| **told == Some(Status::Running)).count();
        let back = |wanted: fn(&Answer<()>) -> bool| {
            self.number(|seen| matches!(seen, Seen::Released { answer, .. } if wanted(answer)))
        };
        let most_back = back(|answer| *answer != Answer::Refused) + self.unheard;
        // An operation that was asked to stop is not released, though its worker is answered that it is.
        let is_asked = self.number(|seen| matches!(seen, Seen::Cancelled(answer) if *answer != Answer::Refused)) > 0;
        let least_back = if is_asked { 0 } else { back(|answer| matches!(answer, Answer::Accepted(()))) };
        let charged = started.saturating_sub(most_back)..=started.saturating_sub(least_back);
        ensure(charged.contains(&(attempts as usize)), "was not charged for its attempts")?;
        let Some(asked) = self.asked else { return Ok(()) };
        let back = |pair: &&[Option<Status>]| *pair == [Some(Status::Failed), Some(Status::Pending)];
        let most = asked.new.max_attempts as usize + self.feed.windows(2).filter(back).count();
        ensure(attempts as usize <= most, "was attempted more often than it may be")
    }

    /// A cancelled operation is not started again, unless a caller retries it.
    fn cancellation(&self) -> Result<(), String> {
        for call in &self.calls {
            if !matches!(call.seen, Seen::Cancelled(Answer::Accepted(_))) {
                continue;
            }
            let retried = |other: &&&Call| {
                matches!(other.seen, Seen::Retried(Answer::Accepted(()) | Answer::Unknown))
                    && other.span.until > call.span.from
            };
            let is_retried = self.calls.iter().any(|other| retried(&other));
            let again = |other: &&Call| matches!(other.seen, Seen::Claimed(_)) && call.span.is_before(other.span);
            ensure(is_retried || !self.calls.iter().any(again), "was started after it was cancelled")?;
        }
        Ok(())
    }

    /// Fencing tokens grow, and none is given twice.
    fn claims(&self) -> Result<(), String> {
        let mut fences = HashMap::new();
        for call in &self.calls {
            if let Seen::Claimed(fence) = call.seen {
                ensure(fences.insert(fence, call.span).is_none(), "has a fencing token twice")?;
            }
        }
        for (fence, span) in &fences {
            let grows = fences.iter().all(|(other, later)| !span.is_before(*later) || fence < other);
            ensure(grows, "has a fencing token that does not grow")?;
        }
        Ok(())
    }

    /// A worker that has lost its lease changes nothing: not after a later claim, nor after its attempt has ended.
    fn fencing(&self) -> Result<(), String> {
        let ended = |call: &Call| match &call.seen {
            Seen::Settled { fence, answer: Answer::Accepted(_), .. } => Some(*fence),
            _ => None,
        };
        let mut settled = BTreeSet::new();
        for call in &self.calls {
            let ends = ended(call);
            let fence = match call.seen {
                Seen::Held(fence) => fence,
                _ => match ends {
                    Some(fence) => fence,
                    None => continue,
                },
            };
            for earlier in self.calls.iter().filter(|other| other.span.is_before(call.span)) {
                let claimed = matches!(earlier.seen, Seen::Claimed(later) if later > fence);
                ensure(!claimed, "took something from a worker whose lease was another's")?;
                ensure(
                    ended(earlier).is_none_or(|other| other < fence),
                    "took something of an attempt that had ended",
                )?;
            }
            ensure(ends.is_none_or(|fence| settled.insert(fence)), "took two ends of one attempt")?;
        }
        Ok(())
    }
}

/// A judge that lets everything pass is no judge.
#[cfg(test)]
mod tests {
    use operations::{NewOperation, Timestamp};

    use super::*;
    use crate::history::Told;

    /// An operation that is claimed, completed, and there.
    fn good() -> (Record, OperationId) {
        let at = Timestamp::from_millis(0);
        let mut operation = NewOperation::of_kind("scan").to_operation(at);
        let id = operation.id;
        let record = Record::default();
        record.note(record.begin(), id, Seen::Created);
        record.note(record.begin(), id, Seen::Claimed(1));
        record.note(record.begin(), id, settled(1, Status::Completed));
        (operation.status, operation.output, operation.finished_at) = (Status::Completed, "1".to_owned(), Some(at));
        let feed = [Status::Pending, Status::Running, Status::Completed].map(|status| told(id, Some(status))).to_vec();
        let followed = std::sync::Mutex::new(Some(feed.clone()));
        (Record { feed, followed, operations: vec![operation], totals: [1, 0, 0, 1, 0], ..record }, id)
    }

    fn told(id: OperationId, status: Option<Status>) -> Told {
        Told { id, status, at: Timestamp::from_millis(0) }
    }

    fn settled(fence: u64, status: Status) -> Seen {
        Seen::Settled { fence, text: fence.to_string(), answer: Answer::Accepted(status) }
    }

    fn wrong(change: impl Fn(&mut Record, OperationId), what: &str) {
        let (mut record, id) = good();
        assert_eq!(judge(&record), Ok(()));
        change(&mut record, id);
        let found = judge(&record).unwrap_err();
        assert!(found.contains(what), "{found}, and not: {what}");
    }

    #[test]
    fn broken_promises_are_found() {
        let add = |record: &Record, id, seen| record.note(record.begin(), id, seen);
        wrong(|record, _| record.operations.clear(), "is lost");
        wrong(|record, _| record.totals[0] = 2, "counts say");
        wrong(|record, _| record.operations.push(record.operations[0].clone()), "listed twice");
        wrong(|record, id| record.feed.push(told(id, Some(Status::Completed))), "a transition that does not exist");
        wrong(|record, _| record.feed = record.feed.split_off(1), "does not begin");
        wrong(|record, _| record.feed.truncate(2), "is not what it became last");
        wrong(
            |record, id| {
                record.feed.push(told(id, None));
                record.operations.clear();
            },
            "nobody deleted it",
        );
        wrong(|record, _| record.operations[0].finished_at = None, "is stuck");
        wrong(|record, _| record.operations[0].output = "2".to_owned(), "not as it was completed");
        wrong(|record, id| add(record, id, settled(2, Status::Completed)), "two outcomes");
        wrong(|record, id| add(record, id, settled(1, Status::Completed)), "an attempt that had ended");
        wrong(|record, id| add(record, id, settled(2, Status::Failed)), "failed more often");
        wrong(|record, id| add(record, id, Seen::Held(1)), "an attempt that had ended");
        wrong(|record, id| add(record, id, Seen::Claimed(2)), "was claimed more often");
        wrong(|record, id| add(record, id, Seen::Retried(Answer::Accepted(()))), "was retried more or less");
        let follow = |change: fn(&mut Vec<Told>)| {
            let followed = |record: &mut Record, _| change(record.followed.get_mut().unwrap().as_mut().unwrap());
            wrong(followed, "a reader that followed the change log");
        };
        follow(Vec::clear);
        follow(|followed| followed.truncate(2));
        follow(|followed| *followed = followed.split_off(1));
        let again = |record: &mut Record, id, fence| {
            record.feed.splice(1..1, [told(id, Some(Status::Running)), told(id, Some(Status::Pending))]);
            add(record, id, Seen::Claimed(fence));
        };
        wrong(|record, id| add(record, id, Seen::Cancelled(Answer::Accepted(Status::Running))), "is not as a history");
        wrong(|record, id| add(record, id, Seen::Found), "is not as a history");
        wrong(|record, id| again(record, id, 1), "twice");
        wrong(|record, id| again(record, id, 0), "does not grow");
        wrong(|record, id| add(record, id, Seen::Held(0)), "whose lease was another's");
    }
}
