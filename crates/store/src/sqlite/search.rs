//! Searching: see [`crate::search`].

use std::future::{Future, ready};
use std::ops::Range;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use operations::{Access, Filter, OperationId, PageRequest, Search};
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::statement::query;
use super::{SqliteStore, details, list};
use crate::batch::{Upkeep, Write};
use crate::rows::damaged;
use crate::search::{self, Cell, Column, Delta, Dialect, Snapshot, Sql, Value};
use crate::{Counted, GroupBy, LISTED_OUTPUT_BYTES, Matching, SearchOperations, SearchPage, SearchRequest, StoreError};

static DIALECT: Dialect = Dialect {
    mark: '?',
    names_indexes: true,
    limits_parts: false,
    one_of: |column, array| format!("{column} IN (SELECT value FROM json_each({array}))"),
    brackets: ('[', ']'),
    contains: |column, text| format!("instr({column}, {text}) > 0"),
    stored: |text| text,
};

/// A connection within a transaction.
struct Whole<'c>(&'c Connection);

impl Whole<'_> {
    fn read(&self, sql: &Sql, columns: &[Column]) -> Result<Vec<Vec<Cell>>, StoreError> {
        let mut statement = self.0.prepare_cached(&sql.text)?;
        for (index, value) in sql.values.iter().enumerate().take(statement.parameter_count()) {
            let value = match value {
                Value::Int(int) => ToSqlOutput::from(*int),
                Value::Text(text) => ToSqlOutput::from(text.as_str()),
                Value::Id(id) => ToSqlOutput::from(id.as_bytes().as_slice()),
            };
            statement.raw_bind_parameter(index + 1, value)?;
        }
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let cell = |(index, column): (usize, &Column)| {
                Ok(match (row.get_ref(index)?, column) {
                    (ValueRef::Null, _) => Cell::Null,
                    (ValueRef::Integer(int), Column::Int) => Cell::Int(int),
                    (ValueRef::Text(_), Column::Text) => Cell::Text(row.get(index)?),
                    (ValueRef::Blob(_), Column::Id) => Cell::Id(OperationId::from_bytes(row.get(index)?)),
                    _ => return Err(damaged("search")),
                })
            };
            found.push(columns.iter().enumerate().map(cell).collect::<Result<_, StoreError>>()?);
        }
        Ok(found)
    }
}

impl Snapshot for Whole<'_> {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn rows(
        &mut self,
        sql: Sql,
        columns: &'static [Column],
    ) -> impl Future<Output = Result<Vec<Vec<Cell>>, StoreError>> {
        ready(self.read(&sql, columns))
    }

    async fn start(&mut self, organization: &str) -> Result<(i64, Vec<Delta>), StoreError> {
        Ok((search::next_number(self, organization).await?, Vec::new()))
    }

    async fn list(
        &mut self,
        access: &Access,
        filter: &Filter,
        page: PageRequest,
    ) -> Result<(Vec<i64>, u64), StoreError> {
        let (numbers, listing) = list::numbered(self.0, access, filter, page)?;
        Ok((numbers, listing.page.total_count))
    }
}

/// The result of work that never waits.
fn at_once<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    work.now_or_never().ok_or_else(|| StoreError::Unusable("a search of the embedded store waited".to_owned()))?
}

/// Notes the times of up to `limit` full buckets of every organization.
pub(super) fn note_times(connection: &Connection, limit: u32) -> Result<u64, StoreError> {
    let sql = "SELECT organization_id FROM organizations WHERE deleted = 0 AND next_seq >= 4096";
    let mut noted = 0;
    for row in query(sql).fetch_all(connection)? {
        let organization: String = row.try_get(0)?;
        noted += at_once(search::fill(&mut Whole(connection), &organization, limit))?;
    }
    Ok(noted)
}

#[async_trait]
impl SearchOperations for SqliteStore {
    async fn search(&self, access: &Access, request: &SearchRequest) -> Result<SearchPage, StoreError> {
        let organization = access.organization.as_str();
        let (cache, access, request) = (self.times.clone(), access.clone(), request.clone());
        let read = move |connection: &Connection| {
            let page = at_once(search::search(&mut Whole(connection), &cache, &access, &request))?;
            let found = details::of_numbers(connection, &access, &page.found, LISTED_OUTPUT_BYTES)?;
            Ok(page.with(found))
        };
        self.readers.search(organization, read).await
    }

    async fn count_matching(&self, access: &Access, search: &Search, by: GroupBy) -> Result<Counted, StoreError> {
        let organization = access.organization.as_str();
        let (cache, access, search) = (self.times.clone(), access.clone(), search.clone());
        let read =
            move |connection: &Connection| at_once(search::count(&mut Whole(connection), &cache, &access, &search, by));
        self.readers.search(organization, read).await
    }

    async fn matching_ids(
        &self,
        access: &Access,
        search: &Search,
        numbers: Range<i64>,
        limit: u32,
    ) -> Result<Matching, StoreError> {
        let organization = access.organization.as_str();
        let (cache, access, search) = (self.times.clone(), access.clone(), search.clone());
        let read = move |connection: &Connection| {
            at_once(search::matching(&mut Whole(connection), &cache, &access, &search, numbers, limit))
        };
        self.readers.search(organization, read).await
    }

    async fn next_number(&self, organization: &str) -> Result<i64, StoreError> {
        let organization = organization.to_owned();
        let read = move |connection: &Connection| at_once(search::next_number(&mut Whole(connection), &organization));
        self.readers.read(read).await
    }

    async fn note_times(&self, limit: u32) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::NoteTimes(limit)).await
    }
}
