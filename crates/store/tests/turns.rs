//! Which operations start: organizations one after the other, by weight; nothing of what is paused.
use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::*;
use operations::{Access, NewOperation, OperationId, Status, Timestamp};
use store::{AttemptTimeouts, ClaimRequest, Coverage, NewToken, Organizations, Pausable, Paused, Quota, Quotas, Scope};

fn weights(weights: &[(&str, u32)]) -> Quotas {
    let named =
        weights.iter().map(|(name, weight)| ((*name).to_owned(), Quota { weight: *weight, ..Quota::default() }));
    Quotas { named: named.collect(), ..Quotas::default() }
}

async fn fill(fixture: &Fixture, organization: &str, count: usize) {
    let (batch, rest) = (count / 1_000, count % 1_000);
    for size in std::iter::repeat_n(1_000, batch).chain((rest > 0).then_some(rest)) {
        fixture.store.create(organization, vec![NewOperation::of_kind("scan"); size], None).await.unwrap();
    }
}

/// The organizations of the operations that start, by claims of these sizes.
async fn started(fixture: &Fixture, claims: &[u32]) -> Vec<String> {
    let mut started = Vec::new();
    for limit in claims {
        started.extend(fixture.claim(&["scan"], *limit).await.into_iter().map(|claimed| claimed.lease.organization));
    }
    started
}

fn count(started: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for organization in started {
        *counts.entry(organization.as_str()).or_default() += 1;
    }
    counts
}

async fn starts_are_shared_by_weight_however_small_the_claims(fixture: Fixture) {
    // Of several cells, each has scheduling rounds of its own.
    if fixture.has_cells() {
        return;
    }
    fixture.store.set_quotas(weights(&[("a", 3)]));
    for organization in ["a", "b"] {
        fill(&fixture, organization, 400).await;
    }
    for sizes in [vec![1; 40], vec![2; 20], vec![7; 40], vec![4; 10], vec![40]] {
        let started = started(&fixture, &sizes).await;
        let share = started.iter().filter(|organization| *organization == "a").count() as f64 / started.len() as f64;
        assert!((0.7..=0.8).contains(&share), "claims of {}: {:?}", sizes[0], count(&started));
    }
    fixture.assert_sound().await;
}

async fn the_first_of_an_organization_waits_a_round_at_most(fixture: Fixture) {
    fixture.store.set_quotas(weights(&[("a", 3)]));
    fill(&fixture, "a", 10_000).await;
    started(&fixture, &[1, 1]).await;
    fill(&fixture, "b", 1).await;
    let claims = started(&fixture, &[1; 6]).await;
    assert!(claims[..4].contains(&"b".to_owned()), "a round is 3 of a and 1 of b: {claims:?}");
    fill(&fixture, "c", 1).await;
    assert!(started(&fixture, &[5]).await.contains(&"c".to_owned()));
}

async fn without_weights_everybody_is_served_alike(fixture: Fixture) {
    // Of several cells, each has scheduling rounds of its own.
    if fixture.has_cells() {
        return;
    }
    for organization in ["a", "b", "c"] {
        fill(&fixture, organization, 30).await;
    }
    assert_eq!(count(&started(&fixture, &[1; 30]).await), BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]));
    assert_eq!(count(&started(&fixture, &[30]).await), BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]));
}

async fn a_turn_that_nobody_can_use_is_the_next_ones(fixture: Fixture) {
    fixture.store.set_quotas(weights(&[("a", 100)]));
    fill(&fixture, "a", 2).await;
    fill(&fixture, "b", 2).await;
    assert_eq!(started(&fixture, &[1, 1, 1, 1, 1]).await.len(), 4);
    fill(&fixture, "a", 150).await;
    let mut left = 150;
    while left > 0 {
        let some = started(&fixture, &[40]).await;
        assert!(!some.is_empty());
        left -= some.len();
    }
    fixture.assert_sound().await;
}

fn organization(name: &str) -> Pausable {
    Pausable::Organization(name.to_owned())
}

