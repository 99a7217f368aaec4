//! Reading content in pieces, each of which is bounded, and all of which are verified.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};

use super::{ContentError, Digest};
use crate::seal::{ContentOpener, Unopened};

/// Stored content is read in pieces of this size.
pub(super) const PIECE_BYTES: usize = 128 * 1024;

/// Stored content that is being read: a stream of its pieces. The last piece comes only when all of them together have
/// the digest; otherwise [`ContentError::Damaged`] comes instead.
pub struct Content {
    /// How many bytes there are in all.
    pub size: u64,
    pub(super) pieces: BoxStream<'static, Result<Bytes, ContentError>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Stream for Content {
    type Item = Result<Bytes, ContentError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(context)
    }
}

/// Runs work that takes a while, or waits for the disk, off the async threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

pub(super) enum Source {
    File(File),
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

/// How far content has been read.
pub(super) struct Reading {
    pub(super) source: Source,
    /// Stored bytes that are left.
    pub(super) left: u64,
    /// For sealed content.
    pub(super) opener: Option<ContentOpener>,
    pub(super) hasher: Sha256,
    pub(super) wanted: Digest,
}

impl Reading {
    /// The pieces of the content.
    pub(super) fn pieces(self) -> BoxStream<'static, Result<Bytes, ContentError>> {
        stream::try_unfold(Some(self), next_piece).boxed()
    }
}

/// The next piece, and what is left to read after it; nothing after the last one.
async fn next_piece(reading: Option<Reading>) -> Result<Option<(Bytes, Option<Reading>)>, ContentError> {
    let Some(mut reading) = reading else { return Ok(None) };
    loop {
        let streamed = match &mut reading.source {
            Source::File(_) => None,
            Source::Stream(pieces) => Some(pieces.try_next().await?.unwrap_or_default()),
        };
        // Reading waits for the disk, and opening and hashing a piece take a large part of a millisecond.
        let (piece, rest) = aside(move || reading.read(streamed)).await?;
        reading = rest;
        if reading.left > 0 {
            // Of sealed content there may be less than a chunk so far.
            if !piece.is_empty() {
                return Ok(Some((piece, Some(reading))));
            }
            continue;
        }
        if Digest(reading.hasher.finalize().into()) != reading.wanted {
            return Err(ContentError::Damaged(reading.wanted));
        }
        return Ok((!piece.is_empty()).then_some((piece, None)));
    }
}

impl Reading {
    /// Reads a piece, or takes the one that was `streamed`, and answers the content that it holds.
    fn read(mut self, streamed: Option<Bytes>) -> Result<(Bytes, Reading), ContentError> {
        let piece = match (streamed, &mut self.source) {
            (None, Source::File(file)) => read_piece(file, self.left)?,
            (streamed, _) => streamed.unwrap_or_default(),
        };
        let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        // A source that ends early, or does not end, is damaged too.
        let left = self.left.checked_sub(size).filter(|left| size > 0 || *left == 0);
        self.left = left.ok_or(ContentError::Damaged(self.wanted))?;
        let piece = match &mut self.opener {
            None => piece,
            Some(opener) => opener.push(&piece, self.left == 0).map_err(|error| unopened(error, self.wanted))?.into(),
        };
        self.hasher.update(&piece);
        Ok((piece, self))
    }
}

/// What a piece that does not open means for the reader.
pub(super) fn unopened(error: Unopened, digest: Digest) -> ContentError {
    match error {
        Unopened::KeyMissing(key) => ContentError::KeyMissing { digest, key },
        Unopened::Damaged(_) | Unopened::Unknown => {
            tracing::error!(%digest, %error, "stored evidence cannot be opened");
            ContentError::Damaged(digest)
        }
    }
}

fn read_piece(file: &mut File, left: u64) -> object_store::Result<Bytes> {
    let most = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
    let mut piece = Vec::with_capacity(most);
    let read = file.take(u64::try_from(most).unwrap_or(0)).read_to_end(&mut piece);
    read.map_err(|error| object_store::Error::Generic { store: "local folder", source: Box::new(error) })?;
    Ok(piece.into())
}
