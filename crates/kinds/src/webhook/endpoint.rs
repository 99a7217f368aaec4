//! The endpoints of calls, and the call itself.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Once;
use std::time::{Duration, SystemTime};

use engine::Failure;
use evidence::policy::is_host_allowed;
use operations::TraceContext;
use reqwest::{Client, Url};

use super::address::{NotPublic, PublicOnly, is_public};
use super::{Secrets, answer};

/// How long it may take to connect; the whole call may take as long as the attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of the server that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// `https` or `http`.
    pub url: String,
    /// Hosts that may be called: `hooks.example.com`, or `*.example.com` for all subdomains; empty: the host of the
    /// URL.
    pub allowed_hosts: Vec<String>,
    /// Whether addresses outside of the public internet may be called.
    pub allow_private_addresses: bool,
}

/// What is wrong with [`EndpointSettings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {message}")]
pub struct InvalidEndpoint {
    /// The field.
    pub key: &'static str,
    /// What is wrong with it and what would be valid.
    pub message: String,
}

/// A server to which signed calls are posted. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Endpoint {
    client: Client,
    url: Url,
    secrets: Secrets,
}

impl EndpointSettings {
    /// Checks everything but the addresses of the host's name, which are resolved at each connection.
    ///
    /// # Errors
    /// [`InvalidEndpoint`], the first problem that is found.
    pub fn check(&self) -> Result<Url, InvalidEndpoint> {
        self.check_for("allowed_hosts")
    }

    /// The same, where `hosts` is the key of the configuration that the allowed hosts come from.
    fn check_for(&self, hosts: &str) -> Result<Url, InvalidEndpoint> {
        let refuse = |message: String| Err(InvalidEndpoint { key: "url", message });
        if self.url.is_empty() {
            return refuse("is missing; e.g. \"https://hooks.example.com/scan\"".to_owned());
        }
        let url = match Url::parse(&self.url) {
            Ok(url) => url,
            Err(error) => return refuse(format!("is not a URL such as \"https://hooks.example.com/scan\": {error}")),
        };
        let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return refuse("must begin with https:// or http://".to_owned());
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("must not contain a user or a password".to_owned());
        }
        if !self.allowed_hosts.is_empty() && !self.allowed_hosts.iter().any(|allowed| is_host_allowed(host, allowed)) {
            return refuse(format!("leads to {host}, which is not among {hosts}"));
        }
        if let Some(address) = literal(host)
            && !self.allow_private_addresses
            && !is_public(address)
        {
            return refuse(format!("leads to the private address {address}; allow_private_addresses would allow it"));
        }
        Ok(url)
    }

    /// The client that calls the endpoint, and the URL.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] as in [`EndpointSettings::check`], or when the URL is `https` and this machine has no
    /// certificates to verify the server with.
    pub(crate) fn client(&self) -> Result<(Client, Url), InvalidEndpoint> {
        let url = self.check()?;
        let client = client(self.allow_private_addresses, url.scheme() != "http").map_err(|error| InvalidEndpoint {
            key: "url",
            message: format!("cannot be called: {}", innermost(&error)),
        })?;
        Ok((client, url))
    }
}

