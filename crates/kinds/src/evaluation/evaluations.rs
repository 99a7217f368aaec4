//! How a server uses its evaluation processes.

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

/// How much longer than the time limit starting up and reading may take; the process itself keeps the time limit if it
/// can.
const GRACE: Duration = Duration::from_secs(2);
/// The longest time that checking the policies of one request may take.
const MAX_CHECK: Duration = Duration::from_secs(10);
/// The longest time that fetching the policies of one request may take.
const MAX_FETCH: Duration = Duration::from_secs(30);

/// Checks requests, detects kinds and evaluates, in processes that each serve one organization and do one job at a
/// time.
///
/// A caller that no longer wants an answer drops the future: then the process is killed. The value that a call holds
/// (`held`) is dropped once the process has finished with it, or has ended.
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
    /// There is no result for this request or evidence, or not this time.
    #[error("{message}")]
    Failed {
        /// The message for the caller.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
    /// The stored evidence cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Why a request is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A field is not valid.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The request could not be checked.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl Evaluations {
    /// Evaluations by processes of this worker. The default policies, which the operator provides, are read at once.
    ///
    /// # Errors
    /// [`EvaluateError`] when the policy folder does not exist or a default policy is not valid.
    pub fn new(worker: Worker, config: EvaluatorConfig) -> Result<Evaluations, EvaluateError> {
        Evaluator::new(config.clone())?;
        // As many processes as evaluate at a time by default, and as many again for other organizations and checks.
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
        self.config.policy_cache = Some(references.cache().clone());
        self.references = Some(references);
        self
    }

    /// The same, with policies that may call `http.send`.
    pub fn with_calls(mut self, calls: Calls) -> Evaluations {
        self.config.makes_calls = true;
        self.calls = Some(calls);
        self
    }

    /// Checks a request, a JSON text, as far as that is possible without the evidence: every policy exists, is valid,
    /// and has its inputs.
    ///
    /// # Errors
    /// [`CheckError::Request`] with the path of the first field that is not valid.
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
            // Policies that cannot be checked within the time and memory limits cannot be evaluated within them either.
            Err(JobError::Failed { message, retryable: false }) => Err(refused(message).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Repeats the check of a request until everything that it refers to has been fetched.
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

    /// The detected kind of the content; `None` when no kind matches, or when the content is too large to be examined.
    ///
    /// # Errors
    /// [`JobError`] when the content could not be examined for a reason that does not lie in the content.
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

    /// Evaluates content by a request, a JSON text; the result is an [`Output`](evidence::Output) as JSON of at most
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
            // The content is a stream, so everything that the request refers to must be there before it is sent. The
            // evaluation reports anything else that is wrong.
            self.check_fetching(organization, request, ()).await?;
        }
        let task = Task::Evaluate { output_limit };
        match self.run(organization, task, request, Some(content), self.config.time_limit, ()).await? {
            // Checked, not parsed into values: a server that does not trust its processes with its memory need not
            // trust them with its answers.
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
        again("the evaluation process ended without an answer; see the server's log for details")
    }
}

fn again(message: &str) -> JobError {
    JobError::Failed { message: message.to_owned(), retryable: true }
}

fn nonsense() -> JobError {
    again("the evaluation process returned an invalid answer")
}
