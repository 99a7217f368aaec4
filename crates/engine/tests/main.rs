//! The engine over a real store, mostly the embedded one: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod drain;
mod eager;
mod engine;
mod follow_ups;
mod gate;
mod limits;
mod locked;
mod statistics;
