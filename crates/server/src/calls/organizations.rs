//! How the operators of the service manage organizations, by a token of the instance with the scope `admin`: create,
//! list, limit, delete. The calls by which an organization manages itself are in [`super::pause`].

use std::collections::BTreeMap;
use std::time::Duration;

use operations::{Timestamp, Violation, check_name};
use serde::Deserialize;
use store::{Limits, Pausable, Paused, Scope, StoreError, go_on_deleting};
use utoipa::{IntoParams, ToSchema};

use super::page::Paged;
use super::pause::{self, Organization};
use crate::app::App;
use crate::audit::administrative;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, Read};

/// The most entries of a page.
const PAGE_SIZE: u32 = 100;
/// How long one call works on a deletion; then it answers with the progress, and the next call continues.
const DELETION: Duration = Duration::from_secs(10);

/// The limits of an organization. Those that are left out follow the configuration of the server.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetOrganizationLimits {
    /// How many operations may be unfinished at a time, pending or running, on all servers together; 0 for no limit.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, example = 10000)]
    pub(crate) max_pending: Option<u32>,
    /// How many operations may be created per second, on each server; 0 for no limit.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0, example = 50)]
    pub(crate) rate: Option<f64>,
    /// How many operations may be created at once after a pause; only together with rate.
    #[serde(default)]
    #[schema(value_type = Option<i32>, minimum = 0)]
    pub(crate) burst: Option<u32>,
    /// The longest input, in bytes.
    #[serde(default)]
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 1048576)]
    pub(crate) max_input: Option<u32>,
    /// The longest output, in bytes.
    #[serde(default)]
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 1048576)]
    pub(crate) max_output: Option<u32>,
    /// How many of its operations start for each one of an organization with the weight 1, while both have pending
    /// ones.
    #[serde(default)]
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 1000)]
    pub(crate) weight: Option<u32>,
    /// By kind, how many of its operations may run at a time, on all servers and workers together; 0 for no limit.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, i64>>, example = json!({"scan": 4}))]
    pub(crate) max_running: BTreeMap<String, u32>,
}

/// An organization to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateOrganization {
    /// The name of the organization: 1 to 128 bytes of printable text.
    #[schema(required = true, min_length = 1, max_length = 128, example = "acme")]
    #[serde(default)]
    pub(crate) name: String,
    /// The limits of the organization.
    #[schema(value_type = Option<SetOrganizationLimits>)]
    #[serde(default)]
    pub(crate) limits: Option<Read<SetOrganizationLimits>>,
}

/// Which organizations to list: all that the caller may manage.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListOrganizations {}

/// How an organization is deleted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteOrganization {
    /// Whether to delete everything that it has, too; otherwise it must have no operations and no evidence.
    #[param(value_type = Option<bool>, default = false, required = false)]
    #[serde(default)]
    pub(crate) force: String,
}

/// The progress of a deletion.
pub(crate) struct Deletion {
    /// The organization no longer exists. Otherwise the next call continues.
    pub(crate) done: bool,
    /// How many rows this call removed.
    pub(crate) removed_rows: u64,
}

