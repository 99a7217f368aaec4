//! Pagination against a naive model: random histories, every filter, every page, count and page from one snapshot.
use crate::support::*;
use operations::page::FINEST;
use operations::{Access, Filter, NOTICE_KIND, NewOperation, Operation, PageRequest, Resource, Status};
use proptest::prelude::*;
use store::OperationCommand;

const KINDS: [&str; 4] = ["scan", "export", "evaluate", NOTICE_KIND];
const PROJECTS: [&str; 4] = ["", "a", "b", "c"];
const RESOURCES: [&str; 3] = ["", "x", "y"];

#[derive(Clone, Debug)]
enum Step {
    Create { kind: usize, project: usize, resource: usize },
    Claim { kind: usize, limit: u32 },
    Settle { which: usize, how: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..KINDS.len(), 0..PROJECTS.len(), 0..RESOURCES.len())
            .prop_map(|(kind, project, resource)| Step::Create { kind, project, resource }),
        2 => (0..KINDS.len(), 1..4u32).prop_map(|(kind, limit)| Step::Claim { kind, limit }),
        3 => (any::<usize>(), 0..3u8).prop_map(|(which, how)| Step::Settle { which, how }),
    ]
}

fn new_operation(kind: usize, project: usize, resource: usize) -> NewOperation {
    let resource = match RESOURCES[resource] {
        "" => None,
        id => Some(Resource { resource_type: "thing".to_owned(), resource_id: id.to_owned() }),
    };
    NewOperation { resource, project_id: PROJECTS[project].to_owned(), ..NewOperation::of_kind(KINDS[kind]) }
}

/// The naive model: all operations of the organization, newest first, as the store itself shows each of them alone.
async fn model(fixture: &Fixture, created: &[Operation]) -> Vec<Operation> {
    let ids: Vec<_> = created.iter().rev().map(|operation| operation.id).collect();
    let operations = fixture.store.get_many(&Access::organization("acme"), &ids).await.unwrap();
    operations.into_iter().map(Option::unwrap).collect()
}

fn every_filter() -> Vec<Filter> {
    let statuses = std::iter::once(None).chain(Status::ALL.map(Some));
    let mut filters = Vec::new();
    for status in statuses {
        for kind in [None, Some("scan"), Some("export"), Some(NOTICE_KIND), Some("nobody")] {
            for resource in [None, Some("x"), Some("nobody")] {
                let resource =
                    resource.map(|id| Resource { resource_type: "thing".to_owned(), resource_id: id.to_owned() });
                filters.push(Filter { status, kind: kind.map(str::to_owned), resource });
            }
        }
    }
    filters
}

fn every_access() -> Vec<Access> {
    vec![
        Access::organization("acme"),
        Access::projects("acme", ["a"]),
        Access::projects("acme", ["a", "c", "nobody"]),
        Access::projects("acme", Vec::<String>::new()),
        Access::organization("other"),
    ]
}

async fn compare_every_page(fixture: &Fixture, operations: &[Operation], page_size: u32) {
    for access in every_access() {
        for filter in every_filter() {
            let visible = |o: &&Operation| {
                access.organization == "acme" && access.sees_project(&o.project_id) && filter.matches(o)
            };
            let expected: Vec<&Operation> = operations.iter().filter(visible).collect();
            let pages = (expected.len() as u32).div_ceil(page_size);
            for page in 0..=pages {
                let request = PageRequest { page, page_size };
                let listing = fixture.store.list(&access, &filter, request).await.unwrap();
                let shown: Vec<&Operation> = listing.entries.iter().map(|entry| &entry.operation).collect();
                let here = expected.chunks(page_size as usize).nth(page as usize).unwrap_or_default();
                assert_eq!(shown, here, "{access:?} {filter:?} {request:?}");
                assert_eq!(listing.page.total_count, expected.len() as u64, "{access:?} {filter:?}");
            }
        }
    }
}

async fn play(engine: Engine, steps: Vec<Step>, page_size: u32, start: u32) {
    let fixture = fixture(engine).await;
    let mut created = Vec::new();
    // Numbers start anywhere, so that pages cross the borders of buckets.
    skip_numbers(&fixture, i64::from(start)).await;
    let mut running = Vec::new();
    for step in steps {
        match step {
            Step::Create { kind, project, resource } => {
                created.push(fixture.create("acme", new_operation(kind, project, resource)).await);
            }
            Step::Claim { kind, limit } => running.extend(fixture.claim(&[KINDS[kind]], limit).await),
            Step::Settle { .. } if running.is_empty() => {}
            Step::Settle { which, how } => {
                let claimed = running.swap_remove(which % running.len());
                let outcome = match how {
                    0 => completed("ok"),
                    1 => failed("broken", false),
                    _ => failed("again", true),
                };
                fixture.settle(&claimed, outcome).await.unwrap();
            }
        }
    }
    let operations = model(&fixture, &created).await;
    compare_every_page(&fixture, &operations, page_size).await;
}

