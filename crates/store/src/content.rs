//! Evidence content, addressed by its SHA-256, in an object store.
//!
//! Written as a stream to a staging place while it is hashed, then moved to its address, so that a broken upload leaves
//! nothing behind under any digest. Verified again when it is read. Kept per organization: one organization's content
//! is not another's, even with the same digest.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path as FsPath, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::{Path, PathPart};
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest as _, Sha256};

/// Bytes gathered before they are handed to the object store as one part. Each upload under way holds so many, so that
/// ten thousand of them must have room. (S3 would want at least 5 MiB a part.)
const PART_BYTES: usize = 128 * 1024;
/// Stored content is read in pieces of this size.
const PIECE_BYTES: usize = 128 * 1024;

/// The folder of uploads under way.
const INCOMING: &str = "incoming";

/// The SHA-256 of a content, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Digest {
        Digest(Sha256::digest(content).into())
    }

    fn hex(&self) -> String {
        let (high, low) = self.0.split_at(16);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
        format!("{:032x}{:032x}", number(high), number(low))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sha256: followed by 64 lower-case hexadecimal digits")]
pub struct InvalidDigest;

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Digest, InvalidDigest> {
        let hex = text.strip_prefix("sha256:").ok_or(InvalidDigest)?.as_bytes();
        if hex.len() != 64 || !hex.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidDigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Digest(bytes))
    }
}

/// Why content was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Longer than the store takes; nothing was kept.
    #[error("the content is larger than {limit} bytes, the most that is taken")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The sender's stream broke; nothing was kept.
    #[error("the content could not be received: {0}")]
    Receive(String),
    /// What is stored is not what its address says: a damaged disk or a foreign hand.
    #[error("the stored content does not have the digest {0}")]
    Damaged(Digest),
    /// The object store failed.
    #[error("the content store failed")]
    Store(#[from] object_store::Error),
}

/// Content by organization and digest.
#[derive(Clone, Debug)]
pub struct ContentStore {
    objects: Arc<dyn ObjectStore>,
    /// Where uploads under way are.
    incoming: PathBuf,
    limit: u64,
}

