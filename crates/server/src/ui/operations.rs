//! `GET /ui/operations`: the list.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::HeaderMap;
use operations::{Status, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::assets::Assets;
use super::error::Problem;
use super::format::{Badge, When, duration, number, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::list::{self, ListOperations};
use crate::error::ApiError;
use crate::strict::Read;

/// Entries per page that can be chosen.
const SIZES: [u32; 3] = [25, 50, 100];

/// What is asked for, as the address has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    status: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    resource_type: String,
    #[serde(default)]
    resource_id: String,
    /// From 1, as people count.
    #[serde(default)]
    page: String,
    #[serde(default)]
    size: String,
}

#[derive(Template)]
#[template(path = "ui/operations.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    asked: Asked,
    tabs: Vec<Tab>,
    kinds: Vec<String>,
    rows: Vec<Row>,
    total: String,
    has_filter: bool,
    first: String,
    last: String,
    pages: Pages,
    sizes: Vec<Size>,
    /// Where the events come from that tell of new operations.
    watch: String,
}

/// A status with the number of operations that have it, under the other conditions.
struct Tab {
    name: &'static str,
    class: &'static str,
    sign: &'static str,
    count: String,
    url: String,
    is_current: bool,
}

struct Row {
    id: String,
    short_id: String,
    badge: Badge,
    kind: String,
    resource_type: String,
    resource_id: String,
    short_resource: String,
    project: String,
    created: When,
    /// How long it ran, or has been running or waiting.
    took: String,
    error: String,
}

struct Size {
    size: u32,
    is_current: bool,
}

/// The links to other pages.
struct Pages {
    current: String,
    of: String,
    /// Whether there is more than one.
    is_shown: bool,
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
    last: Option<String>,
}

/// `GET /ui/operations`.
pub(super) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let size = asked.size.parse().ok().filter(|size| SIZES.contains(size)).unwrap_or(SIZES[0]);
    let page = asked.page.parse::<u32>().unwrap_or(1).max(1) - 1;
    let value = ListOperations {
        page: Some(app.settings.first_page.shown(page)),
        page_size: Some(size),
        resource_id: asked.resource_id.clone(),
        resource_type: asked.resource_type.clone(),
        status: asked.status.clone(),
        kind: asked.kind.clone(),
    };
    let listing = list::listing(&app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    let now = app.store.now();
    let total = listing.page.total_count;
    let count = total.div_ceil(u64::from(size)).max(1);
    let begin = listing.page.request.offset();
    let tabs = tabs(&app, &visitor, &asked).await?;
    let template = Page {
        assets: Assets,
        frame: visitor.frame("operations"),
        tabs,
        kinds: app.store.kinds(Some(visitor.caller.organization())).await?,
        total: number(total),
        has_filter: !(asked.status.is_empty() && asked.kind.is_empty() && asked.resource_id.is_empty()),
        first: number(if listing.entries.is_empty() { 0 } else { begin + 1 }),
        last: number(begin + listing.entries.len() as u64),
        pages: pages(&asked, u64::from(page) + 1, count),
        sizes: SIZES.map(|offered| Size { size: offered, is_current: offered == size }).into(),
        watch: watch(&asked),
        rows: listing.entries.iter().map(|entry| row(&entry.operation, now)).collect(),
        asked,
    };
    respond::page(&headers, &template)
}

/// The counts by status are exact and cost no more than the total does: they are sums of counters.
async fn tabs(app: &App, visitor: &Visitor, asked: &Asked) -> Result<Vec<Tab>, Problem> {
    let mut tabs = Vec::with_capacity(1 + Status::ALL.len());
    for status in std::iter::once(None).chain(Status::ALL.map(Some)) {
        let wire_name = status.map_or("", Status::wire_name);
        let value = ListOperations {
            page_size: Some(1),
            status: wire_name.to_owned(),
            kind: asked.kind.clone(),
            resource_id: asked.resource_id.clone(),
            resource_type: asked.resource_type.clone(),
            page: None,
        };
        let listing = list::listing(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
        let badge = status.map(Badge::of_status);
        tabs.push(Tab {
            name: badge.as_ref().map_or("All", |badge| badge.name),
            class: badge.as_ref().map_or("all", |badge| badge.class),
            sign: badge.as_ref().map_or("", |badge| badge.sign),
            count: number(listing.page.total_count),
            url: url(&Asked { status: wire_name.to_owned(), page: String::new(), ..asked.clone() }),
            is_current: asked.status == wire_name,
        });
    }
    Ok(tabs)
}

fn row(operation: &operations::Operation, now: Timestamp) -> Row {
    let id = operation.id.to_string();
    let resource = operation.resource.as_ref();
    let resource_id = resource.map_or("", |resource| &resource.resource_id);
    Row {
        short_id: id[id.len() - 12..].to_owned(),
        id,
        badge: Badge::of(operation),
        kind: operation.kind.clone(),
        resource_type: resource.map_or(String::new(), |resource| resource.resource_type.clone()),
        resource_id: resource_id.to_owned(),
        short_resource: short(resource_id, 28),
        project: operation.project_id.clone(),
        created: When::new(operation.created_at, now),
        took: took(operation, now),
        error: short(&operation.error_message, 140),
    }
}

/// `ran 3 s`, `running for 3 s`, `waiting for 3 s`.
fn took(operation: &operations::Operation, now: Timestamp) -> String {
    let since = |at: Timestamp, until: Timestamp| duration(until.as_millis() - at.as_millis());
    match (operation.status, operation.started_at, operation.finished_at) {
        (Status::Running, Some(started), _) => format!("running for {}", since(started, now)),
        (Status::Pending, _, _) => format!("waiting for {}", since(operation.created_at, now)),
        (_, Some(started), Some(finished)) => format!("ran {}", since(started, finished)),
        _ => "never ran".to_owned(),
    }
}

fn pages(asked: &Asked, current: u64, count: u64) -> Pages {
    let to = |page: u64| url(&Asked { page: page.to_string(), ..asked.clone() });
    Pages {
        current: number(current),
        of: number(count),
        is_shown: count > 1 || current > 1,
        first: (current > 1).then(|| to(1)),
        previous: (current > 1).then(|| to((current - 1).min(count))),
        next: (current < count).then(|| to(current + 1)),
        last: (current < count).then(|| to(count)),
    }
}

/// The address of a list.
fn url(asked: &Asked) -> String {
    let parts = query(&[
        ("status", &*asked.status),
        ("kind", &asked.kind),
        ("resource_type", &asked.resource_type),
        ("resource_id", &asked.resource_id),
        ("size", &asked.size),
        ("page", &asked.page),
    ]);
    format!("/ui/operations{parts}")
}

/// The address of the list of what is about a resource.
pub(super) fn resource_url(resource: &operations::Resource) -> String {
    let (resource_type, resource_id) = (resource.resource_type.clone(), resource.resource_id.clone());
    url(&Asked { resource_type, resource_id, ..Asked::default() })
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn watch(asked: &Asked) -> String {
    let parts =
        query(&[("kind", &*asked.kind), ("resource_type", &asked.resource_type), ("resource_id", &asked.resource_id)]);
    format!("/v1/operations:watch{parts}")
}

fn query(parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<String> = parts.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}
