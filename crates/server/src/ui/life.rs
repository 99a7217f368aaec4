//! The life of an operation: what happened when, as a bar and as a list.

use operations::{Operation, Timestamp};
use store::{HistoryEvent, HistoryKind};

use super::format::{When, duration, short};

/// A part of its life, as a part of a bar.
pub(super) struct Phase {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) took: String,
    pub(super) millis: i64,
    /// Its beginning and width, in thousandths of the bar.
    pub(super) x: u64,
    pub(super) width: u64,
}

pub(super) struct Line {
    pub(super) at: When,
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) attempt: u32,
    pub(super) worker: String,
    pub(super) message: String,
}

/// The phases of its life: waiting, then attempts and the time between them.
pub(super) fn phases(operation: &Operation, history: &[HistoryEvent], now: Timestamp) -> Vec<Phase> {
    let begin = operation.created_at.as_millis();
    let end = operation.finished_at.unwrap_or(now).as_millis().max(begin + 1);
    // Each event that changes the state of the operation; the times between them are the phases.
    let mut marks: Vec<(i64, (&'static str, &'static str))> = vec![(begin, ("waited", "Waited"))];
    for event in history {
        let what = match event.kind {
            HistoryKind::AttemptStarted => ("ran", "Ran"),
            HistoryKind::AttemptFailed | HistoryKind::AttemptLost | HistoryKind::AttemptReleased => {
                ("waited", "Waited again")
            }
            HistoryKind::Retried => ("waited", "Waited again"),
            // Ended, until it was retried.
            HistoryKind::Completed | HistoryKind::Failed => ("ended", "Had ended"),
            _ => continue,
        };
        marks.push((event.at.as_millis().clamp(begin, end), what));
    }
    let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([end]).collect::<Vec<_>>();
    let scale = |at: i64| ((at - begin).unsigned_abs() * 1_000) / (end - begin).unsigned_abs();
    let phases = marks.iter().zip(ends).map(|((from, (class, name)), to)| Phase {
        class,
        name,
        took: duration(to - from),
        millis: to - from,
        x: scale(*from),
        width: scale(to) - scale(*from),
    });
    phases.collect()
}

pub(super) fn line(event: &HistoryEvent, now: Timestamp) -> Line {
    let (class, name) = match event.kind {
        HistoryKind::Created => ("pending", "Created"),
        HistoryKind::AttemptStarted => ("running", "Attempt started"),
        HistoryKind::Progress => ("running", "Progress"),
        HistoryKind::CancelRequested => ("cancelled", "Cancellation requested"),
        HistoryKind::AttemptFailed => ("failed", "Attempt failed"),
        HistoryKind::AttemptLost => ("failed", "Attempt lost"),
        HistoryKind::AttemptReleased => ("pending", "Attempt released"),
        HistoryKind::Completed => ("completed", "Completed"),
        HistoryKind::Failed => ("failed", "Failed"),
        HistoryKind::Retried => ("pending", "Retried"),
    };
    let HistoryEvent { at, attempt, worker, message, .. } = event;
    Line {
        at: When::new(*at, now),
        class,
        name,
        attempt: *attempt,
        worker: worker.clone(),
        message: short(message, 2_000),
    }
}
