//! PostgreSQL: what others do in the middle of a call, and what fails there.
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use operations::schedule::{CatchUp, NewSchedule, Overlap};
use operations::{Access, NewOperation, Search, Status};
use sqlx::PgPool;
use store::{
    ClaimRequest, GroupBy, IDEMPOTENCY_WINDOW, IdempotencyKey, Pausable, ScheduleRefusal, Start, trigger_schedule,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns when this number of calls wait for a lock of another session.
async fn are_held_up(foreign: &PgPool, calls: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()";
    let all_wait = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(foreign).await.unwrap() < calls {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_wait).await.expect("they wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idempotency_key_that_is_used_anew_while_old_ones_are_forgotten_stays() {
    let fixture = fixture(Engine::Postgres).await;
    let create = async || {
        let key = IdempotencyKey { key: "k".to_owned(), fingerprint: [1; 32] };
        fixture.store.create("acme", vec![NewOperation::of_kind("scan")], Some(key)).await.unwrap().remove(0)
    };
    let created = create().await;
    fixture.advance(IDEMPOTENCY_WINDOW + Duration::from_secs(1));
    let foreign = fixture.foreign_postgres().await;
    // As another server does that has found the key past its time.
    let mut other = foreign.begin().await.unwrap();
    let anew = sqlx::query("UPDATE idempotency_keys SET created_at = $1").bind(fixture.store.now().as_millis());
    assert_eq!(anew.execute(&mut *other).await.unwrap().rows_affected(), 1);
    let store = Arc::clone(&fixture.store);
    let forgets = tokio::spawn(async move { store.forget_idempotency_keys(100).await });
    are_held_up(&foreign, 1).await;
    other.commit().await.unwrap();
    assert_eq!(forgets.await.unwrap().unwrap(), 0);
    assert_eq!(create().await.id, created.id, "the key is known");
    fixture.advance(IDEMPOTENCY_WINDOW + Duration::from_secs(1));
    assert_eq!(fixture.store.forget_idempotency_keys(100).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_claimed_before_a_claim_failed_is_answered() {
    let fixture = fixture(Engine::Postgres).await;
    let claim = async |limit: u32| {
        let request = claim_request(&["scan"], limit);
        fixture.store.claim(ClaimRequest { access: Some(Access::organization("acme")), ..request }).await
    };
    let due = fixture.store.now().after(Duration::from_secs(10));
    let later = NewOperation { run_after: Some(due), ..NewOperation::of_kind("scan") };
    let later = fixture.create("acme", later).await;
    let now = fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.advance(Duration::from_secs(20));
    // The operation that has become due, which comes after the one that was claimable before, cannot be made claimable.
    fixture.tamper("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$").await;
    fixture.tamper("CREATE TRIGGER refuse BEFORE UPDATE ON queue FOR EACH ROW EXECUTE FUNCTION refuse()").await;
    let claimed = claim(10).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.operation.id).collect::<Vec<_>>(), [now.id]);
    fixture.settle(&claimed[0], completed("{}")).await.unwrap();
    assert!(claim(10).await.is_err(), "nothing was claimed before");
    fixture.tamper("DROP TRIGGER refuse ON queue").await;
    let claimed = claim(10).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.operation.id).collect::<Vec<_>>(), [later.id]);
    fixture.tamper("DROP FUNCTION refuse()").await;
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn searches_leave_connections_to_other_calls_and_to_other_organizations() {
    let fixture = fixture(Engine::Postgres).await;
    let created = fixture.create("globex", NewOperation::of_kind("scan")).await;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    let foreign = fixture.foreign_postgres().await;
    // Searches by labels take as long as this.
    let mut lock = foreign.begin().await.unwrap();
    sqlx::query("LOCK TABLE labels IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let search = |organization: &'static str| {
        let store = Arc::clone(&fixture.store);
        tokio::spawn(async move {
            let search: Search = "labels.team = a".parse().unwrap();
            store.count_matching(&Access::organization(organization), &search, GroupBy::default()).await
        })
    };
    let mut searches: Vec<_> = (0..20).map(|_| search("acme")).collect();
    // Of eight connections searches have six at most, and those of one organization three.
    are_held_up(&foreign, 3).await;
    searches.push(search("globex"));
    are_held_up(&foreign, 4).await;
    for _ in 0..20 {
        let found = fixture.store.get(&Access::organization("globex"), created.id).await.unwrap();
        assert!(found.is_some());
    }
    lock.rollback().await.unwrap();
    for search in searches {
        assert_eq!(tokio::time::timeout(PATIENCE, search).await.unwrap().unwrap().unwrap().total, 0);
    }
}

/// The second server waits for the schedule until the first one has created an operation, which its statement began too
/// early to see.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schedule_that_two_servers_trigger_at_once_has_one_operation_that_is_to_run() {
    let fixture = fixture(Engine::Postgres).await;
    let other = fixture.reopen().await;
    let foreign = fixture.foreign_postgres().await;
    let acme = Access::organization("acme");
    for (name, overlap) in [("skips", Overlap::Skip), ("cancels", Overlap::CancelPrevious)] {
        let schedule = NewSchedule {
            name: name.to_owned(),
            cron: String::new(),
            every: Some(Duration::from_secs(60)),
            time_zone: String::new(),
            operation: NewOperation::of_kind(name),
            overlap,
            catch_up: CatchUp::None,
            jitter: Duration::ZERO,
            paused: true,
        };
        fixture.store.create_schedule("acme", schedule).await.unwrap().unwrap();
        for round in 1..=3 {
            let mut busy = foreign.begin().await.unwrap();
            let sql = "SELECT FROM organizations WHERE organization_id = 'acme' FOR UPDATE";
            sqlx::query(sql).execute(&mut *busy).await.unwrap();
            let mut made = Vec::new();
            for (store, server) in [(&fixture.store, 1), (&other, 2)] {
                let (store, acme) = (Arc::clone(store), acme.clone());
                made.push(tokio::spawn(async move { trigger_schedule(&*store, &*store, &acme, name).await }));
                are_held_up(&foreign, server).await;
            }
            busy.rollback().await.unwrap();
            let mut outcomes = Vec::new();
            for trigger in made {
                outcomes.push(tokio::time::timeout(PATIENCE, trigger).await.unwrap().unwrap().unwrap());
            }
            let created: Vec<_> = outcomes.iter().flatten().collect();
            match overlap {
                Overlap::Skip => {
                    assert_eq!(created.len(), 1, "{outcomes:?}");
                    assert!(outcomes.contains(&Err(ScheduleRefusal::StillRunning(created[0].id))), "{outcomes:?}");
                }
                _ => assert_eq!(created.len(), 2, "{outcomes:?}"),
            }
            // The one that is to run.
            let claimed = fixture.claim(&[name], 10).await;
            assert_eq!(claimed.len(), 1, "{name}, round {round}: {outcomes:?}");
            assert_eq!(fixture.settle(&claimed[0], completed("")).await, Ok(Status::Completed));
        }
    }
    fixture.assert_sound().await;
}

