//! Completion notices: subscribers are notified when an operation has ended.
//!
//! A notice is a [CloudEvent](https://cloudevents.io) 1.0 with the operation as its data, posted and signed like the
//! calls of the kind `http`. To be as durable, as reliably repeated and as visible as any other work, each notice is
//! itself an operation, of the built-in kind [`KIND`]: [`Notices`] is the [`FollowUp`] that creates notices when an
//! operation has ended, and the [`Handler`] that delivers them.
//!
//! What it promises: at least one delivery for each end that somebody subscribed to, with the same id each time; no
//! notices about notices.

mod event;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Attempt, Failure, FollowUp, Handler};
use evidence::Status as Verdict;
use operations::backoff::Backoff;
use operations::{MAX_INLINE_BYTES, NewOperation, Operation, Resource, Status, TraceContext};
use serde::{Deserialize, Serialize};
use store::meters::{DeliveryLabel, Meters, Outcome};

use crate::evaluation;
use crate::webhook::Endpoint;
use event::Event;
use wire::WireOperation;

/// The name of the kind.
pub const KIND: &str = operations::NOTICE_KIND;
/// The maximum number of attempts of a notice: with [`BACKOFF`] they extend over some hours, so that a receiver may be
/// down overnight.
pub const MAX_ATTEMPTS: u32 = 20;
/// The backoff of notices that could not be delivered.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(3_600) };
/// How long a receiver may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of bytes of a receiver's answer that are read; the answer only confirms that the notice arrived.
const ANSWER_LIMIT: usize = 64 * 1024;

/// A receiver and the operations of which it is notified.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The receiver.
    pub endpoint: Endpoint,
    /// The operations of which it is notified.
    pub filter: NoticeFilter,
}

/// Which operations a subscription matches; an empty list matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeFilter {
    /// Their kinds.
    pub kinds: Vec<String>,
    /// Their statuses; only terminal ones have an effect.
    pub statuses: Vec<Status>,
    /// The verdicts of an `evidence_evaluation`; other kinds have no verdict. An evaluation that found something wrong
    /// is COMPLETED.
    pub verdicts: Vec<Verdict>,
    /// The organizations that they belong to.
    pub organizations: Vec<String>,
}

impl NoticeFilter {
    /// Whether the operation matches: it has ended in a way that the filter names, and is not itself a notice.
    pub fn matches(&self, organization: &str, operation: &Operation) -> bool {
        operation.status.is_terminal()
            && operation.kind != KIND
            && (self.kinds.is_empty() || self.kinds.contains(&operation.kind))
            && (self.statuses.is_empty() || self.statuses.contains(&operation.status))
            && (self.organizations.is_empty() || self.organizations.iter().any(|listed| listed == organization))
            && (self.verdicts.is_empty() || verdict(operation).is_some_and(|found| self.verdicts.contains(&found)))
    }
}

/// The verdict of an evaluation, read from its output. The rest of the output is skipped and not kept.
fn verdict(operation: &Operation) -> Option<Verdict> {
    #[derive(Deserialize)]
    struct Found {
        status: Verdict,
    }
    let has_output = operation.kind == evaluation::KIND && operation.status == Status::Completed;
    let found: Found = has_output.then(|| serde_json::from_str(&operation.output).ok())??;
    Some(found.status)
}

impl Subscription {
    /// Notifies the receiver that an operation has ended. A repeated notice has the same id.
    ///
    /// # Errors
    /// [`Failure`], permanent where another attempt would fail as well.
    pub async fn deliver(
        &self,
        organization: &str,
        operation: &Operation,
        trace: Option<TraceContext>,
    ) -> Result<(), Failure> {
        let wire = WireOperation::from(operation);
        let Some(event) = Event::of(organization, operation, &wire) else {
            return Err(Failure::permanent("the operation has not ended"));
        };
        let body = serde_json::to_vec(&event).expect("strings always serialise");
        self.endpoint.post(&event.id, event::CONTENT_TYPE, body, ANSWER_LIMIT, trace).await.map(drop)
    }
}

/// All subscriptions by their names; the [`Handler`] of the kind [`KIND`].
#[derive(Clone, Debug, Default)]
pub struct Notices {
    subscriptions: BTreeMap<String, Subscription>,
    meters: Meters,
}

/// The input of a notice.
#[derive(Serialize, Deserialize)]
struct Input<'a> {
    subscription: String,
    operation: WireOperation<'a>,
}

impl Notices {
    /// The subscriptions, each with the name by which its notices find it.
    pub fn new(subscriptions: BTreeMap<String, Subscription>) -> Notices {
        Notices { subscriptions, meters: Meters::default() }
    }

