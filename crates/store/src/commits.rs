//! What a process knows of commits to its store: of its own, and of those of other processes that it is notified of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use operations::Status;
use tokio::sync::watch;

use crate::batch::{Slot, Upkeep, Write};
use crate::deletion::Deletion;
use crate::schedules::ScheduleReply;
use crate::{OperationCommand, StoreError};

/// The time between two polls of a task that is notified of the commits of other processes. A hint is lost with the
/// connection that brings it, which is noticed within seconds and makes every task poll; and with a process that
/// commits and dies, or loses the database, before it sends it. This interval is for the latter: as long as the lease
/// of a server that died holding it lasts, and long enough that a server where all tasks wait asks the database less
/// than twice per second in all.
pub const SAFETY_POLL: Duration = Duration::from_secs(10);

/// The commits of which a process is notified when they happen. It learns of the others by polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All commits: no other process writes to the store.
    All,
    /// Its own commits, and by hints, which may be lost, those of other processes.
    Hinted,
    /// Only its own commits, and others write too.
    Own,
}

impl Coverage {
    /// How long a task waits between two polls for commits that it is not notified of, if it would wait for `period`
    /// without hints.
    pub fn poll(self, period: Duration) -> Duration {
        if self == Coverage::Hinted { period.max(SAFETY_POLL) } else { period }
    }
}

/// What a commit brought that a task may be waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// It is in the change log.
    pub(crate) changes: bool,
    /// Something may be claimed.
    pub(crate) queue: bool,
    /// Something is pending until a time.
    pub(crate) due: bool,
}

impl News {
    /// What creations bring.
    pub(crate) const CREATED: News = News { changes: true, queue: true, due: true };
    /// What everything else that is in the change log may bring.
    pub(crate) const CHANGED: News = News { changes: true, queue: false, due: false };

    /// What a write brought. One whose answer was lost may have been committed; polling costs other tasks something, so
    /// they are not made to poll on a mere suspicion.
    pub(crate) fn of(write: &Write) -> News {
        match write {
            Write::Create(slot) => news(slot, true, |create, created| {
                let due = create.operations.iter().any(|operation| operation.run_after.is_some());
                News { changes: true, queue: created.started.is_none(), due }
            }),
            Write::Transition(slot) => news(slot, true, |_, results| {
                let is_pending = results.contains(&Ok(Status::Pending));
                News { changes: results.iter().any(Result::is_ok), queue: is_pending, due: is_pending }
            }),
            Write::Claim(slot) => {
                news(slot, true, |_, claimed| News { changes: !claimed.is_empty(), ..News::default() })
            }
            Write::Command(slot) => news(slot, true, |request, outcome| {
                let changes = matches!(outcome, Some(Ok(_)));
                // A cancelled operation may have held a place that another one waited for.
                News { changes, queue: changes && request.command != OperationCommand::Delete, due: false }
            }),
            // A schedule that was changed may be due earlier than the time that is waited for.
            Write::Schedule(slot) => news(slot, true, |_, reply| match reply {
                ScheduleReply::Kept(_) => News { due: true, ..News::default() },
                ScheduleReply::Created(_) => News { due: false, ..News::CREATED },
                ScheduleReply::Fired(fired) if fired.operations > 0 => News { due: false, ..News::CREATED },
                ScheduleReply::Fired(_) | ScheduleReply::Deleted | ScheduleReply::Refused(_) => News::default(),
            }),
            Write::Upkeep(slot) => match &slot.request {
                Upkeep::Purge(..) | Upkeep::Delete(_, Deletion::Part(_)) => {
                    news(slot, true, |_, count| News { changes: *count > 0, ..News::default() })
                }
                Upkeep::Delete(..) => news(slot, true, |_, _| News::CHANGED),
                Upkeep::Bulk(_) => {
                    news(slot, true, |_, count| News { changes: *count > 0, queue: *count > 0, due: false })
                }
                Upkeep::Pause(_, false) => news(slot, false, |_, _| News { queue: true, ..News::default() }),
                _ => News::default(),
            },
            Write::Heartbeat(_)
            | Write::CreateToken(_)
            | Write::ChangeToken(_)
            | Write::View(_)
            | Write::Evidence(_)
            | Write::Waiver(_) => News::default(),
        }
    }

    fn bits(self) -> u8 {
        u8::from(self.changes) | u8::from(self.queue) << 1 | u8::from(self.due) << 2
    }

    fn from_bits(bits: u8) -> News {
        News { changes: bits & 1 != 0, queue: bits & 2 != 0, due: bits & 4 != 0 }
    }
}

/// What a write brought, where `of` says what its answer means. `may_be_in_change_log`: the change log may have it.
fn news<Q, R>(slot: &Slot<Q, R>, may_be_in_change_log: bool, of: impl Fn(&Q, &R) -> News) -> News {
    match slot.answered() {
        Some(Ok(answer)) => of(&slot.request, answer),
        Some(Err(StoreError::Unavailable(_))) if may_be_in_change_log => News::CHANGED,
        _ => News::default(),
    }
}

impl std::ops::BitOrAssign for News {
    fn bitor_assign(&mut self, other: News) {
        *self = News::from_bits(self.bits() | other.bits());
    }
}

/// What a process knows of commits. Clones are the same.
#[derive(Clone, Debug)]
pub struct Commits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    changes: watch::Sender<()>,
    queue: watch::Sender<()>,
    due: watch::Sender<()>,
    coverage: watch::Sender<Coverage>,
    /// News of this process that other processes have not been notified of; bits of [`News`].
    unreported: AtomicU8,
    /// Marked as changed when there are any, or when a task wants to be notified of those of others.
    outgoing: watch::Sender<()>,
}

