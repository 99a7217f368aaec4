//! `GET /ui/operations`: the list.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use operations::{Operation, Projects, Status, Timestamp};
use store::{OperationDetail, SearchPage};

use super::assets::Assets;
use super::error::Problem;
use super::filter::{self, Bar, RANGES};
use super::form::{Fields, Wrong};
use super::format::{Badge, When, clock, count, duration, number, short};
use super::respond;
use super::views::{self, Tab as ViewTab};
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::search::{self, CountOperations, Counts, SearchOperations};
use crate::error::ApiError;
use crate::strict::Read;

/// Entries per page that can be chosen.
pub(super) const SIZES: [u32; 3] = [25, 50, 100];
/// The most kinds that are offered; others can be typed.
const SHOWN_KINDS: usize = 40;

#[derive(Template)]
#[template(path = "ui/operations.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    bar: Bar,
    wrong: Wrong,
    /// The filter as text; empty for everything.
    filter: String,
    statuses: Vec<Choice>,
    kinds: Vec<Choice>,
    /// The projects that the session is limited to; empty when it is not limited.
    projects: Vec<Choice>,
    ranges: Vec<Choice>,
    tabs: Vec<Tab>,
    views: Vec<ViewTab>,
    is_view: bool,
    rows: Vec<Row>,
    /// `12,345`, or `at least 100,000`.
    total: String,
    total_number: u64,
    is_total_exact: bool,
    is_one: bool,
    is_past_the_end: bool,
    first: String,
    last: String,
    pages: Pages,
    sizes: Vec<Choice>,
    oldest_first: bool,
    order_url: String,
    /// The address of the events that announce new operations.
    watch: String,
    /// When the page was rendered.
    now: String,
    command_line: String,
}

/// An option that can be chosen.
struct Choice {
    value: String,
    name: String,
    count: String,
    is_chosen: bool,
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

/// An operation of a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) short_id: String,
    pub(super) badge: Badge,
    pub(super) kind: String,
    pub(super) resource_type: String,
    pub(super) resource_id: String,
    pub(super) short_resource: String,
    pub(super) project: String,
    pub(super) created: When,
    /// How long it ran, or has been running or waiting.
    pub(super) took: String,
    /// When it may start, while that is in the future.
    pub(super) start: Option<Start>,
    pub(super) error: String,
}

/// When an operation may start.
pub(super) struct Start {
    pub(super) at: When,
    /// As it is shown: `12:01`, or with the date unless that is today.
    pub(super) clock: String,
}

/// The links to other pages.
#[derive(Default)]
struct Pages {
    /// Empty where it is not known: after the counted operations.
    current: String,
    of: String,
    /// Whether there is more than one.
    is_shown: bool,
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
    last: Option<String>,
}

/// Which part of the list is shown.
struct Place {
    /// From 0.
    page: u32,
    size: u32,
    /// Where the previous page ended, where pages cannot be reached by number.
    token: String,
    oldest_first: bool,
}

impl Place {
    fn read(fields: &Fields) -> Place {
        let size = fields.one("size").parse().ok().filter(|size| SIZES.contains(size)).unwrap_or(SIZES[0]);
        let page = fields.one("page").parse::<u32>().unwrap_or(1).max(1) - 1;
        let oldest_first = fields.one("order") == "oldest";
        Place { page, size, token: fields.one("token").to_owned(), oldest_first }
    }

    /// The address of a filter with the same order and page size; of a page, counted from 0.
    fn url(&self, filter: &str, page: u64, token: &str) -> String {
        let size = if self.size == SIZES[0] { String::new() } else { self.size.to_string() };
        let page = if page == 0 { String::new() } else { (page + 1).to_string() };
        let order = if self.oldest_first { "oldest" } else { "" };
        filter::url(filter, &[("size", &size), ("order", order), ("page", &page), ("token", token)])
    }
}

