//! Promises about several operations: idempotency keys, retention, labels, schedules, the change log.

use std::collections::{BTreeMap, BTreeSet};

use operations::OperationId;

use super::judge::ensure;
use super::record::{Asked, Record};
use super::{EVERY, RETAIN_FOR, TICK};

/// Between the end that counts for retention, which each server reads from the clock, and what the change log says of
/// it, the clock may have been moved a few times.
const SLACK: std::time::Duration = std::time::Duration::from_secs(30);

/// Whether its retention was over when it was removed.
pub fn was_over(record: &Record, id: OperationId, asked: Option<&Asked>) -> bool {
    let Some(retain_for) = asked.and_then(|asked| asked.new.retain_for) else { return false };
    let told: Vec<_> = record.feed.iter().filter(|told| told.id == id).collect();
    match told.as_slice() {
        [.., end, removal] if removal.status.is_none() => removal.at >= end.at.after(retain_for.saturating_sub(SLACK)),
        _ => false,
    }
}

/// What is wrong, if anything is.
pub fn judge(record: &Record) -> Result<(), String> {
    keys(record)?;
    retention(record)?;
    details(record)?;
    schedule(record)?;
    let followed = record.followed.lock().unwrap();
    let is_same = followed.as_ref().is_none_or(|followed| *followed == record.feed);
    ensure(is_same, "a reader that followed the change log did not get the same as one that read it afterwards")
}

/// Of the calls with one idempotency key one creates, and all get the same answer.
fn keys(record: &Record) -> Result<(), String> {
    let mut answers: BTreeMap<String, Vec<OperationId>> = BTreeMap::new();
    for (key, answer) in record.keyed.lock().unwrap().iter() {
        let first = answers.entry(key.clone()).or_insert_with(|| answer.clone());
        if first != answer {
            return Err(format!("calls with the idempotency key {key} were answered {first:?} and {answer:?}"));
        }
    }
    let asked = record.asked.lock().unwrap();
    let mut made: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for told in &record.feed {
        if let Some((key, call)) = asked.get(&told.id).and_then(|asked| asked.call.as_ref()) {
            made.entry(key).or_default().insert(*call);
        }
    }
    match made.into_iter().find(|(_, calls)| calls.len() > 1) {
        Some((key, calls)) => Err(format!("the calls {calls:?} with the idempotency key {key} all created")),
        None => Ok(()),
    }
}

/// An operation whose retention is over is not there: the store was read when all times were over.
fn retention(record: &Record) -> Result<(), String> {
    let asked = record.asked.lock().unwrap();
    let is_over = |id: &OperationId| asked.get(id).is_some_and(|asked| asked.new.retain_for == Some(RETAIN_FOR));
    match record.operations.iter().find(|operation| is_over(&operation.id)) {
        Some(operation) => Err(format!("{} is kept longer than it is to be", operation.id)),
        None => Ok(()),
    }
}

/// Operations have what they were given, and are found by it.
fn details(record: &Record) -> Result<(), String> {
    let asked = record.asked.lock().unwrap();
    let mut labelled: BTreeMap<String, BTreeSet<OperationId>> = BTreeMap::new();
    for detail in &record.details {
        let id = detail.operation.id;
        let Some(Asked { new, .. }) = asked.get(&id) else { continue };
        let is_as_asked = (&detail.labels, &detail.unique_key, &detail.concurrency, detail.priority)
            == (&new.labels, &new.unique_key, &new.concurrency, new.priority);
        if !is_as_asked {
            return Err(format!("{id} is not what was requested: {detail:?}"));
        }
        if let Some(n) = detail.labels.get("n") {
            labelled.entry(n.clone()).or_default().insert(id);
        }
    }
    for (n, found) in &record.labelled {
        let (number, found) = (found.len(), found.iter().copied().collect::<BTreeSet<_>>());
        let expected = labelled.remove(n).unwrap_or_default();
        if number != expected.len() || found != expected {
            return Err(format!("by the label n={n} are found {found:?}, and {expected:?} have it"));
        }
    }
    Ok(())
}

/// Each due time of the schedule created one operation.
fn schedule(record: &Record) -> Result<(), String> {
    let Some((schedule, now)) = &record.schedule else { return Ok(()) };
    let made = record.operations.iter().filter(|operation| operation.kind == TICK).count() as i64;
    let every = i64::try_from(EVERY.as_millis()).unwrap();
    let due = (now.as_millis() - schedule.anchor.as_millis()) / every;
    if made == due && schedule.passed_over.is_none() {
        return Ok(());
    }
    Err(format!("of {due} due times {made} created an operation: {schedule:?}"))
}
