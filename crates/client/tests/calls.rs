//! The client against a server that answers from a script: what is sent, what is repeated, what becomes an error.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longrun_client::{
    Attempt, Client, Error, EvaluateRequest, EvidenceRequest, Failure, ListRequest, NewOperation, Settings, Token,
    WaitStep, WatchRequest, WatchStep, Worker,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that gives these answers, one per request, and remembers the requests.
struct Script {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Script {
    async fn start(answers: &[&str]) -> Script {
        let (listener, url) = listen().await;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request ends early");
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap().to_lowercase());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Script { url, requests }
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Token::new("lrn_t").unwrap()).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A listener, and its address.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

const OPERATION: &str = r#"{"operation":{"id":"1","status":"ASYNC_OPERATION_STATUS_PENDING"}}"#;
const COMPLETED: &str = r#"{"operation":{"id":"1","status":"ASYNC_OPERATION_STATUS_COMPLETED"}}"#;
const BUSY: &str = r#"{"code":8,"message":"too many","details":[]}"#;

#[tokio::test]
async fn a_list_carries_the_token_and_its_filters_and_keeps_the_body() {
    let body = r#"{"operations":[],"pagination":{"total_count":0,"page":0,"total_pages":0,"page_size":50},"new":1}"#;
    let script = Script::start(&[&answer("200 OK", "", body)]).await;
    let request = ListRequest { kind: Some("a b&c".to_owned()), ..ListRequest::default() };
    let listed = script.client().list(&request).await.unwrap();
    assert_eq!(listed.value.pagination.page_size, 50);
    assert_eq!(listed.body, body, "unknown members included");
    let sent = script.requests().remove(0);
    assert!(sent.starts_with("get /v1/operations?kind=a+b%26c http/1.1"), "{sent}");
    assert!(sent.contains("authorization: bearer lrn_t"), "{sent}");
}

#[tokio::test]
async fn a_creation_is_repeated_with_the_same_key_when_the_server_asks_for_it() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", r#"{"code":14,"message":"away"}"#);
    let script = Script::start(&[&busy, &busy, &answer("200 OK", "", OPERATION)]).await;
    let operation = NewOperation { kind: "scan".to_owned(), ..NewOperation::default() };
    script.client().create(&operation, None).await.unwrap();
    let key = |request: &String| {
        request.lines().find_map(|line| line.strip_prefix("idempotency-key: ").map(str::to_owned)).unwrap()
    };
    let keys: Vec<String> = script.requests().iter().map(key).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0].len() == 32 && keys.iter().all(|other| *other == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_batch_is_one_call_with_a_key() {
    let body = r#"{"operations":[{"id":"1"},{"id":"2"}]}"#;
    let script = Script::start(&[&answer("200 OK", "", body)]).await;
    let scan = NewOperation { kind: "scan".to_owned(), ..NewOperation::default() };
    let created = script.client().batch_create(&[scan.clone(), scan], Some("k 1")).await.unwrap();
    let ids: Vec<&str> = created.value.operations.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    let sent = script.requests().remove(0);
    assert!(sent.starts_with("post /v1/operations:batchcreate http/1.1"), "{sent}");
    assert!(sent.contains("idempotency-key: k 1\r\n"), "{sent}");
    assert!(sent.ends_with(r#"{"operations":[{"kind":"scan"},{"kind":"scan"}]}"#), "{sent}");
}

#[tokio::test]
async fn an_operation_is_steered_by_its_id() {
    let refused = answer("400 Bad Request", "", r#"{"code":9,"message":"the operation is COMPLETED","details":[]}"#);
    let done = answer("200 OK", "", OPERATION);
    let script = Script::start(&[&done, &done, &answer("200 OK", "", "{}"), &refused]).await;
    let client = script.client();
    assert_eq!(client.cancel("1").await.unwrap().value.operation.id, "1");
    client.retry("a/b").await.unwrap();
    client.delete("1").await.unwrap();
    let Err(Error::Refused(refusal)) = client.cancel("1").await else { panic!("not refused") };
    assert_eq!(refusal.status.code, 9);
    let lines: Vec<String> =
        script.requests().iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
    let expected = [
        "post /v1/operations/1:cancel http/1.1",
        "post /v1/operations/a%2fb:retry http/1.1",
        "delete /v1/operations/1 http/1.1",
        "post /v1/operations/1:cancel http/1.1",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_pause_is_the_one_that_the_server_asks_for() {
    let busy = answer("429 Too Many Requests", "retry-after: 1\r\n", BUSY);
    let script = Script::start(&[&busy, &answer("200 OK", "", OPERATION)]).await;
    let start = Instant::now();
    script.client().get("1").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_evaluation_is_repeated_with_the_same_key_too() {
    let busy = answer("429 Too Many Requests", "retry-after: 0\r\n", BUSY);
    let script = Script::start(&[&busy, &answer("200 OK", "", r#"{"operation_id":"1"}"#)]).await;
    script.client().evaluate_evidence(&EvaluateRequest::default()).await.unwrap();
    let requests = script.requests();
    let key = |request: &String| request.lines().find(|line| line.starts_with("idempotency-key: ")).map(str::to_owned);
    assert!(key(&requests[0]).is_some());
    assert_eq!(key(&requests[0]), key(&requests[1]));
}

#[tokio::test]
async fn a_refusal_keeps_what_the_server_said() {
    let busy = answer("429 Too Many Requests", "retry-after: 7\r\nx-request-id: r-1\r\n", BUSY);
    let script = Script::start(&[&busy]).await;
    let settings = Settings { retries: 0, ..Settings::default() };
    let client = Client::with_settings(&script.url, Token::new("lrn_t").unwrap(), settings).unwrap();
    let error = client.get("1").await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.http_status, refusal.status.code), (429, 8));
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(refusal.request_id.as_deref(), Some("r-1"));
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_limit_that_does_not_pass_by_itself_is_an_error_at_once() {
    let full = answer("429 Too Many Requests", "", BUSY);
    let script = Script::start(&[&full, &answer("200 OK", "", OPERATION)]).await;
    let error = script.client().get("1").await.unwrap_err();
    assert_eq!(error.refusal().unwrap().http_status, 429);
    assert!(!error.is_transient());
    assert_eq!(script.requests().len(), 1);
}

/// Reads the head of a request, in lower case.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// A file of this size, with zeros.
fn file_of(size: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

#[tokio::test]
async fn a_server_is_asked_whether_it_takes_a_large_file_and_its_refusal_is_told() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        let body = r#"{"code":3,"message":"the body is too large","details":[]}"#;
        stream.write_all(answer("413 Payload Too Large", "", body).as_bytes()).await.unwrap();
        // A connection that is closed with unread data may lose the answer.
        (head, stream)
    });
    let client = Client::new(&url, Token::new("lrn_t").unwrap()).unwrap();
    let file = file_of(64 * 1024 * 1024);
    let error = client.put_evidence_file(file.path(), None, |_| ()).await.unwrap_err();
    assert_eq!(error.refusal().map(|refusal| refusal.http_status), Some(413), "{error}");
    let (head, _stream) = server.await.unwrap();
    assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
}

#[tokio::test]
async fn a_large_file_is_sent_when_the_server_does_not_refuse_it_or_a_proxy_does_not_know_the_expectation() {
    let size = 5 * 1024 * 1024;
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let stored = answer("200 OK", "", &format!(r#"{{"digest":"sha256:0","size":{size}}}"#));
        for refuses in [false, true, false] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let expects = head(&mut stream).await.contains("\r\nexpect: 100-continue\r\n");
            if refuses {
                assert!(expects);
                stream.write_all(answer("417 Expectation Failed", "", "").as_bytes()).await.unwrap();
                continue;
            }
            if expects {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            }
            let mut body = vec![0; size];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(stored.as_bytes()).await.unwrap();
        }
    });
    let file = file_of(size as u64);
    for _ in 0..2 {
        // With a connection of its own.
        let client = Client::new(&url, Token::new("lrn_t").unwrap()).unwrap();
        let stored = client.put_evidence_file(file.path(), None, |_| ()).await.unwrap();
        assert_eq!(stored.value.size, size as u64);
    }
    server.await.unwrap();
}

/// A call inside of a future that must be `Send` for every lifetime: what a handler, or a spawned task, is.
#[tokio::test]
async fn every_call_can_be_made_from_any_task() {
    trait Task: Send + Sync + 'static {
        fn run(&self) -> impl Future<Output = ()> + Send;
    }
    struct Calls(Client);
    impl Task for Calls {
        async fn run(&self) {
            let (id, request) = (String::from("1"), ListRequest::default());
            let _ = self.0.get(&id).await;
            let _ = self.0.list(&request).await;
            let _ = self.0.create(&NewOperation::default(), None).await;
            let _ = self.0.wait(&id, None, |_| ()).await;
            if let Ok(mut watch) = self.0.watch(&WatchRequest::default()).await {
                let _ = watch.next().await;
            }
            let _ = self.0.evaluate_evidence(&EvaluateRequest::default()).await;
            let _ = self.0.put_evidence_file(std::path::Path::new("none"), None, |_| ()).await;
            let _ = self.0.get_evidence(&id).await;
            let _ = self.0.evidence(&EvidenceRequest::default()).await;
            let _ = self.0.delete_evidence(&id).await;
            let _ = self.0.settle(&[]).await;
        }
    }
    async fn spawned<T: Task>(task: T) {
        tokio::spawn(async move { task.run().await }).await.unwrap();
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    spawned(Calls(Client::new(&format!("http://{closed}"), Token::new("lrn_t").unwrap()).unwrap())).await;
}

#[tokio::test]
async fn a_worker_outlives_a_server_that_is_busy_or_away() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", r#"{"code":14,"message":"away"}"#);
    let claims = r#"{"operations":[{"operation":{"id":"1"},"input":"x","attempt":1,"lease_token":"t",
        "lease_expires_at":"2026-01-23T04:56:07.000Z","timeout":"60s","cancel_requested":false}],"lease_duration":"30s"}"#;
    let settled = r#"{"results":[{"id":"1","status":"ASYNC_OPERATION_STATUS_COMPLETED"}]}"#;
    // A claim that is refused, one whose connection breaks, one that succeeds; the same for the outcome.
    let script = Script::start(&[
        &busy,
        "",
        &answer("200 OK", "", claims),
        &busy,
        "",
        &answer("200 OK", "", settled),
        &answer("403 Forbidden", "", r#"{"code":7,"message":"enough"}"#),
    ])
    .await;
    let worker =
        Worker::new(
            script.client(),
            |attempt: Attempt| async move { attempt.parse_input::<String>().map(|x| x + "y") },
        );
    let error = worker.kind("scan").run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "enough");
    let requests = script.requests();
    let calls: Vec<&str> = requests.iter().map(|request| request.split([' ', ':']).nth(2).unwrap()).collect();
    assert_eq!(calls, ["claim", "claim", "claim", "settle", "settle", "settle", "claim"]);
    assert!(requests[5].ends_with(r#"{"results":[{"id":"1","lease_token":"t","output":"xy"}]}"#), "{}", requests[5]);
}

#[tokio::test]
async fn progress_goes_with_the_next_heartbeat() {
    let claims = r#"{"operations":[{"operation":{"id":"1"},"input":null,"attempt":1,"lease_token":"t",
        "lease_expires_at":"2026-01-23T04:56:07.000Z","timeout":"60s","cancel_requested":false}],"lease_duration":"30s"}"#;
    // The answer asks it to stop: the handler waits for it.
    let beaten = r#"{"operations":[{"id":"1","lease_expires_at":"2026-01-23T04:56:07.000Z","cancel_requested":true}]}"#;
    let settled = r#"{"results":[{"id":"1","status":"ASYNC_OPERATION_STATUS_FAILED"}]}"#;
    let enough = answer("403 Forbidden", "", r#"{"code":7,"message":"enough"}"#);
    let script = Script::start(&[
        &answer("200 OK", "", claims),
        &answer("200 OK", "", beaten),
        &answer("200 OK", "", settled),
        &enough,
    ])
    .await;
    let worker = Worker::new(script.client(), |attempt: Attempt| async move {
        attempt.progress.report("one");
        attempt.progress.report("half way");
        attempt.cancelled.cancelled().await;
        Err(Failure::transient("stopped"))
    });
    worker.kind("scan").run(std::future::pending()).await.unwrap_err();
    let requests = script.requests();
    assert!(
        requests[1].ends_with(r#"{"operations":[{"id":"1","lease_token":"t","progress":"half way"}]}"#),
        "{}",
        requests[1]
    );
    assert!(requests[2].contains(r#""error_message":"cancelled","retryable":false"#), "{}", requests[2]);
}

#[tokio::test]
async fn repeating_ends() {
    let busy = answer("429 Too Many Requests", "retry-after: 0\r\n", BUSY);
    let script = Script::start(&[busy.as_str(); 9]).await;
    assert!(script.client().get("1").await.is_err());
    assert_eq!(script.requests().len(), 5, "once, and four repetitions");
}

#[tokio::test]
async fn a_wait_looks_and_then_has_the_server_hold_the_call() {
    let script = Script::start(&[
        &answer("200 OK", "", OPERATION),
        &answer("503 Service Unavailable", "retry-after: 0\r\n", r#"{"code":14,"message":"away"}"#),
        // A connection that breaks.
        "",
        &answer("200 OK", "", &OPERATION.replace("PENDING", "RUNNING")),
        &answer("200 OK", "", COMPLETED),
    ])
    .await;
    let mut seen = Vec::new();
    let client = script.client();
    let told = |step: WaitStep<'_>| {
        seen.push(match step {
            WaitStep::State(answer) => answer.operation.short_status().to_owned(),
            WaitStep::Lost(error) => error.to_string(),
            WaitStep::Back => "back".to_owned(),
        });
    };
    let ended = client.wait("1", None, told).await.unwrap();
    assert!(ended.value.operation.is_terminal());
    assert_eq!(seen, ["PENDING", "away", "back", "RUNNING", "COMPLETED"]);
    let requests = script.requests();
    let timeouts = requests.iter().map(|request| request.split(['=', ' ']).nth(2).unwrap());
    assert_eq!(timeouts.collect::<Vec<_>>(), ["0.000s", "30.000s", "0.000s", "0.000s", "30.000s"]);
}

#[tokio::test]
async fn a_wait_gives_up_where_nobody_ever_answered_and_after_the_time_to_reconnect() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::new(&format!("http://{closed}"), Token::new("lrn_t").unwrap()).unwrap();
    let error = client.wait("1", None, |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");

    let settings = Settings { reconnect_for: Some(Duration::from_millis(300)), ..Settings::default() };
    let with = |script: &Script| Client::with_settings(&script.url, Token::new("lrn_t").unwrap(), settings.clone());
    let script = Script::start(&[&answer("200 OK", "", OPERATION)]).await;
    let error = with(&script).unwrap().wait("1", None, |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "the script is over: {error}");

    let watching = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nid: 1-1-0\n\n";
    let script = Script::start(&[watching]).await;
    let mut watch = with(&script).unwrap().watch(&WatchRequest::default()).await.unwrap();
    assert!(matches!(watch.next_step().await, Ok(WatchStep::Lost(_))));
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_watch_that_breaks_before_its_first_event_goes_on_from_where_it_began() {
    let stream = |body: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
    let event = "id: 1-1-1\ndata: {\"operation\":{\"id\":\"1\"}}\n\n";
    let script = Script::start(&[&stream("id: 1-1-0\n\n"), &stream(event)]).await;
    let mut watch = script.client().watch(&WatchRequest::default()).await.unwrap();
    assert_eq!(watch.last_event_id(), Some("1-1-0"));
    assert_eq!(watch.next().await.unwrap().id, "1-1-1");
    assert!(script.requests()[1].contains("last-event-id: 1-1-0\r\n"), "{:?}", script.requests());
}

#[tokio::test]
async fn attempts_that_cannot_be_started_are_handed_back_and_end_the_worker_when_that_repeats() {
    let claims = r#"{"operations":[{"operation":{"id":"1"},"input":null,"attempt":1,"lease_token":"t",
        "lease_expires_at":"2026-01-23T04:56:07.000Z","timeout":"60s","cancel_requested":false}],"lease_duration":"30s"}"#;
    let (claims, settled) = (answer("200 OK", "", claims), answer("200 OK", "", r#"{"results":[{"id":"1"}]}"#));
    // One that is done in between begins the count anew.
    let script = Script::start(&[claims.as_str(), &settled].repeat(7)).await;
    let count = std::sync::atomic::AtomicU32::new(0);
    let worker = Worker::new(script.client(), move |_| {
        let is_second = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1;
        async move { if is_second { Ok("done".to_owned()) } else { Err(Failure::not_started("no such program")) } }
    });
    let error = worker.kind("scan").run(std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::NotStarted { attempts: 5, .. }), "{error}");
    assert!(error.to_string().contains("no such program"), "{error}");
    let settled: Vec<bool> = script
        .requests()
        .iter()
        .filter(|request| request.starts_with("post /v1/operations:settle"))
        .map(|request| request.ends_with(r#"{"results":[{"id":"1","lease_token":"t","release":true}]}"#))
        .collect();
    assert_eq!(settled, [true, false, true, true, true, true, true], "{:?}", script.requests());
}

#[tokio::test]
async fn a_watch_goes_on_after_the_last_event_when_the_connection_breaks() {
    let event = |id: &str, status: &str| {
        format!("id: {id}\ndata: {{\"operation\":{{\"id\":\"1\",\"status\":\"ASYNC_OPERATION_STATUS_{status}\"}}}}\n\n")
    };
    let stream =
        |body: String| format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{body}");
    let expired = r#"{"code":11,"message":"forgotten","details":[]}"#;
    let script = Script::start(&[
        &stream(format!(": watching\nid: 1-1-0\n\n{}id: 1-1-2\ndata: {{\"oper", event("1-1-1", "PENDING"))),
        "",
        &stream(event("1-1-2", "RUNNING")),
        &stream(format!("event: error\ndata: {expired}\n\n")),
    ])
    .await;
    let request = WatchRequest { kind: Some("a b".to_owned()), ..WatchRequest::default() };
    let mut watch = script.client().watch(&request).await.unwrap();
    let first = watch.next().await.unwrap();
    assert_eq!((first.id.as_str(), first.operation.short_status()), ("1-1-1", "PENDING"));
    let second = watch.next().await.unwrap();
    assert_eq!((second.id.as_str(), second.operation.short_status()), ("1-1-2", "RUNNING"));
    assert_eq!(watch.last_event_id(), Some("1-1-2"));
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.refusal().unwrap().status.code, 11, "{error}");
    let requests = script.requests();
    let after = |request: &String| {
        assert!(request.starts_with("get /v1/operations:watch?kind=a+b http"), "{request}");
        request.lines().find_map(|line| line.strip_prefix("last-event-id: ").map(str::to_owned))
    };
    let expected = [None, Some("1-1-1"), Some("1-1-1"), Some("1-1-2")].map(|id| id.map(str::to_owned));
    assert_eq!(requests.iter().map(after).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_wait_ends_with_its_limit() {
    let pending = answer("200 OK", "retry-after: 30\r\n", OPERATION);
    let script = Script::start(&[&pending, &pending]).await;
    let error = script.client().wait("1", Some(Duration::from_millis(50)), |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::StillRunning { .. }), "{error}");
}

#[tokio::test]
async fn another_program_at_the_address_is_told_apart() {
    let script =
        Script::start(&[&answer("404 Not Found", "", "<html>nginx</html>"), &answer("200 OK", "", "hello")]).await;
    for status in [404, 200] {
        let error = script.client().get("1").await.unwrap_err();
        assert!(matches!(error, Error::Unexpected { http_status, .. } if http_status == status), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_because_it_would_carry_the_token_elsewhere() {
    let script = Script::start(&[&answer("302 Found", "location: http://127.0.0.1:9/\r\n", "")]).await;
    let error = script.client().get("1").await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { http_status: 302, .. }), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_of_its_own() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::new(&format!("http://{closed}"), Token::new("lrn_t").unwrap()).unwrap();
    let error = client.get("1").await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(!error.to_string().contains("lrn_t"));
}

#[tokio::test]
async fn a_history_is_fetched_to_its_end_and_its_body_is_one() {
    let page = |n: u32, next: &str| {
        answer("200 OK", "", &format!(r#"{{"events":[{{"type":"PROGRESS","attempt":{n},"new":1}}]{next}}}"#))
    };
    let script = Script::start(&[&page(1, r#","next_page_token":"a+b""#), &page(2, "")]).await;
    let told = script.client().events("1").await.unwrap();
    assert_eq!(told.value.events.iter().map(|event| event.attempt).collect::<Vec<_>>(), [1, 2]);
    let whole = r#"{"events":[{"type":"PROGRESS","attempt":1,"new":1},{"type":"PROGRESS","attempt":2,"new":1}]}"#;
    assert_eq!(told.body, whole);
    let sent = script.requests();
    assert!(sent[0].starts_with("get /v1/operations/1/events http/1.1"), "{sent:?}");
    assert!(sent[1].starts_with("get /v1/operations/1/events?page_size=1000&page_token=a%2bb http/1.1"), "{sent:?}");
}

#[tokio::test]
async fn a_creation_says_whether_the_operation_was_there_before() {
    let there = answer("200 OK", "x-longrun-existing: true\r\n", OPERATION);
    let script = Script::start(&[&there, &answer("200 OK", "", OPERATION)]).await;
    let operation = NewOperation {
        kind: "scan".to_owned(),
        labels: [("team".to_owned(), "search".to_owned())].into(),
        unique_key: Some("k".to_owned()),
        ..NewOperation::default()
    };
    let client = script.client();
    assert!(client.create(&operation, None).await.unwrap().existing);
    assert!(!client.create(&operation, None).await.unwrap().existing);
    let sent = script.requests().remove(0);
    assert!(sent.ends_with(r#"{"kind":"scan","labels":{"team":"search"},"unique_key":"k"}"#), "{sent}");
}

#[tokio::test]
async fn everything_about_an_operation_is_read_and_another_input_is_sent() {
    let full = r#"{"operation":{"id":"1","status":"ASYNC_OPERATION_STATUS_FAILED","input":{"n":1},"labels":{"a":"b"},"attempts":2}}"#;
    let script = Script::start(&[&answer("200 OK", "", full), &answer("200 OK", "", OPERATION)]).await;
    let client = script.client();
    let detail = client.get_detail("1").await.unwrap().value.operation;
    assert_eq!((detail.operation.id.as_str(), detail.attempts, &detail.input["n"]), ("1", 2, &serde_json::json!(1)));
    client.retry_with_input("1", &serde_json::json!({"n": 2}), Some("k")).await.unwrap();
    let sent = script.requests();
    assert!(sent[0].starts_with("get /v1/operations/1?view=full http/1.1"), "{sent:?}");
    assert!(sent[1].contains("idempotency-key: k\r\n") && sent[1].ends_with(r#"{"input":{"n":2}}"#), "{sent:?}");
}
