//! A worker: claims operations, runs a handler for each, prolongs their leases, and records their outcomes.
//!
//! **When it claims.** Whenever a slot is free, for all free slots at once, in a long poll: the server answers as soon
//! as there is work. When the server is busy or away, the worker tries again after a growing pause.
//!
//! **Guarantees.** At most [`Worker::concurrency`] handlers run at the same time. The leases of all held operations are
//! prolonged by one heartbeat every third of the lease, until their outcome is recorded. A handler is cancelled when
//! its lease is lost, a cancellation of its operation is requested or its time limit expires. When the worker is asked
//! to stop, running attempts may end within the drain time; the rest is released without charging an attempt. An
//! operation that a handler cannot even start is released in the same way. An outcome is sent until the server has
//! answered about it. Outcomes of organizations whose data cannot be reached do not keep others from running: there may
//! be as many of them as handlers, in addition to those that run.

mod attempt;
mod handler;
mod held;
mod settle;
mod starts;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
pub use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::error::Error;
use crate::retry::pause;
use crate::work::{ClaimRequest, Claims};
use attempt::Shared;
pub use handler::{Attempt, Failure, Handler, Progress};
use held::Held;
use starts::Starts;

/// Maximum number of operations per claim.
const MAX_CLAIM: usize = 1_000;
/// How long recording outcomes may take after the drain time.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A worker, configured with its methods and started with [`Worker::run`].
///
/// ```no_run
/// use longrun_client::{Attempt, Client, Failure, Token, Worker};
///
/// async fn count_words(attempt: Attempt) -> Result<String, Failure> {
///     let text: String = attempt.parse_input()?;
///     Ok(text.split_whitespace().count().to_string())
/// }
///
/// # async fn example() -> Result<(), longrun_client::Error> {
/// let client = Client::new("http://127.0.0.1:8080", Token::new("lrn_…")?)?;
/// let stop = async {
///     // An error means that the signal cannot be received: then it stops at once.
///     let _ = tokio::signal::ctrl_c().await;
/// };
/// Worker::new(client, count_words).kind("word_count").concurrency(4).run(stop).await?;
/// # Ok(())
/// # }
/// ```
///
/// A handler with state is a type:
///
/// ```
/// use longrun_client::{Attempt, Failure, Handler};
///
/// struct Thumbnails {
///     folder: std::path::PathBuf,
/// }
///
/// impl Handler for Thumbnails {
///     async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
///         attempt.progress.report("reading the picture");
///         let picture = tokio::fs::read(self.folder.join(&attempt.operation.resource_id)).await?;
///         if picture.is_empty() {
///             return Err(Failure::permanent("the picture is empty"));
///         }
///         tokio::select! {
///             () = attempt.cancelled.cancelled() => Err(Failure::transient("stopped")),
///             thumbnail = shrink(picture) => Ok(thumbnail),
///         }
///     }
/// }
/// # async fn shrink(picture: Vec<u8>) -> String { String::new() }
/// ```
#[derive(Debug)]
pub struct Worker<H> {
    client: Client,
    handler: H,
    kinds: Vec<String>,
    organizations: Vec<String>,
    concurrency: usize,
    poll_wait: Duration,
    drain: Duration,
    grace: Duration,
    release: CancellationToken,
}

impl<H: Handler> Worker<H> {
    /// A worker that runs one operation at a time, and still needs a [`Worker::kind`].
    pub fn new(client: Client, handler: H) -> Worker<H> {
        Worker {
            client,
            handler,
            kinds: Vec::new(),
            organizations: Vec::new(),
            concurrency: 1,
            poll_wait: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            release: CancellationToken::new(),
        }
    }

