//! What a server asks of its evaluation processes.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use store::{Content, ContentError};

use store::meters::{Meters, Present};

use super::calls::Calls;
use super::pool::Pool;
use super::process::{Broken, Process, Worker};
use super::references::References;
use super::wire::{Answer, Setup, Task};
use evidence::{EvaluateError, Evaluator, EvaluatorConfig, MaterialKind, RequestError};

/// How long starting up and reading may take beyond the time limit, which the process itself keeps as long as it can.
const GRACE: Duration = Duration::from_secs(2);
/// The longest that checking the policies of one request may take.
const MAX_CHECK: Duration = Duration::from_secs(10);
/// The longest that fetching the policies of one request may take.
const MAX_FETCH: Duration = Duration::from_secs(30);

/// Checks requests, detects kinds and evaluates, in processes that serve one organization each and do one job at a
/// time.
///
/// A caller that no longer wants an answer drops the future: the process is killed then. The value that a call holds
/// (`held`) is dropped once the process is done with it, or gone.
#[derive(Debug)]
pub struct Evaluations {
    worker: Worker,
    config: EvaluatorConfig,
    pool: Arc<Pool>,
    meters: Meters,
    references: Option<References>,
    calls: Option<Calls>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// This request or evidence gives no result, or not this time.
    #[error("{message}")]
    Failed {
        /// For the caller.
        message: String,
        /// Whether another attempt may do better.
        retryable: bool,
    },
    /// The stored evidence cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Why a request cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A field is not in order.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It cannot be determined.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl Evaluations {
    /// Evaluations by processes of this kind. The default policies, which are the operator's, are read here and now.
    ///
    /// # Errors
    /// [`EvaluateError`] when the policy folder is not there or a default policy is not in order.
    pub fn new(worker: Worker, config: EvaluatorConfig) -> Result<Evaluations, EvaluateError> {
        Evaluator::new(config.clone())?;
        // As many as evaluate at a time by default, and as many again for other organizations and checks.
        let most = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Arc::new(Pool::new(most));
        Ok(Evaluations { worker, config, pool, meters: Meters::default(), references: None, calls: None })
    }

    /// The same, which counts its processes in a server's meters.
    pub fn measured_by(self, meters: Meters) -> Evaluations {
        Evaluations { meters, ..self }
    }

    /// The same, with policies from the network.
    pub fn with_references(mut self, references: References) -> Evaluations {
        self.config.policy_cache = Some(references.cache().to_owned());
        self.references = Some(references);
        self
    }

    /// The same, with policies that may call `http.send`.
    pub fn with_calls(mut self, calls: Calls) -> Evaluations {
        self.config.makes_calls = true;
        self.calls = Some(calls);
        self
    }

