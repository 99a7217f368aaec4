//! `longrun.v1.AuditService`.

use proto::longrun::v1 as wire;
use proto::longrun::v1::audit_service_server::AuditService;
use store::AuditEntry;
use tonic::{Request, Response, Status};

use super::{Call, Face, budget, call, convert};
use crate::calls::audit::{self, ListAudit};
use crate::calls::page::Paged;
use crate::strict::Read;

#[tonic::async_trait]
impl AuditService for Face {
    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let page = convert::page(asked.page_size, asked.page_token);
        let mut violations = Vec::new();
        let mut time = |field, given| {
            let time = convert::given_timestamp(field, given, &mut violations);
            time.map(|time| time.to_string())
        };
        let value = ListAudit {
            since: time("since", asked.since),
            until: time("until", asked.until),
            actor: asked.actor,
            action: asked.action,
            target: asked.target,
            organization: asked.organization,
        };
        let page = audit::list(&self.0, &caller, Paged { page, asked: Read { value, violations } }).await?;
        let mut entries: Vec<wire::AuditEntry> = page.entries.into_iter().map(entry).collect();
        let is_cut = budget::shorten(&mut entries);
        let next = if is_cut { entries.last().map(|last| last.number) } else { page.next };
        let next_page_token = next.map(|next| next.to_string()).unwrap_or_default();
        Ok(Response::new(wire::ListAuditResponse { entries, next_page_token }))
    }
}

fn entry(entry: AuditEntry) -> wire::AuditEntry {
    let AuditEntry { number, at, organization, actor, action, targets, address, request_id, code } = entry;
    let actor = wire::AuditActor { kind: actor.kind.name().to_owned(), id: actor.id, name: actor.name };
    let (time, actor) = (Some(convert::timestamp(at)), Some(actor));
    wire::AuditEntry { number, time, organization, actor, action, targets, address, request_id, code }
}
