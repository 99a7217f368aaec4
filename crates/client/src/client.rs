//! The client itself: one server, one token, one connection pool, and how a call is sent.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::{Error, Refusal, origin};
use crate::retry::{pause, retry_after};

/// How many characters of an answer that is not longrun's an error message shows.
const EXCERPT_CHARS: usize = 200;

/// An API token. Its `Debug` text does not show it.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// A token from its text; surrounding white space (such as the line break of a file) is removed.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] when it is empty or contains characters that a header cannot.
    pub fn new(secret: &str) -> Result<Token, Error> {
        let secret = secret.trim();
        if secret.is_empty() || secret.contains(char::is_whitespace) {
            return Err(Error::InvalidToken);
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {secret}")).map_err(|_| Error::InvalidToken)?;
        value.set_sensitive(true);
        Ok(Token(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The settings of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the server may be silent during a call.
    pub read_timeout: Duration,
    /// How often a call that was answered with 503, or with 429 and a time to try again, is repeated, if that is safe.
    pub retries: u32,
    /// How long [`Client::wait`] and [`Watch`](crate::Watch) try to reconnect to a server that went away; `None`:
    /// forever.
    pub reconnect_for: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(90),
            retries: 4,
            reconnect_for: None,
        }
    }
}

/// An answer: its typed form and the body as the server sent it.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The typed answer.
    pub value: T,
    /// The body, byte by byte.
    pub body: Bytes,
    /// For a creation: an existing operation with the requested unique key was returned.
    pub existing: bool,
}

/// A client of one server with one token. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    pub(crate) settings: Settings,
    /// Whether a server has ever answered at this address.
    answered: Arc<AtomicBool>,
    /// The span that calls belong to, as the value of the header `traceparent`.
    trace: Option<HeaderValue>,
}

/// How a server handled a call.
pub(crate) enum Sent {
    /// It answered the call.
    Done(Response),
    /// It is busy and wants the call to be repeated (503, or 429 with a time).
    Busy(Response),
}

impl Client {
    /// A client of the server at `url`, e.g. `http://127.0.0.1:8080`, with the default settings.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] when `url` is not an `http` or `https` address.
    pub fn new(url: &str, token: Token) -> Result<Client, Error> {
        Client::with_settings(url, token, Settings::default())
    }

