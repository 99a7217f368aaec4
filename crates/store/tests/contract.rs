//! The contract of a store: what every implementation promises, one test per promise.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Projects, Refusal, Status, Timestamp};
use store::{
    AuthorizationScope, ClaimRequest, Digest, Heartbeat, IdempotencyKey, LISTED_OUTPUT_BYTES, LeaseRef, LeaseStatus,
    Lost, NewEvidence, NewToken, OperationCommand, Organizations, Scope, Settlement, SqliteStore, Store as _,
    StoreError,
};

const EVERY: PageRequest = PageRequest { page: 0, page_size: 100 };
/// What remains in the store after every operation was asked to stop.
const WANT_STOPPED: &str = "UPDATE active SET cancel_requested = (1 = 1)";

async fn a_creation_is_there_after_a_restart(fixture: Fixture) {
    let created = fixture.create("acme", about("scan", "image", "alpine")).await;
    assert_eq!(created.status, Status::Pending);
    let again = fixture.reopen().await;
    let access = Access::organization("acme");
    assert_eq!(again.get(&access, created.id).await.unwrap(), Some(created.clone()));
    let listing = again.list(&access, &Filter::default(), EVERY).await.unwrap();
    assert_eq!(listing.entries[0].operation, created);
    assert_eq!(listing.page.total_count, 1);
}

pub(crate) async fn the_main_path_ends_in_an_output(fixture: Fixture) {
    let new = NewOperation { input: r#"{"a":1}"#.to_owned(), ..about("scan", "image", "alpine") };
    let created = fixture.create("acme", new).await;
    fixture.advance(Duration::from_secs(1));
    let claimed = fixture.claim(&["scan"], 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].input.as_str(), claimed[0].attempt, claimed[0].lease.fence), (r#"{"a":1}"#, 1, 1));
    assert_eq!(claimed[0].operation.status, Status::Running);
    assert!(fixture.claim(&["scan"], 10).await.is_empty(), "claimed once");
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.settle(&claimed[0], completed("done")).await, Ok(Status::Completed));
    let access = Access::organization("acme");
    let ended = fixture.store.get(&access, created.id).await.unwrap().unwrap();
    assert_eq!(ended.output, "done");
    assert_eq!(ended.started_at.unwrap().as_millis() - created.created_at.as_millis(), 1_000);
    assert_eq!(ended.finished_at.unwrap().as_millis() - created.created_at.as_millis(), 2_000);
    assert_eq!(fixture.store.output(&access, created.id).await.unwrap().as_deref(), Some("done"));
    fixture.assert_sound().await;
}

async fn a_stale_settlement_is_told_and_changes_nothing(fixture: Fixture) {
    let created = fixture.create("acme", NewOperation::of_kind("scan")).await;
    let first = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.advance(Duration::from_secs(31));
    let lost = fixture.store.lost_leases(Lost::Expired, 10).await.unwrap();
    let expired = LeaseRef { expired_at: Some(first.lease_expires_at), ..first.lease.clone() };
    assert_eq!((lost[0].lease.clone(), lost[0].attempts), (expired.clone(), 1));
    assert_eq!(fixture.store.lose(vec![(expired, Duration::ZERO)]).await.unwrap(), 1);
    let second = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!((second.attempt, second.lease.fence), (2, 2));
    assert_eq!(fixture.settle(&first, completed("late")).await, Err(Refusal::StaleLease));
    let beat = Heartbeat { lease: first.lease.clone(), progress: None };
    assert_eq!(fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap(), [LeaseStatus::Lost]);
    assert_eq!(fixture.settle(&second, completed("in time")).await, Ok(Status::Completed));
    assert_eq!(fixture.settle(&second, completed("twice")).await, Err(Refusal::StaleLease));
    let ended = fixture.store.get(&Access::organization("acme"), created.id).await.unwrap().unwrap();
    assert_eq!(ended.output, "in time");
    fixture.assert_sound().await;
}

