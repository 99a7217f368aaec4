//! The record of requests and answers, and the judges of it. The simulation (`crates/simulation`) records and judges in
//! the same way.

mod judge;
mod linear;
mod look;
mod promises;
pub mod record;

use std::time::Duration;

pub use judge::judge;
pub use look::look;
pub use record::{Answer, Asked, Record, Seen, Told};

/// The kind of what the schedule creates.
pub const TICK: &str = "tick";
/// How often the schedule is due.
pub const EVERY: Duration = Duration::from_secs(10);
/// How long some operations are kept after their end.
pub const RETAIN_FOR: Duration = Duration::from_secs(60);
