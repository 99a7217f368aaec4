//! Claims: assigning operations to a worker, which may wait for them.

use std::collections::BTreeMap;
use std::time::Duration;

use operations::{OperationId, TraceContext, Violation, check_kind};
use serde::Deserialize;
use store::{Claimed, Organizations, Scope};
use utoipa::ToSchema;

use super::lease::MAX_ROWS;
use crate::app::App;
use crate::calls::duration;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, List, Read, quoted};
use crate::waiters::{Delivery, Group};

/// The longest that a worker may wait; a longer wait is cut to this.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
/// The most kinds of one claim: each costs a seek in an index.
const MAX_KINDS: usize = 100;
/// The most organizations of one claim.
const MAX_ORGANIZATIONS: usize = 1_000;

/// The claim of a worker.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimOperations {
    /// The kinds of operations that the worker runs.
    #[schema(value_type = Vec<String>, required = true, min_items = 1, max_items = 100, example = json!(["scan"]))]
    #[serde(default)]
    pub(crate) kinds: List<String, MAX_KINDS>,
    /// How many operations to claim at most.
    #[schema(minimum = 1, maximum = 1000, default = 1)]
    #[serde(default)]
    pub(crate) max_operations: Option<i64>,
    /// How long to wait for the first operation, in seconds with the suffix s; longer times count as 60s.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", default = "0s", example = "30s")]
    pub(crate) wait: Option<Duration>,
    /// For tokens of the instance: only operations of these organizations; by default of all that the token may act in.
    #[schema(value_type = Option<Vec<String>>, max_items = 1000, example = json!(["acme"]))]
    #[serde(default)]
    pub(crate) organizations: List<String, MAX_ORGANIZATIONS>,
}

/// Claims operations, and waits for the first.
pub(crate) async fn claim(app: &App, caller: &Caller, asked: Read<ClaimOperations>) -> Result<Delivery, ApiError> {
    caller.require_work()?;
    let (asked, mut found) = asked.into_parts();
    let mut kinds = asked.kinds.required("kinds", &mut found);
    kinds.sort_unstable();
    kinds.dedup();
    kinds.iter().filter_map(|kind| problem(app, kind)).for_each(|violation| found.add_another(violation));
    let most = asked.max_operations.unwrap_or(1);
    let max_operations = u32::try_from(most).ok().filter(|most| (1..=MAX_ROWS).contains(&(*most as usize)));
    if max_operations.is_none() {
        found.add(Violation::new("max_operations", format!("must be between 1 and {MAX_ROWS}")));
    }
    let among = among(caller, asked.organizations, &mut found);
    found.none()?;
    let wait = asked.wait.unwrap_or_default().min(MAX_WAIT);
    let access = among.is_none().then(|| caller.access().clone());
    let group = Group { access, among, worker: caller.token_id().to_owned(), kinds };
    caller.while_valid(app, app.waiters.wait(group, max_operations.unwrap_or(1), wait)).await
}

/// The organizations whose operations a token of the instance requests.
fn among(caller: &Caller, wanted: List<String, MAX_ORGANIZATIONS>, found: &mut Found) -> Option<Organizations> {
    let wanted = wanted.optional("organizations", found);
    let Some(reached) = caller.allowed_in(Scope::OperationsWork) else {
        if wanted.iter().any(|name| name != caller.organization()) {
            let description =
                format!("can only contain {}: other organizations need a token of the instance", caller.organization());
            found.add(Violation::new("organizations", description));
        }
        return None;
    };
    if wanted.is_empty() {
        return Some(reached.clone());
    }
    for name in wanted.iter().filter(|name| !reached.include(name)) {
        let description = format!("{} is not one of those that the token may act in", quoted(name));
        found.add_another(Violation::new("organizations", description));
    }
    Some(Organizations::Only(wanted.into_iter().collect()))
}

/// The spans of claimed attempts, in their order; none for operations that belong to no trace. The worker gets what was
/// claimed even when this look-up fails.
pub(crate) async fn traces(app: &App, claimed: &[Claimed]) -> Vec<Option<TraceContext>> {
    let mut spans = vec![None; claimed.len()];
    if !app.traces.is_on() {
        return spans;
    }
    let mut by_organization: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, claimed) in claimed.iter().enumerate() {
        by_organization.entry(&claimed.lease.organization).or_default().push(index);
    }
    for (organization, indexes) in by_organization {
        let ids: Vec<OperationId> = indexes.iter().map(|index| claimed[*index].operation.id).collect();
        match app.store.trace_contexts(organization, &ids).await {
            Ok(found) => indexes.into_iter().for_each(|index| {
                let created = found.get(&claimed[index].operation.id);
                let Claimed { operation, attempt, .. } = &claimed[index];
                spans[index] = created.map(|created| app.traces.at_attempt(*created, operation, *attempt));
            }),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not read the traces of claimed operations"
                );
            }
        }
    }
    spans
}

/// How long an attempt may take.
pub(crate) fn timeout(app: &App, claimed: &Claimed) -> Duration {
    let of_kind = app.defaults(&claimed.operation.kind).timeout;
    claimed.timeout.or(of_kind).unwrap_or(app.settings.work.attempt_timeout)
}

/// Why operations of this kind cannot be claimed, so that a worker does not wait for operations that never come.
fn problem(app: &App, kind: &str) -> Option<Violation> {
    if let Err(violation) = check_kind("kinds", kind) {
        return Some(violation);
    }
    if app.local_kinds.iter().any(|local| local == kind) {
        return Some(Violation::new("kinds", format!("{kind} is run by the server itself; leave it out")));
    }
    if app.allow_undeclared_kinds || app.kinds.iter().any(|known| known == kind) {
        return None;
    }
    let claimable = app.kinds.iter().filter(|kind| !app.local_kinds.contains(kind)).cloned().collect::<Vec<_>>();
    let claimable = if claimable.is_empty() { "(none)".to_owned() } else { claimable.join(", ") };
    Some(Violation::new(
        "kinds",
        format!("{kind} is not declared on this server; the kinds for workers are {claimable}"),
    ))
}
