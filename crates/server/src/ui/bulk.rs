//! `POST /ui/bulk`: bulk actions: first a page that asks for confirmation, then the operation that carries the action
//! out.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use kinds::bulk::BulkAction;
use operations::{OperationId, Status};

use super::assets::Assets;
use super::error::Problem;
use super::filter;
use super::form::{Fields, Sent, Wrong};
use super::format::{count, number};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::bulk::{self, Begun, BulkOperations};
use crate::error::ApiError;
use crate::strict::Read;

#[derive(Template)]
#[template(path = "ui/bulk.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    /// `cancel`, `retry` or `delete`; empty when nothing can be done.
    action: &'static str,
    /// The text of the button: `Cancel`.
    verb: &'static str,
    count: String,
    count_number: u64,
    is_one: bool,
    /// How many of them the action applies to; empty when it applies to all.
    fitting: String,
    /// The statuses of these.
    fitting_names: &'static str,
    filter: String,
    list_url: String,
    ids: Vec<String>,
    /// Identifies this request, so that it is carried out only once however often it is sent.
    key: String,
    problem: String,
}

/// The requested action and its operations.
struct Order {
    action: BulkAction,
    chosen: Chosen,
}

enum Chosen {
    Filter(String),
    Ids(Vec<OperationId>),
}

/// `POST /ui/bulk`: with `confirmed` the action starts, without it the page asks for confirmation.
pub(super) async fn bulk(State(app): State<App>, headers: HeaderMap, sent: Sent) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let order = match Order::read(&fields) {
        Ok(order) => order,
        Err(problem) => return refused(&visitor, &headers, &fields, problem),
    };
    if !fields.has("confirmed") {
        return ask(&app, &visitor, &headers, order, &fields, String::new()).await;
    }
    let key = Some(fields.one("key")).filter(|key| !key.is_empty());
    match order.begin(&app, &visitor, fields.one("expected_count").parse().ok(), false, key).await {
        Ok(Begun { operation: Some(operation), .. }) => {
            Ok(Redirect::to(&format!("/ui/operations/{}", operation.id)).into_response())
        }
        Ok(_) => Ok(Redirect::to(super::LIST).into_response()),
        // Asks again, with the current number.
        Err(ApiError::CountDiffers { now, expected }) => {
            let (now, expected) = (number(now), number(expected));
            let problem =
                format!("{now} operations match now; there were {expected} when you were asked. Nothing was done.");
            ask(&app, &visitor, &headers, order, &fields, problem).await
        }
        Err(error) => Err(error.into()),
    }
}

impl Order {
    /// The request of a form, or what is missing in it.
    fn read(fields: &Fields) -> Result<Order, &'static str> {
        let action = BulkAction::named(fields.one("action"));
        let action = action.ok_or("Choose an action: cancel, retry or delete.")?;
        if fields.has("all") {
            return Ok(Order { action, chosen: Chosen::Filter(fields.one("filter").to_owned()) });
        }
        let ids: Option<Vec<OperationId>> = fields.all("id").map(|id| id.parse().ok()).collect();
        match ids {
            Some(ids) if !ids.is_empty() => Ok(Order { action, chosen: Chosen::Ids(ids) }),
            Some(_) => Err("Nothing was selected: select operations, or all that match."),
            None => Err("The id of a selected operation is not valid."),
        }
    }

    async fn begin(
        &self,
        app: &App,
        visitor: &Visitor,
        expected_count: Option<i64>,
        dry_run: bool,
        key: Option<&str>,
    ) -> Result<Begun, ApiError> {
        match &self.chosen {
            Chosen::Filter(filter) => {
                let (action, filter) = (self.action.name().to_owned(), whole(filter));
                let value = BulkOperations { action, filter, dry_run, expected_count };
                bulk::begin(app, &visitor.caller, Read { value, violations: Vec::new() }, key).await
            }
            Chosen::Ids(ids) => bulk::begin_with(app, &visitor.caller, self.action, ids.clone(), dry_run, key).await,
        }
    }
}

/// Shows how many operations the action would affect.
async fn ask(
    app: &App,
    visitor: &Visitor,
    headers: &HeaderMap,
    order: Order,
    fields: &Fields,
    problem: String,
) -> Result<Response, Problem> {
    let begun = match order.begin(app, visitor, None, true, None).await {
        Ok(begun) => begun,
        Err(error) => {
            let (wrong, _) = Wrong::of(error)?;
            return refused(visitor, headers, fields, &wrong.beside(&[]).join("; "));
        }
    };
    let Order { action, chosen } = order;
    let (verb, fits, fitting_names): (_, fn(Status) -> bool, _) = match action {
        BulkAction::Cancel => ("Cancel", |status| !status.is_terminal(), "pending or running"),
        BulkAction::Retry => ("Retry", |status| status == Status::Failed, "failed"),
        BulkAction::Delete => ("Delete", Status::is_terminal, "completed or failed"),
    };
    let fitting: u64 = begun.by_status.iter().filter(|(status, _)| fits(*status)).map(|(_, count)| count).sum();
    let (filter, ids) = match chosen {
        Chosen::Filter(filter) => (filter, Vec::new()),
        Chosen::Ids(ids) => (String::new(), ids.iter().map(ToString::to_string).collect()),
    };
    let template = Page {
        assets: Assets,
        frame: visitor.frame("operations"),
        action: action.name(),
        verb,
        count: count(begun.count, begun.is_exact),
        count_number: begun.count,
        is_one: begun.count == 1 && begun.is_exact,
        fitting: if fitting == begun.count { String::new() } else { count(fitting, begun.is_exact) },
        fitting_names,
        list_url: filter::url(&filter, &[]),
        filter,
        ids,
        key: OperationId::new(app.store.now()).to_string(),
        problem,
    };
    let status = if template.problem.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
    respond::page_with(status, headers, &template)
}

/// Shows why the request is not complete, with a link back.
fn refused(visitor: &Visitor, headers: &HeaderMap, fields: &Fields, problem: &str) -> Result<Response, Problem> {
    let filter = fields.one("filter").to_owned();
    let template = Page {
        assets: Assets,
        frame: visitor.frame("operations"),
        action: "",
        verb: "",
        count: String::new(),
        count_number: 0,
        is_one: false,
        fitting: String::new(),
        fitting_names: "",
        list_url: filter::url(&filter, &[]),
        filter,
        ids: Vec::new(),
        key: String::new(),
        problem: problem.to_owned(),
    };
    respond::page_with(StatusCode::BAD_REQUEST, headers, &template)
}

/// A filter that matches every operation must be explicit: the call treats an empty filter as a mistake.
fn whole(filter: &str) -> String {
    if filter.is_empty() {
        "status = (PENDING OR RUNNING OR COMPLETED OR FAILED)".to_owned()
    } else {
        filter.to_owned()
    }
}
