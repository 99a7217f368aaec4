//! Schedules, which create operations at given times.
//!
//! A caller that may create an operation may schedule one: a schedule is checked like a creation, when it is created
//! and when it is changed, and continues after the token that created it is revoked. A token that is limited to
//! projects sees the schedules of these projects.

use std::time::Duration;

use operations::schedule::{CatchUp, NewSchedule, Overlap, check_schedule_name};
use operations::{NewOperation, Operation, Violation};
use serde::Deserialize;
use store::{Schedule, ScheduleRefusal, Scope, trigger_schedule};
use utoipa::{IntoParams, ToSchema};

use super::creation::{self, CreateOperation};
use super::duration;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, Read};

/// Entries of a page, unless the client requests fewer.
const PAGE_SIZE: u32 = 100;
/// How often a change is tried when other changes get in its way.
const TRIES: u32 = 5;

/// A schedule to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSchedule<'a> {
    /// The name of the schedule, unique in the organization: 1 to 128 letters, digits, '_', '-' or '.'.
    #[schema(required = true, min_length = 1, max_length = 128, example = "nightly-scan")]
    #[serde(default)]
    pub(crate) name: String,
    /// A cron expression of its due times: five fields (minute, hour, day of the month, month, day of the week), or
    /// six with the seconds first. Give either this or every.
    #[schema(value_type = Option<String>, max_length = 256, example = "0 3 * * *")]
    #[serde(default)]
    pub(crate) cron: String,
    /// The time between its due times, in seconds with the suffix s; at least one second. Give either this or cron.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "3600s")]
    pub(crate) every: Option<Duration>,
    /// The time zone of cron, by its name in the IANA database; by default UTC.
    #[schema(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    #[serde(default)]
    pub(crate) time_zone: String,
    /// The operation that it creates each time; without run_after and unique_key.
    #[serde(default, borrow)]
    #[schema(value_type = CreateOperation, required = true)]
    pub(crate) operation: Option<Read<CreateOperation<'a>>>,
    /// What happens at a due time when the previous operation has not ended: allow (both run at the same time), skip,
    /// or cancel_previous.
    #[schema(value_type = Option<String>, pattern = "^(allow|skip|cancel_previous)$", default = "allow")]
    #[serde(default)]
    pub(crate) overlap: String,
    /// Which of the due times that were missed by more than a minute are made up for: none, latest, or all (at most
    /// 100).
    #[schema(value_type = Option<String>, pattern = "^(none|latest|all)$", default = "latest")]
    #[serde(default)]
    pub(crate) catch_up: String,
    /// The longest delay that is added to each due time, in seconds with the suffix s.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "60s")]
    pub(crate) jitter: Option<Duration>,
    /// Whether it is paused: it creates nothing until it is resumed.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub(crate) paused: Option<bool>,
}

/// The changes to a schedule. Fields that are left out do not change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateSchedule<'a> {
    /// A cron expression of its due times: five fields (minute, hour, day of the month, month, day of the week), or
    /// six with the seconds first. Give either this or every.
    #[schema(value_type = Option<String>, max_length = 256, example = "0 3 * * *")]
    #[serde(default)]
    pub(crate) cron: String,
    /// The time between its due times, in seconds with the suffix s; at least one second. Give either this or cron.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "3600s")]
    pub(crate) every: Option<Duration>,
    /// The time zone of cron, by its name in the IANA database; by default UTC.
    #[schema(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    #[serde(default)]
    pub(crate) time_zone: String,
    /// The operation that it creates each time; without run_after and unique_key.
    #[serde(default, borrow)]
    #[schema(value_type = Option<CreateOperation>)]
    pub(crate) operation: Option<Read<CreateOperation<'a>>>,
    /// What happens at a due time when the previous operation has not ended: allow (both run at the same time), skip,
    /// or cancel_previous.
    #[schema(value_type = Option<String>, pattern = "^(allow|skip|cancel_previous)$")]
    #[serde(default)]
    pub(crate) overlap: String,
    /// Which of the due times that were missed by more than a minute are made up for: none, latest, or all (at most
    /// 100).
    #[schema(value_type = Option<String>, pattern = "^(none|latest|all)$")]
    #[serde(default)]
    pub(crate) catch_up: String,
    /// The longest delay that is added to each due time, in seconds with the suffix s.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "60s")]
    pub(crate) jitter: Option<Duration>,
    /// Whether it is paused: it creates nothing until it is resumed.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub(crate) paused: Option<bool>,
}