impl ContentStore {
    /// The content store in a local folder, which is created if it is missing; `limit` is the most bytes a piece.
    ///
    /// # Errors
    /// [`ContentError::Store`] when the folder cannot be made or used.
    pub fn local(folder: &FsPath, limit: u64) -> Result<ContentStore, ContentError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| object_store::Error::Generic { store: "local folder", source: Box::new(error) })?;
        let objects = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true).with_fsync(true);
        Ok(ContentStore { objects: Arc::new(objects), incoming: folder.join(INCOMING), limit })
    }

    /// The most bytes that a piece may have.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Stores a stream of bytes; answers its digest and size once it is at its address.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`], [`ContentError::Receive`] when the stream yields an error, [`ContentError::Store`].
    /// Nothing is kept then.
    pub async fn put<S, E>(&self, organization: &str, mut content: S) -> Result<(Digest, u64), ContentError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: fmt::Display,
    {
        let staging =
            Path::from_iter([PathPart::from(INCOMING), PathPart::from(uuid::Uuid::new_v4().as_simple().to_string())]);
        let mut upload = self.objects.put_multipart(&staging).await?;
        let received: Result<(Digest, u64), ContentError> = async {
            let (mut hasher, mut size, mut part) = (Sha256::new(), 0_u64, Vec::new());
            while let Some(chunk) = content.next().await {
                let chunk = chunk.map_err(|error| ContentError::Receive(error.to_string()))?;
                size += chunk.len() as u64;
                if size > self.limit {
                    return Err(ContentError::TooLarge { limit: self.limit });
                }
                hasher.update(&chunk);
                part.extend_from_slice(&chunk);
                if part.len() >= PART_BYTES {
                    upload.put_part(PutPayload::from(std::mem::take(&mut part))).await?;
                }
            }
            if !part.is_empty() || size == 0 {
                upload.put_part(PutPayload::from(part)).await?;
            }
            Ok((Digest(hasher.finalize().into()), size))
        }
        .await;
        let (digest, size) = match received {
            Ok(received) => received,
            Err(error) => {
                // Best effort: what stays in "incoming" has no address and is never read.
                let _ = upload.abort().await;
                return Err(error);
            }
        };
        upload.complete().await?;
        self.objects.rename(&staging, &address(organization, &digest)).await?;
        Ok((digest, size))
    }

    /// Whether the content with this digest is there, and is what its address says.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn is_sound(&self, organization: &str, digest: &Digest) -> Result<bool, ContentError> {
        let Some(mut content) = self.open(organization, digest).await? else { return Ok(false) };
        loop {
            match content.next().await {
                None => return Ok(true),
                Some(Ok(_)) => {}
                Some(Err(ContentError::Damaged(_))) => return Ok(false),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Removes what uploads that broke off with their process left: files that nobody has written to for so long.
    /// Answers how many.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn sweep(&self, untouched_for: Duration) -> Result<u64, ContentError> {
        let incoming = self.incoming.clone();
        let swept = tokio::task::spawn_blocking(move || remove_untouched(&incoming, untouched_for)).await;
        let swept = swept.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        Ok(swept.map_err(|error| object_store::Error::Generic { store: "local folder", source: Box::new(error) })?)
    }

    /// Removes everything of an organization; answers how many pieces there were. What is being stored meanwhile may
    /// stay.
    ///
    /// # Errors
    /// [`ContentError::Store`]; a part may be gone then.
    pub async fn remove_all(&self, organization: &str) -> Result<u64, ContentError> {
        let folder = Path::from_iter([PathPart::from("organizations"), PathPart::from(organization)]);
        let mut found = self.objects.list(Some(&folder));
        let mut removed = 0;
        while let Some(piece) = found.next().await {
            match self.objects.delete(&piece?.location).await {
                Ok(()) => removed += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }

    /// The content with this digest, to be read in pieces, or `None` when the organization has none such.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn open(&self, organization: &str, digest: &Digest) -> Result<Option<Content>, ContentError> {
        let result = match self.objects.get(&address(organization, digest)).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let size = result.meta.size;
        let source = match result.payload {
            GetResultPayload::File(file, _) => Source::File(file),
            GetResultPayload::Stream(pieces) => Source::Stream(pieces),
        };
        let reading = Reading { source, left: size, hasher: Sha256::new(), wanted: *digest };
        Ok(Some(Content { size, pieces: stream::try_unfold(Some(reading), next_piece).boxed() }))
    }

    /// The content with this digest, whole and verified, or `None` when the organization has none such.
    ///
    /// # Errors
    /// [`ContentError::Damaged`] when what is stored has another digest; [`ContentError::Store`].
    pub async fn get(&self, organization: &str, digest: &Digest) -> Result<Option<Bytes>, ContentError> {
        let Some(mut content) = self.open(organization, digest).await? else { return Ok(None) };
        let mut whole = Vec::with_capacity(usize::try_from(content.size).unwrap_or(0));
        while let Some(piece) = content.try_next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole.into()))
    }
}

