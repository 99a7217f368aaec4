//! The server under measurement: the real API and engine over the target's store, on a local socket.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::{Engine, Registry, Running, Settings};
use operations::Access;
use server::auth::Secret;
use server::{ApiSettings, Services};
use store::{ContentStore, NewToken, Scope, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::load::ORGANIZATION;
use super::target::Target;

/// Maximum size of a piece of evidence; no benchmark stores any.
const CONTENT_LIMIT: u64 = 1024;

/// A running server, and a token for it with all rights.
pub struct Server {
    /// Its store.
    pub store: Arc<dyn Store>,
    /// Where it listens.
    pub address: SocketAddr,
    /// A token for [`ORGANIZATION`].
    pub secret: Secret,
    engine: Running,
    listener: JoinHandle<()>,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server that runs no kind itself and accepts every kind.
    ///
    /// # Errors
    /// When the store or a port cannot be used.
    pub async fn start(target: &Target, settings: ApiSettings) -> anyhow::Result<Server> {
        let folder = tempfile::tempdir()?;
        let content = ContentStore::local(folder.path(), CONTENT_LIMIT)?;
        let store = target.open().await?;
        let secret = Secret::generate()?;
        let access = Access::organization(ORGANIZATION);
        let (name, scopes) = ("bench".to_owned(), [Scope::Admin].into());
        store
            .create_token(NewToken { hash: secret.hash(), name, access, scopes, expires_at: None, instance: None })
            .await?;
        let engine = Engine::start(Arc::clone(&store), Registry::new(), Settings::default(), "bench");
        let mut services = Services::new(Arc::clone(&store), content, engine.waker());
        services.allow_undeclared_kinds = true;
        services.settings = settings.clone();
        let shutdown = services.shutdown.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = server::http::router(services);
        let listener = tokio::spawn(server::http::serve(listener, router, None, shutdown.clone(), settings));
        Ok(Server { store, address, secret, engine, listener, shutdown, _folder: folder })
    }

    /// Stops it and closes the store.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.engine.drain().await;
        // A listener that panicked has ended, and its end is all that this waits for.
        let _ = self.listener.await;
        self.store.close().await;
    }
}
