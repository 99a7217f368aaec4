//! See `fuzzing::filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::filter(bytes));
