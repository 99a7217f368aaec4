//! Pages of operations, and one of them.

use std::sync::Arc;

use operations::{Filter, OperationId, PageRequest, Resource, Status, Violation, check_text};
use serde::Deserialize;
use store::Scope;
use utoipa::IntoParams;

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::reads::{self, Page};
use crate::services::ApiSettings;
use crate::strict::{Found, Read, quoted};

/// The answer for every operation that the caller cannot get, whatever the reason.
pub(crate) const NOT_FOUND: ApiError = ApiError::NotFound("operation");

/// Which operations to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListOperations {
    /// The (zero-based) offset of the first item returned in the collection. It is counted in pages: page k begins with
    /// the item k × page_size.
    #[serde(default, rename = "pagination.page")]
    #[param(value_type = Option<i32>, minimum = 0, default = 0, required = false)]
    pub(crate) page: Option<u32>,
    /// The maximum number of entries to return. If the value exceeds the maximum, then the maximum value will be used:
    /// 100, unless the server is configured otherwise.
    #[serde(default, rename = "pagination.page_size")]
    #[param(value_type = Option<i32>, minimum = 0, default = 50, required = false)]
    pub(crate) page_size: Option<u32>,
    /// Filter by associated resource ID (must be provided with resource_type). Only operations about exactly this
    /// resource are listed.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) resource_id: String,
    /// Filter by associated resource type (must be provided with resource_id).
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) resource_type: String,
    /// Filter by operation status. A status can also be given by its number.
    #[param(value_type = Option<StatusFilter>, inline, required = false)]
    #[serde(default)]
    pub(crate) status: String,
    /// Filter by operation kind. Only operations of exactly this kind are listed, e.g. evidence_evaluation.
    #[param(required = false, max_length = 256, example = "evidence_evaluation")]
    #[serde(default)]
    pub(crate) kind: String,
}

/// The statuses by which operations are filtered.
#[derive(utoipa::ToSchema)]
#[schema(default = "ASYNC_OPERATION_STATUS_UNSPECIFIED")]
#[allow(dead_code, clippy::enum_variant_names)]
pub(crate) enum StatusFilter {
    /// Any status.
    #[schema(rename = "ASYNC_OPERATION_STATUS_UNSPECIFIED")]
    Unspecified,
    /// Waits to be run.
    #[schema(rename = "ASYNC_OPERATION_STATUS_PENDING")]
    Pending,
    /// Is being run.
    #[schema(rename = "ASYNC_OPERATION_STATUS_RUNNING")]
    Running,
    /// Has ended and has an output.
    #[schema(rename = "ASYNC_OPERATION_STATUS_COMPLETED")]
    Completed,
    /// Has ended without an output: error_message says why.
    #[schema(rename = "ASYNC_OPERATION_STATUS_FAILED")]
    Failed,
}

/// One page of the operations that the caller may see; requests for the same page share it.
pub(crate) async fn list(app: &App, caller: &Caller, asked: Read<ListOperations>) -> Result<Arc<Page>, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let (asked, found) = asked.into_parts();
    let page = page(&asked, &app.settings);
    let filter = filter(found, &asked.status, asked.kind, asked.resource_type, asked.resource_id)?;
    Ok(app.reads.page(caller.access(), filter, page).await?)
}

/// One operation.
pub(crate) async fn get(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
) -> Result<Arc<reads::Found>, ApiError> {
    caller.require(Scope::OperationsRead)?;
    app.reads.operation(caller.access(), id?).await?.ok_or(NOT_FOUND)
}

pub(crate) fn page(asked: &ListOperations, settings: &ApiSettings) -> PageRequest {
    let page = asked.page.unwrap_or(0);
    let size = asked.page_size.filter(|size| *size > 0).unwrap_or(settings.default_page_size);
    PageRequest { page: settings.first_page.meant(page), page_size: size.min(settings.max_page_size) }
}

