//! Hints: servers notify each other that they have committed something, so that a caller that waits on one is answered
//! when the operation ends on another.
//!
//! **Sending.** A connection of its own sends a notification after the commits, never within their transactions: a
//! transaction that notifies takes a lock of the whole cluster for its commit. All commits since the last one are sent
//! together, at most a hundred times per second; where nothing was committed nothing is sent. A notification says which
//! process sends it, and what has happened ([`News`]).
//!
//! **Receiving.** A second connection listens, as soon as a task of this process wants to be notified. It is trusted
//! only while it brings the notifications that this process sends itself now and then: behind a pooler that gives each
//! transaction another session, a notification reaches no process, and a network may fall silent. Therefore the two are
//! different connections: through such a pooler one alone would hear itself, and nothing else. While it is not trusted,
//! every task polls as often as if there were no hints ([`Coverage::Own`]), and a new connection is tried from time to
//! time.
//!
//! Hints may be lost; nothing depends on them except how soon a caller is answered.

use std::time::Duration;

use futures_util::future::join;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgListener, PgNotification, PgPoolOptions};
use tasks::{Health, supervise};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::connections::Connections;
use crate::commits::{Commits, Coverage, News, WeakCommits};

const CHANNEL: &str = "longrun_changes";
/// The least time between two notifications of a process.
const PACE: Duration = Duration::from_millis(10);
/// The most time between two notifications of a process, so that it hears itself.
const PROBE: Duration = Duration::from_secs(5);
/// The pauses between two attempts to listen: the first one, and the longest; each is twice the one before. Where a
/// pooler holds notifications back, every attempt is in vain.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Without waiting for the disk: a notification that is lost with the database concerns no connected process.
const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";

/// The task that sends and receives hints, until the store closes or is dropped.
#[derive(Clone, Debug)]
pub(super) struct Hints(TaskTracker);

impl Hints {
    /// Starts it. It connects when there is something to send or a task to be notified.
    pub(super) fn start(pool: &Connections, commits: &Commits, health: &Health, closing: &CancellationToken) -> Hints {
        let tasks = TaskTracker::new();
        let task = health.register("change_hints", None);
        let post = Post {
            pool: pool.clone(),
            commits: commits.downgrade(),
            closing: closing.child_token(),
            own: Uuid::new_v4().simple().to_string(),
            probe: Notify::new(),
        };
        let outgoing = Mutex::new(commits.outgoing());
        tasks.spawn(async move {
            supervise(&task, &post.closing, || async {
                let mut outgoing = outgoing.lock().await;
                let mut watched = outgoing.clone();
                join(post.send(&mut outgoing), post.receive(&mut watched)).await;
            })
            .await;
        });
        tasks.close();
        Hints(tasks)
    }

    /// Returns when it has ended after the store began to close, or the time is over.
    pub(super) async fn closed(&self, limit: Duration) {
        if timeout(limit, self.0.wait()).await.is_err() {
            tracing::warn!("the connection that listens for hints could not be closed cleanly");
        }
    }
}

type Marks = tokio::sync::watch::Receiver<()>;

struct Post {
    pool: Connections,
    commits: WeakCommits,
    closing: CancellationToken,
    /// The name of this process in what it sends.
    own: String,
    /// Asks for a notification to oneself, now.
    probe: Notify,
}

impl Post {
    /// Sends what was committed, and to oneself.
    async fn send(&self, outgoing: &mut Marks) {
        let (mut connection, mut next_probe) = (None, Instant::now());
        loop {
            let Some(commits) = self.commits.upgrade() else { return self.closing.cancel() };
            let (is_watched, news) = (commits.is_watched(), commits.take_unreported());
            drop(commits);
            if news != News::default() || (is_watched && next_probe <= Instant::now()) {
                next_probe = Instant::now() + PROBE;
                self.notify(&mut connection, news).await;
                sleep(PACE).await;
            }
            tokio::select! {
                () = self.closing.cancelled() => break,
                marked = outgoing.changed() => if marked.is_err() { return self.closing.cancel() },
                () = self.probe.notified() => next_probe = Instant::now(),
                () = sleep_until(next_probe), if is_watched => {}
            }
        }
        // The last commits of a tool, or of a server that stops.
        let unreported = self.commits.upgrade().map(|commits| commits.take_unreported()).unwrap_or_default();
        if unreported != News::default() {
            self.notify(&mut connection, unreported).await;
        }
        if let Some(connection) = connection {
            // If this does not reach the database, it finds out by itself.
            let _ = timeout(self.pool.limits().close, connection.close()).await;
        }
    }

