//! Waiting for an operation to end, by asking.
//!
//! The server says in `Retry-After` when to ask again, and answers 304 without a body while nothing has changed.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use tokio::time::Instant;

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::retry::retry_after;
use crate::types::OperationAnswer;

/// How long to wait between two questions when the server does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// Never ask more often, nor less often, than this, whatever the server says.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(30);

impl Client {
    /// Waits until the operation has ended and answers it; `seen` is told each state that was answered on the way,
    /// the last one included.
    ///
    /// # Errors
    /// [`Error::StillRunning`] when `limit` passes first, else any [`Error`].
    pub async fn wait(
        &self,
        id: &str,
        limit: Option<Duration>,
        mut seen: impl FnMut(&OperationAnswer),
    ) -> Result<Answer<OperationAnswer>, Error> {
        let address = self.address(&format!("v1/operations/{}", segment(id)));
        let start = Instant::now();
        let mut etag: Option<HeaderValue> = None;
        loop {
            let response = self
                .send(|| {
                    let request = self.http().get(address.clone());
                    match &etag {
                        Some(etag) => request.header(IF_NONE_MATCH, etag),
                        None => request,
                    }
                })
                .await?;
            let interval = retry_after(response.headers()).unwrap_or(DEFAULT_INTERVAL);
            let interval = interval.clamp(*INTERVALS.start(), *INTERVALS.end());
            if response.status() != StatusCode::NOT_MODIFIED {
                etag = response.headers().get(ETAG).cloned();
                let answer = self.read::<OperationAnswer>(response).await?;
                seen(&answer.value);
                if answer.value.operation.is_terminal() {
                    return Ok(answer);
                }
            }
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::StillRunning { id: id.to_owned(), after: start.elapsed() });
            }
            tokio::time::sleep(left.map_or(interval, |left| interval.min(left))).await;
        }
    }
}