pub(crate) async fn a_settlement_that_is_repeated_is_told_what_was_recorded(fixture: Fixture) {
    let long = "x".repeat(10_000);
    let cases = [
        (completed("done \0 \u{f8f0}"), completed("done"), Status::Completed),
        (completed(""), failed("", false), Status::Completed),
        (failed("no", false), failed("no such", false), Status::Failed),
        (failed(&long, false), failed("x", false), Status::Failed),
        (failed("busy", true), failed("busy", false), Status::Pending),
        (failed(&long, true), failed("x", true), Status::Pending),
    ];
    for (index, (outcome, other, status)) in cases.into_iter().enumerate() {
        let kind = format!("scan_{index}");
        let new = NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind(&kind) };
        let created = fixture.create("acme", new).await;
        let claimed = fixture.claim(&[&kind], 1).await.remove(0);
        assert_eq!(fixture.settle(&claimed, outcome.clone()).await, Ok(status));
        let access = Access::organization("acme");
        let before = fixture.store.get(&access, created.id).await.unwrap();
        fixture.advance(Duration::from_secs(1));
        // One by one, several in one call, and together with those of others.
        let again = |outcome: &operations::Outcome| Settlement {
            lease: claimed.lease.clone(),
            outcome: outcome.clone(),
            retry_after: Duration::from_secs(7),
        };
        assert_eq!(fixture.settle(&claimed, outcome.clone()).await, Ok(status), "{outcome:?}");
        let several = vec![again(&outcome), again(&other), again(&completed("else")), again(&outcome)];
        let stale = Err(Refusal::StaleLease);
        assert_eq!(fixture.store.settle(several).await.unwrap(), [Ok(status), stale, stale, Ok(status)], "{outcome:?}");
        // Not by a caller whom the operation does not concern, and not under another token.
        let projects = Projects::Only(["q".to_owned()].into());
        let scope = AuthorizationScope { organizations: Organizations::All, projects, except_kinds: Arc::from([]) };
        let mut foreign = again(&outcome);
        foreign.lease.scope = Some(Arc::new(scope));
        let mut elsewhere = again(&outcome);
        elsewhere.lease.organization = "globex".to_owned();
        let mut later = again(&outcome);
        later.lease.fence += 1;
        let refused = fixture.store.settle(vec![foreign, elsewhere, later]).await.unwrap();
        assert_eq!(refused, [stale, stale, stale]);
        assert_eq!(fixture.store.get(&access, created.id).await.unwrap(), before, "nothing has changed");
    }
    // The next attempt's worker has it now.
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let first = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.settle(&first, failed("busy", true)).await.unwrap();
    fixture.advance(Duration::from_secs(11));
    let second = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!(fixture.settle(&first, failed("busy", true)).await, Err(Refusal::StaleLease));
    // An attempt that was released or lost was not settled, whatever was settled before it.
    fixture.store.release(vec![second.lease.clone()]).await.unwrap();
    assert_eq!(fixture.settle(&second, failed("busy", true)).await, Err(Refusal::StaleLease));
    let third = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.store.lose(vec![(third.lease.clone(), Duration::ZERO)]).await.unwrap();
    assert_eq!(fixture.settle(&third, failed("busy", true)).await, Err(Refusal::StaleLease));
    // Nor was an operation that a caller cancelled before it was started again.
    fixture.store.command(&Access::organization("acme"), third.lease.id, OperationCommand::Cancel).await.unwrap();
    assert_eq!(fixture.settle(&third, failed("busy", true)).await, Err(Refusal::StaleLease));
    fixture.assert_sound().await;
}

async fn of_two_settlements_in_one_call_the_first_counts(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let settle = |output: &str| Settlement {
        lease: claimed.lease.clone(),
        outcome: completed(output),
        retry_after: Duration::ZERO,
    };
    let results = fixture.store.settle(vec![settle("one"), settle("two")]).await.unwrap();
    assert_eq!(results, [Ok(Status::Completed), Err(Refusal::StaleLease)]);
    fixture.assert_sound().await;
}

