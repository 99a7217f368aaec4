//! The listener: connections from the socket to the router, and their orderly end.
//!
//! Shutdown, once and here: the token is cancelled → no further connection is accepted → every connection is told to end
//! after the requests that it has begun → after the drain time the rest is cut. [`serve`] returns when none is left.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Tls;
use super::observe::ClientAddress;
use super::plain;
use super::stall::Impatient;
use crate::services::ApiSettings;

/// The pause after an accept that failed for want of file descriptors or memory: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2 pings a silent peer this often, and gives it as long to answer, so that dead connections free their place.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves the router on the listener, HTTP/1.1 and HTTP/2, until `shutdown` is cancelled and the connections have ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    shutdown: CancellationToken,
    settings: ApiSettings,
) {
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let (patience, idle) = (settings.header_read_timeout, settings.body_idle_timeout);
    let shared = Arc::new(Shared { builder: builder(&settings), router, tls, patience, idle });
    loop {
        // The place comes first: beyond the limit, connections wait in the kernel's queue and cost nothing.
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let (shared, watcher) = (shared.clone(), graceful.watcher());
        connections.spawn(async move {
            if let Err(error) = shared.serve(stream, address, watcher).await {
                tracing::debug!(client = %address, error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(settings.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the drain time is over; cutting what is left");
    }
    connections.shutdown().await;
}

fn builder(settings: &ApiSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_read_timeout)
        // hyper refuses less than 8 KiB.
        .max_buf_size(settings.max_header_bytes.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

async fn accept_failed(error: &io::Error) {
    let about_one_peer =
        [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused];
    if !about_one_peer.contains(&error.kind()) {
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// What every connection is served with.
struct Shared {
    builder: Builder<TokioExecutor>,
    router: Router,
    tls: Option<Tls>,
    /// How long the TLS handshake may take, and again the first request.
    patience: Duration,
    /// How long a client may read nothing of what is sent to it.
    idle: Duration,
}

impl Shared {
    async fn serve(&self, stream: TcpStream, address: SocketAddr, watcher: Watcher) -> Result<(), String> {
        // Answers are written in one piece: waiting for more (Nagle) only adds delay. Harmless when it cannot be set.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.speak(TokioIo::new(Impatient::new(stream, self.idle)), address, watcher).await;
        };
        let handshake = async {
            if plain::is_spoken(&stream).await? {
                return Err(plain::refuse(stream).await);
            }
            tls.acceptor.accept(Impatient::new(stream, self.idle)).await
        };
        let stream = tokio::time::timeout(self.patience, handshake)
            .await
            .map_err(|_| "the TLS handshake took too long".to_owned())?
            .map_err(|error| format!("the TLS handshake failed: {error}"))?;
        self.speak(TokioIo::new(stream), address, watcher).await
    }

    async fn speak<I>(&self, io: I, address: SocketAddr, watcher: Watcher) -> Result<(), String>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let begun = CancellationToken::new();
        let begins = begun.clone();
        let service = self.router.clone().map_request(move |mut request: http::Request<Incoming>| {
            begins.cancel();
            request.extensions_mut().insert(ClientAddress(address));
            request.map(axum::body::Body::new)
        });
        let connection = self.builder.serve_connection(io, TowerToHyperService::new(service)).into_owned();
        let mut connection = pin!(watcher.watch(connection));
        // hyper has no limit of its own for the bytes that tell HTTP/1 from HTTP/2: who sends none, or half of them,
        // would keep its place for ever.
        tokio::select! {
            ended = &mut connection => return ended.map_err(|error| error.to_string()),
            () = begun.cancelled() => {}
            () = tokio::time::sleep(self.patience) => return Err("no request came in time".to_owned()),
        }
        connection.await.map_err(|error| error.to_string())
    }
}
