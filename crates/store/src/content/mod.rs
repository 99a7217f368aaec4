//! Evidence content, addressed by its SHA-256, in an object store: a folder, or a bucket of a cloud ([`cloud`]).
//!
//! Written as a stream to a staging place while it is hashed, then moved to its address, so that a broken upload leaves
//! nothing behind under any digest. Verified again when it is read. Kept per organization: one organization's content
//! is not another's, even with the same digest.
//!
//! With an active encryption key it is sealed while it comes in ([`crate::seal`]), and stored under `sealed/`: sealed
//! content is recognized by its place, whatever its bytes look like. The address is the digest of the content itself.

#[cfg(test)]
mod bucket_tests;
mod cloud;
mod digest;
mod reading;
mod rotation;
#[cfg(test)]
mod tests;
mod tidy;

use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::{Path, PathPart};
use object_store::{GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest as _, Sha256};

use crate::seal::{ContentOpener, ContentSealer, Keyring, plain_size};
pub use cloud::InvalidBucket;
pub use digest::{Digest, InvalidDigest};
pub use reading::Content;
use reading::{Reading, Source};

/// Bytes gathered before they are passed to the object store as one part. Each upload under way holds this many, and
/// there must be memory for ten thousand uploads.
const PART_BYTES: usize = 128 * 1024;
/// The folder of uploads under way.
const INCOMING: &str = "incoming";
/// The folder of organizations.
const ORGANIZATIONS: &str = "organizations";
/// The folder of what is sealed, within that of an organization.
const SEALED: &str = "sealed";
/// The folder of content by its digest.
const SHA256: &str = "sha256";

