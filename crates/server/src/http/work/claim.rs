//! `POST /v1/operations:claim`: gives operations to a worker, which may wait for them.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;
use operations::{Timestamp, Violation, check_kind};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Claimed, Scope};

use super::lease::{LeaseToken, MAX_ROWS};
use crate::app::App;
use crate::error::ApiError;
use crate::http::caller::Caller;
use crate::http::json::Fields;
use crate::http::{body, duration};
use crate::render::{self, WireOperation, shown, to_json};
use crate::waiters::Group;

/// The longest that a worker may wait; a longer wish waits so long.
pub(in crate::http) const MAX_WAIT: Duration = Duration::from_secs(60);
/// The most kinds of one claim: each costs a seek.
const MAX_KINDS: usize = 100;

/// What a worker asks for.
struct Wish {
    kinds: Vec<String>,
    max_operations: u32,
    wait: Duration,
}

pub(in crate::http) async fn claim(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWork)?;
    let body = body::read_work(&app, &caller, &headers, body).await?;
    let Wish { kinds, max_operations, wait } = parse(&app, &body)?;
    // It does not stay in memory while the worker waits.
    drop(body);
    let group = Group { access: caller.access().clone(), worker: caller.token_id().to_owned(), kinds };
    let delivery = caller.while_valid(&app, app.waiters.wait(group, max_operations, wait)).await?;
    let settings = &app.settings.work;
    let operations = delivery.claimed().iter().map(|claimed| {
        let of_kind = app.defaults(&claimed.operation.kind).timeout;
        WireClaimed::new(claimed, of_kind.unwrap_or(settings.attempt_timeout))
    });
    let json = to_json(&Answer { operations: operations.collect(), lease_duration: duration::write(settings.lease) });
    Ok(render::response(delivery.into_body(json)))
}

fn parse(app: &App, body: &Bytes) -> Result<Wish, ApiError> {
    let mut fields = Fields::parse(body)?;
    let before = fields.violations.len();
    let mut kinds = fields.texts("kinds");
    kinds.sort_unstable();
    kinds.dedup();
    if fields.violations.len() == before {
        if !(1..=MAX_KINDS).contains(&kinds.len()) {
            fields.violations.push(Violation::new("kinds", format!("must name 1 to {MAX_KINDS} kinds")));
        } else {
            fields.violations.extend(kinds.iter().filter_map(|kind| problem(app, kind)));
        }
    }
    let max_operations = match fields.integer("max_operations") {
        None => 1,
        Some(number) => match u32::try_from(number) {
            Ok(number) if (1..=MAX_ROWS).contains(&(number as usize)) => number,
            _ => {
                let wanted = format!("must be between 1 and {MAX_ROWS}");
                fields.violations.push(Violation::new("max_operations", wanted));
                1
            }
        },
    };
    let wanted = "must be a duration in seconds such as \"30s\"; at most 60s are waited";
    let wait = fields.parsed("wait", wanted, duration::parse).unwrap_or_default().min(MAX_WAIT);
    let violations = fields.finish();
    if violations.is_empty() { Ok(Wish { kinds, max_operations, wait }) } else { Err(ApiError::Invalid(violations)) }
}

/// Why operations of this kind cannot be claimed: a worker that waits for what never comes should know.
fn problem(app: &App, kind: &str) -> Option<Violation> {
    if let Err(violation) = check_kind("kinds", kind) {
        return Some(violation);
    }
    if app.local_kinds.iter().any(|local| local == kind) {
        return Some(Violation::new("kinds", format!("{kind} is run by the server itself; leave it out")));
    }
    if app.allow_undeclared_kinds || app.kinds.iter().any(|known| known == kind) {
        return None;
    }
    let claimable = app.kinds.iter().filter(|kind| !app.local_kinds.contains(kind)).cloned().collect::<Vec<_>>();
    let claimable = if claimable.is_empty() { "(none)".to_owned() } else { claimable.join(", ") };
    Some(Violation::new("kinds", format!("{kind} is not declared here; the kinds for workers are {claimable}")))
}

#[derive(Serialize)]
struct Answer<'a> {
    operations: Vec<WireClaimed<'a>>,
    lease_duration: String,
}

/// A claimed operation on the wire.
#[derive(Serialize)]
struct WireClaimed<'a> {
    operation: WireOperation<'a>,
    /// As it was written; `null` when there is none.
    input: Option<&'a RawValue>,
    attempt: u32,
    lease_token: String,
    #[serde(serialize_with = "shown")]
    lease_expires_at: Timestamp,
    timeout: String,
    cancel_requested: bool,
}

impl<'a> WireClaimed<'a> {
    /// `attempt_timeout` holds when the operation does not say.
    fn new(claimed: &'a Claimed, attempt_timeout: Duration) -> WireClaimed<'a> {
        WireClaimed {
            operation: (&claimed.operation).into(),
            // What was created here is JSON; what an inbox was given is checked there.
            input: serde_json::from_str(&claimed.input).ok(),
            attempt: claimed.attempt,
            lease_token: LeaseToken { fence: claimed.lease.fence, attempt: claimed.attempt }.to_string(),
            lease_expires_at: claimed.lease_expires_at,
            timeout: duration::write(claimed.timeout.unwrap_or(attempt_timeout)),
            cancel_requested: claimed.cancel_requested,
        }
    }
}
