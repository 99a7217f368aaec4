//! Several statements carried out one after the other, gathered in memory first.

use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, params_from_iter};

use super::statement::owned;
use crate::StoreError;

/// Statements that answer no rows, with their values, in the order in which they are to be carried out.
#[derive(Default)]
pub(super) struct Script(Vec<(&'static str, Vec<Value>)>);

impl Script {
    /// Adds a statement. Only constants go into the text.
    pub(super) fn add(&mut self, statement: &'static str) -> &mut Script {
        self.0.push((statement, Vec::new()));
        self
    }

    /// Binds the next placeholder of the statement added last.
    pub(super) fn bind(&mut self, value: impl ToSql) -> &mut Script {
        if let Some((_, values)) = self.0.last_mut() {
            values.push(owned(value));
        }
        self
    }

    /// Carries it out.
    pub(super) fn run(self, connection: &Connection) -> Result<(), StoreError> {
        for (statement, values) in self.0 {
            connection.prepare_cached(statement)?.execute(params_from_iter(values))?;
        }
        Ok(())
    }
}
