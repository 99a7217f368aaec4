//! `GET /ui/evidence/{digest}`: a piece of evidence, its evaluations over time, and a comparison of the violations of
//! the last two.

use std::collections::BTreeSet;

use ::evidence::waivers::{Objection, compare, objections};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use operations::search::value;
use operations::{Status, Timestamp};
use serde_json::Value;
use store::OperationDetail;

use super::assets::Assets;
use super::error::Problem;
use super::filter;
use super::form::Name;
use super::format::{Badge, When, number, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::search::{self, SearchOperations};
use crate::calls::{evaluation, evidence};
use crate::error::ApiError;
use crate::strict::Read;

/// The most evaluations that are shown: the newest.
const SHOWN: u32 = 25;
/// The most violations that are shown in each part of the comparison.
const SHOWN_VIOLATIONS: usize = 50;

#[derive(Template)]
#[template(path = "ui/evidence.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    digest: String,
    short_digest: String,
    name: String,
    may_list: bool,
    kind: String,
    size: String,
    file_name: String,
    /// `None` for visitors who may not see operations.
    evaluations: Option<Evaluations>,
    command_line: String,
}

struct Evaluations {
    rows: Vec<Row>,
    total: String,
    url: String,
    comparison: Option<Comparison>,
}

struct Row {
    id: String,
    short_id: String,
    badge: Badge,
    /// The verdict of a completed evaluation, with its class.
    verdict: String,
    class: &'static str,
    name: String,
    policies: String,
    violations: String,
    created: When,
}

/// The last verdict compared with the previous one.
struct Comparison {
    last: When,
    before: When,
    last_id: String,
    before_id: String,
    parts: [Part; 3],
}

struct Part {
    name: &'static str,
    sign: &'static str,
    class: &'static str,
    none: &'static str,
    count: String,
    violations: Vec<Objection>,
    more: usize,
}

/// `GET /ui/evidence/{digest}`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Name(name): Name,
) -> Result<Response, Problem> {
    let found = evidence::find(&app, &visitor.caller, Some(&name)).await;
    // No evidence has a digest that is not valid.
    let found = found.map_err(|error| match error {
        ApiError::Invalid(_) => ApiError::NotFound("evidence"),
        error => error,
    });
    let record = Problem::found(&name, found)?;
    let digest = record.digest.to_string();
    let evaluations = match evaluations(&app, &visitor, &digest).await {
        Ok(evaluations) => Some(evaluations),
        Err(ApiError::ScopeMissing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let template = Page {
        assets: Assets,
        frame: visitor.frame("evidence"),
        short_digest: short(&digest, 24),
        name: record.name,
        may_list: evidence::may_list(&visitor.caller).is_ok(),
        kind: record.kind,
        size: size(record.size),
        file_name: digest.replace(':', "-"),
        command_line: format!("longrun evidence get {digest} --to evidence"),
        evaluations,
        digest,
    };
    respond::page(&headers, &template)
}

/// The class of a badge that shows a verdict.
pub(super) fn class_of(verdict: &str) -> &'static str {
    match verdict {
        "passed" => "completed",
        "failed" => "failed",
        _ => "pending",
    }
}

/// A number of bytes, rounded for people and exact.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1_024;
    let exact = format!("{} bytes", number(bytes));
    match bytes {
        ..KIB => exact,
        KIB..1_048_576 => format!("{} KiB ({exact})", number(bytes.div_ceil(KIB))),
        _ => format!("{} MiB ({exact})", number(bytes.div_ceil(KIB * KIB))),
    }
}

