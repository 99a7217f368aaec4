//! Load on a server that may be away at any time: creators that ask until they are answered, and workers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longrun_client::{ClaimRequest, Client, Error, NewOperation, Outcome, Settings, Settlement, Token};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use crate::common::{Server, command};

/// The kind that the workers run.
pub const KIND: &str = "scan";

/// A server on an embedded store in `folder`, at an address that stays.
pub fn serve(folder: &Path, address: &str) -> Server {
    serve_by(command(), "sqlite:longrun.db", folder, address)
}

/// The same on any store, by a command that runs the binary.
pub fn serve_by(mut serve: Command, store: &str, folder: &Path, address: &str) -> Server {
    serve.current_dir(folder).args(["serve", "--listen", address, "--admin-listen", "127.0.0.1:0"]);
    for (key, value) in
        [("STORE", store), ("EVIDENCE_FOLDER", "evidence"), ("KINDS_ALLOW_UNDECLARED", "true"), ("ENGINE_LEASE", "2s")]
    {
        serve.env(format!("LONGRUN_{key}"), value);
    }
    Server::of(&mut serve)
}

/// The client that asks, and the answers that it got.
pub struct Load {
    pub client: Client,
    /// The operations that were acknowledged, by the idempotency key of their creation.
    pub acknowledged: Mutex<BTreeMap<String, String>>,
    /// The time since which there is a fault, until a creation that was asked for later is acknowledged.
    pub fault: Mutex<Option<Instant>>,
    /// How long that took each time.
    pub recoveries: Mutex<Vec<Duration>>,
    /// When the last fault was, whatever its effect.
    pub last_fault: Mutex<Option<Instant>>,
    /// Errors that no fault explains.
    pub errors: Mutex<Vec<String>>,
    pub settled: AtomicU64,
    pub stop: CancellationToken,
}

/// An error this long after a fault may be due to it: connections are made again after pauses.
const AFTER_A_FAULT: Duration = Duration::from_secs(15);

impl Load {
    pub fn new(address: &str, token: &str) -> Arc<Load> {
        let settings = Settings {
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(20),
            retries: 0,
            reconnect_for: Some(Duration::from_secs(60)),
        };
        let client = Client::with_settings(&format!("http://{address}"), Token::new(token).unwrap(), settings).unwrap();
        Arc::new(Load {
            client,
            acknowledged: Mutex::default(),
            fault: Mutex::default(),
            recoveries: Mutex::default(),
            last_fault: Mutex::default(),
            errors: Mutex::default(),
            settled: AtomicU64::new(0),
            stop: CancellationToken::new(),
        })
    }

    /// Notes that a fault begins now.
    pub fn fault_begins(&self) {
        *self.fault.lock().unwrap() = Some(Instant::now());
        *self.last_fault.lock().unwrap() = Some(Instant::now());
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// The answer; `None` for an error, which is noted unless a fault explains it.
    pub fn answer<T>(&self, what: &str, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(answer) => Some(answer),
            Err(error) => {
                let last = *self.last_fault.lock().unwrap();
                if last.is_none_or(|last| last.elapsed() > AFTER_A_FAULT) {
                    self.errors.lock().unwrap().push(format!("{what}: {error}"));
                }
                None
            }
        }
    }

    /// Creates one after the other, each until it is acknowledged; `pause` between them.
    pub async fn create(self: Arc<Self>, number: u64, pause: Duration, like: impl Fn(&mut StdRng) -> NewOperation) {
        let mut random = StdRng::seed_from_u64(number);
        for round in 0_u64.. {
            if self.stop.is_cancelled() {
                return;
            }
            let (operation, key) = (like(&mut random), format!("{number}-{round}"));
            loop {
                let begun = Instant::now();
                let created = self.client.create(&operation, Some(&key)).await;
                if let Some(created) = self.answer("create", created) {
                    let id = created.value.operation.id;
                    let earlier = self.acknowledged.lock().unwrap().insert(key, id);
                    assert!(earlier.is_none());
                    let mut fault = self.fault.lock().unwrap();
                    if let Some(since) = *fault
                        && begun > since
                    {
                        self.recoveries.lock().unwrap().push(since.elapsed());
                        *fault = None;
                    }
                    break;
                }
                // The server is away: nothing is lost by asking again.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Works until it is stopped. One attempt in twenty is forgotten, one fails.
    pub async fn work(self: Arc<Self>, number: u64, kinds: &[&str], stop: CancellationToken) {
        let mut random = StdRng::seed_from_u64(1_000 + number);
        let request = ClaimRequest {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            max_operations: 20,
            wait: Duration::from_secs(1),
            organizations: Vec::new(),
        };
        while !stop.is_cancelled() {
            let Some(claims) = self.answer("claim", self.client.claim(&request).await) else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let results: Vec<Settlement> = claims
                .value
                .operations
                .into_iter()
                .filter_map(|claimed| {
                    if random.random_bool(0.05) {
                        return None;
                    }
                    let outcome = if random.random_bool(0.05) {
                        Outcome::Failed { error_message: "no luck".to_owned(), retryable: true }
                    } else {
                        Outcome::Completed { output: claimed.operation.id.clone() }
                    };
                    Some(Settlement {
                        id: claimed.operation.id,
                        lease_token: claimed.lease_token,
                        organization: String::new(),
                        outcome,
                    })
                })
                .collect();
            if results.is_empty() {
                continue;
            }
            if let Some(settled) = self.answer("settle", self.client.settle(&results).await) {
                self.settled.fetch_add(settled.value.results.len() as u64, Ordering::Relaxed);
            }
        }
    }
}
