//! What is known of evidence: capacity for it, its list, and how it is removed.

use std::sync::Arc;
use std::time::Duration;

use operations::Timestamp;
use store::{
    Digest, EvidenceAges, EvidenceFilter, EvidenceKept, EvidenceRemoval, EvidenceRetention, EvidenceTotals,
    NewEvidence, Quota, Quotas, Removing, Reservation, Waiver,
};

use crate::support::{Engine, Fixture, about, against_both_engines, completed, fixture, in_project};

against_both_engines!(
    what_is_reserved_is_found_once_it_is_put,
    a_reservation_that_is_given_back_counts_no_more,
    an_organization_has_no_more_bytes_than_it_may_whoever_stores,
    the_list_is_newest_first_and_goes_on_where_a_page_ended,
    what_an_unfinished_operation_refers_to_is_not_removed,
    what_a_waiver_names_is_not_removed_while_that_has_an_effect,
    what_is_being_removed_is_neither_found_nor_stored_until_it_is_gone,
    a_removal_that_was_taken_up_by_another_is_not_ended_by_the_first,
    what_is_old_goes_and_what_is_referred_to_or_used_stays,
    what_broke_off_is_found_by_its_age,
    objects_without_a_row_are_claimed_before_they_go,
    a_deleted_organization_leaves_no_evidence,
);

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn new(content: &str, kind: &str, name: &str) -> NewEvidence {
    let (kind, name) = (kind.to_owned(), name.to_owned());
    NewEvidence { digest: Digest::of(content.as_bytes()), size: content.len() as u64, kind, name }
}

/// Stores a piece as a server does, without its content.
async fn put(fixture: &Fixture, new: NewEvidence) -> Digest {
    let digest = new.digest;
    let reserved = fixture.store.reserve_evidence("acme", digest, new.size).await.unwrap();
    assert_eq!(reserved, Reservation::Reserved);
    fixture.store.put_evidence("acme", new).await.unwrap();
    digest
}

async fn is_there(fixture: &Fixture, digest: Digest) -> bool {
    fixture.store.evidence("acme", &digest).await.unwrap().is_some()
}

async fn totals(fixture: &Fixture) -> (u64, u64) {
    let EvidenceTotals { pieces, bytes } = fixture.store.evidence_totals("acme").await.unwrap();
    (pieces, bytes)
}

fn kept_for(after_use: Option<Duration>, unreferenced: Option<Duration>) -> EvidenceRetention {
    EvidenceRetention { after_use, unreferenced }
}

/// The pieces that are old enough now, as the walk says; each is still old enough when the removal begins.
async fn aged(fixture: &Fixture, retention: EvidenceRetention) -> Vec<Digest> {
    let ages = EvidenceAges::at(fixture.store.now(), retention);
    let all = fixture.store.evidence_standings("acme", None, 100).await.unwrap();
    let (over, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|standing| standing.is_over(&ages));
    let digests: Vec<Digest> = over.into_iter().map(|standing| standing.digest).collect();
    let others = others.into_iter().map(|standing| standing.digest).collect();
    let none = fixture.store.begin_removal("acme", EvidenceRemoval::Aged(others, ages)).await.unwrap().unwrap();
    assert_eq!(none.digests, [], "what the walk does not say is over is not removed");
    digests
}

async fn what_is_reserved_is_found_once_it_is_put(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let piece = new("hello", "STRING", "greeting");
    assert_eq!(fixture.store.reserve_evidence("acme", piece.digest, 5).await.unwrap(), Reservation::Reserved);
    assert_eq!(fixture.store.reserve_evidence("acme", piece.digest, 5).await.unwrap(), Reservation::Reserved);
    assert!(!is_there(&fixture, piece.digest).await);
    assert_eq!(totals(&fixture).await, (1, 5), "content that is being uploaded is counted, and once");
    fixture.store.put_evidence("acme", piece.clone()).await.unwrap();
    let record = fixture.store.evidence("acme", &piece.digest).await.unwrap().unwrap();
    assert_eq!((record.size, record.kind.as_str(), record.name.as_str()), (5, "STRING", "greeting"));
    assert_eq!(fixture.store.evidence("other", &piece.digest).await.unwrap(), None);
    fixture.store.put_evidence("acme", new("hello", "SARIF", "other")).await.unwrap();
    assert_eq!(
        fixture.store.evidence("acme", &piece.digest).await.unwrap(),
        Some(record.clone()),
        "it keeps its record"
    );
    fixture.advance(DAY);
    let again = fixture.store.reserve_evidence("acme", piece.digest, 5).await.unwrap();
    let last_used_at = fixture.store.now();
    assert_eq!(again, Reservation::Stored(store::EvidenceRecord { last_used_at, ..record }));
    assert_eq!(totals(&fixture).await, (1, 5));
    fixture.assert_sound().await;
}

