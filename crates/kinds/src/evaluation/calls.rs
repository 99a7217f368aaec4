//! The HTTP calls of policies (`http.send`): the server makes the calls and passes the answers to the evaluation
//! process.
//!
//! What it promises: only hosts that the configuration allows are called, and only at public addresses unless it allows
//! others; the guard is the one that calls of kinds and notices pass. The answers are bounded in size and time.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};

use crate::webhook::{AllowedHosts, read_bounded, unreached};
use evidence::rego::{HttpAnswer, HttpFailure, HttpRequest, HttpResponse};

/// The maximum number of calls that are made at the same time; as many as an evaluation may request.
pub(super) const MAX_AT_ONCE: usize = 32;
/// The maximum length of an answer's body, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// The calls that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallSettings {
    /// Hosts: `osv.example.com`, or `*.example.com` for all subdomains.
    pub allowed_hosts: Vec<String>,
    /// Whether addresses outside of the public internet may be called.
    pub allow_private_addresses: bool,
}

/// Makes the calls of policies.
#[derive(Debug)]
pub struct Calls(AllowedHosts);

impl Calls {
    /// A caller with these settings; no call is made yet.
    ///
    /// # Errors
    /// A sentence, if this machine has no certificates to verify servers with.
    pub fn new(settings: CallSettings) -> Result<Calls, String> {
        let CallSettings { allowed_hosts, allow_private_addresses } = settings;
        AllowedHosts::new("policies.http_send_hosts", allowed_hosts, allow_private_addresses).map(Calls)
    }

    /// Makes the calls, all at the same time; returns the answers in the order of the calls.
    pub(super) async fn make(&self, requests: Vec<HttpRequest>) -> Vec<(HttpRequest, HttpAnswer)> {
        let calls = requests.into_iter().map(async |request| {
            let answer = self.call(&request).await;
            (request, answer)
        });
        futures_util::future::join_all(calls).await
    }

    async fn call(&self, request: &HttpRequest) -> HttpAnswer {
        let refused = |message: String| HttpFailure { message, is_transient: false };
        let url = self.0.check(&request.url).map_err(refused)?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| refused(format!("{:?} is not an HTTP method", request.method)))?;
        let headers = headers(request).map_err(refused)?;
        let mut call = self.0.client.request(method, url.clone()).headers(headers);
        if let Some(body) = &request.body {
            call = call.body(body.clone());
        }
        let answered = async {
            let failed =
                |failure: engine::Failure| HttpFailure { is_transient: failure.retryable, message: failure.message };
            let response = call.send().await.map_err(|error| failed(unreached(&url, &error)))?;
            read(response).await.map_err(failed)
        };
        let late = || HttpFailure {
            message: format!("{} did not answer within {} ms", url.host_str().unwrap_or_default(), request.timeout_ms),
            is_transient: true,
        };
        let time = Duration::from_millis(request.timeout_ms);
        tokio::time::timeout(time, answered).await.unwrap_or_else(|_| Err(late()))
    }
}

fn headers(request: &HttpRequest) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if request.body.is_some() {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    for (name, value) in &request.headers {
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a valid header name"))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("the value of the header {name} cannot be sent"))?;
        headers.insert(header, value);
    }
    Ok(headers)
}

async fn read(mut response: Response) -> Result<HttpResponse, engine::Failure> {
    let mut headers: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.as_str().to_owned()).or_default().push(value);
    }
    let status = response.status();
    let (body, is_whole) = read_bounded(&mut response, MAX_BODY).await?;
    if !is_whole {
        return Err(engine::Failure::permanent(format!("the answer is longer than {MAX_BODY} bytes")));
    }
    Ok(HttpResponse {
        status_code: status.as_u16(),
        status: status.to_string(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
