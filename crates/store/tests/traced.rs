//! The traces that operations were created in are kept with them, on both engines, and go with them.

use std::time::Duration;

use operations::{Access, NewOperation, OperationId, TraceContext};

use crate::support::{Engine, Fixture, against_both_engines, completed, fixture};

against_both_engines!(
    a_context_is_kept_with_the_operation_alone_and_seen_in_its_organization_alone,
    a_context_stays_when_the_operation_has_ended_and_goes_with_it,
    nothing_is_kept_for_a_consumer_that_is_forgotten_and_a_new_one_begins_anew,
);

fn context() -> TraceContext {
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap()
}

fn traced() -> NewOperation {
    NewOperation { trace: Some(context()), ..NewOperation::of_kind("scan") }
}

/// What is known of these operations of `acme`.
async fn known(fixture: &Fixture, organization: &str, ids: &[OperationId]) -> Vec<Option<TraceContext>> {
    let found = fixture.store.trace_contexts(organization, ids).await.unwrap();
    ids.iter().map(|id| found.get(id).copied()).collect()
}

async fn a_context_is_kept_with_the_operation_alone_and_seen_in_its_organization_alone(fixture: Fixture) {
    let with = fixture.create("acme", traced()).await;
    let without = fixture.create("acme", NewOperation::of_kind("scan")).await;
    let labelled =
        fixture.create("acme", NewOperation { labels: [("a".to_owned(), "b".to_owned())].into(), ..traced() }).await;
    let ids = [labelled.id, without.id, with.id];
    assert_eq!(known(&fixture, "acme", &ids).await, [Some(context()), None, Some(context())]);
    assert_eq!(known(&fixture, "other", &ids).await, [None, None, None]);
    assert!(known(&fixture, "acme", &[]).await.is_empty());
    let detail = fixture.store.detail(&Access::organization("acme"), with.id).await.unwrap().unwrap();
    assert!(detail.labels.is_empty() && detail.unique_key.is_none(), "nothing else came along");
    assert_eq!(detail.to_new().trace, None, "another one for the same work belongs to the caller that requests it");
}

async fn a_context_stays_when_the_operation_has_ended_and_goes_with_it(fixture: Fixture) {
    let with = fixture.create("acme", traced()).await;
    let claimed = fixture.claim(&["scan"], 1).await;
    assert_eq!(known(&fixture, "acme", &[with.id]).await, [Some(context())]);
    fixture.settle(&claimed[0], completed("1")).await.unwrap();
    assert_eq!(known(&fixture, "acme", &[with.id]).await, [Some(context())]);
    let delete = store::OperationCommand::Delete;
    fixture.store.command(&Access::organization("acme"), with.id, delete).await.unwrap();
    assert_eq!(known(&fixture, "acme", &[with.id]).await, [None]);
}

async fn nothing_is_kept_for_a_consumer_that_is_forgotten_and_a_new_one_begins_anew(fixture: Fixture) {
    let store = &*fixture.store;
    store.register_consumer("traces").await.unwrap();
    fixture.create("acme", traced()).await;
    fixture.advance(Duration::from_secs(3_600));
    let end = store.end_of_changes("acme").await.unwrap();
    store.commit_offset("traces", "acme", end).await.unwrap();
    fixture.create("acme", traced()).await;
    let unread = async || store.standings().await.unwrap().lags.into_iter().find(|(consumer, _)| consumer == "traces");
    assert!(unread().await.is_some());
    store.forget_consumer("traces").await.unwrap();
    assert_eq!(unread().await, None);
    store.forget_consumer("traces").await.unwrap();
    fixture.advance(Duration::from_secs(7_200));
    // Changes that other transactions of the cluster hold up are not forgotten at once.
    while store.forget_changes(Duration::from_secs(3_600), 100).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    store.register_consumer("traces").await.unwrap();
    assert!(store.uncommitted("traces", "", 10).await.unwrap().is_empty(), "it begins at the end");
}
