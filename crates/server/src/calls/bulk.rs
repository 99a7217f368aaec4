//! Doing the same to all operations that match a filter.

use kinds::bulk::{self, BulkAction};
use operations::{Operation, Search, Violation};
use serde::Deserialize;
use store::{GroupBy, Scope};
use utoipa::ToSchema;

use super::idempotency;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::Read;

/// What is to be done, and to which operations.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkOperations {
    /// What is done to each of them.
    #[schema(value_type = BulkActionName, required = true)]
    #[serde(default)]
    pub(crate) action: String,
    /// Which operations, as for a search. Durations are before now.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 2048,
        example = "status = FAILED AND created_at >= \"-1h\""
    )]
    #[serde(default)]
    pub(crate) filter: String,
    /// Only tell how many match.
    #[schema(default = false)]
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// How many are expected to match: when the number now differs by more than a tenth, the call is refused with 409.
    #[schema(minimum = 0)]
    #[serde(default)]
    pub(crate) expected_count: Option<i64>,
}

/// The actions by name.
#[derive(ToSchema)]
#[schema(as = BulkAction, rename_all = "lowercase")]
#[allow(dead_code)]
pub(crate) enum BulkActionName {
    /// End what is pending, ask what runs to stop.
    Cancel,
    /// Try again what failed.
    Retry,
    /// Remove what has ended.
    Delete,
}

/// What came of the call.
pub(crate) struct Begun {
    /// How many operations match.
    pub(crate) count: u64,
    /// Whether that is all of them; else at least so many match.
    pub(crate) is_exact: bool,
    /// The operation that does it; none when the call only asks.
    pub(crate) operation: Option<Operation>,
}

/// Begins a bulk operation, or tells how many operations it would be about.
/// `key` is the client's idempotency key.
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
        let told = "must say which operations are meant, e.g. status = FAILED AND created_at >= \"-1h\"";
        found.add(Violation::new("filter", told));
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
    let matching = app.store.count_matching(caller.access(), &search, GroupBy::default()).await?;
    if let Some(expected) = expected
        && matching.total.abs_diff(expected) > expected / 10
    {
        return Err(ApiError::CountDiffers { now: matching.total, expected });
    }
    let mut begun = Begun { count: matching.total, is_exact: matching.is_exact, operation: None };
    if !asked.dry_run {
        let new = bulk::operation(action, &search, caller.access());
        let canonical = || format!("{} {:?}", action.name(), asked.filter);
        let key = idempotency::key(key, caller, "POST /v1/operations:bulk", canonical)?;
        let targets = vec![format!("bulk/{}", action.name()), format!("filter/{search}")];
        let store = caller.store(app, "operations.bulk", targets);
        begun.operation = Some(app.waker.create(&*store, caller.access(), new, None, key).await?);
    }
    Ok(begun)
}
