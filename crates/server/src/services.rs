//! The services that the handlers use, and the settings of the API.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use attestation::Signer;
use engine::Waker;
use http::HeaderValue;
use kinds::evaluation::Evaluations;
use operations::DEFAULT_MAX_ATTEMPTS;
use operations::backoff::Backoff;
use operations::page::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE};
use store::{ContentStore, Store};
use tokio_util::sync::CancellationToken;
use traces::Traces;

use crate::auth::{Identity, SignInLinks};
use crate::metrics::Metrics;
use crate::rates::CallLimits;

/// Everything that the handlers need. Cheap to clone: every part is shared.
#[derive(Clone)]
pub struct Services {
    /// Operations, tokens and evidence records.
    pub store: Arc<dyn Store>,
    /// The evidence itself.
    pub content: ContentStore,
    /// Notifies the engine of new work.
    pub waker: Waker,
    /// The declared kinds, in the order in which a refusal names them.
    pub kinds: Arc<[String]>,
    /// The kinds that servers run themselves, including reserved ones. No worker may claim their operations, or settle
    /// the attempts of a server.
    pub local_kinds: Arc<[String]>,
    /// The defaults of creations, by kind.
    pub defaults: Arc<BTreeMap<String, KindDefaults>>,
    /// How fast tokens and organizations may make calls.
    pub call_limits: Arc<CallLimits>,
    /// Whether operations of other kinds are accepted, too; they wait for a remote worker.
    pub allow_undeclared_kinds: bool,
    /// If it is given, an evaluation whose policies are not found or not valid is refused at once, and the kind of
    /// evidence is detected when it is stored. Otherwise the operation fails later, and evidence is stored without a
    /// kind.
    pub evaluations: Option<Arc<Evaluations>>,
    /// The keys with which results are signed; without them, results are not signed.
    pub signer: Option<Arc<Signer>>,
    /// Whether `prompt` checks can be evaluated.
    pub has_ai_provider: bool,
    /// Whether an evaluation may be requested without policies.
    pub has_default_policies: bool,
    /// Who may call in addition to holders of API tokens; by default nobody.
    pub identity: Arc<Identity>,
    /// Links that sign a browser in once.
    pub sign_in_links: SignInLinks,
    /// Limits and defaults.
    pub settings: ApiSettings,
    /// Cancelled when the server is asked to stop: the calls of workers that wait for work then return. Must be the
    /// token that [`crate::http::serve`] gets.
    pub shutdown: CancellationToken,
    /// Counters; [`crate::http::admin_router`] shows them.
    pub metrics: Metrics,
    /// How traces are handled; by default they are not recorded.
    pub traces: Traces,
}

impl Services {
    /// Services with default settings, no declared kinds, no AI provider and no default policies.
    pub fn new(store: Arc<dyn Store>, content: ContentStore, waker: Waker) -> Services {
        let metrics = Metrics::new(store.meters());
        Services {
            store,
            content,
            waker,
            kinds: Arc::new([]),
            local_kinds: Arc::new([]),
            defaults: Arc::default(),
            call_limits: Arc::default(),
            allow_undeclared_kinds: false,
            evaluations: None,
            signer: None,
            has_ai_provider: false,
            has_default_policies: false,
            identity: Arc::default(),
            sign_in_links: SignInLinks::default(),
            settings: ApiSettings::default(),
            shutdown: CancellationToken::new(),
            metrics,
            traces: Traces::default(),
        }
    }
}

/// The defaults of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindDefaults {
    /// The largest number of attempts.
    pub max_attempts: u32,
    /// How long one attempt may take; `None` leaves that to the server or worker that runs it.
    pub timeout: Option<Duration>,
}

impl Default for KindDefaults {
    fn default() -> KindDefaults {
        KindDefaults { max_attempts: DEFAULT_MAX_ATTEMPTS, timeout: None }
    }
}

impl Services {
    /// The defaults of a kind.
    pub fn defaults(&self, kind: &str) -> KindDefaults {
        self.defaults.get(kind).copied().unwrap_or_default()
    }
}

/// How a client counts pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstPage {
    /// Page 0 is the first, as documented.
    #[default]
    Zero,
    /// Page 1 is the first, for clients that count from one; 0 is treated as 1.
    One,
}

impl FirstPage {
    /// The number of the first page.
    pub(crate) const fn number(self) -> u32 {
        match self {
            FirstPage::Zero => 0,
            FirstPage::One => 1,
        }
    }

    /// The number of a page, counted from zero, as clients see it.
    pub(crate) const fn shown(self, page: u32) -> u32 {
        page.saturating_add(self.number())
    }

    /// The page, counted from zero, that a client means by a number.
    pub(crate) const fn meant(self, number: u32) -> u32 {
        number.saturating_sub(self.number())
    }
}

