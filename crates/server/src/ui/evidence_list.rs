//! `/ui/evidence`: the stored evidence.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use operations::Timestamp;
use serde::Deserialize;

use super::assets::Assets;
use super::error::Problem;
use super::evidence::{class_of, size};
use super::filter::address;
use super::form::{Address, or_problems};
use super::format::{When, number, short};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::evidence::{self, ListEvidence, ListedPiece};
use crate::calls::page::{PageQuery, Paged};
use crate::strict::Read;

const HERE: &str = "/ui/evidence";
/// Entries of a page.
const SIZE: u32 = 50;

/// The requested evidence, as in the address.
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
    /// The limit on the amount of evidence; empty for no limit.
    limit: String,
    has_filter: bool,
    is_first: bool,
    first: String,
    next: Option<String>,
}

struct Piece {
    url: String,
    /// Its name, or the beginning of its digest.
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
    let (found, problems) = or_problems(evidence::list(&app, &visitor.caller, paged).await)?;
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
        class: class_of(verdict),
        verdict: verdict.to_owned(),
        used: When::new(record.last_used_at, now),
        stored: When::new(record.created_at, now),
    }
}
