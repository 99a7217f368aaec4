//! Checks that the types of [`Config`] cannot express: values that contradict each other or the environment.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use store::StoreUrl;

use super::model::{Api, Engine, Evidence, Log, Policies, Retention, Tls};
use super::tables::Complaints;
use super::units::Span;
use super::{Config, Oidc};

/// A page with more entries than this would be too large (each may have 16 KiB of output).
const MOST_PAGE_SIZE: u32 = 1000;
/// Ten years, as for `retain_for`: longer retention is "forever".
const LONGEST_RETENTION: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Evidence is kept at least this long, because its uses are not recorded more often.
const SHORTEST_EVIDENCE: Duration = Duration::from_secs(3_600);
/// Who called what is kept for at least a day.
const SHORTEST_AUDIT: Duration = Duration::from_secs(24 * 3_600);
/// The servers themselves read the change log, and may be slow.
const SHORTEST_CHANGES: Duration = Duration::from_secs(60);

/// Every value that cannot be used, with its key. Checks files, but opens no store and no socket.
pub fn validate(config: &Config) -> Complaints {
    let mut found = Complaints::new();
    check_addresses(config, &mut found);
    check_stores(config, &mut found);
    found.within("tls", config.tls.check());
    if let Some(message) = config.http.cors.complaint() {
        found.add("http.cors.origins", message);
    }
    found.within("api", config.api.check());
    found.within("evidence", config.evidence.check());
    if let Err((key, message)) = config.encryption.keyring() {
        found.add(key, message);
    }
    if let Err((key, message)) = config.attestation.signer() {
        found.add(key, message);
    }
    if let Err(message) = config.signatures.trusted_keys() {
        found.add("signatures.trusted_keys", message);
    }
    if let Err((key, message)) = config.signatures.trusted_identities() {
        found.add(key, message);
    }
    found.within("policies", config.policies.check());
    found.within("ai", config.ai.check());
    for (name, kind) in &config.kinds.declared {
        found.within(&format!("kinds.{name}"), kind.check(name));
    }
    for (name, notice) in &config.notices {
        found.within(&format!("notices.{name}"), notice.check());
    }
    found.within("limits", config.limits.check());
    found.within("tracing", config.tracing.check());
    for (name, organization) in &config.organizations {
        found.within(&format!("organizations.{name}"), organization.check(name, &config.limits));
    }
    for (name, provider) in &config.auth.jwt {
        found.within(&format!("auth.jwt.{name}"), provider.check(name));
    }
    if let Some(oidc) = &config.auth.oidc {
        found.within("auth.oidc", oidc.check());
    }
    found.within("auth", config.auth.check());
    found.within("retention", config.retention.check());
    found.within("engine", config.engine.check());
    found.within("log", config.log.check());
    found
}

fn check_addresses(config: &Config, found: &mut Complaints) {
    let (listen, admin) = (&config.listen, &config.admin_listen);
    let address = "must be address:port, e.g. 127.0.0.1:8080";
    found.require(is_address(listen), "listen", address);
    found.require(admin.is_empty() || is_address(admin), "admin_listen", address);
    let message = "must not be the address of the API: everybody who reaches the API would also reach the metrics";
    found.require(admin.is_empty() || admin != listen || listen.ends_with(":0"), "admin_listen", message);
}

/// The store, its standby, and the cells.
fn check_stores(config: &Config, found: &mut Complaints) {
    let store = super::store_url(config.store.expose());
    let has_standbys = matches!(store, Ok(StoreUrl::Postgres(_)));
    if let Err(message) = store {
        found.add("store", message);
    }
    if !config.read_store.is_empty() {
        let standby = "must be the postgres://USER@HOST:PORT/DATABASE of a standby, with store set to its primary";
        match super::store_url(config.read_store.expose()) {
            Ok(StoreUrl::Postgres(_)) => found.require(has_standbys, "read_store", standby),
            Ok(StoreUrl::Sqlite(_)) => found.add("read_store", standby),
            Err(message) => found.add("read_store", message),
        }
    }
    if !config.cells.is_empty() {
        let message = "must be postgres://…: with cells it is the directory of their organizations";
        found.require(has_standbys, "store", message);
        let own = "must be empty with cells: set read_store in each [cells.NAME]";
        found.require(config.read_store.is_empty(), "read_store", own);
    }
    let mut urls = BTreeSet::new();
    for (name, cell) in &config.cells {
        found.within(&format!("cells.{name}"), cell.check(name));
        let is_new = urls.insert(cell.store.expose());
        let message = "is also the database of another cell: each cell needs its own";
        found.require(is_new, &format!("cells.{name}.store"), message);
    }
}

impl Tls {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        let message = "tls.cert and tls.key go together: set both or neither";
        found.require(self.cert.is_empty() == self.key.is_empty(), "cert", message);
        for (key, file) in [("cert", &self.cert), ("key", &self.key)] {
            let can_read = file.is_empty() || std::fs::File::open(file).is_ok();
            found.require(can_read, key, format!("the file {file} cannot be read"));
        }
        found.require(!self.admin || !self.cert.is_empty(), "admin", "needs tls.cert and tls.key");
        found
    }
}