async fn a_reservation_that_is_given_back_counts_no_more(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let (piece, store) = (new("hello", "STRING", "greeting"), &fixture.store);
    store.end_reservation("acme", piece.digest).await.unwrap();
    assert_eq!(store.reserve_evidence("acme", piece.digest, 5).await.unwrap(), Reservation::Reserved);
    store.end_reservation("other", piece.digest).await.unwrap();
    assert_eq!(totals(&fixture).await, (1, 5));
    store.end_reservation("acme", piece.digest).await.unwrap();
    assert_eq!(totals(&fixture).await, (0, 0));
    store.put_evidence("acme", piece.clone()).await.unwrap();
    assert_eq!(totals(&fixture).await, (1, 5), "another caller was uploading it");
    store.end_reservation("acme", piece.digest).await.unwrap();
    assert!(is_there(&fixture, piece.digest).await, "what is stored stays");
    assert_eq!(totals(&fixture).await, (1, 5));
    fixture.assert_sound().await;
}

async fn an_organization_has_no_more_bytes_than_it_may_whoever_stores(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let quotas = || Quotas { everybody: Quota { max_evidence: Some(50), ..Quota::default() }, ..Quotas::default() };
    let second = fixture.second_server().await;
    for store in [&fixture.store, &second] {
        store.set_quotas(quotas());
    }
    let attempts = (0..20).map(|number| {
        let store = Arc::clone(if number % 2 == 0 { &fixture.store } else { &second });
        tokio::spawn(async move {
            let content = format!("{number:010}");
            store.reserve_evidence("acme", Digest::of(content.as_bytes()), 10).await.unwrap()
        })
    });
    let mut reserved = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Reservation::Reserved => reserved += 1,
            other => assert_eq!(other, Reservation::Full { limit: 50, used: 50 }),
        }
    }
    assert_eq!(reserved, 5, "as many as there is capacity for");
    assert_eq!(totals(&fixture).await, (5, 50));
    let held = fixture.store.evidence_standings("acme", None, 1).await.unwrap()[0].digest;
    let again = fixture.store.reserve_evidence("acme", held, 10).await.unwrap();
    assert_eq!(again, Reservation::Reserved, "what has its reservation needs no more capacity");
    fixture.assert_sound().await;
}

async fn the_list_is_newest_first_and_goes_on_where_a_page_ended(fixture: Fixture) {
    let mut digests = Vec::new();
    for number in 0..5 {
        let kind = if number % 2 == 0 { "SARIF" } else { "STRING" };
        digests.push(put(&fixture, new(&number.to_string(), kind, &format!("n{number}"))).await);
        fixture.advance(Duration::from_secs(1));
    }
    let evaluated = about("evidence_evaluation", "evidence", &digests[3].to_string());
    fixture.finished("acme", evaluated.clone(), completed("{}")).await;
    let newest = fixture.create("acme", evaluated).await;
    let list = async |filter: &EvidenceFilter, after: Option<(Timestamp, String)>, limit| {
        let listed = fixture.store.list_evidence("acme", filter, after, limit).await.unwrap();
        listed.into_iter().map(|listed| (listed.record, listed.last_operation)).collect::<Vec<_>>()
    };
    let all = EvidenceFilter::default();
    let page = list(&all, None, 2).await;
    assert_eq!(page.iter().map(|(record, _)| record.digest).collect::<Vec<_>>(), [digests[4], digests[3]]);
    assert_eq!(page.iter().map(|(_, last)| *last).collect::<Vec<_>>(), [None, Some(newest.id)]);
    let place = (page[1].0.created_at, page[1].0.digest.to_string());
    let rest = list(&all, Some(place), 10).await;
    assert_eq!(rest.iter().map(|(record, _)| record.digest).collect::<Vec<_>>(), [digests[2], digests[1], digests[0]]);
    let of = async |filter: EvidenceFilter| {
        list(&filter, None, 10).await.into_iter().map(|(record, _)| record.digest).collect::<Vec<_>>()
    };
    assert_eq!(of(EvidenceFilter { kind: "STRING".to_owned(), ..all.clone() }).await, [digests[3], digests[1]]);
    assert_eq!(of(EvidenceFilter { name: "n2".to_owned(), ..all.clone() }).await, [digests[2]]);
    let digest_prefix = digests[1].to_string()[..20].to_owned();
    assert_eq!(of(EvidenceFilter { digest_prefix, ..all.clone() }).await, [digests[1]]);
    let digest_prefix = "sha256:%".to_owned();
    assert_eq!(of(EvidenceFilter { digest_prefix, ..all }).await, [], "it is a text and no pattern");
}

