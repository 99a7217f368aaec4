//! Traces end to end: the real server and a real worker, a receiver of notices, and a collector that decodes what it is
//! sent by the messages of OpenTelemetry's own crate.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tempfile::tempdir;

use crate::common::{PATIENCE, Process, Server, admin_token, command, run_in};

/// The trace and the span of the caller.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A request as it was received.
struct Request {
    /// The first line and the headers, in lower case.
    head: String,
    body: Vec<u8>,
}

/// A server that answers every request with this status, and passes each on.
fn listen(status: &'static str) -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some((request, mut stream)) = read(stream) else { continue };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

fn read(stream: TcpStream) -> Option<(Request, TcpStream)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((Request { head, body }, reader.into_inner()))
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The requests that a collector was sent.
struct Collector {
    requests: Receiver<Request>,
    spans: Vec<Span>,
}

impl Collector {
    /// A collector, and its address as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    fn start() -> (Collector, String) {
        let (address, requests) = listen("200 OK");
        (Collector { requests, spans: Vec::new() }, format!("http://{address}"))
    }

    /// Takes the incoming spans until there is one of each of these names.
    #[track_caller]
    fn until(&mut self, names: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(missing) = names.iter().find(|name| !self.spans.iter().any(|span| span.name == ***name)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(request) = self.requests.recv_timeout(left) else {
                panic!("no span {missing:?} came in time; there are {:?}", self.names())
            };
            self.take(&request);
        }
    }

    fn take(&mut self, request: &Request) {
        assert!(request.head.starts_with("post /v1/traces http/1.1"), "{}", request.head);
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let sent = ExportTraceServiceRequest::decode(&*request.body).unwrap();
        for resource_spans in sent.resource_spans {
            let resource = resource_spans.resource.unwrap();
            let of_process = |key: &str| resource.attributes.iter().find(|one| one.key == key).map(text_of);
            assert_eq!(of_process("service.name").as_deref(), Some("longrun"));
            assert!(of_process("service.instance.id").is_some());
            self.spans.extend(resource_spans.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
    }

    fn names(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name.as_str()).collect()
    }

    /// The only span of this name.
    #[track_caller]
    fn one(&self, name: &str) -> &Span {
        let mut found = self.spans.iter().filter(|span| span.name == name);
        let (Some(one), None) = (found.next(), found.next()) else { panic!("not one {name:?}: {:?}", self.names()) };
        one
    }
}

fn text_of(attribute: &opentelemetry_proto::tonic::common::v1::KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", attribute.key),
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key == key).map(text_of)
}

/// The span as those below it get it.
fn traceparent(span: &Span) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

