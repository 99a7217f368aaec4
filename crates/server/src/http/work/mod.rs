//! The worker protocol: `:claim`, `:heartbeat` and `:settle`, for programs with the scope `operations:work`.
//!
//! A claim gives each operation a *lease token*. It is text to workers; it carries what a later call needs to know of
//! the attempt: the fencing token, which makes a late call of an older attempt change nothing, and the number of the
//! attempt, which the wait before the next one depends on. It is no secret: what a worker may touch follows from its
//! own token ([`lease::scope`]), and what it may not touch is answered like a lease that was lost.

mod claim;
mod heartbeat;
mod lease;
mod settle;

pub(super) use claim::{MAX_WAIT, claim};
pub(super) use heartbeat::heartbeat;
pub(super) use settle::settle;
