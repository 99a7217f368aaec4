//! What goes wrong, and when: determined by the seed before anything happens.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use turmoil::Sim;

use crate::host::SERVER;
use crate::system;
use crate::world::World;

/// The callers of the server, each on a host of its own.
pub const CALLER: &str = "caller";
pub const WORKERS: [&str; 2] = ["worker-0", "worker-1"];

/// How long new operations are created, and things go wrong.
pub const ACTIVE: Duration = Duration::from_secs(16);

/// A fault.
#[derive(Clone, Debug)]
enum Fault {
    /// A process ends at whatever point it has reached.
    Crash(&'static str),
    /// The server is asked to stop in good order (SIGTERM).
    Stop,
    /// The host is started again.
    Start(&'static str),
    /// Messages from one host to the other are lost, in both directions or in one.
    Partition {
        from: &'static str,
        to: &'static str,
        one_way: bool,
    },
    /// Lost messages stay lost; messages that are sent from now on arrive.
    Repair {
        from: &'static str,
        to: &'static str,
        one_way: bool,
    },
    /// Messages between this host and the server are held up for as long as this lasts.
    Hold(&'static str),
    Release(&'static str),
    /// Somebody sets the clock, by this many milliseconds.
    SetClock(i64),
}

/// All faults, by the time after the beginning.
pub struct Plan(Vec<(Duration, Fault)>);

impl Plan {
    pub fn new(random: &mut StdRng) -> Plan {
        let mut all = Vec::new();
        let mut add = |random: &mut StdRng, lasts: u64, begins: Fault, ends: Option<Fault>| {
            let at = random.random_range(200..ACTIVE.as_millis() as u64);
            all.push((Duration::from_millis(at), begins));
            if let Some(ends) = ends {
                all.push((Duration::from_millis(at + 1 + random.random_range(0..lasts)), ends));
            }
        };
        for _ in 0..random.random_range(0..4) {
            add(random, 1_500, Fault::Crash(SERVER), Some(Fault::Start(SERVER)));
        }
        if random.random_bool(0.3) {
            add(random, 2_500, Fault::Stop, Some(Fault::Start(SERVER)));
        }
        for _ in 0..random.random_range(0..2) {
            let worker = WORKERS[random.random_range(0..WORKERS.len())];
            add(random, 5_000, Fault::Crash(worker), Some(Fault::Start(worker)));
        }
        for _ in 0..random.random_range(0..4) {
            let client = [CALLER, WORKERS[0], WORKERS[1]][random.random_range(0..3)];
            let (from, to) = if random.random_bool(0.5) { (client, SERVER) } else { (SERVER, client) };
            let one_way = random.random_bool(0.6);
            let begins = Fault::Partition { from, to, one_way };
            add(random, 6_000, begins, Some(Fault::Repair { from, to, one_way }));
        }
        for _ in 0..random.random_range(0..2) {
            let client = [CALLER, WORKERS[0], WORKERS[1]][random.random_range(0..3)];
            add(random, 4_000, Fault::Hold(client), Some(Fault::Release(client)));
        }
        for _ in 0..random.random_range(0..3) {
            let by = random.random_range(-40_000..40_000);
            add(random, 1, Fault::SetClock(by), None);
        }
        all.sort_by_key(|(at, _)| *at);
        all.reverse();
        Plan(all)
    }

    /// Applies every fault that is due by now.
    pub fn carry_out(&mut self, sim: &mut Sim<'_>, world: &World) {
        while let Some((_, fault)) = self.0.pop_if(|(at, _)| *at <= sim.elapsed()) {
            world.log(format_args!("{fault:?}"));
            fault.carry_out(sim, world);
        }
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

impl Fault {
    fn carry_out(self, sim: &mut Sim<'_>, world: &World) {
        match self {
            Fault::Crash(host) => sim.crash(host),
            Fault::Stop => world.stop_server(),
            // Another crash may have come in between, and another start. A server that takes too long to stop is
            // killed.
            Fault::Start(host) if sim.is_host_running(host) && !(host == SERVER && world.is_stopping()) => {}
            Fault::Start(host) => sim.bounce(host),
            Fault::Partition { from, to, one_way: true } => sim.partition_oneway(from, to),
            Fault::Partition { from, to, one_way: false } => sim.partition(from, to),
            Fault::Repair { from, to, one_way: true } => sim.repair_oneway(from, to),
            Fault::Repair { from, to, one_way: false } => sim.repair(from, to),
            Fault::Hold(client) => sim.hold(client, SERVER),
            Fault::Release(client) => sim.release(client, SERVER),
            Fault::SetClock(by) => system::set_clock(by),
        }
    }
}
