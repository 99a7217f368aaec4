//! Policy and group documents.
#![no_main]

use evidence::policy::{Policy, PolicyGroup};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Either may be refused; neither may crash, hang or fill the memory.
    let _ = Policy::parse("fuzz.yaml", text);
    let _ = PolicyGroup::parse("fuzz.yaml", text);
});
