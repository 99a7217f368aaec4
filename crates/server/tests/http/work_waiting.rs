//! Workers that wait for work: they are woken, the store is asked per queue and not per worker, and nothing that was
//! claimed for a worker that is gone stays lost.

use std::time::Duration;

use http::StatusCode;
use operations::{Access, NewOperation, Operation, Status};
use store::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::faults::{Fault, STUCK, observed, watched};
use crate::harness::{Caller, Server};
use crate::work::{claim, claimed, worker};

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than any test: a worker that is answered earlier was woken or sent away.
const LONG: &str = r#"{"kinds":["scan"],"max_operations":2,"wait":"60s"}"#;

/// Waits until the store was asked for work more often than `times`.
async fn asked_more_than(asked: &mut watch::Receiver<usize>, times: usize) {
    tokio::time::timeout(DEADLINE, asked.wait_for(|asked| *asked > times)).await.expect("in time").unwrap();
}

fn waits(worker: &Caller, body: &'static str) -> tokio::task::JoinHandle<crate::harness::Answer> {
    let worker = worker.clone();
    tokio::spawn(async move { worker.post("/v1/operations:claim", body).await })
}

async fn in_time<T>(task: tokio::task::JoinHandle<T>) -> T {
    tokio::time::timeout(DEADLINE, task).await.expect("in time").unwrap()
}

