//! `grpc.health.v1.Health`: whether the server is ready, by the same check as `/readyz`.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::app::App;
use crate::error::ApiError;
use crate::http::readiness;

/// The time between two checks, however many clients ask: they need no token, and a check writes into the store.
const FRESH: Duration = Duration::from_secs(1);

/// The health of the server, which all its services share.
#[derive(Clone)]
pub(super) struct Checks {
    app: App,
    /// The names that clients may ask for; the empty one means the server.
    services: Arc<BTreeSet<String>>,
    last: Arc<Mutex<Option<(Instant, ServingStatus)>>>,
}

impl Checks {
    pub(super) fn new(app: &App) -> Checks {
        let files = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("the build made the files").file;
        let names = files.iter().flat_map(|file| {
            let name = |name: &str| format!("{}.{name}", file.package());
            file.service.iter().map(move |service| name(service.name()))
        });
        let services = names.chain([String::new()]).collect();
        Checks { app: app.clone(), services: Arc::new(services), last: Arc::default() }
    }

    /// The status of a service by the last check if it is fresh, otherwise by a new one. The end of the server is known
    /// at once.
    async fn status(&self, service: &str) -> ServingStatus {
        if !self.services.contains(service) {
            return ServingStatus::ServiceUnknown;
        }
        if self.app.shutdown.is_cancelled() {
            return ServingStatus::NotServing;
        }
        let mut last = self.last.lock().await;
        if let Some((_, status)) = last.filter(|(at, _)| at.elapsed() < FRESH) {
            return status;
        }
        let status = match readiness(&*self.app.store, &self.app.shutdown).await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        *last = Some((Instant::now(), status));
        status
    }

    /// The next status that differs from the last one that a client got; none once the server ends.
    async fn change(&self, service: &str, told: Option<ServingStatus>) -> Option<ServingStatus> {
        loop {
            let is_ending = self.app.shutdown.is_cancelled();
            let status = self.status(service).await;
            if Some(status) != told {
                return Some(status);
            }
            if is_ending {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(FRESH) => {}
                () = self.app.shutdown.cancelled() => {}
            }
        }
    }
}

#[tonic::async_trait]
impl Health for Checks {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.into_inner().service).await {
            ServingStatus::ServiceUnknown => Err(ApiError::NotFound("service").into()),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (checks, service) = (self.clone(), request.into_inner().service);
        let changes = stream::unfold((checks, service, None), |(checks, service, told)| async move {
            let status = checks.change(&service, told).await?;
            Some((Ok(answer(status)), (checks, service, Some(status))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
