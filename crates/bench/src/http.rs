//! `longrun bench http`: creations, each acknowledged when it is durable, and reads, by clients that keep their
//! connection.
//!
//! The server is the real one, with authentication, engine and store, on a local socket; the clients share its cores.
//! Reads are compared with a bare axum handler that answers the same bytes from memory; creations with one that inserts
//! a row into the plain table; the same calls over gRPC with those over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, StatusCode, header::CONTENT_TYPE};
use axum::routing::{get, post};
use proto::longrun::v1 as wire;
use serde_json::json;
use server::ApiSettings;
use tokio::net::TcpListener;

use super::api::Server;
use super::grpc::{self, Call};
use super::load::{ORGANIZATION, Seen, Until, operation, press};
use super::plain::Plain;
use super::report::{Measured, Report};
use super::spinner::Spinner;
use super::target::Target;
use super::wire::{Connection, Wire};

/// Load before the part that is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// The number of operations that exist to be listed.
const THERE: usize = 1_000;

const CREATE: &str = r#"{"kind":"bench","resource_type":"evidence","resource_id":"image-1","project_id":"project-01","input":{"digest":"sha256:00"}}"#;

/// Measures the calls, one kind after the other.
pub async fn measure(target: &Target, clients: u32, length: Duration) -> anyhow::Result<Report> {
    let server = Server::start(target, ApiSettings::default()).await?;
    let address = server.address;
    let created = server.store.create(ORGANIZATION, vec![operation(); THERE], None).await?;
    let id = created.last().context("the store created nothing")?.id;

    let request = |method: &str, path: &str, body| Wire::new(method, path, server.secret.expose(), body);
    let one = request("GET", &format!("/v1/operations/{id}"), None);
    let page = request("GET", "/v1/operations", None);
    let create = request("POST", "/v1/operations", Some(CREATE));
    let bare = Bare::serve(Plain::empty(target).await?, address, &one, &page).await?;
    let (bare_one, bare_page) = (request("GET", "/one", None), request("GET", "/page", None));

    let over_grpc = [
        Call::Get(wire::GetOperationRequest { operation_id: id.to_string(), ..Default::default() }),
        Call::List(wire::ListOperationsRequest::default()),
        Call::Create(Box::new(wire::CreateOperationRequest {
            kind: "bench".to_owned(),
            resource_type: "evidence".to_owned(),
            resource_id: "image-1".to_owned(),
            project_id: "project-01".to_owned(),
            input: r#"{"digest":"sha256:00"}"#.to_owned(),
            ..Default::default()
        })),
    ];

    let spinner = Spinner::start("http");
    let mut results = Vec::new();
    for ((mode, ours, theirs), call) in
        [("get one", &one, &bare_one), ("first page", &page, &bare_page), ("create", &create, &create)]
            .into_iter()
            .zip(over_grpc)
    {
        spinner.say(format!("{mode}, {clients} clients"));
        load(address, clients, WARM_UP, ours).await?;
        let ours = load(address, clients, length, ours).await?;
        spinner.say(format!("{mode}, {clients} clients, the baseline"));
        load(bare.0, clients, WARM_UP, theirs).await?;
        let theirs = load(bare.0, clients, length, theirs).await?;
        results.push(Measured {
            mode: Some(format!("{mode}, {clients} clients")),
            baseline: Some(theirs.times()),
            ratio: Some(ours.per_second() / theirs.per_second()),
            ..Measured::new("http", target.engine(), ours.times())
        });
        spinner.say(format!("{mode} over gRPC, {clients} clients"));
        let secret = server.secret.expose();
        grpc::load(address, clients, WARM_UP, secret, &call).await?;
        let grpc = grpc::load(address, clients, length, secret, &call).await?;
        results.push(Measured {
            mode: Some(format!("{mode} over gRPC, {clients} clients")),
            baseline: Some(ours.times()),
            ratio: Some(grpc.per_second() / ours.per_second()),
            ..Measured::new("http", target.engine(), grpc.times())
        });
    }
    drop(spinner);
    let settings = json!({ "clients": clients, "seconds": length.as_secs(), "engine": target.settings().await? });
    let mut report = Report::new(target, settings, results);
    report.notes.push(
        "clients, server and database share the cores; baseline of reads: a bare axum handler, the same bytes from \
         memory; of creations: a bare axum handler, one row into the plain table; of gRPC: the same call over HTTP"
            .to_owned(),
    );
    server.stop().await;
    Ok(report)
}

async fn load(address: SocketAddr, clients: u32, length: Duration, wire: &Wire) -> anyhow::Result<Seen> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Arc::new(tokio::sync::Mutex::new(Connection::open(address).await?)));
    }
    press(clients, Until::Time(length), 1, |number| {
        let (connection, wire) = (Arc::clone(&connections[number as usize]), wire.clone());
        move || {
            let (connection, wire) = (Arc::clone(&connection), wire.clone());
            async move { connection.lock().await.call(&wire).await.map(|_| ()) }
        }
    })
    .await
}

/// A server of a few lines.
struct Bare(SocketAddr);

impl Bare {
    /// Answers what longrun answers, from memory; and creates in the plain table.
    async fn serve(plain: Plain, longrun: SocketAddr, one: &Wire, page: &Wire) -> anyhow::Result<Bare> {
        let mut connection = Connection::open(longrun).await?;
        let one = Bytes::copy_from_slice(connection.call(one).await?);
        let page = Bytes::copy_from_slice(connection.call(page).await?);
        const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
        let create = move |body: Bytes| {
            let plain = plain.clone();
            async move {
                let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&body);
                if parsed.is_err() {
                    return (StatusCode::BAD_REQUEST, JSON, String::new());
                }
                match plain.create().await {
                    Ok(id) => (StatusCode::OK, JSON, format!(r#"{{"operation":{{"id":"{id}"}}}}"#)),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, JSON, error.to_string()),
                }
            }
        };
        let router = Router::new()
            .route("/one", get(move || async move { (JSON, one) }))
            .route("/page", get(move || async move { (JSON, page) }))
            .route("/v1/operations", post(create));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // Ends with the process.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Bare(address))
    }
}
