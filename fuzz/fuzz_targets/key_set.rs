//! See `fuzzing::key_set`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::key_set(bytes));
