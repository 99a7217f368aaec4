//! Traces, as set in the configuration and the environment.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use store::meters::Meters;
use traces::{Collector, Traces};

use crate::config::{Config, collector_url};
use crate::environment::variable;
use crate::exit::Hint as _;

/// The environment variables that OpenTelemetry defines.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// Timeout for connecting to the collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sets up the traces of this process, which is called `name`. Must be called within a tokio runtime.
///
/// # Errors
/// When a variable of the environment cannot be used.
pub fn traces(config: &Config, meters: Meters, name: &str) -> anyhow::Result<Traces> {
    let (endpoint, whence) = match &config.tracing.endpoint {
        endpoint if !endpoint.is_empty() => (Some(endpoint.clone()), "tracing.endpoint"),
        _ => (variable(ENDPOINT), ENDPOINT),
    };
    let Some(endpoint) = endpoint else {
        return Ok(if config.tracing.propagate { Traces::handed_on() } else { Traces::default() });
    };
    let url = collector_url(&endpoint).map_err(|message| anyhow::anyhow!("{whence} {message}"))?;
    let headers = headers(&variable(HEADERS).unwrap_or_default())
        .context(format!("cannot use {HEADERS}"))
        .hint("it is a list such as authorization=Bearer%20TOKEN,x-tenant=acme: values are percent-encoded")?;
    kinds::webhook::install_crypto_provider();
    let mut builder =
        Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
    if url.scheme() == "http" {
        // Certificates are not needed, and a small container may have none to load.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().with_context(|| format!("cannot call the collector set by {whence}"))?;
    let process = vec![
        ("service.name", variable(SERVICE).unwrap_or_else(|| "longrun".to_owned())),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", name.to_owned()),
    ];
    Ok(Traces::exported(Collector { client, url, headers, process }, config.tracing.sampling_ratio, meters))
}

/// Headers as `name=value,name=value`; values are percent-encoded. Errors do not show values, which may be secrets.
fn headers(text: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (number, header) in text.split(',').map(str::trim).filter(|header| !header.is_empty()).enumerate() {
        let (name, value) = header.split_once('=').with_context(|| format!("its part {} has no =", number + 1))?;
        let name: HeaderName = name.trim().parse().with_context(|| format!("its part {} has no name", number + 1))?;
        let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
        let mut value = HeaderValue::from_bytes(&value)
            .ok()
            .with_context(|| format!("the value of {name} is not valid for a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let read = headers("authorization=Bearer%20s3cret, x-tenant=acme,").unwrap();
        assert_eq!(
            (read["authorization"].as_bytes(), read["x-tenant"].as_bytes()),
            (&b"Bearer s3cret"[..], &b"acme"[..])
        );
        assert!(!format!("{read:?}").contains("s3cret"));
        assert!(headers("").unwrap().is_empty());
        for wrong in ["s3cret", "=s3cret", "a b=s3cret", "x=s3cret%0a"] {
            let told = format!("{:#}", headers(wrong).unwrap_err());
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
