//! The database's clock, read from time to time and carried on in between.
//!
//! All servers take the time from the one database, so times are never compared across machines. Asking it for every
//! call would cost a round trip; its offset to this process's monotonic clock, asked every few seconds, costs nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use operations::Timestamp;
use tasks::{Health, Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::error::unavailable;
use crate::{Clock, StoreError};

/// The clocks of two machines drift apart by less than a millisecond in this time.
const EVERY: Duration = Duration::from_secs(10);

/// The database's time at an instant of this process.
pub(super) struct DatabaseClock {
    read: Mutex<(Instant, i64)>,
}

impl DatabaseClock {
    /// Reads the time, and keeps it right until the clock is dropped.
    pub(super) async fn start(
        pool: Connections,
        health: &Health,
        closing: &CancellationToken,
    ) -> Result<Clock, StoreError> {
        let clock = Arc::new(DatabaseClock { read: Mutex::new(read(&pool).await.map_err(unavailable)?) });
        let weak = Arc::downgrade(&clock);
        let (health, closing) = (health.clone(), closing.clone());
        tokio::spawn(async move {
            run_periodic(&health, Schedule::every("database_clock", EVERY), &closing, || async {
                // While the database is unavailable nothing is written, and the last reading stays in use.
                let read = read(&pool).await.map_err(StoreError::from)?;
                let Some(clock) = weak.upgrade() else { return Ok(Next::Never) };
                *clock.read.lock().unwrap_or_else(PoisonError::into_inner) = read;
                Ok::<_, StoreError>(Next::AfterPeriod)
            })
            .await;
        });
        Ok(Arc::new(move || clock.now()))
    }

    fn now(&self) -> Timestamp {
        let (instant, millis) = *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::from_millis(millis).after(instant.elapsed())
    }
}

/// The database's time, taken to be that of the middle of the round trip.
async fn read(pool: &Connections) -> Result<(Instant, i64), sqlx::Error> {
    let read = async {
        let mut connection = pool.acquire().await?;
        let asked = Instant::now();
        let millis: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(&mut *connection)
            .await?;
        let middle = asked + asked.elapsed() / 2;
        connection.release();
        Ok((middle, millis))
    };
    pool.within(read).await
}
