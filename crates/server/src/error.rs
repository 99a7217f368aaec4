//! The one error of the HTTP layer and its form on the wire.
//!
//! # Design
//! - **Where errors come from.** Handlers and extractors make [`ApiError`]s; errors of the store and of the content
//!   store are converted to one here, by `From`. Nothing else decides a status code. When hyper refuses something
//!   before a request exists (a broken request line, headers that are too large), the response has no body.
//! - **What a client may rely on.** The body is `google.rpc.Status` as proto3 JSON. `code` and the HTTP status follow
//!   from the variant. `details` always holds an `ErrorInfo` whose `reason` is stable and whose `domain` is `longrun`.
//!   If fields are not valid, it has a `BadRequest` with one violation for each, all at once; if a later try may
//!   succeed, a `RetryInfo` that agrees with the `Retry-After` header. `message` is for people and may change.
//! - **What is logged and never sent.** The causes of [`ApiError::Internal`] and [`ApiError::Unavailable`]: they travel
//!   together with the response ([`Cause`]) to the access log, which writes them with the request id.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use operations::{Refusal, Violation};
use serde::Serialize;
use store::{ContentError, DeletionError, Exceeded, ScheduleRefusal, Scope, StoreError, TokenError};
use utoipa::ToSchema;

/// When a client may try again at a busy or unavailable server.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// When a claim for which there was no slot to wait may try again: by then the waits of other claims have ended.
const WAITING_DELAY: Duration = Duration::from_secs(5);
/// Violations named in `message`; the others are in the details only.
const VIOLATIONS_IN_MESSAGE: usize = 5;

