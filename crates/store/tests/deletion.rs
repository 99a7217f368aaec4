//! Deleting an organization: its own data goes, in parts between which everything holds, and nothing else does.

use std::collections::BTreeSet;
use std::time::Duration;

use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Resource};
use store::{
    Contents, Digest, Heartbeat, IdempotencyKey, LeaseStatus, NewEvidence, NewToken, Pausable, Scope, Store, StoreError,
};

use super::support::{
    Engine, Fixture, about, against_both_engines, claim_request, completed, failed, fixture, in_project,
};

fn token(organization: &str, hash: u8) -> NewToken {
    NewToken {
        hash: [hash; 32],
        name: "n".to_owned(),
        access: Access::organization(organization),
        scopes: BTreeSet::from([Scope::Admin]),
        expires_at: None,
        instance: None,
    }
}

fn key(key: &str) -> IdempotencyKey {
    IdempotencyKey { key: key.to_owned(), fingerprint: [1; 32] }
}

/// One of everything, in each organization.
async fn fill(fixture: &Fixture, organization: &str, hash: u8) {
    let store = &fixture.store;
    store.create_token(token(organization, hash)).await.unwrap();
    for content in [&b"one"[..], b"two"] {
        let record = NewEvidence { digest: Digest::of(content), size: 3, kind: String::new(), name: String::new() };
        store.put_evidence(organization, record).await.unwrap();
    }
    for n in 0..5 {
        fixture.finished(organization, in_project("done", "p"), completed("{}")).await;
        let again = NewOperation { max_attempts: 1, ..NewOperation::of_kind("broken") };
        fixture.finished(organization, again, failed("no", true)).await;
        store.create(organization, vec![in_project("waiting", "p")], Some(key(&n.to_string()))).await.unwrap();
        let later = store.now().after(Duration::from_secs(3_600));
        fixture.create(organization, NewOperation { run_after: Some(later), ..NewOperation::of_kind("later") }).await;
        fixture.create(organization, NewOperation::of_kind("running")).await;
    }
    store.pause(Pausable::KindOf { organization: organization.to_owned(), kind: "x".to_owned() }).await.unwrap();
}

async fn total(store: &dyn Store, organization: &str) -> u64 {
    let page = PageRequest { page: 0, page_size: 1 };
    let listing = store.list(&Access::organization(organization), &Filter::default(), page).await.unwrap();
    listing.page.total_count
}

fn is_gone<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::OrganizationGone))
}

async fn everything_of_an_organization_goes_and_nothing_else(mut fixture: Fixture) {
    for (organization, hash) in [("acme", 1), ("globex", 2)] {
        fill(&fixture, organization, hash).await;
    }
    let running = fixture.claim(&["running"], 10).await;
    assert_eq!(running.len(), 10);
    let lease = running.iter().find(|claimed| claimed.lease.organization == "acme").unwrap().lease.clone();
    let beat = Heartbeat { lease, progress: Some("half way".to_owned()) };
    fixture.store.heartbeat(vec![beat.clone()], Duration::from_secs(30)).await.unwrap();
    let kinds = fixture.store.kinds(Some("acme")).await.unwrap();
    assert_eq!(kinds, ["broken", "done", "later", "running", "waiting"]);
    assert_eq!(fixture.store.kinds(None).await.unwrap(), kinds);

    // While there is something left to do the deletion is refused, and everything continues.
    let contents = fixture.store.contents("acme").await.unwrap().unwrap();
    let expected = Contents { unfinished: 15, ended: 10, tokens: 1, evidence: 2, evidence_bytes: 6, ..contents };
    assert_eq!(contents, Contents { is_being_deleted: false, ..expected });
    assert_eq!(fixture.store.begin_deletion("acme", false).await.unwrap(), 15);
    assert_eq!(fixture.store.delete_part("acme", 100).await.unwrap(), 0, "it was not begun");
    fixture.store.end_deletion("acme").await.unwrap();
    fixture.create("acme", NewOperation::of_kind("waiting")).await;

    // From its beginning on nothing is created, started or allowed any more.
    assert_eq!(fixture.store.begin_deletion("acme", true).await.unwrap(), 16);
    let create = |key| fixture.store.create("acme", vec![NewOperation::of_kind("waiting")], key);
    assert!(is_gone(create(None).await) && is_gone(create(Some(key("new"))).await));
    assert!(is_gone(fixture.store.create_token(token("acme", 3)).await));
    let record = NewEvidence { digest: Digest::of(b"late"), size: 4, kind: String::new(), name: String::new() };
    assert!(is_gone(fixture.store.put_evidence("acme", record.clone()).await));
    assert!(fixture.store.find_token(&[1; 32]).await.unwrap().unwrap().revoked_at.is_some());
    assert!(fixture.store.find_token(&[2; 32]).await.unwrap().unwrap().revoked_at.is_none());
    let claimed = fixture.store.claim(claim_request(&["waiting"], 100)).await.unwrap();
    assert!(claimed.iter().all(|claimed| claimed.lease.organization == "globex") && claimed.len() == 5);
    assert!(fixture.store.organizations().await.unwrap()[0].is_being_deleted);

    // The process that deletes it dies, and another one continues.
    for _ in 0..3 {
        assert!((1..=4).contains(&fixture.store.delete_part("acme", 4).await.unwrap()));
        fixture.assert_sound().await;
    }
    fixture.store.close().await;
    fixture.store = fixture.reopen().await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    let mut parts = 0;
    while fixture.store.delete_part("acme", 4).await.unwrap() > 0 {
        fixture.assert_sound().await;
        parts += 1;
    }
    assert!(parts > 6, "bounded parts");
    let statuses = fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    assert_eq!(statuses, [LeaseStatus::Lost]);
    fixture.store.end_deletion("acme").await.unwrap();

    fixture.assert_sound().await;
    let names: Vec<String> = fixture.store.organizations().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["globex"]);
    assert_eq!(fixture.store.contents("acme").await.unwrap(), None);
    assert_eq!(fixture.store.kinds(Some("acme")).await.unwrap(), [""; 0]);
    assert_eq!(fixture.store.find_token(&[1; 32]).await.unwrap(), None);
    assert_eq!(fixture.store.evidence("acme", &Digest::of(b"one")).await.unwrap(), None);
    assert!(fixture.store.paused().await.unwrap().iter().all(|paused| !format!("{paused:?}").contains("acme")));
    assert_eq!(total(fixture.store.as_ref(), "acme").await, 0);
    // A call that began earlier does not create it anew.
    assert!(is_gone(fixture.store.put_evidence("acme", record).await));
    assert!(is_gone(fixture.store.create("acme", vec![NewOperation::of_kind("late")], None).await));
    assert!(!fixture.store.pause(Pausable::Organization("acme".to_owned())).await.unwrap());

    // The other organization has what it had.
    let contents = fixture.store.contents("globex").await.unwrap().unwrap();
    assert_eq!(contents, expected);
    assert_eq!(total(fixture.store.as_ref(), "globex").await, 25);

    // The name may be used again, by a caller that knows nothing of the earlier one.
    fixture.store.create_token(token("acme", 4)).await.unwrap();
    let created = fixture.store.create("acme", vec![in_project("done", "p")], Some(key("1"))).await.unwrap();
    assert_eq!(total(fixture.store.as_ref(), "acme").await, 1);
    let found = fixture.store.get(&Access::organization("acme"), created[0].id).await.unwrap();
    assert!(found.is_some_and(|found| found.kind == "done"));
    fixture.assert_sound().await;
}