/// Which schedules to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSchedules {
    /// Entries per page, at most 100; a larger number counts as 100.
    #[param(value_type = Option<i32>, minimum = 0, default = 100, required = false)]
    #[serde(default)]
    pub(crate) page_size: Option<u32>,
    /// The next_page_token of the previous page.
    #[param(required = false)]
    #[serde(default)]
    pub(crate) page_token: String,
}

/// Creates a schedule.
pub(crate) async fn create(app: &App, caller: &Caller, asked: Read<CreateSchedule<'_>>) -> Result<Schedule, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let (asked, mut found) = asked.into_parts();
    let operation = match asked.operation {
        Some(operation) => template(app, operation, &mut found),
        None => {
            found.add(Violation::new(
                "operation",
                "must be given: it is the operation that the schedule creates each time",
            ));
            // Valid in itself, so that nothing else is reported about it.
            NewOperation::of_kind("none")
        }
    };
    let wanted = NewSchedule {
        name: asked.name,
        cron: asked.cron,
        every: asked.every,
        time_zone: asked.time_zone,
        operation,
        overlap: named(
            &asked.overlap,
            "overlap",
            Overlap::from_name,
            Overlap::ALL.iter().map(|one| one.name()),
            &mut found,
        ),
        catch_up: named(
            &asked.catch_up,
            "catch_up",
            CatchUp::from_name,
            CatchUp::ALL.iter().map(|one| one.name()),
            &mut found,
        ),
        jitter: asked.jitter.unwrap_or_default(),
        paused: asked.paused.unwrap_or(false),
    };
    let wanted = checked(app, caller, wanted, found, true).await?;
    let store = caller.store(app, "schedules.create", targets(&wanted.name));
    Ok(store.create_schedule(caller.organization(), wanted).await??)
}

/// One page of the schedules that the caller sees, sorted by name, and where the next one begins.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    asked: Read<ListSchedules>,
) -> Result<(Vec<Schedule>, Option<String>), ApiError> {
    caller.require(Scope::OperationsRead)?;
    let (asked, mut found) = asked.into_parts();
    if !asked.page_token.is_empty() && check_schedule_name("page_token", &asked.page_token).is_err() {
        found.add(Violation::new("page_token", "must be the next_page_token of a previous answer"));
    }
    found.none()?;
    let size = asked.page_size.filter(|size| *size > 0).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
    let mut schedules = app.store.schedules(caller.access(), &asked.page_token, size + 1).await?;
    let has_more = schedules.len() > size as usize;
    schedules.truncate(size as usize);
    let next = schedules.last().filter(|_| has_more).map(|last| last.wanted.name.clone());
    Ok((schedules, next))
}

/// A schedule.
pub(crate) async fn get(app: &App, caller: &Caller, name: &str) -> Result<Schedule, ApiError> {
    caller.require(Scope::OperationsRead)?;
    known(name)?;
    app.store.schedule(caller.access(), name).await?.ok_or(ApiError::NotFound("schedule"))
}

/// Changes a schedule.
pub(crate) async fn update(
    app: &App,
    caller: &Caller,
    name: &str,
    asked: Read<UpdateSchedule<'_>>,
) -> Result<Schedule, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let (asked, mut found) = asked.into_parts();
    let operation = asked.operation.map(|operation| template(app, operation, &mut found));
    let overlap = Some(&asked.overlap)
        .filter(|name| !name.is_empty())
        .map(|name| named(name, "overlap", Overlap::from_name, Overlap::ALL.iter().map(|one| one.name()), &mut found));
    let catch_up = Some(&asked.catch_up)
        .filter(|name| !name.is_empty())
        .map(|name| named(name, "catch_up", CatchUp::from_name, CatchUp::ALL.iter().map(|one| one.name()), &mut found));
    if !asked.cron.is_empty() && asked.every.is_some() {
        found.add(Violation::new("every", "must not be given together with cron"));
    }
    found.none()?;
    let change = |wanted: &mut NewSchedule| {
        // One instead of the other.
        if !asked.cron.is_empty() {
            wanted.cron.clone_from(&asked.cron);
            wanted.every = None;
        }
        if asked.every.is_some() {
            wanted.every = asked.every;
            wanted.cron.clear();
            wanted.time_zone.clear();
        }
        if !asked.time_zone.is_empty() {
            wanted.time_zone.clone_from(&asked.time_zone);
        }
        if let Some(operation) = &operation {
            wanted.operation.clone_from(operation);
        }
        wanted.overlap = overlap.unwrap_or(wanted.overlap);
        wanted.catch_up = catch_up.unwrap_or(wanted.catch_up);
        wanted.jitter = asked.jitter.unwrap_or(wanted.jitter);
        wanted.paused = asked.paused.unwrap_or(wanted.paused);
    };
    changed(app, caller, name, "schedules.update", operation.is_some(), change).await
}

