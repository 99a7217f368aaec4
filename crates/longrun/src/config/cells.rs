//! Databases over which organizations are distributed: `[cells.NAME]`.

use serde::{Deserialize, Serialize};
use store::{CellUrl, StoreUrl};
use toml::Table;

use super::Hidden;
use super::tables::{self, Complaints};

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cell {
    /// Its database: `postgres://…`.
    pub store: Hidden,
    /// A standby from which lists and single operations are read: `postgres://…`; empty: the cell itself.
    pub read_store: Hidden,
}

impl Cell {
    /// Reads the table `[cells.NAME]`.
    pub fn read(mut table: Table, complaints: &mut Complaints) -> Cell {
        let cell = tables::take(&mut table, complaints);
        tables::refuse_rest(&table, &tables::keys::<Cell>(), complaints);
        cell
    }

    /// Checks that the types cannot express.
    pub fn check(&self, name: &str) -> Complaints {
        let mut complaints = Complaints::new();
        if let Err(violation) = operations::check_name("cells", name) {
            complaints.invalid_name("", name, "a cell", &violation);
        }
        let mut check = |key: &str, url: &Hidden| match super::store_url(url.expose()) {
            Ok(StoreUrl::Postgres(_)) => {}
            Ok(StoreUrl::Sqlite(_)) => {
                let message = "must be postgres://USER@HOST:PORT/DATABASE: a cell is a PostgreSQL database";
                complaints.add(key, message);
            }
            Err(message) => complaints.add(key, message),
        };
        check("store", &self.store);
        if !self.read_store.is_empty() {
            check("read_store", &self.read_store);
        }
        complaints
    }

    /// Its address; `None` if the configuration was not validated.
    pub fn url(&self, name: &str) -> Option<CellUrl> {
        let url = |text: &Hidden| match super::store_url(text.expose()) {
            Ok(StoreUrl::Postgres(url)) => Some(url),
            _ => None,
        };
        Some(CellUrl { name: name.to_owned(), url: url(&self.store)?, read_url: url(&self.read_store) })
    }
}
