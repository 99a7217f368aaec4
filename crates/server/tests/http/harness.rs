//! Starts servers on free ports, makes tokens, sends requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::evidence::EvaluatorConfig;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kinds::evaluation::{Evaluations, Worker};
use operations::{Access, NewOperation, Operation, OperationId, Outcome};
use serde_json::Value;
use server::auth::Secret;
use server::{ApiSettings, Services};
use store::{ClaimRequest, ContentStore, NewToken, Scope, Settlement, SqliteStore, Store, Token};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The most bytes of evidence that test servers take.
pub const CONTENT_LIMIT: u64 = 64 * 1024;

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub store: Arc<dyn Store>,
    pub services: Services,
    pub shutdown: CancellationToken,
    pub ended: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(|_| {}).await
    }

    pub async fn with_settings(change: impl FnOnce(&mut ApiSettings)) -> Server {
        Server::with(|services| change(&mut services.settings)).await
    }

    /// A server whose services were changed before it started.
    pub async fn with(change: impl FnOnce(&mut Services)) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
        let content = ContentStore::local(&folder.path().join("evidence"), CONTENT_LIMIT).unwrap();
        let mut services = Services::new(Arc::new(store), content, engine::Waker::default());
        services.kinds = ["evidence_evaluation", "scan"].map(str::to_owned).into();
        services.evaluations = Some(Arc::new(evaluations(EvaluatorConfig::default())));
        change(&mut services);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = services.shutdown.clone();
        let (router, settings) = (server::http::router(services.clone()), services.settings.clone());
        let ended = tokio::spawn(server::http::serve(listener, router, None, shutdown.clone(), settings));
        Server { address, store: services.store.clone(), services, shutdown, ended, _folder: folder }
    }

    /// A caller whose token has these scopes in this organization (and these projects).
    pub async fn caller(&self, access: Access, scopes: &[Scope]) -> Caller {
        self.caller_and_token(access, scopes).await.0
    }

    pub async fn caller_and_token(&self, access: Access, scopes: &[Scope]) -> (Caller, Token) {
        let secret = Secret::generate().unwrap();
        let token = NewToken {
            hash: secret.hash(),
            name: "test".to_owned(),
            access,
            scopes: scopes.iter().copied().collect(),
            expires_at: None,
            instance: None,
        };
        let token = self.store.create_token(token).await.unwrap();
        (Caller { address: self.address, authorization: Some(format!("Bearer {}", secret.expose())) }, token)
    }

    /// A caller who may do everything in the organization `acme`.
    pub async fn acme(&self) -> Caller {
        self.caller(Access::organization("acme"), &[Scope::Admin]).await
    }

    /// A caller with a token of the instance that reaches these organizations; an empty list means all.
    pub async fn instance(&self, organizations: &[&str], scopes: &[Scope]) -> Caller {
        let secret = Secret::generate().unwrap();
        let wish = store::TokenWish {
            name: "instance".to_owned(),
            organization: None,
            projects: [].into(),
            organizations: organizations.iter().map(|name| (*name).to_owned()).collect(),
            scopes: scopes.iter().copied().collect(),
            expires_in: None,
        };
        store::create_token(&*self.store, None, &wish, secret.hash()).await.unwrap();
        Caller { address: self.address, authorization: Some(format!("Bearer {}", secret.expose())) }
    }

    /// A caller without a token.
    pub fn nobody(&self) -> Caller {
        Caller { address: self.address, authorization: None }
    }

    /// An operation that waits, in `acme`.
    pub async fn pending(&self, kind: &str) -> Operation {
        self.create(NewOperation::of_kind(kind)).await
    }

    /// An operation in `acme`.
    pub async fn create(&self, operation: NewOperation) -> Operation {
        self.store.create("acme", vec![operation], None).await.unwrap().remove(0)
    }

    /// What remains in the store after every operation was asked to stop.
    pub async fn want_all_stopped(&self) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self._folder.path().join("longrun.db"));
        let foreign = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("UPDATE active SET cancel_requested = 1").execute(&foreign).await.unwrap();
        foreign.close().await;
    }

    /// The file with this content, of `acme`.
    pub fn evidence_file(&self, digest: &str) -> std::path::PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self._folder.path().join("evidence/organizations/acme/sha256").join(&hex[..2]).join(hex)
    }

    /// Starts an attempt of the first operation of a kind in `acme`.
    pub async fn claim(&self, kind: &str) -> store::Claimed {
        let request = ClaimRequest {
            kinds: vec![kind.to_owned()],
            access: Some(Access::organization("acme")),
            among: None,
            limit: 1,
            worker: "test".to_owned(),
            lease: Duration::from_secs(60),
        };
        self.store.claim(request).await.unwrap().remove(0)
    }

    /// Ends an attempt.
    pub async fn settle(&self, claimed: store::Claimed, outcome: Outcome) {
        let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
        self.store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    }

    /// An operation in `acme` that has ended with this output.
    pub async fn completed(&self, kind: &str, output: &str) -> Operation {
        self.ended(NewOperation::of_kind(kind), Outcome::Completed { output: output.to_owned() }).await
    }

    /// An operation in `acme` that has ended with this outcome. No other of its kind may be waiting.
    pub async fn ended(&self, operation: NewOperation, outcome: Outcome) -> Operation {
        let kind = operation.kind.clone();
        let operation = self.create(operation).await;
        let claimed = self.claim(&kind).await;
        assert_eq!(claimed.operation.id, operation.id);
        self.settle(claimed, outcome).await;
        self.store.get(&Access::organization("acme"), operation.id).await.unwrap().unwrap()
    }
}

