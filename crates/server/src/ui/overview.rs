//! `GET /ui`: the overview. What was done in the last hour, day or week, what waits and runs now, and which workers run
//! it.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use operations::{Operation, Status, Timestamp};
use serde::Deserialize;
use store::{Counts, OperationDetail, Scope};

use super::assets::Assets;
use super::by_kind::{self, Counted, KindRow, and_kind, counted, status_url};
use super::chart::{self, Chart, Slot};
use super::error::Problem;
use super::filter::{self, parameter};
use super::form::Address;
use super::format::{When, duration, number, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::search::{self, SearchOperations};
use crate::calls::stats::{self, GetStats};
use crate::calls::{pause, workers};
use crate::error::ApiError;
use crate::strict::Read;

/// The most waiting, and the most running operations that are shown.
const SHOWN: u32 = 5;
/// The most workers that are shown.
const SHOWN_WORKERS: usize = 5;

/// The time span that is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Hour,
    Day,
    Week,
}

impl Range {
    const ALL: [Range; 3] = [Range::Hour, Range::Day, Range::Week];

    /// Its name in the address, and for people.
    pub(super) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Range::Hour => ("hour", "Last hour"),
            Range::Day => ("day", "Last day"),
            Range::Week => ("week", "Last week"),
        }
    }

    /// Its length as filters write it.
    pub(super) const fn ago(self) -> &'static str {
        match self {
            Range::Hour => "-1h",
            Range::Day => "-24h",
            Range::Week => "-7d",
        }
    }

    /// How many bars it has, how long each is in milliseconds, and the step of the statistics that it reads.
    const fn bars(self) -> (i64, i64, &'static str) {
        const MINUTE: i64 = 60_000;
        match self {
            Range::Hour => (60, MINUTE, "minute"),
            Range::Day => (96, 15 * MINUTE, "minute"),
            Range::Week => (84, 120 * MINUTE, "hour"),
        }
    }
}

/// The requested time and kind, as in the address.
#[derive(Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    range: String,
    #[serde(default)]
    kind: String,
}

#[derive(Template)]
#[template(path = "ui/overview.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    ranges: Vec<Choice>,
    /// The only kind that is shown, or empty for all.
    kind: String,
    /// The address of the overview of all kinds.
    all_kinds_url: String,
    tiles: Vec<Tile>,
    charts: Vec<Chart>,
    /// Why charts may be incomplete.
    counting: String,
    kinds: Vec<KindRow>,
    more_kinds: usize,
    waiting: Vec<Line>,
    running: Vec<Line>,
    paused: Option<Paused>,
    workers: Vec<Worker>,
    more_workers: usize,
}

struct Choice {
    name: &'static str,
    url: String,
    is_current: bool,
}

/// A figure with a link to the list that it counts.
struct Tile {
    class: &'static str,
    sign: &'static str,
    name: &'static str,
    figure: String,
    url: String,
    note: String,
}

struct Line {
    id: String,
    short_id: String,
    kind: String,
    resource: String,
    when: When,
    note: String,
}

pub(super) struct Paused {
    all: bool,
    pub(super) kinds: Vec<PausedKind>,
}

pub(super) struct PausedKind {
    pub(super) name: String,
    /// The address of the list of its waiting operations.
    url: String,
}

struct Worker {
    name: String,
    /// The address of the list of the operations that it runs.
    url: String,
    running: String,
    heard: When,
}

