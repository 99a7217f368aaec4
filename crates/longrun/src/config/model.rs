//! All settings with their defaults. `examples/longrun.toml` describes the same settings for people; a test compares
//! the two.
//!
//! An empty text means "not set": TOML and the environment have no other way to express it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use store::{InvalidStoreUrl, StoreUrl};

use super::ai::Ai;
use super::attestation::Attestation;
use super::auth::Auth;
use super::cells::Cell;
use super::encryption::Encryption;
use super::hidden::Hidden;
use super::http::Http;
use super::kinds::Kinds;
use super::notices::Notice;
use super::organizations::{Organization, OrganizationLimits};
use super::signatures::Signatures;
use super::tracing::Tracing;
use super::units::{ByteSize, InvalidSpan, Span};

/// The configuration of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the API listens: `address:port`; port 0 is any free one.
    pub listen: String,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; empty: nowhere.
    pub admin_listen: String,
    /// Where operations are kept: `sqlite:PATH` or `postgres://…`.
    pub store: Hidden,
    /// A standby of the store from which lists and single operations are read: `postgres://…`; empty: the store itself.
    pub read_store: Hidden,
    /// Encryption of the API.
    pub tls: Tls,
    /// Limits and settings of the API.
    pub api: Api,
    /// Callers other than those with API tokens: the tables `[auth.jwt.NAME]` and `[auth.oidc]`, which are read one by
    /// one.
    #[serde(skip)]
    pub auth: Auth,
    /// What browsers are allowed to do.
    pub http: Http,
    /// Where evidence is kept.
    pub evidence: Evidence,
    /// Encryption of stored content.
    pub encryption: Encryption,
    /// The keys that sign results.
    pub attestation: Attestation,
    /// Whose signatures on attestations are trusted.
    pub signatures: Signatures,
    /// Where policies come from and which resources they may use.
    pub policies: Policies,
    /// The provider of models that answers `prompt` checks.
    pub ai: Ai,
    /// Which kinds of operations are accepted.
    pub kinds: Kinds,
    /// Who is notified when operations have ended: the tables `[notices.NAME]`, which are read one by one.
    #[serde(skip)]
    pub notices: BTreeMap<String, Notice>,
    /// The limits of each organization.
    pub limits: OrganizationLimits,
    /// The settings of single organizations that differ from the others: the tables `[organizations.NAME]`, which are
    /// read one by one.
    #[serde(skip)]
    pub organizations: BTreeMap<String, Organization>,
    /// Databases over which organizations are distributed: the tables `[cells.NAME]`, which are read one by one.
    /// Without any, everything is in the store; with some, the store is the directory that says where each organization
    /// is.
    #[serde(skip)]
    pub cells: BTreeMap<String, Cell>,
    /// How operations are run.
    pub engine: Engine,
    /// How long operations are kept.
    pub retention: Retention,
    /// What is logged.
    pub log: Log,
    /// Distributed traces.
    pub tracing: Tracing,
}

/// Encryption of the API; both files or neither.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub cert: String,
    /// PEM file with the private key.
    pub key: String,
    /// Whether health and metrics are encrypted too, with the same certificate.
    pub admin: bool,
}

/// Limits and settings of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Entries per page if a caller specifies no size.
    pub default_page_size: u32,
    /// Maximum number of entries per page; larger requests are reduced to it.
    pub max_page_size: u32,
    /// The number of the first page: 0, or 1 for clients that count from one.
    pub first_page: u32,
    /// Maximum size in bytes of a request that carries no evidence.
    pub body_limit: ByteSize,
    /// Time limit of a call that carries no evidence.
    pub request_timeout: Span,
    /// Time limit of a call that carries evidence.
    pub upload_timeout: Span,
    /// Time limit for a client to send its headers.
    pub header_timeout: Span,
    /// Maximum number of calls processed at the same time; calls that wait for an event do not count.
    pub max_in_flight: u32,
    /// Maximum number of them per organization.
    pub max_in_flight_per_organization: u32,
    /// How long a call waits to be processed before it is answered with 503.
    pub overload_patience: Span,
    /// Maximum number of connections at the same time.
    pub max_connections: u32,
    /// Maximum number of connections per client address at the same time; 0: neither the connections of addresses nor
    /// the unknown tokens from them are counted.
    pub max_connections_per_address: u32,
    /// Addresses of reverse proxies: their connections are not counted, and their `X-Forwarded-For` is trusted.
    pub proxies: Vec<IpAddr>,
    /// How long a connection may stay open without a request with a valid token; 0s: forever.
    pub unauthenticated_timeout: Span,
    /// How long a connection may stay open without a request in progress; 0s: forever.
    pub idle_timeout: Span,
    /// Maximum number of claims of one organization that wait for work at the same time; one token may have at most
    /// half of them.
    pub max_waiting_claims: u32,
}

