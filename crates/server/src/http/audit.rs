//! `GET /v1/audit`: the audit log.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use store::AuditEntry;
use utoipa::ToSchema;

use super::caller::Querying;
use super::openapi::ListOfErrors;
use crate::app::App;
use crate::calls::audit::{self, ListAudit};
use crate::calls::page::{PageQuery, Paged};
use crate::error::ApiError;
use crate::render::{self, to_json};

/// List the audit log
///
/// Returns who made which call on what, from where and when, newest first: calls that changed something, and
/// administrative calls that were refused. The actions of workers are in the histories of the operations. Needs the
/// scope admin for the whole organization.
#[utoipa::path(get, path = "/v1/audit", operation_id = "AuditService_ListAudit", tag = "AuditService",
    params(PageQuery, ListAudit), responses((status = 200, description = "The page.", body = AuditPage), ListOfErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = Paged::<ListAudit>::from_query(&query)?;
    let page = audit::list(&app, &caller, asked).await?;
    let next_page_token = page.next.map(|next| next.to_string()).unwrap_or_default();
    let entries = page.entries.iter().map(WireEntry::from).collect();
    Ok(render::response(to_json(&AuditPage { entries, next_page_token })))
}

/// Entries of an audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditPage<'a> {
    /// Newest first. A page may have fewer entries than requested although there are more.
    entries: Vec<WireEntry<'a>>,
    /// The token that requests the next page; empty on the last page.
    next_page_token: String,
}

/// A call that was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct WireEntry<'a> {
    /// The number of the entry in its log: 1, 2, 3 …
    number: u64,
    /// When it was written.
    #[schema(format = DateTime)]
    time: String,
    /// The organization whose log has the entry; empty for the log of the instance.
    organization: &'a str,
    /// Who called.
    actor: WireActor<'a>,
    /// What the call did, e.g. operations.create.
    action: &'a str,
    /// The objects of the call: operations/ID, tokens/ID, organizations/NAME, kinds/NAME, evidence/DIGEST.
    targets: &'a [String],
    /// The address that the call came from; empty on the command line.
    address: &'a str,
    /// The X-Request-Id of its answer; empty on the command line.
    request_id: &'a str,
    /// The outcome of the call, a google.rpc.Code: 0 when it succeeded.
    code: i32,
}

/// Who called.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditActor)]
pub(super) struct WireActor<'a> {
    /// The kind of caller: token, instance_token, identity or command_line.
    kind: &'static str,
    /// The id of the token; on the command line, the name of the user.
    id: &'a str,
    /// The name of the token.
    name: &'a str,
}

impl<'a> From<&'a AuditEntry> for WireEntry<'a> {
    fn from(entry: &'a AuditEntry) -> WireEntry<'a> {
        let AuditEntry { number, at, organization, actor, action, targets, address, request_id, code } = entry;
        WireEntry {
            number: *number,
            time: at.to_string(),
            organization,
            actor: WireActor { kind: actor.kind.name(), id: &actor.id, name: &actor.name },
            action,
            targets,
            address,
            request_id,
            code: *code,
        }
    }
}