/// Creates an organization.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    asked: Read<CreateOrganization>,
) -> Result<Organization, ApiError> {
    let (asked, mut found) = asked.into_parts();
    let targets = vec![format!("organizations/{}", pause::shortened(&asked.name))];
    let call = caller.recorded(caller.organization(), "organizations.create", targets);
    administrative(app, call, |store| async move {
        manages(caller)?;
        if let Err(violation) = check_name("name", &asked.name) {
            found.add(violation);
        }
        let (limits, wrong) = checked(asked.limits.unwrap_or_default());
        found.add_at("limits", wrong);
        found.none()?;
        if caller.allowed_in(Scope::Admin).is_some_and(|reached| !reached.include(&asked.name)) {
            return Err(ApiError::field("name", "is not one of the organizations that the token may manage"));
        }
        match store.create_organization(&asked.name, limits).await {
            Ok(true) => pause::read(app, &asked.name).await,
            Ok(false) => Err(ApiError::OrganizationExists),
            Err(StoreError::OrganizationGone) => Err(ApiError::OrganizationEnding),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// An organization in a list, and since when it is paused.
pub(crate) type Listed = (store::Organization, Option<Timestamp>);

/// One page of the organizations that the caller may manage, sorted by name, and where the next one begins.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    asked: Paged<ListOrganizations>,
) -> Result<(Vec<Listed>, Option<String>), ApiError> {
    manages(caller)?;
    let (page, ListOrganizations {}, found) = asked.into_parts();
    found.none()?;
    let size = page.size(PAGE_SIZE) as usize;
    let mut organizations = app.store.organizations().await?;
    let reached = caller.allowed_in(Scope::Admin);
    organizations.retain(|one| one.name > page.token && reached.is_some_and(|all| all.include(&one.name)));
    let has_more = organizations.len() > size;
    organizations.truncate(size);
    let next = organizations.last().filter(|_| has_more).map(|last| last.name.clone());
    let paused = app.store.paused().await?;
    let since = |one: &store::Organization| {
        let is_it = |paused: &&Paused| matches!(&paused.what, Pausable::Organization(name) if *name == one.name);
        paused.iter().find(is_it).map(|paused| paused.since)
    };
    let listed = organizations.into_iter().map(|one| {
        let since = since(&one);
        (one, since)
    });
    Ok((listed.collect(), next))
}

/// Sets the limits of an organization, as a whole.
pub(crate) async fn set_limits(
    app: &App,
    caller: &Caller,
    name: &str,
    asked: Read<SetOrganizationLimits>,
) -> Result<Organization, ApiError> {
    let targets = vec![format!("organizations/{}", pause::shortened(name))];
    let call = caller.recorded(pause::log(caller, name), "organizations.set_limits", targets);
    administrative(app, call, |store| async move {
        manages(caller)?;
        pause::authorize(app, caller, name).await?;
        let (limits, wrong) = checked(asked);
        wrong.none()?;
        if !store.set_limits(name, limits).await? {
            return Err(ApiError::NotFound("organization"));
        }
        pause::read(app, name).await
    })
    .await
}

/// Deletes an organization, or continues its deletion.
pub(crate) async fn delete(
    app: &App,
    caller: &Caller,
    name: &str,
    asked: Read<DeleteOrganization>,
) -> Result<Deletion, ApiError> {
    let (asked, mut found) = asked.into_parts();
    // Everything that it has is deleted with it, its log too: the log of the instance records that it was deleted. The
    // attempt of a caller that manages none is recorded in its own log.
    let log = if manages(caller).is_ok() { "" } else { caller.organization() };
    let targets = vec![format!("organizations/{}", pause::shortened(name))];
    let call = caller.recorded(log, "organizations.delete", targets);
    administrative(app, call, |store| async move {
        manages(caller)?;
        let force = match asked.force.as_str() {
            "" | "false" => false,
            "true" => true,
            _ => {
                found.add(Violation::new("force", "must be true or false"));
                false
            }
        };
        found.none()?;
        pause::authorize(app, caller, name).await?;
        let contents = app.store.contents(name).await?.ok_or(ApiError::NotFound("organization"))?;
        if !contents.is_being_deleted {
            let operations = contents.unfinished + contents.ended;
            let has = [(operations, counted(operations)), (contents.evidence, pieces(contents.evidence))];
            let has: Vec<String> = has.into_iter().filter(|(count, _)| *count > 0).map(|(_, has)| has).collect();
            if !force && !has.is_empty() {
                return Err(ApiError::OrganizationNotEmpty { what: has.join(" and ") });
            }
            let unfinished = store.begin_deletion(name, force).await?;
            if unfinished > 0 && !force {
                return Err(ApiError::OrganizationNotEmpty { what: counted(unfinished) });
            }
        }
        let mut removed_rows = 0;
        let time = DELETION.min(app.settings.request_timeout / 2);
        let deleted =
            go_on_deleting(&*app.store, Some(&app.content), name, Some(time), |rows| removed_rows = rows).await;
        Ok(Deletion { done: deleted?, removed_rows })
    })
    .await
}

fn counted(operations: u64) -> String {
    format!("{operations} operation{}", if operations == 1 { "" } else { "s" })
}

fn pieces(evidence: u64) -> String {
    format!("{evidence} piece{} of evidence", if evidence == 1 { "" } else { "s" })
}

/// These calls are for tokens that manage organizations.
fn manages(caller: &Caller) -> Result<(), ApiError> {
    match (caller.allowed_in(Scope::Admin), &caller.token().instance) {
        (Some(_), _) => Ok(()),
        (None, Some(_)) => Err(ApiError::ScopeMissing(Scope::Admin)),
        (None, None) => Err(ApiError::OfInstance),
    }
}

/// The limits, and what is wrong with them.
fn checked(asked: Read<SetOrganizationLimits>) -> (Limits, Found) {
    let (asked, mut found) = asked.into_parts();
    let limits = Limits {
        max_pending: asked.max_pending.map(u64::from),
        rate: asked.rate,
        burst: asked.burst,
        max_input: asked.max_input.map(u64::from),
        max_output: asked.max_output.map(u64::from),
        weight: asked.weight,
        max_running: asked.max_running,
    };
    limits.violations().into_iter().for_each(|violation| found.add(violation));
    (limits, found)
}