async fn what_an_unfinished_operation_refers_to_is_not_removed(fixture: Fixture) {
    let digest = put(&fixture, new("hello", "", "")).await;
    let evaluation = about("scan", "evidence", &digest.to_string());
    fixture.create("acme", evaluation).await;
    let one = EvidenceRemoval::One(digest);
    assert_eq!(fixture.store.begin_removal("acme", one.clone()).await.unwrap(), Err(EvidenceKept::InUse));
    fixture.advance(DAY * 400);
    assert_eq!(aged(&fixture, kept_for(Some(DAY), Some(DAY))).await, []);
    let claimed = fixture.claim(&["scan"], 1).await;
    fixture.settle(&claimed[0], completed("{}")).await.unwrap();
    let removing = fixture.store.begin_removal("acme", one.clone()).await.unwrap().unwrap();
    assert_eq!(fixture.store.end_removal("acme", removing).await.unwrap(), 1);
    assert_eq!(fixture.store.begin_removal("acme", one).await.unwrap(), Err(EvidenceKept::NotFound));
    assert_eq!(totals(&fixture).await, (0, 0));
    fixture.assert_sound().await;
}

async fn what_a_waiver_names_is_not_removed_while_that_has_an_effect(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let digest = put(&fixture, new("vex", "OPENVEX", "")).await;
    let one = EvidenceRemoval::One(digest);
    let now = fixture.store.now();
    let waiver = Waiver {
        id: Waiver::new_id(now),
        policy: "vulnerabilities".to_owned(),
        finding: format!("vex:{digest}"),
        subject: "app".to_owned(),
        reason: "by its document".to_owned(),
        created_by: "ci".to_owned(),
        created_at: now,
        expires_at: Some(now.after(DAY * 500)),
    };
    fixture.store.create_waiver("acme", waiver).await.unwrap();
    for days in [0, 400] {
        fixture.advance(DAY * days);
        assert_eq!(fixture.store.begin_removal("acme", one.clone()).await.unwrap(), Err(EvidenceKept::InUse));
        assert_eq!(aged(&fixture, kept_for(Some(DAY), Some(DAY))).await, []);
        for change in fixture.store.waiver_changes(10).await.unwrap() {
            fixture.store.note_waiver_change(change).await.unwrap();
        }
    }
    fixture.advance(DAY * 101);
    for change in fixture.store.waiver_changes(10).await.unwrap() {
        fixture.store.note_waiver_change(change).await.unwrap();
    }
    assert_eq!(aged(&fixture, kept_for(None, Some(DAY))).await, [digest], "it has expired");
    assert!(fixture.store.begin_removal("acme", one).await.unwrap().is_ok());
}

async fn what_is_being_removed_is_neither_found_nor_stored_until_it_is_gone(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let digest = put(&fixture, new("hello", "", "")).await;
    let removing = fixture.store.begin_removal("acme", EvidenceRemoval::One(digest)).await.unwrap().unwrap();
    assert!(!is_there(&fixture, digest).await);
    assert_eq!(fixture.store.reserve_evidence("acme", digest, 5).await.unwrap(), Reservation::BeingRemoved);
    assert!(fixture.store.put_evidence("acme", new("hello", "", "")).await.is_err());
    assert!(!fixture.store.touch_evidence("acme", digest, "x").await.unwrap());
    // Whoever else removes it could end the removal while the first one still removes the object.
    let again = EvidenceRemoval::One(digest);
    assert_eq!(fixture.store.begin_removal("acme", again.clone()).await.unwrap(), Err(EvidenceKept::BeingRemoved));
    fixture.store.end_removal("acme", removing).await.unwrap();
    put(&fixture, new("hello", "", "")).await;
    assert!(is_there(&fixture, digest).await);
    // A removal that broke off is resumed by the caller that repeats the request.
    fixture.store.begin_removal("acme", again.clone()).await.unwrap().unwrap();
    fixture.advance(Duration::from_secs(601));
    let removing = fixture.store.begin_removal("acme", again).await.unwrap().unwrap();
    assert_eq!(fixture.store.end_removal("acme", removing).await.unwrap(), 1);
    fixture.assert_sound().await;
}