/// Violations in the details; a small request must not cause a huge answer.
const VIOLATIONS_IN_DETAILS: usize = 100;

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Parameters or fields are not valid; never empty.
    #[error("{}", summary(.0))]
    Invalid(Vec<Violation>),
    /// The request cannot be read: broken JSON, a broken header, a body that ended early.
    #[error("{0}")]
    Malformed(String),
    /// No valid token. One message for all causes.
    #[error("a valid API token is needed: send the header Authorization: Bearer lrn_…")]
    Unauthenticated,
    /// The cookie of a session came without the other headers, which a page of another site can cause.
    #[error(
        "with a session, a call that changes something needs the header Origin with this server's origin, and the header X-CSRF-Token with the token that GET /auth/session returns"
    )]
    CrossSite,
    /// A form did not send the token of its page.
    #[error("the form was not sent from a page of this session; open the page again and repeat what you did")]
    StaleForm,
    /// A person could not be signed in.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// The token lacks a scope.
    #[error("the token lacks the scope {0}")]
    ScopeMissing(Scope),
    /// The token is limited to projects and this is not one of them.
    #[error("{place}{} the token is limited to the projects: {allowed}", project_problem(*.given))]
    ProjectDenied {
        /// Where in the body; empty, or `operations[3].`.
        place: String,
        /// Whether the request named a project.
        given: bool,
        /// The projects that the token is limited to.
        allowed: String,
    },
    /// The call is only for tokens that manage organizations.
    #[error("this call is for tokens of the instance, which are created by `longrun token create --instance`")]
    OfInstance,
    /// The call concerns the whole organization, and the token is limited to projects.
    #[error("this call concerns the whole organization, and the token is limited to projects")]
    WholeOrganization,
    /// It does not exist, or the caller may not see it: the error is the same in both cases.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The operation has no signed result.
    #[error("this operation has no attestation: {0}")]
    NoAttestation(String),
    /// The stored output of an evaluation is not the one that was signed.
    #[error(
        "the output of this operation differs from the one that was signed when the evaluation ended: do not rely on it"
    )]
    NotAsSigned,
    /// The path exists, the method does not; the router adds `Allow`.
    #[error("the method is not allowed here; the header Allow lists those that are")]
    MethodNotAllowed,
    /// The idempotency key belongs to another request.
    #[error("the Idempotency-Key was used for another request within the last 24 hours; use a new one")]
    IdempotencyConflict,
    /// The unique key is in use by an operation that has not ended: one that the caller may not see, or another one
    /// than the operation to retry.
    #[error(
        "the unique_key is in use by another operation that has not ended: wait until it has ended, or cancel it if you may see it"
    )]
    UniqueKeyInUse,
    /// The event to resume after is unknown, or the changes after it are no longer stored.
    #[error(
        "the events after this Last-Event-ID are no longer stored: watch without Last-Event-ID, then list the operations"
    )]
    EventUnknown,
    /// The operation that the idempotency key created was deleted.
    #[error(
        "the operation that was created with this Idempotency-Key has been deleted; use a new key to create another one"
    )]
    IdempotencyGone,
    /// The state of the operation does not allow it.
    #[error("the operation is {status}; {allowed}")]
    WrongStatus {
        /// The current status.
        status: operations::Status,
        /// Which statuses allow it.
        allowed: &'static str,
    },
    /// More or fewer operations match than the caller of a bulk action expects.
    #[error(
        "{now} operations match now, and {expected} were expected: check them again, and call with expected_count {now}"
    )]
    CountDiffers {
        /// How many match.
        now: u64,
        /// How many were expected to match.
        expected: u64,
    },
    /// A token that is revoked or has expired cannot be replaced.
    #[error("the token is revoked or has expired, so that it cannot be replaced; create a new one")]
    TokenEnded,
    /// An organization with this name exists already.
    #[error("an organization with this name exists already")]
    OrganizationExists,
    /// The organization is being deleted.
    #[error("the organization is being deleted; DELETE continues the deletion")]
    OrganizationEnding,
    /// A call about a schedule was refused.
    #[error("{0}")]
    Schedule(ScheduleRefusal),
    /// The organization has as much evidence as it may have.
    #[error(
        "the organization may store {limit} bytes of evidence, stores {used}, and this evidence has {size}: delete some that is not needed"
    )]
    EvidenceFull {
        /// Bytes.
        limit: u64,
        /// Bytes.
        used: u64,
        /// Bytes.
        size: u64,
    },
    /// The evidence cannot be removed now.
    #[error("{}", store::EvidenceKept::InUse)]
    EvidenceInUse,
    /// Everything that the organization has would be deleted with it.
    #[error(
        "the organization has {what}; wait until they are removed, or delete the organization with all that it has by force=true"
    )]
    OrganizationNotEmpty {
        /// What it has.
        what: String,
    },
    /// The body is too large.
    #[error("the body is larger than {limit} bytes, the maximum of this call")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The body has another type than the one that the call accepts.
    #[error("the body must be sent as Content-Type: {0}, without Content-Encoding")]
    UnsupportedMediaType(&'static str),
    /// The organization has, or creates, as much as it may.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Too many large bodies at a time.
    #[error("too many large bodies are being processed; try again later")]
    Busy,
    /// Too many claims wait.
    #[error(
        "too many claims of this token or of its organization wait; try again later, with fewer claims or with the same kinds"
    )]
    TooManyWaiting,
    /// Too many unknown tokens came from the address of the client.
    #[error("too many unknown tokens came from this address; try again later")]
    TooManyUnknownTokens {
        /// When it may try the next.
        retry_after: Duration,
    },
    /// The token or its organization makes more calls than it may.
    #[error(
        "the {of} may make {} calls per second, and {} at once after a pause: wait as long as Retry-After says",
        rate.per_second, rate.burst
    )]
    TooManyCalls {
        /// Whose limit it is: `token` or `organization`.
        of: &'static str,
        /// The limit.
        rate: store::Rate,
        /// Until another call is allowed.
        wait: Duration,
    },
    /// The server is working on as many calls as it can.
    #[error("the server is overloaded; try again later")]
    Overloaded,
    /// Too many clients watch.
    #[error("too many clients watch at this server; try again later, or poll the list")]
    TooManyWatchers,
    /// The store is not available now; the cause is logged.
    #[error("the service is unavailable now; try again later")]
    Unavailable(#[source] BoxError),
    /// The answer to a probe of readiness, which names what is wrong: only operators reach it.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Something took too long; the text says what.
    #[error("{0} took too long")]
    Timeout(&'static str),
    /// A defect or a damaged store; the cause is logged.
    #[error("internal error; the server's log has the details under the X-Request-Id of this response")]
    Internal(#[source] BoxError),
}

/// The domain of an `ErrorInfo`.
pub(crate) const DOMAIN: &str = "longrun";

/// What every interface reports about an error, in addition to its message.
pub(crate) struct Refused<'e> {
    /// `google.rpc.Code`.
    pub(crate) code: u8,
    /// Stable.
    pub(crate) reason: &'static str,
    pub(crate) metadata: BTreeMap<&'static str, String>,
    /// When a retry may succeed.
    pub(crate) retry_delay: Option<Duration>,
    /// The fields that are not valid; not more than an answer should have.
    pub(crate) violations: &'e [Violation],
}

/// Why a person was not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The provider cannot be reached, or its answer cannot be used; the cause is logged.
    #[error(
        "the identity provider did not answer as it should; try again later, and ask the operator for help if this continues"
    )]
    Provider(#[source] BoxError),
    /// The answer of the provider belongs to no sign-in of this browser.
    #[error("this sign-in took too long, was started in another browser, or has ended already; start again")]
    Stale,
    /// The provider refused the sign-in.
    #[error("the identity provider refused the sign-in: {error:?} {why}")]
    Refused {
        /// The error code of the provider.
        error: String,
        /// The description of the error; may be empty.
        why: String,
    },
    /// The provider knows the person, but this server grants no access.
    #[error("the account is known to the identity provider, but may not use this server: {0}; ask its operator")]
    NotAllowed(String),
}

