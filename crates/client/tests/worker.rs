//! The worker against the real server, over real sockets and a real store.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longrun_client::{Attempt, CancellationToken, Client, Error, Failure, Handler, Token, Worker};
use operations::{Access, NewOperation, Operation, OperationId, Status};
use server::Services;
use server::auth::Secret;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use store::{ContentStore, Lost, NewToken, Scope, SqliteStore, Store};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(60);

struct Server {
    url: String,
    store: Arc<dyn Store>,
    folder: tempfile::TempDir,
    ended: JoinHandle<()>,
}

impl Server {
    async fn start(lease: Duration) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
        let content = ContentStore::local(&folder.path().join("evidence"), 1024).unwrap();
        let mut services = Services::new(store.clone(), content, engine::Waker::default());
        services.allow_undeclared_kinds = true;
        services.settings.work.lease = lease;
        services.settings.work.backoff.base = Duration::ZERO;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, settings) = (services.shutdown.clone(), services.settings.clone());
        let router = server::http::router(services);
        let ended = tokio::spawn(server::http::serve(listener, router, None, shutdown, settings));
        Server { url, store, folder, ended }
    }

    async fn token(&self, scopes: &[Scope]) -> String {
        let secret = Secret::generate().unwrap();
        let token = NewToken {
            hash: secret.hash(),
            name: "test".to_owned(),
            access: Access::organization("acme"),
            scopes: scopes.iter().copied().collect(),
            expires_at: None,
            instance: None,
        };
        self.store.create_token(token).await.unwrap();
        secret.expose().to_owned()
    }

    async fn client(&self) -> Client {
        Client::new(&self.url, Token::new(&self.token(&[Scope::Admin]).await).unwrap()).unwrap()
    }

    async fn create(&self, input: &str) -> OperationId {
        let new = NewOperation { input: input.to_owned(), max_attempts: 2, ..NewOperation::of_kind("scan") };
        self.store.create("acme", vec![new], None).await.unwrap().remove(0).id
    }

    async fn get(&self, id: OperationId) -> Operation {
        self.store.get(&Access::organization("acme"), id).await.unwrap().unwrap()
    }

    async fn ended(&self, id: OperationId) -> Operation {
        until(async || Some(self.get(id).await).filter(|operation| operation.status.is_terminal())).await
    }

    /// Something behind the store's back.
    async fn database(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("longrun.db"));
        SqlitePool::connect_with(options).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

/// Asks until there is an answer.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    in_time(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// A worker on a task of its own.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start<H: Handler>(server: &Server, handler: H, shape: impl FnOnce(Worker<H>) -> Worker<H>) -> Running {
        let stop = CancellationToken::new();
        let worker = shape(Worker::new(server.client().await, handler).kind("scan"));
        let task = tokio::spawn(worker.run(stop.clone().cancelled_owned()));
        Running { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        in_time(self.task).await.unwrap().unwrap();
    }
}

/// Reports the number of the attempt, then waits until it is let go or cancelled.
struct Gate {
    started: mpsc::UnboundedSender<u32>,
    go: Arc<Notify>,
}

fn gate() -> (Gate, mpsc::UnboundedReceiver<u32>, Arc<Notify>) {
    let (sender, started) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    (Gate { started: sender, go: go.clone() }, started, go)
}

impl Handler for Gate {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        self.started.send(attempt.number).unwrap();
        tokio::select! {
            () = self.go.notified() => Ok("done".to_owned()),
            () = attempt.cancelled.cancelled() => Err(Failure::transient("stopped")),
        }
    }
}

#[tokio::test]
async fn operations_are_run_as_many_at_a_time_as_allowed() {
    let server = Server::start(Duration::from_secs(30)).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let handler = move |attempt: Attempt| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(format!("{} {}", attempt.operation.kind, attempt.input))
        }
    };
    let worker = Running::start(&server, handler, |worker| worker.concurrency(3)).await;
    let mut ids = Vec::new();
    for index in 0..20 {
        ids.push(server.create(&index.to_string()).await);
    }
    for (index, id) in ids.into_iter().enumerate() {
        let operation = server.ended(id).await;
        assert_eq!((operation.status, operation.output), (Status::Completed, format!("scan {index}")));
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    worker.stop().await;
    assert_eq!(server.store.doctor().await.unwrap().findings, []);
}

