//! Tasks that are to go on for as long as the process does.
//!
//! **Responsibility.** [`supervise`] starts a loop again when it panics or ends unasked; [`run_periodic`] makes such a
//! loop of a piece of maintenance that is repeated, each round within a time limit. [`Health`] is what a process knows
//! of all its tasks: how often each was started again, when it succeeded last, and which of them is in trouble now.
//!
//! **Promises.** A task that panics takes nothing else with it. A round that hangs is given up, is logged, and
//! makes the process not ready until a round succeeds again.

mod health;
mod periodic;
mod supervise;

pub use health::{Health, Task, TaskReport, Trouble};
pub use periodic::{Next, ROUND_LIMIT, Schedule, after_stop, run_periodic};
pub use supervise::supervise;
