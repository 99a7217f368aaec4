//! The content store in a bucket, of a server that speaks S3.
#![allow(clippy::unwrap_used)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;

use super::{ContentError, ContentStore, Digest};
use crate::seal::Rotated;
use crate::seal::tests::keyring;
use crate::{EvidenceRetention, Reservation, SqliteStore};

/// A server of a bucket that begins empty, and what keeps it.
struct Server {
    objects: Arc<dyn ObjectStore>,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

/// A client that has no secret yet.
fn client(address: SocketAddr) -> AmazonS3Builder {
    let client = AmazonS3Builder::new().with_endpoint(format!("http://{address}")).with_allow_http(true);
    client.with_region("us-east-1").with_bucket_name("evidence").with_access_key_id("key")
}

impl Server {
    async fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("evidence")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = service.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            while let Ok((connection, _)) = listener.accept().await {
                let connection = server.serve_connection(TokioIo::new(connection), service.clone()).into_owned();
                tokio::spawn(connection);
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let objects = client(address).with_secret_access_key("secret").build().unwrap();
        Server { objects: Arc::new(objects), folder, address }
    }

    fn store(&self, limit: u64) -> ContentStore {
        ContentStore::over(Arc::clone(&self.objects), Path::from("longrun/a"), limit)
    }

    /// The names of what is in the bucket.
    async fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.objects.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
        names.sort();
        names
    }
}

fn pieces(content: &[u8]) -> impl Stream<Item = Result<Bytes, String>> + Unpin + use<> {
    let pieces: Vec<_> = content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

/// Content of which no two parts are alike.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|place| u8::try_from((place * 31 + place / 251) % 256).unwrap()).collect()
}

#[tokio::test]
async fn content_of_one_part_and_of_several_comes_back() {
    let server = Server::start().await;
    let store = server.store(30_000_000);
    for size in [0, 5, 8 * 1024 * 1024, 20_000_000] {
        let content = content(size);
        let (digest, stored) = store.put("acme/../x", pieces(&content)).await.unwrap();
        assert_eq!((digest, stored), (Digest::of(&content), size as u64));
        assert!(store.get("acme/../x", &digest).await.unwrap().unwrap() == content, "{size} bytes");
        assert!(store.is_there("acme/../x", &digest, size as u64).await.unwrap());
        assert!(!store.is_there("acme/../x", &digest, size as u64 + 1).await.unwrap());
        assert!(store.get("x", &digest).await.unwrap().is_none());
    }
    let names = server.names().await;
    assert!(names.iter().all(|name| name.starts_with("longrun/a/organizations/")), "{names:?}");
    assert_eq!(names.len(), 4, "nothing is left of the upload under way");
    let walked: Vec<_> = store.walk().try_collect().await.unwrap();
    assert_eq!(walked.len(), 4);
    assert!(walked.iter().all(|object| object.organization == "acme/../x"));
    store.remove("acme/../x", &Digest::of(&content(5))).await.unwrap();
    assert!(store.get("acme/../x", &Digest::of(&content(5))).await.unwrap().is_none());
    let folder = tempfile::tempdir().unwrap();
    let records = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    assert!(store.remove_all(&records, "acme/../x", &|| false).await.unwrap());
    assert_eq!(server.names().await, [""; 0]);
}

