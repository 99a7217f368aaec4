//! Pieces of evidence, identified by the digest of their content.

use std::fmt::Display;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use kinds::evaluation::JobError;
use operations::{OperationId, Status, Timestamp, Violation, check_text};
use serde::Deserialize;
use store::{
    Content, Digest, EvidenceFilter, EvidenceKept, EvidenceRecord, EvidenceRemoval, EvidenceTotals, InvalidDigest,
    ListedEvidence, MAX_EVIDENCE_NAME, NewEvidence, Reservation, Scope, Staged,
};
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::page::Paged;
use crate::app::App;
use crate::error::{ApiError, BoxError};
use crate::http::Caller;
use crate::services::ApiSettings;
use crate::shares::Share;
use crate::strict::Found;

const NOT_FOUND: ApiError = ApiError::NotFound("evidence");

/// Content that is in memory is sent, and stored, in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

/// How long an upload or a removal waits for a removal of the same content to end, and how often it checks.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);
const REMOVAL_LOOK: Duration = Duration::from_millis(50);
/// The most entries of a page of evidence.
const PAGE_SIZE: u32 = 100;
/// Longer outputs are not read for a list, which shows only the verdict of the last evaluation.
const READ_FOR_VERDICT: usize = 16 * 1024;

/// Which evidence to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListEvidence {
    /// Only evidence of this material type.
    #[param(required = false, max_length = 256, example = "SBOM_CYCLONEDX_JSON")]
    #[serde(default)]
    pub(crate) kind: String,
    /// Only evidence with this name.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) name: String,
    /// Only evidence whose digest begins with this, with or without the prefix sha256:.
    #[param(required = false, max_length = 71, example = "sha256:9f86d081")]
    #[serde(default)]
    pub(crate) digest: String,
}

/// One page of evidence.
#[derive(Default)]
pub(crate) struct EvidencePage {
    /// Newest first.
    pub(crate) evidence: Vec<ListedPiece>,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
    /// What the organization has in all.
    pub(crate) totals: EvidenceTotals,
    /// How many bytes it may have.
    pub(crate) limit: Option<u64>,
}

/// A piece in a list.
pub(crate) struct ListedPiece {
    pub(crate) record: EvidenceRecord,
    /// The newest operation about it, if it still exists.
    pub(crate) last: Option<LastOperation>,
}

/// What a list shows of the newest operation about a piece.
pub(crate) struct LastOperation {
    pub(crate) id: OperationId,
    pub(crate) status: Status,
    pub(crate) finished_at: Option<Timestamp>,
    /// passed, failed or skipped; `None` when it has none, or its output is long.
    pub(crate) verdict: Option<&'static str>,
}

/// Refuses a caller that may not store evidence, before anything is read.
pub(crate) fn may_put(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::EvidenceWrite)
}

/// Stores content as it arrives, of at most the configured size. The name may be empty.
pub(crate) async fn put<E: Display + Send>(
    app: &App,
    caller: &Caller,
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    name: &str,
) -> Result<EvidenceRecord, ApiError> {
    may_put(caller)?;
    check_evidence_name("name", name).map_err(|violation| ApiError::Invalid(vec![violation]))?;
    let staged = app.content.stage(caller.organization(), pieces).await?;
    keep_staged(app, caller, staged, name).await
}

/// Checks the name of a piece of evidence; it may be empty.
pub(crate) fn check_evidence_name(field: &str, name: &str) -> Result<(), Violation> {
    if name.len() > MAX_EVIDENCE_NAME || name.chars().any(char::is_control) {
        let description = format!("must be at most {MAX_EVIDENCE_NAME} bytes of printable text");
        return Err(Violation::new(field, description));
    }
    Ok(())
}

