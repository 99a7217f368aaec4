//! Bulk operations, as an engine runs them, on both stores: each operation gets one outcome and the counts add up,
//! whatever is interrupted.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::{Attempt, Failure, Handler, Progress};
use kinds::bulk::{self, BulkAction, BulkHandler};
use operations::{
    Access, Concurrency, Filter, NewOperation, Operation, OperationId, Outcome, PageRequest, Projects, Search, Status,
};
use serde_json::{Value, json};
use store::{ClaimRequest, Claimed, PostgresStore, Settlement, SqliteStore, Store};
use testkit::{Cluster, Durability};
use tokio_util::sync::CancellationToken;

/// The pause between two looks at what has been done: looks without one leave the database no processor.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// A store that can be opened again.
struct Place {
    store: Arc<dyn Store>,
    url: Option<String>,
    folder: tempfile::TempDir,
}

impl Place {
    async fn sqlite() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
        Place { store, url: None, folder }
    }

    async fn postgres() -> Place {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| Cluster::start(Durability::None).unwrap());
        let url = cluster.database().await.unwrap();
        let store = Arc::new(PostgresStore::connect(&url, 8).await.unwrap());
        Place { store, url: Some(url), folder: tempfile::tempdir().unwrap() }
    }

    /// As after a restart of the server.
    async fn reopen(&mut self) {
        self.store = match &self.url {
            Some(url) => Arc::new(PostgresStore::connect(url, 8).await.unwrap()),
            None => Arc::new(SqliteStore::open(&self.folder.path().join("longrun.db")).await.unwrap()),
        };
    }

    async fn claim(&self, kind: &str, limit: u32) -> Vec<Claimed> {
        let request = ClaimRequest {
            kinds: vec![kind.to_owned()],
            access: Some(acme()),
            among: None,
            limit,
            worker: "test".to_owned(),
            lease: Duration::from_secs(600),
        };
        self.store.claim(request).await.unwrap()
    }

    async fn settle(&self, claimed: Vec<Claimed>, outcome: &Outcome) {
        let settlement = |claimed: Claimed| Settlement {
            lease: claimed.lease,
            outcome: outcome.clone(),
            retry_after: Duration::ZERO,
        };
        for settled in self.store.settle(claimed.into_iter().map(settlement).collect()).await.unwrap() {
            settled.unwrap();
        }
    }

    /// Creates operations that have ended with a failure.
    async fn failed(&self, new: &NewOperation, count: usize) -> Vec<OperationId> {
        self.ended(new, count, &Outcome::Failed { message: "broken".to_owned(), retryable: false }).await
    }

    async fn ended(&self, new: &NewOperation, count: usize, outcome: &Outcome) -> Vec<OperationId> {
        let created = self.store.create("acme", vec![new.clone(); count], None).await.unwrap();
        loop {
            let claimed = self.claim(&new.kind, 1_000).await;
            if claimed.is_empty() {
                return created.into_iter().map(|operation| operation.id).collect();
            }
            self.settle(claimed, outcome).await;
        }
    }

    /// Creates a bulk operation.
    async fn begin(&self, action: BulkAction, filter: &str, access: &Access) -> Operation {
        let search = bulk::without_bulk(Search::parse(filter, self.store.now()).unwrap());
        self.store.create_one("acme", bulk::operation(action, &search, access), None, None).await.unwrap()
    }

    /// The attempts of the waiting bulk operations.
    async fn attempts(&self) -> Vec<(Claimed, Attempt)> {
        let claimed = self.claim(bulk::KIND, 10).await;
        let attempt = |claimed: Claimed| {
            let attempt = Attempt {
                organization: claimed.lease.organization.clone(),
                operation: claimed.operation.clone(),
                input: claimed.input.clone(),
                number: claimed.attempt,
                trace: None,
                cancelled: CancellationToken::new(),
                progress: Progress::default(),
            };
            (claimed, attempt)
        };
        claimed.into_iter().map(attempt).collect()
    }

    fn handler(&self) -> BulkHandler {
        BulkHandler::new(Arc::clone(&self.store))
    }

    /// Runs the only waiting bulk operation to its end; returns its output.
    async fn run(&self) -> Value {
        let (claimed, attempt) = self.attempts().await.remove(0);
        let output = self.handler().run(attempt).await.unwrap();
        self.settle(vec![claimed], &Outcome::Completed { output: output.clone() }).await;
        serde_json::from_str(&output).unwrap()
    }

    async fn total(&self, status: Status) -> u64 {
        let filter = Filter { status: Some(status), kind: Some("scan".to_owned()), ..Filter::default() };
        self.store.list(&acme(), &filter, PageRequest { page: 0, page_size: 1 }).await.unwrap().page.total_count
    }

    async fn done(&self, id: OperationId) -> u64 {
        self.store.bulk_progress("acme", id).await.unwrap().map_or(0, |progress| progress.done())
    }

    async fn assert_sound(&self) {
        assert_eq!(self.store.doctor().await.unwrap().findings, [], "longrun doctor finds nothing");
    }
}

