//! `/ui/evidence`: what is stored, and what an organization lives with in it.

use std::time::Duration;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use operations::Timestamp;
use serde::Deserialize;
use store::{Scope, Waiver};

use super::assets::Assets;
use super::error::Problem;
use super::evidence::size;
use super::filter::address;
use super::form::{Address, Fields, Sent, Wrong, name_of};
use super::format::{When, number, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::evidence::{self, EvidencePage, ListEvidence, ListedPiece};
use crate::calls::page::{PageQuery, Paged};
use crate::calls::waivers::{self, CreateWaiver};
use crate::error::ApiError;
use crate::strict::Read;

const HERE: &str = "/ui/evidence";
/// The page of waivers.
const WAIVERS: &str = "/ui/waivers";
/// Entries of a page.
const SIZE: u32 = 50;
const DAY: u64 = 24 * 3_600;

/// What is asked for, as the address has it.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    page_token: String,
}

#[derive(Template)]
#[template(path = "ui/evidence_list.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    asked: Asked,
    problems: Vec<String>,
    pieces: Vec<Piece>,
    pieces_in_all: String,
    bytes_in_all: String,
    /// How much there may be; empty for any amount.
    limit: String,
    has_filter: bool,
    is_first: bool,
    first: String,
    next: Option<String>,
}

struct Piece {
    url: String,
    /// Its name, else the beginning of its digest.
    name: String,
    short_digest: String,
    kind: String,
    size: String,
    verdict: String,
    class: &'static str,
    used: When,
    stored: When,
}

/// `GET /ui/evidence`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Address(asked): Address<Asked>,
) -> Result<Response, Problem> {
    let value =
        ListEvidence { kind: asked.kind.trim().to_owned(), name: asked.name.trim().to_owned(), digest: String::new() };
    let page = PageQuery { wanted: Some(SIZE), token: asked.page_token.clone() };
    let paged =
        Paged { page: Read { value: page, violations: Vec::new() }, asked: Read { value, violations: Vec::new() } };
    let (found, problems) = match evidence::list(&app, &visitor.caller, paged).await {
        Ok(found) => (found, Vec::new()),
        Err(ApiError::Invalid(violations)) => {
            let told = violations.into_iter().map(|violation| format!("{} {}", violation.field, violation.description));
            (EvidencePage::default(), told.collect())
        }
        Err(error) => return Err(error.into()),
    };
    let now = app.store.now();
    let plain = Asked { page_token: String::new(), ..asked.clone() };
    let is_wrong = !problems.is_empty();
    let template = Page {
        assets: Assets,
        frame: visitor.frame("evidence"),
        problems,
        pieces: found.evidence.iter().map(|piece| row(piece, now)).collect(),
        pieces_in_all: number(found.totals.pieces),
        bytes_in_all: size(found.totals.bytes),
        limit: found.limit.map_or(String::new(), size),
        has_filter: url(&plain) != HERE,
        is_first: asked.page_token.is_empty(),
        first: url(&plain),
        next: found.next.map(|page_token| url(&Asked { page_token, ..plain })),
        asked,
    };
    respond::page_with(if is_wrong { StatusCode::BAD_REQUEST } else { StatusCode::OK }, &headers, &template)
}

fn url(asked: &Asked) -> String {
    let parts = [("kind", &asked.kind), ("name", &asked.name), ("page_token", &asked.page_token)];
    address(HERE, &parts.map(|(name, value)| (name, value.trim())))
}

fn row(piece: &ListedPiece, now: Timestamp) -> Piece {
    let record = &piece.record;
    let digest = record.digest.to_string();
    let verdict = piece.last.as_ref().and_then(|last| last.verdict).unwrap_or_default();
    Piece {
        url: format!("{HERE}/{digest}"),
        short_digest: short(&digest, 24),
        name: record.name.clone(),
        kind: record.kind.clone(),
        size: size(record.size),
        class: match verdict {
            "passed" => "completed",
            "failed" => "failed",
            _ => "pending",
        },
        verdict: verdict.to_owned(),
        used: When::new(record.last_used_at, now),
        stored: When::new(record.created_at, now),
    }
}

#[derive(Template)]
#[template(path = "ui/waivers.html")]
struct WaiversPage {
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

/// What stands in the form.
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
pub(super) async fn waivers(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    page(&app, &visitor, &headers, Typed::default(), Wrong::default(), StatusCode::OK).await
}

/// `POST /ui/waivers`: makes one.
pub(super) async fn waive(State(app): State<App>, headers: HeaderMap, sent: Sent) -> Result<Response, Problem> {
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
        Ok(_) => Ok(Redirect::to(WAIVERS).into_response()),
        Err(error) => {
            let (wrong, status) = Wrong::of(error)?;
            page(&app, &visitor, &headers, typed, wrong, status).await
        }
    }
}

/// `POST /ui/waivers/{id}/remove`.
pub(super) async fn remove_waiver(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    sent: Sent,
) -> Result<Response, Problem> {
    waivers::delete(&app, &sent.visitor.caller, &name_of(id, "waiver")?).await?;
    Ok(Redirect::to(WAIVERS).into_response())
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
    let template = WaiversPage {
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
