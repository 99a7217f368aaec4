//! `/v1/evidence`: pieces of evidence, identified by the digest of their content.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use store::EvidenceRecord;
use utoipa::{IntoParams, ToSchema};

use super::body::{self, Pieces};
use super::caller::{Caller, Querying};
use super::if_none_match::IfNoneMatch;
use super::openapi::{CreateErrors, ItemErrors, ListErrors};
use crate::app::App;
use crate::calls::evidence::{self, ListEvidence, ListedPiece};
use crate::calls::page::{PageQuery, Paged};
use crate::error::ApiError;
use crate::render::{self, to_json};
use crate::strict;

/// A piece of evidence that is stored.
#[derive(Serialize, ToSchema)]
#[schema(as = Evidence)]
pub(super) struct WireEvidence<'a> {
    /// The digest of its content, which identifies it.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    digest: String,
    /// Its length in bytes.
    size: u64,
    /// The detected material type; empty when none was detected.
    #[schema(example = "SBOM_CYCLONEDX_JSON")]
    kind: &'a str,
    /// The first name that it was stored or evaluated with; left out when it has no name.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

/// A piece of evidence in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedEvidence)]
pub(super) struct WireListed<'a> {
    /// The digest of its content, which identifies it.
    digest: String,
    /// Its length in bytes.
    size: u64,
    /// The detected material type; empty when none was detected.
    kind: &'a str,
    /// The first name that it was stored or evaluated with; may be empty.
    name: &'a str,
    /// When it was first stored.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last stored or evaluated, accurate to about an hour.
    #[schema(format = DateTime)]
    last_used_at: String,
    /// The newest operation about it; left out when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WireLastOperation, required = false)]
    last_operation: Option<WireLastOperation>,
}

/// The newest operation about a piece of evidence.
#[derive(Serialize, ToSchema)]
#[schema(as = EvidenceLastOperation)]
pub(super) struct WireLastOperation {
    /// Its id.
    id: String,
    /// Its status.
    status: &'static str,
    /// When it ended; left out until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// passed, failed or skipped; left out when the operation is not an ended evaluation, or its output is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
}

/// A page of evidence.
#[derive(Serialize, ToSchema)]
pub(super) struct EvidenceList<'a> {
    /// Newest first.
    evidence: Vec<WireListed<'a>>,
    /// The token that requests the next page; empty on the last page.
    next_page_token: String,
    /// How many pieces of evidence the organization has in total, whatever the page shows.
    total_count: u64,
    /// The size of all its evidence in bytes.
    total_bytes: u64,
    /// The limit on that size in bytes; 0 for no limit.
    max_bytes: u64,
}

/// `{}`.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedEvidence {}

/// The parameters of a storing call.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// A name for people and for policies that select by name; if the evidence has a name already, it keeps that one.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    name: String,
}

impl<'a> From<&'a ListedPiece> for WireListed<'a> {
    fn from(ListedPiece { record, last }: &'a ListedPiece) -> WireListed<'a> {
        WireListed {
            digest: record.digest.to_string(),
            size: record.size,
            kind: &record.kind,
            name: &record.name,
            created_at: record.created_at.to_string(),
            last_used_at: record.last_used_at.to_string(),
            last_operation: last.as_ref().map(|last| WireLastOperation {
                id: last.id.to_string(),
                status: last.status.wire_name(),
                finished_at: last.finished_at.map(|at| at.to_string()),
                verdict: last.verdict,
            }),
        }
    }
}

/// The raw bytes of a piece of evidence.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code)]
struct RawBytes(Vec<u8>);

/// Store evidence
///
/// The body is the raw content, whatever its Content-Type.
#[utoipa::path(post, path = "/v1/evidence", operation_id = "EvidenceService_PutEvidence", tag = "EvidenceService",
    params(PutQuery), request_body(content = inline(RawBytes), content_type = "application/octet-stream"),
    responses((status = 200, description = "The stored evidence.", body = WireEvidence), CreateErrors))]
