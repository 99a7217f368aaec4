//! Searching and counting operations with a filter.

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::OperationDetail;

/// The parameters of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchRequest {
    /// The filter, e.g. `status = FAILED AND created_at >= "-24h"`; empty: all except notices.
    pub filter: String,
    /// Entries per page.
    pub page_size: Option<i32>,
    /// The `next_page_token` of the previous page; empty for the first one.
    pub page_token: String,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
}

/// One page of found operations.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SearchPage {
    /// The operations, in the requested order.
    pub operations: Vec<OperationDetail>,
    /// The number of matching operations; if it is not exact, at least this many match.
    pub total_count: u64,
    /// Whether the number is exact.
    pub total_is_exact: bool,
    /// The token for the next page; empty on the last one. A page may be empty and be followed by another.
    pub next_page_token: String,
}

/// The numbers of operations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OperationCounts {
    /// The groups that are not empty, those with most operations first.
    pub groups: Vec<OperationCount>,
    /// How many groups are not included.
    pub groups_left_out: u64,
    /// The number of matching operations in all groups; if it is not exact, at least this many match.
    pub total_count: u64,
    /// Whether the number is exact.
    pub total_is_exact: bool,
}

/// The number of operations in a group. A field that was not requested is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OperationCount {
    /// Their status, by its wire name.
    pub status: Option<String>,
    /// Their kind.
    pub kind: Option<String>,
    /// Their project; empty: none.
    pub project_id: Option<String>,
    /// The number of operations.
    pub count: u64,
}

impl Client {
    /// `GET /v1/operations:search`: one page of the operations that match a filter, with all details. Following the
    /// page tokens neither skips nor repeats any operation.
    ///
    /// # Errors
    /// Any [`Error`]; a refused filter reports the position of the error and what is allowed.
    pub async fn search(&self, request: &SearchRequest) -> Result<Answer<SearchPage>, Error> {
        let mut address = self.address("v1/operations:search");
        let size = request.page_size.map(|size| size.to_string()).unwrap_or_default();
        let order = if request.oldest_first { "created_at" } else { "" };
        let query = [
            ("filter", request.filter.as_str()),
            ("page_size", &size),
            ("page_token", &request.page_token),
            ("order_by", order),
        ];
        address.query_pairs_mut().extend_pairs(query.into_iter().filter(|(_, value)| !value.is_empty()));
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/operations:count`: how many operations match a filter, grouped by those of the fields `status`, `kind`
    /// and `project_id` that are named.
    ///
    /// # Errors
    /// Any [`Error`]; a refused filter reports the position of the error and what is allowed.
    pub async fn count(&self, filter: &str, group_by: &[&str]) -> Result<Answer<OperationCounts>, Error> {
        let mut address = self.address("v1/operations:count");
        let query = [("filter", filter.to_owned()), ("group_by", group_by.join(","))];
        address.query_pairs_mut().extend_pairs(query.into_iter().filter(|(_, value)| !value.is_empty()));
        self.call(|| self.http().get(address.clone())).await
    }
}