/// Lets the next number be `start` + 1, as if that many operations had been there before.
async fn skip_numbers(fixture: &Fixture, start: i64) {
    let insert = "INSERT INTO organizations (organization_id, next_seq, created_at, removed)";
    fixture.tamper(&format!("{insert} VALUES ('acme', {}, 0, {start})", start + 1)).await;
}

fn history() -> impl Strategy<Value = (Vec<Step>, u32, u32)> {
    // Numbers start around the borders of buckets: the finest, the coarsest that all stores have, and the one above.
    let start = prop_oneof![Just(0), 4_060..4_100u32, 1_048_540..1_048_580u32, 16_777_170..16_777_216u32];
    (proptest::collection::vec(step(), 1..90), 1..12u32, start)
}

fn every_page_equals_the_naive_model(engine: Engine, (steps, page_size, start): (Vec<Step>, u32, u32)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(play(engine, steps, page_size, start));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn every_page_of_every_filter_equals_the_naive_model_in_sqlite(history in history()) {
        every_page_equals_the_naive_model(Engine::Sqlite, history);
    }

    #[test]
    fn every_page_of_every_filter_equals_the_naive_model_in_postgres(history in history()) {
        every_page_equals_the_naive_model(Engine::Postgres, history);
    }
}

/// Many operations over several level-1 buckets, which the random histories are too short to cover.
async fn pages_over_several_buckets_have_every_operation_once(fixture: Fixture) {
    let total = 3 * (1 << FINEST) + 17;
    let new: Vec<NewOperation> =
        (0..total).map(|n| NewOperation::of_kind(if n % 1_000 == 0 { "export" } else { "scan" })).collect();
    for chunk in new.chunks(1_000) {
        fixture.store.create("acme", chunk.to_vec(), None).await.unwrap();
    }
    // A few ends here and there, so that both tables take part.
    let claimed = fixture.claim(&["scan"], 2_000).await;
    for (n, claimed) in claimed.iter().enumerate().step_by(7) {
        fixture.settle(claimed, if n % 2 == 0 { completed("ok") } else { failed("no", false) }).await.unwrap();
    }
    let access = Access::organization("acme");
    for (filter, expected) in [
        (Filter::default(), total as u64),
        (Filter { kind: Some("export".to_owned()), ..Filter::default() }, (total as u64).div_ceil(1_000)),
        (Filter { status: Some(Status::Failed), ..Filter::default() }, 143),
        (Filter { status: Some(Status::Running), ..Filter::default() }, 2_000 - 286),
    ] {
        let mut seen = Vec::new();
        for page in 0.. {
            let listing = fixture.store.list(&access, &filter, PageRequest { page, page_size: 100 }).await.unwrap();
            assert_eq!(listing.page.total_count, expected, "{filter:?}");
            if listing.entries.is_empty() {
                break;
            }
            seen.extend(listing.entries.into_iter().map(|entry| entry.operation));
        }
        assert_eq!(seen.len() as u64, expected, "{filter:?}");
        assert!(seen.iter().all(|operation| filter.matches(operation)));
        let mut ids: Vec<_> = seen.iter().map(|operation| operation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, expected, "no operation twice");
    }
    fixture.assert_sound().await;
}

/// Where operations of projects lie is guessed from how many there are; here the guess is wrong for the newest pages.
async fn pages_of_projects_whose_operations_lie_together_equal_the_naive_model(fixture: Fixture) {
    let mut created = Vec::new();
    for (project, count) in [(1, 1_300), (2, 100), (3, 1_300), (0, 6_000)] {
        let new = (0..count).map(|n| new_operation(n % 2, project, 0)).collect();
        created.extend(fixture.store.create("acme", new, None).await.unwrap());
    }
    let operations = model(&fixture, &created).await;
    let access = Access::projects("acme", ["a", "c"]);
    for kind in [None, Some("scan".to_owned())] {
        let filter = Filter { kind, ..Filter::default() };
        let visible = |o: &&Operation| access.sees_project(&o.project_id) && filter.matches(o);
        let expected: Vec<&Operation> = operations.iter().filter(visible).collect();
        for (page, here) in expected.chunks(90).enumerate() {
            let request = PageRequest { page: u32::try_from(page).unwrap(), page_size: 90 };
            let listing = fixture.store.list(&access, &filter, request).await.unwrap();
            let shown: Vec<&Operation> = listing.entries.iter().map(|entry| &entry.operation).collect();
            assert_eq!(shown, here, "{filter:?} {request:?}");
            assert_eq!(listing.page.total_count, expected.len() as u64);
        }
    }
}

