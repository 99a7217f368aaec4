//! The plain table in SQLite, through the library that the store uses, with prepared statements.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use operations::{Access, Filter, PageRequest, Projects};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{INDEXES, Taken, now, sample};

const TABLE: &str = "
    CREATE TABLE operations (
        id BLOB PRIMARY KEY, organization_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
        status INTEGER NOT NULL, resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, project_id TEXT NOT NULL,
        project_version_id TEXT NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER,
        error_message TEXT NOT NULL, output TEXT NOT NULL, team TEXT) WITHOUT ROWID";

const COPY: &str = "
    INSERT INTO operations
        SELECT id, organization_id, seq, kind, status, resource_type, resource_id, project_id, project_version_id,
            created_at, started_at, finished_at, error_message, output, labels->>'team'
        FROM store.settled LEFT JOIN store.details USING (organization_id, seq)
        UNION ALL
        SELECT id, organization_id, seq, kind, status, resource_type, resource_id, project_id, project_version_id,
            created_at, started_at, NULL, '', '', labels->>'team'
        FROM store.active LEFT JOIN store.details USING (organization_id, seq)";

/// A plain table in a file next to the store's.
///
/// One connection: with more, writers would only wait for each other, and less fairly.
#[derive(Clone)]
pub struct PlainSqlite(Arc<Mutex<Connection>>);

impl PlainSqlite {
    /// The rows of the store's file in a plain table.
    pub async fn copy(store: &Path) -> anyhow::Result<PlainSqlite> {
        let (plain, store) = (PlainSqlite::open(store, "plain.db")?, store.display().to_string());
        plain
            .with(move |connection| {
                connection.execute("ATTACH ?1 AS store", [store])?;
                make(connection, Some(COPY))?;
                connection.execute_batch("DETACH store")?;
                Ok(())
            })
            .await?;
        Ok(plain)
    }

    /// A plain table without rows.
    pub async fn empty(store: &Path) -> anyhow::Result<PlainSqlite> {
        let plain = PlainSqlite::open(store, "plain-queue.db")?;
        plain.with(|connection| make(connection, None)).await?;
        Ok(plain)
    }

    /// With the settings of the store, and mapped into memory, which the store does not do.
    fn open(store: &Path, extension: &str) -> anyhow::Result<PlainSqlite> {
        let path = store.with_extension(extension);
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "mmap_size", 1_073_741_824)?;
        connection.pragma_update(None, "cache_size", -16 * 1024)?;
        connection.set_prepared_statement_cache_capacity(256);
        Ok(PlainSqlite(Arc::new(Mutex::new(connection))))
    }

    /// Runs on a thread that may wait for the disk, as the store does. Clients queue for the connection as long as it
    /// takes.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let connection = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&connection.lock().unwrap_or_else(PoisonError::into_inner))).await?
    }

    pub async fn create(&self) -> anyhow::Result<uuid::Uuid> {
        let id = uuid::Uuid::now_v7();
        self.with(move |connection| {
            // The number after the last one: found with plain_by_age, and safe because there is one writer.
            let mut statement = connection.prepare_cached(
                "INSERT INTO operations (id, organization_id, seq, kind, status, resource_type, resource_id, project_id,
                     project_version_id, created_at, error_message, output)
                 VALUES (?1, ?2, (SELECT coalesce(max(seq), 0) + 1 FROM operations WHERE organization_id = ?2), ?3, 1,
                     ?4, ?5, ?6, '', ?7, '', '')",
            )?;
            statement.execute(params![
                id.as_bytes(),
                sample::ORGANIZATION,
                sample::KIND,
                sample::RESOURCE_TYPE,
                sample::RESOURCE_ID,
                sample::PROJECT,
                now()
            ])?;
            Ok(id)
        })
        .await
    }

    pub async fn claim(&self) -> anyhow::Result<Option<Taken>> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE operations SET status = 2, started_at = ?2 WHERE id = (
                     SELECT id FROM operations WHERE organization_id = ?1 AND status = 1 ORDER BY seq LIMIT 1)
                 RETURNING id",
            )?;
            let taken: Option<[u8; 16]> =
                statement.query_row(params![sample::ORGANIZATION, now()], |row| row.get(0)).optional()?;
            Ok(taken.map(|id| Taken(uuid::Uuid::from_bytes(id))))
        })
        .await
    }

    pub async fn complete(&self, taken: Taken) -> anyhow::Result<()> {
        self.with(move |connection| {
            let mut statement = connection
                .prepare_cached("UPDATE operations SET status = 3, finished_at = ?2, output = ?3 WHERE id = ?1")?;
            statement.execute(params![taken.0.as_bytes(), now(), sample::OUTPUT])?;
            Ok(())
        })
        .await
    }

    pub async fn count(&self, access: &Access, condition: &str, columns: &str) -> anyhow::Result<Vec<i64>> {
        let organization = access.organization.clone();
        let sql = format!(
            "SELECT {columns}, count(*) AS n FROM operations WHERE organization_id = ?1{condition} GROUP BY {columns}"
        );
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let counts = statement.query_map([organization], |row| row.get("n"))?;
            Ok(counts.collect::<Result<_, rusqlite::Error>>()?)
        })
        .await
    }

    pub async fn list(
        &self,
        access: &Access,
        filter: &Filter,
        condition: &str,
        page: PageRequest,
    ) -> anyhow::Result<(usize, u64)> {
        let (access, filter, condition) = (access.clone(), filter.clone(), condition.to_owned());
        self.with(move |connection| list(connection, &access, &filter, &condition, page)).await
    }
}

