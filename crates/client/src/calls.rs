//! The calls about operations.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::{
    BulkAnswer, BulkRequest, CreatedOperations, Deleted, History, ListRequest, NewOperation, OperationAnswer,
    OperationDetailAnswer, OperationPage,
};

/// Everything that could end or change a path segment is escaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The header that makes a repeated creation return the first result.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Several pages of events as one; each event as the server wrote it.
fn joined(pages: &[Bytes]) -> serde_json::Result<Bytes> {
    #[derive(Serialize, Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    let mut whole = Page { events: Vec::new() };
    for page in pages {
        whole.events.extend(serde_json::from_slice::<Page>(page)?.events);
    }
    serde_json::to_vec(&whole).map(Bytes::from)
}

/// A new unique key.
pub(crate) fn new_key() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Client {
    /// `GET /v1/operations`: one page of the operations that match, newest first.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn list(&self, request: &ListRequest) -> Result<Answer<OperationPage>, Error> {
        let mut address = self.address("v1/operations");
        let query = request.query();
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/operations/{id}`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation.
    pub async fn get(&self, id: &str) -> Result<Answer<OperationAnswer>, Error> {
        let address = self.address(&format!("v1/operations/{}", segment(id)));
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/operations/{id}?view=FULL`: all details of the operation.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation.
    pub async fn get_detail(&self, id: &str) -> Result<Answer<OperationDetailAnswer>, Error> {
        let mut address = self.address(&format!("v1/operations/{}", segment(id)));
        address.query_pairs_mut().append_pair("view", "FULL");
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/operations/{id}/events`: the whole history of the operation, oldest first, fetched page by page. The
    /// body is as if it had come in one page.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation.
    pub async fn events(&self, id: &str) -> Result<Answer<History>, Error> {
        let mut whole = self.events_page(id, "").await?;
        if whole.value.next_page_token.is_empty() {
            return Ok(whole);
        }
        let mut bodies = vec![whole.body.clone()];
        while !whole.value.next_page_token.is_empty() {
            let page = self.events_page(id, &whole.value.next_page_token).await?;
            whole.value.events.extend(page.value.events);
            whole.value.next_page_token = page.value.next_page_token;
            bodies.push(page.body);
        }
        whole.body = joined(&bodies).map_err(|_| self.unexpected(StatusCode::OK, &whole.body))?;
        Ok(whole)
    }

    /// One page of [`Client::events`]: the one for a token from the previous page, or the first.
    ///
    /// # Errors
    /// As [`Client::events`].
    pub async fn events_page(&self, id: &str, page_token: &str) -> Result<Answer<History>, Error> {
        let mut address = self.address(&format!("v1/operations/{}/events", segment(id)));
        if !page_token.is_empty() {
            address.query_pairs_mut().extend_pairs([("page_size", "1000"), ("page_token", page_token)]);
        }
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/operations`. With a unique key, an operation that has this key and has not ended is returned instead,
    /// if there is one. If the caller gives no idempotency key, one is created for this call, so that repeating it
    /// creates nothing twice.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn create(
        &self,
        operation: &NewOperation,
        idempotency_key: Option<&str>,
    ) -> Result<Answer<OperationAnswer>, Error> {
        let key = idempotency_key.map_or_else(new_key, str::to_owned);
        let address = self.address("v1/operations");
        self.call(|| self.http().post(address.clone()).header(IDEMPOTENCY_KEY, &key).json(operation)).await
    }

    /// `POST /v1/operations:batchCreate`: up to 1,000 operations, all or none of them. The key works as in
    /// [`Client::create`].
    ///
    /// # Errors
    /// Any [`Error`]; the fields that a refusal names begin with the index, e.g. `operations[3].kind`.
    pub async fn batch_create(
        &self,
        operations: &[NewOperation],
        idempotency_key: Option<&str>,
    ) -> Result<Answer<CreatedOperations>, Error> {
        #[derive(Serialize)]
        struct Batch<'b> {
            operations: &'b [NewOperation],
        }
        let key = idempotency_key.map_or_else(new_key, str::to_owned);
        let address = self.address("v1/operations:batchCreate");
        let batch = Batch { operations };
        self.call(|| self.http().post(address.clone()).header(IDEMPOTENCY_KEY, &key).json(&batch)).await
    }

    /// `POST /v1/operations:bulk`: cancels, retries or deletes all operations that match a filter, with an operation of
    /// the kind `bulk`. The key works as in [`Client::create`].
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 10 when more or fewer operations match than expected.
    pub async fn bulk(
        &self,
        request: &BulkRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Answer<BulkAnswer>, Error> {
        let key = idempotency_key.map_or_else(new_key, str::to_owned);
        let address = self.address("v1/operations:bulk");
        self.call(|| self.http().post(address.clone()).header(IDEMPOTENCY_KEY, &key).json(request)).await
    }

    /// `POST /v1/operations/{id}:cancel`: a pending operation ends at once, a running one is asked to stop.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation, 9 when it has ended.
    pub async fn cancel(&self, id: &str) -> Result<Answer<OperationAnswer>, Error> {
        self.command(id, "cancel").await
    }

    /// `POST /v1/operations/{id}:retry`: retries a failed operation.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation, 9 when it has not failed.
    pub async fn retry(&self, id: &str) -> Result<Answer<OperationAnswer>, Error> {
        self.command(id, "retry").await
    }

    /// `POST /v1/operations/{id}:retry` with a different input: creates a new operation of the same kind, resource,
    /// project, labels and limits, with this input and the label `retry_of`. The key works as in [`Client::create`].
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation, 9 when it has not ended, 6 when its unique key
    /// is in use.
    pub async fn retry_with_input(
        &self,
        id: &str,
        input: &serde_json::Value,
        idempotency_key: Option<&str>,
    ) -> Result<Answer<OperationAnswer>, Error> {
        #[derive(Serialize)]
        struct Retry<'r> {
            input: &'r serde_json::Value,
        }
        let key = idempotency_key.map_or_else(new_key, str::to_owned);
        let address = self.address(&format!("v1/operations/{}:retry", segment(id)));
        let retry = Retry { input };
        self.call(|| self.http().post(address.clone()).header(IDEMPOTENCY_KEY, &key).json(&retry)).await
    }

    /// `DELETE /v1/operations/{id}`: removes an operation that has ended.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation, 9 when it has not ended.
    pub async fn delete(&self, id: &str) -> Result<Answer<Deleted>, Error> {
        let address = self.address(&format!("v1/operations/{}", segment(id)));
        self.call(|| self.http().delete(address.clone())).await
    }

    async fn command(&self, id: &str, verb: &str) -> Result<Answer<OperationAnswer>, Error> {
        let address = self.address(&format!("v1/operations/{}:{verb}", segment(id)));
        self.call(|| self.http().post(address.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("../tokens?x#y"), "..%2Ftokens%3Fx%23y");
        assert_eq!(segment("sha256:0a"), "sha256:0a");
    }
}
