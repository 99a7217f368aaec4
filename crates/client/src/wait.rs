//! Waiting for an operation to end: the server holds the call until it does, a while at a time.

use std::time::Duration;

use tokio::time::Instant;

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::OperationAnswer;

/// How long one call waits at most. Servers take up to 60 s; proxies between like to cut what is silent for as long.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// Between two calls when the first came back early: a server that stops answers at once.
const PAUSE: Duration = Duration::from_millis(200);

impl Client {
    /// `GET /v1/operations/{id}:wait`, again and again: waits until the operation has ended and answers it; `seen` is told
    /// each state that was answered on the way, the last one included.
    ///
    /// # Errors
    /// [`Error::StillRunning`] when `limit` passes first, else any [`Error`].
    pub async fn wait(
        &self,
        id: &str,
        limit: Option<Duration>,
        mut seen: impl FnMut(&OperationAnswer),
    ) -> Result<Answer<OperationAnswer>, Error> {
        let start = Instant::now();
        // No call is silent for longer than the client has patience.
        let longest = LONGEST_CALL.min(self.settings.read_timeout / 2);
        // The first only looks, so that who watches knows how things are.
        let mut call = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let answer = self.wait_once(id, call).await?;
            seen(&answer.value);
            if answer.value.operation.is_terminal() {
                return Ok(answer);
            }
            let left = || limit.map(|limit| limit.saturating_sub(start.elapsed()));
            if asked.elapsed() < call / 2 {
                tokio::time::sleep(left().map_or(PAUSE, |left| left.min(PAUSE))).await;
            }
            let left = left();
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::StillRunning { id: id.to_owned(), after: start.elapsed() });
            }
            call = left.map_or(longest, |left| left.min(longest));
        }
    }

    /// `GET /v1/operations/{id}:wait`, once: the operation when it has ended, or as it is after `timeout` (a server waits
    /// 60 s at most).
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation.
    pub async fn wait_once(&self, id: &str, timeout: Duration) -> Result<Answer<OperationAnswer>, Error> {
        let mut address = self.address(&format!("v1/operations/{}:wait", segment(id)));
        address.query_pairs_mut().append_pair("timeout", &format!("{:.3}s", timeout.as_secs_f64()));
        self.call(|| self.http().get(address.clone())).await
    }
}
