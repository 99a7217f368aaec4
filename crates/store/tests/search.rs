//! Searching and counting against `Search::matches`: random operations, random filters, every page, both engines.
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use operations::search::{Numbers, Searched, Set, Times};
use operations::{Access, NOTICE_KIND, NewOperation, OperationId, Resource, Search, Status, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use store::{
    CountGroup, GroupBy, OperationCommand, OperationDetail, SearchOrder, SearchPage, SearchRequest, SearchStart,
};

use crate::support::*;

const KINDS: [&str; 5] = ["scan", "export", "evaluate", "never", NOTICE_KIND];
const PROJECTS: [&str; 4] = ["", "a", "b", "c"];
const RESOURCES: [&str; 4] = ["", "x", "y", "z"];
const LABELS: [(&str, &str); 4] = [("team", "a"), ("team", "b"), ("retry_of", "x y"), ("e/f", "")];
const TEXTS: [&str; 3] = ["quick brown fox", "lazy \"dog\"", "100% _ \\ é"];

/// Filters that an index serves, and that have ways of their own when nothing else, or little else, is requested.
const ALONE: [&str; 5] = [
    "labels.team = a",
    "labels.team = (a OR b)",
    "labels.team = a AND status = FAILED AND kind = (scan OR export)",
    "resource_type = thing AND resource_id = x",
    "resource_type = thing AND resource_id = y AND status = COMPLETED AND project_id = (a OR b)",
];

/// What was made, in the order of numbers, and what the twelve fields do not say.
struct Made {
    fixture: Fixture,
    random: StdRng,
    created: Vec<OperationId>,
    times: Vec<Timestamp>,
}

impl Made {
    /// A random history: several runs of numbers with gaps between them, a clock that is set back, ends, removals.
    async fn new(fixture: Fixture, seed: u64) -> Made {
        let random = StdRng::seed_from_u64(seed);
        let mut made = Made { fixture, random, created: Vec::new(), times: Vec::new() };
        made.jump(&[0, 4_060, 65_500, 1_048_550]).await;
        for _ in 0..6 {
            made.batch().await;
            match made.random.random_range(0..4) {
                0 => made.jump(&[10, 3_000, 70_000, 300_000]).await,
                1 => made.fixture.set_back(Duration::from_secs(made.random.random_range(1..300))),
                2 => drop(made.fixture.store.note_times(10_000).await.unwrap()),
                _ => made.fixture.advance(Duration::from_secs(made.random.random_range(1..600))),
            }
        }
        made
    }

    /// As if numbers had been given to operations that were removed since.
    async fn jump(&mut self, choices: &[i64]) {
        let by = *choices.choose(&mut self.random).unwrap();
        self.fixture
            .tamper(&format!(
                "INSERT INTO organizations (organization_id, next_seq, created_at, removed) VALUES ('acme', {}, 0, {by})
                 ON CONFLICT (organization_id) DO UPDATE SET
                     next_seq = organizations.next_seq + {by}, removed = organizations.removed + {by}",
                by + 1
            ))
            .await;
    }

    async fn batch(&mut self) {
        let store = self.fixture.store.clone();
        for _ in 0..self.random.random_range(1..5) {
            let mut new: Vec<NewOperation> =
                (0..self.random.random_range(1..12)).map(|_| self.new_operation()).collect();
            // Callers do not give one key to two operations at once.
            new[0].unique_key = self.random.random::<bool>().then(|| format!("key {}", self.random.random_range(0..4)));

            let created = store.create("acme", new, None).await.unwrap();
            for created in created {
                // A unique key may have been answered with the operation that has it.
                if self.created.contains(&created.id) {
                    continue;
                }
                self.created.push(created.id);
                self.times.push(created.created_at);
            }
            self.fixture.advance(Duration::from_millis(self.random.random_range(0..60_000)));
        }
        let kinds: Vec<&str> = KINDS.iter().copied().filter(|kind| *kind != "never").collect();
        let claimed = self.fixture.claim(&kinds, self.random.random_range(1..20)).await;
        for claimed in claimed {
            self.fixture.advance(Duration::from_millis(self.random.random_range(0..3_000)));
            let text = *TEXTS.choose(&mut self.random).unwrap();
            let outcome = match self.random.random_range(0..5) {
                0 => continue,
                1 => failed(text, false),
                2 => failed(text, true),
                _ => completed(text),
            };
            self.fixture.settle(&claimed, outcome).await.unwrap();
        }
        // Some are removed, some are retried.
        for _ in 0..2 {
            let id = *self.created.choose(&mut self.random).unwrap();
            let command = if self.random.random() { OperationCommand::Retry } else { OperationCommand::Delete };
            let _ = store.command(&Access::organization("acme"), id, command).await.unwrap();
        }
    }

    fn new_operation(&mut self) -> NewOperation {
        let resource = match *RESOURCES.choose(&mut self.random).unwrap() {
            "" => None,
            id => Some(Resource { resource_type: "thing".to_owned(), resource_id: id.to_owned() }),
        };
        let kind = *KINDS.choose(&mut self.random).unwrap();
        // Nobody can create a notice, so none has labels.
        let labels = if kind == NOTICE_KIND { 0 } else { self.random.random_range(0..3) };
        NewOperation {
            resource,
            project_id: (*PROJECTS.choose(&mut self.random).unwrap()).to_owned(),
            priority: self.random.random_range(-2..3),
            input: (*["", "\"quick fox\"", "{\"n\": 100}"].choose(&mut self.random).unwrap()).to_owned(),
            labels: LABELS
                .sample(&mut self.random, labels)
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            schedule: [None, Some("nightly"), Some("hourly")].choose(&mut self.random).unwrap().map(str::to_owned),
            ..NewOperation::of_kind(kind)
        }
    }

    /// All operations, newest first, as the store itself shows each of them.
    async fn model(&self) -> Vec<OperationDetail> {
        let ids: Vec<_> = self.created.iter().rev().copied().collect();
        let found = self.fixture.store.details(&Access::organization("acme"), &ids, i32::MAX as usize).await.unwrap();
        found.into_iter().flatten().collect()
    }

    fn time(&mut self) -> Timestamp {
        let time = *self.times.choose(&mut self.random).unwrap();
        Timestamp::from_millis(time.as_millis() + self.random.random_range(-1..2))
    }

    fn times(&mut self) -> Times {
        let (from, before) = (self.random.random_bool(0.6), self.random.random_bool(0.4));
        let (from, before) = (from.then(|| self.time()), before.then(|| self.time()));
        Times { from, before }
    }

    fn set(&mut self, values: &[&str], can_exclude: bool) -> Set<String> {
        let n = self.random.random_range(1..3);
        let some: Vec<String> = values.sample(&mut self.random, n).map(|value| (*value).to_owned()).collect();
        if can_exclude && self.random.random() { Set::except(some) } else { Set::among(some) }
    }

    /// A filter that a caller might send.
    fn search(&mut self) -> Search {
        let mut search = Search::default();
        if self.random.random_bool(0.5) {
            let n = self.random.random_range(1..4);
            let some: BTreeSet<Status> = Status::ALL.sample(&mut self.random, n).copied().collect();
            search.status = if self.random.random() { Set::Among(some) } else { Set::Except(some) };
        }
        if self.random.random_bool(0.5) {
            search.kind = self.set(&["scan", "export", "evaluate", "never", NOTICE_KIND, "nobody"], true);
        }
        if self.random.random_bool(0.4) {
            search.project_id = self.set(&["", "a", "b", "c", "nobody"], true);
        }
        if self.random.random_bool(0.6) {
            search.created_at = self.times();
        }
        match self.random.random_range(0..16) {
            0 => {
                search.resource_type = Set::among(["thing".to_owned()]);
                search.resource_id = self.set(&RESOURCES, false);
            }
            1 => {
                let ids = self.created.sample(&mut self.random, 3).copied();
                search.id = Set::among(ids);
            }
            2 => search.started_at = self.times(),
            3 => search.finished_at = self.times(),
            4 => search.priority = Numbers { least: Some(-1), most: Some(1) },
            5 => search.resource_id = self.set(&RESOURCES, false),
            6 if !self.fixture.is_sealed() => {
                search
                    .error_message
                    .insert((*["fox", "\"dog\"", "% _ \\ é"].choose(&mut self.random).unwrap()).to_owned());
            }
            7 if !self.fixture.is_sealed() => drop(search.output.insert("o".to_owned())),
            8 if !self.fixture.is_sealed() => {
                search.input.insert((*["fox", "100"].choose(&mut self.random).unwrap()).to_owned());
            }
            9 => search.worker = self.set(&["", "test"], true),
            10 => search.attempts = Numbers { least: Some(1), most: self.random.random::<bool>().then_some(1) },
            11 => search.unique_key = self.set(&["key 0", "key 1", "key 2", "nobody's key"], false),
            14 => search.schedule = self.set(&["nightly", "hourly", "never"], false),
            12 | 13 => {
                let (key, value) = *LABELS.choose(&mut self.random).unwrap();
                search.labels.insert(key.to_owned(), Set::among([value.to_owned(), "nothing".to_owned()]));
                if self.random.random() {
                    search.labels.insert("team".to_owned(), self.set(&["a", "b", "c"], false));
                }
                if self.random.random() {
                    search.resource_type = Set::among(["thing".to_owned()]);
                    search.resource_id = self.set(&RESOURCES, false);
                }
            }
            _ => {}
        }
        // A bound that a caller would have to add.
        if search.check_cost().is_err() {
            search.created_at.from = Some(Timestamp::from_millis(self.times[0].as_millis() - 10_000_000));
        }
        search
    }

    async fn compare(&mut self) {
        let operations = self.model().await;
        for access in [
            Access::organization("acme"),
            Access::projects("acme", ["a"]),
            Access::projects("acme", ["a", "c", "nobody"]),
            Access::projects("acme", Vec::<String>::new()),
            Access::organization("other"),
        ] {
            let random: Vec<Search> = (0..12).map(|_| self.search()).collect();
            let alone = ALONE.map(|filter| filter.parse().unwrap());
            for search in random.into_iter().chain(alone) {
                let read: Search = search.to_string().parse().unwrap();
                assert_eq!(read, search);
                let expected: Vec<&OperationDetail> =
                    operations.iter().filter(|of| matches(&access, &search, of)).collect();
                self.compare_pages(&access, &search, &expected).await;
                self.compare_counts(&access, &search, &expected).await;
            }
        }
    }

    async fn page(&self, access: &Access, request: &SearchRequest) -> SearchPage {
        self.fixture
            .store
            .search(access, request)
            .await
            .unwrap_or_else(|error| panic!("{} {request:?}: {error:?}", request.search))
    }

    async fn compare_pages(&mut self, access: &Access, search: &Search, expected: &[&OperationDetail]) {
        for order in [SearchOrder::Newest, SearchOrder::Oldest] {
            let mut ids: Vec<OperationId> = expected.iter().map(|detail| detail.operation.id).collect();
            if order == SearchOrder::Oldest {
                ids.reverse();
            }
            let page_size = self.random.random_range(1..30);
            let request = |start| SearchRequest { search: search.clone(), order, start, page_size };
            let (mut start, mut walked) = (None, Vec::new());
            for number in 0..=ids.len() as u32 / page_size {
                let by_number = self.page(access, &request(SearchStart::Page(number))).await;
                let here = ids.chunks(page_size as usize).nth(number as usize).unwrap_or_default();
                assert_eq!(ids_of(&by_number), here, "page {number} of {page_size}, {order:?}: {search} {access:?}");
                assert_eq!(by_number.total, ids.len() as u64, "{search} {access:?}");
                assert!(by_number.total_is_exact);
                let by_token = self.page(access, &request(start.unwrap_or(SearchStart::Page(0)))).await;
                assert_eq!(
                    (&by_token.found, by_token.total),
                    (&by_number.found, by_number.total),
                    "{search} {access:?}"
                );
                assert!(by_number.found.iter().all(|found| expected.contains(&found)), "all that is known is returned");
                walked.extend(ids_of(&by_token));
                match by_token.next {
                    Some(next) => start = Some(SearchStart::After(next)),
                    None => break,
                }
            }
            assert_eq!(walked, ids, "{order:?}: {search} {access:?}");
        }
        let mut numbers = 0..self.fixture.store.next_number("acme").await.unwrap();
        let mut walked = Vec::new();
        loop {
            let part = self.fixture.store.matching_ids(access, search, numbers.clone(), 7).await.unwrap();
            walked.extend(part.found.iter().map(|(_, id)| *id));
            let Some(below) = part.next_below else { break };
            numbers.end = below;
        }
        assert_eq!(
            walked,
            expected.iter().map(|detail| detail.operation.id).collect::<Vec<_>>(),
            "{search} {access:?}"
        );
    }

    async fn compare_counts(&mut self, access: &Access, search: &Search, expected: &[&OperationDetail]) {
        let by = GroupBy { status: self.random.random(), kind: self.random.random(), project_id: self.random.random() };
        let counted = self.fixture.store.count_matching(access, search, by).await.unwrap();
        let mut groups = HashMap::new();
        for operation in expected.iter().map(|detail| &detail.operation) {
            let group = (
                by.status.then_some(operation.status),
                by.kind.then(|| operation.kind.clone()),
                by.project_id.then(|| operation.project_id.clone()),
            );
            *groups.entry(group).or_default() += 1;
        }
        let found = |of: &CountGroup| ((of.status, of.kind.clone(), of.project_id.clone()), of.count);
        assert_eq!(counted.groups.iter().map(found).collect::<HashMap<_, _>>(), groups, "{by:?} {search} {access:?}");
        assert_eq!((counted.total, counted.is_exact), (expected.len() as u64, true));
        assert!(counted.groups.is_sorted_by(|one, other| one.count >= other.count));
    }
}

/// Whether an operation of `acme` may be seen and is meant.
fn matches(access: &Access, search: &Search, detail: &OperationDetail) -> bool {
    let operation = &detail.operation;
    let searched = Searched {
        operation,
        labels: &detail.labels,
        unique_key: detail.unique_key.as_deref(),
        schedule: detail.schedule.as_deref(),
        worker: &detail.worker,
        attempts: detail.attempts,
        priority: detail.priority,
        input: &detail.input,
    };
    access.organization == "acme" && access.sees_project(&operation.project_id) && search.matches(searched)
}

fn seeds(few: u64) -> std::ops::Range<u64> {
    0..std::env::var("LONGRUN_SEARCH_SEEDS").map_or(few, |text| text.parse().unwrap())
}

async fn whatever_is_asked_for_equals_the_naive_model(engine: Engine, few: u64) {
    for seed in seeds(few) {
        let mut made = Made::new(fixture(engine).await, seed).await;
        println!("{engine:?} seed {seed}: {} operations", made.created.len());
        made.compare().await;
        made.fixture.store.note_times(10_000).await.unwrap();
        assert_eq!(made.fixture.store.note_times(10_000).await.unwrap(), 0, "all are noted");
        made.compare().await;
        made.fixture.assert_sound().await;
    }
}

#[tokio::test]
async fn searches_equal_the_naive_model_in_sqlite() {
    whatever_is_asked_for_equals_the_naive_model(Engine::Sqlite, 4).await;
}

#[tokio::test]
async fn searches_equal_the_naive_model_in_postgres() {
    whatever_is_asked_for_equals_the_naive_model(Engine::Postgres, 2).await;
}

#[tokio::test]
async fn searches_equal_the_naive_model_where_texts_are_sealed() {
    whatever_is_asked_for_equals_the_naive_model(Engine::SealedSqlite, 1).await;
}

fn ids_of(page: &SearchPage) -> Vec<OperationId> {
    page.found.iter().map(|detail| detail.operation.id).collect()
}

fn newest(search: &Search, start: SearchStart) -> SearchRequest {
    SearchRequest { search: search.clone(), order: SearchOrder::Newest, start, page_size: 5 }
}

async fn tokens_neither_skip_nor_repeat_while_operations_are_created(fixture: Fixture) {
    let access = Access::organization("acme");
    let mut expected = Vec::new();
    for _ in 0..23 {
        expected.push(fixture.create("acme", NewOperation::of_kind("scan")).await.id);
    }
    expected.reverse();
    let search = Search { kind: Set::among(["scan".to_owned()]), ..Search::default() };
    let (mut start, mut walked) = (SearchStart::Page(0), Vec::new());
    loop {
        let page = fixture.store.search(&access, &newest(&search, start)).await.unwrap();
        walked.extend(ids_of(&page));
        fixture.create("acme", NewOperation::of_kind("scan")).await;
        let Some(next) = page.next else { break };
        start = SearchStart::After(next);
    }
    assert_eq!(walked, expected);
}

async fn buckets_at_the_edges_of_a_time_are_looked_into(fixture: Fixture) {
    const HOUR: Duration = Duration::from_secs(3600);
    let access = Access::organization("acme");
    let mut created = Vec::new();
    for part in 0..9 {
        let new = (0..1_000).map(|n| NewOperation::of_kind(if n % 10 == 0 { "export" } else { "scan" })).collect();
        created.extend(fixture.store.create("acme", new, None).await.unwrap());
        fixture.advance(HOUR);
        if part == 4 {
            fixture.set_back(3 * HOUR);
        }
    }
    let start = created[0].created_at;
    for noted in [false, true] {
        if noted {
            assert_eq!(fixture.store.note_times(1).await.unwrap(), 1);
            assert_eq!(fixture.store.note_times(100).await.unwrap(), 1);
        }
        for (from, before) in [(0, 3), (2, 4), (4, 20), (3, 3), (5, 6), (0, 20)] {
            let created_at = Times { from: Some(start.after(from * HOUR)), before: Some(start.after(before * HOUR)) };
            let search = Search { created_at, kind: Set::among(["export".to_owned()]), ..Search::default() };
            let expected: Vec<OperationId> = created
                .iter()
                .filter(|of| of.kind == "export" && created_at.contains(Some(of.created_at)))
                .map(|of| of.id)
                .rev()
                .collect();
            let counted = fixture.store.count_matching(&access, &search, GroupBy::default()).await.unwrap();
            assert_eq!(counted.total, expected.len() as u64, "{search}");
            for page in [0, 1, 7, 30] {
                let found = fixture.store.search(&access, &newest(&search, SearchStart::Page(page))).await.unwrap();
                let here = expected.chunks(5).nth(page as usize).unwrap_or_default();
                assert_eq!((ids_of(&found).as_slice(), found.total), (here, expected.len() as u64), "{search}");
            }
        }
    }
    fixture.assert_sound().await;
    // The doctor would notice.
    fixture.tamper("UPDATE bucket_times SET high = low WHERE bucket = 0").await;
    let findings = fixture.store.doctor().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.detail.contains("were created at other times")), "{findings:?}");
}

