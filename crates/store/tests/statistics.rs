//! Statistics: every change is counted once, whichever readers read and die, and they say what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use operations::{Access, NewOperation, OperationId, Status, Step, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use store::{OperationCommand, STATISTICS_CONSUMER, StatisticsAnswer, StatisticsRequest, Store, StoreError};

use crate::support::{Engine, Fixture, against_both_engines, completed, failed, fixture, in_project};

against_both_engines!(
    a_random_history_is_counted_as_it_was,
    of_two_readers_one_counts_a_part,
    a_reader_that_dies_counts_nothing_twice,
    what_was_removed_before_it_was_counted_has_no_kind_and_no_times,
    minutes_are_forgotten_after_a_week_and_hours_after_a_year,
    what_happened_before_the_beginning_is_not_counted,
    a_feed_that_was_forgotten_is_gone_on_with_and_said_to_be_incomplete,
    callers_see_their_projects_and_no_other_organization,
    no_more_points_than_asked_for,
    a_deleted_organization_leaves_nothing,
    the_doctor_finds_counts_that_do_not_add_up,
);

/// Whether everything is counted. What is committed in PostgreSQL cannot be read while older transactions are under
/// way, those of other databases included.
async fn is_complete(store: &dyn Store) -> bool {
    for organization in ["acme", "other"] {
        let answer = store.statistics(&Access::organization(organization), &all_of(Step::Day), 1).await.unwrap();
        if answer.complete_until.is_some_and(|until| until != store.now()) {
            return false;
        }
    }
    store.uncommitted(STATISTICS_CONSUMER, "", 1).await.unwrap().is_empty()
}

