//! Several servers on one database, as they run in production: real processes, killed at random.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Server, admin_token, command, run};
use bytes::Bytes;
use longrun_client::{Client, Error, ListRequest, NewOperation, Operation, Settings, Token};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use serde_json::json;
use sqlx::postgres::PgPool;
use tempfile::tempdir;
use testkit::{Cluster, Durability};

const SERVERS: usize = 4;
/// Two in each server: eight workers.
const WORKERS_OF_A_SERVER: &str = "2";
const CLIENTS: usize = 8;
/// Operations of one client; it waits for every second one.
const OPERATIONS: usize = 25;
/// This number of servers are killed and replaced, one each time this number of further operations were seen to end:
/// all of them before the last operations are created.
const KILLS: usize = 8;
const ENDS_BETWEEN_KILLS: usize = 10;
/// The whole test is over within this time, however busy the machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Takes some tens of milliseconds, so that a server that is killed has attempts under way.
const POLICY: &str = "\
apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: passes}
spec:
  policies:
    - kind: JUNIT_XML
      embedded: |
        package passes
        import rego.v1
        violations contains \"never\" if sum([n | some n in numbers.range(1, 20000)]) == 0
";

/// Where the living servers are; one that was just killed may be listed a little longer.
type Addresses = Arc<Mutex<Vec<String>>>;

/// The operations that were acknowledged, and for those that were waited for, how they ended.
#[derive(Default)]
struct Known {
    acknowledged: Mutex<BTreeMap<String, Option<Operation>>>,
    ended: AtomicUsize,
}

/// One user of the service, who asks any server and asks again when it does not answer.
struct User {
    random: StdRng,
    addresses: Addresses,
    token: String,
    clients: HashMap<String, Client>,
    deadline: Instant,
}

impl User {
    fn client(&mut self) -> Client {
        let addresses = self.addresses.lock().unwrap();
        let url = addresses[self.random.random_range(0..addresses.len())].clone();
        drop(addresses);
        let token = &self.token;
        let client = self.clients.entry(url.clone()).or_insert_with(|| {
            let settings = Settings {
                connect_timeout: Duration::from_secs(2),
                read_timeout: Duration::from_secs(20),
                retries: 0,
                ..Settings::default()
            };
            Client::with_settings(&url, Token::new(token).unwrap(), settings).unwrap()
        });
        client.clone()
    }

