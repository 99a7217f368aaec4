//! `/v1/schedules`: schedules, which create operations at given times.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Uri;
use http::header::HeaderMap;
use operations::{NewOperation, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use store::Schedule;
use utoipa::ToSchema;

use super::caller::{Caller, Querying};
use super::openapi::{CreateErrors, ItemErrors, ListErrors, UpdateErrors};
use super::routing::method_not_allowed;
use super::{body, path_text};
use crate::app::App;
use crate::calls::duration;
use crate::calls::schedules::{self, CreateSchedule, ListSchedules, UpdateSchedule};
use crate::error::ApiError;
use crate::render::{self, OperationAnswer, to_json};
use crate::strict;

/// Create a schedule
///
/// A schedule creates its operation once at each due time, however many servers are running.
#[utoipa::path(post, path = "/v1/schedules", operation_id = "SchedulesService_CreateSchedule",
    tag = "SchedulesService",
    request_body(content = CreateSchedule, example = json!({"name": "nightly-scan", "cron": "0 3 * * *",
        "time_zone": "Europe/Berlin", "operation": {"kind": "scan"}})),
    responses((status = 200, description = "The schedule.", body = ScheduleAnswer), CreateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<CreateSchedule<'_>>(&body)?;
    Ok(answer(&schedules::create(&app, &caller, asked).await?))
}

/// List schedules
///
/// Returns one page of the schedules, sorted by name.
#[utoipa::path(get, path = "/v1/schedules", operation_id = "SchedulesService_ListSchedules", tag = "SchedulesService",
    params(ListSchedules), responses((status = 200, description = "The page.", body = SchedulesPage), ListErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = strict::query::<ListSchedules>(&query)?;
    let (found, next) = schedules::list(&app, &caller, asked).await?;
    let schedules = found.iter().map(WireSchedule::from).collect();
    Ok(render::response(to_json(&SchedulesPage { schedules, next_page_token: next.unwrap_or_default() })))
}

/// Get a schedule
#[utoipa::path(get, path = "/v1/schedules/{schedule}", operation_id = "SchedulesService_GetSchedule",
    tag = "SchedulesService", params(("schedule" = String, Path, description = "The name of the schedule.")),
    responses((status = 200, description = "The schedule.", body = ScheduleAnswer), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    Ok(answer(&schedules::get(&app, &caller, &path_text(path)?).await?))
}

/// Change a schedule
///
/// Fields that are left out do not change; the operation is replaced as a whole. If the due times change, the new ones
/// take effect now.
#[utoipa::path(patch, path = "/v1/schedules/{schedule}", operation_id = "SchedulesService_UpdateSchedule",
    tag = "SchedulesService", params(("schedule" = String, Path, description = "The name of the schedule.")),
    request_body(content = UpdateSchedule, example = json!({"overlap": "skip"})),
    responses((status = 200, description = "The schedule.", body = ScheduleAnswer), UpdateErrors))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let name = path_text(path)?;
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<UpdateSchedule<'_>>(&body)?;
    Ok(answer(&schedules::update(&app, &caller, &name, asked).await?))
}

/// Delete a schedule
///
/// The operations that it has created remain.
#[utoipa::path(delete, path = "/v1/schedules/{schedule}", operation_id = "SchedulesService_DeleteSchedule",
    tag = "SchedulesService", params(("schedule" = String, Path, description = "The name of the schedule.")),
    responses((status = 200, description = "The schedule was deleted.", body = render::Empty), ItemErrors))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    body::none(&app, &caller, body).await?;
    schedules::delete(&app, &caller, &path_text(path)?).await?;
    Ok(render::response("{}"))
}

/// `:pause`, `:resume` and `:trigger`.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    body::none(&app, &caller, body).await?;
    match target.rsplit_once(':') {
        Some((name, "pause")) => pause(&app, &caller, name).await,
        Some((name, "resume")) => resume(&app, &caller, name).await,
        Some((name, "trigger")) => trigger(&app, &caller, name).await,
        Some(_) => Err(ApiError::NotFound("path")),
        None => Ok(method_not_allowed(uri.path())),
    }
}

/// Pause a schedule
///
/// It creates nothing until it is resumed. Pausing a paused schedule changes nothing.
#[utoipa::path(post, path = "/v1/schedules/{schedule}:pause", operation_id = "SchedulesService_PauseSchedule",
    tag = "SchedulesService", params(("schedule" = String, Path, description = "The name of the schedule.")),
    responses((status = 200, description = "The schedule.", body = ScheduleAnswer), ItemErrors))]
async fn pause(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    Ok(answer(&schedules::pause(app, caller, name, true).await?))
}

/// Resume a schedule
///
/// It continues with the due times from now on; those that passed while it was paused are not made up for.
#[utoipa::path(post, path = "/v1/schedules/{schedule}:resume", operation_id = "SchedulesService_ResumeSchedule",
    tag = "SchedulesService", params(("schedule" = String, Path, description = "The name of the schedule.")),
    responses((status = 200, description = "The schedule.", body = ScheduleAnswer), ItemErrors))]
async fn resume(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    Ok(answer(&schedules::pause(app, caller, name, false).await?))
}

/// Trigger a schedule
///
/// Creates its operation now, even while it is paused; its due times do not change. If the previous operation has not
/// ended, overlap applies as at a due time; with skip, the call is refused.
#[utoipa::path(post, path = "/v1/schedules/{schedule}:trigger", operation_id = "SchedulesService_TriggerSchedule",
    tag = "SchedulesService", params(("schedule" = String, Path, description = "The name of the schedule.")),
    responses((status = 200, description = "The operation.", body = OperationAnswer), ItemErrors))]
