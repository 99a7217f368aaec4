//! `longrun.v1.WorkerService`.

use proto::longrun::v1 as wire;
use proto::longrun::v1::worker_service_server::WorkerService;
use store::LeaseStatus;
use tonic::{Request, Response, Status};

use super::{Call, Face, budget, call, convert, status};
use crate::calls::work::LeaseToken;
use crate::calls::work::claim::{self, ClaimOperations};
use crate::calls::work::heartbeat::{self, HeartbeatOperations, HeartbeatRow};
use crate::calls::work::settle::{self, SettleOperations, SettleRow};
use crate::strict::{List, Read};

#[tonic::async_trait]
impl WorkerService for Face {
    async fn claim_operations(
        &self,
        request: Request<wire::ClaimOperationsRequest>,
    ) -> Result<Response<wire::ClaimOperationsResponse>, Status> {
        let (app, call, asked) = (&self.0, call(&request), request.into_inner());
        let mut violations = Vec::new();
        let wait = convert::given_duration("wait", asked.wait, &mut violations);
        let value = ClaimOperations {
            kinds: List(asked.kinds),
            max_operations: Some(asked.max_operations).filter(|most| *most != 0).map(i64::from),
            // A worker that is gone by then must not get operations.
            wait: wait.map(|wait| call.within_deadline(wait)),
            organizations: List(asked.organizations),
        };
        let mut delivery = claim::claim(app, &call.caller, Read { value, violations }).await?;
        let traces = claim::traces(app, delivery.claimed()).await;
        let operations = delivery.claimed().iter().zip(traces).map(|(claimed, trace)| wire::ClaimedOperation {
            operation: Some(convert::operation(&claimed.operation)),
            input: claimed.input.clone(),
            attempt: claimed.attempt,
            lease_token: LeaseToken { fence: claimed.lease.fence, attempt: claimed.attempt }.to_string(),
            lease_expires_at: Some(convert::timestamp(claimed.lease_expires_at)),
            timeout: Some(convert::duration(claim::timeout(app, claimed))),
            cancel_requested: claimed.cancel_requested,
            organization: claimed.lease.organization.clone(),
            traceparent: trace.map(|trace| trace.to_string()).unwrap_or_default(),
        });
        let mut operations: Vec<wire::ClaimedOperation> = operations.collect();
        // A client refuses a message that is too long, and would not know which operations it holds.
        if budget::shorten(&mut operations) {
            delivery.keep(operations.len());
        }
        let answer = wire::ClaimOperationsResponse {
            operations,
            lease_duration: Some(convert::duration(app.settings.work.lease)),
        };
        let mut response = Response::new(answer);
        // Operations that the connection does not deliver are released.
        response.extensions_mut().insert(delivery.into_guard());
        Ok(response)
    }

    async fn heartbeat_operations(
        &self,
        request: Request<wire::HeartbeatOperationsRequest>,
    ) -> Result<Response<wire::HeartbeatOperationsResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let rows = List::of(asked.operations, |row| {
            let value = HeartbeatRow {
                id: row.id,
                lease_token: row.lease_token,
                progress: row.progress,
                organization: row.organization,
            };
            Read { value, violations: Vec::new() }
        });
        let value = HeartbeatOperations { operations: rows };
        let rows = heartbeat::heartbeat(&self.0, &caller, Read { value, violations: Vec::new() }).await?;
        let operations = rows.into_iter().map(|(id, held)| {
            let id = id.to_string();
            match held {
                LeaseStatus::Held { expires_at, cancel_requested } => wire::heartbeat_operations_response::Row {
                    id,
                    lease_expires_at: Some(convert::timestamp(expires_at)),
                    cancel_requested,
                    error: None,
                },
                LeaseStatus::Lost => wire::heartbeat_operations_response::Row {
                    id,
                    error: Some(status::of_row(operations::Refusal::StaleLease)),
                    ..Default::default()
                },
            }
        });
        Ok(Response::new(wire::HeartbeatOperationsResponse { operations: operations.collect() }))
    }

    async fn settle_operations(
        &self,
        request: Request<wire::SettleOperationsRequest>,
    ) -> Result<Response<wire::SettleOperationsResponse>, Status> {
        use wire::settle_operations_request::row::End;
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let rows = List::of(asked.results, |row| {
            let mut value = SettleRow {
                id: row.id,
                lease_token: row.lease_token,
                retryable: row.retryable,
                organization: row.organization,
                ..SettleRow::default()
            };
            match row.end {
                Some(End::Output(output)) => value.output = Some(output),
                Some(End::ErrorMessage(message)) => value.error_message = Some(message),
                Some(End::Release(release)) => value.release = Some(release),
                None => {}
            }
            Read { value, violations: Vec::new() }
        });
        let value = SettleOperations { results: rows };
        let rows = settle::settle(&self.0, &caller, Read { value, violations: Vec::new() }).await?;
        let results = rows.into_iter().map(|(id, result)| {
            let id = id.to_string();
            match result {
                Ok(status) => wire::settle_operations_response::Row {
                    id,
                    status: status.map_or(0, |status| convert::status(status).into()),
                    error: None,
                },
                Err(refusal) => {
                    let error = Some(status::of_row(refusal));
                    wire::settle_operations_response::Row { id, status: 0, error }
                }
            }
        });
        Ok(Response::new(wire::SettleOperationsResponse { results: results.collect() }))
    }
}
