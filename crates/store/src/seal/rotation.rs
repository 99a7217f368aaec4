//! All texts of a store, one after the other: sealed anew under the active key, counted by key, or tried.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::Keyring;
use super::text::{Owner, Seal, Unopened};
use super::{Replacement, TextCursor, TextHead, TextPlace};
use crate::{Finding, Store, StoreError};

/// Rows that are read at a time.
const LOOK_ROWS: u32 = 1_000;
/// Texts that are read, or written in one transaction, at a time; other writers of the same rows wait for this many.
const BATCH_TEXTS: usize = 100;
/// Bytes of texts that are in memory at a time (one more text may exceed it).
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// How often a store is walked before the report says that others write faster than it is sealed anew.
const WALKS: u32 = 20;
/// How often a batch that got in the way of other writes is tried.
const TRIES: u32 = 10;
/// The time before such a batch is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Findings shown for texts that do not open; a damaged store may have millions.
const SHOWN: usize = 20;

/// How many texts are sealed in which way; those that longrun itself writes are not counted.
pub type Counts = BTreeMap<Seal, u64>;

fn owner(place: &TextPlace) -> Owner<'_> {
    Owner { organization: &place.organization, id: place.id, field: place.field }
}

/// A walk over the heads of all texts.
struct Walk<'s> {
    store: &'s dyn Store,
    next: Option<TextCursor>,
}

impl Walk<'_> {
    fn start(store: &dyn Store) -> Walk<'_> {
        Walk { store, next: Some(TextCursor::default()) }
    }

    /// The next ones; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<TextHead>>, StoreError> {
        let Some(after) = self.next.take() else { return Ok(None) };
        let page = self.store.text_heads(after, LOOK_ROWS).await?;
        self.next = page.next;
        Ok(Some(page.heads))
    }
}

/// Heads in batches that are read and written together.
fn batches(heads: Vec<TextHead>) -> Vec<Vec<TextHead>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for head in heads {
        bytes += head.bytes;
        batch.push(head);
        if batch.len() >= BATCH_TEXTS || bytes >= BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    batches.extend(Some(batch).filter(|batch| !batch.is_empty()));
    batches
}

/// The texts of a batch that are still there.
async fn read(
    store: &dyn Store,
    batch: Vec<TextHead>,
) -> Result<impl Iterator<Item = (TextPlace, String)>, StoreError> {
    let places: Vec<TextPlace> = batch.into_iter().map(|head| head.place).collect();
    let texts = store.texts(places.clone()).await?;
    Ok(places.into_iter().zip(texts).filter_map(|(place, text)| Some((place, text?))))
}

/// The same, without those of organizations that cannot be read now, such as one that is being moved; why not is added to
/// `unread`.
async fn read_what_can_be(
    store: &dyn Store,
    batch: Vec<TextHead>,
    unread: &mut BTreeMap<String, String>,
) -> Result<Vec<(TextPlace, String)>, StoreError> {
    match read(store, batch.clone()).await {
        Err(StoreError::Unavailable(_)) => {}
        texts => return Ok(texts?.collect()),
    }
    let mut all = Vec::new();
    for part in batch.chunk_by(|one, other| one.place.organization == other.place.organization) {
        match read(store, part.to_vec()).await {
            Err(StoreError::Unavailable(why)) => drop(unread.insert(part[0].place.organization.clone(), why)),
            texts => all.extend(texts?),
        }
    }
    Ok(all)
}

