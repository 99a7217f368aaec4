//! Evidence: telling its kind, and reading it as each kind that is known.
#![no_main]

use evidence::material::Metadata;
use evidence::{Material, MaterialKind, detect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = detect(bytes);
    for kind in MaterialKind::SUPPORTED {
        let _ = Material::parse(Some(*kind), &Metadata::default(), bytes);
    }
});
