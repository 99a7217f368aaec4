//! `/ui/schedules`: schedules, which create operations at given times.

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use operations::Timestamp;
use operations::schedule::{CatchUp, Overlap};
use store::{Schedule, Scope};

use super::assets::Assets;
use super::error::Problem;
use super::filter;
use super::form::{Fields, Name, Sent, Wrong};
use super::format::{When, pretty};
use super::operations::{Row, row_of};
use super::respond;
use super::schedule_form::{Typed, span};
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::schedules::{self, CreateSchedule, ListSchedules, UpdateSchedule};
use crate::calls::search::{self, SearchOperations};
use crate::error::ApiError;
use crate::strict::{self, Read};

/// The page of all schedules.
const HERE: &str = "/ui/schedules";
/// The most operations of a schedule that are shown.
const SHOWN_OPERATIONS: u32 = 10;

#[derive(Template)]
#[template(path = "ui/schedules.html")]
struct ListPage {
    assets: Assets,
    frame: Frame,
    schedules: Vec<Shown>,
    /// The address of the next page; empty on the last one.
    next_url: String,
    is_first: bool,
}

#[derive(Template)]
#[template(path = "ui/schedule.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    schedule: Shown,
    overlap: &'static str,
    catch_up: &'static str,
    jitter: String,
    created: When,
    changed: When,
    last: Option<When>,
    passed_over: Option<When>,
    input: String,
    times: Vec<When>,
    operations: Vec<Row>,
    operations_url: String,
}

#[derive(Template)]
#[template(path = "ui/schedule_form.html")]
struct FormPage {
    assets: Assets,
    frame: Frame,
    /// The name of the schedule that is edited; empty for a new one.
    name: String,
    typed: Typed,
    overlaps: Vec<(&'static str, &'static str)>,
    catch_ups: Vec<(&'static str, &'static str)>,
    wrong: Wrong,
}

/// A schedule as lists show it.
struct Shown {
    name: String,
    url: String,
    /// `0 3 * * * (Europe/Berlin)`, or `every 1 h`.
    timing: String,
    kind: String,
    kind_url: String,
    project: String,
    is_paused: bool,
    next: Option<When>,
    last_operation: String,
    error: String,
    error_at: Option<When>,
}

/// The address of a schedule.
pub(super) fn url(name: &str) -> String {
    format!("{HERE}/{name}")
}

/// `GET /ui/schedules`.
pub(super) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let after = fields.one("after").to_owned();
    let is_first = after.is_empty();
    let value = ListSchedules { page_size: None, page_token: after };
    let (found, next) = schedules::list(&app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    let now = app.store.now();
    let template = ListPage {
        assets: Assets,
        frame: visitor.frame("schedules"),
        schedules: found.iter().map(|schedule| shown(schedule, now)).collect(),
        next_url: next.map_or(String::new(), |next| format!("{HERE}?after={next}")),
        is_first,
    };
    respond::page(&headers, &template)
}

/// `GET /ui/schedules/{name}`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Name(name): Name,
) -> Result<Response, Problem> {
    let schedule = Problem::found(&name, schedules::get(&app, &visitor.caller, &name).await)?;
    let now = app.store.now();
    let at = |at: Timestamp| When::new(at, now);
    let operations = operations(&app, &visitor, &schedule, now).await?;
    let wanted = &schedule.wanted;
    let template = Page {
        assets: Assets,
        frame: visitor.frame("schedules"),
        overlap: overlap(wanted.overlap),
        catch_up: catch_up(wanted.catch_up),
        jitter: if wanted.jitter.is_zero() { String::new() } else { span(wanted.jitter) },
        created: at(schedule.created_at),
        changed: at(schedule.updated_at),
        last: schedule.last_time.map(at),
        passed_over: schedule.passed_over.map(at),
        input: pretty(&wanted.operation.input),
        times: schedule.next_times().into_iter().map(at).collect(),
        operations,
        operations_url: filter::url_of("schedule", &wanted.name),
        schedule: shown(&schedule, now),
    };
    respond::page(&headers, &template)
}

/// `GET /ui/schedules:new`.
pub(super) async fn new(visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    visitor.caller.require(Scope::OperationsWrite)?;
    let typed = Typed {
        overlap: Overlap::default().name().to_owned(),
        catch_up: CatchUp::default().name().to_owned(),
        ..Typed::default()
    };
    form(&visitor, &headers, String::new(), typed, Wrong::default(), StatusCode::OK)
}

/// `POST /ui/schedules`.
pub(super) async fn create(State(app): State<App>, headers: HeaderMap, sent: Sent) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    visitor.caller.require(Scope::OperationsWrite)?;
    let typed = Typed::of(&fields);
    let made = match typed.creation() {
        Ok(body) => match strict::json::<CreateSchedule<'_>>(body.as_bytes()) {
            Ok(asked) => schedules::create(&app, &visitor.caller, asked).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match made {
        Ok(schedule) => Ok(Redirect::to(&url(&schedule.wanted.name)).into_response()),
        Err(error) => {
            let (wrong, status) = Wrong::of(error)?;
            form(&visitor, &headers, String::new(), typed, wrong, status)
        }
    }
}

