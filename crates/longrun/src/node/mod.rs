//! A server in this process: store, engine and API put together from a configuration, and taken apart in good order.
//!
//! `dev`, `serve` and `demo` differ in their configuration only; this is what they share. Nothing runs before
//! everything that can fail at the start has succeeded.

mod endpoint;
mod evaluator;
mod kinds;
mod lock;
mod logging;
mod signals;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use server::{ApiSettings, FirstPage, Services, WorkSettings};
use store::{ContentStore, PostgresStore, Store, StoreUrl};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exit::Hint;

pub use lock::StoreLock;
pub use logging::start_logging;
pub use signals::StopSignals;

/// How a process on an embedded store is named in leases. One process at a time holds [`StoreLock`], so whatever is still leased to this
/// name when it starts was lost by its predecessor, and is taken up at once.
const EMBEDDED_WORKER: &str = "longrun";

/// Connections of a server to PostgreSQL: enough to keep the lanes, the engine and two requests a core busy.
const CONNECTIONS: u32 = 16;

/// A server at work.
pub struct Node {
    store: Arc<dyn Store>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    uses_tls: bool,
    engine: engine::Running,
    listeners: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    /// Held as long as an embedded store is used.
    _lock: Option<StoreLock>,
}

impl Node {
    /// Starts a server.
    ///
    /// # Errors
    /// When another process uses the store, or a file, a folder or an address cannot be used.
    pub async fn start(config: &Config) -> anyhow::Result<Node> {
        let url = config.store_url()?;
        let (lock, worker) = match &url {
            StoreUrl::Sqlite(path) => (Some(StoreLock::acquire(path)?), EMBEDDED_WORKER.to_owned()),
            // Several servers share the database: a name of its own, never used again.
            StoreUrl::Postgres(_) => (None, format!("longrun-{}", uuid::Uuid::new_v4().as_simple())),
        };
        let store = open_with_standby(&url, config.read_store_url()?.as_ref()).await?;
        store.set_default_retention(config.default_retention()?);
        store.set_quotas(config.quotas());
        let content = ContentStore::local(Path::new(&config.evidence.folder), config.evidence.max_size.0)
            .with_context(|| format!("cannot use the evidence folder {}", config.evidence.folder))?;
        let tls = tls(config)?;
        let listener = bind(&config.listen, "listen").await?;
        let admin_listener = match config.admin_listen.as_str() {
            "" => None,
            address => Some(bind(address, "admin_listen").await?),
        };
        let address = listener.local_addr().context("the listener has no address")?;
        let admin_address = match &admin_listener {
            Some(listener) => Some(listener.local_addr().context("the admin listener has no address")?),
            None => None,
        };

        let evaluations = Arc::new(evaluator::evaluations(config)?);
        let registry = kinds::registry(config, &content, &evaluations)?;
        let local_kinds = kinds::local(&registry);
        engine::Engine::prepare(&*store, &registry).await.context("cannot use the store")?;
        let engine = engine::Engine::start(store.clone(), registry, engine_settings(config), worker);

        let settings = api_settings(config);
        let mut services = Services::new(store.clone(), content, engine.waker());
        services.kinds = kinds::known(config).into();
        services.local_kinds = local_kinds.into();
        services.defaults = kinds::defaults(config).into();
        services.quotas = config.quotas().into();
        services.evaluations = Some(evaluations);
        services.allow_undeclared_kinds = config.kinds.allow_undeclared;
        services.has_default_policies = !config.policies.default.is_empty();
        services.settings = settings.clone();
        let shutdown = services.shutdown.clone();
        let uses_tls = tls.is_some();
        let mut listeners = Vec::new();
        if let Some(listener) = admin_listener {
            let router = server::http::admin_router(&services, shutdown.clone());
            // Ends with the API's listener, not before: while requests are drained, `/readyz` says so.
            listeners.push(tokio::spawn(server::http::serve(
                listener,
                router,
                None,
                CancellationToken::new(),
                settings.clone(),
            )));
        }
        let router = server::http::router(services);
        listeners.push(tokio::spawn(server::http::serve(listener, router, tls, shutdown.clone(), settings)));
        Ok(Node { store, address, admin_address, uses_tls, engine, listeners, shutdown, _lock: lock })
    }

