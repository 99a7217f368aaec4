//! Kinds that call an external server: each attempt is one signed POST, whose answer is the output.

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::webhook::Endpoint;

/// Runs the operations of a kind by calls to an [`Endpoint`].
#[derive(Clone, Debug)]
pub struct HttpHandler {
    endpoint: Endpoint,
    output_limit: usize,
}

impl HttpHandler {
    /// A handler that accepts answers of at most `output_limit` bytes.
    pub fn new(endpoint: Endpoint, output_limit: usize) -> HttpHandler {
        HttpHandler { endpoint, output_limit }
    }
}

/// The body of a call.
#[derive(Serialize)]
struct Call<'a> {
    id: String,
    kind: &'a str,
    attempt: u32,
    organization: &'a str,
    resource_type: &'a str,
    resource_id: &'a str,
    project_id: &'a str,
    project_version_id: &'a str,
    input: Box<RawValue>,
}

#[async_trait]
impl Handler for HttpHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let operation = &attempt.operation;
        let input = if attempt.input.is_empty() { "null".to_owned() } else { attempt.input };
        let resource = operation.resource.as_ref();
        let call = Call {
            id: operation.id.to_string(),
            kind: &operation.kind,
            attempt: attempt.number,
            organization: &attempt.organization,
            resource_type: resource.map_or("", |resource| &resource.resource_type),
            resource_id: resource.map_or("", |resource| &resource.resource_id),
            project_id: &operation.project_id,
            project_version_id: &operation.project_version_id,
            input: RawValue::from_string(input)
                .map_err(|error| Failure::permanent(format!("the input is not JSON: {error}")))?,
        };
        let body = serde_json::to_vec(&call).expect("strings, numbers and JSON always serialise");
        tokio::select! {
            answer = self.endpoint.post(&call.id, "application/json", body, self.output_limit, attempt.trace) => answer,
            () = attempt.cancelled.cancelled() => Err(Failure::transient("the call was stopped")),
        }
    }
}
