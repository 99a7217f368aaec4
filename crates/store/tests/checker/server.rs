//! Servers that can be killed: each has a runtime of its own, and its work stops where it is when the runtime is
//! dropped.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operations::Timestamp;
use store::{Cells, Clock, PostgresStore, Quotas, RunningLimits, SqliteStore, Store, StoreError};
use tokio::runtime::{Builder, Runtime};

use crate::actors::LIMITED_KIND;
use crate::support::{self, Engine};

/// Where the servers keep things; every seed has an organization of its own in it.
pub struct Place {
    engine: Engine,
    fixture: support::Fixture,
    pub clock: Arc<AtomicI64>,
    servers: Vec<Mutex<Option<Server>>>,
    pub kills: AtomicU32,
}

/// Dropping it kills it.
struct Server {
    /// There until it is killed.
    runtime: Option<Runtime>,
    store: Arc<dyn Store>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Place {
    pub async fn new(engine: Engine) -> Place {
        let fixture = support::fixture(engine).await;
        // One process owns an embedded store.
        let servers = match engine {
            Engine::Sqlite | Engine::SealedSqlite => {
                fixture.store.close().await;
                1
            }
            Engine::Postgres | Engine::SealedPostgres | Engine::Cells => 2,
        };
        let servers = (0..servers).map(|_| Mutex::new(None)).collect();
        let clock = Arc::new(AtomicI64::new(fixture.store.now().as_millis()));
        let place = Place { engine, fixture, clock, servers, kills: AtomicU32::new(0) };
        for number in 0..place.servers() {
            place.start(number).await;
        }
        place
    }

    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    async fn start(&self, number: usize) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Arc::clone(&self.clock);
        let now: Clock = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
        let (engine, place, keyring) = (self.engine, self.fixture.place(), self.fixture.keyring.clone());
        let cells = self.fixture.cells_config(Arc::clone(&now));
        let opened = tokio::task::spawn_blocking(move || {
            let store: Arc<dyn Store> = runtime.block_on(async {
                match engine {
                    // The killed server may still hold the file for a moment.
                    Engine::Sqlite | Engine::SealedSqlite => loop {
                        match SqliteStore::open_with_clock(place.as_ref(), Arc::clone(&now)).await {
                            Ok(store) => break Arc::new(store) as Arc<dyn Store>,
                            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                            Err(error) => panic!("{error}"),
                        }
                    },
                    Engine::Postgres | Engine::SealedPostgres => {
                        Arc::new(PostgresStore::connect_with_clock(&place, 8, now).await.unwrap())
                    }
                    Engine::Cells => Arc::new(Cells::open(cells.expect("they are cells")).await.unwrap()),
                }
            });
            let store = support::sealed(store, keyring.as_ref());
            let (kind, most) = LIMITED_KIND;
            let everybody = [(kind.to_owned(), most)].into();
            let running = RunningLimits { everybody, ..RunningLimits::default() };
            store.set_quotas(Quotas { running, ..Quotas::default() });
            Server { runtime: Some(runtime), store }
        });
        let server = opened.await.unwrap();
        *self.servers[number].lock().unwrap() = Some(server);
    }

    /// Kills a server in the middle of what it does, and starts it again.
    pub async fn kill(&self, number: usize) {
        let killed = self.servers[number].lock().unwrap().take();
        drop(killed);
        self.kills.fetch_add(1, Ordering::SeqCst);
        self.start(number).await;
    }

    /// Calls a server, as a client would; `None` when it died during the call or is down.
    pub async fn call<T, F, C>(&self, number: usize, call: C) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        C: FnOnce(Arc<dyn Store>) -> F,
    {
        let task = {
            let server = self.servers[number].lock().unwrap();
            let server = server.as_ref()?;
            server.runtime.as_ref()?.spawn(call(Arc::clone(&server.store)))
        };
        match task.await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(StoreError::Unavailable(_))) => None,
            Ok(Err(error)) => panic!("{error}"),
            Err(ended) if ended.is_cancelled() => None,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }

    /// Calls until it is answered.
    pub async fn must<T, F, C>(&self, call: C) -> T
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        C: Fn(Arc<dyn Store>) -> F,
    {
        loop {
            if let Some(answer) = self.call(0, &call).await {
                return answer;
            }
        }
    }

    pub fn advance(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::SeqCst))
    }

    pub async fn assert_sound(&self) {
        let report = self.must(|store| async move { store.doctor().await }).await;
        assert_eq!(report.findings, [], "longrun doctor finds nothing");
    }
}
