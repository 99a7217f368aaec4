//! What all participants of a simulation share: the seed's random numbers, the record, and the trace of everything that
//! happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use operations::{NewOperation, OperationId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::SecretBox;
use server::auth::Secret;
use store::seal::Key;
use store::{Keyring, Position};
use tokio_util::sync::CancellationToken;

use crate::actors::Watched;
use crate::history::{Asked, Record, Seen};

/// The only organization.
pub const ORGANIZATION: &str = "acme";
/// The kinds that workers claim, and the kind that the server runs itself.
pub const REMOTE_KINDS: [&str; 2] = ["scan", "build"];
pub const LOCAL_KIND: &str = "local";
/// A kind of which only this many operations may run at a time.
pub const LIMITED_KIND: (&str, u32) = ("build", 3);

/// The shared state.
pub struct World {
    seed: u64,
    /// The folder of the store and the evidence.
    pub folder: PathBuf,
    /// The token that all callers use.
    pub token: Secret,
    pub record: Record,
    random: Mutex<StdRng>,
    trace: Mutex<Trace>,
    begun: Instant,
    /// The requested operations, by the marks that creations carry, and the ids of the operations that were seen with
    /// these marks.
    marks: Mutex<BTreeMap<String, (NewOperation, Vec<OperationId>)>>,
    /// Whether no new operations are created any more, so that the existing ones come to their end.
    is_finishing: AtomicBool,
    /// How often a server has started.
    lives: AtomicU32,
    /// What the watcher received.
    pub watched: Mutex<Watched>,
    /// The beginning of the change log.
    start: Mutex<Option<Position>>,
    /// Asks the running server to stop in good order.
    stop: Mutex<CancellationToken>,
    /// How often a server was asked to stop.
    stops: AtomicU32,
}

/// Everything that happened, in order.
#[derive(Default)]
struct Trace {
    lines: String,
    hash: u64,
}

impl World {
    pub fn new(seed: u64, folder: PathBuf) -> Arc<World> {
        Arc::new(World {
            seed,
            folder,
            token: Secret::generate().expect("there are random bytes"),
            record: Record::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            trace: Mutex::default(),
            begun: Instant::now(),
            marks: Mutex::default(),
            is_finishing: AtomicBool::new(false),
            lives: AtomicU32::new(0),
            watched: Mutex::default(),
            start: Mutex::default(),
            stop: Mutex::default(),
            stops: AtomicU32::new(0),
        })
    }

