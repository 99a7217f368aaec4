//! Encryption at rest: what callers and workers write is sealed before it reaches a database or a disk.
//!
//! [`Sealed`] wraps a store of either engine and seals inputs, outputs and messages; the content store seals evidence.
//! Fields in lists, filters and counters (kinds, projects, resources, times, statuses, names of workers) stay as they
//! are.
//!
//! The id of its key is part of everything that is sealed, so keys are changed without a stop: a new key becomes the
//! active one, and [`rotate`] seals anew what is sealed with others, while servers run.

mod content;
mod evidence;
mod keys;
mod measured;
mod places;
mod policies;
mod postpone;
mod rotation;
mod schedules;
mod sealed;
mod search;
mod sessions;
mod text;
mod traced;
mod waivers;
mod work;
mod workers;

pub use content::check_structure;
pub(crate) use content::{ContentOpener, ContentSealer, SEALED_HEADER_BYTES, content_seal, plain_size};
pub use keys::{InvalidKey, InvalidKeyring, Key, Keyring, generate_key};
pub(crate) use places::TextTable;
pub use places::{Replacement, TextCursor, TextHead, TextPage, TextPlace};
pub use rotation::{Counts, Rotated, rotate, survey};
pub use sealed::{Sealed, readable};
pub use text::{Field, Seal, Unopened};
pub(crate) use text::{HEAD_BYTES, Owner, is_sealed};

#[cfg(test)]
pub(crate) use keys::tests;
