//! What few operations have (labels, a unique key, a schedule), and everything that is known of an operation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use operations::{Access, Labels, NewOperation, OperationId, Projects, Refusal, Resource, Status};
use store::{
    BulkOperations as _, Details as _, Heartbeat, IdempotencyKey, OperationCommand, OperationDetail, PostgresStore,
    SqliteStore, Store, StoreError,
};

use super::support::{Engine, Fixture, against_both_engines, completed, empty_database, failed, fixture};

fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn keyed(key: &str) -> NewOperation {
    NewOperation { unique_key: Some(key.to_owned()), ..NewOperation::of_kind("scan") }
}

/// An operation with all that one can have.
fn full() -> NewOperation {
    NewOperation {
        resource: Some(Resource { resource_type: "image".to_owned(), resource_id: "alpine".to_owned() }),
        project_id: "p".to_owned(),
        project_version_id: "v".to_owned(),
        input: r#"{"a": 1.0}"#.to_owned(),
        priority: 3,
        timeout: Some(Duration::from_secs(60)),
        max_attempts: 2,
        retain_for: Some(Duration::from_secs(3_600)),
        labels: labels(&[("team", "search"), ("deploy", "42")]),
        unique_key: Some("alpine".to_owned()),
        schedule: Some("nightly".to_owned()),
        ..NewOperation::of_kind("scan")
    }
}

async fn detail(fixture: &Fixture, id: OperationId) -> OperationDetail {
    fixture.store.detail(&Access::organization("acme"), id).await.unwrap().unwrap()
}

async fn everything_about_an_operation_can_be_read_back(fixture: Fixture) {
    let later = fixture.store.now().after(Duration::from_secs(5));
    let asked = NewOperation { run_after: Some(later), ..full() };
    let created = fixture.create("acme", asked.clone()).await;
    let expected = OperationDetail {
        operation: created.clone(),
        output_left_out: false,
        input: asked.input.clone(),
        input_left_out: false,
        labels: asked.labels.clone(),
        unique_key: asked.unique_key.clone(),
        schedule: asked.schedule.clone(),
        priority: 3,
        attempts: 0,
        max_attempts: 2,
        run_after: Some(later),
        timeout: asked.timeout,
        retain_for: asked.retain_for,
        worker: String::new(),
        concurrency: None,
        cancel_requested: false,
        progress: String::new(),
    };
    assert_eq!(detail(&fixture, created.id).await, expected);

    fixture.advance(Duration::from_secs(6));
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    for text in ["a third", "two thirds"] {
        fixture.advance(Duration::from_secs(1));
        let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some(text.to_owned()) };
        fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    }
    let access = Access::organization("acme");
    fixture.store.command(&access, created.id, OperationCommand::Cancel).await.unwrap();
    let running = detail(&fixture, created.id).await;
    assert_eq!(
        running,
        OperationDetail {
            operation: fixture.store.get(&access, created.id).await.unwrap().unwrap(),
            attempts: 1,
            run_after: None,
            worker: "test".to_owned(),
            cancel_requested: true,
            progress: "two thirds".to_owned(),
            ..expected.clone()
        }
    );

    fixture.settle(&claimed, completed("{}")).await.unwrap();
    let ended = detail(&fixture, created.id).await;
    assert_eq!(ended.operation.status, Status::Completed);
    assert_eq!(
        ended,
        OperationDetail { operation: ended.operation.clone(), cancel_requested: false, ..running },
        "the input of what is completed is kept"
    );
    assert_eq!(ended.to_new(), NewOperation { run_after: None, schedule: None, ..asked });
    let again = fixture.reopen().await;
    assert_eq!(again.detail(&access, created.id).await.unwrap(), Some(ended));
    fixture.assert_sound().await;
}

async fn an_attempt_begins_without_progress_and_says_when_the_next_one_may(fixture: Fixture) {
    let created = fixture.create("acme", NewOperation::of_kind("scan")).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some("half".to_owned()) };
    fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    fixture.settle(&claimed, failed("no", true)).await.unwrap();
    let waiting = detail(&fixture, created.id).await;
    assert_eq!((waiting.attempts, waiting.worker.as_str()), (1, ""));
    assert_eq!(waiting.run_after, Some(fixture.store.now().after(Duration::from_secs(10))));
    fixture.advance(Duration::from_secs(11));
    assert_eq!(fixture.claim(&["scan"], 1).await.len(), 1);
    let again = detail(&fixture, created.id).await;
    assert_eq!((again.attempts, again.worker.as_str(), again.progress.as_str()), (2, "test", ""));
}