#[tokio::test]
async fn a_worker_that_waits_gets_what_is_created_here() {
    let (server, _, mut asked) = observed().await;
    let waiting = waits(&worker(&server).await, LONG);
    asked_more_than(&mut asked, 0).await;
    server.acme().await.post("/v1/operations", r#"{"kind":"scan"}"#).await;
    assert_eq!(claimed(&in_time(waiting).await).len(), 1);
}

#[tokio::test]
async fn a_worker_that_waits_gets_what_another_process_creates() {
    let (server, _, mut asked) = observed().await;
    let waiting = waits(&worker(&server).await, LONG);
    asked_more_than(&mut asked, 0).await;
    // Past the API, so that nothing wakes a worker.
    server.pending("scan").await;
    assert_eq!(claimed(&in_time(waiting).await).len(), 1);
}

#[tokio::test]
async fn without_waiting_the_answer_may_be_empty() {
    let server = Server::start().await;
    let answer = worker(&server).await.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await;
    assert_eq!(answer.text(), r#"{"operations":[],"lease_duration":"30s"}"#);
    let answer = worker(&server).await.post("/v1/operations:claim", r#"{"kinds":["scan"],"wait":"0.2s"}"#).await;
    assert!(claimed(&answer).is_empty());
}

#[tokio::test]
async fn many_workers_that_wait_ask_the_store_as_one() {
    let (server, _, mut asked) = observed().await;
    let worker = worker(&server).await;
    asked.mark_unchanged();
    let waiting: Vec<_> = (0..100).map(|_| waits(&worker, r#"{"kinds":["scan"],"wait":"3s"}"#)).collect();
    for task in waiting {
        assert!(claimed(&in_time(task).await).is_empty());
    }
    // One by one, each would have asked when it came and three times while it waited: 400. Together they ask at most
    // every hundredth of a second while they come, and once per second from then on.
    let times = *asked.borrow();
    assert!(times <= 150, "the store was asked {times} times");
}

#[tokio::test]
async fn operations_are_shared_out_and_none_is_given_twice() {
    let (server, _, mut asked) = observed().await;
    let worker = worker(&server).await;
    let waiting: Vec<_> = (0..20).map(|_| waits(&worker, LONG)).collect();
    asked_more_than(&mut asked, 0).await;
    server.store.create("acme", vec![NewOperation::of_kind("scan"); 40], None).await.unwrap();
    server.services.waker.wake();
    let mut ids = std::collections::BTreeSet::new();
    for task in waiting {
        let claimed = claimed(&in_time(task).await);
        assert!((1..=2).contains(&claimed.len()), "{claimed:?}");
        ids.extend(claimed.iter().map(|claimed| claimed["operation"]["id"].as_str().unwrap().to_owned()));
    }
    ids.extend(claim(&worker, 40).await.iter().map(|claimed| claimed["operation"]["id"].as_str().unwrap().to_owned()));
    assert_eq!(ids.len(), 40);
}

#[tokio::test]
async fn a_thousand_operations_fit_in_one_answer_and_large_inputs_in_several() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    server.store.create("acme", vec![NewOperation::of_kind("scan"); 1000], None).await.unwrap();
    assert_eq!(claim(&worker, 1000).await.len(), 1000);
    let large = NewOperation { input: format!("\"{}\"", "x".repeat(1024 * 1024 - 2)), ..NewOperation::of_kind("scan") };
    server.store.create("acme", vec![large; 50], None).await.unwrap();
    let first = claim(&worker, 1000).await.len();
    assert!((4..=36).contains(&first), "{first} of 1 MiB each at once");
    assert_eq!(claim(&worker, 1000).await.len(), 50 - first);
}

#[tokio::test]
async fn a_server_that_stops_sends_waiting_workers_away() {
    let (server, _, mut asked) = observed().await;
    let waiting = waits(&worker(&server).await, LONG);
    asked_more_than(&mut asked, 0).await;
    server.shutdown.cancel();
    assert!(claimed(&in_time(waiting).await).is_empty());
}

#[tokio::test]
async fn a_store_that_is_away_is_503_for_those_who_wait() {
    let (server, switch, _) = observed().await;
    let worker = worker(&server).await;
    claim(&worker, 1).await;
    switch(Fault::Unavailable);
    let answer = worker.post("/v1/operations:claim", LONG).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
}

#[tokio::test]
async fn a_claim_that_panics_is_500_and_the_lines_go_on() {
    let (server, switch, _) = observed().await;
    let worker = worker(&server).await;
    claim(&worker, 1).await;
    switch(Fault::Panic);
    for _ in 0..2 {
        let answer = worker.post("/v1/operations:claim", LONG).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"));
    }
    switch(Fault::None);
    server.pending("scan").await;
    assert_eq!(claim(&worker, 1).await.len(), 1);
}

#[tokio::test]
async fn a_worker_that_went_away_while_it_waited_gets_nothing() {
    let (server, _, mut asked) = observed().await;
    let worker = worker(&server).await;
    let stream = send_claim(&server, &worker, LONG).await;
    asked_more_than(&mut asked, 0).await;
    drop(stream);
    let operation = server.pending("scan").await;
    server.services.waker.wake();
    // Whether the server noticed before or after it claimed: the next worker gets it, and no attempt is charged.
    let next = in_time(waits(&worker, LONG)).await;
    let next = claimed(&next).remove(0);
    assert_eq!((&next["operation"]["id"], &next["attempt"]), (&operation.id.to_string().into(), &1.into()));
}

#[tokio::test]
async fn what_a_worker_did_not_take_to_its_end_is_handed_back() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    // More than the buffers of a connection hold.
    let large = NewOperation { input: format!("\"{}\"", "x".repeat(1024 * 1024 - 2)), ..NewOperation::of_kind("scan") };
    let created = server.store.create("acme", vec![large; 16], None).await.unwrap();
    let mut stream = send_claim(&server, &worker, r#"{"kinds":["scan"],"max_operations":16}"#).await;
    let mut beginning = [0; 64];
    stream.read_exact(&mut beginning).await.unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200"));
    assert_ne!(now(&server, &created[0]).await.status, Status::Pending);
    drop(stream);
    let handed_back = async {
        while now(&server, &created[0]).await.status != Status::Pending {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, handed_back).await.expect("long before the lease runs out");
    let again = claim(&worker, 1).await.remove(0);
    assert_eq!((&again["operation"]["id"], &again["attempt"]), (&created[0].id.to_string().into(), &1.into()));
}

async fn now(server: &Server, operation: &Operation) -> Operation {
    server.store.get(&Access::organization("acme"), operation.id).await.unwrap().unwrap()
}

/// Sends a claim on a connection of its own and leaves the answer in it.
async fn send_claim(server: &Server, worker: &Caller, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/operations:claim HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n",
        worker.authorization_line(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_claims_of_one_organization_do_not_delay_anothers() {
    const CLAIMS: usize = 1_000;
    /// Sets of kinds that a token may wait for.
    const LINES: usize = 256;
    let (server, mut seen) = watched(|services| services.allow_undeclared_kinds = true).await;
    // The store never answers a claim of this organization: a caller that waited for one would wait forever.
    let evil = server.caller(Access::organization(STUCK), &[Scope::OperationsWork]).await;
    let mut attack = tokio::task::JoinSet::new();
    for number in 0..CLAIMS {
        let kinds: Vec<String> = (0..100).map(|kind| format!("kind-{number}-{kind}")).collect();
        let (evil, body) = (evil.clone(), serde_json::json!({"kinds": kinds, "wait": "60s"}).to_string());
        attack.spawn(async move { evil.post("/v1/operations:claim", body).await });
    }
    for _ in LINES..CLAIMS {
        let answer = tokio::time::timeout(DEADLINE, attack.join_next()).await.expect("in time").unwrap().unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "5"));
        assert_eq!(answer.reason(), "TOO_MANY_WAITING_CLAIMS");
    }
    tokio::time::timeout(DEADLINE, seen.stuck.wait_for(|stuck| *stuck == 2)).await.expect("in time").unwrap();

    let worker = worker(&server).await;
    let claims = *seen.claims.borrow();
    let waiting = waits(&worker, LONG);
    asked_more_than(&mut seen.claims, claims).await;
    server.acme().await.post("/v1/operations", r#"{"kind":"scan"}"#).await;
    assert_eq!(claimed(&in_time(waiting).await).len(), 1);
    assert_eq!(*seen.stuck.borrow(), 2, "the store carries out so many claims of an organization at a time");
    assert!(attack.try_join_next().is_none(), "the attack still waits");
    assert_eq!(attack.len(), LINES);
}

/// Waits until a claim is refused because others wait.
async fn refused(worker: &Caller) {
    let refused = async {
        loop {
            let answer = worker.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!((answer.reason().as_str(), answer.header("retry-after")), ("TOO_MANY_WAITING_CLAIMS", "5"));
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("those who wait take the places");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_claims_of_a_token_and_of_an_organization_may_wait() {
    let server = Server::with_settings(|settings| settings.max_waiting_claims = 4).await;
    let (first, second, third) = (worker(&server).await, worker(&server).await, worker(&server).await);
    let other = server.caller(Access::organization("other"), &[Scope::OperationsWork]).await;
    let mut waiting = tokio::task::JoinSet::new();
    for caller in [&first, &second] {
        for _ in 0..2 {
            let caller = caller.clone();
            // A probe below may be in its place for a moment.
            waiting.spawn(async move {
                while caller.post("/v1/operations:claim", LONG).await.status == StatusCode::TOO_MANY_REQUESTS {}
            });
        }
        refused(caller).await;
    }
    refused(&third).await;
    assert!(claim(&other, 1).await.is_empty(), "another organization");
    waiting.shutdown().await;
    let again = async {
        while third.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("who went away does not wait any more");
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let (server, _, mut asked) = observed().await;
    let worker = worker(&server).await;
    let one = r#"{"kinds":["scan"],"wait":"60s"}"#;
    let first = waits(&worker, one);
    asked_more_than(&mut asked, 0).await;
    let second = waits(&worker, one);
    let claims = *asked.borrow();
    asked_more_than(&mut asked, claims + 2).await;
    let operation = server.pending("scan").await;
    server.services.waker.wake();
    assert_eq!(claimed(&in_time(first).await)[0]["operation"]["id"], operation.id.to_string());
    assert!(!second.is_finished());
    server.pending("scan").await;
    server.services.waker.wake();
    assert_eq!(claimed(&in_time(second).await).len(), 1);
}
