//! The calls about operations.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::{ListRequest, NewOperation, OperationAnswer, OperationPage};

/// Everything that could end or change a path segment is escaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The header that makes a repeated call the same call.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A key that nobody else has.
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

    /// `POST /v1/operations`. Without a key of the caller's, one is made for this call, so that repeating it creates
    /// nothing twice.
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
