//! A cell as a process knows it: connected to or not, and which organizations must not be used in it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::{Mutex, watch};

use super::{CellUrl, Requested, Settings, Shared};
use crate::commits::{Coverage, News};
use crate::postgres::Watch;
use crate::{Pausable, PostgresStore, Statistics as _, Store as _, StoreError};

pub(super) struct Cell {
    /// Its index in the configuration.
    pub(super) index: usize,
    pub(super) url: CellUrl,
    known: RwLock<Option<Known>>,
    /// The state of the checks of it. Held for as long as a check takes.
    look: Mutex<Option<Look>>,
    /// Held by the caller that makes an overdue check.
    overdue: Mutex<()>,
    is_here: watch::Sender<bool>,
    /// Organizations that came here by a move and were used by this process since, with how often they had been moved.
    arrived: std::sync::Mutex<HashMap<String, u32>>,
}

/// The result of the last check that was answered.
#[derive(Clone)]
struct Known {
    store: PostgresStore,
    elsewhere: Arc<BTreeSet<String>>,
    /// When that check began.
    at: Instant,
    /// It is in the database of the directory.
    is_directory: bool,
}

struct Look {
    store: PostgresStore,
    watch: Watch,
    /// The settings that were passed to the cell already.
    passed: Requested,
    is_directory: bool,
}

impl Cell {
    pub(super) fn new(index: usize, url: CellUrl) -> Cell {
        let (known, look, overdue, is_here) =
            (RwLock::default(), Mutex::default(), Mutex::default(), watch::Sender::new(false));
        Cell { index, url, known, look, overdue, is_here, arrived: std::sync::Mutex::default() }
    }

    fn known(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its store, if it answers.
    pub(super) fn store(&self) -> Result<PostgresStore, StoreError> {
        match self.known() {
            Some(known) if *self.is_here.borrow() => Ok(known.store),
            _ => Err(self.gone()),
        }
    }

    /// Its store, if it was ever connected to.
    pub(super) fn last_store(&self) -> Option<PostgresStore> {
        self.known().map(|known| known.store)
    }

    /// Its store, for calls of this organization: only if what was read of the cell is still trusted, and does not say
    /// that the organization is elsewhere.
    fn store_for(&self, organization: &str, trust: Duration) -> Result<PostgresStore, StoreError> {
        let store = self.store()?;
        let known = self.trusted(trust).ok_or_else(|| self.gone())?;
        if known.elsewhere.contains(organization) {
            return Err(moving());
        }
        Ok(store)
    }

    /// The result of the last check, if it is not too old.
    fn trusted(&self, trust: Duration) -> Option<Known> {
        self.known().filter(|known| known.at.elapsed() < trust)
    }

    /// Whether an organization must not be used here, as far as this process knows.
    pub(super) fn lacks(&self, organization: &str) -> bool {
        self.known().is_some_and(|known| known.elsewhere.contains(organization))
    }

    /// Notes that an organization came here by its last move, before it is read here for the first time since: a
    /// standby that has not replayed the copy would show less than this process has seen, or nothing.
    pub(super) fn note_arrival(&self, store: &PostgresStore, organization: &str, moves: u32) {
        if moves == 0 || self.url.read_url.is_none() {
            return;
        }
        // Held until it is noted, so that no other call reads before.
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.get(organization) != Some(&moves) {
            store.note_seen(organization);
            arrived.insert(organization.to_owned(), moves);
        }
    }

    /// Returns when it no longer answers.
    pub(super) async fn lost(&self) -> StoreError {
        let mut is_here = self.is_here.subscribe();
        // The sender is this cell's own.
        let _ = is_here.wait_for(|is_here| !is_here).await;
        self.gone()
    }

    fn gone(&self) -> StoreError {
        StoreError::Unavailable(format!("the cell {} does not answer", self.url.name))
    }
}

/// The error for a call of an organization that is being moved.
pub(super) fn moving() -> StoreError {
    StoreError::Unavailable("the organization is being moved to another cell".to_owned())
}

impl Shared {
    /// The cell's store, for calls of this organization; see [`Cell::store_for`]. A check that is overdue, as in
    /// a process that was stopped for a while, is made first.
    pub(super) async fn store_for(&self, cell: &Cell, organization: &str) -> Result<PostgresStore, StoreError> {
        let trust = self.patience.trust;
        if cell.store().is_ok() && cell.trusted(trust).is_none() {
            let _one_at_a_time = cell.overdue.lock().await;
            if cell.trusted(trust).is_none() {
                self.look_at(cell).await?;
            }
        }
        cell.store_for(organization, trust)
    }

    /// Checks a cell: connects to it, passes on the settings that it lacks, and reads which organizations must not be
    /// used in it.
    pub(super) async fn look_at(&self, cell: &Cell) -> Result<(), StoreError> {
        let looked = self.look(cell).boxed().await;
        let was_here = cell.is_here.send_replace(looked.is_ok());
        let name = &cell.url.name;
        match &looked {
            Ok(()) if !was_here => tracing::info!(cell = name, "the cell answers"),
            Err(error) if was_here => {
                tracing::warn!(cell = name, error = error as &dyn std::error::Error, "the cell does not answer");
            }
            _ => {}
        }
        self.settings.meters.cell_up(name).set(i64::from(looked.is_ok()));
        if was_here != looked.is_ok() {
            self.cover();
        }
        looked
    }