/// Stores content that was received, if the organization has space for it. Content that is on record already is written
/// again as well: sending lost content again repairs it.
async fn keep_staged(app: &App, caller: &Caller, staged: Staged, name: &str) -> Result<EvidenceRecord, ApiError> {
    let reserved = reserve(app, caller, &staged).await;
    let record = match reserved {
        Ok(record) => record,
        Err(error) => {
            app.content.discard(staged).await;
            return Err(error);
        }
    };
    let (digest, is_new) = (staged.digest, record.is_none());
    let placed = app.content.place(staged).await;
    if let Err(error) = &placed
        && is_new
        && app.content.leaves_nothing(error)
    {
        // Then it no longer counts. In other cases that happens after an hour, together with the removal of its
        // content.
        let _ = app.store.end_reservation(caller.organization(), digest).await;
    }
    let (digest, size) = placed?;
    let kept = put_on_record(app, caller, (digest, size), record, name).await;
    // It may have been removed since it was reserved, with its organization even, and before it came to its place.
    let is_kept = match &kept {
        Ok(_) if is_new => true,
        Ok(_) => app.store.evidence(caller.organization(), &digest).await?.is_some(),
        Err(_) => false,
    };
    if !is_kept && let Err(error) = app.content.remove_orphan(&*app.store, caller.organization(), digest).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not remove content that was not put on record");
    }
    kept
}

/// Puts content that is at its place on record; `record` is the one that it has already.
async fn put_on_record(
    app: &App,
    caller: &Caller,
    (digest, size): (Digest, u64),
    record: Option<EvidenceRecord>,
    name: &str,
) -> Result<EvidenceRecord, ApiError> {
    match record {
        Some(record) if name.is_empty() || !record.name.is_empty() => Ok(record),
        Some(record) => {
            app.store.touch_evidence(caller.organization(), digest, name).await?;
            Ok(EvidenceRecord { name: name.to_owned(), ..record })
        }
        None => note(app, caller, digest, size, name).await,
    }
}

/// Reserves space for it; returns its record if it is stored already.
async fn reserve(app: &App, caller: &Caller, staged: &Staged) -> Result<Option<EvidenceRecord>, ApiError> {
    let until = Instant::now() + REMOVAL_PATIENCE;
    loop {
        match app.store.reserve_evidence(caller.organization(), staged.digest, staged.size).await? {
            Reservation::Stored(record) => return Ok(Some(record)),
            Reservation::Reserved => return Ok(None),
            Reservation::Full { limit, used } => {
                return Err(ApiError::EvidenceFull { limit, used, size: staged.size });
            }
            Reservation::BeingRemoved => wait_for_removal(&staged.digest, until).await?,
        }
    }
}

/// Waits for a moment; fails when the time is over.
async fn wait_for_removal(digest: &Digest, until: Instant) -> Result<(), ApiError> {
    if Instant::now() >= until {
        return Err(still_being_removed(digest));
    }
    tokio::time::sleep(REMOVAL_LOOK).await;
    Ok(())
}

fn still_being_removed(digest: &Digest) -> ApiError {
    ApiError::Unavailable(format!("{digest} is still being removed").into())
}

/// The record of a piece of evidence.
pub(crate) async fn find(app: &App, caller: &Caller, digest: Option<&str>) -> Result<EvidenceRecord, ApiError> {
    caller.require(Scope::EvidenceRead)?;
    let digest = parsed(digest)?;
    app.store.evidence(caller.organization(), &digest).await?.ok_or(NOT_FOUND)
}

fn parsed(digest: Option<&str>) -> Result<Digest, ApiError> {
    let digest = digest.and_then(|digest| digest.parse::<Digest>().ok());
    digest.ok_or_else(|| ApiError::field("digest", InvalidDigest.to_string()))
}

/// Whether the caller may list evidence, which covers the whole organization.
pub(crate) fn may_list(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::EvidenceRead)?;
    caller.require_whole_organization()
}

