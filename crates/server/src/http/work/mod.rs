//! The worker protocol: `:claim`, `:heartbeat` and `:settle`, for programs with the scope `operations:work`.
//!
//! A claim gives each operation a *lease token*. It is text to workers; it carries what a later call needs to know of
//! the attempt: the fencing token, which makes a late call of an older attempt change nothing, and the number of the
//! attempt, which the wait before the next one depends on. It is no secret: what a worker may touch follows from its
//! own token ([`scope`]), and what it may not touch is answered like a lease that was lost.

mod claim;
mod delivery;
mod heartbeat;
mod places;
mod settle;
mod waiters;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use operations::{OperationId, Violation};
use store::{AuthorizationScope, LeaseRef};

pub(super) use claim::{MAX_WAIT, claim};
pub(super) use heartbeat::heartbeat;
pub(super) use settle::settle;
pub(crate) use waiters::Waiters;

use super::App;
use super::json::Fields;
use crate::auth::Caller;

/// The most operations of one call: enough for any worker, and little enough for one transaction.
const MAX_ROWS: usize = 1_000;

/// What a claim gives and later calls show, as `v1.<fencing token>.<attempt>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeaseToken {
    fence: u64,
    attempt: u32,
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}", self.fence, self.attempt)
    }
}

impl FromStr for LeaseToken {
    type Err = ();

    fn from_str(text: &str) -> Result<LeaseToken, ()> {
        let (fence, attempt) = text.strip_prefix("v1.").and_then(|rest| rest.split_once('.')).ok_or(())?;
        let token = LeaseToken { fence: fence.parse().map_err(|_| ())?, attempt: attempt.parse().map_err(|_| ())? };
        // One spelling each: no signs, no leading zeros. The store keeps fencing tokens as signed numbers.
        if token.to_string() == text && i64::try_from(token.fence).is_ok() { Ok(token) } else { Err(()) }
    }
}

/// What the caller may touch as a worker.
fn scope(app: &App, caller: &Caller) -> Arc<AuthorizationScope> {
    Arc::new(AuthorizationScope { projects: caller.access().projects.clone(), except_kinds: app.local_kinds.clone() })
}

/// The fields `id` and `lease_token` of a row.
fn lease(row: &mut Fields, caller: &Caller, scope: &Arc<AuthorizationScope>) -> Option<(LeaseRef, LeaseToken)> {
    let id = required(row, "id", "must be the id of an operation that was claimed, a UUID", |text| {
        text.parse::<OperationId>().ok()
    });
    let token = required(row, "lease_token", "must be the lease_token that the claim gave", |text| text.parse().ok());
    let (id, token): (OperationId, LeaseToken) = (id?, token?);
    let organization = caller.organization().to_owned();
    Some((LeaseRef { organization, id, fence: token.fence, scope: Some(scope.clone()) }, token))
}

fn required<T>(row: &mut Fields, name: &'static str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let before = row.violations.len();
    let value = row.parsed(name, wanted, parse);
    if value.is_none() && row.violations.len() == before {
        row.violations.push(Violation::new(name, wanted));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_token_comes_back_and_has_one_spelling() {
        let token = LeaseToken { fence: 7, attempt: 3 };
        assert_eq!(token.to_string(), "v1.7.3");
        assert_eq!("v1.7.3".parse(), Ok(token));
        for bad in
            ["", "7", "v1.7", "v1.7.", "v1.+7.3", "v1.07.3", "v2.7.3", "v1.7.3 ", "v1.-1.3", "v1.9223372036854775808.1"]
        {
            assert_eq!(bad.parse::<LeaseToken>(), Err(()), "{bad}");
        }
    }
}