/// Stored content that is being read: a stream of its pieces. The last piece comes only when all of them together have
/// the digest; otherwise there is [`ContentError::Damaged`] in its place.
pub struct Content {
    /// How many bytes there are in all.
    pub size: u64,
    pieces: BoxStream<'static, Result<Bytes, ContentError>>,
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

/// Runs what takes a while, or waits for the disk, off the async threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

enum Source {
    File(File),
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

/// How far content has been read.
struct Reading {
    source: Source,
    left: u64,
    hasher: Sha256,
    wanted: Digest,
}

/// The next piece, and what is left to read after it; nothing after the last one.
async fn next_piece(reading: Option<Reading>) -> Result<Option<(Bytes, Option<Reading>)>, ContentError> {
    let Some(mut reading) = reading else { return Ok(None) };
    let streamed = match &mut reading.source {
        Source::File(_) => None,
        Source::Stream(pieces) => Some(pieces.try_next().await?.unwrap_or_default()),
    };
    // Reading waits for the disk, and hashing a piece takes a good part of a millisecond.
    let read = aside(move || {
        let piece = match (streamed, &mut reading.source) {
            (None, Source::File(file)) => read_piece(file, reading.left)?,
            (streamed, _) => streamed.unwrap_or_default(),
        };
        reading.hasher.update(&piece);
        Ok::<_, object_store::Error>((piece, reading))
    });
    let (piece, mut reading) = read.await?;
    let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
    // A source that ends early, or does not end, is damaged too.
    let Some(left) = reading.left.checked_sub(size).filter(|left| size > 0 || *left == 0) else {
        return Err(ContentError::Damaged(reading.wanted));
    };
    if left > 0 {
        reading.left = left;
        return Ok(Some((piece, Some(reading))));
    }
    if Digest(reading.hasher.finalize().into()) != reading.wanted {
        return Err(ContentError::Damaged(reading.wanted));
    }
    Ok((!piece.is_empty()).then_some((piece, None)))
}

fn read_piece(file: &mut File, left: u64) -> object_store::Result<Bytes> {
    let most = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
    let mut piece = Vec::with_capacity(most);
    let read = file.take(u64::try_from(most).unwrap_or(0)).read_to_end(&mut piece);
    read.map_err(|error| object_store::Error::Generic { store: "local folder", source: Box::new(error) })?;
    Ok(piece.into())
}

/// In a folder. A file that goes away meanwhile, or that is from the future, is left alone.
fn remove_untouched(folder: &FsPath, untouched_for: Duration) -> std::io::Result<u64> {
    let files = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        files => files?,
    };
    let mut removed = 0;
    for file in files {
        let file = file?;
        let Ok(known) = file.metadata() else { continue };
        let is_old = known.modified()?.elapsed().is_ok_and(|age| age >= untouched_for);
        if known.is_file() && is_old && std::fs::remove_file(file.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// `<organization>/sha256/<two digits>/<64 digits>`; the organization's name is escaped by [`PathPart`].
fn address(organization: &str, digest: &Digest) -> Path {
    let hex = digest.hex();
    Path::from_iter([
        PathPart::from("organizations"),
        PathPart::from(organization),
        PathPart::from("sha256"),
        PathPart::from(hex[..2].to_owned()),
        PathPart::from(hex),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::stream;

    use super::*;

    fn pieces(pieces: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, String>> + Unpin {
        stream::iter(pieces.iter().map(|p| Ok(Bytes::from_static(p))).collect::<Vec<_>>())
    }

    fn files_below(folder: &FsPath) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files_below(&p) } else { 1 }).sum()
    }

    #[tokio::test]
    async fn content_comes_back_by_its_digest_to_its_organization_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 100).unwrap();
        let (digest, size) = store.put("acme/../x", pieces(&[b"he", b"llo"])).await.unwrap();
        assert_eq!(digest.to_string(), "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(size, 5);
        assert_eq!(store.get("acme/../x", &digest).await.unwrap().unwrap(), "hello");
        assert!(store.get("x", &digest).await.unwrap().is_none());
        store.put("acme/../x", pieces(&[b"hello"])).await.unwrap();
        assert_eq!(files_below(folder.path()), 1, "the same content is kept once");
    }

    #[tokio::test]
    async fn empty_content_is_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 100).unwrap();
        let (digest, size) = store.put("acme", pieces(&[])).await.unwrap();
        assert_eq!((digest, size), (Digest::of(b""), 0));
        assert_eq!(store.get("acme", &digest).await.unwrap().unwrap(), "");
    }

