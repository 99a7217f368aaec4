//! Concurrency keys: never more than the limit of a key at a time, and nothing waits for a slot that is free.

use std::time::Duration;

use crate::support::*;
use operations::{Access, Concurrency, NewOperation, OperationId, Status};
use store::{BulkBatch, LeaseRef, Limits, Lost, OperationCommand, Quotas, RunningLimits, Start};

fn keyed(key: &str, limit: u32) -> NewOperation {
    let concurrency = Some(Concurrency { key: key.to_owned(), limit });
    NewOperation { concurrency, ..NewOperation::of_kind("scan") }
}

/// The operations that a claim gets.
async fn claimed(fixture: &Fixture, limit: u32) -> Vec<OperationId> {
    fixture.claim(&["scan", "push"], limit).await.iter().map(|claimed| claimed.operation.id).collect()
}

async fn at_most_so_many_of_a_key_run_and_the_next_follows_when_one_ends(fixture: Fixture) {
    let mut created = Vec::new();
    for _ in 0..4 {
        created.push(fixture.create("acme", keyed("prod", 2)).await.id);
    }
    let first = fixture.claim(&["scan"], 10).await;
    assert_eq!(first.iter().map(|claimed| claimed.operation.id).collect::<Vec<_>>(), created[..2]);
    assert!(fixture.claim(&["scan"], 10).await.is_empty(), "two run");
    fixture.settle(&first[1], completed("")).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [created[2]]);
    fixture.settle(&first[0], failed("broken", false)).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [created[3]]);
    fixture.assert_sound().await;
}

async fn what_waits_for_its_key_keeps_nothing_behind_it_from_starting(fixture: Fixture) {
    let blocked: Vec<NewOperation> = (0..500).map(|_| NewOperation { priority: 50, ..keyed("prod", 1) }).collect();
    let blocked = fixture.store.create("acme", blocked, None).await.unwrap();
    let other = fixture.create("acme", keyed("stage", 1)).await.id;
    let plain = fixture.create("acme", NewOperation::of_kind("scan")).await.id;
    assert_eq!(claimed(&fixture, 3).await, [blocked[0].id, other, plain]);
    fixture.assert_sound().await;
}

async fn a_key_is_of_its_organization_and_of_all_kinds(fixture: Fixture) {
    let first = fixture.create("acme", keyed("prod", 1)).await.id;
    let push = NewOperation { kind: "push".to_owned(), ..keyed("prod", 1) };
    let second = fixture.create("acme", push).await.id;
    let other = fixture.create("umbrella", keyed("prod", 1)).await.id;
    let mut together = claimed(&fixture, 10).await;
    together.sort();
    let mut expected = [first, other];
    expected.sort();
    assert_eq!(together, expected);
    let access = Access::organization("acme");
    let outcome = fixture.store.command(&access, first, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome.status, Status::Running, "it is asked to stop, and has its place until it does");
    assert!(claimed(&fixture, 10).await.is_empty());
    fixture.store.end_overdue_cancels(Duration::ZERO, 10).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [second]);
    fixture.assert_sound().await;
}

async fn priority_goes_before_age_among_those_that_wait(fixture: Fixture) {
    let first = fixture.claim_one_of(keyed("prod", 1)).await;
    let low = fixture.create("acme", keyed("prod", 1)).await.id;
    let high = fixture.create("acme", NewOperation { priority: 5, ..keyed("prod", 1) }).await.id;
    fixture.settle(&first, completed("")).await.unwrap();
    let next = fixture.claim(&["scan"], 10).await.remove(0);
    assert_eq!(next.operation.id, high);
    fixture.settle(&next, completed("")).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [low]);
    fixture.assert_sound().await;
}

async fn who_waits_for_another_attempt_gives_its_place_up(fixture: Fixture) {
    let first = fixture.claim_one_of(keyed("prod", 1)).await;
    let second = fixture.create("acme", keyed("prod", 1)).await.id;
    fixture.settle(&first, failed("try again", true)).await.unwrap();
    let next = fixture.claim(&["scan"], 10).await.remove(0);
    assert_eq!(next.operation.id, second);
    fixture.advance(Duration::from_secs(60));
    assert!(claimed(&fixture, 10).await.is_empty(), "it is due, and waits");
    fixture.assert_sound().await;
    // An attempt that is released keeps its slot.
    fixture.store.release(vec![next.lease.clone()]).await.unwrap().remove(0).unwrap();
    let next = fixture.claim(&["scan"], 10).await.remove(0);
    assert_eq!(next.operation.id, second);
    fixture.settle(&next, completed("")).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [first.operation.id]);
    fixture.assert_sound().await;
}

