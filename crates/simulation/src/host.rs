//! The server: the real store, engine and API, with a simulated listener.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Attempt, Engine, Failure, Handler, Registry, Settings};
use operations::Status;
use operations::backoff::Backoff;
use rand::RngExt as _;
use server::{Services, WorkSettings};
use store::{ContentStore, Quotas, RunningLimits, Sealed, SqliteStore, Store};
use turmoil::net::TcpListener;

use crate::history::{Answer, Seen};
use crate::wire::Door;
use crate::world::{LIMITED_KIND, LOCAL_KIND, REMOTE_KINDS, World};

/// The host and the port of the server.
pub const SERVER: &str = "server";
pub const PORT: u16 = 8080;
/// How long a lease lasts; short, so that a simulation is short.
const LEASE: Duration = Duration::from_secs(4);
/// How long a cancelled attempt may go on.
const GRACE: Duration = Duration::from_secs(3);
/// How long running attempts may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(300), cap: Duration::from_secs(2) };

/// The life of a server until it is killed or stopped: it starts and stops the same parts as `longrun serve`.
pub async fn serve(world: Arc<World>) -> turmoil::Result {
    let (life, stop) = world.begin_life();
    let store = SqliteStore::open_inline(&world.folder.join("longrun.db"), world.latency())?;
    let store: Arc<dyn Store> = Arc::new(Sealed::new(Arc::new(store), world.keyring()));
    let (kind, most) = LIMITED_KIND;
    let running = RunningLimits { everybody: [(kind.to_owned(), most)].into(), ..RunningLimits::default() };
    store.set_quotas(Quotas { running, ..Quotas::default() });
    store.refresh_limits().await?;
    let registry = Registry::new().with(LOCAL_KIND, Local { world: Arc::clone(&world) });
    Engine::prepare(&*store, &registry).await?;
    let settings = Settings {
        concurrency: 2,
        lease: LEASE,
        cancel_grace: GRACE,
        attempt_timeout: Duration::from_secs(5),
        backoff: BACKOFF,
        drain: DRAIN,
        keep_changes: Duration::from_secs(24 * 3_600),
        is_alone: true,
        ..Settings::default()
    };
    let engine = Engine::start(Arc::clone(&store), registry, settings, format!("server-{life}"));
    let content = ContentStore::local(&world.folder.join("evidence"), 1024)?;
    let mut services = Services::new(Arc::clone(&store), content, engine.waker());
    services.kinds =
        [&REMOTE_KINDS[..], &[LOCAL_KIND, crate::history::TICK]].concat().into_iter().map(str::to_owned).collect();
    services.local_kinds = [LOCAL_KIND.to_owned()].into();
    services.settings.work = WorkSettings { lease: LEASE, attempt_timeout: Duration::from_secs(5), backoff: BACKOFF };
    services.settings.drain_timeout = DRAIN;
    let (shutdown, settings) = (services.shutdown.clone(), services.settings.clone());
    let listener = Door(TcpListener::bind(("0.0.0.0", PORT)).await?);
    world.log(format_args!("server: life {life} has begun"));
    let router = server::http::router(services);
    let listening = tokio::spawn(server::http::serve(listener, router, None, shutdown.clone(), settings));
    stop.cancelled().await;
    world.log(format_args!("server: stopping in good order"));
    shutdown.cancel();
    let (_, ended) = tokio::join!(engine.drain(), listening);
    ended?;
    store.close().await;
    world.log(format_args!("server: stopped"));
    Ok(())
}

/// The handler of the server's own kind: its work takes a while and ends well, badly or not at all.
struct Local {
    world: Arc<World>,
}

#[async_trait]
impl Handler for Local {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let (world, id) = (&self.world, attempt.operation.id);
        world.recognize(id, &attempt.operation.project_version_id);
        world.log(format_args!("server: runs {id}, attempt {}", attempt.number));
        let from = world.record.begin();
        if !world.is_finishing() {
            let mut random = world.random_of(&format!("{id} {}", attempt.number));
            let takes = Duration::from_millis(random.random_range(0..3_000));
            tokio::select! {
                () = tokio::time::sleep(takes) => {}
                () = attempt.cancelled.cancelled() => return Err(Failure::permanent("the attempt was cancelled")),
            }
            match random.random_range(0..10) {
                0 | 1 => return Err(Failure::transient("it did not work out")),
                2 => return Err(Failure::permanent("it cannot work out")),
                // Longer than an attempt may take.
                3 => tokio::time::sleep(Duration::from_secs(60)).await,
                _ => {}
            }
        }
        // The engine settles the attempt: this handler learns neither the outcome nor the fencing token.
        let text = format!("{id} by the server, attempt {}", attempt.number);
        let answer: Answer<Status> = Answer::Unknown;
        world.note(from, id, Seen::Settled { fence: 0, text: text.clone(), answer });
        Ok(text)
    }
}
