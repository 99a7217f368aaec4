//! The listener: protocols, TLS, the connection cap, and the orderly end.
//!
//! The certificate and key in `tls/` are for these tests only: self-signed for `localhost`, valid for a hundred years,
//! by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost
//! -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE`.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use server::http::{Tls, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::harness::{Caller, Server};

/// Asks for the list over HTTP/2 on this stream.
async fn list_over_http2<S>(stream: S, caller: &Caller) -> (StatusCode, String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/v1/operations")
        .header("authorization", caller.authorization.as_deref().unwrap())
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    let server = Server::start().await;
    let caller = server.acme().await;
    server.completed("scan", &"x".repeat(100_000)).await;
    let (status, body) = list_over_http2(TcpStream::connect(server.address).await.unwrap(), &caller).await;
    assert_eq!((status, body.as_bytes()), (StatusCode::OK, &*caller.get("/v1/operations").await.body));
}

#[tokio::test]
async fn tls_offers_http2_and_refuses_what_is_not_tls() {
    let server = Server::start().await;
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/tls");
    let tls = Tls::from_pem_files(&fixtures.join("localhost.crt"), &fixtures.join("localhost.key")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server::http::router(server.services.clone());
    tokio::spawn(serve(listener, router, Some(tls), CancellationToken::new(), server.services.settings.clone()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixtures.join("localhost.crt")).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(list_over_http2(stream, &server.acme().await).await.0, StatusCode::OK);

    let plain = Caller { address, authorization: None };
    for method in ["GET", "POST"] {
        let request = format!("{method} / HTTP/1.1\r\nhost: t\r\ncontent-length: 40000\r\n\r\n{}", "x".repeat(40_000));
        let answer = plain.raw(request.as_bytes(), false).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("This port speaks TLS: use an address that begins with https://\n"), "{answer}");
    }
    let answer = plain.raw(b"neither the one nor the other\r\n\r\n", false).await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
}

#[test]
fn a_certificate_that_cannot_be_used_says_which_file_is_at_fault() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/tls");
    let problem = |certificate: &str, key: &str| {
        Tls::from_pem_files(&fixtures.join(certificate), &fixtures.join(key)).err().unwrap().to_string()
    };
    assert!(problem("none", "localhost.key").contains("certificate chain"));
    assert!(problem("localhost.crt", "localhost.crt").contains("private key"));
}

/// A request whose body is still to come; returns once the server works on it.
async fn unfinished(caller: &Caller, server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(caller.address).await.unwrap();
    let auth = caller.authorization_line();
    let head = format!(
        "POST /v1/operations HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\ncontent-length: 15\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    while !server.services.metrics.render().contains("in_flight 1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish_and_takes_no_new_ones() {
    let mut server = Server::start().await;
    let caller = server.acme().await;
    // An idle connection must not hold the shutdown up.
    let _idle = TcpStream::connect(server.address).await.unwrap();
    let mut stream = unfinished(&caller, &server).await;
    server.shutdown.cancel();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(br#"{"kind":"scan"}"#).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    tokio::time::timeout(Duration::from_secs(10), &mut server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn after_the_drain_time_what_is_left_is_cut() {
    let mut server = Server::with_settings(|settings| settings.drain_timeout = Duration::from_millis(100)).await;
    let caller = server.acme().await;
    let mut stream = unfinished(&caller, &server).await;
    server.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), &mut server.ended).await.unwrap().unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn connections_above_the_cap_wait_for_a_place() {
    let server = Server::with_settings(|settings| settings.max_connections = 1).await;
    let caller = server.acme().await;
    let first = unfinished(&caller, &server).await;
    let waits = tokio::time::timeout(Duration::from_millis(200), caller.get("/v1/operations")).await;
    assert!(waits.is_err(), "served beyond the cap: {waits:?}");
    drop(first);
    let answer = tokio::time::timeout(Duration::from_secs(10), caller.get("/v1/operations")).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}
