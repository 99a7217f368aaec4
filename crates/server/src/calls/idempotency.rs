//! Idempotency keys, and the fingerprint that distinguishes a repetition from another request with the same
//! key.
//!
//! Callers with the same access share keys: a token that is limited to projects neither gets what was created with the
//! same key elsewhere in its organization, nor learns that it exists.

use operations::Projects;
use sha2::{Digest, Sha256};
use store::IdempotencyKey;

use crate::error::ApiError;
use crate::http::Caller;

/// Whether a text may be a key.
pub(crate) fn is_valid(key: &str) -> bool {
    (1..=256).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The key of a request, if it has one. `canonical` is the request in a form that all its spellings share.
pub(super) fn key(
    given: Option<&str>,
    caller: &Caller,
    call: &str,
    canonical: impl FnOnce() -> String,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = given else { return Ok(None) };
    if !is_valid(key) {
        // A key in a header has been checked before.
        return Err(ApiError::field("idempotency_key", "must be 1 to 256 printable ASCII characters"));
    }
    let fingerprint = Sha256::new().chain_update(call).chain_update(b"\n").chain_update(canonical()).finalize();
    let key = match &caller.access().projects {
        Projects::All => key.to_owned(),
        Projects::Only(projects) => {
            // `Debug` quotes the names, so no two lists run into one another.
            format!("{} {key}", store::Digest::of(format!("{projects:?}").as_bytes()))
        }
    };
    Ok(Some(IdempotencyKey { key, fingerprint: fingerprint.into() }))
}
