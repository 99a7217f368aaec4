//! Pausing and resuming an organization, or a kind within it.
//!
//! A caller pauses its own organization: all of it, or a kind within it. The operators of the service pause kinds for
//! everybody on the command line; callers see these pauses. For a caller, no other organization exists. A token of the
//! instance pauses whole organizations.

use std::collections::BTreeMap;

use operations::check_kind;
use store::{Organizations, Pausable, Paused, Quota, Scope, Store};

use super::may_be_there;
use crate::app::App;
use crate::audit::administrative;
use crate::error::ApiError;
use crate::http::Caller;

/// The most kinds that an organization may pause at a time, because every claim checks what is paused.
const MAX_KINDS: usize = 100;

/// An organization, as its callers see it.
pub(crate) struct Organization {
    pub(crate) name: String,
    /// Whether it is paused: none of its operations is started.
    pub(crate) paused: bool,
    /// The kinds that are paused in it.
    pub(crate) paused_kinds: Vec<String>,
    pub(crate) limits: Quota,
    /// By kind, how many of its operations may run at a time.
    pub(crate) max_running: BTreeMap<String, u32>,
}

/// The caller's organization, or one that its token of the instance manages.
pub(crate) async fn organization(app: &App, caller: &Caller, name: &str) -> Result<Organization, ApiError> {
    authorize(app, caller, name).await?;
    read(app, name).await
}

/// Reads an organization.
pub(super) async fn read(app: &App, name: &str) -> Result<Organization, ApiError> {
    let (paused, paused_kinds) = paused_kinds(app, name).await?;
    let quotas = app.store.quotas();
    let (limits, max_running) = (quotas.of(name), quotas.running.all_of(name));
    Ok(Organization { limits, max_running, name: name.to_owned(), paused, paused_kinds })
}

/// Pauses or resumes an organization.
pub(crate) async fn pause_organization(
    app: &App,
    caller: &Caller,
    name: &str,
    verb: Verb,
) -> Result<Organization, ApiError> {
    let targets = vec![format!("organizations/{}", shortened(name))];
    let call = caller.recorded(log(caller, name), verb.action("organizations"), targets);
    administrative(app, call, |store| async move {
        authorize(app, caller, name).await?;
        verb.carry_out(app, &*store, Pausable::Organization(name.to_owned())).await?;
        read(app, name).await
    })
    .await
}

/// Pauses or resumes a kind in the caller's organization; returns whether it is paused.
pub(crate) async fn pause_kind(app: &App, caller: &Caller, kind: &str, verb: Verb) -> Result<bool, ApiError> {
    let targets = vec![format!("kinds/{}", shortened(kind))];
    let call = caller.recorded(caller.organization(), verb.action("kinds"), targets);
    administrative(app, call, |store| async move {
        whole(caller)?;
        let is_declared = app.kinds.iter().any(|known| known == kind);
        if check_kind("kind", kind).is_err() || !is_declared && !app.allow_undeclared_kinds {
            return Err(ApiError::NotFound("kind"));
        }
        let organization = caller.organization().to_owned();
        if verb == Verb::Pause && paused_kinds(app, &organization).await?.1.len() >= MAX_KINDS {
            return Err(ApiError::field(
                "kind",
                format!("is one too many: {MAX_KINDS} kinds are paused; resume some of them"),
            ));
        }
        verb.carry_out(app, &*store, Pausable::KindOf { organization, kind: kind.to_owned() }).await?;
        Ok(paused_kinds(app, caller.organization()).await?.1.iter().any(|paused| paused == kind))
    })
    .await
}

/// Refuses a caller that does not manage this organization, by a token of its own or of the instance.
pub(super) async fn authorize(app: &App, caller: &Caller, name: &str) -> Result<(), ApiError> {
    if let Some(reached) = caller.allowed_in(Scope::Admin) {
        let may_be = reached.include(name) && may_be_there(name);
        let is_there = may_be && app.store.contents(name).await?.is_some();
        return if is_there { Ok(()) } else { Err(ApiError::NotFound("organization")) };
    }
    whole(caller)?;
    if name == caller.organization() { Ok(()) } else { Err(ApiError::NotFound("organization")) }
}

/// The named organization, which the caller must manage as a whole: its own, or one that its token of the instance may
/// manage. With the empty name its own, which is the instance for a token that may manage all.
pub(super) fn managed(caller: &Caller, organization: &str) -> Result<String, ApiError> {
    match caller.allowed_in(Scope::Admin) {
        Some(_) if !organization.is_empty() && !may_be_there(organization) => {
            return Err(ApiError::NotFound("organization"));
        }
        Some(Organizations::All) => {}
        Some(reached) if reached.include(organization) => {}
        Some(_) => return Err(ApiError::NotFound("organization")),
        None => {
            whole(caller)?;
            let is_own = organization.is_empty() || organization == caller.organization();
            return if is_own { Ok(caller.organization().to_owned()) } else { Err(ApiError::NotFound("organization")) };
        }
    }
    Ok(organization.to_owned())
}

/// These calls are about the whole organization.
pub(super) fn whole(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Admin)?;
    caller.require_whole_organization()
}

/// The organization whose log records a call about an organization: the caller's own when it does not manage that one.
pub(super) fn log<'c>(caller: &'c Caller, name: &'c str) -> &'c str {
    let reaches = caller.allowed_in(Scope::Admin).is_some_and(|reached| reached.include(name));
    if reaches && may_be_there(name) { name } else { caller.organization() }
}

/// A name from a path, as it is recorded: no longer than names are.
pub(super) fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// Whether to pause or to resume.
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

    fn action(self, of: &str) -> String {
        let verb = if self == Verb::Pause { "pause" } else { "resume" };
        format!("{of}.{verb}")
    }

    /// Pausing what is paused, or resuming what is not, changes nothing. An organization of which the store knows
    /// nothing, or that was deleted since, cannot be paused.
    async fn carry_out(self, app: &App, store: &dyn Store, what: Pausable) -> Result<(), ApiError> {
        match self {
            Verb::Pause => {
                if !store.pause(what).await? {
                    return Err(ApiError::NotFound("organization"));
                }
            }
            Verb::Resume => {
                store.resume(what).await?;
                app.waker.wake();
            }
        }
        Ok(())
    }
}

/// Whether an organization is paused, and which kinds are in it, for it alone or for everybody.
async fn paused_kinds(app: &App, name: &str) -> Result<(bool, Vec<String>), ApiError> {
    let (mut all, mut kinds) = (false, Vec::new());
    for Paused { what, .. } in app.store.paused().await? {
        match what {
            Pausable::Organization(organization) => all |= organization == name,
            Pausable::KindOf { organization, .. } if organization != name => {}
            Pausable::Kind(kind) | Pausable::KindOf { kind, .. } => kinds.push(kind),
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok((all, kinds))
}
