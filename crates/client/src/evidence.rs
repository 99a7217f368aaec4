//! The calls about evidence.

use std::path::Path;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio_util::io::ReaderStream;

use crate::calls::{IDEMPOTENCY_KEY, new_key, segment};
use crate::client::{Answer, Client, Sent};
use crate::error::Error;
use crate::types::{AttestationEnvelope, EvaluateRequest, StartedEvaluation, StoredEvidence};

/// Bytes read from a file at a time.
const CHUNK_BYTES: usize = 64 * 1024;

impl Client {
    /// `POST /v1/evidence`: stores content. The same content is stored once, however often it is sent.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn put_evidence(&self, content: Bytes) -> Result<Answer<StoredEvidence>, Error> {
        let address = self.address("v1/evidence");
        self.call(|| {
            let request = self.http().post(address.clone());
            request.header(CONTENT_TYPE, "application/octet-stream").body(content.clone())
        })
        .await
    }

    /// `POST /v1/evidence` with the content of a file, which is read as it is sent; `sent` is told how many bytes were
    /// handed to the connection each time.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, else any [`Error`].
    pub async fn put_evidence_file(
        &self,
        path: &Path,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<Answer<StoredEvidence>, Error> {
        let address = self.address("v1/evidence");
        let unreadable =
            |error: std::io::Error| Error::File { path: path.display().to_string(), reason: error.to_string() };
        let mut repetition = 0;
        loop {
            // Made anew each time: a streamed body can be sent only once.
            let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
            let metadata = file.metadata().await.map_err(unreadable)?;
            let sent = sent.clone();
            let chunks =
                ReaderStream::with_capacity(file, CHUNK_BYTES).inspect_ok(move |chunk| sent(chunk.len() as u64));
            let mut request = self.http().post(address.clone()).header(CONTENT_TYPE, "application/octet-stream");
            // Lets the server refuse what is too large before it is sent; a pipe has no length.
            if metadata.is_file() {
                request = request.header(CONTENT_LENGTH, metadata.len());
            }
            match self.send_once(request.body(Body::wrap_stream(chunks))).await? {
                Sent::Done(response) => return self.read(response).await,
                Sent::Busy(response) => self.pause(response, &mut repetition).await?,
            }
        }
    }

    /// `GET /v1/evidence/{digest}`: the content, as it arrives.
    ///
    /// # Errors
    /// Any [`Error`], also as an item of the stream when the connection breaks.
    pub async fn get_evidence(&self, digest: &str) -> Result<impl Stream<Item = Result<Bytes, Error>> + use<>, Error> {
        let address = self.address(&format!("v1/evidence/{}", segment(digest)));
        let response = self.send(|| self.http().get(address.clone())).await?;
        Ok(response.bytes_stream().map(move |chunk| chunk.map_err(|error| Error::from_reqwest(&address, &error))))
    }

    /// `POST /v1/agents/evaluate-evidence`: starts an evaluation. A key is made for this call, so that repeating it
    /// starts nothing twice.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn evaluate_evidence(&self, request: &EvaluateRequest) -> Result<Answer<StartedEvaluation>, Error> {
        let address = self.address("v1/agents/evaluate-evidence");
        let key = new_key();
        self.call(|| self.http().post(address.clone()).header(IDEMPOTENCY_KEY, &key).json(request)).await
    }

    /// `GET /v1/operations/{id}/attestation`: the signed result of an evaluation.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such operation, or when its result was not signed.
    pub async fn attestation(&self, id: &str) -> Result<Answer<AttestationEnvelope>, Error> {
        let address = self.address(&format!("v1/operations/{}/attestation", segment(id)));
        self.call(|| self.http().get(address.clone())).await
    }
}