    /// Asks until a server answers.
    async fn ask<T>(&mut self, call: impl AsyncFn(Client) -> Result<T, Error>) -> T {
        loop {
            match call(self.client()).await {
                Ok(answer) => return answer,
                Err(Error::Connect { .. } | Error::Transport { .. }) => {}
                Err(Error::Refused(refusal)) if refusal.http_status == 503 => {}
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < self.deadline, "no server answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn work(mut self, number: usize, known: Arc<Known>) {
        let evidence = Bytes::from_static(include_bytes!("../examples/evidence/longrun.junit.xml"));
        let digest = self.ask(async |client| client.put_evidence(evidence.clone()).await).await.value.digest;
        for round in 0..OPERATIONS {
            let operation = NewOperation {
                kind: "evidence_evaluation".to_owned(),
                input: Some(json!({"digest": digest, "policies": [{"embedded": POLICY}]})),
                ..NewOperation::default()
            };
            let key = format!("{number}-{round}");
            let created = self.ask(async |client| client.create(&operation, Some(&key)).await).await;
            let id = created.value.operation.id;
            let earlier = known.acknowledged.lock().unwrap().insert(id.clone(), None);
            assert!(earlier.is_none(), "two keys made one operation: {id}");
            if round % 2 == 0 {
                let ended = self.ended(&id).await;
                known.acknowledged.lock().unwrap().insert(id, Some(ended));
                known.ended.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    async fn ended(&mut self, id: &str) -> Operation {
        loop {
            // Whichever server is asked, an acknowledged operation is found.
            let found = self.ask(async |client| client.get(id).await).await.value.operation;
            if found.is_terminal() {
                return found;
            }
            assert!(Instant::now() < self.deadline, "{id} is still {}", found.status);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every operation, page by page.
    async fn list(&mut self) -> Vec<Operation> {
        let mut listed = Vec::new();
        loop {
            let page = Some(i32::try_from(listed.len() / 50).unwrap());
            let request = ListRequest { page, page_size: Some(50), ..ListRequest::default() };
            let found = self.ask(async |client| client.list(&request).await).await.value;
            listed.extend(found.operations);
            if listed.len() >= usize::try_from(found.pagination.total_count).unwrap() {
                return listed;
            }
        }
    }
}

/// Kills servers at random and starts others in their place.
fn kill_and_replace(
    mut servers: Vec<Server>,
    addresses: &Addresses,
    known: &Known,
    folder: &Path,
    store: &str,
) -> Vec<Server> {
    let mut random = StdRng::seed_from_u64(99);
    let deadline = Instant::now() + LIMIT;
    for kill in 0..KILLS {
        while known.ended.load(Ordering::SeqCst) < 1 + kill * ENDS_BETWEEN_KILLS {
            assert!(Instant::now() < deadline, "no progress after {kill} kills");
            std::thread::sleep(Duration::from_millis(5));
        }
        let victim = random.random_range(0..SERVERS);
        // Gone before it is replaced, as it is when a machine dies.
        servers.remove(victim).process.kill_9();
        let replacement = serve(folder, store);
        let mut addresses = addresses.lock().unwrap();
        addresses.remove(victim);
        addresses.push(replacement.url.clone());
        servers.push(replacement);
    }
    servers
}

/// Starts a server that soon takes up the work of dead ones.
fn serve(folder: &Path, store: &str) -> Server {
    Server::start(
        folder,
        &[
            ("store", store),
            ("evidence.folder", "evidence"),
            ("engine.concurrency", WORKERS_OF_A_SERVER),
            ("engine.lease", "2s"),
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_killed_at_random_lose_nothing_and_do_nothing_twice() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let store = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let token = admin_token(&store);
    let deadline = Instant::now() + LIMIT;
    let servers: Vec<Server> = (0..SERVERS).map(|_| serve(folder.path(), &store)).collect();
    let addresses: Addresses = Arc::new(Mutex::new(servers.iter().map(|server| server.url.clone()).collect()));
    let known = Arc::new(Known::default());
    let user = |seed: u64| User {
        random: StdRng::seed_from_u64(seed),
        addresses: Arc::clone(&addresses),
        token: token.clone(),
        clients: HashMap::new(),
        deadline,
    };
    let killer = {
        let (known, addresses) = (Arc::clone(&known), Arc::clone(&addresses));
        let (folder, store) = (folder.path().to_owned(), store.clone());
        std::thread::spawn(move || kill_and_replace(servers, &addresses, &known, &folder, &store))
    };
    let users = (0..CLIENTS).map(|number| user(number as u64).work(number, Arc::clone(&known)));
    futures_util::future::join_all(users).await;
    // The servers live on until the end of the test.
    let _servers = killer.join().unwrap();

    let mut user = user(1_000);
    let listed = loop {
        let listed = user.list().await;
        if listed.iter().all(Operation::is_terminal) {
            break listed;
        }
        assert!(Instant::now() < deadline, "some operations never end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(listed.len(), CLIENTS * OPERATIONS, "every acknowledged operation, and no other");
    let listed: BTreeMap<String, Operation> = listed.into_iter().map(|found| (found.id.clone(), found)).collect();
    let acknowledged = std::mem::take(&mut *known.acknowledged.lock().unwrap());
    assert!(listed.keys().eq(acknowledged.keys()), "by the same ids, none twice");
    for (id, seen) in acknowledged.iter().filter_map(|(id, seen)| Some((id, seen.as_ref()?))) {
        assert_eq!(&listed[id], seen, "what had ended did not end again");
    }
    let completed = listed.values().filter(|operation| !operation.is_failed()).count();
    assert!(completed > listed.len() / 2, "{completed}");
    let database = PgPool::connect(&store).await.unwrap();
    let repeated = "SELECT count(*) FROM longrun.settled WHERE attempts > 1";
    let repeated: i64 = sqlx::query_scalar(repeated).fetch_one(&database).await.unwrap();
    assert!(repeated > 0, "some attempts died with their server and were taken up by another");
    run(&["doctor", "--store", &store]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_with_a_read_store_reads_there_and_shows_what_was_just_written() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let store = cluster.database().await.unwrap();
    let standby = cluster.standby().unwrap();
    let read_store = standby.same_database(&store);
    let folder = tempdir().unwrap();
    let settings = [("store", store.as_str()), ("read_store", &read_store), ("kinds.allow_undeclared", "true")];
    let server = Server::start(folder.path(), &settings);
    let client = Client::new(&server.url, Token::new(&admin_token(&store)).unwrap()).unwrap();
    let scan = NewOperation { kind: "scan".to_owned(), ..NewOperation::default() };
    for number in 1..=20 {
        let id = client.create(&scan, None).await.unwrap().value.operation.id;
        let page = client.list(&ListRequest::default()).await.unwrap().value;
        assert_eq!((page.pagination.total_count, &page.operations[0].id), (number, &id));
        assert_eq!(client.get(&id).await.unwrap().value.operation.id, id);
    }
    // A connection to the standby whose last statement read a page.
    let reads = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'longrun server' AND query LIKE '%deltas AS MATERIALIZED%'";
    let observer = PgPool::connect(&read_store).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while sqlx::query_scalar::<_, i64>(reads).fetch_one(&observer).await.unwrap() == 0 {
        client.list(&ListRequest::default()).await.unwrap();
        assert!(Instant::now() < deadline, "nothing is read from the standby");
    }
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);

    let other = cluster.database().await.unwrap();
    let mut serve = command();
    serve.current_dir(folder.path()).args(["serve", "--store", &store, "--read-store", &other]);
    let refused = serve.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the read store is not a standby of the store"), "{said}");
}