fn kind(name: &str) -> Pausable {
    Pausable::Kind(name.to_owned())
}

async fn nothing_of_a_paused_organization_starts_until_it_is_resumed(fixture: Fixture) {
    fill(&fixture, "a", 3).await;
    fill(&fixture, "b", 1).await;
    let running = fixture.store.claim(of("a", "scan")).await.unwrap().remove(0);
    assert!(fixture.store.pause(organization("a")).await.unwrap());
    assert_eq!(started(&fixture, &[10]).await, ["b"]);
    assert_eq!(fixture.store.claim(of("a", "scan")).await.unwrap(), [], "no worker gets one");
    fixture.create("a", NewOperation::of_kind("scan")).await;
    assert_eq!(fixture.settle(&running, completed("")).await, Ok(Status::Completed), "what runs continues");

    let again = fixture.reopen().await;
    let since = fixture.store.now();
    assert_eq!(again.paused().await.unwrap(), [Paused { what: organization("a"), since }]);
    assert_eq!(again.claim(claim_request(&["scan"], 10)).await.unwrap(), [], "another server, or a later life");
    fixture.advance(Duration::from_secs(1));
    assert!(again.pause(organization("a")).await.unwrap());
    assert_eq!(again.paused().await.unwrap()[0].since, since, "since the first time");
    assert!(again.resume(organization("a")).await.unwrap());
    assert!(!again.resume(organization("a")).await.unwrap(), "it is not paused any more");
    assert_eq!(started(&fixture, &[10]).await, ["a", "a", "a"]);
    fixture.assert_sound().await;
}

async fn nothing_of_a_paused_kind_starts_until_it_is_resumed(fixture: Fixture) {
    for name in ["a", "b"] {
        fixture.create(name, NewOperation::of_kind("scan")).await;
        fixture.create(name, NewOperation::of_kind("build")).await;
    }
    assert!(fixture.store.pause(kind("scan")).await.unwrap());
    let claimed = fixture.claim(&["scan", "build"], 10).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.operation.kind.as_str()).collect::<Vec<_>>(), ["build", "build"]);
    let limited = ClaimRequest { access: Some(Access::projects("a", ["p"])), ..claim_request(&["scan"], 1) };
    fixture.create("a", in_project("scan", "p")).await;
    assert_eq!(fixture.store.claim(limited.clone()).await.unwrap(), []);
    assert!(fixture.store.resume(kind("scan")).await.unwrap());
    assert_eq!(fixture.store.claim(limited).await.unwrap().len(), 1);
    let mut started = started(&fixture, &[10]).await;
    if fixture.has_cells() {
        // It varies which of several cells comes first.
        started.sort();
    }
    assert_eq!(started, ["a", "b"]);
}

async fn a_kind_can_be_paused_within_one_organization(fixture: Fixture) {
    for name in ["a", "b"] {
        fixture.create(name, NewOperation::of_kind("scan")).await;
        fixture.create(name, NewOperation::of_kind("build")).await;
    }
    let what = Pausable::KindOf { organization: "a".to_owned(), kind: "scan".to_owned() };
    assert!(fixture.store.pause(what.clone()).await.unwrap());
    let mut claimed: Vec<(String, String)> = Vec::new();
    for one in fixture.claim(&["scan", "build"], 10).await {
        claimed.push((one.lease.organization, one.operation.kind));
    }
    claimed.sort();
    let pair = |organization: &str, kind: &str| (organization.to_owned(), kind.to_owned());
    assert_eq!(claimed, [pair("a", "build"), pair("b", "build"), pair("b", "scan")]);
    assert_eq!(fixture.store.paused().await.unwrap()[0].what, what);
}

async fn what_becomes_due_in_a_paused_organization_keeps_nobody_awake(fixture: Fixture) {
    let soon = fixture.store.now().after(Duration::from_secs(5));
    fixture.create("a", NewOperation { run_after: Some(soon), ..NewOperation::of_kind("scan") }).await;
    fixture.store.pause(organization("a")).await.unwrap();
    fixture.advance(Duration::from_secs(10));
    assert_eq!(started(&fixture, &[10]).await, [""; 0]);
    assert_eq!(fixture.store.next_due(soon.before(Duration::from_secs(1))).await.unwrap(), None);
    fixture.store.resume(organization("a")).await.unwrap();
    assert_eq!(started(&fixture, &[10]).await, ["a"]);
}

