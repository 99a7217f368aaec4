//! A provider's keys behind a real socket, and servers that take its tokens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use server::auth::{ClaimMapping, Identity, IdentitySettings, JwtSettings, KeySettings, KeySource};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::signer::{ISSUER, Signer, key_set};
use crate::harness::{Caller, Server};

/// Longer than any test takes.
pub const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// What the address of the keys answers.
#[derive(Clone)]
pub enum Says {
    Keys(String),
    Error(StatusCode),
    /// Nothing, until a test sets another answer.
    Nothing,
}

/// An address that answers keys, and counts the requests.
pub struct KeyServer {
    pub url: String,
    says: watch::Sender<Says>,
    asked: watch::Receiver<u32>,
}

#[derive(Clone)]
struct Shared {
    says: watch::Receiver<Says>,
    asked: Arc<Mutex<watch::Sender<u32>>>,
}

async fn answer(State(shared): State<Shared>) -> Response {
    shared.asked.lock().unwrap().send_modify(|asked| *asked += 1);
    let mut says = shared.says;
    let said = says.wait_for(|says| !matches!(says, Says::Nothing)).await.map(|says| says.clone());
    match said {
        Ok(Says::Keys(keys)) => keys.into_response(),
        Ok(Says::Error(status)) => status.into_response(),
        Ok(Says::Nothing) | Err(_) => StatusCode::GONE.into_response(),
    }
}

impl KeyServer {
    pub async fn start(says: Says) -> KeyServer {
        let ((says, said), (asks, asked)) = (watch::channel(says), watch::channel(0));
        let shared = Shared { says: said, asked: Arc::new(Mutex::new(asks)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let router = Router::new().route("/keys", get(answer)).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        KeyServer { url, says, asked }
    }

    pub fn says(&self, says: Says) {
        self.says.send_replace(says);
    }

    pub fn keys(&self, signers: &[&Signer]) {
        self.says(Says::Keys(key_set(signers)));
    }

    /// How often it was asked.
    pub fn asked(&self) -> u32 {
        *self.asked.borrow()
    }

    /// Returns once it was asked this number of times.
    pub async fn was_asked(&self, times: u32) {
        self.asked.clone().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

/// A provider with these keys, whose claims `tenant`, `scope` and `projects` count.
pub fn settings(source: KeySource) -> JwtSettings {
    JwtSettings {
        name: "test".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["longrun".to_owned(), "other".to_owned()],
        keys: KeySettings { source, allow_http: false, refresh: NEVER, refetch_after: NEVER },
        leeway: Duration::from_secs(30),
        claims: ClaimMapping {
            organization_claim: "tenant".to_owned(),
            scopes_claim: "scope".to_owned(),
            ..ClaimMapping::default()
        },
    }
}

/// A server that takes tokens of these signers, whose keys are in a file.
pub async fn server_of(signers: &[&Signer], change: impl FnOnce(&mut JwtSettings)) -> Server {
    // The file is read at the start, and not again within the time of a test.
    let (_folder, source) = key_file(signers);
    server_from(source, change).await
}

/// The same, to which any number of unknown tokens may come from one address.
pub async fn patient_server_of(signers: &[&Signer]) -> Server {
    let (_folder, source) = key_file(signers);
    let identity = Identity::new(IdentitySettings { jwt: vec![settings(source)], oidc: None }).unwrap();
    Server::with(|services| services.identity = identity.into()).await
}

fn key_file(signers: &[&Signer]) -> (tempfile::TempDir, KeySource) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, key_set(signers)).unwrap();
    (folder, KeySource::File(path))
}

/// A server that takes tokens of a provider with these keys.
pub async fn server_from(source: KeySource, change: impl FnOnce(&mut JwtSettings)) -> Server {
    let mut settings = settings(source);
    change(&mut settings);
    let identity = Identity::new(IdentitySettings { jwt: vec![settings], oidc: None }).unwrap();
    Server::with(|services| {
        services.identity = identity.into();
        services.settings.proxies.clear();
    })
    .await
}

/// A caller with a token.
pub fn caller(server: &Server, token: &str) -> Caller {
    Caller { authorization: Some(format!("Bearer {token}")), ..server.nobody() }
}