fn acme() -> Access {
    Access::organization("acme")
}

fn scan() -> NewOperation {
    NewOperation::of_kind("scan")
}

async fn what_failed_is_retried_and_what_is_newer_is_left(place: Place) {
    place.failed(&scan(), 230).await;
    let completed = Outcome::Completed { output: String::new() };
    place.ended(&scan(), 20, &completed).await;
    place.begin(BulkAction::Retry, "kind = scan", &acme()).await;
    let newer = place.failed(&scan(), 5).await;
    let output = place.run().await;
    assert_eq!(
        (&output["action"], &output["matched"], &output["retried"]),
        (&json!("retry"), &json!(255), &json!(230))
    );
    assert_eq!(output["refused"], json!({"the operation is COMPLETED": 20}));
    assert_eq!(output["refusals"].as_array().unwrap().len(), 20);
    assert_eq!(output.get("deleted"), None);
    for id in newer {
        assert_eq!(place.store.get(&acme(), id).await.unwrap().unwrap().status, Status::Failed);
    }
    assert_eq!((place.total(Status::Pending).await, place.total(Status::Failed).await), (230, 5));
    place.assert_sound().await;
}

async fn a_retried_operation_that_fails_again_is_not_met_again(place: Place) {
    place.failed(&scan(), 150).await;
    let bulk = place.begin(BulkAction::Retry, "status = FAILED", &acme()).await;
    let (claimed, attempt) = place.attempts().await.remove(0);
    let handler = place.handler();
    let running = tokio::spawn(async move { handler.run(attempt).await });
    // A worker that fails every operation as soon as it is claimed.
    let broken = Outcome::Failed { message: "broken again".to_owned(), retryable: false };
    while !running.is_finished() || place.total(Status::Pending).await > 0 {
        place.settle(place.claim("scan", 20).await, &broken).await;
    }
    let output: Value = serde_json::from_str(&running.await.unwrap().unwrap()).unwrap();
    assert_eq!((&output["retried"], &output["refused"]), (&json!(150), &json!({})));
    assert_eq!(place.done(bulk.id).await, 150);
    place.settle(vec![claimed], &Outcome::Completed { output: output.to_string() }).await;
    assert_eq!(place.total(Status::Failed).await, 150);
    place.assert_sound().await;
}