async fn only_organizations_that_exist_are_paused_and_all_are_listed(fixture: Fixture) {
    assert!(!fixture.store.pause(organization("nobody")).await.unwrap());
    fill(&fixture, "b", 3).await;
    fill(&fixture, "a", 1).await;
    fixture.store.claim(of("b", "scan")).await.unwrap();
    let listed = fixture.store.organizations().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.pending, one.running)).collect();
    assert_eq!(listed, [("a", 1, 0), ("b", 2, 1)]);
}

fn of(organization: &str, kind: &str) -> ClaimRequest {
    ClaimRequest { access: Some(Access::organization(organization)), ..claim_request(&[kind], 1) }
}

async fn attempts_of_workers_that_take_too_long_are_found(fixture: Fixture) {
    let token = NewToken {
        hash: [7; 32],
        name: "worker".to_owned(),
        access: Access::organization("a"),
        scopes: [Scope::OperationsWork].into(),
        expires_at: None,
        instance: None,
    };
    let worker = fixture.store.create_token(token).await.unwrap().id;
    let seconds = Duration::from_secs;
    for (kind, timeout) in [("own", Some(seconds(10))), ("kind", None), ("other", None), ("local", Some(seconds(1)))] {
        fixture.create("a", NewOperation { timeout, ..NewOperation::of_kind(kind) }).await;
        let worker = if kind == "local" { "longrun".to_owned() } else { worker.clone() };
        let claimed = fixture.store.claim(ClaimRequest { worker, ..of("a", kind) }).await.unwrap();
        assert_eq!(claimed.len(), 1);
    }
    let timeouts = AttemptTimeouts {
        kinds: BTreeMap::from([("kind".to_owned(), seconds(20)), ("own".to_owned(), seconds(1))]),
        otherwise: seconds(30),
        grace: seconds(5),
    };
    let mut found = Vec::new();
    for _ in 0..8 {
        fixture.advance(seconds(5));
        let overruns = fixture.store.overruns(&timeouts, 10).await.unwrap();
        found.push(overruns.iter().map(|overrun| (overrun.kind.clone(), overrun.timeout)).collect::<BTreeMap<_, _>>());
    }
    let kinds: Vec<Vec<&str>> = found.iter().map(|kinds| kinds.keys().map(String::as_str).collect()).collect();
    let (none, own, two, three) = (vec![], vec!["own"], vec!["kind", "own"], vec!["kind", "other", "own"]);
    assert_eq!(kinds, [none.clone(), none.clone(), none, own.clone(), own, two.clone(), two, three]);
    assert_eq!(found[7].values().copied().collect::<Vec<_>>(), [seconds(20), seconds(30), seconds(10)]);
}

/// A claim of a remote worker for these organizations; an empty list means all.
fn among(worker: &str, organizations: &[&str], limit: u32) -> ClaimRequest {
    let only = organizations.iter().map(|name| (*name).to_owned()).collect();
    let among = Some(if organizations.is_empty() { Organizations::All } else { Organizations::Only(only) });
    ClaimRequest { among, worker: worker.to_owned(), ..claim_request(&["scan"], limit) }
}

async fn a_worker_for_several_organizations_gets_theirs_alone_and_in_turn(fixture: Fixture) {
    for organization in ["a", "b", "c", "d"] {
        fill(&fixture, organization, 12).await;
    }
    let claim = async |request: ClaimRequest| -> Vec<String> {
        let claimed = fixture.store.claim(request).await.unwrap();
        claimed.into_iter().map(|claimed| claimed.lease.organization).collect()
    };
    let mut started = Vec::new();
    for _ in 0..6 {
        started.extend(claim(among("tok", &["b", "d", "none"], 1)).await);
    }
    assert_eq!(count(&started), BTreeMap::from([("b", 3), ("d", 3)]));
    // However many claims there are, nothing of the others comes, and their operations are still there.
    assert_eq!(count(&claim(among("tok", &["b", "d"], 100)).await), BTreeMap::from([("b", 9), ("d", 9)]));
    assert_eq!(claim(among("tok", &["b", "d"], 100)).await, [""; 0]);
    assert_eq!(count(&claim(among("tok", &[], 100)).await), BTreeMap::from([("a", 12), ("c", 12)]));
    fixture.assert_sound().await;
}

