//! `longrun.v1.AgentsService`.

use ::attestation::EnvelopeSignature;
use proto::longrun::v1 as wire;
use proto::longrun::v1::agents_service_server::AgentsService;
use serde_json::value::RawValue;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::attestation;
use crate::calls::evaluate::{self, EvaluateEvidence, Evaluation, Evidence};
use crate::error::ApiError;
use crate::strict::Read;

#[tonic::async_trait]
impl AgentsService for Face {
    async fn evaluate_evidence(
        &self,
        request: Request<wire::EvaluateEvidenceRequest>,
    ) -> Result<Response<wire::EvaluateEvidenceResponse>, Status> {
        use wire::evaluate_evidence_request::Evidence as Given;
        let (app, Call { caller, .. }, asked) = (&self.0, call(&request), request.into_inner());
        let (digest, content) = match asked.evidence {
            Some(Given::Digest(digest)) => (digest, None),
            Some(Given::Content(content)) => (String::new(), Some(Evidence::Raw(content))),
            None => (String::new(), None),
        };
        let mut violations = Vec::new();
        let [kind, name, project_name, project_version_name] =
            [&asked.kind, &asked.name, &asked.project_name, &asked.project_version_name].map(|text| quoted(text));
        let value = EvaluateEvidence {
            digest,
            kind: kind.as_deref(),
            name: name.as_deref(),
            policies: convert::json("policies", &asked.policies, &mut violations),
            policy_groups: convert::json("policy_groups", &asked.policy_groups, &mut violations),
            project_name: project_name.as_deref(),
            project_version_name: project_version_name.as_deref(),
            project_id: asked.project_id,
            project_version_id: asked.project_version_id,
            prompt: asked.prompt,
            ..EvaluateEvidence::default()
        };
        let evaluation = Evaluation::check(app, Read { value, violations }, |_| content)?;
        // The gate holds the share of memory of the whole message.
        let place = app.memory.small.take(caller.organization(), 0).ok_or(ApiError::Busy)?;
        let key = convert::key(&asked.idempotency_key);
        let operation = evaluate::evaluate(app, &caller, evaluation, place, key).await?;
        Ok(Response::new(wire::EvaluateEvidenceResponse { operation_id: operation.id.to_string() }))
    }

    async fn get_attestation(
        &self,
        request: Request<wire::GetAttestationRequest>,
    ) -> Result<Response<wire::GetAttestationResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let envelope = attestation::get(&self.0, &caller, convert::id(&asked.operation_id)).await?;
        let signature = |one: EnvelopeSignature| wire::AttestationSignature { keyid: one.keyid, sig: one.sig.into() };
        Ok(Response::new(wire::GetAttestationResponse {
            payload_type: envelope.payload_type,
            payload: envelope.payload.into(),
            signatures: envelope.signatures.into_iter().map(signature).collect(),
        }))
    }
}

/// A text as JSON; none when it is empty.
pub(super) fn quoted(text: &str) -> Option<Box<RawValue>> {
    let json = (!text.is_empty()).then(|| serde_json::to_string(text).expect("a text is written as JSON"))?;
    Some(RawValue::from_string(json).expect("it is JSON"))
}
