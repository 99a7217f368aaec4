//! The audit log: what is written with a change, who can read it, what is forgotten, and what the doctor finds.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use operations::{Access, NewOperation};
use store::{
    Actor, ActorKind, AuditCall, AuditEntry, AuditFilter, Digest, IdempotencyKey, Limits, NewEvidence,
    OperationCommand, Pausable, Scope, Store, TokenReach, TokenRotation, TokenWish, create_token, go_on_deleting,
    rotate_token,
};

use super::support::{Engine, Fixture, against_both_engines, completed, fixture};

const HOUR: Duration = Duration::from_secs(3600);

fn call(organization: &str, action: &'static str) -> AuditCall {
    AuditCall {
        organization: organization.to_owned(),
        actor: Actor { kind: ActorKind::Token, id: "tok_1".to_owned(), name: "ci".to_owned() },
        action: action.into(),
        targets: Vec::new(),
        address: "192.0.2.1".to_owned(),
        request_id: "r".to_owned(),
    }
}

async fn entries(store: &dyn Store, organization: &str) -> Vec<AuditEntry> {
    store.audit(organization, &AuditFilter::default(), None, 1_000).await.unwrap().entries
}

/// Number, action and targets, oldest first.
async fn reported(store: &dyn Store, organization: &str) -> Vec<(u64, String, Vec<String>)> {
    let entries = entries(store, organization).await;
    entries.into_iter().rev().map(|entry| (entry.number, entry.action, entry.targets)).collect()
}

async fn a_creation_is_written_with_what_it_made(fixture: Fixture) {
    let store = &*fixture.store;
    let caller = store.on_behalf_of(call("acme", "operations.create"));
    let made = caller.create("acme", vec![NewOperation::of_kind("scan"); 2], None).await.unwrap();
    let targets: Vec<String> = made.iter().map(|operation| format!("operations/{}", operation.id)).collect();
    let found = entries(store, "acme").await;
    let wanted = AuditEntry {
        number: 1,
        at: store.now(),
        organization: "acme".to_owned(),
        actor: call("acme", "").actor,
        action: "operations.create".to_owned(),
        targets: targets.clone(),
        address: "192.0.2.1".to_owned(),
        request_id: "r".to_owned(),
        code: 0,
    };
    assert_eq!(found, [wanted]);
    // Without a call nothing is written, and with an idempotency key the entry is the same as without one.
    store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    let key = IdempotencyKey { key: "k".to_owned(), fingerprint: [1; 32] };
    let keyed = caller.create("acme", vec![NewOperation::of_kind("scan")], Some(key)).await.unwrap();
    let found = reported(store, "acme").await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], (2, "operations.create".to_owned(), vec![format!("operations/{}", keyed[0].id)]));
    assert_eq!(entries(store, "other").await, []);
    fixture.assert_sound().await;
}

async fn many_at_once_leave_no_gap(fixture: Fixture) {
    let caller = fixture.store.on_behalf_of(call("acme", "operations.create"));
    let servers = [caller, fixture.second_server().await.on_behalf_of(call("acme", "operations.create"))];
    let creations = (0..100).map(|index| {
        let (store, index) = (servers[index % 2].clone(), index);
        tokio::spawn(async move {
            let kind = if index % 3 == 0 { "a" } else { "b" };
            store.create("acme", vec![NewOperation::of_kind(kind)], None).await.unwrap().remove(0)
        })
    });
    let mut made = Vec::new();
    for creation in creations.collect::<Vec<_>>() {
        made.push(creation.await.unwrap());
    }
    let cancels = made.iter().map(|operation| {
        let (store, id) = (fixture.store.on_behalf_of(call("acme", "operations.cancel")), operation.id);
        tokio::spawn(async move { store.command(&Access::organization("acme"), id, OperationCommand::Cancel).await })
    });
    for cancel in cancels.collect::<Vec<_>>() {
        cancel.await.unwrap().unwrap();
    }
    let numbers: Vec<u64> = entries(&*fixture.store, "acme").await.iter().rev().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    fixture.assert_sound().await;
}

