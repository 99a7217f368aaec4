//! `GET /v1/operations:watch`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use operations::{Access, NewOperation, OperationId, Outcome, Resource};
use serde_json::Value;
use store::{OperationCommand, PostgresStore, Scope, Store};
use testkit::{Cluster, Durability};
use tokio::net::TcpStream;

use crate::harness::{Caller, Server, redact};

/// Long: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

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

    /// The next block, a keep-alive or an event; `None` at the end.
    async fn block(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
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

    /// Asserts that the next event is of this operation: there was nothing else before.
    async fn comes_to(&mut self, id: OperationId) {
        assert_eq!(self.next().await.operation()["id"], id.to_string());
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
    stream.comes_to(server.pending("scan").await.id).await;
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
    for (round, index) in [0, 4, 8, 100, 208].into_iter().enumerate() {
        let mut resumed = Stream::open(&caller, "", Some(&whole[index].id)).await;
        let rest = resumed.take(208 - index + 3 + round).await;
        let expected = whole[index + 1..].iter().map(|event| (&event.id, &event.data));
        assert!(rest.iter().map(|event| (&event.id, &event.data)).take(208 - index).eq(expected), "from {index}");
        let since = ["PENDING", "RUNNING", "COMPLETED"].into_iter().chain(std::iter::repeat_n("PENDING", round));
        assert!(statuses(&rest[208 - index..]).iter().map(String::as_str).eq(since), "from {index}");
        resumed.comes_to(server.pending("build").await.id).await;
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
    let id = server.ended(wanted.clone(), failed).await.id.to_string();
    let failed = ended.next().await;
    assert_eq!(
        (failed.operation()["id"].as_str(), failed.operation()["error_message"].as_str()),
        (Some(id.as_str()), Some("broken"))
    );
    assert_eq!(of_kind.next().await.operation()["id"], *id);
    assert_eq!(statuses(&about.take(3).await), ["PENDING", "RUNNING", "FAILED"]);
    let failed = Outcome::Failed { message: "broken".to_owned(), retryable: false };
    let again = server.ended(wanted, failed).await.id;
    for mut stream in [ended, of_kind, about] {
        stream.comes_to(again).await;
    }
    for (query, field) in
        [("pagination.page=1", "pagination.page"), ("status=9", "status"), ("resource_id=a", "resource_type")]
    {
        assert_eq!(caller.get(&format!("/v1/operations:watch?{query}")).await.violated(), [field]);
    }
    let answer = caller.send(http::Method::GET, "/v1/operations:watch", &[("last-event-id", "x")], "").await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "EVENT_ID_UNKNOWN"));
    let answer = caller.get("/v1/operations:watch?last_event_id=1-4294967295-0").await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "EVENT_ID_UNKNOWN"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ids_of_events_tell_nothing_of_others_and_are_of_no_use_to_them() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let mut first = Stream::open(&acme, "", None).await;
    let begun = first.block().await.unwrap().id;
    // The same position, seen twice: whether others did something in between cannot be known.
    let mut second = Stream::open(&acme, "", None).await;
    assert_ne!(second.block().await.unwrap().id, begun);
    let mine = server.pending("scan").await.id;
    let event = first.next().await;
    assert_eq!(second.next().await.id, event.id, "an event has one id");
    for _ in 0..10 {
        server.store.create("other", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    }
    server.pending("scan").await;
    let after = first.next().await;
    let same = event.id.bytes().zip(after.id.bytes()).filter(|(one, other)| one == other).count();
    assert!(event.id.len() == after.id.len() && same < event.id.len() / 2, "{} {}", event.id, after.id);

    let other = server.caller(Access::organization("other"), &[Scope::OperationsRead]).await;
    for id in [&begun, &event.id] {
        let answer = other.send(http::Method::GET, "/v1/operations:watch", &[("last-event-id", id)], "").await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "EVENT_ID_UNKNOWN"));
        let mut resumed = Stream::open(&acme, "", Some(id)).await;
        let expected =
            if *id == begun { mine.to_string() } else { after.operation()["id"].as_str().unwrap().to_owned() };
        assert_eq!(resumed.next().await.operation()["id"], expected);
    }
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
    for project in ["b", ""] {
        let gone = NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind("scan") };
        let gone = server.ended(gone, done()).await.id;
        server
            .store
            .command(&Access::organization("acme"), gone, OperationCommand::Delete)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    let last = server.create(NewOperation { project_id: "a".to_owned(), ..NewOperation::of_kind("scan") }).await;
    limited.comes_to(last.id).await;
    let new = NewOperation::of_kind("scan");
    let of_other = server.store.create("other", vec![new], None).await.unwrap().remove(0);
    other.comes_to(of_other.id).await;
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite]).await;
    assert_eq!(writer.get("/v1/operations:watch").await.status, StatusCode::FORBIDDEN);
    assert_eq!(server.nobody().get("/v1/operations:watch").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancellations_retries_and_deletions_are_seen() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut all = Stream::open(&caller, "", None).await;
    let mut completions = Stream::open(&caller, "?status=3", None).await;
    let id = server.pending("scan").await.id;
    for verb in [":cancel", ":retry"] {
        assert_eq!(caller.post(&format!("/v1/operations/{id}{verb}"), "").await.status, StatusCode::OK);
    }
    let first = all.take(3).await;
    assert_eq!(statuses(&first), ["PENDING", "FAILED", "PENDING"]);
    let claimed = server.claim("scan").await;
    caller.post(&format!("/v1/operations/{id}:cancel"), "").await;
    server.settle(claimed, Outcome::Failed { message: "stopped".to_owned(), retryable: true }).await;
    assert_eq!(statuses(&all.take(2).await), ["RUNNING", "FAILED"]);
    let path = format!("/v1/operations/{id}");
    assert_eq!(caller.send(http::Method::DELETE, &path, &[], "").await.status, StatusCode::OK);
    for stream in [&mut all, &mut completions] {
        let gone = stream.next().await;
        assert_eq!((gone.name.as_str(), gone.data), ("deleted", format!("{{\"id\":\"{id}\"}}")), "whatever is watched");
    }
    let mut resumed = Stream::open(&caller, "", Some(&first[0].id)).await;
    assert_eq!(resumed.next().await.name, "deleted", "of what is gone nothing else is known any more");
}

