//! Pausing and resuming an organization, or a kind within it.
//!
//! A caller pauses what is its organization's: all of it, or a kind within it. What holds for everybody is paused on
//! the command line, by those who run the service; callers see it. Every other organization is as good as none.

use operations::{Projects, check_kind};
use store::{Pausable, Paused, Quota, Scope};

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;

/// Kinds that an organization may pause at a time: every claim looks at what is paused.
const MAX_KINDS: usize = 100;

/// An organization, as its callers see it.
pub(crate) struct Organization {
    pub(crate) name: String,
    /// Nothing of it is started.
    pub(crate) paused: bool,
    /// Kinds of which nothing is started in it.
    pub(crate) paused_kinds: Vec<String>,
    pub(crate) limits: Quota,
}

/// What the caller's organization has.
pub(crate) async fn organization(app: &App, caller: &Caller, name: &str) -> Result<Organization, ApiError> {
    authorize(caller)?;
    of_caller(caller, name)?;
    let (paused, paused_kinds) = paused_kinds(app, caller).await?;
    let name = caller.organization().to_owned();
    Ok(Organization { limits: app.quotas.of(&name), name, paused, paused_kinds })
}

/// Pauses or resumes the caller's organization.
pub(crate) async fn pause_organization(
    app: &App,
    caller: &Caller,
    name: &str,
    verb: Verb,
) -> Result<Organization, ApiError> {
    authorize(caller)?;
    of_caller(caller, name)?;
    verb.carry_out(app, Pausable::Organization(caller.organization().to_owned())).await?;
    organization(app, caller, name).await
}

/// Pauses or resumes a kind in the caller's organization; answers whether it is paused.
pub(crate) async fn pause_kind(app: &App, caller: &Caller, kind: &str, verb: Verb) -> Result<bool, ApiError> {
    authorize(caller)?;
    let is_declared = app.kinds.iter().any(|known| known == kind);
    if check_kind("kind", kind).is_err() || !is_declared && !app.allow_undeclared_kinds {
        return Err(ApiError::NotFound("kind"));
    }
    if verb == Verb::Pause && paused_kinds(app, caller).await?.1.len() >= MAX_KINDS {
        return Err(ApiError::field("kind", format!("is one too many: {MAX_KINDS} are paused; resume some")));
    }
    let organization = caller.organization().to_owned();
    verb.carry_out(app, Pausable::KindOf { organization, kind: kind.to_owned() }).await?;
    Ok(paused_kinds(app, caller).await?.1.iter().any(|paused| paused == kind))
}

fn of_caller(caller: &Caller, name: &str) -> Result<(), ApiError> {
    if name == caller.organization() { Ok(()) } else { Err(ApiError::NotFound("organization")) }
}

/// These calls are about the whole organization.
fn authorize(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Admin)?;
    match caller.access().projects {
        Projects::All => Ok(()),
        Projects::Only(_) => Err(ApiError::WholeOrganization),
    }
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Pause,
    Resume,
}

impl Verb {
    pub(crate) fn parse(text: &str) -> Result<Verb, ApiError> {
        match text {
            "pause" => Ok(Verb::Pause),
            "resume" => Ok(Verb::Resume),
            _ => Err(ApiError::NotFound("path")),
        }
    }

    /// To pause what is paused, or to resume what is not, changes nothing.
    async fn carry_out(self, app: &App, what: Pausable) -> Result<(), ApiError> {
        match self {
            Verb::Pause => app.store.pause(what).await.map(drop)?,
            Verb::Resume => {
                app.store.resume(what).await?;
                app.waker.wake();
            }
        }
        Ok(())
    }
}

/// Whether the caller's organization is paused, and which kinds are in it, for it alone or for everybody.
async fn paused_kinds(app: &App, caller: &Caller) -> Result<(bool, Vec<String>), ApiError> {
    let (mut all, mut kinds) = (false, Vec::new());
    for Paused { what, .. } in app.store.paused().await? {
        match what {
            Pausable::Organization(organization) => all |= organization == caller.organization(),
            Pausable::KindOf { organization, .. } if organization != caller.organization() => {}
            Pausable::Kind(kind) | Pausable::KindOf { kind, .. } => kinds.push(kind),
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok((all, kinds))
}
