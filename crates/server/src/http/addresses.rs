//! Clients by their addresses: who they are behind a proxy, and how many connections each has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName};

use crate::link::Client;
use crate::services::ApiSettings;

/// The header to which each proxy appends the address from which it got the request.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The part of an IPv6 address that clients cannot choose themselves.
const NETWORK: u128 = !0 << 64;

/// The other end of a connection.
pub(super) fn peer(address: SocketAddr, settings: &ApiSettings) -> Client {
    Client { address: address.ip(), port: Some(address.port()), counted: counted(address.ip(), settings) }
}

/// The client for which a proxy has sent a request: the last one in `X-Forwarded-For` that is not a proxy itself, since
/// anybody can have written what is before it. `None` if the other end is not a proxy, or names nobody that can be read.
pub(super) fn forwarded(peer: IpAddr, headers: &HeaderMap, settings: &ApiSettings) -> Option<Client> {
    let is_proxy = |address: &IpAddr| settings.proxies.contains(address);
    if !is_proxy(&peer.to_canonical()) {
        return None;
    }
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        // What is before the entry may be anything.
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let address = str::from_utf8(entry).ok()?.trim().parse::<IpAddr>().ok()?.to_canonical();
            if !is_proxy(&address) {
                return Some(Client { address, port: None, counted: counted(address, settings) });
            }
        }
    }
    None
}

/// The address by which a client is counted; of an IPv6 address, the network. `None` when clients are not distinguished
/// by addresses, or many clients share this one.
fn counted(address: IpAddr, settings: &ApiSettings) -> Option<IpAddr> {
    let address = address.to_canonical();
    if settings.max_connections_per_address == 0 || settings.proxies.contains(&address) {
        return None;
    }
    Some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & NETWORK).into(),
    })
}

/// Counts connections by address. Clones share the counts.
#[derive(Clone)]
pub(super) struct Addresses {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that is counted, until this is dropped.
pub(super) struct Counted(Option<(Addresses, IpAddr)>);

impl Addresses {
    pub fn new(most: usize) -> Addresses {
        Addresses { most, open: Arc::default() }
    }

    /// Counts a connection, unless its address has as many as it may have.
    pub fn enter(&self, address: Option<IpAddr>) -> Option<Counted> {
        let Some(address) = address else { return Some(Counted(None)) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&address).is_some_and(|count| *count >= self.most) {
            return None;
        }
        *open.entry(address).or_default() += 1;
        Some(Counted(Some((self.clone(), address))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.0 else { return };
        let mut open = addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                open.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn proxies_are_not_counted_and_networks_are_one() {
        let mut settings = ApiSettings::default();
        let counted_as = |text: &str, settings: &ApiSettings| {
            counted(text.parse().unwrap(), settings).map(|address| address.to_string())
        };
        assert_eq!(counted_as("127.0.0.1", &settings), None);
        assert_eq!(counted_as("::1", &settings), None);
        assert_eq!(counted_as("::ffff:127.0.0.1", &settings), None, "an IPv4 address on an IPv6 socket");
        assert_eq!(counted_as("192.0.2.7", &settings).unwrap(), "192.0.2.7");
        assert_eq!(counted_as("2001:db8::1", &settings), counted_as("2001:db8::ffff:1", &settings));
        assert_ne!(counted_as("2001:db8::1", &settings), counted_as("2001:db8:0:1::1", &settings));
        settings.max_connections_per_address = 0;
        assert_eq!(counted_as("192.0.2.7", &settings), None);
    }

    #[test]
    fn a_proxy_names_its_client_and_nobody_else_does() {
        let settings = ApiSettings { proxies: vec!["10.0.0.1".parse().unwrap()], ..ApiSettings::default() };
        let named = |peer: &str, lines: &[&str]| {
            let line = |line: &&str| (X_FORWARDED_FOR, line.parse().unwrap());
            let client = forwarded(peer.parse().unwrap(), &lines.iter().map(line).collect(), &settings);
            client.map(|client| (client.to_string(), client.counted.map(|address| address.to_string())))
        };
        let client = Some(("192.0.2.7".to_owned(), Some("192.0.2.7".to_owned())));
        for lines in [
            &["192.0.2.7"][..],
            &["198.51.100.9, 192.0.2.7"],
            &["198.51.100.9", "192.0.2.7 , 10.0.0.1"],
            &["what a client wrote, \u{e9}, 192.0.2.7,10.0.0.1", "10.0.0.1"],
            &["::ffff:192.0.2.7"],
        ] {
            assert_eq!(named("10.0.0.1", lines), client, "{lines:?}");
            assert_eq!(named("::ffff:10.0.0.1", lines), client, "an IPv4 address on an IPv6 socket");
            assert_eq!(named("192.0.2.8", lines), None, "{lines:?} by a client");
        }
        let network = Some(("2001:db8::7".to_owned(), Some("2001:db8::".to_owned())));
        assert_eq!(named("10.0.0.1", &["2001:db8::7"]), network);
        for nobody in
            [&[][..], &[""], &["unknown"], &["10.0.0.1"], &["192.0.2.7,"], &["192.0.2.7, _hidden"], &["\u{e9}"]]
        {
            assert_eq!(named("10.0.0.1", nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn what_is_closed_counts_no_more() {
        let addresses = Addresses::new(1);
        let (one, other) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let first = addresses.enter(one).unwrap();
        assert!(addresses.enter(one).is_none());
        let more = [addresses.enter(other), addresses.enter(None), addresses.enter(None)];
        assert!(more.iter().all(Option::is_some));
        drop(first);
        assert!(addresses.enter(one).is_some());
        drop(more);
        assert!(addresses.open.lock().unwrap().is_empty());
    }
}
