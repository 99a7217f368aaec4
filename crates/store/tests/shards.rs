//! Rows of different organizations may have the same place: in partitions here, in shards elsewhere. A change to one
//! organization's row changes no other's.
use std::time::Duration;

use operations::{Access, NewOperation, OperationId, Outcome, Status};
use store::{ClaimRequest, LeaseRef, OperationCommand, Settlement, StoreError};

use super::support::{Engine, Fixture, completed, failed, fixture};

const ORGANIZATIONS: [&str; 3] = ["acme", "globex", "initech"];

/// A store whose tables have a partition for each organization, so that places repeat.
async fn partitioned() -> Fixture {
    let fixture = fixture(Engine::Postgres).await;
    for table in ["active", "queue", "settled", "leases", "events", "changes"] {
        fixture.tamper(&format!("ALTER TABLE {table} RENAME TO whole_{table}")).await;
        let make =
            format!("CREATE TABLE {table} (LIKE whole_{table} INCLUDING ALL) PARTITION BY LIST (organization_id)");
        fixture.tamper(&make).await;
        for organization in ORGANIZATIONS {
            let part =
                format!("CREATE TABLE {table}_{organization} PARTITION OF {table} FOR VALUES IN ('{organization}')");
            fixture.tamper(&part).await;
        }
        fixture.tamper(&format!("DROP TABLE whole_{table}")).await;
    }
    fixture
}

/// Creates one operation in every organization, each at the same place of its partition; returns the ids.
async fn create(fixture: &Fixture) -> Vec<OperationId> {
    let mut ids = Vec::new();
    for organization in ORGANIZATIONS {
        ids.push(fixture.create(organization, NewOperation::of_kind("scan")).await.id);
    }
    ids
}

async fn claim(fixture: &Fixture, organization: &str) -> LeaseRef {
    let request = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: Some(Access::organization(organization)),
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
    };
    fixture.store.claim(request).await.unwrap().remove(0).lease
}

async fn settle(fixture: &Fixture, lease: LeaseRef, outcome: Outcome) -> Status {
    let settlement = Settlement { lease, outcome, retry_after: Duration::ZERO };
    fixture.store.settle(vec![settlement]).await.unwrap().remove(0).unwrap()
}

/// Asserts that the operations of the first organization and of the others are where they should be.
async fn assert_statuses(fixture: &Fixture, ids: &[OperationId], first: Option<Status>, others: Status) {
    for (index, (organization, id)) in ORGANIZATIONS.iter().zip(ids).enumerate() {
        let found = fixture.store.get(&Access::organization(*organization), *id).await.unwrap();
        let expected = if index == 0 { first } else { Some(others) };
        assert_eq!(found.map(|operation| operation.status), expected, "{organization}");
    }
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steering_stays_within_the_organization() {
    let fixture = partitioned().await;
    let acme = Access::organization("acme");
    // Pending: taken out of the queue.
    let ids = create(&fixture).await;
    fixture.store.command(&acme, ids[0], OperationCommand::Cancel).await.unwrap();
    assert_statuses(&fixture, &ids, Some(Status::Failed), Status::Pending).await;
    for organization in &ORGANIZATIONS[1..] {
        let lease = claim(&fixture, organization).await;
        settle(&fixture, lease, failed("no", false)).await;
    }
    // Failed: retried, and removed.
    fixture.store.command(&acme, ids[0], OperationCommand::Retry).await.unwrap();
    assert_statuses(&fixture, &ids, Some(Status::Pending), Status::Failed).await;
    let lease = claim(&fixture, "acme").await;
    settle(&fixture, lease, failed("no", false)).await;
    fixture.store.command(&acme, ids[0], OperationCommand::Delete).await.unwrap();
    assert_statuses(&fixture, &ids, None, Status::Failed).await;
    // Running: asked to stop.
    let ids = create(&fixture).await;
    let mut leases = Vec::new();
    for organization in ORGANIZATIONS {
        leases.push(claim(&fixture, organization).await);
    }
    fixture.store.command(&acme, ids[0], OperationCommand::Cancel).await.unwrap();
    let asked = fixture.store.end_overdue_cancels(Duration::ZERO, 10).await.unwrap();
    assert_eq!(asked, 1, "nobody else was asked to stop");
    assert_statuses(&fixture, &ids, Some(Status::Failed), Status::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_ends_and_removals_stay_within_the_organization() {
    let fixture = partitioned().await;
    fixture.store.set_default_retention(Some(Duration::from_secs(60)));
    for outcome in [completed("done"), failed("no", false)] {
        let ids = create(&fixture).await;
        let lease = claim(&fixture, "acme").await;
        assert_statuses(&fixture, &ids, Some(Status::Running), Status::Pending).await;
        for organization in &ORGANIZATIONS[1..] {
            claim(&fixture, organization).await;
        }
        let status = settle(&fixture, lease, outcome).await;
        assert_statuses(&fixture, &ids, Some(status), Status::Running).await;
    }
    fixture.store.set_default_retention(None);
    let leases = fixture.store.lost_leases(store::Lost::Local, 10).await.unwrap();
    for lost in leases {
        settle(&fixture, lost.lease, completed("kept")).await;
    }
    fixture.advance(Duration::from_secs(61));
    assert_eq!(fixture.store.purge(10).await.unwrap(), 2, "those of one organization, whose time is over");
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn distributed_tables_are_refused() {
    let fixture = fixture(Engine::Postgres).await;
    // The table in which Citus keeps which tables it has distributed.
    fixture.tamper("CREATE TABLE pg_dist_partition (logicalrelid regclass)").await;
    fixture.reopen().await;
    fixture.tamper("INSERT INTO pg_dist_partition VALUES ('longrun.active'), ('longrun.settled')").await;
    let StoreError::Unusable(why) = fixture.reopen_error().await else { panic!("it is not refused") };
    assert!(why.contains("Citus") && why.contains("active, settled"), "{why}");
}

/// Statements that write by place are planned while tables may be empty; were an index offered, it would be read whole.
#[test]
fn every_write_by_place_names_the_organization() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres");
    let mut writes = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let statements = text.split("const ").filter(|part| part.contains("ctid = "));
        for statement in statements {
            let places = statement.matches("ctid = ").count();
            let named = statement.matches("organization_id IS NOT DISTINCT FROM $1").count();
            assert_eq!(places, named, "{}: {statement}", file.display());
            writes += places;
        }
    }
    assert!(writes >= 15, "only {writes} were found");
}