    /// A client with custom settings.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] when `url` is not an `http` or `https` address, or is `https` and this machine has no
    /// certificates to verify it with.
    pub fn with_settings(url: &str, token: Token, settings: Settings) -> Result<Client, Error> {
        install_crypto_provider();
        let invalid = |reason: String| Error::InvalidUrl { url: url.to_owned(), reason };
        let mut base = Url::parse(url).map_err(|error| invalid(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(invalid("it must start with http:// or https://".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(invalid("it must have neither a user, a password nor a query".to_owned()));
        }
        // `Url::join` replaces everything after the last slash; a server behind a path prefix keeps its prefix.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("longrun-client/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, token.0)]))
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout)
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" {
            // Certificates are not needed, and a small container may have none to load.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| invalid(Error::from_reqwest(&base, &error).to_string()))?;
        Ok(Client { http, base, settings, answered: Arc::default(), trace: None })
    }

    /// The same client, whose calls belong to a span of yours: each carries it as the header `traceparent` of [W3C
    /// Trace Context](https://www.w3.org/TR/trace-context/), and what they create is part of its trace. It shares
    /// connections with this one. A text that is not valid in a header is left out; a server ignores one that is not a
    /// `traceparent`.
    #[must_use]
    pub fn within_trace(&self, traceparent: &str) -> Client {
        Client { trace: HeaderValue::from_str(traceparent).ok(), ..self.clone() }
    }

    /// The server's address, for use in messages.
    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// The address of a call; `segments` are escaped.
    pub(crate) fn address(&self, path: &str) -> Url {
        self.base.join(path).expect("paths of this crate are relative and escaped")
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Sends a call, as often as the server asks for it, and returns the response if it is a success or a 304.
    ///
    /// Sending any call of this crate twice is safe: it reads, stores by content, has an idempotency key, is a worker's
    /// call, whose second settlement is refused, or changes the state of an operation, which then refuses the second
    /// call.
    ///
    /// This takes a plain closure and not an async one: the future of an async closure is not `Send` for every
    /// lifetime, so a caller could not spawn a call.
    pub(crate) async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let mut repetition = 0;
        loop {
            match self.send_once(request()).await? {
                Sent::Done(response) => return Ok(response),
                Sent::Busy(response) => self.pause(response, &mut repetition).await?,
            }
        }
    }

    /// Sends a call once.
    pub(crate) async fn send_once(&self, request: RequestBuilder) -> Result<Sent, Error> {
        let request = match &self.trace {
            Some(trace) => request.header("traceparent", trace.clone()),
            None => request,
        };
        let response = request.send().await.map_err(|error| Error::from_reqwest(&self.base, &error))?;
        self.answered.store(true, Ordering::Relaxed);
        match response.status() {
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(Sent::Done(response)),
            StatusCode::SERVICE_UNAVAILABLE => Ok(Sent::Busy(response)),
            // Without a time the limit is not one that passes, such as that of the evidence an organization may store.
            StatusCode::TOO_MANY_REQUESTS if retry_after(response.headers()).is_some() => Ok(Sent::Busy(response)),
            _ => Err(self.failure(response).await),
        }
    }

    /// Whether a server has ever answered this client or a clone of it. If none has, the address is probably wrong, and
    /// waiting would be in vain.
    pub(crate) fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether to keep trying to reach a server that has been away since then.
    pub(crate) fn goes_on_since(&self, lost: Instant) -> bool {
        self.settings.reconnect_for.is_none_or(|longest| lost.elapsed() < longest)
    }

    /// Pauses as the server requested; returns its refusal after too many repetitions.
    pub(crate) async fn pause(&self, busy: Response, repetition: &mut u32) -> Result<(), Error> {
        if *repetition >= self.settings.retries {
            return Err(self.failure(busy).await);
        }
        tokio::time::sleep(pause(retry_after(busy.headers()), *repetition)).await;
        *repetition += 1;
        Ok(())
    }

    /// Sends a call and reads its answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answer<T>, Error> {
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Sends a call once and reads its answer; a busy server is a refusal like any other.
    pub(crate) async fn call_once<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>, Error> {
        match self.send_once(request).await? {
            Sent::Done(response) => self.read(response).await,
            Sent::Busy(response) => Err(self.failure(response).await),
        }
    }

    /// Reads the answer of a successful call.
    pub(crate) async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<Answer<T>, Error> {
        let status = response.status();
        let existing = response.headers().get("x-longrun-existing").is_some_and(|value| value == "true");
        let body = response.bytes().await.map_err(|error| Error::from_reqwest(&self.base, &error))?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Answer { value, body, existing }),
            Err(_) => Err(self.unexpected(status, &body)),
        }
    }

    async fn failure(&self, response: Response) -> Error {
        let http_status = response.status();
        let retry_after = retry_after(response.headers());
        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return Error::from_reqwest(&self.base, &error),
        };
        match serde_json::from_slice(&body) {
            Ok(status) => {
                let http_status = http_status.as_u16();
                Error::Refused(Box::new(Refusal { http_status, status, request_id, retry_after }))
            }
            Err(_) => self.unexpected(http_status, &body),
        }
    }

    pub(crate) fn unexpected(&self, status: StatusCode, body: &[u8]) -> Error {
        let text = String::from_utf8_lossy(body);
        let excerpt = text.chars().take(EXCERPT_CHARS).collect();
        Error::Unexpected { url: origin(&self.base), http_status: status.as_u16(), excerpt }
    }
}

/// A proxy must not be used for calls to the local machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// TLS needs one cryptography provider per process; if a program has installed one, it is kept.
pub(crate) fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has already installed one, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client, Error> {
        Client::new(url, Token::new("lrn_secret").expect("a token"))
    }

    #[test]
    fn a_path_prefix_is_kept() {
        let client = client("http://localhost/behind/a/proxy").expect("a client");
        assert_eq!(client.address("v1/operations").as_str(), "http://localhost/behind/a/proxy/v1/operations");
        assert_eq!(client.url(), "http://localhost/behind/a/proxy");
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for url in ["", "127.0.0.1:8080", "localhost:8080", "ftp://x", "http://u:p@x", "http://x/?a=b"] {
            assert!(matches!(client(url), Err(Error::InvalidUrl { .. })), "{url}");
        }
    }

    #[test]
    fn tokens_are_never_shown_and_lose_their_line_end() {
        assert_eq!(format!("{:?}", Token::new("lrn_secret\n").expect("a token")), "Token(…)");
        let client = client("http://localhost").expect("a client");
        assert!(!format!("{client:?}").contains("lrn_secret"));
        for bad in ["", " \n", "a b", "a\u{0}"] {
            assert!(Token::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).expect("a url")), expected, "{url}");
        }
    }
}
