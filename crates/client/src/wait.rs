//! Waiting for an operation to end: the server holds each call until it does, for a limited time.

use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::{Error, origin};
use crate::retry::pause;
use crate::types::OperationAnswer;

/// The maximum time of one call. Servers accept up to 60 s, but proxies often close connections that are silent for as
/// long.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// The pause between two calls if the first one returned early: a server that is stopping answers at once.
const PAUSE: Duration = Duration::from_millis(200);
/// How late an answer may arrive after the requested time; after that, the server is considered to be away.
const LATE: Duration = Duration::from_secs(10);
/// The same at the end of the limit, which must be respected.
const LATE_AT_THE_END: Duration = Duration::from_secs(1);

/// What happens while [`Client::wait`] waits.
#[derive(Debug)]
pub enum WaitStep<'s> {
    /// The current state of the operation.
    State(&'s OperationAnswer),
    /// The server cannot be reached or is too busy; it is asked again after growing pauses. Reported once, until it is
    /// back.
    Lost(&'s Error),
    /// The server answers again.
    Back,
}

impl Client {
    /// `GET /v1/operations/{id}:wait`, repeatedly: waits until the operation has ended and returns it; `seen` is called
    /// for each step on the way, including the last state.
    ///
    /// A server that goes away meanwhile is asked again until it is back, within `limit` and
    /// [`Settings::reconnect_for`](crate::Settings::reconnect_for). This does not apply to a server that has never
    /// answered this client: the address is probably wrong.
    ///
    /// # Errors
    /// [`Error::StillRunning`] when `limit` expires first, else any [`Error`]; for a server that did not come back, the
    /// last one.
    pub async fn wait(
        &self,
        id: &str,
        limit: Option<Duration>,
        mut seen: impl FnMut(WaitStep<'_>),
    ) -> Result<Answer<OperationAnswer>, Error> {
        let start = Instant::now();
        let left = || limit.map(|limit| limit.saturating_sub(start.elapsed()));
        let within = |pause: Duration| left().map_or(pause, |left| left.min(pause));
        // No call is silent for longer than the client's read timeout.
        let longest = LONGEST_CALL.min(self.settings.read_timeout / 2);
        // The first call does not wait, so that the observer gets the current state.
        let mut call = Duration::ZERO;
        let (mut lost_at, mut failures) = (None, 0);
        loop {
            let asked = Instant::now();
            let longest_answer = (call + LATE).min(left().map_or(Duration::MAX, |left| left + LATE_AT_THE_END));
            match self.wait_in_time(id, call, longest_answer).await {
                Ok(answer) => {
                    if lost_at.take().is_some() {
                        failures = 0;
                        seen(WaitStep::Back);
                    }
                    seen(WaitStep::State(&answer.value));
                    if answer.value.operation.is_terminal() {
                        return Ok(answer);
                    }
                    if asked.elapsed() < call / 2 {
                        tokio::time::sleep(within(PAUSE)).await;
                    }
                    if let Some(limit) = limit.filter(|limit| start.elapsed() >= *limit) {
                        return Err(Error::StillRunning { id: id.to_owned(), after: limit });
                    }
                }
                Err(error) if error.is_transient() && self.was_answered() => {
                    if lost_at.is_none() {
                        seen(WaitStep::Lost(&error));
                    }
                    let lost = *lost_at.get_or_insert(asked);
                    if !self.goes_on_since(lost) || left().is_some_and(|left| left.is_zero()) {
                        return Err(error);
                    }
                    let asked_for = error.refusal().and_then(|refusal| refusal.retry_after);
                    tokio::time::sleep(within(pause(asked_for, failures))).await;
                    failures = failures.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
            // The current state is requested first when the server is back.
            call = if lost_at.is_some() { Duration::ZERO } else { within(longest) };
        }
    }

    /// One call, not repeated, with a time limit in case the server falls silent.
    async fn wait_in_time(
        &self,
        id: &str,
        timeout: Duration,
        longest: Duration,
    ) -> Result<Answer<OperationAnswer>, Error> {
        let address = self.wait_address(id, timeout);
        match tokio::time::timeout(longest, self.call_once(self.http().get(address))).await {
            Ok(answer) => answer,
            Err(_) => {
                let reason = "the server does not answer in time".to_owned();
                Err(Error::Transport { url: origin(&self.address("")), reason })
            }
        }
    }

    fn wait_address(&self, id: &str, timeout: Duration) -> Url {
        let mut address = self.address(&format!("v1/operations/{}:wait", segment(id)));
        address.query_pairs_mut().append_pair("timeout", &format!("{:.3}s", timeout.as_secs_f64()));
        address
    }
}