    /// Checks a request, JSON, as far as that goes without the evidence: every policy is there, in order, and has its
    /// inputs.
    ///
    /// # Errors
    /// [`CheckError::Request`] with the path of the first field that is not in order.
    pub async fn check(
        &self,
        organization: &str,
        request: &str,
        held: impl Send + Sync + 'static,
    ) -> Result<(), CheckError> {
        let refused = |message| RequestError { field: "policies".to_owned(), message };
        match self.check_fetching(organization, request, held).await {
            Ok((Answer::Checked, _)) => Ok(()),
            Ok((Answer::Refused { field, message }, _)) => Err(RequestError { field, message }.into()),
            Ok(_) => Err(nonsense().into()),
            // Policies that cannot be checked within the time and memory cannot be evaluated within them either.
            Err(JobError::Failed { message, retryable: false }) => Err(refused(message).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks a request again and again, until everything that it refers to is there.
    async fn check_fetching(
        &self,
        organization: &str,
        request: &str,
        held: impl Send + Sync + 'static,
    ) -> Result<(Answer, Vec<u8>), JobError> {
        let limit = self.config.time_limit.min(MAX_CHECK);
        let held = Arc::new(held);
        let until = tokio::time::Instant::now() + MAX_FETCH;
        loop {
            let held = Arc::clone(&held);
            let (answer, output) = self.run(organization, Task::Check, request, None, limit, held).await?;
            let (Answer::Missing { references }, Some(fetching)) = (&answer, &self.references) else {
                return Ok((answer, output));
            };
            for reference in references {
                let fetched = tokio::time::timeout_at(until, fetching.fetch(reference)).await;
                let fetched = fetched.map_err(|_| JobError::Failed {
                    message: format!("fetching the policies took longer than {} s", MAX_FETCH.as_secs()),
                    retryable: true,
                })?;
                fetched
                    .map_err(|error| JobError::Failed { message: error.to_string(), retryable: error.is_retryable })?;
            }
        }
    }

    /// The kind that the content looks like; none when it looks like no kind, or is too large to look at.
    ///
    /// # Errors
    /// [`JobError`] when it could not be looked at for a reason that does not lie in the content.
    pub async fn detect(
        &self,
        organization: &str,
        content: Content,
        held: impl Send + 'static,
    ) -> Result<Option<MaterialKind>, JobError> {
        if content.size > self.config.memory_limit {
            return Ok(None);
        }
        match self.run(organization, Task::Detect, "", Some(content), self.config.time_limit, held).await {
            Ok((Answer::Detected(kind), _)) => Ok(kind),
            Ok(_) => Err(nonsense()),
            Err(JobError::Failed { retryable: false, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Evaluates content by a request, JSON; the answer is an [`Output`](evidence::Output), JSON of at most
    /// `output_limit` bytes.
    ///
    /// # Errors
    /// [`JobError`] when there is no verdict.
    pub async fn evaluate(
        &self,
        organization: &str,
        request: &str,
        content: Content,
        output_limit: usize,
    ) -> Result<String, JobError> {
        let failed = |error: EvaluateError| JobError::Failed { message: error.to_string(), retryable: false };
        self.config.check_size(content.size).map_err(failed)?;
        if self.references.is_some() {
            // The content is a stream, so nothing may be missing when it flows. The evaluation reports anything else
            // that is wrong.
            self.check_fetching(organization, request, ()).await?;
        }
        let task = Task::Evaluate { output_limit };
        match self.run(organization, task, request, Some(content), self.config.time_limit, ()).await? {
            // Checked, not read: a server that trusts its processes with memory need not trust them with its
            // answers.
            (Answer::Output { .. }, json) if serde_json::from_slice::<IgnoredAny>(&json).is_ok() => {
                String::from_utf8(json).map_err(|_| nonsense())
            }
            _ => Err(nonsense()),
        }
    }

    async fn run(
        &self,
        organization: &str,
        task: Task,
        request: &str,
        content: Option<Content>,
        limit: Duration,
        held: impl Send + 'static,
    ) -> Result<(Answer, Vec<u8>), JobError> {
        let output_limit = match task {
            Task::Evaluate { output_limit } => output_limit,
            Task::Check | Task::Detect => 0,
        };
        let work = async {
            let mut process = match self.pool.take(organization) {
                Some(process) => process,
                None => self.start().await?,
            };
            let busy = Present::one_more(&self.meters.evaluation_busy);
            process.hold((held, busy));
            let answered = process.work(task, request.as_bytes(), content, output_limit, self.calls.as_ref()).await;
            let (reply, output) = answered.map_err(|broken| self.explain(broken))?;
            process.release();
            if !reply.ends {
                self.pool.put(organization, process, &self.meters);
            }
            Ok((reply.answer, output))
        };
        let answered = tokio::time::timeout(limit.saturating_add(GRACE), work).await;
        match answered.unwrap_or_else(|_| Err(self.took_too_long(task, limit)))? {
            (Answer::Failed { message, retryable }, _) => Err(JobError::Failed { message, retryable }),
            answered => Ok(answered),
        }
    }

    async fn start(&self) -> Result<Process, JobError> {
        let setup = Setup { config: self.config.clone(), parent: std::process::id() };
        self.meters.evaluation_started.inc();
        Process::start(&self.worker, &setup).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "could not start an evaluation process");
            again("the server could not start an evaluation process")
        })
    }

    fn took_too_long(&self, task: Task, limit: Duration) -> JobError {
        let what = match task {
            Task::Check => "checking the policies",
            Task::Detect => "detecting the kind",
            Task::Evaluate { .. } => "the evaluation",
        };
        let message = format!("{what} took longer than {} s and was ended", limit.as_secs_f64());
        JobError::Failed { message, retryable: false }
    }

    fn explain(&self, broken: Broken) -> JobError {
        let (status, complaint) = match broken {
            Broken::Content(error) => return JobError::Content(error),
            Broken::Ended { status, complaint } => (status, complaint),
        };
        let limit = self.config.memory_limit;
        let fault = |message: String| JobError::Failed { message, retryable: false };
        if complaint.contains("memory allocation of") {
            return fault(format!("the evaluation needed more memory than the limit of {limit} bytes"));
        }
        if complaint.contains("has overflowed its stack") {
            return fault("the policies or the evidence nest too deep to be evaluated".to_owned());
        }
        tracing::error!(?status, complaint, "an evaluation process ended without an answer");
        again("the evaluation process ended without an answer; the server's log says more")
    }
}

fn again(message: &str) -> JobError {
    JobError::Failed { message: message.to_owned(), retryable: true }
}

fn nonsense() -> JobError {
    again("the evaluation process gave an answer that makes no sense")
}
