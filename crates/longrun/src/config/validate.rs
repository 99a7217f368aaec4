//! Checks that the types of [`Config`] cannot express: values that contradict each other or the environment.

use std::path::Path;
use std::time::Duration;

use store::StoreUrl;

use super::units::Span;
use super::{Config, Oidc};

/// A page with more entries than this would be too large (each may have 16 KiB of output).
const MOST_PAGE_SIZE: u32 = 1000;
/// Ten years, as for `retain_for`: longer retention is "forever".
const LONGEST_RETENTION: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Evidence is kept at least this long, because its uses are not recorded more often.
const SHORTEST_EVIDENCE: Duration = Duration::from_secs(3_600);

/// Every value that cannot be used, with its key. Checks files, but opens no store and no socket.
pub fn validate(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut check = |holds: bool, key: &str, message: &str| {
        if !holds {
            found.push((key.to_owned(), message.to_owned()));
        }
    };
    let address = "must be address:port, e.g. 127.0.0.1:8080";
    check(is_address(&config.listen), "listen", address);
    check(config.admin_listen.is_empty() || is_address(&config.admin_listen), "admin_listen", address);
    check(
        config.admin_listen.is_empty() || config.admin_listen != config.listen || config.listen.ends_with(":0"),
        "admin_listen",
        "must not be the address of the API: everybody who reaches the API would also reach the metrics",
    );
    let store = super::store_url(config.store.expose());
    let has_standbys = matches!(store, Ok(StoreUrl::Postgres(_)));
    check(store.is_ok(), "store", &store.err().unwrap_or_default());
    if !config.read_store.is_empty() {
        let standby = "must be the postgres://USER@HOST:PORT/DATABASE of a standby, with store set to its primary";
        match super::store_url(config.read_store.expose()) {
            Ok(StoreUrl::Postgres(_)) => check(has_standbys, "read_store", standby),
            Ok(StoreUrl::Sqlite(_)) => check(false, "read_store", standby),
            Err(message) => check(false, "read_store", &message),
        }
    }
    if !config.cells.is_empty() {
        check(has_standbys, "store", "must be postgres://…: with cells it is the directory of their organizations");
        let own = "must be empty with cells: set read_store in each [cells.NAME]";
        check(config.read_store.is_empty(), "read_store", own);
    }
    let mut urls = std::collections::BTreeSet::new();
    for (name, cell) in &config.cells {
        for (key, message) in cell.check(name) {
            check(false, &format!("cells.{name}.{key}"), &message);
        }
        let is_new = urls.insert(cell.store.expose());
        check(is_new, &format!("cells.{name}.store"), "is also the database of another cell: each cell needs its own");
    }

    let tls = &config.tls;
    check(
        tls.cert.is_empty() == tls.key.is_empty(),
        "tls.cert",
        "tls.cert and tls.key go together: set both or neither",
    );
    for (key, file) in [("tls.cert", &tls.cert), ("tls.key", &tls.key)] {
        check(file.is_empty() || std::fs::File::open(file).is_ok(), key, &format!("the file {file} cannot be read"));
    }

    check(!tls.admin || !tls.cert.is_empty(), "tls.admin", "needs tls.cert and tls.key");

    if let Some(message) = config.http.cors.complaint() {
        check(false, "http.cors.origins", &message);
    }

    let api = &config.api;
    check((1..=MOST_PAGE_SIZE).contains(&api.max_page_size), "api.max_page_size", "must be between 1 and 1000");
    check(
        (1..=api.max_page_size).contains(&api.default_page_size),
        "api.default_page_size",
        "must be at least 1 and at most api.max_page_size",
    );
    check(api.first_page <= 1, "api.first_page", "must be 0 or 1");
    check(api.max_in_flight > 0, "api.max_in_flight", "must be at least 1");
    check(
        (1..=api.max_in_flight).contains(&api.max_in_flight_per_organization),
        "api.max_in_flight_per_organization",
        "must be at least 1 and at most api.max_in_flight",
    );
    check(api.max_connections > 0, "api.max_connections", "must be at least 1");
    check(api.max_waiting_claims > 0, "api.max_waiting_claims", "must be at least 1");
    check(api.body_limit.0 > 0, "api.body_limit", "must be above 0");

    check(!config.evidence.folder.is_empty(), "evidence.folder", "must name a folder");
    let url = &config.evidence.url;
    let told = "must be empty, or an address such as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
    check(url.is_empty() || store::ContentStore::check_bucket(url).is_ok(), "evidence.url", told);
    check(config.evidence.max_size.0 > 0, "evidence.max_size", "must be above 0");
    if let Err((key, message)) = config.encryption.keyring() {
        check(false, key, &message);
    }
    if let Err((key, message)) = config.attestation.signer() {
        check(false, key, &message);
    }
    if let Err(message) = config.signatures.trusted_keys() {
        check(false, "signatures.trusted_keys", &message);
    }
    if let Err((key, message)) = config.signatures.trusted_identities() {
        check(false, key, &message);
    }
    let folder = &config.policies.folder;
    let missing = format!("the folder {folder} does not exist");
    check(folder.is_empty() || Path::new(folder).is_dir(), "policies.folder", &missing);
    let (fetched, own): (Vec<&String>, Vec<&String>) = config
        .policies
        .default
        .iter()
        .partition(|reference| reference.contains("://") && !reference.starts_with("file"));
    check(
        own.is_empty() || !folder.is_empty(),
        "policies.default",
        "needs policies.folder, in which references are looked up",
    );
    let hosts = &config.policies.allowed_hosts;
    check(
        fetched.is_empty() || !hosts.is_empty(),
        "policies.default",
        "needs policies.allowed_hosts, from which references over the network are fetched",
    );
    let is_host = |host: &String| !host.trim_start_matches("*.").is_empty() && !host.contains(['/', ':', ' ', '@']);
    let message = "must be host names, such as policies.example.com or *.example.com";
    check(hosts.iter().all(is_host), "policies.allowed_hosts", message);
    check(config.policies.http_send_hosts.iter().all(is_host), "policies.http_send_hosts", message);
    check(hosts.is_empty() || !config.policies.cache.is_empty(), "policies.cache", "must name a folder");
    check(config.policies.memory_limit.0 > 0, "policies.memory_limit", "must be above 0");
    for (key, message) in config.ai.check() {
        check(false, &format!("ai.{key}"), &message);
    }

    for (name, kind) in &config.kinds.declared {
        for (key, message) in kind.check(name) {
            check(false, &format!("kinds.{name}.{key}"), &message);
        }
    }

    for (name, notice) in &config.notices {
        for (key, message) in notice.check() {
            check(false, &format!("notices.{name}.{key}"), &message);
        }
    }

    for (key, message) in config.limits.check() {
        check(false, &format!("limits.{key}"), &message);
    }
    for (key, message) in config.tracing.check() {
        check(false, &format!("tracing.{key}"), &message);
    }
    for (name, organization) in &config.organizations {
        for (key, message) in organization.check(name, &config.limits) {
            check(false, &format!("organizations.{name}.{key}"), &message);
        }
    }

    for (name, provider) in &config.auth.jwt {
        for (key, message) in provider.check(name) {
            check(false, &format!("auth.jwt.{name}.{key}"), &message);
        }
    }
    for (key, message) in config.auth.oidc.iter().flat_map(Oidc::check) {
        check(false, &format!("auth.oidc.{key}"), &message);
    }
    for (key, message) in config.auth.check() {
        check(false, &format!("auth.{key}"), &message);
    }

    let retention = config.default_retention();
    check(
        retention.is_ok_and(|time| time.is_none_or(|time| !time.is_zero() && time <= LONGEST_RETENTION)),
        "retention.default",
        "must be a duration above 0s and of at most ten years, e.g. \"90d\"; or empty to keep it forever",
    );

    for (time, key) in [
        (&config.retention.evidence, "retention.evidence"),
        (&config.retention.unreferenced_evidence, "retention.unreferenced_evidence"),
    ] {
        let parsed = time.parse::<Span>();
        check(
            time.is_empty() || parsed.is_ok_and(|Span(time)| (SHORTEST_EVIDENCE..=LONGEST_RETENTION).contains(&time)),
            key,
            "must be empty (forever), or a duration from 1h to 3650d, e.g. \"365d\"",
        );
    }
    check(
        config.retention.audit.0 >= Duration::from_secs(24 * 3_600) && config.retention.audit.0 <= LONGEST_RETENTION,
        "retention.audit",
        "must be at least 1d and at most ten years, e.g. \"400d\"",
    );

    let engine = &config.engine;
    let spans: [(&str, Span); 7] = [
        ("api.request_timeout", api.request_timeout),
        ("api.upload_timeout", api.upload_timeout),
        ("api.header_timeout", api.header_timeout),
        ("policies.time_limit", config.policies.time_limit),
        ("engine.lease", engine.lease),
        ("engine.timeout", engine.timeout),
        ("engine.cancel_grace", engine.cancel_grace),
    ];
    for (key, span) in spans {
        check(!span.0.is_zero(), key, "must be above 0s");
    }
    // The servers themselves read the change log, and may be slow.
    let shortest = std::time::Duration::from_secs(60);
    check(engine.keep_changes.0 >= shortest, "engine.keep_changes", "must be at least 60s");
    check(
        tracing_subscriber::EnvFilter::try_new(&config.log.filter).is_ok(),
        "log.filter",
        "must be a level (error, warn, info, debug, trace) or levels by module, e.g. info,server=debug",
    );
    found
}

