//! Reading the audit log.

use operations::check_text;
use serde::Deserialize;
use store::{AuditFilter, AuditPage};
use utoipa::IntoParams;

use super::page::Paged;
use super::{pause, time};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::Found;

/// The most entries of a page.
const MAX_PAGE_SIZE: u32 = 1_000;

/// Which entries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAudit {
    /// Only calls by the token with this id.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) actor: String,
    /// Only this action; if it ends with a dot, all actions that begin with it.
    #[param(required = false, max_length = 256, example = "tokens.")]
    #[serde(default)]
    pub(crate) action: String,
    /// Only calls on this object, as entries name it.
    #[param(required = false, max_length = 256, example = "operations/01a20e1a-1194-75ec-b562-a042f01e7eac")]
    #[serde(default)]
    pub(crate) target: String,
    /// Only entries of this time or later.
    #[param(value_type = Option<String>, format = DateTime, required = false)]
    #[serde(default)]
    pub(crate) since: Option<String>,
    /// Only entries before this time.
    #[param(value_type = Option<String>, format = DateTime, required = false)]
    #[serde(default)]
    pub(crate) until: Option<String>,
    /// For tokens of the instance: the log of this organization; by default that of the instance.
    #[param(required = false, max_length = 128)]
    #[serde(default)]
    pub(crate) organization: String,
}

/// Whether the caller may read a log without naming its organization.
pub(crate) fn may_list(caller: &Caller) -> bool {
    pause::managed(caller, "").is_ok()
}

/// One page of entries, newest first.
pub(crate) async fn list(app: &App, caller: &Caller, asked: Paged<ListAudit>) -> Result<AuditPage, ApiError> {
    let (page, asked, mut found) = asked.into_parts();
    // A caller that is limited to a part of an organization does not see what others do in it, and the log of the
    // instance covers all organizations.
    let organization = pause::managed(caller, &asked.organization)?;
    let filter = AuditFilter {
        actor: text("actor", asked.actor, &mut found),
        action: text("action", asked.action, &mut found),
        target: text("target", asked.target, &mut found),
        since: time("since", asked.since, &mut found),
        until: time("until", asked.until, &mut found),
    };
    let before = page.place(&mut found, |token| token.parse().ok());
    found.none()?;
    Ok(app.store.audit(&organization, &filter, before, page.size(MAX_PAGE_SIZE)).await?)
}

fn text(field: &str, text: String, found: &mut Found) -> Option<String> {
    if let Err(violation) = check_text(field, &text) {
        found.add(violation);
    }
    Some(text).filter(|text| !text.is_empty())
}
