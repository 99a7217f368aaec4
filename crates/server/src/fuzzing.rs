//! Entry points for fuzzers: the code that reads what callers send, without a server around it. Not part of the crate's
//! promises.
//!
//! Each reads as the calls do, continues as far as that is possible without a store, and asserts its invariants.

use http::Request;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::Secret;
use crate::calls::creation::{BatchCreateOperations, CreateOperation};
use crate::calls::evaluate::EvaluateEvidence;
use crate::calls::events::ListEvents;
use crate::calls::list::{self, ListOperations};
use crate::calls::search::{CountOperations, SearchOperations};
use crate::calls::wait::WaitOperation;
use crate::calls::watch::WatchOperations;
use crate::calls::work::LeaseToken;
use crate::calls::work::claim::ClaimOperations;
use crate::calls::work::heartbeat::HeartbeatOperations;
use crate::calls::work::settle::SettleOperations;
use crate::error::ApiError;
use crate::http::fuzzing as by_hand;
use crate::services::ApiSettings;
use crate::strict::{self, Read, canonical};

/// The part of a URL after `?`.
pub fn query(text: &str) {
    if let Ok(read) = strict::query::<ListOperations>(text) {
        let (asked, found) = read.into_parts();
        let settings = ApiSettings::default();
        assert!((1..=settings.max_page_size).contains(&list::page(&asked, &settings).page_size));
        described(list::filter(found, &asked.status, asked.kind, asked.resource_type, asked.resource_id));
    }
    if let Ok(read) = strict::query::<WatchOperations>(text) {
        let (asked, found) = read.into_parts();
        described(list::filter(found, &asked.status, asked.kind, asked.resource_type, asked.resource_id));
    }
    parameters::<WaitOperation>(text);
    parameters::<ListEvents>(text);
    parameters::<SearchOperations>(text);
    parameters::<CountOperations>(text);
}

/// The body of a request.
pub fn body(bytes: &[u8]) {
    fields::<CreateOperation>(bytes);
    fields::<BatchCreateOperations>(bytes);
    fields::<EvaluateEvidence>(bytes);
    fields::<ClaimOperations>(bytes);
    fields::<HeartbeatOperations>(bytes);
    fields::<SettleOperations>(bytes);
    if let Ok(raw) = serde_json::from_slice::<&RawValue>(bytes)
        && let Ok(once) = canonical(raw)
    {
        let raw: &RawValue = serde_json::from_str(&once).expect("the canonical form is JSON");
        assert_eq!(canonical(raw).as_deref(), Ok(once.as_str()), "the canonical form is its own");
    }
}

/// The bytes of a request's message over gRPC.
pub fn message(bytes: &[u8]) {
    crate::grpc::fuzzing::message(bytes);
}

/// The path of a URL.
pub fn path(text: &str) {
    by_hand::path(text);
}

/// The value of the header `Authorization`.
pub fn token(bytes: &[u8]) {
    if let Ok(request) = Request::builder().header(AUTHORIZATION, bytes).body(()) {
        let _ = crate::auth::bearer(request.headers());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(secret) = Secret::parse(text)
    {
        assert_eq!(secret.expose(), text);
    }
}

/// A token of an identity provider: a header and claims with a zero byte between them, which are signed, or a whole
/// token.
pub fn jwt(bytes: &[u8]) {
    crate::auth::fuzzing::jwt(bytes);
}

/// The key set of an identity provider.
pub fn key_set(bytes: &[u8]) {
    crate::auth::fuzzing::key_set(bytes);
}

/// The lease token that a worker sends.
pub fn lease_token(text: &str) {
    if let Ok(token) = text.parse::<LeaseToken>() {
        assert_eq!(token.to_string(), text, "one spelling each");
    }
}

fn parameters<'a, T: Deserialize<'a>>(text: &'a str) {
    finish(strict::query::<T>(text));
}

fn fields<'a, T: Deserialize<'a>>(bytes: &'a [u8]) {
    finish(strict::json::<T>(bytes));
}

fn finish<T>(read: Result<Read<T>, ApiError>) {
    if let Ok(read) = read {
        described(read.into_parts().1.none());
    }
}

/// Checks that every refusal has a text.
fn described<T>(read: Result<T, ApiError>) {
    if let Err(error) = read {
        assert!(!error.to_string().is_empty());
    }
}