async fn what_waits_is_cancelled_and_what_runs_is_asked_to_stop(place: Place) {
    let delayed = NewOperation { run_after: Some(place.store.now().after(Duration::from_secs(3_600))), ..scan() };
    let keyed = NewOperation { concurrency: Some(Concurrency { key: "k".to_owned(), limit: 1 }), ..scan() };
    let high = NewOperation { priority: 5, ..scan() };
    let all = [delayed, keyed.clone(), keyed, high, scan()].into_iter().flat_map(|new| vec![new; 10]).collect();
    place.store.create("acme", all, None).await.unwrap();
    assert_eq!(place.claim("scan", 4).await.len(), 4);
    place.begin(BulkAction::Cancel, "status = (PENDING OR RUNNING)", &acme()).await;
    let output = place.run().await;
    assert_eq!((&output["cancelled"], &output["refused"]), (&json!(50), &json!({})));
    assert_eq!((place.total(Status::Failed).await, place.total(Status::Running).await), (46, 4));
    place.store.end_overdue_cancels(Duration::ZERO, 10).await.unwrap();
    assert_eq!(place.total(Status::Failed).await, 50);
    place.assert_sound().await;
    // Of the operations with a key, only one may start when all are retried.
    place.begin(BulkAction::Retry, "status = FAILED", &acme()).await;
    assert_eq!(place.run().await["retried"], json!(50));
    assert_eq!(place.claim("scan", 100).await.len(), 31);
    place.assert_sound().await;
}