async fn a_heartbeat_keeps_the_lease(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.advance(Duration::from_secs(20));
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: None };
    let answer = fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    let expires_at = fixture.store.now().after(Duration::from_secs(30));
    assert_eq!(answer, [LeaseStatus::Held { expires_at, cancel_requested: false }]);
    fixture.advance(Duration::from_secs(29));
    assert_eq!(fixture.store.lost_leases(Lost::Expired, 10).await.unwrap(), []);
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.store.lost_leases(Lost::Expired, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_retryable_failure_waits_out_its_backoff_and_then_gives_up(fixture: Fixture) {
    let created = fixture.create("acme", NewOperation { max_attempts: 2, ..NewOperation::of_kind("scan") }).await;
    let first = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!(fixture.settle(&first, failed("no luck", true)).await, Ok(Status::Pending));
    assert!(fixture.claim(&["scan"], 1).await.is_empty(), "not before the backoff");
    let due = fixture.store.now().after(Duration::from_secs(10));
    assert_eq!(fixture.store.next_due(fixture.store.now()).await.unwrap(), Some(due));
    assert_eq!(fixture.store.next_due(due).await.unwrap(), None, "none is due after it");
    fixture.advance(Duration::from_secs(10));
    let second = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!(fixture.settle(&second, failed("no luck", true)).await, Ok(Status::Failed));
    let ended = fixture.store.get(&Access::organization("acme"), created.id).await.unwrap().unwrap();
    assert_eq!(ended.error_message, "no luck (gave up after 2 attempts)");
    fixture.assert_sound().await;
}

async fn a_release_charges_no_attempt(fixture: Fixture) {
    fixture.create("acme", NewOperation { max_attempts: 1, ..NewOperation::of_kind("scan") }).await;
    let first = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!(fixture.store.release(vec![first.lease.clone()]).await.unwrap(), [Ok(())]);
    assert_eq!(fixture.store.release(vec![first.lease.clone()]).await.unwrap(), [Ok(())], "its answer was lost");
    let elsewhere = LeaseRef { organization: "other".to_owned(), ..first.lease.clone() };
    assert_eq!(fixture.store.release(vec![elsewhere]).await.unwrap(), [Err(Refusal::StaleLease)]);
    let second = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!((second.attempt, second.lease.fence), (1, 2));
    assert_eq!(fixture.store.release(vec![first.lease]).await.unwrap(), [Err(Refusal::StaleLease)], "a worker has it");
    assert_eq!(fixture.store.lose(vec![(second.lease.clone(), Duration::ZERO)]).await.unwrap(), 1);
    assert_eq!(fixture.store.release(vec![second.lease]).await.unwrap(), [Err(Refusal::StaleLease)], "it was lost");
    fixture.assert_sound().await;
}

async fn a_heartbeat_tells_that_somebody_wants_the_operation_stopped(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    assert!(!claimed.cancel_requested);
    fixture.tamper(WANT_STOPPED).await;
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some("half way".to_owned()) };
    let answer = fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    let expires_at = fixture.store.now().after(Duration::from_secs(30));
    assert_eq!(answer, [LeaseStatus::Held { expires_at, cancel_requested: true }]);
    assert_eq!(fixture.settle(&claimed, failed("stopped", true)).await, Ok(Status::Failed));
    let ended = fixture.store.get(&Access::organization("acme"), claimed.operation.id).await.unwrap().unwrap();
    assert_eq!(ended.error_message, "cancelled");
    fixture.assert_sound().await;
}

async fn of_two_heartbeats_of_an_operation_only_the_one_of_its_current_attempt_holds(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let first = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.store.release(vec![first.lease.clone()]).await.unwrap();
    let second = fixture.claim(&["scan"], 1).await.remove(0);
    let beats = [first, second].map(|claimed| Heartbeat { lease: claimed.lease, progress: None });
    let answer = fixture.store.heartbeat(beats.to_vec(), Duration::from_secs(30)).await.unwrap();
    assert_eq!(answer[0], LeaseStatus::Lost);
    assert!(matches!(answer[1], LeaseStatus::Held { .. }), "{answer:?}");
}