/// Any error, as a cause.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The cause that the access log writes and the client does not see; an extension of the response.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

impl ApiError {
    /// An error about one field.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> ApiError {
        ApiError::Invalid(vec![Violation::new(field, description)])
    }

    /// What every interface reports about it.
    pub(crate) fn refused(&self) -> Refused<'_> {
        let (_, code, reason) = self.class();
        let violations = match self {
            ApiError::Invalid(violations) => &violations[..violations.len().min(VIOLATIONS_IN_DETAILS)],
            _ => &[],
        };
        Refused { code, reason, metadata: self.metadata(), retry_delay: self.retry_delay(), violations }
    }

    /// HTTP status, `google.rpc.Code` and `ErrorInfo.reason`.
    fn class(&self) -> (StatusCode, u8, &'static str) {
        match self {
            ApiError::Invalid(_) => (StatusCode::BAD_REQUEST, 3, "INVALID_FIELDS"),
            ApiError::Malformed(_) => (StatusCode::BAD_REQUEST, 3, "MALFORMED_REQUEST"),
            ApiError::Unauthenticated => (StatusCode::UNAUTHORIZED, 16, "TOKEN_INVALID"),
            ApiError::CrossSite | ApiError::StaleForm => (StatusCode::FORBIDDEN, 7, "CSRF_TOKEN_INVALID"),
            ApiError::SignIn(SignInError::Provider(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, 14, "IDENTITY_PROVIDER_UNAVAILABLE")
            }
            ApiError::SignIn(SignInError::Stale) => (StatusCode::BAD_REQUEST, 9, "SIGN_IN_EXPIRED"),
            ApiError::SignIn(SignInError::Refused { .. }) => (StatusCode::FORBIDDEN, 7, "SIGN_IN_REFUSED"),
            ApiError::SignIn(SignInError::NotAllowed(_)) => (StatusCode::FORBIDDEN, 7, "ACCOUNT_NOT_ALLOWED"),
            ApiError::ScopeMissing(_) => (StatusCode::FORBIDDEN, 7, "SCOPE_MISSING"),
            ApiError::ProjectDenied { .. } => (StatusCode::FORBIDDEN, 7, "PERMISSION_DENIED"),
            ApiError::OfInstance => (StatusCode::FORBIDDEN, 7, "PERMISSION_DENIED"),
            ApiError::WholeOrganization => (StatusCode::FORBIDDEN, 7, "PERMISSION_DENIED"),
            ApiError::NotFound(_) => (StatusCode::NOT_FOUND, 5, "NOT_FOUND"),
            ApiError::NoAttestation(_) => (StatusCode::NOT_FOUND, 5, "ATTESTATION_MISSING"),
            ApiError::NotAsSigned => (StatusCode::INTERNAL_SERVER_ERROR, 15, "ATTESTATION_BROKEN"),
            // 12 is UNIMPLEMENTED, which grpc also answers for a method that a service does not have.
            ApiError::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, 12, "METHOD_NOT_ALLOWED"),
            ApiError::IdempotencyConflict => (StatusCode::CONFLICT, 6, "IDEMPOTENCY_KEY_REUSED"),
            ApiError::UniqueKeyInUse => (StatusCode::CONFLICT, 6, "UNIQUE_KEY_IN_USE"),
            ApiError::EventUnknown => (StatusCode::BAD_REQUEST, 11, "EVENT_ID_UNKNOWN"),
            ApiError::IdempotencyGone => (StatusCode::CONFLICT, 6, "IDEMPOTENT_OPERATION_DELETED"),
            ApiError::WrongStatus { .. } => (StatusCode::BAD_REQUEST, 9, "WRONG_STATUS"),
            ApiError::CountDiffers { .. } => (StatusCode::CONFLICT, 10, "COUNT_DIFFERS"),
            ApiError::TokenEnded => (StatusCode::BAD_REQUEST, 9, "TOKEN_ENDED"),
            ApiError::OrganizationExists => (StatusCode::CONFLICT, 6, "ORGANIZATION_EXISTS"),
            ApiError::OrganizationEnding => (StatusCode::BAD_REQUEST, 9, "ORGANIZATION_BEING_DELETED"),
            ApiError::Schedule(refusal) => match refusal {
                ScheduleRefusal::NotFound => (StatusCode::NOT_FOUND, 5, "NOT_FOUND"),
                ScheduleRefusal::NameTaken => (StatusCode::CONFLICT, 6, "SCHEDULE_EXISTS"),
                ScheduleRefusal::Full { .. } => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MANY_SCHEDULES"),
                ScheduleRefusal::Changed => (StatusCode::CONFLICT, 10, "SCHEDULE_CHANGED"),
                ScheduleRefusal::StillRunning(_) => (StatusCode::BAD_REQUEST, 9, "SCHEDULE_STILL_RUNNING"),
                ScheduleRefusal::Invalid(_) => (StatusCode::BAD_REQUEST, 9, "SCHEDULE_INVALID"),
            },
            ApiError::EvidenceFull { .. } => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MUCH_EVIDENCE"),
            ApiError::EvidenceInUse => (StatusCode::BAD_REQUEST, 9, "EVIDENCE_IN_USE"),
            ApiError::OrganizationNotEmpty { .. } => (StatusCode::BAD_REQUEST, 9, "ORGANIZATION_NOT_EMPTY"),
            ApiError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, 3, "BODY_TOO_LARGE"),
            ApiError::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 3, "UNSUPPORTED_MEDIA_TYPE"),
            ApiError::Exceeded(Exceeded::Pending { .. }) => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MANY_PENDING"),
            ApiError::Exceeded(Exceeded::Rate { .. }) => (StatusCode::TOO_MANY_REQUESTS, 8, "RATE_EXCEEDED"),
            ApiError::Busy => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MANY_LARGE_BODIES"),
            ApiError::TooManyWaiting => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MANY_WAITING_CLAIMS"),
            ApiError::TooManyUnknownTokens { .. } => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MANY_UNKNOWN_TOKENS"),
            ApiError::TooManyCalls { .. } => (StatusCode::TOO_MANY_REQUESTS, 8, "CALL_RATE_EXCEEDED"),
            ApiError::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, 14, "OVERLOADED"),
            ApiError::TooManyWatchers => (StatusCode::TOO_MANY_REQUESTS, 8, "TOO_MANY_WATCHERS"),
            ApiError::Unavailable(_) | ApiError::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, 14, "UNAVAILABLE"),
            ApiError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, 4, "DEADLINE_EXCEEDED"),
            ApiError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, 13, "INTERNAL"),
        }
    }

    /// The `google.rpc.Code`.
    pub(crate) fn code(&self) -> u8 {
        self.class().1
    }

    /// Whether the caller caused it, and not a failure of the service.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self.class().0.as_u16(), 500..)
    }

    fn retry_delay(&self) -> Option<Duration> {
        match self {
            ApiError::Busy
            | ApiError::Overloaded
            | ApiError::TooManyWatchers
            | ApiError::Unavailable(_)
            | ApiError::NotReady(_) => Some(RETRY_DELAY),
            ApiError::TooManyCalls { wait, .. } => Some(whole_seconds(*wait)),
            ApiError::TooManyWaiting | ApiError::SignIn(SignInError::Provider(_)) => Some(WAITING_DELAY),
            ApiError::TooManyUnknownTokens { retry_after } => Some(whole_seconds(*retry_after)),
            ApiError::Exceeded(exceeded) => Some(whole_seconds(exceeded.retry_after())),
            _ => None,
        }
    }

    fn metadata(&self) -> BTreeMap<&'static str, String> {
        match self {
            ApiError::ScopeMissing(scope) => BTreeMap::from([("scope", scope.to_string())]),
            ApiError::ProjectDenied { allowed, .. } => BTreeMap::from([("projects", allowed.clone())]),
            ApiError::CountDiffers { now, .. } => BTreeMap::from([("count", now.to_string())]),
            ApiError::EvidenceFull { limit, used, size } => {
                BTreeMap::from([("limit", limit.to_string()), ("used", used.to_string()), ("size", size.to_string())])
            }
            ApiError::TooLarge { limit } => BTreeMap::from([("limit", limit.to_string())]),
            ApiError::WrongStatus { status, .. } => BTreeMap::from([("status", status.to_string())]),
            ApiError::Exceeded(Exceeded::Pending { limit }) => BTreeMap::from([("limit", limit.to_string())]),
            ApiError::Schedule(ScheduleRefusal::Full { limit }) => BTreeMap::from([("limit", limit.to_string())]),
            ApiError::Schedule(ScheduleRefusal::StillRunning(id)) => BTreeMap::from([("operation", id.to_string())]),
            ApiError::TooManyCalls { of, rate, .. } => BTreeMap::from([
                ("of", (*of).to_owned()),
                ("limit", rate.per_second.to_string()),
                ("burst", rate.burst.to_string()),
            ]),
            ApiError::Exceeded(Exceeded::Rate { rate, .. }) => {
                BTreeMap::from([("limit", rate.per_second.to_string()), ("burst", rate.burst.to_string())])
            }
            _ => BTreeMap::new(),
        }
    }
}

