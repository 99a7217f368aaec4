//! How a worker identifies the operations that it holds: the lease token, and what it permits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use operations::{OperationId, Violation};
use store::{AuthorizationScope, LeaseRef, Organizations, Scope};

use crate::app::App;
use crate::calls::may_be_there;
use crate::http::Caller;
use crate::strict::Found;

/// The most operations of one call: enough for any worker, and little enough for one transaction.
pub(super) const MAX_ROWS: usize = 1_000;

/// The token that a claim returns and later calls send, as `v1.<fencing token>.<attempt>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseToken {
    pub fence: u64,
    pub attempt: u32,
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
        // Each token has one spelling: no signs, no leading zeros. The store keeps fencing tokens as signed numbers.
        if token.to_string() == text && i64::try_from(token.fence).is_ok() { Ok(token) } else { Err(()) }
    }
}

/// What the caller may touch as a worker.
pub(super) fn scope(app: &App, caller: &Caller) -> Arc<AuthorizationScope> {
    let reached = caller.allowed_in(Scope::OperationsWork).cloned();
    Arc::new(AuthorizationScope {
        organizations: reached.unwrap_or_else(|| Organizations::Only([caller.organization().to_owned()].into())),
        projects: caller.access().projects.clone(),
        except_kinds: app.local_kinds.clone(),
    })
}

/// The lease that a row identifies.
pub(super) fn lease(
    id: &str,
    lease_token: &str,
    organization: String,
    caller: &Caller,
    scope: &Arc<AuthorizationScope>,
    found: &mut Found,
) -> Option<(LeaseRef, LeaseToken)> {
    let id = id.parse::<OperationId>().ok();
    if id.is_none() {
        found.add(Violation::new("id", "must be the id of a claimed operation, a UUID"));
    }
    let token = lease_token.parse::<LeaseToken>().ok();
    if token.is_none() {
        found.add(Violation::new("lease_token", "must be the lease_token that the claim returned"));
    }
    let is_of_instance = caller.token().instance.is_some();
    if is_of_instance && !may_be_there(&organization) {
        found.add(Violation::new("organization", "must be the organization that the claim returned"));
        return None;
    }
    let (id, token) = (id?, token?);
    // If a caller names an organization that it does not reach, the scope makes the answer that of a lost lease.
    let organization = match organization {
        own if own.is_empty() => caller.organization().to_owned(),
        // The empty name is no organization's either, and every store accepts it.
        none if !may_be_there(&none) => String::new(),
        named => named,
    };
    Some((LeaseRef { organization, id, fence: token.fence, expired_at: None, scope: Some(scope.clone()) }, token))
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
