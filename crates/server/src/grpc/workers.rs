//! `longrun.v1.WorkersService`.

use proto::longrun::v1 as wire;
use proto::longrun::v1::workers_service_server::WorkersService;
use store::HeldLease;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::workers::{self, RunningWorker};

#[tonic::async_trait]
impl WorkersService for Face {
    async fn list_workers(
        &self,
        request: Request<wire::ListWorkersRequest>,
    ) -> Result<Response<wire::ListWorkersResponse>, Status> {
        let Call { caller, .. } = call(&request);
        let list = workers::list(&self.0, &caller).await?;
        let workers = list.workers.into_iter().map(worker).collect();
        Ok(Response::new(wire::ListWorkersResponse { workers, is_complete: list.is_complete }))
    }
}

fn worker(worker: RunningWorker) -> wire::RunningWorker {
    wire::RunningWorker {
        name: worker.name,
        running: worker.running,
        kinds: worker.kinds,
        oldest_started_at: Some(convert::timestamp(worker.oldest_started_at)),
        last_heartbeat_at: Some(convert::timestamp(worker.last_heartbeat_at)),
        attempts: worker.attempts.into_iter().map(attempt).collect(),
    }
}

fn attempt(held: HeldLease) -> wire::RunningAttempt {
    wire::RunningAttempt {
        operation_id: held.operation.to_string(),
        kind: held.kind,
        project_id: held.project_id,
        attempt: held.attempt,
        started_at: Some(convert::timestamp(held.started_at)),
        lease_expires_at: Some(convert::timestamp(held.expires_at)),
    }
}
