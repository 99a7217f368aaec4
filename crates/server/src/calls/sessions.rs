//! Sessions of people who signed in: an administrator sees and revokes those of the organization.

use operations::{Timestamp, Violation};
use serde::Deserialize;
use store::Session;
use utoipa::IntoParams;

use super::page::Paged;
use super::{may_be_there, pause};
use crate::app::App;
use crate::audit::administrative;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::Read;

/// The most entries of a page.
const PAGE_SIZE: u32 = 100;
const NOT_FOUND: ApiError = ApiError::NotFound("session");

/// The organization whose sessions are meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionsOf {
    /// The organization; tokens of the instance must give it.
    #[param(required = false, max_length = 128)]
    #[serde(default)]
    pub(crate) organization: String,
}

/// One page of the sessions of an organization, oldest first, and where the next one begins.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    asked: Paged<SessionsOf>,
) -> Result<(Vec<Session>, Option<String>), ApiError> {
    let (page, asked, mut found) = asked.into_parts();
    let organization = organization(caller, &asked)?;
    let after = page.place(&mut found, place);
    found.none()?;
    let size = page.size(PAGE_SIZE);
    let mut sessions = app.store.sessions(&organization, after, size + 1).await?;
    let has_more = sessions.len() > size as usize;
    sessions.truncate(size as usize);
    let next = sessions.last().filter(|_| has_more).map(|last| format!("{}.{}", last.begun_at.as_millis(), last.id));
    Ok((sessions, next))
}

/// Revokes a session permanently, on all servers; one that was revoked before does not change.
pub(crate) async fn revoke(app: &App, caller: &Caller, id: &str, asked: Read<SessionsOf>) -> Result<Session, ApiError> {
    let (asked, found) = asked.into_parts();
    let of = organization(caller, &asked);
    let log = of.as_deref().unwrap_or_else(|_| caller.organization());
    let call = caller.recorded(log, "sessions.revoke", vec![format!("sessions/{}", shortened(id))]);
    administrative(app, call, |store| async move {
        let organization = of?;
        found.none()?;
        if !may_be_there(id) || !store.revoke_session(&organization, id).await? {
            return Err(NOT_FOUND);
        }
        app.auth.session_ended(&organization, id);
        store.session(&organization, id).await?.ok_or(NOT_FOUND)
    })
    .await
}

/// The organization whose sessions the caller manages.
fn organization(caller: &Caller, asked: &SessionsOf) -> Result<String, ApiError> {
    let organization = pause::managed(caller, &asked.organization)?;
    if organization.is_empty() {
        let description =
            "must be given: a token of the instance belongs to no organization, and people sign in to one";
        return Err(ApiError::Invalid(vec![Violation::new("organization", description)]));
    }
    Ok(organization)
}

/// Where a page begins.
fn place(token: &str) -> Option<(Timestamp, String)> {
    let (millis, id) = token.split_once('.').filter(|(_, id)| may_be_there(id))?;
    Some((Timestamp::from_millis(millis.parse().ok()?), id.to_owned()))
}

/// A text that was sent in place of an id is cut to the length of an id.
fn shortened(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

/// The name of a session's state: `valid`, `expired` or `revoked`.
pub(crate) fn state(session: &Session, now: Timestamp) -> &'static str {
    match session.revoked_at {
        Some(_) => "revoked",
        None if session.expires_at <= now => "expired",
        None => "valid",
    }
}