/// Possible mistakes that are not errors: secrets are often only available where the server runs.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut look = |key: String, variables: &[String]| {
        let missing = variables.iter().filter(|name| !name.is_empty() && std::env::var_os(name).is_none());
        warnings
            .extend(missing.map(|variable| format!("{key}: the variable {variable} is not set in this environment")));
    };
    for (name, kind) in &config.kinds.declared {
        let (key, variables) = kind.variables();
        look(format!("kinds.{name}.{key}"), variables);
    }
    for (name, notice) in &config.notices {
        let variable = std::slice::from_ref(&notice.endpoint.secret_environment);
        look(format!("notices.{name}.secret_environment"), variable);
    }
    if config.ai.is_configured() {
        look("ai.key_environment".to_owned(), std::slice::from_ref(&config.ai.key_environment));
    }
    if let Some(Oidc { client, .. }) = &config.auth.oidc {
        let variable = std::slice::from_ref(&client.client_secret_environment);
        look("auth.oidc.client_secret_environment".to_owned(), variable);
    }
    warnings
}

/// A host or an address, and a port. Whether the name can be resolved is checked when the server binds it.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        validate(&config).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(keys(|_| ()), Vec::<&str>::new());
    }

    #[test]
    fn each_value_that_cannot_be_used_is_told() {
        assert_eq!(keys(|c| c.listen = "8080".to_owned()), ["listen"]);
        assert_eq!(keys(|c| c.admin_listen = c.listen.clone()), ["admin_listen"]);
        assert_eq!(keys(|c| c.store = "mysql://localhost/longrun".to_owned().into()), ["store"]);
        assert_eq!(keys(|c| c.store = "sqlite:".to_owned().into()), ["store"]);
        let postgres = "postgres://db/longrun";
        assert_eq!(keys(|c| c.read_store = postgres.to_owned().into()), ["read_store"], "SQLite has no standby");
        assert_eq!(
            keys(|c| (c.store, c.read_store) = (postgres.to_owned().into(), "sqlite:a.db".to_owned().into())),
            ["read_store"]
        );
        assert_eq!(
            keys(|c| (c.store, c.read_store) = (postgres.to_owned().into(), postgres.to_owned().into())),
            Vec::<&str>::new()
        );
        assert_eq!(keys(|c| c.tls.cert = "Cargo.toml".to_owned()), ["tls.cert"]);
        assert_eq!(keys(|c| c.tls.admin = true), ["tls.admin"]);
        assert_eq!(keys(|c| c.http.cors.origins = vec!["*".to_owned()]), ["http.cors.origins"]);
        assert_eq!(keys(|c| c.api.max_in_flight = 383), ["api.max_in_flight_per_organization"]);
        assert_eq!(keys(|c| c.api.default_page_size = 101), ["api.default_page_size"]);
        assert_eq!(keys(|c| c.api.first_page = 2), ["api.first_page"]);
        assert_eq!(keys(|c| c.api.max_waiting_claims = 0), ["api.max_waiting_claims"]);
        assert_eq!(keys(|c| c.policies.folder = "no/such/folder".to_owned()), ["policies.folder"]);
        assert_eq!(keys(|c| c.policies.default = vec!["p".to_owned()]), ["policies.default"]);
        let remote = || vec!["https://policies.example.com/p.yaml@sha256:0".to_owned()];
        assert_eq!(keys(|c| c.policies.default = remote()), ["policies.default"]);
        let allow = |host: &str| vec![host.to_owned()];
        assert_eq!(keys(|c| c.policies.allowed_hosts = allow("https://example.com")), ["policies.allowed_hosts"]);
        assert_eq!(keys(|c| c.policies.http_send_hosts = allow("example.com:443")), ["policies.http_send_hosts"]);
        assert!(
            keys(|c| {
                c.policies.default = remote();
                c.policies.allowed_hosts = allow("*.example.com");
            })
            .is_empty()
        );
        assert_eq!(keys(|c| c.engine.lease = Span::seconds(0)), ["engine.lease"]);
        assert_eq!(keys(|c| c.retention.audit = Span::seconds(3_600)), ["retention.audit"]);
        assert_eq!(keys(|c| c.engine.keep_changes = Span::seconds(59)), ["engine.keep_changes"]);
        assert_eq!(keys(|c| c.engine.cancel_grace = Span::seconds(0)), ["engine.cancel_grace"]);
        for bad in ["0s", "90", "for ever", "11years"] {
            assert_eq!(keys(|c| c.retention.default = bad.to_owned()), ["retention.default"], "{bad}");
        }
        assert_eq!(keys(|c| c.retention.default = "90d".to_owned()), Vec::<&str>::new());
        for bad in ["0s", "59m", "4000d", "soon"] {
            assert_eq!(keys(|c| c.retention.evidence = bad.to_owned()), ["retention.evidence"], "{bad}");
        }
        assert_eq!(keys(|c| c.retention.unreferenced_evidence = "7d".to_owned()), Vec::<&str>::new());
        assert_eq!(keys(|c| c.api.request_timeout = Span::seconds(0)), ["api.request_timeout"]);
        assert_eq!(keys(|c| c.log.filter = "info,=".to_owned()), ["log.filter"]);
    }
}