#[tokio::test]
async fn too_much_content_and_content_that_breaks_off_leave_nothing_in_the_bucket() {
    let server = Server::start().await;
    let store = server.store(10_000_000);
    let error = store.put("acme", pieces(&content(12_000_000))).await.unwrap_err();
    assert!(matches!(error, ContentError::TooLarge { limit: 10_000_000 }), "{error:?}");
    let broken = stream::iter([Ok(Bytes::from(content(9_000_000))), Err("gone")]);
    assert!(matches!(store.put("acme", broken).await.unwrap_err(), ContentError::Receive(_)));
    assert_eq!(server.names().await, [""; 0]);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_from_content_that_is_not() {
    let server = Server::start().await;
    let store = server.store(30_000_000);
    let (digest, size) = store.put("acme", pieces(b"hello")).await.unwrap();
    let unknown = Digest::of(b"unknown");
    store.check().await.unwrap();
    assert!(store.get("acme", &unknown).await.unwrap().is_none());
    assert!(!store.is_there("acme", &unknown, 7).await.unwrap());
    store.remove("acme", &unknown).await.unwrap();

    let (bucket, away) = (server.folder.path().join("evidence"), server.folder.path().join("away"));
    std::fs::rename(&bucket, &away).unwrap();
    let refused = |error: ContentError| {
        assert!(matches!(error, ContentError::NoBucket(_)) && error.is_refusal() && error.may_pass(), "{error:?}");
    };
    refused(store.check().await.unwrap_err());
    refused(store.get("acme", &digest).await.unwrap_err());
    refused(store.is_there("acme", &digest, size).await.unwrap_err());
    refused(store.remove("acme", &digest).await.unwrap_err());
    std::fs::rename(&away, &bucket).unwrap();
    assert!(store.is_sound("acme", &digest).await.unwrap(), "it was not removed");
}

#[tokio::test]
async fn who_has_other_credentials_is_refused() {
    let server = Server::start().await;
    let stranger = client(server.address).with_secret_access_key("another").build().unwrap();
    let store = ContentStore::over(Arc::new(stranger), Path::from("longrun/a"), 100);
    let error = store.check().await.unwrap_err();
    assert!(error.is_refusal() && error.may_pass(), "{error:?}");
}

#[tokio::test]
async fn damage_in_the_bucket_is_found() {
    let server = Server::start().await;
    let store = server.store(100);
    let (digest, _) = store.put("acme", pieces(b"hello")).await.unwrap();
    let file = server.folder.path().join("evidence").join(&server.names().await[0]);
    std::fs::write(&file, b"hellO").unwrap();
    assert!(!store.is_sound("acme", &digest).await.unwrap());
    store.put("acme", pieces(b"hello")).await.unwrap();
    assert!(store.is_sound("acme", &digest).await.unwrap());
}

#[tokio::test]
async fn content_in_a_bucket_is_encrypted_and_changes_its_key() {
    let server = Server::start().await;
    let content = content(9_000_000);
    let plain = server.store(10_000_000);
    let (digest, _) = plain.put("acme", pieces(&content)).await.unwrap();
    let sealed = plain.with_keyring(keyring(&["a"], Some("a")));
    assert_eq!(sealed.rotate(|_| ()).await.unwrap(), Rotated { renewed: 1, is_complete: true, ..Rotated::default() });
    assert!(server.names().await[0].contains("/sealed/"));
    assert!(sealed.get("acme", &digest).await.unwrap().unwrap() == content);
    assert!(sealed.is_there("acme", &digest, 9_000_000).await.unwrap());
}

#[tokio::test]
async fn what_is_over_goes_from_the_bucket_too() {
    let server = Server::start().await;
    let content = server.store(100);
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    let store: Arc<dyn crate::Store> = Arc::new(store);
    store.create("acme", vec![operations::NewOperation::of_kind("scan")], None).await.unwrap();
    // An upload that was interrupted before its record, and content that no row knows.
    let (digest, size) = content.put("acme", pieces(b"hello")).await.unwrap();
    assert_eq!(store.reserve_evidence("acme", digest, size).await.unwrap(), Reservation::Reserved);
    content.put("acme", pieces(b"unknown")).await.unwrap();
    assert_eq!(content.tidy(&*store, EvidenceRetention::default()).await.unwrap(), 0, "an upload may be under way");
    assert_eq!(content.remove_orphans(&*store, Duration::from_secs(3_600)).await.unwrap(), 0);
    assert_eq!(content.remove_orphans(&*store, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(server.names().await.len(), 1);
    let missing = content.missing(&*store, 10).await.unwrap();
    assert_eq!(missing, [""; 0], "content of an upload under way is not missing");
}
