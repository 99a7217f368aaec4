use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn cron(text: &str, zone: &str) -> Timing {
    Timing::new(text, None, zone, Timestamp::from_millis(0)).expect("a timing")
}

fn every(seconds: u64) -> Timing {
    Timing::new("", Some(Duration::from_secs(seconds)), "", at("2026-01-01T00:00:00Z")).expect("a timing")
}

fn shown(times: &[Timestamp]) -> Vec<String> {
    times.iter().map(|time| time.to_string().replace(".000Z", "Z")).collect()
}

/// The time zone, the expression, the time to start after, and the next due times.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// The table of docs/schedules.md.
const SET_CLOCKS: &[Row] = &[
    // Berlin's clock goes from 02:00 to 03:00 on 2026-03-29 at 01:00Z, and back from 03:00 to 02:00 on 2026-10-25 at
    // 01:00Z.
    (
        "Europe/Berlin",
        "30 2 * * *",
        "2026-03-28T00:00:00Z",
        &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    ),
    (
        "Europe/Berlin",
        "30 2 * * *",
        "2026-10-24T00:00:00Z",
        &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    ),
    (
        "Europe/Berlin",
        "*/30 * * * *",
        "2026-03-29T00:29:00Z",
        &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
    ),
    (
        "Europe/Berlin",
        "*/30 * * * *",
        "2026-10-24T23:59:00Z",
        &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"],
    ),
    // New York: forward on 2026-03-08 at 07:00Z, back on 2026-11-01 at 06:00Z.
    ("America/New_York", "15 2 * * *", "2026-03-07T12:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"]),
    ("America/New_York", "15 1 * * *", "2026-10-31T12:00:00Z", &["2026-11-01T05:15:00Z", "2026-11-02T06:15:00Z"]),
    // Lord Howe moves its clock by half an hour: forward on 2026-10-03 at 15:30Z, from 02:00 to 02:30.
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]),
    // Samoa had no 2011-12-30: it moved across the date line.
    (
        "Pacific/Apia",
        "0 12 * * *",
        "2011-12-29T00:00:00Z",
        &["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"],
    ),
    // A zone whose clocks never change.
    ("Asia/Kolkata", "30 2 * * *", "2026-03-28T22:00:00Z", &["2026-03-29T21:00:00Z", "2026-03-30T21:00:00Z"]),
    ("", "0 0 12 * * MON", "2026-11-28T00:00:00Z", &["2026-11-30T12:00:00Z", "2026-12-07T12:00:00Z"]),
];

#[test]
fn clocks_that_are_set_make_a_due_time_neither_lost_nor_doubled() {
    for (zone, text, after, times) in SET_CLOCKS {
        assert_eq!(shown(&cron(text, zone).upcoming(at(after), times.len())), *times, "{text} in {zone}");
    }
}