async fn a_project_list_limits_what_is_claimed(fixture: Fixture) {
    for (project, priority) in [("hidden", 9), ("", 8), ("b", 1), ("a", 5), ("hidden", 0), ("a", 1)] {
        fixture.create("acme", NewOperation { priority, ..in_project("scan", project) }).await;
    }
    fixture.create("other", in_project("scan", "a")).await;
    let limited = |projects: &[&str]| ClaimRequest {
        access: Some(Access::projects("acme", projects.iter().copied())),
        ..claim_request(&["scan", "other"], 10)
    };
    for nothing in [limited(&["c"]), limited(&[])] {
        assert_eq!(fixture.store.claim(nothing).await.unwrap(), []);
    }
    let claimed = fixture.store.claim(limited(&["a", "b"])).await.unwrap();
    let projects: Vec<&str> = claimed.iter().map(|claimed| claimed.operation.project_id.as_str()).collect();
    assert_eq!(projects, ["a", "b", "a"], "by priority, then by age");
    assert!(claimed.iter().all(|claimed| claimed.lease.organization == "acme"));
    let whole = ClaimRequest { access: Some(Access::organization("acme")), ..limited(&[]) };
    let rest = fixture.store.claim(whole).await.unwrap();
    let projects: Vec<&str> = rest.iter().map(|claimed| claimed.operation.project_id.as_str()).collect();
    assert_eq!(projects, ["hidden", "", "hidden"]);
    fixture.assert_sound().await;
}

async fn claims_of_several_project_lists_at_once_get_each_its_own(fixture: Fixture) {
    for index in 0..60 {
        fixture.create("acme", in_project("scan", ["a", "b", "c"][index % 3])).await;
    }
    let workers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .cycle()
        .take(12)
        .map(|project| {
            let store = Arc::clone(&fixture.store);
            let access = Some(Access::projects("acme", [project]));
            tokio::spawn(async move {
                let claimed = store.claim(ClaimRequest { access, ..claim_request(&["scan"], 5) }).await.unwrap();
                assert!(claimed.iter().all(|claimed| claimed.operation.project_id == project), "{claimed:?}");
                claimed.len()
            })
        })
        .collect();
    let mut claimed = 0;
    for worker in workers {
        claimed += worker.await.unwrap();
    }
    assert_eq!(claimed, 60);
}

async fn a_lease_that_was_extended_since_it_was_found_expired_is_kept(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.advance(Duration::from_secs(31));
    let lost = fixture.store.lost_leases(Lost::Expired, 10).await.unwrap().remove(0);
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: None };
    let beats = fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    assert!(matches!(beats[..], [LeaseStatus::Held { .. }]), "{beats:?}");
    assert_eq!(fixture.store.lose(vec![(lost.lease.clone(), Duration::ZERO)]).await.unwrap(), 0);
    assert_eq!(fixture.settle(&claimed, completed("in time")).await, Ok(Status::Completed));
    assert_eq!(fixture.store.lose(vec![(lost.lease, Duration::ZERO)]).await.unwrap(), 0, "it has ended");
    fixture.assert_sound().await;
}

async fn what_is_out_of_a_workers_reach_is_as_good_as_lost(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "a")).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let lease = Duration::from_secs(30);
    let scope = |projects: Projects, except: &[&str]| LeaseRef {
        scope: Some(Arc::new(AuthorizationScope {
            organizations: Organizations::Only(["acme".to_owned()].into()),
            projects,
            except_kinds: except.iter().map(|k| (*k).to_owned()).collect(),
        })),
        ..claimed.lease.clone()
    };
    let only = |project: &str| Access::projects("acme", [project]).projects;
    let elsewhere = AuthorizationScope {
        organizations: Organizations::Only(["other".to_owned()].into()),
        projects: Projects::All,
        except_kinds: Arc::from([]),
    };
    let elsewhere = LeaseRef { scope: Some(Arc::new(elsewhere)), ..claimed.lease.clone() };
    for outside in [scope(only("b"), &[]), scope(Projects::All, &["scan"]), scope(only("a"), &["x", "scan"]), elsewhere]
    {
        let beat = Heartbeat { lease: outside.clone(), progress: None };
        assert_eq!(fixture.store.heartbeat(vec![beat], lease).await.unwrap(), [LeaseStatus::Lost]);
        let settlement =
            Settlement { lease: outside.clone(), outcome: completed("forged"), retry_after: Duration::ZERO };
        assert_eq!(fixture.store.settle(vec![settlement]).await.unwrap(), [Err(Refusal::StaleLease)]);
        assert_eq!(fixture.store.release(vec![outside]).await.unwrap(), [Err(Refusal::StaleLease)]);
    }
    let inside = scope(only("a"), &["x"]);
    let beat = Heartbeat { lease: inside.clone(), progress: None };
    assert!(matches!(fixture.store.heartbeat(vec![beat], lease).await.unwrap()[..], [LeaseStatus::Held { .. }]));
    let settlement = Settlement { lease: inside, outcome: completed("done"), retry_after: Duration::ZERO };
    assert_eq!(fixture.store.settle(vec![settlement]).await.unwrap(), [Ok(Status::Completed)]);
    fixture.assert_sound().await;
}