/// Where evidence is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// The folder; by default, `evidence` next to a SQLite store, or in the working directory with PostgreSQL.
    pub folder: String,
    /// A bucket to use instead: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`; empty: the
    /// folder.
    pub url: String,
    /// Maximum size of one piece in bytes.
    pub max_size: ByteSize,
    /// Whether evidence is evaluated again when a waiver that concerns it is added, removed or expires.
    pub reevaluate_on_waivers: bool,
    /// Whether evidence is evaluated again when a policy in the policy folder changes that has evaluated it.
    pub reevaluate_on_policies: bool,
}

/// Where policies come from and which resources they may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// The folder in which references are looked up; empty: only policies that are sent with the request.
    pub folder: String,
    /// References of the policies that are evaluated when a request names none.
    pub default: Vec<String>,
    /// Hosts that policies may be fetched from; empty: none.
    pub allowed_hosts: Vec<String>,
    /// Hosts that policies may call with `http.send`; empty: none.
    pub http_send_hosts: Vec<String>,
    /// Whether, for both, addresses outside the public internet may be called, and policies may be fetched without
    /// encryption.
    pub allow_private_addresses: bool,
    /// The folder in which fetched policies are cached.
    pub cache: String,
    /// Time limit of one evaluation.
    pub time_limit: Span,
    /// Memory limit of one evaluation.
    pub memory_limit: ByteSize,
}

/// How operations are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Operations that run at the same time in this process; 0: one per processor.
    pub concurrency: u32,
    /// Operations that may run in addition, for organizations that have nothing running or pending, so that they need
    /// not wait for others to end.
    pub extra_concurrency: u32,
    /// How long a worker may be silent before it loses its attempt; heartbeats are sent three times as often.
    pub lease: Span,
    /// The time limit of an attempt if its operation does not specify it.
    pub timeout: Span,
    /// How long an attempt may continue after its operation was cancelled; then it is ended, whatever its worker does.
    pub cancel_grace: Span,
    /// How long calls and attempts may continue after the server was asked to stop; then attempts are released.
    pub drain: Span,
    /// How long changes are kept for clients that watch operations: they can be disconnected for that long and miss
    /// nothing.
    pub keep_changes: Span,
}

/// How long operations are kept, and the audit logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long ended operations without a `retain_for` of their own are kept, e.g. `90d`; empty: forever. It is
    /// applied when an operation ends.
    pub default: String,
    /// How long the entries of audit logs are kept.
    pub audit: Span,
    /// How long evidence is kept after it was last stored or evaluated, e.g. `365d`; empty: forever. Evidence that an
    /// unfinished operation refers to is kept.
    pub evidence: String,
    /// The same for evidence that no operation refers to, and for files in the evidence folder that the store does not
    /// know; empty: forever.
    pub unreferenced_evidence: String,
}

/// What is logged, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// One JSON object per line, or text for people.
    pub format: LogFormat,
    /// What is logged: a level, or levels by module such as `info,server=debug`.
    pub filter: String,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Human,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: "127.0.0.1:8080".to_owned(),
            admin_listen: String::new(),
            store: "sqlite:longrun.db".to_owned().into(),
            read_store: Hidden::default(),
            tls: Tls::default(),
            api: Api::default(),
            auth: Auth::default(),
            http: Http::default(),
            evidence: Evidence::default(),
            encryption: Encryption::default(),
            attestation: Attestation::default(),
            signatures: Signatures::default(),
            policies: Policies::default(),
            ai: Ai::default(),
            kinds: Kinds::default(),
            notices: BTreeMap::new(),
            limits: OrganizationLimits::default(),
            organizations: BTreeMap::new(),
            cells: BTreeMap::new(),
            engine: Engine::default(),
            retention: Retention::default(),
            log: Log::default(),
            tracing: Tracing::default(),
        }
    }
}

