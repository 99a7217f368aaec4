//! A proxy between a program and its server that treats connections as networks, proxies and dying machines do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Cluster;
use crate::notifications::Sieve;

/// Passes on what is sent over TCP, unless it is set otherwise. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Connections are numbered in the order in which they were accepted.
    next: Arc<AtomicU64>,
    /// The number of notifications that were held back.
    kept_back: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Where new connections lead.
    server: SocketAddr,
    /// Nothing is passed on, on any connection.
    is_frozen: bool,
    /// New connections are closed at once.
    closes: bool,
    /// Connections below this number are silent permanently.
    silent_below: u64,
    /// Connections below this number are closed.
    cut_below: u64,
    /// Connections below this number are closed instead of passing on their server's next answer.
    reset_below: u64,
    /// Whether notifications are passed on; `None`: messages are not examined.
    passes_notifications: Option<bool>,
}

impl State {
    fn new(server: SocketAddr) -> State {
        State {
            server,
            is_frozen: false,
            closes: false,
            silent_below: 0,
            cut_below: 0,
            reset_below: 0,
            passes_notifications: None,
        }
    }

    fn passes(&self, number: u64) -> bool {
        !self.is_frozen && number >= self.silent_below
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for connections to `server`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(server: SocketAddr) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(State::new(server));
        let (next, kept_back) = (Arc::new(AtomicU64::new(0)), watch::Sender::new(0));
        tokio::spawn(accept(listener, watched, Arc::clone(&next), kept_back.clone()));
        Ok(Proxy { address, state, next, kept_back })
    }

    /// The URL of a database through this proxy, from one that goes directly to it.
    pub fn url(&self, straight: &str) -> String {
        let database = straight.rsplit('/').next().unwrap_or(straight);
        let user = straight.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map_or("", |(user, _)| user);
        format!("postgres://{user}@{}/{database}", self.address)
    }

    /// Passes nothing on from now on, and keeps all connections open, like a machine that has lost power.
    pub fn freeze(&self) {
        self.state.send_modify(|state| state.is_frozen = true);
    }

    /// Passes data on again, including what was held back.
    pub fn thaw(&self) {
        self.state.send_modify(|state| state.is_frozen = false);
    }

    /// Permanently passes nothing on, on the currently open connections; new ones work as usual, as after a failover.
    pub fn freeze_open(&self) {
        let next = self.next.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.silent_below = next);
    }

    /// Closes all connections, and each new one as soon as it is established, like a proxy that has no server to pass
    /// it to.
    pub fn accept_and_close(&self) {
        let next = self.next.load(Ordering::SeqCst);
        self.state.send_modify(|state| {
            state.closes = true;
            state.cut_below = next;
        });
    }

    /// Closes the currently open connections, each as soon as its server sends something, which is lost: the request,
    /// perhaps the end of a transaction, was carried out. New connections work as usual.
    pub fn lose_answers(&self) {
        let next = self.next.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.reset_below = next);
    }

    /// Sets whether PostgreSQL's notifications are passed on from now on, on the connections that are opened after the
    /// first call of this. A pooler that gives each transaction a different session does not pass them on.
    pub fn pass_notifications(&self, passes: bool) {
        self.state.send_modify(|state| state.passes_notifications = Some(passes));
    }

    /// Returns when a notification was held back.
    pub async fn kept_back(&self) {
        // The sender belongs to this proxy.
        let _ = self.kept_back.subscribe().wait_for(|kept_back| *kept_back > 0).await;
    }

    /// Leads new connections to another server, like an address that follows the primary.
    pub fn lead_to(&self, cluster: &Cluster) {
        self.state.send_modify(|state| state.server = cluster.address());
    }

    /// Accepts new connections again after [`Proxy::accept_and_close`].
    pub fn pass_on(&self) {
        self.state.send_modify(|state| state.closes = false);
    }
}

async fn accept(
    listener: TcpListener,
    mut state: watch::Receiver<State>,
    next: Arc<AtomicU64>,
    kept_back: watch::Sender<u64>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Dropped.
            _ = ended(&mut state) => return,
        };
        if let Ok((client, _)) = accepted
            && !state.borrow().closes
        {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let kept_back = state.borrow().passes_notifications.map(|_| kept_back.clone());
            tokio::spawn(pass(client, number, state.clone(), kept_back));
        }
    }
}

async fn ended(state: &mut watch::Receiver<State>) {
    while state.changed().await.is_ok() {}
}

/// Passes data on between a client and the server until one of them closes, or the connection is cut.
async fn pass(client: TcpStream, number: u64, state: watch::Receiver<State>, kept_back: Option<watch::Sender<u64>>) {
    let mut watched = state.clone();
    let passing = async {
        let mut watched = state.clone();
        let server = watched.wait_for(|state| state.passes(number)).await.ok()?.server;
        let server = TcpStream::connect(server).await.ok()?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(
            pump(from_client, to_server, number, state.clone(), false, None),
            pump(from_server, to_client, number, state.clone(), true, kept_back)
        );
        Some(())
    };
    tokio::select! {
        _ = passing => {}
        _ = watched.wait_for(|state| number < state.cut_below) => {}
    }
}

/// One direction, until it ends; optionally without notifications, which are counted.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut state: watch::Receiver<State>,
    is_answer: bool,
    kept_back: Option<watch::Sender<u64>>,
) {
    let (mut buffer, mut sieve) = (vec![0; 16 * 1024], Sieve::default());
    while let Ok(read) = from.read(&mut buffer).await {
        if state.wait_for(|state| state.passes(number)).await.is_err() || read == 0 {
            break;
        }
        if is_answer && number < state.borrow().reset_below {
            break;
        }
        let written = match &kept_back {
            None => to.write_all(&buffer[..read]).await,
            Some(kept_back) => {
                let (passed, taken) = sieve.pass(&buffer[..read], state.borrow().passes_notifications == Some(false));
                kept_back.send_if_modified(|kept_back| {
                    *kept_back += taken;
                    taken > 0
                });
                to.write_all(&passed).await
            }
        };
        if written.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