/// Counts everything, `limit` changes at a time.
async fn count_all(fixture: &Fixture, limit: u32) {
    let store = &*fixture.store;
    // A change that is not counted yet is of another time than now.
    fixture.advance(Duration::from_millis(1));
    while !is_complete(store).await {
        for (organization, from) in store.uncommitted(STATISTICS_CONSUMER, "", 100).await.unwrap() {
            store.count_changes(&organization, from, limit).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

fn all_of(step: Step) -> StatisticsRequest {
    StatisticsRequest {
        from: Timestamp::from_millis(0),
        to: Timestamp::from_millis(i64::MAX),
        step,
        kind: None,
        by_kind: true,
    }
}

async fn read(fixture: &Fixture, access: &Access, request: &StatisticsRequest) -> StatisticsAnswer {
    fixture.store.statistics(access, request, 10_000).await.unwrap()
}

/// Created, started, completed and failed, over all steps and kinds.
async fn sums(fixture: &Fixture, access: &Access, step: Step) -> [u64; 4] {
    let answer = read(fixture, access, &all_of(step)).await;
    answer.points.iter().fold([0; 4], |sum, point| {
        let counts = &point.counts;
        let one = [counts.created, counts.started, counts.completed, counts.failed];
        std::array::from_fn(|index| sum[index] + one[index])
    })
}

/// What a step must say: created, started, completed, failed, and the waiting and running times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Truth {
    numbers: [u64; 4],
    waiting: Vec<u64>,
    running: Vec<u64>,
}

type Truths = BTreeMap<(Timestamp, String), Truth>;

fn check(reported: &StatisticsAnswer, truth: &Truths, context: &str) {
    let points: Vec<_> = reported.points.iter().map(|point| (point.start, point.kind.clone().unwrap())).collect();
    assert_eq!(points, truth.keys().cloned().collect::<Vec<_>>(), "{context}");
    for (point, (place, expected)) in reported.points.iter().zip(truth) {
        let counts = &point.counts;
        let numbers = [counts.created, counts.started, counts.completed, counts.failed];
        assert_eq!(numbers, expected.numbers, "{context}: {place:?}");
        for (durations, exact) in [(&counts.waiting, &expected.waiting), (&counts.running, &expected.running)] {
            let mut exact = exact.clone();
            exact.sort_unstable();
            assert_eq!((durations.count(), durations.sum_ms()), (exact.len() as u64, exact.iter().sum()), "{context}");
            for percent in [50, 90, 99] {
                let rank = (exact.len() * percent).div_ceil(100).max(1);
                let exact = exact.get(rank - 1).copied();
                let reported = durations.quantile_ms(percent as u64);
                let is_near = match (exact, reported) {
                    (Some(exact), Some(reported)) => reported.abs_diff(exact) * 100 <= exact,
                    (exact, reported) => exact == reported,
                };
                assert!(is_near, "{context}: {place:?}: {reported:?} is said for {exact:?}");
            }
        }
    }
}

async fn a_random_history_is_counted_as_it_was(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    let mut random = StdRng::seed_from_u64(12);
    let (kinds, projects) = (["scan", "build"], ["", "p", "q"]);
    // By project (empty: all) and step.
    let mut truth: BTreeMap<(&str, Step), Truths> = BTreeMap::new();
    // For those that exist: the kind, the project, when they were created, whether they have started.
    let mut known: BTreeMap<OperationId, (&str, &str, Timestamp, bool)> = BTreeMap::new();
    let mut pending: Vec<OperationId> = Vec::new();
    let mut ended_badly: Vec<OperationId> = Vec::new();
    let access = Access::organization("acme");
    for _ in 0..400 {
        fixture.advance(Duration::from_millis(1 << random.random_range(0..22_u32)));
        let now = fixture.store.now();
        let mut note = |kind: &str, project: &'static str, change: &dyn Fn(&mut Truth)| {
            for step in Step::ALL {
                for project in ["", project].into_iter().take(if project.is_empty() { 1 } else { 2 }) {
                    let expected = truth.entry((project, step)).or_default();
                    change(expected.entry((step.start(now), kind.to_owned())).or_default());
                }
            }
        };
        let since = |at: Timestamp| now.as_millis().abs_diff(at.as_millis());
        match random.random_range(0..10) {
            0..4 => {
                let (kind, project) = (kinds[random.random_range(0..2)], projects[random.random_range(0..3)]);
                let new = NewOperation { max_attempts: 100, ..in_project(kind, project) };
                let operation = fixture.create("acme", new).await;
                known.insert(operation.id, (kind, project, now, false));
                pending.push(operation.id);
                note(kind, project, &|truth| truth.numbers[0] += 1);
            }
            4..8 if !pending.is_empty() => {
                let Some(claimed) = fixture.claim(&kinds, 1).await.pop() else { continue };
                let id = claimed.operation.id;
                let (kind, project, created_at, has_started) = known[&id];
                note(kind, project, &|truth| {
                    truth.numbers[1] += 1;
                    if !has_started {
                        truth.waiting.push(since(created_at));
                    }
                });
                known.get_mut(&id).unwrap().3 = true;
                fixture.advance(Duration::from_millis(1 << random.random_range(0..14_u32)));
                let (start, now) = (now, fixture.store.now());
                let mut note = |change: &dyn Fn(&mut Truth)| {
                    for step in Step::ALL {
                        for project in ["", project].into_iter().take(if project.is_empty() { 1 } else { 2 }) {
                            let expected = truth.entry((project, step)).or_default();
                            change(expected.entry((step.start(now), kind.to_owned())).or_default());
                        }
                    }
                };
                let took = now.as_millis().abs_diff(start.as_millis());
                match random.random_range(0..4) {
                    0 => assert_eq!(fixture.settle(&claimed, failed("again", true)).await, Ok(Status::Pending)),
                    1 => {
                        fixture.settle(&claimed, failed("broken", false)).await.unwrap();
                        pending.retain(|other| *other != id);
                        ended_badly.push(id);
                        note(&|truth| {
                            truth.numbers[3] += 1;
                            truth.running.push(took);
                        });
                    }
                    2 => {
                        let released = fixture.store.release(vec![claimed.lease.clone()]).await.unwrap();
                        assert_eq!(released, [Ok(())]);
                    }
                    _ => {
                        fixture.settle(&claimed, completed("")).await.unwrap();
                        pending.retain(|other| *other != id);
                        note(&|truth| {
                            truth.numbers[2] += 1;
                            truth.running.push(took);
                        });
                    }
                }
            }
            8 if !ended_badly.is_empty() => {
                let id = ended_badly.swap_remove(random.random_range(0..ended_badly.len()));
                fixture.store.command(&access, id, OperationCommand::Retry).await.unwrap().unwrap().unwrap();
                pending.push(id);
            }
            9 if !pending.is_empty() => {
                let id = pending.swap_remove(random.random_range(0..pending.len()));
                fixture.store.command(&access, id, OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
                let (kind, project, ..) = known[&id];
                ended_badly.push(id);
                note(kind, project, &|truth| truth.numbers[3] += 1);
            }
            _ => {}
        }
        // Now and then it is counted, so that some changes are seen at once, and others long after.
        if random.random_range(0..40) == 0 {
            count_all(&fixture, random.random_range(1..20)).await;
            fixture.assert_sound().await;
        }
    }
    fixture.assert_sound().await;
    count_all(&fixture, 7).await;
    fixture.assert_sound().await;
    for ((project, step), truth) in &truth {
        let access =
            if project.is_empty() { access.clone() } else { Access::projects("acme", [(*project).to_owned()]) };
        let reported = read(&fixture, &access, &all_of(*step)).await;
        check(&reported, truth, &format!("{project} {step}"));
        assert_eq!(reported.complete_until, Some(fixture.store.now()));
    }
    // Together they are the sum of the kinds.
    let (mut together, mut request) = (Truth::default(), all_of(Step::Day));
    for counted in truth[&("", Step::Day)].values() {
        together.numbers = std::array::from_fn(|index| together.numbers[index] + counted.numbers[index]);
    }
    request.by_kind = false;
    let answer = read(&fixture, &access, &request).await;
    let created: u64 = answer.points.iter().map(|point| point.counts.created).sum();
    assert!(answer.points.iter().all(|point| point.kind.is_none()));
    assert_eq!(created, together.numbers[0]);
}

async fn of_two_readers_one_counts_a_part(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    let other = fixture.second_server().await;
    for _ in 0..20 {
        fixture.create("acme", NewOperation::of_kind("scan")).await;
    }
    fixture.advance(Duration::from_millis(1));
    while !is_complete(&*fixture.store).await {
        let found = fixture.store.uncommitted(STATISTICS_CONSUMER, "", 1).await.unwrap().pop();
        let Some((organization, from)) = found else { continue };
        let (first, second) = tokio::join!(
            fixture.store.count_changes(&organization, from, 3),
            other.count_changes(&organization, from, 3)
        );
        assert!(!(first.unwrap() && second.unwrap()), "one of them was too late");
    }
    assert_eq!(sums(&fixture, &Access::organization("acme"), Step::Day).await, [20, 0, 0, 0]);
    fixture.assert_sound().await;
}

async fn a_reader_that_dies_counts_nothing_twice(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    for _ in 0..50 {
        fixture.create("acme", NewOperation::of_kind("scan")).await;
    }
    let access = Access::organization("acme");
    let mut polls = 0;
    // A reader is dropped wherever it waits: after one step, after two, and so on until one comes to the end.
    fixture.advance(Duration::from_millis(1));
    'deaths: while !is_complete(&*fixture.store).await {
        let found = fixture.store.uncommitted(STATISTICS_CONSUMER, "", 1).await.unwrap().pop();
        let Some((organization, from)) = found else { continue };
        polls += 1;
        let mut counting = std::pin::pin!(fixture.store.count_changes(&organization, from, 5));
        let mut polled = 0;
        while polled < polls {
            polled += 1;
            let poll = std::future::poll_fn(|context| std::task::Poll::Ready(counting.as_mut().poll(context)));
            if poll.await.is_ready() {
                polls = 0;
                continue 'deaths;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(sums(&fixture, &access, Step::Hour).await, [50, 0, 0, 0]);
    fixture.assert_sound().await;
}

async fn what_was_removed_before_it_was_counted_has_no_kind_and_no_times(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    let access = Access::organization("acme");
    let gone = fixture.finished("acme", in_project("scan", "p"), completed("")).await;
    fixture.store.command(&access, gone.id, OperationCommand::Delete).await.unwrap().unwrap().unwrap();
    fixture.create("acme", in_project("scan", "p")).await;
    count_all(&fixture, 100).await;
    let answer = read(&fixture, &access, &all_of(Step::Minute)).await;
    let reported: Vec<_> = answer
        .points
        .iter()
        .map(|point| {
            let counts = &point.counts;
            (
                point.kind.as_deref().unwrap(),
                counts.created,
                counts.completed,
                counts.waiting.count(),
                counts.running.count(),
            )
        })
        .collect();
    assert_eq!(reported, [("", 1, 1, 0, 0), ("scan", 1, 0, 0, 0)]);
    assert_eq!(sums(&fixture, &Access::projects("acme", ["p"]), Step::Day).await, [1, 0, 0, 0]);
    fixture.assert_sound().await;
}

async fn minutes_are_forgotten_after_a_week_and_hours_after_a_year(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    let access = Access::organization("acme");
    let day = Duration::from_secs(24 * 3600);
    for _ in 0..3 {
        fixture.create("acme", NewOperation::of_kind("scan")).await;
        fixture.advance(Duration::from_secs(60));
    }
    count_all(&fixture, 100).await;
    let counted = |step| sums(&fixture, &access, step);
    fixture.advance(7 * day - Duration::from_secs(180));
    assert_eq!(fixture.store.forget_statistics(100).await.unwrap(), 0, "the oldest minute is not over for a week");
    fixture.advance(Duration::from_secs(60));
    assert_eq!(fixture.store.forget_statistics(100).await.unwrap(), 1, "now it is");
    fixture.advance(day);
    assert_eq!(fixture.store.forget_statistics(1).await.unwrap(), 1, "no more than may be");
    assert_eq!(fixture.store.forget_statistics(100).await.unwrap(), 1);
    assert_eq!((counted(Step::Minute).await[0], counted(Step::Hour).await[0]), (0, 3));
    fixture.assert_sound().await;
    fixture.advance(366 * day);
    assert_eq!(fixture.store.forget_statistics(100).await.unwrap(), 1);
    assert_eq!((counted(Step::Hour).await[0], counted(Step::Day).await[0]), (0, 3));
    fixture.assert_sound().await;
}

async fn what_happened_before_the_beginning_is_not_counted(fixture: Fixture) {
    let before = fixture.store.end_of_changes("acme").await.unwrap();
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    // A change that cannot be read yet would be counted, though it is older.
    while fixture.store.changes("acme", before, 1).await.unwrap().changes.is_empty() {
        tokio::task::yield_now().await;
    }
    let answer = read(&fixture, &Access::organization("acme"), &all_of(Step::Day)).await;
    assert_eq!((answer.available_since, answer.complete_until, answer.points.len()), (None, None, 0));
    fixture.advance(Duration::from_secs(60));
    fixture.store.begin_statistics().await.unwrap();
    let begun = fixture.store.now();
    fixture.assert_sound().await;
    fixture.advance(Duration::from_secs(60));
    // Another server begins too, and changes nothing.
    fixture.second_server().await.begin_statistics().await.unwrap();
    let created_at = fixture.store.now();
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.create("other", NewOperation::of_kind("scan")).await;
    fixture.advance(Duration::from_secs(60));
    let late = read(&fixture, &Access::organization("acme"), &all_of(Step::Day)).await;
    assert_eq!(late.complete_until, Some(created_at), "a change of then waits to be counted");
    count_all(&fixture, 100).await;
    let answer = read(&fixture, &Access::organization("acme"), &all_of(Step::Day)).await;
    assert_eq!((answer.available_since, answer.complete_until), (Some(begun), Some(fixture.store.now())));
    assert_eq!(sums(&fixture, &Access::organization("acme"), Step::Day).await, [1, 0, 0, 0]);
    let other = read(&fixture, &Access::organization("other"), &all_of(Step::Day)).await;
    assert_eq!(other.available_since, Some(created_at), "before, the organization was not there");
    fixture.assert_sound().await;
}

async fn a_feed_that_was_forgotten_is_gone_on_with_and_said_to_be_incomplete(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    let access = Access::organization("acme");
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    count_all(&fixture, 100).await;
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    // Nobody counts for longer than the change log is kept for consumers.
    fixture.advance(store::KEPT_FOR_CONSUMERS + Duration::from_secs(1));
    let mut forgotten = 0;
    while forgotten < 2 {
        forgotten += fixture.store.forget_changes(Duration::from_secs(1), 100).await.unwrap();
        tokio::task::yield_now().await;
    }
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    count_all(&fixture, 100).await;
    let answer = read(&fixture, &access, &all_of(Step::Day)).await;
    assert_eq!(answer.available_since, Some(fixture.store.now()), "what came before has a gap");
    assert_eq!(sums(&fixture, &access, Step::Day).await, [2, 0, 0, 0]);
    fixture.assert_sound().await;
}

async fn callers_see_their_projects_and_no_other_organization(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    for project in ["p", "p", "q", "r", ""] {
        fixture.create("acme", in_project("scan", project)).await;
    }
    fixture.create("other", in_project("secret", "p")).await;
    count_all(&fixture, 100).await;
    for (access, created) in [
        (Access::organization("acme"), 5),
        (Access::projects("acme", ["p"]), 2),
        (Access::projects("acme", ["p", "q"]), 3),
        (Access::projects("acme", ["nothing"]), 0),
        (Access::projects::<String>("acme", []), 0),
        (Access::organization("nobody"), 0),
    ] {
        for step in Step::ALL {
            assert_eq!(sums(&fixture, &access, step).await[0], created, "{access:?}");
        }
    }
    let one_kind = StatisticsRequest { kind: Some("secret".to_owned()), ..all_of(Step::Day) };
    assert_eq!(read(&fixture, &Access::organization("acme"), &one_kind).await.points, []);
}

async fn no_more_points_than_asked_for(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    for _ in 0..3 {
        fixture.create("acme", NewOperation::of_kind("scan")).await;
        fixture.advance(Duration::from_secs(60));
    }
    count_all(&fixture, 100).await;
    let access = Access::organization("acme");
    for (limit, points, is_cut) in [(2, 2, true), (3, 3, false), (4, 3, false)] {
        let answer = fixture.store.statistics(&access, &all_of(Step::Minute), limit).await.unwrap();
        assert_eq!((answer.points.len(), answer.is_cut), (points, is_cut));
    }
    // From the step on that `from` lies in, up to `to`.
    let first = read(&fixture, &access, &all_of(Step::Minute)).await.points[0].start;
    let within = StatisticsRequest {
        from: first.after(Duration::from_secs(59)),
        to: first.after(Duration::from_secs(60)),
        ..all_of(Step::Minute)
    };
    assert_eq!(read(&fixture, &access, &within).await.points.len(), 1);
}

async fn a_deleted_organization_leaves_nothing(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    fixture.create("acme", in_project("scan", "p")).await;
    fixture.create("other", in_project("scan", "p")).await;
    count_all(&fixture, 100).await;
    fixture.create("acme", in_project("scan", "p")).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    // The reader continues, and counts nothing of the organization that is being deleted.
    count_all(&fixture, 100).await;
    fixture.assert_sound().await;
    while fixture.store.delete_part("acme", 1).await.unwrap() > Some(0) {
        fixture.assert_sound().await;
    }
    fixture.store.end_deletion("acme").await.unwrap();
    let answer = read(&fixture, &Access::organization("acme"), &all_of(Step::Day)).await;
    assert_eq!(answer.points, []);
    assert_eq!(sums(&fixture, &Access::organization("other"), Step::Day).await, [1, 0, 0, 0]);
    // Created anew, it is counted from then on.
    let token = store::NewToken {
        hash: [7; 32],
        name: "t".to_owned(),
        access: Access::organization("acme"),
        scopes: [store::Scope::Admin].into(),
        expires_at: None,
        instance: None,
    };
    fixture.store.create_token(token).await.unwrap();
    fixture.create("acme", in_project("scan", "p")).await;
    count_all(&fixture, 100).await;
    assert_eq!(sums(&fixture, &Access::organization("acme"), Step::Day).await, [1, 0, 0, 0]);
    fixture.assert_sound().await;
}

async fn the_doctor_finds_counts_that_do_not_add_up(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.advance(Duration::from_secs(24 * 3600));
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    count_all(&fixture, 100).await;
    fixture.assert_sound().await;
    for (sql, repair, found) in [
        (
            "UPDATE statistics_origins SET created = created + 1 WHERE organization_id = 'acme'",
            "UPDATE statistics_origins SET created = created - 1 WHERE organization_id = 'acme'",
            2,
        ),
        (
            "UPDATE statistics SET created = created + 1 WHERE step = 3",
            "UPDATE statistics SET created = created - 1 WHERE step = 3",
            2,
        ),
        ("UPDATE statistics SET started = 1 WHERE step = 1", "UPDATE statistics SET started = 0 WHERE step = 1", 1),
    ] {
        fixture.tamper(sql).await;
        assert_eq!(fixture.store.doctor().await.unwrap().findings.len(), found, "{sql}");
        fixture.tamper(repair).await;
        fixture.assert_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durations_that_are_damaged_are_an_error_and_no_panic() {
    let fixture = fixture(Engine::Sqlite).await;
    fixture.store.begin_statistics().await.unwrap();
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    count_all(&fixture, 100).await;
    fixture.tamper("UPDATE statistics SET waiting = x'05'").await;
    let answer = fixture.store.statistics(&Access::organization("acme"), &all_of(Step::Day), 10).await;
    assert!(matches!(answer, Err(StoreError::Unusable(_))), "{answer:?}");
}
