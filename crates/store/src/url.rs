//! Which store: `sqlite:PATH` or `postgres://user@host:port/database`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::{Open, PostgresStore, SqliteStore, Store, StoreError};

/// Where a store is. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its whole URL.
    Postgres(PostgresUrl),
}

/// The whole URL of a PostgreSQL database, which may hold a password. Gone from memory when it is dropped.
#[derive(Clone)]
pub struct PostgresUrl(SecretString);

impl PostgresUrl {
    /// The text itself, for the code that connects.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for PostgresUrl {
    fn from(text: String) -> PostgresUrl {
        PostgresUrl(text.into())
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &PostgresUrl) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for PostgresUrl {}

/// The text is not the URL of a store. Shows only the name of one of its parameters: the text may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoreUrl {
    /// It is not the URL of a store.
    #[error("must be sqlite:PATH or postgres://USER@HOST:PORT/DATABASE")]
    Form,
    /// It has a parameter that would be ignored.
    #[error("has the unknown parameter {0:?}; the known parameters are {parameters}", parameters = PARAMETERS.join(", "))]
    UnknownParameter(String),
    /// A parameter has an invalid value.
    #[error(
        "has a parameter with an invalid value: sslmode is one of disable, allow, prefer, require, verify-ca and verify-full; port is a number"
    )]
    Value,
}

/// The parameters that the URL of a PostgreSQL database may have after its `?`: the supported ones of libpq.
pub const PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];
/// Those of them that are shown.
const SHOWN: [&str; 6] = ["sslmode", "sslrootcert", "host", "hostaddr", "port", "dbname"];

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<StoreUrl, InvalidStoreUrl> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(InvalidStoreUrl::Form)
            } else {
                Ok(StoreUrl::Sqlite(PathBuf::from(path)))
            };
        }
        let is_postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !is_postgres {
            return Err(InvalidStoreUrl::Form);
        }
        for (name, _) in parameters(text) {
            if !PARAMETERS.contains(&name) {
                return Err(InvalidStoreUrl::UnknownParameter(name.to_owned()));
            }
        }
        let is_read = |text: &str| text.parse::<PgConnectOptions>().is_ok();
        if is_read(text) {
            Ok(StoreUrl::Postgres(text.to_owned().into()))
        } else if text.split_once('?').is_some_and(|(url, _)| is_read(url)) {
            Err(InvalidStoreUrl::Value)
        } else {
            Err(InvalidStoreUrl::Form)
        }
    }
}

/// The names and values behind the `?`, as they are written.
fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let written = query.split('&').filter(|parameter| !parameter.is_empty());
    written.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

impl StoreUrl {
    /// The whole URL, with asterisks for the secret parts.
    pub fn masked(&self) -> String {
        let StoreUrl::Postgres(url) = self else { return self.to_string() };
        let url = url.expose();
        let (address, _) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = address.split_once("://").unwrap_or(("postgres", address));
        // user:password@host: the password is between the first colon of the authority and the last @.
        let user = rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)));
        let mut shown = match user {
            Some((user, host)) => format!("{scheme}://{user}:****@{host}"),
            None => format!("{scheme}://{rest}"),
        };
        for (index, (name, value)) in parameters(url).enumerate() {
            let value = if SHOWN.contains(&name) { value } else { "****" };
            shown += &format!("{}{name}={value}", if index == 0 { '?' } else { '&' });
        }
        shown
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StoreUrl::Postgres(url) => {
                // User and password are before the last @ of the authority; after ? there may be a password too.
                let url = url.expose();
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
        StoreUrl::Postgres(url) => Arc::new(PostgresStore::connect_as(url.expose(), how, connections).await?),
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
        for bad in ["", "sqlite:", "longrun.db", "postgres://", "mysql://h/d", "postgres://u:p/w@h/d"] {
            assert_eq!(bad.parse::<StoreUrl>(), Err(InvalidStoreUrl::Form), "{bad}");
        }
    }

    #[test]
    fn a_parameter_that_nothing_would_heed_is_refused_by_its_name_alone() {
        let refused = |query: &str| format!("postgres://me@db/l?{query}").parse::<StoreUrl>().unwrap_err();
        for (query, name) in [
            ("sslmod=require", "sslmod"),
            ("SSLMODE=require", "SSLMODE"),
            ("sslmode=require&passwort=s3cret", "passwort"),
            ("p%61ssword=s3cret", "p%61ssword"),
            ("application_name=x", "application_name"),
            ("options[search_path]=x", "options[search_path]"),
            ("require", "require"),
        ] {
            let error = refused(query);
            assert_eq!(error, InvalidStoreUrl::UnknownParameter(name.to_owned()));
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        assert_eq!(refused("sslmode=requires"), InvalidStoreUrl::Value);
        for query in ["sslmode=require", "", "sslmode=verify-full&sslrootcert=/a.pem&", "user=me&password=p&port=1"] {
            format!("postgres://me@db/l?{query}").parse::<StoreUrl>().unwrap();
        }
    }

    #[test]
    fn secrets_are_masked_and_nothing_else_is() {
        let show = |text: &str| text.parse::<StoreUrl>().unwrap().masked();
        assert_eq!(show("postgres://me:p@ss:w@db/longrun"), "postgres://me:****@db/longrun");
        assert_eq!(show("postgres://me@db/longrun"), "postgres://me@db/longrun");
        assert_eq!(show("sqlite:longrun.db"), "sqlite:longrun.db");
        assert_eq!(
            show("postgres://u@db/l?password=s3cret&sslmode=require&sslkey=/k"),
            "postgres://u@db/l?password=****&sslmode=require&sslkey=****"
        );
    }
}