/// `GET /ui/operations`.
pub(super) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let now = app.store.now();
    let (bar, mut wrong) = Bar::read(&fields, now);
    let place = Place::read(&fields);
    let filter = bar.text();
    if wrong.is_empty() && !filter::is_canonical(&fields) {
        return Ok(Redirect::to(&place.url(&filter, place.page.into(), &place.token)).into_response());
    }
    let found = if wrong.is_empty() { find(&app, &visitor, &filter, &place).await } else { Ok(None) };
    let (found, status) = match found {
        Ok(found) => (found, if wrong.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST }),
        Err(error) => {
            let status;
            (wrong, status) = Wrong::of(error)?;
            (None, status)
        }
    };
    let groups = if wrong.is_empty() { groups(&app, &visitor, &bar).await? } else { Groups::default() };
    let views = views::tabs(&app, &visitor, &filter).await?;
    let (page, next_token) = found.unwrap_or_else(|| (nothing(), String::new()));
    let shown = page.found.len() as u64;
    let begin = u64::from(place.page) * u64::from(place.size);
    let frame = visitor.frame("operations");
    let template = Page {
        assets: Assets,
        statuses: statuses(&bar, &groups),
        kinds: kinds(&bar, &groups),
        projects: projects(&visitor, &bar),
        ranges: RANGES.map(|(value, name)| choice(value, name, bar.since == value)).into(),
        tabs: tabs(&bar, &groups, &place),
        is_view: views.iter().any(|view| view.is_current),
        views,
        total: count(page.total, page.total_is_exact),
        total_number: page.total,
        is_total_exact: page.total_is_exact,
        is_one: page.total == 1 && page.total_is_exact,
        is_past_the_end: shown == 0 && page.total > 0,
        first: number(if shown == 0 { 0 } else { begin + 1 }),
        last: number(begin + shown),
        pages: if wrong.is_empty() { pages(&filter, &place, &page, next_token) } else { Pages::default() },
        sizes: SIZES.map(|size| choice(&size.to_string(), "", size == place.size)).into(),
        oldest_first: place.oldest_first,
        order_url: Place { oldest_first: !place.oldest_first, token: String::new(), ..place }.url(&filter, 0, ""),
        watch: watch(&bar),
        now: now.to_string(),
        command_line: command_line(&filter),
        rows: page.found.iter().map(|found| row_of(found, now)).collect(),
        bar,
        wrong,
        filter,
        frame,
    };
    respond::page_with(status, &headers, &template)
}

/// A page that was found, and the token of the next one.
type Found = (SearchPage, String);

async fn find(app: &App, visitor: &Visitor, filter: &str, place: &Place) -> Result<Option<Found>, ApiError> {
    let value = SearchOperations {
        filter: filter.to_owned(),
        page: Some(app.settings.first_page.shown(place.page)).filter(|_| place.token.is_empty()),
        page_size: Some(place.size),
        page_token: place.token.clone(),
        order_by: if place.oldest_first { "created_at" } else { "" }.to_owned(),
    };
    let found = search::search(app, &visitor.caller, Read { value, violations: Vec::new() }).await?;
    Ok(Some((found.page, found.next_page_token)))
}

fn nothing() -> SearchPage {
    SearchPage { found: Vec::new(), total: 0, total_is_exact: true, next: None }
}

/// How many operations match, by status and kind, without the conditions on these.
#[derive(Default)]
struct Groups {
    groups: Vec<(Status, String, u64)>,
    /// Whether anything was counted: not where the filter is not valid.
    is_known: bool,
    is_exact: bool,
    /// Only these statuses were counted.
    among: BTreeSet<Status>,
}

impl Groups {
    /// The number of a status, or of all; empty where it is not known.
    fn of(&self, status: Option<Status>, bar: &Bar) -> String {
        let is_counted = self.among.is_empty() || status.is_none_or(|status| self.among.contains(&status));
        if !is_counted {
            return String::new();
        }
        self.sum(|of, kind| status.is_none_or(|status| of == status) && means_kind(bar, kind))
    }

