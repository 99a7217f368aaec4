//! The code that reads what callers send, as functions of bytes that promise not to panic, hang or fill the memory.
//!
//! `fuzz/` gives them to libFuzzer (`make fuzz`); `tests/corpus.rs` feeds them the corpus and mutations of it on every
//! run of the tests. A function here may refuse its input, and asserts what holds for whatever it takes.

use std::sync::LazyLock;

use attestation::{Identities, TrustedIdentities, TrustedIdentity};
use evidence::material::Metadata;
use evidence::policy::{Policy, PolicyGroup};
use evidence::rego::Script;
use evidence::{Material, MaterialKind, Vex};
use operations::{Search, Timestamp};

/// A function that is fuzzed, and its name, which is that of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 12] = [
    ("query", query),
    ("body", body),
    ("message", message),
    ("path", path),
    ("token", token),
    ("lease_token", lease_token),
    ("cursor", cursor),
    ("filter", filter),
    ("policy", policy),
    ("rego", rego),
    ("material", material),
    ("bundle", bundle),
];

/// The part of a URL after `?`, as each call that has one reads it.
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

/// The path of a URL, as far as it is read by hand.
pub fn path(bytes: &[u8]) {
    text(bytes, server::fuzzing::path);
}

/// The value of the header `Authorization`, and the token in it.
pub fn token(bytes: &[u8]) {
    server::fuzzing::token(bytes);
}

/// The token that a worker shows for its claim.
pub fn lease_token(bytes: &[u8]) {
    text(bytes, server::fuzzing::lease_token);
}

/// Cursors of the change log and of a history.
pub fn cursor(bytes: &[u8]) {
    text(bytes, store::fuzzing::cursor);
}

/// The filters of searches: what is taken has a canonical form that means the same.
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
        // Either may be refused; neither may crash, hang or fill the memory.
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

/// Evidence: detecting its kind, and reading it as each known kind.
pub fn material(bytes: &[u8]) {
    let _ = evidence::detect(bytes);
    for kind in MaterialKind::ALL {
        let _ = Material::parse(Some(*kind), &Metadata::default(), bytes);
        let _ = Vex::read(*kind, bytes);
    }
}

/// Attestations and Sigstore bundles whose signatures are checked, certificates and entries of logs included.
pub fn bundle(bytes: &[u8]) {
    static IDENTITIES: LazyLock<Option<Identities>> = LazyLock::new(|| {
        let root = include_str!("../../attestation/tests/sigstore/data/public.trusted_root.json").to_owned();
        // Any identity of the corpus's issuer, so that the code after the check of the identity is reached too.
        let issuer = "https://token.actions.githubusercontent.com".to_owned();
        let any = TrustedIdentity { name: "any".to_owned(), issuer, identity: "*".to_owned() };
        TrustedIdentities { root, identities: vec![any] }.read().ok()
    });
    let metadata = Metadata { trusted_identities: IDENTITIES.as_ref(), ..Metadata::default() };
    for kind in [MaterialKind::Attestation, MaterialKind::SlsaProvenance] {
        let _ = Material::parse(Some(kind), &metadata, bytes);
    }
}

/// Bytes that are not text are refused before they come here.
fn text(bytes: &[u8], read: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
}
