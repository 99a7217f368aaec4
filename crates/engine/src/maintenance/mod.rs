//! The periodic maintenance, one task per file.

pub(crate) mod audit;
pub(crate) mod cancels;
pub(crate) mod changes;
pub(crate) mod consumer;
pub(crate) mod due;
pub(crate) mod elsewhere;
pub(crate) mod follow_ups;
pub(crate) mod heartbeats;
pub(crate) mod inbox;
pub(crate) mod limits;
pub(crate) mod overruns;
pub(crate) mod pace;
pub(crate) mod rescue;
pub(crate) mod retention;
pub(crate) mod schedules;
pub(crate) mod sessions;
pub(crate) mod statistics;
pub(crate) mod sweep;
pub(crate) mod times;
pub(crate) mod traces;
