//! Tokens that nobody knows: what they cost, and how many of them an address may try.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use server::auth::Secret;
use store::{NewToken, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::faults::watched;
use crate::harness::{Caller, Server};

/// Unknown tokens that an address may try in a minute.
const MAY_TRY: usize = 100;

/// A caller with a token that nobody made.
fn stranger(server: &Server) -> Caller {
    let secret = Secret::generate().unwrap();
    Caller { authorization: Some(format!("Bearer {}", secret.expose())), ..server.nobody() }
}

/// Lists from another address of this machine; returns the status line.
async fn list_from(address: [u8; 4], caller: &Caller) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(address), 0).into()).unwrap();
    let mut stream = socket.connect(caller.address).await.unwrap();
    let auth = caller.authorization_line();
    let request = format!("GET /v1/operations HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{auth}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or("").to_owned()
}

#[tokio::test]
async fn an_address_that_tries_many_is_refused_without_a_query_and_known_tokens_go_on() {
    let (server, seen) = watched(|services| services.settings.proxies.clear()).await;
    let acme = server.acme().await;
    assert_eq!(acme.get("/v1/operations").await.status, StatusCode::OK);
    for _ in 0..MAY_TRY {
        assert_eq!(stranger(&server).get("/v1/operations").await.status, StatusCode::UNAUTHORIZED);
    }
    let lookups = *seen.lookups.borrow();
    for _ in 0..20 {
        let answer = stranger(&server).get("/v1/operations").await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
        assert_eq!(answer.reason(), "TOO_MANY_UNKNOWN_TOKENS");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(*seen.lookups.borrow(), lookups, "a refusal costs no query");
    assert_eq!(acme.get("/v1/operations").await.status, StatusCode::OK, "a token that is known here");
    assert_eq!(server.nobody().get("/v1/operations").await.status, StatusCode::UNAUTHORIZED);
    // Another address is another client.
    let (unknown, new) = (stranger(&server), server.acme().await);
    assert_eq!(list_from([127, 0, 0, 2], &unknown).await, "HTTP/1.1 401 Unauthorized");
    assert_eq!(list_from([127, 0, 0, 2], &new).await, "HTTP/1.1 200 OK");
    assert_eq!(new.get("/v1/operations").await.status, StatusCode::OK, "it is known from now on");
}

#[tokio::test]
async fn a_proxy_may_try_as_many_as_come_through_it() {
    let server = Server::start().await;
    for _ in 0..MAY_TRY + 5 {
        assert_eq!(stranger(&server).get("/v1/operations").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(server.acme().await.get("/v1/operations").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_behind_a_proxy_may_try_as_many_as_any_other() {
    let server = Server::start().await;
    let try_for = async |client: &str| {
        let headers = [("x-forwarded-for", client)];
        stranger(&server).send(Method::GET, "/v1/operations", &headers, "").await.status
    };
    for _ in 0..MAY_TRY {
        assert_eq!(try_for("192.0.2.7").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(try_for("192.0.2.7").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(try_for("192.0.2.7, 192.0.2.8").await, StatusCode::UNAUTHORIZED, "another client");
}

#[tokio::test]
async fn one_unknown_token_is_not_asked_for_every_time_and_is_taken_soon_after_it_was_made() {
    let (server, seen) = watched(|services| services.settings.proxies.clear()).await;
    let secret = Secret::generate().unwrap();
    let caller = Caller { authorization: Some(format!("Bearer {}", secret.expose())), ..server.nobody() };
    // More often than an address may try different ones.
    for _ in 0..3 * MAY_TRY {
        assert_eq!(caller.get("/v1/operations").await.status, StatusCode::UNAUTHORIZED);
    }
    let lookups = *seen.lookups.borrow();
    assert!(lookups < MAY_TRY, "{lookups} for one token");
    let token = NewToken {
        hash: secret.hash(),
        name: "late".to_owned(),
        access: Access::organization("acme"),
        scopes: [Scope::Admin].into(),
        expires_at: None,
        instance: None,
    };
    server.store.create_token(token).await.unwrap();
    let taken = async {
        while caller.get("/v1/operations").await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("a new token is taken soon");
}
