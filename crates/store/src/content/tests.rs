//! The content store on a folder.
#![allow(clippy::unwrap_used)]
use futures_util::stream;

use super::reading::PIECE_BYTES;
use super::*;
use crate::SqliteStore;
use crate::seal::tests::keyring;
use crate::seal::{Rotated, Seal};

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
    // As the object store names files that it has not finished, and files that were never moved to their address.
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
    let file = folder.path().join(address("acme", &digest, false).as_ref());
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
    let elsewhere = tempfile::tempdir().unwrap();
    let records = SqliteStore::open(&elsewhere.path().join("longrun.db")).await.unwrap();
    assert!(!store.remove_all(&records, "a/b", &|| true).await.unwrap(), "the time is over");
    assert!(store.remove_all(&records, "a/b", &|| false).await.unwrap());
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

    let file = folder.path().join(address("acme", &digest, false).as_ref());
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
    let file = folder.path().join(address("acme", &digest, false).as_ref());
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

fn sealing(folder: &FsPath, active: Option<&str>) -> ContentStore {
    ContentStore::local(folder, u64::MAX).unwrap().with_keyring(keyring(&["a", "b"], active))
}

fn files_with(folder: &FsPath, text: &[u8]) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let holds = |file: &FsPath| std::fs::read(file).unwrap().windows(text.len()).any(|part| part == text);
    entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files_with(&p, text) } else { holds(&p).into() }).sum()
}

#[tokio::test]
async fn sealed_content_comes_back_in_pieces_and_shows_nothing_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = sealing(folder.path(), Some("a"));
    let long: Vec<u8> = b"the quick brown fox ".iter().copied().cycle().take(3 * PIECE_BYTES + 7).collect();
    let sent = stream::iter(long.chunks(10_007).map(|part| Ok::<_, String>(Bytes::copy_from_slice(part))));
    let (digest, size) = store.put("acme", sent).await.unwrap();
    assert_eq!((digest, size), (Digest::of(&long), long.len() as u64));
    assert_eq!(files_with(folder.path(), b"quick"), 0);
    let content = store.open("acme", &digest).await.unwrap().unwrap();
    assert_eq!(content.size, long.len() as u64);
    let read: Vec<Bytes> = content.try_collect().await.unwrap();
    assert!(read.len() > 3 && read.iter().all(|piece| piece.len() <= 2 * PIECE_BYTES));
    assert!(read.concat() == long);
    let (empty, _) = store.put("acme", pieces(&[])).await.unwrap();
    assert_eq!(store.get("acme", &empty).await.unwrap().unwrap(), "");
}

#[tokio::test]
async fn sealed_content_of_another_organization_or_damaged_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = sealing(folder.path(), Some("a"));
    let (digest, _) = store.put("acme", pieces(&[b"hello"])).await.unwrap();
    store.put("globex", pieces(&[b"hello"])).await.unwrap();
    let file = |organization| folder.path().join(address(organization, &digest, true).as_ref());
    std::fs::copy(file("globex"), file("acme")).unwrap();
    assert!(matches!(store.get("acme", &digest).await.unwrap_err(), ContentError::Damaged(_)));
    for bytes in [&b""[..], b"hello", &[0; 200]] {
        std::fs::write(file("acme"), bytes).unwrap();
        assert!(!store.is_sound("acme", &digest).await.unwrap(), "{bytes:?}");
    }
    store.put("acme", pieces(&[b"hello"])).await.unwrap();
    assert!(store.is_sound("acme", &digest).await.unwrap(), "sent again, it is repaired");
}

#[tokio::test]
async fn content_is_read_whether_encryption_was_switched_on_or_off_since() {
    let folder = tempfile::tempdir().unwrap();
    // One looks like a sealed piece: it is read as it was written.
    let first = sealing(folder.path(), Some("a"));
    let (sealed, _) = first.put("acme", pieces(&[b"one"])).await.unwrap();
    let looks_sealed = std::fs::read(folder.path().join(address("acme", &sealed, true).as_ref())).unwrap();
    let stores = [sealing(folder.path(), None), first, sealing(folder.path(), Some("b"))];
    for store in &stores {
        let sent = stream::iter([Ok::<_, String>(Bytes::from(looks_sealed.clone()))]);
        let (digest, _) = store.put("acme", sent).await.unwrap();
        for reader in &stores {
            assert!(reader.get("acme", &digest).await.unwrap().unwrap() == looks_sealed);
            assert_eq!(reader.get("acme", &sealed).await.unwrap().unwrap(), "one");
        }
        for digest in [digest, sealed] {
            store.remove("acme", &digest).await.unwrap();
        }
        stores[1].put("acme", pieces(&[b"one"])).await.unwrap();
    }
    let without = ContentStore::local(folder.path(), u64::MAX).unwrap();
    let error = without.get("acme", &sealed).await.unwrap_err();
    assert!(matches!(&error, ContentError::KeyMissing { key, .. } if key == "a"), "{error}");
}

fn renewed(pieces: u64) -> Rotated {
    Rotated { renewed: pieces, is_complete: true, ..Rotated::default() }
}

#[tokio::test]
async fn content_is_sealed_anew_under_the_active_key_and_opened_when_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for (store, text) in [(sealing(folder.path(), None), b"plain"), (sealing(folder.path(), Some("a")), b"first")] {
        store.put("acme", pieces(&[text])).await.unwrap();
    }
    let seals = |store: &ContentStore| {
        let store = store.clone();
        async move { store.survey().await.unwrap().into_iter().collect::<Vec<_>>() }
    };
    let key = |id: &str| Seal::Key(id.to_owned());
    let second = sealing(folder.path(), Some("b"));
    assert_eq!(seals(&second).await, [(Seal::Plain, 1), (key("a"), 1)]);
    assert_eq!(second.rotate(|_| ()).await.unwrap(), renewed(2));
    assert_eq!(seals(&second).await, [(key("b"), 2)]);
    assert_eq!(second.rotate(|_| ()).await.unwrap(), renewed(0), "there is nothing left to do");
    assert_eq!(files_with(folder.path(), b"plain"), 0);
    for text in [b"plain", b"first"] {
        assert_eq!(second.get("acme", &Digest::of(text)).await.unwrap().unwrap(), &text[..]);
    }
    let opened = sealing(folder.path(), None);
    assert_eq!(opened.rotate(|_| ()).await.unwrap(), renewed(2));
    assert_eq!(seals(&opened).await, [(Seal::Plain, 2)]);

    second.rotate(|_| ()).await.unwrap();
    let lacks = ContentStore::local(folder.path(), u64::MAX).unwrap().with_keyring(keyring(&["a"], Some("a")));
    assert_eq!(lacks.rotate(|_| ()).await.unwrap().unopened, 2, "what does not open stays as it is");
}
