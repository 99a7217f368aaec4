//! What a caller can do, once for all interfaces: HTTP, gRPC and the page read their own form of a request into the
//! structs here, make the call, and write the result in their own form. Everything in between (who may do it, what is
//! checked and in which order) is here and nowhere else.
//!
//! One file for each call or family of calls. The structs of requests are what `serde` reads from JSON and queries
//! ([`crate::strict`]) and what the OpenAPI document is made of.

pub(crate) mod attestation;
pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod command;
pub(crate) mod creation;
pub(crate) mod detail;
pub(crate) mod duration;
pub(crate) mod evaluate;
pub(crate) mod evaluation;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod idempotency;
mod labels;
pub(crate) mod list;
pub(crate) mod organizations;
pub(crate) mod page;
pub(crate) mod pause;
pub(crate) mod retry;
pub(crate) mod schedules;
pub(crate) mod search;
pub(crate) mod sessions;
pub(crate) mod stats;
pub(crate) mod tokens;
pub(crate) mod views;
pub(crate) mod wait;
pub(crate) mod waivers;
pub(crate) mod watch;
pub(crate) mod work;
pub(crate) mod workers;

use operations::{Timestamp, Violation, check_name};

use crate::strict::Found;

/// Whether this may be the name or the id of something. Any other text is refused without a query to the store, because
/// PostgreSQL accepts no text with the character U+0000.
fn may_be_there(name: &str) -> bool {
    check_name("name", name).is_ok()
}

/// The time in a parameter, if it is given.
fn time(field: &str, text: Option<String>, found: &mut Found) -> Option<Timestamp> {
    let time = text?.parse().ok();
    if time.is_none() {
        found.add(Violation::new(field, "must be a time such as 2026-01-31T12:00:00Z"));
    }
    time
}