async fn who_creates_meanwhile_is_told_and_leaves_nothing(fixture: Fixture) {
    fill(&fixture, "acme", 1).await;
    let store = std::sync::Arc::clone(&fixture.store);
    let creating = tokio::spawn(async move {
        let mut made: Vec<OperationId> = Vec::new();
        loop {
            match store.create("acme", vec![NewOperation::of_kind("scan")], None).await {
                Ok(created) => made.push(created[0].id),
                Err(error) => return (made.len(), error),
            }
        }
    });
    while total(fixture.store.as_ref(), "acme").await < 60 {
        tokio::task::yield_now().await;
    }
    fixture.store.begin_deletion("acme", true).await.unwrap();
    let (made, error) = creating.await.unwrap();
    assert!(made > 30 && matches!(error, StoreError::OrganizationGone), "{made} {error:?}");
    while fixture.store.delete_part("acme", 1_000).await.unwrap() > 0 {}
    fixture.store.end_deletion("acme").await.unwrap();
    assert_eq!(total(fixture.store.as_ref(), "acme").await, 0);
    fixture.assert_sound().await;
}

/// More operations of one resource than are counted along its index range.
const MANY: usize = 1_500;

/// Makes an organization with a resource that has many operations, which are all counted.
async fn make_with_resource(fixture: &Fixture, organization: &str, hash: u8) {
    fixture.store.create_token(token(organization, hash)).await.unwrap();
    fixture.store.create(organization, vec![about("scan", "thing", "x"); MANY], None).await.unwrap();
    let resource = Resource { resource_type: "thing".to_owned(), resource_id: "x".to_owned() };
    let filter = Filter { resource: Some(resource), ..Filter::default() };
    let access = Access::organization(organization);
    let listing = fixture.store.list(&access, &filter, PageRequest { page: 1, page_size: 50 }).await.unwrap();
    assert_eq!((listing.page.total_count, listing.entries.len()), (MANY as u64, 50));
    fixture.assert_sound().await;
}

async fn delete(store: &dyn Store, organization: &str) {
    store.begin_deletion(organization, true).await.unwrap();
    while store.delete_part(organization, 1_000).await.unwrap() > 0 {}
    store.end_deletion(organization).await.unwrap();
}

async fn resources_of_an_organization_that_is_made_anew_are_counted_anew(fixture: Fixture) {
    for hash in 1..=3 {
        make_with_resource(&fixture, "acme", hash).await;
        delete(&*fixture.store, "acme").await;
        fixture.assert_sound().await;
    }
}

/// As `longrun organizations delete` does next to a server.
#[tokio::test]
async fn so_are_those_of_one_that_another_process_has_deleted() {
    let fixture = fixture(Engine::Sqlite).await;
    make_with_resource(&fixture, "acme", 1).await;
    let other = fixture.reopen().await;
    delete(&*other, "acme").await;
    other.close().await;
    make_with_resource(&fixture, "acme", 2).await;
}

against_both_engines!(
    resources_of_an_organization_that_is_made_anew_are_counted_anew,
    everything_of_an_organization_goes_and_nothing_else,
    who_creates_meanwhile_is_told_and_leaves_nothing,
);
