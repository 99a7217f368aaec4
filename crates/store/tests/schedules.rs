//! Schedules: each due time is handled once, whichever servers run; what is made up, what overlaps, who sees what.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use operations::schedule::{CatchUp, NewSchedule, Overlap};
use operations::{Access, Concurrency, Filter, NewOperation, Operation, PageRequest, Resource, Status, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use store::{
    Actor, ActorKind, AuditCall, AuditFilter, Exceeded, Fired, Quota, Quotas, Schedule, ScheduleRefusal, Store,
    StoreError, fire_schedules, trigger_schedule,
};

use super::support::{Engine, Fixture, against_both_engines, completed, fixture};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Every minute, an operation of the kind that has the name of the schedule.
fn every_minute(name: &str) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: String::new(),
        every: Some(MINUTE),
        time_zone: String::new(),
        operation: NewOperation {
            input: "{\"what\":1}".to_owned(),
            labels: [("team".to_owned(), "search".to_owned())].into(),
            ..NewOperation::of_kind(name)
        },
        overlap: Overlap::Allow,
        catch_up: CatchUp::All,
        jitter: Duration::ZERO,
        paused: false,
    }
}

fn acme() -> Access {
    Access::organization("acme")
}

async fn keep(fixture: &Fixture, wanted: NewSchedule) -> Schedule {
    fixture.store.create_schedule("acme", wanted).await.unwrap().unwrap()
}

async fn read(fixture: &Fixture, name: &str) -> Schedule {
    fixture.store.schedule(&acme(), name).await.unwrap().unwrap()
}

async fn fire(fixture: &Fixture) -> Fired {
    fire_schedules(&*fixture.store, "acme", 100).await.unwrap()
}

/// The operations of a kind, oldest first.
async fn made(store: &dyn Store, kind: &str) -> Vec<Operation> {
    let filter = Filter { kind: Some(kind.to_owned()), ..Filter::default() };
    let page = PageRequest { page: 0, page_size: 1_000 };
    let listing = store.list(&acme(), &filter, page).await.unwrap();
    listing.entries.into_iter().rev().map(|entry| entry.operation).collect()
}

async fn a_due_time_creates_once_and_the_schedule_goes_on(fixture: Fixture) {
    let begun = fixture.store.now();
    let kept = keep(&fixture, every_minute("scan")).await;
    assert_eq!((kept.revision, kept.next_due, kept.last_time), (1, Some(begun.after(MINUTE)), None));
    assert_eq!(kept.next_times(), [1, 2, 3, 4, 5].map(|n| begun.after(MINUTE * n)));
    let due = fixture.store.due_schedules().await.unwrap();
    assert_eq!((due.organizations.len(), due.next), (0, Some(begun.after(MINUTE))));
    assert_eq!(fire(&fixture).await, Fired::default(), "it is not due yet");
    fixture.advance(MINUTE);
    assert_eq!(fixture.store.due_schedules().await.unwrap().organizations, ["acme"]);
    assert_eq!(fire(&fixture).await.operations, 1);
    assert_eq!(fire(&fixture).await, Fired::default(), "it was handled");
    let operation = made(&*fixture.store, "scan").await.remove(0);
    let after = read(&fixture, "scan").await;
    assert_eq!((after.last_time, after.last_operation), (Some(begun.after(MINUTE)), Some(operation.id)));
    assert_eq!(after.next_due, Some(begun.after(MINUTE * 2)));
    assert_eq!((after.wanted, after.revision), (every_minute("scan"), 1));
    let claimed = fixture.claim(&["scan"], 1).await;
    assert_eq!(claimed[0].input, "{\"what\":1}", "sealed or not, the worker gets what was written");
    fixture.assert_sound().await;
}