    /// The store that it works on.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where the API is reached from this machine.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.uses_tls { "https" } else { "http" }, reachable(self.address))
    }

    /// Where the admin listener is reached from this machine, if there is one.
    pub fn admin_url(&self) -> Option<String> {
        self.admin_address.map(|address| format!("http://{}", reachable(address)))
    }

    /// Stops: no new connections, calls and attempts get the drain time to end, what still runs is handed back.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let api = self.listeners.pop();
        let drained = self.engine.drain();
        let closed = async {
            if let Some(api) = api
                && let Err(error) = api.await
            {
                tracing::error!(%error, "the listener ended badly");
            }
        };
        // Both at once: together they take no longer than the drain time.
        tokio::join!(drained, closed);
        self.listeners.iter().for_each(JoinHandle::abort);
        self.store.close().await;
    }
}

/// Opens a store, makes it when it is missing, and brings it up to this version.
///
/// # Errors
/// When the file or the database cannot be used.
pub async fn open(url: &StoreUrl) -> anyhow::Result<Arc<dyn Store>> {
    store::open(url, CONNECTIONS).await.with_context(|| format!("cannot open the store {url}")).hint(match url {
        StoreUrl::Sqlite(_) => "check --store, and whether this user may read and write the file and its folder",
        StoreUrl::Postgres(_) => {
            "check --store, whether the server is running, and whether the user may create the schema \"longrun\""
        }
    })
}

/// Opens the store of a server, which may have a standby to read from.
async fn open_with_standby(url: &StoreUrl, read_url: Option<&StoreUrl>) -> anyhow::Result<Arc<dyn Store>> {
    // The configuration was validated: only a PostgreSQL store has a standby.
    let (StoreUrl::Postgres(primary), Some(shown @ StoreUrl::Postgres(standby))) = (url, read_url) else {
        return open(url).await;
    };
    let store = PostgresStore::connect_with_replica(primary, standby, CONNECTIONS).await;
    let store = store
        .with_context(|| format!("cannot open the store {url} with the read store {shown}"))
        .hint("check --store and --read-store: the second is a standby of the first, with the same database name")?;
    Ok(Arc::new(store))
}

async fn bind(address: &str, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
        .hint(format!("another program may use the port; change --{} (port 0 is any free one)", key.replace('_', "-")))
}

fn tls(config: &Config) -> anyhow::Result<Option<server::http::Tls>> {
    let (cert, key) = (&config.tls.cert, &config.tls.key);
    if cert.is_empty() {
        return Ok(None);
    }
    let tls = server::http::Tls::from_pem_files(Path::new(cert), Path::new(key))
        .with_context(|| format!("cannot use {cert} with {key}"))
        .hint("tls.cert is a PEM file with the certificate and its chain, tls.key one with its private key")?;
    Ok(Some(tls))
}

fn engine_settings(config: &Config) -> engine::Settings {
    let mut settings = engine::Settings::default();
    if let Ok(concurrency @ 1..) = usize::try_from(config.engine.concurrency) {
        settings.concurrency = concurrency;
    }
    settings.lease = config.engine.lease.0;
    settings.attempt_timeout = config.engine.timeout.0;
    settings.cancel_grace = config.engine.cancel_grace.0;
    settings.drain = config.engine.drain.0;
    settings.keep_changes = config.engine.keep_changes.0;
    settings
}

fn api_settings(config: &Config) -> ApiSettings {
    let api = &config.api;
    ApiSettings {
        default_page_size: api.default_page_size,
        max_page_size: api.max_page_size,
        first_page: if api.first_page == 1 { FirstPage::One } else { FirstPage::Zero },
        body_limit: api.body_limit.0,
        request_timeout: api.request_timeout.0,
        upload_timeout: api.upload_timeout.0,
        header_read_timeout: api.header_timeout.0,
        max_connections: usize::try_from(api.max_connections).unwrap_or(usize::MAX),
        drain_timeout: config.engine.drain.0,
        work: WorkSettings {
            lease: config.engine.lease.0,
            attempt_timeout: config.engine.timeout.0,
            ..WorkSettings::default()
        },
        ..ApiSettings::default()
    }
}

/// An address that is listened on, as one to connect to: "any address of this machine" is no place to call.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_shown_as_this_machine() {
        let shown = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(shown("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(shown("[::]:80"), "[::1]:80");
        assert_eq!(shown("192.0.2.1:80"), "192.0.2.1:80");
    }

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_layers() {
        let config = Config::default();
        let drain = config.engine.drain.0;
        assert_eq!(api_settings(&config), ApiSettings { drain_timeout: drain, ..ApiSettings::default() });
        assert_eq!(engine_settings(&config), engine::Settings { drain, ..engine::Settings::default() });
    }
}
