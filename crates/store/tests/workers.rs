//! Which worker runs which operations, as the leases say.

use std::time::Duration;

use operations::{Access, NewOperation};
use store::ClaimRequest;

use crate::support::{Engine, Fixture, against_both_engines, fixture, in_project};

against_both_engines!(
    leases_tell_who_runs_what_since_when_and_until_when,
    callers_see_the_leases_of_operations_that_they_may_see,
);

async fn claim(fixture: &Fixture, organization: &str, worker: &str, lease: u64) {
    let request = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: Some(Access::organization(organization)),
        among: None,
        limit: 1,
        worker: worker.to_owned(),
        lease: Duration::from_secs(lease),
    };
    assert_eq!(fixture.store.claim(request).await.unwrap().len(), 1);
}

async fn leases_tell_who_runs_what_since_when_and_until_when(fixture: Fixture) {
    let acme = Access::organization("acme");
    assert_eq!(fixture.store.held_leases(&acme).await.unwrap().held, []);
    let created = fixture.store.create("acme", vec![NewOperation::of_kind("scan"); 3], None).await.unwrap();
    let begin = fixture.store.now();
    claim(&fixture, "acme", "one", 30).await;
    fixture.advance(Duration::from_secs(5));
    claim(&fixture, "acme", "two", 60).await;
    let found = fixture.store.held_leases(&acme).await.unwrap();
    assert!(found.is_complete);
    let seconds = |at: operations::Timestamp| (at.as_millis() - begin.as_millis()) / 1_000;
    let held: Vec<_> = found
        .held
        .iter()
        .map(|held| {
            (
                &*held.worker,
                held.operation,
                &*held.kind,
                held.attempt,
                seconds(held.started_at),
                seconds(held.expires_at),
            )
        })
        .collect();
    assert_eq!(held, [("one", created[0].id, "scan", 1, 0, 30), ("two", created[1].id, "scan", 1, 5, 65)]);
}

async fn callers_see_the_leases_of_operations_that_they_may_see(fixture: Fixture) {
    for project in ["p", "q"] {
        fixture.store.create("acme", vec![in_project("scan", project)], None).await.unwrap();
    }
    fixture.store.create("other", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    for (organization, worker) in [("acme", "of p"), ("acme", "of q"), ("other", "elsewhere")] {
        claim(&fixture, organization, worker, 30).await;
    }
    let cases = [
        (Access::organization("acme"), &["of p", "of q"][..]),
        (Access::projects("acme", ["q"]), &["of q"]),
        (Access::projects("acme", ["none"]), &[]),
        (Access::organization("other"), &["elsewhere"]),
        (Access::organization("nobody"), &[]),
    ];
    for (access, workers) in cases {
        let found = fixture.store.held_leases(&access).await.unwrap();
        let names: Vec<&str> = found.held.iter().map(|held| &*held.worker).collect();
        assert_eq!(names, workers, "{access:?}");
    }
}