async fn a_schedule_keeps_every_part_of_its_operation(fixture: Fixture) {
    // Written out, so that a new part cannot be forgotten.
    let operation = NewOperation {
        kind: "scan".to_owned(),
        resource: Some(Resource { resource_type: "image".to_owned(), resource_id: "shop".to_owned() }),
        project_id: "p".to_owned(),
        project_version_id: "v".to_owned(),
        input: "{}".to_owned(),
        priority: 7,
        run_after: None,
        timeout: Some(HOUR),
        max_attempts: 3,
        retain_for: Some(HOUR * 2),
        concurrency: Some(Concurrency { key: "shop".to_owned(), limit: 1 }),
        labels: [("team".to_owned(), "search".to_owned())].into(),
        unique_key: None,
        schedule: None,
        trace: None,
    };
    let wanted = NewSchedule { operation, ..every_minute("scan") };
    keep(&fixture, wanted.clone()).await;
    assert_eq!(read(&fixture, "scan").await.wanted, wanted);
    fixture.advance(MINUTE * 2);
    assert_eq!(fire(&fixture).await.operations, 2);
    assert_eq!(fixture.claim(&["scan"], 10).await.len(), 1, "one at a time, by its concurrency key");
    fixture.assert_sound().await;
}

async fn after_a_week_off_each_makes_up_what_it_was_told_to(fixture: Fixture) {
    for (name, catch_up) in [("none", CatchUp::None), ("latest", CatchUp::Latest), ("all", CatchUp::All)] {
        keep(&fixture, NewSchedule { catch_up, every: Some(HOUR), ..every_minute(name) }).await;
    }
    // Long after any idempotency key would have been forgotten.
    fixture.advance(HOUR * 24 * 7 + MINUTE * 5);
    fixture.store.forget_idempotency_keys(1_000).await.unwrap();
    let servers = [Arc::clone(&fixture.store), fixture.second_server().await];
    for server in servers.iter().chain(&servers) {
        fire_schedules(&**server, "acme", 100).await.unwrap();
    }
    let counts = async || {
        let store = &*fixture.store;
        [made(store, "none").await.len(), made(store, "latest").await.len(), made(store, "all").await.len()]
    };
    assert_eq!(counts().await, [0, 1, 100]);
    let none = read(&fixture, "none").await;
    assert_eq!(none.passed_over, Some(none.created_at.after(HOUR * 24 * 7)));
    fixture.advance(HOUR);
    assert_eq!(fire(&fixture).await.operations, 2, "five minutes late is too late for the first");
    fixture.advance(HOUR - MINUTE * 5);
    fire(&fixture).await;
    assert_eq!(counts().await, [1, 3, 102]);
    fixture.assert_sound().await;
}

async fn what_overlaps_is_skipped_or_cancelled(fixture: Fixture) {
    keep(&fixture, NewSchedule { overlap: Overlap::Skip, ..every_minute("skip") }).await;
    keep(&fixture, NewSchedule { overlap: Overlap::CancelPrevious, ..every_minute("cancel") }).await;
    for _ in 0..3 {
        fixture.advance(MINUTE);
        fire(&fixture).await;
    }
    let store = &*fixture.store;
    assert_eq!(made(store, "skip").await.len(), 1, "it still waits");
    let skip = read(&fixture, "skip").await;
    assert_eq!(skip.passed_over, Some(skip.created_at.after(MINUTE * 3)));
    let ends: Vec<(Status, bool)> =
        made(store, "cancel").await.iter().map(|operation| (operation.status, operation.was_cancelled())).collect();
    assert_eq!(ends, [(Status::Failed, true), (Status::Failed, true), (Status::Pending, false)]);
    let claimed = fixture.claim(&["skip"], 1).await;
    fixture.settle(&claimed[0], completed("")).await.unwrap();
    fixture.advance(MINUTE);
    fire(&fixture).await;
    assert_eq!(made(store, "skip").await.len(), 2);
    // The running operation is asked to stop, and the next one does not wait for it.
    let running = fixture.claim(&["cancel"], 1).await.remove(0);
    fixture.advance(MINUTE);
    fire(&fixture).await;
    let statuses: Vec<Status> = made(store, "cancel").await.iter().map(|operation| operation.status).collect();
    assert_eq!(statuses[3..], [Status::Running, Status::Pending]);
    assert!(fixture.settle(&running, completed("")).await.is_ok());
    fixture.assert_sound().await;
}

