//! Notices over real sockets, delivered directly and as operations that a real engine runs.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Receiver, SECRET, answer};
use engine::{Engine, Failure, FollowUp, Limits, Registry, Settings};
use kinds::notices::{KIND, NoticeFilter, Notices, Subscription};
use kinds::webhook::{Endpoint, EndpointSettings, Secrets};
use operations::backoff::Backoff;
use operations::{Access, NewOperation, Operation, Resource, Status, Timestamp};
use serde_json::json;
use store::{SqliteStore, Store};

fn subscription(receiver: &Receiver) -> Subscription {
    let url = format!("http://{}/hooks", receiver.address);
    let settings = EndpointSettings { url, allow_private_addresses: true, ..EndpointSettings::default() };
    let endpoint = Endpoint::new(&settings, Secrets::parse(SECRET).unwrap()).unwrap();
    Subscription { endpoint, filter: NoticeFilter::default() }
}

fn operation(status: Status) -> Operation {
    let resource = Resource { resource_type: "repo".to_owned(), resource_id: "a/b".to_owned() };
    let new = NewOperation { resource: Some(resource), project_id: "p1".to_owned(), ..NewOperation::of_kind("scan") };
    let at = Timestamp::from_millis;
    Operation {
        status,
        started_at: Some(at(2_000)),
        finished_at: status.is_terminal().then(|| at(3_000)),
        output: "{\"found\":0}".to_owned(),
        ..new.to_operation(at(1_000))
    }
}

