//! `longrun.v1.EvidenceService`.

use std::pin::Pin;

use axum::body::Body;
use futures_util::{Stream, StreamExt, TryStreamExt};
use proto::longrun::v1 as wire;
use proto::longrun::v1::evidence_service_server::EvidenceService;
use tonic::{Request, Response, Status, Streaming};

use super::{Call, Face, call};
use crate::calls::evidence;
use crate::http::body::{Pieces, permit};
use crate::services::ApiSettings;

/// The largest part of a piece of evidence, with what stands around it in a message.
pub(super) const MAX_PART_BYTES: usize = 1024 * 1024 + 64;

/// A body that ends when the client pauses for too long, or is slower than it may be.
pub(super) fn paced(body: Body, settings: &ApiSettings) -> Body {
    Body::from_stream(Pieces::new(body, settings).map_err(|broken| broken.to_string()))
}

#[tonic::async_trait]
impl EvidenceService for Face {
    async fn put_evidence(
        &self,
        request: Request<Streaming<wire::PutEvidenceRequest>>,
    ) -> Result<Response<wire::PutEvidenceResponse>, Status> {
        let (Call { caller, .. }, parts) = (call(&request), request.into_inner());
        let parts = parts.map(|part| part.map(|part| part.content).map_err(|status| status.message().to_owned()));
        let record = evidence::put(&self.0, &caller, Box::pin(parts)).await?;
        let (digest, size, kind) = (record.digest.to_string(), record.size, record.kind);
        Ok(Response::new(wire::PutEvidenceResponse { digest, size, kind }))
    }

    type GetEvidenceStream = Pin<Box<dyn Stream<Item = Result<wire::GetEvidenceResponse, Status>> + Send>>;

    async fn get_evidence(
        &self,
        request: Request<wire::GetEvidenceRequest>,
    ) -> Result<Response<Self::GetEvidenceStream>, Status> {
        let (app, Call { caller, .. }, asked) = (&self.0, call(&request), request.into_inner());
        let record = evidence::find(app, &caller, Some(&asked.digest)).await?;
        let place = permit(app, &caller)?;
        let content = evidence::open(app, &caller, &record.digest).await?;
        let parts = content.map(move |piece| {
            // The place is taken until the stream is gone.
            let _held = &place;
            piece.map(|piece| wire::GetEvidenceResponse { content: piece }).map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "could not read evidence that is being sent");
                Status::internal("the evidence could not be read to its end")
            })
        });
        Ok(Response::new(Box::pin(parts)))
    }
}