    /// Random numbers of the seed for one actor, independent of the other actors.
    pub fn random_of(&self, who: &str) -> StdRng {
        let name = who.bytes().fold(self.seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        StdRng::seed_from_u64(name)
    }

    /// How long an access to the disk takes: usually little.
    pub fn latency(self: &Arc<Self>) -> store::Latency {
        let world = Arc::clone(self);
        Arc::new(move || {
            let mut random = lock(&world.random);
            let most = if random.random_bool(0.02) { 200 } else { 8 };
            Duration::from_millis(random.random_range(0..=most))
        })
    }

    /// Records in the trace what happened, with its time.
    pub fn log(&self, what: std::fmt::Arguments<'_>) {
        let mut trace = lock(&self.trace);
        let begin = trace.lines.len();
        let passed = self.begun.elapsed().as_millis();
        writeln!(trace.lines, "{:>4}.{:03} {what}", passed / 1_000, passed % 1_000).expect("there is memory");
        // FNV-1a, which is the same on every machine.
        let hash = trace.lines.as_bytes()[begin..].iter().fold(trace.hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        trace.hash = hash;
    }

    /// The trace as text, and its hash.
    pub fn trace(&self) -> (String, u64) {
        let trace = lock(&self.trace);
        (trace.lines.clone(), trace.hash)
    }

    /// Records that the change log begins here.
    pub fn begin_at(&self, start: Position) {
        *lock(&self.start) = Some(start);
    }

    /// The beginning of the change log.
    pub fn start(&self) -> Position {
        lock(&self.start).expect("it is recorded before anything happens")
    }

    /// Records that a server has started; it stops in good order when the token is cancelled.
    pub fn begin_life(&self) -> (u32, CancellationToken) {
        let stop = CancellationToken::new();
        lock(&self.stop).clone_from(&stop);
        (self.lives.fetch_add(1, Ordering::SeqCst), stop)
    }

    /// Asks the server to stop.
    pub fn stop_server(&self) {
        self.stops.fetch_add(1, Ordering::SeqCst);
        lock(&self.stop).cancel();
    }

    /// Whether the server is about to stop, or has stopped.
    pub fn is_stopping(&self) -> bool {
        lock(&self.stop).is_cancelled()
    }

    /// How often a server was asked to stop.
    pub fn stops(&self) -> usize {
        self.stops.load(Ordering::SeqCst) as usize
    }

    /// The keys with which texts are sealed: every second seed has one.
    pub fn keyring(&self) -> Keyring {
        if self.seed.is_multiple_of(2) {
            return Keyring::default();
        }
        let bytes = (0..32).map(|place| place * 7 + 1).collect();
        let key = Key::read("simulated", &SecretBox::new(Box::new(bytes))).expect("it is a key");
        Keyring::new(vec![key], Some("simulated")).expect("it is a keyring")
    }

    pub fn finish(&self) {
        self.is_finishing.store(true, Ordering::SeqCst);
    }

    pub fn is_finishing(&self) -> bool {
        self.is_finishing.load(Ordering::SeqCst)
    }

    /// Records the outcome of a call that began at `from`.
    pub fn note(&self, from: u64, id: OperationId, seen: Seen) {
        self.log(format_args!("{id} {seen:?}"));
        self.record.note(from, id, seen);
    }

    /// Begins a call about an operation. If its caller is killed meanwhile, nothing is known about its outcome.
    pub fn begin(self: &Arc<Self>, id: OperationId, unknown: Seen) -> Begun {
        Begun { world: Arc::clone(self), from: self.record.begin(), id, unknown: Some(unknown) }
    }

    /// Records that this operation is requested. Each has a mark of its own, which callers see as the version of its
    /// project.
    pub fn ask(&self, new: &NewOperation) {
        lock(&self.marks).entry(new.project_version_id.clone()).or_insert_with(|| (new.clone(), Vec::new()));
    }

    /// Records that an operation was seen with a mark, so it is known which request created it.
    pub fn recognize(&self, id: OperationId, mark: &str) {
        let mut marks = lock(&self.marks);
        let Some((new, ids)) = marks.get_mut(mark) else { return };
        if !ids.contains(&id) {
            ids.push(id);
            // The judge reports two creations by calls with one key as an error: there is one key for each mark.
            let call = Some((mark.to_owned(), u32::try_from(ids.len()).unwrap_or(u32::MAX)));
            lock(&self.record.asked).insert(id, Asked { new: new.clone(), call });
        }
    }

    /// Requested operations whose mark was never seen, and whose retention is short.
    pub fn unseen_and_retained_shortly(&self) -> Vec<NewOperation> {
        let marks = lock(&self.marks);
        let unseen = marks.values().filter(|(new, ids)| ids.is_empty() && new.retain_for.is_some());
        unseen.map(|(new, _)| new.clone()).collect()
    }
}

/// A call that has begun and has not ended.
pub struct Begun {
    world: Arc<World>,
    from: u64,
    id: OperationId,
    /// What is recorded if the outcome is not.
    unknown: Option<Seen>,
}

impl Begun {
    /// Records the outcome.
    pub fn end(mut self, seen: Seen) {
        self.unknown = None;
        self.world.note(self.from, self.id, seen);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(unknown) = self.unknown.take() {
            self.world.note(self.from, self.id, unknown);
        }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