async fn a_removal_that_was_taken_up_by_another_is_not_ended_by_the_first(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let digest = put(&fixture, new("hello", "", "")).await;
    let first = fixture.store.begin_removal("acme", EvidenceRemoval::One(digest)).await.unwrap().unwrap();
    assert_eq!(aged(&fixture, kept_for(None, None)).await, [], "it is left to the process that began it");
    fixture.advance(Duration::from_secs(601));
    assert_eq!(aged(&fixture, kept_for(None, None)).await, [digest]);
    let ages = EvidenceAges::at(fixture.store.now(), kept_for(None, None));
    let second = fixture.store.begin_removal("acme", EvidenceRemoval::Aged(vec![digest], ages)).await.unwrap().unwrap();
    assert_eq!(second.digests, [digest]);
    assert_eq!(fixture.store.end_removal("acme", first).await.unwrap(), 0);
    assert_eq!(fixture.store.reserve_evidence("acme", digest, 5).await.unwrap(), Reservation::BeingRemoved);
    assert_eq!(fixture.store.end_removal("acme", second).await.unwrap(), 1);
}

async fn what_is_old_goes_and_what_is_referred_to_or_used_stays(fixture: Fixture) {
    let referred_to = put(&fixture, new("referred to", "", "")).await;
    let alone = put(&fixture, new("alone", "", "")).await;
    let used = put(&fixture, new("used", "", "")).await;
    fixture.finished("acme", about("scan", "evidence", &referred_to.to_string()), completed("{}")).await;
    fixture.advance(DAY * 10);
    assert!(fixture.store.touch_evidence("acme", used, "report").await.unwrap());
    assert_eq!(aged(&fixture, kept_for(None, None)).await, [], "without a retention everything stays");
    assert_eq!(aged(&fixture, kept_for(Some(DAY * 10), Some(DAY * 10))).await, [], "a use may be unnoted for a while");
    fixture.advance(Duration::from_secs(2 * 3_600));
    let mut both = [referred_to, alone];
    both.sort_by_key(ToString::to_string);
    assert_eq!(aged(&fixture, kept_for(Some(DAY * 10), None)).await, both);
    assert_eq!(aged(&fixture, kept_for(None, Some(DAY * 10))).await, [alone]);
    let record = fixture.store.evidence("acme", &used).await.unwrap().unwrap();
    assert_eq!(record.name, "report", "its first name is kept");
}

async fn what_broke_off_is_found_by_its_age(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let digest = Digest::of(b"hello");
    fixture.store.reserve_evidence("acme", digest, 5).await.unwrap();
    assert_eq!(aged(&fixture, kept_for(None, None)).await, []);
    fixture.advance(Duration::from_secs(3_601));
    assert_eq!(aged(&fixture, kept_for(None, None)).await, [digest]);
    fixture.store.reserve_evidence("acme", digest, 5).await.unwrap();
    assert_eq!(aged(&fixture, kept_for(None, None)).await, [], "another caller uploads it again");
}

async fn objects_without_a_row_are_claimed_before_they_go(fixture: Fixture) {
    let stored = put(&fixture, new("hello", "", "")).await;
    let orphan = Digest::of(b"orphan");
    let what = EvidenceRemoval::Orphans(vec![stored, orphan]);
    let removing = fixture.store.begin_removal("acme", what).await.unwrap().unwrap();
    assert_eq!(removing.digests, [orphan]);
    assert_eq!(fixture.store.reserve_evidence("acme", orphan, 6).await.unwrap(), Reservation::BeingRemoved);
    fixture.assert_sound().await;
    assert_eq!(fixture.store.end_removal("acme", removing).await.unwrap(), 1);
    assert_eq!(totals(&fixture).await, (1, 5));
    fixture.assert_sound().await;
}

async fn a_deleted_organization_leaves_no_evidence(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    put(&fixture, new("hello", "", "")).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    let late = fixture.store.reserve_evidence("acme", Digest::of(b"late"), 4).await;
    assert!(matches!(late, Err(store::StoreError::OrganizationGone)));
    fixture.assert_sound().await;
    while fixture.store.delete_part("acme", 10).await.unwrap() > Some(0) {}
    fixture.store.end_deletion("acme").await.unwrap();
    assert_eq!(totals(&fixture).await, (0, 0));
    let removing = Removing { digests: vec![Digest::of(b"hello")], since: fixture.store.now() };
    assert_eq!(fixture.store.end_removal("acme", removing).await.unwrap(), 0);
}