async fn what_is_paused_creates_nothing_and_makes_nothing_up(fixture: Fixture) {
    let kept = keep(&fixture, every_minute("scan")).await;
    let paused = NewSchedule { paused: true, ..kept.wanted.clone() };
    let access = acme();
    let update = async |wanted: NewSchedule, read: &Schedule| {
        fixture.store.update_schedule(&access, wanted, read).await.unwrap()
    };
    let paused = update(paused, &kept).await.unwrap();
    assert_eq!((paused.revision, paused.next_due, paused.next_times().len()), (2, None, 0));
    fixture.advance(HOUR);
    assert_eq!(fixture.store.due_schedules().await.unwrap(), store::DueSchedules::default());
    assert_eq!(update(kept.wanted.clone(), &kept).await, Err(ScheduleRefusal::Changed));
    let resumed = update(kept.wanted.clone(), &paused).await.unwrap();
    assert_eq!(resumed.next_due, Some(kept.created_at.after(HOUR + MINUTE)), "from now on");
    // Other times begin now; any other change leaves the times alone.
    let other = NewSchedule { every: Some(HOUR), ..kept.wanted.clone() };
    let other = update(other, &resumed).await.unwrap();
    assert_eq!(other.next_due, Some(kept.created_at.after(HOUR * 2)));
    fixture.advance(MINUTE);
    let same = NewSchedule { overlap: Overlap::Skip, ..other.wanted.clone() };
    assert_eq!(update(same, &other).await.unwrap().next_due, other.next_due);
    fixture.assert_sound().await;
}

async fn a_clock_that_is_set_back_doubles_nothing(fixture: Fixture) {
    keep(&fixture, every_minute("scan")).await;
    fixture.advance(MINUTE * 3);
    assert_eq!(fire(&fixture).await.operations, 3);
    fixture.set_back(MINUTE * 2);
    assert_eq!(fire(&fixture).await.operations, 0);
    for _ in 0..2 {
        fixture.advance(MINUTE);
        assert_eq!(fire(&fixture).await.operations, 0, "these times have been");
    }
    // Not even when it was paused and is resumed meanwhile.
    fixture.set_back(MINUTE * 2);
    for paused in [true, false] {
        let kept = read(&fixture, "scan").await;
        let wanted = NewSchedule { paused, ..kept.wanted.clone() };
        fixture.store.update_schedule(&acme(), wanted, &kept).await.unwrap().unwrap();
    }
    fixture.advance(MINUTE * 2);
    assert_eq!(fire(&fixture).await.operations, 0);
    fixture.advance(MINUTE);
    assert_eq!(fire(&fixture).await.operations, 1);
}

async fn what_there_is_no_room_for_is_told_and_tried_again(fixture: Fixture) {
    let quota = Quota { max_pending: Some(2), ..Quota::default() };
    fixture.store.set_quotas(Quotas { everybody: quota, ..Quotas::default() });
    keep(&fixture, every_minute("scan")).await;
    fixture.advance(MINUTE * 4);
    assert_eq!(fire(&fixture).await.operations, 2);
    let full = read(&fixture, "scan").await;
    assert!(full.last_error.contains("at most 2 operations"), "{}", full.last_error);
    assert_eq!(full.last_error_at, Some(fixture.store.now()));
    assert_eq!(full.last_time, Some(full.created_at.after(MINUTE * 2)));
    assert_eq!(full.next_due, Some(full.created_at.after(MINUTE * 3)));
    assert_eq!(fire(&fixture).await, Fired::default(), "a moment later");
    for claimed in fixture.claim(&["scan"], 2).await {
        fixture.settle(&claimed, completed("")).await.unwrap();
    }
    fixture.advance(Duration::from_secs(10));
    assert_eq!(fire(&fixture).await.operations, 2);
    let done = read(&fixture, "scan").await;
    assert_eq!((done.last_error.as_str(), done.last_error_at), ("", None));
    // The caller that triggers by hand gets the refusal itself.
    let refused = trigger_schedule(&*fixture.store, &*fixture.store, &acme(), "scan").await;
    assert!(matches!(refused, Err(StoreError::Exceeded(Exceeded::Pending { limit: 2 }))), "{refused:?}");
    fixture.assert_sound().await;
}