#[tokio::test]
async fn failures_are_told_and_retried_as_they_should_be() {
    let server = Server::start(Duration::from_secs(30)).await;
    let handler = |attempt: Attempt| async move {
        match attempt.parse_input::<String>()?.as_str() {
            "panic" => panic!("a defect"),
            "permanent" => Err(Failure::permanent("broken")),
            "large" => Ok("x".repeat(1024 * 1024 + 1)),
            "error" => Ok(tokio::fs::read_to_string("/nonexistent/file").await?),
            // One byte that takes six in JSON: more than the server takes as a body.
            "escapes" => Ok("\u{1}".repeat(1024 * 1024)),
            _ if attempt.number == 2 => Ok("at last".to_owned()),
            _ => Err(Failure::transient("no luck")),
        }
    };
    let worker = Running::start(&server, handler, |worker| worker.concurrency(4)).await;
    for (input, message) in [
        ("\"panic\"", "the handler crashed; see the worker's log (gave up after 2 attempts)"),
        ("\"permanent\"", "broken"),
        ("\"large\"", "the output is 1048577 bytes long; at most 1048576 are allowed"),
        ("\"error\"", "No such file or directory (os error 2) (gave up after 2 attempts)"),
        (
            "{\"a\":1}",
            "the input is not valid for this worker: invalid type: map, expected a string at line 1 column 0",
        ),
    ] {
        let operation = server.ended(server.create(input).await).await;
        assert_eq!((operation.status, operation.error_message.as_str()), (Status::Failed, message));
    }
    let refused = server.ended(server.create("\"escapes\"").await).await.error_message;
    assert!(refused.starts_with("the output was refused: the body is larger than"), "{refused}");
    assert_eq!(server.ended(server.create("\"second time\"").await).await.output, "at last");
    worker.stop().await;
}

