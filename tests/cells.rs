//! Organizations in several databases, as administrators run them: a server, the commands, a move, a cell that is away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Ran, Server, command, get, run};
use longrun_client::{
    Attempt, CancellationToken, ClaimRequest, Client, Error, Failure, ListRequest, NewOperation, Outcome, Settings,
    Settlement, Token, Worker,
};
use tempfile::{TempDir, tempdir};
use testkit::{Cluster, Durability};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

struct Setup {
    /// Of the directory and the first cell.
    first: Cluster,
    /// Of the second cell.
    second: Cluster,
    folder: TempDir,
    config: String,
    directory: String,
}

async fn setup() -> Setup {
    let first = Cluster::start(Durability::None).unwrap();
    let second = Cluster::start(Durability::None).unwrap();
    let directory = first.database().await.unwrap();
    let cells = [first.database().await.unwrap(), second.database().await.unwrap()];
    let folder = tempdir().unwrap();
    let config = folder.path().join("longrun.toml").to_str().unwrap().to_owned();
    let text = format!(
        "store = \"{directory}\"\n[kinds]\nallow_undeclared = true\n[cells.a]\nstore = \"{}\"\n[cells.b]\nstore = \"{}\"\n",
        cells[0], cells[1]
    );
    std::fs::write(&config, text).unwrap();
    Setup { first, second, folder, config, directory }
}

impl Setup {
    fn run(&self, args: &[&str]) -> Ran {
        run(&[args, &["--config", &self.config]].concat())
    }

    /// A client of an organization that repeats nothing by itself.
    fn client(&self, server: &Server, organization: &str) -> Client {
        self.run(&["organizations", "create", organization]).expect(0);
        let create =
            ["token", "create", "--organization", organization, "--name", "test", "--scopes", "admin", "-o", "id"];
        let token = Token::new(&self.run(&create).expect(0).line()).unwrap();
        Client::with_settings(&server.url, token, Settings { retries: 0, ..Settings::default() }).unwrap()
    }

    fn serve(&self) -> Server {
        serve(self.folder.path(), &self.config)
    }
}

fn serve(folder: &Path, config: &str) -> Server {
    let mut serve = command();
    serve.current_dir(folder).args(["serve", "--config", config]);
    Server::of(serve.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]))
}

fn scan() -> NewOperation {
    NewOperation { kind: "scan".to_owned(), ..NewOperation::default() }
}

async fn total(client: &Client) -> Result<i32, Error> {
    Ok(client.list(&ListRequest::default()).await?.value.pagination.total_count)
}

/// Asks until an operation has completed.
async fn completed(client: &Client, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    while answered(async || client.get(id).await).await.value.operation.short_status() != "COMPLETED" {
        assert!(Instant::now() < deadline, "{id} does not complete");
        tokio::task::yield_now().await;
    }
}