async fn an_operation_that_may_not_be_created_any_more_is_passed_over(fixture: Fixture) {
    keep(&fixture, every_minute("scan")).await;
    let quota = Quota { max_input: 4, ..Quota::default() };
    fixture.store.set_quotas(Quotas { everybody: quota, ..Quotas::default() });
    fixture.advance(MINUTE);
    assert_eq!(fire(&fixture).await.operations, 0);
    let kept = read(&fixture, "scan").await;
    assert!(kept.last_error.contains("input: is 10 bytes long"), "{}", kept.last_error);
    assert_eq!((kept.passed_over, kept.last_time), (Some(kept.created_at.after(MINUTE)), None));
    assert_eq!(kept.next_due, Some(kept.created_at.after(MINUTE * 2)));
    let own_kinds = BTreeSet::from(["scan".to_owned()]);
    fixture.store.set_quotas(Quotas { own_kinds, ..Quotas::default() });
    fixture.advance(MINUTE);
    fire(&fixture).await;
    assert!(read(&fixture, "scan").await.last_error.contains("kind: is reserved"));
}

async fn a_trigger_creates_at_once_and_leaves_the_times_alone(fixture: Fixture) {
    let skip = NewSchedule { overlap: Overlap::Skip, paused: true, ..every_minute("scan") };
    keep(&fixture, skip).await;
    let call = AuditCall {
        organization: "acme".to_owned(),
        actor: Actor { kind: ActorKind::Token, id: "tok_1".to_owned(), name: "ci".to_owned() },
        action: "schedules.trigger".into(),
        targets: vec!["schedules/scan".to_owned()],
        address: String::new(),
        request_id: String::new(),
    };
    let caller = fixture.store.on_behalf_of(call);
    let access = acme();
    let trigger = || trigger_schedule(&*caller, &*fixture.store, &access, "scan");
    let first = { trigger().await }.unwrap().unwrap();
    assert_eq!(first.status, Status::Pending);
    let again = trigger().await.unwrap();
    assert_eq!(again, Err(ScheduleRefusal::StillRunning(first.id)));
    let kept = read(&fixture, "scan").await;
    assert_eq!((kept.last_operation, kept.last_time, kept.next_due), (Some(first.id), None, None));
    let log = fixture.store.audit("acme", &AuditFilter::default(), None, 10).await.unwrap().entries;
    let reported: Vec<(&str, &[String])> = log.iter().map(|entry| (&*entry.action, &*entry.targets)).collect();
    let targets = ["schedules/scan".to_owned(), format!("operations/{}", first.id)];
    assert_eq!(reported, [("schedules.trigger", &targets[..])], "what was refused has changed nothing");
    // The operation that is to be cancelled is cancelled.
    let wanted = NewSchedule { overlap: Overlap::CancelPrevious, ..kept.wanted.clone() };
    fixture.store.update_schedule(&acme(), wanted, &kept).await.unwrap().unwrap();
    trigger().await.unwrap().unwrap();
    assert!(fixture.store.get(&acme(), first.id).await.unwrap().unwrap().was_cancelled());
    fixture.assert_sound().await;
}

