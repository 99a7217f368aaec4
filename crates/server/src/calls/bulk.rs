//! Bulk actions: the same command for all operations that match a filter, or for some that were picked one by one.

use kinds::bulk::{self, BulkAction};
use operations::search::Set;
use operations::{Operation, OperationId, Search, Status, Violation};
use serde::Deserialize;
use store::{GroupBy, Scope};
use utoipa::ToSchema;

use super::idempotency;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::Read;

/// A bulk action to carry out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkOperations {
    /// The action for each of the operations.
    #[schema(value_type = BulkActionName, required = true)]
    #[serde(default)]
    pub(crate) action: String,
    /// Which operations, as for a search. Relative times count back from now.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 2048,
        example = "status = FAILED AND created_at >= \"-1h\""
    )]
    #[serde(default)]
    pub(crate) filter: String,
    /// Whether to only count the operations that match.
    #[schema(default = false)]
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// How many operations are expected to match. If the number now differs by more than a tenth, the call is refused
    /// with 409.
    #[schema(minimum = 0)]
    #[serde(default)]
    pub(crate) expected_count: Option<i64>,
}

/// The actions by name.
#[derive(ToSchema)]
#[schema(as = BulkAction, rename_all = "lowercase")]
#[allow(dead_code)]
pub(crate) enum BulkActionName {
    /// Cancel pending operations, and ask running ones to stop.
    Cancel,
    /// Retry failed operations.
    Retry,
    /// Delete ended operations.
    Delete,
}

/// The most operations that can be picked one by one: a page of them.
const MAX_PICKED: usize = 1_000;

/// The refusal of a caller that is limited to several projects, and would not see a bulk operation that is in no
/// project.
const ONE_PROJECT: &str = "must name one of the projects that the token is limited to, e.g. project_id = web, because the \
    bulk operation belongs to one project";

/// The outcome of the call.
pub(crate) struct Begun {
    /// How many operations match.
    pub(crate) count: u64,
    /// How many of them have which status; statuses that none of them has are left out.
    pub(crate) by_status: Vec<(Status, u64)>,
    /// Whether that is all of them; otherwise at least this many match.
    pub(crate) is_exact: bool,
    /// The operation that carries out the action; none for a dry run.
    pub(crate) operation: Option<Operation>,
}

/// Begins a bulk operation, or answers how many operations it would affect. `key` is the client's idempotency key.
pub(crate) async fn begin(
    app: &App,
    caller: &Caller,
    asked: Read<BulkOperations>,
    key: Option<&str>,
) -> Result<Begun, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let (asked, mut found) = asked.into_parts();
    let action = BulkAction::named(&asked.action);
    if action.is_none() {
        found.add(Violation::new("action", "must be cancel, retry or delete"));
    }
    let mut search = None;
    if asked.filter.is_empty() {
        let description = "must say which operations are meant, e.g. status = FAILED AND created_at >= \"-1h\"";
        found.add(Violation::new("filter", description));
    } else {
        match Search::parse(&asked.filter, app.store.now()) {
            Ok(parsed) => match app.store.check_search(&parsed) {
                Ok(()) => search = Some(bulk::without_bulk(parsed)),
                Err(violation) => found.add(violation),
            },
            Err(invalid) => found.add(invalid.violation("filter")),
        }
    }
    let expected = asked.expected_count.map(|expected| {
        u64::try_from(expected).unwrap_or_else(|_| {
            found.add(Violation::new("expected_count", "must not be negative"));
            0
        })
    });
    found.none()?;
    let (Some(action), Some(search)) = (action, search) else {
        return Err(ApiError::field("filter", "is missing"));
    };
    let canonical = format!("{} {:?}", action.name(), asked.filter);
    carry_out(app, caller, Order { action, search, canonical, expected, dry_run: asked.dry_run }, key).await
}

/// The same for operations that were picked one by one.
pub(crate) async fn begin_with(
    app: &App,
    caller: &Caller,
    action: BulkAction,
    ids: Vec<OperationId>,
    dry_run: bool,
    key: Option<&str>,
) -> Result<Begun, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    if ids.is_empty() || ids.len() > MAX_PICKED {
        return Err(ApiError::field("id", format!("must be given at least once and at most {MAX_PICKED} times")));
    }
    let mut search = bulk::without_bulk(Search { id: Set::among(ids), ..Search::default() });
    let canonical = format!("{} {search}", action.name());
    if bulk::project(&search, caller.access()).is_none() {
        search.project_id = project_of(app, caller, &search).await?;
    }
    carry_out(app, caller, Order { action, search, canonical, expected: None, dry_run }, key).await
}

/// The project of the operations that were picked, if all are in one; otherwise any.
async fn project_of(app: &App, caller: &Caller, search: &Search) -> Result<Set<String>, ApiError> {
    let by_project = GroupBy { project_id: true, ..GroupBy::default() };
    let matching = app.store.count_matching(caller.access(), search, by_project).await?;
    let mut projects = matching.groups.into_iter().filter_map(|group| group.project_id);
    Ok(match (projects.next(), projects.next()) {
        (Some(only), None) => Set::among([only]),
        _ => Set::default(),
    })
}

/// A bulk action, checked.
struct Order {
    action: BulkAction,
    search: Search,
    /// Distinguishes it from other orders.
    canonical: String,
    expected: Option<u64>,
    dry_run: bool,
}

async fn carry_out(app: &App, caller: &Caller, order: Order, key: Option<&str>) -> Result<Begun, ApiError> {
    let Order { action, search, canonical, expected, dry_run } = order;
    let key = if dry_run { None } else { idempotency::key(key, caller, "POST /v1/operations:bulk", || canonical)? };
    // The call may have taken effect already: then fewer match, and the answer is that of the first one.
    let earlier = match &key {
        Some(key) => app.store.created_with(&caller.access().organization, key).await?,
        None => None,
    };
    let by_status = GroupBy { status: true, ..GroupBy::default() };
    let matching = app.store.count_matching(caller.access(), &search, by_status).await?;
    if let Some(expected) = expected
        && earlier.is_none()
        && matching.total.abs_diff(expected) > expected / 10
    {
        return Err(ApiError::CountDiffers { now: matching.total, expected });
    }
    let by_status = matching.groups.iter().filter_map(|group| Some((group.status?, group.count))).collect();
    let mut begun = Begun { count: matching.total, by_status, is_exact: matching.is_exact, operation: None };
    if !dry_run {
        if bulk::project(&search, caller.access()).is_none() {
            return Err(ApiError::field("filter", ONE_PROJECT));
        }
        let mut new = bulk::operation(action, &search, caller.access());
        new.trace = caller.trace();
        let targets = vec![format!("bulk/{}", action.name()), format!("filter/{search}")];
        let store = caller.store(app, "operations.bulk", targets);
        begun.operation = Some(app.waker.create(&*store, caller.access(), new, None, key).await?);
    }
    Ok(begun)
}
