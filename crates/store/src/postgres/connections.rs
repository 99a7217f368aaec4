//! The connections of a process to one database: a pool in which nothing waits without a limit.
//!
//! A database whose machine has lost its power, or whose network drops packets, says nothing at all, for as long as the
//! operating system waits: a quarter of an hour, or forever. So every use of a connection is bounded by [`Limits`],
//! and a connection whose limit has passed is not used again. The driver's own pool cannot do that: it asks each
//! connection that is released whether it is alive, and waits for the answer, which occupies its place in the pool
//! meanwhile.
//!
//! After a failover the same address leads to another server, and calls to the old one are never answered. So a call
//! that has waited for a while checks where a new connection leads to, and is given up when that is another server.

use std::future::ready;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use meters::{Meters, Present};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{ConnectOptions as _, Connection as _, Either, Execute, Executor, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::Turn;

/// A connection that was used less than this long ago is not checked for being alive: no database restarts that fast,
/// and connections that are busy are not checked at all.
pub(super) const ALIVE: Duration = Duration::from_millis(100);
/// A connection that nobody has needed for this long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// A connection is not used for longer, so that the state that a session accumulates at the server, and the address
/// that its name resolved to, are renewed.
const LIFE: Duration = Duration::from_secs(1_800);
/// The pause between two attempts to connect to a server that is starting.
const RETRY: Duration = Duration::from_millis(100);

/// Ends the transaction that a connection is in, without a warning when it is in none. The driver does so for
/// transactions that it knows to have begun; one that was given up while it began is not among them, and statements
/// carried out in it later would seem to be done, and would never be committed.
const END: &str = "SET LOCAL client_min_messages = error; ROLLBACK";

/// Distinguishes one database server from another, and from itself before a restart.
const SERVER: &str = "SELECT pg_postmaster_start_time()::text";

/// How long to wait for answers that may never come.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a statement, which the database ends then; a statement that takes longer is a defect, or the database is in
    /// trouble.
    pub statement: Duration,
    /// For a write, for a lock that another transaction has: writes of other organizations wait behind it.
    pub lock: Duration,
    /// For a connection: until one is free, and until a new one is made.
    pub connect: Duration,
    /// For the answer of a connection that has been idle for a moment.
    pub alive: Duration,
    /// For a read, or a transaction that writes. A little more than [`Limits::statement`], so that it only takes effect
    /// for databases that no longer answer.
    pub call: Duration,
    /// For an answer, until the first check whether the address now leads to another server, and from one such check to
    /// the next.
    pub suspect: Duration,
    /// For calls that are under way when the store is closed.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            alive: Duration::from_secs(2),
            call: Duration::from_secs(35),
            suspect: Duration::from_secs(2),
            close: Duration::from_secs(3),
        }
    }
}

/// A limited number of connections. Cheap to clone; clones share them. As an executor it bounds each statement by
/// [`Limits::call`].
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PgConnectOptions,
    limits: Limits,
    size: u32,
    /// One for each connection that may be in use. Closed when the pool is.
    permits: Arc<Semaphore>,
    /// The one used last is the last, and the next to be used.
    idle: Mutex<Vec<Idle>>,
    /// The server that the last new connection led to; empty before the first.
    server: watch::Sender<Arc<str>>,
    /// When it was last checked which server that is. Held for as long as a check takes.
    looked: tokio::sync::Mutex<Option<Instant>>,
    meters: Meters,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made: Instant,
    used: Instant,
}

impl Connections {
    /// Connects when a connection is needed.
    pub(super) fn new(options: PgConnectOptions, size: u32, limits: Limits, meters: &Meters) -> Connections {
        meters.connections_max.inc_by(i64::from(size));
        let meters = meters.clone();
        let permits = Arc::new(Semaphore::new(size as usize));
        let (idle, server, looked) =
            (Mutex::default(), watch::Sender::new(Arc::from("")), tokio::sync::Mutex::default());
        Connections(Arc::new(Inner { options, limits, size, permits, idle, server, looked, meters }))
    }

