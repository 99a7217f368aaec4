//! Searching: see [`crate::search`]. A call is a few statements in one snapshot.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use operations::{Access, Filter, OperationId, PageRequest, Search};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::connections::Connections;
use super::resources::Resources;
use super::rows::{text_in, text_out, uuid};
use super::tx::Tx;
use super::{PostgresStore, details, list};
use crate::search::{self, Cell, Column, Delta, Dialect, Snapshot, Sql, Value};
use crate::{
    Counted, GroupBy, LISTED_OUTPUT_BYTES, Matching, SearchOperations, SearchPage, SearchRequest, StoreError, Turn,
};

static DIALECT: Dialect = Dialect {
    mark: '$',
    names_indexes: false,
    limits_parts: true,
    one_of: |column, array| format!("{column} = ANY ({array}::text::bigint[])"),
    brackets: ('{', '}'),
    contains: |column, text| format!("strpos({column}, {text}) > 0"),
    stored: text_in,
};

/// The number of the next operation, in a row with each sum of deltas from the fold's horizon on, or in one without.
/// Served by counter_deltas_by_xid.
const START: &str = "
    SELECT o.next_seq, d.* FROM organizations o LEFT JOIN LATERAL (
        SELECT bucket, project_id, kind, sum(pending)::bigint, sum(running)::bigint, sum(completed)::bigint,
            sum(failed)::bigint
        FROM counter_deltas
        WHERE organization_id = $1
            AND xid >= coalesce((SELECT folded_before FROM counter_folds WHERE organization_id = $1), '0')
        GROUP BY 1, 2, 3) AS d ON true
    WHERE o.organization_id = $1 AND o.deleted < 2";

/// Organizations that may have full buckets without times.
const FULL: &str = "SELECT organization_id FROM organizations o WHERE deleted = 0 AND next_seq >> 12 >
    coalesce((SELECT max(bucket) + 1 FROM bucket_times t WHERE t.organization_id = o.organization_id AND level = 12), 0)";

/// A connection within a transaction.
struct Whole<'c> {
    connection: &'c mut PgConnection,
    resources: &'c Resources,
}

