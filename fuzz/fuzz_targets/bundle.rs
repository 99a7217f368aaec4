//! See `fuzzing::bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::bundle(bytes));