async fn details_come_in_order_and_only_to_those_who_may_see_them(fixture: Fixture) {
    let mine = fixture.create("acme", full()).await.id;
    let elsewhere = fixture.create("acme", NewOperation { project_id: "q".to_owned(), ..keyed("q") }).await.id;
    let foreign = fixture.create("globex", full()).await.id;
    let nobody = OperationId::new(fixture.store.now());
    let ids = [foreign, elsewhere, nobody, mine, mine];
    let seen = async |access: Access| -> Vec<Option<OperationId>> {
        let details = fixture.store.details(&access, &ids, usize::MAX).await.unwrap();
        details.into_iter().map(|detail| detail.map(|detail| detail.operation.id)).collect()
    };
    assert_eq!(seen(Access::organization("acme")).await, [None, Some(elsewhere), None, Some(mine), Some(mine)]);
    assert_eq!(seen(Access::projects("acme", ["p"])).await, [None, None, None, Some(mine), Some(mine)]);
    assert_eq!(seen(Access::organization("globex")).await, [Some(foreign), None, None, None, None]);
}

async fn long_texts_are_left_out_of_many_and_read_one_by_one(fixture: Fixture) {
    let long = format!("\"{}\"", "x".repeat(20_000));
    let new = NewOperation { input: long.clone(), ..NewOperation::of_kind("scan") };
    let operation = fixture.finished("acme", new, completed(&long)).await;
    let short = fixture.create("acme", NewOperation { input: "{}".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let access = Access::organization("acme");
    let many = fixture.store.details(&access, &[operation.id, short.id], store::LISTED_OUTPUT_BYTES).await.unwrap();
    let many: Vec<OperationDetail> = many.into_iter().flatten().collect();
    assert!(many[0].input_left_out && many[0].output_left_out);
    assert_eq!((many[0].input.as_str(), many[0].operation.output.as_str()), ("", ""));
    assert_eq!((many[1].input_left_out, many[1].output_left_out, many[1].input.as_str()), (false, false, "{}"));
    let one = detail(&fixture, operation.id).await;
    assert_eq!((one.input, one.operation.output), (long.clone(), long));
}

async fn while_an_operation_with_a_unique_key_has_not_ended_it_is_answered(fixture: Fixture) {
    let first = fixture.create("acme", NewOperation { input: "1".to_owned(), ..keyed("k") }).await;
    let again = NewOperation { input: "2".to_owned(), ..keyed("k") };
    assert_eq!(fixture.create("acme", again.clone()).await, first, "whatever else is requested");
    assert_ne!(fixture.create("acme", keyed("other")).await.id, first.id);
    assert_ne!(fixture.create("globex", keyed("k")).await.id, first.id, "keys are the organization's own");
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!(claimed.operation.id, first.id);
    assert_eq!(fixture.create("acme", again.clone()).await.status, Status::Running);
    fixture.settle(&claimed, completed("{}")).await.unwrap();
    let second = fixture.create("acme", again).await;
    assert_ne!(second.id, first.id);
    assert_eq!(detail(&fixture, second.id).await.input, "2");
    fixture.assert_sound().await;
}

async fn a_batch_creates_what_is_not_there_and_answers_what_is(fixture: Fixture) {
    let held = fixture.create("acme", keyed("held")).await;
    let batch = vec![keyed("new"), NewOperation::of_kind("scan"), keyed("held")];
    let created = fixture.store.create("acme", batch.clone(), None).await.unwrap();
    assert_eq!(created[2], held);
    let key = IdempotencyKey { key: "twice".to_owned(), fingerprint: [3; 32] };
    let answered = fixture.store.create("acme", batch.clone(), Some(key.clone())).await.unwrap();
    assert_eq!((answered[0].id, answered[2].id), (created[0].id, held.id));
    assert_ne!(answered[1].id, created[1].id);
    assert_eq!(fixture.store.create("acme", batch, Some(key)).await.unwrap(), answered, "it is the same request");
    let access = Access::organization("acme");
    let listing = fixture.store.list(&access, &Default::default(), Default::default()).await.unwrap();
    assert_eq!(listing.page.total_count, 4);
    fixture.assert_sound().await;
}

async fn who_may_not_see_the_operation_with_the_key_is_refused_and_nothing_is_created(fixture: Fixture) {
    fixture.create("acme", NewOperation { project_id: "q".to_owned(), ..keyed("k") }).await;
    let limited = Access::projects("acme", ["p"]);
    let in_p = |new: NewOperation| NewOperation { project_id: "p".to_owned(), ..new };
    let batch = vec![in_p(NewOperation::of_kind("scan")), in_p(keyed("k"))];
    let refused = fixture.store.create_as(&limited, batch, Vec::new(), None, None).await;
    assert!(matches!(refused, Err(StoreError::UniqueKeyInUse)), "{refused:?}");
    let listing = fixture.store.list(&limited, &Default::default(), Default::default()).await.unwrap();
    assert_eq!(listing.page.total_count, 0, "all or none");
    // Also next to others in one transaction.
    let (refused, created) = tokio::join!(
        fixture.store.create_as(&limited, vec![in_p(keyed("k"))], Vec::new(), None, None),
        fixture.store.create_as(&limited, vec![in_p(keyed("l"))], Vec::new(), None, None),
    );
    assert!(refused.is_err() && created.is_ok());
    fixture.assert_sound().await;
}

async fn a_retry_takes_the_key_again_or_is_refused(fixture: Fixture) {
    let access = Access::organization("acme");
    let retry = async |id| fixture.store.command(&access, id, OperationCommand::Retry).await.unwrap().unwrap();
    let first = fixture.finished("acme", keyed("k"), failed("no", false)).await.id;
    let second = fixture.finished("acme", keyed("k"), failed("no", false)).await.id;
    assert_eq!(retry(first).await.unwrap().status, Status::Pending);
    assert_eq!(retry(second).await, Err(Refusal::UniqueKeyInUse));
    assert_eq!(fixture.store.get(&access, second).await.unwrap().unwrap().status, Status::Failed);
    assert_eq!(fixture.create("acme", keyed("k")).await.id, first, "the older one has it now");
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.settle(&claimed, completed("{}")).await.unwrap();
    assert_eq!(retry(second).await.unwrap().status, Status::Pending);
    assert_eq!(fixture.create("acme", keyed("k")).await.id, second);
    fixture.assert_sound().await;
}

async fn what_is_removed_leaves_nothing_of_it(fixture: Fixture) {
    let access = Access::organization("acme");
    let deleted = fixture.finished("acme", full(), completed("{}")).await.id;
    let short = NewOperation { retain_for: Some(Duration::from_secs(1)), ..full() };
    fixture.finished("acme", short, completed("{}")).await;
    let kept = fixture.create("acme", full()).await;
    fixture.store.command(&access, deleted, OperationCommand::Delete).await.unwrap().unwrap().unwrap();
    fixture.advance(Duration::from_secs(2));
    assert_eq!(fixture.store.purge(10).await.unwrap(), 1);
    fixture.assert_sound().await;
    assert_eq!(fixture.create("acme", full()).await, kept, "the key is the kept one's still");

    fixture.create("globex", full()).await;
    let ended = NewOperation { kind: "build".to_owned(), unique_key: None, ..full() };
    fixture.finished("globex", ended, completed("{}")).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    while fixture.store.delete_part("acme", 1).await.unwrap() > Some(0) {
        fixture.assert_sound().await;
    }
    fixture.store.end_deletion("acme").await.unwrap();
    fixture.assert_sound().await;
    fixture.store.begin_deletion("globex", true).await.unwrap();
    while fixture.store.delete_part("globex", 100).await.unwrap() > Some(0) {}
    fixture.store.end_deletion("globex").await.unwrap();
    fixture.assert_sound().await;
}

async fn doctor_finds_what_does_not_fit(fixture: Fixture) {
    fixture.create("acme", full()).await;
    fixture.tamper("UPDATE labels SET value = 'ads' WHERE key = 'team'").await;
    fixture.tamper("UPDATE unique_keys SET seq = 7").await;
    fixture.tamper("INSERT INTO details (organization_id, seq, labels) VALUES ('acme', 9, '{}')").await;
    let mut found = fixture.found_by_doctor().await;
    found.sort();
    assert_eq!(
        found,
        [
            "acme #1 has not ended; the key was last taken by #7",
            "acme #1 lacks team=search",
            "acme #1 team=ads",
            "acme #7 does not exist, or has another key",
            "acme #9",
        ]
    );
}

async fn one_at_a_time_however_many_ask_at_once(fixture: Fixture) {
    let servers = [Arc::clone(&fixture.store), fixture.second_server().await];
    let access = Access::organization("acme");
    for _ in 0..5 {
        let mut asking = tokio::task::JoinSet::new();
        for caller in 0..40 {
            let store = Arc::clone(&servers[caller % servers.len()]);
            let key = format!("k{}", caller % 4);
            // Some with others next to them, some also with an idempotency key.
            let beside = (caller % 3 == 0).then(|| NewOperation::of_kind("beside"));
            let idempotent = (caller % 5 == 0)
                .then(|| IdempotencyKey { key: OperationId::new(store.now()).to_string(), fingerprint: [1; 32] });
            asking.spawn(async move {
                let new = std::iter::once(keyed(&key)).chain(beside).collect();
                (key, store.create("acme", new, idempotent).await.unwrap().remove(0).id)
            });
        }
        let answered: BTreeSet<(String, OperationId)> = asking.join_all().await.into_iter().collect();
        assert_eq!(answered.len(), 4, "one per key: {answered:?}");
        // They end while others create the next ones.
        for (_, id) in answered {
            fixture.store.command(&access, id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
        }
    }
    fixture.assert_sound().await;
}

/// Creations and retries with one key, at two servers: no two of them ever have it.
async fn retries_and_creations_do_not_both_get_the_key(fixture: Fixture) {
    let servers = [Arc::clone(&fixture.store), fixture.second_server().await];
    let access = Access::organization("acme");
    for _ in 0..10 {
        let failed = fixture.finished("acme", keyed("k"), failed("no", false)).await.id;
        let retry = servers[0].command(&access, failed, OperationCommand::Retry);
        let (retried, created) = tokio::join!(retry, servers[1].create("acme", vec![keyed("k")], None));
        let (retried, created) = (retried.unwrap().unwrap(), created.unwrap().remove(0).id);
        match retried {
            Ok(_) => assert_eq!(created, failed, "it was retried before the other was created"),
            Err(refusal) => assert_eq!((refusal, created == failed), (Refusal::UniqueKeyInUse, false)),
        }
        fixture.assert_sound().await;
        servers[0].command(&access, created, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    }
}

against_both_engines!(
    everything_about_an_operation_can_be_read_back,
    an_attempt_begins_without_progress_and_says_when_the_next_one_may,
    details_come_in_order_and_only_to_those_who_may_see_them,
    long_texts_are_left_out_of_many_and_read_one_by_one,
    while_an_operation_with_a_unique_key_has_not_ended_it_is_answered,
    a_batch_creates_what_is_not_there_and_answers_what_is,
    who_may_not_see_the_operation_with_the_key_is_refused_and_nothing_is_created,
    a_retry_takes_the_key_again_or_is_refused,
    what_is_removed_leaves_nothing_of_it,
    doctor_finds_what_does_not_fit,
    one_at_a_time_however_many_ask_at_once,
    retries_and_creations_do_not_both_get_the_key,
);

#[tokio::test]
async fn a_store_that_moves_takes_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let from = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    let created = from.create("acme", vec![full(), keyed("other")], None).await.unwrap();
    let to = PostgresStore::connect(&empty_database().await, 4).await.unwrap();
    // A bulk operation goes on where it was.
    let bulk = from.create("acme", vec![NewOperation::of_kind("bulk")], None).await.unwrap()[0].id;
    let begun = from.begin_bulk("acme", bulk, 7).await.unwrap();
    assert!(begun.is_some());
    store::transfer(&from, &to, |_| {}).await.unwrap();
    assert_eq!(to.bulk_progress("acme", bulk).await.unwrap(), begun);
    let access = Access { organization: "acme".to_owned(), projects: Projects::All };
    let ids: Vec<OperationId> = created.iter().map(|operation| operation.id).collect();
    let (before, after) =
        (from.details(&access, &ids, usize::MAX).await.unwrap(), to.details(&access, &ids, usize::MAX).await.unwrap());
    assert_eq!(before, after);
    assert_eq!(to.create("acme", vec![keyed("other")], None).await.unwrap()[0].id, ids[1]);
    assert_eq!(to.doctor().await.unwrap().findings, []);
}