#[tokio::test]
async fn a_notice_is_a_signed_cloud_event_of_the_operation() {
    let mut receiver = Receiver::start(|_| answer("202 Accepted", "", "")).await;
    let operation = operation(Status::Completed);
    assert_eq!(subscription(&receiver).deliver("acme inc", &operation, None).await, Ok(()));
    let request = receiver.next().await;
    assert_eq!(request.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    request.assert_signed();
    let id = operation.id.to_string();
    assert_eq!(request.headers["webhook-id"], format!("{id}-3000"));
    let expected = json!({
        "specversion": "1.0",
        "id": format!("{id}-3000"),
        "source": "/longrun/organizations/acme%20inc",
        "type": "longrun.operation.completed",
        "subject": id,
        "time": "1970-01-01T00:00:03.000Z",
        "datacontenttype": "application/json",
        "data": {
            "output": "{\"found\":0}", "error_message": "", "finished_at": "1970-01-01T00:00:03.000Z",
            "project_id": "p1", "kind": "scan", "resource_type": "repo", "created_at": "1970-01-01T00:00:01.000Z",
            "started_at": "1970-01-01T00:00:02.000Z", "resource_id": "a/b", "id": id, "project_version_id": "",
            "status": "ASYNC_OPERATION_STATUS_COMPLETED",
        },
    });
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn what_the_receiver_answers_decides_about_another_attempt() {
    for (status, retryable) in [("410 Gone", false), ("500 Internal Server Error", true), ("302 Found", false)] {
        let receiver = Receiver::start(move |_| answer(status, "", "")).await;
        let failure = subscription(&receiver).deliver("acme", &operation(Status::Failed), None).await.unwrap_err();
        assert_eq!(failure.retryable, retryable, "{failure:?}");
    }
    let receiver = Receiver::start(|_| answer("200 OK", "", "")).await;
    let running = subscription(&receiver).deliver("acme", &operation(Status::Running), None).await;
    assert_eq!(running, Err(Failure::permanent("the operation has not ended")));
}

#[tokio::test]
async fn a_notice_is_an_operation_that_is_repeated_until_it_is_delivered() {
    let mut receiver = Receiver::start(|number| match number {
        0 | 1 => answer("503 Service Unavailable", "", "not yet"),
        _ => answer("200 OK", "", "thank you"),
    })
    .await;
    let notices = Notices::new(BTreeMap::from([("ci".to_owned(), subscription(&receiver))]));
    let ended = operation(Status::Failed);
    let due = notices.due("acme", &ended);
    assert_eq!(due.len(), 1);

    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
    let backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(1) };
    let limits = Limits { backoff: Some(backoff), ..Limits::default() };
    let registry = Registry::new().with(KIND, notices).with_limits(KIND, limits);
    let settings = Settings { poll: Duration::from_millis(20), ..Settings::default() };
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, registry, settings, "local");
    let id = store.create("acme", due, None).await.unwrap()[0].id;

    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = receiver.next().await;
        assert_eq!(request.json()["type"], "longrun.operation.failed");
        ids.push(request.json()["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids, [json!(format!("{}-3000", ended.id))], "a receiver can detect a repeated notice");
    let start = Instant::now();
    loop {
        let notice = store.get(&Access::organization("acme"), id).await.unwrap().unwrap();
        if notice.status == Status::Completed {
            assert_eq!(notice.output, "");
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{notice:?}");
        tokio::task::yield_now().await;
    }
    engine.drain().await;
}

#[tokio::test]
async fn every_end_that_somebody_subscribed_to_is_told_of_and_no_notice_is() {
    let mut all = Receiver::start(|_| answer("200 OK", "", "")).await;
    let mut failures = Receiver::start(|_| answer("200 OK", "", "")).await;
    let filter = NoticeFilter { statuses: vec![Status::Failed], ..NoticeFilter::default() };
    let of_failures = Subscription { filter, ..subscription(&failures) };
    let subscriptions = BTreeMap::from([("all".to_owned(), subscription(&all)), ("failures".to_owned(), of_failures)]);
    let notices = Notices::new(subscriptions);
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
    let ended_before = end(&*store, "scan", false).await;
    let registry = Registry::new().with_follow_up(notices.clone()).with(KIND, notices);
    Engine::prepare(&*store, &registry).await.unwrap();
    let engine = Engine::start(Arc::clone(&store), registry, Settings::default(), "local");
    let (completed, failed) = (end(&*store, "scan", true).await, end(&*store, "scan", false).await);
    let mut subjects: Vec<String> = Vec::new();
    for _ in 0..2 {
        let request = all.next().await;
        request.assert_signed();
        subjects.push(request.json()["subject"].as_str().unwrap().to_owned());
    }
    subjects.sort();
    assert_eq!(subjects, [completed.to_string(), failed.to_string()], "and not {ended_before}, which ended before");
    assert_eq!(failures.next().await.json()["data"]["error_message"], "no luck");
    // It is retried and fails again, which is another end.
    store
        .command(&Access::organization("acme"), failed, store::OperationCommand::Retry)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    settle(&*store, "scan", false).await;
    let mut ids = Vec::new();
    for request in [all.next().await, failures.next().await] {
        assert_eq!(request.json()["subject"], failed.to_string(), "and not a notice");
        ids.push(request.json()["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    engine.drain().await;
    let filter = operations::Filter { kind: Some(KIND.to_owned()), ..operations::Filter::default() };
    let page = operations::PageRequest::default();
    let made = store.list(&Access::organization("acme"), &filter, page).await.unwrap();
    assert_eq!(made.page.total_count, 5, "one each: {made:?}");
}

/// An operation of `acme` that has ended.
async fn end(store: &dyn Store, kind: &str, completes: bool) -> operations::OperationId {
    let id = store.create("acme", vec![NewOperation::of_kind(kind)], None).await.unwrap()[0].id;
    settle(store, kind, completes).await;
    id
}

async fn settle(store: &dyn Store, kind: &str, completes: bool) {
    let request = store::ClaimRequest {
        kinds: vec![kind.to_owned()],
        access: Some(Access::organization("acme")),
        among: None,
        limit: 1,
        worker: "test".to_owned(),
        lease: Duration::from_secs(60),
    };
    let lease = store.claim(request).await.unwrap().remove(0).lease;
    let outcome = if completes {
        operations::Outcome::Completed { output: "fine".to_owned() }
    } else {
        operations::Outcome::Failed { message: "no luck".to_owned(), retryable: false }
    };
    let settlement = store::Settlement { lease, outcome, retry_after: Duration::ZERO };
    store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
}