async fn commands_and_administration_are_written_when_they_are_done(fixture: Fixture) {
    let store = &*fixture.store;
    let as_call = |action| store.on_behalf_of(call("acme", action));
    let operation = fixture.create("acme", NewOperation::of_kind("scan")).await;
    let access = Access::organization("acme");
    let target = vec![format!("operations/{}", operation.id)];
    let cancel = || as_call("operations.cancel");
    cancel().command(&Access::organization("other"), operation.id, OperationCommand::Cancel).await.unwrap();
    cancel().command(&access, operation.id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    as_call("kinds.pause").pause(Pausable::Kind("scan".to_owned())).await.unwrap();
    let wish = TokenWish {
        name: "t".to_owned(),
        organization: Some("acme".to_owned()),
        projects: Default::default(),
        organizations: Default::default(),
        scopes: [Scope::Admin].into(),
        expires_in: None,
    };
    let token = create_token(&*as_call("tokens.create"), None, &wish, [1; 32]).await.unwrap();
    let rotation = TokenRotation::default();
    let new = rotate_token(&*as_call("tokens.rotate"), None, &token.id, rotation, [2; 32]).await.unwrap();
    as_call("tokens.revoke").revoke(&TokenReach::everything(), &token.id).await.unwrap();
    as_call("tokens.revoke").revoke(&TokenReach::everything(), "tok_none").await.unwrap();
    as_call("organizations.set_limits").set_limits("acme", Limits::default()).await.unwrap();
    store.record(call("acme", "tokens.create"), 7).await.unwrap();
    let [old, new] = [token.id, new.id].map(|id| format!("tokens/{id}"));
    let wanted = [
        (1, "operations.cancel", target),
        (2, "kinds.pause", vec![]),
        (3, "tokens.create", vec![old.clone()]),
        (4, "tokens.rotate", vec![old.clone(), new]),
        (5, "tokens.revoke", vec![old]),
        (6, "organizations.set_limits", vec![]),
        (7, "tokens.create", vec![]),
    ];
    assert_eq!(
        reported(store, "acme").await,
        wanted.map(|(number, action, targets)| (number, action.to_owned(), targets))
    );
    assert_eq!(entries(store, "acme").await[0].code, 7, "what was refused has its code");
    fixture.assert_sound().await;
}

async fn what_workers_do_is_not_repeated(fixture: Fixture) {
    let store = &*fixture.store;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let worker = store.on_behalf_of(call("acme", "operations.claim"));
    let claimed = worker.claim(super::support::claim_request(&["scan"], 1)).await.unwrap();
    let settlement =
        store::Settlement { lease: claimed[0].lease.clone(), outcome: completed("done"), retry_after: Duration::ZERO };
    worker.settle(vec![settlement]).await.unwrap()[0].unwrap();
    assert_eq!(entries(store, "acme").await, []);
}

async fn the_instance_has_a_log_of_its_own(fixture: Fixture) {
    let store = &*fixture.store;
    store.record(call("", "organizations.list"), 7).await.unwrap();
    store.on_behalf_of(call("", "organizations.create")).create_organization("acme", Limits::default()).await.unwrap();
    store.record(call("acme", "tokens.create"), 3).await.unwrap();
    assert_eq!(reported(store, "").await.len(), 2);
    assert_eq!(reported(store, "acme").await.len(), 1);
    // It outlives the organization, whose own log goes with it.
    store.on_behalf_of(call("", "organizations.delete")).begin_deletion("acme", true).await.unwrap();
    while store.delete_part("acme", 100).await.unwrap() > Some(0) {}
    store.end_deletion("acme").await.unwrap();
    assert_eq!(reported(store, "acme").await, []);
    assert_eq!(reported(store, "").await.last().unwrap().1, "organizations.delete");
    fixture.assert_sound().await;
    store.create_organization("acme", Limits::default()).await.unwrap();
    store.record(call("acme", "tokens.create"), 3).await.unwrap();
    assert_eq!(reported(store, "acme").await[0].0, 2, "numbers are not given again");
    fixture.assert_sound().await;
}

async fn what_is_refused_about_an_organization_that_does_not_exist_is_in_the_log_of_the_instance(fixture: Fixture) {
    let store = &*fixture.store;
    store.record(call("nowhere", "tokens.create"), 5).await.unwrap();
    fixture.create("gone", NewOperation::of_kind("scan")).await;
    store.begin_deletion("gone", true).await.unwrap();
    assert!(go_on_deleting(store, None, "gone", None, |_| ()).await.unwrap());
    let with_targets = AuditCall { targets: vec!["kinds/scan".to_owned()], ..call("gone", "kinds.pause") };
    store.record(with_targets, 7).await.unwrap();
    let entry = |number, action: &str, targets: &[&str]| {
        (number, action.to_owned(), targets.iter().map(|target| (*target).to_owned()).collect::<Vec<_>>())
    };
    let wanted = [
        entry(1, "tokens.create", &["organizations/nowhere"]),
        entry(2, "kinds.pause", &["kinds/scan", "organizations/gone"]),
    ];
    assert_eq!(reported(store, "").await, wanted);
    assert_eq!(entries(store, "nowhere").await, []);
    assert_eq!(store.contents("nowhere").await.unwrap(), None, "a refused call makes no organization");
    fixture.assert_sound().await;
}

async fn the_first_evidence_makes_its_organization_and_is_in_its_log(fixture: Fixture) {
    let store = &*fixture.store;
    let digest = Digest::of(b"evidence");
    let put = store.on_behalf_of(call("acme", "evidence.put"));
    put.reserve_evidence("acme", digest, 8).await.unwrap();
    let evidence = NewEvidence { digest, size: 8, kind: "SARIF".to_owned(), name: "a.sarif".to_owned() };
    put.put_evidence("acme", evidence).await.unwrap();
    assert_eq!(entries(store, "acme").await.len(), 1);
    assert_eq!(store.contents("acme").await.unwrap().unwrap().evidence, 1, "it can be found and deleted");
    fixture.assert_sound().await;
}

async fn entries_are_found_by_who_what_and_when(fixture: Fixture) {
    let store = &*fixture.store;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let started = store.now();
    for index in 0..6 {
        let (actor, action) = if index % 2 == 0 { ("tok_1", "tokens.create") } else { ("tok_2", "tokens.revoke") };
        let mut call = call("acme", action);
        actor.clone_into(&mut call.actor.id);
        call.targets = vec![format!("tokens/{index}")];
        store.record(call, 0).await.unwrap();
        fixture.advance(HOUR);
    }
    let found = async |filter: AuditFilter| -> Vec<u64> {
        let page = store.audit("acme", &filter, None, 100).await.unwrap();
        page.entries.iter().map(|entry| entry.number).collect()
    };
    let any = AuditFilter::default;
    assert_eq!(found(any()).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(found(AuditFilter { actor: Some("tok_2".to_owned()), ..any() }).await, [6, 4, 2]);
    assert_eq!(found(AuditFilter { action: Some("tokens.create".to_owned()), ..any() }).await, [5, 3, 1]);
    assert_eq!(found(AuditFilter { action: Some("tokens.".to_owned()), ..any() }).await.len(), 6);
    assert_eq!(found(AuditFilter { target: Some("tokens/3".to_owned()), ..any() }).await, [4]);
    let (since, until) = (Some(started.after(HOUR)), Some(started.after(3 * HOUR)));
    assert_eq!(found(AuditFilter { since, until, ..any() }).await, [3, 2]);
    // Page by page it is the same.
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.audit("acme", &any(), before, 4).await.unwrap();
        seen.extend(page.entries.iter().map(|entry| entry.number));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
}

async fn old_entries_are_forgotten_from_the_oldest_on(fixture: Fixture) {
    let store = &*fixture.store;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    for organization in ["acme", "", "acme", "acme"] {
        store.record(call(organization, "tokens.create"), 0).await.unwrap();
        fixture.advance(HOUR);
    }
    assert_eq!(store.forget_audit(10 * HOUR, 100).await.unwrap(), 0);
    assert_eq!(store.forget_audit(2 * HOUR, 1).await.unwrap(), 2, "one row of each log");
    fixture.assert_sound().await;
    assert_eq!(store.forget_audit(Duration::from_secs(3600 + 1800), 100).await.unwrap(), 1);
    let numbers: Vec<u64> = reported(store, "acme").await.into_iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers, [3]);
    assert_eq!(reported(store, "").await, []);
    fixture.assert_sound().await;
}

async fn the_doctor_finds_entries_that_somebody_has_taken_away(fixture: Fixture) {
    let store = &*fixture.store;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    for _ in 0..4 {
        store.record(call("acme", "tokens.create"), 0).await.unwrap();
    }
    fixture.assert_sound().await;
    let findings = async || store.doctor().await.unwrap().findings.len();
    fixture.tamper("DELETE FROM audit WHERE seq = 2").await;
    assert_eq!(findings().await, 2, "one is missing, and the finding says where");
    fixture.tamper("UPDATE organizations SET audit_removed = 1").await;
    assert!(findings().await > 0, "to count it as forgotten does not hide it");
    fixture.tamper("UPDATE organizations SET audit_removed = 2").await;
    fixture.tamper("DELETE FROM audit WHERE seq = 1").await;
    fixture.assert_sound().await;
    fixture.tamper("DELETE FROM audit WHERE seq = 4").await;
    assert!(findings().await > 0, "the newest are missed too");
}

against_both_engines!(
    a_creation_is_written_with_what_it_made,
    many_at_once_leave_no_gap,
    commands_and_administration_are_written_when_they_are_done,
    what_workers_do_is_not_repeated,
    the_instance_has_a_log_of_its_own,
    what_is_refused_about_an_organization_that_does_not_exist_is_in_the_log_of_the_instance,
    the_first_evidence_makes_its_organization_and_is_in_its_log,
    entries_are_found_by_who_what_and_when,
    old_entries_are_forgotten_from_the_oldest_on,
    the_doctor_finds_entries_that_somebody_has_taken_away,
);
