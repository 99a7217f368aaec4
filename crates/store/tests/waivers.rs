//! Waivers, and their changes until they have been handled.

use std::time::Duration;

use store::{MAX_WAIVERS, Waiver, WaiverChange, WaiverEvent, WaiverOutcome};

use crate::support::{Engine, Fixture, against_both_engines, fixture, in_project};

against_both_engines!(
    waivers_are_kept_listed_and_removed_in_their_organization,
    what_happened_to_a_waiver_is_told_until_it_is_seen_to,
    there_are_no_more_waivers_than_there_may_be,
    a_deleted_organization_leaves_no_waivers,
);

fn waiver(fixture: &Fixture, finding: &str, time: Option<Duration>) -> Waiver {
    let now = fixture.store.now();
    Waiver {
        id: Waiver::new_id(now),
        policy: "vulnerabilities".to_owned(),
        finding: finding.to_owned(),
        subject: "app".to_owned(),
        reason: "not reachable".to_owned(),
        created_by: "ci".to_owned(),
        created_at: now,
        expires_at: time.map(|time| now.after(time)),
    }
}

async fn keep(fixture: &Fixture, waiver: Waiver) -> Waiver {
    match fixture.store.create_waiver("acme", waiver).await.unwrap() {
        WaiverOutcome::Kept(kept) => kept,
        other => panic!("{other:?}"),
    }
}

/// The changes that are to be handled; they are noted as handled.
async fn seen_to(fixture: &Fixture) -> Vec<(String, WaiverEvent)> {
    let changes: Vec<WaiverChange> = fixture.store.waiver_changes(10).await.unwrap();
    assert_eq!(fixture.store.waiver_changes(10).await.unwrap(), changes, "it is reported until it is noted");
    let found = changes.iter().map(|change| (change.waiver.finding.clone(), change.event)).collect();
    for change in changes {
        fixture.store.note_waiver_change(change).await.unwrap();
    }
    assert_eq!(fixture.store.waiver_changes(10).await.unwrap(), []);
    found
}

async fn waivers_are_kept_listed_and_removed_in_their_organization(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let first = keep(&fixture, waiver(&fixture, "CVE-1", None)).await;
    fixture.advance(Duration::from_secs(1));
    let second = keep(&fixture, waiver(&fixture, "CVE-2", Some(Duration::from_secs(60)))).await;
    assert_eq!(fixture.store.waivers("acme").await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(fixture.store.waivers("other").await.unwrap(), []);
    assert!(!fixture.store.delete_waiver("other", &first.id).await.unwrap());
    assert_eq!(
        fixture.store.create_waiver("other", waiver(&fixture, "", None)).await.unwrap(),
        WaiverOutcome::Missing,
        "there is no such organization"
    );
    assert!(fixture.store.delete_waiver("acme", &first.id).await.unwrap());
    assert!(!fixture.store.delete_waiver("acme", &first.id).await.unwrap());
    assert_eq!(fixture.store.waivers("acme").await.unwrap(), std::slice::from_ref(&second));
    assert!(second.is_live(fixture.store.now()));
    fixture.advance(Duration::from_secs(60));
    assert!(!second.is_live(fixture.store.now()), "the end itself is not a part of it");
}

async fn what_happened_to_a_waiver_is_told_until_it_is_seen_to(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let lasting = keep(&fixture, waiver(&fixture, "lasting", None)).await;
    fixture.advance(Duration::from_secs(1));
    keep(&fixture, waiver(&fixture, "short", Some(Duration::from_secs(60)))).await;
    let of = |finding: &str, event| (finding.to_owned(), event);
    assert_eq!(seen_to(&fixture).await, [of("lasting", WaiverEvent::Added), of("short", WaiverEvent::Added)]);
    fixture.advance(Duration::from_secs(60));
    assert_eq!(seen_to(&fixture).await, [of("short", WaiverEvent::Expired)]);
    fixture.store.delete_waiver("acme", &lasting.id).await.unwrap();
    assert_eq!(seen_to(&fixture).await, [of("lasting", WaiverEvent::Removed)]);
    assert_eq!(fixture.store.waivers("acme").await.unwrap().len(), 1, "what has expired is kept");
}

async fn there_are_no_more_waivers_than_there_may_be(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let values = (0..MAX_WAIVERS).map(|number| format!("('{number}')")).collect::<Vec<_>>().join(", ");
    fixture
        .tamper(&format!(
            "WITH n (n) AS (VALUES {values}) INSERT INTO waivers SELECT 'acme', n, 'p', '', '', 'r', 'c', 0, NULL, 2 FROM n"
        ))
        .await;
    let outcome = fixture.store.create_waiver("acme", waiver(&fixture, "more", None)).await.unwrap();
    assert_eq!(outcome, WaiverOutcome::TooMany(MAX_WAIVERS));
}

async fn a_deleted_organization_leaves_no_waivers(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    keep(&fixture, waiver(&fixture, "CVE-1", None)).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    let late = fixture.store.create_waiver("acme", waiver(&fixture, "late", None)).await.unwrap();
    assert_eq!(late, WaiverOutcome::Missing);
    while fixture.store.delete_part("acme", 10).await.unwrap() > Some(0) {}
    fixture.store.end_deletion("acme").await.unwrap();
    assert_eq!(fixture.store.waivers("acme").await.unwrap(), []);
    assert_eq!(fixture.store.waiver_changes(10).await.unwrap(), []);
}
