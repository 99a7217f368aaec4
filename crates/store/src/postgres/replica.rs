//! Reading from a standby, without missing what was just written.
//!
//! **Promises.** A caller that was answered by this process reads what it wrote: an organization that this process
//! wrote to is read from the standby only once the standby has replayed the primary's log as far as it was after that
//! write. A standby that is unavailable, behind or in conflict with a vacuum costs a little time and nothing else: the
//! primary answers instead. So does one that is no standby any more, since it was promoted or started as a server of
//! its own: it is looked at again every [`LOOK`]. Operations that a standby lacks are looked up at the primary too, so
//! that an operation which another process created is never "not found". Lists may lack what other processes wrote
//! within the standby's delay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;

use super::connections::{Connections, Limits};
use super::session;
use crate::StoreError;

/// How long a read waits for the standby to catch up before it goes to the primary.
const CATCH_UP: Duration = Duration::from_millis(200);
/// The time between two checks of how far the standby is.
const POLL: Duration = Duration::from_millis(5);
/// How long a read waits for a connection to the standby.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a read may take on the standby; meant for a standby that no longer answers.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a standby that failed or was behind is left alone, so that not every read waits for it.
const REST: Duration = Duration::from_secs(1);

/// How long it is trusted that the standby still is one.
const LOOK: Duration = Duration::from_secs(1);

/// Where the log of the primary is flushed up to, in bytes: at least up to every commit that was answered.
const FLUSHED: &str = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint";
/// How far a standby is; NULL for a server that was never one.
const REPLAYED: &str = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
/// Whether the schema there is as this version needs it, whether it is a standby, and what distinguishes the server
/// from others.
const STATE: &str = "
    SELECT EXISTS (SELECT FROM _sqlx_migrations WHERE version = $1), pg_is_in_recovery(),
        pg_postmaster_start_time()::text";
/// What distinguishes the primary from others.
const SERVER: &str = "SELECT pg_postmaster_start_time()::text";
/// The same on a primary and its standbys only.
const IDENTITY: &str = "SELECT system_identifier::text || ' ' || current_database() FROM pg_control_system()";

/// The organizations that this process has written to since a standby was last seen to have caught up. Clones share
/// them.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Marks>>);

#[derive(Default)]
struct Marks {
    /// Writes noted so far.
    writes: u64,
    by_organization: HashMap<String, Mark>,
}

/// What a standby must have replayed before an organization is read from it.
#[derive(Clone, Copy)]
struct Mark {
    /// Which write set it; no two are the same.
    write: u64,
    /// A position in the primary's log at or after that write; `None` until a read asks for it, so that writes do not
    /// pay for it.
    flushed: Option<i64>,
}

impl Written {
    /// Notes a write to an organization. To be called after the commit and before the answer.
    pub(super) fn note(&self, organization: &str) {
        let mut marks = self.lock();
        marks.writes += 1;
        let mark = Mark { write: marks.writes, flushed: None };
        match marks.by_organization.get_mut(organization) {
            Some(older) => *older = mark,
            None => drop(marks.by_organization.insert(organization.to_owned(), mark)),
        }
    }

    fn mark(&self, organization: &str) -> Option<Mark> {
        self.lock().by_organization.get(organization).copied()
    }

