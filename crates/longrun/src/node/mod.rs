//! A server in this process: assembles store, engine and API from a configuration, and shuts them down in order.
//!
//! `dev`, `serve` and `demo` differ only in their configuration; this module is what they share. Nothing runs before
//! everything that can fail at startup has succeeded.

mod ai;
mod attestation;
mod certificates;
mod endpoint;
mod evaluator;
mod evidence;
mod identity;
mod kinds;
mod lock;
mod logging;
mod name;
mod signals;
mod traces;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::kinds::evaluation::EvaluationHandler;
use ::kinds::reevaluation::PolicyFollower;
use ::traces::Traces;
use anyhow::Context;
use server::auth::{Secret, SignInLinks};
use server::{ApiSettings, FirstPage, Services, WorkSettings};
use store::{
    CellUrl, Cells, CellsConfig, ContentError, ContentStore, EvidenceRetention, Keyring, Open, Patience, PostgresStore,
    Sealed, Store, StoreError, StoreUrl,
};
use tasks::{Next, Schedule, run_periodic};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::evidence_place::EvidencePlace;
use crate::exit::Hint;

pub use lock::StoreLock;
pub use logging::{complain, flush_log, start_logging};
pub use signals::StopSignals;

/// Connections of a server to PostgreSQL: enough to keep the write batchers, the engine and two requests per core busy.
const CONNECTIONS: u32 = 16;

/// How long the last export to the trace collector may take at shutdown.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// How long it may take at shutdown to notify the other servers that this one no longer watches policies.
const LAST_NOTE: Duration = Duration::from_secs(2);

/// The time between two removals of files left by interrupted uploads.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// A running server.
pub struct Node {
    /// The name in the log, in leases and in histories.
    name: String,
    store: Arc<dyn Store>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    uses_tls: bool,
    admin_uses_tls: bool,
    engine: engine::Running,
    listeners: Vec<JoinHandle<()>>,
    /// Background tasks.
    maintenance: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    traces: Traces,
    sign_in_links: SignInLinks,
    /// Whether it records in the store which policies it sees in its policy folder.
    notes_policies: bool,
    /// Held as long as a SQLite store is in use.
    _lock: Option<StoreLock>,
}

impl Node {
    /// Starts a server.
    ///
    /// # Errors
    /// When another process uses the store, or a file, a folder or an address cannot be used.
    pub async fn start(config: &Config) -> anyhow::Result<Node> {
        let url = config.store_url()?;
        let lock = StoreLock::acquire_for(&url)?;
        let name = name::of_this_process();
        let keyring = config.encryption.keyring().map_err(|(key, message)| anyhow::anyhow!("{key}: {message}"))?;
        let store = store(config, &url, keyring.clone()).await?;
        let content = content(config, &url, &*store, keyring).await?;
        let signer = attestation::signer(config, &url)?;
        let tls = tls(config)?;
        let identity = identity::identity(&config.auth)?;
        // Before the server is announced: until then, the signal ends the process.
        let hangup = tls.as_ref().map(|_| certificates::hangup()).transpose()?;
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
        let retention = config.evidence_retention()?;

        let evaluations = Arc::new(evaluator::evaluations(config)?.measured_by(store.meters()));
        let provider = ai::provider(config)?;
        let has_ai_provider = provider.is_some();
        let handler = EvaluationHandler::new(content.clone(), Arc::clone(&evaluations))
            .with_provider(provider)
            .with_signer(signer.clone())
            .with_store(Arc::clone(&store));
        let traces = traces::traces(config, store.meters(), &name)?;
        let registry = kinds::registry(config, &store, handler)?.with_traces(traces.clone());
        let local_kinds = kinds::local(&registry);
        engine::Engine::prepare(&*store, &registry).await.context("cannot use the store")?;
        // Only one process at a time holds the lock, so everything that a server holds now was lost by its predecessor.
        let engine_settings = engine::Settings { is_alone: lock.is_some(), ..engine_settings(config) };
        let engine = engine::Engine::start(store.clone(), registry, engine_settings, name.clone());

        let mut services = services(config, Services::new(store.clone(), content.clone(), engine.waker()));
        services.local_kinds = local_kinds.into();
        services.evaluations = Some(evaluations);
        services.signer = signer;
        services.has_ai_provider = has_ai_provider;
        services.identity = identity.into();
        services.traces = traces.clone();
        let (shutdown, sign_in_links) = (services.shutdown.clone(), services.sign_in_links.clone());

        // A server that is alone on the store has no others to agree with.
        let noted_as = lock.is_none().then(|| name.clone());
        let notes_policies = follows_policies(config) && noted_as.is_some();
        let mut maintenance = maintain(config, &content, retention, &store);
        maintenance.extend(follow_changes(config, &store, &engine.waker(), noted_as));
        if let (Some(tls), Some(hangup)) = (tls.clone(), hangup) {
            maintenance.push(tokio::spawn(certificates::keep_fresh(tls, hangup, store.health())));
        }
        let (uses_tls, admin_uses_tls) = (tls.is_some(), config.tls.admin);
        let mut listeners = Vec::new();
        if let Some(listener) = admin_listener {
            listeners.push(serve_admin(listener, &services, tls.clone().filter(|_| admin_uses_tls)));
        }
        let (settings, router) = (services.settings.clone(), server::http::router(services));
        listeners.push(tokio::spawn(server::http::serve(listener, router, tls, shutdown.clone(), settings)));
        Ok(Node {
            name,
            store,
            address,
            admin_address,
            uses_tls,
            admin_uses_tls,
            engine,
            listeners,
            maintenance,
            shutdown,
            traces,
            sign_in_links,
            notes_policies,
            _lock: lock,
        })
    }