/// Why content was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It is larger than the store allows; nothing was kept.
    #[error("the content is larger than {limit} bytes, which is the maximum")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The sender's stream broke; nothing was kept.
    #[error("the content could not be received: {0}")]
    Receive(String),
    /// The stored content is not what its address says: a damaged disk, or a change from outside.
    #[error("the stored content does not have the digest {0}")]
    Damaged(Digest),
    /// It is sealed, and this process does not have the key.
    #[error("the stored content {digest} is sealed with the encryption key {key:?}, which this server does not have")]
    KeyMissing {
        /// The content.
        digest: Digest,
        /// The key's id.
        key: String,
    },
    /// The address is not that of a bucket.
    #[error(transparent)]
    Bucket(#[from] InvalidBucket),
    /// There are no random numbers to seal with.
    #[error("the system provides no random numbers")]
    NoRandomNumbers,
    /// The object store answers, and the bucket does not.
    #[error("the bucket does not exist, or this server may not list it")]
    NoBucket(#[source] object_store::Error),
    /// The object store failed.
    #[error("the content store failed")]
    Store(#[from] object_store::Error),
}

impl ContentError {
    /// Whether the same may succeed later, perhaps with an operator's help: the disk is full, the bucket is unavailable
    /// or does not let this server in, a key is missing.
    pub fn may_pass(&self) -> bool {
        use object_store::Error::{Generic, PermissionDenied, Unauthenticated};
        let away =
            matches!(self, ContentError::Store(Generic { .. } | PermissionDenied { .. } | Unauthenticated { .. }));
        away || matches!(self, ContentError::KeyMissing { .. } | ContentError::NoBucket(_))
    }

    /// Whether it is not an outage but a mistake in the settings: there is no such bucket, or it does not let this
    /// server in.
    pub fn is_refusal(&self) -> bool {
        use object_store::Error::{PermissionDenied, Unauthenticated};
        matches!(
            self,
            ContentError::NoBucket(_) | ContentError::Store(PermissionDenied { .. } | Unauthenticated { .. })
        )
    }
}

/// Whether a list was refused, rather than not answered. The crate says that in its text only.
fn is_refused(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["404 Not Found", "403 Forbidden", "401 Unauthorized"].iter().any(|status| text.contains(status))
}

/// Content by organization and digest.
#[derive(Clone, Debug)]
pub struct ContentStore {
    objects: Arc<dyn ObjectStore>,
    /// Where uploads under way are, in a folder.
    incoming: Option<PathBuf>,
    /// Bytes gathered before they are passed on as one part.
    part_bytes: usize,
    limit: u64,
    keyring: Keyring,
}

/// Content that was received and is not at its address yet.
#[derive(Debug)]
pub struct Staged {
    /// Its digest.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    organization: String,
    staging: Staging,
    is_sealed: bool,
}

/// Where it is until then.
#[derive(Debug)]
enum Staging {
    At(Path),
    InMemory(Bytes),
}

/// An object that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredContent {
    /// The organization that owns it.
    pub organization: String,
    /// The digest by which it is found.
    pub digest: Digest,
    /// How long ago it was written.
    pub age: Duration,
}

impl ContentStore {
    /// The content store in a local folder, which is created if it is missing; `limit` is the most bytes per piece.
    ///
    /// # Errors
    /// [`ContentError::Store`] when the folder cannot be made or used.
    pub fn local(folder: &FsPath, limit: u64) -> Result<ContentStore, ContentError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| object_store::Error::Generic { store: "local folder", source: Box::new(error) })?;
        let objects = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true).with_fsync(true);
        let (objects, incoming) = (Arc::new(objects), Some(folder.join(INCOMING)));
        Ok(ContentStore { objects, incoming, part_bytes: PART_BYTES, limit, keyring: Keyring::default() })
    }

    /// The same, that seals what it stores with the active key, and opens what is sealed with any of them.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring) -> ContentStore {
        ContentStore { keyring, ..self }
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
    pub async fn put<S, E>(&self, organization: &str, content: S) -> Result<(Digest, u64), ContentError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: fmt::Display,
    {
        self.place(self.stage(organization, content).await?).await
    }

    /// Receives a stream of bytes into a place where nobody finds it; its digest and size are known then. It is to be
    /// [placed](ContentStore::place) or [discarded](ContentStore::discard).
    ///
    /// # Errors
    /// Those of [`ContentStore::put`].
    pub async fn stage<S, E>(&self, organization: &str, content: S) -> Result<Staged, ContentError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: fmt::Display,
    {
        self.stage_up_to(organization, content, self.limit).await
    }

    async fn stage_up_to<S, E>(&self, organization: &str, mut content: S, limit: u64) -> Result<Staged, ContentError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: fmt::Display,
    {
        let mut sealer =
            ContentSealer::start(&self.keyring, organization).map_err(|_| ContentError::NoRandomNumbers)?;
        let is_sealed = sealer.is_some();
        let staging =
            Path::from_iter([PathPart::from(INCOMING), PathPart::from(uuid::Uuid::new_v4().as_simple().to_string())]);
        // A bucket is not accessed until a part is full: shorter content is sent once, to its address.
        let mut upload = match &self.incoming {
            Some(_) => Some(self.objects.put_multipart(&staging).await?),
            None => None,
        };
        let mut part = Vec::new();
        let received: Result<(Digest, u64), ContentError> = async {
            let (mut hasher, mut size) = (Sha256::new(), 0_u64);
            while let Some(chunk) = content.next().await {
                let chunk = chunk.map_err(|error| ContentError::Receive(error.to_string()))?;
                size += chunk.len() as u64;
                if size > limit {
                    return Err(ContentError::TooLarge { limit });
                }
                hasher.update(&chunk);
                match &mut sealer {
                    Some(sealer) => sealer.push(&chunk, &mut part),
                    None => part.extend_from_slice(&chunk),
                }
                // All of the same size, as some object stores want them.
                while part.len() >= self.part_bytes {
                    let rest = part.split_off(self.part_bytes);
                    let full = PutPayload::from(std::mem::replace(&mut part, rest));
                    let upload = match &mut upload {
                        Some(upload) => upload,
                        None => upload.insert(self.objects.put_multipart(&staging).await?),
                    };
                    upload.put_part(full).await?;
                }
            }
            if let Some(sealer) = sealer {
                sealer.finish(&mut part);
            }
            if let Some(upload) = &mut upload {
                if !part.is_empty() || size == 0 {
                    upload.put_part(PutPayload::from(std::mem::take(&mut part))).await?;
                }
                upload.complete().await?;
            }
            Ok((Digest(hasher.finalize().into()), size))
        }
        .await;
        let (digest, size) = match received {
            Ok(received) => received,
            Err(error) => {
                if let Some(mut upload) = upload {
                    // Best effort: content that stays in "incoming" has no address and is never read.
                    let _ = upload.abort().await;
                }
                return Err(self.unwritten(error).await);
            }
        };
        let staging = if upload.is_some() { Staging::At(staging) } else { Staging::InMemory(part.into()) };
        Ok(Staged { organization: organization.to_owned(), digest, size, staging, is_sealed })
    }

    /// Moves staged content to its address; answers its digest and size.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn place(&self, staged: Staged) -> Result<(Digest, u64), ContentError> {
        let address = address(&staged.organization, &staged.digest, staged.is_sealed);
        let placed = match &staged.staging {
            Staging::At(staging) => self.objects.rename(staging, &address).await,
            Staging::InMemory(content) => self.objects.put(&address, content.clone().into()).await.map(drop),
        };
        match placed {
            Ok(()) => Ok((staged.digest, staged.size)),
            Err(error) => {
                self.discard(staged).await;
                Err(self.unwritten(error.into()).await)
            }
        }
    }

    /// Forgets staged content.
    pub async fn discard(&self, staged: Staged) {
        if let Staging::At(staging) = &staged.staging {
            // Best effort, as above: a sweep removes it sooner or later.
            let _ = self.objects.delete(staging).await;
        }
    }

    /// Removes the content with this digest; does nothing if there is none.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn remove(&self, organization: &str, digest: &Digest) -> Result<(), ContentError> {
        let mut was_there = false;
        for is_sealed in [false, true] {
            let location = address(organization, digest, is_sealed);
            match self.objects.head(&location).await {
                Ok(_) => {
                    self.remove_at(&location).await?;
                    was_there = true;
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if was_there { Ok(()) } else { self.bucket_answers().await }
    }

    async fn remove_at(&self, location: &Path) -> Result<(), ContentError> {
        match self.objects.delete(location).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Whether content can be read here, as far as that can be found out without any.
    ///
    /// # Errors
    /// [`ContentError::NoBucket`]; [`ContentError::Store`].
    pub async fn check(&self) -> Result<(), ContentError> {
        if self.incoming.is_some() {
            return Ok(());
        }
        // This shows whether the credentials are valid, which a failed list does not.
        match self.objects.head(&Path::from(format!("{ORGANIZATIONS}/check"))).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => self.bucket_answers().await,
            Err(error) => Err(error.into()),
        }
    }

    /// A missing object looks like one in a missing bucket; a list distinguishes them. To be called before something is
    /// reported as missing.
    async fn bucket_answers(&self) -> Result<(), ContentError> {
        if self.incoming.is_some() {
            return Ok(());
        }
        match self.objects.list(Some(&Path::from(ORGANIZATIONS))).next().await {
            Some(Err(error)) if is_refused(&error) => Err(ContentError::NoBucket(error)),
            Some(Err(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether nothing is at its address when [`ContentStore::place`] failed with this. A bucket that did not answer
    /// may have stored what was sent.
    pub fn leaves_nothing(&self, error: &ContentError) -> bool {
        self.incoming.is_some() || error.is_refusal()
    }

    /// Why something could not be written: its place is missing if its bucket is.
    async fn unwritten(&self, error: ContentError) -> ContentError {
        match error {
            ContentError::Store(object_store::Error::NotFound { .. }) => {
                self.bucket_answers().await.err().unwrap_or(error)
            }
            error => error,
        }
    }

    /// Whether there is an object under this digest, of the size that `size` bytes of content have there. Its bytes are
    /// not read.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn is_there(&self, organization: &str, digest: &Digest, size: u64) -> Result<bool, ContentError> {
        for is_sealed in [false, true] {
            match self.objects.head(&address(organization, digest, is_sealed)).await {
                Ok(found) if is_sealed => return Ok(plain_size(found.size) == Some(size)),
                Ok(found) => return Ok(found.size == size),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bucket_answers().await.map(|()| false)
    }

    /// Every object that is stored, and how long ago it was written.
    pub fn walk(&self) -> impl Stream<Item = Result<StoredContent, ContentError>> + Send + use<'_> {
        let found = self.objects.list(Some(&Path::from(ORGANIZATIONS)));
        let now = chrono::Utc::now();
        found.map_err(ContentError::from).try_filter_map(move |object| async move {
            let age = (now - object.last_modified).to_std().unwrap_or_default();
            let stored = whose(&object.location);
            Ok(stored.map(|(organization, digest, _)| StoredContent { organization, digest, age }))
        })
    }

    /// Whether the content with this digest is there, is what its address says, and can be opened.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn is_sound(&self, organization: &str, digest: &Digest) -> Result<bool, ContentError> {
        let read = async {
            let Some(mut content) = self.open(organization, digest).await? else { return Ok(false) };
            while content.try_next().await?.is_some() {}
            Ok(true)
        };
        match read.await {
            Err(ContentError::Damaged(_) | ContentError::KeyMissing { .. }) => Ok(false),
            read => read,
        }
    }

    /// Removes what was left by uploads that ended with their process: files that nobody has written to for this
    /// long. Answers how many.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn sweep(&self, untouched_for: Duration) -> Result<u64, ContentError> {
        let Some(incoming) = self.incoming.clone() else { return self.sweep_objects(untouched_for).await };
        let swept = tokio::task::spawn_blocking(move || remove_untouched(&incoming, untouched_for)).await;
        let swept = swept.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        Ok(swept.map_err(|error| object_store::Error::Generic { store: "local folder", source: Box::new(error) })?)
    }

    /// The same where uploads under way are not files: removes content that was received and not placed. The parts of
    /// an upload that was not received completely have to be forgotten by the object store itself.
    async fn sweep_objects(&self, untouched_for: Duration) -> Result<u64, ContentError> {
        let now = chrono::Utc::now();
        let mut found = self.objects.list(Some(&Path::from(INCOMING)));
        let mut removed = 0;
        while let Some(object) = found.try_next().await? {
            if (now - object.last_modified).to_std().is_ok_and(|age| age >= untouched_for) {
                self.remove_at(&object.location).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The content with this digest, to be read in pieces, or `None` when the organization does not have it.
    ///
    /// # Errors
    /// [`ContentError::Store`].
    pub async fn open(&self, organization: &str, digest: &Digest) -> Result<Option<Content>, ContentError> {
        let Some((result, is_sealed)) = self.find(organization, digest).await? else { return Ok(None) };
        let stored = result.meta.size;
        let size = if is_sealed { plain_size(stored).ok_or(ContentError::Damaged(*digest))? } else { stored };
        let source = match result.payload {
            GetResultPayload::File(file, _) => Source::File(file),
            GetResultPayload::Stream(pieces) => Source::Stream(pieces),
        };
        let opener = is_sealed.then(|| ContentOpener::new(&self.keyring, organization));
        let reading = Reading { source, left: stored, opener, hasher: Sha256::new(), wanted: *digest };
        Ok(Some(Content { size, pieces: reading.pieces() }))
    }

    /// What is stored, and whether it is sealed.
    async fn find(&self, organization: &str, digest: &Digest) -> Result<Option<(GetResult, bool)>, ContentError> {
        let now = self.keyring.active().is_some();
        // Between the first two reads it may be moved from its old place to the place where content is stored now.
        for is_sealed in [now, !now, now] {
            match self.objects.get(&address(organization, digest, is_sealed)).await {
                Ok(result) => return Ok(Some((result, is_sealed))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bucket_answers().await.map(|()| None)
    }

    /// The content with this digest, whole and verified, or `None` when the organization does not have it.
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

/// The owner of an object by its place, its digest, and whether it is sealed; `None` for one that longrun did not put
/// there.
fn whose(location: &Path) -> Option<(String, Digest, bool)> {
    let parts: Vec<_> = location.parts().collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let (organization, hex, is_sealed) = match parts[..] {
        [_, organization, SHA256, _, hex] => (organization, hex, false),
        [_, organization, SEALED, SHA256, _, hex] => (organization, hex, true),
        _ => return None,
    };
    let digest = format!("sha256:{hex}").parse::<Digest>().ok()?;
    let organization = percent_encoding::percent_decode_str(organization).decode_utf8_lossy().into_owned();
    (address(&organization, &digest, is_sealed) == *location).then_some((organization, digest, is_sealed))
}

/// Whether the file at this place within the folder of all organizations is where sealed content is.
pub fn is_sealed_content(place: &FsPath) -> bool {
    let mut parts = place.iter();
    // An organization may have any name.
    parts.next();
    parts.next().is_some_and(|part| part == SEALED)
}

/// `organizations/<organization>/sha256/<two digits>/<64 digits>`, or the same below `sealed/`; the organization's name
/// is escaped by [`PathPart`].
fn address(organization: &str, digest: &Digest, is_sealed: bool) -> Path {
    let hex = digest.hex();
    let folder = [PathPart::from(ORGANIZATIONS), PathPart::from(organization)];
    let sealed = is_sealed.then(|| PathPart::from(SEALED));
    let file = [PathPart::from(SHA256), PathPart::from(hex[..2].to_owned()), PathPart::from(hex)];
    Path::from_iter(folder.into_iter().chain(sealed).chain(file))
}
