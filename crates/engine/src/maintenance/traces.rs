//! Sends the spans of ended operations to the collector of traces.
//!
//! It reads the store's change log, so that it finds every end, whichever process recorded it and for whatever reason,
//! and no claim or settlement waits for it. Only one server of a store does this at a time. After a crash a part is
//! read again: the same spans have the same ids.

use std::sync::Arc;
use std::time::Duration;

use operations::{Access, Operation, OperationId, Status, Timestamp, TraceContext};
use store::{Change, HistoryEvent, HistoryKind, Position, Store, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use traces::{Kind, Span, nanos};

use super::consumer::{self, consume};
use crate::context::Context;

/// The name under which the store keeps the position of this consumer.
const CONSUMER: &str = "traces";
/// How often a server without a collector checks whether another server of the store still sends spans: one that does
/// reads within seconds.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The number of changes that are read together.
const STRETCH: u32 = 256;

/// Makes the store keep the changes that this consumer has to read, from now on.
pub(crate) async fn begin(store: &dyn Store) -> Result<(), StoreError> {
    store.register_consumer(CONSUMER).await
}

/// Sends until it is stopped; without a collector, makes sure that the store keeps no changes for a server that would
/// send.
pub(crate) async fn send(context: Arc<Context>, stop: CancellationToken) {
    if context.registry.traces().are_exported() {
        return consume(&context, Sending(&context), &stop).await;
    }
    let unread = Mutex::new(None);
    run_periodic(&context.health, Schedule::every("unsent_traces", LOOK_EVERY), &stop, || async {
        let store = &*context.store;
        // There is no other server that could read them.
        if context.settings.is_alone {
            store.forget_consumer(CONSUMER).await?;
            return Ok::<_, StoreError>(Next::Never);
        }
        let first = store.uncommitted(CONSUMER, "", 1).await?.pop();
        let mut unread = unread.lock().await;
        if first.is_some() && *unread == first {
            tracing::info!("no server of the store sends traces any more; changes are no longer kept for that");
            store.forget_consumer(CONSUMER).await?;
        }
        *unread = first;
        Ok(Next::AfterPeriod)
    })
    .await;
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
            // Changes that expired before they were read have no spans.
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
            // The operation was deleted a moment ago.
            let Some(history) = store.history(&access, ended.id).await? else { continue };
            let traces = self.0.registry.traces();
            spans(organization, &ended, context, &history).into_iter().for_each(|span| traces.send(span));
        }
        Ok(())
    }
}