/// Limits and defaults of the API and of its listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Entries of a page when the client does not request a number; default 50.
    pub default_page_size: u32,
    /// The most entries of a page; larger requests are reduced to this; default 100.
    pub max_page_size: u32,
    /// How clients count pages; default: from zero.
    pub first_page: FirstPage,
    /// The most bytes of a JSON body; default 2 MiB: an input of 1 MiB with space for escapes. A body with evidence in
    /// base64 may be larger by what the content store accepts.
    pub body_limit: u64,
    /// How many bytes of JSON bodies are in memory at a time, except bodies above `body_limit`; default 256 MiB, and a
    /// fourth of it in addition for the bodies of workers. Beyond it, and for an organization beyond its share (as much
    /// as is left for others), calls are refused with 429.
    pub body_memory: u64,
    /// How many bodies above `body_limit` are in memory at a time, including evidence that is being read; default 4, of
    /// which one organization has 2 at most. Further ones are refused with 429. At the default content limit of 100 MiB
    /// one takes about 235 MiB while it is decoded.
    pub max_large_bodies: usize,
    /// How many processes at a time examine stored evidence to detect its kind and check the policies of requests; one
    /// organization has all but one of them at most; default 3.
    pub max_checks: usize,
    /// How long a request may take, apart from sending the answer; default 30 s.
    pub request_timeout: Duration,
    /// How long a request that carries evidence may take; default 10 min: 100 MiB at 1.4 Mbit/s.
    pub upload_timeout: Duration,
    /// How long a body may pause between two pieces, in either direction; default 15 s.
    pub body_idle_timeout: Duration,
    /// How many bytes per second a request's body must have, after it has paused for `body_idle_timeout` in total;
    /// default 4 KiB.
    pub body_min_rate: u64,
    /// How long the TLS handshake may take, and the headers of a request; default 15 s. A connection on which none
    /// arrive for this long is closed.
    pub header_read_timeout: Duration,
    /// The most bytes of a request's headers, including its first line; default 32 KiB (at least 8 KiB).
    pub max_header_bytes: usize,
    /// The most calls that are processed at a time; further ones wait for `overload_patience` and are then refused with
    /// 503; default 512. Calls that wait for something to happen do not count, nor do heartbeats and settlements, which
    /// have as many places of their own.
    pub max_in_flight: usize,
    /// The most of these calls of one organization; default 384.
    pub max_in_flight_per_organization: usize,
    /// How long a call waits to be processed; default 500 ms.
    pub overload_patience: Duration,
    /// The origins (`https://host[:port]`) whose pages may call the API from a browser; default none.
    pub cors_origins: Vec<HeaderValue>,
    /// The most connections at a time. For further ones, idle connections are closed; if there are none, the further
    /// ones are closed; default 10,000.
    pub max_connections: usize,
    /// The most connections of one client address (of an IPv6 network of 64 bits) at a time; further ones are closed;
    /// default 1,000. With 0, clients are not distinguished by addresses, neither for this nor for counting unknown
    /// tokens.
    pub max_connections_per_address: usize,
    /// Addresses of proxies, from which many clients come, so that their connections are not counted; the client of a
    /// request is whom their `X-Forwarded-For` names; default the loopback addresses.
    pub proxies: Vec<IpAddr>,
    /// A connection on which no request had a valid token for this long is closed; default 30 s; zero for never.
    pub unauthenticated_timeout: Duration,
    /// A connection without a request in progress for this long is closed; default 5 min; zero for never.
    pub idle_timeout: Duration,
    /// The most requests at a time on one HTTP/2 connection; default 200.
    pub max_streams: u32,
    /// The most clients that watch operations at a time; default 1,000. The events of a slow client take some hundred
    /// KiB.
    pub max_watchers: usize,
    /// The most claims of one organization that wait for work at a time, of which one token has half at most; further
    /// ones are refused with 429; default 4,000.
    pub max_waiting_claims: usize,
    /// How long requests may take to end after a shutdown began; default 25 s, below the usual 30 s of supervisors.
    pub drain_timeout: Duration,
    /// The settings of remote workers.
    pub work: WorkSettings,
}

/// The settings of remote workers. The defaults are those of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkSettings {
    /// How long a lease lasts without a heartbeat; default 30 s.
    pub lease: Duration,
    /// How long an attempt may take if neither its operation nor its kind has a timeout; default 10 min. Workers
    /// enforce it.
    pub attempt_timeout: Duration,
    /// How long an operation waits after a failed attempt before the next one.
    pub backoff: Backoff,
}

impl Default for WorkSettings {
    fn default() -> WorkSettings {
        WorkSettings {
            lease: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(600),
            backoff: Backoff::default(),
        }
    }
}

impl Default for ApiSettings {
    fn default() -> ApiSettings {
        ApiSettings {
            default_page_size: DEFAULT_PAGE_SIZE,
            max_page_size: MAX_PAGE_SIZE,
            first_page: FirstPage::Zero,
            body_limit: 2 * 1024 * 1024,
            body_memory: 256 * 1024 * 1024,
            max_large_bodies: 4,
            max_checks: 3,
            request_timeout: Duration::from_secs(30),
            upload_timeout: Duration::from_secs(600),
            body_idle_timeout: Duration::from_secs(15),
            body_min_rate: 4 * 1024,
            header_read_timeout: Duration::from_secs(15),
            max_header_bytes: 32 * 1024,
            max_in_flight: 512,
            max_in_flight_per_organization: 384,
            overload_patience: Duration::from_millis(500),
            cors_origins: Vec::new(),
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            proxies: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            unauthenticated_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            max_streams: 200,
            max_watchers: 1_000,
            max_waiting_claims: 4_000,
            drain_timeout: Duration::from_secs(25),
            work: WorkSettings::default(),
        }
    }
}
