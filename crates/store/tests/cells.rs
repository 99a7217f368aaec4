//! Cells: an organization is moved while it is used, a cell is lost, a server knows nothing of it.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Refusal, Search, Status};
use store::seal::{self, Seal};
use store::{
    Cells, CellsConfig, ClaimRequest, Claimed, GroupBy, Heartbeat, IdempotencyKey, LeaseRef, Limits, MoveError,
    NewToken, OperationCommand, Patience, Pausable, PostgresStore, STATISTICS_CONSUMER, Scope, SearchOperations as _,
    SearchOrder, SearchRequest, SearchStart, Settlement, Statistics as _, Store as _, StoreError,
};
use testkit::{Cluster, Durability};

use crate::load::must;
use crate::support::*;

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const EVERY: PageRequest = PageRequest { page: 0, page_size: 1_000 };

/// The settlement of an attempt that is done.
fn settlement(lease: &LeaseRef) -> Settlement {
    Settlement { lease: lease.clone(), outcome: completed("done"), retry_after: Duration::ZERO }
}

/// The state of a cell is trusted for so short a time that a move takes little time.
fn impatient(config: CellsConfig) -> CellsConfig {
    let patience =
        Patience { look: Duration::from_millis(20), answer: Duration::from_secs(5), trust: Duration::from_millis(500) };
    CellsConfig { patience, ..config }
}

/// A directory and cells, each a database of one cluster.
async fn databases(cells: usize) -> (String, Vec<String>) {
    let mut urls = Vec::new();
    for _ in 0..cells {
        urls.push(empty_database().await);
    }
    (empty_database().await, urls)
}

async fn total(store: &Cells, organization: &str, status: Option<Status>) -> u64 {
    let filter = Filter { status, ..Filter::default() };
    let page = PageRequest { page: 0, page_size: 1 };
    store.list(&Access::organization(organization), &filter, page).await.unwrap().page.total_count
}

async fn create_until(store: Cells, creator: usize, stop: Arc<AtomicBool>) -> Vec<OperationId> {
    let mut ids = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let key = IdempotencyKey { key: format!("{creator}-{number}"), fingerprint: [7; 32] };
        let new = NewOperation { project_id: format!("p{}", number % 3), ..NewOperation::of_kind("scan") };
        let created = must(|| store.create("acme", vec![new.clone()], Some(key.clone()))).await;
        ids.push(created[0].id);
        number += 1;
    }
    ids
}

/// Claims and settles until everything is done; returns what was settled and with which fencing token.
async fn work_until(store: Cells, done: Arc<AtomicBool>) -> Vec<(OperationId, u64)> {
    let mut settled = Vec::new();
    let mut held: Vec<Claimed> = Vec::new();
    loop {
        held.extend(must(|| store.claim(claim_request(&["scan"], 8))).await);
        let beats: Vec<Heartbeat> =
            held.iter().map(|claimed| Heartbeat { lease: claimed.lease.clone(), progress: None }).collect();
        must(|| store.heartbeat(beats.clone(), Duration::from_secs(30))).await;
        let settlements: Vec<Settlement> = held.iter().map(|claimed| settlement(&claimed.lease)).collect();
        let results = must(|| store.settle(settlements.clone())).await;
        for (claimed, result) in held.drain(..).zip(results) {
            assert_eq!(result, Ok(Status::Completed), "nobody else has the lease");
            settled.push((claimed.operation.id, claimed.lease.fence));
        }
        if done.load(Ordering::SeqCst) && total(&store, "acme", Some(Status::Pending)).await == 0 {
            return settled;
        }
    }
}