async fn the_leases_of_servers_are_told_from_those_of_remote_workers(fixture: Fixture) {
    let store = &*fixture.store;
    let new = NewToken {
        hash: [7; 32],
        name: "worker".to_owned(),
        access: Access::organization("acme"),
        scopes: [Scope::OperationsWork].into(),
        expires_at: None,
        instance: None,
    };
    let token = store.create_token(new).await.unwrap();
    for _ in 0..2 {
        fixture.create("acme", NewOperation::of_kind("scan")).await;
    }
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let remote = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: Some(Access::organization("acme")),
        among: None,
        limit: 1,
        worker: token.id,
        lease: Duration::from_secs(30),
    };
    assert_eq!(store.claim(remote).await.unwrap().len(), 1);
    let local: Vec<_> = store.lost_leases(Lost::Local, 10).await.unwrap().into_iter().map(|lost| lost.lease).collect();
    assert_eq!(local, [claimed.lease]);
    assert_eq!(store.lost_leases(Lost::Expired, 10).await.unwrap(), []);
}

async fn claims_go_by_priority_and_then_by_age(fixture: Fixture) {
    for (resource, priority) in [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", 0)] {
        let kind = if resource == "e" { "other" } else { "scan" };
        fixture.create("acme", NewOperation { priority, ..about(kind, "r", resource) }).await;
    }
    fixture.create("acme", NewOperation::of_kind("not ours".replace(' ', "_"))).await;
    let claimed = fixture.claim(&["scan", "other"], 10).await;
    let order: String = claimed.iter().map(|c| c.operation.resource.as_ref().unwrap().resource_id.as_str()).collect();
    assert_eq!(order, "bdaec");
    fixture.assert_sound().await;
}

async fn claims_rotate_over_organizations(fixture: Fixture) {
    // Of several cells, each has scheduling rounds of its own.
    if fixture.has_cells() {
        return;
    }
    for organization in ["a", "b", "c"] {
        let many = if organization == "a" { 50 } else { 3 };
        fixture.store.create(organization, vec![NewOperation::of_kind("scan"); many], None).await.unwrap();
    }
    fixture.create("d", NewOperation::of_kind("another")).await;
    let organizations = |claimed: Vec<store::Claimed>| -> Vec<String> {
        claimed.into_iter().map(|claimed| claimed.lease.organization).collect()
    };
    assert_eq!(organizations(fixture.claim(&["scan"], 6).await), ["a", "b", "c", "a", "b", "c"]);
    let mut served = Vec::new();
    for _ in 0..4 {
        served.extend(organizations(fixture.claim(&["scan"], 1).await));
    }
    assert_eq!(served, ["a", "b", "c", "a"], "one at a time, in rotation");
    fixture.assert_sound().await;
}

async fn run_after_is_not_claimed_before_its_time(fixture: Fixture) {
    let at = fixture.store.now().after(Duration::from_secs(60));
    fixture.create("acme", NewOperation { run_after: Some(at), ..NewOperation::of_kind("scan") }).await;
    let past = Timestamp::from_millis(0);
    fixture.create("acme", NewOperation { run_after: Some(past), ..NewOperation::of_kind("scan") }).await;
    assert_eq!(fixture.claim(&["scan"], 10).await.len(), 1);
    fixture.advance(Duration::from_secs(60));
    assert_eq!(fixture.claim(&["scan"], 10).await.len(), 1);
}