/// One page of evidence, newest first.
pub(crate) async fn list(app: &App, caller: &Caller, asked: Paged<ListEvidence>) -> Result<EvidencePage, ApiError> {
    may_list(caller)?;
    let organization = caller.organization();
    let (page, asked, mut found) = asked.into_parts();
    let after = page.place(&mut found, |token| {
        let (millis, digest) = token.split_once('.')?;
        Some((Timestamp::from_millis(millis.parse().ok()?), digest.parse::<Digest>().ok()?.to_string()))
    });
    for (field, text) in [("kind", &asked.kind), ("name", &asked.name)] {
        check_text(field, text).err().into_iter().for_each(|violation| found.add(violation));
    }
    let digest_prefix = prefix(&asked.digest, &mut found);
    found.none()?;
    let filter = EvidenceFilter { kind: asked.kind, name: asked.name, digest_prefix };
    let size = page.size(PAGE_SIZE);
    let mut listed = app.store.list_evidence(organization, &filter, after, size + 1).await?;
    let has_more = listed.len() > size as usize;
    listed.truncate(size as usize);
    let next = listed.last().filter(|_| has_more).map(|last| &last.record);
    let next = next.map(|last| format!("{}.{}", last.created_at.as_millis(), last.digest));
    let ids: Vec<OperationId> = listed.iter().filter_map(|listed| listed.last_operation).collect();
    let details =
        if ids.is_empty() { Vec::new() } else { app.store.details(caller.access(), &ids, READ_FOR_VERDICT).await? };
    let last = |id: OperationId| {
        let detail = details.iter().flatten().find(|detail| detail.operation.id == id)?;
        Some(LastOperation {
            id,
            status: detail.operation.status,
            finished_at: detail.operation.finished_at,
            verdict: verdict(&detail.operation.output),
        })
    };
    let piece =
        |listed: ListedEvidence| ListedPiece { last: listed.last_operation.and_then(last), record: listed.record };
    Ok(EvidencePage {
        evidence: listed.into_iter().map(piece).collect(),
        next,
        totals: app.store.evidence_totals(organization).await?,
        limit: app.store.quotas().of(organization).max_evidence,
    })
}

/// The beginning of a digest, as it is stored.
fn prefix(text: &str, found: &mut Found) -> String {
    if text.is_empty() {
        return String::new();
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.len() > 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        found.add(Violation::new("digest", "must be the beginning of a digest: sha256: and hexadecimal digits"));
    }
    format!("sha256:{hex}")
}

/// The verdict in the output of an evaluation, if it is one.
fn verdict(output: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Verdict<'o> {
        #[serde(borrow)]
        status: std::borrow::Cow<'o, str>,
    }
    let verdict: Verdict<'_> = serde_json::from_str(output).ok()?;
    ["passed", "failed", "skipped"].into_iter().find(|known| *known == verdict.status)
}

/// Removes a piece of evidence permanently, unless an operation that has not ended or a waiver refers to it.
pub(crate) async fn delete(app: &App, caller: &Caller, digest: Option<&str>) -> Result<(), ApiError> {
    caller.require(Scope::EvidenceWrite)?;
    caller.require_whole_organization()?;
    let (organization, digest) = (caller.organization(), parsed(digest)?);
    let store = caller.store(app, "evidence.delete", vec![format!("evidence/{digest}")]);
    let until = Instant::now() + REMOVAL_PATIENCE;
    loop {
        let begun = Instant::now();
        match store.begin_removal(organization, EvidenceRemoval::One(digest)).await? {
            Ok(removing) => {
                let removed = app.content.remove_begun(&*app.store, organization, removing, begun).await?;
                return if removed > 0 { Ok(()) } else { Err(still_being_removed(&digest)) };
            }
            Err(EvidenceKept::NotFound) => return Err(NOT_FOUND),
            Err(EvidenceKept::InUse) => return Err(ApiError::EvidenceInUse),
            Err(EvidenceKept::BeingRemoved) => wait_for_removal(&digest, until).await?,
        }
    }
}

/// Records that a piece is used, with this name, if that is worth a write.
pub(super) async fn touch(app: &App, caller: &Caller, record: &EvidenceRecord, name: &str) -> Result<(), ApiError> {
    if record.is_use_to_be_noted(app.store.now(), name) {
        app.store.touch_evidence(caller.organization(), record.digest, name).await?;
    }
    Ok(())
}

/// Content in pieces, without a copy.
fn pieces(content: Bytes) -> impl Stream<Item = Result<Bytes, BoxError>> + Unpin {
    stream::iter(
        (0..content.len())
            .step_by(PIECE_BYTES)
            .map(move |start| Ok(content.slice(start..content.len().min(start + PIECE_BYTES)))),
    )
}