/// The creation waits for the organization's row while the kind is paused: its statement began before the pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_paused_while_a_creation_waits_does_not_start() {
    let fixture = fixture(Engine::Postgres).await;
    fixture.finished("acme", NewOperation::of_kind("scan"), completed("")).await;
    let foreign = fixture.foreign_postgres().await;
    for what in [
        Pausable::Organization("acme".to_owned()),
        Pausable::Kind("scan".to_owned()),
        Pausable::KindOf { organization: "acme".to_owned(), kind: "scan".to_owned() },
    ] {
        // One server knows where the row lies, and one does not.
        for store in [Arc::clone(&fixture.store), fixture.reopen().await] {
            // As another server does that creates and fails.
            let mut busy = foreign.begin().await.unwrap();
            let sql = "UPDATE organizations SET next_seq = next_seq WHERE organization_id = 'acme'";
            sqlx::query(sql).execute(&mut *busy).await.unwrap();
            let creates = tokio::spawn(async move {
                let start = Start::new("w", Duration::from_secs(30), |_| panic!("it started"));
                store.create_one("acme", NewOperation::of_kind("scan"), None, Some(start)).await
            });
            are_held_up(&foreign, 1).await;
            fixture.store.pause(what.clone()).await.unwrap();
            busy.rollback().await.unwrap();
            let created = tokio::time::timeout(PATIENCE, creates).await.unwrap().unwrap().unwrap();
            assert_eq!(created.status, Status::Pending, "{what:?}");
            fixture.store.resume(what.clone()).await.unwrap();
            let claimed = fixture.claim(&["scan"], 10).await;
            assert_eq!(claimed.iter().map(|claimed| claimed.operation.id).collect::<Vec<_>>(), [created.id]);
            fixture.settle(&claimed[0], completed("")).await.unwrap();
        }
    }
    fixture.assert_sound().await;
}
