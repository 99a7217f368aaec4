//! Runs each target on its corpus, and on mutations of it: always the same ones, so that a failure here can be
//! reproduced.
//!
//! `LONGRUN_MUTATIONS` multiplies the number of mutations; `make fuzz` searches for failures that these do not find.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use fuzzing::TARGETS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Texts that have a meaning somewhere: they are inserted because random mutations would seldom produce them.
const WORDS: [&[u8]; 32] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"%",
    b"%00",
    b"%ff",
    b"&",
    b"=",
    b"+",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\n",
    b"\t",
    b"&amp;",
    b"<!--",
    b"]]>",
    b"*",
    b"- ",
    b"? ",
    b"lrn_",
    b"v1.",
];
/// The number of mutations of a target. Targets that compile or parse whole documents take a thousand times as long as
/// the others.
fn mutations(name: &str) -> usize {
    match name {
        "rego" => 60,
        "policy" => 300,
        _ => 3_000,
    }
}

/// Inputs do not grow beyond this: `make fuzz` tries larger ones.
const MOST_BYTES: usize = 64 * 1024;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files below a folder, in a fixed order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The corpus of a target: its own folder, and the folders of examples that fit it.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut found = files(&root().join("fuzz/corpus").join(name));
    let examples = |folder: &str, is_one: fn(&Path) -> bool| {
        files(&root().join("examples").join(folder)).into_iter().filter(move |path| is_one(path))
    };
    match name {
        "policy" => found.extend(examples("policies", |path| path.extension().is_some_and(|of| of == "yaml"))),
        "rego" => found.extend(examples("policies", |path| path.extension().is_some_and(|of| of == "rego"))),
        "material" => {
            found.extend(examples("policies", |path| path.parent().is_some_and(|of| of.ends_with("evidence"))))
        }
        _ => {}
    }
    found.iter().map(|path| fs::read(path).unwrap()).filter(|content| content.len() <= MOST_BYTES).collect()
}

/// Applies one small change, or several.
fn mutated(seed: &[u8], corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 32));
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copied = bytes[at..end].repeat(random.random_range(1..=64));
                bytes.splice(at..at, copied);
            }
            4 => {
                let other = corpus.choose(random).unwrap();
                let from = random.random_range(0..=other.len());
                let to = random.random_range(from..=other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 => bytes.truncate(at),
            _ => drop(bytes.splice(at..end, WORDS.choose(random).unwrap().iter().copied())),
        }
        bytes.truncate(MOST_BYTES);
    }
    bytes
}

/// Prints the input of a target that panicked, since the panic does not show it.
struct Current<'i>(&'static str, &'i [u8]);

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed on {:?}", self.0, String::from_utf8_lossy(self.1));
        }
    }
}

#[test]
fn no_target_fails_on_the_corpus_or_on_mutations_of_it() {
    let times: usize = std::env::var("LONGRUN_MUTATIONS").map_or(1, |text| text.parse().expect("a number"));
    for (index, (name, target)) in TARGETS.into_iter().enumerate() {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has a corpus");
        let mut random = StdRng::seed_from_u64(index as u64);
        let run = |input: &[u8]| {
            let current = Current(name, input);
            target(input);
            drop(current);
        };
        run(b"");
        corpus.iter().for_each(|seed| run(seed));
        let mutations = mutations(name) * times;
        for _ in 0..mutations {
            run(&mutated(corpus.choose(&mut random).unwrap(), &corpus, &mut random));
        }
        println!("{name}: {} executions", 1 + corpus.len() + mutations);
    }
}

#[test]
fn every_target_has_a_program_for_the_fuzzer() {
    let programs = files(&root().join("fuzz/fuzz_targets"));
    let programs: Vec<_> = programs.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(programs, names);
}
