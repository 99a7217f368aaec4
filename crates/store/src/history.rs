//! What happened to an operation: taken from its row as far as possible, and from notes of what the row does not
//! record.

use std::fmt;
use std::str::FromStr;

use operations::{Event, Operation, Outcome, State, Status, Timestamp};

use crate::seal::is_sealed;

/// Progress texts that are kept of an operation: the newest.
pub const MAX_PROGRESS_NOTES: u32 = 100;
/// Notes of all sorts that are kept of an operation, in addition to what its row records. When there are more, progress
/// is removed first, and within a sort the oldest. So a worker that claims and releases the same operation forever
/// makes no endless history.
pub const MAX_NOTES: u32 = 500;
/// The most bytes of a text in a history. It is for people.
const MAX_NOTE_BYTES: usize = 4 * 1024;

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HistoryKind {
    /// The operation was created.
    Created,
    /// An attempt was started.
    AttemptStarted,
    /// The worker of the attempt reported its progress.
    Progress,
    /// Somebody asked the attempt to stop.
    CancelRequested,
    /// The attempt failed, and there will be another one.
    AttemptFailed,
    /// The worker of the attempt sent no heartbeat in time, and there will be another attempt.
    AttemptLost,
    /// The worker released the attempt in good order; it is not charged.
    AttemptReleased,
    /// The operation ended with an output.
    Completed,
    /// The operation ended with an error.
    Failed,
    /// Somebody wanted the failed operation tried again.
    Retried,
}

/// Something that happened to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: HistoryKind,
    /// Which attempt it belongs to, 1 for the first; 0 for none.
    pub attempt: u32,
    /// The worker of the attempt, or empty.
    pub worker: String,
    /// A progress, or why something failed; else empty.
    pub message: String,
}

/// The position where a page of a history ends. Events that come later, and the removal of old ones, do not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace {
    at: Timestamp,
    attempt: u32,
    kind: HistoryKind,
    /// Which of several events that are otherwise alike, 0 for the first.
    nth: u32,
}

/// The text is not a position in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the next_page_token of an answer")]
pub struct InvalidHistoryPlace;

impl fmt::Display for HistoryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.at.as_millis(), self.attempt, self.kind as u8, self.nth)
    }
}

impl FromStr for HistoryPlace {
    type Err = InvalidHistoryPlace;

    fn from_str(text: &str) -> Result<HistoryPlace, InvalidHistoryPlace> {
        let parts: Vec<&str> = text.split('.').collect();
        let [at, attempt, kind, nth] = parts[..] else { return Err(InvalidHistoryPlace) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| InvalidHistoryPlace);
        let kind = usize::try_from(number(kind)?).ok().and_then(|kind| HistoryKind::ALL.get(kind));
        let place = HistoryPlace {
            at: Timestamp::from_millis(at.parse().map_err(|_| InvalidHistoryPlace)?),
            attempt: number(attempt)?,
            kind: *kind.ok_or(InvalidHistoryPlace)?,
            nth: number(nth)?,
        };
        // One spelling each.
        if place.to_string() == text { Ok(place) } else { Err(InvalidHistoryPlace) }
    }
}

/// A part of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Oldest first.
    pub events: Vec<HistoryEvent>,
    /// Where the next page begins, if there is one.
    pub next: Option<HistoryPlace>,
}

impl HistoryPage {
    /// The first `size` events of a whole history after a place, or from the beginning.
    pub fn of(history: Vec<HistoryEvent>, after: Option<HistoryPlace>, size: usize) -> HistoryPage {
        let (mut events, mut next, mut last) = (Vec::new(), None, None::<HistoryPlace>);
        for event in history {
            let HistoryEvent { at, kind, attempt, .. } = event;
            let nth = match last {
                Some(last) if (last.at, last.attempt, last.kind) == (at, attempt, kind) => last.nth + 1,
                _ => 0,
            };
            let place = HistoryPlace { at, attempt, kind, nth };
            if after.is_none_or(|after| place > after) {
                if events.len() == size {
                    return HistoryPage { events, next };
                }
                events.push(event);
                next = Some(place);
            }
            last = Some(place);
        }
        HistoryPage { events, next: None }
    }
}

/// What a store keeps of something that the row does not record, or is about to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) at: Timestamp,
    pub(crate) kind: HistoryKind,
    pub(crate) attempt: u32,
    pub(crate) worker: String,
    /// When the attempt that ended was started.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) message: String,
}