pub(super) async fn put(
    State(app): State<App>,
    Querying(caller, query): Querying,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    evidence::may_put(&caller)?;
    let (PutQuery { name }, found) = strict::query::<PutQuery>(&query)?.into_parts();
    found.none()?;
    if body::is_encoded(&headers) {
        return Err(ApiError::UnsupportedMediaType("application/octet-stream"));
    }
    body::check_length(&headers, app.content.limit())?;
    // An upload takes as long as the client's network needs, and is counted among the large bodies.
    caller.step_aside();
    let mut pieces = Pieces::new(body, &app.settings);
    let stored = evidence::put(&app, &caller, &mut pieces, &name).await;
    // Why the body broke off says more than that it did.
    let record = stored.map_err(|error| pieces.broken.map_or(error, ApiError::from))?;
    let EvidenceRecord { digest, size, kind, name, .. } = &record;
    Ok(render::response(to_json(&WireEvidence { digest: digest.to_string(), size: *size, kind, name })))
}

/// List evidence
///
/// Returns one page of the stored evidence, newest first, each piece with the newest operation about it. Evidence
/// belongs to its organization as a whole: a token that is limited to projects is refused.
#[utoipa::path(get, path = "/v1/evidence", operation_id = "EvidenceService_ListEvidence", tag = "EvidenceService",
    params(PageQuery, ListEvidence), responses((status = 200, description = "The page.", body = EvidenceList), ListErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = Paged::<ListEvidence>::from_query(&query)?;
    let page = evidence::list(&app, &caller, asked).await?;
    let evidence = page.evidence.iter().map(WireListed::from).collect();
    Ok(render::response(to_json(&EvidenceList {
        evidence,
        next_page_token: page.next.unwrap_or_default(),
        total_count: page.totals.pieces,
        total_bytes: page.totals.bytes,
        max_bytes: page.limit.unwrap_or(0),
    })))
}

/// Delete evidence
///
/// Deletes it permanently. Its evaluations remain, and can no longer be repeated. The call is refused while an
/// unfinished operation or a waiver refers to the evidence, and to tokens that are limited to projects.
#[utoipa::path(delete, path = "/v1/evidence/{digest}", operation_id = "EvidenceService_DeleteEvidence",
    tag = "EvidenceService",
    params(("digest" = String, Path, description = "The digest: sha256: and 64 hexadecimal digits.")),
    responses((status = 200, description = "The evidence was deleted.", body = DeletedEvidence), ItemErrors))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    digest: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    body::none(&app, &caller, body).await?;
    evidence::delete(&app, &caller, digest.ok().map(|Path(digest)| digest).as_deref()).await?;
    Ok(render::response(to_json(&DeletedEvidence {})))
}

/// Get stored evidence
#[utoipa::path(get, path = "/v1/evidence/{digest}", operation_id = "EvidenceService_GetEvidence",
    tag = "EvidenceService",
    params(("digest" = String, Path, description = "The digest: sha256: and 64 hexadecimal digits.")),
    responses((status = 200, description = "The content.", body = inline(RawBytes),
        content_type = "application/octet-stream"),
        (status = 304, description = "The client has it already."), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    digest: Result<Path<String>, PathRejection>,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    let digest = digest.ok().map(|Path(digest)| digest);
    let record = evidence::find(&app, &caller, digest.as_deref()).await?;
    let etag = format!("\"{}\"", record.digest);
    let mut response = if given.names(etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = if method == Method::HEAD { Body::empty() } else { content(&app, &caller, &record).await? };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(record.size));
        // Evidence comes from anywhere: browsers must not show it as a page of this server.
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    };
    response.headers_mut().insert(ETAG, HeaderValue::try_from(etag).expect("a quoted digest is a header value"));
    Ok(response)
}

/// The content as a body. Large content is counted among the large bodies until it has been sent.
async fn content(app: &App, caller: &Caller, record: &EvidenceRecord) -> Result<Body, ApiError> {
    if record.size <= app.settings.body_limit {
        let content = app.content.get(caller.organization(), &record.digest).await?;
        return Ok(content.ok_or_else(|| evidence::missing(&record.digest))?.into());
    }
    let permit = body::permit(app, caller)?;
    let content = evidence::open(app, caller, &record.digest).await?;
    Ok(Body::from_stream(evidence::slowly(content, Some(permit), &app.settings)))
}
