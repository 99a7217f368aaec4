//! Statements with their values, and the rows that they return.
//!
//! A thin layer over the library: statements are prepared once per connection, and the values of a row are identified
//! by the names of its columns. Where rows are many and hot, [`super::list`] does without it.

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::types::{FromSql, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Rows};

use crate::StoreError;

/// A statement, and values for its placeholders in their order. Only constants go into the text.
pub(super) struct Query<'q> {
    sql: Cow<'q, str>,
    values: Vec<Value>,
}

/// A statement without values yet.
pub(super) fn query<'q>(sql: impl Into<Cow<'q, str>>) -> Query<'q> {
    Query { sql: sql.into(), values: Vec::new() }
}

impl Query<'_> {
    /// Binds the next placeholder.
    pub(super) fn bind(mut self, value: impl ToSql) -> Self {
        self.values.push(owned(value));
        self
    }

    /// Every row.
    pub(super) fn fetch_all(self, connection: &Connection) -> Result<Vec<Row>, StoreError> {
        self.fetch(connection, usize::MAX)
    }

    /// The first row, if there is one.
    pub(super) fn fetch_optional(self, connection: &Connection) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(connection, 1)?.pop())
    }

    /// The row that always exists.
    pub(super) fn fetch_one(self, connection: &Connection) -> Result<Row, StoreError> {
        self.fetch_optional(connection)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
    }

    /// Answers how many rows were changed.
    pub(super) fn execute(self, connection: &Connection) -> Result<u64, StoreError> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(self.values))? as u64)
    }

    fn fetch(self, connection: &Connection, most: usize) -> Result<Vec<Row>, StoreError> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        let names: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows: Rows<'_> = statement.query(rusqlite::params_from_iter(self.values))?;
        let mut found = Vec::new();
        while found.len() < most
            && let Some(row) = rows.next()?
        {
            let values = (0..names.len()).map(|index| Ok(row.get(index)?)).collect::<Result<_, StoreError>>()?;
            found.push(Row { names: Arc::clone(&names), values });
        }
        // A statement that changes rows and returns them is carried out to its end.
        while rows.next()?.is_some() {}
        Ok(found)
    }
}

/// A value that outlives what it was made of.
pub(super) fn owned(value: impl ToSql) -> Value {
    match value.to_sql().expect("texts, bytes and numbers are always encoded") {
        ToSqlOutput::Owned(value) => value,
        ToSqlOutput::Borrowed(value) => Value::column_result(value).expect("plain values are kept as they are"),
        other => unreachable!("only plain values are bound, and not {other:?}"),
    }
}

/// A row that was read.
pub(super) struct Row {
    names: Arc<[String]>,
    values: Vec<Value>,
}

/// Which column: by its name, or its place from zero.
pub(super) trait Column {
    fn place(&self, names: &[String]) -> Option<usize>;
}

impl Column for usize {
    fn place(&self, names: &[String]) -> Option<usize> {
        (*self < names.len()).then_some(*self)
    }
}

impl Column for &str {
    fn place(&self, names: &[String]) -> Option<usize> {
        names.iter().position(|name| name == self)
    }
}

impl Row {
    /// The value of a column.
    pub(super) fn try_get<T: FromSql>(&self, column: impl Column) -> Result<T, StoreError> {
        let place = column.place(&self.names).ok_or(rusqlite::Error::InvalidColumnIndex(usize::MAX))?;
        let value = ValueRef::from(&self.values[place]);
        T::column_result(value).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(place, value.data_type(), Box::new(error)).into()
        })
    }
}