    async fn look(&self, cell: &Cell) -> Result<(), StoreError> {
        let mut look = cell.look.lock().await;
        let at = Instant::now();
        if look.is_none() {
            let store = connect(Arc::clone(&self.settings), cell.url.clone()).await?;
            self.adopt(cell, &store).await?;
            self.follow(&store);
            let is_directory = directory_id(&store).await? == self.settings.directory;
            *look = Some(Look { watch: store.watch(), store, passed: Requested::default(), is_directory });
        }
        let Look { store, watch, passed, is_directory } = look.as_mut().expect("it was made just now");
        let elsewhere = Arc::new(watch.elsewhere(self.patience.answer).await?);
        let wanted = self.settings.requested().clone();
        let missing: Vec<String> = wanted.consumers.difference(&passed.consumers).cloned().collect();
        for consumer in missing {
            store.register_consumer(&consumer).await?;
        }
        if wanted.has_statistics && !passed.has_statistics {
            store.begin_statistics().await?;
        }
        *passed = wanted;
        let known = Known { store: store.clone(), elsewhere, at, is_directory: *is_directory };
        *cell.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(())
    }

    /// Brings what calls of the instance have changed in a cell into the instance's audit log.
    pub(super) async fn gather_audit(&self, cell: &Cell) -> Result<(), StoreError> {
        match cell.known() {
            Some(known) if !known.is_directory => {
                let store = cell.store()?;
                self.directory.ask(|directory| async move { directory.take_audit(&cell.url.name, &store).await }).await
            }
            _ => Ok(()),
        }
    }

    /// Notes in the directory the organizations that are in the cell and in no other, and pauses in the cell the kinds
    /// that are paused everywhere.
    async fn adopt(&self, cell: &Cell, store: &PostgresStore) -> Result<(), StoreError> {
        let present = store.present().await?;
        let mut unknown = present;
        unknown.retain(|name| self.directory.known(name).is_none());
        if !unknown.is_empty() {
            let adopted = self.directory.store.adopt(&cell.url.name, &unknown).await?;
            tracing::info!(cell = cell.url.name, organizations = adopted, "organizations were found in the cell");
            self.directory.refresh(self.patience.answer).await?;
        }
        for paused in self.directory.store.paused().await? {
            if matches!(paused.what, Pausable::Kind(_)) {
                store.pause(paused.what).await?;
            }
        }
        Ok(())
    }

    /// Passes on what the cell's store reports of commits.
    fn follow(&self, store: &PostgresStore) {
        let (of_cell, all, closing) = (store.commits(), self.commits.clone(), self.closing.clone());
        let (mut changes, mut queue, mut due) = (of_cell.feed(), of_cell.queue_of_others(), of_cell.delays());
        tokio::spawn(async move {
            let follow = async {
                loop {
                    let news = tokio::select! {
                        marked = changes.changed() => marked.map(|()| News::CHANGED),
                        marked = queue.changed() => marked.map(|()| News { queue: true, ..News::default() }),
                        marked = due.changed() => marked.map(|()| News { due: true, ..News::default() }),
                    };
                    let Ok(news) = news else { return };
                    all.hear(news);
                }
            };
            tokio::select! { () = follow => {}, () = closing.cancelled() => {} }
        });
    }

    /// Notes the commits of which this process is notified, over all cells that answer.
    pub(super) fn cover(&self) {
        let stores = self.cells.iter().filter_map(|cell| cell.store().ok());
        let is_hinted = stores.map(|store| store.commits().coverage()).all(|coverage| coverage != Coverage::Own);
        self.commits.cover(if is_hinted { Coverage::Hinted } else { Coverage::Own });
    }

    /// Starts the tasks that check the directory and each cell, until the store closes or is dropped.
    pub(super) fn start(self: &Arc<Shared>) {
        for index in 0..self.cells.len() {
            self.every_look("cell", move |shared| {
                async move {
                    // A cell that is unavailable is not an error of this process: the others continue.
                    if shared.look_at(&shared.cells[index]).await.is_ok() {
                        let _ = shared.gather_audit(&shared.cells[index]).await;
                    }
                    shared.cover();
                }
                .boxed()
            });
        }
        self.every_look("directory", |shared| {
            async move {
                // The directory itself says so in the log.
                let _ = shared.directory.refresh(shared.patience.answer).await;
            }
            .boxed()
        });
    }

    fn every_look(
        self: &Arc<Shared>,
        name: &'static str,
        work: impl Fn(Arc<Shared>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let (weak, health, closing) = (Arc::downgrade(self), self.health.clone(), self.closing.clone());
        let period = self.patience.look;
        tokio::spawn(async move {
            run_periodic(&health, Schedule::every(name, period), &closing, || async {
                let Some(shared) = Weak::upgrade(&weak) else { return Ok(Next::Never) };
                work(shared).await;
                Ok::<_, StoreError>(Next::AfterPeriod)
            })
            .await;
        });
    }
}

/// What distinguishes a directory from others, in this store and in its cells.
pub(super) async fn directory_id(store: &PostgresStore) -> Result<String, StoreError> {
    let key = store.position_key().await?.derive("cells");
    Ok(key.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn connect(settings: Arc<Settings>, url: CellUrl) -> BoxFuture<'static, Result<PostgresStore, StoreError>> {
    let connect = async move {
        let config = &settings.config;
        let (clock, meters) = (config.clock.clone(), settings.meters.clone());
        let CellUrl { name, url, read_url } = url;
        let store = PostgresStore::connect_part(url, read_url, config.how, config.connections, clock, meters).await?;
        store.be_cell(&name, &settings.directory).await?;
        let wanted = settings.requested().clone();
        if let Some(keyring) = wanted.keyring {
            store.seal_with(keyring);
        }
        if let Some(retention) = wanted.retention {
            store.set_default_retention(retention);
        }
        if let Some(quotas) = wanted.quotas {
            store.set_quotas(quotas);
            store.refresh_limits().await?;
        }
        Ok(store)
    };
    connect.boxed()
}