/// The filter of a list or a watch, or everything that is wrong with it.
pub(crate) fn filter(
    mut found: Found,
    status: &str,
    kind: String,
    resource_type: String,
    resource_id: String,
) -> Result<Filter, ApiError> {
    for (field, text) in [("kind", &kind), ("resource_type", &resource_type), ("resource_id", &resource_id)] {
        if let Err(violation) = check_text(field, text) {
            found.add(violation);
        }
    }
    let resource = match (resource_type.is_empty(), resource_id.is_empty()) {
        (true, true) => None,
        (false, false) => Some(Resource { resource_type, resource_id }),
        (is_type_missing, _) => {
            let (missing, present) =
                if is_type_missing { ("resource_type", "resource_id") } else { ("resource_id", "resource_type") };
            let description = format!(
                "is missing or empty although {present} is given; resource_type and resource_id must come together"
            );
            found.add(Violation::new(missing, description));
            None
        }
    };
    let status = self::status(status).unwrap_or_else(|violation| {
        found.add(violation);
        None
    });
    found.none()?;
    Ok(Filter { status, kind: Some(kind).filter(|kind| !kind.is_empty()), resource })
}

/// A status by its name or its number; `None` for any.
fn status(text: &str) -> Result<Option<Status>, Violation> {
    let by_number = text.parse::<i32>().ok().filter(|_| !text.starts_with('+'));
    if text.is_empty() || text == Status::UNSPECIFIED_NAME || by_number == Some(0) {
        return Ok(None);
    }
    let status = Status::from_wire_name(text).or_else(|| Status::from_number(by_number?.into()));
    let unknown = || {
        let names = Status::ALL.map(Status::wire_name).join(", ");
        let description =
            format!("{} is none of {}, {names} or their numbers 0 to 4", quoted(text), Status::UNSPECIFIED_NAME);
        Violation::new("status", description)
    };
    status.map(Some).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::services::FirstPage;

    fn asked(query: &str) -> Result<(Filter, PageRequest), ApiError> {
        let (asked, found) = crate::strict::query::<ListOperations>(query)?.into_parts();
        let page = page(&asked, &ApiSettings::default());
        Ok((filter(found, &asked.status, asked.kind, asked.resource_type, asked.resource_id)?, page))
    }

    #[test]
    fn an_empty_query_is_the_first_page_of_everything() {
        for query in ["", "&", "kind=", "kind", "status=&kind=", "resource_id=&resource_type=", "status=0"] {
            assert_eq!(asked(query).unwrap(), (Filter::default(), PageRequest::default()), "{query}");
        }
    }

    #[test]
    fn every_parameter_is_read_in_both_spellings() {
        let snake = "pagination.page=2&pagination.page_size=7&resource_id=i&resource_type=t&status=4&kind=k";
        let camel = "pagination.page=2&pagination.pageSize=7&resourceId=i&resourceType=t&status=4&kind=k";
        let (filter, page) = asked(snake).unwrap();
        assert_eq!((filter.clone(), page), asked(camel).unwrap());
        assert_eq!(page, PageRequest { page: 2, page_size: 7 });
        assert_eq!((filter.status, filter.kind.as_deref()), (Some(Status::Failed), Some("k")));
        let resource = Resource { resource_type: "t".to_owned(), resource_id: "i".to_owned() };
        assert_eq!(filter.resource, Some(resource));
    }

    #[test]
    fn every_violation_of_a_filter_is_reported() {
        let ApiError::Invalid(violations) = asked("kind=%00&status=5&resource_id=a").unwrap_err() else { panic!() };
        let fields: Vec<&str> = violations.iter().map(|violation| &*violation.field).collect();
        assert_eq!(fields, ["kind", "resource_type", "status"]);
    }

    #[test]
    fn counting_from_one_takes_zero_and_one_for_the_first_page() {
        let settings = ApiSettings { first_page: FirstPage::One, ..ApiSettings::default() };
        let first = |page| super::page(&ListOperations { page, ..Default::default() }, &settings).page;
        assert_eq!([None, Some(0), Some(1), Some(2)].map(first), [0, 0, 0, 1]);
    }
}
