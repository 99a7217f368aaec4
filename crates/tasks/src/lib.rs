//! Tasks that run for as long as the process does.
//!
//! **Responsibility.** [`supervise`] restarts a loop when it panics or ends without having been stopped;
//! [`run_periodic`] makes such a loop of a piece of maintenance that is repeated, each round within a time limit.
//! [`Health`] is what a process knows about all its tasks: how often each was restarted, when it last succeeded, and
//! which of them is in trouble now.
//!
//! **Promises.** The panic of a task affects nothing else. A round that hangs is given up and logged, and the process
//! is not ready until a round succeeds again.

mod health;
mod periodic;
mod supervise;

pub use health::{Health, Task, TaskReport, Trouble};
pub use periodic::{Next, ROUND_LIMIT, Schedule, after_stop, run_periodic};
pub use supervise::supervise;