async fn what_one_worker_finds_does_not_move_another_ones_turn(fixture: Fixture) {
    // Of several cells, each has scheduling rounds of its own.
    if fixture.has_cells() {
        return;
    }
    for organization in ["a", "b", "c"] {
        fill(&fixture, organization, 20).await;
    }
    let (mut one, mut engine) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        for claimed in fixture.store.claim(among("tok", &["b"], 1)).await.unwrap() {
            one.push(claimed.lease.organization);
        }
        engine.extend(started(&fixture, &[1]).await);
    }
    assert_eq!(count(&one), BTreeMap::from([("b", 6)]));
    assert_eq!(count(&engine), BTreeMap::from([("a", 2), ("b", 2), ("c", 2)]), "no organization is passed over");
    fixture.assert_sound().await;
}

async fn what_becomes_due_at_one_time_is_made_claimable_in_parts(fixture: Fixture) {
    let store = &fixture.store;
    let due = store.now().after(Duration::from_secs(60));
    let before = Timestamp::from_millis(due.as_millis() - 1);
    let mut new = vec![NewOperation { run_after: Some(due), ..NewOperation::of_kind("scan") }; 2_500];
    new.push(NewOperation { run_after: Some(due), ..NewOperation::of_kind("export") });
    let created: Vec<OperationId> = store.create("acme", new, None).await.unwrap().iter().map(|one| one.id).collect();
    fixture.advance(Duration::from_secs(60));
    let claim = async |kind: &str, limit: u32| -> Vec<OperationId> {
        let request = ClaimRequest { access: Some(Access::organization("acme")), ..claim_request(&[kind], limit) };
        store.claim(request).await.unwrap().iter().map(|claimed| claimed.operation.id).collect()
    };
    assert_eq!(claim("scan", 1).await, created[..1]);
    assert_eq!(store.next_due(before).await.unwrap(), Some(due), "one transaction does not do it all");
    // Behind all the others, and found by a worker that requests it: at once where one process has the store.
    let mut tries = if store.commits().coverage() == Coverage::All { 1 } else { 4 };
    let mut exports = Vec::new();
    while exports.is_empty() && tries > 0 {
        exports = claim("export", 10).await;
        tries -= 1;
    }
    assert_eq!(exports, created[2_500..]);
    assert_eq!(store.next_due(before).await.unwrap(), None);
    let mut scans = Vec::new();
    for _ in 0..4 {
        scans.extend(claim("scan", 2_500).await);
    }
    assert!(scans == created[1..2_500], "all of them, in their order");
    fixture.assert_sound().await;
}

against_both_engines!(
    what_becomes_due_at_one_time_is_made_claimable_in_parts,
    a_worker_for_several_organizations_gets_theirs_alone_and_in_turn,
    what_one_worker_finds_does_not_move_another_ones_turn,
    attempts_of_workers_that_take_too_long_are_found,
    starts_are_shared_by_weight_however_small_the_claims,
    the_first_of_an_organization_waits_a_round_at_most,
    without_weights_everybody_is_served_alike,
    a_turn_that_nobody_can_use_is_the_next_ones,
    nothing_of_a_paused_organization_starts_until_it_is_resumed,
    nothing_of_a_paused_kind_starts_until_it_is_resumed,
    a_kind_can_be_paused_within_one_organization,
    what_becomes_due_in_a_paused_organization_keeps_nobody_awake,
    only_organizations_that_exist_are_paused_and_all_are_listed,
);