/// The statistics cover the plain table alone: the store is measured as it is.
fn make(connection: &Connection, rows: Option<&str>) -> anyhow::Result<()> {
    for statement in [TABLE].into_iter().chain(rows).chain(INDEXES).chain(["ANALYZE main"]) {
        connection.execute_batch(&statement.replace("{table}", "operations"))?;
    }
    Ok(())
}

/// The page and the total in one snapshot.
fn list(
    connection: &Connection,
    access: &Access,
    filter: &Filter,
    further: &str,
    page: PageRequest,
) -> anyhow::Result<(usize, u64)> {
    let mut condition = "organization_id = :organization".to_owned();
    if !further.is_empty() {
        condition += &format!(" AND {further}");
    }
    let mut values: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":organization", &access.organization)];
    if let Some(status) = filter.status {
        condition += &format!(" AND status = {}", status.number());
    }
    if let Some(kind) = &filter.kind {
        condition += " AND kind = :kind";
        values.push((":kind", kind));
    }
    if let Some(resource) = &filter.resource {
        condition += " AND resource_type = :resource_type AND resource_id = :resource_id";
        values.extend([
            (":resource_type", &resource.resource_type as &dyn rusqlite::ToSql),
            (":resource_id", &resource.resource_id),
        ]);
    }
    let projects = match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(serde_json::to_string(projects)?),
    };
    if let Some(projects) = &projects {
        condition += " AND project_id IN (SELECT value FROM json_each(:projects))";
        values.push((":projects", projects));
    }
    let snapshot = connection.unchecked_transaction()?;
    let total: i64 = snapshot
        .prepare_cached(&format!("SELECT count(*) FROM operations WHERE {condition}"))?
        .query_row(&*values, |row| row.get(0))?;
    let offset = i64::try_from(page.offset()).unwrap_or(i64::MAX);
    values.extend([(":size", &page.page_size as &dyn rusqlite::ToSql), (":offset", &offset)]);
    // No parameter is a limit on its own: SQLite would prepare the statement again for each value.
    let sql = format!("SELECT * FROM operations WHERE {condition} ORDER BY seq DESC LIMIT :size + 0 OFFSET :offset");
    let mut statement = snapshot.prepare_cached(&sql)?;
    let output = statement.column_index("output")?;
    let (mut rows, mut bytes) = (0, 0);
    let mut found = statement.query(&*values)?;
    while let Some(row) = found.next()? {
        // Every column is read, as a server does that renders them.
        for column in 0..=output {
            bytes += match row.get_ref(column)? {
                rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => text.to_vec().len(),
                _ => 0,
            };
        }
        rows += 1;
    }
    std::hint::black_box(bytes);
    drop(found);
    drop(statement);
    snapshot.commit()?;
    Ok((rows, total.unsigned_abs()))
}
