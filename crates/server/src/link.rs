//! A connection as its requests know it: where it comes from, whether anybody was authenticated on it, how long it has
//! been quiet. [`crate::http::serve()`] puts it into each request.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::shedding::LastCaller;

/// A connection. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    /// The address as clients are counted by it; `None` when they are not.
    counted: Option<IpAddr>,
    is_tls: bool,
    opened: Instant,
    /// Notified when the connection's place is needed.
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

/// A request that is under way on a connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Link);

impl Link {
    pub(crate) fn new(address: SocketAddr, counted: Option<IpAddr>, is_tls: bool) -> Link {
        let opened = Instant::now();
        let state = Mutex::new(State { is_authenticated: false, under_way: 0, quiet_since: opened, last_caller: None });
        let wanted = Notify::new();
        Link(Arc::new(Inner { address, counted, is_tls, opened, wanted, state }))
    }

    /// The other end.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The address that refusals are counted by, if they are.
    pub(crate) fn counted(&self) -> Option<IpAddr> {
        self.0.counted
    }

    /// Whether it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.is_tls
    }

    /// Since when no request is under way, if none is, and whether one had a valid token.
    pub(crate) fn quiet(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        (state.under_way == 0).then_some((state.is_authenticated, state.quiet_since))
    }

    /// Asks for the place of the connection.
    pub(crate) fn want(&self) {
        self.0.wanted.notify_one();
    }

    /// Returns when somebody wants the place of the connection.
    pub(crate) async fn is_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Takes note that a request had a valid token.
    pub(crate) fn authenticated(&self) {
        self.lock().is_authenticated = true;
    }

    /// What is known of the last caller, if there was one.
    pub(crate) fn last_caller<T>(&self, look: impl FnOnce(&LastCaller) -> T) -> Option<T> {
        self.lock().last_caller.as_ref().map(look)
    }

    /// Takes note of a caller.
    pub(crate) fn remember(&self, caller: LastCaller) {
        self.lock().last_caller = Some(caller);
    }

    /// Takes note of a request until the guard is dropped: to be kept until the answer was sent.
    pub(crate) fn begin(&self) -> UnderWay {
        self.lock().under_way += 1;
        UnderWay(self.clone())
    }

    /// Whether no request is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().under_way == 0
    }

    /// Returns when the connection is to be closed: nobody was authenticated in time, or it was quiet for too long.
    /// With a time of zero, there is no such limit.
    pub(crate) async fn has_expired(&self, unauthenticated: Duration, idle: Duration) {
        let after = |from: Instant, time: Duration| from.checked_add(time).filter(|_| !time.is_zero());
        loop {
            let now = Instant::now();
            let look_at = {
                let state = self.lock();
                // While a request is under way, the connection is not quiet; the time begins when the request ends.
                let quiet = after(if state.under_way == 0 { state.quiet_since } else { now }, idle);
                let stranger = after(self.0.opened, unauthenticated).filter(|_| !state.is_authenticated);
                [quiet, stranger].into_iter().flatten().min()
            };
            match look_at {
                Some(at) if at <= now => return,
                Some(at) => tokio::time::sleep_until(at).await,
                // Somebody who is authenticated later is not to be closed either.
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