async fn a_lease_that_ran_out_counts_until_it_is_taken_up(fixture: Fixture) {
    let first = fixture.claim_one_of(keyed("prod", 1)).await;
    let second = fixture.create("acme", keyed("prod", 1)).await.id;
    fixture.advance(Duration::from_secs(31));
    assert!(claimed(&fixture, 10).await.is_empty());
    let lost: Vec<LeaseRef> =
        fixture.store.lost_leases(Lost::Expired, 10).await.unwrap().into_iter().map(|lost| lost.lease).collect();
    assert_eq!(lost, [LeaseRef { expired_at: Some(first.lease_expires_at), ..first.lease }]);
    fixture.store.lose(lost.into_iter().map(|lease| (lease, Duration::from_secs(5))).collect()).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [second]);
    fixture.assert_sound().await;
}

async fn what_waits_can_be_cancelled_and_what_failed_waits_again_when_it_is_retried(fixture: Fixture) {
    let access = Access::organization("acme");
    let first = fixture.claim_one_of(keyed("prod", 1)).await;
    let waits = fixture.create("acme", keyed("prod", 1)).await.id;
    let later = fixture.store.now().after(Duration::from_secs(10));
    let later = fixture.create("acme", NewOperation { run_after: Some(later), ..keyed("prod", 1) }).await.id;
    for id in [waits, later] {
        let ended = fixture.store.command(&access, id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
        assert_eq!(ended.status, Status::Failed);
    }
    let again = fixture.store.command(&access, waits, OperationCommand::Retry).await.unwrap().unwrap().unwrap();
    assert_eq!(again.status, Status::Pending);
    assert!(claimed(&fixture, 10).await.is_empty());
    fixture.assert_sound().await;
    fixture.settle(&first, completed("")).await.unwrap();
    // An operation that holds the slot and does not run yet gives it up when it is cancelled.
    let last = fixture.create("acme", keyed("prod", 1)).await.id;
    fixture.store.command(&access, waits, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    assert_eq!(claimed(&fixture, 10).await, [last]);
    fixture.assert_sound().await;
}

async fn the_limit_of_the_newest_creation_holds(fixture: Fixture) {
    let first = fixture.claim_one_of(keyed("prod", 1)).await;
    let second = fixture.create("acme", keyed("prod", 1)).await.id;
    let third = fixture.create("acme", keyed("prod", 3)).await.id;
    assert_eq!(claimed(&fixture, 10).await, [second, third]);
    let fourth = fixture.create("acme", keyed("prod", 1)).await.id;
    fixture.settle(&first, completed("")).await.unwrap();
    assert!(claimed(&fixture, 10).await.is_empty(), "two run that began when three might");
    fixture.assert_sound().await;
    let access = Access::organization("acme");
    for id in [second, third] {
        fixture.store.command(&access, id, OperationCommand::Cancel).await.unwrap();
    }
    fixture.store.end_overdue_cancels(Duration::ZERO, 10).await.unwrap();
    assert_eq!(claimed(&fixture, 10).await, [fourth]);
    fixture.assert_sound().await;
    for in_bulk in [false, true] {
        // A retry of an older operation raises no limit,
        let old = fixture.claim_one_of(keyed("stage", 3)).await;
        fixture.settle(&old, failed("broken", false)).await.unwrap();
        let newest = fixture.claim_one_of(keyed("stage", 1)).await;
        let waits = fixture.create("acme", keyed("stage", 1)).await.id;
        fixture.retry(old.operation.id, in_bulk).await;
        assert!(claimed(&fixture, 10).await.is_empty(), "in bulk: {in_bulk}");
        fixture.settle(&newest, completed("")).await.unwrap();
        let again = fixture.claim(&["scan"], 10).await.remove(0);
        assert_eq!(again.operation.id, old.operation.id, "in bulk: {in_bulk}");
        fixture.settle(&again, completed("")).await.unwrap();
        let last = fixture.claim(&["scan"], 10).await.remove(0);
        assert_eq!(last.operation.id, waits);
        fixture.settle(&last, completed("")).await.unwrap();
        // and lowers none.
        let old = fixture.claim_one_of(keyed("stage", 1)).await;
        fixture.settle(&old, failed("broken", false)).await.unwrap();
        let newest = fixture.claim_one_of(keyed("stage", 2)).await;
        fixture.retry(old.operation.id, in_bulk).await;
        let again = fixture.claim(&["scan"], 10).await.remove(0);
        assert_eq!(again.operation.id, old.operation.id, "in bulk: {in_bulk}");
        for claimed in [newest, again] {
            fixture.settle(&claimed, completed("")).await.unwrap();
        }
        fixture.assert_sound().await;
    }
}

async fn servers_that_claim_at_once_start_no_more_than_the_limit(fixture: Fixture) {
    let other = fixture.second_server().await;
    let stores = [fixture.store.clone(), other];
    let mut creations = Vec::new();
    for store in &stores {
        for _ in 0..10 {
            let store = store.clone();
            creations.push(tokio::spawn(async move {
                for _ in 0..3 {
                    store.create("acme", vec![keyed("prod", 3), keyed("stage", 1)], None).await.unwrap();
                }
            }));
        }
    }
    for creation in creations {
        creation.await.unwrap();
    }
    fixture.assert_sound().await;
    let mut ended = 0;
    while ended < 120 {
        let claims = stores.iter().map(|store| store.claim(claim_request(&["scan"], 50)));
        let running: Vec<_> =
            futures_util::future::join_all(claims).await.into_iter().flat_map(Result::unwrap).collect();
        assert!((1..=4).contains(&running.len()), "three of the one, one of the other: {}", running.len());
        ended += running.len();
        let ends = running.iter().enumerate().map(|(place, claimed)| {
            let settlement =
                store::Settlement { lease: claimed.lease.clone(), outcome: completed(""), retry_after: Duration::ZERO };
            stores[place % 2].settle(vec![settlement])
        });
        for end in futures_util::future::join_all(ends).await {
            end.unwrap().remove(0).unwrap();
        }
    }
    fixture.assert_sound().await;
}

/// At most this number of the kind scan may run in every organization.
fn at_most(scans: u32) -> Quotas {
    let everybody = [("scan".to_owned(), scans)].into();
    Quotas { running: RunningLimits { everybody, ..RunningLimits::default() }, ..Quotas::default() }
}

async fn at_most_so_many_of_a_kind_run_in_each_organization(fixture: Fixture) {
    fixture.store.set_quotas(at_most(2));
    for organization in ["acme", "umbrella"] {
        let many = ["scan", "scan", "scan", "push"].map(NewOperation::of_kind).to_vec();
        fixture.store.create(organization, many, None).await.unwrap();
    }
    let running = fixture.claim(&["scan", "push"], 100).await;
    let mut of: Vec<(&str, &str)> =
        running.iter().map(|claimed| (claimed.lease.organization.as_str(), claimed.operation.kind.as_str())).collect();
    of.sort_unstable();
    let expected = ["acme", "umbrella"].map(|of| [(of, "push"), (of, "scan"), (of, "scan")]).concat();
    assert_eq!(of, expected);
    assert!(fixture.claim(&["scan"], 100).await.is_empty());
    let scan = running.iter().find(|claimed| claimed.operation.kind == "scan").unwrap();
    fixture.settle(scan, completed("")).await.unwrap();
    let next = fixture.claim(&["scan"], 100).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].lease.organization, scan.lease.organization);
    fixture.assert_sound().await;
}

