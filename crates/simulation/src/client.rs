//! Callers: HTTP over the simulated network, with impatient users and lost answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::time::timeout;
use turmoil::net::TcpStream;

use crate::host::{PORT, SERVER};
use crate::wire::Wire;
use crate::world::World;

/// How long a call may take, unless its caller is impatient.
const PATIENCE: Duration = Duration::from_secs(3);

/// One caller.
pub struct Client {
    pub world: Arc<World>,
    pub name: String,
    pub random: StdRng,
    connection: Option<SendRequest<Full<Bytes>>>,
    calls: u32,
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    /// An operation with the same unique key already existed.
    pub existing: bool,
    pub body: Value,
}

/// A call, which may be made several times.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    /// The idempotency key.
    pub key: Option<String>,
    pub body: Option<Value>,
    /// How long the caller waits, in addition to the time that the answer takes.
    pub wait: Duration,
}

impl Call {
    pub fn new(method: Method, path: impl Into<String>) -> Call {
        Call { method, path: path.into(), key: None, body: None, wait: Duration::ZERO }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Call {
        Call { body: Some(body), ..Call::new(Method::POST, path) }
    }
}

impl Client {
    pub fn new(world: &Arc<World>, name: impl Into<String>) -> Client {
        let name = name.into();
        let random = world.random_of(&name);
        Client { world: Arc::clone(world), name, random, connection: None, calls: 0 }
    }

    /// Makes the call; `None` when nothing is known about its outcome.
    pub async fn call(&mut self, call: &Call) -> Option<Answered> {
        self.calls += 1;
        let number = self.calls;
        let is_impatient = !self.world.is_finishing() && self.random.random_bool(0.08);
        let patience =
            if is_impatient { Duration::from_millis(self.random.random_range(0..80)) } else { PATIENCE + call.wait };
        let Call { method, path, key, body, .. } = call;
        let key_text = key.as_deref().unwrap_or_default();
        let body_text = body.as_ref().map(Value::to_string).unwrap_or_default();
        self.world.log(format_args!("{} → {number} {method} {path} {key_text} {body_text}", self.name));
        let answered = match timeout(patience, self.ask(call)).await {
            Ok(Ok(answered)) => Some(answered),
            Ok(Err(why)) => {
                self.world.log(format_args!("{} ← {number} nothing: {why}", self.name));
                None
            }
            Err(_) => {
                self.world.log(format_args!("{} ← {number} no answer in time", self.name));
                None
            }
        };
        match &answered {
            Some(Answered { status, existing, body }) => {
                self.world.log(format_args!("{} ← {number} {status} {existing} {body}", self.name));
            }
            None => self.connection = None,
        }
        answered.filter(|answered| !is_unsure(answered.status))
    }

    async fn ask(&mut self, call: &Call) -> Result<Answered, String> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect((SERVER, PORT)).await.map_err(|error| error.to_string())?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(Wire(stream))).await.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        let sender = self.connection.as_mut().ok_or("there is no connection")?;
        sender.ready().await.map_err(|error| error.to_string())?;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header("host", SERVER)
            .header("authorization", format!("Bearer {}", self.world.token.expose()));
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        if call.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = call.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (status, existing) = (response.status(), response.headers().contains_key("x-longrun-existing"));
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answered { status, existing, body })
    }

    /// Waits for up to `most`.
    pub async fn pause(&mut self, most: Duration) {
        let pause = self.random.random_range(0..=most.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Whether this answer leaves open whether the call was carried out.
fn is_unsure(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}
