//! Distributed traces: `[tracing]`, where spans are sent and which traces start here.

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::tables::Complaints;

/// Distributed traces with OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// The collector to which spans are sent with OTLP over HTTP, e.g. `http://127.0.0.1:4318`; empty: none, unless
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` names one.
    pub endpoint: String,
    /// The fraction of creations without a trace that start one, from 0 to 1. Creations that come with a trace follow
    /// its decision.
    pub sampling_ratio: f64,
    /// Whether traces are stored with operations and passed on to workers even if there is no collector.
    pub propagate: bool,
}

impl Default for Tracing {
    fn default() -> Tracing {
        Tracing { endpoint: String::new(), sampling_ratio: 1.0, propagate: false }
    }
}

impl Tracing {
    /// All problems, with their keys.
    pub fn check(&self) -> Complaints {
        let mut complaints = Complaints::new();
        if !self.endpoint.is_empty()
            && let Err(message) = collector_url(&self.endpoint)
        {
            complaints.add("endpoint", message);
        }
        let is_share = (0.0..=1.0).contains(&self.sampling_ratio);
        complaints.require(is_share, "sampling_ratio", "must be between 0 and 1, e.g. 0.1 for every tenth");
        complaints
    }
}

/// The URL for traces of a collector at this address.
///
/// # Errors
/// What is wrong with it.
pub fn collector_url(endpoint: &str) -> Result<Url, String> {
    let wanted = "must be the address of a collector that accepts OTLP over HTTP, such as http://127.0.0.1:4318";
    let mut url = Url::parse(endpoint).map_err(|error| format!("{wanted}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wanted.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or a password: put the collector's credentials into \
                    OTEL_EXPORTER_OTLP_HEADERS"
            .to_owned());
    }
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_an_address_without_a_password() {
        let url = |endpoint: &str| collector_url(endpoint).map(String::from);
        assert_eq!(url("http://127.0.0.1:4318").as_deref(), Ok("http://127.0.0.1:4318/v1/traces"));
        assert_eq!(url("https://otel.example.com/base/").as_deref(), Ok("https://otel.example.com/base/v1/traces"));
        for wrong in ["", "collector:4317", "127.0.0.1:4318", "ftp://collector", "http://me:secret@collector"] {
            let told = url(wrong).expect_err(wrong);
            assert!(told.starts_with("must ") && !told.contains("secret@"), "{wrong}: {told}");
        }
    }

    #[test]
    fn a_ratio_is_a_share() {
        let keys = |sampling_ratio| {
            let tracing = Tracing { sampling_ratio, ..Tracing::default() };
            tracing.check().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert!(keys(0.0).is_empty() && keys(0.25).is_empty() && keys(1.0).is_empty());
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(keys(wrong), ["sampling_ratio"]);
        }
    }
}