impl Api {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        let is_size = (1..=MOST_PAGE_SIZE).contains(&self.max_page_size);
        found.require(is_size, "max_page_size", "must be between 1 and 1000");
        let fits = (1..=self.max_page_size).contains(&self.default_page_size);
        found.require(fits, "default_page_size", "must be at least 1 and at most api.max_page_size");
        found.require(self.first_page <= 1, "first_page", "must be 0 or 1");
        found.require(self.max_in_flight > 0, "max_in_flight", "must be at least 1");
        let fits = (1..=self.max_in_flight).contains(&self.max_in_flight_per_organization);
        let message = "must be at least 1 and at most api.max_in_flight";
        found.require(fits, "max_in_flight_per_organization", message);
        found.require(self.max_connections > 0, "max_connections", "must be at least 1");
        found.require(self.max_waiting_claims > 0, "max_waiting_claims", "must be at least 1");
        found.require(self.body_limit.0 > 0, "body_limit", "must be above 0");
        let spans = [
            ("request_timeout", self.request_timeout),
            ("upload_timeout", self.upload_timeout),
            ("header_timeout", self.header_timeout),
        ];
        require_time(&spans, &mut found);
        found
    }
}

impl Evidence {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        found.require(!self.folder.is_empty(), "folder", "must name a folder");
        let is_bucket = self.url.is_empty() || store::ContentStore::check_bucket(&self.url).is_ok();
        let message =
            "must be empty, or an address such as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
        found.require(is_bucket, "url", message);
        found.require(self.max_size.0 > 0, "max_size", "must be above 0");
        found
    }
}

impl Policies {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        let folder = &self.folder;
        let is_there = folder.is_empty() || Path::new(folder).is_dir();
        found.require(is_there, "folder", format!("the folder {folder} does not exist"));
        let is_remote = |reference: &&String| reference.contains("://") && !reference.starts_with("file");
        let (fetched, own): (Vec<&String>, Vec<&String>) = self.default.iter().partition(is_remote);
        let message = "needs policies.folder, in which references are looked up";
        found.require(own.is_empty() || !folder.is_empty(), "default", message);
        let hosts = &self.allowed_hosts;
        let message = "needs policies.allowed_hosts, from which references over the network are fetched";
        found.require(fetched.is_empty() || !hosts.is_empty(), "default", message);
        let is_host = |host: &String| !host.trim_start_matches("*.").is_empty() && !host.contains(['/', ':', ' ', '@']);
        let message = "must be host names, such as policies.example.com or *.example.com";
        found.require(hosts.iter().all(is_host), "allowed_hosts", message);
        found.require(self.http_send_hosts.iter().all(is_host), "http_send_hosts", message);
        found.require(hosts.is_empty() || !self.cache.is_empty(), "cache", "must name a folder");
        found.require(self.memory_limit.0 > 0, "memory_limit", "must be above 0");
        require_time(&[("time_limit", self.time_limit)], &mut found);
        found
    }
}

impl Retention {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        let fits = |text: &str, shortest: Duration| {
            let fits = |Span(time)| (shortest..=LONGEST_RETENTION).contains(&time);
            text.is_empty() || text.parse().is_ok_and(fits)
        };
        let message = "must be a duration above 0s and of at most ten years, e.g. \"90d\"; or empty to keep it forever";
        found.require(fits(&self.default, Duration::from_nanos(1)), "default", message);
        let message = "must be empty (forever), or a duration from 1h to 3650d, e.g. \"365d\"";
        found.require(fits(&self.evidence, SHORTEST_EVIDENCE), "evidence", message);
        found.require(fits(&self.unreferenced_evidence, SHORTEST_EVIDENCE), "unreferenced_evidence", message);
        let is_long = (SHORTEST_AUDIT..=LONGEST_RETENTION).contains(&self.audit.0);
        found.require(is_long, "audit", "must be at least 1d and at most ten years, e.g. \"400d\"");
        found
    }
}

impl Engine {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        let spans = [("lease", self.lease), ("timeout", self.timeout), ("cancel_grace", self.cancel_grace)];
        require_time(&spans, &mut found);
        found.require(self.keep_changes.0 >= SHORTEST_CHANGES, "keep_changes", "must be at least 60s");
        found
    }
}

impl Log {
    fn check(&self) -> Complaints {
        let mut found = Complaints::new();
        let is_filter = tracing_subscriber::EnvFilter::try_new(&self.filter).is_ok();
        let message = "must be a level (error, warn, info, debug, trace) or levels by module, e.g. info,server=debug";
        found.require(is_filter, "filter", message);
        found
    }
}

fn require_time(spans: &[(&str, Span)], found: &mut Complaints) {
    for (key, span) in spans {
        found.require(!span.0.is_zero(), key, "must be above 0s");
    }
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