async fn evaluations(app: &App, visitor: &Visitor, digest: &str) -> Result<Evaluations, ApiError> {
    let about = format!("resource_type = {} AND resource_id = {}", value(evaluation::RESOURCE_TYPE), value(digest));
    let filter = format!("kind = {} AND {about}", value(kinds::evaluation::KIND));
    let value = SearchOperations { filter: filter.clone(), page_size: Some(SHOWN), ..SearchOperations::default() };
    let found = search::search(app, &visitor.caller, Read { value, violations: Vec::new() }).await?.page;
    let now = app.store.now();
    let completed = found.found.iter().filter(|detail| detail.operation.status == Status::Completed).take(2);
    let mut verdicts = Vec::new();
    for detail in completed {
        let whole = search::whole(app, visitor.caller.access(), detail.clone()).await?;
        if let Some(verdict) = Verdict::of(&whole.operation.output) {
            verdicts.push((whole, verdict));
        }
    }
    Ok(Evaluations {
        rows: found.found.iter().map(|detail| row(detail, now)).collect(),
        total: number(found.total),
        url: filter::url(&filter, &[]),
        comparison: match &verdicts[..] {
            [(last, found), (before, found_before)] => Some(comparison((last, found), (before, found_before), now)),
            _ => None,
        },
    })
}

/// The violations of an evaluation, as far as its output can be read.
struct Verdict {
    status: String,
    name: String,
    policies: usize,
    /// Violations that are not waived.
    violations: BTreeSet<Objection>,
}

impl Verdict {
    fn of(output: &str) -> Option<Verdict> {
        let output: Value = serde_json::from_str(output).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let policies = output["policies"].as_array()?;
        Some(Verdict {
            status: text(&output["status"]),
            name: text(&output["evidence"]["name"]),
            policies: policies.len(),
            violations: objections(&output),
        })
    }
}

fn row(detail: &OperationDetail, now: Timestamp) -> Row {
    let operation = &detail.operation;
    let id = operation.id.to_string();
    let verdict = if operation.status == Status::Completed { Verdict::of(&operation.output) } else { None };
    let of = |number_of: fn(&Verdict) -> usize| {
        verdict.as_ref().map_or(String::new(), |verdict| number(number_of(verdict) as u64))
    };
    Row {
        short_id: id[id.len() - 12..].to_owned(),
        id,
        badge: Badge::of(operation),
        class: class_of(verdict.as_ref().map_or("", |verdict| &verdict.status)),
        policies: of(|verdict| verdict.policies),
        violations: of(|verdict| verdict.violations.len()),
        name: verdict.as_ref().map_or(String::new(), |verdict| verdict.name.clone()),
        verdict: verdict.map_or(String::new(), |verdict| verdict.status),
        created: When::new(operation.created_at, now),
    }
}

fn comparison(
    (last, found): (&OperationDetail, &Verdict),
    (before, found_before): (&OperationDetail, &Verdict),
    now: Timestamp,
) -> Comparison {
    let compared = compare(&found.violations, &found_before.violations);
    let part = |name, sign, class, none, violations: Vec<&Objection>| Part {
        name,
        sign,
        class,
        none,
        count: number(violations.len() as u64),
        more: violations.len().saturating_sub(SHOWN_VIOLATIONS),
        violations: violations.into_iter().take(SHOWN_VIOLATIONS).cloned().collect(),
    };
    let at =
        |detail: &OperationDetail| When::new(detail.operation.finished_at.unwrap_or(detail.operation.created_at), now);
    Comparison {
        last: at(last),
        before: at(before),
        last_id: last.operation.id.to_string(),
        before_id: before.operation.id.to_string(),
        parts: [
            part("New", "+", "failed", "No new violation was found.", compared.new),
            part("Gone", "−", "completed", "No violation is gone.", compared.gone),
            part("Still there", "=", "pending", "No violation is in both verdicts.", compared.still),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_exactly_too() {
        assert_eq!(size(1), "1 bytes");
        assert_eq!(size(1_025), "2 KiB (1,025 bytes)");
        assert_eq!(size(3 * 1_048_576), "3 MiB (3,145,728 bytes)");
    }

    #[test]
    fn what_is_no_verdict_is_none() {
        for none in ["", "{}", "{\"policies\":1}", "[]"] {
            assert!(Verdict::of(none).is_none(), "{none}");
        }
        let odd = Verdict::of("{\"policies\":[{\"violations\":[{}, 1]}, 2]}");
        assert_eq!(odd.map(|verdict| (verdict.policies, verdict.violations.len())), Some((2, 1)));
    }
}