/// The address, if the host is one and not a name. The resolver resolves names; addresses never reach it.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A client for external servers: it calls directly, without following redirects, and only public addresses unless
/// others are allowed. [`EndpointSettings::check`] decides which URLs may be called.
///
/// # Errors
/// When calls are to be `encrypted` and this machine has no certificates to verify servers with.
pub(crate) fn client(allow_private_addresses: bool, encrypted: bool) -> reqwest::Result<Client> {
    install_crypto_provider();
    let mut builder = Client::builder()
        .user_agent(concat!("longrun/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if !allow_private_addresses {
        builder = builder.dns_resolver(PublicOnly);
    }
    if !encrypted {
        // Certificates are not needed, and a small container may have none to load.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Hosts that are called at addresses which callers name, and the client that calls them.
#[derive(Debug)]
pub(crate) struct AllowedHosts {
    /// The key of the configuration that they come from.
    key: &'static str,
    /// The settings of an endpoint, without an address.
    settings: EndpointSettings,
    pub(crate) client: Client,
}

impl AllowedHosts {
    /// No call is made yet. `key` is the key of the configuration that the hosts come from.
    ///
    /// # Errors
    /// A sentence, if this machine has no certificates to verify servers with.
    pub(crate) fn new(
        key: &'static str,
        allowed_hosts: Vec<String>,
        allow_private_addresses: bool,
    ) -> Result<AllowedHosts, String> {
        let client = client(allow_private_addresses, true).map_err(|error| innermost(&error))?;
        let settings = EndpointSettings { url: String::new(), allowed_hosts, allow_private_addresses };
        Ok(AllowedHosts { key, settings, client })
    }

    /// The address as a URL, if it may be called.
    ///
    /// # Errors
    /// A sentence that says why the address may not be called.
    pub(crate) fn check(&self, address: &str) -> Result<Url, String> {
        let endpoint = EndpointSettings { url: address.to_owned(), ..self.settings.clone() };
        endpoint.check_for(self.key).map_err(|error| format!("the address {}", error.message))
    }
}

impl Endpoint {
    /// An endpoint whose settings have been checked; no call is made yet.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] as in [`EndpointSettings::check`], or when the URL is `https` and this machine has no
    /// certificates to verify the server with.
    pub fn new(settings: &EndpointSettings, secrets: Secrets) -> Result<Endpoint, InvalidEndpoint> {
        let (client, url) = settings.client()?;
        Ok(Endpoint { client, url, secrets })
    }

    /// Posts a signed body; returns the server's answer, at most `limit` bytes.
    ///
    /// `id` identifies the message: it is the same each time that the message is repeated, so that a receiver can
    /// detect the repetition. `trace` is the span that the call belongs to, sent as the header `traceparent`.
    ///
    /// # Errors
    /// [`Failure`], permanent where another attempt would fail as well.
    pub async fn post(
        &self,
        id: &str,
        content_type: &str,
        body: Vec<u8>,
        limit: usize,
        trace: Option<TraceContext>,
    ) -> Result<String, Failure> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = since_1970.as_secs();
        let mut call = self
            .client
            .post(self.url.clone())
            .header("content-type", content_type)
            .header("webhook-id", id)
            .header("webhook-timestamp", time.to_string())
            .header("webhook-signature", self.secrets.sign(id, time, &body))
            .body(body);
        if let Some(trace) = trace {
            call = call.header("traceparent", trace.to_string());
        }
        match call.send().await {
            Ok(response) => {
                answer::read(response, limit, "; store large output as evidence and answer its digest").await
            }
            Err(error) => Err(unreached(&self.url, &error)),
        }
    }
}

/// The failure of a call that got no answer.
pub(crate) fn unreached(url: &Url, error: &reqwest::Error) -> Failure {
    if let Some(refused) = causes(error).find_map(|cause| cause.downcast_ref::<NotPublic>()) {
        return Failure::permanent(refused.to_string());
    }
    let host = url.host_str().unwrap_or_default();
    Failure::transient(format!("{host} could not be called: {}", innermost(error)))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // `*error`, since otherwise the source would be borrowed from the reference.
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The most specific cause, without the URL.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// TLS needs one cryptography provider per process; a program that has chosen one keeps it.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has already installed one, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, allowed: &[&str], allow_private_addresses: bool) -> Result<(), String> {
        let allowed_hosts = allowed.iter().map(|host| (*host).to_owned()).collect();
        let settings = EndpointSettings { url: url.to_owned(), allowed_hosts, allow_private_addresses };
        settings.check().map(drop).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(url: &str, why: &str) {
        match check(url, &[], false) {
            Err(message) if message.contains(why) => {}
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn urls_that_cannot_be_called_are_refused() {
        refused("", "is missing");
        refused("hooks.example.com", "is not a URL");
        refused("ftp://hooks.example.com/", "https:// or http://");
        refused("file:///etc/passwd", "https:// or http://");
        refused("https://me:secret@hooks.example.com/", "a password");
        assert_eq!(check("https://hooks.example.com/scan?a=b", &[], false), Ok(()));
    }

    #[test]
    fn private_addresses_are_refused_however_they_are_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://169.254.169.254/latest/meta-data",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fd00::1]:8080/",
        ] {
            refused(url, "private address");
            assert_eq!(check(url, &[], true), Ok(()), "{url}");
        }
        assert_eq!(check("https://1.1.1.1/", &[], false), Ok(()));
    }

    #[test]
    fn only_allowed_hosts_are_called() {
        let allowed = ["hooks.example.com", "*.example.org"];
        for url in ["https://hooks.example.com/", "https://HOOKS.example.com:444/", "https://a.b.example.org/"] {
            assert_eq!(check(url, &allowed, false), Ok(()), "{url}");
        }
        for url in ["https://example.com/", "https://example.org/", "https://badexample.org/", "https://x.example.com/"]
        {
            assert!(check(url, &allowed, false).is_err(), "{url}");
        }
    }
}
