//! Connections to the file. Each read sees one snapshot, on a thread that may wait for the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meters::{Meters, Present};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::Semaphore;

use super::disk::Disk;
use crate::{StoreError, Turns};

/// How long a statement waits for another process that writes (`longrun token create` next to a server).
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Reads at a time: they scale with cores, and each connection has a page cache of its own.
const READERS: usize = 4;
/// Searches among them, which may take long; one organization has half of them at most.
const SEARCHES: usize = READERS - 2;
/// Statements that a connection keeps prepared. There are about as many texts as filters have forms.
const STATEMENTS: usize = 256;
/// The page cache of a connection, in KiB, negative as SQLite wants it. The file is not mapped into memory: for a page
/// that the disk does not deliver, a signal would end the process, while a failed read is reported.
const CACHE: i64 = -16 * 1024;

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Once ANALYZE was run, SQLite would plan a statement anew for each value that is bound to it, which costs several
    // times as much as a short statement.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// A connection that writes: its commits are on disk.
pub(super) fn writing(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// A pool of connections. Cheap to clone; clones share them.
#[derive(Clone)]
pub(super) struct Readers(Arc<Inner>);

struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
    searches: Turns,
    meters: Meters,
    disk: Disk,
}

impl Readers {
    /// Connections to the file, which must exist; the first is opened now.
    pub(super) fn open(path: &Path, disk: Disk, meters: &Meters) -> Result<Readers, StoreError> {
        meters.connections_max.set(READERS as i64);
        let (path, meters) = (path.to_owned(), meters.clone());
        let (places, searches) = (Semaphore::new(READERS), Turns::new(SEARCHES, SEARCHES / 2));
        let inner = Inner { path, idle: Mutex::default(), places, searches, meters, disk };
        let first = inner.connect()?;
        inner.give_back(first);
        Ok(Readers(Arc::new(inner)))
    }

    /// Reads in one snapshot. Once begun it is carried out, even if this is dropped.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let (inner, asked) = (Arc::clone(&self.0), Instant::now());
        self.0.disk.pause().await;
        // Held until the connection is back: a call that is dropped must not let another one in.
        let place = self.0.places.acquire().await.map_err(closed)?;
        place.forget();
        self.0.meters.connection_wait_seconds.observe(asked.elapsed().as_secs_f64());
        let reading = self.0.disk.read(move || {
            let _place = Place(&inner.places);
            let _used = Present::one_more(&inner.meters.connections_used);
            let connection = inner.take()?;
            // Prepared once: a transaction of the library would have these two compiled for each read.
            connection.prepare_cached("BEGIN")?.execute([])?;
            let found = read(&connection)?;
            // It may fail for a damaged file: what was read stays valid, and the next read gets another connection.
            if connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).is_ok() {
                inner.give_back(connection);
            }
            inner.meters.read_seconds.observe(asked.elapsed().as_secs_f64());
            Ok(found)
        });
        let found = reading.await;
        self.0.disk.pause().await;
        found
    }

    /// The same for reads that may take long: once the organization gets a permit, so that searches leave connections
    /// to other reads, and to the searches of others; and only as long as a caller waits for it.
    pub(super) async fn search<T: Send + 'static>(
        &self,
        organization: &str,
        search: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.0.searches.take(organization).await;
        let wanted = Wanted::default();
        let _caller = Caller(wanted.clone());
        let read = move |connection: &Connection| {
            // Held as long as it has the connection: a caller that leaves must not let another search in.
            let _permit = permit;
            wanted.carry_out(connection, search)
        };
        self.read(read).await
    }

    /// Closes the connections when their reads have ended; later reads fail.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.0.places.acquire_many(READERS as u32).await {
            all.forget();
        }
        self.0.places.close();
        self.0.idle().clear();
    }
}

/// What is known of a search on both sides: where it is carried out, and where a caller waits for it.
#[derive(Clone, Default)]
struct Wanted(Arc<Mutex<Search>>);

#[derive(Default)]
enum Search {
    #[default]
    Waits,
    IsUnderWay(InterruptHandle),
    /// Or no caller waits for it any more.
    IsOver,
}

impl Wanted {
    fn carry_out<T>(
        &self,
        connection: &Connection,
        search: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Begun and not ended: otherwise SQLite forgets between two statements of the search that it has to be
        // interrupted.
        let mut begun = connection.prepare_cached("SELECT 1")?;
        let mut rows = begun.query([])?;
        rows.next()?;
        {
            let mut state = self.lock();
            if matches!(*state, Search::IsOver) {
                return Err(StoreError::Unavailable("the caller of the search has gone".to_owned()));
            }
            *state = Search::IsUnderWay(connection.get_interrupt_handle());
        }
        let found = search(connection);
        // Before the connection goes to another read.
        *self.lock() = Search::IsOver;
        found
    }

