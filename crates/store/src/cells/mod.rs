//! Cells: organizations spread over several PostgreSQL databases that know nothing of each other.
//!
//! **A cell** is an ordinary store, with everything of its organizations: operations, tokens, sessions, the audit log.
//! So every statement is the same as with one database, and a cell that is lost stops only its own organizations.
//! **The directory** is an ordinary store, too. It says in which cell each organization is, and has what belongs to no
//! organization: the tokens and the audit log of the instance, the kinds that are paused everywhere, the key that
//! cursors are sealed with, the leases on consumers of the change log. It may be the database of a cell at the same
//! time.
//!
//! [`Cells`] presents them as one [`Store`](crate::Store): a call that names an organization goes to its cell
//! (`routing.rs`), and a call that concerns all goes to every cell that answers (`every.rs`). One such store is
//! simpler than a server and an engine that hold a store for each cell: nothing above it changes.
//!
//! **Trust.** Each process has a copy of the directory (`directory.rs`), and reads what has changed every
//! [`Patience::look`]. The copy may be arbitrarily old, since each cell itself says which organizations must not be
//! used in it. That list is read as often (`cell.rs`), and a cell whose list is older than [`Patience::trust`] is not
//! used. So when an organization leaves a cell, every process knows it after that time, or does not use the cell; the
//! move waits for it before it says where the organization is now. Writes do not depend on it: the source refuses them
//! itself (`postgres/moving/`), also those of a server that slept in between.
//!
//! **Cursors of changes** are positions in one database. They carry how often the organization was moved, and a cursor
//! from before a move is refused as unknown ([`StoreError::PositionUnknown`]): nothing is passed over silently.

mod cell;
mod claim;
mod consumers;
mod directory;
mod doctor;
mod every;
mod moving;
mod parts;
mod routing;
mod store;
mod tokens;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use meters::Meters;
use tasks::Health;
use tokio_util::sync::CancellationToken;

use crate::commits::{Commits, Coverage};
use crate::quota::Admission;
use crate::{AuditCall, Clock, Keyring, Open, PostgresStore, Quotas, StoreError};
use cell::Cell;
use directory::Directory;

pub(crate) use directory::Placed;
pub use moving::{MoveError, Moved};

/// Where a cell is.
#[derive(Clone)]
pub struct CellUrl {
    /// Its name, by which the directory knows it.
    pub name: String,
    /// Its database: `postgres://…`.
    pub url: crate::PostgresUrl,
    /// A standby from which lists and single operations are read.
    pub read_url: Option<crate::PostgresUrl>,
}

/// The configuration of [`Cells`].
#[derive(Clone)]
pub struct CellsConfig {
    /// The database of the directory.
    pub directory: crate::PostgresUrl,
    /// The cells; at least one.
    pub cells: Vec<CellUrl>,
    /// Whether schemas are created and brought up to date.
    pub how: Open,
    /// Connections to each database.
    pub connections: u32,
    /// `None`: the clock of each database.
    pub clock: Option<Clock>,
    /// How long a process trusts what it has read.
    pub patience: Patience,
}

/// How long a process trusts what it has read. The same in all processes of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The time between two checks of the directory and of each cell.
    pub look: Duration,
    /// How long a check may take; after that the cell counts as unavailable.
    pub answer: Duration,
    /// How long the answer of a cell is trusted. At least `look` and `answer` together.
    pub trust: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { look: Duration::from_secs(2), answer: Duration::from_secs(5), trust: Duration::from_secs(15) }
    }
}

/// Organizations in several databases, as one store. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Cells {
    shared: Arc<Shared>,
    /// The call that its writes are recorded as.
    call: Option<AuditCall>,
}

/// The state that all clones share.
struct Shared {
    directory: Directory,
    /// In the order of the configuration.
    cells: Vec<Arc<Cell>>,
    settings: Arc<Settings>,
    health: Health,
    commits: Commits,
    /// The limits of all cells together.
    admission: Admission,
    /// The index of the cell with which the next claim begins.
    next_cell: Mutex<usize>,
    patience: Patience,
    closing: CancellationToken,
}

/// What a cell is configured with when it is connected, whenever that is.
struct Settings {
    config: CellsConfig,
    meters: Meters,
    /// The id of the directory, by which its cells know it.
    directory: String,
    requested: Mutex<Requested>,
}

/// The settings that calls have requested for every cell.
#[derive(Clone, Default)]
struct Requested {
    quotas: Option<Quotas>,
    retention: Option<Option<Duration>>,
    keyring: Option<Keyring>,
    consumers: BTreeSet<String>,
    has_statistics: bool,
}

impl Settings {
    fn requested(&self) -> MutexGuard<'_, Requested> {
        // Nothing that holds the lock can panic between two changes.
        self.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cells {
    /// Connects to the directory and to every cell that answers; the others are connected when they answer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the directory, or every cell, cannot be reached; [`StoreError::Unusable`] when
    /// a database is another cell than its name says, or of another directory; and those of
    /// [`PostgresStore::connect_as`].
    pub async fn open(config: CellsConfig) -> Result<Cells, StoreError> {
        let meters = Meters::default();
        let store = PostgresStore::connect_part(
            config.directory.clone(),
            None,
            config.how,
            config.connections,
            config.clock.clone(),
            meters.clone(),
        )
        .await?;
        let id = cell::directory_id(&store).await?;
        let patience = config.patience;
        let directory = Directory::read(store, patience.answer).await?;
        let (commits, closing) = (Commits::new(Coverage::Own), CancellationToken::new());
        let cells: Vec<Arc<Cell>> =
            config.cells.iter().enumerate().map(|(index, url)| Arc::new(Cell::new(index, url.clone()))).collect();
        let settings = Arc::new(Settings { config, meters, directory: id, requested: Mutex::default() });
        let shared = Arc::new(Shared {
            directory,
            cells,
            settings,
            health: Health::default(),
            commits,
            admission: Admission::default(),
            next_cell: Mutex::default(),
            patience,
            closing,
        });
        let connected = join_all(shared.cells.iter().map(|cell| shared.look_at(cell))).await;
        let mut away = None;
        for (cell, connected) in shared.cells.iter().zip(connected) {
            match connected {
                Ok(()) => {}
                Err(StoreError::Unavailable(error)) => away = Some(format!("the cell {}: {error}", cell.url.name)),
                Err(StoreError::Unusable(error)) => {
                    return Err(StoreError::Unusable(format!("the cell {}: {error}", cell.url.name)));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = away.filter(|_| shared.cells.iter().all(|cell| cell.store().is_err())) {
            return Err(StoreError::Unavailable(error));
        }
        shared.start();
        Ok(Cells { shared, call: None })
    }

    /// The names of the cells that do not answer now.
    pub fn away(&self) -> Vec<&str> {
        let away = self.shared.cells.iter().filter(|cell| cell.store().is_err());
        away.map(|cell| cell.url.name.as_str()).collect()
    }

    /// In which cell an organization is, as this process knows; `None`: in none.
    pub fn cell_of(&self, organization: &str) -> Option<String> {
        self.shared.directory.known(organization).map(|placed| placed.cell)
    }

    fn cell(&self, name: &str) -> Option<&Arc<Cell>> {
        self.shared.cells.iter().find(|cell| cell.url.name == name)
    }
}
