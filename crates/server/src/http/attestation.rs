//! `GET /v1/operations/{id}/attestation`: the signed result of an evaluation; and the public keys, which everybody may
//! read.

use std::sync::Arc;

use ::attestation::{Envelope, Signer};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get as on_get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use operations::OperationId;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::ItemErrors;
use crate::app::App;
use crate::calls::attestation;
use crate::calls::list::NOT_FOUND;
use crate::error::ApiError;
use crate::render;

/// The path of the public keys as a JSON Web Key Set.
const KEYS: &str = "/.well-known/longrun-keys.json";
/// The path of the public keys as PEM.
const KEYS_PEM: &str = "/.well-known/longrun-keys.pem";
/// How long a copy of the keys may be used. A client that finds a key id that its copy lacks requests the keys again.
const KEYS_MAX_AGE: &str = "public, max-age=300";

/// A DSSE envelope with an in-toto statement.
#[derive(Serialize, ToSchema)]
#[schema(as = AttestationEnvelope)]
#[allow(dead_code)]
pub(super) struct WireEnvelope {
    /// The media type of the payload.
    #[serde(rename = "payloadType")]
    #[schema(example = "application/vnd.in-toto+json")]
    payload_type: String,
    /// The statement, in base64.
    #[schema(format = Byte)]
    payload: String,
    /// Exactly one signature.
    signatures: Vec<WireSignature>,
}

/// A signature over the payload and its type.
#[derive(Serialize, ToSchema)]
#[schema(as = AttestationSignature)]
#[allow(dead_code)]
pub(super) struct WireSignature {
    /// The id of the key: the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits.
    keyid: String,
    /// The signature, in base64.
    #[schema(format = Byte)]
    sig: String,
}

/// Get the signed result of an evaluation
///
/// Returns an in-toto statement of the type https://slsa.dev/verification_summary/v1 about the evidence, in a DSSE
/// envelope that the server signed when the evaluation ended. The answer is 404 with the reason ATTESTATION_MISSING
/// when the operation has none.
#[utoipa::path(get, path = "/v1/operations/{operation_id}/attestation", operation_id = "AgentsService_GetAttestation",
    tag = "AgentsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id.")),
    responses((status = 200, description = "The envelope.", body = WireEnvelope), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = id.ok().and_then(|Path(id)| id.parse::<OperationId>().ok()).ok_or(NOT_FOUND);
    let envelope: Envelope = attestation::get(&app, &caller, id).await?;
    Ok(render::response(envelope.json()))
}

/// The routes of the public keys. They need no token, so that anybody can verify a result.
pub(super) fn keys(signer: Option<&Arc<Signer>>) -> Router {
    let jwks = signer.map_or_else(|| r#"{"keys":[]}"#.to_owned(), |signer| signer.jwks());
    let pem = signer.map_or_else(String::new, |signer| signer.public_pem());
    let answer = |text: String, content_type: &'static str| {
        let mut response = text.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(KEYS_MAX_AGE));
        response
    };
    Router::new()
        .route(KEYS, on_get(move || async move { answer(jwks, "application/jwk-set+json") }))
        .route(KEYS_PEM, on_get(move || async move { answer(pem, "application/x-pem-file") }))
}
