//! `GET /ui/audit`: the audit log, newest first.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use operations::Timestamp;
use serde::Deserialize;
use store::AuditEntry;

use super::assets::Assets;
use super::error::Problem;
use super::filter::address;
use super::form::{Address, or_problems};
use super::format::{When, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::audit::{self, ListAudit};
use crate::calls::page::{PageQuery, Paged};
use crate::strict::Read;

/// Entries of a page.
const SIZE: u32 = 50;
/// The most targets of an entry that are shown.
const SHOWN_TARGETS: usize = 5;

/// The requested entries, as in the address.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    until: String,
    #[serde(default)]
    page_token: String,
}

#[derive(Template)]
#[template(path = "ui/audit.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    asked: Asked,
    /// What is wrong with the filter.
    problems: Vec<String>,
    entries: Vec<Entry>,
    has_filter: bool,
    is_first: bool,
    first: String,
    next: Option<String>,
}

struct Entry {
    when: When,
    who: String,
    who_id: String,
    /// The address of the entries of this actor.
    who_url: String,
    how: &'static str,
    action: String,
    action_url: String,
    targets: Vec<Target>,
    more: usize,
    was_done: bool,
    answer: &'static str,
    address: String,
    request_id: String,
}

struct Target {
    name: String,
    shown: String,
    /// The page of the target, if there is one.
    url: Option<String>,
}

/// `GET /ui/audit`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Address(asked): Address<Asked>,
) -> Result<Response, Problem> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let value = ListAudit {
        actor: asked.actor.trim().to_owned(),
        action: asked.action.trim().to_owned(),
        target: asked.target.trim().to_owned(),
        since: given(&asked.since),
        until: given(&asked.until),
        organization: String::new(),
    };
    let page = PageQuery { wanted: Some(SIZE), token: asked.page_token.clone() };
    let paged =
        Paged { page: Read { value: page, violations: Vec::new() }, asked: Read { value, violations: Vec::new() } };
    let (found, problems) = or_problems(audit::list(&app, &visitor.caller, paged).await)?;
    let now = app.store.now();
    let plain = Asked { page_token: String::new(), ..asked.clone() };
    let is_wrong = !problems.is_empty();
    let template = Page {
        assets: Assets,
        frame: visitor.frame("audit"),
        problems,
        entries: found.entries.iter().map(|entry| row(entry, now)).collect(),
        has_filter: url(&plain) != "/ui/audit",
        is_first: asked.page_token.is_empty(),
        first: url(&plain),
        next: found.next.map(|before| url(&Asked { page_token: before.to_string(), ..plain })),
        asked,
    };
    let page = respond::page(&headers, &template)?;
    Ok(if is_wrong { (StatusCode::BAD_REQUEST, page).into_response() } else { page })
}

fn url(asked: &Asked) -> String {
    let parts = [
        ("actor", &asked.actor),
        ("action", &asked.action),
        ("target", &asked.target),
        ("since", &asked.since),
        ("until", &asked.until),
        ("page_token", &asked.page_token),
    ];
    address("/ui/audit", &parts.map(|(name, value)| (name, value.trim())))
}

fn row(entry: &AuditEntry, now: Timestamp) -> Entry {
    let only = |asked: Asked| url(&asked);
    let actor = &entry.actor;
    Entry {
        when: When::new(entry.at, now),
        who: if actor.name.is_empty() { short(&actor.id, 40) } else { actor.name.clone() },
        who_id: actor.id.clone(),
        who_url: only(Asked { actor: actor.id.clone(), ..Asked::default() }),
        how: actor.kind.name(),
        action: entry.action.clone(),
        action_url: only(Asked { action: entry.action.clone(), ..Asked::default() }),
        targets: entry.targets.iter().take(SHOWN_TARGETS).map(|target| shown_target(target)).collect(),
        more: entry.targets.len().saturating_sub(SHOWN_TARGETS),
        was_done: entry.code == 0,
        answer: answer(entry.code),
        address: entry.address.clone(),
        request_id: entry.request_id.clone(),
    }
}

fn shown_target(target: &str) -> Target {
    let has_page = ["operations/", "evidence/"].iter().any(|what| target.starts_with(what));
    // An id in the log has its own form; another text that a caller sent instead of an id is not linked.
    let is_name = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_:".contains(&byte));
    Target {
        name: target.to_owned(),
        shown: short(target, 44),
        url: (has_page && is_name).then(|| format!("/ui/{target}")),
    }
}

/// The meaning of a `google.rpc.Code`.
const fn answer(code: i32) -> &'static str {
    match code {
        0 => "done",
        3 => "refused: not valid",
        5 => "refused: not found",
        6 | 10 => "refused: conflict",
        7 => "refused: not allowed",
        8 => "refused: limit exceeded",
        9 => "refused: wrong state",
        14 => "failed: unavailable",
        _ => "failed",
    }
}
