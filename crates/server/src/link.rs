//! A connection as its requests see it: where they come from, whether a caller was authenticated on it, how long it has
//! been idle. [`crate::http::serve()`] puts it into each request.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::shedding::LastCaller;

/// A connection, and the client whose request arrived on it. Clones are the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Inner>, Client);

/// Where a request comes from: the other end of the connection, or, if that is a proxy, the client that it names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Its port; unknown behind a proxy.
    pub(crate) port: Option<u16>,
    /// The address by which it is counted; `None` when it is not.
    pub(crate) counted: Option<IpAddr>,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[derive(Debug)]
struct Inner {
    is_tls: bool,
    opened: Instant,
    /// Notified when the slot of the connection is needed.
    wanted: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    is_authenticated: bool,
    under_way: usize,
    quiet_since: Instant,
    last_caller: Option<LastCaller>,
}

/// A request in progress on a connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Link);

impl Link {
    pub(crate) fn new(client: Client, is_tls: bool) -> Link {
        let opened = Instant::now();
        let state = Mutex::new(State { is_authenticated: false, under_way: 0, quiet_since: opened, last_caller: None });
        let wanted = Notify::new();
        Link(Arc::new(Inner { is_tls, opened, wanted, state }), client)
    }

    /// The same connection, for a request that its other end has passed on for this client.
    pub(crate) fn on_behalf_of(&self, client: Client) -> Link {
        Link(Arc::clone(&self.0), client)
    }

    /// Where the request comes from.
    pub(crate) fn client(&self) -> Client {
        self.1
    }

    /// The address by which refusals are counted, if they are.
    pub(crate) fn counted(&self) -> Option<IpAddr> {
        self.1.counted
    }

    /// Whether it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.is_tls
    }

    /// Since when no request has been in progress, if none is, and whether one had a valid token.
    pub(crate) fn quiet(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        (state.under_way == 0).then_some((state.is_authenticated, state.quiet_since))
    }

    /// Requests the slot of the connection.
    pub(crate) fn want(&self) {
        self.0.wanted.notify_one();
    }

    /// Returns when the slot of the connection is needed.
    pub(crate) async fn is_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Records that a request had a valid token.
    pub(crate) fn authenticated(&self) {
        self.lock().is_authenticated = true;
    }

    /// Whether a request had a valid token.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.lock().is_authenticated
    }

    /// What is known of the last caller, if there was one.
    pub(crate) fn last_caller<T>(&self, look: impl FnOnce(&LastCaller) -> T) -> Option<T> {
        self.lock().last_caller.as_ref().map(look)
    }

    /// Records a caller.
    pub(crate) fn remember(&self, caller: LastCaller) {
        self.lock().last_caller = Some(caller);
    }

    /// Records a request until the guard is dropped, which must be kept until the answer was sent.
    pub(crate) fn begin(&self) -> UnderWay {
        self.lock().under_way += 1;
        UnderWay(self.clone())
    }

    /// Whether no request is in progress.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().under_way == 0
    }

    /// Returns when the connection must be closed: no caller was authenticated in time, or it was idle for too long. A
    /// time of zero means that there is no such limit.
    pub(crate) async fn has_expired(&self, unauthenticated: Duration, idle: Duration) {
        let after = |from: Instant, time: Duration| from.checked_add(time).filter(|_| !time.is_zero());
        loop {
            let now = Instant::now();
            let look_at = {
                let state = self.lock();
                // During a request, the connection is not idle; the time begins when the request ends.
                let quiet = after(if state.under_way == 0 { state.quiet_since } else { now }, idle);
                let stranger = after(self.0.opened, unauthenticated).filter(|_| !state.is_authenticated);
                [quiet, stranger].into_iter().flatten().min()
            };
            match look_at {
                Some(at) if at <= now => return,
                Some(at) => tokio::time::sleep_until(at).await,
                // If a caller is authenticated later, the connection remains open, too.
                None => std::future::pending().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.quiet_since = Instant::now();
    }
}