    /// The name of this process in the log, in leases and in histories: the machine and a short id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store that it works on.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The URL of the API on this machine.
    pub fn url(&self) -> String {
        url(self.address, self.uses_tls)
    }

    /// A URL that signs a browser in with this token: once, within ten minutes.
    pub fn sign_in_url(&self, secret: &Secret) -> String {
        format!("{}{}", self.url(), self.sign_in_links.issue(secret))
    }

    /// The URL of the admin listener on this machine, if there is one.
    pub fn admin_url(&self) -> Option<String> {
        self.admin_address.map(|address| url(address, self.admin_uses_tls))
    }

    /// Stops: no new connections, calls and attempts get the drain time to end, the remaining ones are released.
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
        // Both at the same time: together they take no longer than the drain time.
        tokio::join!(drained, closed);
        self.traces.flush(LAST_SPANS).await;
        self.listeners.iter().chain(&self.maintenance).for_each(JoinHandle::abort);
        if self.notes_policies {
            // Otherwise the other servers wait for a minute until they consider this one gone.
            let _ = timeout(LAST_NOTE, self.store.forget_policies(&self.name)).await;
        }
        self.store.close().await;
    }
}

/// The kinds that a configuration declares, and the built-in ones.
pub fn known_kinds(config: &Config) -> Vec<String> {
    let mut known = kinds::known(config);
    known.extend(::kinds::RESERVED.map(str::to_owned));
    known
}

/// Opens the store of a server, with its cells or its standby.
async fn store(config: &Config, url: &StoreUrl, keyring: Keyring) -> anyhow::Result<Arc<dyn Store>> {
    let store = match config.cell_urls() {
        cells if cells.is_empty() => open_with_standby(url, config.read_store_url()?.as_ref()).await?,
        cells => Arc::new(open_cells(url, cells, Open::Create).await?),
    };
    let store: Arc<dyn Store> = Arc::new(Sealed::new(store, keyring));
    store.set_default_retention(config.default_retention()?);
    store.set_quotas(config.quotas());
    store.meters().kinds.name(known_kinds(config).iter().map(String::as_str));
    // Limits that were set by calls apply from the first request on.
    store.refresh_limits().await.context("cannot read the limits of organizations")?;
    Ok(store)
}

/// Opens the evidence of a server, and checks that it is there if the store has records of some.
async fn content(config: &Config, url: &StoreUrl, store: &dyn Store, keyring: Keyring) -> anyhow::Result<ContentStore> {
    let place = EvidencePlace::of(&config.evidence);
    if !place.exists() && has_evidence(store).await? {
        return Err(anyhow::anyhow!("the store has records of evidence, and {place} does not exist"))
            .hint("set evidence.folder to the folder that the evidence is in, or move that folder there");
    }
    let content = place.open(config.evidence.max_size.0)?.with_keyring(keyring);
    check_content(&content, &place).await?;
    if let StoreUrl::Sqlite(path) = url {
        warn_of_readers(path);
    }
    if let EvidencePlace::Folder(folder) = &place {
        warn_of_readers(folder);
    }
    Ok(content)
}

/// The services of the API with what the configuration alone says about them.
fn services(config: &Config, mut services: Services) -> Services {
    services.kinds = kinds::known(config).into();
    services.defaults = kinds::defaults(config).into();
    services.call_limits = config.call_limits().into();
    services.allow_undeclared_kinds = config.kinds.allow_undeclared;
    services.has_default_policies = !config.policies.default.is_empty();
    services.settings = api_settings(config);
    services.metrics.add_counter("log_lines_lost", "Lines of the log that could not be written", logging::lost_lines);
    services
}

