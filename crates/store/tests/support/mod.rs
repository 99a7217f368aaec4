//! What the store's tests share: a store of either engine, a clock that moves by hand, operations to create.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use operations::{Access, Filter, NewOperation, Operation, Outcome, PageRequest, Resource, Timestamp};
use secrecy::SecretBox;
use store::seal::{Key, Keyring};
use store::{
    CellUrl, Cells, CellsConfig, ClaimRequest, Claimed, Clock, Digest, Open, Patience, PostgresStore, Sealed,
    Settlement, SqliteStore, Store,
};
use testkit::{Cluster, Durability};

/// Which engine a test runs against.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    Sqlite,
    Postgres,
    /// SQLite, with everything encrypted that can be.
    SealedSqlite,
    /// PostgreSQL in the same way.
    SealedPostgres,
    /// Two cells and a directory, each a database.
    Cells,
}

/// A store whose clock stands still until it is moved. Its data goes with it.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    place: Place,
    clock: Arc<AtomicI64>,
    /// The keys of a store that is encrypted.
    pub keyring: Option<Keyring>,
}

/// Where the store keeps things, so that it can be opened again and tampered with.
enum Place {
    Folder(tempfile::TempDir),
    Database(String),
    /// The directory, and the cells.
    Cells(String, Vec<String>),
}

/// One cluster for all tests of a process; each test has a database of its own.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(Durability::None).unwrap())
}

/// The URL of a database of its own without a store.
pub async fn empty_database() -> String {
    cluster().database().await.unwrap()
}

pub async fn fixture(engine: Engine) -> Fixture {
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let place = match engine {
        Engine::Sqlite | Engine::SealedSqlite => Place::Folder(tempfile::tempdir().unwrap()),
        Engine::Postgres | Engine::SealedPostgres => Place::Database(cluster().database().await.unwrap()),
        Engine::Cells => {
            let directory = empty_database().await;
            Place::Cells(directory, vec![empty_database().await, empty_database().await])
        }
    };
    let is_sealed = matches!(engine, Engine::SealedSqlite | Engine::SealedPostgres);
    let keyring = is_sealed.then(|| keyring(&["2026-11"], Some("2026-11")));
    let store = sealed(open(&place, &clock).await, keyring.as_ref());
    Fixture { store, place, clock, keyring }
}

/// Keys that are the same each time.
pub fn keyring(ids: &[&str], active: Option<&str>) -> Keyring {
    let key = |id: &&str| {
        let bytes = Digest::of(id.as_bytes()).to_string().into_bytes();
        Key::read(id, &SecretBox::new(Box::new(bytes[bytes.len() - 40..][..32].iter().map(|b| b ^ 0x80).collect())))
    };
    Keyring::new(ids.iter().map(|id| key(id).unwrap()).collect(), active).unwrap()
}

pub fn sealed(store: Arc<dyn Store>, keyring: Option<&Keyring>) -> Arc<dyn Store> {
    match keyring {
        Some(keyring) => Arc::new(Sealed::new(store, keyring.clone())),
        None => store,
    }
}

async fn open(place: &Place, clock: &Arc<AtomicI64>) -> Arc<dyn Store> {
    let clock = Arc::clone(clock);
    let now: Clock = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
    match place {
        Place::Folder(folder) => {
            Arc::new(SqliteStore::open_with_clock(&folder.path().join("longrun.db"), now).await.unwrap())
        }
        Place::Database(url) => Arc::new(PostgresStore::connect_with_clock(url, 8, now).await.unwrap()),
        Place::Cells(directory, cells) => {
            let config = CellsConfig { clock: Some(now), ..cells_config(directory, cells) };
            Arc::new(Cells::open(config).await.unwrap())
        }
    }
}

/// Cells called a, b, c …, checked often.
pub fn cells_config(directory: &str, cells: &[String]) -> CellsConfig {
    let cell = |(index, url): (usize, &String)| CellUrl {
        name: char::from(b'a' + u8::try_from(index).unwrap()).to_string(),
        url: url.clone().into(),
        read_url: None,
    };
    CellsConfig {
        directory: directory.to_owned().into(),
        cells: cells.iter().enumerate().map(cell).collect(),
        how: Open::Create,
        connections: 4,
        clock: None,
        patience: Patience {
            look: Duration::from_millis(50),
            answer: Duration::from_secs(5),
            trust: Duration::from_secs(10),
        },
    }
}