impl Commits {
    /// Those of a store with this coverage.
    pub(crate) fn new(coverage: Coverage) -> Commits {
        Commits(Arc::new(Inner {
            changes: watch::Sender::default(),
            queue: watch::Sender::default(),
            due: watch::Sender::default(),
            coverage: watch::Sender::new(coverage),
            unreported: AtomicU8::new(0),
            outgoing: watch::Sender::default(),
        }))
    }

    /// The commits of which this process is notified now. When it changes, everything below is marked as changed too.
    pub fn coverage(&self) -> Coverage {
        *self.0.coverage.borrow()
    }

    /// Marked as changed when the coverage does.
    pub fn coverage_changes(&self) -> watch::Receiver<Coverage> {
        self.0.coverage.subscribe()
    }

    /// Marked as changed after each commit that is in the change log, of this process or reported by another one.
    pub fn feed(&self) -> watch::Receiver<()> {
        self.listened(self.0.changes.subscribe())
    }

    /// Marked as changed when another process has reported that it has put something into the queue. What this process
    /// puts there is reported by the code that does it.
    pub fn queue_of_others(&self) -> watch::Receiver<()> {
        self.listened(self.0.queue.subscribe())
    }

    /// Marked as changed after each commit, of this process or reported by another one, after which something may wait
    /// until a time.
    pub fn delays(&self) -> watch::Receiver<()> {
        self.listened(self.0.due.subscribe())
    }

    fn listened(&self, receiver: watch::Receiver<()>) -> watch::Receiver<()> {
        self.0.outgoing.send_replace(());
        receiver
    }

    /// Notes a commit of this process.
    pub(crate) fn note(&self, news: News) {
        if news == News::default() {
            return;
        }
        // This process knows what it has put into the queue.
        self.mark(News { queue: false, ..news });
        self.0.unreported.fetch_or(news.bits(), Ordering::Relaxed);
        self.0.outgoing.send_replace(());
    }

    /// Notes what another process has reported.
    pub(crate) fn hear(&self, news: News) {
        self.mark(news);
    }

    fn mark(&self, news: News) {
        let Inner { changes, queue, due, .. } = &*self.0;
        for (marks, is_marked) in [(changes, news.changes), (queue, news.queue), (due, news.due)] {
            if is_marked {
                marks.send_replace(());
            }
        }
    }

    /// Notes which commits this process is notified of from now on; when that is new, every task polls: something may
    /// have been committed meanwhile, and the time until the next poll has changed. A task that sees the new coverage
    /// finds everything marked.
    pub(crate) fn cover(&self, coverage: Coverage) {
        self.0.coverage.send_if_modified(|current| {
            let is_new = std::mem::replace(current, coverage) != coverage;
            if is_new {
                self.mark(News::CREATED);
            }
            is_new
        });
    }

    /// Whether any task has to be notified of what other processes commit.
    pub(crate) fn is_watched(&self) -> bool {
        let Inner { changes, queue, due, .. } = &*self.0;
        [changes, queue, due].iter().any(|marks| marks.receiver_count() > 0)
    }

    /// What other processes have to be notified of; counts as reported from now on.
    pub(crate) fn take_unreported(&self) -> News {
        News::from_bits(self.0.unreported.swap(0, Ordering::Relaxed))
    }

    /// Marked as changed when there is something to report, or a task to be notified. It ends with the last of these.
    pub(crate) fn outgoing(&self) -> watch::Receiver<()> {
        self.0.outgoing.subscribe()
    }

    /// A handle to this that does not keep it alive.
    pub(crate) fn downgrade(&self) -> WeakCommits {
        WeakCommits(Arc::downgrade(&self.0))
    }
}

/// A [`Commits`] that does not keep it alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakCommits(std::sync::Weak<Inner>);

impl WeakCommits {
    pub(crate) fn upgrade(&self) -> Option<Commits> {
        self.0.upgrade().map(Commits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_notified_of_the_commits_that_concern_them() {
        let commits = Commits::new(Coverage::Own);
        assert!(!commits.is_watched());
        let (mut changes, mut queue, mut due) = (commits.feed(), commits.queue_of_others(), commits.delays());
        assert!(commits.is_watched());
        let mut marked = || {
            [&mut changes, &mut queue, &mut due].map(|marks| {
                let is_marked = marks.has_changed().expect("the sender is there");
                marks.mark_unchanged();
                is_marked
            })
        };
        commits.note(News::CREATED);
        assert_eq!(marked(), [true, false, true], "what this process has put into the queue it knows");
        commits.hear(News::CREATED);
        assert_eq!(marked(), [true, true, true]);
        commits.hear(News::CHANGED);
        assert_eq!(marked(), [true, false, false]);
        assert_eq!((commits.take_unreported(), commits.take_unreported()), (News::CREATED, News::default()));
        commits.cover(Coverage::Own);
        assert_eq!(marked(), [false, false, false]);
        commits.cover(Coverage::Hinted);
        assert_eq!(marked(), [true, true, true], "the time until the next poll is another one");
    }

    #[test]
    fn hints_make_for_longer_waits_and_never_for_shorter_ones() {
        let period = Duration::from_millis(50);
        assert_eq!([Coverage::All, Coverage::Own].map(|coverage| coverage.poll(period)), [period; 2]);
        assert_eq!(Coverage::Hinted.poll(period), SAFETY_POLL);
        assert_eq!(Coverage::Hinted.poll(SAFETY_POLL * 2), SAFETY_POLL * 2);
    }
}