async fn a_kind_of_which_as_many_run_as_may_takes_no_organizations_turn(fixture: Fixture) {
    fixture.store.set_quotas(at_most(1));
    let scans = || (0..20).map(|_| NewOperation::of_kind("scan")).collect::<Vec<_>>();
    for organization in ["a", "b", "c", "d"] {
        fixture.store.create(organization, scans(), None).await.unwrap();
    }
    assert_eq!(fixture.claim(&["scan"], 100).await.len(), 4);
    assert!(fixture.claim(&["scan"], 1).await.is_empty());
    fixture.store.create("e", scans(), None).await.unwrap();
    // Claims of one: an organization that could start nothing would use up the scheduling round.
    assert_eq!(fixture.claim(&["scan"], 1).await[0].lease.organization, "e");
    fixture.assert_sound().await;
}

async fn an_organization_has_limits_of_its_own_and_0_is_none(fixture: Fixture) {
    fixture.store.set_quotas(at_most(1));
    let many = || vec![NewOperation::of_kind("scan"); 5];
    for organization in ["acme", "umbrella"] {
        fixture.store.create(organization, many(), None).await.unwrap();
    }
    let limits = |most| Limits { max_running: [("scan".to_owned(), most)].into(), ..Limits::default() };
    assert!(fixture.store.set_limits("acme", limits(3)).await.unwrap());
    assert_eq!(fixture.claim(&["scan"], 100).await.len(), 4);
    assert!(fixture.store.set_limits("acme", limits(0)).await.unwrap());
    assert_eq!(fixture.claim(&["scan"], 100).await.len(), 2);
    fixture.assert_sound().await;
}

