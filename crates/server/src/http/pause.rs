//! What the calls that pause and resume have in common, for an organization and for a kind.
//!
//! A caller pauses what is its organization's: all of it, or a kind within it. What holds for everybody is paused on
//! the command line, by those who run the service; callers see it. Every other organization is as good as none.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use operations::Projects;
use store::{Pausable, Paused, Scope};

use super::caller::Caller;
use crate::app::App;
use crate::error::ApiError;

/// What stands in the path; what is not UTF-8 is nothing's name.
pub(super) fn text(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(text)| text).map_err(|_| ApiError::NotFound("path"))
}

/// These calls are about the whole organization.
pub(super) fn authorize(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Admin)?;
    match caller.access().projects {
        Projects::All => Ok(()),
        Projects::Only(_) => Err(ApiError::WholeOrganization),
    }
}

/// What stands behind the name in the path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Pause,
    Resume,
}

impl Verb {
    pub(super) fn parse(text: &str) -> Result<Verb, ApiError> {
        match text {
            "pause" => Ok(Verb::Pause),
            "resume" => Ok(Verb::Resume),
            _ => Err(ApiError::NotFound("path")),
        }
    }

    /// To pause what is paused, or to resume what is not, changes nothing.
    pub(super) async fn carry_out(self, app: &App, what: Pausable) -> Result<(), ApiError> {
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
pub(super) async fn paused_kinds(app: &App, caller: &Caller) -> Result<(bool, Vec<String>), ApiError> {
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
