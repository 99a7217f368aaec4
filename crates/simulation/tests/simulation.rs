//! Runs seeds (`src/main.rs` describes what happens in them).
//!
//! `SIMULATION_SEED=17` runs one seed and prints everything that happened; `SIMULATION_SEEDS` sets the number of seeds.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn simulation(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulation")).args(arguments).output().unwrap()
}

/// The hash of everything that happens in a seed.
fn hash(seed: &str) -> String {
    let output = simulation(&["hash", seed]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.trim().len() == 16, "{text}");
    text
}

#[test]
fn a_seed_reproduces_a_run_exactly() {
    for seed in ["1", "2", "38", "591"] {
        let first = hash(seed);
        assert_eq!(first, hash(seed), "seed {seed} differs when it is run a second time");
    }
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(hash("1"), hash("2"));
}

#[test]
fn seeds_keep_what_is_promised() {
    let output = simulation(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
