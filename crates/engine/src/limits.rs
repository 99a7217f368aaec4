//! The limits of the operations of one kind.

use std::time::Duration;

use operations::backoff::Backoff;

/// Limits of one kind, within this process; where a field is `None`, only the limits of [`crate::Settings`] apply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The number of attempts that run at a time; at least 1.
    pub concurrency: Option<usize>,
    /// The number of attempts that start per second; above 0, and may be below 1.
    pub rate: Option<f64>,
    /// How long one attempt may take when the operation does not set a limit.
    pub timeout: Option<Duration>,
    /// How long attempts that failed, or were lost together with their worker, wait for the next one.
    pub backoff: Option<Backoff>,
}