fn summary(violations: &[Violation]) -> String {
    let mut shown: Vec<String> = violations.iter().take(VIOLATIONS_IN_MESSAGE).map(ToString::to_string).collect();
    if violations.len() > VIOLATIONS_IN_MESSAGE {
        shown.push(format!("and {} more", violations.len() - VIOLATIONS_IN_MESSAGE));
    }
    shown.join("; ")
}

/// The header has whole seconds: rounded up, so that the client does not try too early.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
}

fn project_problem(given: bool) -> &'static str {
    if given { "project_id is not one of the token's projects:" } else { "project_id is missing:" }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::IdempotencyConflict => ApiError::IdempotencyConflict,
            StoreError::UniqueKeyInUse => ApiError::UniqueKeyInUse,
            StoreError::PositionUnknown => ApiError::EventUnknown,
            StoreError::IdempotencyGone => ApiError::IdempotencyGone,
            // Its tokens are revoked; this one was looked up a moment earlier.
            StoreError::OrganizationGone => ApiError::Unauthenticated,
            StoreError::Exceeded(exceeded) => ApiError::Exceeded(exceeded),
            StoreError::Unavailable(_) => ApiError::Unavailable(error.into()),
            StoreError::Missing(_) | StoreError::Unusable(_) | StoreError::Database(_) | StoreError::Embedded(_) => {
                ApiError::Internal(error.into())
            }
        }
    }
}