/// `GET /ui`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Address(asked): Address<Asked>,
) -> Result<Response, Problem> {
    let frame = visitor.frame("overview");
    // A visitor who may not see operations may have other pages.
    if let (Err(refused), first) = (visitor.caller.require(Scope::OperationsRead), frame.pages.first()) {
        return first.map_or(Err(refused.into()), |page| Ok(Redirect::to(page.url).into_response()));
    }
    let range = Range::ALL.into_iter().find(|range| range.names().0 == asked.range).unwrap_or(Range::Hour);
    let now = app.store.now();
    let (slots, counting) = slots(&app, &visitor, range, &asked.kind, now).await?;
    let sum = slots.iter().fold(Counts::default(), |mut sum, slot| {
        sum.add(&slot.counts);
        sum
    });
    let paused = paused(&app, &visitor).await?;
    let by_now = counted(&app, &visitor, "", &asked.kind).await?;
    let lately = counted(&app, &visitor, &format!("created_at >= \"{}\"", range.ago()), &asked.kind).await?;
    let waiting = oldest(&app, &visitor, "PENDING", &asked.kind).await?;
    let running = oldest(&app, &visitor, "RUNNING", &asked.kind).await?;
    let who = workers::list(&app, &visitor.caller).await?;
    let mut shown_workers = Vec::new();
    for worker in who.workers.iter().take(SHOWN_WORKERS) {
        let name = super::workers::token_name(&app, &visitor, &worker.name).await;
        shown_workers.push(shown_worker(worker, name, now));
    }
    let tiles = tiles(range, &asked.kind, (&by_now, &lately), &sum, waiting.first(), now);
    let (kinds, more_kinds) = by_kind::rows(range, &by_now, &lately, paused.as_ref());
    let template = Page {
        assets: Assets,
        ranges: Range::ALL.map(|offered| choice(offered, range, &asked.kind)).into(),
        all_kinds_url: format!("/ui?range={}", range.names().0),
        kind: asked.kind,
        tiles,
        charts: vec![chart::ended(&slots), chart::failures(&slots), chart::waiting(&slots), chart::running(&slots)],
        counting,
        kinds,
        more_kinds,
        waiting: waiting.iter().map(|detail| waiting_line(detail, now)).collect(),
        running: running.iter().map(|detail| running_line(detail, now)).collect(),
        paused,
        more_workers: who.workers.len().saturating_sub(SHOWN_WORKERS),
        workers: shown_workers,
        frame,
    };
    respond::page(&headers, &template)
}

fn choice(offered: Range, current: Range, kind: &str) -> Choice {
    let (in_url, name) = offered.names();
    let kind = if kind.is_empty() { String::new() } else { format!("&kind={}", parameter(kind)) };
    Choice { name, url: format!("/ui?range={in_url}{kind}"), is_current: offered == current }
}

/// What happened in each part of the time, and why it may be incomplete.
async fn slots(
    app: &App,
    visitor: &Visitor,
    range: Range,
    kind: &str,
    now: Timestamp,
) -> Result<(Vec<Slot>, String), ApiError> {
    let (count, millis, step) = range.bars();
    let first = (now.as_millis().div_euclid(millis) - (count - 1)) * millis;
    let value = GetStats {
        from: Some(Timestamp::from_millis(first).to_string()),
        step: step.to_owned(),
        kind: kind.to_owned(),
        ..GetStats::default()
    };
    let counted = stats::stats(app, &visitor.caller, Read { value, violations: Vec::new() }).await?.answer;
    let mut slots: Vec<Slot> = (0..count)
        .map(|index| Slot {
            name: chart::name(Timestamp::from_millis(first + index * millis), range != Range::Hour),
            counts: Counts::default(),
        })
        .collect();
    for point in counted.points {
        let place = usize::try_from((point.start.as_millis() - first).div_euclid(millis)).ok();
        if let Some(slot) = place.and_then(|place| slots.get_mut(place)) {
            slot.counts.add(&point.counts);
        }
    }
    let counting = match (counted.available_since, counted.complete_until) {
        (Some(since), _) if since.as_millis() > first => {
            format!("Counted since {}.", When::new(since, now).shown)
        }
        (Some(_), Some(until)) if now.as_millis() - until.as_millis() > 60_000 => {
            format!("Counted up to {}.", When::new(until, now).shown)
        }
        (None, _) => "Nothing is counted yet: the server has just started.".to_owned(),
        _ => String::new(),
    };
    Ok((slots, counting))
}

