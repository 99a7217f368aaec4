//! The limits of organizations: how many operations that have not ended, how fast, how large.
use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::*;
use operations::{Access, Filter, NewOperation, PageRequest, Status};
use store::{Exceeded, IdempotencyKey, OperationCommand, Quota, Quotas, Rate, Store, StoreError};

fn everybody(quota: Quota) -> Quotas {
    Quotas { everybody: quota, ..Quotas::default() }
}

fn at_most(max_pending: u64) -> Quotas {
    everybody(Quota { max_pending: Some(max_pending), ..Quota::default() })
}

fn some(count: usize) -> Vec<NewOperation> {
    vec![NewOperation::of_kind("scan"); count]
}

async fn exceeded(fixture: &Fixture, organization: &str, operations: Vec<NewOperation>) -> Exceeded {
    match fixture.store.create(organization, operations, None).await {
        Err(StoreError::Exceeded(exceeded)) => exceeded,
        other => panic!("expected a limit, got {other:?}"),
    }
}

async fn not_ended(store: &dyn Store, organization: &str) -> u64 {
    let page = PageRequest { page: 0, page_size: 1 };
    let mut count = 0;
    for status in [Status::Pending, Status::Running] {
        let filter = Filter { status: Some(status), ..Filter::default() };
        count += store.list(&Access::organization(organization), &filter, page).await.unwrap().page.total_count;
    }
    count
}

async fn what_has_not_ended_is_limited(fixture: Fixture) {
    fixture.store.set_quotas(at_most(3));
    let first = fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.store.create("acme", some(1), None).await.unwrap();
    assert_eq!(exceeded(&fixture, "acme", some(2)).await, Exceeded::Pending { limit: 3 }, "all or none");
    fixture.store.create("acme", some(1), None).await.unwrap();
    assert_eq!(exceeded(&fixture, "acme", some(1)).await, Exceeded::Pending { limit: 3 });
    fixture.store.create("other", some(3), None).await.unwrap();

    let mine = store::ClaimRequest { access: Some(Access::organization("acme")), ..claim_request(&["scan"], 1) };
    let claimed = fixture.store.claim(mine).await.unwrap().remove(0);
    exceeded(&fixture, "acme", some(1)).await;
    fixture.settle(&claimed, completed("")).await.unwrap();
    fixture.store.create("acme", some(1), None).await.unwrap();
    exceeded(&fixture, "acme", some(1)).await;

    let access = Access::organization("acme");
    let pending = fixture.store.list(&access, &Filter::default(), PageRequest { page: 0, page_size: 9 }).await.unwrap();
    let newest = pending.entries[0].operation.id;
    assert_ne!(newest, first.id);
    fixture.store.command(&access, newest, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    fixture.store.create("acme", some(1), None).await.unwrap();
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, 3);
    fixture.assert_sound().await;
}

async fn creations_of_a_batch_that_fit_are_made_beside_those_that_do_not(fixture: Fixture) {
    fixture.store.set_quotas(at_most(5));
    let creations = (0..20).map(|_| {
        let store = fixture.store.clone();
        tokio::spawn(async move { store.create("acme", some(1), None).await.is_ok() })
    });
    let mut made = 0;
    for creation in creations.collect::<Vec<_>>() {
        made += u64::from(creation.await.unwrap());
    }
    assert_eq!((made, not_ended(fixture.store.as_ref(), "acme").await), (5, 5));
    fixture.assert_sound().await;
}

async fn the_limit_holds_over_all_servers(fixture: Fixture) {
    let servers = [fixture.store.clone(), fixture.second_server().await];
    let mut creations = Vec::new();
    for server in &servers {
        server.set_quotas(at_most(100));
        // A count from before: both servers may think that there is capacity for all.
        server.create("acme", some(1), None).await.unwrap();
        for size in [1, 2, 3, 5].repeat(8) {
            let server = server.clone();
            creations.push(tokio::spawn(async move { (size, server.create("acme", some(size), None).await) }));
        }
    }
    let mut made = 2;
    for creation in creations {
        match creation.await.unwrap() {
            (size, Ok(_)) => made += size as u64,
            (_, Err(StoreError::Exceeded(Exceeded::Pending { limit: 100 }))) => {}
            (_, Err(other)) => panic!("{other}"),
        }
    }
    assert!((96..=100).contains(&made), "the smallest fit until it is full: {made}");
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, made);
    fixture.assert_sound().await;
}

