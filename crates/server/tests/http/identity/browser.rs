//! A provider at which people sign in, a server behind a proxy that speaks TLS, and a browser that knows both.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use secrecy::{SecretSlice, SecretString};
use serde_json::Value;
use server::auth::{ClaimMapping, Identity, IdentitySettings, OidcSettings, Role};
use store::Scope;

use crate::harness::Server;

/// Where browsers reach the server.
pub const PUBLIC: &str = "https://longrun.example.com";
/// The path to the scripts of the provider.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/oidc-provider");

/// A provider, in a process that ends with this.
pub struct Provider {
    pub issuer: String,
    process: Child,
}

impl Provider {
    /// Starts it with these users. A machine on which it cannot be started fails the test.
    pub async fn start(users: &[Value]) -> Provider {
        static PYTHON: OnceLock<String> = OnceLock::new();
        let users: Vec<String> = users.iter().map(Value::to_string).collect();
        let started = tokio::task::spawn_blocking(move || {
            let python = PYTHON.get_or_init(|| {
                let made = Command::new(format!("{SCRIPTS}/python.sh")).stderr(Stdio::inherit()).output().unwrap();
                assert!(made.status.success(), "the packages of the provider could not be installed");
                String::from_utf8(made.stdout).unwrap().trim().to_owned()
            });
            let mut process = Command::new(python)
                .args(["-W", "ignore", &format!("{SCRIPTS}/serve.py")])
                .args(users)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut port = String::new();
            BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
            assert!(!port.is_empty(), "the provider did not start");
            Provider { issuer: format!("http://127.0.0.1:{}", port.trim()), process }
        });
        started.await.unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A sign-in at this provider: the group `acme` may do everything in `acme`, `readers` may read there.
pub fn settings(issuer: &str) -> OidcSettings {
    let role = |scopes: &[Scope]| Role {
        organization: "acme".to_owned(),
        scopes: scopes.iter().copied().collect(),
        projects: Vec::new(),
    };
    OidcSettings {
        issuer: issuer.to_owned(),
        client_id: "longrun".to_owned(),
        client_secret: Some(SecretString::from("a secret that the provider gave")),
        public_url: PUBLIC.to_owned(),
        request_scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        allow_http: false,
        session_time: Duration::from_secs(3_600),
        session_key: None,
        claims: ClaimMapping {
            roles_claim: "groups".to_owned(),
            roles: BTreeMap::from([
                ("acme".to_owned(), role(&[Scope::Admin])),
                ("readers".to_owned(), role(&[Scope::OperationsRead])),
            ]),
            ..ClaimMapping::default()
        },
    }
}

/// A key that several servers have.
pub fn shared_key() -> Option<SecretSlice<u8>> {
    Some(SecretSlice::from(vec![7; 32]))
}

pub async fn server_with(settings: OidcSettings) -> Server {
    let identity = Identity::new(IdentitySettings { jwt: Vec::new(), oidc: Some(settings) }).unwrap();
    Server::with(|services| services.identity = identity.into()).await
}

/// Another server of the same store.
pub async fn server_beside(first: &Server, settings: OidcSettings) -> Server {
    let identity = Identity::new(IdentitySettings { jwt: Vec::new(), oidc: Some(settings) }).unwrap();
    Server::with(|services| {
        services.identity = identity.into();
        services.store = first.store.clone();
    })
    .await
}

/// An answer as it was received.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn reason(&self) -> String {
        self.json()["details"][0]["reason"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// The cookies that the answer asked the browser to keep.
    pub fn cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect()
    }
}

/// A browser: sends the cookies of a site to that site, and keeps them as the answers say.
pub struct Browser {
    client: Client,
    /// Where the proxy that speaks TLS for the server leads.
    server: String,
    /// By site.
    pub cookies: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    pub fn new(server: &Server) -> Browser {
        let client = Client::builder().redirect(Policy::none()).tls_certs_only([]).no_proxy().build().unwrap();
        Browser { client, server: format!("http://{}", server.address), cookies: BTreeMap::new() }
    }

    /// The same browser, led to another server of the same site.
    pub fn led_to(&self, server: &Server) -> Browser {
        Browser { cookies: self.cookies.clone(), ..Browser::new(server) }
    }

    pub async fn get(&mut self, url: &str) -> Page {
        self.send(Method::GET, url, &[], None).await
    }

    /// Has a page of the site send JSON to its server.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.send(Method::POST, &format!("{PUBLIC}{path}"), &headers, Some(body)).await
    }

    pub async fn send(&mut self, method: Method, url: &str, headers: &[(&str, &str)], form: Option<&str>) -> Page {
        let site = Url::parse(url).unwrap().origin().ascii_serialization();
        // What a page of the site writes without its beginning.
        let reached = url.replacen(PUBLIC, &self.server, 1);
        let mut request = self.client.request(method, reached);
        let jar = self.cookies.entry(site).or_default();
        if !jar.is_empty() {
            let pairs: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", pairs.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(form) = form {
            let typed = headers.iter().any(|(name, _)| *name == "content-type");
            if !typed {
                request = request.header("content-type", "application/x-www-form-urlencoded");
            }
            request = request.body(form.to_owned());
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() || cookie.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Page { status, headers, body: answer.text().await.unwrap() }
    }

    /// Begins a sign-in; returns where the server sends the browser.
    pub async fn begin(&mut self, login: &str) -> String {
        let page = self.get(&format!("{PUBLIC}{login}")).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
        page.header("location").to_owned()
    }

    /// Has the person say at the provider who they are; returns where the provider sends the browser.
    pub async fn authorize(&mut self, at_provider: &str, form: &str) -> String {
        let page = self.send(Method::POST, at_provider, &[], Some(form)).await;
        assert_eq!(page.status, StatusCode::FOUND, "{page:?}");
        page.header("location").to_owned()
    }

    /// The whole way; returns the server's answer to the browser that comes back.
    pub async fn sign_in(&mut self, subject: &str) -> Page {
        let at_provider = self.begin("/auth/login").await;
        let back = self.authorize(&at_provider, &format!("sub={subject}")).await;
        self.get(&back).await
    }

    /// Who is signed in.
    pub async fn session(&mut self) -> Value {
        let page = self.get(&format!("{PUBLIC}/auth/session")).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        page.json()["session"].clone()
    }
}
