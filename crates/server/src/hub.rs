//! Notifies the calls that wait for operations, and those that watch them, when something happens.
//!
//! The hub reads the store's change log once for each organization in which calls wait, however many there are: at once
//! when this process has committed something or was notified of a commit of another one (see [`store::Commits`]), and
//! from time to time for commits that it was not notified of, so that it does not depend on notifications. When no call
//! waits, it reads nothing. A call that waits registers before it first reads the operation, so that an end between the
//! read and the wait is not missed.
//!
//! A single task does all this. It ends when [`Hub`] is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use operations::{OperationId, Status};
use store::{Coverage, Position, SAFETY_POLL, Store, StoreError};
use tasks::{ROUND_LIMIT, Task, supervise};
use tokio::sync::{Mutex as AsyncMutex, OnceCell, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The time between two reads of the change log of a store that other processes write to without notifying this one.
const POLL: Duration = Duration::from_millis(50);
/// The same where only this process writes: it is notified of its own commits at once, and this is for the rest.
const POLL_ALONE: Duration = Duration::from_secs(1);
/// The time between two reads of a change log with changes that cannot be read yet, because a transaction that began
/// earlier is still open: nothing reports its end. Most end in a moment, so this is the first wait, and each is twice
/// the previous one, up to [`POLL`].
const POLL_HELD_UP: Duration = Duration::from_millis(3);
/// The shortest time between two reads, however much is committed, so that one read covers several commits.
const PAUSE: Duration = Duration::from_millis(2);
/// How many change logs of organizations are read at a time.
const LOOKS: usize = 4;
/// The most changes of one read; when there are more, further reads follow at once.
const BATCH: u32 = 1_000;
/// When reading is held up for this long (by an open transaction of another process), ends are no longer reported: the
/// calls that wait then read their operations themselves, this often.
const HELD_UP: Duration = Duration::from_secs(2);

/// The organizations in which calls wait.
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    feeds: Mutex<HashMap<String, Arc<Feed>>>,
    /// Wakes the task when there is a first feed; when this is dropped, the task ends.
    arrivals: watch::Sender<()>,
}

struct Feed {
    organization: String,
    /// The end of the change log when the first waiter came; set before any waiter reads an operation.
    start: OnceCell<Position>,
    progress: Mutex<Progress>,
    /// Marked as changed when there are changes.
    moved: watch::Sender<()>,
}

#[derive(Default)]
struct Progress {
    /// Up to where it was read; `None` before the first read.
    position: Option<Position>,
    /// By the operation that calls wait for.
    waiting: HashMap<OperationId, watch::Sender<()>>,
    /// When the calls that wait last read their operations themselves.
    looked: Option<Instant>,
    /// Whether there are changes that cannot be read yet.
    is_held_up: bool,
}

/// Waits for the end of an operation. When dropped, it stops waiting.
pub(crate) struct Ending {
    feed: Arc<Feed>,
    id: OperationId,
    ended: Option<watch::Receiver<()>>,
}

impl Ending {
    /// Returns when the operation may have ended since this was registered or since this last returned.
    pub(crate) async fn ended(&mut self) {
        let Some(ended) = &mut self.ended else { return std::future::pending().await };
        if ended.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.ended = None;
        let mut progress = self.feed.lock();
        if progress.waiting.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
            progress.waiting.remove(&self.id);
        }
    }
}

/// Waits for changes of an organization.
pub(crate) struct Moves {
    _feed: Arc<Feed>,
    moved: watch::Receiver<()>,
    /// The end of the change log when this was registered, or earlier.
    pub(crate) end: Position,
}

impl Moves {
    /// Returns when there were changes since the last call of [`Moves::forget`].
    pub(crate) async fn next(&mut self) {
        if self.moved.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Marks everything until now as seen. Must be called before a read of the change log.
    pub(crate) fn forget(&mut self) {
        self.moved.mark_unchanged();
    }
}

impl Hub {
    pub(crate) fn start(store: Arc<dyn Store>) -> Hub {
        let (arrivals, arrived) = watch::channel(());
        let inner = Arc::new(Inner { store, feeds: Mutex::default(), arrivals });
        let task = inner.store.health().register("change_feeds", Some(SAFETY_POLL));
        let commits = inner.store.commits().feed();
        let hub = Arc::downgrade(&inner);
        tokio::spawn(async move {
            let (stop, wakes) = (CancellationToken::new(), AsyncMutex::new(Wakes { arrived, commits }));
            supervise(&task, &stop, || async {
                follow(&hub, &mut *wakes.lock().await, &task).await;
                stop.cancel();
            })
            .await;
        });
        Hub(inner)
    }

    /// Registers for the end of an operation. An end after this has returned is reported.
    pub(crate) async fn ending(&self, organization: &str, id: OperationId) -> Result<Ending, StoreError> {
        let feed = self.feed(organization);
        let ended = feed.lock().waiting.entry(id).or_insert_with(|| watch::Sender::new(())).subscribe();
        let ending = Ending { feed, id, ended: Some(ended) };
        self.started(&ending.feed).await?;
        Ok(ending)
    }