/// How texts are sealed.
///
/// # Errors
/// When the store cannot be read.
pub async fn survey(store: &dyn Store) -> Result<Counts, StoreError> {
    let mut counts = Counts::new();
    let mut walk = Walk::start(store);
    while let Some(heads) = walk.next().await? {
        for head in heads.into_iter().filter(|head| !head.is_own) {
            *counts.entry(head.seal).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The result of sealing everything anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Texts, or pieces of evidence, that were written anew.
    pub renewed: u64,
    /// Those that do not open, and stay as they are.
    pub unopened: u64,
    /// Where the first of these are, and why they do not open.
    pub first_unopened: Vec<String>,
    /// Whether everything else is sealed as it should be. If not, others kept writing in another way: servers that
    /// have other keys than this process.
    pub is_complete: bool,
}

impl Rotated {
    /// Notes something that does not open.
    pub(crate) fn leave(&mut self, what: String) {
        self.unopened += 1;
        if self.first_unopened.len() < SHOWN {
            self.first_unopened.push(what);
        }
    }
}

/// Seals anew everything that is not under the active key of the keyring; without an active key, opens everything. This
/// is done in small transactions, while servers run; finished work stays done when it is interrupted. `progress` is
/// called from time to time with how many texts were written anew.
///
/// # Errors
/// When the store cannot be read or written, and while an organization is being moved to another cell.
pub async fn rotate(
    store: &dyn Store,
    keyring: &Keyring,
    mut progress: impl FnMut(u64),
) -> Result<Rotated, StoreError> {
    let wanted = keyring.active().map_or(Seal::Plain, |key| Seal::Key(key.id().to_owned()));
    let mut rotated = Rotated::default();
    // Texts that move during a walk may be missed, and are met by another walk.
    for _ in 0..WALKS {
        let mut open = 0;
        (rotated.unopened, rotated.first_unopened) = (0, Vec::new());
        let mut walk = Walk::start(store);
        while let Some(mut heads) = walk.next().await? {
            heads.retain(|head| head.seal != wanted && !head.is_own);
            for batch in batches(heads) {
                let mut replacements = Vec::new();
                for (place, old) in read(store, batch).await? {
                    match keyring.reseal(&owner(&place), old.clone()) {
                        Ok(new) => replacements.push(Replacement { place, old, new }),
                        Err(error) => rotated.leave(described(&place, &error)),
                    }
                }
                replacements.retain(|replacement| replacement.old != replacement.new);
                open += replacements.len() as u64;
                rotated.renewed += replace(store, replacements).await?;
                progress(rotated.renewed);
            }
        }
        rotated.is_complete = open == 0;
        if rotated.is_complete {
            break;
        }
    }
    Ok(rotated)
}

async fn replace(store: &dyn Store, replacements: Vec<Replacement>) -> Result<u64, StoreError> {
    if replacements.is_empty() {
        return Ok(0);
    }
    for _ in 1..TRIES {
        match store.replace_texts(replacements.clone()).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(PAUSE).await,
            replaced => return replaced,
        }
    }
    store.replace_texts(replacements).await
}

fn described(place: &TextPlace, error: &Unopened) -> String {
    format!("{} {} {}: {error}", place.organization, place.id, place.field)
}

/// Tries every sealed text; those that do not open are findings.
pub(super) async fn examine(store: &dyn Store, keyring: &Keyring) -> Result<Vec<Finding>, StoreError> {
    let (mut findings, mut missing) = (Vec::new(), BTreeMap::<String, u64>::new());
    let mut unread = BTreeMap::new();
    let mut walk = Walk::start(store);
    while let Some(mut heads) = walk.next().await? {
        heads.retain(|head| match &head.seal {
            Seal::Plain => false,
            Seal::Key(id) if keyring.key(id).is_none() => {
                *missing.entry(id.clone()).or_default() += 1;
                false
            }
            Seal::Key(_) | Seal::Unknown => true,
        });
        for batch in batches(heads) {
            for (place, text) in read_what_can_be(store, batch, &mut unread).await? {
                let owner = owner(&place);
                // A text that moved meanwhile, and was written anew, is another text.
                if let Err(error) = super::text::open_parts(keyring, &owner, text)
                    && findings.len() < SHOWN
                {
                    findings.push(Finding {
                        invariant: "every sealed text opens in its place",
                        detail: described(&place, &error),
                    });
                }
            }
        }
    }
    findings.extend(unread.into_iter().map(|(organization, why)| Finding {
        invariant: "all sealed texts can be read",
        detail: format!("{organization}: {why}"),
    }));
    let invariant = "this process has the key of every sealed text (encryption.keys)";
    let missing = missing.into_iter().map(|(id, texts)| Finding {
        invariant,
        detail: format!("{texts} texts are sealed with the key {id:?}, which is missing"),
    });
    findings.extend(missing);
    Ok(findings)
}