async fn what_a_key_created_is_answered_at_the_limit_and_a_refused_key_is_free(fixture: Fixture) {
    fixture.store.set_quotas(at_most(1));
    let key = |key: &str| Some(IdempotencyKey { key: key.to_owned(), fingerprint: [7; 32] });
    let first = fixture.store.create("acme", some(1), key("a")).await.unwrap();
    assert_eq!(fixture.store.create("acme", some(1), key("a")).await.unwrap(), first);
    let refused = fixture.store.create("acme", some(1), key("b")).await;
    assert!(matches!(refused, Err(StoreError::Exceeded(_))), "{refused:?}");
    let access = Access::organization("acme");
    fixture.store.command(&access, first[0].id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    let second = fixture.store.create("acme", some(1), key("b")).await.unwrap();
    assert_ne!(second[0].id, first[0].id);
    fixture.assert_sound().await;
}

async fn what_is_tried_again_counts_and_is_not_refused(fixture: Fixture) {
    let ended = fixture.finished("acme", NewOperation::of_kind("scan"), failed("no", false)).await;
    fixture.store.set_quotas(at_most(2));
    fixture.store.create("acme", some(2), None).await.unwrap();
    let access = Access::organization("acme");
    let again = fixture.store.command(&access, ended.id, OperationCommand::Retry).await.unwrap().unwrap().unwrap();
    assert_eq!(again.status, Status::Pending);
    exceeded(&fixture, "acme", some(1)).await;
    fixture.store.command(&access, ended.id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    exceeded(&fixture, "acme", some(1)).await;
    fixture.assert_sound().await;
}

async fn an_organization_of_its_own_has_its_own_limit(fixture: Fixture) {
    let own = Quota { max_pending: Some(2), ..Quota::default() };
    fixture.store.set_quotas(Quotas { named: BTreeMap::from([("acme".to_owned(), own)]), ..at_most(1) });
    fixture.store.create("acme", some(2), None).await.unwrap();
    assert_eq!(exceeded(&fixture, "acme", some(1)).await, Exceeded::Pending { limit: 2 });
    assert_eq!(exceeded(&fixture, "other", some(2)).await, Exceeded::Pending { limit: 1 });
    fixture.store.set_quotas(Quotas::default());
    fixture.store.create("acme", some(2), None).await.unwrap();
}

async fn creations_come_no_faster_than_the_rate(fixture: Fixture) {
    let rate = Rate { per_second: 4.0, burst: 3.0 };
    fixture.store.set_quotas(everybody(Quota { rate: Some(rate), ..Quota::default() }));
    fixture.store.create("acme", some(3), None).await.unwrap();
    let found = exceeded(&fixture, "acme", some(1)).await;
    assert_eq!(found, Exceeded::Rate { rate, wait: Duration::from_millis(250) });
    fixture.store.create("other", some(1), None).await.unwrap();
    fixture.advance(Duration::from_millis(250));
    fixture.store.create("acme", some(1), None).await.unwrap();
    exceeded(&fixture, "acme", some(1)).await;
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, 4);
}

async fn what_existed_before_uses_nothing_of_the_rate(fixture: Fixture) {
    let rate = Some(Rate { per_second: 0.001, burst: 3.0 });
    fixture.store.set_quotas(everybody(Quota { rate, ..Quota::default() }));
    let key = || Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [1; 32] });
    let unique = || vec![NewOperation { unique_key: Some("u".to_owned()), ..NewOperation::of_kind("scan") }];
    for _ in 0..4 {
        fixture.store.create("acme", some(1), key()).await.unwrap();
        fixture.store.create("acme", unique(), None).await.unwrap();
    }
    fixture.store.create("acme", some(1), None).await.unwrap();
    exceeded(&fixture, "acme", some(1)).await;
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, 3);
}

async fn a_creation_that_is_refused_uses_nothing_of_the_rate(fixture: Fixture) {
    let rate = Some(Rate { per_second: 1.0, burst: 2.0 });
    fixture.store.set_quotas(everybody(Quota { rate, max_pending: Some(1), ..Quota::default() }));
    for _ in 0..3 {
        assert!(matches!(exceeded(&fixture, "acme", some(2)).await, Exceeded::Pending { .. }));
    }
}

pub(crate) async fn an_output_that_is_too_long_ends_the_operation_as_failed(fixture: Fixture) {
    fixture.store.set_quotas(everybody(Quota { max_output: 4, ..Quota::default() }));
    let short = fixture.finished("acme", NewOperation::of_kind("scan"), completed("1234")).await;
    let long = fixture.finished("acme", NewOperation::of_kind("scan"), completed("12345")).await;
    let access = Access::organization("acme");
    assert_eq!(fixture.store.output(&access, short.id).await.unwrap().as_deref(), Some("1234"));
    let long = fixture.store.get(&access, long.id).await.unwrap().unwrap();
    assert_eq!(long.status, Status::Failed);
    assert_eq!(
        long.error_message,
        "the output is 5 bytes long; at most 4 are allowed for an operation of this organization"
    );
    fixture.assert_sound().await;
}

