//! `/ui/waivers`: the violations that an organization accepts.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use operations::Timestamp;
use store::{Scope, Waiver};

use super::assets::Assets;
use super::error::Problem;
use super::form::{Fields, Name, Sent, Wrong};
use super::format::When;
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::waivers::{self, CreateWaiver};
use crate::strict::Read;

const HERE: &str = "/ui/waivers";
const DAY: u64 = 24 * 3_600;

#[derive(Template)]
#[template(path = "ui/waivers.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    waivers: Vec<Shown>,
    may_change: bool,
    new: Typed,
    wrong: Wrong,
}

struct Shown {
    id: String,
    policy: String,
    finding: String,
    subject: String,
    reason: String,
    by: String,
    made: When,
    expires: Option<When>,
    is_live: bool,
}

/// The content of the form.
#[derive(Default)]
struct Typed {
    policy: String,
    finding: String,
    subject: String,
    reason: String,
    days: String,
}

impl Typed {
    fn of(fields: &Fields) -> Typed {
        let text = |name| fields.one(name).to_owned();
        Typed {
            policy: text("policy"),
            finding: text("finding"),
            subject: text("subject"),
            reason: text("reason"),
            days: text("days"),
        }
    }
}

/// `GET /ui/waivers`.
pub(super) async fn list(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    page(&app, &visitor, &headers, Typed::default(), Wrong::default(), StatusCode::OK).await
}

/// `POST /ui/waivers`: creates a waiver.
pub(super) async fn create(State(app): State<App>, headers: HeaderMap, sent: Sent) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let typed = Typed::of(&fields);
    let days: Option<u64> = if typed.days.is_empty() { None } else { Some(typed.days.parse().unwrap_or_default()) };
    let value = CreateWaiver {
        policy: typed.policy.clone(),
        finding: typed.finding.clone(),
        subject: typed.subject.clone(),
        reason: typed.reason.clone(),
        expires_in: days.map(|days| Duration::from_secs(days.saturating_mul(DAY))),
    };
    match waivers::create(&app, &visitor.caller, Read { value, violations: Vec::new() }).await {
        Ok(_) => Ok(Redirect::to(HERE).into_response()),
        Err(error) => {
            let (wrong, status) = Wrong::of(error)?;
            page(&app, &visitor, &headers, typed, wrong, status).await
        }
    }
}

/// `POST /ui/waivers/{id}/remove`.
pub(super) async fn remove(
    State(app): State<App>,
    Name(id): Name,
    Sent { visitor, .. }: Sent,
) -> Result<Response, Problem> {
    Problem::found(&id, waivers::delete(&app, &visitor.caller, &id).await)?;
    Ok(Redirect::to(HERE).into_response())
}

async fn page(
    app: &App,
    visitor: &Visitor,
    headers: &HeaderMap,
    new: Typed,
    wrong: Wrong,
    status: StatusCode,
) -> Result<Response, Problem> {
    let (waivers, now) = waivers::list(app, &visitor.caller).await?;
    let template = Page {
        assets: Assets,
        frame: visitor.frame("evidence"),
        waivers: waivers.into_iter().map(|waiver| shown(waiver, now)).collect(),
        may_change: visitor.caller.token().allows(Scope::Admin),
        new,
        wrong,
    };
    respond::page_with(status, headers, &template)
}

fn shown(waiver: Waiver, now: Timestamp) -> Shown {
    Shown {
        is_live: waiver.is_live(now),
        made: When::new(waiver.created_at, now),
        expires: waiver.expires_at.map(|at| When::new(at, now)),
        id: waiver.id,
        policy: waiver.policy,
        finding: waiver.finding,
        subject: waiver.subject,
        reason: waiver.reason,
        by: waiver.created_by,
    }
}
