//! The code that reads what callers send, as functions of bytes that must not panic, hang or fill the memory.
//!
//! `fuzz/` passes them to libFuzzer (`make fuzz`); `tests/corpus.rs` runs them on the corpus and on mutations of it in
//! every run of the tests. A function may refuse its input, and asserts invariants of everything that it accepts.

use std::sync::LazyLock;

use attestation::{Identities, TrustedIdentities, TrustedIdentity};
use evidence::material::Metadata;
use evidence::policy::{Policy, PolicyGroup};
use evidence::rego::Script;
use evidence::{Material, MaterialKind, Vex};
use operations::{Search, Timestamp};

/// A function that is fuzzed, and its name, which is also the name of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 14] = [
    ("query", query),
    ("body", body),
    ("message", message),
    ("path", path),
    ("token", token),
    ("jwt", jwt),
    ("key_set", key_set),
    ("lease_token", lease_token),
    ("cursor", cursor),
    ("filter", filter),
    ("policy", policy),
    ("rego", rego),
    ("material", material),
    ("bundle", bundle),
];

/// The query string of a URL (the part after `?`), as each call that has one reads it.
pub fn query(bytes: &[u8]) {
    text(bytes, server::fuzzing::query);
}

/// A JSON body, as each call that has one reads it.
pub fn body(bytes: &[u8]) {
    server::fuzzing::body(bytes);
}

/// The message of a request over gRPC, as each call that has one reads it.
pub fn message(bytes: &[u8]) {
    server::fuzzing::message(bytes);
}

/// The path of a URL, as far as longrun's own code reads it.
pub fn path(bytes: &[u8]) {
    text(bytes, server::fuzzing::path);
}

/// The value of the header `Authorization`, and the token in it.
pub fn token(bytes: &[u8]) {
    server::fuzzing::token(bytes);
}

/// A token of an identity provider: a header and claims with a zero byte between them, which are signed, or a whole
/// token.
pub fn jwt(bytes: &[u8]) {
    server::fuzzing::jwt(bytes);
}

/// The key set of an identity provider.
pub fn key_set(bytes: &[u8]) {
    server::fuzzing::key_set(bytes);
}

/// The token that a worker sends for its claim.
pub fn lease_token(bytes: &[u8]) {
    text(bytes, server::fuzzing::lease_token);
}

/// Cursors of the change log and of a history.
pub fn cursor(bytes: &[u8]) {
    text(bytes, store::fuzzing::cursor);
}

/// The filters of searches: a filter that is accepted has a canonical form with the same meaning.
pub fn filter(bytes: &[u8]) {
    text(bytes, |text| {
        let now = Timestamp::from_millis(1_800_000_000_000);
        match Search::parse(text, now) {
            Ok(search) => assert_eq!(search.to_string().parse(), Ok(search)),
            Err(refused) => assert!((1..=text.chars().count() + 1).contains(&refused.position)),
        }
    });
}

/// Policy and group documents.
pub fn policy(bytes: &[u8]) {
    text(bytes, |text| {
        // Both may be refused, but must not crash, hang or fill the memory.
        let _ = Policy::parse("fuzz.yaml", text);
        let _ = PolicyGroup::parse("fuzz.yaml", text);
    });
}

/// Scripts: checking and compiling them.
pub fn rego(bytes: &[u8]) {
    text(bytes, |text| {
        let _ = Script::compile(text);
    });
}

/// Evidence: read as the kind that is detected, and as the one that the number of bytes selects. All kinds would take
/// forty times as long, for nearly always the same refusals.
pub fn material(bytes: &[u8]) {
    let selected = MaterialKind::ALL[bytes.len() % MaterialKind::ALL.len()];
    for kind in evidence::detect(bytes).into_iter().chain([selected]) {
        let _ = Material::parse(Some(kind), &Metadata::default(), bytes);
        let _ = Vex::read(kind, bytes);
    }
}

/// Attestations and Sigstore bundles whose signatures are verified, including certificates and entries of logs.
pub fn bundle(bytes: &[u8]) {
    static IDENTITIES: LazyLock<Option<Identities>> = LazyLock::new(|| {
        let root = include_str!("../../attestation/tests/sigstore/data/public.trusted_root.json").to_owned();
        // Any identity of the corpus's issuer, so that the code after the check of the identity is reached, too.
        let issuer = "https://token.actions.githubusercontent.com".to_owned();
        let any = TrustedIdentity { name: "any".to_owned(), issuer, identity: "*".to_owned() };
        TrustedIdentities { root, identities: vec![any] }.read().ok()
    });
    let metadata = Metadata { trusted_identities: IDENTITIES.as_ref(), ..Metadata::default() };
    for kind in [MaterialKind::Attestation, MaterialKind::SlsaProvenance] {
        let _ = Material::parse(Some(kind), &metadata, bytes);
    }
}

/// Input that is not text is refused before it reaches this code.
fn text(bytes: &[u8], read: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
}