/// Counts statistics, as servers do.
async fn count_until(store: Cells, done: Arc<AtomicBool>) {
    loop {
        let is_last = done.load(Ordering::SeqCst);
        let uncommitted = must(|| store.uncommitted(STATISTICS_CONSUMER, "", 100)).await;
        let is_empty = uncommitted.is_empty();
        for (organization, position) in uncommitted {
            match store.count_changes(&organization, position, 500).await {
                Ok(_) | Err(StoreError::Unavailable(_) | StoreError::PositionUnknown) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        if is_last && is_empty {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_organization_is_moved_under_load_and_nothing_is_lost_or_done_twice() {
    let (directory, urls) = databases(2).await;
    let config = impatient(cells_config(&directory, &urls));
    let servers = [Cells::open(config.clone()).await.unwrap(), Cells::open(config.clone()).await.unwrap()];
    let mover = Cells::open(config).await.unwrap();
    for server in &servers {
        server.begin_statistics().await.unwrap();
    }
    // One organization is in each cell; the other one must not notice anything.
    for name in ["acme", "globex"] {
        servers[0].create_organization(name, Limits::default()).await.unwrap();
    }
    assert_eq!(
        (servers[0].cell_of("acme"), servers[0].cell_of("globex")),
        (Some("a".to_owned()), Some("b".to_owned()))
    );
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let creators: Vec<_> = (0..4)
        .map(|creator| tokio::spawn(create_until(servers[creator % 2].clone(), creator, Arc::clone(&stop))))
        .collect();
    let workers: Vec<_> =
        (0..2).map(|worker| tokio::spawn(work_until(servers[worker].clone(), Arc::clone(&done)))).collect();
    let counter = tokio::spawn(count_until(servers[0].clone(), Arc::clone(&done)));
    let mut moves = 0;
    for to in ["b", "a", "b"] {
        // Something happens between two moves.
        let before = total(&mover, "acme", None).await;
        let (acme, every) = (Access::organization("acme"), Filter::default());
        while must(|| mover.list(&acme, &every, EVERY)).await.page.total_count < before + 50 {
            tokio::task::yield_now().await;
        }
        let globex = servers[1].create("globex", vec![NewOperation::of_kind("other")], None);
        let (moved, created) = futures_util::future::join(mover.move_organization("acme", to, |_| {}), globex).await;
        assert!(moved.unwrap().rows.unwrap() > 50);
        created.unwrap();
        moves += 1;
        assert_eq!(mover.cell_of("acme").as_deref(), Some(to));
    }
    assert_eq!(moves, 3);
    stop.store(true, Ordering::SeqCst);
    let mut created = HashSet::new();
    for creator in creators {
        for id in creator.await.unwrap() {
            assert!(created.insert(id), "each creation made one operation");
        }
    }
    done.store(true, Ordering::SeqCst);
    let mut settled = HashMap::new();
    for worker in workers {
        for (id, fence) in worker.await.unwrap() {
            assert_eq!(settled.insert(id, fence), None, "each operation has one outcome");
        }
    }
    counter.await.unwrap();
    assert_eq!(settled.keys().copied().collect::<HashSet<_>>(), created);
    assert_eq!(total(&mover, "acme", None).await, created.len() as u64);
    assert_eq!(total(&mover, "acme", Some(Status::Completed)).await, created.len() as u64);
    assert_eq!(mover.doctor().await.unwrap().findings, []);
    let left = mover.store_of("a").unwrap().contents("acme").await.unwrap();
    assert_eq!(left, None, "nothing is left where it was");
    for store in servers.iter().chain([&mover]) {
        store.close().await;
    }
}

/// An organization with something in most tables.
async fn furnished(store: &Cells) -> (Claimed, OperationId) {
    store.create_organization("acme", Limits::default()).await.unwrap();
    for number in 0..30 {
        let labels = [("team".to_owned(), format!("t{}", number % 3))].into();
        let new = NewOperation { labels, project_id: "p".to_owned(), ..NewOperation::of_kind("scan") };
        store.create("acme", vec![new], None).await.unwrap();
    }
    let claimed = store.claim(claim_request(&["scan"], 20)).await.unwrap();
    let settlements = claimed[..15].iter().map(|claimed| Settlement {
        lease: claimed.lease.clone(),
        outcome: if claimed.operation.id.to_string().ends_with('0') { failed("no", false) } else { completed("yes") },
        retry_after: Duration::ZERO,
    });
    store.settle(settlements.collect()).await.unwrap();
    let unique = NewOperation { unique_key: Some("only".to_owned()), ..NewOperation::of_kind("unique") };
    let unique = store.create("acme", vec![unique], None).await.unwrap()[0].id;
    store.pause(Pausable::KindOf { organization: "acme".to_owned(), kind: "rare".to_owned() }).await.unwrap();
    (claimed[16].clone(), unique)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_that_breaks_off_anywhere_is_gone_on_with_or_given_up() {
    let (directory, urls) = databases(2).await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    let (held, unique) = furnished(&store).await;
    let (access, every) = (Access::organization("acme"), Filter::default());
    let before = store.list(&access, &Filter::default(), EVERY).await.unwrap();
    let (mut here, mut there) = ("a", "b");
    let mut times = 1;
    loop {
        let given_up = polled(store.move_organization("acme", there, |_| {}), times).await;
        let is_done = given_up.is_some();
        if let Some(moved) = given_up {
            moved.unwrap();
        }
        // The lock of the move that was interrupted goes with its connection, a moment later.
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Every other time the move is given up, where it still can be.
            let again = match times % 2 {
                0 if !is_done => match store.abort_move("acme").await {
                    Err(MoveError::NotMoving) => store.move_organization("acme", there, |_| {}).await.map(drop),
                    aborted => aborted,
                },
                _ => store.move_organization("acme", there, |_| {}).await.map(drop),
            };
            match again {
                Ok(()) => break,
                Err(MoveError::UnderWay | MoveError::Store(StoreError::Unavailable(_))) => {
                    assert!(Instant::now() < deadline);
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        let after = must(|| store.list(&access, &every, EVERY)).await;
        assert_eq!(after, before, "after {times} polls");
        assert_eq!(store.doctor().await.unwrap().findings, [], "after {times} polls");
        if store.cell_of("acme").as_deref() == Some(there) {
            std::mem::swap(&mut here, &mut there);
        }
        if is_done {
            break;
        }
        times += 1 + times / 4;
    }
    // What was running continues, with the lease that it has.
    let settlement = Settlement { lease: held.lease.clone(), outcome: completed("late"), retry_after: Duration::ZERO };
    assert_eq!(must(|| store.settle(vec![settlement.clone()])).await, [Ok(Status::Completed)]);
    let same = NewOperation { unique_key: Some("only".to_owned()), ..NewOperation::of_kind("unique") };
    let same = must(|| store.create("acme", vec![same.clone()], None)).await;
    assert_eq!(same[0].id, unique, "unique keys came along");
    assert_eq!(store.paused().await.unwrap().len(), 1, "what was paused is, and nothing else");
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cursor_from_before_a_move_is_refused_and_one_from_after_it_goes_on() {
    let (directory, urls) = databases(2).await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    store.register_consumer("reader").await.unwrap();
    let created = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    let before = store.end_of_changes("acme").await.unwrap();
    store.move_organization("acme", "b", |_| {}).await.unwrap();
    for cursor in [before, "0-0-0".parse().unwrap()] {
        let refused = store.changes("acme", cursor, 10).await;
        assert!(matches!(refused, Err(StoreError::PositionUnknown)), "{refused:?}");
    }
    // The servers' own consumers miss nothing.
    let uncommitted = store.uncommitted("reader", "", 10).await.unwrap();
    let (organization, position) = &uncommitted[0];
    let changes = store.changes(organization, *position, 10).await.unwrap();
    assert_eq!(changes.changes.iter().map(|change| change.id).collect::<Vec<_>>(), [created[0].id]);
    store.commit_offset("reader", "acme", changes.next).await.unwrap();
    assert_eq!(store.uncommitted("reader", "", 10).await.unwrap(), []);
    let after = store.end_of_changes("acme").await.unwrap();
    store.command(&Access::organization("acme"), created[0].id, OperationCommand::Cancel).await.unwrap();
    let changes = must(|| async {
        let found = store.changes("acme", after, 10).await?;
        if found.changes.is_empty() { Err(StoreError::Unavailable("nothing yet".to_owned())) } else { Ok(found) }
    })
    .await;
    assert_eq!(changes.changes[0].status, Some(Status::Failed));
    store.close().await;
}

/// The organizations that a consumer called "reader" finds, page after page until one is not full, as consumers do.
async fn round(store: &Cells, limit: u32) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().cloned().unwrap_or_default();
        let page = store.uncommitted("reader", &after, limit).await.unwrap();
        assert!(page.len() <= limit as usize, "no more than was requested");
        let is_last = page.len() < limit as usize;
        names.extend(page.into_iter().map(|(name, _)| name));
        if is_last {
            names.sort();
            return names;
        }
    }
}

/// Makes organizations, each with something that the reader has not read; returns when it can be read.
async fn unread(store: &Cells, names: &[&str]) {
    store.register_consumer("reader").await.unwrap();
    for name in names {
        store.create(name, vec![NewOperation::of_kind("scan")], None).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while store.uncommitted("reader", "", 100).await.unwrap().len() < names.len() {
        assert!(Instant::now() < deadline, "what was committed is not shown");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_round_of_a_consumer_meets_everybody_whatever_the_collation_of_the_cells() {
    let (directory, urls) = databases(2).await;
    let admin = foreign(&directory).await;
    let mut sorted_by_language = Vec::new();
    for url in &urls {
        let name = format!("{}_icu", url.rsplit('/').next().unwrap());
        let sql = format!(
            "CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C' ENCODING 'UTF8'"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&admin).await.unwrap();
        sorted_by_language.push(format!("{url}_icu"));
    }
    let store = Cells::open(cells_config(&directory, &sorted_by_language)).await.unwrap();
    // By the language, a1 and B are before b1 and after a_b; by bytes, capitals come first and _ comes after digits.
    let mut names = ["B", "a_b", "a1", "D", "b1", "C", "a-b", "c", "A", "d"];
    unread(&store, &names).await;
    names.sort_unstable();
    for limit in 1..=11 {
        assert_eq!(round(&store, limit).await, names, "{limit} at a time");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_round_of_a_consumer_does_not_end_with_organizations_that_have_left() {
    let (directory, urls) = databases(2).await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    unread(&store, &["a", "b", "c", "d", "e", "f"]).await;
    // As while they are moved: what they have in the cell is still there.
    let first = foreign(&urls[0]).await;
    let sql = "INSERT INTO organizations_elsewhere (organization_id, since, was_paused)
        VALUES ('a', 0, false), ('c', 0, false)";
    sqlx::query(sql).execute(&first).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    for name in ["a", "c"] {
        while store.list(&Access::organization(name), &Filter::default(), EVERY).await.is_ok() {
            assert!(Instant::now() < deadline, "the store does not read the cell");
            tokio::task::yield_now().await;
        }
    }
    for limit in 1..=5 {
        assert_eq!(round(&store, limit).await, ["b", "d", "e", "f"], "{limit} at a time");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_is_known_to_a_server_whose_copy_of_the_directory_is_older_than_the_move() {
    let (directory, urls) = databases(2).await;
    let config = cells_config(&directory, &urls);
    let mover = Cells::open(impatient(config.clone())).await.unwrap();
    mover.create_organization("acme", Limits::default()).await.unwrap();
    let token = mover.create_token(new_token("acme", 7)).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let patience = Patience { look: hour, answer: hour, trust: hour };
    let sleeper = Cells::open(CellsConfig { patience, ..config }).await.unwrap();
    assert_eq!(sleeper.find_token(&[7; 32]).await.unwrap().map(|found| found.id), Some(token.id.clone()));
    mover.move_organization("acme", "b", |_| {}).await.unwrap();
    assert_eq!(sleeper.find_token(&[7; 32]).await.unwrap().map(|found| found.id), Some(token.id));
    assert_eq!(sleeper.find_token(&[8; 32]).await.unwrap().map(|found| found.id), None);
    sleeper.close().await;
    mover.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_whose_source_is_lost_at_its_end_keeps_the_pause_and_says_that_something_is_left() {
    let source = Cluster::start(Durability::None).unwrap();
    let urls = [source.database().await.unwrap(), empty_database().await];
    let directory = empty_database().await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    store.create("acme", vec![NewOperation::of_kind("scan"); 3], None).await.unwrap();
    assert_eq!(store.cell_of("acme").as_deref(), Some("a"));
    let acme = Pausable::Organization("acme".to_owned());
    store.pause(acme.clone()).await.unwrap();
    let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    let deadline = Instant::now() + PATIENCE;
    let lose_source = async {
        has_begun.recv().await.unwrap();
        // The directory cannot be changed from here on, until the source is lost.
        let admin = foreign(&directory).await;
        let mut held = admin.begin().await.unwrap();
        let sql = "SELECT FROM organization_cells WHERE organization_id = 'acme' FOR UPDATE";
        sqlx::query(sql).execute(&mut *held).await.unwrap();
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%moves = moves + 1%'";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&admin).await.unwrap() == 0 {
            assert!(Instant::now() < deadline, "the copy is not done");
            tokio::task::yield_now().await;
        }
        source.crash().unwrap();
        while store.away() != ["a"] {
            assert!(Instant::now() < deadline, "the loss is not noticed");
            tokio::task::yield_now().await;
        }
        held.rollback().await.unwrap();
    };
    let moved = store.move_organization("acme", "b", |_| begun.send(()).unwrap());
    let (moved, ()) = futures_util::future::join(moved, lose_source).await;
    let said = moved.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(said.contains("in the cell b") && said.contains("left in the cell a"), "{moved:?}");
    let (access, every) = (Access::organization("acme"), Filter::default());
    let listed = must(|| store.list(&access, &every, EVERY)).await;
    assert_eq!(listed.page.total_count, 3, "it can be used");
    let paused = store.paused().await.unwrap();
    assert_eq!(paused.into_iter().map(|paused| paused.what).collect::<Vec<_>>(), [acme], "as it was");
    // The same call says so for as long as it is so, and then removes it.
    let again = store.move_organization("acme", "b", |_| {}).await;
    assert!(matches!(again, Err(MoveError::Store(StoreError::Unavailable(_)))), "{again:?}");
    source.start_again().unwrap();
    while !store.away().is_empty() {
        assert!(Instant::now() < deadline, "the source is not used again");
        tokio::task::yield_now().await;
    }
    store.move_organization("acme", "b", |_| {}).await.unwrap();
    let old = foreign(&urls[0]).await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM active").fetch_one(&old).await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_a_token_waits_for_no_other_cell_and_not_for_the_directory() {
    let (directory, urls) = databases(3).await;
    let store = Cells::open(cells_config(&directory, &urls)).await.unwrap();
    for name in ["acme", "globex", "initech"] {
        store.create_organization(name, Limits::default()).await.unwrap();
        store.create_token(new_token(name, name.as_bytes()[0])).await.unwrap();
    }
    assert_eq!(store.cell_of("globex").as_deref(), Some("b"));
    // The others cannot read their tokens until this is over, or their statements take too long.
    let mut locks = Vec::new();
    for url in [&directory, &urls[0], &urls[2]] {
        let mut lock = foreign(url).await.begin().await.unwrap();
        sqlx::query("LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        locks.push(lock);
    }
    let found = tokio::time::timeout(Duration::from_secs(20), store.find_token(&[b'g'; 32])).await;
    assert!(found.expect("nobody is waited for").unwrap().is_some());
    for lock in locks {
        lock.rollback().await.unwrap();
    }
    assert!(must(|| store.find_token(&[0; 32])).await.is_none());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_that_is_away_is_not_asked_and_comes_back_by_itself() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let proxy = cluster.proxy().await.unwrap();
    let (_, urls) = databases(2).await;
    let directory = proxy.url(&cluster.database().await.unwrap());
    let patience =
        Patience { look: Duration::from_millis(20), answer: Duration::from_secs(2), trust: Duration::from_secs(10) };
    let store = Cells::open(CellsConfig { patience, ..cells_config(&directory, &urls) }).await.unwrap();
    store.create_organization("acme", Limits::default()).await.unwrap();
    store.create_token(new_token("acme", 7)).await.unwrap();
    proxy.freeze();
    let says_so = |error: &StoreError| error.to_string().contains("the directory of cells does not answer");
    let deadline = Instant::now() + PATIENCE;
    while !store.find_token(&[8; 32]).await.as_ref().is_err_and(says_so) {
        assert!(Instant::now() < deadline, "it is still asked");
    }
    assert!(store.find_token(&[7; 32]).await.unwrap().is_some());
    store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    let new = store.create("globex", vec![NewOperation::of_kind("scan")], None).await;
    assert!(new.as_ref().is_err_and(says_so), "{new:?}");
    proxy.thaw();
    assert!(must(|| store.find_token(&[8; 32])).await.is_none());
    must(|| store.create("globex", vec![NewOperation::of_kind("scan")], None)).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_application_that_still_writes_to_the_old_inbox_is_told_so() {
    let (directory, urls) = databases(2).await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    for name in ["acme", "globex", "initech"] {
        store.create_organization(name, Limits::default()).await.unwrap();
    }
    assert_eq!(store.cell_of("initech").as_deref(), Some("a"));
    let (old, new) = (foreign(&urls[0]).await, foreign(&urls[1]).await);
    let put = async |pool: &sqlx::PgPool, organization: &str| {
        let sql = "INSERT INTO inbox (organization_id, kind) VALUES ($1, 'scan')";
        sqlx::query(sql).bind(organization).execute(pool).await.map(drop)
    };
    // Nobody drains the inbox, so the first row is moved in it.
    put(&old, "acme").await.unwrap();
    for (to, from, there) in [("b", &old, &new), ("a", &new, &old), ("b", &old, &new)] {
        store.move_organization("acme", to, |_| {}).await.unwrap();
        let refused = put(from, "acme").await.unwrap_err().to_string();
        assert!(refused.contains("the organization 'acme' is in another cell"), "{refused}");
        let called = sqlx::query("SELECT create_operation('acme', 'scan')").execute(from).await;
        assert!(called.unwrap_err().to_string().contains("there is no organization 'acme'"));
        put(there, "acme").await.unwrap();
    }
    // Others are not concerned.
    put(&old, "initech").await.unwrap();
    put(&new, "globex").await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM inbox WHERE organization_id = 'acme'").fetch_one(&old).await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(store.drain_inbox(100).await.unwrap(), Some(6));
    let (access, every) = (Access::organization("acme"), Filter::default());
    assert_eq!(must(|| store.list(&access, &every, EVERY)).await.page.total_count, 4, "each row was taken once");
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_organization_that_was_moved_is_not_read_from_a_standby_that_does_not_have_it_yet() {
    let primary = Cluster::start(Durability::None).unwrap();
    let url = primary.database().await.unwrap();
    let standby = primary.standby().unwrap();
    let read_url = standby.same_database(&url);
    let directory = empty_database().await;
    let mut config = impatient(cells_config(&directory, &[empty_database().await, url]));
    config.cells[1].read_url = Some(read_url.clone().into());
    let server = Cells::open(config.clone()).await.unwrap();
    let globex = Access::organization("globex");
    for name in ["acme", "globex"] {
        server.create(name, vec![NewOperation::of_kind("scan"); 3], None).await.unwrap();
    }
    assert_eq!(server.cell_of("globex").as_deref(), Some("b"));
    // The standby has the schema, and an organization; it is read, and it does not get any further.
    let replica = foreign(&read_url).await;
    let deadline = Instant::now() + PATIENCE;
    let replayed = "SELECT count(*) FROM active";
    while sqlx::query_scalar::<_, i64>(replayed).fetch_one(&replica).await.unwrap_or(0) < 3 {
        assert!(Instant::now() < deadline, "the standby does not follow");
        tokio::task::yield_now().await;
    }
    sqlx::query("SELECT pg_wal_replay_pause()").execute(&replica).await.unwrap();
    let paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
    while !sqlx::query_scalar::<_, bool>(paused).fetch_one(&replica).await.unwrap() {
        assert!(Instant::now() < deadline, "the replay is not paused");
        tokio::task::yield_now().await;
    }
    server.move_organization("acme", "b", |_| {}).await.unwrap();
    let new = Cells::open(config).await.unwrap();
    let (acme, every) = (Access::organization("acme"), Filter::default());
    for server in [&server, &new] {
        assert_eq!(must(|| server.list(&globex, &every, EVERY)).await.page.total_count, 3);
        for _ in 0..5 {
            assert_eq!(must(|| server.list(&acme, &every, EVERY)).await.page.total_count, 3);
        }
        server.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_organization_that_is_being_moved_is_in_the_list_and_its_texts_are_counted() {
    let (directory, urls) = databases(2).await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    for name in ["acme", "globex"] {
        let operation = NewOperation { input: format!("\"of {name}\""), ..NewOperation::of_kind("scan") };
        store.create(name, vec![operation], None).await.unwrap();
    }
    // As during a move of acme to the other cell: the copy is there already.
    let (source, target) = (foreign(&urls[0]).await, foreign(&urls[1]).await);
    let row: String =
        sqlx::query_scalar("SELECT to_json(t)::text FROM organizations AS t WHERE organization_id = 'acme'")
            .fetch_one(&source)
            .await
            .unwrap();
    let sql = "INSERT INTO organizations SELECT * FROM json_populate_record(NULL::organizations, $1::json)";
    sqlx::query(sql).bind(row).execute(&target).await.unwrap();
    for cell in [&source, &target] {
        for sql in [
            "INSERT INTO organizations_elsewhere (organization_id, since, was_paused) VALUES ('acme', 0, false)",
            "UPDATE organizations SET deleted = 3 WHERE organization_id = 'acme'",
        ] {
            sqlx::query(sql).execute(cell).await.unwrap();
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while store.list(&Access::organization("acme"), &Filter::default(), EVERY).await.is_ok() {
        assert!(Instant::now() < deadline, "the store does not read the cell");
        tokio::task::yield_now().await;
    }
    let found = store.organizations().await.unwrap();
    let found: Vec<_> =
        found.iter().map(|found| (found.name.as_str(), found.pending, found.is_being_deleted)).collect();
    assert_eq!(found, [("acme", 1, false), ("globex", 1, false)]);
    // Whoever replaces an encryption key must not take the old one away because nothing seems to need it.
    assert_eq!(seal::survey(&store).await.unwrap(), [(Seal::Plain, 2)].into());
    let rotated = seal::rotate(&store, &keyring(&["new"], Some("new")), |_| {}).await;
    assert!(matches!(rotated, Err(StoreError::Unavailable(_))), "{rotated:?}");
    store.close().await;
}

/// A token for an organization, with a hash of one repeated byte.
fn new_token(organization: &str, byte: u8) -> NewToken {
    NewToken {
        hash: [byte; 32],
        name: "test".to_owned(),
        access: Access::organization(organization),
        scopes: [Scope::OperationsRead].into(),
        expires_at: None,
        instance: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_is_not_unknown_while_its_organization_changes_cells() {
    let (directory, urls) = databases(2).await;
    let config = cells_config(&directory, &urls);
    let store = Cells::open(config.clone()).await.unwrap();
    for name in ["globex", "acme"] {
        store.create_organization(name, Limits::default()).await.unwrap();
    }
    let (source, target) = (foreign(&urls[1]).await, foreign(&urls[0]).await);
    store.create_token(new_token("acme", 7)).await.unwrap();
    assert_eq!(store.cell_of("acme").as_deref(), Some("b"));
    store.close().await;
    // As in a move just before its end: both cells have the token, and neither may be used.
    let row: String = sqlx::query_scalar("SELECT to_json(t)::text FROM tokens AS t").fetch_one(&source).await.unwrap();
    let sql = "INSERT INTO tokens SELECT * FROM json_populate_record(NULL::tokens, $1::json)";
    sqlx::query(sql).bind(row).execute(&target).await.unwrap();
    for cell in [&source, &target] {
        let sql = "INSERT INTO organizations_elsewhere (organization_id, since, was_paused) VALUES ('acme', 0, false)";
        sqlx::query(sql).execute(cell).await.unwrap();
    }
    let hour = Duration::from_secs(3_600);
    let patience = Patience { look: hour, answer: hour, trust: hour };
    let store = Cells::open(CellsConfig { patience, ..config }).await.unwrap();
    // The move ends right after the first look into the directory.
    let admin = foreign(&directory).await;
    for sql in [
        "ALTER TABLE organization_cells RENAME TO placed",
        "CREATE FUNCTION looked() RETURNS SETOF placed LANGUAGE plpgsql AS $$ BEGIN
            RETURN QUERY SELECT * FROM placed;
            UPDATE placed SET cell = 'a', moves = 1 WHERE organization_id = 'acme';
         END $$",
        "CREATE VIEW organization_cells AS SELECT * FROM looked()",
    ] {
        sqlx::query(sql).execute(&admin).await.unwrap();
    }
    let found = store.find_token(&[7; 32]).await;
    assert!(matches!(found, Err(StoreError::Unavailable(_))), "{found:?}");
    assert_eq!(store.find_token(&[8; 32]).await.unwrap().map(|found| found.id), None);
    // A server that has seen the end of the move in its new cell accepts it.
    sqlx::query("DELETE FROM organizations_elsewhere").execute(&target).await.unwrap();
    store.close().await;
    let store = Cells::open(impatient(cells_config(&directory, &urls))).await.unwrap();
    assert!(store.find_token(&[7; 32]).await.unwrap().is_some());
    // Where the organization is, the token was removed since: what was left behind does not count.
    sqlx::query("DELETE FROM tokens").execute(&target).await.unwrap();
    assert_eq!(store.find_token(&[7; 32]).await.unwrap().map(|found| found.id), None);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_know_yet_of_a_move_does_not_say_that_there_is_nothing() {
    let (directory, urls) = databases(2).await;
    // It does not check again, and trusts what it has seen.
    let hour = Duration::from_secs(3_600);
    let patience = Patience { look: hour, answer: hour, trust: hour };
    let store = Cells::open(CellsConfig { patience, ..cells_config(&directory, &urls) }).await.unwrap();
    store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    let (acme, all) = (Access::organization("acme"), Search::default());
    let everything =
        SearchRequest { search: all.clone(), order: SearchOrder::Newest, start: SearchStart::Page(0), page_size: 10 };
    assert_eq!(store.search(&acme, &everything).await.unwrap().found.len(), 1);
    // As at the beginning of a move.
    let cell = foreign(&urls[0]).await;
    for sql in [
        "INSERT INTO organizations_elsewhere (organization_id, since, was_paused) VALUES ('acme', 0, false)",
        "UPDATE organizations SET deleted = 3 WHERE organization_id = 'acme'",
    ] {
        sqlx::query(sql).execute(&cell).await.unwrap();
    }
    let moving = |error: Option<StoreError>| {
        assert!(matches!(&error, Some(StoreError::Unavailable(_))), "{error:?}");
    };
    moving(store.contents("acme").await.err());
    moving(store.begin_deletion("acme", true).await.err());
    moving(store.delete_part("acme", 10).await.err());
    moving(store.set_limits("acme", Limits::default()).await.err());
    moving(store.search(&acme, &everything).await.err());
    moving(store.count_matching(&acme, &all, GroupBy::default()).await.err());
    moving(store.next_number("acme").await.err());
    // Where nothing has left, it says so.
    assert!(store.contents("nobody").await.unwrap().is_none());
    store.create_organization("globex", Limits::default()).await.unwrap();
    assert_eq!(store.search(&Access::organization("globex"), &everything).await.unwrap().found, []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_slept_through_a_move_writes_nothing_where_the_organization_was() {
    let (directory, urls) = databases(2).await;
    let config = cells_config(&directory, &urls);
    let mover = Cells::open(impatient(config.clone())).await.unwrap();
    mover.create_organization("acme", Limits::default()).await.unwrap();
    // It does not check again, and trusts forever what it has seen.
    let hour = Duration::from_secs(3_600);
    let patience = Patience { look: hour, answer: hour, trust: hour };
    let sleeper = Cells::open(CellsConfig { patience, ..config }).await.unwrap();
    sleeper.create("acme", vec![NewOperation::of_kind("scan"); 2], None).await.unwrap();
    let held = sleeper.claim(claim_request(&["scan"], 1)).await.unwrap().remove(0);
    let source = mover.store_of("a").unwrap();
    let create = || sleeper.create("acme", vec![NewOperation::of_kind("scan")], None);
    let pausable = [
        Pausable::Organization("acme".to_owned()),
        Pausable::KindOf { organization: "acme".to_owned(), kind: "scan".to_owned() },
    ];
    let settlement = self::settlement(&held.lease);
    let unavailable = |error: Option<StoreError>| matches!(error, Some(StoreError::Unavailable(_)));

    // Whenever it wakes up in a move, its writes are refused, or were carried out before.
    let (mut refused, mut times) = (0, 1);
    loop {
        match polled(mover.move_organization("acme", "b", |_| {}), times).await {
            Some(Ok(_)) => break,
            // The lock of the last one goes with its connection, a moment later.
            Some(Err(MoveError::UnderWay)) => tokio::task::yield_now().await,
            Some(Err(error)) => panic!("{error:?}"),
            None => times += 1 + times / 3,
        }
        let is_away = mover.store_of("a").unwrap().contents("acme").await.unwrap().is_none();
        if is_away {
            assert!(unavailable(create().await.err()));
            for what in &pausable {
                assert!(unavailable(sleeper.pause(what.clone()).await.err()), "not acknowledged");
                assert!(unavailable(sleeper.resume(what.clone()).await.err()), "not acknowledged");
            }
            refused += 1;
        }
    }
    assert!(refused > 0);
    assert!(unavailable(create().await.err()));
    let settled = sleeper.settle(vec![settlement.clone()]).await;
    assert!(matches!(settled.as_deref(), Err(StoreError::Unavailable(_)) | Ok([Err(_)])), "{settled:?}");
    assert_eq!(source.contents("acme").await.unwrap(), None);
    assert_eq!(mover.settle(vec![settlement]).await.unwrap(), [Ok(Status::Completed)], "it is settled where it is");
    assert_eq!(mover.paused().await.unwrap(), [], "the pause of the move is over");
    assert_eq!(mover.doctor().await.unwrap().findings, []);
    sleeper.close().await;
    mover.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_cell_stops_its_own_organizations_only_and_comes_back_by_itself() {
    let clusters: Vec<Cluster> = (0..2).map(|_| Cluster::start(Durability::None).unwrap()).collect();
    let urls = [clusters[0].database().await.unwrap(), clusters[1].database().await.unwrap()];
    let directory = empty_database().await;
    let config = impatient(cells_config(&directory, &urls));
    let store = Cells::open(config.clone()).await.unwrap();
    for name in ["acme", "globex"] {
        store.create_organization(name, Limits::default()).await.unwrap();
        store.create(name, vec![NewOperation::of_kind("scan"); 3], None).await.unwrap();
    }
    let held = store.claim(claim_request(&["scan"], 2)).await.unwrap();
    assert_eq!(held.iter().map(|claimed| claimed.lease.organization.as_str()).collect::<HashSet<_>>().len(), 2);
    clusters[1].crash().unwrap();
    let (globex, every) = (Access::organization("globex"), Filter::default());
    let lost = store.list(&globex, &Filter::default(), EVERY).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    // A server that starts now starts without it, and the other continues.
    let second = Cells::open(config).await.unwrap();
    for store in [&store, &second] {
        store.ping().await.unwrap();
        assert_eq!(total(store, "acme", None).await, 3);
        assert_eq!(store.away(), ["b"]);
        assert!(matches!(store.list(&globex, &Filter::default(), EVERY).await, Err(StoreError::Unavailable(_))));
    }
    let claimed = store.claim(claim_request(&["scan"], 1)).await.unwrap();
    assert_eq!(claimed[0].lease.organization, "acme");
    let beats = held.iter().map(|claimed| Heartbeat { lease: claimed.lease.clone(), progress: None });
    let statuses = store.heartbeat(beats.collect(), Duration::from_secs(30)).await.unwrap();
    assert!(
        statuses.iter().all(|status| matches!(status, store::LeaseStatus::Held { .. })),
        "no attempt is asked to stop"
    );
    let settlements: Vec<Settlement> = held.iter().map(|claimed| settlement(&claimed.lease)).collect();
    let results = store.settle(settlements.clone()).await.unwrap();
    for (claimed, result) in held.iter().zip(&results) {
        let expected = match claimed.lease.organization.as_str() {
            "acme" => Ok(Status::Completed),
            _ => Err(Refusal::Unavailable),
        };
        assert_eq!(*result, expected, "each row says for itself whether it was recorded");
    }
    let of_globex = settlements.iter().filter(|one| one.lease.organization == "globex").cloned().collect::<Vec<_>>();
    let alone = store.settle(of_globex.clone()).await;
    assert!(matches!(alone, Err(StoreError::Unavailable(_))), "{alone:?}");
    store.create_organization("initech", Limits::default()).await.unwrap();
    assert_eq!(store.cell_of("initech").as_deref(), Some("a"), "new ones come where something answers");
    assert_eq!(store.health().troubles(), [], "it is ready");

    clusters[1].start_again().unwrap();
    for store in [&store, &second] {
        assert_eq!(must(|| store.list(&globex, &every, EVERY)).await.page.total_count, 3);
    }
    assert_eq!(must(|| store.settle(of_globex.clone())).await, [Ok(Status::Completed)]);
    let claimed = store.claim(claim_request(&["scan"], 10)).await.unwrap();
    assert!(claimed.iter().any(|claimed| claimed.lease.organization == "globex"));
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_cell_claims_that_is_not_waited_for_any_more_is_handed_back() {
    let (directory, urls) = databases(2).await;
    let patience =
        Patience { look: Duration::from_millis(20), answer: Duration::from_secs(1), trust: Duration::from_secs(10) };
    let store = Cells::open(CellsConfig { patience, ..cells_config(&directory, &urls) }).await.unwrap();
    for name in ["acme", "globex", "hooli", "initech"] {
        store.create_organization(name, Limits::default()).await.unwrap();
    }
    for name in ["acme", "globex", "initech"] {
        store.create(name, vec![NewOperation::of_kind("scan")], None).await.unwrap();
    }
    let cells = ["acme", "globex", "initech"].map(|name| store.cell_of(name).unwrap());
    assert_eq!(cells, ["a", "b", "b"]);
    let second = foreign(&urls[1]).await;
    let claimed_once = async |status: i16| {
        let sql = "SELECT organization_id FROM active WHERE fence = 1 AND status = $1 ORDER BY 1";
        sqlx::query_scalar::<_, String>(sql).bind(status).fetch_all(&second).await.unwrap()
    };
    let (pending, running, deadline) = (1, 2, Instant::now() + PATIENCE);
    // In the second cell, one organization is claimed and the next one cannot be; then the cell cannot be read.
    let mut busy = second.begin().await.unwrap();
    let sql = "SELECT FROM active WHERE organization_id = 'initech' FOR UPDATE";
    assert_eq!(sqlx::query(sql).execute(&mut *busy).await.unwrap().rows_affected(), 1);
    let claim = ClaimRequest { lease: Duration::from_secs(3_600), ..claim_request(&["scan"], 10) };
    let claims = tokio::spawn({
        let (store, claim) = (store.clone(), claim.clone());
        async move { store.claim(claim).await }
    });
    while claimed_once(running).await != ["globex"] {
        assert!(Instant::now() < deadline, "nothing is claimed");
        tokio::task::yield_now().await;
    }
    let mut unseen = second.begin().await.unwrap();
    let sql = "LOCK TABLE organizations_elsewhere IN ACCESS EXCLUSIVE MODE";
    sqlx::query(sql).execute(&mut *unseen).await.unwrap();
    let claimed = claims.await.unwrap().unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.lease.organization.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(store.away(), ["b"]);
    busy.rollback().await.unwrap();
    while claimed_once(pending).await != ["globex", "initech"] {
        assert!(Instant::now() < deadline, "they are left to no worker");
        tokio::task::yield_now().await;
    }
    unseen.rollback().await.unwrap();
    let mut again = Vec::new();
    while again.len() < 2 {
        assert!(Instant::now() < deadline, "they cannot be claimed");
        again.extend(store.claim(claim.clone()).await.unwrap());
    }
    assert!(again.iter().all(|claimed| claimed.attempt == 1), "they have lost no attempt");
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_becomes_the_first_cell_and_cells_are_not_mistaken_for_one_another() {
    let (directory, urls) = databases(2).await;
    // It has been the only store, and is the directory now as well as a cell.
    let single = PostgresStore::connect(&directory, 4).await.unwrap();
    single.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    single.close().await;
    let both = [directory.clone(), urls[0].clone()];
    let store = Cells::open(impatient(cells_config(&directory, &both))).await.unwrap();
    assert_eq!(store.cell_of("acme").as_deref(), Some("a"));
    assert_eq!(total(&store, "acme", None).await, 1);
    store.move_organization("acme", "b", |_| {}).await.unwrap();
    assert_eq!(total(&store, "acme", None).await, 1);
    assert!(matches!(store.move_organization("acme", "c", |_| {}).await, Err(MoveError::NoCell { .. })));
    assert!(matches!(store.move_organization("nobody", "b", |_| {}).await, Err(MoveError::NoOrganization(_))));
    assert!(matches!(store.abort_move("acme").await, Err(MoveError::NotMoving)));
    store.close().await;
    let swapped = [urls[0].clone(), directory.clone()];
    let refused = Cells::open(impatient(cells_config(&directory, &swapped))).await.err().unwrap();
    assert!(refused.to_string().contains("it is the cell b and not a"), "{refused}");
    let refused = Cells::open(impatient(cells_config(&urls[1], &both))).await.err().unwrap();
    assert!(refused.to_string().contains("of another directory"), "{refused}");
}
