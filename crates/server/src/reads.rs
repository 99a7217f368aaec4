//! The reads of operations that many clients request at the same time: each is carried out once for all that request
//! the same (see [`crate::coalesce`]).

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use axum::body::Bytes;
use http::HeaderValue;
use operations::{Access, Filter, Operation, OperationId, PageRequest, Projects};
use store::{Digest, Listing, Position, Store, StoreError};

use crate::coalesce::{Coalescer, Read};
use crate::render::{self, OperationAnswer};
use crate::services::FirstPage;

/// Changes of one batch of the change log.
const BATCH: u32 = 64;
/// Longer outputs in a batch are read when their event is sent, so that a client that does not read its events holds at
/// most 64 times this, and errors, in memory.
const HELD_OUTPUT_BYTES: usize = 4 * 1024;
/// What handlers read.
pub(crate) struct Reads {
    operations: Coalescer<Operations>,
    pages: Coalescer<Pages>,
    feed: Coalescer<Feed>,
}

impl Reads {
    pub(crate) fn new(store: &Arc<dyn Store>) -> Reads {
        Reads {
            operations: Coalescer::new(Operations(Arc::clone(store))),
            pages: Coalescer::new(Pages(Arc::clone(store))),
            feed: Coalescer::new(Feed(Arc::clone(store))),
        }
    }

    /// An operation, if it exists and the caller may see it.
    ///
    /// # Errors
    /// When its output cannot be decrypted, which does not affect what others read together with it; and when the store
    /// cannot be queried.
    pub(crate) async fn operation(&self, access: &Access, id: OperationId) -> Result<Option<Arc<Found>>, StoreError> {
        let found = self.operations.get(access.clone(), id).await?;
        found.as_ref().map_or(Ok(()), |found| store::seal::readable(&found.operation))?;
        Ok(found)
    }

    /// A page of a list.
    pub(crate) async fn page(
        &self,
        access: &Access,
        filter: Filter,
        page: PageRequest,
    ) -> Result<Arc<Page>, StoreError> {
        self.pages.get((access.clone(), filter, page), ()).await
    }

    /// The changes after a position in the change log.
    ///
    /// # Errors
    /// [`StoreError::PositionUnknown`] when the position is forgotten, or never existed; and when the store cannot be
    /// queried.
    pub(crate) async fn changes(&self, access: &Access, position: Position) -> Result<Arc<FeedBatch>, StoreError> {
        self.feed.get((access.clone(), position), ()).await
    }
}

/// An operation as it was read for all calls that requested it together. It is serialized once, when the first of them
/// needs it.
pub(crate) struct Found {
    pub(crate) operation: Operation,
    answer: OnceLock<Answer>,
}

/// The body of an answer and its tag.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) json: Bytes,
    pub(crate) etag: HeaderValue,
}

impl Found {
    /// `{"operation":{…}}`.
    pub(crate) fn answer(&self) -> &Answer {
        self.answer.get_or_init(|| {
            let json = render::to_json(&OperationAnswer::from(&self.operation));
            // The body holds the id, the status, the times and the output: its digest is a strong tag.
            let etag = format!("\"{}\"", &Digest::of(&json).to_string()["sha256:".len()..][..32]);
            let etag = HeaderValue::try_from(etag).expect("a quoted hexadecimal text is a header value");
            Answer { json: json.into(), etag }
        })
    }
}

/// Reads operations, those of callers with the same access together.
struct Operations(Arc<dyn Store>);

#[async_trait]
impl Read for Operations {
    type Key = Access;
    type Item = OperationId;
    type Found = Option<Arc<Found>>;

    async fn read(&self, access: &Access, ids: Vec<OperationId>) -> Result<Vec<Option<Arc<Found>>>, StoreError> {
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let found = self.0.get_many(access, &distinct).await?.into_iter();
        let found: Vec<_> = found
            .map(|operation| operation.map(|operation| Arc::new(Found { operation, answer: OnceLock::new() })))
            .collect();
        let of = |id| distinct.binary_search(id).ok().and_then(|index| found.get(index)?.clone());
        Ok(ids.iter().map(of).collect())
    }
}

/// Reads pages; callers with the same access that request the same page share it.
struct Pages(Arc<dyn Store>);

/// A page as it was read for all calls that requested it together.
pub(crate) struct Page {
    /// Long outputs are left out.
    pub(crate) listing: Listing,
    json: OnceLock<Bytes>,
}

impl Page {
    /// The page in one piece, which is serialized once, when the first call needs it; `None` if it has long outputs.
    pub(crate) fn json(&self, first_page: FirstPage) -> Option<Bytes> {
        let is_whole = !self.listing.entries.iter().any(|entry| entry.output_left_out);
        is_whole.then(|| self.json.get_or_init(|| render::page(&self.listing, first_page)).clone())
    }
}

#[async_trait]
impl Read for Pages {
    type Key = (Access, Filter, PageRequest);
    type Item = ();
    type Found = Arc<Page>;

    async fn read(&self, (access, filter, page): &Self::Key, items: Vec<()>) -> Result<Vec<Arc<Page>>, StoreError> {
        let listing = self.0.list(access, filter, *page).await?;
        let page = Arc::new(Page { listing, json: OnceLock::new() });
        Ok(vec![page; items.len()])
    }
}

/// Reads batches of the change log, each for all clients at the same position with the same access.
struct Feed(Arc<dyn Store>);

/// A batch of the change log, with the operations as they were after each change.
pub(crate) struct FeedBatch {
    pub(crate) events: Vec<Event>,
    /// Up to where it was read.
    pub(crate) next: Position,
}

/// Something that happened to an operation that the caller may see.
pub(crate) struct Event {
    pub(crate) position: Position,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// A transition.
    Became {
        /// As it was after the transition, without a long output.
        operation: Box<Operation>,
        output_left_out: bool,
    },
    Deleted(OperationId),
}

#[async_trait]
impl Read for Feed {
    type Key = (Access, Position);
    type Item = ();
    type Found = Arc<FeedBatch>;

    async fn read(&self, (access, position): &Self::Key, items: Vec<()>) -> Result<Vec<Arc<FeedBatch>>, StoreError> {
        let part = self.0.changes(&access.organization, *position, BATCH).await?;
        let mut ids: Vec<OperationId> = part.changes.iter().map(|change| change.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = if ids.is_empty() { Vec::new() } else { self.0.get_many(access, &ids).await? };
        let events = part.changes.iter().filter_map(|change| {
            if change.status.is_none() {
                // The change log keeps only the id of a deleted operation: only callers that may see everything may
                // have seen it.
                let deleted = Event { position: change.position, what: What::Deleted(change.id) };
                return Some(deleted).filter(|_| access.projects == Projects::All);
            }
            // Operations that were deleted since, or that the caller may not see, cause no event.
            let index = ids.binary_search(&change.id).ok()?;
            let operation = change.then(found.get(index)?.clone()?)?;
            let output_left_out = operation.output.len() > HELD_OUTPUT_BYTES;
            let output = if output_left_out { String::new() } else { operation.output };
            let operation = Box::new(Operation { output, ..operation });
            Some(Event { position: change.position, what: What::Became { operation, output_left_out } })
        });
        let batch = Arc::new(FeedBatch { events: events.collect(), next: part.next });
        Ok(vec![batch; items.len()])
    }
}
