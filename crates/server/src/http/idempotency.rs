//! The header `Idempotency-Key`, and the fingerprint that tells a repetition from another request with the same key.
//!
//! Keys belong to those who may see the same: a token that is limited to projects neither gets what was made with the
//! key elsewhere in its organization nor learns that there was something.

use http::HeaderMap;
use operations::Projects;
use sha2::{Digest, Sha256};
use store::IdempotencyKey;

use super::caller::Caller;
use crate::error::ApiError;

const HEADER: &str = "idempotency-key";

/// The key of a request, if it has one. `canonical` is the request in a form that all its spellings share.
pub(super) fn key(
    headers: &HeaderMap,
    caller: &Caller,
    call: &str,
    canonical: impl FnOnce() -> String,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=256).contains(&key.len()) && !key.contains('\t'));
    let (Some(key), None) = (key, values.next()) else {
        return Err(ApiError::field("Idempotency-Key", "must be one header of 1 to 256 printable ASCII characters"));
    };
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
