//! One operation with all its fields.

use operations::{OperationId, Violation};
use serde::Deserialize;
use store::{OperationDetail, Scope};
use utoipa::{IntoParams, ToSchema};

use super::list::NOT_FOUND;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Read, quoted};

/// How much of an operation is requested.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetOperation {
    /// How much of the operation to show: BASIC, the default, has the twelve fields of lists; FULL has all fields.
    #[param(value_type = Option<View>, inline, required = false)]
    #[serde(default)]
    pub(crate) view: Option<String>,
}

/// How much of an operation is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
pub(crate) enum View {
    /// The twelve fields of a list.
    #[schema(rename = "BASIC")]
    Basic,
    /// All fields.
    #[schema(rename = "FULL")]
    Full,
}

/// The requested view.
pub(crate) fn view(asked: Read<GetOperation>) -> Result<View, ApiError> {
    let (GetOperation { view }, mut found) = asked.into_parts();
    let view = match view.as_deref() {
        None | Some("BASIC") => View::Basic,
        Some("FULL") => View::Full,
        Some(other) => {
            found.add(Violation::new("view", format!("{} is neither BASIC nor FULL", quoted(other))));
            View::Basic
        }
    };
    found.none()?;
    Ok(view)
}

/// One operation with all its fields.
pub(crate) async fn detail(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
) -> Result<OperationDetail, ApiError> {
    caller.require(Scope::OperationsRead)?;
    app.store.detail(caller.access(), id?).await?.ok_or(NOT_FOUND)
}
