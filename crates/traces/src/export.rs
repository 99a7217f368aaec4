//! The task that sends spans to a collector.
//!
//! Spans wait in a queue of bounded length and are sent in batches. When the collector is unavailable or slow, spans
//! for which the queue has no space are lost, and nothing else: nobody waits for the collector.

use std::time::Duration;

use meters::Meters;
use prost::Message as _;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Span;
use crate::otlp::Export;

/// The maximum number of spans that wait: each takes a few hundred bytes.
const QUEUE: usize = 4_096;
/// The number of spans in one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The waits before a batch is sent again, when the collector was unavailable or asked for it; after the last attempt
/// the batch is dropped.
const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The maximum number of bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES: usize = 64 * 1024;

/// The collector of spans, and how it is called.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The client that calls it.
    pub client: Client,
    /// The address that takes traces, `http://127.0.0.1:4318/v1/traces`.
    pub url: Url,
    /// The headers of each call.
    pub headers: reqwest::header::HeaderMap,
    /// The attributes of this process: `service.name` and the like.
    pub process: Vec<(&'static str, String)>,
}

enum Item {
    Span(Box<Span>),
    /// A request to send everything that came before this at once.
    Flush(oneshot::Sender<()>),
}

/// The sending end of the task's queue.
pub(crate) struct Exporter {
    queue: mpsc::Sender<Item>,
    meters: Meters,
}

impl Exporter {
    /// Starts the task on the current runtime; it ends with the exporter.
    pub(crate) fn start(collector: Collector, meters: Meters) -> Exporter {
        let (queue, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(run(collector, meters.clone(), incoming));
        Exporter { queue, meters }
    }

    /// Puts a span into the queue, or drops it when the queue is full.
    pub(crate) fn send(&self, span: Span) {
        if self.queue.try_send(Item::Span(Box::new(span))).is_err() {
            self.meters.spans_dropped.inc();
        }
    }

    /// Sends the waiting spans, as long as `limit` allows.
    pub(crate) async fn flush(&self, limit: Duration) {
        let (done, is_done) = oneshot::channel();
        let flush = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = is_done.await;
            }
        };
        let _ = timeout(limit, flush).await;
    }
}

async fn run(collector: Collector, meters: Meters, mut incoming: mpsc::Receiver<Item>) {
    let mut is_away = false;
    while let Some(first) = incoming.recv().await {
        let (mut spans, mut waiting) = (Vec::new(), None);
        let deadline = Instant::now() + DELAY;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Span(span) => spans.push(*span),
                Item::Flush(done) => {
                    waiting = Some(done);
                    break;
                }
            }
            if spans.len() >= BATCH {
                break;
            }
            next = timeout_at(deadline, incoming.recv()).await.ok().flatten();
        }
        if !spans.is_empty() {
            let count = spans.len() as u64;
            let body = Export::new(&collector.process, spans).encode_to_vec();
            match collector.deliver(&body).await {
                Ok(()) => {
                    meters.spans_exported.inc_by(count);
                    if std::mem::take(&mut is_away) {
                        tracing::info!("the collector of traces accepts spans again");
                    }
                }
                Err(why) => {
                    meters.spans_dropped.inc_by(count);
                    // Logged once, and not for each batch.
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(why, "the collector of traces does not accept spans; they are dropped");
                    }
                }
            }
        }
        drop(waiting);
    }
}

impl Collector {
    /// Sends a batch, and repeats that where it may help.
    async fn deliver(&self, body: &[u8]) -> Result<(), String> {
        let mut retries = RETRIES.into_iter();
        loop {
            let (why, may_pass) = match self.post(body.to_vec()).await {
                Ok(status) if status.is_success() => return Ok(()),
                Ok(status) => (format!("it answers {status}"), is_worth_a_retry(status)),
                Err(error) => (innermost(&error), true),
            };
            match retries.next().filter(|_| may_pass) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(why),
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<StatusCode, reqwest::Error> {
        let call = self.client.post(self.url.clone()).headers(self.headers.clone()).timeout(TIMEOUT);
        let mut answer = call.header("content-type", "application/x-protobuf").body(body).send().await?;
        let (status, mut read) = (answer.status(), 0);
        while read < ANSWER_BYTES
            && let Some(piece) = answer.chunk().await?
        {
            read += piece.len();
        }
        Ok(status)
    }
}

/// As OTLP specifies.
fn is_worth_a_retry(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// The most specific cause, without the address, which may contain a secret.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