/// Evaluations by processes of their own, as a server has them.
pub fn evaluations(config: EvaluatorConfig) -> Evaluations {
    let worker = Worker { program: env!("CARGO_BIN_EXE_evaluation-worker-of-tests").into(), args: Vec::new() };
    Evaluations::new(worker, config).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

/// An answer as it was received.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The value of a header, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body with ids and times replaced, for snapshots.
    pub fn redacted(&self) -> String {
        redact(self.text())
    }

    /// The fields that a 400 names, checking the form of the error.
    pub fn violations(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{self:?}");
        let json = self.json();
        assert_eq!(json["code"], 3);
        let details = json["details"].as_array().unwrap();
        let bad_request = details.iter().find(|d| d["@type"] == "type.googleapis.com/google.rpc.BadRequest");
        let Some(bad_request) = bad_request else { panic!("no BadRequest in {self:?}") };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let violations = bad_request["fieldViolations"].as_array().unwrap();
        violations.iter().map(|v| (text(&v["field"]), text(&v["description"]))).collect()
    }

    /// The names of the fields at fault.
    pub fn violated(&self) -> Vec<String> {
        self.violations().into_iter().map(|(field, _)| field).collect()
    }

    /// Takes a field out of the body, wherever it is: one that may change from one call to the next.
    pub fn forget(&mut self, field: &str) {
        fn forget(value: &mut Value, field: &str) {
            match value {
                Value::Object(members) => {
                    members.remove(field);
                    members.values_mut().for_each(|member| forget(member, field));
                }
                Value::Array(elements) => elements.iter_mut().for_each(|element| forget(element, field)),
                _ => {}
            }
        }
        let mut value = self.json();
        forget(&mut value, field);
        self.body = value.to_string().into();
    }

    /// The stable reason of an error.
    pub fn reason(&self) -> String {
        let json = self.json();
        let details = json["details"].as_array().unwrap();
        let info = details.iter().find(|d| d["@type"] == "type.googleapis.com/google.rpc.ErrorInfo").unwrap();
        assert_eq!(info["domain"], "longrun");
        info["reason"].as_str().unwrap().to_owned()
    }

    /// The ids of a list, in their order.
    pub fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let json = self.json();
        json["operations"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Sends requests with one token.
#[derive(Clone)]
pub struct Caller {
    pub address: SocketAddr,
    pub authorization: Option<String>,
}

impl Caller {
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// The same caller with another secret.
    pub fn with_secret(&self, secret: &Value) -> Caller {
        let authorization = Some(format!("Bearer {}", secret.as_str().unwrap()));
        Caller { authorization, ..self.clone() }
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// Sends a request on a connection of its own; fails when the body of the answer breaks off.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "test");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Begins a call whose body is not sent as a whole: declares `length` bytes and sends these. The answer is left in
    /// the connection.
    pub async fn begin(&self, path: &str, length: usize, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let auth = self.authorization_line();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        // The server may refuse it before it has read everything.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// Writes bytes as they are, half-closes if asked to, and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8], half_close: bool) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before it has read everything: then its answer is what counts.
        let _ = stream.write_all(bytes).await;
        if half_close {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The `Authorization` line for [`Caller::raw`].
    pub fn authorization_line(&self) -> String {
        format!("authorization: {}\r\n", self.authorization.as_deref().unwrap())
    }
}

/// Replaces ids by `<id>` and times by `<time>`.
pub fn redact(text: &str) -> String {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.get(..36).is_some_and(|id| id.parse::<OperationId>().is_ok()) {
            redacted.push_str("<id>");
            rest = &rest[36..];
        } else if rest
            .get(..24)
            .is_some_and(|time| time.ends_with('Z') && time.parse::<operations::Timestamp>().is_ok())
        {
            redacted.push_str("<time>");
            rest = &rest[24..];
        } else {
            redacted.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    redacted
}
