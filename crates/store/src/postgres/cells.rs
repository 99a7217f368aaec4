//! What the databases of cells say about organizations: see [`crate::cells`].
//!
//! **The directory** says in which cell an organization is. It is read whole once, and from then on only the changes
//! since the last read are read, by the numbers of transactions: changes beside others that were under way at that time
//! are read again.
//!
//! **A cell** says which organizations must not be used in it (`organizations_elsewhere`), whatever a copy of the
//! directory says. So a stale copy costs an error, and never a wrong answer.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::time::timeout;

use super::error::unavailable;
use super::{Parts, PostgresStore, admin, pause, session};
use crate::cells::Placed;
use crate::{Clock, Open, Organization, PostgresUrl, Store as _, StoreError};

/// There is always a row, with the number of the last change that nothing can be committed below any more: that of a
/// row, since other numbers may be given again after a failover (see [`super::changes::end`]). Served by
/// organization_cells_by_change.
const CHANGED: &str = "
    SELECT coalesce((SELECT changed FROM organization_cells WHERE changed < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY changed DESC LIMIT 1), '0')::text AS horizon, c.*
    FROM (SELECT 1) AS one LEFT JOIN LATERAL (
        SELECT organization_id, cell, moving_to, moves FROM organization_cells WHERE changed > $1::text::xid8) AS c ON true";

const ONE: &str = "SELECT organization_id, cell, moving_to, moves FROM organization_cells WHERE organization_id = $1";

/// The cell with the fewest organizations; the first of several with equally few.
const ASSIGN: &str = "
    INSERT INTO organization_cells (organization_id, cell)
    SELECT $1, c.name FROM unnest($2::text[]) WITH ORDINALITY AS c (name, place)
    ORDER BY (SELECT count(*) FROM organization_cells AS o WHERE o.cell = c.name), c.place LIMIT 1
    ON CONFLICT DO NOTHING";

/// Organizations that were in a cell before it became one, or came there before this directory did.
const ADOPT: &str = "
    INSERT INTO organization_cells (organization_id, cell) SELECT id, $1 FROM unnest($2::text[]) AS o (id)
    ON CONFLICT DO NOTHING";

const MOVING: &str = "
    UPDATE organization_cells SET moving_to = $3, changed = pg_current_xact_id()
    WHERE organization_id = $1 AND cell = $2 AND mover = $4";

const FLIP: &str = "
    UPDATE organization_cells SET cell = $2, moving_to = NULL, moves = moves + 1, changed = pg_current_xact_id()
    WHERE organization_id = $1 AND moving_to = $2 AND mover = $3";

const ELSEWHERE: &str = "SELECT organization_id FROM organizations_elsewhere";

const AUDITED: &str = "
    SELECT seq, entries, at, log FROM audit WHERE organization_id = '' AND seq > $1 ORDER BY seq LIMIT 100";

/// In the order in which they come, which is also the order of their times.
const TAKE_AUDITED: &str = "
    WITH numbered AS (
        UPDATE organizations SET audit_seq = audit_seq + $1 WHERE organization_id = '' RETURNING audit_seq - $1 AS first
    )
    INSERT INTO audit (organization_id, seq, entries, at, log)
    SELECT '', first, $1, greatest($2, (
        SELECT at FROM audit WHERE organization_id = '' ORDER BY seq DESC LIMIT 1)), $3 FROM numbered";

impl PostgresStore {
    /// Connects to the database of a cell or of a directory, with a clock of the caller's choice, if there is one, and
    /// the meters to count in.
    pub(crate) async fn connect_part(
        url: PostgresUrl,
        read_url: Option<PostgresUrl>,
        how: Open,
        connections: u32,
        clock: Option<Clock>,
        meters: meters::Meters,
    ) -> Result<PostgresStore, StoreError> {
        // On a thread of its own: the compiler cannot prove that this future may change threads, which it would have to
        // where a cell is connected concurrently with everything else.
        let runtime = tokio::runtime::Handle::current();
        let connect = move || {
            let (url, read_url) = (url.expose(), read_url.as_ref().map(PostgresUrl::expose));
            let parts = Parts { clock, meters, ..Parts::default() };
            runtime.block_on(PostgresStore::start(url, how, read_url, connections, parts))
        };
        let connected = tokio::task::spawn_blocking(connect).await;
        connected.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is shutting down".to_owned())))
    }