    fn sum(&self, is_meant: impl Fn(Status, &str) -> bool) -> String {
        let meant = self.groups.iter().filter(|(status, kind, _)| is_meant(*status, kind));
        self.shown(meant.map(|(_, _, count)| count).sum())
    }

    /// A count, for people; empty where nothing was counted.
    fn shown(&self, of: u64) -> String {
        if self.is_known { count(of, self.is_exact) } else { String::new() }
    }
}

/// A single count gives all numbers of the page.
async fn groups(app: &App, visitor: &Visitor, bar: &Bar) -> Result<Groups, ApiError> {
    let counts = async |bar: &Bar| {
        let value = CountOperations { filter: bar.text(), group_by: "status,kind".to_owned() };
        search::count(app, &visitor.caller, Read { value, violations: Vec::new() }).await
    };
    let (counted, among) = match counts(&bar.without_groups()).await {
        // A filter for which each operation must be checked may have been bounded by the status.
        Err(ApiError::Invalid(_)) => (counts(bar).await?, bar.statuses.clone()),
        counts => (counts?, BTreeSet::new()),
    };
    let Counts { counted, groups_left_out } = counted;
    let is_exact = counted.is_exact && groups_left_out == 0;
    let groups = counted.groups.into_iter().filter_map(|group| Some((group.status?, group.kind?, group.count)));
    Ok(Groups { groups: groups.collect(), is_known: true, is_exact, among })
}

fn choice(value: &str, name: &str, is_chosen: bool) -> Choice {
    Choice { value: value.to_owned(), name: name.to_owned(), count: String::new(), is_chosen }
}

fn means_kind(bar: &Bar, kind: &str) -> bool {
    bar.kinds.is_empty() || bar.kinds.contains(kind)
}

fn statuses(bar: &Bar, groups: &Groups) -> Vec<Choice> {
    let choices = Status::ALL.map(|status| Choice {
        count: groups.of(Some(status), bar),
        ..choice(&status.to_string(), Badge::of_status(status).name, bar.statuses.contains(&status))
    });
    choices.into()
}

fn tabs(bar: &Bar, groups: &Groups, place: &Place) -> Vec<Tab> {
    let tabs = std::iter::once(None).chain(Status::ALL.map(Some)).map(|status| {
        let badge = status.map(Badge::of_status);
        let only = Bar { statuses: status.into_iter().collect(), ..bar.clone() };
        Tab {
            name: badge.as_ref().map_or("All", |badge| badge.name),
            class: badge.as_ref().map_or("all", |badge| badge.class),
            sign: badge.as_ref().map_or("", |badge| badge.sign),
            count: groups.of(status, bar),
            url: place.url(&only.text(), 0, ""),
            is_current: status.map_or(bar.statuses.is_empty(), |status| bar.statuses.contains(&status)),
        }
    });
    tabs.collect()
}

/// The kinds of matching operations come first, then chosen kinds without matching operations.
fn kinds(bar: &Bar, groups: &Groups) -> Vec<Choice> {
    let mut counts = BTreeMap::<&str, u64>::new();
    for (status, kind, count) in &groups.groups {
        let is_meant = bar.statuses.is_empty() || bar.statuses.contains(status);
        *counts.entry(kind).or_default() += if is_meant { *count } else { 0 };
    }
    for kind in &bar.kinds {
        counts.entry(kind).or_default();
    }
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let is_shown = |(at, (kind, _)): &(usize, (&str, u64))| *at < SHOWN_KINDS || bar.kinds.contains(*kind);
    let shown = counts
        .into_iter()
        .enumerate()
        .filter(is_shown)
        .map(|(_, (kind, of))| Choice { count: groups.shown(of), ..choice(kind, kind, bar.kinds.contains(kind)) });
    shown.collect()
}

