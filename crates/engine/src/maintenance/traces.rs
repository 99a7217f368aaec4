//! Sends the spans of operations that have ended to the collector of traces.
//!
//! It reads the store's feed of changes, so that every end is seen, whichever process recorded it and however it came
//! about, and nothing on the way of a claim or a settlement waits for it. Servers of one store take turns. After a crash
//! a part is read again: the same spans have the same ids.

use std::sync::Arc;
use std::time::Duration;

use operations::{Access, Operation, OperationId, Status, Timestamp, TraceContext};
use store::{Change, HistoryEvent, HistoryKind, Position, Store, StoreError};
use tokio_util::sync::CancellationToken;
use traces::{Kind, Span, Traces, nanos};

use super::consumer::{self, consume};
use crate::context::Context;

/// The name under which the store keeps how far this is.
const CONSUMER: &str = "traces";
/// Changes that are looked at together.
const STRETCH: u32 = 256;

/// Has the store keep what is to be looked at, from now on.
pub(crate) async fn begin(store: &dyn Store) -> Result<(), StoreError> {
    store.register_consumer(CONSUMER).await
}

/// Sends until told to stop; returns at once when there is no collector.
pub(crate) async fn send(context: Arc<Context>, stop: CancellationToken) {
    if context.registry.traces().are_exported() {
        consume(&context, Sending(&context), &stop).await;
    }
}

struct Sending<'c>(&'c Context);

impl consumer::Consumer for Sending<'_> {
    const TASK: &'static str = "traces";
    const NAME: &'static str = CONSUMER;
    const EVERY: Duration = Duration::from_secs(1);

    async fn begin(&self) -> Result<(), StoreError> {
        begin(&*self.0.store).await
    }

    async fn take(&self, organization: &str, position: Position) -> Result<bool, StoreError> {
        let store = &*self.0.store;
        let part = match store.changes(organization, position, STRETCH).await {
            // What was forgotten before it was seen has no spans.
            Err(StoreError::PositionUnknown) => {
                let end = store.end_of_changes(organization).await?;
                store.commit_offset(CONSUMER, organization, end).await?;
                return Ok(true);
            }
            part => part?,
        };
        let ends = part.changes.iter().filter(|change| change.status.is_some_and(Status::is_terminal));
        let ends: Vec<&Change> = ends.collect();
        let ids: Vec<OperationId> = ends.iter().map(|change| change.id).collect();
        let mut contexts =
            if ids.is_empty() { Default::default() } else { store.trace_contexts(organization, &ids).await? };
        contexts.retain(|_, context| context.is_sampled());
        if !contexts.is_empty() {
            self.send(organization, ends.into_iter().filter_map(|change| Some((change, *contexts.get(&change.id)?))))
                .await?;
        }
        store.commit_offset(CONSUMER, organization, part.next).await?;
        Ok(true)
    }
}

impl Sending<'_> {
    async fn send<'a>(
        &self,
        organization: &str,
        ends: impl Iterator<Item = (&'a Change, TraceContext)>,
    ) -> Result<(), StoreError> {
        let (store, access) = (&*self.0.store, Access::organization(organization));
        let ends: Vec<_> = ends.collect();
        let ids: Vec<OperationId> = ends.iter().map(|(change, _)| change.id).collect();
        let found = store.get_many(&access, &ids).await?;
        for ((change, context), now) in ends.into_iter().zip(found) {
            let Some(ended) = now.and_then(|now| change.then(now)) else { continue };
            // It was removed a moment ago.
            let Some(history) = store.history(&access, ended.id).await? else { continue };
            send_operation(self.0.registry.traces(), organization, &ended, context, &history);
        }
        Ok(())
    }
}

/// Sends the spans of an operation that has ended: itself, each time that it waited, and each attempt.
fn send_operation(
    traces: &Traces,
    organization: &str,
    ended: &Operation,
    context: TraceContext,
    history: &[HistoryEvent],
) {
    let Some(finished_at) = ended.finished_at else { return };
    let (id, kind) = (ended.id, &ended.kind);
    let of_all =
        || vec![("longrun.operation.id", id.to_string().as_str().into()), ("longrun.kind", kind.as_str().into())];
    let whole = context.of_operation(id, finished_at);
    let part = |context: TraceContext, what: &str, of: Kind, from: Timestamp, to: Timestamp| Span {
        context,
        parent: Some(whole.span_id()),
        name: format!("{what} {kind}"),
        kind: of,
        start: nanos(from),
        end: nanos(to),
        attributes: of_all(),
        failed: false,
    };
    let wait = |since, until| part(context.of_wait(id, since), "wait", Kind::Internal, since, until);
    // What happened since the last retry, up to this end.
    let begin = history.iter().rposition(|event| event.kind == HistoryKind::Retried && event.at <= finished_at);
    let life = history.iter().skip(begin.map_or(0, |retried| retried + 1)).filter(|event| event.at <= finished_at);
    let created_at = begin.map_or(ended.created_at, |retried| history[retried].at);
    let (mut since, mut under_way) = (Some(created_at), None::<&HistoryEvent>);
    for event in life {
        let outcome = match event.kind {
            HistoryKind::AttemptStarted => {
                if let Some(since) = since.take() {
                    traces.send(wait(since, event.at));
                }
                under_way = Some(event);
                continue;
            }
            HistoryKind::AttemptFailed | HistoryKind::Failed => "failed",
            HistoryKind::AttemptLost => "lost",
            HistoryKind::AttemptReleased => "released",
            HistoryKind::Completed => "completed",
            _ => continue,
        };
        if let Some(HistoryEvent { at, attempt, worker, .. }) = under_way.take() {
            let of_attempt = context.of_attempt(id, *attempt, *at);
            let mut span = part(of_attempt, "run", Kind::Consumer, *at, event.at);
            span.failed = matches!(outcome, "failed" | "lost");
            span.attributes.extend([
                ("longrun.attempt", (*attempt).into()),
                ("longrun.worker", worker.as_str().into()),
                ("longrun.outcome", outcome.into()),
            ]);
            traces.send(span);
            since = Some(event.at);
        }
    }
    // It ended without another attempt: it was cancelled.
    if let Some(since) = since.filter(|since| *since < finished_at) {
        traces.send(wait(since, finished_at));
    }
    let mut attributes = of_all();
    attributes
        .extend([("longrun.organization", organization.into()), ("longrun.status", ended.status.wire_name().into())]);
    traces.send(Span {
        context: whole,
        parent: Some(context.span_id()),
        name: format!("operation {kind}"),
        kind: Kind::Internal,
        start: nanos(created_at),
        end: nanos(finished_at),
        attributes,
        failed: ended.status == Status::Failed,
    });
}
