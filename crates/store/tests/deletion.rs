//! Deleting an organization: its own data goes, in parts between which everything holds, and nothing else does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Resource};
use store::{
    ContentStore, Contents, Digest, EvidenceRemoval, Heartbeat, IdempotencyKey, LeaseStatus, NewEvidence, NewToken,
    Pausable, Reservation, Scope, Store, StoreError, go_on_deleting,
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
    assert_eq!(fixture.store.delete_part("acme", 100).await.unwrap(), None, "it was not begun");
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
        assert!((1..=4).contains(&fixture.store.delete_part("acme", 4).await.unwrap().unwrap()));
        fixture.assert_sound().await;
    }
    fixture.store.close().await;
    fixture.store = fixture.reopen().await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    let mut parts = 0;
    while fixture.store.delete_part("acme", 4).await.unwrap() > Some(0) {
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
    while fixture.store.delete_part("acme", 1_000).await.unwrap() > Some(0) {}
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
    while store.delete_part(organization, 1_000).await.unwrap() > Some(0) {}
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

fn content_in(folder: &tempfile::TempDir) -> ContentStore {
    ContentStore::local(folder.path(), 1_000).unwrap()
}

/// Stores a piece as a server does.
async fn upload(fixture: &Fixture, content: &ContentStore, piece: &'static [u8]) -> Digest {
    let (digest, size) = (Digest::of(piece), piece.len() as u64);
    let reserved = fixture.store.reserve_evidence("acme", digest, size).await.unwrap();
    assert_eq!(reserved, Reservation::Reserved);
    place(content, piece).await;
    let record = NewEvidence { digest, size, kind: String::new(), name: String::new() };
    fixture.store.put_evidence("acme", record).await.unwrap();
    digest
}

/// Brings content to its place.
async fn place(content: &ContentStore, piece: &'static [u8]) {
    let piece = futures_util::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(piece))]);
    content.put("acme", piece).await.unwrap();
}

async fn go_on(fixture: &Fixture, content: &ContentStore, time: Option<Duration>) -> bool {
    go_on_deleting(&*fixture.store, Some(content), "acme", time, |_| ()).await.unwrap()
}

async fn is_whole(fixture: &Fixture, content: &ContentStore, digest: Digest) -> bool {
    let record = fixture.store.evidence("acme", &digest).await.unwrap();
    record.is_some() && content.is_sound("acme", &digest).await.unwrap()
}

async fn a_second_deleter_stops_once_the_first_has_ended_the_deletion(fixture: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let content = content_in(&folder);
    fixture.store.create_token(token("acme", 1)).await.unwrap();
    let digest = upload(&fixture, &content, b"hello").await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    // It pauses after its first part.
    let (arrived, arrives) = tokio::sync::oneshot::channel();
    let (resume, resumes) = std::sync::mpsc::channel::<()>();
    let mut pause = Some((arrived, resumes));
    let (store, same) = (std::sync::Arc::clone(&fixture.store), content.clone());
    let runtime = tokio::runtime::Handle::current();
    let second = tokio::task::spawn_blocking(move || {
        let progress = |_| {
            if let Some((arrived, resumes)) = pause.take() {
                arrived.send(()).unwrap();
                resumes.recv().unwrap();
            }
        };
        runtime.block_on(go_on_deleting(&*store, Some(&same), "acme", None, progress))
    });
    arrives.await.unwrap();

    assert!(go_on(&fixture, &content, None).await);
    assert!(!content.is_sound("acme", &digest).await.unwrap());
    fixture.store.create_token(token("acme", 2)).await.unwrap();
    upload(&fixture, &content, b"hello").await;
    resume.send(()).unwrap();
    assert!(second.await.unwrap().unwrap(), "the deletion that it worked on is done");
    assert!(is_whole(&fixture, &content, digest).await);
    fixture.assert_sound().await;
}