    /// Sends one notification; on a new connection where the old one is gone. A notification that cannot be sent is
    /// dropped: the database is unavailable, and its listeners poll when it is back.
    async fn notify(&self, connection: &mut Option<PgConnection>, news: News) {
        let payload = Hint { sender: &self.own, news }.to_string();
        let limit = self.pool.limits().alive;
        let is_new = connection.is_none();
        for _ in 0..if is_new { 1 } else { 2 } {
            let sent = async {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => self.pool.connect().await?,
                };
                let notify = sqlx::query(NOTIFY).bind(CHANNEL).bind(&payload).execute(&mut open);
                timeout(limit, notify).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                Ok::<_, sqlx::Error>(open)
            };
            match sent.await {
                Ok(open) => {
                    *connection = Some(open);
                    return;
                }
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "a hint was not sent"),
            }
        }
    }

    /// Listens while a task wants to be notified.
    async fn receive(&self, watched: &mut Marks) {
        let mut pause = RETRY.0;
        loop {
            let Some(is_watched) = self.commits.upgrade().map(|commits| commits.is_watched()) else { return };
            if is_watched {
                let heard = self.listen().await;
                self.cover(Coverage::Own);
                if self.closing.is_cancelled() {
                    return;
                }
                if !heard && pause == RETRY.0 {
                    // Logged once, and again when hints came and then stopped.
                    tracing::info!("no hints from other servers arrive: this server polls for their commits");
                }
                pause = if heard { RETRY.0 } else { (pause * 2).min(RETRY.1) };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.closing.cancelled() => return,
                }
            } else {
                tokio::select! {
                    marked = watched.changed() => if marked.is_err() { return },
                    () = self.closing.cancelled() => return,
                }
            }
        }
    }

    /// Listens until the connection is lost, silent or no longer needed; answers whether it brought anything.
    async fn listen(&self) -> bool {
        let limits = self.pool.limits();
        // A pool of one connection; the driver's listener does not take a connection of ours.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.acquire_timeout(limits.connect).connect_lazy_with(self.pool.options());
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let mut has_heard = false;
        // A listener that was given up is not used again: a wait that was broken off may have read a part.
        match timeout(limits.connect + limits.alive, listening).await {
            Ok(Ok(mut listener)) => {
                self.probe.notify_one();
                // The first one is its own, and is under way.
                let mut patience = limits.alive + limits.alive;
                loop {
                    let received = tokio::select! {
                        received = timeout(patience, listener.try_recv()) => received,
                        () = self.closing.cancelled() => break,
                    };
                    let Ok(Ok(Some(notification))) = received else {
                        if has_heard {
                            tracing::warn!(
                                "hints from other servers no longer arrive: this server polls for their commits"
                            );
                        }
                        break;
                    };
                    patience = PROBE + limits.alive;
                    has_heard = true;
                    if !self.hear(&notification) {
                        break;
                    }
                }
            }
            Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "cannot listen for hints"),
            Err(_) => tracing::debug!("cannot listen for hints: the database does not answer"),
        }
        let _ = timeout(limits.close, pool.close()).await;
        has_heard
    }

    /// Takes note of a notification; answers whether any task still wants to be notified.
    fn hear(&self, notification: &PgNotification) -> bool {
        let Some(commits) = self.commits.upgrade() else { return false };
        match Hint::read(notification.payload()) {
            Some(hint) if hint.sender == self.own => {
                if commits.coverage() != Coverage::Hinted {
                    tracing::info!("hints from other servers arrive: this server is notified of their commits");
                    commits.cover(Coverage::Hinted);
                }
            }
            Some(hint) => commits.hear(hint.news),
            // Perhaps from a newer version, which has more to say.
            None => commits.hear(News::CREATED),
        }
        commits.is_watched()
    }

    fn cover(&self, coverage: Coverage) {
        if let Some(commits) = self.commits.upgrade() {
            commits.cover(coverage);
        }
    }
}

/// The payload of a notification: which process sends it, and a letter for each sort of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hint<'h> {
    sender: &'h str,
    news: News,
}

impl std::fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let News { changes, queue, due } = self.news;
        let letters = [(changes, 'c'), (queue, 'q'), (due, 'd')];
        let letters: String = letters.into_iter().filter_map(|(is_there, letter)| is_there.then_some(letter)).collect();
        write!(f, "{} {letters}", self.sender)
    }
}

impl Hint<'_> {
    fn read(payload: &str) -> Option<Hint<'_>> {
        let (sender, letters) = payload.split_once(' ')?;
        let is_known = letters.chars().all(|letter| matches!(letter, 'c' | 'q' | 'd'));
        let news = News { changes: letters.contains('c'), queue: letters.contains('q'), due: letters.contains('d') };
        is_known.then_some(Hint { sender, news })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_as_it_was_written() {
        for news in [News::default(), News::CHANGED, News::CREATED] {
            let hint = Hint { sender: "a1", news };
            assert_eq!(Hint::read(&hint.to_string()), Some(hint));
        }
        assert_eq!([Hint::read("a1"), Hint::read("a1 cx"), Hint::read("")], [None; 3]);
    }
}
