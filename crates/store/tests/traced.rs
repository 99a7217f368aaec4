//! The traces that operations were created in are kept with them, on both engines, and go with them.

use operations::{Access, NewOperation, OperationId, TraceContext};

use crate::support::{Engine, Fixture, against_both_engines, completed, fixture};

against_both_engines!(
    a_context_is_kept_with_the_operation_alone_and_seen_in_its_organization_alone,
    a_context_stays_when_the_operation_has_ended_and_goes_with_it,
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
    assert_eq!(detail.to_new().trace, None, "another one for the same work belongs to whoever asks for it");
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
