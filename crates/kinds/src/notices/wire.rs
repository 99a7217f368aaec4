//! An operation as JSON: the twelve fields of `GET /v1/operations`, written and read.

use std::borrow::Cow;

use operations::{Operation, OperationId, Resource, Status, Timestamp};
use serde::{Deserialize, Serialize};

/// The twelve fields. A field that is not set is empty; a time that is not set is omitted.
#[derive(Serialize, Deserialize)]
pub(super) struct WireOperation<'a> {
    output: Cow<'a, str>,
    error_message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    project_id: Cow<'a, str>,
    kind: Cow<'a, str>,
    resource_type: Cow<'a, str>,
    created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    resource_id: Cow<'a, str>,
    id: String,
    project_version_id: Cow<'a, str>,
    status: Cow<'a, str>,
}

impl WireOperation<'_> {
    /// The same without its output.
    pub fn without_output(self) -> Self {
        WireOperation { output: Cow::Borrowed(""), ..self }
    }
}

impl<'a> From<&'a Operation> for WireOperation<'a> {
    fn from(operation: &'a Operation) -> WireOperation<'a> {
        let resource = operation.resource.as_ref();
        WireOperation {
            output: Cow::Borrowed(&operation.output),
            error_message: Cow::Borrowed(&operation.error_message),
            finished_at: operation.finished_at.map(|at| at.to_string()),
            project_id: Cow::Borrowed(&operation.project_id),
            kind: Cow::Borrowed(&operation.kind),
            resource_type: resource.map_or("", |resource| &resource.resource_type).into(),
            created_at: operation.created_at.to_string(),
            started_at: operation.started_at.map(|at| at.to_string()),
            resource_id: resource.map_or("", |resource| &resource.resource_id).into(),
            id: operation.id.to_string(),
            project_version_id: Cow::Borrowed(&operation.project_version_id),
            status: operation.status.wire_name().into(),
        }
    }
}

impl TryFrom<WireOperation<'_>> for Operation {
    type Error = String;

    fn try_from(wire: WireOperation<'_>) -> Result<Operation, String> {
        let time =
            |field: &str, text: &str| text.parse::<Timestamp>().map_err(|_| format!("{field} is not a time: {text:?}"));
        let id = wire.id.parse::<OperationId>().map_err(|_| format!("id is not an operation id: {:?}", wire.id))?;
        let status =
            Status::from_wire_name(&wire.status).ok_or_else(|| format!("{:?} is not a status", wire.status))?;
        let resource = (!wire.resource_type.is_empty()).then(|| Resource {
            resource_type: wire.resource_type.into_owned(),
            resource_id: wire.resource_id.into_owned(),
        });
        Ok(Operation {
            id,
            kind: wire.kind.into_owned(),
            status,
            resource,
            project_id: wire.project_id.into_owned(),
            project_version_id: wire.project_version_id.into_owned(),
            created_at: time("created_at", &wire.created_at)?,
            started_at: wire.started_at.map(|at| time("started_at", &at)).transpose()?,
            finished_at: wire.finished_at.map(|at| time("finished_at", &at)).transpose()?,
            output: wire.output.into_owned(),
            error_message: wire.error_message.into_owned(),
        })
    }
}
