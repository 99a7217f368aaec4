//! `longrun.v1.EvidenceService`.

use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::longrun::v1 as wire;
use proto::longrun::v1::evidence_service_server::EvidenceService;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Call, Face, call, convert};
use crate::calls::evidence::{self, ListEvidence, ListedPiece, Unsent};
use crate::calls::page::Paged;
use crate::calls::waivers::{self, ReevaluateEvidence};
use crate::error::ApiError;
use crate::http::body::{Broken, Pieces, permit};
use crate::services::ApiSettings;
use crate::strict::Read;

/// A part of a piece of evidence that is sent, or why there are no more.
type Part = Result<wire::GetEvidenceResponse, Status>;

/// What took too long when the client did not get all of a piece in time.
const READING: &str = "reading the evidence";

/// The largest part of a piece of evidence, with the bytes around it in a message.
pub(super) const MAX_PART_BYTES: usize = 1024 * 1024 + 64;

/// A body that ends when the client pauses for too long, or is slower than it may be; and how it broke off, once it
/// has.
pub(super) fn paced(body: Body, settings: &ApiSettings) -> (Body, Arc<OnceLock<Broken>>) {
    let broken = Arc::<OnceLock<Broken>>::default();
    let breaks = Arc::clone(&broken);
    let pieces = Pieces::new(body, settings).map_err(move |how| {
        // It breaks off only once.
        let _ = breaks.set(how);
        how.to_string()
    });
    (Body::from_stream(pieces), broken)
}

#[tonic::async_trait]
impl EvidenceService for Face {
    async fn put_evidence(
        &self,
        request: Request<Streaming<wire::PutEvidenceRequest>>,
    ) -> Result<Response<wire::PutEvidenceResponse>, Status> {
        let (Call { caller, .. }, mut parts) = (call(&request), request.into_inner());
        evidence::may_put(&caller)?;
        let first = parts.next().await;
        let name = match &first {
            Some(Ok(first)) => first.name.clone(),
            _ => String::new(),
        };
        let parts = stream::iter(first).chain(parts);
        let parts = parts.map(|part| part.map(|part| part.content).map_err(|status| status.message().to_owned()));
        let record = evidence::put(&self.0, &caller, Box::pin(parts), &name).await?;
        let (digest, size, kind, name) = (record.digest.to_string(), record.size, record.kind, record.name);
        Ok(Response::new(wire::PutEvidenceResponse { digest, size, kind, name }))
    }

    async fn list_evidence(
        &self,
        request: Request<wire::ListEvidenceRequest>,
    ) -> Result<Response<wire::ListEvidenceResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let page = convert::page(asked.page_size, asked.page_token);
        let value = ListEvidence { kind: asked.kind, name: asked.name, digest: asked.digest };
        let asked = Paged { page, asked: Read { value, violations: Vec::new() } };
        let page = evidence::list(&self.0, &caller, asked).await?;
        Ok(Response::new(wire::ListEvidenceResponse {
            evidence: page.evidence.into_iter().map(listed).collect(),
            next_page_token: page.next.unwrap_or_default(),
            total_count: page.totals.pieces,
            total_bytes: page.totals.bytes,
            max_bytes: page.limit.unwrap_or(0),
        }))
    }

    async fn delete_evidence(
        &self,
        request: Request<wire::DeleteEvidenceRequest>,
    ) -> Result<Response<wire::DeleteEvidenceResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        evidence::delete(&self.0, &caller, Some(&asked.digest)).await?;
        Ok(Response::new(wire::DeleteEvidenceResponse {}))
    }

    type GetEvidenceStream = Answers<wire::GetEvidenceResponse>;

    async fn get_evidence(
        &self,
        request: Request<wire::GetEvidenceRequest>,
    ) -> Result<Response<Self::GetEvidenceStream>, Status> {
        let (app, call, asked) = (&self.0, call(&request), request.into_inner());
        let record = evidence::find(app, &call.caller, Some(&asked.digest)).await?;
        let place = if record.size > app.settings.body_limit { Some(permit(app, &call.caller)?) } else { None };
        let content = evidence::open(app, &call.caller, &record.digest).await?;
        let parts = evidence::slowly(content, place, &app.settings).map(part);
        Ok(Response::new(call.until_deadline(READING, parts)))
    }

    async fn reevaluate_evidence(
        &self,
        request: Request<wire::ReevaluateEvidenceRequest>,
    ) -> Result<Response<wire::ReevaluateEvidenceResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let wire::ReevaluateEvidenceRequest { policy, digest, newest_days, idempotency_key } = asked;
        let value = ReevaluateEvidence { policy, digest, newest_days };
        let key = convert::key(&idempotency_key);
        let asked = Read { value, violations: Vec::new() };
        let operation = waivers::reevaluate(&self.0, &caller, asked, key).await?;
        Ok(Response::new(wire::ReevaluateEvidenceResponse { operation_id: operation.id.to_string() }))
    }
}

fn part(piece: Result<Bytes, Unsent>) -> Part {
    piece.map(|content| wire::GetEvidenceResponse { content }).map_err(|unsent| match unsent {
        Unsent::TooSlow => ApiError::Timeout(READING).into(),
        Unsent::Broken => ApiError::Internal(unsent.into()).into(),
    })
}

fn listed(ListedPiece { record, last }: ListedPiece) -> wire::ListedEvidence {
    wire::ListedEvidence {
        digest: record.digest.to_string(),
        size: record.size,
        kind: record.kind,
        name: record.name,
        created_at: Some(convert::timestamp(record.created_at)),
        last_used_at: Some(convert::timestamp(record.last_used_at)),
        last_operation: last.map(|last| wire::EvidenceLastOperation {
            id: last.id.to_string(),
            status: convert::status(last.status).into(),
            finished_at: last.finished_at.map(convert::timestamp),
            verdict: last.verdict.unwrap_or_default().to_owned(),
        }),
    }
}