    /// Keeps what was learnt about a mark: where the log was, or `None` when a standby has replayed it. A newer mark is
    /// left as it is.
    fn learn(&self, organization: &str, write: u64, flushed: Option<i64>) {
        let mut marks = self.lock();
        let Some(mark) = marks.by_organization.get_mut(organization).filter(|mark| mark.write == write) else { return };
        match flushed {
            Some(_) => mark.flushed = flushed,
            None => drop(marks.by_organization.remove(organization)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A standby to read from.
pub(super) struct Replica {
    standby: Connections,
    primary: Connections,
    written: Written,
    rests: Mutex<Rests>,
    /// When the standby was last found to be one, and to have the schema of this version; `None`: it must be looked at
    /// before it is read. One that still lacks a migration answers some statements as if nothing were wrong.
    looked: Mutex<Option<Instant>>,
}

/// Until when the standby is left alone.
#[derive(Default)]
struct Rests {
    /// By every read, after it failed.
    away: Option<Instant>,
    /// By reads of organizations with a mark, after it was behind.
    behind: Option<Instant>,
}

impl Replica {
    /// A standby at `options`. It need not be there; when it is, it must be one of this primary's.
    pub(super) async fn open(
        options: PgConnectOptions,
        connections: u32,
        primary: Connections,
        written: Written,
    ) -> Result<Replica, StoreError> {
        let limits = Limits { connect: CONNECT_TIMEOUT, call: READ_TIMEOUT, ..primary.limits() };
        let standby = Connections::new(options, connections, limits, primary.meters());
        match (identity(&primary).await, identity(&standby).await) {
            (Ok(ours), Ok(theirs)) if ours != theirs => {
                return Err(StoreError::Unusable("the read store is not a standby of the store".to_owned()));
            }
            (_, Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the standby is unavailable; reads go to the primary"
                );
            }
            _ => {}
        }
        Ok(Replica { standby, primary, written, rests: Mutex::default(), looked: Mutex::default() })
    }

    /// Reads from the standby; `None` when the primary must be asked.
    pub(super) async fn read<T, R>(&self, organization: &str, read: impl FnOnce(Connections) -> R) -> Option<T>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        if self.rests(|rests| resting(rests.away)) {
            return None;
        }
        if let Some(mark) = self.written.mark(organization)
            && !self.has_replayed(organization, mark).await
        {
            return None;
        }
        let read = async {
            self.look().await?;
            read(self.standby.clone()).await
        };
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => self.failed(&error),
            Err(late) => self.failed(&late),
        }
    }

    /// Fails when the server must not be read: it lacks a migration, or it is neither a standby nor the primary itself,
    /// as after a failover to it. It is asked after a failure, since another server may have replaced it, and from time
    /// to time.
    async fn look(&self) -> Result<(), StoreError> {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *looked {
                Some(at) if at.elapsed() < LOOK => return Ok(()),
                // Other reads trust what was found before, until this one says otherwise.
                Some(at) => *at = Instant::now(),
                None => {}
            }
        }
        let newest = session::MIGRATIONS.iter().map(|migration| migration.version).max();
        let state = sqlx::query_as(STATE).bind(newest).fetch_one(&self.standby).await?;
        let (is_migrated, is_standby, server): (bool, bool, String) = state;
        let refusal = if !is_migrated {
            Some("the standby has not replayed the last migration")
        } else if !is_standby && sqlx::query_scalar::<_, String>(SERVER).fetch_one(&self.primary).await? != server {
            Some("the read store is no longer a standby of the store")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(StoreError::Unavailable(refusal.to_owned()));
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    /// Waits a little for the standby to be as far as a mark requires.
    async fn has_replayed(&self, organization: &str, mark: Mark) -> bool {
        if self.rests(|rests| resting(rests.behind)) {
            return false;
        }
        let caught_up = async {
            let flushed: i64 = match mark.flushed {
                Some(flushed) => flushed,
                None => {
                    let flushed = sqlx::query_scalar(FLUSHED).fetch_one(&self.primary).await?;
                    self.written.learn(organization, mark.write, Some(flushed));
                    flushed
                }
            };
            while sqlx::query_scalar::<_, Option<i64>>(REPLAYED).fetch_one(&self.standby).await? < Some(flushed) {
                tokio::time::sleep(POLL).await;
            }
            Ok::<_, sqlx::Error>(())
        };
        match tokio::time::timeout(CATCH_UP, caught_up).await {
            Ok(Ok(())) => {
                self.written.learn(organization, mark.write, None);
                true
            }
            Ok(Err(error)) => {
                let _: Option<()> = self.failed(&error);
                false
            }
            Err(_) => {
                tracing::debug!("the standby is behind; reads go to the primary");
                self.rests(|rests| rests.behind = Some(Instant::now() + REST));
                false
            }
        }
    }

    fn failed<T>(&self, error: &(dyn std::error::Error + 'static)) -> Option<T> {
        tracing::warn!(error, "the standby failed; reads go to the primary");
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.rests(|rests| rests.away = Some(Instant::now() + REST));
        None
    }

    fn rests<T>(&self, look: impl FnOnce(&mut Rests) -> T) -> T {
        look(&mut self.rests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the connections to the standby.
    pub(super) async fn close(&self) {
        self.standby.close().await;
    }
}

async fn identity(pool: &Connections) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(IDENTITY).fetch_one(pool).await
}

fn resting(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_learnt_of_a_mark_does_not_outlive_a_further_write() {
        let written = Written::default();
        assert!(written.mark("a").is_none(), "nothing was written");
        written.note("a");
        let first = written.mark("a").unwrap();
        written.learn("a", first.write, Some(7));
        assert_eq!(written.mark("a").unwrap().flushed, Some(7));
        written.note("a");
        assert_eq!(written.mark("a").unwrap().flushed, None, "the log must be asked again");
        written.learn("a", first.write, Some(7));
        written.learn("a", first.write, None);
        let second = written.mark("a").expect("what is known of the first write does not hold for the second");
        assert_eq!(second.flushed, None);
        written.learn("a", second.write, None);
        assert!(written.mark("a").is_none(), "replayed");
        written.note("a");
        written.learn("a", first.write, None);
        assert!(written.mark("a").is_some(), "a reader that was slow does not take a later mark away");
    }
}