/// Serves health checks and metrics.
///
/// Ends together with the API's listener, not before: while requests are drained, `/readyz` reports it.
fn serve_admin(listener: TcpListener, services: &Services, tls: Option<server::http::Tls>) -> JoinHandle<()> {
    let router = server::http::admin_router(services, services.shutdown.clone());
    // Nobody has a token for it.
    let settings = ApiSettings {
        unauthenticated_timeout: Duration::ZERO,
        max_connections_per_address: 0,
        ..services.settings.clone()
    };
    tokio::spawn(server::http::serve(listener, router, tls, CancellationToken::new(), settings))
}

/// Starts the removal of evidence that is no longer needed.
fn maintain(
    config: &Config,
    content: &ContentStore,
    retention: EvidenceRetention,
    store: &Arc<dyn Store>,
) -> Vec<JoinHandle<()>> {
    let sweeping = tokio::spawn(sweep(content.clone(), store.health(), config.api.upload_timeout.0));
    let tidying = tokio::spawn(evidence::tidy(content.clone(), Arc::clone(store), retention));
    vec![sweeping, tidying]
}

/// Starts what has evidence evaluated again when a waiver or a policy changes. `noted_as` is the name under which this
/// server tells others which policies it sees.
fn follow_changes(
    config: &Config,
    store: &Arc<dyn Store>,
    waker: &engine::Waker,
    noted_as: Option<String>,
) -> Vec<JoinHandle<()>> {
    let mut following = Vec::new();
    if config.evidence.reevaluate_on_waivers {
        let waker = waker.clone();
        following.push(tokio::spawn(evidence::follow_waivers(Arc::clone(store), move || waker.wake())));
    }
    if follows_policies(config) {
        let (waker, folder) = (waker.clone(), PathBuf::from(&config.policies.folder));
        let follower = PolicyFollower::new(Arc::clone(store), folder, noted_as);
        let follow = evidence::follow_policies(follower, store.health(), move || waker.wake());
        following.push(tokio::spawn(follow));
    }
    following
}

/// Whether evidence is evaluated again when a policy in the policy folder changes.
fn follows_policies(config: &Config) -> bool {
    config.evidence.reevaluate_on_policies && !config.policies.folder.is_empty()
}

/// Removes the files that interrupted uploads left, at startup and periodically. A file that nobody has written to for
/// as long as an upload may take does not belong to an upload in progress, of this server or another one of the store.
async fn sweep(content: ContentStore, health: engine::Health, upload_timeout: Duration) {
    let schedule = Schedule::every("broken_uploads", SWEEP_EVERY);
    run_periodic(&health, schedule, &CancellationToken::new(), || async {
        let files = content.sweep(upload_timeout).await?;
        if files > 0 {
            tracing::info!(files, "removed files of interrupted uploads");
        }
        Ok::<_, ContentError>(Next::AfterPeriod)
    })
    .await;
}

/// Opens a store in the mode `how`.
///
/// # Errors
/// When it does not exist and must not be created, or the file or the database cannot be used.
pub async fn open(url: &StoreUrl, how: Open) -> anyhow::Result<Arc<dyn Store>> {
    opened(url, store::open(url, how, CONNECTIONS).await)
}

/// The result of opening the store at `url`, with a hint if it failed.
///
/// # Errors
/// The error, unchanged.
pub fn opened<T>(url: &StoreUrl, opened: Result<T, StoreError>) -> anyhow::Result<T> {
    // The error itself says what to do about a different version of the schema.
    if matches!(&opened, Err(StoreError::Unusable(what)) if what.contains("has schema version")) {
        return opened.with_context(|| format!("cannot open the store {url}"));
    }
    let hint = match (&opened, url) {
        (Err(StoreError::Missing(_)), _) => {
            "name another one with --store, --config or --data-dir; or create one with `longrun migrate`, `longrun serve`, `longrun dev` or the first `longrun token create`"
        }
        (_, StoreUrl::Sqlite(_)) => {
            "check --store, and whether this user has permission to read and write the file and its folder"
        }
        (_, StoreUrl::Postgres(_)) => {
            "check in --store the host and port, the user, the database and sslmode; the password, there or in PGPASSFILE or PGPASSWORD; and whether the server is running"
        }
    };
    opened.with_context(|| format!("cannot open the store {url}")).hint(hint)
}

