//! See `fuzzing::rego`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::rego(bytes));