    /// The same, which counts deliveries in a process's meters.
    pub fn measured_by(self, meters: Meters) -> Notices {
        Notices { meters, ..self }
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

impl FollowUp for Notices {
    /// The notices to create when this operation has ended.
    ///
    /// They belong to the project of the operation, so that anyone who may see the operation may see whether the notice
    /// was sent. An output that is too long for the input of an operation is omitted; receivers read it by the
    /// operation's id.
    fn due(&self, organization: &str, operation: &Operation) -> Vec<NewOperation> {
        let matching =
            self.subscriptions.iter().filter(|(_, subscription)| subscription.filter.matches(organization, operation));
        matching.map(|(name, _)| notice(name, operation)).collect()
    }
}

fn notice(subscription: &str, operation: &Operation) -> NewOperation {
    let input = |operation: WireOperation<'_>| {
        let input = Input { subscription: subscription.to_owned(), operation };
        serde_json::to_string(&input).expect("strings always serialise")
    };
    let whole = input(WireOperation::from(operation));
    let resource = Resource { resource_type: "operation".to_owned(), resource_id: operation.id.to_string() };
    NewOperation {
        resource: Some(resource),
        project_id: operation.project_id.clone(),
        project_version_id: operation.project_version_id.clone(),
        input: if whole.len() <= MAX_INLINE_BYTES {
            whole
        } else {
            input(WireOperation::from(operation).without_output())
        },
        timeout: Some(TIMEOUT),
        max_attempts: MAX_ATTEMPTS,
        ..NewOperation::of_kind(KIND)
    }
}

#[async_trait]
impl Handler for Notices {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let broken = |error: String| Failure::permanent(format!("the input is not that of a notice: {error}"));
        let input: Input<'_> = serde_json::from_str(&attempt.input).map_err(|error| broken(error.to_string()))?;
        let operation = Operation::try_from(input.operation).map_err(broken)?;
        let Some(subscription) = self.subscriptions.get(&input.subscription) else {
            // Another server may have a newer configuration.
            return Err(Failure::transient(format!("this server has no subscription {:?}", input.subscription)));
        };
        tokio::select! {
            delivered = subscription.deliver(&attempt.organization, &operation, attempt.trace) => {
                let outcome = if delivered.is_ok() { Outcome::completed } else { Outcome::failed };
                self.meters.notice_attempts.get_or_create(&DeliveryLabel { outcome }).inc();
                delivered.map(|()| String::new())
            }
            () = attempt.cancelled.cancelled() => Err(Failure::transient("the delivery was stopped")),
        }
    }
}

#[cfg(test)]
mod tests {
    use operations::Timestamp;

    use super::*;

    fn operation(status: Status) -> Operation {
        let new = NewOperation { project_id: "p1".to_owned(), ..NewOperation::of_kind("scan") };
        let at = Timestamp::from_millis(1_000);
        Operation { status, started_at: Some(at), finished_at: Some(at), ..new.to_operation(at) }
    }

    #[test]
    fn a_filter_leaves_out_what_nobody_asked_for() {
        let matches = |filter: &NoticeFilter, status| filter.matches("acme", &operation(status));
        let any = NoticeFilter::default();
        assert!(matches(&any, Status::Completed) && matches(&any, Status::Failed));
        assert!(!matches(&any, Status::Running) && !matches(&any, Status::Pending));
        let failed = NoticeFilter { statuses: vec![Status::Failed], ..NoticeFilter::default() };
        assert!(matches(&failed, Status::Failed) && !matches(&failed, Status::Completed));
        let builds = NoticeFilter { kinds: vec!["build".to_owned()], ..NoticeFilter::default() };
        assert!(!matches(&builds, Status::Failed));
        let others = NoticeFilter { organizations: vec!["other".to_owned()], ..NoticeFilter::default() };
        assert!(!matches(&others, Status::Failed));
    }

    #[test]
    fn a_filter_asks_for_what_an_evaluation_found() {
        let filter = NoticeFilter { verdicts: vec![Verdict::Failed], ..NoticeFilter::default() };
        let evaluation = |kind: &str, status, output: &str| {
            let output = output.to_owned();
            filter.matches("acme", &Operation { kind: kind.to_owned(), output, ..operation(status) })
        };
        let found = r#"{"evidence":{"status":"passed"},"status":"failed","policies":[{"status":"passed"}]}"#;
        assert!(evaluation(evaluation::KIND, Status::Completed, found));
        assert!(!evaluation("scan", Status::Completed, found), "others may call anything a status");
        assert!(!evaluation(evaluation::KIND, Status::Completed, &found.replace("failed", "skipped")));
        assert!(!evaluation(evaluation::KIND, Status::Completed, "{}"));
        assert!(!evaluation(evaluation::KIND, Status::Failed, ""), "the evaluation has no verdict");
    }

    #[test]
    fn there_is_no_notice_of_a_notice() {
        let notice = Operation { kind: KIND.to_owned(), ..operation(Status::Failed) };
        assert!(!NoticeFilter::default().matches("acme", &notice));
    }

    #[test]
    fn a_notice_is_an_operation_of_the_same_project_that_can_be_created() {
        let long = "\"".repeat(MAX_INLINE_BYTES);
        for (output, sent) in [("{\"found\":0}", "{\"found\":0}"), (long.as_str(), "")] {
            let operation = Operation { output: output.to_owned(), ..operation(Status::Completed) };
            let new = notice("ci", &operation);
            assert_eq!(new.violations(), []);
            assert_eq!((new.kind.as_str(), new.project_id.as_str()), (KIND, "p1"));
            let input: Input<'_> = serde_json::from_str(&new.input).expect("an input");
            assert_eq!(input.subscription, "ci");
            assert_eq!(Operation::try_from(input.operation), Ok(Operation { output: sent.to_owned(), ..operation }));
        }
    }
}