/// Pauses or resumes a schedule; nothing changes if that was done before.
pub(crate) async fn pause(app: &App, caller: &Caller, name: &str, paused: bool) -> Result<Schedule, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let action = if paused { "schedules.pause" } else { "schedules.resume" };
    changed(app, caller, name, action, false, |wanted| wanted.paused = paused).await
}

/// Removes a schedule.
pub(crate) async fn delete(app: &App, caller: &Caller, name: &str) -> Result<(), ApiError> {
    caller.require(Scope::OperationsWrite)?;
    known(name)?;
    let store = caller.store(app, "schedules.delete", targets(name));
    Ok(store.delete_schedule(caller.access(), name).await??)
}

/// Creates the operation of a schedule now.
pub(crate) async fn trigger(app: &App, caller: &Caller, name: &str) -> Result<Operation, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    known(name)?;
    let store = caller.store(app, "schedules.trigger", targets(name));
    let operation = trigger_schedule(&*store, &*app.store, caller.access(), name).await??;
    app.waker.created(&operation.kind);
    Ok(operation)
}

/// Changes a schedule as it is stored now; tries again when somebody else changes it at the same time.
async fn changed(
    app: &App,
    caller: &Caller,
    name: &str,
    action: &'static str,
    has_new_operation: bool,
    change: impl Fn(&mut NewSchedule),
) -> Result<Schedule, ApiError> {
    known(name)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let kept = app.store.schedule(caller.access(), name).await?.ok_or(ApiError::NotFound("schedule"))?;
        let mut wanted = kept.wanted.clone();
        change(&mut wanted);
        if wanted == kept.wanted {
            return Ok(kept);
        }
        let wanted = checked(app, caller, wanted, Found::default(), has_new_operation).await?;
        let store = caller.store(app, action, targets(name));
        match store.update_schedule(caller.access(), wanted, &kept).await? {
            Err(ScheduleRefusal::Changed) if tries < TRIES => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// A schedule that may be stored. Its operation is checked like that of a creation, if it is a new one.
async fn checked(
    app: &App,
    caller: &Caller,
    mut wanted: NewSchedule,
    mut found: Found,
    has_new_operation: bool,
) -> Result<NewSchedule, ApiError> {
    wanted.violations(app.store.now()).into_iter().for_each(|violation| found.add(violation));
    found.none()?;
    if has_new_operation {
        let completed = creation::complete(app, caller, &mut wanted.operation).await;
        completed.map_err(|error| creation::at("operation.".to_owned(), error))?;
    }
    Ok(wanted)
}

/// What is created each time.
fn template(app: &App, asked: Read<CreateOperation<'_>>, found: &mut Found) -> NewOperation {
    let is_none = asked.violations.iter().any(|violation| violation.field.is_empty());
    let (operation, wrong) = creation::check(app, asked);
    found.add_at("operation", wrong);
    // A value that is no operation at all is not checked further.
    if is_none { NewOperation::of_kind("none") } else { operation }
}

/// The value of a name; the default where the name is not given or not known.
fn named<T: Default>(
    name: &str,
    field: &str,
    read: impl Fn(&str) -> Option<T>,
    names: impl Iterator<Item = &'static str>,
    found: &mut Found,
) -> T {
    if name.is_empty() {
        return T::default();
    }
    read(name).unwrap_or_else(|| {
        let names = names.collect::<Vec<_>>().join(", ");
        found.add(Violation::new(field, format!("must be one of {names}")));
        T::default()
    })
}

/// No schedule has a name that is not valid.
fn known(name: &str) -> Result<(), ApiError> {
    check_schedule_name("name", name).map_err(|_| ApiError::NotFound("schedule"))
}

fn targets(name: &str) -> Vec<String> {
    vec![format!("schedules/{name}")]
}