async fn what_is_removed_for_good_is_not_found(fixture: Fixture) {
    let access = Access::organization("acme");
    let short = NewOperation { retain_for: Some(Duration::from_secs(60)), ..about("scan", "thing", "x") };
    let gone = fixture.finished("acme", short, completed("ok")).await;
    let kept = fixture.finished("acme", about("scan", "thing", "x"), completed("ok")).await;
    fixture.advance(Duration::from_secs(120));
    assert_eq!(fixture.store.purge(10).await.unwrap(), 1);
    for search in [
        Search { id: Set::among([gone.id, kept.id]), ..Search::default() },
        Search { created_at: Times { from: Some(gone.created_at), before: None }, ..Search::default() },
        Search {
            resource_type: Set::among(["thing".to_owned()]),
            resource_id: Set::among(["x".to_owned()]),
            ..Search::default()
        },
    ] {
        let page = fixture.store.search(&access, &newest(&search, SearchStart::Page(0))).await.unwrap();
        assert_eq!((ids_of(&page), page.total), (vec![kept.id], 1), "{search}");
    }
    fixture.store.begin_deletion("acme", true).await.unwrap();
    assert!(store::go_on_deleting(&*fixture.store, None, "acme", None, |_| {}).await.unwrap());
    let page = fixture.store.search(&access, &newest(&Search::default(), SearchStart::Page(0))).await.unwrap();
    assert_eq!((ids_of(&page), page.total), (vec![], 0));
}