/// The oldest operations of a status.
async fn oldest(app: &App, visitor: &Visitor, status: &str, kind: &str) -> Result<Vec<OperationDetail>, ApiError> {
    let value = SearchOperations {
        filter: and_kind(&format!("status = {status}"), kind),
        page_size: Some(SHOWN),
        order_by: "created_at".to_owned(),
        ..SearchOperations::default()
    };
    let found = search::search(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    Ok(found.page.found)
}

/// What is paused, for visitors who may see it.
async fn paused(app: &App, visitor: &Visitor) -> Result<Option<Paused>, ApiError> {
    match pause::organization(app, &visitor.caller, visitor.caller.organization()).await {
        Ok(organization) => {
            let kinds = organization.paused_kinds.into_iter();
            let kinds = kinds.map(|name| PausedKind { url: status_url(Status::Pending, &name), name }).collect();
            Ok(Some(Paused { all: organization.paused, kinds }))
        }
        Err(ApiError::ScopeMissing(_) | ApiError::WholeOrganization | ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What waits and runs now, and what has become of what was created lately: each figure is that of the list that it
/// leads to.
fn tiles(
    range: Range,
    kind: &str,
    (by_now, lately): (&Counted, &Counted),
    sum: &Counts,
    longest: Option<&OperationDetail>,
    now: Timestamp,
) -> Vec<Tile> {
    let since = |status: &str| {
        let text = format!("status = {status} AND created_at >= \"{}\"", range.ago());
        filter::url(&and_kind(&text, kind), &[])
    };
    let oldest = longest.map(|detail| now.as_millis() - detail.operation.created_at.as_millis());
    let [completed, failed] = [Status::Completed, Status::Failed].map(|status| lately.of(status, None));
    let ended = completed + failed;
    let share = if ended == 0 || !lately.is_exact {
        String::new()
    } else {
        format!("{} % of what ended", (failed * 100).div_ceil(ended))
    };
    let median = sum.running.quantile_ms(50).map(|millis| i64::try_from(millis).unwrap_or(i64::MAX));
    let lasted = |millis: i64| format!("half ran at most {}", duration(millis));
    vec![
        Tile {
            class: "pending",
            sign: "◷",
            name: "Waiting now",
            figure: by_now.shown(by_now.of(Status::Pending, None)),
            url: status_url(Status::Pending, kind),
            note: oldest.map_or(String::new(), |millis| format!("the oldest for {}", duration(millis))),
        },
        Tile {
            class: "running",
            sign: "▶",
            name: "Running now",
            figure: by_now.shown(by_now.of(Status::Running, None)),
            url: status_url(Status::Running, kind),
            note: String::new(),
        },
        Tile {
            class: "completed",
            sign: "✓",
            name: "Completed",
            figure: lately.shown(completed),
            url: since("COMPLETED"),
            note: median.map_or_else(|| range.names().1.to_lowercase(), lasted),
        },
        Tile {
            class: "failed",
            sign: "✕",
            name: "Failed",
            figure: lately.shown(failed),
            url: since("FAILED"),
            note: share,
        },
    ]
}

fn waiting_line(detail: &OperationDetail, now: Timestamp) -> Line {
    let later = detail.run_after.filter(|at| *at > now);
    let note = later.map_or(String::new(), |at| format!("not before {}", When::new(at, now).shown));
    line(&detail.operation, detail.operation.created_at, note, now)
}

fn running_line(detail: &OperationDetail, now: Timestamp) -> Line {
    let since = detail.operation.started_at.unwrap_or(detail.operation.created_at);
    line(&detail.operation, since, short(&detail.progress, 80), now)
}

fn line(operation: &Operation, at: Timestamp, note: String, now: Timestamp) -> Line {
    let id = operation.id.to_string();
    Line {
        short_id: id[id.len() - 12..].to_owned(),
        id,
        kind: operation.kind.clone(),
        resource: operation.resource.as_ref().map_or(String::new(), |resource| short(&resource.resource_id, 40)),
        when: When::new(at, now),
        note,
    }
}

fn shown_worker(worker: &workers::RunningWorker, name: String, now: Timestamp) -> Worker {
    Worker {
        name: short(if name.is_empty() { &worker.name } else { &name }, 40),
        url: super::workers::url(&worker.name),
        running: number(worker.running),
        heard: When::new(worker.last_heartbeat_at, now),
    }
}
