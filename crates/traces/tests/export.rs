//! Spans reach a collector in a form that others can read, and an address without a collector does no harm.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use meters::{Form, Meters, render};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use operations::TraceContext;
use prost::Message as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;
use traces::{Collector, Kind, Span, Traces};

const PATIENCE: Duration = Duration::from_secs(60);

/// A [`Traces`] that sends spans to this listener.
fn traces_to(listener: &TcpListener, meters: &Meters) -> Traces {
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap()).parse().unwrap();
    let headers = [(reqwest::header::AUTHORIZATION, "Bearer x".parse().unwrap())].into_iter().collect();
    let process = vec![("service.name", "longrun".to_owned())];
    // An error means that another test has installed the provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    Traces::exported(Collector { client, url, headers, process }, 1.0, meters.clone())
}

fn span(context: TraceContext) -> Span {
    Span {
        context,
        parent: Some([7; 8]),
        name: "run scan".to_owned(),
        kind: Kind::Consumer,
        start: 1_000,
        end: 2_000,
        attributes: vec![("longrun.worker", "w".into()), ("longrun.attempt", 3_u32.into())],
        failed: true,
    }
}

fn sampled() -> TraceContext {
    TraceContext::new([1; 16], [2; 8], true)
}

/// Receives a request and answers it; returns its head in lower case, and its body.
async fn serve(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).await.unwrap(), 0);
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes()).await.unwrap();
    (head, body)
}

/// The value of a counter.
fn counter(meters: &Meters, name: &str) -> u64 {
    let text = render(&[meters.registry()], Form::Plain);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
}

#[tokio::test]
async fn a_span_is_what_others_read() {
    let (listener, meters) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Meters::default());
    let traces = traces_to(&listener, &meters);
    traces.send(span(TraceContext::new([1; 16], [3; 8], false)));
    traces.send(span(sampled()));
    let ((head, body), ()) = tokio::join!(serve(&listener, "200 OK"), traces.flush(PATIENCE));
    assert!(head.starts_with("post /v1/traces ") && head.contains("authorization: bearer x"), "{head}");
    let sent = ExportTraceServiceRequest::decode(&*body).unwrap();
    let of_process = &sent.resource_spans[0];
    assert_eq!(of_process.resource.as_ref().unwrap().attributes[0].key, "service.name");
    let spans = &of_process.scope_spans[0].spans;
    assert_eq!(spans.len(), 1, "spans that are not sampled are not sent");
    let span = &spans[0];
    assert_eq!((&*span.trace_id, &*span.span_id, &*span.parent_span_id), (&[1; 16][..], &[2; 8][..], &[7; 8][..]));
    assert_eq!((span.name.as_str(), span.kind()), ("run scan", SpanKind::Consumer));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000, 2_000));
    assert_eq!((span.attributes.len(), span.status.as_ref().unwrap().code), (2, 2));
    assert_eq!(counter(&meters, "longrun_trace_spans_exported_total"), 1);
}

#[tokio::test]
async fn a_collector_that_refuses_costs_its_spans_and_one_that_is_busy_is_asked_again() {
    let (listener, meters) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Meters::default());
    let traces = traces_to(&listener, &meters);
    traces.send(span(sampled()));
    tokio::join!(serve(&listener, "400 Bad Request"), traces.flush(PATIENCE));
    assert_eq!(counter(&meters, "longrun_trace_spans_dropped_total"), 1);
    traces.send(span(sampled()));
    let both = async { (serve(&listener, "503 Service Unavailable").await, serve(&listener, "200 OK").await) };
    let ((first, second), ()) = tokio::join!(both, traces.flush(PATIENCE));
    assert_eq!(first.1, second.1, "the same spans");
    let counted = ["exported", "dropped"].map(|what| counter(&meters, &format!("longrun_trace_spans_{what}_total")));
    assert_eq!(counted, [1, 1]);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_nobody_up_and_memory_is_bounded() {
    // The listener accepts connections, and nobody reads from them.
    let (listener, meters) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Meters::default());
    let traces = traces_to(&listener, &meters);
    const SENT: u64 = 20_000;
    // None of these calls waits: the exporter's task does not run before this ends.
    (0..SENT).for_each(|_| traces.send(span(sampled())));
    let dropped = counter(&meters, "longrun_trace_spans_dropped_total");
    assert!((SENT - 5_000..SENT).contains(&dropped), "{dropped}");
    traces.flush(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn traces_begin_where_they_are_exported_and_are_handed_on_elsewhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exported = traces_to(&listener, &Meters::default());
    let parent = sampled();
    let below = exported.below(Some(parent)).unwrap();
    assert_eq!((below.trace_id(), below.is_sampled()), (parent.trace_id(), true));
    assert_ne!(below.span_id(), parent.span_id());
    let (first, second) = (exported.below(None).unwrap(), exported.below(None).unwrap());
    assert!(first.is_sampled() && first.trace_id() != second.trace_id());
    let on = Traces::handed_on();
    assert_eq!((on.below(Some(parent)), on.below(None)), (Some(parent), None));
    let off = Traces::default();
    assert_eq!((off.below(Some(parent)), off.below(None), off.is_on()), (None, None, false));
}
