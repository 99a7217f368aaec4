//! How calls get into the audit log: a call that changes something is recorded together with the change; a refused
//! administrative call is recorded on its own, up to a limit per minute.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use store::{Actor, ActorKind, AuditCall, Store, Token};

use crate::app::App;
use crate::error::ApiError;
use crate::http::{Caller, Origin};
use crate::windows::Windows;

/// The most refusals that are recorded in one log per window: enough to notice attempts, too few to fill a disk.
const REFUSALS: u32 = 60;
/// The prefix of the ids of API tokens; other identities have other ids.
const TOKEN_PREFIX: &str = "tok_";

/// Counts refused calls, by log.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<Windows<String>>);

impl Refused {
    /// Whether one more is recorded.
    fn take(&self, organization: &str, now: Instant) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.count(organization.to_owned(), now);
        count.happened = count.happened.saturating_add(1);
        count.happened <= REFUSALS
    }
}

/// A call, as it is recorded in the log of an organization; with the empty name in that of the instance.
pub(crate) fn recorded(
    token: &Token,
    origin: &Origin,
    organization: &str,
    action: impl Into<Cow<'static, str>>,
    targets: Vec<String>,
) -> AuditCall {
    let kind = match &token.instance {
        Some(_) => ActorKind::InstanceToken,
        None if token.id.starts_with(TOKEN_PREFIX) => ActorKind::Token,
        None => ActorKind::Identity,
    };
    AuditCall {
        organization: organization.to_owned(),
        actor: Actor { kind, id: token.id.clone(), name: token.name.clone() },
        action: action.into(),
        targets,
        address: origin.address.map(|address| address.to_string()).unwrap_or_default(),
        request_id: origin.request_id.clone(),
    }
}

impl Caller {
    /// A call as it is recorded in the log of an organization; with the empty name in that of the instance.
    pub(crate) fn recorded(
        &self,
        organization: &str,
        action: impl Into<Cow<'static, str>>,
        targets: Vec<String>,
    ) -> AuditCall {
        recorded(self.token(), self.origin(), organization, action, targets)
    }

    /// The store for a call in the caller's own organization, which is recorded with its changes.
    pub(crate) fn store(&self, app: &App, action: &'static str, targets: Vec<String>) -> Arc<dyn Store> {
        app.store.on_behalf_of(self.recorded(self.organization(), action, targets))
    }
}

/// The outcome of an administrative call; a refusal is recorded too.
pub(crate) async fn administrative<T, F: Future<Output = Result<T, ApiError>> + Send>(
    app: &App,
    call: AuditCall,
    work: impl FnOnce(Arc<dyn Store>) -> F,
) -> Result<T, ApiError> {
    let result = work(app.store.on_behalf_of(call.clone())).await;
    if let Err(error) = &result
        && error.is_refusal()
        && app.refused.take(&call.organization, Instant::now())
        && let Err(failed) = app.store.record(call, i32::from(error.code())).await
    {
        // The caller gets the reason of the refusal, and not that it could not be recorded.
        tracing::warn!(error = &failed as &dyn std::error::Error, "could not record a refused call in the audit log");
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::WINDOW;

    #[test]
    fn so_many_refusals_of_a_log_are_recorded_in_a_window() {
        let (refused, now) = (Refused::default(), Instant::now());
        let recorded = |at| (0..2 * REFUSALS).filter(|_| refused.take("acme", at)).count();
        assert_eq!(recorded(now), REFUSALS as usize);
        assert!(refused.take("other", now), "others have their own");
        assert_eq!(recorded(now + WINDOW), REFUSALS as usize);
    }
}
