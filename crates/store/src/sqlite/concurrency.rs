//! Concurrency keys: at most a given number of operations with one key run at a time.
//!
//! An operation holds a place of its key from the moment when it may be claimed until it ends or is delayed. An
//! operation without a place waits, and is not in the index of claimable operations: neither a claim nor an operation
//! behind it comes across it. A transaction that frees a place gives it to the next operation.

use std::collections::BTreeSet;

use operations::{Concurrency, State};
use rusqlite::Connection;

use super::statement::{Row, query};
use crate::StoreError;

/// The limit of the newest creation holds: an operation that is pending again (?4) changes none.
const ENTER: &str = "
    INSERT INTO concurrency_keys (organization_id, key, most, held, operations) VALUES (?1, ?2, ?3, 0, 1)
    ON CONFLICT DO UPDATE SET most = iif(?4, most, excluded.most), operations = operations + 1";

const CHANGE: &str = "
    UPDATE concurrency_keys SET held = held + ?3, operations = operations + ?4
    WHERE organization_id = ?1 AND key = ?2";

const FORGET: &str = "DELETE FROM concurrency_keys WHERE organization_id = ?1 AND key = ?2 AND operations = 0";

const FREE: &str = "SELECT most - held FROM concurrency_keys WHERE organization_id = ?1 AND key = ?2";

/// Served by active_waiting.
const ADMIT: &str = "
    UPDATE active SET waits = 0 WHERE rowid IN (
        SELECT rowid FROM active INDEXED BY active_waiting WHERE organization_id = ?1 AND concurrency_key = ?2 AND waits = 1
        ORDER BY priority DESC, seq LIMIT ?3 + 0)";

/// An operation with a key, before it changes.
pub(super) struct Held {
    pub(super) key: String,
    /// It may be claimed, or runs.
    pub(super) has_place: bool,
}

/// The key of a row of `active` with concurrency_key, due_at and waits.
pub(super) fn held(row: &Row) -> Result<Option<Held>, StoreError> {
    let (due_at, waits): (Option<i64>, i64) = (row.try_get("due_at")?, row.try_get("waits")?);
    let key: Option<String> = row.try_get("concurrency_key")?;
    Ok(key.map(|key| Held { key, has_place: due_at.is_none() && waits == 0 }))
}

/// An operation is pending again: the row of `settled` that it had has concurrency_key and concurrency_limit.
pub(super) fn enter_again(connection: &Connection, organization: &str, row: &Row) -> Result<(), StoreError> {
    let Some(key) = row.try_get("concurrency_key")? else { return Ok(()) };
    let limit: i64 = row.try_get("concurrency_limit")?;
    let mut keys = Keys::default();
    let concurrency = Concurrency { key, limit: u32::try_from(limit).unwrap_or(1) };
    keys.enter(connection, organization, &concurrency, true)?;
    keys.admit(connection).map(drop)
}

/// Keys that may have a free place, by organization.
#[derive(Default)]
pub(super) struct Keys(BTreeSet<(String, String)>);

impl Keys {
    /// An operation with this key waits that did not before.
    pub(super) fn touch(&mut self, organization: String, key: String) {
        self.0.insert((organization, key));
    }

    /// An operation is created, or pending `again`.
    pub(super) fn enter(
        &mut self,
        connection: &Connection,
        organization: &str,
        concurrency: &Concurrency,
        again: bool,
    ) -> Result<(), StoreError> {
        let Concurrency { key, limit } = concurrency;
        connection.prepare_cached(ENTER)?.execute((organization, key, limit, again))?;
        self.touch(organization.to_owned(), key.clone());
        Ok(())
    }

    /// An operation gets into this state.
    pub(super) fn change(
        &mut self,
        connection: &Connection,
        organization: &str,
        before: &Held,
        after: &State,
    ) -> Result<(), StoreError> {
        let (keeps, is_there) = match after {
            State::Running { .. } | State::Pending { due_at: None, .. } => (true, true),
            State::Pending { .. } => (false, true),
            State::Completed { .. } | State::Failed { .. } => (false, false),
        };
        let (held, operations) = (-i64::from(before.has_place && !keeps), -i64::from(!is_there));
        connection.prepare_cached(CHANGE)?.execute((organization, &before.key, held, operations))?;
        connection.prepare_cached(FORGET)?.execute((organization, &before.key))?;
        self.touch(organization.to_owned(), before.key.clone());
        Ok(())
    }

    /// Gives free places to waiting operations: by priority, then by age. Answers whether any got one.
    pub(super) fn admit(self, connection: &Connection) -> Result<bool, StoreError> {
        let mut has_admitted = false;
        for (organization, key) in self.0 {
            let free = query(FREE).bind(&organization).bind(&key).fetch_optional(connection)?;
            let free: i64 = free.map(|row| row.try_get(0)).transpose()?.unwrap_or(0);
            if free > 0 {
                let admitted = connection.prepare_cached(ADMIT)?.execute((&organization, &key, free))?;
                connection.prepare_cached(CHANGE)?.execute((&organization, &key, admitted.cast_signed(), 0))?;
                has_admitted |= admitted > 0;
            }
        }
        Ok(has_admitted)
    }
}
