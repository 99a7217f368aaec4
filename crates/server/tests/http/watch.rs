//! `GET /v1/operations:watch`.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use operations::{Access, NewOperation, Outcome, Resource};
use serde_json::Value;
use store::Scope;
use tokio::net::TcpStream;

use crate::harness::{Caller, Server, redact};

const PATIENCE: Duration = Duration::from_secs(10);

/// A stream of events that is being read.
struct Stream {
    body: Incoming,
    text: String,
    connection: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// One event.
#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: String,
}

impl Event {
    fn operation(&self) -> Value {
        serde_json::from_str::<Value>(&self.data).unwrap()["operation"].clone()
    }

    fn status(&self) -> String {
        self.operation()["status"].as_str().unwrap().trim_start_matches("ASYNC_OPERATION_STATUS_").to_owned()
    }
}

impl Stream {
    async fn open(caller: &Caller, query: &str, last_event_id: Option<&str>) -> Stream {
        let stream = TcpStream::connect(caller.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::get(format!("/v1/operations:watch{query}")).header("host", "test");
        request = request.header("authorization", caller.authorization.as_deref().unwrap());
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Stream { body: response.into_body(), text: String::new(), connection }
    }

    /// The next block, a sign of life or an event; `None` at the end.
    async fn block(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
                };
                let event = Event { id: field("id: "), name: field("event: "), data: field("data: ") };
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a frame in time")?;
            self.text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            let event = self.block().await.expect("the stream goes on");
            if !event.data.is_empty() {
                return event;
            }
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.next().await);
        }
        events
    }

    /// Nothing comes for a while.
    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(400), self.next()).await.is_err()
    }
}

fn done() -> Outcome {
    Outcome::Completed { output: "line 1\nline 2".to_owned() }
}

