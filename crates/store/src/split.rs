//! Work that concerns several organizations, split by organization: an error of one does not concern the others.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use operations::{Refusal, Timestamp};

use crate::{LeaseStatus, StoreError};

/// Splits work by organization, has all parts done at once, and answers with the result of each item, in the order
/// given. An error concerns all items of its organization.
pub(crate) async fn by_organization<T, R, F>(
    items: Vec<T>,
    organization: impl Fn(&T) -> &str,
    work: impl Fn(String, Vec<T>) -> F,
) -> Vec<Result<R, StoreError>>
where
    F: Future<Output = Result<Vec<R>, StoreError>>,
{
    let count = items.len();
    let mut parts: BTreeMap<String, (Vec<usize>, Vec<T>)> = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let (indexes, part) = parts.entry(organization(&item).to_owned()).or_default();
        indexes.push(index);
        part.push(item);
    }
    let work = &work;
    let done = join_all(
        parts.into_iter().map(async |(organization, (indexes, part))| (indexes, work(organization, part).await)),
    )
    .await;
    let mut answers: Vec<Option<Result<R, StoreError>>> = (0..count).map(|_| None).collect();
    for (indexes, part) in done {
        match part {
            Ok(part) => {
                for (index, answer) in indexes.into_iter().zip(part) {
                    answers[index] = Some(Ok(answer));
                }
            }
            Err(error) => {
                let message = error.to_string();
                let mut first = Some(error);
                for index in indexes {
                    let error = first.take().unwrap_or_else(|| StoreError::Unavailable(message.clone()));
                    answers[index] = Some(Err(error));
                }
            }
        }
    }
    answers.into_iter().map(|answer| answer.expect("every item was answered")).collect()
}

/// What settlements or releases of several organizations answer. Those of an organization that failed are
/// [`Refusal::Unavailable`]: they can be sent again, and the others need not be. Fails when all failed.
pub(crate) fn recorded<T>(
    results: Vec<Result<Result<T, Refusal>, StoreError>>,
) -> Result<Vec<Result<T, Refusal>>, StoreError> {
    if !results.is_empty() && results.iter().all(Result::is_err) {
        return results.into_iter().collect();
    }
    let mut failed = results.iter().filter_map(|result| result.as_ref().err());
    if let Some(error) = failed.next() {
        let (error, rows) = (error as &dyn std::error::Error, 1 + failed.count());
        tracing::warn!(error, rows, "settlements or releases of an organization could not be recorded");
    }
    Ok(results.into_iter().map(|result| result.unwrap_or(Err(Refusal::Unavailable))).collect())
}

/// What heartbeats of several organizations answer. Leases of an organization that failed are neither extended nor
/// lost: the next heartbeat will say. Fails when all failed.
pub(crate) fn heard(
    statuses: Vec<Result<LeaseStatus, StoreError>>,
    now: Timestamp,
) -> Result<Vec<LeaseStatus>, StoreError> {
    if !statuses.is_empty() && statuses.iter().all(Result::is_err) {
        return statuses.into_iter().collect();
    }
    let unknown = LeaseStatus::Held { expires_at: now, cancel_requested: false };
    Ok(statuses.into_iter().map(|status| status.unwrap_or(unknown)).collect())
}
