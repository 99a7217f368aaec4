//! What can be set, with the defaults. `examples/longrun.toml` says the same to people; a test compares the two.
//!
//! A text that is empty means "not set": in TOML and in the environment alike there is no other way to say so.

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
    /// A standby of the store that lists and single operations are read from: `postgres://…`; empty: the store itself.
    pub read_store: Hidden,
    /// Encryption of the API.
    pub tls: Tls,
    /// What callers may ask for.
    pub api: Api,
    /// Who may call beside those who have API tokens: the tables `[auth.jwt.NAME]` and `[auth.oidc]`, which are read one
    /// by one.
    #[serde(skip)]
    pub auth: Auth,
    /// What browsers may do.
    pub http: Http,
    /// Where evidence is kept.
    pub evidence: Evidence,
    /// Encryption of what is stored.
    pub encryption: Encryption,
    /// With what results are signed.
    pub attestation: Attestation,
    /// Whose signatures on attestations are trusted.
    pub signatures: Signatures,
    /// Where policies come from and what they may use.
    pub policies: Policies,
    /// The provider of models that `prompt` checks are sent to.
    pub ai: Ai,
    /// Which kinds of operations are taken.
    pub kinds: Kinds,
    /// Who is notified when operations have ended: the tables `[notices.NAME]`, which are read one by one.
    #[serde(skip)]
    pub notices: BTreeMap<String, Notice>,
    /// What each organization may have.
    pub limits: OrganizationLimits,
    /// What single organizations have that others do not: the tables `[organizations.NAME]`, which are read one by one.
    #[serde(skip)]
    pub organizations: BTreeMap<String, Organization>,
    /// Databases that organizations are spread over: the tables `[cells.NAME]`, which are read one by one. Without any,
    /// everything is in the store; with some, the store is the directory that says where each organization is.
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

/// What callers may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Entries of a page when a caller names no size.
    pub default_page_size: u32,
    /// The most entries of a page; more are cut down to it.
    pub max_page_size: u32,
    /// The number of the first page: 0, or 1 for clients that count from one.
    pub first_page: u32,
    /// The most bytes of a request that carries no evidence.
    pub body_limit: ByteSize,
    /// How long a call may take that carries no evidence.
    pub request_timeout: Span,
    /// How long a call may take that carries evidence.
    pub upload_timeout: Span,
    /// How long a client may take to send its headers.
    pub header_timeout: Span,
    /// The most calls that are worked on at a time; those that wait for something to happen do not count.
    pub max_in_flight: u32,
    /// The most of them of one organization.
    pub max_in_flight_per_organization: u32,
    /// How long a call waits to be worked on before it is answered 503.
    pub overload_patience: Span,
    /// The most connections at a time.
    pub max_connections: u32,
    /// The most connections of one client address at a time; 0: addresses are not counted, nor the unknown tokens that
    /// come from them.
    pub max_connections_per_address: u32,
    /// Addresses of reverse proxies, which are not counted.
    pub proxies: Vec<IpAddr>,
    /// How long a connection may be open without a request that had a valid token; 0s: for ever.
    pub unauthenticated_timeout: Span,
    /// How long a connection may be open without a request under way; 0s: for ever.
    pub idle_timeout: Span,
    /// The most claims of one organization that wait for work at a time; one token has half of them at most.
    pub max_waiting_claims: u32,
}

/// Where evidence is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// The folder; unless it is set, `evidence` beside an SQLite store, and in the working directory with PostgreSQL.
    pub folder: String,
    /// A bucket instead: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`; empty: the folder.
    pub url: String,
    /// The most bytes of one piece.
    pub max_size: ByteSize,
    /// Whether evidence is evaluated again when a waiver that concerns it is added, removed or expires.
    pub reevaluate_on_waivers: bool,
    /// Whether evidence is evaluated again when a policy in the policy folder that it was evaluated by changes.
    pub reevaluate_on_policies: bool,
}

/// Where policies come from and what they may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// The folder that references lead into; empty: only policies that come with the request.
    pub folder: String,
    /// References of the policies that are evaluated when a request names none.
    pub default: Vec<String>,
    /// Hosts that policies may be fetched from; empty: none.
    pub allowed_hosts: Vec<String>,
    /// Hosts that policies may call by `http.send`; empty: none.
    pub http_send_hosts: Vec<String>,
    /// Whether addresses may be called, for either, that are not of the public internet, and policies be fetched without
    /// encryption.
    pub allow_private_addresses: bool,
    /// The folder that fetched policies are kept in.
    pub cache: String,
    /// How long one evaluation may take.
    pub time_limit: Span,
    /// The most memory of one evaluation.
    pub memory_limit: ByteSize,
}

/// How operations are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Operations that run at the same time in this process; 0: one per processor.
    pub concurrency: u32,
    /// Operations that may run beside those, for organizations that have nothing running or waiting: so they need not
    /// wait for others to end.
    pub extra_concurrency: u32,
    /// How long a worker may be silent before its attempt is taken from it; heartbeats come three times as often.
    pub lease: Span,
    /// How long one attempt may take when its operation does not say.
    pub timeout: Span,
    /// How long an attempt may go on after its operation was cancelled; then it is ended, whatever its worker does.
    pub cancel_grace: Span,
    /// How long calls and attempts may go on after the server was asked to stop; then attempts are released.
    pub drain: Span,
    /// How long changes are kept for those who watch operations: they can be away for that long and miss nothing.
    pub keep_changes: Span,
}

/// How long operations are kept, and the audit logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long operations are kept after their end that name no `retain_for`, e.g. `90d`; empty: for ever. It is
    /// applied when an operation ends.
    pub default: String,
    /// How long the entries of audit logs are kept.
    pub audit: Span,
    /// How long evidence is kept after it was stored or evaluated last, e.g. `365d`; empty: for ever. What an operation
    /// that has not ended refers to stays.
    pub evidence: String,
    /// The same of evidence that no operation refers to, and of what lies in the evidence folder unknown to the store;
    /// empty: for ever.
    pub unreferenced_evidence: String,
}

/// What is logged, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// One JSON object per line, or text for people.
    pub format: LogFormat,
    /// What: a level, or levels by module such as `info,server=debug`.
    pub filter: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
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
    /// The store. A configuration that was loaded has been validated, so that there is one.
    pub fn store_url(&self) -> Result<StoreUrl, InvalidStoreUrl> {
        self.store.expose().parse()
    }

    /// How long operations are kept that do not say so; `None`: for ever.
    ///
    /// # Errors
    /// [`InvalidSpan`], unless it was validated.
    pub fn default_retention(&self) -> Result<Option<std::time::Duration>, InvalidSpan> {
        optional(&self.retention.default)
    }

    /// How long evidence is kept.
    ///
    /// # Errors
    /// [`InvalidSpan`], unless it was validated.
    pub fn evidence_retention(&self) -> Result<store::EvidenceRetention, InvalidSpan> {
        let Retention { evidence, unreferenced_evidence, .. } = &self.retention;
        Ok(store::EvidenceRetention { after_use: optional(evidence)?, unreferenced: optional(unreferenced_evidence)? })
    }

    /// What organizations may have.
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

    /// The cells, by name; none when everything is in the store.
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
