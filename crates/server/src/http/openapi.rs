//! The OpenAPI document, generated from the types next to the handlers, and a page to browse it.
//!
//! `docs/openapi.json` is the document as it was last agreed on; a test compares it with the document that is served.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use axum::routing;
use http::header::CONTENT_TYPE;
use store::Scope;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    attestation, audit, bulk, command, create, evaluate, events, evidence, get, kinds, list, organizations, schedules,
    search, sessions, stats, tokens, views, wait, waivers, watch, work, workers,
};
use crate::error::{ApiError, Status};
use crate::services::ApiSettings;

/// The path of the document.
const DOCUMENT: &str = "/openapi.json";
/// The path of the page that shows it.
const PAGE: &str = "/docs";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "longrun",
        description = "Asynchronous operations: a request for long work is answered at once with an operation, which the service stores, runs and ends exactly once.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "This server.")),
    security(("bearer" = [])),
    modifiers(&Bearer, &Refusals),
    components(schemas(Status)),
    tags(
        (name = "AsyncOperationsService", description = "Service for polling the status of asynchronous operations, and for working with them: list, get, wait, watch, create, cancel, retry, delete."),
        (name = "WorkerService", description = "The protocol of workers: claim operations, extend their leases, settle them."),
        (name = "AgentsService", description = "Evaluations of evidence."),
        (name = "EvidenceService", description = "Pieces of evidence, identified by the digest of their content."),
        (name = "OrganizationsService", description = "The caller's organization; for tokens of the instance, the organizations that they may manage."),
        (name = "TokensService", description = "API tokens."),
        (name = "SchedulesService", description = "Schedules, which create operations at given times."),
        (name = "SessionsService", description = "Sessions of people who signed in."),
        (name = "AuditService", description = "The audit log: who made which calls."),
        (name = "ViewsService", description = "Saved views: filters with a name."),
        (name = "WaiversService", description = "Waivers: policy violations that an organization accepts."),
        (name = "StatsService", description = "Statistics: how many operations there were, and how long they took."),
        (name = "WorkersService", description = "Which workers and servers run operations now."),
        (name = "KindsService", description = "Kinds of operations."),
    ),
    paths(
        list::list, create::create, create::batch_create, bulk::bulk, watch::watch, get::get, wait::wait,
        events::events, command::cancel, command::retry, command::delete, work::claim, work::heartbeat, work::settle,
        search::search, search::count, evaluate::evaluate, attestation::get, evidence::put, evidence::list, evidence::get,
        evidence::delete, organizations::create,
        organizations::list, organizations::get, organizations::pause, organizations::resume,
        organizations::set_limits, organizations::delete, kinds::pause, kinds::resume, tokens::create, tokens::list,
        tokens::get, tokens::revoke, tokens::rotate, sessions::list, sessions::revoke, audit::list, stats::get, workers::list,
        views::create, views::list, views::get, views::update, views::delete, waivers::create,
        waivers::list, waivers::delete, waivers::reevaluate, schedules::create, schedules::list,
        schedules::get, schedules::update, schedules::delete, schedules::pause, schedules::resume, schedules::trigger,
    )
)]
struct Api;

/// The document.
pub fn openapi() -> Document {
    Api::openapi()
}

/// The document and the page. Neither needs a token: they say nothing that is not public.
pub(super) fn routes() -> Router {
    let page = SwaggerUi::new(PAGE).config(Config::new([DOCUMENT]).persist_authorization(false).validator_url("none"));
    Router::from(page).route(DOCUMENT, routing::get(document))
}

/// Generated on the first request: the text has some hundred kilobytes, and takes a few times as much memory while it
/// is generated.
async fn document() -> impl IntoResponse {
    static JSON: LazyLock<Bytes> =
        LazyLock::new(|| openapi().to_json().expect("the document consists of texts, numbers and lists").into());
    ([(CONTENT_TYPE, "application/json")], JSON.clone())
}

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token, lrn_…"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
    }
}

/// The responses that describe refusals, which the calls refer to.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        for (error, description) in refused() {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Status")))
                .example(Some(serde_json::to_value(error.body()).expect("strings and numbers always serialise")));
            let response = ResponseBuilder::new().description(description).content("application/json", content.build());
            components.responses.insert(refusal_name(error.http_status().as_u16()), response.build().into());
        }
    }
}

/// An example of each HTTP status with which calls are refused, and what all such refusals have in common.
fn refused() -> [(ApiError, &'static str); 11] {
    [
        (
            ApiError::field("kind", "must be given"),
            "The request is not valid, or the operation is in a state that does not allow it.",
        ),
        (ApiError::Unauthenticated, "The request has no valid token."),
        (
            ApiError::ScopeMissing(Scope::OperationsWrite),
            "The token lacks a scope, or is not allowed to use the project.",
        ),
        (
            ApiError::NotFound("operation"),
            "It does not exist, or the token may not see it: the answer is the same in both cases.",
        ),
        (
            ApiError::IdempotencyConflict,
            "The request conflicts with the current state: for example, the Idempotency-Key was used for another request, or the unique_key is in use.",
        ),
        (ApiError::TooLarge { limit: ApiSettings::default().body_limit }, "The body is too large."),
        (ApiError::UnsupportedMediaType("application/json"), "The body has the wrong Content-Type."),
        (ApiError::Busy, "Too many requests or too much data at a time; Retry-After says when to try again."),
        (
            ApiError::Internal("an example".into()),
            "An internal error; the server's log has the details under the X-Request-Id of the response.",
        ),
        (ApiError::Overloaded, "The service is unavailable now; Retry-After says when to try again."),
        (ApiError::Timeout("the request"), "The request took too long."),
    ]
}

/// The name of the component that describes refusals with an HTTP status.
fn refusal_name(status: u16) -> String {
    format!("Error{status}")
}

/// What a call says about refusals with an HTTP status.
fn refusal(status: u16) -> (String, RefOr<Response>) {
    (status.to_string(), Ref::from_response_name(refusal_name(status)).into())
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $statuses:expr;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                $statuses.into_iter().map(refusal).collect()
            }
        }
    )*};
}

refusals! {
    /// The refusals of a call that lists things.
    ListErrors: [400, 401, 403, 429, 500, 503, 504];
    /// The refusals of a call that lists things of a named organization, which may not exist for the caller.
    ListOfErrors: [400, 401, 403, 404, 429, 500, 503, 504];
    /// The refusals of a call about one thing.
    ItemErrors: [400, 401, 403, 404, 429, 500, 503, 504];
    /// The refusals of a call with a body that creates something.
    CreateErrors: [400, 401, 403, 409, 413, 415, 429, 500, 503, 504];
    /// The refusals of a call with a body that updates one thing.
    UpdateErrors: [400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504];
    /// The refusals of a call about one thing that may create another one.
    RetryErrors: [400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504];
    /// The refusals of a call with a body that changes one thing and cannot conflict.
    ChangeErrors: [400, 401, 403, 404, 413, 415, 429, 500, 503, 504];
    /// The refusals of a worker's call.
    WorkErrors: [400, 401, 403, 413, 415, 429, 500, 503, 504];
}