impl HistoryKind {
    /// All, in their order.
    const ALL: [HistoryKind; 10] = [
        HistoryKind::Created,
        HistoryKind::AttemptStarted,
        HistoryKind::Progress,
        HistoryKind::CancelRequested,
        HistoryKind::AttemptFailed,
        HistoryKind::AttemptLost,
        HistoryKind::AttemptReleased,
        HistoryKind::Completed,
        HistoryKind::Failed,
        HistoryKind::Retried,
    ];

    /// The number that stores keep; `None` for what rows record.
    pub(crate) const fn number(self) -> Option<u8> {
        match self {
            HistoryKind::AttemptFailed => Some(1),
            HistoryKind::AttemptLost => Some(2),
            HistoryKind::AttemptReleased => Some(3),
            HistoryKind::Progress => Some(4),
            HistoryKind::CancelRequested => Some(5),
            HistoryKind::Retried => Some(6),
            HistoryKind::Failed => Some(7),
            HistoryKind::Created | HistoryKind::AttemptStarted | HistoryKind::Completed => None,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<HistoryKind> {
        use HistoryKind::{AttemptFailed, AttemptLost, AttemptReleased, CancelRequested, Failed, Progress, Retried};
        let kinds = [AttemptFailed, AttemptLost, AttemptReleased, Progress, CancelRequested, Retried, Failed];
        kinds.into_iter().find(|kind| kind.number().map(i64::from) == Some(number))
    }
}

/// The text, cut at a character's end where it is too long.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NOTE_BYTES)]
}

/// A text as it is stored, not too long. A sealed one stays whole: it was cut before it was sealed.
pub(crate) fn bounded(text: &str) -> &str {
    if is_sealed(text) { text } else { cut(text) }
}

/// The note of an event that ended an attempt and not its operation. The store adds the worker.
pub(crate) fn note(now: Timestamp, event: &Event, before: &State, after: &State) -> Option<Note> {
    let (State::Running { progress, started_at, .. }, State::Pending { .. }) = (before, after) else { return None };
    let (at, kind, message) = match event {
        Event::Settle { at, outcome: Outcome::Failed { message, .. }, .. } => {
            (*at, HistoryKind::AttemptFailed, bounded(message))
        }
        Event::LoseLease { at, .. } => (*at, HistoryKind::AttemptLost, ""),
        Event::Release { .. } => (now, HistoryKind::AttemptReleased, ""),
        _ => return None,
    };
    Some(Note {
        at,
        kind,
        attempt: progress.attempts,
        worker: String::new(),
        started_at: Some(*started_at),
        message: message.to_owned(),
    })
}

/// The notes of a command. `worker` made the last attempt of an operation that has ended.
pub(crate) fn steering_notes(now: Timestamp, before: &State, after: &State, worker: &str) -> Vec<Note> {
    let note = |at, kind, worker: &str, started_at, message: &str| Note {
        at,
        kind,
        attempt: before.progress().attempts,
        worker: worker.to_owned(),
        started_at,
        message: bounded(message).to_owned(),
    };
    match (before, after) {
        (State::Running { cancel_requested: false, .. }, State::Running { .. }) => {
            vec![note(now, HistoryKind::CancelRequested, "", None, "")]
        }
        // The row is about to forget this end. Without a worker, the attempt that was started last is noted already.
        (State::Failed { started_at, finished_at, error_message, .. }, State::Pending { .. }) => {
            let started_at = started_at.filter(|_| !worker.is_empty());
            vec![
                note(*finished_at, HistoryKind::Failed, worker, started_at, error_message),
                note(now, HistoryKind::Retried, "", None, ""),
            ]
        }
        _ => Vec::new(),
    }
}

/// The whole history, oldest first. `attempts` and `worker` are those of the row: of the attempt under way, or of the
/// last one of an operation that has ended; an empty worker means that there is none.
pub(crate) fn assemble(operation: &Operation, attempts: u32, worker: &str, notes: Vec<Note>) -> Vec<HistoryEvent> {
    let event = |at, kind, attempt, worker: &str, message: &str| HistoryEvent {
        at,
        kind,
        attempt,
        worker: worker.to_owned(),
        message: message.to_owned(),
    };
    let mut events = vec![event(operation.created_at, HistoryKind::Created, 0, "", "")];
    // The notes are read a moment later than the row, so they may have the end of an attempt that the row shows as
    // under way.
    let is_noted = notes.iter().any(|note| note.attempt == attempts && note.started_at == operation.started_at);
    if let Some(started_at) = operation.started_at.filter(|_| !worker.is_empty() && !is_noted) {
        events.push(event(started_at, HistoryKind::AttemptStarted, attempts, worker, ""));
    }
    // They may also have an end that was the last one when the row was read.
    let end_is_noted = notes.iter().any(|note| {
        note.kind == HistoryKind::Failed && note.attempt == attempts && Some(note.at) == operation.finished_at
    });
    for note in notes {
        if let Some(started_at) = note.started_at {
            events.push(event(started_at, HistoryKind::AttemptStarted, note.attempt, &note.worker, ""));
        }
        events.push(event(note.at, note.kind, note.attempt, &note.worker, &note.message));
    }
    let end = match operation.status {
        Status::Completed => Some(HistoryKind::Completed),
        Status::Failed if !end_is_noted => Some(HistoryKind::Failed),
        Status::Failed | Status::Pending | Status::Running => None,
    };
    if let (Some(kind), Some(at)) = (end, operation.finished_at) {
        events.push(event(at, kind, attempts, worker, &operation.error_message));
    }
    // Kinds are in the order in which they happen within an attempt.
    events.sort_by_key(|event| (event.at, event.attempt, event.kind));
    events
}

#[cfg(test)]
mod tests {
    use operations::NewOperation;