fn projects(visitor: &Visitor, bar: &Bar) -> Vec<Choice> {
    match &visitor.caller.access().projects {
        Projects::All => Vec::new(),
        Projects::Only(only) => {
            only.iter().map(|project| choice(project, project, bar.projects.contains(project))).collect()
        }
    }
}

/// An operation as lists show it: also when it may start, while that is in the future.
pub(super) fn row_of(detail: &OperationDetail, now: Timestamp) -> Row {
    let operation = &detail.operation;
    let ahead = detail.run_after.filter(|at| operation.status == Status::Pending && *at > now);
    let id = operation.id.to_string();
    let resource = operation.resource.as_ref();
    let resource_id = resource.map_or("", |resource| &resource.resource_id);
    Row {
        short_id: short_id(&id),
        id,
        badge: Badge::of(operation),
        kind: operation.kind.clone(),
        resource_type: resource.map_or(String::new(), |resource| resource.resource_type.clone()),
        resource_id: resource_id.to_owned(),
        short_resource: short(resource_id, 28),
        project: operation.project_id.clone(),
        created: When::new(operation.created_at, now),
        took: took(operation, now),
        start: ahead.map(|at| Start { at: When::new(at, now), clock: clock(at, now) }),
        error: short(&operation.error_message, 140),
    }
}

/// The end of an id, which distinguishes operations that were created at the same time.
pub(super) fn short_id(id: &str) -> String {
    id[id.len() - 12..].to_owned()
}

/// `ran 3 s`, `running for 3 s`, `waiting for 3 s`.
fn took(operation: &Operation, now: Timestamp) -> String {
    let since = |at: Timestamp, until: Timestamp| duration(until.as_millis() - at.as_millis());
    match (operation.status, operation.started_at, operation.finished_at) {
        (Status::Running, Some(started), _) => format!("running for {}", since(started, now)),
        (Status::Pending, _, _) => format!("waiting for {}", since(operation.created_at, now)),
        (_, Some(started), Some(finished)) => format!("ran {}", since(started, finished)),
        _ => "never ran".to_owned(),
    }
}

fn pages(filter: &str, place: &Place, found: &SearchPage, next_token: String) -> Pages {
    let of = found.total.div_ceil(place.size.into()).max(1);
    let to = |page: u64| place.url(filter, page, "");
    // After the counted operations, only the token of each page leads to the next one.
    let further = (!found.total_is_exact && !next_token.is_empty()).then(|| place.url(filter, 0, &next_token));
    if !place.token.is_empty() {
        return Pages { is_shown: true, first: Some(to(0)), next: further, ..Pages::default() };
    }
    let current = u64::from(place.page);
    let next = (current + 1 < of).then(|| to(current + 1)).or(further);
    Pages {
        current: number(current + 1),
        of: count(of, found.total_is_exact),
        is_shown: of > 1 || current > 0 || next.is_some(),
        first: (current > 0).then(|| to(0)),
        previous: (current > 0).then(|| to((current - 1).min(of - 1))),
        last: (current + 1 < of && found.total_is_exact).then(|| to(of - 1)),
        next,
    }
}

/// The events that may concern the list: the script checks whether they do.
fn watch(bar: &Bar) -> String {
    let kind = bar.kinds.first().filter(|_| bar.kinds.len() == 1).map_or("", |kind| kind);
    let is_resource = !bar.resource_type.is_empty() && !bar.resource_id.is_empty();
    let of_resource = |text: &str| if is_resource { text.to_owned() } else { String::new() };
    let others = [
        ("kind", kind),
        ("resource_type", &of_resource(&bar.resource_type)),
        ("resource_id", &of_resource(&bar.resource_id)),
    ];
    filter::watch_url(&others)
}

/// The command that shows the same list in a terminal.
fn command_line(filter: &str) -> String {
    if filter.is_empty() {
        return "longrun operations list".to_owned();
    }
    format!("longrun operations search {}", super::format::quoted_for_shell(filter))
}
