//! The listener: connections from the socket to the router, and their orderly end.
//!
//! Shutdown happens only here: the token is cancelled → no further connection is accepted → every connection is asked
//! to end after the requests that have begun on it → after the drain time the rest is closed. [`serve`] returns when
//! none is left. A connection on which no caller was authenticated in time, that was idle for too long, or whose slot
//! is needed while it is idle ends in the same way.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::addresses::{self, Addresses};
use super::connections::{self, Connections};
use super::listening::{Listening, Peer};
use super::{Tls, plain};
use crate::link::Link;
use crate::services::ApiSettings;

/// The pause after an accept that failed for want of file descriptors or memory: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The time between two lines of the log about connections that were refused.
const TELL: Duration = Duration::from_secs(60);
/// HTTP/2 pings a silent peer this often, and gives it as long to answer, so that dead connections free their place.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves the router on the listener, HTTP/1.1 and HTTP/2, until `shutdown` is cancelled and the connections have
/// ended.
pub async fn serve<L: Listening>(
    listener: L,
    router: Router,
    tls: Option<Tls>,
    shutdown: CancellationToken,
    settings: ApiSettings,
) {
    let mut places = Connections::new(settings.max_connections);
    let addresses = Addresses::new(settings.max_connections_per_address);
    let mut refused = Refused::default();
    let mut connections = JoinSet::new();
    // A connection that waits for a slot.
    let mut newcomer: Option<(L::Stream, SocketAddr)> = None;
    let (builder, drain_timeout) = (builder(&settings), settings.drain_timeout);
    let shared = Arc::new(Shared { builder, router, tls, settings: Arc::new(settings), shutdown: shutdown.clone() });
    loop {
        // A slot is only requested when a connection needs it, so that no other connection is closed needlessly.
        let accepted = async {
            if newcomer.is_none() {
                newcomer = Some(listener.accept().await?);
            }
            Ok(places.slot().await)
        };
        let slot = tokio::select! {
            slot = accepted => slot,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let (stream, address) = newcomer.take().expect("a connection arrived before a slot was requested");
        let Some(slot) = slot else {
            refused.report(address, "the limit of connections is reached; closing further ones");
            continue;
        };
        let link = Link::new(addresses::peer(address, &shared.settings), shared.tls.is_some());
        let Some(counted) = addresses.enter(link.counted()) else {
            refused.report(address, "the limit of connections of one address is reached; closing further ones");
            continue;
        };
        let place = places.enter(slot, link.clone());
        let shared = shared.clone();
        connections.spawn(async move {
            if let Err(error) = shared.serve(stream, link).await {
                tracing::debug!(client = %address, error, "connection ended");
            }
            drop((place, counted));
        });
    }
    drop((newcomer, listener));
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_timeout, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "the drain time is over; closing the remaining connections");
    }
    connections.shutdown().await;
}

/// A stream that gives up on a client that does not read.
///
/// hyper has no limit for how long an answer may take to be sent: a client that sends a request and then reads nothing
/// would keep its connection, and the answer in memory, forever. Here a write that makes no progress for the given time
/// is an error, which ends the connection.
fn impatient<S: AsyncRead + AsyncWrite>(stream: S, patience: Duration) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    Box::pin(stream)
}

/// Logs refused connections, at most once in a while.
#[derive(Default)]
struct Refused {
    reported: Option<Instant>,
    since: u64,
}

impl Refused {
    fn report(&mut self, address: SocketAddr, why: &str) {
        connections::count_closed();
        self.since += 1;
        if self.reported.is_none_or(|at| at.elapsed() >= TELL) {
            let connections = self.since;
            tracing::warn!(client = %address, connections, "{why}");
            *self = Refused { reported: Some(Instant::now()), since: 0 };
        }
    }
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
    settings: Arc<ApiSettings>,
    shutdown: CancellationToken,
}

impl Shared {
    async fn serve(&self, mut stream: impl Peer, link: Link) -> Result<(), String> {
        // Answers are written in one piece: waiting for more data (Nagle) only adds delay. It is harmless if this
        // cannot be set.
        let _ = stream.set_nodelay();
        let (patience, idle) = (self.settings.header_read_timeout, self.settings.body_idle_timeout);
        let Some(tls) = &self.tls else {
            return self.speak(TokioIo::new(impatient(stream, idle)), link).await;
        };
        let handshake = async {
            if plain::is_spoken(&mut stream).await? {
                return Err(plain::refuse(stream).await);
            }
            tls.acceptor().accept(impatient(stream, idle)).await
        };
        let handshake = async {
            tokio::select! {
                shaken = tokio::time::timeout(patience, handshake) => shaken,
                () = link.is_wanted() => Ok(Err(io::Error::other("its slot was needed"))),
            }
        };
        let stream = handshake
            .await
            .map_err(|_| "the TLS handshake took too long".to_owned())?
            .map_err(|error| format!("the TLS handshake failed: {error}"))?;
        self.speak(TokioIo::new(stream), link).await
    }

    async fn speak<I>(&self, io: I, link: Link) -> Result<(), String>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let begun = CancellationToken::new();
        let (begins, of_requests, settings) = (begun.clone(), link.clone(), self.settings.clone());
        let service = self.router.clone().map_request(move |mut request: http::Request<Incoming>| {
            begins.cancel();
            let peer = of_requests.client();
            let client = addresses::forwarded(peer.address, request.headers(), &settings).unwrap_or(peer);
            request.extensions_mut().insert(of_requests.on_behalf_of(client));
            request.map(axum::body::Body::new)
        });
        let settings = &self.settings;
        let connection = self.builder.serve_connection(io, TowerToHyperService::new(service)).into_owned();
        let mut connection = pin!(connection);
        // hyper has no limit of its own for the bytes that distinguish HTTP/1 from HTTP/2: a client that sends none, or
        // half of them, would keep its slot forever.
        tokio::select! {
            ended = &mut connection => return ended.map_err(|error| error.to_string()),
            () = begun.cancelled() => {}
            () = self.shutdown.cancelled() => {}
            () = link.is_wanted() => return Err("no request had arrived, and its slot was needed".to_owned()),
            () = tokio::time::sleep(settings.header_read_timeout) => return Err("no request arrived in time".to_owned()),
        }
        tokio::select! {
            ended = &mut connection => return ended.map_err(|error| error.to_string()),
            () = self.shutdown.cancelled() => {}
            () = link.is_wanted() => {}
            () = link.has_expired(settings.unauthenticated_timeout, settings.idle_timeout) => {}
        }
        // Requests in progress may end; they have limits of their own if they have a token. Health and reflection,
        // which need none, are streams that may last forever.
        connection.as_mut().graceful_shutdown();
        loop {
            tokio::select! {
                ended = &mut connection => return ended.map_err(|error| error.to_string()),
                () = tokio::time::sleep(settings.header_read_timeout) => {}
            }
            if link.is_quiet() || !link.is_authenticated() {
                return Err("the client did not close the connection in time".to_owned());
            }
        }
    }
}