pub(crate) async fn an_idempotency_key_creates_once(fixture: Fixture) {
    let key = |fingerprint: u8| Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [fingerprint; 32] });
    let two = || vec![NewOperation::of_kind("scan"), NewOperation::of_kind("other")];
    let first = fixture.store.create("acme", two(), key(1)).await.unwrap();
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.settle(&claimed, completed("done")).await.unwrap();
    let replay = fixture.store.create("acme", two(), key(1)).await.unwrap();
    let ids = |operations: &[operations::Operation]| operations.iter().map(|o| o.id).collect::<Vec<_>>();
    assert_eq!(ids(&replay), ids(&first));
    assert_eq!(replay[0].output, "done", "shown as they are now");
    let conflict = fixture.store.create("acme", two(), key(2)).await;
    assert!(matches!(conflict, Err(StoreError::IdempotencyConflict)), "{conflict:?}");
    assert_ne!(ids(&fixture.store.create("other", two(), key(2)).await.unwrap()), ids(&first), "per organization");
    fixture.advance(Duration::from_secs(24 * 3600));
    assert_eq!(fixture.store.forget_idempotency_keys(1).await.unwrap(), 1);
    let later = fixture.store.create("acme", two(), key(2)).await.unwrap();
    assert_ne!(ids(&later), ids(&first), "the window is over");
    fixture.assert_sound().await;
}

async fn concurrent_creations_with_one_key_create_once(fixture: Fixture) {
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let store = Arc::clone(&fixture.store);
            tokio::spawn(async move {
                let key = Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [1; 32] });
                store.create("acme", vec![NewOperation::of_kind("scan")], key).await.unwrap().remove(0).id
            })
        })
        .collect();
    let mut ids = BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    let listing = fixture.store.list(&Access::organization("acme"), &Filter::default(), EVERY).await.unwrap();
    assert_eq!(listing.page.total_count, 1);
    fixture.assert_sound().await;
}

async fn concurrent_workers_never_share_an_operation(fixture: Fixture) {
    for organization in ["a", "b", "c"] {
        fixture.store.create(organization, vec![NewOperation::of_kind("scan"); 100], None).await.unwrap();
    }
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&fixture.store);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let claimed = store.claim(claim_request(&["scan"], 7)).await.unwrap();
                    if claimed.is_empty() {
                        return seen;
                    }
                    seen.extend(claimed.iter().map(|c| c.operation.id));
                    let settlements = claimed.into_iter().map(|c| Settlement {
                        lease: c.lease,
                        outcome: completed("ok"),
                        retry_after: Duration::ZERO,
                    });
                    let results = store.settle(settlements.collect()).await.unwrap();
                    assert!(results.iter().all(|r| *r == Ok(Status::Completed)), "{results:?}");
                }
            })
        })
        .collect();
    let mut times = BTreeMap::<OperationId, u32>::new();
    for worker in workers {
        for id in worker.await.unwrap() {
            *times.entry(id).or_default() += 1;
        }
    }
    assert_eq!(times.len(), 300);
    assert!(times.values().all(|n| *n == 1));
    fixture.assert_sound().await;
}

async fn another_organizations_operations_do_not_exist(fixture: Fixture) {
    let ours = fixture.finished("acme", about("scan", "image", "alpine"), completed("secret")).await;
    let other = Access::organization("other");
    assert_eq!(fixture.store.get(&other, ours.id).await.unwrap(), None);
    assert_eq!(fixture.store.output(&other, ours.id).await.unwrap(), None);
    for filter in [Filter::default(), Filter { resource: ours.resource.clone(), ..Filter::default() }] {
        let listing = fixture.store.list(&other, &filter, EVERY).await.unwrap();
        assert_eq!((listing.entries.len(), listing.page.total_count), (0, 0));
    }
}