async fn nobody_sees_or_changes_what_is_not_theirs(fixture: Fixture) {
    let store = &*fixture.store;
    let mut kept = Vec::new();
    for (name, project) in [("a", "one"), ("b", "two"), ("c", "")] {
        let mut wanted = every_minute(name);
        project.clone_into(&mut wanted.operation.project_id);
        kept.push(keep(&fixture, wanted).await);
    }
    let one = Access::projects("acme", BTreeSet::from(["one".to_owned()]));
    let names = async |access: &Access, after: &str, limit| -> Vec<String> {
        let found = store.schedules(access, after, limit).await.unwrap();
        found.into_iter().map(|schedule| schedule.wanted.name).collect()
    };
    assert_eq!(names(&acme(), "", 2).await, ["a", "b"]);
    assert_eq!(names(&acme(), "b", 2).await, ["c"]);
    assert_eq!(names(&one, "", 10).await, ["a"]);
    let other = Access::organization("other");
    assert_eq!(names(&other, "", 10).await, [""; 0]);
    for access in [&one, &other] {
        assert_eq!(store.schedule(access, "b").await.unwrap(), None);
        assert_eq!(store.delete_schedule(access, "b").await.unwrap(), Err(ScheduleRefusal::NotFound));
        let triggered = trigger_schedule(store, store, access, "b").await.unwrap();
        assert_eq!(triggered, Err(ScheduleRefusal::NotFound));
        let update = store.update_schedule(access, every_minute("b"), &kept[1]).await.unwrap();
        assert_eq!(update, Err(ScheduleRefusal::NotFound));
    }
    assert_eq!(store.delete_schedule(&one, "a").await.unwrap(), Ok(()));
    // Names and numbers of schedules belong to one organization.
    let taken = store.create_schedule("acme", every_minute("b")).await.unwrap();
    assert_eq!(taken, Err(ScheduleRefusal::NameTaken));
    let quota = Quota { max_schedules: 2, ..Quota::default() };
    store.set_quotas(Quotas { everybody: quota, ..Quotas::default() });
    let full = store.create_schedule("acme", every_minute("d")).await.unwrap();
    assert_eq!(full, Err(ScheduleRefusal::Full { limit: 2 }));
    store.create_schedule("other", every_minute("b")).await.unwrap().unwrap();
    fixture.advance(MINUTE);
    assert_eq!(store.due_schedules().await.unwrap().organizations, ["acme", "other"]);
    // A deleted organization has none, and one that is being deleted fires none.
    store.begin_deletion("acme", true).await.unwrap();
    assert_eq!(store.due_schedules().await.unwrap().organizations, ["other"]);
    let gone = store.create_schedule("acme", every_minute("e")).await;
    assert!(matches!(gone, Err(StoreError::OrganizationGone)), "{gone:?}");
    while store.delete_part("acme", 100).await.unwrap() > Some(0) {}
    store.end_deletion("acme").await.unwrap();
    assert_eq!(names(&acme(), "", 10).await, [""; 0]);
    fixture.assert_sound().await;
}

async fn a_schedule_that_was_made_anew_under_its_name_is_not_overwritten(fixture: Fixture) {
    let kept = keep(&fixture, every_minute("scan")).await;
    fixture.store.delete_schedule(&acme(), "scan").await.unwrap().unwrap();
    let anew = keep(&fixture, NewSchedule { every: Some(HOUR), ..kept.wanted.clone() }).await;
    assert_eq!(anew.revision, kept.revision);
    let wanted = NewSchedule { paused: true, ..kept.wanted.clone() };
    let update = fixture.store.update_schedule(&acme(), wanted, &kept).await.unwrap();
    assert_eq!(update, Err(ScheduleRefusal::Changed));
    assert_eq!(read(&fixture, "scan").await, anew);
    fixture.assert_sound().await;
}

async fn the_doctor_finds_a_schedule_that_is_never_looked_at(fixture: Fixture) {
    keep(&fixture, every_minute("scan")).await;
    fixture.tamper("UPDATE schedules SET fire_at = NULL").await;
    let findings = fixture.store.doctor().await.unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].detail.contains("acme scan"), "{findings:?}");
}

against_both_engines!(
    a_due_time_creates_once_and_the_schedule_goes_on,
    a_schedule_keeps_every_part_of_its_operation,
    after_a_week_off_each_makes_up_what_it_was_told_to,
    what_overlaps_is_skipped_or_cancelled,
    what_is_paused_creates_nothing_and_makes_nothing_up,
    a_clock_that_is_set_back_doubles_nothing,
    what_there_is_no_room_for_is_told_and_tried_again,
    an_operation_that_may_not_be_created_any_more_is_passed_over,
    a_trigger_creates_at_once_and_leaves_the_times_alone,
    nobody_sees_or_changes_what_is_not_theirs,
    a_schedule_that_was_made_anew_under_its_name_is_not_overwritten,
    the_doctor_finds_a_schedule_that_is_never_looked_at,
);

