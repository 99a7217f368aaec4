//! Callers other than those with API tokens: `[auth.jwt.NAME]`, providers whose tokens are accepted, and `[auth.oidc]`,
//! the provider at which people sign in.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use server::auth::{JwtSettings, KeySettings, KeySource, check_url};
use toml::Table;

use super::claims::Claims;
use super::tables::{self, Complaints};
use super::units::Span;

/// Providers at which anybody can have an account, so that their signature alone means nothing.
const PUBLIC_ISSUERS: [&str; 5] = [
    "https://token.actions.githubusercontent.com",
    "https://accounts.google.com",
    // As some of Google's tokens name it.
    "accounts.google.com",
    "https://gitlab.com",
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
];
/// A clock that is further off has to be corrected.
const MOST_LEEWAY: Duration = Duration::from_secs(300);
/// The time between two fetches of keys: fetching more often would burden the provider; fetching less often would delay
/// the withdrawal of a key.
const FETCHES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// A session must not last forever, although it can be revoked.
const MOST_SESSION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Fewer bytes would not be a secret.
const LEAST_KEY: usize = 32;

/// Callers other than those with API tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// By the name that the operator chose.
    pub jwt: BTreeMap<String, Jwt>,
    /// At most one: a page has one way to sign in.
    pub oidc: Option<Oidc>,
}

/// A provider whose tokens are accepted: `[auth.jwt.NAME]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jwt {
    /// Its tokens and keys.
    pub provider: Provider,
    /// The meaning of claims.
    pub claims: Claims,
}

/// The tokens and keys of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// The exact value of `iss` in its tokens.
    pub issuer: String,
    /// A token must have one of these as `aud`.
    pub audiences: Vec<String>,
    /// The URL of its keys; set this or `jwks_file`.
    pub jwks_url: String,
    /// A file with its keys.
    pub jwks_file: String,
    /// Whether the URL may be `http://` on another machine.
    pub allow_http: bool,
    /// How far its clock may differ from the store's.
    pub leeway: Span,
    /// How often its keys are fetched again.
    pub refresh: Span,
    /// The shortest time between two fetches caused by tokens with unknown key ids.
    pub refetch_after: Span,
}

/// The provider at which people sign in: `[auth.oidc]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Oidc {
    /// This server as its client.
    pub client: Client,
    /// The meaning of claims.
    pub claims: Claims,
}

/// A server as the client of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// The provider's issuer URL.
    pub issuer: String,
    /// The client id under which the provider knows this server.
    pub client_id: String,
    /// The environment variable of the server that contains the client secret; set this, `client_secret_file`, or
    /// neither for a public client.
    pub client_secret_environment: String,
    /// The file that contains the client secret.
    pub client_secret_file: String,
    /// The URL at which browsers reach this server.
    pub public_url: String,
    /// The scopes that are requested from the provider.
    pub request_scopes: Vec<String>,
    /// Whether the provider may be called over `http://` on another machine.
    pub allow_http: bool,
    /// How long a session lasts.
    pub session_lifetime: Span,
    /// A file with the secret that encrypts sessions; empty: a key in the store.
    pub session_key_file: String,
}

impl Default for Provider {
    fn default() -> Provider {
        Provider {
            issuer: String::new(),
            audiences: Vec::new(),
            jwks_url: String::new(),
            jwks_file: String::new(),
            allow_http: false,
            leeway: Span::seconds(60),
            refresh: Span::seconds(600),
            refetch_after: Span::seconds(30),
        }
    }
}

impl Default for Client {
    fn default() -> Client {
        Client {
            issuer: String::new(),
            client_id: String::new(),
            client_secret_environment: String::new(),
            client_secret_file: String::new(),
            public_url: String::new(),
            request_scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            allow_http: false,
            session_lifetime: Span::seconds(8 * 3600),
            session_key_file: String::new(),
        }
    }
}

impl Jwt {
    /// Reads the table `[auth.jwt.NAME]`.
    pub fn read(mut table: Table, complaints: &mut Complaints) -> Jwt {
        let provider = tables::take(&mut table, complaints);
        let claims = tables::take(&mut table, complaints);
        let known = [tables::keys::<Provider>(), tables::keys::<Claims>()].concat();
        tables::refuse_rest(&table, &known, complaints);
        Jwt { provider, claims }
    }

    /// Every key with its value.
    pub fn shown(&self) -> Table {
        let mut shown = tables::shown(&self.provider);
        shown.extend(tables::shown(&self.claims));
        shown
    }

    /// The settings in the format of `server`.
    pub fn settings(&self, name: &str) -> JwtSettings {
        let Provider { issuer, audiences, jwks_url, jwks_file, allow_http, leeway, refresh, refetch_after } =
            self.provider.clone();
        let source =
            if jwks_file.is_empty() { KeySource::Url(jwks_url) } else { KeySource::File(PathBuf::from(jwks_file)) };
        let keys = KeySettings { source, allow_http, refresh: refresh.0, refetch_after: refetch_after.0 };
        let claims = self.claims.mapping();
        JwtSettings { name: name.to_owned(), issuer, audiences, keys, leeway: leeway.0, claims }
    }

