//! The engine that runs operations: it claims due operations, runs their handlers, renews their leases and records one
//! outcome of each.
//!
//! **Responsibility.** The loop of a process: wake up, claim as many operations as there are free slots, run each on a
//! task of its own, settle it. Next to it run the maintenance tasks: heartbeats for the attempts that run here,
//! recovery of attempts that other workers lost, ending attempts that were cancelled and did not stop, deletion of what
//! has expired, creating operations from the store's inbox, creating what follows from the ends of operations
//! ([`FollowUp`]), statistics.
//!
//! **When the loop wakes.** When a creation in this process calls [`Waker::wake`] or another process reports one, when
//! a running operation ends and frees a slot, when a pending operation becomes due, when the rate of a kind allows a
//! start again, and after [`Settings::poll`] in any case: other processes create operations, too, and not all creations
//! may be reported. It registers for the wake-up *before* it reads the queue, so that a creation between the read and
//! the wait is not missed.
//!
//! **Promises.** At most [`Settings::concurrency`] handlers run at a time, and of each kind no more than its [`Limits`]
//! allow: operations for which there is no capacity left are not claimed and stay in the queue for others. A handler
//! whose lease is lost is cancelled and its result is not recorded. [`Running::drain`] stops claiming, lets running
//! attempts finish within the drain time, and releases the rest without charging an attempt, together with what was
//! being claimed or created when it began.

mod capacity;
mod context;
mod dispatch;
mod eager;
mod follow_up;
mod handler;
mod held;
mod limiter;
mod limits;
mod maintenance;
mod progress;
mod run;
mod settings;
mod waker;

pub use dispatch::{Engine, Running};
pub use follow_up::FollowUp;
pub use handler::{Attempt, Failure, Handler, Registry};
pub use limits::Limits;
pub use progress::Progress;
pub use settings::Settings;
pub use tasks::Health;
pub use waker::{Waker, Wakes};
