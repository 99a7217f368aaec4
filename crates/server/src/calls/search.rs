//! Searching and counting operations by a filter.

use operations::{Access, Search, Timestamp, Violation};
use serde::Deserialize;
use store::{
    Counted, GroupBy, OperationDetail, Scope, SearchCursor, SearchOrder, SearchPage, SearchRequest, SearchStart,
    StoreError,
};
use utoipa::IntoParams;

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, Read, quoted};

/// The most groups of an answer; those with the most operations come first.
const MAX_GROUPS: usize = 1_000;

/// Which operations to search for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchOperations {
    /// Which operations to find, e.g. status = FAILED AND created_at >= "-24h"; by default all except notices.
    #[param(required = false, max_length = 2048, example = "status = FAILED AND created_at >= \"-24h\"")]
    #[serde(default)]
    pub(crate) filter: String,
    /// The zero-based number of the page. To read many pages, page_token is better: it neither skips nor repeats
    /// operations while others are created.
    #[param(value_type = Option<i32>, minimum = 0, default = 0, required = false)]
    #[serde(default)]
    pub(crate) page: Option<u32>,
    /// Entries per page. Above the maximum (100 unless the server is configured otherwise), the maximum is used.
    #[param(value_type = Option<i32>, minimum = 0, default = 50, required = false)]
    #[serde(default)]
    pub(crate) page_size: Option<u32>,
    /// The next_page_token of the previous page, which was requested with the same filter and order.
    #[param(required = false)]
    #[serde(default)]
    pub(crate) page_token: String,
    /// The order: created_at desc (newest first), the default, or created_at (oldest first).
    #[param(required = false, example = "created_at desc")]
    #[serde(default)]
    pub(crate) order_by: String,
}

/// Which operations to count.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CountOperations {
    /// Which operations to count; by default all except notices.
    #[param(required = false, max_length = 2048, example = "created_at >= \"-24h\"")]
    #[serde(default)]
    pub(crate) filter: String,
    /// The fields to group by: status, kind, project_id, or several of them separated by commas.
    #[param(required = false, example = "status,kind")]
    #[serde(default)]
    pub(crate) group_by: String,
}

/// A page of what was found, with the token of the next one.
pub(crate) struct FoundPage {
    pub(crate) page: SearchPage,
    /// Empty on the last page.
    pub(crate) next_page_token: String,
}

/// One page of the operations that the caller may see and that match. Long inputs and outputs are left out.
pub(crate) async fn search(app: &App, caller: &Caller, asked: Read<SearchOperations>) -> Result<FoundPage, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let (asked, mut found) = asked.into_parts();
    let organization = caller.access().organization.as_str();
    let order = order(&asked.order_by, &mut found);
    let mut start = SearchStart::Page(app.settings.first_page.meant(asked.page.unwrap_or(0)));
    let mut now = seconds(app.store.now());
    let key = app.store.position_key().await?;
    if !asked.page_token.is_empty() {
        if asked.page.is_some() {
            found.add(Violation::new("page", "cannot be given together with page_token"));
        }
        match key.open_search(organization, &asked.filter, order, &asked.page_token) {
            Ok(cursor) => {
                now = cursor.now();
                start = SearchStart::After(cursor);
            }
            Err(_) => found.add(Violation::new(
                "page_token",
                "must be the next_page_token of a previous answer to the same filter and order_by",
            )),
        }
    }
    let search = filter(app, &asked.filter, now, &mut found);
    found.none()?;
    let page_size = asked.page_size.filter(|size| *size > 0).unwrap_or(app.settings.default_page_size);
    let page_size = page_size.min(app.settings.max_page_size);
    let page = app.store.search(caller.access(), &SearchRequest { search, order, start, page_size }).await?;
    let seal = |cursor: SearchCursor| key.seal_search(organization, &asked.filter, order, cursor.with_now(now));
    let next_page_token = page.next.map(seal).unwrap_or_default();
    Ok(FoundPage { page, next_page_token })
}

/// An operation with the texts that were left out. Changes since it was found are not reported; if it was removed
/// since, the texts are empty, and if it was retried, its output is.
pub(crate) async fn whole(
    app: &App,
    access: &Access,
    mut detail: OperationDetail,
) -> Result<OperationDetail, StoreError> {
    if detail.output_left_out || detail.input_left_out {
        let now = app.store.detail(access, detail.operation.id).await?;
        if let Some(now) = now {
            detail.input = now.input;
            if now.operation.status == detail.operation.status {
                detail.operation.output = now.operation.output;
            }
        }
    }
    Ok(detail)
}

/// The result of a count.
pub(crate) struct Counts {
    /// At most as many groups as an answer may have.
    pub(crate) counted: Counted,
    pub(crate) groups_left_out: u64,
}

/// Counts the operations that the caller may see and the filter matches.
pub(crate) async fn count(app: &App, caller: &Caller, asked: Read<CountOperations>) -> Result<Counts, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let (asked, mut found) = asked.into_parts();
    let by = group_by(&asked.group_by, &mut found);
    let search = filter(app, &asked.filter, seconds(app.store.now()), &mut found);
    found.none()?;
    let mut counted = app.store.count_matching(caller.access(), &search, by).await?;
    let groups_left_out = counted.groups.len().saturating_sub(MAX_GROUPS) as u64;
    counted.groups.truncate(MAX_GROUPS);
    Ok(Counts { counted, groups_left_out })
}

/// Whole seconds, the precision of the time in a page token.
fn seconds(now: Timestamp) -> u32 {
    u32::try_from(now.as_millis() / 1_000).unwrap_or_default()
}

fn filter(app: &App, text: &str, now: u32, found: &mut Found) -> Search {
    let parsed = Search::parse(text, Timestamp::from_millis(i64::from(now) * 1_000));
    let checked = parsed.map_err(|refused| refused.violation("filter"));
    checked.and_then(|search| app.store.check_search(&search).map(|()| search)).unwrap_or_else(|violation| {
        found.add(violation);
        Search::default()
    })
}

fn order(text: &str, found: &mut Found) -> SearchOrder {
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [] | ["created_at", "desc"] => SearchOrder::Newest,
        ["created_at"] | ["created_at", "asc"] => SearchOrder::Oldest,
        _ => {
            let description = format!("{} is neither created_at nor created_at desc", quoted(text));
            found.add(Violation::new("order_by", description));
            SearchOrder::Newest
        }
    }
}

fn group_by(text: &str, found: &mut Found) -> GroupBy {
    let mut by = GroupBy::default();
    for field in text.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        match field {
            "status" => by.status = true,
            "kind" => by.kind = true,
            "project_id" => by.project_id = true,
            other => {
                let description = format!("{} is not one of status, kind and project_id", quoted(other));
                found.add(Violation::new("group_by", description));
            }
        }
    }
    by
}