impl Snapshot for Whole<'_> {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    async fn rows(&mut self, sql: Sql, columns: &'static [Column]) -> Result<Vec<Vec<Cell>>, StoreError> {
        let mut arguments = PgArguments::default();
        for value in sql.values {
            let added = match value {
                Value::Int(int) => arguments.add(int),
                Value::Text(text) => arguments.add(text),
                Value::Id(id) => arguments.add(uuid(&id)),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        let query = sqlx::query_with(AssertSqlSafe(sql.text), arguments);
        let rows = query.fetch_all(&mut *self.connection).await?;
        let row = |row: sqlx::postgres::PgRow| {
            let cell = |(index, column): (usize, &Column)| {
                Ok(match column {
                    Column::Int => row.try_get::<Option<i64>, _>(index)?.map_or(Cell::Null, Cell::Int),
                    Column::Text => {
                        row.try_get::<Option<String>, _>(index)?.map_or(Cell::Null, |text| Cell::Text(text_out(text)))
                    }
                    Column::Id => row
                        .try_get::<Option<Uuid>, _>(index)?
                        .map_or(Cell::Null, |id| Cell::Id(OperationId::from_bytes(*id.as_bytes()))),
                })
            };
            columns.iter().enumerate().map(cell).collect::<Result<Vec<Cell>, StoreError>>()
        };
        rows.into_iter().map(row).collect()
    }

    async fn start(&mut self, organization: &str) -> Result<(i64, Vec<Delta>), StoreError> {
        let rows = sqlx::query(START).bind(organization).fetch_all(&mut *self.connection).await?;
        let (mut next, mut deltas) = (1, Vec::new());
        for row in &rows {
            next = row.try_get(0)?;
            if let Some(bucket) = row.try_get(1)? {
                let n = [row.try_get(4)?, row.try_get(5)?, row.try_get(6)?, row.try_get(7)?];
                deltas.push(Delta { bucket, project_id: row.try_get(2)?, kind: row.try_get(3)?, n });
            }
        }
        Ok((next, deltas))
    }

    async fn list(
        &mut self,
        access: &Access,
        filter: &Filter,
        page: PageRequest,
    ) -> Result<(Vec<i64>, u64), StoreError> {
        list::numbers(self.connection, self.resources, access, filter, page).await
    }
}

/// Reads in one snapshot, under a permit if one is given. The snapshot's end is not waited for: a connection that is
/// dropped ends the transaction that is under way on it.
macro_rules! in_snapshot {
    ($pool:expr, $store:expr, $permit:expr, |$whole:ident| $read:expr) => {{
        let (pool, permit): (&Connections, Option<Arc<Turn>>) = ($pool, $permit);
        pool.within(async {
            let mut held = pool.acquire().await?;
            if let Some(permit) = permit {
                held.keep(permit);
            }
            let mut tx = Tx::snapshot(&mut held).await?;
            let mut $whole = Whole { connection: &mut tx, resources: &$store.resources };
            $read.await
        })
        .await
    }};
}

async fn search_in(
    pool: &Connections,
    store: &PostgresStore,
    permit: Arc<Turn>,
    access: &Access,
    request: &SearchRequest,
) -> Result<SearchPage, StoreError> {
    in_snapshot!(pool, store, Some(permit), |whole| async {
        let page = search::search(&mut whole, &store.times, access, request).await?;
        let found = details::of_numbers(&mut *whole.connection, access, &page.found, LISTED_OUTPUT_BYTES).await?;
        Ok::<_, StoreError>(page.with(found))
    })
}

async fn count_in(
    pool: &Connections,
    store: &PostgresStore,
    permit: Arc<Turn>,
    access: &Access,
    search: &Search,
    by: GroupBy,
) -> Result<Counted, StoreError> {
    in_snapshot!(pool, store, Some(permit), |whole| search::count(&mut whole, &store.times, access, search, by))
}

/// Notes the times of full buckets of one organization, in a transaction.
async fn fill(store: &PostgresStore, organization: &str, limit: u32) -> Result<u64, StoreError> {
    store
        .pool
        .within(async {
            let mut held = store.pool.acquire().await?;
            let mut tx = Tx::begun(&mut held).await?;
            let mut whole = Whole { connection: &mut tx, resources: &store.resources };
            let noted = search::fill(&mut whole, organization, limit).await?;
            tx.commit().await?;
            held.release();
            Ok(noted)
        })
        .await
}

impl PostgresStore {
    /// Waits until the organization gets a permit to search.
    async fn permit(&self, access: &Access) -> Arc<Turn> {
        Arc::new(self.searches.take(&access.organization).await)
    }
}

#[async_trait]
impl SearchOperations for PostgresStore {
    async fn search(&self, access: &Access, request: &SearchRequest) -> Result<SearchPage, StoreError> {
        let permit = self.permit(access).await;
        let of_standby = Arc::clone(&permit);
        let read = |pool: Connections| async move { search_in(&pool, self, of_standby, access, request).await };
        if let Some(found) = self.on_standby(access, read).await {
            return Ok(found);
        }
        search_in(&self.pool, self, permit, access, request).await.map_err(StoreError::or_unavailable)
    }

    async fn count_matching(&self, access: &Access, search: &Search, by: GroupBy) -> Result<Counted, StoreError> {
        let permit = self.permit(access).await;
        let of_standby = Arc::clone(&permit);
        let read = |pool: Connections| async move { count_in(&pool, self, of_standby, access, search, by).await };
        if let Some(found) = self.on_standby(access, read).await {
            return Ok(found);
        }
        count_in(&self.pool, self, permit, access, search, by).await.map_err(StoreError::or_unavailable)
    }

    async fn matching_ids(
        &self,
        access: &Access,
        search: &Search,
        numbers: Range<i64>,
        limit: u32,
    ) -> Result<Matching, StoreError> {
        let permit = self.permit(access).await;
        let found = in_snapshot!(&self.pool, self, Some(permit), |whole| search::matching(
            &mut whole,
            &self.times,
            access,
            search,
            numbers,
            limit
        ));
        found.map_err(StoreError::or_unavailable)
    }

    async fn next_number(&self, organization: &str) -> Result<i64, StoreError> {
        let found = in_snapshot!(&self.pool, self, None, |whole| search::next_number(&mut whole, organization));
        found.map_err(StoreError::or_unavailable)
    }

    async fn note_times(&self, limit: u32) -> Result<u64, StoreError> {
        let full: Vec<String> =
            sqlx::query_scalar(FULL).fetch_all(&self.pool).await.map_err(super::error::unavailable)?;
        let mut noted = 0;
        for organization in full {
            noted += fill(self, &organization, limit).await.map_err(StoreError::or_unavailable)?;
        }
        Ok(noted)
    }
}