/// Asks until the server answers something else than 503.
async fn answered<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(Error::Refused(refusal)) if refusal.http_status == 503 && Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn organizations_are_spread_and_one_is_moved_while_a_server_runs() {
    let setup = setup().await;
    let server = setup.serve();
    let (acme, globex) = (setup.client(&server, "acme"), setup.client(&server, "globex"));
    for client in [&acme, &globex, &globex] {
        client.create(&scan(), None).await.unwrap();
    }
    assert_eq!((total(&acme).await.unwrap(), total(&globex).await.unwrap()), (1, 2));
    let created = acme.create(&scan(), Some("once")).await.unwrap().value.operation.id;

    setup.run(&["migrate", "--organization", "acme"]).expect(2).says("--to-cell CELL");
    setup.run(&["migrate", "--organization", "acme", "--to-cell", "c"]).expect(2).says("the configuration has a, b");
    setup.run(&["migrate", "--organization", "nobody", "--to-cell", "b"]).expect(2).says("no organization nobody");
    setup.run(&["migrate", "--organization", "acme", "--abort"]).expect(2).says("no move of the organization");
    let moved = setup.run(&["migrate", "--organization", "acme", "--to-cell", "b"]).expect(0).line();
    assert!(moved.starts_with("moved acme to the cell b: ") && moved.contains("checked"), "{moved}");
    let again = setup.run(&["migrate", "--organization", "acme", "--to-cell", "b"]).expect(0).line();
    assert_eq!(again, "acme is in the cell b");

    // The server has learned of it by itself, or does so now.
    assert_eq!(answered(async || total(&acme).await).await, 2);
    assert_eq!(answered(async || acme.create(&scan(), Some("once")).await).await.value.operation.id, created);
    assert_eq!(answered(async || total(&globex).await).await, 2);
    setup.run(&["doctor"]).expect(0);

    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cell_that_is_away_stops_its_own_organizations_alone() {
    let setup = setup().await;
    let mut server = setup.serve();
    let (acme, globex) = (setup.client(&server, "acme"), setup.client(&server, "globex"));
    for client in [&acme, &globex] {
        client.create(&scan(), None).await.unwrap();
    }
    setup.second.stop().unwrap();
    server.process.line_with("the cell does not answer");
    let refused = globex.create(&scan(), None).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(refusal) if refusal.http_status == 503 && refusal.retry_after.is_some()));
    acme.create(&scan(), None).await.unwrap();
    assert_eq!(total(&acme).await.unwrap(), 2);
    assert_eq!(get(&server.admin_url, "/readyz", None).0, 200);
    assert!(get(&server.admin_url, "/metrics", None).1.contains("longrun_store_cell_up{cell=\"b\"} 0"));
    // Another one can be started meanwhile; a command on all cells says which one is missing.
    let other = setup.serve();
    assert_eq!(get(&other.admin_url, "/readyz", None).0, 200);
    setup.run(&["doctor"]).expect(6).says("the cell b does not answer");

    setup.second.start_again().unwrap();
    assert_eq!(answered(async || total(&globex).await).await, 1);
    setup.run(&["doctor"]).expect(0);
    setup.first.stop().unwrap();
    let refused = acme.create(&scan(), None).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(refusal) if refusal.http_status == 503), "{refused}");
    globex.create(&scan(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_of_one_database_says_so() {
    let setup = setup().await;
    setup.run(&["migrate"]).expect(0);
    let file = setup.folder.path().join("backup").to_str().unwrap().to_owned();
    setup.run(&["backup", &file]).says("one database at a time");
    let single = ["migrate", "--organization", "acme", "--to-cell", "b", "--store", &setup.directory];
    run(&single).expect(2).says("the configuration has no cells");
    // A cell in a file, and two cells in one database, are refused before anything is opened.
    let text = "store = \"postgres://a@127.0.0.1/d\"\n[cells.a]\nstore = \"sqlite:a.db\"\n[cells.b]\nstore = \"postgres://a@127.0.0.1/d\"\n[cells.c]\nstore = \"postgres://a@127.0.0.1/d\"\n";
    std::fs::write(&setup.config, text).unwrap();
    let refused = setup.run(&["doctor"]);
    let refused = refused.says("a cell is a PostgreSQL database");
    refused.says("is also the database of another cell");
}

/// A worker for all organizations, whose attempts end when the gate of their kind opens; and a receiver of the ids of
/// those that have started.
fn fleet(client: Client, kind: &str, concurrency: usize) -> Fleet {
    let gate = Arc::new(Semaphore::new(0));
    let (sender, started) = mpsc::unbounded_channel();
    let handler = {
        let gate = Arc::clone(&gate);
        move |attempt: Attempt| {
            let (gate, sender) = (Arc::clone(&gate), sender.clone());
            async move {
                sender.send(attempt.operation.id.clone()).unwrap();
                gate.acquire().await.map_err(|error| Failure::permanent(error.to_string()))?.forget();
                Ok("done".to_owned())
            }
        }
    };
    let stop = CancellationToken::new();
    let worker = Worker::new(client, handler).kind(kind).concurrency(concurrency);
    let task = tokio::spawn(worker.run(stop.clone().cancelled_owned()));
    Fleet { gate, started, stop, task }
}

struct Fleet {
    gate: Arc<Semaphore>,
    started: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cell_that_is_away_keeps_no_result_of_other_organizations_from_being_recorded() {
    let setup = setup().await;
    let mut server = setup.serve();
    let [acme, globex] = ["acme", "globex"].map(|name| setup.client(&server, name));
    let create = ["token", "create", "--instance", "--name", "fleet", "--scopes", "operations:work", "-o", "id"];
    let token = setup.run(&create).expect(0).line();
    let client = || Client::new(&server.url, Token::new(&token).unwrap()).unwrap();
    let (mut mixed, mut full) = (fleet(client(), "mixed", 4), fleet(client(), "full", 2));
    let new = |kind: &str| NewOperation { kind: kind.to_owned(), ..NewOperation::default() };
    let create = async |client: &Client, kind: &str| client.create(&new(kind), None).await.unwrap().value.operation.id;
    let (mut of_acme, mut of_globex) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        of_acme.push(create(&acme, "mixed").await);
        of_globex.push(create(&globex, "mixed").await);
        of_globex.push(create(&globex, "full").await);
    }
    for client in [&acme, &globex] {
        create(client, "raw").await;
    }
    let raw = client();
    let kinds = vec!["raw".to_owned()];
    let request = ClaimRequest { kinds, max_operations: 2, wait: Duration::from_secs(30), organizations: Vec::new() };
    let rows = raw.claim(&request).await.unwrap().value.operations.into_iter().map(|claimed| {
        // What is settled cannot be recorded, what is released can be.
        let outcome = match claimed.organization.as_str() {
            "acme" => Outcome::Released,
            _ => Outcome::Completed { output: String::new() },
        };
        let (id, lease_token) = (claimed.operation.id, claimed.lease_token);
        Settlement { id, lease_token, organization: claimed.organization, outcome }
    });
    let rows: Vec<Settlement> = rows.collect();
    for (fleet, attempts) in [(&mut mixed, 4), (&mut full, 2)] {
        for _ in 0..attempts {
            fleet.started.recv().await.unwrap();
        }
    }
    setup.second.stop().unwrap();
    server.process.line_with("the cell does not answer");
    let answer = raw.settle(&rows).await.unwrap().value.results;
    for (row, answered) in rows.iter().zip(&answer) {
        let expected = (row.organization == "globex").then_some(14);
        assert_eq!(answered.error.as_ref().map(|error| error.code), expected, "{answered:?}");
    }
    // The results of globex delay neither those that are sent with them nor later ones.
    mixed.gate.add_permits(5);
    full.gate.add_permits(4);
    of_acme.push(create(&acme, "mixed").await);
    // Nor do they keep both places of a worker.
    for _ in 0..2 {
        of_acme.push(create(&acme, "full").await);
    }
    for id in &of_acme {
        completed(&acme, id).await;
    }
    setup.second.start_again().unwrap();
    for id in &of_globex {
        completed(&globex, id).await;
    }
    for fleet in [mixed, full] {
        fleet.stop.cancel();
        fleet.task.await.unwrap().unwrap();
    }
    setup.run(&["doctor"]).expect(0);
}
