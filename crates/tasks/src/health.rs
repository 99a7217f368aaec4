//! What a process knows about its tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A task is in trouble when it has not succeeded for this many of its periods.
const MISSED_PERIODS: u32 = 3;
/// But it is not in trouble before this time: a disk that is slow for a moment is no trouble for a task with a short
/// period.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a process knows about its tasks. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// The shortest time without a success that counts as trouble.
    patience: Duration,
    next: u64,
    tasks: BTreeMap<u64, Known>,
    /// By the name of the task. Kept when the task has ended: counters do not decrease.
    restarts: BTreeMap<&'static str, u64>,
    /// The complaints that were made, and until when each of them counts.
    complaints: BTreeMap<&'static str, Instant>,
}

#[derive(Debug)]
struct Known {
    name: &'static str,
    /// How long the task may go without a success; `None` for a task that does not report successes.
    patience: Option<Duration>,
    succeeded: Option<Instant>,
    /// Since when a success is expected; `None` while the task has nothing to do.
    expected: Option<Instant>,
    /// The task broke off and has not been restarted yet.
    is_down: bool,
}

/// What is wrong with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The task broke off, and is about to be restarted.
    Down {
        /// The name of the task.
        task: &'static str,
    },
    /// The task has not completed a round successfully for this long.
    Overdue {
        /// The name of the task.
        task: &'static str,
        /// The time since its last success.
        since: Duration,
    },
    /// Something else that an operator has to fix.
    Complaint(&'static str),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Down { task } => write!(f, "the maintenance task {task} broke off and is about to be restarted"),
            Trouble::Overdue { task, since } => {
                write!(f, "the maintenance task {task} has not completed a round for {} s", since.as_secs())
            }
            Trouble::Complaint(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Trouble {}

/// What is known about the tasks of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskReport {
    /// The name.
    pub task: &'static str,
    /// How often tasks of this name were restarted since the process began.
    pub restarts: u64,
    /// How long ago a task of this name last succeeded; `None` when none did, or none reports successes.
    pub succeeded: Option<Duration>,
}

impl Default for Health {
    fn default() -> Health {
        Health::patient_for(PATIENCE)
    }
}

impl Known {
    fn trouble(&self, now: Instant) -> Option<Trouble> {
        if self.is_down {
            return Some(Trouble::Down { task: self.name });
        }
        let since = now.saturating_duration_since(self.expected?);
        (since > self.patience?).then_some(Trouble::Overdue { task: self.name, since })
    }

    fn succeeded(&mut self, now: Instant) {
        (self.succeeded, self.expected) = (Some(now), Some(now));
    }

    fn expect(&mut self, now: Instant) {
        self.expected.get_or_insert(now);
    }
}

impl Health {
    /// One that allows tasks to go without a success for this long, however short their periods are; the default is 10
    /// s.
    pub fn patient_for(patience: Duration) -> Health {
        let (tasks, restarts, complaints) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Health(Arc::new(Mutex::new(Inner { patience, next: 0, tasks, restarts, complaints })))
    }

    /// Adds a task, for as long as the returned value lives. `period` is the time between two successes that the task
    /// reports when all is well; `None` for a task that reports none.
    pub fn register(&self, name: &'static str, period: Option<Duration>) -> Task {
        let mut inner = self.lock();
        inner.restarts.entry(name).or_default();
        inner.next += 1;
        let id = inner.next;
        let least = inner.patience;
        let patience = period.map(|period| (period * MISSED_PERIODS).max(least));
        let expected = Some(Instant::now());
        inner.tasks.insert(id, Known { name, patience, succeeded: None, expected, is_down: false });
        Task { health: self.clone(), id, name }
    }

    /// What is wrong now; empty when all is well.
    pub fn troubles(&self) -> Vec<Trouble> {
        let (now, inner) = (Instant::now(), self.lock());
        let complaints = inner.complaints.iter().filter(|(_, until)| now < **until);
        let complaints = complaints.map(|(what, _)| Trouble::Complaint(what));
        inner.tasks.values().filter_map(|known| known.trouble(now)).chain(complaints).collect()
    }

    /// Reports a problem that an operator has to fix; it counts as trouble for this long from now on.
    pub fn complain(&self, what: &'static str, time: Duration) {
        self.lock().complaints.insert(what, Instant::now() + time);
    }

    /// All tasks, by name.
    pub fn report(&self) -> Vec<TaskReport> {
        let inner = self.lock();
        let report = |(name, restarts): (&&'static str, &u64)| {
            let of_name = inner.tasks.values().filter(|known| known.name == *name);
            let succeeded = of_name.filter_map(|known| known.succeeded).max().map(|at| at.elapsed());
            TaskReport { task: name, restarts: *restarts, succeeded }
        };
        inner.restarts.iter().map(report).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task in a [`Health`]; once this is dropped, it no longer counts.
#[derive(Debug)]
pub struct Task {
    health: Health,
    id: u64,
    name: &'static str,
}

impl Task {
    /// The name under which it was registered.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Notes that a round succeeded; the next one is expected within the period.
    pub fn succeeded(&self) {
        self.change(|known| known.succeeded(Instant::now()));
    }

    /// Notes that there is nothing to do, until the next call of [`Task::expect`].
    pub fn rest(&self) {
        self.change(|known| known.expected = None);
    }

    /// Notes that there is something to do from now on.
    pub fn expect(&self) {
        self.change(|known| known.expect(Instant::now()));
    }

    pub(crate) fn is_down(&self) {
        self.change(|known| known.is_down = true);
    }

    pub(crate) fn is_restarted(&self) {
        self.change(|known| known.is_down = false);
        *self.health.lock().restarts.entry(self.name).or_default() += 1;
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.health.lock().tasks.get_mut(&self.id) {
            change(known);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.health.lock().tasks.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_trouble_for_its_time() {
        let health = Health::default();
        health.complain("a cable is loose", Duration::ZERO);
        assert_eq!(health.troubles(), []);
        health.complain("a cable is loose", Duration::from_secs(3_600));
        assert_eq!(health.troubles(), [Trouble::Complaint("a cable is loose")]);
        assert_eq!(health.troubles()[0].to_string(), "a cable is loose");
    }

    #[test]
    fn a_task_without_success_for_several_periods_is_in_trouble_until_the_next_one() {
        let health = Health::default();
        let task = health.register("rescue", Some(Duration::from_secs(5)));
        let begun = health.lock().tasks[&task.id].expected.expect("from the start");
        let at = |seconds| begun + Duration::from_secs(seconds);
        let trouble = |seconds| health.lock().tasks[&task.id].trouble(at(seconds));
        let overdue = Some(Trouble::Overdue { task: "rescue", since: Duration::from_secs(16) });
        assert_eq!((trouble(15), trouble(16)), (None, overdue));
        task.change(|known| known.succeeded(at(16)));
        assert_eq!(trouble(31), None);
        task.rest();
        assert_eq!(trouble(900), None, "the task has nothing to do");
        task.change(|known| known.expect(at(1_000)));
        task.change(|known| known.expect(at(1_010)));
        assert_eq!(trouble(1_016), overdue, "a second call of expect is not a success");
        drop(task);
        assert_eq!(health.lock().tasks.len(), 0);
    }
}
