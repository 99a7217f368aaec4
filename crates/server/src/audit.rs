//! How calls get into the audit log: a call that changes something is recorded together with the change; a refused
//! administrative call is recorded on its own, up to a limit per minute, beyond which the number of refused calls is
//! recorded.

use std::borrow::Cow;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use store::{Actor, ActorKind, AuditCall, Store, Token};

use crate::app::App;
use crate::error::ApiError;
use crate::http::{Caller, Origin};
use crate::windows::{WINDOW, Windows};

/// The most refusals that are recorded in one log per window: too few to fill a disk.
const REFUSALS: u32 = 200;
/// The most of these of one caller: enough to notice its attempts, too few to keep those of others out of the log.
const REFUSALS_OF_CALLER: u32 = 20;
/// The action of the entry that says how many refusals of a caller were left out.
const OMITTED: &str = "audit.omit";
/// The prefix of the ids of API tokens; other identities have other ids.
const TOKEN_PREFIX: &str = "tok_";

/// Counts refused calls.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<Refusals>);

/// What is counted.
#[derive(Debug, Default)]
struct Refusals {
    /// What was recorded, by log.
    recorded: Windows<String>,
    /// What was refused, by log and caller; what was left out and is not reported yet is under way.
    of_callers: Windows<(String, String)>,
}

/// What happens to a refused call.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Recorded,
    /// It is only counted; whether it is the first one since the last report.
    LeftOut {
        is_first: bool,
    },
}

impl Refused {
    /// Counts one more.
    fn take(&self, log: &str, caller: &str, now: Instant) -> Fate {
        let mut refusals = self.lock();
        let Refusals { recorded, of_callers } = &mut *refusals;
        let count = of_callers.count((log.to_owned(), caller.to_owned()), now);
        count.happened = count.happened.saturating_add(1);
        let recorded = recorded.count(log.to_owned(), now);
        if count.happened <= REFUSALS_OF_CALLER && recorded.happened < REFUSALS {
            recorded.happened += 1;
            return Fate::Recorded;
        }
        count.under_way = count.under_way.saturating_add(1);
        Fate::LeftOut { is_first: count.under_way == 1 }
    }

    /// How many were left out since the last report.
    fn left_out(&self, log: &str, caller: &str) -> u32 {
        let key = (log.to_owned(), caller.to_owned());
        self.lock().of_callers.known(&key).map_or(0, |count| mem::take(&mut count.under_way))
    }

    fn lock(&self) -> MutexGuard<'_, Refusals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    {
        refused(app, call, i32::from(error.code())).await;
    }
    result
}

/// Records a refused call, or counts it and has the number recorded when the window is over.
async fn refused(app: &App, call: AuditCall, code: i32) {
    match app.refused.take(&call.organization, &call.actor.id, Instant::now()) {
        Fate::Recorded => record(app, call, code).await,
        Fate::LeftOut { is_first: false } => {}
        Fate::LeftOut { is_first: true } => {
            let app = app.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(WINDOW) => {}
                    () = app.shutdown.cancelled() => {}
                }
                let number = app.refused.left_out(&call.organization, &call.actor.id);
                let targets = vec![format!("refusals/{number}")];
                record(&app, AuditCall { action: OMITTED.into(), targets, ..call }, code).await;
            });
        }
    }
}

async fn record(app: &App, call: AuditCall, code: i32) {
    if let Err(failed) = app.store.record(call, code).await {
        // The caller gets the reason of the refusal, and not that it could not be recorded.
        tracing::warn!(error = &failed as &dyn std::error::Error, "could not record a refused call in the audit log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many refusals of a caller are recorded.
    fn recorded(refused: &Refused, log: &str, caller: &str, now: Instant) -> u32 {
        (0..2 * REFUSALS_OF_CALLER).filter(|_| refused.take(log, caller, now) == Fate::Recorded).count() as u32
    }

    #[test]
    fn so_many_refusals_of_a_caller_are_recorded_in_a_window() {
        let (refused, now) = (Refused::default(), Instant::now());
        for at in [now, now + WINDOW] {
            assert_eq!(recorded(&refused, "acme", "noisy", at), REFUSALS_OF_CALLER);
            assert_eq!(refused.take("acme", "other", at), Fate::Recorded, "others have their own");
            assert_eq!(refused.take("globex", "noisy", at), Fate::Recorded, "and so has every log");
        }
    }

    #[test]
    fn so_many_refusals_of_a_log_are_recorded_in_a_window() {
        let (refused, now) = (Refused::default(), Instant::now());
        let of_all = |at| (0..REFUSALS).map(|caller| recorded(&refused, "acme", &caller.to_string(), at)).sum::<u32>();
        assert_eq!(of_all(now), REFUSALS);
        assert_eq!(of_all(now + WINDOW), REFUSALS);
    }

    #[test]
    fn what_is_left_out_is_counted_until_it_is_reported() {
        let (refused, now) = (Refused::default(), Instant::now());
        recorded(&refused, "acme", "noisy", now);
        assert_eq!(refused.take("acme", "noisy", now), Fate::LeftOut { is_first: false });
        assert_eq!(refused.left_out("acme", "noisy"), REFUSALS_OF_CALLER + 1);
        assert_eq!(refused.take("acme", "noisy", now), Fate::LeftOut { is_first: true }, "a new report is due");
        assert_eq!(refused.left_out("acme", "noisy"), 1);
    }
}
