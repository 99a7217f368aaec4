//! See `fuzzing::lease_token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::lease_token(bytes));