    /// Also runs operations of this kind. The handler distinguishes kinds by the operation.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Worker<H> {
        self.kinds.push(kind.into());
        self
    }

    /// With a token of the instance, runs only operations of this organization, and of others named in further calls;
    /// by default, of all that the token can reach.
    #[must_use]
    pub fn organization(mut self, organization: impl Into<String>) -> Worker<H> {
        self.organizations.push(organization.into());
        self
    }

    /// How many operations run at the same time, at least 1; default: 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Worker<H> {
        self.concurrency = concurrency.max(1);
        self
    }

    /// How long the server may wait for work before it answers that there is none; default: 30 s; at least 1 s, at most
    /// 60 s and at most two thirds of the client's `read_timeout`.
    #[must_use]
    pub fn poll_wait(mut self, wait: Duration) -> Worker<H> {
        self.poll_wait = wait.max(Duration::from_secs(1));
        self
    }

    /// How long running attempts may continue after the worker was asked to stop; default: 30 s. Then they are
    /// released.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Worker<H> {
        self.drain = drain;
        self
    }

    /// How long a cancelled handler may take to react before it is stopped; default: 10 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Worker<H> {
        self.grace = grace;
        self
    }

    /// Ends the drain time early: attempts that are still running are then released.
    #[must_use]
    pub fn release_when(mut self, token: &CancellationToken) -> Worker<H> {
        self.release = token.child_token();
        self
    }

    /// Works until `shutdown` is ready, then drains and returns. Dropping the future stops claiming and releases
    /// running attempts, as long as the runtime exists.
    ///
    /// When the server refuses to give work to this worker: its token is not valid or lacks the scope
    /// `operations:work`, or there is no such kind. [`Error::NotStarted`] when its handler could not start several
    /// attempts in a row ([`Failure::not_started`]). Running attempts are drained first. A server that is busy or away
    /// is not an error.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let (settle, ended) = mpsc::unbounded_channel();
        let (give_up, stop_beating) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            handler: self.handler,
            held: Held::default(),
            settle,
            starts: Starts::default(),
            grace: self.grace,
            release: self.release.clone(),
        });
        // However this future ends, running attempts do not continue forever.
        let _release = self.release.clone().drop_guard();
        let attempts = TaskTracker::new();
        let beating = tokio::spawn({
            let (shared, client, stop) = (shared.clone(), self.client.clone(), stop_beating.clone());
            async move { shared.held.keep(&client, &stop).await }
        });
        let recording = tokio::spawn(settle::record(self.client.clone(), ended, self.concurrency, give_up.clone()));

        let claiming = Claiming {
            client: self.client,
            request: ClaimRequest {
                kinds: self.kinds,
                max_operations: 1,
                wait: self.poll_wait,
                organizations: self.organizations,
            },
            places: Arc::new(Semaphore::new(self.concurrency)),
        };
        let result = tokio::select! {
            // What a claim has brought is started, even if the worker is told to stop at the same moment.
            biased;
            error = claiming.run(&shared, &attempts) => Err(error),
            error = shared.starts.hopeless() => Err(error),
            () = shutdown => Ok(()),
        };
        attempts.close();
        let (mut all_ended, mut drain) = (pin!(attempts.wait()), pin!(tokio::time::sleep(self.drain)));
        tokio::select! {
            () = &mut all_ended => {}
            () = &mut drain => {}
            () = self.release.cancelled() => {}
        }
        if !attempts.is_empty() {
            tracing::info!(attempts = attempts.len(), "the drain time is over; releasing running attempts");
            self.release.cancel();
            if tokio::time::timeout(self.grace + LAST_WORDS, &mut all_ended).await.is_err() {
                give_up.cancel();
                all_ended.await;
            }
        }
        stop_beating.cancel();
        drop(shared);
        // Neither panics; only their end is waited for.
        let _ = tokio::join!(beating, recording);
        result
    }
}

/// The claiming loop.
struct Claiming {
    client: Client,
    request: ClaimRequest,
    places: Arc<Semaphore>,
}

impl Claiming {
    /// Claims and starts attempts; returns why the server gives no work to this worker.
    async fn run<H: Handler>(mut self, shared: &Arc<Shared<H>>, attempts: &TaskTracker) -> Error {
        self.request.wait = self.request.wait.min(self.client.settings.read_timeout * 2 / 3);
        let (mut failures, mut has_claimed) = (0, false);
        loop {
            // As many as are free now; those that become free while the server waits are filled by the next claim.
            let mut places = Vec::new();
            if let Ok(place) = self.places.clone().acquire_owned().await {
                places.push(place);
            }
            if let Some(pause) = shared.starts.pause() {
                tokio::time::sleep(pause).await;
            }
            while places.len() < MAX_CLAIM
                && let Ok(place) = self.places.clone().try_acquire_owned()
            {
                places.push(place);
            }
            self.request.max_operations = u32::try_from(places.len()).unwrap_or(1);
            let asked_at = Instant::now();
            let Claims { operations, lease_duration } = match self.client.claim(&self.request).await {
                Ok(answer) => answer.value,
                Err(error) if error.is_transient() || (has_claimed && settle::is_foreign(&error)) => {
                    let pause = pause(error.refusal().and_then(|refusal| refusal.retry_after), failures);
                    tracing::warn!(%error, ?pause, "could not claim; trying again");
                    tokio::time::sleep(pause).await;
                    failures = failures.saturating_add(1);
                    continue;
                }
                Err(error) => return error,
            };
            has_claimed = true;
            if operations.is_empty() && asked_at.elapsed() < self.request.wait / 2 {
                // A server that is stopping ends the calls of its workers; another one may be available in a moment.
                tokio::time::sleep(pause(None, failures)).await;
                failures = failures.saturating_add(1);
            } else {
                failures = 0;
            }
            for (claimed, place) in operations.into_iter().zip(places) {
                attempts.spawn(attempt::run(shared.clone(), claimed, lease_duration, place));
            }
        }
    }
}
