//! Transactions: beginning, committing and giving up.

use std::ops::{Deref, DerefMut};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, Postgres, Transaction};

use crate::StoreError;

/// Attempts at a transaction that lost against another one (a deadlock or a serialisation failure).
pub(super) const TRIES: u32 = 5;

/// A connection on which statements are carried out: each by itself, until [`Tx::begin`]; from there on all together.
/// When it is dropped before [`Tx::commit`], nothing of that is done.
pub(super) struct Tx<'c>(Option<State<'c>>);

enum State<'c> {
    Apart(&'c mut PgConnection),
    Together(Transaction<'c, Postgres>),
}

impl<'c> Tx<'c> {
    /// Nothing is begun yet.
    pub(super) fn new(connection: &'c mut PgConnection) -> Tx<'c> {
        Tx(Some(State::Apart(connection)))
    }

    /// A transaction.
    pub(super) async fn begun(connection: &'c mut PgConnection) -> Result<Tx<'c>, StoreError> {
        Ok(Tx(Some(State::Together(connection.begin().await?))))
    }

    /// A transaction whose commit does not wait for the disk, nor for a standby: for what can be done again if it is lost
    /// with the database.
    pub(super) async fn durable_later(connection: &'c mut PgConnection) -> Result<Tx<'c>, StoreError> {
        let transaction = connection.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
        Ok(Tx(Some(State::Together(transaction))))
    }

    /// A transaction that reads, all of it from one snapshot, and writes nothing.
    pub(super) async fn snapshot(connection: &'c mut PgConnection) -> Result<Tx<'c>, StoreError> {
        let transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Tx(Some(State::Together(transaction))))
    }

    /// Makes the following statements be carried out together, if they are not already. After an error it cannot be
    /// used any more.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let state = self.0.take();
        self.0 = match state {
            Some(State::Apart(connection)) => Some(State::Together(connection.begin().await?)),
            state => state,
        };
        Ok(())
    }

    /// Whether a transaction is under way.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.0, Some(State::Together(_)))
    }

    /// Commits the statements that were carried out together, if there were any.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        if let Some(State::Together(transaction)) = self.0 {
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Gives up the statements that were carried out together, with their locks.
    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        if let Some(State::Together(transaction)) = self.0 {
            transaction.rollback().await?;
        }
        Ok(())
    }

    /// Gives up the statements that were carried out together, with their locks, and begins anew.
    pub(super) async fn restart(&mut self) -> Result<(), StoreError> {
        // In one round trip.
        self.execute("ROLLBACK; BEGIN").await?;
        Ok(())
    }

    /// Leaves the transaction open for as long as its connection is open.
    pub(super) fn leave_open(self) {
        std::mem::forget(self.0);
    }
}

impl Deref for Tx<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self.0.as_ref().expect("it was not used after an error") {
            State::Apart(connection) => connection,
            State::Together(transaction) => transaction,
        }
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self.0.as_mut().expect("it was not used after an error") {
            State::Apart(connection) => connection,
            State::Together(transaction) => transaction,
        }
    }
}
