//! Calls to identity providers: bounded in time and size, encrypted unless the operator allows otherwise, and without
//! redirects and proxies, which could lead elsewhere.

use std::pin::Pin;
use std::time::Duration;

use kinds::webhook::{innermost, install_crypto_provider};
use openidconnect::url::{Host, Url};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// How long a call may take. Callers may wait for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer: a hundred keys with their certificates fit.
const LIMIT: usize = 512 * 1024;

/// Why a provider did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// This machine cannot make such calls.
    #[error("this machine cannot make calls to identity providers: {0}")]
    Setup(String),
    /// The text is not an address that may be called.
    #[error("{0} is not an https:// address (allow_http would allow http://)")]
    Address(String),
    /// The call failed.
    #[error("could not call {host}: {why}")]
    Call {
        /// The host that was called.
        host: String,
        /// Why it failed.
        why: String,
    },
    /// The answer is not a success.
    #[error("{host} answered {status}")]
    Status {
        /// The host that answered.
        host: String,
        /// The status of the answer.
        status: u16,
    },
    /// The answer is too long.
    #[error("the answer of {0} is longer than {LIMIT} bytes")]
    TooLong(String),
    /// The answer is not what was requested.
    #[error("the answer of {host} cannot be used: {why}")]
    Unusable {
        /// The host that answered.
        host: String,
        /// Why it cannot be used.
        why: String,
    },
}

/// Makes calls. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    client: Client,
    allow_http: bool,
}

impl Fetcher {
    /// With `allow_http`, providers are also called without encryption; those on this machine may always be.
    pub(crate) fn new(allow_http: bool, encrypted: bool) -> Result<Fetcher, FetchError> {
        install_crypto_provider();
        let mut builder = Client::builder()
            .user_agent(concat!("longrun/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy();
        if !encrypted {
            // Certificates are not needed, and a small container may have none to load.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| FetchError::Setup(innermost(&error)))?;
        Ok(Fetcher { client, allow_http })
    }

    /// The content at this address.
    pub(crate) async fn get(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let mut request = HttpRequest::new(Vec::new());
        *request.uri_mut() = url.as_str().parse().map_err(|_| FetchError::Address(url.to_string()))?;
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(FetchError::Status { host: host(url), status: response.status().as_u16() });
        }
        Ok(response.into_body())
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let url = check_url(&url, self.allow_http).map_err(|_| FetchError::Address(url))?;
        let host = host(&url);
        let failed = |error: reqwest::Error| FetchError::Call { host: host.clone(), why: innermost(&error) };
        let call = self.client.request(parts.method, url).headers(parts.headers).body(body);
        let mut answer = call.send().await.map_err(failed)?;
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if response.body().len() + chunk.len() > LIMIT {
                return Err(FetchError::TooLong(host));
            }
            response.body_mut().extend_from_slice(&chunk);
        }
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Fetcher {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// When something of a provider was last fetched. Locked during a fetch: whoever waits for that of another caller uses its
/// result.
#[derive(Debug, Default)]
pub(super) struct Fetches(Mutex<Option<Instant>>);

impl Fetches {
    /// As if it had been fetched just now.
    pub(super) fn just_made() -> Fetches {
        Fetches(Mutex::new(Some(Instant::now())))
    }

    /// Makes a fetch, unless the last one began or failed less than a pause ago.
    pub(super) async fn make<E>(&self, pause: Duration, fetch: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        make(self.0.lock().await, pause, fetch).await
    }

    /// The same, unless another caller is making one.
    pub(super) async fn make_alone<E>(
        &self,
        pause: Duration,
        fetch: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        match self.0.try_lock() {
            Ok(tried_at) => make(tried_at, pause, fetch).await,
            Err(_) => Ok(()),
        }
    }
}

async fn make<E>(
    mut tried_at: MutexGuard<'_, Option<Instant>>,
    pause: Duration,
    fetch: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    if tried_at.is_some_and(|at| at.elapsed() < pause) {
        return Ok(());
    }
    // The caller may go away meanwhile; the next one must not begin at once.
    *tried_at = Some(Instant::now());
    let fetched = fetch.await;
    if fetched.is_err() {
        // Those who waited do not try again one after the other.
        *tried_at = Some(Instant::now());
    }
    fetched
}

/// The address of a provider, if it may be called: it uses encryption, is on this machine, or `allow_http` is set.
///
/// # Errors
/// A description of what would be valid.
pub fn check_url(text: &str, allow_http: bool) -> Result<Url, String> {
    let example = "such as \"https://id.example.com\"";
    let url = Url::parse(text).map_err(|error| format!("must be an address {example}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("must be an address {example} without a user, a password and a fragment"));
    }
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(format!("must be an address {example}")),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here || allow_http => Ok(url),
        "http" => {
            Err("must begin with https://, because anybody on the way could otherwise forge identities. allow_http = true allows \
                       http:// on a trusted network"
                .to_owned())
        }
        _ => Err(format!("must be an address {example}")),
    }
}

/// The name of a provider in errors.
pub(crate) fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_called_encrypted_or_on_this_machine() {
        for good in ["https://id.example.com/realms/acme", "http://127.0.0.1:9", "http://localhost/", "http://[::1]:9/"]
        {
            assert!(check_url(good, false).is_ok(), "{good}");
        }
        for bad in
            ["http://id.example.com", "http://10.0.0.1", "ftp://localhost", "id.example.com", "file:///etc/passwd"]
        {
            assert!(check_url(bad, false).is_err(), "{bad}");
        }
        assert!(check_url("http://id.internal", true).is_ok());
        assert!(check_url("https://me:secret@id.example.com", true).is_err());
    }
}
