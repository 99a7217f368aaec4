//! The same calls over gRPC, on the port of HTTP: each method reads its message into the struct of a call, makes the
//! call, and writes the answer ([`crate::calls`]).
//!
//! The checks of every method are in [`gate`]: the token and its scopes, the deadline, the bounds of the body. Health
//! and reflection need no token, like `/docs`.

mod agents;
mod audit;
mod bounds;
mod budget;
mod convert;
mod evidence;
pub(crate) mod fuzzing;
mod gate;
mod health;
mod longrunning;
mod needs;
mod operations;
mod organizations;
mod schedules;
mod sessions;
mod stats;
mod status;
mod tokens;
mod views;
mod waivers;
mod worker;
mod workers;

use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{from_fn_with_state, map_request_with_state};
use futures_util::{Stream, StreamExt, stream};
use proto::google::longrunning::operations_server::OperationsServer;
use proto::longrun::v1::agents_service_server::AgentsServiceServer;
use proto::longrun::v1::async_operations_service_server::AsyncOperationsServiceServer;
use proto::longrun::v1::audit_service_server::AuditServiceServer;
use proto::longrun::v1::evidence_service_server::EvidenceServiceServer;
use proto::longrun::v1::kinds_service_server::KindsServiceServer;
use proto::longrun::v1::organizations_service_server::OrganizationsServiceServer;
use proto::longrun::v1::schedules_service_server::SchedulesServiceServer;
use proto::longrun::v1::sessions_service_server::SessionsServiceServer;
use proto::longrun::v1::stats_service_server::StatsServiceServer;
use proto::longrun::v1::tokens_service_server::TokensServiceServer;
use proto::longrun::v1::views_service_server::ViewsServiceServer;
use proto::longrun::v1::waivers_service_server::WaiversServiceServer;
use proto::longrun::v1::worker_service_server::WorkerServiceServer;
use proto::longrun::v1::workers_service_server::WorkersServiceServer;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;

use self::health::Checks;
pub(crate) use self::needs::is_method;
pub(crate) use self::status::status_over_http;

/// The time that is reserved for the answer to arrive, when a call waits until shortly before its deadline.
const ANSWERING: Duration = Duration::from_millis(50);

/// The longest message to health and reflection: names of services, symbols and files. Anybody may send any number of
/// them at a time.
const MAX_OPEN_BYTES: usize = 4 * 1024;

/// The end of the template of a service's route: each of its methods, and every other name.
pub(crate) const ANY_METHOD: &str = "/{*rest}";

/// What a method gets from the gate: the caller, and the deadline of the answer.
#[derive(Clone)]
struct Call {
    caller: Caller,
    deadline: Instant,
}

/// An answer that is a stream.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Call {
    /// A stream that ends with an error at the deadline, which says that `what` took too long.
    fn until_deadline<T: Send + 'static>(
        &self,
        what: &'static str,
        answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let deadline = self.deadline;
        Box::pin(stream::unfold(Some(Box::pin(answers)), move |answers| async move {
            let mut answers = answers?;
            // A client may have paused for longer, and what is there already is taken whatever the time.
            let is_in_time = Instant::now() < deadline;
            match timeout_at(deadline, answers.next()).await {
                Ok(None) => None,
                Ok(Some(answer)) if is_in_time => Some((answer, Some(answers))),
                _ => Some((Err(ApiError::Timeout(what).into()), None)),
            }
        }))
    }

    /// The requested wait, shortened so that the answer still arrives before the deadline.
    fn within_deadline(&self, wish: Duration) -> Duration {
        wish.min(self.deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWERING))
    }
}

/// The call that a message belongs to.
fn call<T>(request: &tonic::Request<T>) -> Call {
    request.extensions().get::<Call>().cloned().expect("the gate lets no request through without it")
}

/// The services as routes.
pub(crate) fn routes(app: &App) -> Router {
    const MADE: &str = "the build made the files";
    let face = Face(app.clone());
    // The gate has bounded each body already, and how many elements it has.
    let most = usize::MAX;
    let services = Routes::new(AsyncOperationsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(WorkerServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(WorkersServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(StatsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(ViewsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(WaiversServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(SchedulesServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(AgentsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(EvidenceServiceServer::new(face.clone()).max_decoding_message_size(evidence::MAX_PART_BYTES))
        .add_service(TokensServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(OrganizationsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(KindsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(SessionsServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(AuditServiceServer::new(face.clone()).max_decoding_message_size(most))
        .add_service(OperationsServer::new(face))
        .into_axum_router()
        .layer(from_fn_with_state(app.clone(), gate::gate));
    // Older clients know only the first version of reflection.
    let reflection = Routes::new(reflection().build_v1().expect(MADE).max_decoding_message_size(MAX_OPEN_BYTES))
        .add_service(reflection().build_v1alpha().expect(MADE).max_decoding_message_size(MAX_OPEN_BYTES))
        .into_axum_router()
        .layer(map_request_with_state(app.shutdown.clone(), ending));
    let health =
        Routes::new(HealthServer::new(Checks::new(app)).max_decoding_message_size(MAX_OPEN_BYTES)).into_axum_router();
    // All would answer unknown paths, which the router that they are merged into must answer.
    services.reset_fallback().merge(reflection.reset_fallback()).merge(health.reset_fallback())
}

/// A request that ends with the server, which would wait for a client that does not end it.
async fn ending(State(shutdown): State<CancellationToken>, request: Request) -> Request {
    request.map(|body| Body::from_stream(body.into_data_stream().take_until(shutdown.cancelled_owned())))
}

/// The files that reflection shows.
///
/// Not inlined, and a builder for each version: optimising compilers from Rust 1.77 to 1.96 may take the memory of a
/// builder that was moved away for the next one when they see both begin
/// (<https://github.com/rust-lang/rust/issues/155241>).
#[inline(never)]
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Implements the services.
#[derive(Clone)]
struct Face(App);