async fn what_is_limited_does_not_start_with_its_creation(fixture: Fixture) {
    fixture.store.set_quotas(at_most(1));
    for new in [NewOperation::of_kind("scan"), NewOperation { kind: "push".to_owned(), ..keyed("prod", 1) }] {
        let start = Start::new("test", Duration::from_secs(30), |_| panic!("it started"));
        let created = fixture.store.create_one("acme", new, None, Some(start)).await.unwrap();
        assert_eq!(created.status, Status::Pending);
    }
    assert_eq!(claimed(&fixture, 10).await.len(), 2);
    fixture.assert_sound().await;
}

async fn servers_that_claim_at_once_start_no_more_of_a_kind_than_may_run(fixture: Fixture) {
    let other = fixture.second_server().await;
    let stores = [fixture.store.clone(), other];
    stores.iter().for_each(|store| store.set_quotas(at_most(3)));
    fixture.store.create("acme", vec![NewOperation::of_kind("scan"); 60], None).await.unwrap();
    let mut ended = 0;
    while ended < 60 {
        // For all organizations and for this one: two ways, and several of each at a time.
        let of_one =
            store::ClaimRequest { access: Some(Access::organization("acme")), ..claim_request(&["scan", "push"], 50) };
        let requests = [claim_request(&["scan"], 50), of_one];
        let claims = stores.iter().flat_map(|store| requests.iter().map(|request| store.claim(request.clone())));
        let running: Vec<_> =
            futures_util::future::join_all(claims).await.into_iter().flat_map(Result::unwrap).collect();
        assert!((1..=3).contains(&running.len()), "{} run", running.len());
        ended += running.len();
        for claimed in &running {
            fixture.settle(claimed, completed("")).await.unwrap();
        }
    }
    fixture.assert_sound().await;
}

async fn an_organization_with_keys_can_be_deleted(fixture: Fixture) {
    let first = fixture.claim_one_of(keyed("prod", 1)).await;
    fixture.create("acme", keyed("prod", 1)).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    while fixture.store.delete_part("acme", 1).await.unwrap() > Some(0) {
        fixture.assert_sound().await;
    }
    assert!(fixture.settle(&first, completed("")).await.is_err());
    fixture.store.end_deletion("acme").await.unwrap();
    fixture.assert_sound().await;
}

impl Fixture {
    /// Retries an operation of acme's, by itself or in bulk.
    async fn retry(&self, id: OperationId, in_bulk: bool) {
        let access = Access::organization("acme");
        if !in_bulk {
            self.store.command(&access, id, OperationCommand::Retry).await.unwrap().unwrap().unwrap();
            return;
        }
        let bulk = self.create("acme", NewOperation::of_kind("bulk")).await.id;
        let progress = self.store.begin_bulk("acme", bulk, 1).await.unwrap().unwrap();
        let (command, ids) = (OperationCommand::Retry, vec![id]);
        let batch = BulkBatch { id: bulk, access, command, ids, from: progress.below, below: 0 };
        assert_eq!(self.store.bulk_batch(batch).await.unwrap().changed, 1);
    }

    /// Creates an operation of acme's and starts it.
    async fn claim_one_of(&self, new: NewOperation) -> store::Claimed {
        let created = self.create("acme", new).await;
        let claimed = self.claim(&["scan"], 1).await.remove(0);
        assert_eq!(claimed.operation.id, created.id);
        claimed
    }
}

against_both_engines!(
    at_most_so_many_of_a_key_run_and_the_next_follows_when_one_ends,
    what_waits_for_its_key_keeps_nothing_behind_it_from_starting,
    a_key_is_of_its_organization_and_of_all_kinds,
    priority_goes_before_age_among_those_that_wait,
    who_waits_for_another_attempt_gives_its_place_up,
    a_lease_that_ran_out_counts_until_it_is_taken_up,
    what_waits_can_be_cancelled_and_what_failed_waits_again_when_it_is_retried,
    the_limit_of_the_newest_creation_holds,
    servers_that_claim_at_once_start_no_more_than_the_limit,
    an_organization_with_keys_can_be_deleted,
    at_most_so_many_of_a_kind_run_in_each_organization,
    a_kind_of_which_as_many_run_as_may_takes_no_organizations_turn,
    an_organization_has_limits_of_its_own_and_0_is_none,
    what_is_limited_does_not_start_with_its_creation,
    servers_that_claim_at_once_start_no_more_of_a_kind_than_may_run,
);