impl From<ScheduleRefusal> for ApiError {
    fn from(refusal: ScheduleRefusal) -> ApiError {
        match refusal {
            ScheduleRefusal::NotFound => ApiError::NotFound("schedule"),
            refusal => ApiError::Schedule(refusal),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> ApiError {
        match error {
            TokenError::Invalid(violations) => ApiError::Invalid(violations),
            TokenError::NotFound => ApiError::NotFound("token"),
            TokenError::NoLongerValid => ApiError::TokenEnded,
            TokenError::NoOrganization => ApiError::NotFound("organization"),
            TokenError::Store(error) => error.into(),
        }
    }
}

impl From<ContentError> for ApiError {
    fn from(error: ContentError) -> ApiError {
        match error {
            ContentError::TooLarge { limit } => ApiError::TooLarge { limit },
            ContentError::Receive(_) => ApiError::Malformed(error.to_string()),
            error if error.may_pass() => ApiError::Unavailable(error.into()),
            error => ApiError::Internal(error.into()),
        }
    }
}

impl From<DeletionError> for ApiError {
    fn from(error: DeletionError) -> ApiError {
        match error {
            DeletionError::Store(error) => error.into(),
            DeletionError::Content(error) => error.into(),
        }
    }
}

/// The same model for one row of an answer whose other rows took effect.
#[derive(Serialize)]
pub(crate) struct RowStatus(Status<'static>);

/// The code and the stable reason of a row's refusal.
pub(crate) fn row_class(refusal: Refusal) -> (u8, &'static str) {
    match refusal {
        Refusal::StaleLease => (10, "STALE_LEASE"),
        Refusal::NotDue | Refusal::WrongStatus(_) => (10, "WRONG_STATUS"),
        Refusal::UniqueKeyInUse => (10, "UNIQUE_KEY_IN_USE"),
        Refusal::Unavailable => (14, "UNAVAILABLE"),
    }
}

impl From<Refusal> for RowStatus {
    fn from(refusal: Refusal) -> RowStatus {
        let (code, reason) = row_class(refusal);
        let details = vec![ErrorInfo::detail(reason, BTreeMap::new())];
        RowStatus(Status { code, message: refusal.to_string(), details })
    }
}

/// Why a request was refused: `google.rpc.Status`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status<'a> {
    /// The error code, a number of `google.rpc.Code`.
    code: u8,
    /// A message for people; it may change.
    message: String,
    /// Details for programs: always an ErrorInfo with a stable reason; where they apply, also a BadRequest with the
    /// fields that are not valid, and a RetryInfo.
    details: Vec<Detail<'a>>,
}

/// The details of `google/rpc/error_details.proto`, spelt as proto3 JSON spells them.
///
/// Each is a struct that names its type and not a variant of a tagged enum, because client generators need a name for
/// each.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Detail<'a> {
    BadRequest(BadRequest<'a>),
    ErrorInfo(ErrorInfo),
    RetryInfo(RetryInfo),
}

/// Everything that is wrong with the fields of the request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BadRequest<'a> {
    /// `type.googleapis.com/google.rpc.BadRequest`.
    #[serde(rename = "@type")]
    type_url: &'static str,
    /// One violation for each field that is not valid.
    field_violations: Vec<FieldViolation<'a>>,
}

/// Identifies the error.
#[derive(Serialize, ToSchema)]
struct ErrorInfo {
    /// `type.googleapis.com/google.rpc.ErrorInfo`.
    #[serde(rename = "@type")]
    type_url: &'static str,
    /// A stable name, such as INVALID_FIELDS.
    reason: &'static str,
    /// Always longrun.
    domain: &'static str,
    /// Values for programs, such as a limit.
    metadata: BTreeMap<&'static str, String>,
}

impl ErrorInfo {
    fn detail<'a>(reason: &'static str, metadata: BTreeMap<&'static str, String>) -> Detail<'a> {
        let type_url = "type.googleapis.com/google.rpc.ErrorInfo";
        Detail::ErrorInfo(ErrorInfo { type_url, reason, domain: DOMAIN, metadata })
    }
}

/// When to try again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RetryInfo {
    /// `type.googleapis.com/google.rpc.RetryInfo`.
    #[serde(rename = "@type")]
    type_url: &'static str,
    /// The delay in seconds with the suffix s.
    retry_delay: String,
}

