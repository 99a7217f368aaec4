//! The engine that runs operations: claims due operations, runs their handlers, keeps their leases, records one
//! outcome.
//!
//! **Responsibility.** The loop of a process: wake up, claim as many operations as there are free places, run each on a
//! task of its own, settle it. Beside it runs the maintenance: heartbeats for what runs here, rescue of what others
//! lost, ending of what was asked to stop and did not, removal of what has expired, taking creations out of the store's
//! inbox, creation of what follows from ends ([`FollowUp`]), statistics.
//!
//! **When the loop wakes.** When a creation in this process calls [`Waker::wake`] or another process reports one, when
//! a running operation ends and frees a place, when a pending operation becomes due, when the rate of a kind allows a
//! start again, and after [`Settings::poll`] in any case: other processes create too, and not all creations may be
//! reported. It registers for the wake-up *before* it looks into the queue, so that a creation between the look and the
//! wait is not missed.
//!
//! **Promises.** At most [`Settings::concurrency`] handlers at a time, and of each kind no more than its [`Limits`]
//! say: operations for which there is no capacity left are not claimed and stay for others. A handler whose lease is
//! lost is cancelled and its result is not recorded. [`Running::drain`] stops claiming, lets what runs finish within
//! the drain time, and releases the rest without charging an attempt, together with what was being claimed or created
//! when it began.

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