fn statuses(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::status).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_transition_is_an_event_with_the_operation_as_it_was() {
    let server = Server::start().await;
    server.completed("scan", "before").await;
    let mut stream = Stream::open(&server.acme().await, "", None).await;
    let first = stream.block().await.unwrap();
    assert!(first.data.is_empty() && !first.id.is_empty(), "it begins with the place where it begins: {first:?}");
    server.ended(NewOperation::of_kind("scan"), done()).await;
    let events = stream.take(3).await;
    assert_eq!(statuses(&events), ["PENDING", "RUNNING", "COMPLETED"]);
    assert!(events.iter().all(|event| event.name.is_empty()));
    let data: Vec<String> = events.iter().map(|event| redact(&event.data)).collect();
    insta::assert_snapshot!(data.join("\n"), @r#"
    {"operation":{"output":"","error_message":"","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_PENDING"}}
    {"operation":{"output":"","error_message":"","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","started_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_RUNNING"}}
    {"operation":{"output":"line 1\nline 2","error_message":"","finished_at":"<time>","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","started_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_COMPLETED"}}
    "#);
    assert!(stream.is_silent().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_resumes_without_gap_or_repeat() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut stream = Stream::open(&caller, "", None).await;
    for _ in 0..3 {
        server.ended(NewOperation::of_kind("scan"), done()).await;
    }
    let many = (0..200).map(|_| NewOperation::of_kind("build")).collect();
    server.store.create("acme", many, None).await.unwrap();
    let whole = stream.take(209).await;
    drop(stream);
    server.ended(NewOperation::of_kind("scan"), done()).await;
    for index in [0, 4, 8, 100, 208] {
        let mut resumed = Stream::open(&caller, "", Some(&whole[index].id)).await;
        let rest = resumed.take(208 - index + 3).await;
        let expected = whole[index + 1..].iter().map(|event| (&event.id, &event.data));
        assert!(rest.iter().map(|event| (&event.id, &event.data)).take(208 - index).eq(expected), "from {index}");
        assert_eq!(statuses(&rest[208 - index..]), ["PENDING", "RUNNING", "COMPLETED"]);
        assert!(resumed.is_silent().await);
    }
    let mut by_parameter = Stream::open(&caller, &format!("?last_event_id={}", whole[207].id), None).await;
    assert_eq!(by_parameter.next().await.id, whole[208].id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_filters_are_those_of_the_list() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let resource = Resource { resource_type: "image".to_owned(), resource_id: "alpine".to_owned() };
    let mut ended = Stream::open(&caller, "?status=ASYNC_OPERATION_STATUS_FAILED", None).await;
    let mut of_kind = Stream::open(&caller, "?kind=scan&status=1", None).await;
    let mut about = Stream::open(&caller, "?resource_type=image&resourceId=alpine", None).await;
    server.ended(NewOperation::of_kind("build"), done()).await;
    let failed = Outcome::Failed { message: "broken".to_owned(), retryable: false };
    let wanted = NewOperation { resource: Some(resource), ..NewOperation::of_kind("scan") };
    let id = server.ended(wanted, failed).await.id.to_string();
    let failed = ended.next().await;
    assert_eq!((failed.operation()["id"].as_str(), failed.operation()["error_message"].as_str()), (Some(id.as_str()), Some("broken")));
    assert_eq!(of_kind.next().await.operation()["id"], *id);
    assert_eq!(statuses(&about.take(3).await), ["PENDING", "RUNNING", "FAILED"]);
    for mut stream in [ended, of_kind, about] {
        assert!(stream.is_silent().await);
    }
    for (query, field) in [("pagination.page=1", "pagination.page"), ("status=9", "status"), ("resource_id=a", "resource_type"), ("last_event_id=x", "last_event_id")] {
        assert_eq!(caller.get(&format!("/v1/operations:watch?{query}")).await.violated(), [field]);
    }
    let answer = caller.send(http::Method::GET, "/v1/operations:watch", &[("last-event-id", "x")], "").await;
    assert_eq!(answer.violated(), ["Last-Event-ID"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_sees_what_he_may_not() {
    let server = Server::start().await;
    let reads = &[Scope::OperationsRead];
    let mut other = Stream::open(&server.caller(Access::organization("other"), reads).await, "", None).await;
    let mut limited = Stream::open(&server.caller(Access::projects("acme", ["a"]), reads).await, "", None).await;
    for project in ["", "b", "a"] {
        let new = NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind("scan") };
        server.ended(new, done()).await;
    }
    let seen = limited.take(3).await;
    assert!(seen.iter().all(|event| event.operation()["project_id"] == "a"), "{seen:?}");
    assert!(limited.is_silent().await && other.is_silent().await);
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite]).await;
    assert_eq!(writer.get("/v1/operations:watch").await.status, StatusCode::FORBIDDEN);
    assert_eq!(server.nobody().get("/v1/operations:watch").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_that_is_forgotten_is_told_as_such() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut stream = Stream::open(&caller, "", None).await;
    server.completed("scan", "x").await;
    let events = stream.take(3).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    server.store.forget_changes(Duration::ZERO, 1_000).await.unwrap();
    let resume = async |id: &str| caller.send(http::Method::GET, "/v1/operations:watch", &[("last-event-id", id)], "").await;
    let answer = resume(&events[0].id).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "EVENT_ID_UNKNOWN"));
    assert_eq!(answer.json()["code"], 11);
    let mut resumed = Stream::open(&caller, "", Some(&events[2].id)).await;
    server.pending("scan").await;
    assert_eq!(resumed.next().await.status(), "PENDING", "who had seen everything goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_outputs_are_whole_and_a_server_that_stops_ends_the_stream() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server.acme().await, "", None).await;
    let long = "x".repeat(300_000);
    server.completed("scan", &long).await;
    assert_eq!(stream.take(3).await[2].operation()["output"], *long);
    server.shutdown.cancel();
    while let Some(event) = stream.block().await {
        assert!(event.data.is_empty(), "nothing more happened: {event:?}");
    }
}
