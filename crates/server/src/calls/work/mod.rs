//! The worker protocol: claim, heartbeat, settle.

pub(crate) mod claim;
pub(crate) mod heartbeat;
mod lease;
pub(crate) mod settle;

pub(crate) use self::lease::LeaseToken;
