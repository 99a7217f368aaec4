//! Which store: `sqlite:PATH` or `postgres://user@host:port/database`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Open, PostgresStore, SqliteStore, Store, StoreError};

/// Where a store is. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its whole URL.
    Postgres(String),
}

/// The text names no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sqlite:PATH or postgres://USER@HOST:PORT/DATABASE")]
pub struct InvalidStoreUrl;

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<StoreUrl, InvalidStoreUrl> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(InvalidStoreUrl) } else { Ok(StoreUrl::Sqlite(PathBuf::from(path))) };
        }
        let is_postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if is_postgres && text.parse::<sqlx::postgres::PgConnectOptions>().is_ok() {
            return Ok(StoreUrl::Postgres(text.to_owned()));
        }
        Err(InvalidStoreUrl)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StoreUrl::Postgres(url) => {
                // What stands before the last @ of the authority is user and password; after ? there may be one too.
                let url = url.split('?').next().unwrap_or(url);
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                write!(f, "{scheme}://{host}")
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Opens a store as `how` says. `connections` bounds the connections to a PostgreSQL server.
///
/// # Errors
/// Those of [`SqliteStore::open_as`] and [`PostgresStore::connect_as`].
pub async fn open(url: &StoreUrl, how: Open, connections: u32) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        StoreUrl::Sqlite(path) => Arc::new(SqliteStore::open_as(path, how).await?),
        StoreUrl::Postgres(url) => Arc::new(PostgresStore::connect_as(url, how, connections).await?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_password() {
        let show = |text: &str| text.parse::<StoreUrl>().unwrap().to_string();
        assert_eq!(show("sqlite:a/b.db"), "sqlite:a/b.db");
        assert_eq!(show("sqlite:///a/b.db"), "sqlite:/a/b.db");
        assert_eq!(show("postgres://me:s3cr@t@db:5432/longrun?password=x"), "postgres://db:5432/longrun");
        for bad in ["", "sqlite:", "longrun.db", "postgres://", "mysql://h/d"] {
            assert_eq!(bad.parse::<StoreUrl>(), Err(InvalidStoreUrl), "{bad}");
        }
    }
}
