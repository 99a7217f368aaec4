#![allow(clippy::unwrap_used)]

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::Resource;

const NOW: i64 = 1_800_000_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn parsed(filter: &str) -> Search {
    Search::parse(filter, now()).unwrap_or_else(|error| panic!("{filter}: {error}"))
}

fn refused(filter: &str) -> (usize, String) {
    let InvalidFilter { position, problem } = Search::parse(filter, now()).expect_err(filter);
    (position, problem)
}

#[test]
fn every_kind_of_comparison_is_read() {
    let canonical = |filter| parsed(filter).to_string();
    assert_eq!(parsed("  "), Search::default());
    assert_eq!(canonical(""), "");
    assert_eq!(canonical("status=FAILED AND kind = scan"), "status = FAILED AND kind = \"scan\"");
    assert_eq!(canonical("status = ASYNC_OPERATION_STATUS_FAILED"), "status = FAILED");
    assert_eq!(canonical("status = (RUNNING OR 1)"), "status = (PENDING OR RUNNING)");
    assert_eq!(canonical("(status = RUNNING OR status = PENDING)"), "status = (PENDING OR RUNNING)");
    assert_eq!(canonical("NOT kind = a AND kind != (b OR \"c d\")"), "kind != (\"a\" OR \"b\" OR \"c d\")");
    assert_eq!(canonical("NOT (kind = a OR kind = b)"), "kind != (\"a\" OR \"b\")");
    assert_eq!(canonical("NOT worker != w"), "worker = \"w\"");
    assert_eq!(canonical("project_id = \"\""), "project_id = \"\"");
    assert_eq!(canonical("kind = (a OR b) AND kind != b"), "kind = \"a\"");
    assert_eq!(canonical("attempts > 2 AND attempts < 4 AND priority >= -3"), "attempts = 3 AND priority >= -3");
    assert_eq!(canonical(r#"output : "a \"b\" \\ \n""#), r#"output : "a \"b\" \\ \n""#);
    assert_eq!(canonical("labels.team/x = (a OR b)"), "labels.team/x = (\"a\" OR \"b\")");
}

#[test]
fn durations_are_before_now() {
    let from = |filter: &str| NOW - parsed(filter).created_at.from.unwrap().as_millis();
    assert_eq!(from("created_at >= \"-1h\""), 3_600_000);
    assert_eq!(from("created_at>=-1d12h"), 36 * 3_600_000);
    assert_eq!(from("created_at > -2w"), 14 * 86_400_000 - 1);
    assert_eq!(from("created_at >= -0s"), 0);
    let until = parsed("created_at < \"2026-01-23T04:56:07+01:00\"").created_at.before.unwrap();
    assert_eq!(until.to_string(), "2026-01-23T03:56:07.000Z");
    assert_eq!(parsed("created_at >= -9999999999w").created_at.from.unwrap().as_millis(), -62_135_596_800_000);
}

#[test]
fn refusals_say_where_and_what_is_allowed() {
    for (filter, position, says) in [
        ("colour = red", 1, "is not a field; the fields are status, kind"),
        ("status = DONE", 10, "the statuses are PENDING, RUNNING, COMPLETED, FAILED"),
        ("status > FAILED", 8, "status can be compared with = and !=, not with \">\""),
        ("kind = a kind = b", 10, "join comparisons by AND"),
        ("kind = a OR kind = b", 10, "within parentheses"),
        ("(kind = a OR status = FAILED)", 14, "alternatives of one field"),
        ("(kind = a AND status = FAILED)", 11, "OR or \")\""),
        ("(kind != a OR kind = b)", 7, "compared with ="),
        ("kind = a AND kind = b", 14, "write alternatives as kind = (one OR other)"),
        ("NOT created_at >= -1h", 1, "NOT is allowed before"),
        ("NOT id = 01980000-0000-7000-8000-000000000000", 1, "NOT is allowed before"),
        ("NOT NOT kind = a", 5, "where a field"),
        ("((kind = a))", 2, "where a field"),
        ("id = 7", 6, "UUID"),
        ("id != 7", 4, "id can be compared with =, not with \"!=\""),
        ("created_at >= 1h", 15, "a duration before now, e.g. \"-1h\""),
        ("created_at >= -1", 15, "is not a time"),
        ("created_at >= -99999999999999999999h", 15, "is not a time"),
        ("created_at >= \"yesterday\"", 15, "is not a time"),
        ("created_at = -1h", 12, "created_at can be compared with >="),
        ("created_at >= (-1h)", 15, "takes one value"),
        ("attempts = many", 12, "whole number"),
        ("attempts = 99999999999", 12, "whole number"),
        ("error_message = x", 15, "compared with : (contains)"),
        ("input : \"\"", 9, "1 to 256 bytes"),
        ("kind = \"a", 8, "is not closed"),
        ("kind = 'a'", 8, "write texts as"),
        ("kind = a:b", 9, "cannot follow"),
        ("kind = é", 8, "must be in quotes"),
        ("kind = \"\\x\"", 9, "must be followed by"),
        ("kind = \"\\n\"", 8, "control character"),
        ("kind = \"é\u{7}\"", 10, "control character"),
        ("kind =", 7, "the end of the filter was found where a value"),
        ("kind", 5, "kind can be compared with"),
        ("kind = AND", 8, "where a value was expected"),
        ("kind = (a b)", 11, "OR or \")\""),
        ("kind = (a", 10, "the end of the filter"),
        ("kind = a AND", 13, "where a field"),
        ("kind = a and status = FAILED", 10, "join comparisons by AND"),
        ("labels. = a", 1, "key of a label"),
        ("! = a", 1, "is allowed in quoted texts only"),
    ] {
        let (at, problem) = refused(filter);
        assert!(at == position && problem.contains(says), "{filter}: at {at}: {problem}");
    }
    assert_eq!(
        Search::parse("a = 1", now()).unwrap_err().violation("filter").to_string().split(';').next().unwrap(),
        "filter: at character 1: \"a\" is not a field"
    );
}

#[test]
fn filters_are_bounded() {
    let many = |n: usize| vec!["kind != a"; n].join(" AND ");
    assert!(Search::parse(&many(MAX_COMPARISONS), now()).is_ok());
    assert!(refused(&many(MAX_COMPARISONS + 1)).1.contains("more than 16 comparisons"));
    let long = format!("kind = \"{}\"", "é".repeat(1_100));
    assert_eq!(refused(&long).0, 1_029, "the first character beyond");
    let ids: Vec<String> = (0..50).map(|n| format!("01980000-0000-7000-8000-{n:012}")).collect();
    let fifty = parsed(&format!("id = ({})", ids.join(" OR ")));
    assert_eq!(fifty.to_string().parse(), Ok(fifty.clone()), "the canonical form may be longer");
    assert!("created_at >= \"-1h\"".parse::<Search>().is_err(), "and has absolute times");
}

#[test]
fn notices_are_meant_only_where_they_are_named() {
    assert!(!parsed("").means_kind(NOTICE_KIND));
    assert!(!parsed("kind != scan").means_kind(NOTICE_KIND));
    assert!(parsed("kind = (notice OR scan)").means_kind(NOTICE_KIND));
}

#[test]
fn fields_that_are_checked_by_row_need_a_bound() {
    for filter in
        ["worker = w", "output : x AND status = FAILED", "resource_type = t", "created_at < -1h AND attempts > 1"]
    {
        let violation = parsed(filter).check_cost().expect_err(filter);
        assert!(violation.description.contains("add created_at >="), "{violation}");
    }
    for filter in [
        "status = FAILED AND created_at >= -1d AND error_message : timeout",
        "started_at < -1h AND status = RUNNING",
        "started_at < -1h AND status != (COMPLETED OR FAILED)",
        "resource_type = t AND resource_id = i AND priority > 3",
        "labels.team = a AND input : x",
        "unique_key = k AND output : x",
        "schedule = nightly AND worker = w",
        "status = FAILED",
        "created_at < -1h",
    ] {
        assert_eq!(parsed(filter).check_cost(), Ok(()), "{filter}");
    }
}

#[test]
fn each_field_decides() {
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let operation = Operation {
        id: "01980000-0000-7000-8000-000000000000".parse().unwrap(),
        kind: "scan".to_owned(),
        status: Status::Failed,
        resource: Some(Resource { resource_type: "t".to_owned(), resource_id: "i".to_owned() }),
        project_id: "p".to_owned(),
        project_version_id: String::new(),
        created_at: now(),
        started_at: Some(now()),
        finished_at: Some(now()),
        output: "out".to_owned(),
        error_message: "it took too long".to_owned(),
    };
    let all = Searched {
        operation: &operation,
        labels: &labels,
        unique_key: Some("k"),
        schedule: Some("nightly"),
        worker: "w",
        attempts: 2,
        priority: -1,
        input: "{\"n\":1}",
    };
    for filter in [
        "",
        "status = FAILED",
        "kind = scan",
        "project_id = p",
        "created_at >= -0s",
        "started_at <= -0s",
        "finished_at > -1s",
        "resource_type = t",
        "resource_id = i",
        "id = 01980000-0000-7000-8000-000000000000",
        "unique_key = k",
        "schedule = (hourly OR nightly)",
        "labels.team = (a OR b)",
        "worker = w",
        "attempts = 2",
        "priority < 0",
        "error_message : \"too long\" AND error_message : took",
        "input : n",
        "output : out",
    ] {
        assert!(parsed(filter).matches(all), "{filter}");
    }
    for filter in [
        "status != FAILED",
        "kind != scan",
        "project_id != p",
        "created_at < -0s",
        "started_at > -0s",
        "finished_at < -1s",
        "resource_type = u",
        "resource_id = j",
        "id = 01980000-0000-7000-8000-000000000001",
        "unique_key = l",
        "schedule = hourly",
        "labels.team = b",
        "labels.other = a",
        "worker != w",
        "attempts > 2",
        "priority >= 0",
        "error_message : \"too long\" AND error_message : Took",
        "input : m",
        "output : in",
    ] {
        assert!(!parsed(filter).matches(all), "{filter}");
    }
    let pending = Operation { started_at: None, finished_at: None, ..operation.clone() };
    let without = Searched { operation: &pending, unique_key: None, schedule: None, ..all };
    for filter in ["started_at < -0s", "finished_at >= -1h", "unique_key = k", "schedule = nightly"] {
        assert!(!parsed(filter).matches(without), "{filter}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9_./-]{0,8}", "AND|OR|NOT", "[ -~é€😀]{0,12}"]
}

fn set<T: Ord + Clone + std::fmt::Debug>(
    values: impl Strategy<Value = T>,
    excludes: bool,
) -> impl Strategy<Value = Set<T>> {
    (btree_set(values, 1..4), 0..3).prop_map(move |(values, which)| match which {
        0 => Set::default(),
        1 if excludes => Set::Except(values),
        _ => Set::Among(values),
    })
}

fn times() -> impl Strategy<Value = Times> {
    let time = || option::of(any::<i64>().prop_map(Timestamp::from_millis));
    (time(), time()).prop_map(|(from, before)| Times { from, before })
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let number = || option::of((-5..5_i64).prop_map(|n| n * 100));
    (number(), number()).prop_map(|(least, most)| Numbers { least, most })
}

fn searches() -> impl Strategy<Value = Search> {
    let needles = || btree_set("[ -~\n\r\té]{1,9}", 0..3);
    let sets = (
        set(proptest::sample::select(Status::ALL.to_vec()), true),
        set(texts(), true),
        set(texts(), true),
        set(texts(), false),
        set(texts(), false),
        set(any::<[u8; 16]>().prop_map(OperationId::from_bytes), false),
        set(texts(), false),
        set(texts(), false),
        set(texts(), true),
        btree_map("[a-z0-9]([a-z0-9._/-]{0,9}[a-z0-9])?", set(texts(), false), 0..3),
    );
    let ranges = (times(), times(), times(), numbers(), numbers(), needles(), needles(), needles());
    (sets, ranges).prop_map(|(sets, ranges)| {
        let (status, kind, project_id, resource_type, resource_id, id, unique_key, schedule, worker, mut labels) = sets;
        let (created_at, started_at, finished_at, attempts, priority, error_message, input, output) = ranges;
        labels.retain(|_, values| !values.is_any());
        Search {
            status,
            kind,
            project_id,
            created_at,
            started_at,
            finished_at,
            resource_type,
            resource_id,
            id,
            unique_key,
            schedule,
            labels,
            worker,
            attempts,
            priority,
            error_message,
            input,
            output,
        }
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(search in searches()) {
        let printed = search.to_string();
        prop_assert_eq!(printed.parse::<Search>(), Ok(search), "{}", printed);
    }

    #[test]
    fn whatever_is_read_is_canonical_from_then_on(filter in "[a-z_ =!<>:()\"\\\\AORNDT0-9.é-]{0,60}") {
        if let Ok(search) = Search::parse(&filter, now()) {
            prop_assert_eq!(search.to_string().parse(), Ok(search));
        }
    }

    #[test]
    fn reading_never_panics(filter in any::<String>()) {
        if let Err(error) = Search::parse(&filter, now()) {
            prop_assert!((1..=filter.chars().count() + 1).contains(&error.position));
        }
    }
}

#[test]
fn what_a_list_of_one_resource_can_say_is_told() {
    let resource = || Some(Resource { resource_type: "image".to_owned(), resource_id: "x".to_owned() });
    let of = |rest: &str| parsed(&format!("resource_type = image AND resource_id = x{rest}")).of_one_resource();
    let any = Filter { resource: resource(), ..Filter::default() };
    assert_eq!(of(""), Some(any.clone()));
    assert_eq!(of(" AND project_id != a"), Some(any.clone()));
    assert_eq!(of(" AND status = FAILED"), Some(Filter { status: Some(Status::Failed), ..any.clone() }));
    assert_eq!(of(" AND kind = notice"), Some(Filter { kind: Some("notice".to_owned()), ..any }));
    for more in [" AND status != FAILED", " AND kind = (a OR b)", " AND attempts = 1", " AND labels.a = b"] {
        assert_eq!(of(more), None, "{more}");
    }
    for filter in ["", "resource_type = image", "resource_type = \"\" AND resource_id = \"\""] {
        assert_eq!(parsed(filter).of_one_resource(), None, "{filter}");
    }
}
