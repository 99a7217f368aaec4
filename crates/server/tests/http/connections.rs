//! Connections on which nobody is authenticated, that are idle, or of which one address has too many.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::{Caller, Server};

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// An HTTP/2 connection; its pings are answered for as long as it is there.
struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<Result<(), hyper::Error>>,
}

impl Http2 {
    async fn open(server: &Server) -> Http2 {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        Http2 { sender, connection: tokio::spawn(connection) }
    }

    /// `None` when the connection was closed before there was an answer.
    async fn send(
        &mut self,
        caller: &Caller,
        request: http::request::Builder,
        body: &'static str,
    ) -> Option<StatusCode> {
        let request = match &caller.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        let request = request.header("content-type", "application/json").body(Full::from(body)).unwrap();
        let response = self.sender.send_request(request).await.ok()?;
        let status = response.status();
        response.into_body().collect().await.ok()?;
        Some(status)
    }

    async fn list(&mut self, caller: &Caller) -> Option<StatusCode> {
        self.send(caller, Request::get("http://t/v1/operations"), "").await
    }

    async fn until_closed(self) {
        // The sender is held: a client that has none closes by itself.
        tokio::time::timeout(DEADLINE, self.connection).await.expect("the server closes it").unwrap().unwrap();
        drop(self.sender);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_on_which_nobody_was_authenticated_is_closed() {
    let server = Server::with_settings(|settings| settings.unauthenticated_timeout = Duration::from_secs(2)).await;
    let (acme, nobody) = (server.acme().await, server.nobody());
    let mut known = Http2::open(&server).await;
    // On a machine that is slow enough it is closed before.
    while known.list(&acme).await.is_none() {
        known = Http2::open(&server).await;
    }
    let mut stranger = Http2::open(&server).await;
    assert!(stranger.list(&nobody).await.is_none_or(|status| status == StatusCode::UNAUTHORIZED));
    // One that keeps asking over HTTP/1.1.
    let mut persistent = TcpStream::connect(server.address).await.unwrap();
    let asking = async {
        let mut answer = [0; 4096];
        while persistent.write_all(b"GET /v1/operations HTTP/1.1\r\nhost: t\r\n\r\n").await.is_ok() {
            match persistent.read(&mut answer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("the server closes it");
    stranger.until_closed().await;
    assert_eq!(known.list(&acme).await, Some(StatusCode::OK), "who was authenticated is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_idle_is_closed_and_one_that_waits_is_not() {
    let server = Server::with_settings(|settings| settings.idle_timeout = Duration::from_millis(500)).await;
    let acme = server.acme().await;
    // On a machine that is slow enough a connection is closed before it has asked, so there are some.
    for _ in 0..10 {
        let mut connection = Http2::open(&server).await;
        let claim = Request::post("http://t/v1/operations:claim");
        let status = connection.send(&acme, claim, r#"{"kinds":["scan"],"wait":"2s"}"#).await;
        connection.until_closed().await;
        if status == Some(StatusCode::OK) {
            return;
        }
    }
    panic!("a connection that waits four times as long as it may be idle is closed");
}

/// Connects from an address of this machine and asks something; `None` when the connection is closed without an answer.
async fn connect_from(address: [u8; 4], server: &Server) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(address), 0).into()).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let _ = stream.write_all(b"GET /v1/nowhere HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.ok()?;
    assert_eq!(&answer, b"HTTP/1.1 404");
    Some(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_others_go_on() {
    let server = Server::with_settings(|settings| {
        settings.max_connections_per_address = 3;
        settings.proxies.clear();
    })
    .await;
    let (one, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(connect_from(one, &server).await.expect("it may have three"));
    }
    assert!(connect_from(one, &server).await.is_none(), "a fourth one");
    assert!(connect_from(other, &server).await.is_some());
    open.pop();
    let again = async {
        while connect_from(one, &server).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("one that was closed counts no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_and_zero_are_not_counted() {
    let servers = [
        Server::with_settings(|settings| settings.max_connections_per_address = 1).await,
        Server::with_settings(|settings| {
            settings.max_connections_per_address = 0;
            settings.proxies.clear();
        })
        .await,
    ];
    for server in &servers {
        let open = [connect_from([127, 0, 0, 1], server).await, connect_from([127, 0, 0, 1], server).await];
        assert!(open.iter().all(Option::is_some));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_cap_idle_connections_make_room_strangers_first() {
    let server = Server::with_settings(|settings| settings.max_connections = 2).await;
    let acme = server.acme().await;
    let mut known = Http2::open(&server).await;
    assert_eq!(known.list(&acme).await, Some(StatusCode::OK));
    let mut stranger = Http2::open(&server).await;
    // Nobody wants these places yet.
    let stays = tokio::time::timeout(Duration::from_millis(300), &mut stranger.connection).await;
    assert!(stays.is_err(), "it is left alone while nobody needs its place");
    // A third one is served, in the place of the one that nobody was authenticated on.
    assert_eq!(acme.get("/v1/operations").await.status, StatusCode::OK);
    tokio::time::timeout(DEADLINE, stranger.connection).await.expect("it is closed").unwrap().ok();
    assert_eq!(known.list(&acme).await, Some(StatusCode::OK), "who was authenticated is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_none_is_idle_further_connections_are_closed_and_not_left_waiting() {
    let server = Server::with_settings(|settings| settings.max_connections = 1).await;
    let acme = server.acme().await;
    let mut busy = acme.begin("/v1/operations", 15, br#"{"kind":"#).await;
    while !server.services.metrics.render().contains("in_flight 1") {
        tokio::task::yield_now().await;
    }
    let closed = async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.read(&mut [0; 1]).await
    };
    let closed = tokio::time::timeout(DEADLINE, closed).await.expect("it hears of it");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    let metrics = server.services.metrics.render();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("longrun_connections_closed_total ")).unwrap();
    assert!(counted.parse::<u64>().unwrap() >= 1, "{counted}");
    busy.write_all(br#""scan"}"#).await.unwrap();
    let mut status = [0; 12];
    busy.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200", "who is served is not disturbed");
    // The idle one gives up its place.
    let served = async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let _ = stream.write_all(b"GET /v1/nowhere HTTP/1.1\r\nhost: t\r\n\r\n").await;
            if stream.read_exact(&mut [0; 12]).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, served).await.expect("there is room again");
}
