//! What policies ask for over HTTP (`http.send`): the server makes the calls and passes the answers to the evaluation
//! process.
//!
//! What it promises: only hosts that the configuration allows are called, at public addresses unless it says otherwise,
//! by the guard that calls of kinds and notices pass; the answers are bounded in size and time.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};

use crate::webhook::{AllowedHosts, read_bounded, unreached};
use evidence::rego::{HttpAnswer, HttpFailure, HttpRequest, HttpResponse};

/// The most calls that are made side by side; as many as an evaluation may ask for.
pub(super) const MAX_AT_ONCE: usize = 32;
/// The most bytes of an answer's body.
const MAX_BODY: usize = 1024 * 1024;

/// What may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallSettings {
    /// Hosts, `osv.example.com` or `*.example.com` for all below it.
    pub allowed_hosts: Vec<String>,
    /// Whether addresses are called that are not of the public internet.
    pub allow_private_addresses: bool,
}

/// Makes the calls of policies.
#[derive(Debug)]
pub struct Calls(AllowedHosts);

impl Calls {
    /// A caller with these settings; nothing is called yet.
    ///
    /// # Errors
    /// A sentence, when this machine has no certificates to verify servers with.
    pub fn new(settings: CallSettings) -> Result<Calls, String> {
        AllowedHosts::new(settings.allowed_hosts, settings.allow_private_addresses).map(Calls)
    }

    /// Makes the calls, side by side; answers in their order.
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
            .map_err(|_| refused(format!("{:?} is no method", request.method)))?;
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
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("the header {name} has no value that can be sent"))?;
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
