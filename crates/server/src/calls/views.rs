//! Saved views: a name for a filter, shared in the organization or private to the token that made it.
//!
//! Callers that may see operations have private views. Callers that see the whole organization also see its shared
//! views, since the filters of these reveal something about all projects; those of them that may change operations may
//! change the shared views.

use std::time::Duration;

use operations::{Search, Timestamp, Violation, check_name, check_text};
use serde::Deserialize;
use store::{GroupBy, MAX_ALL_PRIVATE_VIEWS, Scope, View, ViewOutcome, ViewReach};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, List, Read};

const NOT_FOUND: ApiError = ApiError::NotFound("view");
/// The most columns of a view.
const MAX_COLUMNS: usize = 32;
/// How long a list of views spends on counting operations; views that it does not reach in time have no count.
const COUNTING: Duration = Duration::from_secs(2);
/// The same where the views are shown together with something else, which must not wait for them.
const COUNTING_BESIDE: Duration = Duration::from_millis(50);

/// A view to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateView {
    /// The name of the view, for people: 1 to 128 bytes, unique among the shared views, or among the private views of
    /// the token.
    #[schema(required = true, min_length = 1, max_length = 128, example = "Failed today")]
    #[serde(default)]
    pub(crate) name: String,
    /// The filter of the operations that it shows, as for a search; empty for all operations.
    #[schema(value_type = Option<String>, max_length = 2048, example = "status = FAILED AND created_at >= \"-24h\"")]
    #[serde(default)]
    pub(crate) filter: String,
    /// The names of the columns, in order; left out for the default columns.
    #[schema(value_type = Option<Vec<String>>, max_items = 32, example = json!(["id", "kind", "status"]))]
    #[serde(default)]
    pub(crate) columns: List<String, MAX_COLUMNS>,
    /// private: only the calling token sees it. shared: the whole organization sees it.
    #[schema(value_type = Option<String>, default = "private", example = "shared")]
    #[serde(default)]
    pub(crate) visibility: String,
}

/// The new name, filter and columns of a view, all of which are replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateView {
    /// The name of the view, for people: 1 to 128 bytes, unique among the shared views, or among the private views of
    /// the token.
    #[schema(required = true, min_length = 1, max_length = 128, example = "Failed today")]
    #[serde(default)]
    pub(crate) name: String,
    /// The filter of the operations that it shows, as for a search; empty for all operations.
    #[schema(value_type = Option<String>, max_length = 2048, example = "status = FAILED")]
    #[serde(default)]
    pub(crate) filter: String,
    /// The names of the columns, in order; left out for the default columns.
    #[schema(value_type = Option<Vec<String>>, max_items = 32, example = json!(["id", "kind", "status"]))]
    #[serde(default)]
    pub(crate) columns: List<String, MAX_COLUMNS>,
}

/// How many operations a view shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewCount {
    pub(crate) total: u64,
    /// Whether that is all; otherwise there are at least this many.
    pub(crate) is_exact: bool,
}

/// The visibility of a view, as it is shown.
pub(crate) fn visibility(view: &View) -> &'static str {
    if view.owner.is_none() { "shared" } else { "private" }
}

/// Creates a view.
pub(crate) async fn create(app: &App, caller: &Caller, asked: Read<CreateView>) -> Result<View, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let (asked, mut found) = asked.into_parts();
    let is_shared = match asked.visibility.as_str() {
        "shared" => true,
        "" | "private" => false,
        _ => {
            found.add(Violation::new("visibility", "must be private or shared"));
            false
        }
    };
    let now = app.store.now();
    let (name, filter, columns) = checked(asked.name, asked.filter, asked.columns, now, &mut found);
    found.none()?;
    if is_shared {
        may_share(caller)?;
    }
    let owner = (!is_shared).then(|| caller.token_id().to_owned());
    let store = caller.store(app, "views.create", Vec::new());
    let view = View::new(name, filter, columns, owner, now);
    kept(store.create_view(caller.organization(), view).await?)
}

/// Every view that the caller has, each with its count; `None` when counting took too long, or its filter cannot be
/// counted any more.
pub(crate) async fn list(app: &App, caller: &Caller) -> Result<Vec<(View, Option<ViewCount>)>, ApiError> {
    counted(app, caller, COUNTING, |_| true).await
}

/// The same where the views are shown together with something else: filters for which each operation must be checked
/// are not counted.
pub(crate) async fn list_beside(app: &App, caller: &Caller) -> Result<Vec<(View, Option<ViewCount>)>, ApiError> {
    counted(app, caller, COUNTING_BESIDE, |search| search.looked_at_by_row().is_none()).await
}

