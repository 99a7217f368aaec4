//! Searching and counting operations by a filter.

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::OperationDetail;

/// What to search for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchRequest {
    /// Which operations, e.g. `status = FAILED AND created_at >= "-24h"`; empty: all but notices.
    pub filter: String,
    /// Entries per page.
    pub page_size: Option<i32>,
    /// The `next_page_token` of the page before; empty for the first one.
    pub page_token: String,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
}

/// Operations that were found.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SearchPage {
    /// In the order that was asked for.
    pub operations: Vec<OperationDetail>,
    /// How many match; at least this many, if that is not exact.
    pub total_count: u64,
    /// Whether there are no more of them.
    pub total_is_exact: bool,
    /// The token to ask for the next page with; empty at the end. A page may be empty and have a next one.
    pub next_page_token: String,
}

/// How many operations there are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OperationCounts {
    /// The groups that have any, those with most operations first.
    pub groups: Vec<OperationCount>,
    /// How many groups are not among them.
    pub groups_left_out: u64,
    /// How many operations match, in all groups; at least this many, if that is not exact.
    pub total_count: u64,
    /// Whether there are no more of them.
    pub total_is_exact: bool,
}

/// How many operations of a group there are. A field that was not asked for is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OperationCount {
    /// Their status, by its wire name.
    pub status: Option<String>,
    /// Their kind.
    pub kind: Option<String>,
    /// Their project; empty: none.
    pub project_id: Option<String>,
    /// How many.
    pub count: u64,
}

impl Client {
    /// `GET /v1/operations:search`: one page of the operations that a filter matches, with everything that is known of
    /// them. Pages that follow each other by their tokens neither skip nor repeat anything.
    ///
    /// # Errors
    /// Any [`Error`]; a refused filter says where it is wrong and what is allowed.
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

    /// `GET /v1/operations:count`: how many operations a filter matches, by the fields `status`, `kind` and
    /// `project_id`, as far as they are named.
    ///
    /// # Errors
    /// Any [`Error`]; a refused filter says where it is wrong and what is allowed.
    pub async fn count(&self, filter: &str, group_by: &[&str]) -> Result<Answer<OperationCounts>, Error> {
        let mut address = self.address("v1/operations:count");
        let query = [("filter", filter.to_owned()), ("group_by", group_by.join(","))];
        address.query_pairs_mut().extend_pairs(query.into_iter().filter(|(_, value)| !value.is_empty()));
        self.call(|| self.http().get(address.clone())).await
    }
}