async fn a_project_list_limits_counts_as_well_as_pages(fixture: Fixture) {
    for project in ["a", "a", "b", "", "c"] {
        fixture.create("acme", in_project("scan", project)).await;
    }
    let hidden = fixture.create("acme", NewOperation { project_id: "c".to_owned(), ..about("scan", "r", "1") }).await;
    let seen = fixture.create("acme", NewOperation { project_id: "a".to_owned(), ..about("scan", "r", "1") }).await;
    let access = Access::projects("acme", ["a", "b"]);
    let listing = fixture.store.list(&access, &Filter::default(), EVERY).await.unwrap();
    assert_eq!((listing.entries.len(), listing.page.total_count), (4, 4));
    assert_eq!(fixture.store.get(&access, hidden.id).await.unwrap(), None);
    assert!(fixture.store.get(&access, seen.id).await.unwrap().is_some());
    let filter = Filter { resource: seen.resource.clone(), ..Filter::default() };
    let listing = fixture.store.list(&access, &filter, EVERY).await.unwrap();
    assert_eq!((listing.entries.len(), listing.page.total_count), (1, 1));
    let nothing = Access::projects("acme", Vec::<String>::new());
    let listing = fixture.store.list(&nothing, &Filter::default(), EVERY).await.unwrap();
    assert_eq!((listing.entries.len(), listing.page.total_count), (0, 0), "an empty list of projects sees nothing");
}

async fn long_outputs_are_left_out_of_lists_and_read_alone(fixture: Fixture) {
    // The length that counts is that of the stored text.
    let short =
        "é".repeat(if fixture.is_sealed() { LISTED_OUTPUT_BYTES * 3 / 8 - 50 } else { LISTED_OUTPUT_BYTES / 2 });
    let long = format!("{short}{}", "x".repeat(if fixture.is_sealed() { 100 } else { 1 }));
    let first = fixture.finished("acme", NewOperation::of_kind("scan"), completed(&short)).await;
    let second = fixture.finished("acme", NewOperation::of_kind("scan"), completed(&long)).await;
    let access = Access::organization("acme");
    let listing = fixture.store.list(&access, &Filter::default(), EVERY).await.unwrap();
    let entries: Vec<_> =
        listing.entries.iter().map(|e| (e.operation.id, e.operation.output.len(), e.output_left_out)).collect();
    assert_eq!(entries, [(second.id, 0, true), (first.id, short.len(), false)]);
    assert_eq!(fixture.store.output(&access, second.id).await.unwrap(), Some(long));
}

pub(crate) async fn any_text_comes_back_as_it_was(fixture: Fixture) {
    let text = "\0 nul, \u{1f600}, \"quotes\", \\ and \u{7f} \r\n\u{2028}";
    let completed = fixture.finished("acme", NewOperation::of_kind("scan"), completed(text)).await;
    let failed = fixture.finished("o'rg \"x\"", NewOperation::of_kind("scan"), failed(text, false)).await;
    let get = async |organization: &str, id| fixture.store.get(&Access::organization(organization), id).await.unwrap();
    assert_eq!(get("acme", completed.id).await.unwrap().output, text);
    assert_eq!(get("o'rg \"x\"", failed.id).await.unwrap().error_message, text);
    fixture.assert_sound().await;
}

async fn tokens_are_kept_without_their_secret_and_revoked_for_good(fixture: Fixture) {
    let new = NewToken {
        hash: [7; 32],
        name: "ci".to_owned(),
        access: Access::projects("acme", ["p"]),
        scopes: BTreeSet::from([Scope::OperationsRead]),
        expires_at: Some(fixture.store.now().after(Duration::from_secs(60))),
        instance: None,
    };
    let token = fixture.store.create_token(new).await.unwrap();
    assert!(token.is_valid(fixture.store.now()));
    assert!(token.allows(Scope::OperationsRead) && !token.allows(Scope::OperationsWrite));
    assert_eq!(fixture.store.find_token(&[7; 32]).await.unwrap(), Some(token.clone()));
    assert_eq!(fixture.store.find_token(&[8; 32]).await.unwrap(), None);
    fixture.store.touch_tokens(vec![token.id.clone()]).await.unwrap();
    let used = fixture.store.tokens(Some("acme")).await.unwrap().remove(0);
    assert_eq!(used.last_used_at, Some(fixture.store.now()));
    assert!(fixture.store.revoke_token(&token.id).await.unwrap());
    assert!(!fixture.store.revoke_token("tok_none").await.unwrap());
    let revoked = fixture.store.find_token(&[7; 32]).await.unwrap().unwrap();
    assert!(!revoked.is_valid(fixture.store.now()));
    assert_eq!(fixture.store.tokens(Some("other")).await.unwrap(), []);
    assert_eq!(fixture.store.tokens(None).await.unwrap().len(), 1);
}