async fn no_deletion_ends_while_another_deleter_removes_evidence(fixture: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let content = content_in(&folder);
    fixture.store.create_token(token("acme", 1)).await.unwrap();
    let digest = upload(&fixture, &content, b"hello").await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    // The second one is about to remove the object.
    let begun = Instant::now();
    let orphans = EvidenceRemoval::Orphans(vec![digest]);
    let removing = fixture.store.begin_removal("acme", orphans.clone()).await.unwrap().unwrap();
    assert!(!go_on(&fixture, &content, Some(Duration::from_millis(300))).await);
    assert!(content.is_sound("acme", &digest).await.unwrap(), "it is left to the one who began");
    assert!(is_gone(fixture.store.create_token(token("acme", 2)).await), "nobody can upload it anew yet");
    assert_eq!(content.remove_begun(&*fixture.store, "acme", removing, begun).await.unwrap(), 1);
    assert!(go_on(&fixture, &content, None).await);

    fixture.store.create_token(token("acme", 3)).await.unwrap();
    upload(&fixture, &content, b"hello").await;
    // The second one goes on, and finds what is there now.
    assert!(content.remove_all(&*fixture.store, "acme", &|| false).await.unwrap());
    assert!(is_whole(&fixture, &content, digest).await);
    fixture.assert_sound().await;

    // One that died in the middle holds the deletion up for ten minutes.
    fixture.store.begin_deletion("acme", true).await.unwrap();
    fixture.store.begin_removal("acme", orphans).await.unwrap().unwrap();
    assert!(!go_on(&fixture, &content, Some(Duration::from_millis(300))).await);
    fixture.advance(Duration::from_secs(601));
    assert!(go_on(&fixture, &content, None).await);
    assert!(!content.is_sound("acme", &digest).await.unwrap());
}

async fn what_is_placed_after_the_deletion_is_removed_and_nothing_that_is_stored_anew(fixture: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let content = content_in(&folder);
    fixture.store.create_token(token("acme", 1)).await.unwrap();
    let digest = Digest::of(b"hello");
    fixture.store.reserve_evidence("acme", digest, 5).await.unwrap();
    fixture.store.begin_deletion("acme", true).await.unwrap();
    assert!(go_on(&fixture, &content, None).await);
    place(&content, b"hello").await;
    let record = NewEvidence { digest, size: 5, kind: String::new(), name: String::new() };
    assert!(is_gone(fixture.store.put_evidence("acme", record).await));
    content.remove_orphan(&*fixture.store, "acme", digest).await.unwrap();
    assert!(!content.is_sound("acme", &digest).await.unwrap());

    // A process that died before it could do so.
    place(&content, b"hello").await;
    assert_eq!(content.remove_orphans(&*fixture.store, Duration::ZERO).await.unwrap(), 1);
    assert!(!content.is_sound("acme", &digest).await.unwrap());

    // The organization is made anew while such a removal is under way, which goes on to hold this content.
    place(&content, b"hello").await;
    let begun = Instant::now();
    let orphans = EvidenceRemoval::Orphans(vec![digest]);
    let removing = fixture.store.begin_removal("acme", orphans).await.unwrap().unwrap();
    fixture.store.create_token(token("acme", 2)).await.unwrap();
    let refused = fixture.store.reserve_evidence("acme", digest, 5).await.unwrap();
    assert_eq!(refused, Reservation::BeingRemoved);
    fixture.assert_sound().await;
    assert_eq!(content.remove_begun(&*fixture.store, "acme", removing, begun).await.unwrap(), 1);
    upload(&fixture, &content, b"hello").await;
    content.remove_orphan(&*fixture.store, "acme", digest).await.unwrap();
    assert!(is_whole(&fixture, &content, digest).await);
    fixture.assert_sound().await;
}

against_both_engines!(
    a_second_deleter_stops_once_the_first_has_ended_the_deletion,
    no_deletion_ends_while_another_deleter_removes_evidence,
    what_is_placed_after_the_deletion_is_removed_and_nothing_that_is_stored_anew,
    resources_of_an_organization_that_is_made_anew_are_counted_anew,
    everything_of_an_organization_goes_and_nothing_else,
    who_creates_meanwhile_is_told_and_leaves_nothing,
);