async fn counted(
    app: &App,
    caller: &Caller,
    counting: Duration,
    is_counted: impl Fn(&Search) -> bool,
) -> Result<Vec<(View, Option<ViewCount>)>, ApiError> {
    let views = app.store.views(&reach(caller)?).await?;
    let until = Instant::now() + counting;
    let mut counted = Vec::with_capacity(views.len());
    for view in views {
        let count = tokio::time::timeout_at(until, count(app, caller, &view, &is_counted)).await;
        counted.push((view, count.unwrap_or(Ok(None))?));
    }
    Ok(counted)
}

/// One view, with its count.
pub(crate) async fn get(app: &App, caller: &Caller, id: &str) -> Result<(View, Option<ViewCount>), ApiError> {
    let view = find(app, caller, id).await?;
    let count = count(app, caller, &view, |_| true).await?;
    Ok((view, count))
}

/// Gives a view another name, filter and columns.
pub(crate) async fn update(app: &App, caller: &Caller, id: &str, asked: Read<UpdateView>) -> Result<View, ApiError> {
    let view = find(app, caller, id).await?;
    let (asked, mut found) = asked.into_parts();
    let (name, filter, columns) = checked(asked.name, asked.filter, asked.columns, app.store.now(), &mut found);
    found.none()?;
    may_change(caller, &view)?;
    let store = caller.store(app, "views.update", Vec::new());
    kept(store.update_view(&reach(caller)?, View { name, filter, columns, ..view }).await?)
}

/// Removes a view.
pub(crate) async fn delete(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    let view = find(app, caller, id).await?;
    may_change(caller, &view)?;
    let store = caller.store(app, "views.delete", Vec::new());
    if store.delete_view(&reach(caller)?, &view.id).await? { Ok(()) } else { Err(NOT_FOUND) }
}

fn reach(caller: &Caller) -> Result<ViewReach, ApiError> {
    caller.require(Scope::OperationsRead)?;
    Ok(ViewReach::of(caller.access(), caller.token_id()))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<View, ApiError> {
    let views = app.store.views(&reach(caller)?).await?;
    views.into_iter().find(|view| view.id == id).ok_or(NOT_FOUND)
}

fn may_change(caller: &Caller, view: &View) -> Result<(), ApiError> {
    if view.owner.is_none() { may_share(caller) } else { Ok(()) }
}

fn may_share(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::OperationsWrite)?;
    caller.require_whole_organization()
}

/// Checks the parts of a view.
fn checked(
    name: String,
    filter: String,
    columns: List<String, MAX_COLUMNS>,
    now: Timestamp,
    found: &mut Found,
) -> (String, String, Vec<String>) {
    let mut check = |result: Result<(), Violation>| result.err().into_iter().for_each(|violation| found.add(violation));
    check(check_name("name", &name));
    match Search::parse(&filter, now) {
        Ok(search) => check(search.check_cost()),
        Err(error) => check(Err(error.violation("filter"))),
    }
    let columns = columns.optional("columns", found);
    for (index, column) in columns.iter().enumerate() {
        let field = format!("columns[{index}]");
        let is_empty = column.is_empty().then(|| Violation::new(&*field, "must not be empty"));
        for violation in is_empty.into_iter().chain(check_text(&field, column).err()) {
            found.add(violation);
        }
    }
    (name, filter, columns)
}

fn kept(outcome: ViewOutcome) -> Result<View, ApiError> {
    match outcome {
        ViewOutcome::Kept(view) => Ok(view),
        ViewOutcome::NameTaken => Err(ApiError::field("name", "is the name of another view; choose another one")),
        ViewOutcome::TooMany(MAX_ALL_PRIVATE_VIEWS) => Err(ApiError::field(
            "visibility",
            format!(
                "the tokens of the organization have {MAX_ALL_PRIVATE_VIEWS} private views, which is the most; delete some"
            ),
        )),
        ViewOutcome::TooMany(most) => Err(ApiError::field(
            "name",
            format!("is one too many: there are {most} views of this visibility; delete some"),
        )),
        ViewOutcome::Missing => Err(NOT_FOUND),
    }
}

async fn count(
    app: &App,
    caller: &Caller,
    view: &View,
    is_counted: impl Fn(&Search) -> bool,
) -> Result<Option<ViewCount>, ApiError> {
    // It was valid when it was saved; a later version may refuse it.
    let Ok(search) = Search::parse(&view.filter, app.store.now()) else { return Ok(None) };
    if app.store.check_search(&search).is_err() || !is_counted(&search) {
        return Ok(None);
    }
    let counted = app.store.count_matching(caller.access(), &search, GroupBy::default()).await?;
    Ok(Some(ViewCount { total: counted.total, is_exact: counted.is_exact }))
}
