//! The content of the screen, as text.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use longrun_client::{Operation, OperationDetail};

use super::*;
use crate::commands::top::data::{Queue, Rates, Worker};
use crate::commands::top::text;
use crate::commands::top::view::Wish;

const ID: &str = "0199f0d1-0000-7000-8000-00000000000";

fn found(n: u8, kind: &str, message: &str) -> OperationDetail {
    let at = |second: i64| Some(Timestamp::from_millis(second * 1_000).to_string());
    let operation = Operation {
        id: format!("{ID}{n}"),
        kind: kind.to_owned(),
        started_at: at(900),
        finished_at: at(940),
        error_message: message.to_owned(),
        ..Operation::default()
    };
    OperationDetail { operation, progress: "half\u{1b}[2J".to_owned(), ..OperationDetail::default() }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

fn view() -> View {
    let queue = |kind: &str, pending, oldest: Option<i64>| Queue {
        kind: kind.to_owned(),
        pending,
        running: 1,
        oldest: oldest.map(|second| (format!("{ID}9"), Timestamp::from_millis(second * 1_000))),
        rates: Rates { created: 12.4, completed: 0.04, failed: 0.0 },
    };
    let seen = Seen {
        at: Some(now().before(Duration::from_secs(2))),
        queues: vec![queue("build", 5, Some(100)), queue("scan", 1_234_567, Some(996)), queue("idle", 0, None)],
        workers: vec![Worker { name: "host-1".to_owned(), holds: vec![found(1, "scan", ""), found(2, "build", "")] }],
        failures: vec![found(3, "scan", "no such host\nmore"), found(4, "build", "")],
        rates: Rates { created: 12.4, completed: 0.04, failed: 0.0 },
        ..Seen::default()
    };
    let mut view = View::new("http://127.0.0.1:8080".to_owned());
    view.seen = seen;
    view
}

fn shown(view: &mut View) -> String {
    text(view, 80, 24, now())
}

fn press(view: &mut View, codes: &[KeyCode]) -> Wish {
    codes.iter().fold(Wish::Nothing, |_, code| view.press(KeyEvent::new(*code, KeyModifiers::NONE)))
}

#[test]
fn all_is_on_a_screen_of_80_by_24() {
    let shown = shown(&mut view());
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 24, "{shown}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{shown}");
    for part in [
        "http://127.0.0.1:8080  1234572 pending, 3 running",
        "per second: 12 created, 0.04 completed, 0 failed; as of 2 s ago",
        "Queues: 3",
        "Workers: 1",
        "Failures, newest first",
        "q quit  tab list  up/down choose  enter show  s sort: pending  / filter  p pause",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    for n in 1..=4 {
        assert!(shown.contains(&format!("{ID}{n}")), "ids are whole\n{shown}");
    }
    assert!(lines[4].starts_with("scan") && lines[4].contains("1234567     4.0s         1"), "{shown}");
    assert!(shown.contains("no such host") && !shown.contains("more"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "what workers say cannot command the terminal\n{shown}");
}

#[test]
fn s_sorts_and_a_filter_leaves_the_kinds_that_contain_it() {
    let mut view = view();
    press(&mut view, &[KeyCode::Char('s')]);
    assert_eq!(view.queues().iter().map(|queue| queue.kind.as_str()).collect::<Vec<_>>(), ["build", "scan", "idle"]);
    press(&mut view, &[KeyCode::Char('/'), KeyCode::Char('S'), KeyCode::Char('c'), KeyCode::Char('q')]);
    assert!(view.queues().is_empty(), "q is a letter while the filter is typed");
    press(&mut view, &[KeyCode::Backspace, KeyCode::Enter]);
    let shown = shown(&mut view);
    assert!(shown.contains("Queues: 1") && shown.contains("/ filter: Sc"), "{shown}");
    assert!(shown.contains("no such host") && !shown.contains("build"), "{shown}");
    press(&mut view, &[KeyCode::Esc]);
    assert_eq!(view.queues().len(), 3);
}

#[test]
fn enter_shows_what_is_chosen_and_escape_goes_back() {
    let mut view = view();
    assert_eq!(press(&mut view, &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]), Wish::Nothing, "nothing waits there");
    let failures = [KeyCode::Tab, KeyCode::Tab, KeyCode::Down, KeyCode::Down, KeyCode::Enter];
    assert_eq!(press(&mut view, &failures), Wish::Show(format!("{ID}4")), "below the last row is nothing");
    view.mode = Mode::One { text: "one\ntwo".to_owned(), scrolled: 0 };
    press(&mut view, &[KeyCode::Down]);
    let one = shown(&mut view);
    assert!(one.contains("two") && !one.contains("one\n"), "{one}");
    press(&mut view, &[KeyCode::Esc]);
    assert!(shown(&mut view).contains("Queues"));
    assert_eq!(press(&mut view, &[KeyCode::Char('q')]), Wish::Quit);
    assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
}

#[test]
fn what_went_wrong_is_said_and_what_was_seen_stays() {
    let mut view = view();
    view.problem = Some("cannot reach it".to_owned());
    press(&mut view, &[KeyCode::Char('p')]);
    let shown = shown(&mut view);
    assert!(shown.contains("cannot reach it; trying again") && shown.contains("paused") && shown.contains("scan"));
}

#[test]
fn a_tiny_terminal_is_no_reason_to_panic() {
    for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
        text(&mut view(), width, height, now());
    }
}
