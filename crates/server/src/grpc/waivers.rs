//! `longrun.v1.WaiversService`.

use operations::Timestamp;
use proto::longrun::v1 as wire;
use proto::longrun::v1::waivers_service_server::WaiversService;
use store::Waiver;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::waivers::{self, CreateWaiver};
use crate::strict::Read;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WaiversService for Face {
    async fn create_waiver(&self, request: Request<wire::CreateWaiverRequest>) -> Answer<wire::CreateWaiverResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let wire::CreateWaiverRequest { policy, finding, subject, reason, expires_in } = asked;
        let mut violations = Vec::new();
        let expires_in = convert::given_duration("expires_in", expires_in, &mut violations);
        let value = CreateWaiver { policy, finding, subject, reason, expires_in };
        let made = waivers::create(&self.0, &caller, Read { value, violations }).await?;
        Ok(Response::new(wire::CreateWaiverResponse { waiver: Some(waiver(made, self.0.store.now())) }))
    }

    async fn list_waivers(&self, request: Request<wire::ListWaiversRequest>) -> Answer<wire::ListWaiversResponse> {
        let (found, now) = waivers::list(&self.0, &call(&request).caller).await?;
        let waivers = found.into_iter().map(|one| waiver(one, now)).collect();
        Ok(Response::new(wire::ListWaiversResponse { waivers }))
    }

    async fn delete_waiver(&self, request: Request<wire::DeleteWaiverRequest>) -> Answer<wire::DeleteWaiverResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        waivers::delete(&self.0, &caller, &asked.waiver_id).await?;
        Ok(Response::new(wire::DeleteWaiverResponse {}))
    }
}

fn waiver(waiver: Waiver, now: Timestamp) -> wire::Waiver {
    wire::Waiver {
        active: waiver.is_live(now),
        id: waiver.id,
        policy: waiver.policy,
        finding: waiver.finding,
        subject: waiver.subject,
        reason: waiver.reason,
        created_by: waiver.created_by,
        created_at: Some(convert::timestamp(waiver.created_at)),
        expires_at: waiver.expires_at.map(convert::timestamp),
    }
}