#[tokio::test]
async fn heartbeats_keep_all_leases() {
    let server = Server::start(Duration::from_secs(3)).await;
    let (handler, mut started, go) = gate();
    let worker = Running::start(&server, handler, |worker| worker.concurrency(2)).await;
    let ids = [server.create("").await, server.create("").await];
    for _ in ids {
        assert_eq!(in_time(started.recv()).await, Some(1));
    }
    let database = server.database().await;
    let ends = async || -> Vec<i64> {
        sqlx::query_scalar("SELECT expires_at FROM leases ORDER BY seq").fetch_all(&database).await.unwrap()
    };
    for _ in 0..2 {
        let before = ends().await;
        until(async || ends().await.iter().zip(&before).all(|(now, before)| now > before).then_some(())).await;
    }
    go.notify_waiters();
    for id in ids {
        assert_eq!(server.ended(id).await.status, Status::Completed);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_lost_lease_cancels_the_handler_and_its_result_is_not_recorded() {
    let server = Server::start(Duration::from_millis(900)).await;
    let (handler, mut started, go) = gate();
    let worker = Running::start(&server, handler, |worker| worker).await;
    let id = server.create("").await;
    assert_eq!(in_time(started.recv()).await, Some(1));
    // Again when a heartbeat in between renewed it.
    until(async || {
        sqlx::query("UPDATE leases SET expires_at = 0").execute(&server.database().await).await.unwrap();
        let lost = server.store.lost_leases(Lost::Expired, 10).await.unwrap();
        let lost = lost.into_iter().map(|lost| (lost.lease, Duration::ZERO)).collect();
        Some(server.store.lose(lost).await.unwrap()).filter(|lost| *lost == 1)
    })
    .await;
    // The next heartbeat reports it; the slot becomes free and the operation is tried again.
    assert_eq!(in_time(started.recv()).await, Some(2));
    go.notify_one();
    assert_eq!(server.ended(id).await.status, Status::Completed);
    worker.stop().await;
}

#[tokio::test]
async fn a_request_to_stop_cancels_the_handler_and_ends_the_operation() {
    let server = Server::start(Duration::from_secs(3)).await;
    let (handler, mut started, _go) = gate();
    let worker = Running::start(&server, handler, |worker| worker).await;
    let id = server.create("").await;
    in_time(started.recv()).await;
    sqlx::query("UPDATE active SET cancel_requested = 1").execute(&server.database().await).await.unwrap();
    let operation = server.ended(id).await;
    assert_eq!((operation.status, operation.error_message.as_str()), (Status::Failed, "cancelled"));
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_cancelled() {
    let server = Server::start(Duration::from_secs(30)).await;
    let (handler, _started, _go) = gate();
    let worker = Running::start(&server, handler, |worker| worker).await;
    let timeout = Some(Duration::from_millis(20));
    let new = NewOperation { timeout, max_attempts: 1, ..NewOperation::of_kind("scan") };
    let id = server.store.create("acme", vec![new], None).await.unwrap().remove(0).id;
    assert_eq!(server.ended(id).await.error_message, "timed out after 0.02 s");
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_lets_what_runs_finish_and_claims_no_more() {
    let server = Server::start(Duration::from_secs(30)).await;
    let (handler, mut started, go) = gate();
    let worker = Running::start(&server, handler, |worker| worker).await;
    let id = server.create("").await;
    in_time(started.recv()).await;
    worker.stop.cancel();
    let second = server.create("").await;
    go.notify_one();
    worker.stop().await;
    assert_eq!(server.get(id).await.status, Status::Completed);
    assert_eq!(server.get(second).await.status, Status::Pending);
}

#[tokio::test]
async fn after_the_drain_time_what_runs_is_handed_back_uncharged() {
    let server = Server::start(Duration::from_secs(30)).await;
    for early in [false, true] {
        let (handler, mut started, _go) = gate();
        let hurry = CancellationToken::new();
        let drain = if early { DEADLINE * 2 } else { Duration::ZERO };
        let worker = Running::start(&server, handler, |worker| worker.drain(drain).release_when(&hurry)).await;
        let id = server.create("").await;
        assert_eq!(in_time(started.recv()).await, Some(1));
        worker.stop.cancel();
        if early {
            hurry.cancel();
        }
        worker.stop().await;
        assert_eq!(server.get(id).await.status, Status::Pending);
        let (handler, mut started, go) = gate();
        let worker = Running::start(&server, handler, |worker| worker).await;
        assert_eq!(in_time(started.recv()).await, Some(1), "the attempt was not charged");
        go.notify_one();
        assert_eq!(server.ended(id).await.status, Status::Completed);
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_handler_that_does_not_look_at_its_token_is_stopped() {
    let server = Server::start(Duration::from_secs(30)).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let handler = move |_: Attempt| {
        let _ = sender.send(());
        std::future::pending::<Result<String, Failure>>()
    };
    let shape = |worker: Worker<_>| worker.drain(Duration::ZERO).grace(Duration::from_millis(10));
    let worker = Running::start(&server, handler, shape).await;
    let id = server.create("").await;
    in_time(started.recv()).await;
    worker.stop().await;
    assert_eq!(server.get(id).await.status, Status::Pending);
}

#[tokio::test]
async fn a_worker_without_the_right_ends_with_the_refusal() {
    let server = Server::start(Duration::from_secs(30)).await;
    let handler = |_: Attempt| async { Ok(String::new()) };
    for (token, status) in [(server.token(&[Scope::OperationsRead]).await, 403), ("lrn_none".to_owned(), 401)] {
        let client = Client::new(&server.url, Token::new(&token).unwrap()).unwrap();
        let error = Worker::new(client, handler).kind("scan").run(std::future::pending()).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().http_status, status);
    }
    let error = Worker::new(server.client().await, handler).run(std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("kinds"), "{error}");
}

#[tokio::test]
async fn the_example_works() {
    let server = Server::start(Duration::from_secs(30)).await;
    let mut example = tokio::process::Command::new(example("rust-worker"))
        .env("LONGRUN_URL", &server.url)
        .env("LONGRUN_TOKEN", server.token(&[Scope::OperationsWork]).await)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let new = NewOperation { input: "\"to be or not to be\"".to_owned(), ..NewOperation::of_kind("word_count") };
    let id = server.store.create("acme", vec![new], None).await.unwrap().remove(0).id;
    assert_eq!(server.ended(id).await.output, "6");
    let pid = example.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    assert!(in_time(example.wait()).await.unwrap().success(), "SIGTERM ends it in good order");
}

/// An example of this package, which cargo builds beside its tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples").join(name)
}