impl Fixture {
    /// What opens the store: the path of its file, or the URL of its database.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.path().join("longrun.db").to_str().unwrap().to_owned(),
            Place::Database(url) => url.clone(),
            Place::Cells(_, cells) => cells[0].clone(),
        }
    }

    /// The cells, opened with another clock; `None` when the store is one database or file.
    pub fn cells_config(&self, now: Clock) -> Option<CellsConfig> {
        let Place::Cells(directory, cells) = &self.place else { return None };
        Some(CellsConfig { clock: Some(now), ..cells_config(directory, cells) })
    }

    /// What `doctor` finds, without the name of the cell that each is in.
    pub async fn found_by_doctor(&self) -> Vec<String> {
        let findings = self.store.doctor().await.unwrap().findings;
        findings.iter().map(|finding| finding.detail.trim_start_matches("cell a: ").to_owned()).collect()
    }

    /// Whether organizations are spread over several databases, each of which has scheduling rounds of its own.
    pub fn has_cells(&self) -> bool {
        matches!(self.place, Place::Cells(..))
    }

    pub fn is_sealed(&self) -> bool {
        self.keyring.is_some()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the clock back.
    pub fn set_back(&self, by: Duration) {
        self.clock.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A second store on the same file, as after a restart.
    pub async fn reopen(&self) -> Arc<dyn Store> {
        sealed(self.reopen_plain().await, self.keyring.as_ref())
    }

    /// The same, without the keys.
    pub async fn reopen_plain(&self) -> Arc<dyn Store> {
        open(&self.place, &self.clock).await
    }

    /// Another server on the same database; the same one where one process owns the store.
    pub async fn second_server(&self) -> Arc<dyn Store> {
        match &self.place {
            Place::Folder(_) => Arc::clone(&self.store),
            Place::Database(_) | Place::Cells(..) => self.reopen().await,
        }
    }

    /// Opens it by the clock of the machine; returns what the store says about a database that it cannot use.
    pub async fn reopen_error(&self) -> store::StoreError {
        match &self.place {
            Place::Folder(folder) => SqliteStore::open(&folder.path().join("longrun.db")).await.err().unwrap(),
            Place::Database(url) => PostgresStore::connect(url, 2).await.err().unwrap(),
            Place::Cells(_, cells) => PostgresStore::connect(&cells[0], 2).await.err().unwrap(),
        }
    }

    /// Connections to a PostgreSQL store's database behind its back; with cells, to that of the first.
    pub async fn foreign_postgres(&self) -> sqlx::PgPool {
        match &self.place {
            Place::Folder(_) => panic!("an embedded store has no database server"),
            Place::Database(url) => foreign(url).await,
            Place::Cells(_, cells) => foreign(&cells[0]).await,
        }
    }

    /// Runs a statement behind the store's back; with cells, in the first, where the first organization is.
    pub async fn tamper(&self, sql: &str) {
        match &self.place {
            Place::Folder(folder) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("longrun.db"));
                let foreign = sqlx::SqlitePool::connect_with(options).await.unwrap();
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&foreign).await.unwrap();
                foreign.close().await;
            }
            Place::Database(url) => tamper(url, sql).await,
            Place::Cells(_, cells) => tamper(&cells[0], sql).await,
        }
    }

    pub async fn create(&self, organization: &str, new: NewOperation) -> Operation {
        self.store.create(organization, vec![new], None).await.unwrap().remove(0)
    }

    pub async fn claim(&self, kinds: &[&str], limit: u32) -> Vec<Claimed> {
        self.store.claim(claim_request(kinds, limit)).await.unwrap()
    }

    pub async fn settle(&self, claimed: &Claimed, outcome: Outcome) -> Result<operations::Status, operations::Refusal> {
        let settlement = Settlement { lease: claimed.lease.clone(), outcome, retry_after: Duration::from_secs(10) };
        self.store.settle(vec![settlement]).await.unwrap().remove(0)
    }

    /// Creates an operation and brings it to an end.
    pub async fn finished(&self, organization: &str, new: NewOperation, outcome: Outcome) -> Operation {
        let kind = new.kind.clone();
        let created = self.create(organization, new).await;
        let claimed = self.claim(&[&kind], 1).await;
        assert_eq!(claimed[0].operation.id, created.id, "nothing else of this kind waits");
        self.settle(&claimed[0], outcome).await.unwrap();
        created
    }

    /// Reads the operations of a resource that has many, and returns when they are counted, which PostgreSQL's store
    /// begins to do then; meanwhile, time seems to pass for it.
    pub async fn count_resource(&self, organization: &str, resource: &Resource) {
        let (Place::Database(_) | Place::Cells(..)) = &self.place else { return };
        let filter = Filter { resource: Some(resource.clone()), ..Filter::default() };
        self.store.list(&Access::organization(organization), &filter, PageRequest::default()).await.unwrap();
        let foreign = self.foreign_postgres().await;
        let marked_long_ago = "UPDATE counted_resources SET marked_at = marked_at - interval '1 hour'
            WHERE NOT is_counted AND marked_at > clock_timestamp() - interval '1 hour'";
        let is_counted = "SELECT is_counted FROM counted_resources
            WHERE organization_id = $1 AND resource_type = $2 AND resource_id = $3";
        loop {
            sqlx::query(marked_long_ago).execute(&foreign).await.unwrap();
            let query = sqlx::query_scalar(is_counted).bind(organization);
            let query = query.bind(&resource.resource_type).bind(&resource.resource_id);
            if query.fetch_optional(&foreign).await.unwrap() == Some(true) {
                return foreign.close().await;
            }
            tokio::task::yield_now().await;
        }
    }

    pub async fn assert_sound(&self) {
        let report = self.store.doctor().await.unwrap();
        assert_eq!(report.findings, [], "longrun doctor finds nothing");
    }
}