async fn pages_of_a_resource_that_has_counters_hold_what_matches(fixture: Fixture) {
    let about_it =
        |n: usize| NewOperation { project_id: PROJECTS[n % 4].to_owned(), ..about(KINDS[n % 2], "thing", "x") };
    for part in 0..3 {
        let new = (0..500).map(about_it).chain([about("scan", "thing", "y")]).collect();
        fixture.store.create("acme", new, None).await.unwrap();
        for (n, claimed) in fixture.claim(&["scan", "export"], 100).await.into_iter().enumerate() {
            let outcome = if (n + part) % 3 == 0 { failed("no", false) } else { completed("ok") };
            fixture.settle(&claimed, outcome).await.unwrap();
        }
    }
    fixture.claim(&["scan"], 5).await;
    fixture.count_resource("acme", &Resource { resource_type: "thing".to_owned(), resource_id: "x".to_owned() }).await;
    let everything = Access::organization("acme");
    let mut request = SearchRequest { page_size: 2_000, ..newest(&Search::default(), SearchStart::Page(0)) };
    let all = fixture.store.search(&everything, &request).await.unwrap().found;
    assert_eq!(all.len(), 1_503);
    let of_it = "resource_type = thing AND resource_id = x";
    for (filter, is_of_one) in [
        ("", true),
        (" AND status = FAILED", true),
        (" AND status = RUNNING AND kind = scan", true),
        (" AND status = COMPLETED AND project_id = (a OR c)", true),
        (" AND kind = never", true),
        (" AND status != FAILED", false),
        (" AND project_id != a", true),
        (" AND attempts = 1 AND status = FAILED", false),
    ] {
        let search: Search = format!("{of_it}{filter}").parse().unwrap();
        assert_eq!(search.of_one_resource().is_some(), is_of_one, "{search}");
        for access in [everything.clone(), Access::projects("acme", ["a", "b"])] {
            let expected = all.iter().filter(|of| matches(&access, &search, of));
            let expected: Vec<OperationId> = expected.map(|of| of.operation.id).collect();
            for page_size in [7, 50, 2_000] {
                let last = expected.len() as u32 / page_size;
                for page in [0, 1, last / 2, last, last + 1] {
                    request = SearchRequest { page_size, ..newest(&search, SearchStart::Page(page)) };
                    let found = fixture.store.search(&access, &request).await.unwrap();
                    let here = expected.chunks(page_size as usize).nth(page as usize).unwrap_or_default();
                    assert_eq!(ids_of(&found), here, "page {page} of {page_size}: {search}");
                    assert_eq!((found.total, found.total_is_exact), (expected.len() as u64, true), "{search}");
                    let Some(next) = found.next else { continue };
                    let after = SearchRequest { start: SearchStart::After(next), ..request };
                    let after = fixture.store.search(&access, &after).await.unwrap();
                    let here = expected.chunks(page_size as usize).nth(page as usize + 1).unwrap_or_default();
                    assert_eq!((ids_of(&after).as_slice(), after.total), (here, expected.len() as u64), "{search}");
                }
            }
        }
    }
    fixture.assert_sound().await;
}

async fn what_is_encrypted_or_unbounded_is_refused(fixture: Fixture) {
    let search: Search = "created_at >= \"2020-01-01T00:00:00Z\" AND output : \"x\"".parse().unwrap();
    let refused = fixture.store.check_search(&search).err();
    assert_eq!(refused.is_some(), fixture.is_sealed(), "{refused:?}");
    let unbounded: Search = "worker = \"w\"".parse().unwrap();
    assert!(fixture.store.check_search(&unbounded).is_err());
}

against_both_engines![
    tokens_neither_skip_nor_repeat_while_operations_are_created,
    buckets_at_the_edges_of_a_time_are_looked_into,
    what_is_removed_for_good_is_not_found,
    pages_of_a_resource_that_has_counters_hold_what_matches,
    what_is_encrypted_or_unbounded_is_refused,
];