#[test]
fn every_goes_by_the_time_that_passes() {
    let timing = every(3_600);
    assert_eq!(timing.next_after(at("2025-06-01T00:00:00Z")), Some(at("2026-01-01T01:00:00Z")));
    assert_eq!(timing.next_after(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T01:00:00Z")));
    assert_eq!(timing.last_until(at("2026-01-01T00:59:59Z")), None);
    assert_eq!(timing.last_until(at("2026-01-01T01:00:00Z")), Some(at("2026-01-01T01:00:00Z")));
    assert_eq!(timing.next_after(at("9999-12-31T23:30:00Z")), None);
}

#[test]
fn errors_of_expressions_contain_an_example() {
    for (text, problem) in [
        ("* * *", "has 3 fields"),
        ("0 25 * * *", "has no hour in \"25\""),
        ("0 0 25 * * *", "has no hour in \"25\""),
        ("0 0 * * NEVER", "has no day of the week in \"NEVER\""),
        ("61 * * * * *", "has no second in \"61\""),
        ("* * * * * * 2027", "has 7 fields"),
        ("@daily", "has 1 fields"),
        ("é * * * *", "must be ASCII text"),
    ] {
        let violations = Timing::new(text, None, "", at("2026-01-01T00:00:00Z")).expect_err(text);
        assert_eq!(violations[0].field, "cron");
        assert!(violations[0].description.contains(problem), "{text}: {}", violations[0].description);
        assert!(violations[0].description.contains("e.g. \"0 3 * * *\""));
    }
    let wrong = |cron: &str, every: Option<u64>, zone: &str| {
        let every = every.map(Duration::from_millis);
        let found = Timing::new(cron, every, zone, Timestamp::from_millis(0)).expect_err("wrong");
        found.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(wrong("", None, ""), ["cron"]);
    assert_eq!(wrong("* * * * *", Some(1_000), ""), ["every"]);
    assert_eq!(wrong("", Some(999), "Europe/Berlin"), ["every", "time_zone"]);
    assert_eq!(wrong("*", None, "Mars/Olympus"), ["cron", "time_zone"]);
}

#[test]
fn a_schedule_that_is_never_due_and_a_jitter_that_is_too_long_are_refused() {
    let schedule = |cron: &str, jitter: u64| NewSchedule {
        name: "nightly".to_owned(),
        cron: cron.to_owned(),
        every: None,
        time_zone: String::new(),
        operation: NewOperation::of_kind("scan"),
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        jitter: Duration::from_secs(jitter),
        paused: false,
    };
    let now = at("2026-01-01T00:00:00Z");
    let begun = Instant::now();
    let wrong_fields = |schedule: NewSchedule| -> Vec<String> {
        schedule.violations(now).into_iter().map(|violation| violation.field).collect()
    };
    assert_eq!(wrong_fields(schedule("0 0 30 2 *", 0)), ["cron"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "determining that took {:?}", begun.elapsed());
    assert_eq!(wrong_fields(schedule("0 0 29 2 *", 0)), [""; 0]);
    assert_eq!(wrong_fields(schedule("0 * * * *", 3_600)), [""; 0]);
    assert_eq!(wrong_fields(schedule("0 * * * *", 3_601)), ["jitter"]);
    let operation = NewOperation {
        priority: 101,
        run_after: Some(now),
        unique_key: Some("k".to_owned()),
        ..NewOperation::of_kind("")
    };
    let all = NewSchedule { name: "a b".to_owned(), operation, ..schedule("* * * * *", 0) };
    assert_eq!(
        wrong_fields(all),
        ["name", "operation.run_after", "operation.unique_key", "operation.kind", "operation.priority"]
    );
}

fn terms(overlap: Overlap, catch_up: CatchUp) -> Terms {
    Terms { overlap, catch_up, jitter: Duration::ZERO, seed: 7 }
}

#[test]
fn after_a_week_off_what_is_made_up_is_as_was_asked() {
    let (timing, first, now) = (every(3_600), at("2026-01-02T01:00:00Z"), at("2026-01-09T01:30:00Z"));
    let made_up = |catch_up| terms(Overlap::Allow, catch_up).fire(&timing, first, false, now);
    let none = made_up(CatchUp::None);
    assert_eq!((none.create, none.passed_over), (vec![], Some(at("2026-01-09T01:00:00Z"))));
    assert_eq!(none.next.map(|next| next.due), Some(at("2026-01-09T02:00:00Z")));
    let latest = made_up(CatchUp::Latest);
    assert_eq!(shown(&latest.create), ["2026-01-09T01:00:00Z"]);
    assert_eq!(latest.passed_over, Some(at("2026-01-09T00:00:00Z")));
    let all = made_up(CatchUp::All);
    assert_eq!(all.create.len(), 100, "of 169 the latest hundred");
    assert_eq!(all.create.last().copied(), Some(at("2026-01-09T01:00:00Z")));
    assert_eq!(all.passed_over, Some(at("2026-01-04T21:00:00Z")), "the latest of the 69 beyond the limit");
    // A time that is due now takes the place of those that were missed.
    let now = at("2026-01-09T02:00:30Z");
    let latest = terms(Overlap::Allow, CatchUp::Latest).fire(&timing, first, false, now);
    assert_eq!(shown(&latest.create), ["2026-01-09T02:00:00Z"]);
    let none = terms(Overlap::Allow, CatchUp::None).fire(&timing, first, false, now);
    assert_eq!(none.create, latest.create, "on time, within less than a minute");
}

#[test]
fn an_overlap_is_dealt_with_as_was_asked() {
    let (timing, first, now) = (every(10), at("2026-01-02T00:00:10Z"), at("2026-01-02T00:00:35Z"));
    let fired = |overlap, is_running| terms(overlap, CatchUp::None).fire(&timing, first, is_running, now);
    let last = ["2026-01-02T00:00:30Z"];
    assert_eq!(fired(Overlap::Allow, true).create.len(), 3);
    assert_eq!(fired(Overlap::Skip, true).create, []);
    assert_eq!(fired(Overlap::Skip, true).passed_over, Some(at(last[0])));
    assert_eq!(shown(&fired(Overlap::Skip, false).create), last, "three operations at once would overlap");
    assert_eq!(shown(&fired(Overlap::CancelPrevious, true).create), last);
}

const CRONS: [&str; 9] = [
    "* * * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "0 0 29 2 *",
    "15,45 1-3 * * SUN",
    "0 0 L * *",
    "59 59 23 31 12 *",
    "0 2 * 3,10 *",
    "5 0 1W * *",
];
const ZONES: [&str; 8] = [
    "",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
];

proptest! {
    #[test]
    fn times_go_on_and_looking_back_finds_the_same(cron_at in 0..CRONS.len(), zone in 0..ZONES.len(), from in 0_i64..2_000_000_000) {
        let timing = cron(CRONS[cron_at], ZONES[zone]);
        let start = Timestamp::from_millis(from * 1_000 + from % 1_000);
        let times = timing.upcoming(start, 20);
        prop_assert!(times.first().is_some_and(|first| *first > start));
        prop_assert!(times.is_sorted_by(|a, b| a < b));
        let last = *times.last().expect("there are some");
        prop_assert_eq!(&timing.between(start, last, 20), &times);
        prop_assert_eq!(timing.between(start, last, 3), times[17..].to_vec());
        // In between, the earlier one is the last.
        for pair in times.windows(2) {
            prop_assert_eq!(timing.last_until(Timestamp::from_millis(pair[1].as_millis() - 1)), Some(pair[0]));
            prop_assert_eq!(timing.next_after(pair[0]), Some(pair[1]));
        }
    }

    #[test]
    fn any_text_is_an_expression_or_is_refused(text in "[0-9*/,LW#?A-F+@ -]{0,24}") {
        if let Ok(timing) = Timing::new(&text, None, "Europe/Berlin", Timestamp::from_millis(0)) {
            let begun = Instant::now();
            timing.upcoming(Timestamp::from_millis(1_800_000_000_000), 5);
            prop_assert!(begun.elapsed() < Duration::from_secs(10), "{text:?} took {:?}", begun.elapsed());
        }
    }

    /// However late and however often the schedule is checked: each due time is processed once, in order, and with
    /// `all` none within the bound is omitted.
    #[test]
    fn each_due_time_is_processed_once(
        looks in prop::collection::vec(1_u64..400, 1..40),
        jitter in 0_u64..10,
        catch_up in 0..3_usize,
        seed: u128,
    ) {
        let timing = every(10);
        let first = at("2026-02-01T00:00:00Z");
        let catch_up = CatchUp::ALL[catch_up];
        let terms = Terms { overlap: Overlap::Allow, catch_up, jitter: Duration::from_secs(jitter), seed };
        let (mut next_due, mut now, mut created) = (first, first, Vec::new());
        for look in looks {
            now = now.after(Duration::from_secs(look));
            let firing = terms.fire(&timing, next_due, false, now);
            let next = firing.next.expect("it is always due again");
            prop_assert!(next.fire_at > now && next.fire_at >= next.due && next.due >= next_due);
            prop_assert!(firing.create.iter().all(|due| *due >= next_due && *due < next.due));
            prop_assert!(firing.create.iter().all(|due| due.after(terms.delay(*due)) <= now));
            created.extend(firing.create);
            next_due = next.due;
        }
        prop_assert!(created.is_sorted_by(|a, b| a < b), "none is created twice");
        if catch_up == CatchUp::All {
            let before = Timestamp::from_millis(first.as_millis() - 1);
            let end = Timestamp::from_millis(next_due.as_millis() - 1);
            prop_assert_eq!(created, timing.between(before, end, usize::MAX));
        }
    }

    #[test]
    fn delays_are_within_the_jitter_and_spread(seed: u128, jitter in 1_u64..100_000) {
        let terms = Terms { jitter: Duration::from_millis(jitter), ..terms(Overlap::Allow, CatchUp::None) };
        let terms = Terms { seed, ..terms };
        let delays: Vec<Duration> =
            (0..64).map(|n| terms.delay(Timestamp::from_millis(n * 60_000))).collect();
        prop_assert!(delays.iter().all(|delay| *delay <= terms.jitter));
        let half = terms.jitter / 2;
        prop_assert!(delays.iter().any(|delay| *delay <= half) && delays.iter().any(|delay| *delay > half));
    }
}