/// Connections to a database of a store behind its back.
pub async fn foreign(url: &str) -> sqlx::PgPool {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    sqlx::PgPool::connect_with(options.options([("search_path", "longrun")])).await.unwrap()
}

async fn tamper(url: &str, sql: &str) {
    let foreign = foreign(url).await;
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&foreign).await.unwrap();
    foreign.close().await;
}

pub fn claim_request(kinds: &[&str], limit: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        access: None,
        among: None,
        limit,
        worker: "test".to_owned(),
        lease: Duration::from_secs(30),
    }
}

pub fn completed(output: &str) -> Outcome {
    Outcome::Completed { output: output.to_owned() }
}

pub fn failed(message: &str, retryable: bool) -> Outcome {
    Outcome::Failed { message: message.to_owned(), retryable }
}

pub fn about(kind: &str, resource_type: &str, resource_id: &str) -> NewOperation {
    let resource = Resource { resource_type: resource_type.to_owned(), resource_id: resource_id.to_owned() };
    NewOperation { resource: Some(resource), ..NewOperation::of_kind(kind) }
}

pub fn in_project(kind: &str, project_id: &str) -> NewOperation {
    NewOperation { project_id: project_id.to_owned(), ..NewOperation::of_kind(kind) }
}

/// Gives a future up after this number of polls; `None`: it was not done by then.
pub async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => {
            left = left.saturating_sub(1);
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Makes four tests of each function: one against each engine, one against an encrypted store, and one against cells.
#[allow(unused_macros)]
macro_rules! against_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::fixture(super::Engine::Sqlite).await).await;
            })*
        }
        mod sealed_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::fixture(super::Engine::SealedSqlite).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::fixture(super::Engine::Postgres).await).await;
            })*
        }
        mod cells {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::fixture(super::Engine::Cells).await).await;
            })*
        }
    };
}
// The history checker has engines of its own choice.
#[allow(unused_imports)]
pub(crate) use against_both_engines;
