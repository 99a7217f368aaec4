//! The calls about evidence.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use crate::calls::{IDEMPOTENCY_KEY, new_key, segment};
use crate::client::{Answer, Client, Sent};
use crate::error::Error;
use crate::management::{Page, with_query};
use crate::types::{AttestationEnvelope, Deleted, EvaluateRequest, StartedEvaluation, StoredEvidence};

/// Bytes read from a file at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file of up to this size is sent at once: a server that refuses it reads it first, so that its answer arrives.
const SENT_AT_ONCE: u64 = 4 * 1024 * 1024;

/// How long a server may take to refuse a larger file before the file is sent.
const TIME_TO_REFUSE: Duration = Duration::from_millis(200);

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

    /// `POST /v1/evidence` with the content of a file, which is read while it is sent, under a name if one is given;
    /// `sent` is called with the number of bytes each time some were passed to the connection.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, else any [`Error`].
    pub async fn put_evidence_file(
        &self,
        path: &Path,
        name: Option<&str>,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<Answer<StoredEvidence>, Error> {
        let given = [("name", name.unwrap_or_default())];
        let address = with_query(self.address("v1/evidence"), &Page::default(), &given);
        let unreadable =
            |error: std::io::Error| Error::File { path: path.display().to_string(), reason: error.to_string() };
        let (mut repetition, mut expects) = (0, true);
        loop {
            // Opened again each time: a streamed body can be sent only once.
            let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
            let metadata = file.metadata().await.map_err(unreadable)?;
            let sent = sent.clone();
            let chunks =
                ReaderStream::with_capacity(file, CHUNK_BYTES).inspect_ok(move |chunk| sent(chunk.len() as u64));
            // Otherwise the server closes the connection in the middle of the file, and its answer may be lost.
            let is_awaited = metadata.is_file() && metadata.len() > SENT_AT_ONCE;
            let awaited = async move {
                if is_awaited {
                    tokio::time::sleep(TIME_TO_REFUSE).await;
                }
            };
            let chunks = awaited.map(|()| chunks).flatten_stream();
            let mut request = self.http().post(address.clone()).header(CONTENT_TYPE, "application/octet-stream");
            if is_awaited && expects {
                request = request.header(EXPECT, "100-continue");
            }
            // Lets the server refuse a file that is too large before it is sent; a pipe has no length.
            if metadata.is_file() {
                request = request.header(CONTENT_LENGTH, metadata.len());
            }
            match self.send_once(request.body(Body::wrap_stream(chunks))).await {
                Ok(Sent::Done(response)) => return self.read(response).await,
                Ok(Sent::Busy(response)) => self.pause(response, &mut repetition).await?,
                // A proxy that does not know the header (RFC 9110, section 15.5.18).
                Err(error) if expects && error.http_status() == Some(417) => expects = false,
                Err(error) => return Err(error),
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

    /// `POST /v1/agents/evaluate-evidence`: starts an evaluation. An idempotency key is created for this call, so that
    /// repeating it starts nothing twice.
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

/// Which evidence to list. An empty field matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceRequest {
    /// Only evidence of this material type.
    pub kind: String,
    /// Only evidence with this name.
    pub name: String,
    /// Only evidence whose digest begins with this.
    pub digest: String,
    /// The page to return.
    pub page: Page,
}

/// A page of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EvidenceList {
    /// Newest first.
    pub evidence: Vec<ListedEvidence>,
    /// The token for the next page; empty on the last one.
    pub next_page_token: String,
    /// The number of pieces in the organization, regardless of the filters.
    pub total_count: u64,
    /// Their total size in bytes.
    pub total_bytes: u64,
    /// The maximum total size in bytes; 0: unlimited.
    pub max_bytes: u64,
}

/// A piece of evidence in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListedEvidence {
    /// `sha256:…`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// The detected material type, or empty.
    pub kind: String,
    /// The name under which it was first stored; may be empty.
    pub name: String,
    /// When it was first stored; RFC 3339.
    pub created_at: String,
    /// When it was last stored or evaluated, to within an hour; RFC 3339.
    pub last_used_at: String,
    /// The newest operation about it, if it still exists.
    pub last_operation: Option<EvidenceLastOperation>,
}

/// The newest operation about a piece of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EvidenceLastOperation {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: String,
    /// When it ended; RFC 3339.
    pub finished_at: Option<String>,
    /// `passed`, `failed` or `skipped`; `None` if it is not an ended evaluation, or its output is long.
    pub verdict: Option<String>,
}

impl Client {
    /// `GET /v1/evidence`: one page of the stored evidence, newest first.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 7 when the token is limited to projects.
    pub async fn evidence(&self, wanted: &EvidenceRequest) -> Result<Answer<EvidenceList>, Error> {
        let EvidenceRequest { kind, name, digest, page } = wanted;
        let given = [("kind", kind.as_str()), ("name", name), ("digest", digest)];
        let address = with_query(self.address("v1/evidence"), page, &given);
        self.call(|| self.http().get(address.clone())).await
    }

    /// `DELETE /v1/evidence/{digest}`: deletes a piece of evidence permanently.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such piece, with code 9 when an operation that has not
    /// ended refers to it.
    pub async fn delete_evidence(&self, digest: &str) -> Result<Answer<Deleted>, Error> {
        let address = self.address(&format!("v1/evidence/{}", segment(digest)));
        self.call(|| self.http().delete(address.clone())).await
    }
}
