//! Whether a server is alive and ready, for its operators.

use std::time::Duration;

use reqwest::Url;

use crate::client::install_crypto_provider;
use crate::error::Error;

/// How many characters of an answer an error shows.
const EXCERPT_CHARS: usize = 300;

/// Asks a server at the address of its `admin_listen`, e.g. `http://127.0.0.1:9090`: `/readyz`, or `/healthz` to check
/// only its process. Needs no token. Returns the server's answer.
///
/// # Errors
/// [`Error::InvalidUrl`]; [`Error::Connect`] and [`Error::Transport`] when it does not answer within `patience`;
/// [`Error::Unexpected`] with the reason when it reports that it is not ready (503).
pub async fn health(admin_url: &str, only_alive: bool, patience: Duration) -> Result<String, Error> {
    install_crypto_provider();
    let invalid = |reason: String| Error::InvalidUrl { url: admin_url.to_owned(), reason };
    let url = format!("{}/{}", admin_url.trim_end_matches('/'), if only_alive { "healthz" } else { "readyz" });
    let url = Url::parse(&url).map_err(|error| invalid(error.to_string()))?;
    let client = reqwest::Client::builder().no_proxy().timeout(patience).build();
    let client = client.map_err(|error| invalid(error.to_string()))?;
    let broken = |error: reqwest::Error| Error::from_reqwest(&url, &error);
    let answer = client.get(url.clone()).send().await.map_err(broken)?;
    let status = answer.status();
    let text = answer.text().await.map_err(broken)?;
    if status.is_success() {
        return Ok(text.trim_end().to_owned());
    }
    let excerpt = text.chars().take(EXCERPT_CHARS).collect();
    Err(Error::Unexpected { url: admin_url.to_owned(), http_status: status.as_u16(), excerpt })
}