    /// Registers for the changes of an organization. A commit after this has returned is reported.
    pub(crate) async fn moves(&self, organization: &str) -> Result<Moves, StoreError> {
        let feed = self.feed(organization);
        let moved = feed.moved.subscribe();
        self.started(&feed).await?;
        let end = self.0.store.end_of_changes(organization).await?;
        Ok(Moves { _feed: feed, moved, end })
    }

    fn feed(&self, organization: &str) -> Arc<Feed> {
        let mut feeds = self.0.lock();
        let feed = feeds.entry(organization.to_owned()).or_insert_with(|| {
            Arc::new(Feed {
                organization: organization.to_owned(),
                start: OnceCell::new(),
                progress: Mutex::default(),
                moved: watch::Sender::new(()),
            })
        });
        Arc::clone(feed)
    }

    async fn started(&self, feed: &Feed) -> Result<(), StoreError> {
        feed.start.get_or_try_init(|| self.0.store.end_of_changes(&feed.organization)).await?;
        self.0.arrivals.send_replace(());
        Ok(())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Feed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feeds of organizations in which calls wait; the others are dropped.
    fn waited_for(&self) -> Vec<Arc<Feed>> {
        let mut feeds = self.lock();
        // Handles are only created under this lock, so that a feed that nobody else holds remains unused.
        feeds.retain(|_, feed| Arc::strong_count(feed) > 1);
        feeds.values().cloned().collect()
    }
}

/// What makes the task read.
struct Wakes {
    /// A new call waits.
    arrived: watch::Receiver<()>,
    /// Something was committed.
    commits: watch::Receiver<()>,
}

/// The time between two reads for changes that come without a notification.
fn poll(coverage: Coverage) -> Duration {
    coverage.poll(if coverage == Coverage::All { POLL_ALONE } else { POLL })
}

/// Returns when the hub is gone.
async fn follow(hub: &Weak<Inner>, wakes: &mut Wakes, task: &Task) {
    let (mut held_up_pause, mut looks_at_all) = (POLL_HELD_UP, true);
    loop {
        wakes.arrived.mark_unchanged();
        wakes.commits.mark_unchanged();
        let Some(inner) = hub.upgrade() else { return };
        let mut feeds = inner.waited_for();
        let is_idle = feeds.is_empty();
        if !looks_at_all {
            feeds.retain(|feed| feed.lock().is_held_up);
        }
        let store = Arc::clone(&inner.store);
        drop(inner);
        task.expect();
        let look = async |feed: &Arc<Feed>| {
            if timeout(ROUND_LIMIT, feed.advance(&*store)).await.is_err() {
                tracing::error!(organization = feed.organization, "reading the change log took too long; trying again");
            }
        };
        stream::iter(&feeds).for_each_concurrent(LOOKS, look).await;
        task.succeeded();
        let is_held_up = feeds.iter().any(|feed| feed.lock().is_held_up);
        // Not held while this sleeps: feeds that nobody else holds are dropped.
        drop(feeds);
        looks_at_all = true;
        if is_idle {
            task.rest();
            if wakes.arrived.changed().await.is_err() {
                return;
            }
        } else {
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(poll(store.commits().coverage())) => {}
                // A store that was dropped commits nothing more.
                Ok(()) = wakes.commits.changed() => {}
                () = tokio::time::sleep(held_up_pause), if is_held_up => looks_at_all = false,
            }
            held_up_pause = if is_held_up { (held_up_pause * 2).min(POLL) } else { POLL_HELD_UP };
        }
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads further, and notifies the calls that wait.
    async fn advance(&self, store: &dyn Store) {
        let Some(start) = self.start.get() else { return };
        loop {
            let position = self.lock().position.unwrap_or(*start);
            match store.changes(&self.organization, position, BATCH).await {
                Ok(part) => {
                    let mut progress = self.lock();
                    progress.position = Some(part.next);
                    progress.is_held_up = part.held_up.is_some();
                    for change in part.changes.iter().filter(|change| change.status.is_none_or(Status::is_terminal)) {
                        if let Some(waiting) = progress.waiting.get(&change.id) {
                            waiting.send_replace(());
                        }
                    }
                    let late = part.held_up.is_some_and(|at| at.after(HELD_UP) <= store.now());
                    if late && progress.looked.is_none_or(|at| at.elapsed() >= HELD_UP) {
                        progress.notify_all();
                    }
                    drop(progress);
                    if part.changes.is_empty() {
                        return;
                    }
                    self.moved.send_replace(());
                    if part.changes.len() < BATCH as usize {
                        return;
                    }
                }
                // The store was unavailable for longer than it keeps changes: all calls that wait read again.
                Err(StoreError::PositionUnknown) => {
                    let Ok(end) = store.end_of_changes(&self.organization).await else { return };
                    let mut progress = self.lock();
                    progress.position = Some(end);
                    progress.notify_all();
                    self.moved.send_replace(());
                }
                // The calls that wait notice it when they read.
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "could not read the change log; trying again"
                    );
                    return;
                }
            }
        }
    }
}

impl Progress {
    fn notify_all(&mut self) {
        self.looked = Some(Instant::now());
        for waiting in self.waiting.values() {
            waiting.send_replace(());
        }
    }
}