/// The spans of an ended operation: one for each time that it waited, one for each attempt, and one for the whole.
fn spans(organization: &str, ended: &Operation, context: TraceContext, history: &[HistoryEvent]) -> Vec<Span> {
    let Some(finished_at) = ended.finished_at else { return Vec::new() };
    let (id, kind, whole) = (ended.id, &ended.kind, context.of_operation(ended.id, finished_at));
    let span = |context: TraceContext, what: &str, of: Kind, from: Timestamp, to: Timestamp| Span {
        context,
        parent: Some(whole.span_id()),
        name: format!("{what} {kind}"),
        kind: of,
        start: nanos(from),
        end: nanos(to),
        attributes: vec![
            ("longrun.operation.id", id.to_string().as_str().into()),
            ("longrun.kind", kind.as_str().into()),
        ],
        failed: false,
    };
    let wait = |since, until| span(context.of_wait(id, since), "wait", Kind::Internal, since, until);
    // The events since the last retry, up to this end.
    let retried = history.iter().rposition(|event| event.kind == HistoryKind::Retried && event.at <= finished_at);
    let begun_at = retried.map_or(ended.created_at, |retried| history[retried].at);
    let life = history.iter().skip(retried.map_or(0, |retried| retried + 1)).filter(|event| event.at <= finished_at);
    let (mut spans, mut since, mut under_way) = (Vec::new(), Some(begun_at), None::<&HistoryEvent>);
    for event in life {
        let outcome = match event.kind {
            HistoryKind::AttemptStarted => {
                spans.extend(since.take().map(|since| wait(since, event.at)));
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
            let mut run = span(context.of_attempt(id, *attempt, *at), "run", Kind::Consumer, *at, event.at);
            run.failed = matches!(outcome, "failed" | "lost");
            run.attributes.extend([
                ("longrun.attempt", (*attempt).into()),
                ("longrun.worker", worker.as_str().into()),
                ("longrun.outcome", outcome.into()),
            ]);
            spans.push(run);
            since = Some(event.at);
        }
    }
    // It ended while it waited: it was cancelled.
    spans.extend(since.filter(|since| *since < finished_at).map(|since| wait(since, finished_at)));
    let mut operation = span(whole, "operation", Kind::Internal, begun_at, finished_at);
    operation.parent = Some(context.span_id());
    operation.failed = ended.status == Status::Failed;
    operation
        .attributes
        .extend([("longrun.organization", organization.into()), ("longrun.status", ended.status.wire_name().into())]);
    spans.push(operation);
    spans
}

#[cfg(test)]
mod tests {
    use operations::NewOperation;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn event(millis: i64, kind: HistoryKind, attempt: u32) -> HistoryEvent {
        let message = "confidential".to_owned();
        HistoryEvent { at: at(millis), kind, attempt, worker: "w".to_owned(), message }
    }

    /// The names, the beginnings and ends in milliseconds, and the outcomes of the spans of an operation that was
    /// created at 0.
    fn summary(status: Status, finished: i64, history: &[HistoryEvent]) -> Vec<(String, u64, u64, String)> {
        let new = NewOperation::of_kind("scan").to_operation(at(0));
        let ended =
            Operation { status, finished_at: Some(at(finished)), error_message: "confidential".to_owned(), ..new };
        let context = TraceContext::new([1; 16], [2; 8], true);
        let spans = spans("acme", &ended, context, history);
        assert!(!format!("{spans:?}").contains("confidential"));
        let whole = spans.last().expect("the span of the operation itself");
        assert_eq!((whole.parent, whole.failed), (Some([2; 8]), status == Status::Failed));
        let parts = &spans[..spans.len() - 1];
        assert!(parts.iter().all(|part| part.parent == Some(whole.context.span_id())));
        let outcome = |span: &Span| {
            let found = span.attributes.iter().find(|(name, _)| *name == "longrun.outcome");
            found.map_or(String::new(), |(_, value)| format!("{value:?}"))
        };
        let millis = |nanos: u64| nanos / 1_000_000;
        spans.iter().map(|span| (span.name.clone(), millis(span.start), millis(span.end), outcome(span))).collect()
    }

    fn row(name: &str, from: u64, to: u64, outcome: &str) -> (String, u64, u64, String) {
        let outcome = if outcome.is_empty() { String::new() } else { format!("Text({outcome:?})") };
        (format!("{name} scan"), from, to, outcome)
    }

    #[test]
    fn every_wait_and_every_attempt_is_a_span_however_it_ended() {
        use HistoryKind::{AttemptFailed, AttemptLost, AttemptReleased, AttemptStarted, Completed, Created, Progress};
        let history = [
            event(0, Created, 0),
            event(10, AttemptStarted, 1),
            event(12, Progress, 1),
            event(20, AttemptReleased, 1),
            event(30, AttemptStarted, 1),
            event(40, AttemptLost, 1),
            event(50, AttemptStarted, 2),
            event(60, AttemptFailed, 2),
            event(70, AttemptStarted, 3),
            event(80, Completed, 3),
        ];
        let expected = [
            row("wait", 0, 10, ""),
            row("run", 10, 20, "released"),
            row("wait", 20, 30, ""),
            row("run", 30, 40, "lost"),
            row("wait", 40, 50, ""),
            row("run", 50, 60, "failed"),
            row("wait", 60, 70, ""),
            row("run", 70, 80, "completed"),
            row("operation", 0, 80, ""),
        ];
        assert_eq!(summary(Status::Completed, 80, &history), expected);
    }

    #[test]
    fn what_is_cancelled_while_it_waits_has_waited_to_its_end() {
        let history = [event(0, HistoryKind::Created, 0), event(25, HistoryKind::Failed, 0)];
        assert_eq!(summary(Status::Failed, 25, &history), [row("wait", 0, 25, ""), row("operation", 0, 25, "")]);
    }

    #[test]
    fn a_retry_begins_anew_and_what_came_after_an_end_is_no_part_of_it() {
        use HistoryKind::{AttemptStarted, Completed, Created, Failed, Retried};
        let history = [
            event(0, Created, 0),
            event(10, AttemptStarted, 1),
            event(20, Failed, 1),
            event(100, Retried, 1),
            event(110, AttemptStarted, 2),
            event(120, Completed, 2),
        ];
        let first = [row("wait", 0, 10, ""), row("run", 10, 20, "failed"), row("operation", 0, 20, "")];
        let second = [row("wait", 100, 110, ""), row("run", 110, 120, "completed"), row("operation", 100, 120, "")];
        assert_eq!(summary(Status::Failed, 20, &history), first);
        assert_eq!(summary(Status::Completed, 120, &history), second);
    }
}