    #[tokio::test]
    async fn too_large_or_broken_content_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 4).unwrap();
        let error = store.put("acme", pieces(&[b"he", b"llo"])).await.unwrap_err();
        assert!(matches!(error, ContentError::TooLarge { limit: 4 }), "{error:?}");
        let broken = stream::iter([Ok(Bytes::from_static(b"he")), Err("gone")]);
        assert!(matches!(store.put("acme", broken).await.unwrap_err(), ContentError::Receive(_)));
        assert_eq!(files_below(folder.path()), 0);
    }

    #[tokio::test]
    async fn what_broken_uploads_left_is_swept_and_what_is_under_way_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 100).unwrap();
        assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0, "there is no such folder yet");
        store.put("acme", pieces(&[b"hello"])).await.unwrap();
        // As the object store names what it has not finished, and what was not moved to its address any more.
        let age = Duration::from_secs(3_600);
        for (name, age) in [("0aaa#1", age), ("0bbb", age), ("0ccc#1", Duration::ZERO)] {
            let file = std::fs::File::create(folder.path().join("incoming").join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        assert_eq!(store.sweep(age / 2).await.unwrap(), 2);
        assert_eq!(files_below(&folder.path().join("incoming")), 1);
        assert_eq!(files_below(&folder.path().join("organizations")), 1);
    }

    #[tokio::test]
    async fn damage_is_found_and_sending_the_content_again_repairs_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 100).unwrap();
        let (digest, _) = store.put("acme", pieces(&[b"hello"])).await.unwrap();
        assert!(store.is_sound("acme", &digest).await.unwrap());
        let file = folder.path().join(address("acme", &digest).as_ref());
        std::fs::write(&file, b"hellO").unwrap();
        assert!(!store.is_sound("acme", &digest).await.unwrap());
        std::fs::remove_file(&file).unwrap();
        assert!(!store.is_sound("acme", &digest).await.unwrap());
        store.put("acme", pieces(&[b"hello"])).await.unwrap();
        assert!(store.is_sound("acme", &digest).await.unwrap());
    }

    #[tokio::test]
    async fn an_organizations_content_is_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 100).unwrap();
        for organization in ["a/b", "a", "a/b/c"] {
            store.put(organization, pieces(&[b"one"])).await.unwrap();
            store.put(organization, pieces(&[b"two"])).await.unwrap();
        }
        assert_eq!(store.remove_all("a/b").await.unwrap(), 2);
        assert_eq!(store.remove_all("a/b").await.unwrap(), 0);
        let mut left = Vec::new();
        for organization in ["a", "a/b", "a/b/c"] {
            left.push(store.get(organization, &Digest::of(b"one")).await.unwrap().is_some());
        }
        assert_eq!(left, [true, false, true]);
        assert_eq!(files_below(folder.path()), 4);
    }

    #[tokio::test]
    async fn content_is_read_in_pieces_and_the_last_one_waits_for_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), u64::MAX).unwrap();
        let long: Vec<u8> = (0..3 * PIECE_BYTES + 1).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let (digest, _) = store.put("acme", stream::iter([Ok::<_, String>(Bytes::from(long.clone()))])).await.unwrap();
        let content = store.open("acme", &digest).await.unwrap().unwrap();
        assert_eq!(content.size, long.len() as u64);
        let read: Vec<Bytes> = content.try_collect().await.unwrap();
        assert!(read.len() == 4 && read.iter().all(|piece| piece.len() <= PIECE_BYTES));
        assert!(read.concat() == long);

        let file = folder.path().join(address("acme", &digest).as_ref());
        std::fs::write(file, &long[..long.len() - 1]).unwrap();
        let read: Vec<_> = store.open("acme", &digest).await.unwrap().unwrap().collect().await;
        let good: usize = read.iter().flatten().map(Bytes::len).sum();
        assert!(good < long.len() - 1);
        assert!(matches!(read.last(), Some(Err(ContentError::Damaged(_)))), "{read:?}");
    }

    #[tokio::test]
    async fn damage_is_found_when_reading() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::local(folder.path(), 100).unwrap();
        let (digest, _) = store.put("acme", pieces(&[b"hello"])).await.unwrap();
        let file = folder.path().join(address("acme", &digest).as_ref());
        std::fs::write(file, b"hellO").unwrap();
        assert!(matches!(store.get("acme", &digest).await.unwrap_err(), ContentError::Damaged(_)));
    }

    #[test]
    fn digests_come_back_from_text() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "sha256:", "sha512:00", &digest.to_string().to_uppercase(), &format!("{digest}0")] {
            assert_eq!(bad.parse::<Digest>(), Err(InvalidDigest), "{bad}");
        }
    }
}
