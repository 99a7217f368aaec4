//! The readers of policies and evidence, on input that was made to break them, and on randomly changed examples: on a
//! small stack, so that unbounded recursion is found on any compiler. `make fuzz` continues from here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use evidence::material::Metadata;
use evidence::policy::{Policy, PolicyGroup};
use evidence::rego::Script;
use evidence::{Material, MaterialKind, detect};

/// A small part of the stack of an evaluation process. Much of it is used by the frames of an unoptimized build.
const STACK: usize = 2 * 1024 * 1024;
/// The time limit, in case something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads a text as everything that it could be. It does not matter here whether it is refused.
fn read_as_everything(text: &str) {
    let _ = Policy::parse("nasty.yaml", text);
    let _ = PolicyGroup::parse("nasty.yaml", text);
    let _ = Script::compile(text);
    let _ = detect(text.as_bytes());
    for kind in MaterialKind::ALL {
        let _ = Material::parse(Some(*kind), &Metadata::default(), text.as_bytes());
    }
}

/// Reads texts on a small stack. A stack overflow ends the whole test program: the last line that was printed is the
/// name of the text.
fn survive(texts: impl IntoIterator<Item = (String, String)>) {
    for (name, text) in texts {
        println!("{name}");
        let (sender, done) = mpsc::channel();
        let read = move || {
            read_as_everything(&text);
            let _ = sender.send(());
        };
        thread::Builder::new().stack_size(STACK).spawn(read).unwrap();
        done.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A script with this body.
fn script(body: &str) -> String {
    format!("package main\nimport rego.v1\n{body}\n")
}

fn rule(body: &str) -> String {
    script(&format!("violations contains \"no\" if {{ {body} }}"))
}

#[test]
fn nesting_without_end() {
    const MANY: usize = 100_000;
    let nested = |open: &str, inside: &str, close: &str, times: usize| {
        format!("{}{inside}{}", open.repeat(times), close.repeat(times))
    };
    let mut texts = Vec::new();
    for (open, close) in [
        ("[", "]"),
        ("{", "}"),
        ("(", ")"),
        ("{\"a\":", "}"),
        ("[1,", "]"),
        ("- ", ""),
        ("? ", ""),
        ("a: ", ""),
        ("&a ", ""),
        ("!a ", ""),
        ("*a ", ""),
        ("<a>", "</a>"),
        ("<testsuite>", "</testsuite>"),
        ("{a: ", "}"),
        ("\"", "\""),
        ("-", ""),
        ("not ", ""),
    ] {
        for times in [64, 250, 2_000, MANY] {
            texts.push((format!("{open:?} {times} times"), nested(open, "1", close, times)));
            texts.push((format!("{open:?} {times} times, open"), open.repeat(times)));
            texts.push((format!("{open:?} {times} times in a rule"), rule(&nested(open, "1", close, times))));
        }
    }
    survive(texts);
}

#[test]
fn expressions_as_deep_as_they_may_be_and_deeper() {
    let mut texts = Vec::new();
    for (open, close) in
        [("(", ")"), ("[", "][0]"), ("{\"a\": ", "}.a"), ("count([x | x := ", "])"), ("f(", ")"), ("-(", ")")]
    {
        for (times, terms) in [(1, 250), (7, 31), (30, 250), (60, 3), (63, 63)] {
            let chain = "+1".repeat(terms);
            let after = (0..times).fold("1".to_owned(), |inner, _| format!("{open}{inner}{close}\n{chain}"));
            let before = (0..times).fold("1".to_owned(), |inner, _| format!("1{chain}\n+{open}{inner}{close}"));
            texts.push((format!("{times} of {open} with {terms} terms after"), rule(&format!("{after} > 0"))));
            texts.push((format!("{times} of {open} with {terms} terms before"), rule(&format!("{before} > 0"))));
        }
    }
    for link in [
        "a.",
        "a[0]",
        "a == ",
        "a | ",
        "a in ",
        "not a ",
        "a := ",
        "a = ",
        "some a in ",
        "every a in b { ",
        "else := 1 if ",
    ] {
        for times in [200, 255, 300, 2_000] {
            let text = link.repeat(times);
            texts.push((format!("{link:?} {times} times"), rule(&format!("{text}a"))));
            texts.push((format!("{link:?} {times} times, a line each"), rule(&text.replace(' ', "\n"))));
        }
    }
    survive(texts);
}

#[test]
fn what_is_wide_or_huge() {
    let lines = |line: fn(usize) -> String, count: usize| (0..count).map(|at| line(at) + "\n").collect::<String>();
    let head = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\n";
    survive([
        ("many members".to_owned(), lines(|at| format!("k{at}: {at}"), 20_000)),
        (
            "many policies".to_owned(),
            format!("{head}spec:\n  policies:\n{}", lines(|_| "  - path: a".to_owned(), 20_000)),
        ),
        (
            "many inputs".to_owned(),
            format!("{head}spec:\n  path: a\n  inputs:\n{}", lines(|at| format!("  - name: i{at}"), 5_000)),
        ),
        (
            "aliases".to_owned(),
            format!("{head}x: &x {}\ny: [{}]\n", "a".repeat(500_000), vec!["*x"; 100_000].join(",")),
        ),
        ("a long line".to_owned(), rule(&"a == 1; ".repeat(50_000))),
        ("many rules".to_owned(), script(&lines(|at| format!("r{at} if input.a == {at}"), 15_000))),
        ("many statements".to_owned(), rule(&format!("\n{}", lines(|at| format!("input.a == {at}"), 3_000)))),
        ("a chain of rules".to_owned(), script(&lines(|at| format!("r{at} := r{} + 1", at + 1), 3_000))),
        (
            "assignments".to_owned(),
            rule(&format!("\n{}x300 := 1", lines(|at| format!("[x{at}, y{at}] = [y{0}, x{0}]", at + 1), 300))),
        ),
        ("digits".to_owned(), rule(&format!("{} > 1", "9".repeat(8_000)))),
        ("digits of JSON".to_owned(), format!("{{\"a\":{}}}", "9".repeat(1_000_000))),
        ("an exponent".to_owned(), "{\"a\":1e999999999,\"b\":-1e-999999999}".to_owned()),
        ("a string".to_owned(), format!("\"{}\"", "\\ud83d\\ude00".repeat(80_000))),
        ("an entity".to_owned(), "<!DOCTYPE a [<!ENTITY b \"c\">]><testsuites>&b;</testsuites>".to_owned()),
        ("a byte order mark".to_owned(), format!("{}{head}", "\u{feff}".repeat(1_000))),
        ("strange breaks".to_owned(), format!("{head}\u{2028}a: |\u{85}  *b\u{2029}c: \u{0}")),
    ]);
}

/// Pseudo-random numbers that are always the same.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    /// A position between two characters.
    fn place(&mut self, text: &str) -> usize {
        text.floor_char_boundary(self.below(text.len() + 1))
    }

    fn change(&mut self, text: &mut String) {
        const PARTS: [&str; 30] = [
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            "\"",
            "'",
            "`",
            "|",
            ">",
            "&x ",
            "*x",
            "!x ",
            ": ",
            "- ",
            "? ",
            "#",
            "\n",
            "\t",
            "\\",
            "some ",
            "every x in ",
            "not ",
            "else := ",
            " with input as ",
            "default ",
            "1e999",
            "\u{2028}",
            "<![CDATA[",
        ];
        let (from, to) = (self.place(text), self.place(text));
        let range = from.min(to)..from.max(to).min(text.ceil_char_boundary(from.min(to) + 200));
        match self.below(4) {
            0 => text.replace_range(range, ""),
            1 => {
                let copy = text[range].to_owned();
                text.insert_str(from, &copy);
            }
            2 => text.insert_str(from, &PARTS[self.below(PARTS.len())].repeat(1 + self.below(100))),
            _ => text.insert_str(from, PARTS[self.below(PARTS.len())]),
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn examples_that_chance_has_changed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policies");
    let mut chance = Chance(20_261_127);
    let mut texts = Vec::new();
    for path in files_below(&folder) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if text.len() > 16 * 1024 {
            continue;
        }
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        for round in 0..8 {
            let mut changed = text.clone();
            for _ in 0..=round {
                chance.change(&mut changed);
            }
            texts.push((format!("{name}, round {round}"), changed));
        }
    }
    assert!(texts.len() > 100, "{}", texts.len());
    survive(texts);
}