async fn evidence_is_known_to_its_organization_only(fixture: Fixture) {
    let new = NewEvidence { digest: Digest::of(b"x"), size: 1, kind: "STRING".to_owned(), name: String::new() };
    fixture.store.put_evidence("acme", new.clone()).await.unwrap();
    fixture.store.put_evidence("acme", new.clone()).await.unwrap();
    let record = fixture.store.evidence("acme", &new.digest).await.unwrap().unwrap();
    assert_eq!((record.size, record.kind), (new.size, new.kind));
    assert_eq!(fixture.store.evidence("other", &new.digest).await.unwrap(), None);
}

async fn doctor_finds_what_is_wrong(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.claim(&["scan"], 1).await;
    fixture.assert_sound().await;
    // Counts are kept in one table or in two, as base and changes: one operation too many is one in either case.
    let one_more = "INSERT INTO counters (organization_id, level, bucket, kind, pending, running, completed, failed)
        VALUES ('acme', 20, 7, 'scan', 1, 0, 0, 0)";
    let one_more_of_project = "INSERT INTO project_counters
        (organization_id, project_id, level, bucket, kind, pending, running, completed, failed)
        VALUES ('acme', 'p', 12, 7, 'scan', 1, 0, 0, 0)";
    for (damage, invariant) in [
        (one_more, "counters equal"),
        (one_more_of_project, "project counters equal"),
        ("DELETE FROM leases", "every running operation has a lease"),
        ("UPDATE organizations SET next_seq = 9", "no gap"),
    ] {
        fixture.tamper(damage).await;
        let findings = fixture.store.doctor().await.unwrap().findings;
        assert!(findings.iter().any(|f| f.invariant.contains(invariant)), "{damage}: {findings:?}");
    }
}

async fn closing_refuses_later_calls(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.store.close().await;
    let error = fixture.store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let again = fixture.reopen().await;
    let listing = again.list(&Access::organization("acme"), &Filter::default(), EVERY).await.unwrap();
    assert_eq!(listing.page.total_count, 1);
}

/// Only of the embedded store: a backup of the folder has one file to copy.
#[tokio::test]
async fn closing_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    store.close().await;
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files, ["longrun.db"]);
}

async fn a_newer_database_is_refused(fixture: Fixture) {
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)";
    fixture.tamper(&format!("{insert} VALUES (99, 'x', true, '', 0)")).await;
    let error = fixture.reopen_error().await;
    assert!(error.to_string().contains("schema version 99"), "{error}");
}

against_both_engines!(
    a_creation_is_there_after_a_restart,
    the_main_path_ends_in_an_output,
    a_stale_settlement_is_told_and_changes_nothing,
    a_lease_that_was_extended_since_it_was_found_expired_is_kept,
    a_settlement_that_is_repeated_is_told_what_was_recorded,
    of_two_settlements_in_one_call_the_first_counts,
    a_heartbeat_keeps_the_lease,
    a_heartbeat_tells_that_somebody_wants_the_operation_stopped,
    of_two_heartbeats_of_an_operation_only_the_one_of_its_current_attempt_holds,
    a_project_list_limits_what_is_claimed,
    claims_of_several_project_lists_at_once_get_each_its_own,
    what_is_out_of_a_workers_reach_is_as_good_as_lost,
    a_retryable_failure_waits_out_its_backoff_and_then_gives_up,
    a_release_charges_no_attempt,
    the_leases_of_servers_are_told_from_those_of_remote_workers,
    claims_go_by_priority_and_then_by_age,
    claims_rotate_over_organizations,
    run_after_is_not_claimed_before_its_time,
    an_idempotency_key_creates_once,
    concurrent_creations_with_one_key_create_once,
    concurrent_workers_never_share_an_operation,
    another_organizations_operations_do_not_exist,
    a_project_list_limits_counts_as_well_as_pages,
    long_outputs_are_left_out_of_lists_and_read_alone,
    any_text_comes_back_as_it_was,
    tokens_are_kept_without_their_secret_and_revoked_for_good,
    evidence_is_known_to_its_organization_only,
    doctor_finds_what_is_wrong,
    closing_refuses_later_calls,
    a_newer_database_is_refused,
);