/// Two servers on one database, each with writers of its own; a client that is passed from one to the other every few
/// events sees the same as one that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_resumes_at_another_server_without_gap_or_repeat() {
    const OPERATIONS: usize = 60;
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, 6).await.unwrap());
        servers.push(Server::with(|services| services.store = store).await);
    }
    let caller = servers[0].acme().await;
    let callers = [caller.clone(), Caller { address: servers[1].address, ..caller }];
    let mut staying = Stream::open(&callers[0], "", None).await;
    let start = staying.block().await.unwrap().id;
    let mut writers = tokio::task::JoinSet::new();
    for (index, server) in servers.iter().enumerate() {
        let store = Arc::clone(&server.store);
        writers.spawn(async move { live(&*store, &format!("kind{index}"), OPERATIONS / 2).await });
    }
    let (mut seen, mut last, mut parts) = (Vec::new(), start, 0);
    while seen.len() < OPERATIONS * 3 {
        let mut stream = Stream::open(&callers[parts % 2], "", Some(&last)).await;
        let part = stream.take((OPERATIONS * 3 - seen.len()).min(1 + parts % 7)).await;
        last = part.last().unwrap().id.clone();
        seen.extend(part);
        parts += 1;
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let stayed = staying.take(OPERATIONS * 3).await;
    let told = |event: &Event| (event.id.clone(), event.operation()["id"].clone(), event.status());
    assert!(seen.iter().map(told).eq(stayed.iter().map(told)));
    let ids: std::collections::BTreeSet<&str> = seen.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), OPERATIONS * 3, "each place once");
    let last = servers[1].pending("scan").await.id;
    staying.comes_to(last).await;
}

/// Operations of a kind that are created, run and end, one after the other.
async fn live(store: &dyn Store, kind: &str, operations: usize) {
    for _ in 0..operations {
        store.create("acme", vec![NewOperation::of_kind(kind)], None).await.unwrap();
        let request = store::ClaimRequest {
            kinds: vec![kind.to_owned()],
            access: Some(Access::organization("acme")),
            among: None,
            limit: 1,
            worker: "test".to_owned(),
            lease: Duration::from_secs(60),
        };
        let lease = store.claim(request).await.unwrap().remove(0).lease;
        let settlement = store::Settlement { lease, outcome: done(), retry_after: Duration::ZERO };
        store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn there_is_a_limit_to_those_who_watch() {
    let server = Server::with_settings(|settings| settings.max_watchers = 1).await;
    let caller = server.acme().await;
    let first = Stream::open(&caller, "", None).await;
    let answer = caller.get("/v1/operations:watch").await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_WATCHERS"));
    assert_eq!(answer.header("retry-after"), "1");
    drop(first);
    // The server learns that the client is gone when it has something to say.
    server.pending("scan").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while caller.send(http::Method::HEAD, "/v1/operations:watch", &[], "").await.status != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "the place is free again");
        server.pending("scan").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_that_is_forgotten_is_told_as_such() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let mut stream = Stream::open(&caller, "", None).await;
    server.completed("scan", "x").await;
    let events = stream.take(3).await;
    let mut forgotten = 0;
    while forgotten < 3 {
        // As soon as the clock has moved on.
        forgotten += server.store.forget_changes(Duration::ZERO, 1_000).await.unwrap();
    }
    let resume =
        async |id: &str| caller.send(http::Method::GET, "/v1/operations:watch", &[("last-event-id", id)], "").await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_organization_that_watches_with_all_that_it_can_leaves_places_to_others() {
    let server = Server::with_settings(|settings| settings.max_watchers = 4).await;
    let crowd = server.caller(Access::organization("crowd"), &[Scope::Admin]).await;
    let mut streams = Vec::new();
    loop {
        if crowd.send(http::Method::HEAD, "/v1/operations:watch", &[], "").await.status != StatusCode::OK {
            break;
        }
        streams.push(Stream::open(&crowd, "", None).await);
        assert!(streams.len() < 4, "some are left");
    }
    let mut stream = Stream::open(&server.acme().await, "", None).await;
    let operation = server.pending("scan").await;
    stream.comes_to(operation.id).await;
}
