//! What holds for the operations of one kind.

use std::time::Duration;

use operations::backoff::Backoff;

/// Limits of one kind, within this process; `None` where only those of [`crate::Settings`] hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Attempts that run at a time; at least 1.
    pub concurrency: Option<usize>,
    /// Attempts that start per second; above 0, and may be below 1.
    pub rate: Option<f64>,
    /// How long one attempt may take when the operation does not say.
    pub timeout: Option<Duration>,
    /// How long attempts that failed, or were lost with their worker, wait for the next one.
    pub backoff: Option<Backoff>,
}