/// Engines that count resources with many operations begin to do so in the midst of this.
async fn pages_of_a_resource_with_many_operations_equal_the_naive_model(fixture: Fixture) {
    skip_numbers(&fixture, 3_000).await;
    let mut created = Vec::new();
    for chunk in 0..9 {
        let new = (500 * chunk..500 * (chunk + 1)).map(|n| new_operation(n % 4, n / 4 % 4, n % 3));
        created.extend(fixture.store.create("acme", new.collect(), None).await.unwrap());
        if chunk == 8 {
            fixture.count_resource("acme", &new_operation(0, 0, 1).resource.unwrap()).await;
        }
        let claimed = fixture.claim(&["scan", "export"], 240).await;
        for (n, claimed) in claimed.iter().enumerate().filter(|(n, _)| !n.is_multiple_of(5)) {
            let outcome = if n.is_multiple_of(3) { failed("no", false) } else { completed("ok") };
            fixture.settle(claimed, outcome).await.unwrap();
        }
    }
    compare_every_page(&fixture, &model(&fixture, &created).await, 700).await;

    // Counted operations are cancelled, retried, removed by callers, and removed when their retention is over.
    let access = Access::organization("acme");
    let mut removed = Vec::new();
    for (n, operation) in model(&fixture, &created).await.iter().enumerate() {
        let command = match operation.status {
            Status::Pending if n.is_multiple_of(2) => OperationCommand::Cancel,
            Status::Failed if n.is_multiple_of(2) => OperationCommand::Retry,
            Status::Completed if n.is_multiple_of(2) => {
                removed.push(operation.id);
                OperationCommand::Delete
            }
            _ => continue,
        };
        fixture.store.command(&access, operation.id, command).await.unwrap().unwrap().unwrap();
    }
    created.retain(|operation| !removed.contains(&operation.id));
    compare_every_page(&fixture, &model(&fixture, &created).await, 700).await;
    fixture.assert_sound().await;
}

/// Enough operations of a resource that it is counted, a third of them ended.
async fn fill_a_resource(fixture: &Fixture) {
    fixture.store.create("acme", (0..1_500).map(|n| new_operation(n % 2, 1, 1)).collect(), None).await.unwrap();
    for claimed in fixture.claim(&["scan"], 500).await {
        fixture.settle(&claimed, completed("ok")).await.unwrap();
    }
    fixture.assert_sound().await;
}

async fn wrong_counters_of_resources(fixture: &Fixture) -> Vec<String> {
    let findings = fixture.store.doctor().await.unwrap().findings;
    let of_resources = findings.into_iter().filter(|finding| finding.invariant.contains("counters of resources"));
    of_resources.map(|finding| finding.detail).collect()
}

#[tokio::test]
async fn doctor_finds_a_wrong_counter_of_a_resource() {
    let fixture = fixture(Engine::Sqlite).await;
    fill_a_resource(&fixture).await;
    fixture.tamper("UPDATE resource_counters SET completed = completed + 1 WHERE level = 20 AND kind = 'scan'").await;
    let found = wrong_counters_of_resources(&fixture).await;
    assert_eq!(found, ["acme resource thing x level 20 bucket 0 scan: counters 250, 0, 501, 0; rows 250, 0, 500, 0"]);
    fixture.tamper("DELETE FROM counted_resources").await;
    assert!(wrong_counters_of_resources(&fixture).await[0].starts_with("no resource level"));
}

#[tokio::test]
async fn resources_of_a_file_from_before_are_counted_when_it_is_migrated() {
    let fixture = fixture(Engine::Sqlite).await;
    fill_a_resource(&fixture).await;
    fixture.store.close().await;
    fixture.tamper("DROP TABLE resource_counters").await;
    fixture.tamper("DROP TABLE counted_resources").await;
    fixture.tamper("DELETE FROM _sqlx_migrations WHERE description = 'resource counters'").await;
    let store = fixture.reopen().await;
    assert_eq!(store.doctor().await.unwrap().findings, []);
    let filter = Filter { resource: new_operation(0, 1, 1).resource, status: Some(Status::Completed), kind: None };
    let page = PageRequest { page: 4, page_size: 100 };
    let listing = store.list(&Access::projects("acme", ["a"]), &filter, page).await.unwrap();
    assert_eq!((listing.page.total_count, listing.entries.len()), (500, 100));
    // They are counted: a counter that goes is missed.
    fixture.tamper("DELETE FROM resource_counters WHERE level = 20").await;
    assert_eq!(store.doctor().await.unwrap().findings.len(), 2);
}

#[tokio::test]
async fn counters_of_resources_go_with_their_organization() {
    let fixture = fixture(Engine::Sqlite).await;
    fill_a_resource(&fixture).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    while fixture.store.delete_part("acme", 400).await.unwrap() > Some(0) {
        fixture.assert_sound().await;
    }
    fixture.store.end_deletion("acme").await.unwrap();
    // A statement that fails when there is a row.
    for table in ["resource_counters", "counted_resources"] {
        fixture.tamper(&format!("INSERT INTO secrets SELECT NULL, NULL FROM {table} LIMIT 1")).await;
    }
}

against_both_engines!(
    pages_over_several_buckets_have_every_operation_once,
    pages_of_projects_whose_operations_lie_together_equal_the_naive_model,
    pages_of_a_resource_with_many_operations_equal_the_naive_model,
);
