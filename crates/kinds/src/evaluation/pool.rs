//! Processes that wait for their next job.
//!
//! Each serves one organization and no other: data of one organization are never in the memory of a process that
//! receives the evidence of another.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use store::meters::{Meters, Present};
use tokio::time::Instant;

use super::process::Process;

/// How long a process waits for its next job.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// The waiting processes of all organizations.
#[derive(Debug)]
pub(super) struct Pool {
    most: usize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The process that has waited longest comes first.
    waiting: Vec<Waiting>,
    /// Whether a task ends the processes that wait too long.
    is_swept: bool,
}

struct Waiting {
    organization: String,
    process: Process,
    since: Instant,
    _idle: Present,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle").field("waiting", &self.waiting.len()).finish()
    }
}

impl Pool {
    /// A pool of at most this many processes.
    pub fn new(most: usize) -> Pool {
        Pool { most, idle: Mutex::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A waiting process that has served this organization, if there is one: the one that did so last.
    pub fn take(&self, organization: &str) -> Option<Process> {
        let mut idle = self.idle();
        while let Some(at) = idle.waiting.iter().rposition(|waiting| waiting.organization == organization) {
            let mut process = idle.waiting.remove(at).process;
            if process.lives() {
                return Some(process);
            }
        }
        None
    }

    /// Keeps a process for the next job of this organization; when there are too many, the one that has waited longest
    /// is ended.
    pub fn put(self: &Arc<Pool>, organization: &str, process: Process, meters: &Meters) {
        let idle_one = Present::one_more(&meters.evaluation_idle);
        let mut idle = self.idle();
        idle.waiting.push(Waiting {
            organization: organization.to_owned(),
            process,
            since: Instant::now(),
            _idle: idle_one,
        });
        if idle.waiting.len() > self.most {
            idle.waiting.remove(0);
        }
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Ends the processes that have waited too long, until none waits.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(MAX_IDLE / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.waiting.retain(|waiting| waiting.since.elapsed() < MAX_IDLE);
        if idle.waiting.is_empty() {
            idle.is_swept = false;
            return;
        }
    }
}