/// `GET /ui/schedules/{name}/edit`.
pub(super) async fn edit(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Name(name): Name,
) -> Result<Response, Problem> {
    visitor.caller.require(Scope::OperationsWrite)?;
    let schedule = Problem::found(&name, schedules::get(&app, &visitor.caller, &name).await)?;
    form(&visitor, &headers, name, Typed::from(&schedule.wanted), Wrong::default(), StatusCode::OK)
}

/// `POST /ui/schedules/{name}/edit`.
pub(super) async fn update(
    State(app): State<App>,
    headers: HeaderMap,
    Name(name): Name,
    sent: Sent,
) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    visitor.caller.require(Scope::OperationsWrite)?;
    let typed = Typed::of(&fields);
    let changed = match typed.change() {
        Ok(body) => match strict::json::<UpdateSchedule<'_>>(body.as_bytes()) {
            Ok(asked) => schedules::update(&app, &visitor.caller, &name, asked).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match changed {
        Ok(_) => Ok(Redirect::to(&url(&name)).into_response()),
        Err(error) => {
            let (wrong, status) = Problem::found(&name, Wrong::of(error))?;
            // A visitor who may not see the schedule must not learn that it exists.
            Problem::found(&name, schedules::get(&app, &visitor.caller, &name).await)?;
            form(&visitor, &headers, name, typed, wrong, status)
        }
    }
}

/// `POST /ui/schedules/{name}/{action}`: pause, resume, trigger, delete.
pub(super) async fn act(
    State(app): State<App>,
    target: Result<Path<(String, String)>, PathRejection>,
    Sent { visitor, .. }: Sent,
) -> Result<Response, Problem> {
    let Path((name, action)) = Problem::found("", target.map_err(|_| ApiError::NotFound("path")))?;
    let caller = &visitor.caller;
    let to = match action.as_str() {
        "pause" | "resume" => {
            Problem::found(&name, schedules::pause(&app, caller, &name, action == "pause").await)?;
            url(&name)
        }
        "trigger" => {
            let operation = Problem::found(&name, schedules::trigger(&app, caller, &name).await)?;
            super::operation::url(&operation.id.to_string())
        }
        "delete" => {
            Problem::found(&name, schedules::delete(&app, caller, &name).await)?;
            HERE.to_owned()
        }
        _ => return Problem::found("", Err(ApiError::NotFound("path"))),
    };
    Ok(Redirect::to(&to).into_response())
}

fn form(
    visitor: &Visitor,
    headers: &HeaderMap,
    name: String,
    typed: Typed,
    wrong: Wrong,
    status: StatusCode,
) -> Result<Response, Problem> {
    let template = FormPage {
        assets: Assets,
        frame: visitor.frame("schedules"),
        name,
        typed,
        overlaps: Overlap::ALL.iter().map(|one| (one.name(), overlap(*one))).collect(),
        catch_ups: CatchUp::ALL.iter().map(|one| (one.name(), catch_up(*one))).collect(),
        wrong,
    };
    respond::page_with(status, headers, &template)
}

/// The latest operations that it has created.
async fn operations(app: &App, visitor: &Visitor, schedule: &Schedule, now: Timestamp) -> Result<Vec<Row>, ApiError> {
    let filter = format!("schedule = {}", operations::search::value(&schedule.wanted.name));
    let value = SearchOperations { filter, page_size: Some(SHOWN_OPERATIONS), ..SearchOperations::default() };
    let found = search::search(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    Ok(found.page.found.iter().map(|found| row_of(found, now)).collect())
}

fn shown(schedule: &Schedule, now: Timestamp) -> Shown {
    let wanted = &schedule.wanted;
    let zone = if wanted.time_zone.is_empty() { "UTC" } else { &wanted.time_zone };
    Shown {
        url: url(&wanted.name),
        name: wanted.name.clone(),
        timing: match wanted.every {
            Some(every) => format!("every {}", span(every)),
            None => format!("{} ({zone})", wanted.cron),
        },
        kind: wanted.operation.kind.clone(),
        kind_url: filter::url_of("kind", &wanted.operation.kind),
        project: wanted.operation.project_id.clone(),
        is_paused: wanted.paused,
        next: schedule.next_due.map(|at| When::new(at, now)),
        last_operation: schedule.last_operation.map_or(String::new(), |id| id.to_string()),
        error: schedule.last_error.clone(),
        error_at: schedule.last_error_at.map(|at| When::new(at, now)),
    }
}

fn overlap(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Allow => "Both run at the same time",
        Overlap::Skip => "The due time is skipped",
        Overlap::CancelPrevious => "The previous operation is cancelled",
    }
}

fn catch_up(catch_up: CatchUp) -> &'static str {
    match catch_up {
        CatchUp::None => "They are skipped",
        CatchUp::Latest => "The latest is made up for",
        CatchUp::All => "Each is made up for, at most 100",
    }
}