    /// Directory: where an organization is.
    pub(crate) async fn placed(&self, organization: &str) -> Result<Option<Placed>, StoreError> {
        let row = sqlx::query(ONE).bind(organization).fetch_optional(&self.pool).await.map_err(away)?;
        row.as_ref().map(placed).transpose()
    }

    /// Directory: assigns a new organization to the one of these cells that has the fewest; answers where it is.
    pub(crate) async fn assign(&self, organization: &str, cells: &[&str]) -> Result<Placed, StoreError> {
        sqlx::query(ASSIGN).bind(organization).bind(cells).execute(&self.pool).await.map_err(away)?;
        let placed = self.placed(organization).await?;
        placed.ok_or_else(|| StoreError::Unavailable("no cell takes new organizations now".to_owned()))
    }

    /// Directory: notes that organizations are in a cell, unless it knows them already.
    pub(crate) async fn adopt(&self, cell: &str, organizations: &[String]) -> Result<u64, StoreError> {
        let adopted = sqlx::query(ADOPT).bind(cell).bind(organizations).execute(&self.pool).await.map_err(away)?;
        Ok(adopted.rows_affected())
    }

    /// Directory: notes that an organization is being moved out of a cell, or with `None` that it is not; `false`:
    /// another mover has taken over.
    pub(crate) async fn note_moving(
        &self,
        organization: &str,
        from: &str,
        to: Option<&str>,
        mover: i64,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(MOVING).bind(organization).bind(from).bind(to).bind(mover);
        Ok(query.execute(&self.pool).await.map_err(away)?.rows_affected() > 0)
    }

    /// Directory: notes that an organization is in the cell that it was being moved to; `false`: another mover has
    /// taken over.
    pub(crate) async fn note_moved(&self, organization: &str, to: &str, mover: i64) -> Result<bool, StoreError> {
        let query = sqlx::query(FLIP).bind(organization).bind(to).bind(mover);
        Ok(query.execute(&self.pool).await.map_err(away)?.rows_affected() > 0)
    }

    /// Directory: takes what calls of the instance have changed in a cell into the audit log of the instance, each
    /// entry once.
    pub(crate) async fn take_audit(&self, name: &str, cell: &PostgresStore) -> Result<(), StoreError> {
        let known = "SELECT seq FROM cell_audits WHERE cell = $1";
        loop {
            let from: Option<i64> =
                sqlx::query_scalar(known).bind(name).fetch_optional(&self.pool).await.map_err(away)?;
            let from = from.unwrap_or_default();
            let found: Vec<(i64, i32, i64, String)> =
                sqlx::query_as(AUDITED).bind(from).fetch_all(&cell.pool).await.map_err(away)?;
            let Some(last) = found.last().map(|(seq, ..)| *seq) else { return Ok(()) };
            self.change(async |tx| {
                admin::make_instance(tx, self.now()).await?;
                let sql = "INSERT INTO cell_audits (cell, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING";
                sqlx::query(sql).bind(name).execute(&mut **tx).await?;
                let sql = "UPDATE cell_audits SET seq = $3 WHERE cell = $1 AND seq = $2";
                let moved = sqlx::query(sql).bind(name).bind(from).bind(last).execute(&mut **tx).await?;
                // Otherwise another process was faster.
                if moved.rows_affected() > 0 {
                    for (_, entries, at, log) in &found {
                        let query = sqlx::query(TAKE_AUDITED).bind(entries).bind(at).bind(log);
                        query.execute(&mut **tx).await?;
                    }
                }
                Ok(())
            })
            .await?;
        }
    }