    /// What each connection is opened with.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.0.options.clone()
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.0.meters
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// A connection of the pool. Work with it is to be [`within`](Connections::within) the limit.
    pub(super) async fn acquire(&self) -> Result<Held, sqlx::Error> {
        let asked = Instant::now();
        let permit = timeout(self.0.limits.connect, Arc::clone(&self.0.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let (connection, made) = match self.idle().await {
            Some(idle) => (idle.connection, idle.made),
            None => (self.connect().await?, Instant::now()),
        };
        self.0.meters.connection_wait_seconds.observe(asked.elapsed().as_secs_f64());
        let used = Present::one_more(&self.0.meters.connections_used);
        let since = Instant::now();
        let (connection, permit) = (Some(connection), Some(permit));
        Ok(Held { pool: self.clone(), connection, made, since, permit, search_permit: None, _used: used })
    }

    /// One that was used before and is alive.
    async fn idle(&self) -> Option<Idle> {
        let mut idle = self.0.idle().pop()?;
        if idle.used.elapsed() < ALIVE || self.is_alive(&mut idle.connection).await {
            return Some(idle);
        }
        // The others were used before it, and have lost the database as well.
        self.0.idle().retain(|other| other.used > idle.used);
        None
    }

    /// Whether a connection answers.
    pub(super) async fn is_alive(&self, connection: &mut PgConnection) -> bool {
        matches!(timeout(self.0.limits.alive, connection.ping()).await, Ok(Ok(())))
    }

    /// A connection of the caller's own, which does not count. A server that is starting is waited for.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.connect_to_server().await.map(|(connection, _)| connection)
    }

    /// The same, with the value that distinguishes the server from others.
    pub(super) async fn connect_to_server(&self) -> Result<(PgConnection, Arc<str>), sqlx::Error> {
        if self.0.permits.is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let mut refused = sqlx::Error::PoolTimedOut;
        let connect = async {
            let mut connection = loop {
                match self.0.options.connect().await {
                    Err(error) if is_starting(&error) => refused = error,
                    result => break result?,
                }
                tokio::time::sleep(RETRY).await;
            };
            let server: String = sqlx::query_scalar(SERVER).fetch_one(&mut connection).await?;
            Ok((connection, Arc::from(server)))
        };
        let connected = timeout(self.0.limits.connect, connect).await;
        let (connection, server) = connected.unwrap_or(Err(refused))?;
        let is_another = self.0.server.send_if_modified(|known| {
            let is_another = *known != server;
            known.clone_from(&server);
            is_another
        });
        if is_another {
            self.0.idle().clear();
        }
        Ok((connection, server))
    }

    /// The server that the last new connection led to.
    pub(super) fn server(&self) -> Arc<str> {
        self.0.server.borrow().clone()
    }

    /// Returns when the address leads to a server other than the present one.
    async fn is_replaced(&self) {
        let mut server = self.server();
        loop {
            tokio::time::sleep(self.0.limits.suspect).await;
            {
                let mut looked = self.0.looked.lock().await;
                // Nobody else has checked meanwhile.
                if looked.is_none_or(|at| at.elapsed() >= self.0.limits.suspect) {
                    if let Ok(connection) = self.connect().await {
                        // If this does not reach the database, it finds out by itself.
                        let _ = timeout(self.0.limits.alive, connection.close()).await;
                    }
                    *looked = Some(Instant::now());
                }
            }
            let now = self.server();
            if server.is_empty() {
                server = now;
            } else if now != server {
                return;
            }
        }
    }

    /// The result of `work`; `None`: the limit of a call has passed, or the server that it asks is no longer the
    /// database's.
    pub(super) async fn answered<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let answered = async {
            tokio::select! {
                biased;
                done = work => Some(done),
                () = self.is_replaced() => None,
            }
        };
        timeout(self.0.limits.call, answered).await.ok().flatten()
    }

    /// The result of `work`, or an error when it is not [`answered`](Connections::answered).
    pub(super) async fn within<T, E: From<sqlx::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.answered(work).await.unwrap_or_else(|| {
            let silent = std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer");
            Err(sqlx::Error::Io(silent).into())
        })
    }

    /// Waits a little for calls that are under way, and makes later calls fail.
    pub(super) async fn close(&self) {
        let close = async {
            // Callers that wait already come first, later ones will fail in a moment.
            let all = self.0.permits.acquire_many(self.0.size).await;
            let idle = std::mem::take(&mut *self.0.idle());
            for Idle { connection, .. } in idle {
                // If this does not reach the database, it finds out by itself.
                let _ = connection.close().await;
            }
            drop(all);
        };
        if timeout(self.0.limits.close, close).await.is_err() {
            tracing::warn!("not all connections to the database could be closed cleanly");
        }
        self.0.permits.close();
        self.0.idle().clear();
    }
}

/// Whether a server refuses for a moment only: it is starting, or has too many connections just now.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection on which nothing is under way.
    fn keep(&self, connection: PgConnection, made: Instant) {
        let mut idle = self.idle();
        idle.retain(|idle| idle.used.elapsed() < IDLE);
        if made.elapsed() < LIFE && !self.permits.is_closed() {
            idle.push(Idle { connection, made, used: Instant::now() });
        }
    }
}

/// A connection in use. Dropped without [`Held::release`], because a statement failed or the caller has left, it is
/// used again only if it answers soon.
pub(super) struct Held {
    pool: Connections,
    /// There until it is dropped.
    connection: Option<PgConnection>,
    made: Instant,
    since: Instant,
    permit: Option<OwnedSemaphorePermit>,
    /// The permit of the search that uses it.
    search_permit: Option<Arc<Turn>>,
    _used: Present,
}

impl Held {
    /// Keeps a permit for as long as the connection is in use: a caller that leaves must not let another one in.
    pub(super) fn keep(&mut self, permit: Arc<Turn>) {
        self.search_permit = Some(permit);
    }

    /// Releases it; nothing is under way on it.
    pub(super) fn release(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.0.keep(connection, self.made);
        }
    }
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let (pool, made, since) = (self.pool.clone(), self.made, self.since);
        let place = (self.permit.take(), self.search_permit.take());
        if since.elapsed() >= pool.limits().call {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match timeout(pool.limits().alive, connection.execute(END)).await {
                // A transaction that the driver still counts as begun would stay counted.
                Ok(Ok(_)) if !connection.is_in_transaction() => pool.0.keep(connection, made),
                Ok(Ok(_) | Err(sqlx::Error::Database(_))) => {}
                // Connections that were last used before this one are not alive either.
                _ => pool.0.idle().retain(|idle| idle.used > since),
            }
            drop(place);
        });
    }
}

impl<'p> Executor<'p> for &'_ Connections {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let fetch = async move {
            let fetch = async {
                let asked = Instant::now();
                let mut held = pool.acquire().await?;
                let found: Vec<_> = held.fetch_many(query).try_collect().await?;
                held.release();
                pool.0.meters.read_seconds.observe(asked.elapsed().as_secs_f64());
                Ok::<_, sqlx::Error>(found)
            };
            let found = pool.within(fetch).await?;
            Ok(stream::iter(found.into_iter().map(Ok)))
        };
        fetch.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let rows = self.fetch_many(query).try_filter_map(|step| ready(Ok(step.right())));
        async move { Ok(rows.try_collect::<Vec<_>>().await?.into_iter().next()) }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move { pool.within(async { pool.acquire().await?.prepare_with(sql, parameters).await }).await }.boxed()
    }
}