impl Default for Api {
    fn default() -> Api {
        Api {
            default_page_size: operations::page::DEFAULT_PAGE_SIZE,
            max_page_size: operations::page::MAX_PAGE_SIZE,
            first_page: 0,
            body_limit: ByteSize::mebibytes(2),
            request_timeout: Span::seconds(30),
            upload_timeout: Span::seconds(600),
            header_timeout: Span::seconds(15),
            max_in_flight: 512,
            max_in_flight_per_organization: 384,
            overload_patience: Span(std::time::Duration::from_millis(500)),
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            proxies: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            unauthenticated_timeout: Span::seconds(30),
            idle_timeout: Span::seconds(300),
            max_waiting_claims: 4_000,
        }
    }
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence {
            folder: "evidence".to_owned(),
            url: String::new(),
            max_size: ByteSize::mebibytes(100),
            reevaluate_on_waivers: true,
            reevaluate_on_policies: true,
        }
    }
}

impl Default for Policies {
    fn default() -> Policies {
        Policies {
            folder: String::new(),
            default: Vec::new(),
            allowed_hosts: Vec::new(),
            http_send_hosts: Vec::new(),
            allow_private_addresses: false,
            cache: "policy-cache".to_owned(),
            time_limit: Span::seconds(60),
            memory_limit: ByteSize::mebibytes(1024),
        }
    }
}

impl Default for Engine {
    fn default() -> Engine {
        Engine {
            concurrency: 0,
            extra_concurrency: 1,
            lease: Span::seconds(30),
            timeout: Span::seconds(600),
            cancel_grace: Span::seconds(30),
            drain: Span::seconds(25),
            keep_changes: Span::seconds(3_600),
        }
    }
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            default: String::new(),
            audit: Span::seconds(400 * 24 * 3_600),
            evidence: String::new(),
            unreferenced_evidence: String::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Json, filter: "info".to_owned() }
    }
}

impl Config {
    /// The store. A loaded configuration has been validated, so that there is one.
    pub fn store_url(&self) -> Result<StoreUrl, InvalidStoreUrl> {
        self.store.expose().parse()
    }

    /// How long operations without a retention of their own are kept; `None`: forever.
    ///
    /// # Errors
    /// [`InvalidSpan`], unless the configuration was validated.
    pub fn default_retention(&self) -> Result<Option<std::time::Duration>, InvalidSpan> {
        optional(&self.retention.default)
    }

    /// How long evidence is kept.
    ///
    /// # Errors
    /// [`InvalidSpan`], unless the configuration was validated.
    pub fn evidence_retention(&self) -> Result<store::EvidenceRetention, InvalidSpan> {
        let Retention { evidence, unreferenced_evidence, .. } = &self.retention;
        Ok(store::EvidenceRetention { after_use: optional(evidence)?, unreferenced: optional(unreferenced_evidence)? })
    }

    /// The limits of organizations.
    pub fn quotas(&self) -> store::Quotas {
        let named = self
            .organizations
            .iter()
            .map(|(name, organization)| (name.clone(), organization.limits(&self.limits).quota(organization.weight)));
        let own_kinds = kinds::RESERVED.map(str::to_owned).into();
        let of = |(name, organization): (&String, &Organization)| {
            (!organization.max_running.is_empty()).then(|| (name.clone(), organization.max_running.clone()))
        };
        let running = store::RunningLimits {
            everybody: self.limits.max_running.clone(),
            named: self.organizations.iter().filter_map(of).collect(),
        };
        store::Quotas { everybody: self.limits.quota(1), named: named.collect(), own_kinds, running }
    }

    /// How fast organizations and their tokens may make calls.
    pub fn call_limits(&self) -> server::CallLimits {
        let named = self.organizations.iter().map(|(name, own)| (name.clone(), own.limits(&self.limits).call_limit()));
        server::CallLimits { everybody: self.limits.call_limit(), named: named.collect() }
    }

    /// The cells by name; empty when everything is in the store.
    pub fn cell_urls(&self) -> Vec<store::CellUrl> {
        self.cells.iter().filter_map(|(name, cell)| cell.url(name)).collect()
    }

    /// The standby to read from, if there is one.
    pub fn read_store_url(&self) -> Result<Option<StoreUrl>, InvalidStoreUrl> {
        if self.read_store.is_empty() { Ok(None) } else { self.read_store.expose().parse().map(Some) }
    }
}

/// A time, unless the text is empty.
fn optional(text: &str) -> Result<Option<std::time::Duration>, InvalidSpan> {
    if text.is_empty() { Ok(None) } else { text.parse().map(|Span(time)| Some(time)) }
}