async fn one_of_many_with_a_unique_key_is_retried(place: Place) {
    let unique = NewOperation { unique_key: Some("nightly".to_owned()), ..scan() };
    for _ in 0..3 {
        place.failed(&unique, 1).await;
    }
    place.begin(BulkAction::Retry, "unique_key = nightly", &acme()).await;
    let output = place.run().await;
    assert_eq!(output["retried"], json!(1), "{output}");
    assert_eq!(output["refused"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 2);
    place.assert_sound().await;
}

async fn a_limited_creator_touches_its_projects_alone(place: Place) {
    for project in ["a", "b", ""] {
        place.failed(&NewOperation { project_id: project.to_owned(), ..scan() }, 10).await;
    }
    let projects = Projects::Only(BTreeSet::from(["a".to_owned()]));
    let limited = Access { organization: "acme".to_owned(), projects };
    place.begin(BulkAction::Delete, "status = FAILED", &limited).await;
    let output = place.run().await;
    assert_eq!((&output["matched"], &output["deleted"]), (&json!(10), &json!(10)));
    assert_eq!(place.total(Status::Failed).await, 20);
    place.assert_sound().await;
}

async fn it_goes_on_where_it_was_when_its_server_is_killed(mut place: Place) {
    place.failed(&scan(), 700).await;
    let bulk = place.begin(BulkAction::Retry, "status = FAILED", &acme()).await;
    let mut before = 0;
    for _ in 0..2 {
        let (claimed, attempt) = place.attempts().await.remove(0);
        let handler = place.handler();
        let running = tokio::spawn(async move { handler.run(attempt).await });
        while place.done(bulk.id).await <= before {
            assert!(!running.is_finished(), "{:?}", running.await);
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        running.abort();
        let _ = running.await;
        place.store.release(vec![claimed.lease]).await.unwrap().remove(0).unwrap();
        place.store.close().await;
        place.reopen().await;
        let done = place.done(bulk.id).await;
        assert!(done > before, "{done} done");
        assert_eq!(place.total(Status::Pending).await, done, "the count is what was done");
        before = done;
    }
    let output = place.run().await;
    assert_eq!((&output["matched"], &output["retried"], &output["refused"]), (&json!(700), &json!(700), &json!({})));
    place.assert_sound().await;
}

async fn it_fails_and_can_be_tried_again_when_the_store_is_away(mut place: Place) {
    place.failed(&scan(), 600).await;
    let bulk = place.begin(BulkAction::Delete, "status = FAILED", &acme()).await;
    let (claimed, attempt) = place.attempts().await.remove(0);
    let handler = place.handler();
    let running = tokio::spawn(async move { handler.run(attempt).await });
    while place.done(bulk.id).await == 0 {
        assert!(!running.is_finished(), "{:?}", running.await);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    place.store.close().await;
    match running.await.unwrap() {
        Err(Failure { retryable: true, .. }) => {}
        other => panic!("{other:?}"),
    }
    place.reopen().await;
    place.store.release(vec![claimed.lease]).await.unwrap().remove(0).unwrap();
    let output = place.run().await;
    assert_eq!((&output["deleted"], &output["refused"]), (&json!(600), &json!({})));
    assert_eq!(place.total(Status::Failed).await, 0);
    place.assert_sound().await;
}

async fn it_stops_in_the_middle_when_it_is_cancelled(place: Place) {
    place.failed(&scan(), 700).await;
    let bulk = place.begin(BulkAction::Retry, "status = FAILED", &acme()).await;
    let (_, attempt) = place.attempts().await.remove(0);
    let (handler, cancelled, progress) = (place.handler(), attempt.cancelled.clone(), attempt.progress.clone());
    let running = tokio::spawn(async move { handler.run(attempt).await });
    while place.done(bulk.id).await == 0 {
        assert!(!running.is_finished(), "{:?}", running.await);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    cancelled.cancel();
    running.await.unwrap().unwrap_err();
    let done = place.done(bulk.id).await;
    assert!(done < 700, "{done} done");
    assert_eq!((place.total(Status::Pending).await, place.total(Status::Failed).await), (done, 700 - done));
    assert!(progress.take().unwrap().starts_with(&format!("{done} of 700 done")));
    place.assert_sound().await;
}

async fn two_at_once_give_each_operation_one_outcome(place: Place) {
    place.failed(&scan(), 400).await;
    for action in [BulkAction::Delete, BulkAction::Delete, BulkAction::Retry] {
        place.begin(action, "status = FAILED", &acme()).await;
    }
    let attempts = place.attempts().await;
    assert_eq!(attempts.len(), 3);
    let runs = attempts.into_iter().map(|(claimed, attempt)| {
        let handler = place.handler();
        tokio::spawn(async move { (claimed, handler.run(attempt).await.unwrap()) })
    });
    let (mut deleted, mut retried) = (0, 0);
    for run in runs.collect::<Vec<_>>() {
        let (claimed, output) = run.await.unwrap();
        let output: Value = serde_json::from_str(&output).unwrap();
        deleted += output["deleted"].as_u64().unwrap_or(0);
        retried += output["retried"].as_u64().unwrap_or(0);
        place.settle(vec![claimed], &Outcome::Completed { output: output.to_string() }).await;
    }
    assert_eq!(deleted + retried, 400);
    assert_eq!((place.total(Status::Pending).await, place.total(Status::Failed).await), (retried, 0));
    place.assert_sound().await;
}

async fn no_bulk_operation_is_acted_on(place: Place) {
    let first = place.begin(BulkAction::Retry, "status = FAILED", &acme()).await;
    place.begin(BulkAction::Cancel, "status = PENDING", &acme()).await;
    let second = place.attempts().await.remove(1);
    let output = place.handler().run(second.1).await.unwrap();
    let output: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&output["matched"], &output["cancelled"]), (&json!(0), &json!(0)));
    assert_eq!(place.store.get(&acme(), first.id).await.unwrap().unwrap().status, Status::Running);
}

macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::Place::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::Place::postgres().await).await;
            })*
        }
    };
}

on_both_stores!(
    what_failed_is_retried_and_what_is_newer_is_left,
    a_retried_operation_that_fails_again_is_not_met_again,
    what_waits_is_cancelled_and_what_runs_is_asked_to_stop,
    one_of_many_with_a_unique_key_is_retried,
    a_limited_creator_touches_its_projects_alone,
    it_goes_on_where_it_was_when_its_server_is_killed,
    it_fails_and_can_be_tried_again_when_the_store_is_away,
    it_stops_in_the_middle_when_it_is_cancelled,
    two_at_once_give_each_operation_one_outcome,
    no_bulk_operation_is_acted_on,
);