    fn lock(&self) -> MutexGuard<'_, Search> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caller that waits for a search. When it is dropped, it ends the search under way.
struct Caller(Wanted);

impl Drop for Caller {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let Search::IsUnderWay(search) = &*state {
            search.interrupt();
        }
        *state = Search::IsOver;
    }
}

/// Releases a place, whatever became of the read.
struct Place<'a>(&'a Semaphore);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Inner {
    fn connect(&self) -> Result<Connection, StoreError> {
        // Not read-only: the first reader after a crash repairs the write-ahead log.
        let connection = connect(&self.path)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// An idle connection, or a new one. A connection whose read failed is not returned to the pool, so that its state
    /// cannot matter.
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // No code that holds the lock can panic between two changes.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use rusqlite::StatementStatus;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    fn readers() -> (tempfile::TempDir, Readers) {
        let folder = tempfile::tempdir().expect("a folder is made");
        let path = folder.path().join("t.db");
        let made = Connection::open(&path).expect("a file is made");
        made.execute_batch("CREATE TABLE t (a TEXT)").expect("it has a table");
        let readers = Readers::open(&path, Disk::Threads, &Meters::default()).expect("it is opened");
        (folder, readers)
    }

    #[tokio::test]
    async fn searches_leave_connections_to_other_reads_and_to_others() {
        let (_folder, readers) = readers();
        let (begun, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let search = |organization: &'static str| {
            let (readers, begun, may_end) = (readers.clone(), Arc::clone(&begun), Arc::clone(&may_end));
            let search = move |_: &Connection| {
                begun.fetch_add(1, Ordering::SeqCst);
                while !may_end.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            };
            tokio::spawn(async move { readers.search(organization, search).await })
        };
        let mut searches: Vec<_> = (0..10).map(|_| search("greedy")).collect();
        searches.push(search("other"));
        let both = async {
            while begun.load(Ordering::SeqCst) < 2 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, both).await.expect("one of them is the other's");
        for _ in 0..100 {
            timeout(LONG, readers.read(|_| Ok(()))).await.expect("a connection is left").expect("it is read");
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        may_end.store(true, Ordering::SeqCst);
        for search in searches {
            timeout(LONG, search).await.expect("it gets a permit").expect("it did not panic").expect("it is read");
        }
    }

    #[tokio::test]
    async fn a_search_that_nobody_waits_for_ends() {
        let (_folder, readers) = readers();
        let begun = Arc::new(AtomicUsize::new(0));
        for number in 1..=2 * READERS {
            let is_begun = Arc::clone(&begun);
            let endless = move |connection: &Connection| {
                is_begun.fetch_add(1, Ordering::SeqCst);
                let sql = "WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";
                connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(StoreError::from)
            };
            let leaves = async {
                while begun.load(Ordering::SeqCst) < number {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = readers.search("acme", endless) => panic!("it has no end"),
                left = timeout(LONG, leaves) => left.expect("it gets a permit"),
            }
        }
        timeout(LONG, readers.search("acme", |_| Ok(()))).await.expect("it gets a permit").expect("it is read");
    }

    #[test]
    fn statements_stay_prepared_where_a_file_was_analyzed() {
        let folder = tempfile::tempdir().expect("a folder is made");
        let path = folder.path().join("t.db");
        let made = Connection::open(&path).expect("a file is made");
        made.execute_batch(
            "CREATE TABLE t (a TEXT, b INTEGER); CREATE INDEX i ON t (a, b);
             WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
             INSERT INTO t SELECT n % 7, n FROM n; ANALYZE",
        )
        .expect("it is filled");
        let planned = |connection: &Connection| {
            let mut statement = connection.prepare("SELECT b FROM t WHERE a = ?1 AND b > ?2").expect("it is prepared");
            for n in 0..5 {
                let found = statement.query_map((n.to_string(), n), |row| row.get::<_, i64>(0));
                assert!(found.expect("it runs").count() > 0);
            }
            statement.get_status(StatementStatus::RePrepare)
        };
        assert!(planned(&made) > 0, "or the setting is not needed any more");
        assert_eq!(planned(&connect(&path).expect("it is opened")), 0);
    }
}