async fn trigger(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    let operation = schedules::trigger(app, caller, name).await?;
    Ok(render::response(to_json(&OperationAnswer::from(&operation))))
}

fn answer(schedule: &Schedule) -> Response {
    render::response(to_json(&ScheduleAnswer { schedule: schedule.into() }))
}

/// `{"schedule":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct ScheduleAnswer<'a> {
    /// The schedule.
    schedule: WireSchedule<'a>,
}

/// Schedules, sorted by name.
#[derive(Serialize, ToSchema)]
pub(super) struct SchedulesPage<'a> {
    /// The schedules.
    schedules: Vec<WireSchedule<'a>>,
    /// The token that requests the next page; empty on the last page.
    next_page_token: String,
}

/// A schedule. Texts that are not set are empty; times that are not set are left out.
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(super) struct WireSchedule<'a> {
    /// The name of the schedule.
    name: &'a str,
    /// The cron expression of its due times; empty when every is given.
    cron: &'a str,
    /// The time between its due times, in seconds with the suffix s; empty when cron is given.
    every: String,
    /// The time zone of cron; empty for UTC.
    time_zone: &'a str,
    /// The operation that it creates each time.
    operation: WireTemplate<'a>,
    /// What happens when the previous operation has not ended: allow, skip or cancel_previous.
    overlap: &'static str,
    /// Which missed due times are made up for: none, latest or all.
    catch_up: &'static str,
    /// The longest delay that is added to each due time, in seconds with the suffix s.
    jitter: String,
    /// Whether it is paused: it creates nothing until it is resumed.
    paused: bool,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// The next five due times, without the delay of jitter.
    next_times: Vec<String>,
    /// The last due time at which it created an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    last_time: Option<String>,
    /// The id of the last operation that it created, at a due time or when it was triggered; empty before the first.
    last_operation: String,
    /// The last due time at which it created none, because the time was missed or the operations would have overlapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    last_skipped_time: Option<String>,
    /// Why it could not create an operation the last time; empty if it could.
    last_error: &'a str,
    /// When that error occurred.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    last_error_time: Option<String>,
}

/// The operation that a schedule creates.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduledOperation)]
struct WireTemplate<'a> {
    /// The kind of work.
    kind: &'a str,
    /// The type of the resource that it is about.
    resource_type: &'a str,
    /// The id of the resource that it is about.
    resource_id: &'a str,
    /// The project that it belongs to.
    project_id: &'a str,
    /// The version of the project.
    project_version_id: &'a str,
    /// Labels, by which the operation can be found.
    labels: &'a std::collections::BTreeMap<String, String>,
    /// The input for the handler or worker; left out when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    input: Option<&'a RawValue>,
    /// Its priority: among pending operations, those with a higher one start first.
    priority: i16,
    /// How long one attempt may take, in seconds with the suffix s; left out for the setting of the kind or the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    timeout: Option<String>,
    /// The largest number of attempts.
    #[schema(value_type = i32)]
    max_attempts: u32,
    /// How long it is kept after its end, in seconds with the suffix s; left out for the setting of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retain_for: Option<String>,
    /// At most `concurrency_limit` operations with this key run at a time.
    concurrency_key: &'a str,
    /// How many operations with the `concurrency_key` may run at a time; left out without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, nullable = false)]
    concurrency_limit: Option<u32>,
}

impl<'a> From<&'a Schedule> for WireSchedule<'a> {
    fn from(schedule: &'a Schedule) -> WireSchedule<'a> {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let wanted = &schedule.wanted;
        WireSchedule {
            name: &wanted.name,
            cron: &wanted.cron,
            every: wanted.every.map(duration::write).unwrap_or_default(),
            time_zone: &wanted.time_zone,
            operation: (&wanted.operation).into(),
            overlap: wanted.overlap.name(),
            catch_up: wanted.catch_up.name(),
            jitter: duration::write(wanted.jitter),
            paused: wanted.paused,
            created_at: schedule.created_at.to_string(),
            updated_at: schedule.updated_at.to_string(),
            next_times: schedule.next_times().iter().map(Timestamp::to_string).collect(),
            last_time: time(schedule.last_time),
            last_operation: schedule.last_operation.map(|id| id.to_string()).unwrap_or_default(),
            last_skipped_time: time(schedule.passed_over),
            last_error: &schedule.last_error,
            last_error_time: time(schedule.last_error_at),
        }
    }
}

impl<'a> From<&'a NewOperation> for WireTemplate<'a> {
    fn from(new: &'a NewOperation) -> WireTemplate<'a> {
        let resource = new.resource.as_ref();
        WireTemplate {
            kind: &new.kind,
            resource_type: resource.map_or("", |resource| &resource.resource_type),
            resource_id: resource.map_or("", |resource| &resource.resource_id),
            project_id: &new.project_id,
            project_version_id: &new.project_version_id,
            labels: &new.labels,
            input: serde_json::from_str(&new.input).ok(),
            priority: new.priority,
            timeout: new.timeout.map(duration::write),
            max_attempts: new.max_attempts,
            retain_for: new.retain_for.map(duration::write),
            concurrency_key: new.concurrency.as_ref().map_or("", |concurrency| &concurrency.key),
            concurrency_limit: new.concurrency.as_ref().map(|concurrency| concurrency.limit),
        }
    }
}