    /// Cell: makes the database the cell of this name in this directory, unless it is another one already.
    pub(crate) fn be_cell<'c>(&'c self, name: &'c str, directory: &'c str) -> BoxFuture<'c, Result<(), StoreError>> {
        let be = async move {
            let sql = "INSERT INTO cell (name, directory) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM cell)
                ON CONFLICT DO NOTHING";
            sqlx::query(sql).bind(name).bind(directory).execute(&self.pool).await.map_err(away)?;
            let sql = "SELECT name, directory FROM cell";
            let (found, of): (String, String) = sqlx::query_as(sql).fetch_one(&self.pool).await.map_err(away)?;
            if found != name {
                return Err(StoreError::Unusable(format!(
                    "it is the cell {found} and not {name}: configure each cell with the name and the URL that it had before"
                )));
            }
            if of != directory {
                return Err(StoreError::Unusable(format!(
                    "it is the cell {name} of another directory: the URL of the store must be the URL of its own directory"
                )));
            }
            Ok(())
        };
        be.boxed()
    }

    /// Cell: whether an organization must not be used here.
    pub(crate) async fn is_elsewhere(&self, organization: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM organizations_elsewhere WHERE organization_id = $1)";
        sqlx::query_scalar(sql).bind(organization).fetch_one(&self.pool).await.map_err(away)
    }

    /// Cell: the organizations that are here, whether or not they may be used.
    pub(crate) async fn present(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT organization_id FROM organizations WHERE deleted < 2 AND organization_id <> ''";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.map_err(away)
    }

    /// Cell: the organizations of which it has a row, whether or not they may be used here.
    pub(crate) async fn organizations_and_elsewhere(&self) -> Result<Vec<Organization>, StoreError> {
        pause::organizations(&self.pool, true).await.map_err(StoreError::or_unavailable)
    }

    /// Directory and cell: what is read of it again and again.
    pub(crate) fn watch(&self) -> Watch {
        Watch { store: self.clone(), connection: None }
    }
}

/// Maps an error as for any read.
pub(super) fn away(error: sqlx::Error) -> StoreError {
    StoreError::from(error).or_unavailable()
}

fn placed(row: &PgRow) -> Result<Placed, StoreError> {
    let placed = || {
        Ok::<_, sqlx::Error>(Placed {
            organization: row.try_get("organization_id")?,
            cell: row.try_get("cell")?,
            moving_to: row.try_get("moving_to")?,
            moves: row.try_get::<i32, _>("moves")?.unsigned_abs(),
        })
    };
    placed().map_err(away)
}

/// Reads of a directory or of a cell on a connection of their own, so that they wait for nobody. One that does not end
/// in time says that the database is away.
pub(crate) struct Watch {
    store: PostgresStore,
    connection: Option<PgConnection>,
}

impl Watch {
    /// Cell: the organizations that must not be used in it now; the read must end within `time`.
    pub(crate) async fn elsewhere(&mut self, time: Duration) -> Result<BTreeSet<String>, StoreError> {
        let read = async {
            let mut connection = self.connection().await?;
            let found: Vec<String> = sqlx::query_scalar(ELSEWHERE).fetch_all(&mut connection).await.map_err(away)?;
            self.connection = Some(connection);
            Ok(found.into_iter().collect())
        };
        timeout(time, read).await.unwrap_or_else(|_| silent())
    }

    /// Directory: where the organizations are whose rows changed since a transaction (all of them since `"0"`), and
    /// where to begin the next time; the read must end within `time`.
    pub(crate) async fn placed_since(
        &mut self,
        since: &str,
        time: Duration,
    ) -> Result<(String, Vec<Placed>), StoreError> {
        let read = async {
            let mut connection = self.connection().await?;
            let rows = sqlx::query(CHANGED).bind(since).fetch_all(&mut connection).await.map_err(away)?;
            self.connection = Some(connection);
            let horizon = rows.first().map_or(Ok(since.to_owned()), |row| row.try_get("horizon")).map_err(away)?;
            let is_placed = |row: &&PgRow| row.try_get::<Option<&str>, _>("cell").is_ok_and(|cell| cell.is_some());
            Ok((horizon, rows.iter().filter(is_placed).map(placed).collect::<Result<_, _>>()?))
        };
        timeout(time, read).await.unwrap_or_else(|_| silent())
    }

    /// The connection, which is kept only once it has answered.
    async fn connection(&mut self) -> Result<PgConnection, StoreError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.store.pool.connect().await.map_err(session::refused),
        }
    }
}

fn silent<T>() -> Result<T, StoreError> {
    Err(unavailable(sqlx::Error::PoolTimedOut))
}
