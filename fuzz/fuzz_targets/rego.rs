//! Scripts: what checks and compiles them.
#![no_main]

use evidence::rego::Script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Script::compile(text);
});