/// A field that is not valid.
#[derive(Serialize, ToSchema)]
struct FieldViolation<'a> {
    /// Its path in the request.
    field: &'a str,
    /// What is wrong with the field, or what it must be.
    description: &'a str,
}

impl ApiError {
    /// The HTTP status.
    pub(crate) fn http_status(&self) -> StatusCode {
        self.class().0
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> Status<'_> {
        let Refused { code, reason, metadata, retry_delay, violations } = self.refused();
        let mut details = vec![ErrorInfo::detail(reason, metadata)];
        if matches!(self, ApiError::Invalid(_)) {
            let shown = violations.iter().map(|v| FieldViolation { field: &v.field, description: &v.description });
            let type_url = "type.googleapis.com/google.rpc.BadRequest";
            details.push(Detail::BadRequest(BadRequest { type_url, field_violations: shown.collect() }));
        }
        if let Some(delay) = retry_delay {
            let type_url = "type.googleapis.com/google.rpc.RetryInfo";
            details.push(Detail::RetryInfo(RetryInfo { type_url, retry_delay: format!("{}s", delay.as_secs()) }));
        }
        Status { code, message: self.to_string(), details }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry_delay) = (self.http_status(), self.retry_delay());
        let body = serde_json::to_vec(&self.body()).expect("strings and numbers always serialise");
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(delay) = retry_delay {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(delay.as_secs()));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        match &self {
            ApiError::Unavailable(cause)
            | ApiError::Internal(cause)
            | ApiError::SignIn(SignInError::Provider(cause)) => {
                response.extensions_mut().insert(Cause(chain(cause.as_ref())));
            }
            ApiError::NotReady(cause) => {
                response.extensions_mut().insert(Cause(cause.clone()));
            }
            _ => {}
        }
        response
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