    /// Checks that the types cannot express.
    pub fn check(&self, name: &str) -> Complaints {
        let mut complaints = self.claims.check();
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let message =
            format!("{name:?} is not a valid name for a provider: it must consist of 1 to 64 letters, digits, - and _");
        complaints.require(is_name, "", message);
        let Provider { issuer, audiences, jwks_url, jwks_file, allow_http, leeway, refresh, refetch_after } =
            &self.provider;
        let missing = "is missing; it is the exact value of iss in the provider's tokens";
        complaints.require(!issuer.is_empty(), "issuer", missing);
        let audience = "must name at least one audience of tokens meant for this server, e.g. [\"longrun\"]";
        let are_named = !audiences.is_empty() && audiences.iter().all(|name| !name.is_empty());
        complaints.require(are_named, "audiences", audience);
        match (jwks_url.as_str(), jwks_file.as_str()) {
            ("", "") => {
                complaints.add("jwks_url", "is missing; it is the address of the provider's keys (or jwks_file)");
            }
            ("", file) => {
                let message = format!("the file {file} cannot be read");
                complaints.require(std::fs::File::open(file).is_ok(), "jwks_file", message);
            }
            (url, "") => {
                if let Err(problem) = check_url(url, *allow_http) {
                    complaints.add("jwks_url", problem);
                }
            }
            _ => complaints.add("jwks_file", "must be left out when jwks_url is set: keys come from one source"),
        }
        let message = "must be at most 5m; a clock that is further off must be corrected";
        complaints.require(leeway.0 <= MOST_LEEWAY, "leeway", message);
        for (key, span) in [("refresh", refresh), ("refetch_after", refetch_after)] {
            complaints.require(FETCHES.contains(&span.0), key, "must be between 1s and 1d");
        }
        check_public(issuer, &self.claims, &mut complaints);
        complaints
    }
}

impl Oidc {
    /// Reads the table `[auth.oidc]`.
    pub fn read(mut table: Table, complaints: &mut Complaints) -> Oidc {
        let client = tables::take(&mut table, complaints);
        let claims = tables::take(&mut table, complaints);
        let known = [tables::keys::<Client>(), tables::keys::<Claims>()].concat();
        tables::refuse_rest(&table, &known, complaints);
        Oidc { client, claims }
    }

    /// Every key with its value.
    pub fn shown(&self) -> Table {
        let mut shown = tables::shown(&self.client);
        shown.extend(tables::shown(&self.claims));
        shown
    }

    /// Checks that the types cannot express.
    pub fn check(&self) -> Complaints {
        let mut complaints = self.claims.check();
        let client = &self.client;
        if let Err(problem) = check_url(&client.issuer, client.allow_http) {
            complaints.add("issuer", problem);
        }
        let message = "is missing; it is the id under which the provider knows this server";
        complaints.require(!client.client_id.is_empty(), "client_id", message);
        let is_origin = check_url(&client.public_url, true).is_ok_and(|url| url.path() == "/" && url.query().is_none());
        let message = "must be the address at which browsers reach this server, without a path, e.g. \
             \"https://longrun.example.com\"";
        complaints.require(is_origin, "public_url", message);
        let asks = client.request_scopes.iter().any(|scope| scope == "openid");
        let message = "must contain \"openid\": without it the provider does not identify the person";
        complaints.require(asks, "request_scopes", message);
        let span = client.session_lifetime.0;
        let fits = (Duration::from_secs(60)..=MOST_SESSION).contains(&span);
        complaints.require(fits, "session_lifetime", "must be between 1m and 30d");
        if !client.client_secret_file.is_empty() {
            let only = client.client_secret_environment.is_empty();
            let message = "must be left out when client_secret_environment is set: only one secret is needed";
            complaints.require(only, "client_secret_file", message);
        }
        for (key, file, least) in [
            ("client_secret_file", &client.client_secret_file, 1),
            ("session_key_file", &client.session_key_file, LEAST_KEY),
        ] {
            if !file.is_empty()
                && let Some(problem) = secret_problem(file, least)
            {
                complaints.add(key, problem);
            }
        }
        check_public(&client.issuer, &self.claims, &mut complaints);
        complaints
    }
}

impl Auth {
    /// Checks across tables.
    pub fn check(&self) -> Complaints {
        let mut complaints = Complaints::new();
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, Jwt { provider, .. }) in &self.jwt {
            if let Some(other) = seen.insert(&provider.issuer, name) {
                let message = format!("is also that of [auth.jwt.{other}]; name each issuer only once");
                complaints.add(&format!("jwt.{name}.issuer"), message);
            }
        }
        complaints
    }
}

/// Refuses to accept everybody at a provider at which anybody can have an account.
fn check_public(issuer: &str, claims: &Claims, complaints: &mut Complaints) {
    let is_public = PUBLIC_ISSUERS.contains(&issuer.trim_end_matches('/'));
    let message = "is required for this issuer, at which anybody can have an account: name a claim and the values that \
         are yours, e.g. required = { repository_owner = [\"acme\"] }";
    complaints.require(!is_public || claims.is_choosy(), "required", message);
}

/// The problem with a file that must contain a secret of at least this many bytes.
fn secret_problem(file: &str, least: usize) -> Option<String> {
    match std::fs::read(file) {
        Ok(bytes) if bytes.trim_ascii().len() >= least => None,
        Ok(_) => Some(format!(
            "the file {file} contains fewer than {least} bytes; `openssl rand -base64 32` creates a secret"
        )),
        Err(error) => Some(format!("the file {file} cannot be read: {error}")),
    }
}