/// Stores content that is in memory, unless the organization has it already and whole; returns its record.
pub(super) async fn keep(
    app: &App,
    caller: &Caller,
    digest: Digest,
    content: Bytes,
) -> Result<EvidenceRecord, ApiError> {
    let organization = caller.organization();
    if let Some(record) = app.store.evidence(organization, &digest).await?
        && app.content.is_sound(organization, &digest).await?
    {
        return Ok(record);
    }
    let staged = app.content.stage(organization, pieces(content)).await?;
    if staged.digest != digest {
        return Err(ApiError::Internal(format!("{digest} was taken in as {}", staged.digest).into()));
    }
    keep_staged(app, caller, staged, "").await
}

/// Opens content that was just stored, or is on record.
pub(crate) async fn open(app: &App, caller: &Caller, digest: &Digest) -> Result<Content, ApiError> {
    let content = app.content.open(caller.organization(), digest).await?;
    content.ok_or_else(|| missing(digest))
}

/// Why content was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// It could not be read; the cause is logged.
    #[error("the evidence could not be read to its end")]
    Broken,
    #[error("the client read too slowly")]
    TooSlow,
}

/// Content in pieces, read as they are sent. A client that reads too slowly can hold neither the share of memory that
/// large content takes nor the open file.
///
/// The stream is not polled while the client reads nothing, so the clock runs in a task of its own.
pub(crate) fn slowly(
    mut content: Content,
    place: Option<Share>,
    settings: &ApiSettings,
) -> impl Stream<Item = Result<Bytes, Unsent>> + Send + use<> {
    let (sender, receiver) = mpsc::channel(1);
    let (idle, whole, size) = (settings.body_idle_timeout, settings.upload_timeout, content.size);
    tokio::spawn(async move {
        let _held = place;
        let sending = async {
            while let Some(piece) = content.next().await {
                let piece = piece.map_err(|error| {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "could not read evidence that is being sent"
                    );
                    Unsent::Broken
                });
                let is_last = piece.is_err();
                if sender.send_timeout(piece, idle).await.is_err() || is_last {
                    return;
                }
            }
        };
        // Whether it was sent or not, it is dropped now; the stream below reports the outcome.
        let _ = tokio::time::timeout(whole, sending).await;
    });
    stream::unfold((receiver, size), |(mut receiver, left)| async move {
        if left == 0 {
            return None;
        }
        let piece: Result<Bytes, Unsent> = receiver.recv().await.unwrap_or(Err(Unsent::TooSlow));
        let left = piece.as_ref().map_or(0, |piece| left.saturating_sub(piece.len() as u64));
        Some((piece, (receiver, left)))
    })
}

pub(crate) fn missing(digest: &Digest) -> ApiError {
    ApiError::Internal(format!("{digest} is on record but its content is missing").into())
}

/// Detects the kind of content that was just stored, in a process of its own, and puts it on record.
async fn note(app: &App, caller: &Caller, digest: Digest, size: u64, name: &str) -> Result<EvidenceRecord, ApiError> {
    let organization = caller.organization();
    let mut kind = None;
    if let Some(evaluations) = &app.evaluations {
        let share = app.checks.take(organization).await;
        let content = open(app, caller, &digest).await?;
        let detected = evaluations.detect(organization, content, share).await;
        kind = detected.map_err(|error| match error {
            JobError::Content(error) => ApiError::from(error),
            failed @ JobError::Failed { .. } => ApiError::Unavailable(failed.into()),
        })?;
    }
    let kind = kind.map_or("", |kind| kind.as_str()).to_owned();
    let store = caller.store(app, "evidence.put", vec![format!("evidence/{digest}")]);
    store.put_evidence(organization, NewEvidence { digest, size, kind, name: name.to_owned() }).await?;
    // If somebody has removed it in between, it is as if it had been stored before that.
    app.store.evidence(organization, &digest).await?.ok_or(NOT_FOUND)
}