/// A change of keys reaches the inputs of schedules too: afterwards the old key is not needed.
#[tokio::test]
async fn inputs_are_sealed_anew_with_the_rest() {
    for engine in [Engine::SealedSqlite, Engine::SealedPostgres] {
        let fixture = fixture(engine).await;
        keep(&fixture, every_minute("scan")).await;
        let plain = fixture.reopen_plain().await;
        let both = super::support::keyring(&["2026-11", "2026-12"], Some("2026-12"));
        let rotated = store::seal::rotate(&*plain, &both, |_| ()).await.unwrap();
        assert_eq!((rotated.renewed, rotated.is_complete), (1, true), "{engine:?}");
        let new = super::support::sealed(plain, Some(&super::support::keyring(&["2026-12"], Some("2026-12"))));
        let kept = new.schedule(&acme(), "scan").await.unwrap().unwrap();
        assert_eq!(kept.wanted.operation.input, "{\"what\":1}");
        // A server without the key is answered with the reason, and the others are listed.
        let listed = fixture.store.schedules(&acme(), "", 10).await.unwrap();
        assert!(listed[0].last_error.contains("cannot be opened"), "{}", listed[0].last_error);
        assert!(fixture.store.schedule(&acme(), "scan").await.is_err());
    }
}

/// Several servers on one database fire at once; their work is interrupted in the middle, and their connections are
/// cut. After each step of the clock each schedule has created one more operation.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_die_at_random_neither_double_nor_lose() {
    const SCHEDULES: usize = 40;
    const STEPS: usize = 6;
    for seed in 0..3 {
        let fixture = fixture(Engine::Postgres).await;
        for index in 0..SCHEDULES {
            let overlap = Overlap::ALL[index % 2 * 2];
            keep(&fixture, NewSchedule { overlap, ..every_minute(&format!("k{index}")) }).await;
        }
        let foreign = fixture.foreign_postgres().await;
        let mut random = StdRng::seed_from_u64(seed);
        for step in 1..=STEPS {
            fixture.advance(MINUTE);
            let done = Arc::new(AtomicBool::new(false));
            let serve = async || {
                let (store, done) = (fixture.reopen().await, Arc::clone(&done));
                let serving = Arc::clone(&store);
                let task = tokio::spawn(async move {
                    while !done.load(Ordering::SeqCst) {
                        // A failed call is repeated, by this server or another one.
                        let _ = fire_schedules(&*serving, "acme", 7).await;
                        tokio::task::yield_now().await;
                    }
                });
                (store, task)
            };
            let mut servers = Vec::new();
            for _ in 0..3 {
                servers.push(serve().await);
            }
            // A read that is itself cut off says nothing.
            while fixture.store.due_schedules().await.map_or(true, |due| !due.organizations.is_empty()) {
                let which = random.random_range(0..servers.len());
                if random.random_bool(0.5) {
                    let (store, task) = servers.swap_remove(which);
                    task.abort();
                    store.close().await;
                    servers.push(serve().await);
                } else {
                    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name = 'longrun server' AND datname = current_database()
                        ORDER BY random() LIMIT 2";
                    sqlx::query(sql).execute(&foreign).await.unwrap();
                }
            }
            done.store(true, Ordering::SeqCst);
            for (store, task) in servers {
                let _ = task.await;
                store.close().await;
            }
            let reader = fixture.reopen().await;
            let mut counts = BTreeMap::new();
            for index in 0..SCHEDULES {
                *counts.entry(made(&*reader, &format!("k{index}")).await.len()).or_insert(0) += 1;
            }
            reader.close().await;
            assert_eq!(counts, BTreeMap::from([(step, SCHEDULES)]), "seed {seed}");
        }
        foreign.close().await;
        let report = fixture.reopen().await.doctor().await.unwrap();
        assert_eq!(report.findings, []);
    }
}

/// The first and the last moment that a store can keep.
#[tokio::test]
async fn a_schedule_at_the_end_of_time_ends() {
    let fixture = fixture(Engine::Sqlite).await;
    let kept = keep(&fixture, every_minute("scan")).await;
    let end = Timestamp::from_millis(i64::MAX);
    fixture.advance(Duration::from_millis(end.as_millis().abs_diff(kept.created_at.as_millis()) - 1));
    fire(&fixture).await;
    let ended = read(&fixture, "scan").await;
    assert_eq!((ended.next_due, ended.next_times().len()), (None, 0));
    fixture.assert_sound().await;
}
