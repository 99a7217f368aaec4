//! Deleting an organization with all that is its own, in bounded parts, so that no transaction grows with it and a
//! deletion that broke off is taken up again.
//!
//! From [`begin`](crate::Store::begin_deletion) on its tokens are revoked, nothing of it is started, and nothing is
//! created in it, by whichever process. Parts remove rows with their counts, so that the store is sound in between. At
//! the [end](crate::Store::end_deletion) its name alone is left, by which calls that began before are refused; a new
//! token makes it anew.

/// What an organization has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its deletion has begun, and has not ended.
    pub is_being_deleted: bool,
    /// Operations that wait or run, those that applications have put into the inbox included.
    pub unfinished: u64,
    /// Operations that have ended.
    pub ended: u64,
    /// Tokens, revoked and expired ones included.
    pub tokens: u64,
    /// Pieces of evidence on record.
    pub evidence: u64,
    /// Their bytes.
    pub evidence_bytes: u64,
}

/// A part of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// Begin, with operations that have not ended or only without.
    Begin(bool),
    /// Remove up to so many rows.
    Part(u32),
    /// End.
    End,
}