    use super::*;

    #[test]
    fn pages_bring_every_event_once_whatever_is_alike() {
        assert!(HistoryKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
        let event = |millis, kind, message: &str| HistoryEvent {
            at: Timestamp::from_millis(millis),
            kind,
            attempt: 1,
            worker: String::new(),
            message: message.to_owned(),
        };
        let mut history: Vec<HistoryEvent> = (0..5).map(|n| event(7, HistoryKind::Progress, &n.to_string())).collect();
        history.push(event(9, HistoryKind::AttemptLost, ""));
        for size in 1..8 {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = HistoryPage::of(history.clone(), after, size);
                assert!(page.events.len() <= size);
                found.extend(page.events);
                let Some(next) = page.next else { break };
                after = Some(next.to_string().parse().expect("it comes back"));
            }
            assert_eq!(found, history);
        }
        for bad in ["", "7", "7.1.2", "7.1.2.0.0", "7.1.10.0", "7.1.02.0", "+7.1.2.0", "7.1.-2.0", "x.1.2.0"] {
            assert_eq!(bad.parse::<HistoryPlace>(), Err(InvalidHistoryPlace), "{bad}");
        }
    }

    #[test]
    fn a_history_is_told_in_order() {
        let at = Timestamp::from_millis;
        let note = |millis, kind, attempt, started: Option<i64>, message: &str| Note {
            at: at(millis),
            kind,
            attempt,
            worker: "w".to_owned(),
            started_at: started.map(at),
            message: message.to_owned(),
        };
        let operation = Operation {
            status: Status::Failed,
            started_at: Some(at(30)),
            finished_at: Some(at(40)),
            error_message: "broken".to_owned(),
            ..NewOperation::of_kind("scan").to_operation(at(0))
        };
        let notes = vec![
            note(10, HistoryKind::Progress, 1, None, "half"),
            note(20, HistoryKind::AttemptFailed, 1, Some(10), "no luck"),
            note(30, HistoryKind::Progress, 2, None, "again"),
        ];
        let found: Vec<_> = assemble(&operation, 2, "v", notes)
            .into_iter()
            .map(|event| (event.at.as_millis(), event.kind, event.attempt, event.worker, event.message))
            .collect();
        let expected = [
            (0, HistoryKind::Created, 0, "", ""),
            (10, HistoryKind::AttemptStarted, 1, "w", ""),
            (10, HistoryKind::Progress, 1, "w", "half"),
            (20, HistoryKind::AttemptFailed, 1, "w", "no luck"),
            (30, HistoryKind::AttemptStarted, 2, "v", ""),
            (30, HistoryKind::Progress, 2, "w", "again"),
            (40, HistoryKind::Failed, 2, "v", "broken"),
        ]
        .map(|(at, kind, attempt, worker, message)| (at, kind, attempt, worker.to_owned(), message.to_owned()));
        assert_eq!(found, expected);
    }
}
