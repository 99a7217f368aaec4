//! `GET /ui/workers`: the workers and servers that run operations now.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use operations::Timestamp;
use operations::search::value;
use store::HeldLease;

use super::assets::Assets;
use super::error::Problem;
use super::filter;
use super::format::{When, number, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::tokens;
use crate::calls::workers::{self, RunningWorker};

/// The most workers that are shown: those with the most attempts.
const SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "ui/workers.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    workers: Vec<Worker>,
    running: String,
    more: usize,
    is_complete: bool,
}

struct Worker {
    name: String,
    /// The name of its token, for visitors who may see it.
    token: String,
    /// The address of the list of the operations that it runs.
    url: String,
    running: String,
    kinds: String,
    oldest: When,
    heard: When,
    attempts: Vec<Attempt>,
    more: u64,
}

struct Attempt {
    id: String,
    short_id: String,
    kind: String,
    attempt: u32,
    since: When,
    until: When,
}

/// `GET /ui/workers`.
pub(super) async fn show(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    let list = workers::list(&app, &visitor.caller).await?;
    let now = app.store.now();
    let mut shown = Vec::new();
    for worker in list.workers.iter().take(SHOWN) {
        let token = token_name(&app, &visitor, &worker.name).await;
        shown.push(row(worker, token, now));
    }
    let template = Page {
        assets: Assets,
        frame: visitor.frame("workers"),
        running: number(list.workers.iter().map(|worker| worker.running).sum()),
        more: list.workers.len().saturating_sub(SHOWN),
        is_complete: list.is_complete,
        workers: shown,
    };
    respond::page(&headers, &template)
}

/// The name of the token by which a worker is identified, for visitors who manage tokens; empty for others, and for a
/// server.
pub(super) async fn token_name(app: &App, visitor: &Visitor, worker: &str) -> String {
    if !tokens::may_list(&visitor.caller) {
        return String::new();
    }
    tokens::get(app, &visitor.caller, worker).await.map_or(String::new(), |token| token.name)
}

/// The address of the list of the operations that a worker runs.
pub(super) fn url(worker: &str) -> String {
    filter::url(&format!("status = RUNNING AND worker = {}", value(worker)), &[])
}

fn row(worker: &RunningWorker, token: String, now: Timestamp) -> Worker {
    Worker {
        name: short(&worker.name, 60),
        token,
        url: url(&worker.name),
        running: number(worker.running),
        kinds: worker.kinds.join(", "),
        oldest: When::new(worker.oldest_started_at, now),
        heard: When::new(worker.last_heartbeat_at, now),
        more: worker.running - worker.attempts.len() as u64,
        attempts: worker.attempts.iter().map(|held| attempt(held, now)).collect(),
    }
}

fn attempt(held: &HeldLease, now: Timestamp) -> Attempt {
    let id = held.operation.to_string();
    Attempt {
        short_id: id[id.len() - 12..].to_owned(),
        id,
        kind: held.kind.clone(),
        attempt: held.attempt,
        since: When::new(held.started_at, now),
        until: When::new(held.expires_at, now),
    }
}
