//! `/ui/views`: saved views, and the tabs of the list that lead to them.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use operations::Projects;
use store::View;

use super::assets::Assets;
use super::error::Problem;
use super::filter::{self, Bar};
use super::form::{Fields, Name, Sent, Wrong};
use super::format::count;
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::views::{self, CreateView, UpdateView, ViewCount};
use crate::error::ApiError;
use crate::strict::{List, Read};

/// The most views that have tabs in the list; the page of views has all.
const TABS: usize = 8;
/// The page of all views.
const HERE: &str = "/ui/views";

/// A view as a tab of the list.
pub(super) struct Tab {
    pub(super) name: String,
    pub(super) url: String,
    /// Empty where it was not counted.
    pub(super) count: String,
    pub(super) is_current: bool,
}

#[derive(Template)]
#[template(path = "ui/views.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    views: Vec<Shown>,
    new: Typed,
    wrong: Wrong,
    may_share: bool,
}

#[derive(Template)]
#[template(path = "ui/view.html")]
struct OnePage {
    assets: Assets,
    frame: Frame,
    id: String,
    /// As it is saved.
    kept: Shown,
    typed: Typed,
    wrong: Wrong,
    may_change: bool,
}

struct Shown {
    id: String,
    name: String,
    filter: String,
    url: String,
    count: String,
    visibility: &'static str,
    may_change: bool,
}

/// The content of a form.
#[derive(Default)]
struct Typed {
    name: String,
    filter: String,
    is_shared: bool,
}

impl Typed {
    fn of(fields: &Fields) -> Typed {
        let is_shared = fields.one("visibility") == "shared";
        Typed { name: fields.one("name").to_owned(), filter: fields.one("filter").to_owned(), is_shared }
    }
}

/// The tabs of the list, including the view that is shown.
pub(super) async fn tabs(app: &App, visitor: &Visitor, filter: &str) -> Result<Vec<Tab>, ApiError> {
    let views = views::list_beside(app, &visitor.caller).await?;
    let tabs = views.into_iter().map(|(view, counted)| {
        let text = Bar::of(&view.filter).text();
        Tab { is_current: text == filter, url: filter::url(&text, &[]), name: view.name, count: shown_count(counted) }
    });
    let mut shown = 0;
    let is_shown = |tab: &Tab| {
        shown += 1;
        shown <= TABS || tab.is_current
    };
    Ok(tabs.filter(is_shown).collect())
}

/// `GET /ui/views`.
pub(super) async fn list(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    page(&app, &visitor, &headers, Typed::default(), Wrong::default(), StatusCode::OK).await
}

/// `POST /ui/views`: creates a view, and redirects to its operations.
pub(super) async fn create(State(app): State<App>, headers: HeaderMap, sent: Sent) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let typed = Typed::of(&fields);
    let value = CreateView {
        name: typed.name.clone(),
        filter: typed.filter.clone(),
        columns: List::default(),
        visibility: if typed.is_shared { "shared" } else { "private" }.to_owned(),
    };
    match views::create(&app, &visitor.caller, Read { value, violations: Vec::new() }).await {
        Ok(view) => Ok(Redirect::to(&url(&view)).into_response()),
        Err(error) => {
            let (wrong, status) = Wrong::of(error)?;
            page(&app, &visitor, &headers, typed, wrong, status).await
        }
    }
}

/// `GET /ui/views/{id}`: a form to change a view.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Name(id): Name,
) -> Result<Response, Problem> {
    let (view, counted) = Problem::found(&id, views::get(&app, &visitor.caller, &id).await)?;
    let typed = Typed { name: view.name.clone(), filter: view.filter.clone(), is_shared: view.owner.is_none() };
    one(&visitor, &headers, (view, counted), typed, Wrong::default(), StatusCode::OK)
}

/// `POST /ui/views/{id}`: changes its name or filter; its columns do not change.
pub(super) async fn update(
    State(app): State<App>,
    headers: HeaderMap,
    Name(id): Name,
    sent: Sent,
) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let (view, counted) = Problem::found(&id, views::get(&app, &visitor.caller, &id).await)?;
    let typed = Typed { is_shared: view.owner.is_none(), ..Typed::of(&fields) };
    let columns = List(view.columns.clone());
    let value = UpdateView { name: typed.name.clone(), filter: typed.filter.clone(), columns };
    match views::update(&app, &visitor.caller, &id, Read { value, violations: Vec::new() }).await {
        Ok(_) => Ok(Redirect::to(HERE).into_response()),
        Err(error) => {
            let (wrong, status) = Problem::found(&id, Wrong::of(error))?;
            one(&visitor, &headers, (view, counted), typed, wrong, status)
        }
    }
}

/// `POST /ui/views/{id}/delete`.
pub(super) async fn delete(
    State(app): State<App>,
    Name(id): Name,
    Sent { visitor, .. }: Sent,
) -> Result<Response, Problem> {
    Problem::found(&id, views::delete(&app, &visitor.caller, &id).await)?;
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
    let views = views::list(app, &visitor.caller).await?;
    let frame = visitor.frame("views");
    let template = Page {
        assets: Assets,
        views: views.into_iter().map(|(view, counted)| shown(visitor, view, counted)).collect(),
        may_share: may_share(visitor),
        new,
        wrong,
        frame,
    };
    respond::page_with(status, headers, &template)
}

fn one(
    visitor: &Visitor,
    headers: &HeaderMap,
    (view, counted): (View, Option<ViewCount>),
    typed: Typed,
    wrong: Wrong,
    status: StatusCode,
) -> Result<Response, Problem> {
    let kept = shown(visitor, view, counted);
    let template = OnePage {
        assets: Assets,
        frame: visitor.frame("views"),
        id: kept.id.clone(),
        may_change: kept.may_change,
        kept,
        typed,
        wrong,
    };
    respond::page_with(status, headers, &template)
}

fn shown(visitor: &Visitor, view: View, counted: Option<ViewCount>) -> Shown {
    Shown {
        url: url(&view),
        visibility: views::visibility(&view),
        may_change: view.owner.is_some() || may_share(visitor),
        count: shown_count(counted),
        id: view.id,
        name: view.name,
        filter: view.filter,
    }
}

/// Whether buttons for shared views are shown; the calls decide.
fn may_share(visitor: &Visitor) -> bool {
    visitor.may_write() && matches!(visitor.caller.access().projects, Projects::All)
}

fn url(view: &View) -> String {
    filter::url(&Bar::of(&view.filter).text(), &[])
}

fn shown_count(counted: Option<ViewCount>) -> String {
    counted.map_or(String::new(), |counted| count(counted.total, counted.is_exact))
}
