//! More than the server can do: what is refused, what is not, and who is affected.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use operations::{Access, NewOperation};
use store::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::faults::{STUCK, Seen, watched};
use crate::harness::{Answer, Caller, Server};
use crate::work::claim;

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_millis(100);
/// A path that gets no answer for organizations that are stuck.
const EVENTS: &str = "/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac/events";

async fn small() -> (Server, Seen) {
    watched(|services| {
        services.settings.max_in_flight = 3;
        services.settings.max_in_flight_per_organization = 2;
        services.settings.overload_patience = PATIENCE;
    })
    .await
}

async fn admin(server: &Server, organization: &str) -> Caller {
    server.caller(Access::organization(organization), &[Scope::Admin]).await
}

/// This number of calls that get no answer from the store; returns once all are there.
async fn stick(seen: &mut Seen, caller: &Caller, calls: usize) -> Vec<JoinHandle<Answer>> {
    let goal = *seen.stuck.borrow() + calls;
    let stuck = (0..calls).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.get(EVENTS).await })
    });
    let stuck = stuck.collect();
    tokio::time::timeout(DEADLINE, seen.stuck.wait_for(|count| *count >= goal)).await.expect("in time").unwrap();
    stuck
}

fn assert_shed(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!((answer.reason(), answer.header("retry-after")), ("OVERLOADED".to_owned(), "1"));
}

#[tokio::test]
async fn an_organization_cannot_take_all_places() {
    let (server, mut seen) = small().await;
    let (stuck, acme) = (admin(&server, STUCK).await, server.acme().await);
    let _held = stick(&mut seen, &stuck, 2).await;
    let begun = Instant::now();
    assert_shed(&stuck.get("/v1/operations").await);
    assert!(begun.elapsed() >= PATIENCE, "it waits for a place first");
    assert_shed(&stuck.post("/v1/operations", r#"{"kind":"scan"}"#).await);
    for _ in 0..3 {
        assert_eq!(acme.get("/v1/operations").await.status, StatusCode::OK);
        assert_eq!(acme.post("/v1/operations", r#"{"kind":"scan"}"#).await.status, StatusCode::OK);
    }
    assert!(server.services.metrics.render().contains("longrun_shed_total{reason=\"overloaded\"} 2"));
    assert_eq!(server.nobody().get("/v1/operations").await.status, StatusCode::UNAUTHORIZED, "that costs no place");
}

#[tokio::test]
async fn when_all_places_are_taken_what_keeps_work_and_what_waits_goes_on() {
    let (server, mut seen) = small().await;
    let acme = server.acme().await;
    server.store.create("acme", vec![NewOperation::of_kind("scan"); 2], None).await.unwrap();
    let first = claim(&acme, 1).await.remove(0);
    let one = stick(&mut seen, &admin(&server, STUCK).await, 2).await;
    let _other = stick(&mut seen, &admin(&server, &format!("{STUCK}-too")).await, 1).await;
    assert_shed(&acme.get("/v1/operations").await);
    assert_shed(&acme.post("/v1/operations", r#"{"kind":"scan"}"#).await);

    let (id, lease) = (first["operation"]["id"].as_str().unwrap(), first["lease_token"].as_str().unwrap());
    let beat = format!(r#"{{"operations":[{{"id":"{id}","lease_token":"{lease}"}}]}}"#);
    assert_eq!(acme.post("/v1/operations:heartbeat", beat).await.status, StatusCode::OK);
    let result = format!(r#"{{"results":[{{"id":"{id}","lease_token":"{lease}","output":"done"}}]}}"#);
    assert_eq!(acme.post("/v1/operations:settle", result).await.status, StatusCode::OK);
    let waited = acme.get(&format!("/v1/operations/{id}:wait?timeout=1s")).await;
    assert!(waited.text().contains("ASYNC_OPERATION_STATUS_COMPLETED"), "{waited:?}");
    assert_eq!(claim(&acme, 1).await.len(), 1);

    let admin = server::http::admin_router(&server.services, server.shutdown.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let operator = Caller { address: listener.local_addr().unwrap(), authorization: None };
    let settings = server.services.settings.clone();
    tokio::spawn(server::http::serve(listener, admin, None, server.shutdown.clone(), settings));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(operator.get(path).await.status, StatusCode::OK, "{path}");
    }

    one.iter().for_each(JoinHandle::abort);
    let served = async { while acme.get("/v1/operations").await.status != StatusCode::OK {} };
    tokio::time::timeout(DEADLINE, served).await.expect("a place that was given back is there for others");
}

/// Sends a call over a connection that stays, and returns everything that comes back.
async fn exchange(stream: &mut TcpStream, caller: &Caller, method: &str, body: &str) -> String {
    let (auth, length) = (caller.authorization_line(), body.len());
    let head = format!("{method} /v1/operations HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\n");
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    loop {
        let mut part = [0; 4096];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut part)).await.expect("in time").unwrap();
        assert!(read > 0, "closed after {answer}");
        answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return answer;
        }
    }
}

#[tokio::test]
async fn who_would_wait_in_vain_is_told_so_at_once_and_others_on_the_same_connection_are_not() {
    let (server, mut seen) = watched(|services| {
        services.settings.max_in_flight = 3;
        services.settings.max_in_flight_per_organization = 1;
        services.settings.overload_patience = DEADLINE;
    })
    .await;
    let (stuck, acme) = (admin(&server, STUCK).await, server.acme().await);
    let forged = Caller { authorization: Some("Bearer lrn_forged".to_owned()), ..stuck.clone() };
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut stream, &stuck, "GET", "").await.starts_with("HTTP/1.1 200"));
    let _held = stick(&mut seen, &stuck, 1).await;
    let waiting = (0..16).map(|_| {
        let caller = stuck.clone();
        tokio::spawn(async move { caller.get("/v1/operations").await })
    });
    let _waiting: Vec<_> = waiting.collect();
    while !server.services.metrics.render().contains("in_flight 17") {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let refused = exchange(&mut stream, &stuck, "POST", r#"{"kind":"scan"}"#).await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1\r\n"), "{refused}");
        assert!(refused.contains("x-request-id: ") && refused.contains("x-content-type-options: "), "{refused}");
        assert!(refused.contains(r#""reason":"OVERLOADED""#), "{refused}");
    }
    assert!(server.services.metrics.render().contains("longrun_shed_total{reason=\"overloaded\"} 3"));
    assert!(exchange(&mut stream, &acme, "POST", r#"{"kind":"scan"}"#).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut stream, &forged, "GET", "").await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn who_sends_slowly_has_no_place_meanwhile() {
    let (server, _) = small().await;
    let acme = server.acme().await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(acme.begin("/v1/operations", 15, br#"{"kind":"#).await);
    }
    while !server.services.metrics.render().contains("in_flight 5") {
        tokio::task::yield_now().await;
    }
    assert_eq!(acme.get("/v1/operations").await.status, StatusCode::OK);
    let upload = acme.send(Method::POST, "/v1/evidence", &[], "evidence").await;
    assert_eq!(upload.status, StatusCode::OK, "{upload:?}");
    for mut stream in slow {
        stream.write_all(br#""scan"}"#).await.unwrap();
        let mut status = [0; 12];
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut status)).await.expect("in time").unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}