/// Opens the store of several cells, with the directory at `url`.
///
/// # Errors
/// When the directory or all cells cannot be reached, or a database is not the cell that it should be.
pub async fn open_cells(url: &StoreUrl, cells: Vec<CellUrl>, how: Open) -> anyhow::Result<Cells> {
    // The configuration has been validated: a directory is in PostgreSQL.
    let StoreUrl::Postgres(directory) = url else {
        anyhow::bail!("the directory of cells must be in PostgreSQL, and not {url}")
    };
    let config = CellsConfig {
        directory: directory.clone(),
        cells,
        how,
        connections: CONNECTIONS,
        clock: None,
        patience: Patience::default(),
    };
    Cells::open(config).await.with_context(|| format!("cannot open the cells of the directory {url}")).hint(
        "check store, and store in each table [cells.NAME]; a single cell that does not answer would not prevent this",
    )
}

/// Opens the store of a server, optionally with a standby to read from.
async fn open_with_standby(url: &StoreUrl, read_url: Option<&StoreUrl>) -> anyhow::Result<Arc<dyn Store>> {
    // The configuration has been validated: only a PostgreSQL store has a standby.
    let (StoreUrl::Postgres(primary), Some(shown @ StoreUrl::Postgres(standby))) = (url, read_url) else {
        return open(url, Open::Create).await;
    };
    let store = PostgresStore::connect_with_replica(primary.expose(), standby.expose(), CONNECTIONS).await;
    let store = store
        .with_context(|| format!("cannot open the store {url} with the read store {shown}"))
        .hint("check --store and --read-store: the second is a standby of the first, with the same database name")?;
    Ok(Arc::new(store))
}

/// Files that this program creates are private to its user; files that existed before, from an older version or created
/// by hand, are left as they are.
fn warn_of_readers(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other users of this machine have permissions on it; run `chmod -R go= PATH`");
    }
}

async fn bind(address: &str, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
        .hint(format!("another program may use the port; change --{} (port 0 picks a free one)", key.replace('_', "-")))
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

/// Whether any organization has evidence.
async fn has_evidence(store: &dyn Store) -> Result<bool, StoreError> {
    for organization in store.organizations().await? {
        if store.evidence_totals(&organization.name).await?.pieces > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses to start with a bucket that does not exist or denies access; one that does not answer may recover.
async fn check_content(content: &ContentStore, place: &EvidencePlace) -> anyhow::Result<()> {
    match content.check().await {
        Ok(()) => Ok(()),
        Err(error) if error.is_refusal() => {
            Err(anyhow::Error::new(error)).with_context(|| format!("cannot use {place}")).hint(
                "the credentials in the environment must allow reading, writing, deleting and listing below the prefix",
            )
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "{place} does not answer at the moment; evidence is unavailable until it does"
            );
            Ok(())
        }
    }
}

fn engine_settings(config: &Config) -> engine::Settings {
    let mut settings = engine::Settings::default();
    if let Ok(concurrency @ 1..) = usize::try_from(config.engine.concurrency) {
        settings.concurrency = concurrency;
    }
    settings.extra_concurrency = usize::try_from(config.engine.extra_concurrency).unwrap_or(usize::MAX);
    settings.lease = config.engine.lease.0;
    settings.attempt_timeout = config.engine.timeout.0;
    settings.cancel_grace = config.engine.cancel_grace.0;
    settings.drain = config.engine.drain.0;
    settings.keep_changes = config.engine.keep_changes.0;
    settings.keep_audit = config.retention.audit.0;
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
        max_in_flight: usize::try_from(api.max_in_flight).unwrap_or(usize::MAX),
        max_in_flight_per_organization: usize::try_from(api.max_in_flight_per_organization).unwrap_or(usize::MAX),
        overload_patience: api.overload_patience.0,
        // They have been validated: each is a valid header value.
        cors_origins: config.http.cors.origins.iter().filter_map(|origin| origin.parse().ok()).collect(),
        max_connections: usize::try_from(api.max_connections).unwrap_or(usize::MAX),
        max_connections_per_address: usize::try_from(api.max_connections_per_address).unwrap_or(usize::MAX),
        proxies: api.proxies.iter().map(IpAddr::to_canonical).collect(),
        unauthenticated_timeout: api.unauthenticated_timeout.0,
        idle_timeout: api.idle_timeout.0,
        max_waiting_claims: usize::try_from(api.max_waiting_claims).unwrap_or(usize::MAX),
        drain_timeout: config.engine.drain.0,
        work: WorkSettings {
            lease: config.engine.lease.0,
            attempt_timeout: config.engine.timeout.0,
            ..WorkSettings::default()
        },
        ..ApiSettings::default()
    }
}

fn url(address: SocketAddr, uses_tls: bool) -> String {
    format!("{}://{}", if uses_tls { "https" } else { "http" }, reachable(address))
}

/// The address to connect to for a listener's address: "any address of this machine" cannot be called.
pub fn reachable(address: SocketAddr) -> SocketAddr {
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