async fn what_longrun_makes_for_itself_is_neither_limited_nor_counted(fixture: Fixture) {
    let quota = Quota { max_pending: Some(2), rate: Some(Rate { per_second: 0.001, burst: 2.0 }), ..Quota::default() };
    let own_kinds = ["notice".to_owned()].into();
    fixture.store.set_quotas(Quotas { own_kinds, ..everybody(quota) });
    let notices = || vec![NewOperation::of_kind("notice"); 3];
    fixture.store.create("acme", notices(), None).await.unwrap();
    fixture.store.create("acme", some(2), None).await.unwrap();
    exceeded(&fixture, "acme", some(1)).await;
    fixture.store.create("acme", notices(), None).await.unwrap();
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, 2, "lists do not count them either");
    let notices = Filter { kind: Some("notice".to_owned()), ..Filter::default() };
    let listed = fixture.store.list(&Access::organization("acme"), &notices, PageRequest::default()).await.unwrap();
    assert_eq!(listed.page.total_count, 6);
    fixture.assert_sound().await;
}

against_both_engines!(
    what_longrun_makes_for_itself_is_neither_limited_nor_counted,
    what_has_not_ended_is_limited,
    creations_of_a_batch_that_fit_are_made_beside_those_that_do_not,
    the_limit_holds_over_all_servers,
    what_a_key_created_is_answered_at_the_limit_and_a_refused_key_is_free,
    what_is_tried_again_counts_and_is_not_refused,
    an_organization_of_its_own_has_its_own_limit,
    creations_come_no_faster_than_the_rate,
    what_existed_before_uses_nothing_of_the_rate,
    a_creation_that_is_refused_uses_nothing_of_the_rate,
    an_output_that_is_too_long_ends_the_operation_as_failed,
);

/// Puts rows into the inbox as an application does.
async fn put(fixture: &Fixture, rows: u32, input: &str) {
    let application = fixture.foreign_postgres().await;
    let sql = "INSERT INTO inbox (organization_id, kind, input) SELECT 'acme', 'scan', $2 FROM generate_series(1, $1)";
    sqlx::query(sql).bind(i32::try_from(rows).unwrap()).bind(input).execute(&application).await.unwrap();
    application.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_in_the_inbox_waits_until_there_is_room() {
    let fixture = fixture(Engine::Postgres).await;
    fixture.store.set_quotas(at_most(3));
    let first = fixture.create("acme", NewOperation::of_kind("scan")).await;
    put(&fixture, 5, "").await;
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(2));
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(0));
    let access = Access::organization("acme");
    fixture.store.command(&access, first.id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(1));
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, 3);
    fixture.store.set_quotas(Quotas::default());
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(2), "none was lost");
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_in_the_inbox_comes_no_faster_than_the_rate() {
    let fixture = fixture(Engine::Postgres).await;
    let rate = Some(Rate { per_second: 2.0, burst: 3.0 });
    fixture.store.set_quotas(everybody(Quota { rate, ..Quota::default() }));
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    put(&fixture, 5, "").await;
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(2), "one was created before");
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(0));
    fixture.advance(Duration::from_millis(500));
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_input_in_the_inbox_that_is_too_long_and_a_kind_of_longruns_own_are_refused() {
    let fixture = fixture(Engine::Postgres).await;
    let own_kinds = ["own".to_owned()].into();
    fixture.store.set_quotas(Quotas { own_kinds, ..everybody(Quota { max_input: 4, ..Quota::default() }) });
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    put(&fixture, 1, "1234").await;
    put(&fixture, 1, "12345").await;
    let foreign = fixture.foreign_postgres().await;
    let own = "INSERT INTO inbox (organization_id, kind) VALUES ('acme', 'own')";
    sqlx::query(own).execute(&foreign).await.unwrap();
    assert_eq!(fixture.store.drain_inbox(100).await.unwrap(), Some(3));
    assert_eq!(not_ended(fixture.store.as_ref(), "acme").await, 2);
    let sql = "SELECT refused FROM inbox ORDER BY refused";
    let refused: Vec<String> = sqlx::query_scalar(sql).fetch_all(&foreign).await.unwrap();
    assert_eq!(
        refused,
        [
            "input: is 5 bytes long; at most 4 are allowed for an operation of this organization",
            "kind: is reserved: longrun itself makes the operations of this kind",
        ]
    );
}