/// A configuration with a kind that is run here, one for workers, and a receiver of notices about the first.
fn configure(folder: &Path, receiver: SocketAddr) -> String {
    std::fs::write(folder.join("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let config = format!(
        r#"
[kinds.here]
type = "command"
command = ["sh", "-c", "printf %s $TRACEPARENT; [ $LONGRUN_ATTEMPT = 2 ]"]
[kinds.there]
type = "remote"
[notices.ci]
url = "http://{receiver}/"
secret_file = "secret"
allow_private_addresses = true
kinds = ["here"]
"#
    );
    std::fs::write(folder.join("longrun.toml"), config).unwrap();
    let store = format!("sqlite:{}", folder.join("longrun.db").display());
    std::fs::write(folder.join("token"), admin_token(&store)).unwrap();
    store
}

/// Creates an operation and waits for its end; returns its output.
fn done(folder: &Path, server: &Server, kind: &str, traceparent: Option<&str>) -> String {
    let at = ["--url", &server.url, "--token-file", "token"];
    let mut create = command();
    create
        .current_dir(folder)
        .args(["ops", "create", "--kind", kind, "-o", "id", "--input", "\"confidential\""])
        .args(at);
    create.envs(traceparent.map(|traceparent| ("TRACEPARENT", traceparent)));
    let created = create.output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let id = String::from_utf8(created.stdout).unwrap();
    let waited = run_in(folder, &[&["ops", "wait", id.trim(), "-o", "json"], &at[..]].concat());
    waited.expect(0).json()["operation"]["output"].as_str().unwrap().to_owned()
}

#[test]
fn one_trace_leads_from_the_request_through_attempts_and_workers_to_the_notice() {
    let (mut collector, endpoint) = Collector::start();
    let (receiver, notices) = listen("204 No Content");
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let store = configure(folder, receiver);
    let server = Server::start(folder, &[("store", &store), ("tracing.endpoint", &endpoint)]);

    let told_command = done(folder, &server, "here", Some(PARENT));
    let told_receiver = notices.recv_timeout(PATIENCE).unwrap();
    collector.until(&["POST /v1/operations", "operation here", "operation notice"]);
    let request = collector.one("POST /v1/operations");
    let (operation, notice) = (collector.one("operation here"), collector.one("operation notice"));
    assert_eq!(traceparent(request)[..36], PARENT[..36], "it is the caller's trace");
    assert_eq!(
        format!("{:02x?}", request.parent_span_id),
        format!("{:02x?}", [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31])
    );
    assert_eq!(operation.parent_span_id, request.span_id);
    assert_eq!(notice.parent_span_id, operation.span_id, "the notice follows from the operation");
    let parts = |of: &Span, name: &str| -> Vec<Span> {
        let mut parts: Vec<Span> = collector.spans.clone();
        parts.retain(|span| span.parent_span_id == of.span_id && span.name == name);
        parts.sort_by_key(|span| span.start_time_unix_nano);
        parts
    };
    // The first attempt fails.
    let attempts = parts(operation, "run here");
    let outcomes: Vec<_> = attempts.iter().map(|span| attribute(span, "longrun.outcome").unwrap()).collect();
    assert_eq!(outcomes, ["failed", "completed"]);
    assert_eq!((attempts[0].status.as_ref().unwrap().code, attempts[1].status.as_ref()), (2, None));
    assert_eq!(told_command, traceparent(&attempts[1]), "the command is told of its attempt");
    let waits = parts(operation, "wait here");
    let times = [&waits[0], &attempts[0], &waits[1], &attempts[1]]
        .map(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
    assert!(times.windows(2).all(|pair| pair[0].1 == pair[1].0), "one after the other: {times:?}");
    assert_eq!((times[0].0, times[3].1), (operation.start_time_unix_nano, operation.end_time_unix_nano));
    let delivery = &parts(notice, "run notice")[0];
    assert_eq!(told_receiver.header("traceparent"), Some(&*traceparent(delivery)), "so is the receiver");

    let mut worker = command();
    worker.current_dir(folder).args(["worker", "--kind", "there", "--url", &server.url, "--token-file", "token"]);
    let mut worker = Process::start(worker.args(["--", "sh", "-c", "printf %s $TRACEPARENT"]));
    worker.line_with("working");
    let told_worker = done(folder, &server, "there", Some(PARENT));
    collector.until(&["operation there"]);
    let attempt = collector.one("run there");
    assert_eq!(told_worker, traceparent(attempt));
    assert_eq!(attempt.parent_span_id, collector.one("operation there").span_id);
    assert!(attribute(attempt, "longrun.worker").is_some_and(|worker| !worker.is_empty()));

    let traces: BTreeSet<_> = collector.spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), 1, "what was not asked for within a trace has left none: {:?}", collector.names());
    assert!(!format!("{:?}", collector.spans).contains("confidential"), "inputs stay where they are");
    let ids: BTreeSet<_> = collector.spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), collector.spans.len());
}

#[test]
fn a_creation_without_a_trace_begins_one_and_an_unsampled_one_is_handed_on_and_not_sent() {
    let (mut collector, endpoint) = Collector::start();
    let (receiver, _notices) = listen("204 No Content");
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let store = configure(folder, receiver);
    let mut serve = command();
    serve.current_dir(folder).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--store",
        &store,
    ]);
    let server = Server::of(serve.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint));
    let unsampled = PARENT.replace("-01", "-00");
    let told = done(folder, &server, "here", Some(&unsampled));
    assert!(told.starts_with(&unsampled[..36]) && told.ends_with("-00") && told != unsampled, "{told}");
    let told = done(folder, &server, "here", None);
    collector.until(&["operation here"]);
    let (request, operation) = (collector.one("POST /v1/operations"), collector.one("operation here"));
    assert_eq!((request.parent_span_id.len(), &operation.parent_span_id), (0, &request.span_id));
    assert_eq!(told[3..35], traceparent(request)[3..35]);
    assert_ne!(told[3..35], PARENT[3..35]);
}

#[test]
fn a_server_that_does_not_trace_keeps_and_tells_nothing_and_one_may_hand_on_what_others_trace() {
    let (receiver, notices) = listen("204 No Content");
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let store = configure(folder, receiver);
    let server = Server::start(folder, &[("store", &store)]);
    assert_eq!(done(folder, &server, "here", Some(PARENT)), "");
    assert_eq!(notices.recv_timeout(PATIENCE).unwrap().header("traceparent"), None);
    drop(server);
    let server = Server::start(folder, &[("store", &store), ("tracing.propagate", "true")]);
    assert_eq!(done(folder, &server, "here", Some(PARENT)), PARENT);
    // The first one may come again, since its server was killed.
    let mut told = std::iter::repeat_with(|| notices.recv_timeout(PATIENCE).unwrap());
    let of_trace = told.find_map(|notice| notice.header("traceparent").map(str::to_owned));
    assert_eq!(of_trace.as_deref(), Some(PARENT));
    assert_eq!(done(folder, &server, "here", None), "", "nothing begins here");
}
